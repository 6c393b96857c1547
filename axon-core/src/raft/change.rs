//! Changes of membership in openraft's words, for `membership.rs`.

use super::engine::Engine;
use super::message::{Reply, Request};
use super::peers;
use crate::error::{Error, ErrorOutcome, TransportError};
use crate::transport::Lane;
use crate::types::{Member, NodeId};
use openraft::errors::{ClientWriteError, RaftError};
use openraft::rt::WatchReceiver;
use std::time::Duration;

/// How long a peer may take to answer; a change of membership syncs on a majority.
const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// How often a hand-over looks whether its target is still there.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(50);

/// A change of the membership.
pub(crate) type ChangeMembers = openraft::ChangeMembers<u64, Member>;

/// Makes a change of membership and waits until it is committed. With `retain`, a voter that leaves
/// stays as a learner.
pub(crate) async fn change_membership(
    engine: &Engine,
    change: ChangeMembers,
    retain: bool,
) -> Result<(), Reply> {
    match engine.raft.change_membership(change, retain).await {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
            Err(Reply::Unavailable(error.to_string()))
        }
        Err(RaftError::APIError(_)) => Err(engine.not_leader()),
        Err(RaftError::Fatal(fatal)) => Err(Reply::Unavailable(fatal.to_string())),
    }
}

impl Engine {
    /// How far a member's log matches, as this leader knows, and where its own ends.
    pub(crate) fn replicated(&self, id: NodeId) -> (Option<u64>, u64) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|replication| replication.get(&id.0)?.as_ref().map(|matched| matched.index));
        (matched, last)
    }

    /// Asks the Raft core to hand leadership over, and waits until somebody else leads.
    pub(crate) async fn hand_leadership_to(
        &self,
        target: NodeId,
        deadline: Duration,
    ) -> Result<NodeId, Error> {
        let stopped = |fatal| super::forward::halted(&fatal);
        self.raft.trigger().transfer_leader(target.0).await.map_err(stopped)?;
        let mut metrics = self.raft.metrics();
        let myself = self.id().0;
        let moved = async {
            loop {
                if let Some(leader) = metrics.borrow_watched().current_leader
                    && leader != myself
                {
                    return Ok(NodeId(leader));
                }
                if metrics.changed().await.is_err() {
                    return Err(Error::ShutDown);
                }
            }
        };
        // A whole cluster that stops: the target went too, and nobody takes over.
        let gone = async {
            while self.peers.is_alive(target) {
                tokio::time::sleep(LIVENESS_INTERVAL).await;
            }
            let message = "it went away before it took leadership over".to_owned();
            Err(TransportError::Unreachable { address: target.to_string(), message }.into())
        };
        let moved = async {
            tokio::select! {
                biased;
                moved = moved => moved,
                gone = gone => gone,
            }
        };
        let late = Error::Timeout { waited: deadline, outcome: ErrorOutcome::Unknown };
        tokio::time::timeout(deadline, moved).await.unwrap_or(Err(late))
    }

    /// Finishes a change of membership that a former leader left between its two steps.
    pub(crate) async fn leave_joint_consensus(&self) -> Result<(), Error> {
        let metrics = self.metrics();
        let configs = metrics.membership_config.membership().get_joint_config();
        let [_, target] = configs.as_slice() else { return Ok(()) };
        tracing::info!("finishing a change of membership that was left half done");
        let change = ChangeMembers::ReplaceAllVoters(target.clone());
        match change_membership(self, change, false).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::NoLeader { outcome: ErrorOutcome::Unknown }),
        }
    }

    /// Asks whoever listens on `address`, which must be `id` when that is known. `None` when there
    /// is no answer.
    pub(crate) async fn ask(
        &self,
        id: Option<NodeId>,
        address: &str,
        request: &Request,
    ) -> Option<Reply> {
        let answer = if let Some(id) = id {
            self.peers.ask(id, address, request, ASK_DEADLINE).await
        } else {
            let hello = self.peers.myself().hello(Lane::Control);
            peers::ask_stranger(&self.transport, address, hello, request, ASK_DEADLINE).await
        };
        answer.inspect_err(|error| tracing::debug!("{address}: {error}")).ok()
    }
}
