//! Snapshots: a checkpoint is one, so that making it is O(1); sending it is a stream of its rows.
//!
//! A transfer has a channel of its own: one frame with the leader's vote and the snapshot's
//! description, then the chunks of [`transfer`](crate::state::transfer), an empty frame at the end,
//! and one frame back. Writes and reads go on at both ends until the new state is verified whole;
//! then the follower swaps it in.

use super::engine::Engine;
use super::reception::Turn;
use super::state::decode_position;
use super::{Raft, TypeConfig, Vote};
use crate::error::{StorageError, TransportError};
use crate::events::{EventKind, Events};
use crate::state::transfer::{SnapshotSink, SnapshotSource, VerifiedSnapshot};
use crate::state::{Checkpointer, Position};
use crate::status::Transfers;
use crate::storage::StateStore;
use crate::transport::Channel;
use crate::types::{LogIndex, NodeId};
use crate::{codec, runtime};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use openraft::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::raft::SnapshotResponse;
use openraft::rt::WatchReceiver;
use openraft::storage::RaftSnapshotBuilder;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a chunk may take to arrive, and the receiver to put the whole in place.
const STEP_DEADLINE: Duration = Duration::from_mins(1);

/// A snapshot on its way out of, or into, this replica.
pub(crate) enum SnapshotData {
    /// To be sent.
    Source(Box<SnapshotSource>),
    /// Received whole and verified, to be put in place; whoever receives it has its turn until then.
    Verified(Box<VerifiedSnapshot>, Option<Turn>),
}

/// Snapshots sent and installed since the start: counted, and told.
#[derive(Debug, Default)]
pub(crate) struct SnapshotCounters {
    sent: Mutex<Transfers>,
    installed: Mutex<Transfers>,
    events: Arc<Events>,
}

impl SnapshotCounters {
    pub(crate) fn new(events: Arc<Events>) -> Self {
        Self { events, ..Self::default() }
    }

    /// What was sent, and what was received.
    pub(crate) fn transfers(&self) -> (Transfers, Transfers) {
        let read = |transfers: &Mutex<Transfers>| {
            *transfers.lock().expect("no holder of the counters' lock panics")
        };
        (read(&self.sent), read(&self.installed))
    }

    pub(crate) fn sent(&self, to: NodeId, bytes: u64, took: Duration) {
        count_transfer(&self.sent, bytes, took);
        self.events.record(EventKind::SnapshotSent, format!("a snapshot was sent to id {to}"));
    }

    pub(crate) fn received(&self, bytes: u64, took: Duration) {
        count_transfer(&self.installed, bytes, took);
    }

    pub(crate) fn installed(&self, index: LogIndex) {
        let text = format!("a snapshot was installed: everything up to entry {index}");
        self.events.record(EventKind::SnapshotInstalled, text);
    }
}

fn count_transfer(transfers: &Mutex<Transfers>, bytes: u64, took: Duration) {
    let mut transfers = transfers.lock().expect("no holder of the counters' lock panics");
    transfers.bytes += bytes;
    transfers.micros.record(took.as_micros() as u64);
}

/// Makes a snapshot: the last checkpoint, or the first one.
pub(crate) struct Builder {
    pub(crate) checkpointer: Checkpointer,
    pub(crate) store: Arc<dyn StateStore>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        if self.checkpointer.position().is_start() {
            self.checkpointer.checkpoint_now().await?;
        }
        let store = self.store.clone();
        let source = runtime::blocking(move || SnapshotSource::open(&*store)).await?;
        let meta = meta(source.position())?;
        Ok(SnapshotOf::<TypeConfig, _> { meta, snapshot: SnapshotData::Source(Box::new(source)) })
    }
}

/// openraft's description of the snapshot that stands at `position`.
pub(crate) fn meta(position: &Position) -> Result<SnapshotMetaOf<TypeConfig>, StorageError> {
    let (last_log_id, last_membership) = decode_position(position)?;
    Ok(SnapshotMetaOf::<TypeConfig> { last_log_id, last_membership })
}

#[derive(Serialize, Deserialize)]
struct Announced {
    vote: Vote,
    position: (u64, Bytes, Bytes),
}

#[derive(Serialize, Deserialize)]
enum Received {
    Installed(SnapshotResponse<TypeConfig>),
    Failed(String),
}

