//! How a replica comes by its identity: makes a cluster, resumes one, or joins one.
//!
//! The rules that keep a cluster from being made twice (see also [`identity`](crate::identity)):
//!
//! * only [`Origin::Init`] makes a cluster, only on a directory without an identity;
//! * a newcomer stores a nonce before it first asks, and its identity before it first takes part;
//! * everything that can be refused is refused before anything is changed.

use crate::config::{Config, Origin};
use crate::error::{Error, RefusalCode, StorageError, TransportError};
use crate::identity::quarantine::Quarantine;
use crate::identity::{self, DataDir, Identity};
use crate::raft::message::{JoinRequest, Reply, Request};
use crate::raft::peers;
use crate::runtime;
use crate::secret::Secret;
use crate::storage::builtin::{DiskEngine, MemoryEngine};
use crate::storage::space::Reserve;
use crate::storage::{Storage, StorageEngine};
use crate::transport::lobby::Lobby;
use crate::transport::memory::MemNetwork;
use crate::transport::rpc::{self, Hello, Refusal};
use crate::transport::tcp::TcpTransport;
use crate::transport::{Lane, Transport};
use crate::types::{ClusterId, Member, NodeId};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The shortest and the longest pause between two rounds of knocking.
const KNOCK_MIN: Duration = Duration::from_millis(100);
const KNOCK_MAX: Duration = Duration::from_secs(2);
/// How long a visitor may take to say who it is.
const TURN_AWAY_DEADLINE: Duration = Duration::from_secs(1);
/// Visitors at a time.
const VISITORS_MAX: usize = 32;
/// Doors that a newcomer remembers because a member named them.
const DOORS_NAMED_MAX: usize = 32;
/// Doors that it tries in one round.
const KNOCKS_MAX: usize = 64;
/// How long one door may take to answer.
const KNOCK_DEADLINE: Duration = Duration::from_secs(10);

/// What a replica is put together from in place of what Axon brings.
#[derive(Clone, Default)]
pub(crate) struct Plugins {
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) storage: Option<Arc<dyn StorageEngine>>,
}

/// A replica with an identity, its storage open.
pub(crate) struct Founded {
    pub(crate) identity: Identity,
    pub(crate) storage: Storage,
    /// Keeps other processes out; `None` in memory.
    pub(crate) directory: Option<DataDir>,
    /// What is set aside on its disk; `None` where the disk is not watched.
    pub(crate) reserve: Option<Reserve>,
    /// Where members are that it was told of while it knocked.
    pub(crate) doors: Vec<String>,
    /// What it was before, if it has come back out of a quarantine.
    pub(crate) healed: Option<Quarantine>,
}

impl Identity {
    pub(crate) fn makes_cluster(&self) -> bool {
        self.origin == identity::Origin::Init
    }

    pub(crate) fn nonce(&self) -> u128 {
        match self.origin {
            identity::Origin::Init => 0,
            identity::Origin::Join(nonce) => nonce,
        }
    }
}

fn mismatch(path: &Path, reason: impl Into<String>) -> Error {
    StorageError::Mismatch { path: path.display().to_string(), reason: reason.into() }.into()
}

/// Makes a cluster in an empty directory, on the engine that Axon brings.
pub(crate) fn init(config: &Config) -> Result<ClusterId, Error> {
    let engine = &*engine(config, None);
    let Some(path) = &config.data_dir else {
        return Err(mismatch(Path::new("data_dir"), "a cluster is made in a data directory"));
    };
    let wanted = match &config.origin {
        Origin::Init(wanted) => *wanted,
        _ => None,
    };
    if DataDir::holds_replica(path) {
        let directory = DataDir::lock(path)?;
        let held = directory.identity()?;
        let held = held.map_or_else(String::new, |held| {
            format!("{} of cluster {}, made or joined before", held.name, held.cluster_id)
        });
        return Err(mismatch(path, format!("it already holds {held}; nothing was changed")));
    }
    DataDir::check_vacant(path, engine)?;
    if DataDir::is_quarantined(path) {
        return Err(mismatch(path, "a replica is about to come back here to its own cluster"));
    }
    let directory = DataDir::lock(path)?;
    let identity = founder(config, wanted);
    make(&directory, &identity, engine)?;
    Ok(identity.cluster_id)
}

