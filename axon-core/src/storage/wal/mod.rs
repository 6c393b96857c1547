//! The write-ahead log: an append-only [`LogStore`] in segments, one write and one sync a group.
//!
//! Hides how records lie in files, how many calls share a sync, and how a log is read back after a
//! crash. Relies on a [`Disk`] whose writes may be lost, or torn at sectors, until they are synced,
//! and whose names may be lost until their directory is. Parts, lowest first:
//!
//! * `record`: the bytes of a record and of a group of them;
//! * `segment`: one file, written over its whole length before it is used;
//! * `counters`: what the log has done;
//! * `index`: where each entry lies; `reader` reads entries by it;
//! * `supply`: prepares the next segment and recycles purged ones, on a worker of its own;
//! * `recovery`: reads a log back and tells a torn end from corruption;
//! * `writer`: turns what waits in the queue into one durable group after the other.
//!
//! Invariants:
//!
//! * calls take effect, and are completed, in the order in which they were made;
//! * after the first failure, of a write, a sync or a read, every call is answered with it, and
//!   nothing is written any more;
//! * opening changes nothing on disk before it has decided that the log is valid.
//!
//! Segments grow from [`WalConfig::first_segment_bytes`] fourfold up to
//! [`WalConfig::segment_bytes`], so that a first start writes little and a busy log rarely changes
//! files. The log keeps no records in memory: core's cache above it serves what is recent. What it
//! does not do: keep a second process out (the data directory's lock file does), know what its
//! records mean, or notice a change made to the last group of a log that was cut off by a power
//! failure before anything was written after it.

mod counters;
mod index;
mod reader;
mod record;
mod recovery;
mod segment;
mod supply;
mod writer;

use self::counters::Counters;
use self::index::Index;
use self::segment::{Name, Plan, Segment};
use self::supply::{Job, Supply};
use self::writer::{Change, GROUP_BYTES_MAX, Request, Start, Writer};
use crate::error::StorageError;
use crate::runtime::{self, WorkerQueue};
use crate::storage::disk::Disk;
use crate::storage::{Completion, LogMetrics, LogRecord, LogState, LogStore, PurgeMark, Result};
use crate::types::LogIndex;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// The settings of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalConfig {
    /// Bytes of a full-grown segment, from 2 KiB to 1 GiB. Default 64 MiB: large enough that the
    /// change to the next is rare, small enough that a purge frees space soon.
    pub segment_bytes: u64,
    /// Bytes of the first segment; each next one is four times as large, up to `segment_bytes`.
    /// Default 1 MiB: a first start waits until it is written.
    pub first_segment_bytes: u64,
    /// Purged full-grown segments that are kept to be used again. Default 1.
    pub spare_segments: usize,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, first_segment_bytes: 1 << 20, spare_segments: 1 }
    }
}

impl WalConfig {
    const BYTES_MIN: u64 = 2 << 10;
    const BYTES_MAX: u64 = 1 << 30;

    fn bounded(self) -> Self {
        let bounded = |bytes: u64| whole_sectors(bytes.clamp(Self::BYTES_MIN, Self::BYTES_MAX));
        let segment_bytes = bounded(self.segment_bytes);
        let first_segment_bytes = bounded(self.first_segment_bytes).min(segment_bytes);
        Self { segment_bytes, first_segment_bytes, ..self }
    }

    fn capacity_after(&self, capacity: u64) -> u64 {
        (capacity * 4).clamp(self.first_segment_bytes, self.segment_bytes)
    }
}

/// `bytes`, rounded up to whole sectors of 512 bytes.
const fn whole_sectors(bytes: u64) -> u64 {
    bytes.div_ceil(512) * 512
}

/// A place in the log's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    segment: u64,
    offset: u64,
}

/// A durable log in one directory. See the module's essay.
///
/// Dropped without [`close`](LogStore::close), it stops after the group under way and fails what
/// still waits, as a crash would.
pub struct Wal {
    shared: Arc<Shared>,
    opened: LogState,
}

/// What the log's callers and its writer share.
struct Shared {
    queue: Mutex<Queue>,
    /// Held while completions are called, so that they keep their order.
    completing: Mutex<()>,
    /// `None` once the log is closed.
    writer: Mutex<Option<Writer>>,
    common: Arc<Common>,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    /// `None` once the log is closed.
    wake: Option<WorkerQueue<()>>,
    /// The writer was woken and has not looked yet.
    woken: bool,
}

/// What outlives the writer's lock.
struct Common {
    index: RwLock<Index>,
    supply: Supply,
    failure: OnceLock<StorageError>,
    counters: Mutex<Counters>,
}

