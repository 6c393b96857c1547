//! Who the other members are, how they are reached, and who answers.
//!
//! One multiplexed client a peer on the control lane, made when first needed and replaced when the
//! peer's address changes; dedicated channels for the other lanes; and a ping a peer four times a
//! second, from which follows who is alive. Quorum loss is declared only after it lasted
//! [`QUORUM_GRACE`], so that a restart or an election is not mistaken for it.

use super::message::{Pong, Reply, Request};
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
    /// Where each member is, by the membership that is effective now.
    addresses: Mutex<BTreeMap<NodeId, String>>,
    quorum: watch::Sender<Quorum>,
}

struct Peer {
    address: String,
    client: Arc<Client>,
    report: Option<Report>,
}

impl Peers {
    pub(crate) fn new(myself: Myself, transport: Arc<dyn Transport>) -> Self {
        let quorum = Quorum { alive: 1, needed: 1, voters: 1, lost: false };
        Self {
            myself,
            transport,
            table: Mutex::default(),
            addresses: Mutex::default(),
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
        self.addresses.lock().expect("no holder of the addresses' lock panics").get(&id).cloned()
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.table.lock().expect("no holder of the peers' lock panics")
    }

    /// Returns the control client of `id`, which answers at `address`.
    pub(crate) fn client(&self, id: NodeId, address: &str) -> Arc<Client> {
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
        let client = Client::new(self.transport.clone(), address, hello, secret, options);
        let client = Arc::new(client);
        let peer = Peer { address: address.to_owned(), client: client.clone(), report: None };
        table.insert(id, peer);
        client
    }

    /// Opens a channel of its own on `lane` to `id`, which answers at `address`.
    pub(crate) async fn dial(
        &self,
        id: NodeId,
        address: &str,
        lane: Lane,
    ) -> Result<Channel, TransportError> {
        let (hello, secret) = (self.myself.hello(lane), &self.myself.secret);
        let expected = Some(id);
        let dialled =
            rpc::dial(&*self.transport, address, &hello, secret, expected, DIAL_DEADLINE).await;
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
                    runtime::spawn(self.clone().ping(*id, member.peer_address.clone()));
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

    async fn ping(self: Arc<Self>, id: NodeId, address: String) {
        let reply = self.ask(id, &address, &Request::Ping, ALIVE_WITHIN).await;
        let mut table = self.table();
        let Some(peer) = table.get_mut(&id).filter(|peer| peer.address == address) else { return };
        match reply {
            Ok(Reply::Pong(pong)) if pong.id == id => {
                peer.report = Some(Report { heard: runtime::now(), alive: true, pong });
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
        *self.addresses.lock().expect("no holder of the addresses' lock panics") = addresses;
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
