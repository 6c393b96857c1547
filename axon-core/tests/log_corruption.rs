//! A small closed log with every byte damaged in turn: opening refuses it, or it holds what it held.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::error::StorageError;
use axon_core::storage::disk::Disk;
use axon_core::storage::wal::{Wal, WalConfig};
use axon_core::storage::{Completion, LogRecord, LogState, LogStore, PurgeMark, Result};
use axon_core::testing::faulty_disk::FaultyDisk;
use axon_core::types::LogIndex;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const LOG_ID: u128 = 0x5EED;
const CONFIG: WalConfig =
    WalConfig { segment_bytes: 4 << 10, first_segment_bytes: 2 << 10, spare_segments: 1 };

fn directory() -> &'static Path {
    Path::new("/data/log")
}

fn open(disk: &FaultyDisk) -> Result<Wal> {
    Wal::open(Arc::new(disk.clone()), directory(), LOG_ID, CONFIG)
}

fn new_log() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Wal::create(&as_disk, directory(), LOG_ID, CONFIG).unwrap();
    disk
}

fn wait(call: impl FnOnce(Completion)) {
    let (sender, answers) = mpsc::channel();
    call(Box::new(move |result| sender.send(result).unwrap()));
    answers.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
}

fn record(index: u64) -> LogRecord {
    let payload = format!("entry {index} ").repeat(1 + index as usize % 30);
    LogRecord { index: LogIndex(index), payload: payload.into() }
}

fn append(log: &Wal, range: std::ops::RangeInclusive<u64>) {
    for index in range {
        wait(|done| log.append(vec![record(index)], done));
    }
}

/// A log with several segments, a purge, a truncation, votes and a spare, closed.
fn closed_log() -> FaultyDisk {
    let disk = new_log();
    let log = open(&disk).unwrap();
    append(&log, 1..=30);
    wait(|done| log.save_vote("a vote".into(), done));
    wait(|done| {
        log.purge(PurgeMark { upto: LogIndex(25), mark: "up to 25".into() }, done);
    });
    append(&log, 31..=40);
    wait(|done| log.truncate_after(Some(LogIndex(38)), done));
    append(&log, 39..=44);
    wait(|done| log.save_vote("the last vote".into(), done));
    log.save_committed("43".into());
    close(&log, &disk);
    disk
}

