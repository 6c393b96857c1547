//! How the cluster is, in a word and in a sentence that says what it can do now. Pure.
//!
//! Who votes is the word of the best informed node that answers; with nobody to ask, what the last
//! one said ([`Members`]), and before anyone ever spoke, every node of the manifest. Who answers is
//! what the launcher sees; of members that it does not run, what the leader sees.
//!
//! Invariants:
//! * a voter that was stopped on request is missing like any other: it cannot vote;
//! * a learner is missing only if it should run and does not;
//! * a leader that a quorum does not answer is no quorum, whatever answers the launcher, and no
//!   leader either.

use crate::lifecycle::Phase;
use crate::manifest::{Desired, Manifest, NodeSpec};
use crate::node::View;
use crate::probe::Status;
use crate::report::Words;
use crate::roster::id_of;
use crate::wire::{Cluster, Health};
use std::collections::BTreeMap;

/// Who the members are, by the last word that was heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// The ids of those who vote.
    pub voters: Vec<u64>,
    /// The ids of those who receive the log without a vote.
    pub learners: Vec<u64>,
}

impl Members {
    /// The word of the best informed node that answers, if any does.
    pub fn heard(words: Words<'_>) -> Option<Self> {
        let informed = words.informed.filter(|informed| !informed.voters.is_empty())?;
        Some(Self { voters: informed.voters.clone(), learners: informed.learners.clone() })
    }
}

/// How the cluster is. `last` is who the members were when anyone last said; `since` stays 0.
pub fn cluster(manifest: &Manifest, views: &BTreeMap<String, View>, last: &Members) -> Cluster {
    let words = Words::of(views);
    let members = Members::heard(words).unwrap_or_else(|| last.clone());
    let roll = Roll::call(manifest, views, words, &members);
    let health = health(&roll, words);
    // It may not have noticed yet that nobody follows.
    let leader = words.leader.filter(|_| health != Health::NoQuorum);
    Cluster {
        id: manifest.cluster_id.to_string(),
        health,
        sentence: sentence(health, &roll),
        since: 0,
        term: views.values().filter_map(View::status).map(|status| status.term).max(),
        leader: leader.map(|leader| leader.name.clone()),
        failures_tolerated: Some(roll.online.saturating_sub(roll.needed)),
        committed: words.informed.and_then(|informed| informed.committed_index),
        joint: words.informed.and_then(|informed| informed.joint).unwrap_or(false),
        quorum: roll.needed,
        online: roll.online,
        voters: roll.voters,
        learners: roll.learners,
    }
}

/// Who is called, and who answers.
#[derive(Debug)]
struct Roll {
    voters: Vec<String>,
    learners: Vec<String>,
    online: usize,
    needed: usize,
    /// Names of others that should run and do not answer.
    missing: Vec<String>,
}

impl Roll {
    fn call(
        manifest: &Manifest,
        views: &BTreeMap<String, View>,
        words: Words<'_>,
        members: &Members,
    ) -> Self {
        let view = |spec: &NodeSpec| views.get(spec.name.as_str());
        let ids: BTreeMap<u64, &NodeSpec> = manifest
            .nodes
            .iter()
            .filter_map(|spec| Some((id_of(spec, view(spec))?, spec)))
            .collect();
        let name = |id: &u64| ids.get(id).map_or_else(|| format!("#{id}"), |s| s.name.to_string());
        let answers = |spec: &NodeSpec| view(spec).is_some_and(|view| view.status().is_some());
        let heard =
            |id: u64| words.claimant.and_then(|leader| leader.peer(id)?.alive) == Some(true);
        let online = |id: &u64| ids.get(id).map_or_else(|| heard(*id), |spec| answers(spec));

        let mut roll = Self {
            voters: members.voters.iter().map(name).collect(),
            learners: members.learners.iter().map(name).collect(),
            online: members.voters.iter().filter(|id| online(id)).count(),
            needed: members.voters.len() / 2 + 1,
            missing: Vec::new(),
        };
        if members.voters.is_empty() {
            roll.voters = manifest.nodes.iter().map(|spec| spec.name.to_string()).collect();
            roll.needed = roll.voters.len() / 2 + 1;
        }
        if let Some(quorum) = words.claimant.and_then(half_made_or_lost) {
            roll.needed = quorum.needed;
            roll.online = roll.online.min(quorum.alive);
        }
        let gone = |spec: &&NodeSpec| {
            let phase = view(spec).map(|view| view.phase);
            spec.desired == Desired::Running
                && spec.decommission.is_none()
                && matches!(phase, Some(Phase::Crashed { .. } | Phase::Unhealthy { .. }))
        };
        let missing = manifest.nodes.iter().filter(gone).map(|spec| spec.name.to_string());
        roll.missing = missing.filter(|name| !roll.voters.contains(name)).collect();
        roll
    }
}

