//! What a storage engine must do: keep opaque records in order, and an ordered map of bytes.
//!
//! An engine carries bytes; what they mean stays in core. A [`StorageEngine`] makes and opens two
//! things:
//!
//! * a [`LogStore`]: the durable tail of the Raft log, with the vote;
//! * a [`StateStore`]: the base of the state, written in rare large batches, read all the time.
//!
//! Every contract below is checked by the suites of the `testing` feature. The engines that Axon
//! brings are in [`builtin`]; another one is plugged in with
//! [`Builder::storage`](crate::cluster::Builder::storage).

pub mod builtin;
pub mod disk;
pub mod memory;
pub mod redb;
pub mod scratch;
pub(crate) mod space;
pub mod wal;

use self::disk::{Disk, RealDisk};
use crate::error::StorageError;
use crate::histogram::Histogram;
use crate::types::LogIndex;
use bytes::Bytes;
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Arc;

/// The result of an engine's call.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Makes and opens what a replica keeps in its data directory.
///
/// Who the replica is (its cluster, its id, its name) core keeps there itself, and writes last: an
/// identity proves that its log and its state were once there. Contract:
///
/// * An engine's files lie in the data directory under names of its own choice. `lock`, `joining`,
///   `making`, `identity` and `reserve`, also with `.new` behind them, are core's.
/// * A log keeps the id that it was created with, and is opened under no other: a log that was put
///   in the place of another is refused.
/// * Opening makes nothing. What is missing was lost, and votes and acknowledged writes with it: it
///   is refused, never begun anew.
/// * Calls may block on the disk; core makes them where that is allowed, one at a time for a
///   directory, and keeps other processes out of it.
pub trait StorageEngine: Send + Sync + 'static {
    /// Reports whether `directory` holds a log or a state, finished or not; a directory that is
    /// missing holds none. Changes nothing.
    fn exists(&self, directory: &Path) -> Result<bool>;

    /// Creates an empty log with the id `log_id`, and an empty state. Durable when it returns.
    ///
    /// Core has marked the directory as unfinished: what the engine finds there was left by a call
    /// that was interrupted, was never used, and is replaced.
    fn create(&self, directory: &Path, log_id: u128) -> Result<()>;

    /// Opens the log with the id `log_id`, and the state beside it.
    ///
    /// # Errors
    /// `Mismatch` when there is no log, or another's; and whatever else makes the two unusable.
    /// Nothing that would be missed is changed then.
    fn open(&self, directory: &Path, log_id: u128) -> Result<Storage>;

    /// The disk that the data directory lies on, whose space core watches: below a watermark the
    /// replica takes no more writes, so that the engine need not meet a full disk. `None`, for what
    /// takes no space there: it is not watched.
    fn disk(&self) -> Option<Arc<dyn Disk>> {
        Some(Arc::new(RealDisk))
    }
}

/// An opened engine: the two halves of one replica's data directory.
pub struct Storage {
    /// The log.
    pub log: Arc<dyn LogStore>,
    /// The base of the state.
    pub state: Arc<dyn StateStore>,
}

/// Called once, when what it was handed with is durable or has failed.
pub type Completion = Box<dyn FnOnce(Result<()>) + Send>;

/// What a log holds when it is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState {
    /// The mark of the last purge: what [`LogStore::purge`] was given; `None` before the first.
    pub purged: Option<PurgeMark>,
    /// The index of the last record; `None` when there is none after the purge mark.
    pub last: Option<LogIndex>,
    /// What [`LogStore::save_vote`] stored last.
    pub vote: Option<Bytes>,
    /// What [`LogStore::save_committed`] stored, as far as it reached the disk.
    pub committed: Option<Bytes>,
}

/// Up to where a log is purged, with core's description of that place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeMark {
    /// The last index that is purged.
    pub upto: LogIndex,
    /// Opaque: core's name for the purged record.
    pub mark: Bytes,
}

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place. Records of one append are consecutive.
    pub index: LogIndex,
    /// Opaque.
    pub payload: Bytes,
}

/// Counters of a log since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Records appended.
    pub appended_entries: u64,
    /// Bytes of the records appended, framing included.
    pub appended_bytes: u64,
    /// Syncs made.
    pub syncs: u64,
    /// Time spent in syncs, in microseconds.
    pub sync_micros: u64,
    /// The 99th percentile of the syncs of the latest 5 s, of 512 at most, in microseconds; 0 when
    /// there were none.
    pub sync_p99_micros: u64,
    /// How long each sync took, in microseconds.
    pub sync_durations: Histogram,
    /// How many records each group had that was synced as one.
    pub group_entries: Histogram,
    /// Bytes that the log takes on disk.
    pub disk_bytes: u64,
}