/// Closes a log whose last record is the last vote, with the next segment ready behind it.
fn close(log: &Wal, disk: &FaultyDisk) {
    let last_vote = b"the last vote".as_slice();
    let is_last = |path: &PathBuf| {
        let bytes = disk.contents(path).unwrap();
        bytes.windows(last_vote.len()).any(|window| window == last_vote)
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while live(disk).last().is_none_or(&is_last) {
        assert!(Instant::now() < deadline, "the next segment was not prepared in time");
        std::thread::yield_now();
    }
    log.close();
}

fn live(disk: &FaultyDisk) -> Vec<PathBuf> {
    let mut live = disk.paths();
    live.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    live
}

/// A log that was never idle, so that no marks but those of its groups say what was durable, closed.
fn busy_log() -> FaultyDisk {
    let disk = new_log();
    let log = open(&disk).unwrap();
    let (sender, answers) = mpsc::channel();
    let done = || -> Completion {
        let sender = sender.clone();
        Box::new(move |result| sender.send(result).unwrap())
    };
    for index in 1..=40 {
        log.append(vec![record(index)], done());
        log.save_vote(format!("vote {index}").into(), done());
    }
    log.save_vote("the last vote".into(), done());
    for _ in 0..81 {
        answers.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    }
    close(&log, &disk);
    disk
}

/// What a log says that it holds, and what of that can be read.
type Contents = (LogState, std::result::Result<Vec<LogRecord>, StorageError>);

fn contents(disk: &FaultyDisk) -> Result<Contents> {
    let log = open(disk)?;
    let contents = (log.opened(), log.read(LogIndex(0)..LogIndex(u64::MAX), usize::MAX));
    log.close();
    Ok(contents)
}

/// Damages a copy; returns whether that was noticed. What is not noticed must change nothing.
fn is_noticed(disk: &FaultyDisk, what: &str, damage: impl Fn(&FaultyDisk)) -> bool {
    let damaged = disk.fork();
    damage(&damaged);
    let before = everything(&damaged);
    match contents(&damaged) {
        Ok(found) => {
            assert_eq!(found, contents(&disk.fork()).unwrap(), "{what} is served");
            false
        }
        Err(error) => {
            let expected = matches!(error, StorageError::Corrupt { .. });
            assert!(expected, "{what} is called {error}");
            assert_eq!(everything(&damaged), before, "{what} is refused and the files are changed");
            true
        }
    }
}

fn everything(disk: &FaultyDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter();
    paths.map(|path| (path.clone(), disk.contents(&path).unwrap())).collect()
}

fn every(disk: &FaultyDisk) -> impl Iterator<Item = (&FaultyDisk, (PathBuf, Vec<u8>))> {
    everything(disk).into_iter().map(move |file| (disk, file))
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let (mut noticed, mut harmless) = (0, 0);
    for (disk, step) in [(closed_log(), 1), (busy_log(), 7)] {
        for (path, bytes) in everything(&disk) {
            for offset in (0..bytes.len() as u64).step_by(step) {
                for bit in [0, 3, 7] {
                    let what = format!("bit {bit} of byte {offset} of {}", path.display());
                    if is_noticed(&disk, &what, |disk| disk.flip(&path, offset, bit)) {
                        noticed += 1;
                    } else {
                        harmless += 1;
                    }
                }
            }
        }
    }
    println!("R9: log: {noticed} flips refused, {harmless} harmless, 0 served");
    // Most of the bytes are records; the rest is padding, room to write and the next segment.
    assert!(noticed > 10_000, "the log is too small to prove anything: {noticed} flips noticed");
}

#[test]
fn a_short_file_is_refused_or_harmless() {
    let mut noticed = 0;
    let logs = [closed_log(), busy_log()];
    for (disk, (path, bytes)) in logs.iter().flat_map(every) {
        for len in (0..bytes.len() as u64).step_by(512) {
            let what = format!("{} cut to {len} bytes", path.display());
            noticed += usize::from(is_noticed(disk, &what, |disk| disk.truncate(&path, len)));
        }
    }
    println!("R9: log: {noticed} short files refused, 0 served");
    assert!(noticed >= 20, "{noticed} short files noticed");
}

#[test]
fn a_zeroed_sector_is_refused_or_harmless() {
    let mut noticed = 0;
    let logs = [closed_log(), busy_log()];
    for (disk, (path, bytes)) in logs.iter().flat_map(every) {
        for begin in (0..bytes.len() as u64).step_by(512) {
            let what = format!("{} with zeros from {begin}", path.display());
            let end = (begin + 512).min(bytes.len() as u64);
            noticed += usize::from(is_noticed(disk, &what, |disk| disk.zero(&path, begin..end)));
        }
    }
    println!("R9: log: {noticed} zeroed sectors refused, 0 served");
    assert!(noticed >= 10, "{noticed} zeroed sectors noticed");
}

/// The segments in use: the last one is only prepared, and can be made anew.
fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let mut segments = live(disk);
    segments.pop();
    assert!(segments.len() >= 2, "the log has several segments: {segments:?}");
    segments
}

#[test]
fn a_missing_segment_is_refused() {
    let logs = [closed_log(), busy_log()];
    for (disk, path) in
        logs.iter().flat_map(|disk| segments(disk).into_iter().map(move |path| (disk, path)))
    {
        let what = format!("{} missing", path.display());
        assert!(is_noticed(disk, &what, |disk| disk.remove(&path).unwrap()), "{what}");
    }
}

#[test]
fn damage_that_shows_after_the_opening_is_never_read() {
    let disk = closed_log();
    let paths = segments(&disk);
    let whole = contents(&disk.fork()).unwrap().1.unwrap();
    let mut refused = 0;
    for path in paths {
        let len = disk.contents(&path).unwrap().len() as u64;
        for offset in (0..len).step_by(13) {
            let damaged = disk.fork();
            let log = open(&damaged).unwrap();
            damaged.flip(&path, offset, 5);
            match log.read(LogIndex(0)..LogIndex(u64::MAX), usize::MAX) {
                Ok(read) => assert_eq!(read, whole, "byte {offset} of {}", path.display()),
                Err(error) => {
                    refused += 1;
                    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
                    let again = log.read(LogIndex(0)..LogIndex(1), 1);
                    assert_eq!(again, Err(error), "the first failure is kept");
                }
            }
        }
    }
    assert!(refused >= 100, "{refused} reads refused");
}

#[test]
fn a_log_that_is_absent_or_anothers_is_refused() {
    let empty = FaultyDisk::new();
    let absent = open(&empty).err().unwrap();
    assert!(matches!(absent, StorageError::Mismatch { .. }), "{absent}");
    assert!(absent.to_string().contains("absent"), "{absent}");

    let disk = closed_log();
    let before = everything(&disk);
    let other = Wal::open(Arc::new(disk.clone()), directory(), LOG_ID + 1, CONFIG).err().unwrap();
    assert!(matches!(other, StorageError::Mismatch { .. }), "{other}");
    assert!(other.to_string().contains("belongs to log"), "{other}");
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let again = Wal::create(&as_disk, directory(), LOG_ID, CONFIG);
    assert!(matches!(again, Err(StorageError::Mismatch { .. })), "{again:?}");
    assert_eq!(everything(&disk), before, "a refusal changes nothing");
}
