//! Who belongs to the cluster: joining, promotion, replacement, removal, transfer.
//!
//! One task serves the changes of membership on each replica, one at a time; only the leader's
//! decides, every other answers who leads. Another task of each replica that does not lead
//! *announces* who and where it is until the membership says the same, and asks for promotion once
//! it has caught up. Invariants:
//!
//! * an id is added to the membership only while its nonce is known, that is, once: an id that was
//!   removed or replaced never comes back;
//! * a newcomer is added as a learner only after it announced itself with its id, which it does when
//!   its identity is on disk: no ghost learners;
//! * whoever comes under the name of a dead member takes its place in one change: a learner that of a
//!   learner when it is added, a voter that of a voter when it is promoted. A member that answers is
//!   never replaced, and one that was not heard of yet is not called dead;
//! * a removal that would leave fewer reachable voters than a decision needs is refused.
//!
//! A leader may die, or lose its patience, between any two steps. Each change is put together so that
//! what it leaves behind is one of these, and the next leader knows what to do with it ([`Office`]):
//!
//! | left behind | what becomes of it |
//! |---|---|
//! | an id that was handed out, and nobody announces it | nothing: its nonce is forgotten with the thousandth after it |
//! | a learner whose nonce was forgotten, because its promotion had begun | it asks for its promotion again |
//! | a learner whose nonce was forgotten, because its removal had begun | it stays: whoever removes it was not told that it is done, and asks again. A learner that is meant to be one looks the same |
//! | a joint configuration | the second step is made, towards the new voters; who votes no more is no member any more |
//! | a joint configuration whose new voters do not include the leader | leadership moves to one of them, which makes the second step |
//! | a leader of which the membership has another address, or none | the membership is told first: nobody is sent to an old address |
//!
//! A nonce is forgotten before the change that it would undo, never after: so there is no member that
//! left and could still come in again, and no voter that counts as a newcomer.

use crate::command::{Command, Op, Outcome, VOCABULARY};
use crate::config::Promotion;
use crate::error::{Error, ErrorOutcome};
use crate::events::EventKind;
use crate::raft::change::{ChangeMembers, change_membership};
use crate::raft::engine::{Change, Engine};
use crate::raft::message::{Announcement, JoinRequest, Reply, Request};
use crate::runtime;
use crate::types::{Member, NodeId};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long one change of membership may take.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// How often a replica compares what the membership says of it with the truth.
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(250);
/// How often a member asks whether it still is one. A leader stops talking to who was removed, and a
/// replica that hears nothing keeps the leader and the membership that it knew.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(2);
/// How often a replica looks whether it leads, and whether anything is left to be put in order.
const OFFICE_INTERVAL: Duration = Duration::from_millis(50);
/// How long putting it in order may take before it is begun anew.
const OFFICE_DEADLINE: Duration = Duration::from_secs(2);
/// A learner this close behind, in entries, becomes a voter.
const PROMOTION_LAG_MAX: u64 = 1_000;
/// How long leadership may take to move.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(3);
/// How long a leader waits to hear of members it has not heard of yet, before it decides against
/// them; longer than a ping and its answer take.
const HEARD_WITHIN: Duration = Duration::from_millis(1_500);
/// How often it looks.
const HEARD_INTERVAL: Duration = Duration::from_millis(50);

/// Serves changes of membership, one at a time, until the engine stops. `member` is what the
/// membership is to say of this replica.
pub(crate) async fn serve(engine: Arc<Engine>, mut queue: mpsc::Receiver<Change>, member: Member) {
    let mut office = Office { member, taken_in: None };
    loop {
        match tokio::time::timeout(OFFICE_INTERVAL, queue.recv()).await {
            Ok(None) => return,
            Err(_) => {
                if let Err(error) = office.keep(&engine).await {
                    tracing::debug!("this leader is not ready to change the membership: {error}");
                }
            }
            Ok(Some(change)) => {
                let Change { request, why, reply } = change;
                let decision = decide(&engine, &mut office, request, why);
                // A change that is given up here may be half done: the office finishes it.
                let answer = tokio::time::timeout(CHANGE_DEADLINE, decision).await;
                let late = || Reply::Unavailable("the change of membership took too long".into());
                let _ = reply.send(answer.unwrap_or_else(|_| late()));
            }
        }
    }
}

