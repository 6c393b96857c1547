//! The conformance suite on every log that Axon has.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::storage::disk::{Disk, RealDisk};
use axon_core::storage::memory::MemLog;
use axon_core::storage::wal::{Wal, WalConfig};
use axon_core::storage::{Completion, LogRecord, LogStore, PurgeMark};
use axon_core::testing::faulty_disk::{Fault, FaultyDisk};
use axon_core::testing::log_suite::{LogUnderTest, check_log};
use axon_core::types::LogIndex;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const TINY: WalConfig =
    WalConfig { segment_bytes: 8 << 10, first_segment_bytes: 2 << 10, spare_segments: 2 };

fn wal(disk: Arc<dyn Disk>, directory: &Path, config: WalConfig) -> LogUnderTest {
    let directory = directory.to_owned();
    Wal::create(&disk, &directory, 7, config).unwrap();
    let open = move || -> Arc<dyn LogStore> {
        Arc::new(Wal::open(Arc::clone(&disk), &directory, 7, config).unwrap())
    };
    LogUnderTest { open: Box::new(open), durable: true, fail_next_sync: None }
}

#[test]
fn the_write_ahead_log_on_a_real_disk_conforms() {
    let directories = Mutex::new(Vec::new());
    for config in [TINY, WalConfig::default()] {
        check_log(|| {
            let directory = tempfile::tempdir().unwrap();
            let test = wal(Arc::new(RealDisk), &directory.path().join("log"), config);
            directories.lock().unwrap().push(directory);
            test
        });
    }
}

#[test]
fn the_write_ahead_log_on_a_faulty_disk_conforms() {
    for fault in [Fault::Io, Fault::NoSpace] {
        check_log(|| {
            let disk = FaultyDisk::new();
            let mut test = wal(Arc::new(disk.clone()), Path::new("/data/log"), TINY);
            // With the next segment ready, the sync that is to fail is the log's own.
            test.fail_next_sync = Some(Box::new(move || {
                wait_until(|| {
                    disk.paths().iter().any(|path| path.ends_with("0000000000000002.wal"))
                });
                disk.fail_sync(1, fault);
            }));
            test
        });
    }
}

/// Waits for what goes on in the background.
fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        std::thread::yield_now();
    }
}

#[test]
fn the_log_in_memory_conforms() {
    check_log(|| LogUnderTest {
        open: Box::new(|| Arc::new(MemLog::new())),
        durable: false,
        fail_next_sync: None,
    });
}

fn records(first: u64, count: u64) -> Vec<LogRecord> {
    (first..first + count)
        .map(|index| LogRecord { index: LogIndex(index), payload: vec![7; 100].into() })
        .collect()
}

#[test]
fn a_log_that_is_purged_stays_small() {
    let disk = FaultyDisk::new();
    let log = (wal(Arc::new(disk.clone()), Path::new("/data/log"), TINY).open)();
    let (sender, answers) = mpsc::channel();
    let done = || -> Completion {
        let sender = sender.clone();
        Box::new(move |result| sender.send(result).unwrap())
    };
    for first in (1..4_000).step_by(20) {
        log.append(records(first, 20), done());
        let mark = PurgeMark { upto: LogIndex(first + 9), mark: "mark".into() };
        log.purge(mark, done());
        for _ in 0..2 {
            answers.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
        }
    }
    // One segment is written, one may be kept for the last entries, one is ready, two are spare.
    let bytes = || -> u64 {
        disk.paths().iter().map(|path| disk.contents(path).unwrap().len() as u64).sum()
    };
    wait_until(|| bytes() <= 5 * TINY.segment_bytes && log.metrics().disk_bytes == bytes());
}

#[test]
fn a_completion_may_drop_the_last_handle_on_the_log() {
    let disk = FaultyDisk::new();
    let test = wal(Arc::new(disk), Path::new("/data/log"), TINY);
    let log = (test.open)();
    let (let_go, may_go) = mpsc::channel();
    let (sender, answers) = mpsc::channel();
    let last = Arc::clone(&log);
    let dropping: Completion = Box::new(move |result| {
        may_go.recv_timeout(Duration::from_secs(30)).unwrap();
        drop(last);
        sender.send(result).unwrap();
    });
    log.append(records(1, 3), dropping);
    drop(log);
    let_go.send(()).unwrap();
    answers.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    assert_eq!((test.open)().opened().last, Some(LogIndex(3)));
}
