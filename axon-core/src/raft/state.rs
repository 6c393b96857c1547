//! openraft's state machine on top of [`State`]: positions, batches, answers.
//!
//! Apply takes the entries that are ready as one batch, so that views are published and waiters woken
//! once a batch. Nothing is synced here: the log already holds it on a majority.

use super::clock::ClusterClock;
use super::log::encode_log_id;
use super::snapshot::{Builder, SnapshotCounters, SnapshotData, meta};
use super::{LogId, StoredMembership, TypeConfig};
use crate::codec;
use crate::error::StorageError;
use crate::runtime;
use crate::state::transfer::SnapshotSource;
use crate::state::{Position, State, StateEntry};
use crate::storage::StateStore;
use crate::types::LogIndex;
use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use std::io;
use std::sync::Arc;

/// Entries applied as one batch at most.
const BATCH_MAX: usize = 1024;

/// The state machine of one replica.
pub(crate) struct StateMachine {
    state: State,
    store: Arc<dyn StateStore>,
    clock: Arc<ClusterClock>,
    snapshots: Arc<SnapshotCounters>,
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl StateMachine {
    pub(crate) fn new(
        state: State,
        store: Arc<dyn StateStore>,
        clock: Arc<ClusterClock>,
        snapshots: Arc<SnapshotCounters>,
    ) -> Result<Self, StorageError> {
        let (applied, membership) = decode_position(&state.position())?;
        Ok(Self { state, store, clock, snapshots, applied, membership })
    }

    async fn apply_batch(&mut self, batch: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        self.state.room().await;
        let mut entries = Vec::with_capacity(batch.len());
        let mut responders = Vec::with_capacity(batch.len());
        for (entry, responder) in batch {
            let index = LogIndex(entry.log_id.index);
            let (stamp_millis, command) = match entry.payload {
                EntryPayload::Blank => (0, None),
                EntryPayload::Normal(proposal) => (proposal.stamp_millis, Some(proposal.command)),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    (0, None)
                }
            };
            self.applied = Some(entry.log_id);
            entries.push(StateEntry { index, stamp_millis, command });
            responders.push(responder);
        }
        let Some(applied) = &self.applied else { return Ok(()) };
        let position = encode_position(applied, &self.membership);
        let outcomes = self.state.apply(&entries, position)?;
        self.clock.applied(self.state.reader().cluster_time().millis());
        for (responder, outcome) in responders.into_iter().zip(outcomes) {
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }
}

/// What the state stores, opaquely, of a place in the log.
pub(crate) fn encode_position(applied: &LogId, membership: &StoredMembership) -> Position {
    Position {
        index: LogIndex(applied.index),
        log_id: encode_log_id(applied),
        membership: codec::encode(membership),
    }
}

/// The inverse of [`encode_position`].
pub(crate) fn decode_position(
    position: &Position,
) -> Result<(Option<LogId>, StoredMembership), StorageError> {
    if position.is_start() {
        return Ok((None, StoredMembership::default()));
    }
    let corrupt = |error: codec::DecodeError| StorageError::Corrupt {
        path: "the state".into(),
        offset: 0,
        reason: format!("its position: {error}"),
    };
    let applied = codec::decode(&position.log_id).map_err(corrupt)?;
    let membership = codec::decode(&position.membership).map_err(corrupt)?;
    Ok((Some(applied), membership))
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.try_ready_chunks(BATCH_MAX);
        while let Some(batch) = batches.next().await {
            self.apply_batch(batch.map_err(|error| error.1)?).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { checkpointer: self.state.checkpointer(), store: self.store.clone() }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<TypeConfig>,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::Verified(snapshot, _turn) = snapshot else {
            // openraft offers the current snapshot again only to a state that lost it; ours is it.
            return Ok(());
        };
        self.state.install(*snapshot).await?;
        (self.applied, self.membership) = decode_position(&self.state.position())?;
        self.clock.applied(self.state.reader().cluster_time().millis());
        self.snapshots.installed(self.state.position().index);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        if self.state.checkpoint_position().is_start() {
            return Ok(None);
        }
        let store = self.store.clone();
        let source = runtime::blocking(move || SnapshotSource::open(&*store)).await?;
        let meta = meta(source.position())?;
        let snapshot = SnapshotData::Source(Box::new(source));
        Ok(Some(SnapshotOf::<TypeConfig, _> { meta, snapshot }))
    }
}
