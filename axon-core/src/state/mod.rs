//! The state of a replica on two levels: changes in memory, checkpoints in an engine.
//!
//! Hides where a row is, and when it reaches the disk. Apply changes only memory: the log has the
//! entries already, on a majority's disks. Now and then a checkpoint takes the changes into the
//! engine, in one commit that also says up to which entry. Invariants:
//!
//! * the base at X plus the entries after X is the whole state, at any moment, after any crash;
//! * a view shows the state after some batch, whole, and never changes; views never hold up apply;
//! * the state's hash is kept with every change; a checkpoint holds the hash of exactly its rows;
//! * after the first fault nothing is applied any more: the replica halts.
//!
//! It relies on its caller to hand over entries in order, each once, and to say how far the log is
//! durable. It must live inside a runtime ([`runtime::spawn`]).

mod base;
mod checkpoint;
mod merge;
mod notes;
mod overlay;
mod past;
mod present;
mod scrub;
mod seal;
pub mod transfer;
mod view;

pub use base::Position;
pub(crate) use base::Summary;
pub use checkpoint::Checkpointer;
pub use notes::Note;
pub use scrub::{Scrub, scrub};
pub use seal::Totals;
#[cfg(any(test, feature = "testing"))]
pub(crate) use seal::seal_again;
pub use view::{StateReader, View};

use crate::command::Outcome;
use crate::error::StorageError;
use crate::histogram::Histogram;
use crate::machine::{Batch, Machine, Remark};
use crate::runtime::{self, WorkerQueue};
use crate::storage::{Result, StateStore};
use crate::types::LogIndex;
use base::{Base, Loaded};
use bytes::Bytes;
use checkpoint::{Job, Underway, begin};
use notes::{Notes, Remarks};
use overlay::Overlay;
use present::{Latest, Present};
use seal::RowHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use transfer::VerifiedSnapshot;
use view::{Faults, Moment};

/// The settings of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConfig {
    /// Bytes in the overlay that start a checkpoint. Default 32 MiB: of the rows of a larger one more
    /// lie on the same page, and a key that changes often is written once.
    pub checkpoint_bytes: usize,
    /// Bytes in the overlay at which apply waits for the checkpoint. Default 64 MiB.
    pub overlay_bytes_max: usize,
    /// Longest time from a change to the checkpoint that holds it. Default 5 s.
    pub checkpoint_interval: Duration,
    /// A base below this size is read and checked whole when it is opened. Default 64 MiB.
    pub scrub_bytes_max: u64,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            checkpoint_bytes: 32 << 20,
            overlay_bytes_max: 64 << 20,
            checkpoint_interval: Duration::from_secs(5),
            scrub_bytes_max: 64 << 20,
        }
    }
}

/// One entry of the log, as far as the state cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// Its place.
    pub index: LogIndex,
    /// The cluster time that the leader stamped it with.
    pub stamp_millis: u64,
    /// An encoded [`Command`](crate::command::Command); `None` for a blank or a membership.
    pub command: Option<Bytes>,
}

/// Counters since the state was opened, and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateMetrics {
    /// Entries applied.
    pub applied_entries: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// How long each of them took, in microseconds.
    pub checkpoint_micros: Histogram,
    /// Bytes in the overlays, now.
    pub overlay_bytes: u64,
    /// Bytes of the base on disk, now.
    pub disk_bytes: u64,
}

/// What apply and checkpoints share, under one lock that is held for memory's work only.
struct Core {
    machine: Machine,
    batch: Batch,
    hasher: RowHasher,
    totals: Totals,
    position: Position,
    /// What the entries of this batch said of hashes.
    remarks: Option<Remarks>,
    sequence: u64,
    active: Arc<Overlay>,
    frozen: Option<Arc<Overlay>>,
    present: Present,
    base: Arc<Base>,
    /// When the first entry after the last freeze was applied.
    dirty_since: Option<Instant>,
    underway: Option<Underway>,
    checkpoints_begun: u64,
    /// A snapshot is being put in place: no checkpoint may begin.
    installing: bool,
}

