//! A replica's storage without a Raft core on it: what it says, its log replayed, its beginning anew.
//!
//! For recovery and restore, which work on directories that no process holds. Invariants:
//!
//! * [`replay`] applies every entry there is, committed or not: what was acknowledged is among them,
//!   and nothing here can tell it from what was not;
//! * [`begin_again`] leaves rows, sessions, idempotency keys, revision, cluster time and the place in
//!   the log as they are (a session's id is an entry's index). New are the cluster's id, and the
//!   membership: one voter, under an id that was never given to anyone;
//! * its log holds no entry and begins behind that place, with a vote of a later term: as if a
//!   snapshot had just been installed, and an election had just begun.
//!
//! Everything here blocks on the disk.

use super::clock::ClusterClock;
use super::log::{decode_opaque, decode_record, encode_log_id};
use super::state::{StateMachine, decode_position, encode_position};
use super::{Entry, LogId, StoredMembership, Vote};
use crate::codec;
use crate::error::StorageError;
use crate::state::{State, StateConfig, Summary};
use crate::storage::{LogStore, PurgeMark, StateStore, Storage};
use crate::types::{ClusterId, LogIndex, Member, NodeId, Revision};
use futures_util::stream;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, Membership};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, mpsc};
use tokio::sync::watch;

/// Entries are read in runs of about this size.
const READ_BYTES_MAX: usize = 1 << 20;

/// Where a replica stands that does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The term of its last entry: an election looks at it first.
    pub term: u64,
    /// The index of its last entry.
    pub last_index: LogIndex,
    /// Up to here it knew that a majority had what it has. There may be more.
    pub committed_index: LogIndex,
    /// Where its checkpoint stands.
    pub checkpoint_index: LogIndex,
    /// The store's revision as of the checkpoint.
    pub revision: Revision,
    /// The members by its last entry about them, each with whether it votes.
    pub members: Vec<(NodeId, Member, bool)>,
    /// Who votes; two sets while a change of membership is under way.
    pub configs: Vec<BTreeSet<NodeId>>,
}

/// Finds out where a replica stands. Reads and checks its whole state, and its log.
pub(crate) fn standing(storage: &Storage) -> Result<Standing, StorageError> {
    let summary = Summary::verified(&*storage.state.view()?)?.unwrap_or_default();
    let (applied, mut membership) = decode_position(&summary.position)?;
    let opened = storage.log.opened();
    let mut last = applied;
    let mut run = unapplied(&*storage.log, applied)?;
    loop {
        let entries = read(&*storage.log, &run)?;
        let Some(newest) = entries.last() else { break };
        run.start = newest.log_id.index + 1;
        last = Some(newest.log_id);
        for entry in entries {
            if let EntryPayload::Membership(changed) = entry.payload {
                membership = StoredMembership::new(Some(entry.log_id), changed);
            }
        }
    }
    let last = last.ok_or_else(|| refused("it has no entry, and never was a member"))?;
    let committed: Option<LogId> = opened.committed.as_deref().map(decode_opaque).transpose()?;
    let membership = membership.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let ids = |config: &BTreeSet<u64>| config.iter().copied().map(NodeId).collect();
    Ok(Standing {
        term: **last.committed_leader_id(),
        last_index: LogIndex(last.index),
        committed_index: LogIndex(committed.min(Some(last)).max(applied).map_or(0, |id| id.index)),
        checkpoint_index: summary.position.index,
        revision: summary.registers.revision,
        members: membership
            .nodes()
            .map(|(id, member)| (NodeId(*id), member.clone(), voters.contains(id)))
            .collect(),
        configs: membership.get_joint_config().iter().map(ids).collect(),
    })
}

/// The entries that a state at `applied` lacks.
fn unapplied(log: &dyn LogStore, applied: Option<LogId>) -> Result<Range<u64>, StorageError> {
    let opened = log.opened();
    let next = applied.map_or(0, |applied| applied.index + 1);
    let first = opened.purged.as_ref().map_or(0, |mark| mark.upto.0 + 1);
    if next < first {
        return Err(refused(&format!(
            "its state ends before entry {next}, its log begins with entry {first}: the two do not \
             belong together"
        )));
    }
    Ok(next..opened.last.map_or(next, |last| last.0 + 1).max(next))
}

