//! Where a replica stands in the protocol, and where it sees the others: read off, never waited for.

use super::TypeConfig;
use super::engine::Engine;
use super::peers::{Peers, Report};
use crate::status::{MemberStatus, Membership, PeerStatus, Quorum};
use crate::types::{LogIndex, Member, NodeId};
use openraft::rt::WatchReceiver;
use openraft::{Instant, RaftMetrics};
use std::time::Duration;

/// A replica's place in the protocol, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    pub(crate) purged_index: LogIndex,
    pub(crate) vote: Option<NodeId>,
    pub(crate) quorum_ack_age: Option<Duration>,
    pub(crate) joint: bool,
    pub(crate) quorum: Quorum,
    pub(crate) peers: Vec<PeerStatus>,
}

impl Engine {
    /// A member as this replica sees it.
    pub(crate) fn member_status(
        &self,
        leader: Option<NodeId>,
        id: NodeId,
        member: Member,
        voter: bool,
    ) -> MemberStatus {
        let report = self.peers.report(id);
        let myself = id == self.id();
        let own_version = || env!("CARGO_PKG_VERSION").to_owned();
        let applied = || self.reader.view().position().index;
        MemberStatus {
            id,
            member,
            membership: if voter { Membership::Voter } else { Membership::Learner },
            leader: leader == Some(id),
            alive: self.peers.is_alive(id),
            version: if myself {
                Some(own_version())
            } else {
                report.as_ref().map(|r| r.pong.version.clone())
            },
            applied_index: if myself {
                Some(applied())
            } else {
                report.as_ref().map(|report| LogIndex(report.pong.applied_index))
            },
            last_contact: if myself {
                Some(Duration::ZERO)
            } else {
                report.map(|r| r.heard.elapsed())
            },
        }
    }

    /// Reads off where this replica stands.
    pub(crate) fn standing(&self) -> Standing {
        standing(&self.raft.metrics().borrow_watched(), &self.peers)
    }
}

fn standing(metrics: &RaftMetrics<TypeConfig>, peers: &Peers) -> Standing {
    let membership = metrics.membership_config.membership();
    let vote = &metrics.vote.leader_id;
    let leads = metrics.current_leader == Some(metrics.id);
    let last = metrics.last_log_index.unwrap_or(0);
    let replication = metrics.replication.as_ref().filter(|_| leads);
    let others = membership.nodes().filter(|(id, _)| **id != metrics.id);
    let peer = |id: u64| {
        // A follower that has answered nothing yet has nothing in common, as far as is known.
        let matched = replication.and_then(|all| all.get(&id));
        let matched = matched.map(|matched| matched.as_ref().map_or(0, |matched| matched.index));
        let report = peers.report(NodeId(id));
        PeerStatus {
            id: NodeId(id),
            matched: matched.map(LogIndex),
            lag: matched.map(|matched| last.saturating_sub(matched)),
            alive: report.as_ref().is_some_and(Report::is_alive),
            last_contact: report.map(|report| report.heard.elapsed()),
        }
    };
    // By the membership of this moment; `lost` takes its time.
    let quorum = peers.weakest(membership.get_joint_config());
    Standing {
        purged_index: LogIndex(metrics.purged.as_ref().map_or(0, |purged| purged.index)),
        vote: (vote.term > 0).then_some(NodeId(vote.voted_for)),
        quorum_ack_age: metrics.last_quorum_acked.as_ref().filter(|_| leads).map(|at| at.elapsed()),
        joint: membership.get_joint_config().len() > 1,
        quorum: Quorum {
            alive: quorum.alive,
            needed: quorum.needed,
            voters: quorum.voters,
            lost: peers.quorum().lost,
        },
        peers: others.map(|(id, _)| peer(*id)).collect(),
    }
}
