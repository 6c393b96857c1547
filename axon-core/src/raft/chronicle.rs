//! What happens to a replica and around it, noticed and written down once.
//!
//! Raft and the pings tell how things are; people ask what happened. A task looks 20 times a second,
//! compares with what it saw before, and records the differences in [`Events`](crate::events::Events).
//! What only its doer can explain (a hand-over, a snapshot) is recorded there. Invariants:
//!
//! * what stood when the replica started is no event;
//! * an election is seen by the vote that it leaves behind, however short it was;
//! * changes of membership are told by the leader alone, and only once they are committed; so the list
//!   of all replicas together has each once, also those that a leader finishes for its predecessor;
//! * a member is unreachable only after it was there, or was given the time to be.

use super::engine::Engine;
use super::peers::{Peers, Quorum};
use super::{StoredMembership, TypeConfig};
use crate::events::EventKind;
use crate::runtime;
use crate::types::{Member, NodeId};
use openraft::RaftMetrics;
use openraft::rt::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How often things are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a member that was not heard of yet has, before it counts as unreachable.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(3);
/// Purges of the log are told at most this often.
const PURGED_EVERY: Duration = Duration::from_mins(1);

type Happened = Vec<(EventKind, String)>;

/// Who belongs, and who of them votes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Roster {
    members: BTreeMap<u64, Member>,
    voters: BTreeSet<u64>,
}

/// How things are.
#[derive(Debug, Clone)]
struct Glance {
    at: Instant,
    myself: u64,
    /// The last term in which this replica voted for itself.
    campaigned: Option<u64>,
    /// Who leads, and in which term.
    leader: Option<(u64, u64)>,
    quorum: Quorum,
    /// The committed membership, unless a change of it is under way.
    roster: Option<Roster>,
    /// The members that were heard of since the start, each with whether it answers.
    heard: BTreeMap<u64, bool>,
    /// The last entry that the log has no more.
    purged: Option<u64>,
}

/// What was seen so far.
#[derive(Debug)]
struct Chronicle {
    seen: Glance,
    /// Whom the membership has named, and since when they are waited for; gone with the first word.
    awaited: BTreeMap<u64, Instant>,
    unreachable: BTreeSet<u64>,
    purged_told: Option<Instant>,
}

/// Looks and records until the engine stops.
pub(crate) async fn keep(engine: Arc<Engine>) {
    let mut chronicle =
        Chronicle::new(glance(&engine.raft.metrics().borrow_watched(), &engine.peers));
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = glance(&engine.raft.metrics().borrow_watched(), &engine.peers);
        let leader = |glance: &Glance| glance.leader.map(|(id, _)| id);
        if now.leader.is_some() && leader(&now) != leader(&chronicle.seen) {
            engine.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
        for (kind, text) in chronicle.compare(now) {
            if kind == EventKind::ElectionStarted {
                engine.elections.fetch_add(1, Ordering::Relaxed);
            }
            engine.events.record(kind, text);
        }
    }
}

fn glance(metrics: &RaftMetrics<TypeConfig>, peers: &Peers) -> Glance {
    let vote = &metrics.vote.leader_id;
    let roster = roster(&metrics.committed_membership_config);
    let listed = metrics.membership_config.membership().nodes().map(|(id, _)| *id);
    let heard = listed.filter(|id| peers.report(NodeId(*id)).is_some());
    Glance {
        at: runtime::now(),
        myself: metrics.id,
        campaigned: (vote.voted_for == metrics.id).then_some(vote.term),
        leader: metrics.current_leader.map(|leader| (leader, metrics.current_term)),
        quorum: peers.quorum(),
        roster,
        heard: heard.map(|id| (id, peers.is_alive(NodeId(id)))).collect(),
        purged: metrics.purged.as_ref().map(|purged| purged.index),
    }
}

fn roster(stored: &StoredMembership) -> Option<Roster> {
    let membership = stored.membership();
    let [voters] = membership.get_joint_config().as_slice() else { return None };
    let members = membership.nodes().map(|(id, member)| (*id, member.clone()));
    Some(Roster { members: members.collect(), voters: voters.clone() })
}

