//! Reads: the state as of one moment, and the handle that gives such moments out.
//!
//! A [`View`] is three layers, youngest first: the active overlay as of a sequence number, the frozen
//! one while a checkpoint is under way, and the base. Nothing in it ever changes, and holding one
//! never holds up apply; it keeps an overlay in memory and a view of the engine open, so drop it
//! soon. Calls may block on the disk. A row that cannot be trusted halts the replica, whoever
//! reads it. What was true at earlier revisions is read in [`past`](super::past).

use super::base::{Base, Position};
use super::merge::Layers;
use super::overlay::Overlay;
use super::seal::Totals;
use super::{Inner, StateMetrics};
use crate::error::StorageError;
use crate::machine::clock::ClusterClock;
use crate::machine::corrupt;
use crate::machine::rows::{self, KeyChange};
use crate::storage::{Result, Row, Space};
use crate::types::{ClusterId, KeyValue, LogIndex, NodeId, Revision};
use bytes::{Bytes, BytesMut};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The first fault, for all who must learn of it.
#[derive(Clone)]
pub(crate) struct Faults(Arc<watch::Sender<Option<StorageError>>>);

impl Faults {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Keeps `error`, if it is the first.
    pub(crate) fn latch(&self, error: &StorageError) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| error.clone());
            is_first
        });
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<StorageError>> {
        self.0.subscribe()
    }
}

/// The layers as of one moment, with the counters that belong to it.
#[derive(Clone)]
pub(crate) struct Moment {
    pub active: Arc<Overlay>,
    pub sequence: u64,
    pub frozen: Option<Arc<Overlay>>,
    pub base: Arc<Base>,
    pub position: Position,
    pub revision: Revision,
    pub compacted_revision: Revision,
    pub swept_revision: Revision,
    pub clock: ClusterClock,
    pub last_node_id: NodeId,
    pub cluster_id: Option<ClusterId>,
    pub totals: Totals,
}

/// The state as of one moment. Cheap to clone.
#[derive(Clone)]
pub struct View {
    pub(crate) moment: Arc<Moment>,
    pub(crate) faults: Faults,
}

impl View {
    /// The store's revision.
    pub fn revision(&self) -> Revision {
        self.moment.revision
    }

    /// History up to here is gone.
    pub fn compacted_revision(&self) -> Revision {
        self.moment.compacted_revision
    }

    /// What history up to here left behind is gone too.
    pub fn swept_revision(&self) -> Revision {
        self.moment.swept_revision
    }

    /// The place in the log.
    pub fn position(&self) -> &Position {
        &self.moment.position
    }

    /// The number of rows, their bytes, and the state's hash.
    pub fn totals(&self) -> Totals {
        self.moment.totals
    }

