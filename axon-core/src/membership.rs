//! Who belongs to the cluster: joining, promotion, removal, transfer.
//!
//! One task serves the changes of membership on each replica, one at a time; only the leader's
//! decides, every other answers who leads. Another task of each replica that does not lead
//! *announces* who and where it is until the membership says the same, and asks for promotion once
//! it has caught up. Invariants:
//!
//! * an id is added to the membership only while its nonce is known, that is, once: an id that was
//!   removed never comes back;
//! * a newcomer is added as a learner only after it announced itself with its id, which it does when
//!   its identity is on disk: no ghost learners;
//! * a removal that would leave fewer reachable voters than a decision needs is refused.

use crate::command::{Command, Op, Outcome, VOCABULARY};
use crate::error::Error;
use crate::raft::change::{ChangeMembers, change_membership};
use crate::raft::engine::{Change, Engine};
use crate::raft::message::{Announcement, JoinRequest, Reply, Request};
use crate::runtime;
use crate::types::{Member, NodeId};
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
/// How often a replica looks whether it leads: newcomers are let in only once the leader of a new
/// cluster has taken office.
const OFFICE_INTERVAL: Duration = Duration::from_millis(50);
/// A learner this close behind, in entries, becomes a voter.
const PROMOTION_LAG_MAX: u64 = 1_000;
/// How long leadership may take to move.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(3);
/// How long a removal waits for enough voters to be heard of before it is refused; longer than a
/// ping and its answer take.
const HEARD_WITHIN: Duration = Duration::from_millis(1_500);
/// How often it looks.
const HEARD_INTERVAL: Duration = Duration::from_millis(50);

/// Serves changes of membership, one at a time, until the engine stops.
pub(crate) async fn serve(engine: Arc<Engine>, mut queue: mpsc::Receiver<Change>) {
    while let Some(change) = queue.recv().await {
        let answer = tokio::time::timeout(CHANGE_DEADLINE, decide(&engine, change.request)).await;
        let late = || Reply::Unavailable("the change of membership took too long".into());
        let _ = change.reply.send(answer.unwrap_or_else(|_| late()));
    }
}

async fn decide(engine: &Engine, request: Request) -> Reply {
    if !engine.leads() {
        return engine.not_leader();
    }
    let decided = match request {
        Request::Join(join) => admit(engine, join).await,
        Request::Announce(announcement) => hear(engine, announcement).await,
        Request::Promote(id) => promote(engine, id).await,
        Request::Remove(id) => remove(engine, id).await,
        Request::Transfer(to) => transfer(engine, to).await,
        _ => Err(Reply::Unsupported("this is no change of membership".into())),
    };
    decided.unwrap_or_else(|refusal| refusal)
}

type Decided = Result<Reply, Reply>;

fn refused(reason: impl Into<String>) -> Reply {
    Reply::Refused { reason: reason.into(), loses_quorum: false }
}