fn founder(config: &Config, wanted: Option<ClusterId>) -> Identity {
    Identity {
        cluster_id: wanted.unwrap_or_else(|| ClusterId(runtime::random_u128())),
        node_id: NodeId(1),
        name: config.name.clone(),
        log_id: runtime::random_u128(),
        origin: identity::Origin::Init,
    }
}

/// Creates log and state, then the identity that proves that they were there.
fn make(directory: &DataDir, identity: &Identity, engine: &dyn StorageEngine) -> Result<(), Error> {
    directory.begin_making()?;
    engine.create(directory.path(), identity.log_id)?;
    Ok(directory.write_identity(identity)?)
}

/// Refuses what can be refused without touching the disk or the network.
pub(crate) fn check_before_touching(
    config: &Config,
    engine: &dyn StorageEngine,
) -> Result<(), Error> {
    let Some(path) = &config.data_dir else { return Ok(()) };
    if DataDir::holds_replica(path) {
        return Ok(());
    }
    DataDir::check_vacant(path, engine)?;
    if config.origin == Origin::Resume && !DataDir::is_quarantined(path) {
        return Err(mismatch(
            path,
            "it holds no replica: make a cluster with `init`, or name members to join",
        ));
    }
    Ok(())
}

/// The engine that is plugged in, or else the one that `config` asks for.
pub(crate) fn engine(
    config: &Config,
    plugged: Option<Arc<dyn StorageEngine>>,
) -> Arc<dyn StorageEngine> {
    match plugged {
        Some(engine) => engine,
        None if config.data_dir.is_some() => Arc::new(DiskEngine::new(config.state_cache_bytes)),
        None => Arc::new(MemoryEngine::new()),
    }
}

/// The transport that is plugged in, or else the one that `config` asks for.
pub(crate) async fn transport(
    config: &Config,
    plugged: Option<Arc<dyn Transport>>,
) -> Result<Arc<dyn Transport>, Error> {
    match (plugged, &config.listen) {
        (Some(transport), _) => Ok(transport),
        (None, Some(listen)) => Ok(Arc::new(TcpTransport::bind(listen).await?)),
        // A replica without a network: nobody can reach it, and it has nobody to reach.
        (None, None) => Ok(Arc::new(MemNetwork::new().transport("alone"))),
    }
}

/// Opens the replica in the data directory, or makes the one that `config` asks for. `None`: it has
/// to join first.
pub(crate) fn open_or_make(
    config: &Config,
    engine: &dyn StorageEngine,
) -> Result<Option<Founded>, Error> {
    let Some(path) = &config.data_dir else {
        return match &config.origin {
            Origin::Init(wanted) => in_memory(founder(config, *wanted), engine).map(Some),
            _ => Ok(None),
        };
    };
    let directory = DataDir::lock(path)?;
    if directory.make_way()? {
        return Ok(None);
    }
    let identity = match (directory.identity()?, &config.origin) {
        (Some(identity), origin) => {
            check_identity(path, &identity, config, origin)?;
            identity
        }
        (None, Origin::Init(wanted)) => {
            let identity = founder(config, *wanted);
            make(&directory, &identity, engine)?;
            identity
        }
        (None, Origin::Join(_)) => return Ok(None),
        (None, Origin::Resume) => return Err(mismatch(path, "its replica has disappeared")),
    };
    open(directory, identity, engine).map(Some)
}

fn check_identity(
    path: &Path,
    identity: &Identity,
    config: &Config,
    origin: &Origin,
) -> Result<(), Error> {
    if identity.name != config.name {
        let (held, asked) = (&identity.name, &config.name);
        return Err(mismatch(
            path,
            format!("it belongs to {held}, not to {asked}: use that name, or another directory"),
        ));
    }
    match origin {
        Origin::Init(Some(wanted)) if *wanted != identity.cluster_id => Err(mismatch(
            path,
            format!("it belongs to cluster {}, not to {wanted}", identity.cluster_id),
        )),
        _ => Ok(()),
    }
}

