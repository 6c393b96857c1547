//! Who the other members are, how they are reached, and who answers.
//!
//! One multiplexed client a peer on the control lane, made when first needed and replaced when the
//! peer's address changes; dedicated channels for the other lanes; and a ping a peer four times a
//! second, from which follows who is alive. Quorum loss is declared only after it lasted
//! [`QUORUM_GRACE`], so that a restart or an election is not mistaken for it.

use super::message::{Pong, Reply, Request};
use super::whereabouts::Whereabouts;
use crate::codec;
use crate::error::TransportError;
use crate::runtime;
use crate::secret::Secret;
use crate::transport::rpc::{self, Client, ClientOptions, Hello};
use crate::transport::{Channel, Lane, Transport};
use crate::types::{ClusterId, Member, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a peer is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_millis(250);
/// Silence after which a peer counts as dead.
const ALIVE_WITHIN: Duration = Duration::from_secs(1);
/// How long a quorum must be missing before calls are answered with it.
const QUORUM_GRACE: Duration = Duration::from_millis(750);
/// A peer that restarts is found again within this.
const BACK_OFF_MAX: Duration = Duration::from_millis(200);
/// Replicas that are talked to without being members: newcomers, and members at unexpected places.
const STRANGERS_MAX: usize = 32;
/// How long dialling a peer may take.
const DIAL_DEADLINE: Duration = Duration::from_secs(1);

/// Who this replica is, as its peers are told.
#[derive(Debug, Clone)]
pub(crate) struct Myself {
    pub(crate) cluster_id: ClusterId,
    pub(crate) id: NodeId,
    pub(crate) name: String,
    /// What it proves to its peers, and they to it.
    pub(crate) secret: Secret,
}

impl Myself {
    pub(crate) fn hello(&self, lane: Lane) -> Hello {
        Hello::new(Some(self.cluster_id), Some(self.id), self.name.clone(), lane)
    }
}

/// How many voters answer, against how many a decision needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quorum {
    pub(crate) alive: usize,
    pub(crate) needed: usize,
    pub(crate) voters: usize,
    /// Missing for longer than the grace.
    pub(crate) lost: bool,
}

/// What a peer said of itself, and when.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) heard: Instant,
    pub(crate) alive: bool,
    pub(crate) pong: Pong,
}

/// The peers of one replica.
pub(crate) struct Peers {
    myself: Myself,
    transport: Arc<dyn Transport>,
    table: Mutex<BTreeMap<NodeId, Peer>>,
    whereabouts: Mutex<Whereabouts>,
    /// Clients for whoever listens on an address that is no member's.
    strangers: Mutex<BTreeMap<String, Arc<Client>>>,
    quorum: watch::Sender<Quorum>,
}

struct Peer {
    address: String,
    client: Arc<Client>,
    report: Option<Report>,
    /// Why it will not talk to this replica, as it last said.
    refusal: Option<String>,
}

impl Peers {
    pub(crate) fn new(myself: Myself, transport: Arc<dyn Transport>) -> Self {
        let quorum = Quorum { alive: 1, needed: 1, voters: 1, lost: false };
        Self {
            myself,
            transport,
            table: Mutex::default(),
            whereabouts: Mutex::default(),
            strangers: Mutex::default(),
            quorum: watch::channel(quorum).0,
        }
    }

    pub(crate) fn myself(&self) -> &Myself {
        &self.myself
    }

    pub(crate) fn quorum(&self) -> Quorum {
        *self.quorum.borrow()
    }

    /// Returns when the quorum is known to be lost.
    pub(crate) async fn quorum_lost(&self) -> Quorum {
        let mut changes = self.quorum.subscribe();
        let lost = changes.wait_for(|quorum| quorum.lost).await.map(|quorum| *quorum);
        match lost {
            Ok(quorum) => quorum,
            Err(_) => std::future::pending().await,
        }
    }

    /// Where `id` is now, if it is a member.
    pub(crate) fn address(&self, id: NodeId) -> Option<String> {
        self.whereabouts().of(id).map(str::to_owned)
    }

    /// Takes down where a living replica said that it is.
    pub(crate) fn hear(&self, id: NodeId, generation: u64, address: &str) {
        self.whereabouts().hear(id, generation, address);
    }