async fn decide(
    engine: &Engine,
    office: &mut Office,
    request: Request,
    why: Option<String>,
) -> Reply {
    if !engine.leads() {
        return engine.not_leader();
    }
    // Leadership may move whatever else is undone: the next leader does it.
    if !matches!(request, Request::Transfer(_))
        && let Err(error) = office.keep(engine).await
    {
        return unavailable(format!("this leader has just begun, or is cut off: {error}"));
    }
    let decided = match request {
        Request::Join(join) => admit(engine, join).await,
        Request::Announce(announcement) => hear(engine, announcement).await,
        Request::Promote(id) => promote(engine, id).await,
        Request::Remove(id) => remove(engine, id).await,
        Request::Transfer(to) => {
            let why = why.unwrap_or_else(|| "an operator asked for it".into());
            transfer(engine, to, &why).await
        }
        _ => Err(Reply::Unsupported("this is no change of membership".into())),
    };
    decided.unwrap_or_else(|refusal| refusal)
}

type Decided = Result<Reply, Reply>;

fn refused(reason: impl Into<String>) -> Reply {
    Reply::Refused { reason: reason.into() }
}

fn unavailable(error: impl std::fmt::Display) -> Reply {
    Reply::Unavailable(format!("{error}"))
}

/// What a leader puts in order before it changes the membership, and whenever it finds it undone.
struct Office {
    /// What the membership is to say of this replica.
    member: Member,
    /// The term in which it saw to all of it.
    taken_in: Option<u64>,
}

impl Office {
    /// Does what is left to do, if this replica leads.
    async fn keep(&mut self, engine: &Engine) -> Result<(), Error> {
        let metrics = engine.metrics();
        if !engine.leads() {
            self.taken_in = None;
            return Ok(());
        }
        if self.taken_in == Some(metrics.current_term) && self.undone(engine).is_none() {
            return Ok(());
        }
        let quorum = engine.peers.quorum();
        if quorum.lost {
            let (alive, needed, voters) = (quorum.alive, quorum.needed, quorum.voters);
            let outcome = ErrorOutcome::NotApplied;
            return Err(Error::NoQuorum { alive, needed, voters, outcome });
        }
        let late = Error::Timeout { waited: OFFICE_DEADLINE, outcome: ErrorOutcome::Unknown };
        tokio::time::timeout(OFFICE_DEADLINE, self.put_in_order(engine))
            .await
            .unwrap_or(Err(late))?;
        self.taken_in = Some(metrics.current_term);
        Ok(())
    }

    async fn put_in_order(&self, engine: &Engine) -> Result<(), Error> {
        // From here on this replica has applied whatever its predecessors have done.
        engine.linearize(OFFICE_DEADLINE).await?;
        if engine.reader.cluster_id().is_none() {
            let myself = engine.peers.myself();
            let op = Op::Found { cluster_id: myself.cluster_id, last_node_id: myself.id };
            engine.propose(&Command { request: None, op }, OFFICE_DEADLINE).await?;
        }
        while let Some(change) = self.undone(engine) {
            let leaves = |voters: &BTreeSet<u64>| !voters.contains(&engine.id().0);
            let done = match change {
                ChangeMembers::ReplaceAllVoters(voters) if leaves(&voters) => {
                    transfer(engine, None, "it is to leave the cluster").await.map(drop)
                }
                change => {
                    tracing::info!("puts the membership in order: {change:?}");
                    change_membership(engine, change).await
                }
            };
            if done.is_err() || !engine.leads() {
                return Err(Error::NoLeader { outcome: ErrorOutcome::Unknown });
            }
        }
        Ok(())
    }

    /// The next change that the membership needs.
    fn undone(&self, engine: &Engine) -> Option<ChangeMembers> {
        if let [_, target] = engine.configs().as_slice() {
            return Some(ChangeMembers::ReplaceAllVoters(target.clone()));
        }
        let id = engine.id();
        let known = engine.members().into_iter().find(|(known, ..)| *known == id);
        let true_of = |(_, known, _): &(NodeId, Member, bool)| *known == self.member;
        known
            .filter(|known| !true_of(known))
            .map(|_| ChangeMembers::SetNodes(BTreeMap::from([(id.0, self.member.clone())])))
    }
}

