//! `Store::txn`: one compare, two puts of 256 B, 1 to 256 concurrent tasks, on one, three and five
//! replicas.
//!
//! The transactions are of different keys, so that all of them succeed: what is measured is what a
//! transaction costs, not what a conflict does. The replicas run in this process, over TCP on the
//! loopback interface; the tasks are spread over all of them.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.

use axon_benches::Replicas;
use axon_benches::bench::{self, Counted};
use axon_core::{Compare, Op, Store};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use tokio::runtime::Runtime;

const OWN: &str = env!("CARGO_TARGET_TMPDIR");
const VALUE: [u8; 256] = [b'v'; 256];
/// Pairs of keys, taken in a scattered order.
const PAIRS: u64 = 100_000;

fn txn(criterion: &mut Criterion) {
    if !bench::is_chosen("txn") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    for replicas in [1, 3, 5] {
        let name = format!("txn/{replicas}-replicas");
        if !bench::is_chosen(&name) {
            continue;
        }
        let cluster = runtime.block_on(Replicas::start(replicas, &bench::directory(OWN)));
        let stores = cluster.stores();
        let mut group = criterion.benchmark_group(&name);
        group.throughput(Throughput::Elements(1)).sample_size(10);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        for tasks in [1, 64, 256] {
            let mut counted = Counted::default();
            group.bench_function(BenchmarkId::from_parameter(tasks), |bencher| {
                bencher.iter_custom(|txns| {
                    let driven = axon_benches::drive(&stores, tasks, txns, one);
                    counted.run(txns, || runtime.block_on(driven))
                });
            });
            counted.note(OWN, &format!("{name}/{tasks}"));
        }
        group.finish();
        runtime.block_on(cluster.shutdown());
    }
}

async fn one(store: Store, number: u64) {
    let pair = number.wrapping_mul(7_919_999) % PAIRS;
    let key = |half: &str| Bytes::from(format!("{half}-{pair:014}"));
    let value = || Bytes::from_static(&VALUE);
    let txn = store
        .txn()
        .when([Compare::absent("a key that nobody puts")])
        .then([Op::put(key("a"), value()), Op::put(key("b"), value())]);
    let done = txn.commit().await.expect("a healthy cluster acknowledges every transaction");
    assert!(done.succeeded);
}

criterion_group!(benches, txn);
criterion_main!(benches);