    fn resolve(&self, id: NodeId, address: &str) -> String {
        self.whereabouts().instead_of(id, address).to_owned()
    }

    fn whereabouts(&self) -> MutexGuard<'_, Whereabouts> {
        self.whereabouts.lock().expect("no holder of the addresses' lock panics")
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.table.lock().expect("no holder of the peers' lock panics")
    }

    /// Returns the control client of `id`, which answers at `address`, or where it said since.
    pub(crate) fn client(&self, id: NodeId, address: &str) -> Arc<Client> {
        let address = self.resolve(id, address);
        let mut table = self.table();
        if let Some(peer) = table.get(&id).filter(|peer| peer.address == address) {
            return peer.client.clone();
        }
        let hello = self.myself.hello(Lane::Control);
        let options = ClientOptions {
            expected: Some(id),
            back_off_max: BACK_OFF_MAX,
            ..ClientOptions::default()
        };
        let hello = Arc::new(move || hello.clone());
        let secret = self.myself.secret.clone();
        let client = Client::new(self.transport.clone(), &*address, hello, secret, options);
        let client = Arc::new(client);
        let (report, refusal) = (None, None);
        table.insert(id, Peer { address, client: client.clone(), report, refusal });
        client
    }

    /// Returns a control client for whoever listens on `address`: the member's that is there, or one
    /// that talks to any replica of this cluster.
    pub(crate) fn client_at(&self, address: &str) -> Arc<Client> {
        let member = self.whereabouts().who(address);
        if let Some(id) = member {
            return self.client(id, address);
        }
        let mut strangers = self.strangers.lock().expect("no holder of the strangers' lock panics");
        if !strangers.contains_key(address) && strangers.len() >= STRANGERS_MAX {
            strangers.retain(|_, client| client.is_connected());
            // All are talked to: the one that goes is dialled again when it is needed.
            if strangers.len() >= STRANGERS_MAX {
                strangers.pop_first();
            }
        }
        let make = || {
            let hello = self.myself.hello(Lane::Control);
            let (transport, hello) = (self.transport.clone(), Arc::new(move || hello.clone()));
            let secret = self.myself.secret.clone();
            Arc::new(Client::new(transport, address, hello, secret, ClientOptions::default()))
        };
        strangers.entry(address.to_owned()).or_insert_with(make).clone()
    }

    /// Opens a channel of its own on `lane` to `id`, which answers at `address`, or where it said
    /// since.
    pub(crate) async fn dial(
        &self,
        id: NodeId,
        address: &str,
        lane: Lane,
    ) -> Result<Channel, TransportError> {
        let address = self.resolve(id, address);
        let (hello, secret) = (self.myself.hello(lane), &self.myself.secret);
        let expected = Some(id);
        let dialled =
            rpc::dial(&*self.transport, &address, &hello, secret, expected, DIAL_DEADLINE).await;
        dialled.map(|(_, channel)| channel)
    }

    /// Sends `request` to the peer and decodes its reply.
    pub(crate) async fn ask(
        &self,
        id: NodeId,
        address: &str,
        request: &Request,
        timeout: Duration,
    ) -> Result<Reply, TransportError> {
        let client = self.client(id, address);
        decode_reply(&client.request(request.encode(), timeout).await?)
    }

    /// What is known of a peer.
    pub(crate) fn report(&self, id: NodeId) -> Option<Report> {
        self.table().get(&id)?.report.clone()
    }

    pub(crate) fn is_alive(&self, id: NodeId) -> bool {
        id == self.myself.id || self.report(id).is_some_and(|report| report.is_alive())
    }

    /// Pings the members that `members` names, for ever, and keeps the quorum's state.
    pub(crate) async fn watch_over(
        self: Arc<Self>,
        mut members: impl FnMut() -> (Vec<(NodeId, Member, bool)>, Vec<BTreeSet<u64>>),
    ) {
        let mut missing_since: Option<Instant> = None;
        loop {
            let (listed, configs) = members();
            self.note(&listed);
            for (id, member, _) in &listed {
                if *id != self.myself.id && !member.peer_address.is_empty() {
                    let address = self.address(*id).unwrap_or_else(|| member.peer_address.clone());
                    let (peers, id) = (self.clone(), *id);
                    runtime::spawn(async move { peers.ping(id, address).await });
                }
            }
            tokio::time::sleep(PING_INTERVAL).await;
            let mut quorum = self.weakest(&configs);
            let missing = quorum.alive < quorum.needed;
            missing_since = missing.then(|| missing_since.unwrap_or_else(runtime::now));
            quorum.lost = missing_since.is_some_and(|since| since.elapsed() >= QUORUM_GRACE);
            self.quorum.send_if_modified(|known| std::mem::replace(known, quorum) != quorum);
        }
    }

    /// The quorum of the configuration that is worst off: a joint one needs both of its halves.
    pub(crate) fn weakest(&self, configs: &[BTreeSet<u64>]) -> Quorum {
        let quorums = configs.iter().map(|voters| {
            let alive = voters.iter().filter(|id| self.is_alive(NodeId(**id))).count();
            Quorum { alive, needed: voters.len() / 2 + 1, voters: voters.len(), lost: false }
        });
        let none = Quorum { alive: 1, needed: 1, voters: 1, lost: false };
        quorums
            .reduce(|a, b| if b.alive + a.needed < a.alive + b.needed { b } else { a })
            .unwrap_or(none)
    }

    /// Asks a member whether it is there, and takes down what it says.
    pub(crate) async fn look_for(&self, id: NodeId) {
        if let Some(address) = self.address(id) {
            self.ping(id, address).await;
        }
    }

    /// Reports whether a peer has answered since then, and not gone away again.
    pub(crate) fn has_answered_since(&self, id: NodeId, then: Instant) -> bool {
        self.report(id).is_some_and(|report| report.alive && report.heard >= then)
    }

    async fn ping(&self, id: NodeId, address: String) {
        let reply = self.ask(id, &address, &Request::Ping, ALIVE_WITHIN).await;
        let mut table = self.table();
        let Some(peer) = table.get_mut(&id).filter(|peer| peer.address == address) else { return };
        match reply {
            Ok(Reply::Pong(pong)) if pong.id == id => {
                peer.report = Some(Report { heard: runtime::now(), alive: true, pong });
                peer.refusal = None;
            }
            // It answers, and will not have this replica: no retry helps. Said once, not four times
            // a second.
            Err(TransportError::Refused { reason, .. }) => {
                if let Some(report) = &mut peer.report {
                    report.alive = false;
                }
                if peer.refusal.as_ref() != Some(&reason) {
                    tracing::warn!("id {id} at {address} refuses this replica: {reason}");
                    peer.refusal = Some(reason);
                }
            }
            // A timeout alone says nothing before `ALIVE_WITHIN`; a refused connection says it all.
            Err(TransportError::Unreachable { .. } | TransportError::Closed { .. }) => {
                if let Some(report) = &mut peer.report {
                    report.alive = false;
                }
            }
            _ => {}
        }
    }

    fn note(&self, members: &[(NodeId, Member, bool)]) {
        let addresses = members.iter().map(|(id, member, _)| (*id, member.peer_address.clone()));
        let addresses = addresses.filter(|(_, address)| !address.is_empty()).collect();
        self.whereabouts().note(addresses);
        self.table().retain(|id, _| members.iter().any(|(member, _, _)| member == id));
    }
}

impl Report {
    pub(crate) fn is_alive(&self) -> bool {
        self.alive && self.heard.elapsed() <= ALIVE_WITHIN + PING_INTERVAL
    }
}

/// Decodes the reply to a control request.
pub(crate) fn decode_reply(frame: &[u8]) -> Result<Reply, TransportError> {
    codec::decode(frame).map_err(|error| TransportError::Malformed { reason: error.to_string() })
}

/// Asks whoever listens on `address`, once, on a connection of its own.
pub(crate) async fn ask_stranger(
    transport: &Arc<dyn Transport>,
    address: &str,
    hello: Hello,
    secret: &Secret,
    request: &Request,
    timeout: Duration,
) -> Result<Reply, TransportError> {
    let (hello, secret) = (Arc::new(move || hello.clone()), secret.clone());
    let client = Client::new(transport.clone(), address, hello, secret, ClientOptions::default());
    decode_reply(&client.request(request.encode(), timeout).await?)
}
