//! chitchat's socket, over messages that go to addresses of ours.
//!
//! chitchat names nodes by IP address and port; ours may be host names, behind NAT, or names in a
//! memory network. So each address has a **stand-in**: a unique local IPv6 address that is a hash of its
//! text, the same on every replica. The way back is a book of what has been mentioned: a node's
//! chitchat id carries its address (`7@10.0.0.7:9001`), so whoever is known can be reached.
//!
//! Before a message reaches chitchat, whose memory grows with what it is told, it is looked through
//! here. What is refused: too long; unfolding into too much; naming a node whose address is not its
//! own; naming more nodes than there is room for. For that the layout of chitchat's messages is
//! known here, and its version is pinned.

use super::{Gossip, Host};
use crate::types::NodeId;
use anyhow::{anyhow, bail, ensure};
use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatId, ChitchatMessage, Deserializable, Serializable};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_128;

/// The longest message: chitchat makes none that would not fit into a datagram.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Blocks of compressed facts in a message. Each unfolds into 64 KiB at most, and holds a hundred
/// nodes' worth.
const BLOCKS_MAX: usize = 16;
/// What is taken in between two ticks.
const INTAKE_BYTES_MAX: usize = 1 << 20;
/// Starts of nodes that are known at once.
const NODES_MAX: usize = 400;
/// What they take in a message: less than a message, or there would be no room for what they say.
const NODES_BYTES_MAX: usize = 40 << 10;
/// Beside its id: three numbers.
const DIGEST_BYTES: usize = 24;
const ADDRESS_BYTES_MAX: usize = 300;
/// No clock reaches it: some 140,000 years after 1970, in milliseconds.
const GENERATION_MAX: u64 = 1 << 52;

/// The stand-in for `address`.
pub(super) fn stand_in(address: &str) -> SocketAddr {
    let hash = xxh3_128(address.as_bytes());
    let unique_local = 0xfd << 120 | hash >> 8;
    SocketAddr::from((Ipv6Addr::from_bits(unique_local), 1))
}

/// What chitchat calls this start of a replica.
pub(super) fn chitchat_id(id: NodeId, generation: u64, peer_address: &str) -> ChitchatId {
    ChitchatId::new(format!("{}@{peer_address}", id.0), generation, stand_in(peer_address))
}

/// Who is called so, and where it is; `None` for what no replica is called.
pub(super) fn who(id: &ChitchatId) -> Option<(NodeId, &str)> {
    let (number, address) = id.node_id.split_once('@')?;
    let sound = address.len() <= ADDRESS_BYTES_MAX
        && id.generation_id < GENERATION_MAX
        && id.gossip_advertise_addr == stand_in(address);
    let number = number.parse().ok().filter(|_| sound)?;
    Some((NodeId(number), address))
}

/// The transport that chitchat is given.
pub(super) struct Wire {
    host: Arc<dyn Host>,
    queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Gossip>>>,
    book: SharedBook,
}

impl Wire {
    pub(super) fn new(
        host: Arc<dyn Host>,
        queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Gossip>>>,
    ) -> Self {
        Self { host, queue, book: SharedBook::default() }
    }

    pub(super) fn book(&self) -> &SharedBook {
        &self.book
    }
}

#[async_trait]
impl Transport for Wire {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let (host, queue) = (self.host.clone(), self.queue.clone());
        Ok(Box::new(Line { host, queue, book: self.book.clone() }))
    }
}

struct Line {
    host: Arc<dyn Host>,
    queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Gossip>>>,
    book: SharedBook,
}

#[async_trait]
impl Socket for Line {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let address = self.book.lock().find(&to);
        if let Some(address) = address {
            self.host.send(&address, message.serialize_to_vec().into());
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let gossip = self.queue.lock().await.recv().await;
            let gossip = gossip.ok_or_else(|| anyhow!("nothing will ever arrive again"))?;
            match self.book.lock().admit(&gossip) {
                Ok(message) => return Ok((stand_in(&gossip.from), message)),
                Err(reason) => tracing::debug!("gossip from {} is dropped: {reason}", gossip.from),
            }
        }
    }
}

/// The book of a [`Wire`], open on both its ends.
#[derive(Clone, Default)]
pub(super) struct SharedBook(Arc<Mutex<Book>>);

