//! The cluster as the launcher sees it: what each node's task knows, brought together. Pure.
//!
//! No node is asked here and no opinion is made up: what is not known is `null`.

use crate::manifest::{Decommission, Desired, Manifest};
use crate::node::View;
use crate::probe::Status;
use crate::roster::id_of;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A node, as `GET /api/control/nodes` shows it.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct NodeReport {
    /// Its name.
    pub id: String,
    /// Where its API answers.
    pub api_port: u16,
    /// `online` if it runs and answers, else `offline`.
    pub status: &'static str,
    /// Whether it leads, as far as is known: true for one node at most.
    pub is_leader: bool,
    /// The id that the cluster gave it.
    pub node_id: Option<u64>,
    /// `voter`, `learner` or `none`, by the best informed node that answers.
    pub membership: Option<&'static str>,
    /// Its part in Raft, by its own words: `leader`, `follower`, `candidate` or `learner`.
    pub role: Option<String>,
    /// Whether it can serve.
    pub ready: bool,
    /// Its Raft term.
    pub term: Option<u64>,
    /// The last entry it has applied.
    pub applied_index: Option<u64>,
    /// The version it runs.
    pub version: Option<String>,
    /// Where its peers reach it.
    pub peer_port: u16,
    /// Its process id.
    pub pid: Option<u32>,
    /// Where its process is in its life, in a word.
    pub phase: &'static str,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// Whether it should run.
    pub desired: Desired,
    /// How far its decommissioning has come.
    pub decommission: Option<Decommission>,
    /// What is wrong, in a sentence.
    pub trouble: Option<String>,
    /// How its last process ended.
    pub last_exit: Option<ExitReport>,
}

/// How a process ended.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct ExitReport {
    /// Its exit code, if it had one and it is known.
    pub code: Option<i32>,
    /// The same in words.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The last lines of its log at that moment.
    pub lines: Vec<String>,
}

/// Whose word counts.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// The leader's, if there is one whom a quorum answers.
    pub leader: Option<&'a Status>,
    /// Of whoever takes itself for the leader, answered by a quorum or not.
    pub claimant: Option<&'a Status>,
    /// The best informed node's, if any answers.
    pub informed: Option<&'a Status>,
}

impl<'a> Words<'a> {
    /// Picks them from what the nodes say.
    pub fn of(views: &'a BTreeMap<String, View>) -> Self {
        let statuses = || views.values().filter_map(View::status);
        // Two may say that they lead: the one of the older term has not heard yet that it does not.
        let claimant = statuses().filter(|s| s.raft_state == "leader").max_by_key(|s| s.term);
        let leader = claimant.filter(|s| !s.quorum.is_some_and(|quorum| quorum.lost));
        let informed = claimant.or_else(|| statuses().max_by_key(|s| (s.term, s.applied_index)));
        Self { leader, claimant, informed }
    }
}

/// Brings together what is known.
pub fn report(manifest: &Manifest, views: &BTreeMap<String, View>) -> BTreeMap<String, NodeReport> {
    let Words { leader, informed, .. } = Words::of(views);
    let mut reports = BTreeMap::new();
    for spec in &manifest.nodes {
        let name = spec.name.to_string();
        let Some(view) = views.get(&name) else { continue };
        let status = view.status();
        let node_id = id_of(spec, Some(view));
        let report = NodeReport {
            id: name.clone(),
            api_port: spec.api_port,
            status: if view.online() { "online" } else { "offline" },
            is_leader: leader.is_some_and(|leader| leader.name == name),
            node_id,
            membership: informed.map(|informed| membership(informed, node_id)),
            role: status.map(|s| s.raft_state.clone()),
            ready: view.online() && view.observed.ready(),
            term: status.map(|s| s.term),
            applied_index: status.map(|s| s.applied_index),
            version: status.map(|s| s.version.clone()).filter(|version| !version.is_empty()),
            peer_port: spec.peer_port,
            pid: view.pid,
            phase: view.phase.as_str(),
            since: millis(view.since),
            desired: spec.desired,
            decommission: spec.decommission,
            trouble: view.trouble.clone(),
            last_exit: view.last_exit.as_ref().map(|last| ExitReport {
                code: last.exit.code(),
                text: last.exit.to_string(),
                at: millis(last.at),
                lines: last.lines.clone(),
            }),
        };
        reports.insert(name, report);
    }
    reports
}

/// What a node is to the cluster, by the words of the best informed one.
pub(crate) fn membership(informed: &Status, node_id: Option<u64>) -> &'static str {
    match node_id {
        Some(id) if informed.voters.contains(&id) => "voter",
        Some(id) if informed.learners.contains(&id) => "learner",
        _ => "none",
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::lifecycle::{Failures, Phase};
    use crate::probe::Observation;
    use std::time::Duration;

    /// A node that runs and answers, in a cluster of voters 1 and 2 and a learner 3.
    pub(crate) fn view(name: &str, id: u64, raft_state: &str, term: u64) -> View {
        let status = Status {
            cluster_id: String::new(),
            node_id: id,
            name: name.to_owned(),
            raft_state: raft_state.to_owned(),
            membership: "voter".to_owned(),
            term,
            applied_index: 9,
            voters: vec![1, 2],
            learners: vec![3],
            ..Status::default()
        };
        View {
            phase: Phase::Running { failures: Failures::default() },
            since: UNIX_EPOCH,
            pid: Some(1),
            started: None,
            next_start: None,
            observed: Observation::Answers {
                status: Box::new(status),
                ready: true,
                rtt: Duration::ZERO,
            },
            node_id: Some(id),
            last_exit: None,
            trouble: None,
        }
    }

    fn reports(views: [View; 3]) -> BTreeMap<String, NodeReport> {
        let mut manifest = Manifest::new(9000, 3).unwrap();
        manifest.nodes[2].node_id = Some(3);
        let names = manifest.nodes.iter().map(|n| n.name.to_string());
        report(&manifest, &names.zip(views).collect())
    }

    #[test]
    fn of_two_that_say_they_lead_the_one_of_the_later_term_does() {
        let got = reports([
            view("node1", 1, "leader", 4),
            view("node2", 2, "leader", 5),
            view("node3", 3, "learner", 5),
        ]);
        let leaders: Vec<_> = got.values().filter(|n| n.is_leader).map(|n| &n.id).collect();
        assert_eq!(leaders, ["node2"]);
        assert_eq!(got["node3"].membership, Some("learner"));
        assert_eq!(got["node1"].role.as_deref(), Some("leader"), "its own words stay");
    }

    #[test]
    fn a_node_that_is_down_keeps_its_membership_and_loses_the_rest() {
        let mut down = view("node3", 3, "leader", 9);
        down.phase = Phase::Stopping { again: false };
        let got = reports([view("node1", 1, "follower", 4), view("node2", 2, "leader", 4), down]);
        let node3 = &got["node3"];
        assert_eq!((node3.status, node3.is_leader), ("offline", false));
        assert_eq!(
            (node3.membership, node3.term, node3.applied_index),
            (Some("learner"), None, None)
        );
        assert!(got["node2"].is_leader);
    }

    #[test]
    fn with_nobody_to_ask_membership_is_unknown() {
        let down = || View { phase: Phase::Stopped, ..view("x", 1, "leader", 9) };
        let got = reports([down(), down(), down()]);
        assert!(got.values().all(|n| n.membership.is_none() && !n.is_leader));
    }
}
