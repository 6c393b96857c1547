//! The nodes as `/api/v1` shows them: what each node's task knows, what the node says of itself, and
//! what the leader says of it. Pure.
//!
//! Invariants:
//! * what is not known is `None`; a node that does not answer says nothing, whatever it said before;
//! * how far a node is behind is the leader's word, and unknown without a leader;
//! * `membership` is the word of the best informed node, not the node's own.
//!
//! It asks nobody. [`report`](crate::report) does the same for the first control API.

use crate::lifecycle::Phase;
use crate::manifest::{Desired, Manifest, NodeSpec};
use crate::node::{LastExit, View};
use crate::probe::{Observation, Status};
use crate::report::{Words, membership, millis};
use crate::wire::{Exit, Node, State};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the operating system says of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Share of one processor.
    pub cpu: Option<f64>,
    /// Memory, in bytes.
    pub rss: Option<u64>,
    /// What its directory takes, in bytes.
    pub disk: Option<u64>,
}

/// The nodes of the manifest, in its order.
pub fn nodes(
    manifest: &Manifest,
    views: &BTreeMap<String, View>,
    usage: &BTreeMap<String, Usage>,
) -> Vec<Node> {
    let words = Words::of(views);
    let shown = |spec: &NodeSpec| {
        let view = views.get(spec.name.as_str())?;
        let usage = usage.get(spec.name.as_str()).copied().unwrap_or_default();
        Some(node(spec, view, words, usage))
    };
    manifest.nodes.iter().filter_map(shown).collect()
}

/// The id of a node: as it says itself, else as it last said.
pub(crate) fn id_of(spec: &NodeSpec, view: Option<&View>) -> Option<u64> {
    view.and_then(|view| view.node_id).or(spec.node_id)
}

fn node(spec: &NodeSpec, view: &View, words: Words<'_>, usage: Usage) -> Node {
    let own = view.status();
    let node_id = id_of(spec, Some(view));
    let place = node_id.and_then(|id| place(words.leader?, id));
    let disk = own.and_then(|own| own.disk);
    let running = if view.pid.is_some() { usage } else { Usage::default() };
    Node {
        id: spec.name.to_string(),
        node_id,
        address: format!("127.0.0.1:{}", spec.api_port),
        peer_address: format!("127.0.0.1:{}", spec.peer_port),
        state: state(spec, view, words),
        since: millis(view.since),
        desired_running: spec.desired == Desired::Running,
        trouble: view.trouble.clone(),
        exit: view.last_exit.as_ref().filter(|last| !last.wanted).map(exit),
        failures: view.phase.failures(),
        next_start: view.next_start.map(millis),
        pid: view.pid,
        started: view.started.map(millis),
        membership: words.informed.map(|informed| membership(informed, node_id).to_owned()),
        role: own.map(|own| own.raft_state.clone()),
        ready: own.is_some() && view.observed.ready(),
        term: own.map(|own| own.term),
        vote: own.and_then(|own| own.vote),
        leader_seen: own.and_then(|own| own.leader.as_ref()).map(|leader| leader.id),
        last_log: own.and_then(|own| own.last_log_index),
        committed: own.and_then(|own| own.committed_index),
        applied: own.map(|own| own.applied_index),
        matched: place.and_then(|(matched, _)| matched),
        lag: place.and_then(|(_, lag)| lag),
        snapshot: own.and_then(|own| own.checkpoint_index),
        purged: own.and_then(|own| own.purged_index),
        quorum_ack_age_ms: own.and_then(|own| own.quorum_ack_age_ms),
        probe_rtt_ms: own.and(view.observed.rtt()).map(milliseconds),
        sync_p99_ms: own.and_then(|own| own.sync_p99_ms),
        cpu: running.cpu,
        rss: running.rss,
        disk: usage.disk,
        disk_free: disk.and_then(|disk| disk.free),
        disk_low: disk.and_then(|disk| disk.low),
        version: own.map(|own| own.version.clone()).filter(|version| !version.is_empty()),
    }
}

/// How far a member's log agrees with the leader's, and how far it is behind, as the leader says.
fn place(leader: &Status, id: u64) -> Option<(Option<u64>, Option<u64>)> {
    if leader.node_id == id {
        return Some((leader.last_log_index, Some(0)));
    }
    leader.peer(id).map(|peer| (peer.matched, peer.lag))
}

