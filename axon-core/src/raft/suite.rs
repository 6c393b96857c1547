//! openraft's own suite of log and state machine, on ours, in memory and on disks.
//!
//! The suite does what never happens to a running replica: it begins a log at entry 1, applies entries
//! that are in no log, and some without those before them, purges a log without a checkpoint, and
//! installs a snapshot that was never sent. Two thin wrappers do what the replica would have done
//! before; everything else goes straight through.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::clock::ClusterClock;
use super::log::{Log, half_open};
use super::snapshot::{Builder, SnapshotCounters, SnapshotData};
use super::state::{StateMachine, encode_position};
use super::{Entry, LogId, StoredMembership, TypeConfig, Vote};
use crate::state::transfer::SnapshotSink;
use crate::state::{State, StateConfig, StateEntry};
use crate::storage::disk::{Disk, RealDisk};
use crate::storage::memory::{MemLog, MemState};
use crate::storage::redb::RedbState;
use crate::storage::wal::{Wal, WalConfig};
use crate::storage::{StateStore, Storage};
use crate::types::LogIndex;
use futures_util::{Stream, TryStreamExt, stream};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};

use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftStateMachine,
};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{AnyError, EntryPayload, OptionalSend, StorageError};
use std::fmt::Debug;
use std::io;
use std::ops::{Range, RangeBounds};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;
use tokio::sync::{Mutex, watch};

/// A log that may begin anywhere, and is checkpointed up to wherever it is purged.
#[derive(Clone)]
struct AnyLog {
    log: Log,
    state: Arc<Mutex<State>>,
    /// The first entry ever appended.
    first: Arc<OnceLock<u64>>,
}

impl AnyLog {
    /// `range` without what lies before the first entry.
    fn within(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let range = half_open(range);
        range.start.max(self.first.get().copied().unwrap_or(0))..range.end
    }
}

impl RaftLogReader<TypeConfig> for AnyLog {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.log.try_get_log_entries(self.within(&range)).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let Range { start, end } = self.within(&(start..end));
        self.log.limited_get_log_entries(start, end).await
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.log.entries_stream(self.within(&range)).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.log.read_vote().await
    }
}

impl RaftLogStorage<TypeConfig> for AnyLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        self.log.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.log.save_vote(vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.log.save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.log.read_committed().await
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.first.get_or_init(|| entries.first().map_or(0, |entry| entry.log_id.index));
        self.log.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.log.truncate_after(last).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut state = self.state.lock().await;
        let last = state.position();
        let first = if last.is_start() { log_id.index } else { last.index.0 + 1 };
        let entry = |index| StateEntry { index: LogIndex(index), stamp_millis: 0, command: None };
        let entries: Vec<StateEntry> = (first..=log_id.index).map(entry).collect();
        state.apply(&entries, encode_position(&log_id, &StoredMembership::default()))?;
        state.checkpointer().checkpoint_now().await?;
        self.log.purge(log_id).await
    }
}

/// A state machine that gets blank entries where some are missing, and takes a snapshot as it left its
/// sender, as if it had been received.
struct AnyMachine {
    machine: StateMachine,
    store: Arc<dyn StateStore>,
    /// Makes the snapshot of a purged log of which nothing was ever applied: its checkpoint.
    of_log: Builder,
}

impl RaftStateMachine<TypeConfig> for AnyMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut next = self.machine.applied_state().await?.0.map(|last| last.index + 1);
        let mut whole = Vec::new();
        for item in entries.try_collect::<Vec<EntryResponder<TypeConfig>>>().await? {
            let LogId { leader_id, index } = item.0.log_id;
            let missing = next.unwrap_or(index)..index;
            whole.extend(missing.map(|index| {
                let log_id = LogId::new(leader_id, index);
                Ok((Entry { log_id, payload: EntryPayload::Blank }, None))
            }));
            next = Some(index + 1);
            whole.push(Ok(item));
        }
        self.machine.apply(stream::iter(whole)).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        if self.machine.applied_state().await.is_ok_and(|(applied, _)| applied.is_some()) {
            // Ours takes the last checkpoint; the suite wants everything that was applied.
            let builder = self.machine.get_snapshot_builder().await;
            let checkpoint = builder.checkpointer.checkpoint_now().await;
            checkpoint.expect("a state in a test makes a checkpoint");
            return builder;
        }
        let Builder { checkpointer, store } = &self.of_log;
        Builder { checkpointer: checkpointer.clone(), store: store.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::Source(mut source) = snapshot else {
            return self.machine.install_snapshot(meta, snapshot).await;
        };
        let mut sink = SnapshotSink::begin(&*self.store, None)?;
        while let Some(chunk) = source.next_chunk()? {
            sink.take_chunk(&chunk)?;
        }
        let received = SnapshotData::Verified(Box::new(sink.verify()?), None);
        self.machine.install_snapshot(meta, received).await
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        self.machine.get_current_snapshot().await
    }
}

/// Makes the storage of one test.
type Make = fn(&TempDir) -> Storage;

struct Stores(Make);

/// What must live as long as a test: its directory, and the other end of a watch.
type Guard = (TempDir, watch::Sender<LogIndex>);

impl StoreBuilder<TypeConfig, AnyLog, AnyMachine, Guard> for Stores {
    async fn build(&self) -> Result<(Guard, AnyLog, AnyMachine), StorageError<TypeConfig>> {
        let failed = |error: crate::error::StorageError| StorageError::read(AnyError::new(&error));
        let directory = tempfile::tempdir().unwrap();
        let Storage { log, state: store } = (self.0)(&directory);
        // What the suite applies it never appends: as if all of it were durable.
        let (everything, durable) = watch::channel(LogIndex(u64::MAX));
        let state = State::open(store.clone(), durable.clone(), StateConfig::default());
        let bound_store = Arc::new(MemState::new());
        let bound =
            State::open(bound_store.clone(), durable, StateConfig::default()).map_err(failed)?;
        let log = Log::open(log, bound.reader(), watch::Sender::new(LogIndex(0)), 1 << 20);
        let log = log.map_err(failed)?;
        let clock = Arc::new(ClusterClock::new(0));
        let counters = Arc::new(SnapshotCounters::default());
        let machine = StateMachine::new(state.map_err(failed)?, store.clone(), clock, counters);
        let machine = machine.map_err(failed)?;
        let of_log = Builder { checkpointer: bound.checkpointer(), store: bound_store };
        let log = AnyLog { log, state: Arc::new(Mutex::new(bound)), first: Arc::default() };
        Ok(((directory, everything), log, AnyMachine { machine, store, of_log }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_holds_in_memory() {
    let stores =
        Stores(|_| Storage { log: Arc::new(MemLog::new()), state: Arc::new(MemState::new()) });
    Suite::test_all(stores).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_holds_on_disks() {
    let stores = Stores(|directory| {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let log = directory.path().join("log");
        Wal::create(&disk, &log, 1, WalConfig::default()).unwrap();
        Storage {
            log: Arc::new(Wal::open(disk.clone(), &log, 1, WalConfig::default()).unwrap()),
            state: Arc::new(RedbState::create(disk, directory.path(), 1 << 20).unwrap()),
        }
    });
    Suite::test_all(stores).await.unwrap();
}
