//! openraft's log on top of a [`LogStore`], with the recent entries in memory.
//!
//! Hides the cache. Entries are kept decoded and shared, so that replication to each follower and
//! apply read neither the disk nor the bytes again. Invariants:
//!
//! * an entry that is not yet durable is in the cache, so the store is only asked for what it has;
//! * `durable` never exceeds what this replica's own log holds of the present history: it falls
//!   with a truncation at once, and rises only by appends made since. (It is 0 before the first
//!   entry, too, which has index 0. No checkpoint stands there: a founder applies it once its own
//!   log is durable, and whoever joins has more than that to apply at once.)

use super::entry;
use super::{Entry, LogId, TypeConfig, Vote};
use crate::bug::{self, Bug};
use crate::codec;
use crate::error::StorageError;
use crate::state::StateReader;
use crate::storage::{Completion, LogRecord, LogStore, PurgeMark};
use crate::types::LogIndex;
use bytes::Bytes;
use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};

/// A run of entries read at once: enough for an efficient frame, too little to hurt.
const READ_BYTES_MAX: usize = 1 << 20;
/// Entries that a checkpoint-bound replay asks for at once.
const READ_ENTRIES_MAX: u64 = 1024;

/// The log of one replica. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn LogStore>,
    tail: Mutex<Tail>,
    durable: watch::Sender<LogIndex>,
    state: StateReader,
    cache_bytes_max: usize,
}

struct Tail {
    purged: Option<LogId>,
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    cache: VecDeque<Cached>,
    cache_bytes: usize,
    /// Everything up to here is in the store, durably.
    durable: u64,
    /// Counts truncations: an append that completes after one says nothing about the new history.
    history: u64,
    /// Where the log's bytes lie, about: (last index, bytes) of runs of about 1 MiB.
    runs: VecDeque<(u64, u64)>,
}

struct Cached {
    entry: Entry,
    bytes: usize,
}

impl Log {
    /// Reads where `store` stands. The checkpoint of `state` bounds what may be purged.
    pub(crate) fn open(
        store: Arc<dyn LogStore>,
        state: StateReader,
        durable: watch::Sender<LogIndex>,
        cache_bytes_max: usize,
    ) -> Result<Self, StorageError> {
        let opened = store.opened();
        let purged = opened.purged.as_ref().map(|mark| decode_opaque(&mark.mark)).transpose()?;
        let last = match opened.last {
            Some(index) => Some(read_entry(&*store, index)?.log_id),
            None => purged,
        };
        let mut tail = Tail {
            vote: opened.vote.as_deref().map(decode_opaque).transpose()?,
            committed: opened.committed.as_deref().map(decode_opaque).transpose()?,
            durable: last.as_ref().map_or(0, |last| last.index),
            purged,
            last,
            cache: VecDeque::new(),
            cache_bytes: 0,
            history: 0,
            runs: VecDeque::new(),
        };
        tail.mark_bytes(tail.durable, store.metrics().disk_bytes);
        durable.send_replace(LogIndex(tail.durable));
        let shared = Shared { store, tail: Mutex::new(tail), durable, state, cache_bytes_max };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Reports whether nothing was ever written: no entry, no vote.
    pub(crate) fn is_pristine(&self) -> bool {
        let tail = self.tail();
        tail.last.is_none() && tail.vote.is_none()
    }

    /// The last purged entry's index.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.tail().purged.as_ref().map(|purged| purged.index)
    }

    /// The last entry's index; 0 when there is none.
    pub(crate) fn last_index(&self) -> u64 {
        self.tail().last.as_ref().map_or(0, |last| last.index)
    }

    /// The highest index that may be purged so that about `bytes` of log remain; 0 when there are
    /// no more. It stands until the purge is done, which may be refused for want of a checkpoint.
    pub(crate) fn purgeable(&self, bytes: u64) -> u64 {
        let tail = self.tail();
        let total: u64 = tail.runs.iter().map(|(_, size)| size).sum();
        let mut excess = total.saturating_sub(bytes);
        let mut upto = 0;
        for (index, size) in &tail.runs {
            if excess < *size {
                break;
            }
            excess -= size;
            upto = *index;
        }
        upto
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.shared.tail.lock().expect("no holder of the tail's lock panics")
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (from_store, cached) = {
            let tail = self.tail();
            let first = tail.purged.as_ref().map_or(0, |purged| purged.index + 1);
            let end = range.end.min(tail.last.as_ref().map_or(0, |last| last.index + 1));
            let start = range.start.max(first);
            if start >= end {
                return Ok(Vec::new());
            }
            let cache_first = tail.cache.front().map_or(end, |cached| cached.entry.log_id.index);
            (start..cache_first.min(end), tail.cached(start.max(cache_first)..end, bytes_max))
        };
        if from_store.is_empty() {
            return Ok(cached);
        }
        let entries = self.read_store(from_store.clone(), bytes_max)?;
        // Only a read that the store did not cut short may go on with the cache.
        let whole = entries.last().is_some_and(|entry| entry.log_id.index + 1 == from_store.end);
        Ok(if whole { entries.into_iter().chain(cached).collect() } else { entries })
    }

