//! How long a replica that was killed takes to serve again: from opening its directory to the answer to
//! a linearizable get.
//!
//! * `keys`: so many keys of 16 B with values of 256 B, all in the last checkpoint.
//! * `entries`: so many puts, none in a checkpoint: all are replayed from the log.
//!
//! The directory is a copy, made while its replica ran and wrote nothing: what a kill would have left.
//! A fresh one for each opening, since an opening repairs it. `load scale` does the same with processes
//! that are killed, and with more keys.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.

use axon_benches::bench;
use axon_core::{Cluster, Store};
use bytes::Bytes;
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const OWN: &str = env!("CARGO_TARGET_TMPDIR");
const VALUE: [u8; 256] = [b'v'; 256];
/// Puts in flight while the store is filled.
const FILLERS: usize = 256;
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a directory is copied again in which a file was renamed meanwhile.
const COPIES: usize = 10;

fn recovery(criterion: &mut Criterion) {
    if !bench::is_chosen("recovery") {
        return;
    }
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
    for (kind, checkpointed) in [("keys", true), ("entries", false)] {
        for count in [bench::size(10_000, 100), bench::size(100_000, 200)] {
            let mut killed = None;
            group.throughput(Throughput::Elements(count));
            group.bench_function(BenchmarkId::new(kind, count), |bencher| {
                // Made only when it is not left out by a filter.
                let killed =
                    killed.get_or_insert_with(|| runtime.block_on(kill(count, checkpointed)));
                bencher.iter_custom(|times| {
                    let open = || runtime.block_on(open(killed.path(), count));
                    (0..times).map(|_| open()).sum()
                });
            });
        }
    }
    group.finish();
}

/// A directory of a replica that was killed after `count` puts.
async fn kill(count: u64, checkpointed: bool) -> TempDir {
    let data = directory();
    let builder = Cluster::builder().data_dir(data.path()).init().settings(|config| {
        // None but the one that is asked for.
        config.checkpoint_interval = Duration::from_hours(24);
        config.checkpoint_bytes = 1 << 30;
        config.overlay_bytes_max = 2 << 30;
    });
    let cluster = builder.start().await.expect("a replica opens");
    cluster.wait_ready(PATIENCE).await.expect("it becomes ready");
    let put = |store: Store, number: u64| async move {
        let put = store.put(key(number), Bytes::from_static(&VALUE));
        put.await.expect("a healthy replica acknowledges every put");
    };
    axon_benches::drive(&[cluster.store()], FILLERS, count, put).await;
    if checkpointed {
        cluster.checkpoint().await.expect("the disk has room for a checkpoint");
    }
    let killed = copied(data.path());
    cluster.shutdown().await.expect("it was running until now");
    killed
}

/// Opens a copy of `killed`; how long it took until it served.
async fn open(killed: &Path, count: u64) -> Duration {
    let data = copied(killed);
    let begun = Instant::now();
    let builder = Cluster::builder().data_dir(data.path());
    let cluster = builder.start().await.expect("what was killed opens");
    cluster.wait_ready(PATIENCE).await.expect("it becomes ready");
    let last = cluster.store().get(key(count - 1)).await.expect("it serves");
    let took = begun.elapsed();
    assert!(last.is_some(), "what was acknowledged is there");
    cluster.shutdown().await.expect("it was running until now");
    took
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("{number:016}"))
}

fn directory() -> TempDir {
    tempfile::tempdir_in(bench::directory(OWN)).expect("the benchmark's directory is writable")
}

/// A copy of what is in `from`. The log prepares files beside those it uses, so that one may go by
/// another name when it is its turn.
fn copied(from: &Path) -> TempDir {
    for _ in 0..COPIES {
        let to = directory();
        match copy(from, to.path()) {
            Ok(()) => return to,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("a copy of {}: {error}", from.display()),
        }
    }
    panic!("{} is never the same", from.display());
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

criterion_group!(benches, recovery);
criterion_main!(benches);