impl SharedBook {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("no holder of the book's lock panics")
    }

    /// Notes an address, and returns its stand-in.
    pub(super) fn learn(&self, address: &str) -> SocketAddr {
        self.lock().learn(address)
    }

    /// Begins a new page: chitchat knows exactly `nodes`.
    pub(super) fn turn_over<'a>(&self, nodes: impl Iterator<Item = &'a ChitchatId>) {
        let mut book = self.lock();
        let addresses_before = std::mem::take(&mut book.addresses);
        *book = Book { addresses_before, ..Book::default() };
        for id in nodes {
            book.enter(id);
        }
    }
}

/// Who has been mentioned.
#[derive(Default)]
struct Book {
    addresses: BTreeMap<SocketAddr, String>,
    /// Those of the page before: an answer may be under way to somebody who is not known yet.
    addresses_before: BTreeMap<SocketAddr, String>,
    nodes: BTreeSet<ChitchatId>,
    nodes_bytes: usize,
    /// Taken in on this page.
    intake: usize,
}

impl Book {
    fn learn(&mut self, address: &str) -> SocketAddr {
        let stand_in = stand_in(address);
        self.addresses.entry(stand_in).or_insert_with(|| address.to_owned());
        stand_in
    }

    fn find(&self, stand_in: &SocketAddr) -> Option<String> {
        let pages = [&self.addresses, &self.addresses_before];
        pages.into_iter().find_map(|page| page.get(stand_in)).cloned()
    }

    fn enter(&mut self, id: &ChitchatId) {
        let Some((_, address)) = who(id) else { return };
        self.learn(address);
        if self.nodes.insert(id.clone()) {
            self.nodes_bytes += id.serialized_len() + DIGEST_BYTES;
        }
    }

    /// Looks a message through, and takes it apart.
    fn admit(&mut self, gossip: &Gossip) -> anyhow::Result<ChitchatMessage> {
        let Gossip { from, message } = gossip;
        ensure!(message.len() <= MESSAGE_BYTES_MAX, "it has {} bytes", message.len());
        ensure!(from.len() <= ADDRESS_BYTES_MAX, "its sender's address is too long");
        self.intake += message.len();
        ensure!(self.intake <= INTAKE_BYTES_MAX, "there is too much of it");
        let mentioned = mentioned(message)?;
        let unknown = mentioned.iter().filter(|id| !self.nodes.contains(id));
        let (mut count, mut bytes) = (self.nodes.len(), self.nodes_bytes);
        for id in unknown {
            ensure!(who(id).is_some(), "{} is called as no replica is", id.node_id);
            count += 1;
            bytes += id.serialized_len() + DIGEST_BYTES;
        }
        ensure!(count <= NODES_MAX && bytes <= NODES_BYTES_MAX, "it names too many nodes");
        let decoded = ChitchatMessage::deserialize(&mut &message[..])?;
        self.learn(from);
        for id in &mentioned {
            self.enter(id);
        }
        Ok(decoded)
    }
}

/// The nodes that a message names, in chitchat's layout: two bytes of magic, a version, a kind; a
/// digest, if the kind has one; then facts in blocks, if it has some.
fn mentioned(message: &[u8]) -> anyhow::Result<BTreeSet<ChitchatId>> {
    let Some((header, mut rest)) = message.split_first_chunk::<4>() else {
        bail!("it is too short")
    };
    let (has_digest, has_facts) = match header[3] {
        0 => (true, false),
        1 => (true, true),
        2 => (false, true),
        3 => (false, false),
        kind => bail!("its kind {kind} is unknown"),
    };
    let mut nodes = BTreeSet::new();
    if has_digest {
        for _ in 0..u16::deserialize(&mut rest)? {
            nodes.insert(ChitchatId::deserialize(&mut rest)?);
            rest = rest.get(DIGEST_BYTES..).ok_or_else(|| anyhow!("it is cut short"))?;
        }
    }
    let mut blocks = 0;
    while has_facts && u8::deserialize(&mut rest)? != 0 {
        blocks += 1;
        ensure!(blocks <= BLOCKS_MAX, "it has too many blocks");
        let bytes = usize::from(u16::deserialize(&mut rest)?);
        rest = rest.get(bytes..).ok_or_else(|| anyhow!("it is cut short"))?;
    }
    Ok(nodes)
}

#[cfg(test)]
pub(crate) mod tests;
