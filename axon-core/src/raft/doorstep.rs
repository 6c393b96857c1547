//! What comes to a replica's door and is none of Raft's business: knocks of newcomers, and gossip.
//!
//! A knock is answered with an id by a leader, and by any other member with where else to ask: the
//! leader, if it knows one, and the other members, whose addresses a newcomer that was told of one
//! alone could not know. Who knocks is remembered for a while, so that it can be shown. Gossip is passed on to whoever
//! keeps such notes here, and dropped when nobody does.

use super::engine::Engine;
use super::message::{JoinRequest, Reply, Request};
use crate::runtime;
use crate::types::{Member, NodeId};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Doors that a newcomer is told of.
const DOORS_MAX: usize = 16;
/// Newcomers that are remembered.
const KNOCKS_MAX: usize = 16;
/// How long: somewhat longer than the pause between two rounds of knocking.
const REMEMBERED: Duration = Duration::from_secs(15);

/// Takes a message and the address of its sender; never waits.
type Listener = Box<dyn Fn(String, Bytes) + Send + Sync>;

/// A newcomer that asked to be let in, and when.
#[derive(Debug, Clone)]
pub(crate) struct Knock {
    pub(crate) member: Member,
    pub(crate) at: Instant,
}

/// See the module's essay.
#[derive(Default)]
pub(crate) struct Doorstep {
    listener: OnceLock<Listener>,
    living: Mutex<Vec<(NodeId, String)>>,
    knocks: Mutex<VecDeque<Knock>>,
}

impl Doorstep {
    /// Has gossip passed on to `listener` from now on; the first one stands.
    pub(crate) fn listen(&self, listener: Listener) {
        let _ = self.listener.set(listener);
    }

    pub(crate) fn pass_on(&self, from: String, message: Bytes) {
        if let Some(listener) = self.listener.get() {
            listener(from, message);
        }
    }

    /// Takes down who is alive, and where, by gossip.
    pub(crate) fn tell_of(&self, living: Vec<(NodeId, String)>) {
        *self.living.lock().unwrap_or_else(PoisonError::into_inner) = living;
    }

    /// Who is alive, and where, by gossip: doors to ask at for one that knows no member yet.
    pub(crate) fn living(&self) -> Vec<(NodeId, String)> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who knocked lately, each once.
    pub(crate) fn knocks(&self) -> Vec<Knock> {
        let knocks = self.knocks.lock().unwrap_or_else(PoisonError::into_inner);
        knocks.iter().filter(|knock| knock.at.elapsed() < REMEMBERED).cloned().collect()
    }

    fn note(&self, member: &Member) {
        let mut knocks = self.knocks.lock().unwrap_or_else(PoisonError::into_inner);
        knocks.retain(|knock| knock.member.peer_address != member.peer_address);
        if knocks.len() == KNOCKS_MAX {
            knocks.pop_front();
        }
        knocks.push_back(Knock { member: member.clone(), at: runtime::now() });
    }
}

impl Engine {
    /// The answer to a newcomer.
    pub(crate) async fn answer_knock(&self, join: JoinRequest) -> Reply {
        self.doorstep.note(&join.member);
        match self.change(Request::Join(join)).await {
            Reply::NotLeader(leader) => Reply::Elsewhere {
                leader: leader.map(|(_, address)| address),
                members: self.other_doors(),
            },
            reply => reply,
        }
    }

    /// Where the other members are, those that answer first.
    fn other_doors(&self) -> Vec<String> {
        let others = self.members().into_iter().filter(|(id, ..)| *id != self.id());
        let mut doors: Vec<(bool, String)> = others
            .map(|(id, member, _)| {
                let address = self.peers.address(id).unwrap_or(member.peer_address);
                (!self.peers.is_alive(id), address)
            })
            .filter(|(_, address)| !address.is_empty())
            .collect();
        doors.sort();
        doors.truncate(DOORS_MAX);
        doors.into_iter().map(|(_, address)| address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_knocks_are_remembered_each_newcomer_once() {
        let doorstep = Doorstep::default();
        for number in 0..100 {
            let member = Member {
                name: format!("node{number}"),
                address: String::new(),
                peer_address: format!("{}", number % 50),
                vocabulary: 1,
            };
            doorstep.note(&member);
        }
        let knocks = doorstep.knocks();
        let names: Vec<&str> = knocks.iter().map(|knock| knock.member.name.as_str()).collect();
        let latest: Vec<String> = (84..100).map(|number| format!("node{number}")).collect();
        assert_eq!(names, latest);
    }
}