fn state(spec: &NodeSpec, view: &View, words: Words<'_>) -> State {
    match view.phase {
        Phase::Removed => State::Removed,
        _ if spec.decommission.is_some() => State::Decommissioning,
        Phase::Stopped => State::Stopped,
        Phase::Starting { .. } => State::Starting,
        Phase::Unhealthy { .. } => State::Unhealthy,
        Phase::Stopping { .. } => State::Stopping,
        Phase::Crashed { .. } => State::Crashed,
        Phase::Running { .. } => match &view.observed {
            // It knocks at its cluster.
            Observation::Joining => State::Starting,
            // Without a leader nobody can serve, and that is the cluster's trouble, not the node's.
            Observation::Answers { ready: false, .. } if words.leader.is_some() => State::Unhealthy,
            _ => State::Running,
        },
    }
}

pub(crate) fn exit(last: &LastExit) -> Exit {
    Exit {
        code: last.exit.code(),
        text: last.exit.to_string(),
        at: millis(last.at),
        lines: last.lines.clone(),
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::lifecycle::tests::failed;
    use crate::manifest::Decommission;
    use crate::process;
    use crate::report::tests::view;
    use serde_json::{Value, json};
    use std::time::UNIX_EPOCH;

    /// A view whose node says `said` besides.
    fn saying(name: &str, id: u64, raft_state: &str, said: &Value) -> View {
        let mut all = json!({
            "cluster_id": "c", "node_id": id, "name": name, "raft_state": raft_state,
            "membership": "voter", "term": 4, "applied_index": 9, "voters": [1, 2], "learners": [3]
        });
        for (key, value) in said.as_object().unwrap() {
            all[key] = value.clone();
        }
        let status: Status = serde_json::from_value(all).unwrap();
        let rtt = Duration::from_micros(1_500);
        let observed = Observation::Answers { status: Box::new(status), ready: true, rtt };
        View { observed, ..view(name, id, raft_state, 4) }
    }

    fn listed(views: [View; 3]) -> Vec<Node> {
        let mut manifest = Manifest::new(9000, 3).unwrap();
        for (id, node) in (1..).zip(&mut manifest.nodes) {
            node.node_id = Some(id);
        }
        let names = manifest.nodes.iter().map(|n| n.name.to_string());
        nodes(&manifest, &names.zip(views).collect(), &BTreeMap::new())
    }

    #[test]
    fn what_a_node_says_and_what_the_leader_says_of_it_stand_together() {
        let said = json!({
            "last_log_index": 40, "committed_index": 39, "checkpoint_index": 20, "purged_index": 10,
            "vote": 1, "quorum_ack_age_ms": 7, "sync_p99_ms": 1.5, "joint": false,
            "leader": {"id": 1, "name": "node1", "address": "127.0.0.1:9000"},
            "quorum": {"alive": 2, "needed": 2, "voters": 2, "lost": false},
            "peers": [{"id": 2, "matched": 38, "lag": 2, "alive": true, "last_contact_ms": 12},
                      {"id": 3, "matched": null, "lag": null, "alive": false, "last_contact_ms": null}],
            "disk": {"free": 1000, "total": 2000, "low": false}
        });
        let leads = saying("node1", 1, "leader", &said);
        // A follower's opinion of others' lag does not count.
        let follows = json!({"peers": [{"id": 1, "matched": 1, "lag": 39}], "vote": null});
        let got = listed([
            leads,
            saying("node2", 2, "follower", &follows),
            saying("node3", 3, "learner", &json!({})),
        ]);
        let shown = |node: &Node| (node.matched, node.lag, node.vote, node.last_log);
        assert_eq!(shown(&got[0]), (Some(40), Some(0), Some(1), Some(40)));
        assert_eq!(shown(&got[1]), (Some(38), Some(2), None, None));
        assert_eq!(shown(&got[2]), (None, None, None, None));
        let first = &got[0];
        assert_eq!((first.committed, first.snapshot, first.purged), (Some(39), Some(20), Some(10)));
        assert_eq!((first.quorum_ack_age_ms, first.sync_p99_ms), (Some(7), Some(1.5)));
        assert_eq!((first.disk_free, first.disk_low), (Some(1000), Some(false)));
        assert_eq!((first.leader_seen, first.probe_rtt_ms), (Some(1), Some(1.5)));
        assert_eq!(got[2].membership.as_deref(), Some("learner"));
    }

    #[test]
    fn without_a_leader_nobody_is_known_to_be_behind() {
        let peers = json!({"last_log_index": 40, "peers": [{"id": 2, "matched": 38, "lag": 2}]});
        let got = listed([
            saying("node1", 1, "follower", &peers),
            saying("node2", 2, "candidate", &peers),
            saying("node3", 3, "learner", &peers),
        ]);
        assert!(got.iter().all(|node| node.lag.is_none() && node.matched.is_none()));
        // Who leads without a quorum does not know what the others have.
        let mut alone = peers;
        alone["quorum"] = json!({"alive": 1, "needed": 2, "lost": true});
        let got = listed([
            saying("node1", 1, "leader", &alone),
            saying("node2", 2, "follower", &json!({})),
            saying("node3", 3, "learner", &json!({})),
        ]);
        assert!(got.iter().all(|node| node.lag.is_none() && node.matched.is_none()));
    }

    #[test]
    fn a_node_that_is_down_says_nothing_any_more() {
        let mut down = saying("node2", 2, "follower", &json!({"last_log_index": 40, "vote": 1}));
        down.phase = Phase::Crashed { failures: failed(3), again: true };
        (down.pid, down.next_start) = (None, Some(UNIX_EPOCH + Duration::from_secs(1)));
        let lines = vec!["out of luck".to_owned()];
        let exit = process::Exit::Code(3);
        down.last_exit = Some(LastExit { exit, at: UNIX_EPOCH, lines, wanted: false });
        let leads = saying("node1", 1, "leader", &json!({"peers": [{"id": 2, "lag": 7}]}));
        let got = listed([leads, down, view("node3", 3, "learner", 4)]).remove(1);
        assert_eq!((got.state, got.failures, got.next_start), (State::Crashed, 3, Some(1000)));
        assert_eq!((got.last_log, got.vote, got.term, got.role), (None, None, None, None));
        assert_eq!((got.probe_rtt_ms, got.applied, got.ready), (None, None, false));
        assert_eq!((got.node_id, got.lag), (Some(2), Some(7)), "the leader still knows");
        assert_eq!(got.exit.unwrap().lines, ["out of luck"]);
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_crash() {
        let mut stopped = View { phase: Phase::Stopped, ..view("node2", 2, "follower", 4) };
        let exit = process::Exit::Code(0);
        stopped.last_exit = Some(LastExit { exit, at: UNIX_EPOCH, lines: vec![], wanted: true });
        let others = [view("node1", 1, "leader", 4), stopped, view("node3", 3, "learner", 4)];
        let got = listed(others).remove(1);
        assert_eq!((got.state, got.exit), (State::Stopped, None));
    }

    #[test]
    fn each_phase_has_its_state() {
        let spec = &mut Manifest::new(9000, 1).unwrap().nodes[0];
        let mut view = view("node1", 1, "follower", 4);
        let leads = Status::default();
        let with = Words { leader: Some(&leads), claimant: Some(&leads), informed: Some(&leads) };
        let without = Words { leader: None, claimant: None, informed: None };
        assert_eq!(state(spec, &view, with), State::Running);
        if let Observation::Answers { ready, .. } = &mut view.observed {
            *ready = false;
        }
        assert_eq!(state(spec, &view, with), State::Unhealthy);
        assert_eq!(state(spec, &view, without), State::Running, "nobody can serve");
        view.observed = Observation::Joining;
        assert_eq!(state(spec, &view, with), State::Starting);
        for (phase, wanted) in [
            (Phase::Stopped, State::Stopped),
            (Phase::Starting { failures: failed(1) }, State::Starting),
            (Phase::Unhealthy { failures: failed(0) }, State::Unhealthy),
            (Phase::Stopping { again: true }, State::Stopping),
            (Phase::Crashed { failures: failed(1), again: true }, State::Crashed),
            (Phase::Removed, State::Removed),
        ] {
            view.phase = phase;
            assert_eq!(state(spec, &view, with), wanted);
        }
        view.phase = Phase::Stopped;
        spec.decommission = Some(Decommission::Removing);
        assert_eq!(state(spec, &view, with), State::Decommissioning);
    }
}