fn open(
    directory: DataDir,
    identity: Identity,
    engine: &dyn StorageEngine,
) -> Result<Founded, Error> {
    let reserve = engine.disk().map(|disk| Reserve::new(disk, directory.path()));
    if let Some(reserve) = &reserve {
        reserve.make_room_to_start();
    }
    let storage = engine.open(directory.path(), identity.log_id)?;
    let healed = directory.quarantine()?;
    let doors = healed.as_ref().map_or_else(Vec::new, |former| former.doors().to_vec());
    Ok(Founded { identity, storage, directory: Some(directory), reserve, doors, healed })
}

/// A replica that is made anew each time it starts.
fn in_memory(identity: Identity, engine: &dyn StorageEngine) -> Result<Founded, Error> {
    let nowhere = Path::new("");
    engine.create(nowhere, identity.log_id)?;
    let storage = engine.open(nowhere, identity.log_id)?;
    let doors = Vec::new();
    Ok(Founded { identity, storage, directory: None, reserve: None, doors, healed: None })
}

/// Knocks until a leader lets this newcomer in; `hear` is told why it did not yet, and ends the
/// knocking by answering `false`.
pub(crate) async fn knock(
    config: &Config,
    engine: &Arc<dyn StorageEngine>,
    transport: &Arc<dyn Transport>,
    member: &Member,
    mut hear: impl FnMut(String) -> bool,
) -> Result<Founded, Error> {
    let (settings, fresh) = (config.clone(), runtime::random_u128());
    let (directory, nonce) = runtime::blocking(move || prepare(&settings, fresh)).await?;
    let healed = directory.as_ref().map(DataDir::quarantine).transpose()?.flatten();
    let told = if let Origin::Join(addresses) = &config.origin { &addresses[..] } else { &[] };
    let known = healed.as_ref().map_or(&[][..], Quarantine::doors);
    if told.is_empty() && known.is_empty() {
        return Err(Error::NotReady { reason: "it knows nobody to join".into() });
    }
    let request = Request::Join(JoinRequest { nonce, member: member.clone() });
    let secret = config.proven_secret();
    let mut doors = Doors::new(told.iter().chain(known), member);
    let knocking = async {
        let mut pause = KNOCK_MIN;
        loop {
            match knock_once(transport, &secret, &mut doors, member, &request).await {
                Ok(joined) => return Ok(joined),
                Err(reason) => {
                    tracing::info!("not a member yet: {reason}");
                    if !hear(format!("it asks to join: {reason}")) {
                        return Err(Error::ShutDown);
                    }
                }
            }
            tokio::time::sleep(pause + runtime::jitter(pause)).await;
            pause = (pause * 2).min(KNOCK_MAX);
        }
    };
    let (cluster_id, node_id) = tokio::select! {
        joined = knocking => joined?,
        never = turn_away(transport, &secret) => match never {},
    };
    if let Some(former) = healed.as_ref().filter(|former| former.cluster_id != cluster_id) {
        let path = config.data_dir.as_deref().unwrap_or(Path::new(""));
        let reason = format!("its cluster is {}, and {cluster_id} lets it in", former.cluster_id);
        return Err(mismatch(path, reason));
    }
    let identity = Identity {
        cluster_id,
        node_id,
        name: member.name.clone(),
        log_id: runtime::random_u128(),
        origin: identity::Origin::Join(nonce),
    };
    tracing::info!("joins cluster {cluster_id} under id {node_id}");
    let engine = engine.clone();
    let founded = runtime::blocking(move || match directory {
        Some(directory) => {
            make(&directory, &identity, &*engine)?;
            open(directory, identity, &*engine)
        }
        None => in_memory(identity, &*engine),
    })
    .await?;
    let doors = doors.named.into_iter().chain(founded.doors).collect();
    Ok(Founded { doors, ..founded })
}