impl Wal {
    /// Makes an empty log with the id `log_id` in `directory`, durably.
    ///
    /// # Errors
    /// `Mismatch` when there is a log already.
    pub fn create(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        log_id: u128,
        config: WalConfig,
    ) -> Result<()> {
        disk.create_dir(directory)
            .map_err(|error| StorageError::io("cannot create", directory, &error))?;
        if names(&**disk, directory)?.iter().any(|name| matches!(name, Name::Live(_))) {
            let reason = "there is a log already; a new one would take its place".into();
            return Err(StorageError::Mismatch { path: directory.display().to_string(), reason });
        }
        let capacity = config.bounded().first_segment_bytes;
        let plan = Plan { directory, log_id, id: 1, capacity, recycled: None };
        Segment::make(&**disk, &plan, &AtomicBool::new(false)).map(drop)
    }

    /// Opens the log with the id `log_id` in `directory`.
    ///
    /// Reads and checks all of it. What a power cut has torn at its end was never acknowledged and
    /// is cut off. Changes nothing on disk unless it succeeds.
    ///
    /// # Errors
    /// `Mismatch` when there is no log, or another's; `Corrupt` when what was once durable is
    /// damaged; `NewerFormat` when a later Axon wrote it.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        log_id: u128,
        config: WalConfig,
    ) -> Result<Self> {
        let config = config.bounded();
        let found = recovery::recover(&*disk, directory, log_id, config.spare_segments)?;
        if let Some((file, offset)) = &found.torn {
            let file = file.display();
            tracing::warn!(%file, offset, "cut off a group that did not reach the disk as a whole");
        }
        for path in &found.leftovers {
            disk.remove(path).map_err(|error| StorageError::io("cannot remove", path, &error))?;
        }
        disk.sync_dir(directory)
            .map_err(|error| StorageError::io("cannot sync", directory, &error))?;

        let supply = Supply::new(disk, directory.to_owned(), log_id, config, found.stock);
        let tail = found.index.tail();
        let common = Arc::new(Common {
            index: RwLock::new(found.index),
            supply,
            failure: OnceLock::new(),
            counters: Mutex::default(),
        });
        let jobs = start_supply(&common, &found.segment);
        let (segment, offset) = (found.segment, found.offset);
        let LogState { vote, purged, committed, .. } = found.state.clone();
        let start = Start { segment, offset, tail, vote, purged, committed };
        let mut writer = Writer::new(Arc::clone(&common), jobs, start);
        writer.settle(&found.last_group).inspect_err(|_| common.supply.stop())?;
        let shared = start_writer(common, writer);
        Ok(Self { shared, opened: found.state })
    }

    fn submit(&self, change: Change, done: Option<Completion>) {
        self.shared.submit(Request { change, done });
    }
}

/// Starts the worker that prepares segments, with what it has to do at first.
fn start_supply(common: &Arc<Common>, current: &Segment) -> WorkerQueue<Job> {
    let worker = Arc::clone(common);
    let jobs = runtime::background_worker("axon-log-supply", move |jobs| worker.supply.work(jobs));
    // The worker was started in the line above: it takes what it is given.
    let _ = jobs.push(Job::PrepareAfter { id: current.id, capacity: current.capacity });
    let purged = write_lock(&common.index).drop_purged();
    if !purged.is_empty() {
        let _ = jobs.push(Job::Retire(purged));
    }
    jobs
}

fn start_writer(common: Arc<Common>, writer: Writer) -> Arc<Shared> {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        completing: Mutex::default(),
        writer: Mutex::new(Some(writer)),
        common,
    });
    let worker = Arc::clone(&shared);
    let wake = runtime::worker("axon-log", move |_: Vec<()>| worker.write_what_waits());
    lock(&shared.queue).wake = Some(wake);
    shared
}

impl LogStore for Wal {
    fn opened(&self) -> LogState {
        self.opened.clone()
    }

    fn append(&self, records: Vec<LogRecord>, done: Completion) {
        self.submit(Change::Append(records), Some(done));
    }

    fn save_vote(&self, vote: Bytes, done: Completion) {
        self.submit(Change::Vote(vote), Some(done));
    }

    fn save_committed(&self, committed: Bytes) {
        self.submit(Change::Committed(committed), None);
    }

    fn truncate_after(&self, last: Option<LogIndex>, done: Completion) {
        self.submit(Change::Truncate(last), Some(done));
    }

    fn purge(&self, mark: PurgeMark, done: Completion) {
        self.submit(Change::Purge(mark), Some(done));
    }

    fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<LogRecord>> {
        self.shared.common.failure()?;
        reader::read(&self.shared.common, &(range.start.0..range.end.0), bytes_max)
    }