/// Gives a newcomer its id.
async fn admit(engine: &Engine, join: JoinRequest) -> Decided {
    let JoinRequest { nonce, member } = join;
    if member.vocabulary < VOCABULARY {
        return Err(refused(format!(
            "{} understands commands up to version {}, this cluster uses {VOCABULARY}: start a newer Axon",
            member.name, member.vocabulary
        )));
    }
    let members = engine.members();
    let namesakes = members.iter().filter(|(id, known, _)| {
        known.name == member.name && !engine.reader.joined_with(*id, nonce)
    });
    let namesakes: Vec<NodeId> = namesakes.map(|(id, ..)| *id).collect();
    if let Some(id) = living(engine, &namesakes, 1).await.first() {
        return Err(refused(format!(
            "{} (id {id}) is a member and answers at {}: choose another name, or stop it first",
            member.name,
            engine.peers.address(*id).unwrap_or_default()
        )));
    }
    let command = Command { request: None, op: Op::AllocateNode { nonce, member } };
    match engine.propose(&command, CHANGE_DEADLINE).await.map_err(unavailable)? {
        Outcome::NodeAllocated(id) => {
            Ok(Reply::Joined { cluster_id: engine.peers.myself().cluster_id, id })
        }
        Outcome::Refused(reason) => Err(Reply::Unavailable(reason)),
        other => Err(unavailable(format!("an unexpected outcome: {other:?}"))),
    }
}

/// Takes note of who and where a replica is: a newcomer becomes a learner, a member that moved gets
/// its new address, a removed one is told.
async fn hear(engine: &Engine, announcement: Announcement) -> Decided {
    let Announcement { id, nonce, member } = announcement;
    let members = engine.members();
    let known = members.iter().find(|(known, ..)| *known == id);
    let change = match known {
        Some((_, known, _)) if *known == member => return Ok(Reply::Done),
        Some(_) => ChangeMembers::SetNodes(BTreeMap::from([(id.0, member)])),
        None if engine.reader.joined_with(id, nonce) => {
            let learners = members.iter().filter(|(_, _, voter)| !voter);
            let namesakes = learners.filter(|(_, known, _)| known.name == member.name);
            let namesakes: Vec<NodeId> = namesakes.map(|(id, ..)| *id).collect();
            let living = living(engine, &namesakes, namesakes.len()).await;
            let mut replaced = BTreeSet::new();
            for other in namesakes.into_iter().filter(|other| !living.contains(other)) {
                settle(engine, other).await?;
                replaced.insert(other.0);
            }
            tracing::info!("{} (id {id}) becomes a learner, in place of {replaced:?}", member.name);
            ChangeMembers::Batch(vec![
                ChangeMembers::AddNodes(BTreeMap::from([(id.0, member)])),
                ChangeMembers::RemoveNodes(replaced),
            ])
        }
        // The membership here may be behind what a quorum knows: make sure before saying so.
        None => {
            let index = engine.linearize(CHANGE_DEADLINE).await.map_err(unavailable)?;
            engine.until_applied(index).await;
            let gone = engine.members().iter().all(|(known, ..)| *known != id);
            let gone = gone && !engine.reader.joined_with(id, nonce);
            return if gone { Err(Reply::Removed) } else { Err(unavailable("ask again")) };
        }
    };
    change_membership(engine, change).await.map(|()| Reply::Done)
}

/// Makes a learner that has caught up a voter, in place of the dead members of the same name.
async fn promote(engine: &Engine, id: NodeId) -> Decided {
    let members = engine.members();
    let Some((_, member, voter)) = members.iter().find(|(known, ..)| *known == id) else {
        return Err(refused(format!("no member has the id {id}")));
    };
    if *voter {
        return Ok(Reply::Done);
    }
    check_fit_to_vote(engine, id, member)?;
    let namesakes: Vec<NodeId> = members
        .iter()
        .filter(|(other, known, _)| *other != id && known.name == member.name)
        .map(|(other, ..)| *other)
        .collect();
    if let Some(other) = living(engine, &namesakes, 1).await.first() {
        return Err(refused(format!(
            "{} (id {other}) has the same name and answers: remove one of the two first",
            member.name
        )));
    }
    // Also those of whom it takes the place, or they could come back as the newcomers that they were.
    for known in namesakes.iter().chain([&id]) {
        settle(engine, *known).await?;
    }
    let voters = members
        .iter()
        .filter(|(other, _, votes)| *other == id || (*votes && !namesakes.contains(other)));
    let voters: BTreeSet<u64> = voters.map(|(voter, ..)| voter.0).collect();
    let learners = members.iter().filter(|(other, _, votes)| !votes && namesakes.contains(other));
    let learners: BTreeSet<u64> = learners.map(|(learner, ..)| learner.0).collect();
    tracing::info!("{} (id {id}) becomes a voter: {voters:?} vote", member.name);
    let change = ChangeMembers::Batch(vec![
        ChangeMembers::RemoveNodes(learners),
        ChangeMembers::ReplaceAllVoters(voters),
    ]);
    change_membership(engine, change).await.map(|()| Reply::Done)
}

