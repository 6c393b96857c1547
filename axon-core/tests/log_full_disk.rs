//! The write-ahead log on a disk that runs full: it takes smaller segments, then it waits, and it
//! fails only for what may be half written.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::error::StorageError;
use axon_core::storage::disk::Disk;
use axon_core::storage::wal::{Wal, WalConfig};
use axon_core::storage::{LogRecord, LogStore, Result};
use axon_core::testing::faulty_disk::{Fault, FaultyDisk};
use axon_core::types::LogIndex;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

const LOG_ID: u128 = 0xA7;
const CONFIG: WalConfig =
    WalConfig { segment_bytes: 256 << 10, first_segment_bytes: 16 << 10, spare_segments: 1 };
const TOTAL: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than the log takes to look for room again, several times over.
const A_WHILE: Duration = Duration::from_millis(500);

fn directory() -> &'static Path {
    Path::new("/data/log")
}

fn open(disk: &FaultyDisk) -> Wal {
    Wal::open(Arc::new(disk.clone()), directory(), LOG_ID, CONFIG).unwrap()
}

fn made(disk: &FaultyDisk) -> Wal {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Wal::create(&shared, directory(), LOG_ID, CONFIG).unwrap();
    open(disk)
}

/// Appends one record of 8 KiB; the receiver is told when it is durable.
fn append(log: &Wal, index: u64) -> Receiver<Result<()>> {
    let (done, told) = mpsc::channel();
    let record = LogRecord { index: LogIndex(index), payload: vec![index as u8; 8 << 10].into() };
    log.append(vec![record], Box::new(move |result| drop(done.send(result))));
    told
}

/// Appends until a record is not durable within a while; returns what waits, and its index.
fn append_until_it_waits(log: &Wal) -> (Receiver<Result<()>>, u64) {
    for index in 1.. {
        let told = append(log, index);
        match told.recv_timeout(A_WHILE) {
            Ok(result) => result.unwrap(),
            Err(_) => return (told, index),
        }
    }
    unreachable!("the disk has an end");
}

#[test]
fn a_log_without_room_for_a_segment_waits_and_goes_on_when_there_is() {
    let disk = FaultyDisk::new();
    let log = made(&disk);
    disk.leave_free(300 << 10, TOTAL);
    let (waits, last) = append_until_it_waits(&log);
    assert!(last > 8, "the smallest segments were used up first, not just {last} records");
    let vote = {
        let (done, told) = mpsc::channel();
        log.save_vote("vote".into(), Box::new(move |result| drop(done.send(result))));
        told
    };
    assert!(vote.recv_timeout(A_WHILE).is_err(), "what follows waits behind it");
    assert_eq!(log.read(LogIndex(1)..LogIndex(last), usize::MAX).unwrap().len() as u64, last - 1);

    disk.leave_free(4 << 20, TOTAL);
    waits.recv_timeout(PATIENCE).unwrap().unwrap();
    vote.recv_timeout(PATIENCE).unwrap().unwrap();
    append(&log, last + 1).recv_timeout(PATIENCE).unwrap().unwrap();
    log.close();
    let opened = open(&disk).opened();
    assert_eq!((opened.last, opened.vote), (Some(LogIndex(last + 1)), Some("vote".into())));
}

#[test]
fn a_log_that_waits_for_room_can_be_closed_and_loses_nothing_acknowledged() {
    let disk = FaultyDisk::new();
    let log = made(&disk);
    disk.leave_free(100 << 10, TOTAL);
    let (waits, last) = append_until_it_waits(&log);
    log.close();
    let refused = waits.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert!(matches!(refused, StorageError::Io { kind: ErrorKind::StorageFull, .. }), "{refused}");
    // It opens without room, too.
    assert_eq!(open(&disk).opened().last, Some(LogIndex(last - 1)));
}

#[test]
fn where_space_is_short_segments_are_smaller() {
    let bytes = |free: u64| {
        let disk = FaultyDisk::new();
        let log = made(&disk);
        disk.leave_free(free, TOTAL);
        for index in 1..=60 {
            append(&log, index).recv_timeout(PATIENCE).unwrap().unwrap();
        }
        // A file may be gone, renamed beside this, when it is looked into.
        let lens = disk.paths().into_iter().filter_map(|path| Some(disk.contents(&path)?.len()));
        lens.max().unwrap() as u64
    };
    assert_eq!(bytes(32 << 20), CONFIG.segment_bytes);
    assert!(bytes(800 << 10) < CONFIG.segment_bytes);
}

#[test]
fn a_full_disk_under_a_live_segment_halts_the_log() {
    let disk = FaultyDisk::new();
    let log = made(&disk);
    append(&log, 1).recv_timeout(PATIENCE).unwrap().unwrap();
    // Not to be told from a sync that lost the group: it is never tried again. The next segment is
    // made ready beside the writer, with syncs of its own, and may take a refusal or two.
    let refused = (2..10).find(|index| {
        disk.fail_sync(1, Fault::NoSpace);
        append(&log, *index).recv_timeout(PATIENCE).unwrap().is_err()
    });
    let next = refused.expect("a sync of the writer is refused") + 1;
    append(&log, next).recv_timeout(PATIENCE).unwrap().unwrap_err();
}