impl Chronicle {
    fn new(seen: Glance) -> Self {
        let mut chronicle = Self {
            seen,
            awaited: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            purged_told: None,
        };
        chronicle.compare(chronicle.seen.clone());
        chronicle
    }

    /// What happened between what was seen last and `now`.
    fn compare(&mut self, mut now: Glance) -> Happened {
        let mut happened = Vec::new();
        self.elections(&now, &mut happened);
        self.quorum(&now, &mut happened);
        if now.roster.is_none() {
            now.roster.clone_from(&self.seen.roster);
        }
        self.memberships(&now, &mut happened);
        self.reach(&now, &mut happened);
        self.purges(&mut now, &mut happened);
        self.seen = now;
        happened
    }

    /// A member as people know it.
    fn named(&self, now: &Glance, id: u64) -> String {
        let rosters = [&now.roster, &self.seen.roster].into_iter().flatten();
        let mut members = rosters.filter_map(|roster| roster.members.get(&id));
        members.next().map_or_else(|| format!("id {id}"), |member| named(id, member))
    }

    fn elections(&self, now: &Glance, happened: &mut Happened) {
        if let Some(term) = now.campaigned.filter(|term| Some(*term) > self.seen.campaigned) {
            let text = format!("this replica asks for votes in term {term}");
            happened.push((EventKind::ElectionStarted, text));
        }
        if now.leader == self.seen.leader {
            return;
        }
        let led = self.seen.leader.filter(|(leader, _)| *leader == now.myself);
        if let Some((_, term)) = led {
            let text = format!("this replica leads no longer; it led in term {term}");
            happened.push((EventKind::LeadershipLost, text));
        }
        if let Some((leader, term)) = now.leader {
            let text = format!("{} leads in term {term}", self.named(now, leader));
            happened.push((EventKind::LeaderElected, text));
        }
    }

    fn quorum(&self, now: &Glance, happened: &mut Happened) {
        let Quorum { alive, needed, voters, lost } = now.quorum;
        if lost == self.seen.quorum.lost {
            return;
        }
        let text = format!("{alive} of {voters} voters can be reached, {needed} are needed");
        happened.push((if lost { EventKind::QuorumLost } else { EventKind::QuorumBack }, text));
    }

    fn memberships(&self, now: &Glance, happened: &mut Happened) {
        let leads = now.leader.is_some_and(|(leader, _)| leader == now.myself);
        let (Some(before), Some(after)) = (&self.seen.roster, &now.roster) else { return };
        // The first membership of a new cluster is its founder's: nobody joined.
        if leads && !before.members.is_empty() {
            changes(before, after, happened);
        }
    }

    fn reach(&mut self, now: &Glance, happened: &mut Happened) {
        let none = Roster::default();
        let members = &now.roster.as_ref().unwrap_or(&none).members;
        self.awaited.retain(|id, _| members.contains_key(id));
        self.unreachable.retain(|id| members.contains_key(id));
        for (id, member) in members {
            if *id == now.myself {
                continue;
            }
            let answers = if let Some(alive) = now.heard.get(id) {
                self.awaited.remove(id);
                *alive
            } else {
                // A member that moved is heard of anew, too: what was known of it stands.
                let since = *self.awaited.entry(*id).or_insert(now.at);
                now.at - since < FIRST_WORD_WITHIN && !self.unreachable.contains(id)
            };
            if !answers && self.unreachable.insert(*id) {
                let text = format!("{} does not answer", named(*id, member));
                happened.push((EventKind::MemberUnreachable, text));
            } else if answers && self.unreachable.remove(id) {
                let text = format!("{} answers again", named(*id, member));
                happened.push((EventKind::MemberBack, text));
            }
        }
    }