impl Core {
    fn new(loaded: Loaded) -> Self {
        let Loaded { base, machine } = loaded;
        Self {
            machine,
            batch: Batch::default(),
            hasher: RowHasher::default(),
            totals: base.totals,
            position: base.position.clone(),
            remarks: None,
            sequence: 0,
            active: Arc::default(),
            frozen: None,
            present: Present::default(),
            base,
            dirty_since: None,
            underway: None,
            checkpoints_begun: 0,
            installing: false,
        }
    }

    fn apply(&mut self, entries: &[StateEntry], position: Position) -> Result<Vec<Outcome>> {
        self.check_order(entries, &position)?;
        let mut outcomes = Vec::with_capacity(entries.len());
        for StateEntry { index, stamp_millis, command } in entries {
            let Self { machine, batch, active, frozen, present, base, .. } = self;
            let rows = Latest { active, frozen: frozen.as_deref(), present, base };
            let outcome = machine.apply(&rows, batch, *index, *stamp_millis, command.as_deref())?;
            outcomes.push(outcome);
            self.take_changes();
            if let Some(remark) = self.batch.remark.take() {
                self.heed(*index, remark)?;
            }
        }
        self.finish()?;
        self.position = position;
        Ok(outcomes)
    }

    /// Writes what the machine writes once a batch. Done more often, it comes to the same.
    fn finish(&mut self) -> Result<()> {
        let Self { machine, batch, active, frozen, present, base, .. } = self;
        let rows = Latest { active, frozen: frozen.as_deref(), present, base };
        machine.finish(&rows, batch)?;
        self.take_changes();
        Ok(())
    }

    /// Does what the entry at `index` says of hashes. What is noted is a function of the log up to
    /// there: so whatever waits for the end of the batch is written first.
    fn heed(&mut self, index: LogIndex, remark: Remark) -> Result<()> {
        if remark == Remark::Note {
            self.finish()?;
        }
        let (revision, hash) = (self.machine.registers.revision, self.totals.hash);
        let remarks = self.remarks.get_or_insert_default();
        match remark {
            Remark::Note => remarks.notes.push(Note { index, revision, hash }),
            Remark::Compared(comparison) => remarks.comparison = Some(comparison),
        }
        Ok(())
    }

    /// An entry applied twice, or left out, would make this replica another one than its peers.
    fn check_order(&self, entries: &[StateEntry], position: &Position) -> Result<()> {
        let first = entries.first().map_or(position.index, |entry| entry.index);
        let follows = self.position.is_start()
            || first == self.position.index.next()
            || (entries.is_empty() && first == self.position.index);
        let in_order = entries.windows(2).all(|pair| pair[1].index == pair[0].index.next());
        let ends = entries.last().is_none_or(|last| last.index == position.index);
        if follows && in_order && ends && !position.is_start() {
            return Ok(());
        }
        Err(StorageError::Mismatch {
            path: "the state".into(),
            reason: format!(
                "it stands at entry {} and cannot apply {} entries from {first} to {}",
                self.position.index,
                entries.len(),
                position.index,
            ),
        })
    }

    fn take_changes(&mut self) {
        for change in self.batch.changes.drain(..) {
            if let Some(old) = &change.old {
                self.totals.remove(&mut self.hasher, change.space, &change.key, old);
            }
            if let Some(new) = &change.new {
                self.totals.add(&mut self.hasher, change.space, &change.key, new);
            }
            self.sequence += 1;
            self.present.note(change.space, &change.key, change.new.as_ref());
            self.active.insert(change.space, change.key, self.sequence, change.new);
        }
    }

