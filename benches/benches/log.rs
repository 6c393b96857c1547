//! The write-ahead log: what an entry costs at several entries a sync, and how long opening takes.
//!
//! Beside the times, the CPU time an entry takes is printed, of all threads: with a sync that waits
//! for a disk, it is what decides; and how many entries shared a sync.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says.
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use axon_benches::bench::{self, Counted};
use axon_core::storage::disk::{Disk, RealDisk};
use axon_core::storage::wal::{Wal, WalConfig};
use axon_core::storage::{LogRecord, LogStore, PurgeMark};
use axon_core::types::LogIndex;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const OWN: &str = env!("CARGO_TARGET_TMPDIR");
const ENTRY_BYTES: usize = 256;
const LOG_ID: u128 = 1;

fn directory() -> TempDir {
    tempfile::tempdir_in(bench::directory(OWN)).expect("a temporary directory can be made")
}

fn open(directory: &Path) -> Wal {
    Wal::open(Arc::new(RealDisk), directory, LOG_ID, WalConfig::default()).expect("the log opens")
}

fn create(directory: &Path) -> Wal {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Wal::create(&disk, directory, LOG_ID, WalConfig::default()).expect("the log can be made");
    open(directory)
}

/// A log that is appended to in groups of one size, and purged so that its segments are recycled.
struct Appender {
    log: Wal,
    payload: Bytes,
    next: u64,
    /// Entries that are not purged.
    kept: u64,
}

impl Appender {
    fn new(directory: &Path, kept: u64) -> Self {
        let payload = Bytes::from(vec![0xA5; ENTRY_BYTES]);
        Self { log: create(directory), payload, next: 1, kept }
    }

    fn append(&mut self, entries: u64) {
        let (sender, durable) = mpsc::sync_channel(1);
        let records = (self.next..self.next + entries)
            .map(|index| LogRecord { index: LogIndex(index), payload: self.payload.clone() })
            .collect();
        self.next += entries;
        self.log.append(
            records,
            Box::new(move |result| {
                sender.send(result).expect("the caller waits");
            }),
        );
        if self.next / 100_000 != (self.next - entries) / 100_000 && self.next > self.kept {
            let mark = PurgeMark { upto: LogIndex(self.next - self.kept), mark: Bytes::new() };
            self.log.purge(mark, Box::new(|result| result.expect("the purge succeeds")));
        }
        durable.recv().expect("the append is answered").expect("the append succeeds");
    }
}

fn append(criterion: &mut Criterion) {
    if !bench::is_chosen("log/append") {
        return;
    }
    let mut group = criterion.benchmark_group("log/append");
    for entries in [1, 16, 64, 256, 1024] {
        let directory = directory();
        let mut appender = Appender::new(&directory.path().join("log"), 400_000);
        let mut counted = Counted::default();
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter_custom(|iterations| {
                counted.run(iterations * entries, || {
                    let begun = Instant::now();
                    for _ in 0..iterations {
                        appender.append(entries);
                    }
                    begun.elapsed()
                })
            });
        });
        let metrics = appender.log.metrics();
        counted.syncs = metrics.syncs;
        counted.entries = metrics.appended_entries;
        counted.note(OWN, &format!("log/append/{entries}"));
        if let Some(mean) = metrics.sync_micros.checked_div(metrics.syncs) {
            println!("    a sync takes {mean} us, p99 {} us", metrics.sync_p99_micros);
        }
        appender.log.close();
    }
    group.finish();
}

fn reopen(criterion: &mut Criterion) {
    if !bench::is_chosen("log/open") {
        return;
    }
    let mut group = criterion.benchmark_group("log/open");
    group.sample_size(20);
    for entries in [bench::size(100_000, 1_000), bench::size(1_000_000, 2_000)] {
        let directory = directory();
        let path = directory.path().join("log");
        let mut appender = Appender::new(&path, u64::MAX);
        for _ in 0..entries / 1_000 {
            appender.append(1_000);
        }
        // Not closed: as after a kill.
        drop(appender);
        let mut all = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let begun = Instant::now();
                    let log = black_box(open(&path));
                    let took = begun.elapsed();
                    drop(log);
                    all.push(took);
                    total += took;
                }
                total
            });
        });
        all.sort();
        if let Some(p99) = all.get((all.len() * 99).div_ceil(100).saturating_sub(1)) {
            println!("log/open/{entries}: p99 {p99:?} of {} openings", all.len());
        }
    }
    group.finish();
}

criterion_group!(benches, append, reopen);
criterion_main!(benches);