    fn read_store(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let records =
            self.shared.store.read(LogIndex(range.start)..LogIndex(range.end), bytes_max)?;
        records.into_iter().map(|record| Ok(decode_record(record)?)).collect()
    }

    /// Called by the store, in the order of the appends, when one is durable.
    fn appended(&self, last: u64, history: u64) {
        let mut tail = self.tail();
        if tail.history == history {
            tail.durable = tail.durable.max(last);
            self.shared.durable.send_replace(LogIndex(tail.durable));
        }
        tail.evict(self.shared.cache_bytes_max);
    }
}

impl Tail {
    fn mark_bytes(&mut self, last: u64, bytes: u64) {
        match self.runs.back_mut() {
            Some((index, run)) if *run < READ_BYTES_MAX as u64 => {
                *index = last;
                *run += bytes;
            }
            _ => self.runs.push_back((last, bytes)),
        }
    }

    fn cached(&self, range: Range<u64>, bytes_max: usize) -> Vec<Entry> {
        let Some(first) = self.cache.front().map(|cached| cached.entry.log_id.index) else {
            return Vec::new();
        };
        let start = range.start.saturating_sub(first) as usize;
        let end = (range.end.saturating_sub(first) as usize).min(self.cache.len());
        let mut bytes = 0;
        let mut entries = Vec::with_capacity(end.saturating_sub(start).min(1024));
        for cached in self.cache.range(start.min(end)..end) {
            bytes += cached.bytes;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(cached.entry.clone());
        }
        entries
    }

    fn evict(&mut self, bytes_max: usize) {
        while self.cache_bytes > bytes_max {
            match self.cache.front() {
                Some(oldest) if oldest.entry.log_id.index <= self.durable => {
                    self.cache_bytes -= oldest.bytes;
                    self.cache.pop_front();
                }
                _ => break,
            }
        }
    }