    fn moment(&self) -> Moment {
        let registers = &self.machine.registers;
        Moment {
            active: self.active.clone(),
            sequence: self.sequence,
            frozen: self.frozen.clone(),
            base: self.base.clone(),
            position: self.position.clone(),
            revision: registers.revision,
            compacted_revision: registers.compacted_revision,
            swept_revision: registers.swept_revision,
            clock: registers.clock,
            last_node_id: registers.last_node_id,
            cluster_id: registers.cluster_id,
            totals: self.totals,
        }
    }
}

/// What every handle on the state shares.
pub(crate) struct Inner {
    store: Arc<dyn StateStore>,
    config: StateConfig,
    core: Mutex<Core>,
    published: RwLock<Arc<Moment>>,
    faults: Faults,
    applied: watch::Sender<LogIndex>,
    /// Moves whenever a checkpoint has ended or a snapshot is in place.
    ticks: watch::Sender<u64>,
    durable: watch::Receiver<LogIndex>,
    queue: WorkerQueue<Job>,
    dirty: Arc<Notify>,
    applied_entries: AtomicU64,
    notes: Notes,
    scrubbed_at_open: bool,
    /// A checkpoint waits for room on the disk.
    put_off: AtomicBool,
    checkpoint_micros: Mutex<Histogram>,
}

impl Inner {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|poisoned| {
            // Whoever panicked may have applied half a batch.
            self.faults.latch(&crate::machine::corrupt("apply", "a panic while it changed"));
            poisoned.into_inner()
        })
    }

    fn publish(&self, core: &Core) {
        let moment = Arc::new(core.moment());
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *published, moment);
        drop(published);
        drop(former);
    }

    fn moment(&self) -> Arc<Moment> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tick(&self) {
        self.ticks.send_modify(|ticks| *ticks += 1);
    }

    fn metrics(&self) -> StateMetrics {
        let moment = self.moment();
        let frozen_bytes = moment.frozen.as_ref().map_or(0, |frozen| frozen.bytes());
        let checkpoint_micros =
            *self.checkpoint_micros.lock().unwrap_or_else(PoisonError::into_inner);
        StateMetrics {
            applied_entries: self.applied_entries.load(Ordering::Relaxed),
            checkpoints: checkpoint_micros.count(),
            checkpoint_micros,
            overlay_bytes: (moment.active.bytes() + frozen_bytes) as u64,
            disk_bytes: self.store.disk_bytes(),
        }
    }
}

/// The state of one replica. Its one owner applies; everyone else reads through [`StateReader`].
pub struct State {
    inner: Arc<Inner>,
    timekeeper: JoinHandle<()>,
}

