//! Where the leader is, and commands into its log: from here, and for others.
//!
//! Where a replica leads, the commands of its own callers and those that others forwarded enter the log
//! the same way. What a member sends is looked at first: at a command that cannot be read every
//! replica would halt.

use super::clock::ClusterClock;
use super::engine::SLOW_AFTER;
use super::message::{Names, Proposed};
use super::peers::Peers;
use super::room::Room;
use super::{Proposal, Raft, TypeConfig};
use crate::error::{Error, ErrorOutcome};
use crate::trace::Trace;
use crate::txn::ANSWER_BYTES_MAX;
use crate::types::{Limits, NodeId};
use crate::{codec, command, runtime};
use bytes::Bytes;
use futures_util::StreamExt;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::WriteResult;
use openraft::rt::WatchReceiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of pairs in the reply to a forwarded batch: any one answer fits, and all of them leave most
/// of a frame to the rest.
const REPLY_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX;
/// How long the leader keeps a forwarded batch whose fate is open.
const FORWARDED_DEADLINE: Duration = Duration::from_secs(10);

/// The way to the leader, and what is counted on it.
pub(crate) struct Route {
    pub(crate) raft: Raft,
    pub(crate) peers: Arc<Peers>,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) limits: Limits,
    pub(crate) room: Arc<Room>,
    /// Commands sent on to a leader elsewhere, and those that others sent here.
    pub(crate) forwarded_out: AtomicU64,
    pub(crate) forwarded_in: AtomicU64,
}

/// Where the leader is.
#[derive(Clone)]
pub(crate) enum Leader {
    Here,
    At(NodeId, String),
}

impl Route {
    pub(crate) fn new(
        raft: Raft,
        peers: Arc<Peers>,
        clock: Arc<ClusterClock>,
        limits: Limits,
    ) -> Self {
        let (forwarded_out, forwarded_in) = (AtomicU64::new(0), AtomicU64::new(0));
        let room = Arc::default();
        Self { raft, peers, clock, limits, room, forwarded_out, forwarded_in }
    }

    /// Who leads, as far as is known here.
    pub(crate) fn leader(&self) -> Option<Leader> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        if leader == self.peers.myself().id.0 {
            return Some(Leader::Here);
        }
        let membership = metrics.membership_config.membership();
        let member = membership.get_node(&leader)?;
        Some(Leader::At(NodeId(leader), member.peer_address.clone()))
    }

    /// The best explanation for a call that could not be served.
    pub(crate) fn unavailable(&self, begun: Instant, outcome: ErrorOutcome) -> Error {
        let quorum = self.peers.quorum();
        if let Some(error) = self.fatal() {
            error
        } else if quorum.alive < quorum.needed {
            let (alive, needed, voters) = (quorum.alive, quorum.needed, quorum.voters);
            Error::NoQuorum { alive, needed, voters, outcome }
        } else if self.leader().is_none() {
            Error::NoLeader { outcome }
        } else {
            Error::Timeout { waited: begun.elapsed(), outcome }
        }
    }

    pub(crate) fn fatal(&self) -> Option<Error> {
        let metrics = self.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        state.err().map(|fatal| halted(&fatal))
    }

    /// Writes commands into the log here; one answer a command, in order.
    ///
    /// Dropped, the commands may still happen.
    pub(crate) async fn write_here(&self, commands: Vec<Bytes>) -> Vec<Proposed> {
        if !self.room.now().refuses {
            return self.write_all_here(commands).await;
        }
        let admitted: Vec<bool> =
            commands.iter().map(|command| self.room.admits(command)).collect();
        let kept = commands.into_iter().zip(&admitted).filter(|(_, admitted)| **admitted);
        let kept: Vec<Bytes> = kept.map(|(command, _)| command).collect();
        let written = if kept.is_empty() { Vec::new() } else { self.write_all_here(kept).await };
        let mut written = written.into_iter();
        let mut next = || written.next().unwrap_or(Proposed::Unknown);
        let answer = |admitted| if admitted { next() } else { Proposed::DiskFull };
        admitted.into_iter().map(answer).collect()
    }

    async fn write_all_here(&self, commands: Vec<Bytes>) -> Vec<Proposed> {
        let count = commands.len();
        let stamp_millis = self.clock.now_millis();
        let proposals = commands.into_iter().map(|command| Proposal { stamp_millis, command });
        let mut answers = Vec::with_capacity(count);
        match self.raft.client_write_many(proposals).await {
            Ok(mut results) => {
                while let Some(result) = results.next().await {
                    answers.push(proposed(result));
                }
            }
            Err(_) => answers.push(Proposed::Stopped),
        }
        answers.resize(count, Proposed::Unknown);
        answers
    }

    /// Serves a batch that the replica called `from` forwarded.
    ///
    /// Each command is looked at before it enters the log: at one that cannot be read every replica
    /// would halt, and again at each start.
    pub(crate) async fn serve_forwarded(
        &self,
        commands: Vec<Bytes>,
        names: &Names,
        from: &str,
    ) -> Bytes {
        let begun = runtime::now();
        self.forwarded_in.fetch_add(commands.len() as u64, Ordering::Relaxed);
        let mut answers = if matches!(self.leader(), Some(Leader::Here)) {
            let vocabulary = self.vocabulary();
            let mut refused = Vec::new();
            let mut sound = Vec::with_capacity(commands.len());
            for (place, encoded) in commands.into_iter().enumerate() {
                match command::check(&encoded, &self.limits, vocabulary) {
                    Ok(()) => sound.push(encoded),
                    Err(reason) => refused.push((place, reason)),
                }
            }
            let mut answers = self.write_forwarded(sound).await;
            // In ascending order: each finds those before it in their places.
            for (place, reason) in refused {
                tracing::warn!("a command that was forwarded here is refused: {reason}");
                answers.insert(place, Proposed::Refused(reason));
            }
            answers
        } else {
            vec![Proposed::NotLeader; commands.len()]
        };
        for (place, name) in names {
            if let Some(answer) = answers.get(*place) {
                tell(&self.peers.myself().name, from, name, begun.elapsed(), answer);
            }
        }
        lighten(&mut answers);
        codec::encode(&answers)
    }

    async fn write_forwarded(&self, commands: Vec<Bytes>) -> Vec<Proposed> {
        if commands.is_empty() {
            return Vec::new();
        }
        let lost = vec![Proposed::Unknown; commands.len()];
        let write = self.write_here(commands);
        tokio::time::timeout(FORWARDED_DEADLINE, write).await.unwrap_or(lost)
    }

    /// What every member understands.
    fn vocabulary(&self) -> u16 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership().nodes();
        members.map(|(_, member)| member.vocabulary).min().unwrap_or(0)
    }
}