/// Tells whoever comes that nobody is in yet. A fellow newcomer that knocks here goes on to its next
/// door at once, instead of waiting for an answer.
async fn turn_away(transport: &Arc<dyn Transport>, secret: &Secret) -> Infallible {
    let mut lobby = Lobby::new(VISITORS_MAX);
    while let Ok(channel) = transport.accept().await {
        let secret = secret.clone();
        lobby.admit(async move {
            let refusal = Refusal::new(RefusalCode::NotMember, "this replica itself asks to join");
            // Whatever becomes of it: nobody is let in.
            let _ = rpc::welcome(channel, &secret, TURN_AWAY_DEADLINE, |_| Err(refusal)).await;
        });
    }
    std::future::pending().await
}

fn prepare(config: &Config, fresh: u128) -> Result<(Option<DataDir>, u128), Error> {
    match &config.data_dir {
        None => Ok((None, fresh)),
        Some(path) => {
            let directory = DataDir::lock(path)?;
            let nonce = directory.nonce(fresh)?;
            Ok((Some(directory), nonce))
        }
    }
}

/// Where a newcomer knocks: where it was told to, and where members said that others are.
struct Doors {
    configured: Vec<String>,
    /// The latest first; kept between rounds, in case that those who said so are gone.
    named: VecDeque<String>,
    myself: String,
}

impl Doors {
    fn new<'a>(addresses: impl Iterator<Item = &'a String>, member: &Member) -> Self {
        let myself = member.peer_address.clone();
        let configured = addresses.filter(|address| **address != myself);
        Self { configured: configured.cloned().collect(), named: VecDeque::new(), myself }
    }

    fn name(&mut self, address: String) {
        if address == self.myself || self.configured.contains(&address) {
            return;
        }
        self.named.retain(|named| *named != address);
        self.named.push_front(address);
        self.named.truncate(DOORS_NAMED_MAX);
    }

    /// The first door, of all that are known now, that is not among the `tried`.
    fn next(&self, tried: &[String]) -> Option<String> {
        let mut all = self.configured.iter().chain(&self.named);
        all.find(|address| !tried.contains(address)).cloned()
    }
}

/// Asks at each door once, and next at the leader's when a door names it.
async fn knock_once(
    transport: &Arc<dyn Transport>,
    secret: &Secret,
    doors: &mut Doors,
    member: &Member,
    request: &Request,
) -> Result<(ClusterId, NodeId), String> {
    let mut reason = String::from("it knows no address to knock at");
    // A leader's; whatever is said at the doors behind it says less.
    let mut refusal = None;
    let mut tried: Vec<String> = Vec::new();
    let mut next = doors.next(&tried);
    while let Some(door) = next.take_if(|_| tried.len() < KNOCKS_MAX) {
        let mut leader = None;
        match ask(transport, secret, &door, member, request).await {
            Ok(Reply::Joined { cluster_id, id }) => return Ok((cluster_id, id)),
            Ok(Reply::Elsewhere { leader: named, members }) => {
                reason = match &named {
                    Some(leader) => format!("{door} names {leader} as the leader"),
                    None => format!("{door} knows no leader"),
                };
                members.into_iter().rev().for_each(|address| doors.name(address));
                leader = named.filter(|leader| *leader != door);
            }
            Ok(Reply::Refused { reason: words, .. }) => refusal = Some(format!("{door}: {words}")),
            Ok(Reply::Unavailable(words)) => reason = format!("{door}: {words}"),
            Ok(other) => reason = format!("{door}: an unexpected answer: {other:?}"),
            Err(error) => reason = error.to_string(),
        }
        tried.push(door);
        leader = leader.filter(|leader| !tried.contains(leader));
        next = leader.or_else(|| doors.next(&tried));
    }
    Err(refusal.unwrap_or(reason))
}

async fn ask(
    transport: &Arc<dyn Transport>,
    secret: &Secret,
    address: &str,
    member: &Member,
    request: &Request,
) -> Result<Reply, TransportError> {
    let hello = Hello::new(None, None, member.name.clone(), Lane::Control);
    peers::ask_stranger(transport, address, hello, secret, request, KNOCK_DEADLINE).await
}