/// Refuses a learner that must not vote, or had better not yet.
fn check_fit_to_vote(engine: &Engine, id: NodeId, member: &Member) -> Result<(), Reply> {
    let name = &member.name;
    let Some(report) = engine.peers.report(id) else {
        return Err(unavailable(format!("{name} was not heard of yet")));
    };
    if report.pong.promotion == Promotion::Never {
        return Err(refused(format!(
            "{name} was started never to vote: start it with another promotion policy first"
        )));
    }
    let (matched, last) = engine.replicated(id);
    let lag = last.saturating_sub(matched.unwrap_or(0));
    if matched.is_none() || lag > PROMOTION_LAG_MAX {
        return Err(unavailable(format!("{name} is {lag} entries behind; it catches up")));
    }
    if !report.is_alive() {
        return Err(unavailable(format!("{name} does not answer")));
    }
    Ok(())
}

/// Forgets a newcomer's nonce, if it is remembered: from now on its id is a member's or nobody's.
async fn settle(engine: &Engine, id: NodeId) -> Result<(), Reply> {
    if !engine.reader.is_joining(id) {
        return Ok(());
    }
    let command = Command { request: None, op: Op::SettleNode { id } };
    engine.propose(&command, CHANGE_DEADLINE).await.map(drop).map_err(unavailable)
}

/// Takes a member out; leadership moves away first.
async fn remove(engine: &Engine, id: NodeId) -> Decided {
    let members = engine.members();
    let Some((_, member, voter)) = members.iter().find(|(known, ..)| *known == id) else {
        return Ok(Reply::Done);
    };
    let rest: BTreeSet<u64> = members
        .iter()
        .filter(|(other, _, voter)| *voter && *other != id)
        .map(|(other, ..)| other.0)
        .collect();
    if *voter {
        check_quorum_without(engine, &member.name, &rest).await?;
        if id == engine.id() {
            let Reply::Leader(leader) = transfer(engine, None, "it is removed").await? else {
                return Err(unavailable("leadership did not move"));
            };
            tracing::info!("leadership moved to {leader} before this replica's removal");
            // The new leader takes the removal up.
            return Err(engine.not_leader());
        }
    }
    // First, or a learner that was never promoted would announce itself as the newcomer that it was,
    // and be let in again.
    settle(engine, id).await?;
    let change = if *voter {
        ChangeMembers::ReplaceAllVoters(rest)
    } else {
        ChangeMembers::RemoveNodes(BTreeSet::from([id.0]))
    };
    change_membership(engine, change).await?;
    tracing::info!("{} (id {id}) was removed", member.name);
    Ok(Reply::Done)
}

/// Refuses to leave `rest` alone when too few of them answer.
async fn check_quorum_without(
    engine: &Engine,
    name: &str,
    rest: &BTreeSet<u64>,
) -> Result<(), Reply> {
    let (voters, needed) = (rest.len(), rest.len() / 2 + 1);
    let ids: Vec<NodeId> = rest.iter().copied().map(NodeId).collect();
    let alive = living(engine, &ids, needed).await.len();
    if voters > 0 && alive >= needed {
        return Ok(());
    }
    let reason = format!(
        "without {name} the cluster has {voters} voters of which {alive} answer, and {needed} are needed"
    );
    Err(Reply::WouldLoseQuorum { reason, alive, needed, voters })
}

/// Those of `ids` who answer now; returns early once they are `enough`. Each is asked: what was heard a
/// second ago is no ground to decide on. Who was never heard of is waited for: it has just come or
/// moved, or this replica has just begun.
async fn living(engine: &Engine, ids: &[NodeId], enough: usize) -> Vec<NodeId> {
    let began = runtime::now();
    let peers = &engine.peers;
    let answers = |id: &NodeId| *id == engine.id() || peers.has_answered_since(*id, began);
    loop {
        let silent = ids.iter().copied().filter(|id| !answers(id));
        let mut asked: FuturesUnordered<_> = silent.map(|id| peers.look_for(id)).collect();
        loop {
            let alive: Vec<NodeId> = ids.iter().copied().filter(answers).collect();
            if alive.len() >= enough || began.elapsed() >= HEARD_WITHIN {
                return alive;
            }
            if asked.next().await.is_none() {
                break;
            }
        }
        if ids.iter().all(|id| answers(id) || peers.report(*id).is_some()) {
            return ids.iter().copied().filter(answers).collect();
        }
        tokio::time::sleep(HEARD_INTERVAL).await;
    }
}

