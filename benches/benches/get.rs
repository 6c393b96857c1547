//! `Store::get`: 10,000 keys of 16 B with values of 256 B, 1 to 256 concurrent tasks, on one, three and
//! five replicas.
//!
//! Linearizable reads, spread over all replicas: what is measured is the rounds with the leader, and how
//! many reads share one. Beside them local ones, which ask nobody. The replicas run in this process, over
//! TCP on the loopback interface.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.

use axon_benches::bench::{self, Counted};
use axon_benches::{Replicas, until};
use axon_core::Store;
use axon_core::store::ReadConsistency;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use tokio::runtime::Runtime;

const OWN: &str = env!("CARGO_TARGET_TMPDIR");
const VALUE: [u8; 256] = [b'v'; 256];
const KEYS: u64 = 10_000;
/// Puts in flight while the store is filled.
const FILLERS: usize = 256;

fn get(criterion: &mut Criterion) {
    if !bench::is_chosen("get") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    let keys = bench::size(KEYS, 100);
    for replicas in [1, 3, 5] {
        let name = format!("get/{replicas}-replicas");
        if !bench::is_chosen(&name) {
            continue;
        }
        let cluster = runtime.block_on(Replicas::start(replicas, &bench::directory(OWN)));
        let stores = cluster.stores();
        runtime.block_on(fill(&cluster, keys));
        let mut group = criterion.benchmark_group(&name);
        group.throughput(Throughput::Elements(1)).sample_size(10);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        let kinds = [
            ("linearizable", ReadConsistency::Linearizable, [1, 64, 256].as_slice()),
            ("local", ReadConsistency::Local, [64].as_slice()),
        ];
        for (kind, consistency, all_tasks) in kinds {
            let stores: Vec<Store> =
                stores.iter().map(|store| store.with_consistency(consistency)).collect();
            for &tasks in all_tasks {
                let mut counted = Counted::default();
                group.bench_function(BenchmarkId::new(kind, tasks), |bencher| {
                    bencher.iter_custom(|gets| {
                        let one = move |store: Store, number: u64| async move {
                            let got = store.get(key(number, keys)).await;
                            got.expect("a healthy cluster reads").expect("no key was removed");
                        };
                        let asked = axon_benches::drive(&stores, tasks, gets, one);
                        counted.run(gets, || runtime.block_on(asked))
                    });
                });
                counted.note(OWN, &format!("{name}/{kind}/{tasks}"));
            }
        }
        group.finish();
        runtime.block_on(cluster.shutdown());
    }
}

/// Puts every key, and waits until every replica has them all: a local read asks nobody else.
async fn fill(cluster: &Replicas, keys: u64) {
    let put = move |store: Store, number: u64| async move {
        let put = store.put(key(number, keys), Bytes::from_static(&VALUE));
        put.await.expect("a healthy cluster acknowledges every put");
    };
    let stores = cluster.stores();
    axon_benches::drive(&stores, FILLERS, keys, put).await;
    let all = stores[0].snapshot().await.expect("it is ready").revision();
    for at in 0..stores.len() {
        let has_all = || Ok(cluster.cluster(at).status()?.revision >= all);
        until("every replica has every key", has_all).await;
    }
}

/// The `number`th key: 16 bytes, scattered by an odd multiplier.
fn key(number: u64, keys: u64) -> Bytes {
    Bytes::from(format!("{:016}", number.wrapping_mul(7_919_999) % keys))
}

criterion_group!(benches, get);
criterion_main!(benches);