impl State {
    /// Opens the state that `store` holds. May block on the disk; needs a runtime around it.
    ///
    /// `durable` says up to which entry this node's own log is durable.
    pub fn open(
        store: Arc<dyn StateStore>,
        durable: watch::Receiver<LogIndex>,
        config: StateConfig,
    ) -> Result<Self> {
        let scrub = store.disk_bytes() < config.scrub_bytes_max;
        let core = Core::new(Loaded::read(store.view()?, scrub)?);
        let dirty = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            store,
            config,
            published: RwLock::new(Arc::new(core.moment())),
            faults: Faults::new(),
            applied: watch::Sender::new(core.position.index),
            ticks: watch::Sender::new(0),
            durable,
            queue: runtime::background_worker("axon-checkpoint", |jobs: Vec<Job>| {
                jobs.into_iter().for_each(Job::run);
            }),
            dirty: dirty.clone(),
            applied_entries: AtomicU64::new(0),
            notes: Notes::new(),
            scrubbed_at_open: scrub,
            put_off: AtomicBool::new(false),
            checkpoint_micros: Mutex::default(),
            core: Mutex::new(core),
        });
        let keep_time = checkpoint::keep_time(Arc::downgrade(&inner), dirty);
        Ok(Self { inner, timekeeper: runtime::spawn(keep_time) })
    }

    /// Applies a batch of entries, of which the last is at `position`; one outcome an entry.
    ///
    /// Changes only memory. Readers see the batch whole, once this has returned.
    ///
    /// # Errors
    /// The first fault, then and ever after: the replica must halt.
    pub fn apply(&mut self, entries: &[StateEntry], position: Position) -> Result<Vec<Outcome>> {
        let inner = &self.inner;
        inner.faults.check()?;
        let mut core = inner.core();
        let outcomes =
            core.apply(entries, position).inspect_err(|error| inner.faults.latch(error))?;
        if core.dirty_since.is_none() {
            core.dirty_since = Some(runtime::now());
            inner.dirty.notify_one();
        }
        inner.publish(&core);
        if let Some(remarks) = core.remarks.take() {
            inner.notes.take(remarks);
        }
        inner.applied_entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
        inner.applied.send_replace(core.position.index);
        if core.active.bytes() >= inner.config.checkpoint_bytes {
            begin(inner, &mut core);
            // The next one is due, and waits for the one that is being written.
            inner.queue.hurry(core.active.bytes() >= inner.config.checkpoint_bytes);
        }
        Ok(outcomes)
    }

    /// Waits until there is room for another batch: while the overlay is at its cap and the one
    /// before is still being written.
    pub async fn room(&mut self) {
        let mut ticks = self.inner.ticks.subscribe();
        let mut faults = self.inner.faults.subscribe();
        loop {
            {
                let core = self.inner.core();
                let full = core.active.bytes() >= self.inner.config.overlay_bytes_max;
                let halted = self.inner.faults.check().is_err();
                if !full || halted || core.underway.is_none() {
                    return;
                }
            }
            tokio::select! {
                _ = ticks.changed() => {}
                _ = faults.changed() => {}
            }
        }
    }

    /// Puts a snapshot in place of everything here; readers see it whole.
    ///
    /// Not cancel safe: dropped, no checkpoint is written any more.
    ///
    /// # Errors
    /// A snapshot that is older than what is applied here is refused, and changes nothing.
    pub async fn install(&mut self, snapshot: VerifiedSnapshot) -> Result<()> {
        let inner = &self.inner;
        inner.faults.check()?;
        let applied = inner.core().position.clone();
        if !snapshot.position().covers(&applied) {
            return Err(StorageError::Mismatch {
                path: "the snapshot".into(),
                reason: format!(
                    "it stands at entry {}, this replica has applied {}",
                    snapshot.position().index,
                    applied.index
                ),
            });
        }
        self.hold_checkpoints().await;
        let store = inner.store.clone();
        let loaded = runtime::blocking(move || {
            snapshot.put_in_place()?;
            Loaded::read(store.view()?, false)
        })
        .await
        .inspect_err(|error| inner.faults.latch(error))?;
        let mut core = inner.core();
        *core = Core { checkpoints_begun: core.checkpoints_begun, ..Core::new(loaded) };
        inner.publish(&core);
        inner.applied.send_replace(core.position.index);
        drop(core);
        inner.tick();
        Ok(())
    }

    /// Lets no checkpoint begin or commit: its rows would go on top of the snapshot's.
    async fn hold_checkpoints(&self) {
        let mut ticks = self.inner.ticks.subscribe();
        loop {
            {
                let mut core = self.inner.core();
                core.installing = true;
                if core.underway.is_none_or(|underway| !underway.commits) {
                    core.underway = None;
                    return;
                }
            }
            // The sender is in `inner`, so that this cannot fail.
            let _ = ticks.changed().await;
        }
    }

    /// Where the applied state stands.
    pub fn position(&self) -> Position {
        self.inner.moment().position.clone()
    }

    /// Where the last checkpoint stands: entries up to here may leave the log.
    pub fn checkpoint_position(&self) -> Position {
        self.reader().checkpoint_position()
    }

    /// Returns a handle for reads.
    pub fn reader(&self) -> StateReader {
        StateReader { inner: self.inner.clone() }
    }

    /// Returns a handle for checkpoints.
    pub fn checkpointer(&self) -> Checkpointer {
        Checkpointer { inner: self.inner.clone() }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.timekeeper.abort();
    }
}
