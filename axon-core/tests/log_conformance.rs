//! The conformance suite on every log that Axon has.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::storage::LogStore;
use axon_core::storage::disk::{Disk, RealDisk};
use axon_core::storage::memory::MemLog;
use axon_core::storage::wal::{Wal, WalConfig};
use axon_core::testing::faulty_disk::{Fault, FaultyDisk};
use axon_core::testing::log_suite::{LogUnderTest, check_log};
use std::path::Path;
use std::sync::{Arc, Mutex};
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

/// The next segment is prepared in the background: the sync that is to fail is the log's own.
fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "the next segment was not prepared in time");
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