fn unavailable(error: impl std::fmt::Display) -> Reply {
    Reply::Unavailable(format!("{error}"))
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
    let namesake = engine
        .members()
        .into_iter()
        .find(|(id, known, _)| known.name == member.name && !engine.reader.joined_with(*id, nonce));
    if let Some((id, known, _)) = namesake.filter(|(id, ..)| engine.peers.is_alive(*id)) {
        return Err(refused(format!(
            "{} (id {id}) is a member and answers at {}: choose another name, or stop it first",
            known.name, known.peer_address
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
    let known = engine.members().into_iter().find(|(known, ..)| *known == id);
    let change = match known {
        Some((_, known, _)) if known == member => None,
        Some(_) => Some(ChangeMembers::SetNodes(BTreeMap::from([(id.0, member)]))),
        None if engine.reader.joined_with(id, nonce) => {
            tracing::info!("{} joins as a learner under id {id}", member.name);
            Some(ChangeMembers::AddNodes(BTreeMap::from([(id.0, member)])))
        }
        // The membership here may be behind what a quorum knows: make sure before saying so.
        None => {
            engine.linearize(CHANGE_DEADLINE).await.map_err(unavailable)?;
            let gone = engine.members().iter().all(|(known, ..)| *known != id);
            let gone = gone && !engine.reader.joined_with(id, nonce);
            return if gone { Err(Reply::Removed) } else { Err(unavailable("ask again")) };
        }
    };
    if let Some(change) = change {
        change_membership(engine, change, true).await?;
    }
    Ok(Reply::Done)
}

/// Makes a learner that has caught up a voter, in place of a dead voter of the same name.
async fn promote(engine: &Engine, id: NodeId) -> Decided {
    let members = engine.members();
    let Some((_, member, voter)) = members.iter().find(|(known, ..)| *known == id) else {
        return Err(refused(format!("no member has the id {id}")));
    };
    if *voter {
        return Ok(Reply::Done);
    }
    let (matched, last) = engine.replicated(id);
    let lag = last.saturating_sub(matched.unwrap_or(0));
    if matched.is_none() || lag > PROMOTION_LAG_MAX {
        return Err(unavailable(format!("{} is {lag} entries behind; it catches up", member.name)));
    }
    let mut voters: BTreeSet<u64> =
        members.iter().filter(|(_, _, voter)| *voter).map(|(id, ..)| id.0).collect();
    let replaced: Vec<NodeId> = members
        .iter()
        .filter(|(other, known, _)| {
            *other != id && known.name == member.name && !engine.peers.is_alive(*other)
        })
        .map(|(other, ..)| *other)
        .collect();
    voters.retain(|voter| !replaced.contains(&NodeId(*voter)));
    voters.insert(id.0);
    tracing::info!("{} (id {id}) becomes a voter, in place of {replaced:?}", member.name);
    change_membership(engine, ChangeMembers::ReplaceAllVoters(voters), false).await?;
    drop_learners(engine, &replaced).await?;
    settle(engine, id).await?;
    Ok(Reply::Done)
}

/// Forgets a newcomer's nonce: from now on its id is a member's or nobody's.
async fn settle(engine: &Engine, id: NodeId) -> Result<(), Reply> {
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
        let needed = rest.len() / 2 + 1;
        let alive = count_alive(engine, &rest, needed).await;
        if rest.is_empty() || alive < needed {
            let reason = format!(
                "without {} the cluster has {} voters of which {alive} answer, and {needed} are needed",
                member.name,
                rest.len()
            );
            return Err(Reply::Refused { reason, loses_quorum: true });
        }
        if id == engine.id() {
            let Reply::Leader(leader) = transfer(engine, None).await? else {
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
    if *voter {
        change_membership(engine, ChangeMembers::ReplaceAllVoters(rest), false).await?;
    }
    drop_learners(engine, &[id]).await?;
    tracing::info!("{} (id {id}) was removed", member.name);
    Ok(Reply::Done)
}

/// Counts who answers; returns early once they are `needed`. A leader that has just begun has not
/// heard of everyone yet, and must not refuse for that.
async fn count_alive(engine: &Engine, ids: &BTreeSet<u64>, needed: usize) -> usize {
    let deadline = runtime::now() + HEARD_WITHIN;
    loop {
        let alive = ids.iter().filter(|id| engine.peers.is_alive(NodeId(**id))).count();
        if alive >= needed || runtime::now() >= deadline {
            return alive;
        }
        tokio::time::sleep(HEARD_INTERVAL).await;
    }
}

async fn drop_learners(engine: &Engine, ids: &[NodeId]) -> Result<(), Reply> {
    let members = engine.members();
    let learners: BTreeSet<u64> = members
        .iter()
        .filter(|(id, _, voter)| ids.contains(id) && !voter)
        .map(|(id, ..)| id.0)
        .collect();
    if learners.is_empty() {
        return Ok(());
    }
    change_membership(engine, ChangeMembers::RemoveNodes(learners), false).await
}

/// Hands leadership to `to`, or to the living voter with the shortest lag.
async fn transfer(engine: &Engine, to: Option<NodeId>) -> Decided {
    if to == Some(engine.id()) {
        return Ok(Reply::Leader(engine.id()));
    }
    let candidates: Vec<NodeId> = engine
        .members()
        .iter()
        .filter(|(id, _, voter)| *voter && *id != engine.id() && engine.peers.is_alive(*id))
        .map(|(id, ..)| *id)
        .collect();
    let target = match to {
        Some(to) if candidates.contains(&to) => to,
        Some(to) => return Err(refused(format!("{to} is no voter that answers"))),
        None => candidates
            .into_iter()
            .max_by_key(|id| engine.replicated(*id).0)
            .ok_or_else(|| refused("no other voter answers"))?,
    };
    engine
        .hand_leadership_to(target, TRANSFER_DEADLINE)
        .await
        .map(Reply::Leader)
        .map_err(unavailable)
}

/// What a fresh leader does: writes the store's birth into it, and finishes a change of membership
/// that its predecessor left half done.
pub(crate) async fn lead(engine: Arc<Engine>) {
    let mut leading = false;
    loop {
        tokio::time::sleep(OFFICE_INTERVAL).await;
        engine.note_leader();
        let leads = engine.leads();
        if leads && !leading {
            leading = take_office(&engine).await.is_ok();
        } else if !leads {
            leading = false;
        }
    }
}

async fn take_office(engine: &Engine) -> Result<(), Error> {
    engine.linearize(CHANGE_DEADLINE).await?;
    if engine.reader.cluster_id().is_none() {
        let myself = engine.peers.myself();
        let op = Op::Found { cluster_id: myself.cluster_id, last_node_id: myself.id };
        engine.propose(&Command { request: None, op }, CHANGE_DEADLINE).await?;
    }
    engine.leave_joint_consensus().await
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
            Some((_, _, false)) if promotes && engine.leader().is_some() => Request::Promote(id),
            Some(_) if engine.leads() => continue,
            Some(_) if engine.leader().is_some() && confirmed.elapsed() < CONFIRM_INTERVAL => {
                continue;
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