    fn truncate_cache(&mut self, last: Option<u64>) {
        while self.cache.back().is_some_and(|newest| Some(newest.entry.log_id.index) > last) {
            self.cache_bytes -= self.cache.pop_back().map_or(0, |newest| newest.bytes);
        }
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + openraft::OptionalSend,
    {
        let mut range = half_open(&range);
        let mut entries = Vec::new();
        loop {
            let run = self.read(range.clone(), READ_BYTES_MAX)?;
            let Some(last) = run.last() else { return Ok(entries) };
            range.start = last.log_id.index + 1;
            entries.extend(run);
        }
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES_MAX)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + openraft::OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + openraft::OptionalSend,
    {
        // Read in runs, so that catching up on a long log does not take it into memory whole.
        let log = self.clone();
        let state = (log, half_open(&range), VecDeque::new());
        stream::unfold(state, |(log, mut range, mut run)| async move {
            if run.is_empty() && !range.is_empty() {
                let end = range.end.min(range.start + READ_ENTRIES_MAX);
                match log.read(range.start..end, READ_BYTES_MAX) {
                    Ok(entries) => run.extend(entries),
                    Err(error) => return Some((Err(error), (log, 0..0, run))),
                }
            }
            let entry: Entry = run.pop_front()?;
            range.start = entry.log_id.index + 1;
            Some((Ok(entry), (log, range, run)))
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail().vote)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.tail();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, saved) = oneshot::channel();
        self.shared.store.save_vote(
            codec::encode(vote),
            Box::new(move |result| {
                let _ = done.send(result);
            }),
        );
        let result = saved.await;
        result.map_err(|_| io::Error::other("the log was closed before the vote was saved"))??;
        self.tail().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.shared.store.save_committed(codec::encode(&committed));
            self.tail().committed = Some(committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let tail = self.tail();
        // What rode along may name an entry that was written with it and torn away.
        Ok(tail.committed.min(tail.last))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + openraft::OptionalSend,
        I::IntoIter: openraft::OptionalSend,
    {
        let mut records = Vec::new();
        let mut tail = self.tail();
        let mut size = 0;
        for entry in entries {
            let mut bytes = Vec::with_capacity(entry::encoded_len(&entry));
            entry::encode_into(&entry, &mut bytes);
            size += bytes.len();
            records.push(LogRecord { index: LogIndex(entry.log_id.index), payload: bytes.into() });
            tail.last = Some(entry.log_id);
            let bytes = entry::encoded_len(&entry) + size_of::<Cached>();
            tail.cache_bytes += bytes;
            tail.cache.push_back(Cached { entry, bytes });
        }
        let history = tail.history;
        let last = tail.last.as_ref().map_or(0, |last| last.index);
        tail.mark_bytes(last, size as u64);
        drop(tail);
        let log = self.clone();
        let mut callback = Some(callback);
        if bug::on(Bug::AckBeforeSync) {
            callback.take().into_iter().for_each(|callback| callback.io_completed(Ok(())));
        }
        let done: Completion = Box::new(move |result| {
            if result.is_ok() {
                log.appended(last, history);
            }
            if let Some(callback) = callback {
                callback.io_completed(result.map_err(io::Error::from));
            }
        });
        self.shared.store.append(records, done);
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let upto = last_log_id.map(|last| last.index);
        let (last, history) = {
            let mut tail = self.tail();
            tail.truncate_cache(upto);
            // Beyond the end there is nothing to remove, and nothing becomes durable by it.
            tail.last = tail.last.min(last_log_id).max(tail.purged);
            let last = tail.last.map_or(0, |last| last.index);
            tail.history += 1;
            tail.durable = tail.durable.min(last);
            self.shared.durable.send_replace(LogIndex(tail.durable));
            (last, tail.history)
        };
        // Ordered before every later append, so there is nothing to wait for.
        let log = self.clone();
        let done: Completion = Box::new(move |result| {
            if result.is_ok() {
                log.appended(last, history);
            }
        });
        self.shared.store.truncate_after(upto.map(LogIndex), done);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let checkpointed = self.shared.state.checkpoint_position().index;
        if log_id.index > checkpointed.0 {
            return Err(io::Error::other(format!(
                "a purge up to {} would run ahead of the checkpoint at {checkpointed}",
                log_id.index
            )));
        }
        {
            let mut tail = self.tail();
            while tail.cache.front().is_some_and(|oldest| oldest.entry.log_id.index <= log_id.index)
            {
                tail.cache_bytes -= tail.cache.pop_front().map_or(0, |oldest| oldest.bytes);
            }
            while tail.runs.front().is_some_and(|(last, _)| *last <= log_id.index) {
                tail.runs.pop_front();
            }
            tail.last = tail.last.max(Some(log_id));
            tail.purged = Some(log_id);
            // A purge beyond the end (a snapshot was installed): the checkpoint is durable.
            tail.durable = tail.durable.max(log_id.index);
            self.shared.durable.send_replace(LogIndex(tail.durable));
        }
        let mut log_id = log_id;
        if bug::on(Bug::PurgeEarly) {
            log_id = decode_opaque(&self.shared.state.view().position().log_id)?;
        }
        let mark = PurgeMark { upto: LogIndex(log_id.index), mark: codec::encode(&log_id) };
        self.shared.store.purge(mark, Box::new(|_| {}));
        Ok(())
    }
}

pub(super) fn half_open<RB: RangeBounds<u64>>(range: &RB) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn read_entry(store: &dyn LogStore, index: LogIndex) -> Result<Entry, StorageError> {
    let record = store
        .read(index..index.next(), usize::MAX)?
        .pop()
        .ok_or_else(|| corrupt(format!("record {index} is the last, yet it cannot be read")))?;
    decode_record(record)
}

pub(super) fn decode_record(record: LogRecord) -> Result<Entry, StorageError> {
    entry::decode(record.index.0, record.payload).map_err(corrupt)
}

pub(super) fn decode_opaque<T: serde::de::DeserializeOwned>(
    bytes: impl AsRef<[u8]>,
) -> Result<T, StorageError> {
    codec::decode(bytes.as_ref()).map_err(|error| corrupt(error.to_string()))
}

fn corrupt(reason: String) -> StorageError {
    StorageError::Corrupt { path: "the log".into(), offset: 0, reason }
}

/// Encodes a log id for the state's opaque position.
pub(crate) fn encode_log_id(log_id: &LogId) -> Bytes {
    codec::encode(log_id)
}
