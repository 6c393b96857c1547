//! A snapshot of 100,000 keys of 16 B with values of 256 B that do not compress: reading it out of the
//! last checkpoint, putting it in place, and bringing a newcomer up by it.
//!
//! * `build`: all chunks, as they are sent; the checkpoint is there.
//! * `install`: all chunks into an empty state, checked, and put in place.
//! * `transfer`: from the start of a learner over TCP on the loopback interface until it has caught up, by
//!   a snapshot, since the log begins after what it needs.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.

use axon_benches::{Replicas, bench, until};
use axon_core::command::{Command, Op};
use axon_core::state::transfer::{SnapshotSink, SnapshotSource};
use axon_core::state::{Position, State, StateConfig, StateEntry};
use axon_core::storage::StateStore;
use axon_core::storage::disk::RealDisk;
use axon_core::storage::redb::RedbState;
use axon_core::types::LogIndex;
use axon_core::{Store, codec};
use bytes::Bytes;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main, measurement::WallTime,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

const OWN: &str = env!("CARGO_TARGET_TMPDIR");
const VALUE_BYTES: usize = 256;
/// Puts applied at once, and in flight.
const BATCH: u64 = 1_000;
const FILLERS: usize = 256;
const CACHE_BYTES: usize = 48 << 20;
/// Less than is written: the rest is gone from the log.
const LOG_BYTES: u64 = 1 << 20;

fn snapshot(criterion: &mut Criterion) {
    if !bench::is_chosen("snapshot") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    let _inside = runtime.enter();
    let keys = bench::size(100_000, 10_000);
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(keys));
    build_and_install(&mut group, &runtime, keys);
    transfer(&mut group, &runtime, keys);
    group.finish();
}

fn build_and_install(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, keys: u64) {
    let directory = directory();
    let (store, mut state) = create(directory.path());
    let values = Values::new(keys);
    for first in (1..=keys).step_by(BATCH as usize) {
        runtime.block_on(state.room());
        let last = keys.min(first + BATCH - 1);
        let entries: Vec<StateEntry> = (first..=last).map(|index| values.entry(index)).collect();
        state.apply(&entries, position(last)).expect("puts apply");
    }
    runtime.block_on(state.checkpointer().checkpoint_now()).expect("the disk has room");
    group.bench_function(BenchmarkId::new("build", keys), |bencher| {
        bencher.iter(|| black_box(chunks(&*store)));
    });
    let chunks = chunks(&*store);
    group.bench_function(BenchmarkId::new("install", keys), |bencher| {
        bencher.iter_custom(|times| {
            let install = || runtime.block_on(install(&chunks, position(keys)));
            (0..times).map(|_| install()).sum()
        });
    });
}

async fn install(chunks: &[Bytes], expected: Position) -> Duration {
    let directory = directory();
    let (store, mut state) = create(directory.path());
    let begun = Instant::now();
    let mut sink = SnapshotSink::begin(&*store, None).expect("there is room beside it");
    for chunk in chunks {
        sink.take_chunk(chunk).expect("the chunk is sound");
    }
    state.install(sink.verify().expect("it is whole")).await.expect("it can be put in place");
    let took = begun.elapsed();
    assert_eq!(state.position(), expected);
    took
}

fn transfer(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, keys: u64) {
    let mut cluster = None;
    group.bench_function(BenchmarkId::new("transfer", keys), |bencher| {
        // Made only when it is not left out by a filter.
        let cluster = cluster.get_or_insert_with(|| runtime.block_on(short(keys)));
        bencher.iter_custom(|times| {
            let mut lasted = Duration::ZERO;
            for _ in 0..times {
                let begun = Instant::now();
                runtime.block_on(cluster.add_learner());
                lasted += begun.elapsed();
                // Counted a moment after it is in place.
                let installed =
                    || Ok(cluster.metrics().pop().expect("it is there").snapshots_installed > 0);
                runtime.block_on(until("it was sent a snapshot", installed));
                runtime.block_on(cluster.remove_last());
            }
            lasted
        });
    });
    if let Some(cluster) = cluster {
        runtime.block_on(cluster.shutdown());
    }
}

/// A replica with all keys, and a log that begins after most of them.
async fn short(keys: u64) -> Replicas {
    let cluster = Replicas::start_with(1, &bench::directory(OWN), |_, builder| {
        builder.settings(|config| config.log_retention_bytes = LOG_BYTES)
    })
    .await;
    let values = Arc::new(Values::new(keys));
    let put = move |store: Store, number: u64| {
        let value = values.of(number);
        async move {
            let put = store.put(key(number), value);
            put.await.expect("a healthy replica acknowledges every put");
        }
    };
    axon_benches::drive(&cluster.stores(), FILLERS, keys, put).await;
    let is_short = || Ok(cluster.cluster(0).status()?.purged_index.0 > keys / 2);
    until("the log is short", is_short).await;
    cluster
}

fn chunks(store: &dyn StateStore) -> Vec<Bytes> {
    let mut source = SnapshotSource::open(store).expect("there is a checkpoint");
    std::iter::from_fn(|| source.next_chunk().expect("every row is sound")).collect()
}

/// An empty state on the disk, with a log that is always durable.
fn create(directory: &Path) -> (Arc<RedbState>, State) {
    let store = RedbState::create(Arc::new(RealDisk), directory, CACHE_BYTES);
    let store = Arc::new(store.expect("the directory is writable"));
    let (_durable, receiver) = watch::channel(LogIndex(u64::MAX));
    let state = State::open(store.clone(), receiver, StateConfig::default());
    (store, state.expect("an empty state opens"))
}

fn directory() -> TempDir {
    tempfile::tempdir_in(bench::directory(OWN)).expect("the benchmark's directory is writable")
}

fn position(index: u64) -> Position {
    let opaque = Bytes::from_static(b"twenty-four opaque bytes");
    Position { index: LogIndex(index), log_id: opaque.clone(), membership: opaque }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("{number:016}"))
}

/// Bytes that do not compress, one value beside the other.
struct Values(Bytes);

impl Values {
    fn new(keys: u64) -> Self {
        let mut bytes = vec![0; (keys as usize + 1) * VALUE_BYTES];
        StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
        Self(Bytes::from(bytes))
    }

    fn of(&self, number: u64) -> Bytes {
        let at = number as usize * VALUE_BYTES;
        self.0.slice(at..at + VALUE_BYTES)
    }

    fn entry(&self, index: u64) -> StateEntry {
        let op = Op::Put { key: key(index), value: self.of(index) };
        let command = Some(codec::encode(&Command { request: None, op }));
        StateEntry { index: LogIndex(index), stamp_millis: index / 64, command }
    }
}

criterion_group!(benches, snapshot);
criterion_main!(benches);