    fn purges(&mut self, now: &mut Glance, happened: &mut Happened) {
        if now.purged <= self.seen.purged {
            return;
        }
        if self.purged_told.is_some_and(|told| now.at - told < PURGED_EVERY) {
            now.purged = self.seen.purged;
            return;
        }
        self.purged_told = Some(now.at);
        let upto = now.purged.unwrap_or_default();
        happened.push((EventKind::LogPurged, format!("the log begins after entry {upto}")));
    }
}

fn named(id: u64, member: &Member) -> String {
    format!("{} (id {id})", member.name)
}

/// What was done to the membership `before` to make it `after`.
fn changes(before: &Roster, after: &Roster, happened: &mut Happened) {
    let gone: Vec<(&u64, &Member)> =
        before.members.iter().filter(|(id, _)| !after.members.contains_key(id)).collect();
    let mut replaced = BTreeSet::new();
    for (id, member) in &after.members {
        let known = before.members.get(id);
        let promoted = after.voters.contains(id) && !before.voters.contains(id);
        if known.is_none() || promoted {
            let predecessors = gone.iter().filter(|(_, gone)| gone.name == member.name);
            let ids: Vec<u64> = predecessors.map(|(id, _)| **id).collect();
            let ids_text: Vec<String> = ids.iter().map(u64::to_string).collect();
            let instead = match ids.len() {
                0 => String::new(),
                1 => format!(", in place of id {}", ids_text[0]),
                _ => format!(", in place of ids {}", ids_text.join(", ")),
            };
            replaced.extend(ids);
            let (kind, what) = if promoted {
                (EventKind::MemberPromoted, "votes now")
            } else {
                (EventKind::MemberJoined, "joined as a learner")
            };
            happened.push((kind, format!("{} {what}{instead}", named(*id, member))));
        } else if let Some(known) = known.filter(|known| {
            known.peer_address != member.peer_address || known.address != member.address
        }) {
            let (from, to) = if known.peer_address == member.peer_address {
                (&known.address, &member.address)
            } else {
                (&known.peer_address, &member.peer_address)
            };
            let text = format!("{} moved from {from:?} to {to:?}", named(*id, member));
            happened.push((EventKind::MemberMoved, text));
        }
    }
    for (id, member) in gone {
        if !replaced.contains(id) {
            happened
                .push((EventKind::MemberRemoved, format!("{} was removed", named(*id, member))));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn member(name: &str, peer_address: &str) -> Member {
        Member {
            name: name.into(),
            address: String::new(),
            peer_address: peer_address.into(),
            vocabulary: 2,
        }
    }

    fn roster(members: &[(u64, &str)], voters: &[u64]) -> Roster {
        let members = members.iter().map(|(id, name)| (*id, member(name, &format!("n{id}"))));
        Roster { members: members.collect(), voters: voters.iter().copied().collect() }
    }

    fn start() -> Glance {
        Glance {
            at: runtime::now(),
            myself: 1,
            campaigned: Some(4),
            leader: None,
            quorum: Quorum { alive: 2, needed: 2, voters: 3, lost: false },
            roster: Some(roster(&[(1, "a"), (2, "b"), (3, "c")], &[1, 2, 3])),
            heard: BTreeMap::from([(2, true)]),
            purged: Some(7),
        }
    }

    fn words(happened: Happened) -> Vec<String> {
        happened.into_iter().map(|(kind, text)| format!("{}: {text}", kind.as_str())).collect()
    }

    #[test]
    fn what_stood_at_the_start_is_no_event_and_the_same_is_none_twice() {
        let mut chronicle = Chronicle::new(start());
        assert_eq!(words(chronicle.compare(start())), [""; 0]);
        let led = Glance { campaigned: Some(5), leader: Some((1, 5)), ..start() };
        let elected = [
            "election_started: this replica asks for votes in term 5",
            "leader_elected: a (id 1) leads in term 5",
        ];
        assert_eq!(words(chronicle.compare(led.clone())), elected);
        assert_eq!(words(chronicle.compare(led)), [""; 0]);
        let lost = Glance { campaigned: None, leader: Some((2, 6)), ..start() };
        let deposed = [
            "leadership_lost: this replica leads no longer; it led in term 5",
            "leader_elected: b (id 2) leads in term 6",
        ];
        assert_eq!(words(chronicle.compare(lost)), deposed);
    }

    #[test]
    fn a_member_is_unreachable_after_it_was_there_or_had_the_time_to_be() {
        let mut chronicle = Chronicle::new(start());
        let silent = Glance { heard: BTreeMap::from([(2, false)]), ..start() };
        let gone = ["node_unreachable: b (id 2) does not answer"];
        assert_eq!(words(chronicle.compare(silent.clone())), gone);
        assert_eq!(words(chronicle.compare(silent.clone())), [""; 0]);
        let later = Glance { at: start().at + FIRST_WORD_WITHIN, ..silent };
        assert_eq!(words(chronicle.compare(later)), ["node_unreachable: c (id 3) does not answer"]);
        let back = Glance { heard: BTreeMap::from([(2, true), (3, true)]), ..start() };
        let back = words(chronicle.compare(back));
        assert_eq!(
            back,
            ["node_back: b (id 2) answers again", "node_back: c (id 3) answers again"]
        );
    }

    #[test]
    fn the_leader_tells_what_became_of_the_membership() {
        let steps = [
            (
                roster(&[(1, "a"), (2, "b"), (3, "c"), (4, "b")], &[1, 2, 3]),
                "joined: b (id 4) joined as a learner",
            ),
            (
                roster(&[(1, "a"), (3, "c"), (4, "b")], &[1, 3, 4]),
                "promoted: b (id 4) votes now, in place of id 2",
            ),
            (roster(&[(1, "a"), (4, "b")], &[1, 4]), "removed: c (id 3) was removed"),
        ];
        let mut leads = Chronicle::new(Glance { leader: Some((1, 5)), ..start() });
        let mut follows = Chronicle::new(Glance { leader: Some((2, 5)), ..start() });
        let mut last = start();
        for (roster, said) in steps {
            let now = Glance { roster: Some(roster), ..start() };
            let under_way = Glance { roster: None, leader: Some((1, 5)), ..start() };
            assert_eq!(words(leads.compare(under_way)), [""; 0]);
            last = Glance { leader: Some((1, 5)), ..now.clone() };
            assert_eq!(words(leads.compare(last.clone())), [said]);
            assert_eq!(words(follows.compare(Glance { leader: Some((2, 5)), ..now })), [""; 0]);
        }
        let mut moved = last.roster.clone().unwrap();
        moved.members.insert(4, member("b", "n9"));
        let moved = Glance { roster: Some(moved), ..last };
        assert_eq!(words(leads.compare(moved)), [r#"moved: b (id 4) moved from "n4" to "n9""#]);
    }

    #[test]
    fn a_quorum_is_told_with_the_arithmetic_and_purges_are_told_once_a_minute() {
        let mut chronicle = Chronicle::new(start());
        let lost = Quorum { alive: 1, needed: 2, voters: 3, lost: true };
        let gone = words(chronicle.compare(Glance { quorum: lost, ..start() }));
        assert_eq!(gone, ["quorum_lost: 1 of 3 voters can be reached, 2 are needed"]);
        let back = words(chronicle.compare(start()));
        assert_eq!(back, ["quorum_back: 2 of 3 voters can be reached, 2 are needed"]);
        let purged = |index, after| {
            let heard = BTreeMap::from([(2, true), (3, true)]);
            Glance { purged: Some(index), at: start().at + after, heard, ..start() }
        };
        let first = words(chronicle.compare(purged(20, Duration::ZERO)));
        assert_eq!(first, ["purged: the log begins after entry 20"]);
        assert_eq!(words(chronicle.compare(purged(30, PURGED_EVERY / 2))), [""; 0]);
        let second = words(chronicle.compare(purged(30, PURGED_EVERY * 2)));
        assert_eq!(second, ["purged: the log begins after entry 30"]);
    }
}