    fn metrics(&self) -> LogMetrics {
        let common = &self.shared.common;
        let disk_bytes = read_lock(&common.index).disk_bytes() + common.supply.disk_bytes();
        LogMetrics { disk_bytes, ..common.counters().metrics() }
    }

    /// Not to be called from a completion.
    fn close(&self) {
        self.shared.close();
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn submit(&self, request: Request) {
        let rejected = {
            let mut queue = lock(&self.queue);
            queue.add(request)
        };
        if rejected.is_empty() {
            return;
        }
        let error = self.common.latch(closed(&self.common.supply.directory));
        for done in rejected.into_iter().filter_map(|request| request.done) {
            done(Err(error.clone()));
        }
    }

    /// The writer's turn: one group after the other, until nothing waits.
    fn write_what_waits(&self) {
        let _in_order = lock(&self.completing);
        loop {
            // The writer's lock is free again before anybody is told: a completion may well drop
            // the last handle on this log, which takes that lock.
            let (waiting, result) = {
                let mut writer = self.writer();
                let Some(writer) = writer.as_mut() else { return };
                let requests = lock(&self.queue).take(GROUP_BYTES_MAX);
                if requests.is_empty() {
                    writer.rest();
                    return;
                }
                writer.process(requests)
            };
            for done in waiting {
                done(result.clone());
            }
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(|poisoned| {
            // Half a group may be staged: nothing of it must reach the disk.
            self.common.latch(StorageError::Mismatch {
                path: self.common.supply.directory.display().to_string(),
                reason: "the log's writer has panicked".into(),
            });
            poisoned.into_inner()
        })
    }

    fn close(&self) {
        self.common.supply.let_go();
        let _in_order = lock(&self.completing);
        let (waiting, result) = {
            let mut writer = self.writer();
            let requests = lock(&self.queue).close();
            let Some(mut open) = writer.take() else { return };
            let (waiting, result) = open.process(requests);
            if let Err(error) = open.finish() {
                self.common.latch(error);
            }
            self.release();
            (waiting, result)
        };
        for done in waiting {
            done(result.clone());
        }
    }

    /// Ends without another write, as a crash would.
    fn stop(&self) {
        self.common.supply.let_go();
        let requests = {
            let mut writer = self.writer();
            let requests = lock(&self.queue).close();
            if writer.take().is_some() {
                self.release();
            }
            requests
        };
        for done in requests.into_iter().filter_map(|request| request.done) {
            done(self.common.failure());
        }
    }

    fn release(&self) {
        self.common.latch(closed(&self.common.supply.directory));
        self.common.supply.stop();
        write_lock(&self.common.index).clear();
    }
}

impl Queue {
    /// Adds `request` and wakes the writer; gives back all that waits if there is none.
    fn add(&mut self, request: Request) -> Vec<Request> {
        let Some(wake) = &self.wake else { return vec![request] };
        // What is committed waits for a write that somebody waits for; the latest is enough.
        let waits = request.done.is_none();
        if waits && self.requests.back().is_some_and(|latest| latest.done.is_none()) {
            self.requests.pop_back();
        }
        self.requests.push_back(request);
        if waits || self.woken {
            return Vec::new();
        }
        self.woken = wake.push(()).is_ok();
        if self.woken { Vec::new() } else { self.close() }
    }

    /// Takes from the front what makes up one group, and one request in any case.
    fn take(&mut self, bytes_max: usize) -> Vec<Request> {
        self.woken = false;
        let mut bytes = 0;
        let fits = self.requests.iter().take_while(|request| {
            bytes += request.change.bytes();
            bytes <= bytes_max
        });
        let count = fits.count().max(1).min(self.requests.len());
        self.requests.drain(..count).collect()
    }

    fn close(&mut self) -> Vec<Request> {
        self.wake = None;
        std::mem::take(&mut self.requests).into()
    }
}

impl Common {
    /// Answers with the first failure, if there was one.
    fn failure(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Keeps the first failure; returns it.
    fn latch(&self, error: StorageError) -> StorageError {
        self.failure.get_or_init(|| error).clone()
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
    }
}

/// Lists what of the log lies in `directory`, sorted by id.
fn names(disk: &dyn Disk, directory: &Path) -> Result<Vec<Name>> {
    match disk.list(directory) {
        Ok(names) => Ok(names.iter().filter_map(|name| Name::parse(name)).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StorageError::io("cannot list", directory, &error)),
    }
}

fn closed(directory: &Path) -> StorageError {
    let error = io::Error::new(io::ErrorKind::NotConnected, "the log is closed");
    StorageError::io("cannot use", directory, &error)
}

/// Locks; what the lock protects is whole whenever it is free, even after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write_lock<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