/// Sends a snapshot over a fresh channel and waits until it is in place there; returns its bytes too.
pub(crate) async fn send(
    mut channel: Channel,
    vote: Vote,
    snapshot: SnapshotOf<TypeConfig, SnapshotData>,
) -> Result<(SnapshotResponse<TypeConfig>, u64), TransportError> {
    let SnapshotData::Source(mut source) = snapshot.snapshot else {
        return Err(failed("a received snapshot cannot be sent on"));
    };
    let position = source.position().clone();
    let announced =
        Announced { vote, position: (position.index.0, position.log_id, position.membership) };
    channel.sink.send(codec::encode(&announced)).await?;
    let mut bytes = 0;
    loop {
        let (returned, chunk) = runtime::blocking(move || {
            let chunk = source.next_chunk();
            (source, chunk)
        })
        .await;
        source = returned;
        let Some(chunk) = chunk.map_err(failed)? else { break };
        bytes += chunk.len() as u64;
        within(channel.sink.send(chunk)).await??;
    }
    channel.sink.send(Bytes::new()).await?;
    let reply =
        within(channel.stream.next()).await?.ok_or_else(|| failed("the follower left"))??;
    match codec::decode(&reply).map_err(failed)? {
        Received::Installed(response) => Ok((response, bytes)),
        Received::Failed(reason) => Err(failed(reason)),
    }
}

/// Receives a snapshot and puts it in place.
pub(crate) async fn receive(
    engine: &Arc<Engine>,
    mut channel: Channel,
) -> Result<(), TransportError> {
    let received = match take(engine, &mut channel).await {
        Ok(response) => Received::Installed(response),
        Err(error) => {
            tracing::warn!("a snapshot was not installed: {error}");
            Received::Failed(error.to_string())
        }
    };
    channel.sink.send(codec::encode(&received)).await
}

async fn take(
    engine: &Engine,
    channel: &mut Channel,
) -> Result<SnapshotResponse<TypeConfig>, TransportError> {
    let (begun, mut bytes) = (runtime::now(), 0);
    let first = next(channel).await?;
    let announced: Announced = codec::decode(&first).map_err(failed)?;
    let (index, log_id, membership) = announced.position;
    let position = Position { index: index.into(), log_id, membership };
    let (store, cluster_id) = (engine.state_store.clone(), engine.peers.myself().cluster_id);
    check_room(engine)?;
    let turn = within(engine.receptions.begin(announced.vote)).await?;
    let turn = turn.ok_or_else(|| failed("a newer leader sends one"))?;
    let open = move || SnapshotSink::begin(&*store, Some(cluster_id)).map(|sink| (sink, turn));
    let (mut sink, mut turn) = runtime::blocking(open).await.map_err(failed)?;
    loop {
        let chunk = tokio::select! {
            biased;
            () = turn.overtaken() => return Err(failed("another one is sent")),
            chunk = next(channel) => chunk?,
        };
        if chunk.is_empty() {
            break;
        }
        check_room(engine)?;
        bytes += chunk.len() as u64;
        let take = move || sink.take_chunk(&chunk).map(|()| (sink, turn));
        (sink, turn) = runtime::blocking(take).await.map_err(failed)?;
    }
    let verify = move || sink.verify().map(|verified| (verified, turn));
    let (verified, turn) = runtime::blocking(verify).await.map_err(failed)?;
    if *verified.position() != position {
        return Err(failed("its rows do not stand where it was announced"));
    }
    let installed = install(&engine.raft, announced.vote, &position, verified, turn).await?;
    engine.snapshots.received(bytes, begun.elapsed());
    Ok(installed)
}

/// A snapshot takes its room beside the state that it is to replace.
fn check_room(engine: &Engine) -> Result<(), TransportError> {
    let low = engine.route.room.now().is_low();
    if low { Err(failed("its disk has no room for it now")) } else { Ok(()) }
}

/// Hands a verified snapshot to the Raft core, unless it contradicts what is committed here:
/// openraft panics on that.
async fn install(
    raft: &Raft,
    vote: Vote,
    position: &Position,
    verified: VerifiedSnapshot,
    turn: Turn,
) -> Result<SnapshotResponse<TypeConfig>, TransportError> {
    let meta = meta(position).map_err(failed)?;
    let committed = raft.metrics().borrow_watched().local_committed;
    let stale = committed >= meta.last_log_id
        || committed.as_ref().map(|id| id.index) >= meta.last_log_id.as_ref().map(|id| id.index);
    let beyond_vote = meta
        .last_log_id
        .as_ref()
        .is_some_and(|last| **last.committed_leader_id() > vote.leader_id.term);
    if stale || beyond_vote {
        return Err(failed("it is older than what is committed here, or contradicts it"));
    }
    let snapshot = SnapshotData::Verified(Box::new(verified), Some(turn));
    let snapshot = SnapshotOf::<TypeConfig, _> { meta, snapshot };
    raft.install_full_snapshot(vote, snapshot).await.map_err(failed)
}

async fn next(channel: &mut Channel) -> Result<Bytes, TransportError> {
    within(channel.stream.next()).await?.ok_or_else(|| failed("the leader left"))?
}

async fn within<T>(step: impl Future<Output = T>) -> Result<T, TransportError> {
    let timeout = TransportError::Timeout { waited: STEP_DEADLINE };
    tokio::time::timeout(STEP_DEADLINE, step).await.map_err(|_| timeout)
}

fn failed(reason: impl std::fmt::Display) -> TransportError {
    TransportError::Closed { message: format!("{reason}") }
}
