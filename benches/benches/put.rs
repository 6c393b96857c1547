//! `Store::put`: 16 B keys, 256 B values, 1 to 256 concurrent tasks, on one and on three replicas.
//!
//! All replicas run in this process, over TCP on the loopback interface, each with a durable log of
//! its own; the tasks are spread over all of them, so that most puts are forwarded. Criterion
//! reports puts a second and keeps its plots and JSON under `target/criterion`; beside that, the
//! CPU a put costs over all replicas, driver included, is printed.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.

use axon_benches::{Replicas, process_cpu};
use axon_core::Store;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const VALUE: [u8; 256] = [b'v'; 256];

/// Keys come from a million, in a scattered order: neither all new nor all the same.
const KEYS: u64 = 1_000_000;

fn put(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let parent = std::env::var_os("AXON_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    for replicas in [1, 3] {
        let cluster = runtime.block_on(Replicas::start(replicas, &parent));
        let stores = cluster.stores();
        let mut group = criterion.benchmark_group(format!("put/{replicas}-replicas"));
        group.throughput(Throughput::Elements(1)).sample_size(10);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
        for tasks in [1, 16, 64, 256] {
            let mut figures = Figures::default();
            group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
                bencher.iter_custom(|puts| {
                    let cpu = process_cpu();
                    let elapsed = runtime.block_on(drive(&stores, tasks, puts));
                    figures.add(puts, elapsed, process_cpu().saturating_sub(cpu));
                    elapsed
                });
            });
            figures.print(replicas, tasks);
        }
        group.finish();
        runtime.block_on(cluster.shutdown());
    }
}

/// Makes `puts` puts from `tasks` tasks, each with one in flight, and says how long that took.
async fn drive(stores: &[Store], tasks: usize, puts: u64) -> Duration {
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut set = JoinSet::new();
    for task in 0..tasks {
        let store = stores[task % stores.len()].clone();
        let next = Arc::clone(&next);
        set.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= puts {
                    return;
                }
                let put = store.put(key(number), Bytes::from_static(&VALUE));
                put.await.expect("a healthy cluster acknowledges every put");
            }
        });
    }
    while let Some(ended) = set.join_next().await {
        ended.expect("no task panics");
    }
    begun.elapsed()
}

/// The `number`th key: 16 bytes, scattered by an odd multiplier (each key once a million puts).
fn key(number: u64) -> Bytes {
    Bytes::from(format!("{:016}", number.wrapping_mul(7_919_999) % KEYS))
}

/// What a benchmark's runs add up to, warm-up included.
#[derive(Default)]
struct Figures {
    puts: u64,
    elapsed: Duration,
    cpu: Duration,
}

impl Figures {
    fn add(&mut self, puts: u64, elapsed: Duration, cpu: Duration) {
        self.puts += puts;
        self.elapsed += elapsed;
        self.cpu += cpu;
    }

    fn print(&self, replicas: usize, tasks: usize) {
        if self.puts == 0 {
            return; // Left out by a filter on the command line.
        }
        let puts = self.puts as f64;
        println!(
            "put/{replicas}-replicas/{tasks}: {:.0} puts/s, {:.1} us of CPU a put over all replicas \
             ({} puts, in one process with the driver)",
            puts / self.elapsed.as_secs_f64(),
            self.cpu.as_secs_f64() * 1e6 / puts,
            self.puts,
        );
    }
}

criterion_group!(benches, put);
criterion_main!(benches);