/// Says in the log of replica `node` what became there of a write that has a name.
fn tell(node: &str, from: &str, trace: &Trace, took: Duration, answer: &Proposed) {
    let millis = took.as_millis() as u64;
    match answer {
        Proposed::Done(_) if took < SLOW_AFTER => {
            tracing::debug!(node, from, request_id = %trace, millis, "a forwarded write is decided");
        }
        Proposed::Done(_) => {
            tracing::warn!(node, from, request_id = %trace, millis, "a forwarded write was slow");
        }
        // It was sent to the wrong place: whoever sent it asks again.
        Proposed::NotLeader => {
            tracing::debug!(node, from, request_id = %trace, millis, "a forwarded write found no leader here");
        }
        _ => {
            tracing::warn!(node, from, request_id = %trace, millis, "a forwarded write was lost from sight");
        }
    }
}

/// Leaves out the answers that would make a reply too large for a frame: asked again, they come
/// without what makes them large (see `machine/outcomes.rs`).
fn lighten(answers: &mut [Proposed]) {
    let mut left = REPLY_BYTES_MAX;
    for answer in answers {
        let Proposed::Done(outcome) = answer else { continue };
        match left.checked_sub(outcome.pair_bytes()) {
            Some(fewer) => left = fewer,
            None => *answer = Proposed::Unknown,
        }
    }
}

fn proposed(result: Result<WriteResult<TypeConfig>, Fatal<TypeConfig>>) -> Proposed {
    match result {
        Ok(Ok(response)) => Proposed::Done(response.response),
        // A fresh leader says so too, until its first quorum answers: it is tried again.
        Ok(Err(ClientWriteError::ForwardToLeader(_))) => Proposed::NotLeader,
        Ok(Err(_)) => Proposed::Unknown,
        Err(_) => Proposed::Stopped,
    }
}

pub(crate) fn halted(fatal: &Fatal<TypeConfig>) -> Error {
    match fatal {
        Fatal::Stopped => Error::ShutDown,
        Fatal::Panicked => Error::Halted { cause: "the Raft core panicked".into() },
        Fatal::StorageError(error) => Error::Halted { cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::command::{OpOutcome, Outcome, TxnOutcome};
    use crate::transport::FRAME_BYTES_MAX;
    use crate::types::{KeyValue, Revision};

    #[test]
    fn a_reply_to_many_large_answers_fits_into_a_frame() {
        let (key, value) = (Bytes::from("k"), Bytes::from(vec![0; 1 << 20]));
        let (create_revision, mod_revision, version) = (Revision(1), Revision(1), 1);
        let pair = KeyValue { key, value, create_revision, mod_revision, version };
        let large = |pairs| {
            let results = vec![OpOutcome::Got(Some(pair.clone())); pairs];
            let inner = OpOutcome::Txn { succeeded: true, results };
            let (succeeded, revision, results) = (true, Revision(1), vec![inner]);
            Proposed::Done(Outcome::Txn(TxnOutcome { succeeded, revision, results }))
        };
        let mut answers = vec![large(3), large(3), large(3), Proposed::NotLeader, large(1)];
        answers.extend(vec![large(3); 50]);
        answers.push(Proposed::Done(Outcome::Done));
        lighten(&mut answers);
        assert!(codec::encode(&answers).len() < FRAME_BYTES_MAX);
        let kept = |at: usize| matches!(answers[at], Proposed::Done(_));
        assert_eq!([0, 1, 2, 4, 54, 55].map(kept), [true, true, false, true, false, true]);
        assert!(matches!(answers[2], Proposed::Unknown), "it is asked again");
        assert!(matches!(answers[3], Proposed::NotLeader));
    }
}
