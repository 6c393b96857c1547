//! `Store::put`: 16 B keys, 256 B values, 1 to 256 concurrent tasks, on one, three and five replicas.
//!
//! All replicas run in this process, over TCP on the loopback interface, each with a durable log of
//! its own; the tasks are spread over all of them, so that most puts are forwarded. Criterion
//! reports puts a second and keeps its plots and JSON under `target/criterion`; beside that, the
//! CPU a put costs over all replicas, driver included, and how many entries share a sync.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.

use axon_benches::Replicas;
use axon_benches::bench::{self, Counted};
use axon_core::Store;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use tokio::runtime::Runtime;

const OWN: &str = env!("CARGO_TARGET_TMPDIR");
const VALUE: [u8; 256] = [b'v'; 256];

/// Keys come from a million, in a scattered order: neither all new nor all the same.
const KEYS: u64 = 1_000_000;

fn put(criterion: &mut Criterion) {
    if !bench::is_chosen("put") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    for replicas in [1, 3, 5] {
        let name = format!("put/{replicas}-replicas");
        if !bench::is_chosen(&name) {
            continue;
        }
        let cluster = runtime.block_on(Replicas::start(replicas, &bench::directory(OWN)));
        let stores = cluster.stores();
        let mut group = criterion.benchmark_group(&name);
        group.throughput(Throughput::Elements(1)).sample_size(10);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
        for tasks in [1, 16, 64, 256] {
            let mut counted = Counted::default();
            group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
                bencher.iter_custom(|puts| {
                    let (syncs, entries) = logged(&cluster);
                    let driven = axon_benches::drive(&stores, tasks, puts, one);
                    let elapsed = counted.run(puts, || runtime.block_on(driven));
                    let (now_syncs, now_entries) = logged(&cluster);
                    counted.syncs += now_syncs - syncs;
                    counted.entries += now_entries - entries;
                    elapsed
                });
            });
            counted.note(OWN, &format!("{name}/{tasks}"));
        }
        group.finish();
        runtime.block_on(cluster.shutdown());
    }
}

async fn one(store: Store, number: u64) {
    let put = store.put(key(number), Bytes::from_static(&VALUE));
    put.await.expect("a healthy cluster acknowledges every put");
}

/// The `number`th key: 16 bytes, scattered by an odd multiplier (each key once a million puts).
fn key(number: u64) -> Bytes {
    Bytes::from(format!("{:016}", number.wrapping_mul(7_919_999) % KEYS))
}

/// Syncs of all logs until now, and entries in them.
fn logged(cluster: &Replicas) -> (u64, u64) {
    let metrics = cluster.metrics();
    let logs = || metrics.iter().map(|metrics| &metrics.log);
    (logs().map(|log| log.syncs).sum(), logs().map(|log| log.appended_entries).sum())
}

criterion_group!(benches, put);
criterion_main!(benches);