/// Hands leadership to `to`, or to the living voter with the shortest lag, and records `why`.
async fn transfer(engine: &Engine, to: Option<NodeId>, why: &str) -> Decided {
    if to == Some(engine.id()) {
        return Ok(Reply::Leader(engine.id()));
    }
    // Of a change under way, those who will vote after it.
    let voters = engine.configs().pop().unwrap_or_default();
    let others = voters.iter().copied().map(NodeId).filter(|id| *id != engine.id());
    let candidates: Vec<NodeId> = others.filter(|id| to.is_none_or(|to| to == *id)).collect();
    let candidates = living(engine, &candidates, 1).await;
    let target = candidates.into_iter().max_by_key(|id| engine.replicated(*id).0);
    let target = target.ok_or_else(|| match to {
        Some(to) => refused(format!("{to} is no voter that answers")),
        None if voters.len() < 2 => refused("there is no other voter"),
        None => {
            let alive = voters.iter().filter(|id| engine.peers.is_alive(NodeId(**id))).count();
            let (voters, needed) = (voters.len(), voters.len() / 2 + 1);
            refused(format!(
                "no other voter answers: of {voters} voters {alive} can be reached, {needed} are needed"
            ))
        }
    })?;
    let moved = engine.hand_leadership_to(target, TRANSFER_DEADLINE).await.map_err(unavailable)?;
    let members = engine.members();
    let name =
        members.iter().find(|(id, ..)| *id == moved).map_or("", |(_, member, _)| &member.name);
    let text = format!("this replica handed leadership over to {name} (id {moved}): {why}");
    engine.events.record(EventKind::LeadershipHandedOver, text);
    Ok(Reply::Leader(moved))
}

/// Announces this replica until the membership agrees with the truth, and asks for promotion when
/// `promotes`. Returns when the cluster says that it was removed.
pub(crate) async fn announce(
    engine: Arc<Engine>,
    nonce: u128,
    member: Member,
    promotes: bool,
    knock_at: Vec<String>,
) -> NodeId {
    let id = engine.id();
    let announcement = Announcement { id, nonce, member };
    let mut confirmed = runtime::now();
    loop {
        tokio::time::sleep(ANNOUNCE_INTERVAL).await;
        let members = engine.members();
        let mine = members.iter().find(|(known, ..)| *known == id);
        let request = match mine {
            Some((_, known, _)) if *known != announcement.member => {
                Request::Announce(announcement.clone())
            }
            Some(_) if engine.leads() => continue,
            // Now and then it asks whether it still belongs: one that was removed would be refused its
            // vote for ever, and never hear why.
            Some((_, _, voter))
                if engine.leader().is_some() && confirmed.elapsed() < CONFIRM_INTERVAL =>
            {
                if *voter || !promotes {
                    continue;
                }
                Request::Promote(id)
            }
            _ => Request::Announce(announcement.clone()),
        };
        match ask_leader(&engine, &request, &knock_at).await {
            Reply::Removed => return id,
            Reply::Done => confirmed = runtime::now(),
            _ => {}
        }
    }
}

/// Asks the leader, found through whoever answers: the leader that is known, the members, those that
/// gossip, the addresses to knock at.
pub(crate) async fn ask_leader(engine: &Engine, request: &Request, knock_at: &[String]) -> Reply {
    if engine.leads() {
        return engine.change(request.clone()).await;
    }
    let mut doors: Vec<(Option<NodeId>, String)> = Vec::new();
    doors.extend(engine.leader().map(|(id, member)| (Some(id), member.peer_address)));
    doors.extend(
        engine.members().into_iter().map(|(id, member, _)| (Some(id), member.peer_address)),
    );
    doors.extend(engine.doorstep.living().into_iter().map(|(id, address)| (Some(id), address)));
    doors.extend(knock_at.iter().map(|address| (None, address.clone())));
    let mut known = BTreeSet::new();
    doors.retain(|(id, address)| {
        *id != Some(engine.id()) && !address.is_empty() && known.insert(address.clone())
    });
    let mut last = Reply::Unavailable("no member can be reached".into());
    for (id, address) in doors {
        match engine.ask(id, &address, request).await {
            Some(Reply::NotLeader(Some((leader, address)))) if Some(leader) != id => {
                match engine.ask(Some(leader), &address, request).await {
                    Some(Reply::NotLeader(_)) | None => {}
                    Some(reply) => return reply,
                }
            }
            Some(Reply::NotLeader(_)) | None => {}
            Some(unavailable @ Reply::Unavailable(_)) => last = unavailable,
            Some(reply) => return reply,
        }
    }
    last
}