/// The durable log of one replica.
///
/// Contract:
///
/// * Calls take effect in the order in which they are made, and so do their completions: when one
///   is answered `Ok`, it and everything before it is durable.
/// * No call blocks on the disk, except [`read`](Self::read) and [`close`](Self::close).
/// * After the first failure every call is answered with that failure. A sync is never retried.
/// * After a crash, the log holds every call that was answered `Ok`, and possibly a prefix of
///   those that were not.
pub trait LogStore: Send + Sync + 'static {
    /// Returns what was found when the log was opened.
    fn opened(&self) -> LogState;

    /// Appends `records`, which follow the last record, or the purge mark.
    fn append(&self, records: Vec<LogRecord>, done: Completion);

    /// Stores the vote in place of the former one.
    fn save_vote(&self, vote: Bytes, done: Completion);

    /// Stores how far the log is committed, with the next write that syncs: a crash may lose it.
    fn save_committed(&self, committed: Bytes);

    /// Removes every record after `last`; all of them when `None`.
    fn truncate_after(&self, last: Option<LogIndex>, done: Completion);

    /// Removes every record up to and with `mark.upto`, and the records after it too when the
    /// mark lies beyond the last one.
    fn purge(&self, mark: PurgeMark, done: Completion);

    /// Reads the payloads of `range`, of which every append has completed.
    ///
    /// Stops early, but not before the first record, when the next would exceed `bytes_max`.
    /// Records that are purged or not there are left out; the result has no gaps.
    fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<LogRecord>>;

    /// Returns the counters.
    fn metrics(&self) -> LogMetrics;

    /// Makes everything durable, marks a clean stop, and releases what is held. Later calls fail.
    fn close(&self);
}

/// A part of the ordered map with keys of its own. The numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// The current version of each key.
    Kv = 1,
    /// Superseded versions and tombstones.
    History = 2,
    /// What each revision changed.
    Changes = 3,
    /// Client sessions, for exactly once.
    Sessions = 4,
    /// The state's own: applied log id, membership, counters.
    Meta = 5,
}

impl Space {
    /// All spaces, in order.
    pub const ALL: [Self; 5] = [Self::Kv, Self::History, Self::Changes, Self::Sessions, Self::Meta];
}

/// One change of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Where.
    pub space: Space,
    /// Under which key.
    pub key: Bytes,
    /// The new value; `None` removes the key.
    pub value: Option<Bytes>,
}

/// A row that was read: key and value.
pub type Row = (Bytes, Bytes);

/// Rows in key order, each read when asked for.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row>> + Send + 'a>;

/// The base of one replica's state: an ordered map of bytes for each [`Space`].
///
/// Contract:
///
/// * [`commit`](Self::commit) is atomic and durable when it returns.
/// * A view never changes, and never blocks a commit or a replacement.
/// * Calls may block on the disk; core makes them where that is allowed.
pub trait StateStore: Send + Sync + 'static {
    /// Opens a view of what the last commit left.
    fn view(&self) -> Result<Arc<dyn StateView>>;

    /// Applies `changes`, sorted by space and key, each key at most once. They are made as they are
    /// asked for: a checkpoint is not held in memory once more for the sake of its commit.
    fn commit(&self, changes: &mut dyn Iterator<Item = RowChange>) -> Result<()>;

    /// Begins a new state beside the present one.
    fn replace(&self) -> Result<Box<dyn Replacement>>;

    /// Returns the bytes it takes on disk.
    fn disk_bytes(&self) -> u64;

    /// Returns the bytes that are free where it lies: a commit that may not fit is put off until
    /// there is room. `None`: it is never put off.
    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// A state store as of one commit.
pub trait StateView: Send + Sync + 'static {
    /// Reads one key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>>;

    /// Reads a range, in key order or against it.
    fn scan(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        reverse: bool,
    ) -> Result<Rows<'_>>;
}

/// A new state that is loaded beside the present one, as when a snapshot is installed.
///
/// Dropped before [`finish`](Self::finish), it leaves the present state untouched. A crash at any
/// moment leaves the one or the other, never a mixture.
pub trait Replacement: Send {
    /// Adds a row; rows come sorted by space and key.
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()>;

    /// Makes the new state durable and puts it in place of the present one.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Reports whether nothing can lie between the bounds because the end comes first. Maps of the
/// standard library panic at such a range; a [`StateView`] must answer it with no rows.
#[must_use]
pub fn is_inverted(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
    }
}
