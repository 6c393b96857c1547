//! A replica among those that compare notes: what it tells, how its messages travel, who was seen.
//!
//! [`discovery`](crate::discovery) knows no Raft and Raft no gossip; here they meet. Messages go
//! through the peers' control clients, a bounded number at once, and what was heard of a member's
//! address goes to where the peers are dialled. What is shown is hearsay and the membership together: a
//! member of the log of which nothing was heard is listed too, as what it is, silent.

use crate::config::Config;
use crate::discovery::{Discovery, Facts, Gossip, Host, MESSAGE_BYTES_MAX, Sighting, Speaker};
use crate::raft::doorstep::Knock;
use crate::raft::engine::Engine;
use crate::raft::message::Request;
use crate::runtime::{self, simulation};
use crate::status::SeenNode;
use crate::types::{LogIndex, Member, NodeId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Messages on their way at once; one more is dropped.
const IN_FLIGHT_MAX: usize = 32;
/// How long one may take.
const SEND_DEADLINE: Duration = Duration::from_secs(1);
/// A newcomer that knocked within this is there; its rounds are seldom further apart.
const KNOCKING_WITHIN: Duration = Duration::from_secs(5);

/// Begins to compare notes, also with whoever listens on `join`; the engine's end ends it.
pub(super) fn start(
    engine: &Arc<Engine>,
    config: &Config,
    member: &Member,
    join: Vec<String>,
) -> Arc<Discovery> {
    let myself = engine.peers.myself();
    let (discovery, queue) = Discovery::new(Speaker {
        cluster_id: myself.cluster_id,
        id: myself.id,
        name: member.name.clone(),
        address: member.address.clone(),
        peer_address: member.peer_address.clone(),
        vocabulary: member.vocabulary,
        interval: config.gossip_interval,
    });
    // A replica without a network has nobody to talk to. Under simulation nobody gossips: see the
    // essay of `discovery`.
    if config.listen.is_none() || simulation::active() {
        return discovery;
    }
    let inbox = discovery.inbox();
    engine.doorstep.listen(Box::new(move |from, message| {
        // Looked at here too, so that what waits is bounded in bytes.
        if message.len() <= MESSAGE_BYTES_MAX {
            let _ = inbox.try_send(Gossip { from, message });
        }
    }));
    let host = Here {
        engine: engine.clone(),
        from: member.peer_address.clone(),
        join,
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
    };
    engine.keep(discovery.clone().run(queue, Arc::new(host)));
    discovery
}

struct Here {
    engine: Arc<Engine>,
    from: String,
    join: Vec<String>,
    in_flight: Arc<Semaphore>,
}

impl Host for Here {
    fn send(&self, address: &str, message: Bytes) {
        let Ok(permit) = self.in_flight.clone().try_acquire_owned() else { return };
        let client = self.engine.peers.client_at(address);
        let request = Request::Gossip { from: self.from.clone(), message };
        runtime::spawn(async move {
            // The answer says nothing; it bounds what is on its way.
            let _ = client.request(request.encode(), SEND_DEADLINE).await;
            drop(permit);
        });
    }

    fn facts(&self) -> Facts {
        Facts {
            raft_state: self.engine.raft_state().as_str(),
            applied_index: LogIndex(self.engine.reader.applied().borrow().0),
        }
    }

    fn addresses(&self) -> Vec<String> {
        let members =
            self.engine.members().into_iter().map(|(id, member, _)| {
                self.engine.peers.address(id).unwrap_or(member.peer_address)
            });
        self.join.iter().cloned().chain(members).collect()
    }

    fn saw(&self, seen: &[Sighting]) {
        for sighting in seen.iter().filter(|sighting| sighting.alive) {
            let Sighting { id, generation, peer_address, .. } = sighting;
            self.engine.peers.hear(*id, *generation, peer_address);
        }
        let living = seen.iter().filter(|sighting| sighting.alive);
        let living = living.map(|sighting| (sighting.id, sighting.peer_address.clone()));
        self.engine.doorstep.tell_of(living.collect());
    }
}

/// Who was seen or belongs, by id; then who knocks.
pub(super) fn seen(engine: &Engine, discovery: &Discovery) -> Vec<SeenNode> {
    let mut nodes: BTreeMap<NodeId, SeenNode> =
        discovery.seen().into_iter().map(|sighting| (sighting.id, heard(sighting))).collect();
    for (id, member, _) in engine.members() {
        let node = nodes.entry(id).or_insert_with(|| silent(Some(id), &member));
        if let Some(report) = engine.peers.report(id) {
            node.version.get_or_insert_with(|| report.pong.version.clone());
            let applied = LogIndex(report.pong.applied_index);
            node.applied_index = node.applied_index.max(Some(applied));
            // It may answer here before the others' word of it has come round.
            node.alive |= report.is_alive();
            let ago = report.heard.elapsed();
            node.last_heard = Some(node.last_heard.map_or(ago, |heard| heard.min(ago)));
        }
    }
    let myself = nodes.entry(engine.id()).or_insert_with(|| SeenNode {
        name: engine.peers.myself().name.clone(),
        ..SeenNode::unheard(Some(engine.id()))
    });
    myself.version = Some(env!("CARGO_PKG_VERSION").into());
    myself.raft_state = Some(engine.raft_state().as_str().into());
    myself.applied_index = Some(LogIndex(engine.reader.applied().borrow().0));
    myself.alive = true;
    myself.last_heard = Some(Duration::ZERO);
    let known = |knock: &Knock| {
        let is = |node: &SeenNode| node.peer_address == knock.member.peer_address && node.alive;
        nodes.values().any(is)
    };
    let knocks = engine.doorstep.knocks();
    let knocking: Vec<SeenNode> =
        knocks.iter().filter(|knock| !known(knock)).map(knocks_here).collect();
    nodes.into_values().chain(knocking).collect()
}

fn heard(sighting: Sighting) -> SeenNode {
    SeenNode {
        id: Some(sighting.id),
        name: sighting.name,
        address: sighting.address,
        peer_address: sighting.peer_address,
        version: sighting.version,
        raft_state: sighting.raft_state,
        applied_index: sighting.applied_index,
        alive: sighting.alive,
        last_heard: sighting.heard.map(|heard| heard.elapsed()),
    }
}

/// A node of which nothing was heard, as `member` says of it.
fn silent(id: Option<NodeId>, member: &Member) -> SeenNode {
    SeenNode {
        name: member.name.clone(),
        address: member.address.clone(),
        peer_address: member.peer_address.clone(),
        ..SeenNode::unheard(id)
    }
}

fn knocks_here(knock: &Knock) -> SeenNode {
    let ago = knock.at.elapsed();
    let (alive, last_heard) = (ago < KNOCKING_WITHIN, Some(ago));
    SeenNode { alive, last_heard, ..silent(None, &knock.member) }
}
