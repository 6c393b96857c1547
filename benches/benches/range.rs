//! Reads of a single durable replica that holds 200,000 keys of 16 B with values of 64 B: a key, a
//! page of 200, a stream of everything; of now, and of a revision after which every tenth key was
//! overwritten.
//!
//! Everything is in the last checkpoint, and as much of it in memory as the settings keep. Reads are
//! local: what a linearizable read adds is the same for all of them. A past get takes its keys from
//! all of them too, so that nine of ten need no history.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.

use axon_benches::bench;
use axon_core::store::{Query, ReadConsistency};
use axon_core::types::{KeyRange, Revision};
use axon_core::{Cluster, Store};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::StreamExt;
use futures_util::stream;
use std::ops::Bound;
use std::time::Duration;
use tokio::runtime::Runtime;

const KEYS: u64 = 200_000;
const VALUE: [u8; 64] = [b'v'; 64];
const PAGE: usize = 200;
/// Puts in flight while the store is filled.
const IN_FLIGHT: usize = 1_000;

fn key(number: u64) -> Bytes {
    Bytes::from(format!("{number:016}"))
}

/// The `number`th of all keys in a scattered order.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(7_919_999) % keys()
}

fn keys() -> u64 {
    bench::size(KEYS, 2_000)
}

/// A store with all keys, of which every tenth was overwritten after the revision that is returned.
async fn filled(cluster: &Cluster) -> (Store, Revision) {
    let store = cluster.store().with_timeout(Duration::from_mins(1));
    let put = |number| {
        let store = store.clone();
        async move {
            let put = store.put(key(number), Bytes::from_static(&VALUE));
            put.await.expect("a healthy replica acknowledges every put").revision
        }
    };
    let revisions = stream::iter((0..keys()).map(put)).buffer_unordered(IN_FLIGHT);
    let before = revisions.fold(Revision(0), |last, revision| async move { last.max(revision) });
    let before = before.await;
    let tenth = stream::iter((0..keys()).step_by(10).map(put)).buffer_unordered(IN_FLIGHT);
    tenth.for_each(|_| async {}).await;
    cluster.checkpoint().await.expect("the disk has room for a checkpoint");
    (store.with_consistency(ReadConsistency::Local), before)
}

async fn all(query: Query) -> u64 {
    let mut pairs = query.stream().await.expect("the revision is kept");
    let mut count = 0;
    while let Some(pair) = pairs.next().await {
        pair.expect("a healthy replica reads on");
        count += 1;
    }
    assert_eq!(count, keys());
    count
}

fn range(criterion: &mut Criterion) {
    if !bench::is_chosen("range") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    let parent = bench::directory(env!("CARGO_TARGET_TMPDIR"));
    let data = tempfile::tempdir_in(parent).expect("the benchmark's directory is writable");
    let cluster = runtime.block_on(Cluster::open(data.path())).expect("a replica opens");
    let (store, before) = runtime.block_on(filled(&cluster));
    let now = runtime.block_on(store.snapshot()).expect("the replica runs").revision();
    for (moment, at) in [("now", now), ("then", before)] {
        let mut group = criterion.benchmark_group(format!("range/{moment}"));
        let mut number = 0;
        let mut next = move || {
            number += 1;
            scattered(number)
        };
        group.throughput(Throughput::Elements(1));
        group.bench_function("get", |bencher| {
            bencher.iter(|| {
                let get = async {
                    let snapshot = store.snapshot_at(at).await?;
                    snapshot.get(&key(next()))
                };
                runtime.block_on(get).expect("the replica runs").expect("no key was removed")
            });
        });
        group.throughput(Throughput::Elements(PAGE as u64));
        for (name, reverse) in [("page of 200", false), ("page of 200, backwards", true)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let place = Bound::Included(key(next() % (keys() - 400) + 200));
                    let (start, end) =
                        if reverse { (Bound::Unbounded, place) } else { (place, Bound::Unbounded) };
                    let query = store.range(KeyRange { start, end }).at(at).limit(PAGE);
                    let query = if reverse { query.reverse() } else { query };
                    let page = runtime.block_on(query.page()).expect("the replica runs");
                    assert_eq!(page.items.len(), PAGE);
                    page
                });
            });
        }
        group.throughput(Throughput::Elements(keys())).sample_size(10);
        for (name, reverse) in [("stream of everything", false), ("stream, backwards", true)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let query = store.range(KeyRange::all()).at(at);
                    let query = if reverse { query.reverse() } else { query };
                    runtime.block_on(all(query))
                });
            });
        }
        group.finish();
    }
    runtime.block_on(cluster.shutdown()).expect("the replica was running until now");
}

criterion_group!(benches, range);
criterion_main!(benches);
