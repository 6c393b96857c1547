//! What watchers cost those who write: puts a second with 0, 1, 1,000 and 10,000 of them.
//!
//! One durable replica, 64 tasks with one put of 256 B each in flight. One watcher watches everything;
//! the thousands watch a key each out of the 100,000 that are written, so that a put concerns one of
//! them now and then. All of them read all the time; that they were told everything is checked.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.

use axon_benches::{Replicas, bench};
use axon_core::Store;
use axon_core::store::WatchEvent;
use axon_core::types::KeyRange;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const VALUE: [u8; 256] = [b'v'; 256];
const KEYS: u64 = 100_000;
const WRITERS: usize = 64;

fn watch(criterion: &mut Criterion) {
    if !bench::is_chosen("watch") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    let parent = bench::directory(env!("CARGO_TARGET_TMPDIR"));
    let mut group = criterion.benchmark_group("watch/puts");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    for watchers in [0, 1, bench::size(1_000, 10), bench::size(10_000, 100)] {
        let cluster = runtime.block_on(Replicas::start(1, &parent));
        let store = cluster.stores().remove(0);
        let watching = runtime.block_on(Watching::start(&store, watchers));
        let mut number = 0;
        group.bench_function(BenchmarkId::from_parameter(watchers), |bencher| {
            bencher.iter_custom(|puts| {
                let first = number;
                let one = move |store: Store, number: u64| async move {
                    let key = key(chosen(first + number));
                    let put = store.put(key, Bytes::from_static(&VALUE));
                    put.await.expect("a healthy replica acknowledges every put");
                };
                let writing = axon_benches::drive(std::slice::from_ref(&store), WRITERS, puts, one);
                let elapsed = runtime.block_on(writing);
                number += puts;
                elapsed
            });
        });
        if number > 0 {
            runtime.block_on(watching.finish(number));
        }
        runtime.block_on(cluster.shutdown());
    }
    group.finish();
}

/// Watchers that read all they are told.
struct Watching {
    told: Arc<AtomicU64>,
    watchers: u64,
    tasks: JoinSet<()>,
}

impl Watching {
    async fn start(store: &Store, watchers: u64) -> Self {
        let told = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for watcher in 0..watchers {
            let range = if watchers == 1 { KeyRange::all() } else { KeyRange::key(key(watcher)) };
            let watch = store.range(range).watch().start();
            let mut changes = watch.await.expect("a healthy replica lets them watch");
            let told = Arc::clone(&told);
            tasks.spawn(async move {
                while let Some(event) = changes.next().await {
                    match event {
                        Ok(WatchEvent::Batch { .. }) => {
                            told.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(WatchEvent::Progress(_)) => {}
                        other => panic!("nothing is that slow: {other:?}"),
                    }
                }
            });
        }
        Self { told, watchers, tasks }
    }

    /// Waits until everyone was told everything that `puts` puts changed.
    async fn finish(mut self, puts: u64) {
        let concerned = match self.watchers {
            0 => 0,
            1 => puts,
            watchers => (0..puts).filter(|number| chosen(*number) < watchers).count() as u64,
        };
        let begun = Instant::now();
        while self.told.load(Ordering::Relaxed) < concerned {
            assert!(begun.elapsed() < Duration::from_mins(1), "the watchers lag for ever");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let lag = begun.elapsed().as_millis();
        let watchers = self.watchers;
        println!(
            "watch/puts/{watchers}: {concerned} events for {puts} puts, the last after {lag} ms"
        );
        self.tasks.shutdown().await;
    }
}

/// Which key the `number`th put takes: each once in [`KEYS`] puts, in a scattered order.
const fn chosen(number: u64) -> u64 {
    number.wrapping_mul(7_919_999) % KEYS
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("{number:016}"))
}

criterion_group!(benches, watch);
criterion_main!(benches);