/// The leader's own count, where it says more than who answers the launcher.
fn half_made_or_lost(leader: &Status) -> Option<crate::probe::Quorum> {
    leader.quorum.filter(|quorum| quorum.lost || leader.joint == Some(true))
}

fn health(roll: &Roll, words: Words<'_>) -> Health {
    if roll.online < roll.needed {
        Health::NoQuorum
    } else if words.leader.is_none() {
        Health::NoLeader
    } else if roll.online < roll.voters.len() || !roll.missing.is_empty() {
        Health::Degraded
    } else {
        Health::Healthy
    }
}

fn sentence(health: Health, roll: &Roll) -> String {
    let count = format!("{} of {} voters online", roll.online, roll.voters.len());
    let spare = roll.online.saturating_sub(roll.needed);
    let survives = match (spare, health) {
        (0, Health::Healthy) => "the cluster survives no failure".to_owned(),
        (0, _) => "the cluster survives no further failure".to_owned(),
        (1, _) => "the cluster survives 1 more failure".to_owned(),
        (spare, _) => format!("the cluster survives {spare} more failures"),
    };
    match health {
        Health::Healthy => format!("Healthy. {count}; {survives}."),
        Health::Degraded if roll.missing.is_empty() => {
            format!("Degraded. {count}; writes continue and {survives}.")
        }
        Health::Degraded => {
            let missing = roll.missing.join(", ");
            format!("Degraded. {count}, {missing} missing; writes continue and {survives}.")
        }
        Health::NoLeader => "Electing a leader.".to_owned(),
        Health::NoQuorum => {
            let back = match roll.needed - roll.online {
                1 => "one more is back".to_owned(),
                short => format!("{short} more are back"),
            };
            let (needed, are) = (roll.needed, if roll.needed == 1 { "is" } else { "are" });
            format!(
                "No quorum. {count}, {needed} {are} needed; writes and linearizable reads are \
                 refused until {back}."
            )
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::lifecycle::tests::failed;
    use crate::probe::{Observation, Peer, Quorum};
    use crate::report::tests::view;

    const UP: Phase = Phase::Running { failures: failed(0) };

    /// `voters` nodes that vote and `learners` that do not; the first `up` of them answer, and the
    /// first leads if `leads`.
    fn site(
        voters: u64,
        learners: u64,
        up: usize,
        leads: bool,
    ) -> (Manifest, BTreeMap<String, View>) {
        let count = voters + learners;
        let mut manifest = Manifest::new(9000, count as u8).unwrap();
        let mut views = BTreeMap::new();
        for (id, node) in (1..).zip(&mut manifest.nodes) {
            node.node_id = Some(id);
            let part = if id == 1 && leads { "leader" } else { "follower" };
            let mut view = view(node.name.as_str(), id, part, 4);
            change(&mut view, |status| {
                status.voters = (1..=voters).collect();
                status.learners = (voters + 1..=count).collect();
            });
            view.phase = if id as usize > up {
                Phase::Crashed { failures: failed(1), again: true }
            } else {
                UP
            };
            views.insert(node.name.to_string(), view);
        }
        (manifest, views)
    }

    fn change(view: &mut View, change: impl FnOnce(&mut Status)) {
        if let Observation::Answers { status, .. } = &mut view.observed {
            change(status);
        }
    }

    fn of((manifest, views): &(Manifest, BTreeMap<String, View>)) -> Cluster {
        cluster(manifest, views, &Members::default())
    }

    /// Voters, learners, how many of all answer, whether one leads; and the sentence.
    const SENTENCES: &str = "\
3 0 3 leads: Healthy. 3 of 3 voters online; the cluster survives 1 more failure.
5 0 5 leads: Healthy. 5 of 5 voters online; the cluster survives 2 more failures.
1 0 1 leads: Healthy. 1 of 1 voters online; the cluster survives no failure.
3 1 4 leads: Healthy. 3 of 3 voters online; the cluster survives 1 more failure.
3 1 3 leads: Degraded. 3 of 3 voters online, node4 missing; writes continue and the cluster survives 1 more failure.
5 0 4 leads: Degraded. 4 of 5 voters online; writes continue and the cluster survives 1 more failure.
3 0 2 leads: Degraded. 2 of 3 voters online; writes continue and the cluster survives no further failure.
3 0 1 leads: No quorum. 1 of 3 voters online, 2 are needed; writes and linearizable reads are refused until one more is back.
5 0 1 -: No quorum. 1 of 5 voters online, 3 are needed; writes and linearizable reads are refused until 2 more are back.
1 0 0 -: No quorum. 0 of 1 voters online, 1 is needed; writes and linearizable reads are refused until one more is back.
3 0 3 -: Electing a leader.
3 0 2 -: Electing a leader.";

    #[test]
    fn the_sentence_says_what_the_cluster_can_do_now() {
        for line in SENTENCES.lines() {
            let (given, sentence) = line.split_once(": ").unwrap();
            let words: Vec<&str> = given.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            let voters = number(0);
            let got = of(&site(voters, number(1), number(2) as usize, words[3] == "leads"));
            let health = match sentence.split(['.', ' ']).next().unwrap() {
                "Healthy" => Health::Healthy,
                "Degraded" => Health::Degraded,
                "No" => Health::NoQuorum,
                _ => Health::NoLeader,
            };
            assert_eq!((got.health, got.sentence.as_str()), (health, sentence));
            assert_eq!(got.quorum, voters as usize / 2 + 1);
        }
    }

    #[test]
    fn a_voter_stopped_on_request_is_missing_and_a_learner_is_not() {
        let mut site = site(3, 1, 4, true);
        for name in ["node4", "node3"] {
            let spec = site.0.nodes.iter_mut().find(|spec| spec.name.as_str() == name).unwrap();
            spec.desired = Desired::Stopped;
            site.1.get_mut(name).unwrap().phase = Phase::Stopped;
            let health = if name == "node4" { Health::Healthy } else { Health::Degraded };
            assert_eq!(of(&site).health, health, "{name}");
        }
        assert_eq!(of(&site).failures_tolerated, Some(0));
    }

    #[test]
    fn with_nobody_to_ask_the_last_word_counts() {
        let (manifest, views) = site(5, 0, 0, false);
        let last = Members { voters: vec![1, 2, 9], learners: vec![4] };
        let got = cluster(&manifest, &views, &last);
        assert_eq!(got.voters, ["node1", "node2", "#9"]);
        assert_eq!((got.learners, got.quorum, got.leader), (vec!["node4".to_owned()], 2, None));
        assert_eq!(of(&(manifest, views)).voters.len(), 5, "nobody ever spoke");
    }

    #[test]
    fn a_leader_without_its_quorum_is_none() {
        let mut site = site(3, 0, 3, true);
        change(site.1.get_mut("node1").unwrap(), |status| {
            status.quorum = Some(Quorum { alive: 1, needed: 2, lost: true });
        });
        let got = of(&site);
        assert_eq!((got.health, got.online, got.leader), (Health::NoQuorum, 1, None));
    }

    #[test]
    fn a_half_made_change_counts_as_the_leader_counts() {
        let mut site = site(4, 0, 4, true);
        change(site.1.get_mut("node1").unwrap(), |status| {
            status.joint = Some(true);
            status.quorum = Some(Quorum { alive: 3, needed: 3, lost: false });
        });
        let got = of(&site);
        assert_eq!((got.joint, got.quorum, got.failures_tolerated), (true, 3, Some(0)));
    }

    #[test]
    fn a_member_elsewhere_is_online_if_the_leader_hears_it() {
        for (alive, health) in [(true, Health::Healthy), (false, Health::Degraded)] {
            let mut site = site(3, 0, 3, true);
            change(site.1.get_mut("node1").unwrap(), |status| {
                status.voters.push(9);
                status.peers =
                    Some(vec![Peer { id: 9, matched: None, lag: None, alive: Some(alive) }]);
            });
            let got = of(&site);
            assert_eq!((got.health, got.voters[3].as_str()), (health, "#9"));
        }
    }
}