    /// Reads a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>> {
        let key = Bytes::copy_from_slice(key);
        let row = self.row(Space::Kv, &key)?;
        row.map(|row| Ok(rows::version(&row)?.with_key(key)))
            .transpose()
            .inspect_err(|error| self.faults.latch(error))
    }

    /// Reads what each revision changed, from `from` on (or from the first that is not swept): every
    /// one, in order. One that is missing is a fault.
    pub fn changes(
        &self,
        from: Revision,
    ) -> Result<impl Iterator<Item = Result<(Revision, Vec<KeyChange>)>> + Send + '_> {
        let mut due = from.max(self.swept_revision().next());
        let start = rows::number_key(due.0);
        let mut rows = self.rows(Space::Changes, Bound::Included(&start), Bound::Unbounded)?;
        Ok(std::iter::from_fn(move || {
            if due > self.revision() {
                return None;
            }
            let changes = match rows.next() {
                Some(Ok((key, row))) if key == rows::number_key(due.0) => rows::changes(&row),
                Some(Err(error)) => Err(error),
                _ => Err(corrupt("changes", format_args!("those of revision {due} are missing"))),
            };
            let changes = changes.inspect_err(|error| self.faults.latch(error));
            let next = if changes.is_ok() { due.next() } else { Revision(u64::MAX) };
            let revision = std::mem::replace(&mut due, next);
            Some(changes.map(|changes| (revision, changes)))
        }))
    }

    /// Reads the version of `key` that exactly `revision` made; `None` when it removed the key, or
    /// when that version is compacted.
    pub fn version_of(&self, key: &Bytes, revision: Revision) -> Result<Option<KeyValue>> {
        let newest = self.get(key)?;
        if newest.as_ref().is_some_and(|pair| pair.mod_revision == revision) {
            return Ok(newest);
        }
        let mut history_key = BytesMut::new();
        rows::put_history_key(&mut history_key, key, revision);
        let Some(row) = self.row(Space::History, &history_key.freeze())? else { return Ok(None) };
        let version = rows::history(&row).inspect_err(|error| self.faults.latch(error))?;
        Ok(version.map(|version| version.with_key(key.clone())))
    }

    /// Reads the version of `key` that `revision` stored, which its changes tell. It stays until the
    /// revision that superseded it is swept: to miss it here is a fault.
    pub fn stored_by(&self, key: &Bytes, revision: Revision) -> Result<KeyValue> {
        self.version_of(key, revision)?.ok_or_else(|| {
            let key = key.escape_ascii();
            let error = corrupt("history", format_args!("{key} of revision {revision} is missing"));
            self.faults.latch(&error);
            error
        })
    }

    /// Reads one row of any space but `meta`.
    pub fn row(&self, space: Space, key: &Bytes) -> Result<Option<Bytes>> {
        self.layers().get(space, key).inspect_err(|error| self.faults.latch(error))
    }

    /// Reads the rows of any space but `meta` between two bounds, in key order.
    pub fn rows<'view>(
        &'view self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<Row>> + Send + use<'view>> {
        let merged = self
            .layers()
            .scan(space, start, end, false)
            .inspect_err(|error| self.faults.latch(error))?;
        Ok(merged.present().inspect(|row| {
            if let Err(error) = row {
                self.faults.latch(error);
            }
        }))
    }

    /// The same rows, with other revisions said of them.
    #[cfg(test)]
    pub(crate) fn with_revisions(&self, compacted_revision: Revision, revision: Revision) -> Self {
        let moment = Moment { revision, compacted_revision, ..(*self.moment).clone() };
        Self { moment: Arc::new(moment), faults: self.faults.clone() }
    }

    /// The layers, which say nothing of a fault to others: whoever reads them must latch it.
    pub(crate) fn layers(&self) -> Layers<'_> {
        let Moment { active, sequence, frozen, base, .. } = &*self.moment;
        Layers { active, sequence: *sequence, frozen: frozen.as_deref(), base }
    }
}

/// Reads the state, from any thread, beside apply. Cheap to clone.
#[derive(Clone)]
pub struct StateReader {
    pub(crate) inner: Arc<Inner>,
}

impl StateReader {
    /// Fixes the state as of the last applied batch.
    pub fn view(&self) -> View {
        View { moment: self.inner.moment(), faults: self.inner.faults.clone() }
    }

    /// Watches the index of the last applied entry. It moves once a batch, after the batch can be
    /// read.
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        self.inner.applied.subscribe()
    }

    /// Watches the first fault: a replica whose state has one must halt.
    pub fn faults(&self) -> watch::Receiver<Option<StorageError>> {
        self.inner.faults.subscribe()
    }

    /// The index of the last applied entry, and the hash of the whole state there.
    pub fn hash(&self) -> (LogIndex, u128) {
        let moment = self.inner.moment();
        (moment.position.index, moment.totals.hash)
    }

    /// Whether every row of the base was checked when it was opened.
    pub fn was_scrubbed_at_open(&self) -> bool {
        self.inner.scrubbed_at_open
    }

    /// Halts the replica with `error`, unless it has halted already.
    pub(crate) fn halt(&self, error: &StorageError) {
        self.inner.faults.latch(error);
    }

    /// Where the last checkpoint stands.
    pub fn checkpoint_position(&self) -> Position {
        self.inner.moment().base.position.clone()
    }

    /// Cluster time as of the last applied entry.
    pub fn cluster_time(&self) -> ClusterClock {
        self.inner.moment().clock
    }

    /// The newest revision known to be older than `age` at `now`; `None` when none is.
    ///
    /// Waits for apply, which may be reading from the disk.
    pub fn older_than(&self, age: Duration, now: ClusterClock) -> Option<Revision> {
        self.inner.core().machine.registers.older_than(age, now)
    }

    /// The highest node id handed out.
    pub fn last_node_id(&self) -> NodeId {
        self.inner.moment().last_node_id
    }

    /// Whether `id` was given to the holder of `nonce`, who has not settled yet.
    pub fn joined_with(&self, id: NodeId, nonce: u128) -> bool {
        self.inner.core().machine.joiners.holds(id, nonce)
    }

    /// Whether the nonce that `id` was given for is still remembered.
    pub fn is_joining(&self, id: NodeId) -> bool {
        self.inner.core().machine.joiners.remembers(id)
    }

    /// The cluster; `None` before its first command is applied.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.inner.moment().cluster_id
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> StateMetrics {
        self.inner.metrics()
    }
}