fn read(log: &dyn LogStore, range: &Range<u64>) -> Result<Vec<Entry>, StorageError> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let records = log.read(LogIndex(range.start)..LogIndex(range.end), READ_BYTES_MAX)?;
    if records.first().map(|record| record.index.0) != Some(range.start) {
        return Err(refused(&format!("its log lacks entry {}", range.start)));
    }
    records.into_iter().map(decode_record).collect()
}

fn refused(reason: &str) -> StorageError {
    StorageError::Mismatch { path: "the replica".into(), reason: reason.into() }
}

/// Applies every entry of `log` that the state in `store` lacks, and makes a checkpoint of it.
pub(crate) async fn replay(
    log: &dyn LogStore,
    store: Arc<dyn StateStore>,
) -> Result<(), StorageError> {
    // The entries are durable where they came from, and this state is nothing before it is whole.
    let (_log, durable) = watch::channel(LogIndex(u64::MAX));
    let state = State::open(store.clone(), durable, StateConfig::default())?;
    let checkpointer = state.checkpointer();
    let (applied, _) = decode_position(&state.position())?;
    let clock = Arc::new(ClusterClock::new(0));
    let mut machine = StateMachine::new(state, store, clock, Arc::default())?;
    let mut run = unapplied(log, applied)?;
    loop {
        let entries = read(log, &run)?;
        let Some(newest) = entries.last() else { break };
        run.start = newest.log_id.index + 1;
        let entries = stream::iter(entries.into_iter().map(|entry| Ok((entry, None))));
        machine.apply(entries).await.map_err(cause)?;
    }
    checkpointer.checkpoint_now().await.map(drop)
}

/// The storage's own words, out of the envelope that the Raft core knows.
fn cause(error: io::Error) -> StorageError {
    error.downcast().unwrap_or_else(|error| refused(&error.to_string()))
}

/// What a replica is that began anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) node_id: NodeId,
    pub(crate) revision: Revision,
    pub(crate) keys: u64,
}

/// Makes of the state in `storage`, whose log must be empty, the first replica of a new cluster.
/// Its id is above all that were handed out, as far as the state knows, and above `ids_used`.
pub(crate) fn begin_again(
    storage: &Storage,
    cluster_id: ClusterId,
    member: Member,
    ids_used: NodeId,
) -> Result<Begun, StorageError> {
    let (begun, applied) = Summary::rewrite(&*storage.state, |summary| {
        let (applied, former) = decode_position(&summary.position)?;
        let applied = applied.ok_or_else(|| refused("its state is empty"))?;
        let known = former.membership().nodes().map(|(id, _)| NodeId(*id)).max();
        let registers = &mut summary.registers;
        let used = registers.last_node_id.max(ids_used).max(known.unwrap_or_default());
        let node_id = used.next();
        registers.last_node_id = node_id;
        registers.cluster_id = Some(cluster_id);
        // Who was given an id and has not come with it yet gets another one here.
        summary.joiners = <_>::default();
        let members = Membership::from(BTreeMap::from([(node_id.0, member)]));
        let members = StoredMembership::new(Some(applied), members);
        summary.position = encode_position(&applied, &members);
        let [keys, ..] = summary.totals.rows;
        Ok((Begun { node_id, revision: registers.revision, keys }, applied))
    })?;
    begin_log(&*storage.log, applied, begun.node_id)?;
    Ok(begun)
}

fn begin_log(log: &dyn LogStore, applied: LogId, id: NodeId) -> Result<(), StorageError> {
    let term = **applied.committed_leader_id() + 1;
    let (done, written) = mpsc::channel();
    let told = done.clone();
    let vote = codec::encode(&Vote::new(term, id.0));
    log.save_vote(vote, Box::new(move |result| drop(told.send(result))));
    let mark = PurgeMark { upto: LogIndex(applied.index), mark: encode_log_id(&applied) };
    log.purge(mark, Box::new(move |result| drop(done.send(result))));
    let lost = || refused("its new log was closed before it was written");
    // One answer each, in order.
    for _ in 0..2 {
        written.recv().map_err(|_| lost())??;
    }
    Ok(())
}
