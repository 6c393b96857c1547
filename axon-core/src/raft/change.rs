//! Changes of membership in openraft's words, for `membership.rs`.

use super::engine::Engine;
use super::message::{Reply, Request};
use super::{TypeConfig, peers};
use crate::error::{Error, ErrorOutcome, TransportError};
use crate::transport::Lane;
use crate::types::{LogIndex, Member, NodeId};
use openraft::RaftMetrics;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::rt::WatchReceiver;
use std::time::Duration;

/// How long a peer may take to answer; a change of membership syncs on a majority.
const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// How often a hand-over looks whether its target is still there.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(50);

/// A change of the membership.
pub(crate) type ChangeMembers = openraft::ChangeMembers<u64, Member>;

/// Makes a change of membership and waits until it is committed, and until [`Engine::members`] tells
/// of it.
///
/// A voter that leaves is no member any more, whichever change comes upon the joint configuration:
/// kept as a learner, it would be half removed.
pub(crate) async fn change_membership(engine: &Engine, change: ChangeMembers) -> Result<(), Reply> {
    match engine.raft.change_membership(change, false).await {
        Ok(changed) => {
            engine.until_applied(LogIndex(changed.log_id.index)).await;
            Ok(())
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
            Err(Reply::Unavailable(error.to_string()))
        }
        Err(RaftError::APIError(_)) => Err(engine.not_leader()),
        Err(RaftError::Fatal(fatal)) => Err(Reply::Unavailable(fatal.to_string())),
    }
}

impl Engine {
    /// Waits until what this replica says of itself includes what it has applied up to `index`. The
    /// Raft core publishes that after its answers, when its loop comes round.
    pub(crate) async fn until_applied(&self, index: LogIndex) {
        let mut metrics = self.raft.metrics();
        let told = |metrics: &RaftMetrics<TypeConfig>| {
            metrics.last_applied.is_some_and(|applied| applied.index >= index.0)
        };
        while !told(&metrics.borrow_watched()) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

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
        let stopped = |fatal| super::route::halted(&fatal);
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
            let myself = self.peers.myself();
            let (hello, secret) = (myself.hello(Lane::Control), &myself.secret);
            peers::ask_stranger(&self.transport, address, hello, secret, request, ASK_DEADLINE)
                .await
        };
        answer.inspect_err(|error| tracing::debug!("{address}: {error}")).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::engine::Parts;
    use super::super::peers::Myself;
    use super::*;
    use crate::config::Config;
    use crate::secret::Secret;
    use crate::storage::StorageEngine;
    use crate::storage::builtin::MemoryEngine;
    use crate::transport::memory::MemNetwork;
    use crate::types::ClusterId;
    use openraft::storage::RaftLogReader;
    use openraft::{EntryPayload, Membership};
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;
    use std::sync::Arc;

    impl Engine {
        /// Makes the first half of a change of voters, and leaves it at that.
        pub(crate) async fn half_change(&self, voters: BTreeSet<u64>) {
            let mut metrics = self.metrics();
            while metrics.membership_config != metrics.committed_membership_config {
                tokio::time::sleep(LIVENESS_INTERVAL).await;
                metrics = self.metrics();
            }
            let now = metrics.membership_config.membership();
            let nodes = now.nodes().map(|(id, member)| (*id, member.clone()));
            let configs = vec![now.get_joint_config()[0].clone(), voters];
            let joint = Membership::new(configs, nodes.collect::<BTreeMap<_, _>>()).unwrap();
            self.raft.append_membership(joint, EntryPayload::Blank, []).await.unwrap();
        }

        /// Every configuration in this replica's log; two sets of voters where it is joint.
        pub(crate) async fn configs_in_log(&self) -> Vec<Vec<BTreeSet<u64>>> {
            let entries = self.log.clone().try_get_log_entries(0..).await.unwrap();
            let memberships = entries.iter().filter_map(|entry| match &entry.payload {
                EntryPayload::Membership(membership) => Some(membership),
                _ => None,
            });
            memberships.map(|membership| membership.get_joint_config().clone()).collect()
        }
    }

    fn member(name: &str) -> Member {
        Member {
            name: name.into(),
            address: String::new(),
            peer_address: String::new(),
            vocabulary: 2,
        }
    }

    /// The Raft core may answer before it publishes what it did: about one change in a few hundred
    /// was not there yet when its maker looked.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_of_membership_is_told_of_once_it_is_made() {
        let storage = MemoryEngine::new();
        storage.create(Path::new(""), 1).unwrap();
        let parts = Parts {
            myself: Myself {
                cluster_id: ClusterId(1),
                id: NodeId(1),
                name: "one".into(),
                secret: Secret::none(),
            },
            storage: storage.open(Path::new(""), 1).unwrap(),
            transport: Arc::new(MemNetwork::new().transport("one")),
            config: Arc::new(Config::default()),
        };
        let (engine, _changes) = Engine::start(parts).await.unwrap();
        engine.initialize(member("one")).await.unwrap();
        while !engine.leads() {
            tokio::time::sleep(LIVENESS_INTERVAL).await;
        }
        for id in 2..1_000_u64 {
            let add = ChangeMembers::AddNodes(BTreeMap::from([(id, member("two"))]));
            change_membership(&engine, add).await.unwrap();
            assert_eq!(engine.members().len(), 2, "{id} was added");
            let remove = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
            change_membership(&engine, remove).await.unwrap();
            assert_eq!(engine.members().len(), 1, "{id} was removed");
        }
        engine.stop().await.unwrap();
    }
}
