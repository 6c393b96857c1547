//! A replica's life: open, join, serve, stop.
//!
//! Owns every task of the replica, and decides once when it ends: by a fault, by removal or by
//! [`Cluster::shutdown`]. What is on disk is opened by [`founding`]; a newcomer is returned while it
//! still knocks, and becomes a member when a leader lets it in. [`builder`](Builder) is how a host
//! says what it wants, and plugs in what is its own.

mod builder;
mod gossip;

pub use builder::Builder;

use crate::backup::Backup;
use crate::command::VOCABULARY;
use crate::compaction;
use crate::config::{Config, Origin, Promotion, RuntimeChoice};
use crate::discovery::Discovery;
use crate::error::{Error, ErrorOutcome};
use crate::events::Event;
use crate::founding::{self, Founded, Plugins};
use crate::headroom;
use crate::integrity;
use crate::membership;
use crate::raft::engine::{Engine, Parts};
use crate::raft::message::{Reply, Request};
use crate::raft::peers::Myself;
use crate::runtime::{self, simulation};
use crate::session::Session;
use crate::status::{MemberStatus, Membership, Metrics, SeenNode, Status};
use crate::store::Store;
use crate::transport::Transport;
use crate::types::{ClusterId, LogIndex, Member, NodeId};
use crate::watch::Hub;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

/// Threads of a replica's own runtime.
const RUNTIME_THREADS: usize = 2;
/// How soon a question that found no leader is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// How long whoever changed the membership waits until this replica has seen it.
const SEEN_DEADLINE: Duration = Duration::from_secs(1);
/// Entries behind which a replica is not ready.
const READY_LAG_MAX: u64 = 10_000;
/// How long a leader tries to hand over before it stops.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(3);

/// A replica of a cluster, running in this process. Cheap to clone.
///
/// When the last clone and the last [`Store`] are dropped, the replica stops as after a crash:
/// nothing acknowledged is lost. [`shutdown`](Self::shutdown) is the polite way.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

/// What a cluster's handles and stores share.
pub(crate) struct Inner {
    config: Arc<Config>,
    session: Session,
    phase: watch::Sender<Phase>,
    /// Where the replica's tasks run.
    handle: Handle,
    own: Mutex<Option<Runtime>>,
}

/// Where a replica is in its life.
#[derive(Clone)]
enum Phase {
    /// It knocks; why it was not let in yet.
    Joining(String),
    Running(Arc<Running>),
    Stopped(Error),
}

struct Running {
    engine: Arc<Engine>,
    name: String,
    /// What the membership is to say of it.
    member: Member,
    hub: Arc<Hub>,
    discovery: Arc<Discovery>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would block; its tasks end where they stand.
        if let Some(own) = self.own.get_mut().ok().and_then(Option::take) {
            own.shutdown_background();
        } else if let Phase::Running(running) = &*self.phase.borrow() {
            let engine = running.engine.clone();
            runtime::spawn_on(&self.handle, async move { engine.stop().await });
        }
    }
}

impl Inner {
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The running engine, or why there is none that may be used.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>, Error> {
        let engine = self.running()?.engine.clone();
        engine.soundness.doubted().map_or(Ok(engine), Err)
    }

    /// The hub of the watchers, or why there is none.
    pub(crate) fn hub(&self) -> Result<Arc<Hub>, Error> {
        Ok(self.running()?.hub.clone())
    }

    fn running(&self) -> Result<Arc<Running>, Error> {
        match &*self.phase.borrow() {
            Phase::Running(running) => Ok(running.clone()),
            Phase::Joining(reason) => Err(Error::NotReady { reason: reason.clone() }),
            Phase::Stopped(error) => Err(error.clone()),
        }
    }

    /// Ends the replica's life; the first cause stands.
    fn end(&self, cause: &Error) {
        self.phase.send_if_modified(|phase| {
            let running = !matches!(phase, Phase::Stopped(_));
            if running {
                *phase = Phase::Stopped(cause.clone());
            }
            running
        });
    }
}

impl Cluster {
    /// Opens a durable single replica without a network, and makes its cluster the first time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// cluster.store().put("greeting", "hello").await?;
    /// cluster.shutdown().await
    /// # }
    /// ```
    pub async fn open(data_dir: impl AsRef<Path>) -> Result<Self, Error> {
        let cluster = Self::builder().data_dir(data_dir.as_ref()).init().start().await?;
        cluster.wait_ready(cluster.inner.config.request_timeout).await?;
        Ok(cluster)
    }

    /// Makes a new cluster in the data directory of `config`, without starting it. The next
    /// [`start`](Self::start) on it brings it to life.
    ///
    /// # Errors
    /// When the directory already holds a replica; nothing is changed then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// use axon_core::config::{Config, Origin};
    /// use axon_core::Cluster;
    ///
    /// let config = Config { data_dir: Some(dir.path().into()), ..Config::default() };
    /// let id = Cluster::init(Config { origin: Origin::Init(None), ..config.clone() }).await?;
    ///
    /// let cluster = Cluster::start(config).await?;
    /// assert_eq!(cluster.status()?.cluster_id, id);
    /// # Ok(()) }
    /// ```
    pub async fn init(config: Config) -> Result<ClusterId, Error> {
        config.validate()?;
        runtime::blocking(move || founding::init(&config)).await
    }

    /// Opens a replica with `config`. A joining one is returned while it still knocks: its calls
    /// answer [`Error::NotReady`] until it is a member (see [`wait_ready`](Self::wait_ready)).
    ///
    /// # Errors
    /// A setting, an address or a data directory that cannot be used. Nothing is changed then.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// use axon_core::config::{Config, Origin};
    /// use axon_core::Cluster;
    ///
    /// let config = Config {
    ///     name: "orders-1".into(),
    ///     data_dir: Some(dir.path().into()),
    ///     origin: Origin::Init(None),
    ///     ..Config::default()
    /// };
    /// let cluster = Cluster::start(config).await?;
    /// cluster.wait_ready(std::time::Duration::from_secs(30)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn start(config: Config) -> Result<Self, Error> {
        Self::builder().config(config).start().await
    }

    /// Opens a replica with `config`, and with `plugins` in place of what Axon brings.
    async fn launch(config: Config, plugins: Plugins) -> Result<Self, Error> {
        config.validate()?;
        let own = matches!(config.runtime, RuntimeChoice::Own) && !simulation::active();
        let own = own.then(own_runtime).transpose()?;
        let handle = own.as_ref().map_or_else(Handle::current, |own| own.handle().clone());
        let (phase, _) = watch::channel(Phase::Joining("it starts".into()));
        let (config, own) = (Arc::new(config), Mutex::new(own));
        let inner = Arc::new(Inner { config, session: Session::default(), phase, handle, own });
        let starting = inner.clone();
        inner.run(async move { begin(&starting, plugins).await }).await?;
        Ok(Self { inner })
    }

    /// Returns the store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// let store = cluster.store();
    /// store.put("greeting", "hello").await?;
    /// # Ok(()) }
    /// ```
    pub fn store(&self) -> Store {
        Store::new(self.inner.clone(), self.inner.config.request_timeout)
    }

    /// Returns how the replica sees itself and its cluster now.
    ///
    /// # Errors
    /// [`Error::NotReady`] while it has no identity yet, and why it has stopped once it has.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// let status = cluster.status()?;
    /// assert!(status.raft_state.is_leader());
    /// assert_eq!(status.voters, [status.node_id]);
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Result<Status, Error> {
        let running = self.inner.running()?;
        let engine = &running.engine;
        let metrics = engine.metrics();
        let members = engine.members();
        let view = engine.reader.view();
        let named = |voting: bool| {
            let named = members.iter().filter(move |(_, _, voter)| *voter == voting);
            named.map(|(id, ..)| *id).collect::<Vec<_>>()
        };
        let (voters, learners) = (named(true), named(false));
        let id = engine.id();
        let membership = match () {
            () if voters.contains(&id) => Membership::Voter,
            () if learners.contains(&id) => Membership::Learner,
            () => Membership::None,
        };
        let log_metrics = engine.log_metrics();
        let standing = engine.standing();
        Ok(Status {
            cluster_id: engine.peers.myself().cluster_id,
            node_id: id,
            name: running.name.clone(),
            raft_state: engine.raft_state(),
            membership,
            // Raft keeps the last leader in mind; without a quorum nobody leads.
            leader: engine.leader().filter(|_| !engine.peers.quorum().lost),
            term: metrics.current_term,
            revision: view.revision(),
            compacted_revision: view.compacted_revision(),
            last_log_index: engine.last_log_index(),
            committed_index: LogIndex(metrics.local_committed.map_or(0, |id| id.index)),
            applied_index: view.position().index,
            checkpoint_index: engine.reader.checkpoint_position().index,
            purged_index: standing.purged_index,
            vote: standing.vote,
            quorum_ack_age: standing.quorum_ack_age,
            joint: standing.joint,
            quorum: standing.quorum,
            peers: standing.peers,
            voters,
            learners,
            state_hash: view.totals().hash,
            integrity: engine.integrity(),
            sync_p99: Duration::from_micros(log_metrics.sync_p99_micros),
            disk: engine.disk_status(),
            halted: engine.fault().map(|fault| fault.to_string()),
        })
    }

    /// Returns the counters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// let before = cluster.metrics().log.appended_entries;
    /// cluster.store().put("greeting", "hello").await?;
    /// assert!(cluster.metrics().log.appended_entries > before);
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        if let Ok(running) = self.inner.running() {
            running.engine.count(&mut metrics);
            let watches = running.hub.metrics();
            metrics.watchers = watches.watchers;
            metrics.watch_events = watches.events;
            metrics.watch_resyncs = watches.resyncs;
        }
        metrics
    }

    /// Returns the members, with who is alive as seen from here.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// for member in cluster.members()? {
    ///     println!("{} at {}, alive: {}", member.member.name, member.member.peer_address, member.alive);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn members(&self) -> Result<Vec<MemberStatus>, Error> {
        let running = self.inner.running()?;
        let engine = &running.engine;
        let leader = engine.leader().map(|(id, _)| id);
        let members = engine.members().into_iter();
        Ok(members
            .map(|(id, member, voter)| engine.member_status(leader, id, member, voter))
            .collect())
    }

    /// Returns the nodes that this replica knows to be, or to have been, there: by gossip, so with or
    /// without a leader. By id; newcomers that knocked here and have none yet come last.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// for node in cluster.seen()? {
    ///     println!("{} at {}, alive: {}", node.name, node.peer_address, node.alive);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn seen(&self) -> Result<Vec<SeenNode>, Error> {
        let running = self.inner.running()?;
        Ok(gossip::seen(&running.engine, &running.discovery))
    }

    /// Returns what happened to this replica after event number `after` of this start, oldest
    /// first; the latest 1,024 are kept. The second value tells starts apart.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// let (events, _boot) = cluster.events(0)?;
    /// for event in events {
    ///     println!("{} {}: {}", event.seq, event.kind.as_str(), event.text);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn events(&self, after: u64) -> Result<(Vec<Event>, u64), Error> {
        let running = self.inner.running()?;
        let events = &running.engine.events;
        Ok((events.after(after), events.boot()))
    }

    /// Waits until the replica is a member, knows a leader and has caught up with it.
    ///
    /// # Errors
    /// After `timeout`, what it still waits for; and why it has stopped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// cluster.wait_ready(std::time::Duration::from_secs(30)).await?;
    /// assert!(cluster.readiness().is_ok());
    /// # Ok(()) }
    /// ```
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), Error> {
        let deadline = runtime::now() + timeout;
        loop {
            let reason = match self.readiness() {
                Ok(()) => {
                    let engine = self.inner.engine()?;
                    let left = deadline.saturating_duration_since(runtime::now());
                    return engine.linearize(left).await.map(drop);
                }
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => error,
            };
            if runtime::now() >= deadline {
                return Err(reason);
            }
            tokio::time::sleep(RETRY_INTERVAL.min(timeout)).await;
        }
    }

    /// Reports why the replica is not ready to serve linearizable reads now; `Ok` when it is.
    ///
    /// # Errors
    /// The reason.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// if let Err(reason) = cluster.readiness() {
    ///     println!("take this process out of the load balancer: {reason}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn readiness(&self) -> Result<(), Error> {
        let running = self.inner.running()?;
        let engine = &running.engine;
        if let Some(fault) = engine.fault().or_else(|| engine.soundness.doubted()) {
            return Err(fault);
        }
        let status = self.status()?;
        // A leader that is cut off, and a follower that heard of one, know a leader all the same.
        if status.leader.is_none() || engine.peers.quorum().lost {
            return Err(engine.route.unavailable(runtime::now(), ErrorOutcome::NotApplied));
        }
        if status.membership == Membership::None {
            return Err(Error::NotReady { reason: "it is not a member yet".into() });
        }
        if engine.route.room.now().pauses {
            return Err(Engine::paused());
        }
        // Whoever is told of it now would be told where it was.
        let told = engine.members().into_iter().find(|(id, ..)| *id == status.node_id);
        if told.is_some_and(|(_, told, _)| told != running.member) {
            return Err(Error::NotReady {
                reason: "the others do not know its address yet".into(),
            });
        }
        let lag = status.committed_index.0.saturating_sub(status.applied_index.0);
        if lag > READY_LAG_MAX {
            return Err(Error::NotReady { reason: format!("it is {lag} entries behind") });
        }
        Ok(())
    }

    /// Makes a learner a voter. Any replica passes it to the leader.
    ///
    /// # Errors
    /// [`Error::Conflict`] with what stands in its way; [`Error::UnknownMember`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # use axon_core::{Cluster, config::Promotion, transport::memory::MemNetwork};
    /// # use std::{sync::Arc, time::Duration};
    /// # let network = MemNetwork::new();
    /// # let one = Cluster::builder().name("one").init().transport(Arc::new(network.transport("one")));
    /// # let one = one.start().await?;
    /// # let two = Cluster::builder().name("two").join(["one"]).transport(Arc::new(network.transport("two")));
    /// # let two = two.settings(|config| config.promotion = Promotion::Manual).start().await?;
    /// # two.wait_ready(Duration::from_secs(30)).await?;
    /// use axon_core::status::Membership;
    ///
    /// let id = two.status()?.node_id;
    /// one.promote(id).await?;
    /// let voter = |id| one.members().is_ok_and(|members| {
    ///     members.iter().any(|m| m.id == id && m.membership == Membership::Voter)
    /// });
    /// assert!(voter(id));
    /// # Ok(()) }
    /// ```
    pub async fn promote(&self, id: NodeId) -> Result<(), Error> {
        self.known(id).await?;
        self.ask_leader(Request::Promote(id)).await.map(drop)
    }

    /// Takes a member out of the membership. Any replica passes it to the leader.
    ///
    /// # Errors
    /// [`Error::WouldLoseQuorum`] with the arithmetic; [`Error::UnknownMember`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # use axon_core::{Cluster, config::Promotion, transport::memory::MemNetwork};
    /// # use std::{sync::Arc, time::Duration};
    /// # let network = MemNetwork::new();
    /// # let one = Cluster::builder().name("one").init().transport(Arc::new(network.transport("one")));
    /// # let one = one.start().await?;
    /// # let two = Cluster::builder().name("two").join(["one"]).transport(Arc::new(network.transport("two")));
    /// # let two = two.settings(|config| config.promotion = Promotion::Manual).start().await?;
    /// # two.wait_ready(Duration::from_secs(30)).await?;
    /// let id = two.status()?.node_id;
    /// one.remove(id).await?;
    /// assert_eq!(one.members()?.len(), 1);
    /// assert_eq!(two.stopped().await, axon_core::Error::Removed { id });
    /// # Ok(()) }
    /// ```
    pub async fn remove(&self, id: NodeId) -> Result<(), Error> {
        self.known(id).await?;
        self.ask_leader(Request::Remove(id)).await.map(drop)
    }

    /// Hands leadership to `to`, or to the voter with the shortest lag. Returns the new leader.
    ///
    /// # Errors
    /// [`Error::Conflict`] when there is nobody to hand it to.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # use axon_core::{Cluster, config::Promotion, transport::memory::MemNetwork};
    /// # use std::{sync::Arc, time::Duration};
    /// # let network = MemNetwork::new();
    /// # let one = Cluster::builder().name("one").init().transport(Arc::new(network.transport("one")));
    /// # let one = one.start().await?;
    /// # let two = Cluster::builder().name("two").join(["one"]).transport(Arc::new(network.transport("two")));
    /// # let two = two.settings(|config| config.promotion = Promotion::Manual).start().await?;
    /// # two.wait_ready(Duration::from_secs(30)).await?;
    /// # one.promote(two.status()?.node_id).await?;
    /// // To the voter with the shortest lag, of those that answer.
    /// let leader = one.transfer_leadership(None).await?;
    /// assert_eq!(leader, two.status()?.node_id);
    /// # Ok(()) }
    /// ```
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, Error> {
        if let Some(to) = to {
            self.known(to).await?;
        }
        match self.ask_leader(Request::Transfer(to)).await? {
            Reply::Leader(leader) => Ok(leader),
            other => Err(Error::Conflict { reason: format!("an unexpected answer: {other:?}") }),
        }
    }

    /// Writes a checkpoint of everything applied so far; returns its place in the log.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when the disk may have no room for it. A disk that fails halts the
    /// replica.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// cluster.store().put("greeting", "hello").await?;
    /// let index = cluster.checkpoint().await?;
    /// assert!(cluster.status()?.checkpoint_index >= index);
    /// # Ok(()) }
    /// ```
    pub async fn checkpoint(&self) -> Result<LogIndex, Error> {
        let engine = self.inner.engine()?;
        if !engine.checkpointer.has_room() {
            return Err(Error::DiskFull);
        }
        let position =
            self.inner.run(async move { engine.checkpointer.checkpoint_now().await }).await?;
        Ok(position.index)
    }

    /// Begins a backup: the whole store at one revision, with every write that was acknowledged
    /// before. Writes go on meanwhile.
    ///
    /// # Errors
    /// As for a linearizable read, and a disk that fails.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// use std::io::Write;
    ///
    /// let written = cluster.store().put("greeting", "hello").await?;
    /// let mut backup = cluster.backup().await?;
    /// assert!(backup.revision() >= written.revision);
    /// let mut file = std::fs::File::create(dir.path().join("backup")).expect("a file");
    /// while let Some(part) = backup.next().await? {
    ///     file.write_all(&part).expect("space");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn backup(&self) -> Result<Backup, Error> {
        let engine = self.inner.engine()?;
        let timeout = self.inner.config.request_timeout;
        self.inner.run(async move { Backup::begin(&engine, timeout).await }).await
    }

    /// Waits until the replica has stopped for good, and returns why: halted by a fault
    /// ([`Error::Halted`]), removed ([`Error::Removed`]) or shut down ([`Error::ShutDown`]).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// cluster.shutdown().await?;
    /// assert_eq!(cluster.stopped().await, axon_core::Error::ShutDown);
    /// # Ok(()) }
    /// ```
    pub async fn stopped(&self) -> Error {
        let mut phase = self.inner.phase.subscribe();
        match phase.wait_for(|phase| matches!(phase, Phase::Stopped(_))).await.as_deref() {
            Ok(Phase::Stopped(error)) => error.clone(),
            _ => Error::ShutDown,
        }
    }

    /// Hands leadership over, finishes what is in flight, writes a checkpoint and stops.
    ///
    /// # Errors
    /// When the last checkpoint could not be written; nothing acknowledged is lost by that.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// cluster.shutdown().await?;
    /// // The directory is free again: this opens what was closed.
    /// let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(&self) -> Result<(), Error> {
        let running = self.inner.running();
        let stopped = match running {
            Ok(running) => {
                let engine = running.engine.clone();
                let retiring = async move {
                    if engine.leads() && engine.members().len() > 1 {
                        let handed = engine.hand_over("it stops");
                        let _ = tokio::time::timeout(HAND_OVER_DEADLINE, handed).await;
                    }
                    engine.stop().await
                };
                self.inner.run(retiring).await
            }
            Err(_) => Ok(()),
        };
        self.inner.end(&Error::ShutDown);
        stopped
    }

    /// Refuses an id that no member has. A replica that lags asks before it says so.
    async fn known(&self, id: NodeId) -> Result<(), Error> {
        let engine = self.inner.engine()?;
        let looking = async move {
            let known = || engine.members().iter().any(|(known, ..)| *known == id);
            if known() || (seen(&engine).await && known()) {
                return Ok(());
            }
            Err(Error::UnknownMember { member: id.to_string() })
        };
        self.inner.run(looking).await
    }

    /// Asks the leader until it answers or the time is up.
    async fn ask_leader(&self, request: Request) -> Result<Reply, Error> {
        let engine = self.inner.engine()?;
        let timeout = self.inner.config.request_timeout * 2;
        let begun = runtime::now();
        let asking = async move {
            loop {
                let reply = membership::ask_leader(&engine, &request, &[]).await;
                let late = begun.elapsed() >= timeout;
                match reply {
                    Reply::WouldLoseQuorum { reason, alive, needed, voters } => {
                        return Err(Error::WouldLoseQuorum { reason, alive, needed, voters });
                    }
                    Reply::Refused { reason } => return Err(Error::Conflict { reason }),
                    Reply::Unavailable(reason) if late => return Err(Error::Conflict { reason }),
                    Reply::Unavailable(_) | Reply::NotLeader(_) if !late => {
                        if engine.peers.quorum().lost {
                            return Err(engine.route.unavailable(begun, ErrorOutcome::NotApplied));
                        }
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                    Reply::NotLeader(_) => {
                        return Err(engine.route.unavailable(begun, ErrorOutcome::NotApplied));
                    }
                    Reply::Done => {
                        // Whoever asks next is told of the change, here too. A replica that was
                        // removed hears of nothing any more.
                        seen(&engine).await;
                        return Ok(Reply::Done);
                    }
                    reply => return Ok(reply),
                }
            }
        };
        self.inner.run(asking).await
    }
}

impl Inner {
    /// Runs `future` on the replica's runtime.
    async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, impl Into<Error> + Send + 'static>> + Send + 'static,
    ) -> Result<T, Error> {
        let task = runtime::spawn_on(&self.handle, future);
        match task.await {
            Ok(result) => result.map_err(Into::into),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(Error::ShutDown),
        }
    }
}

/// Waits until this replica tells of everything that was done before the call; not for long.
async fn seen(engine: &Engine) -> bool {
    let told = async {
        let index = engine.linearize(SEEN_DEADLINE).await.ok()?;
        engine.until_applied(index).await;
        Some(())
    };
    tokio::time::timeout(SEEN_DEADLINE, told).await.ok().flatten().is_some()
}

fn own_runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("axon")
        .enable_all()
        .build()
        .map_err(|error| Error::Halted { cause: format!("cannot start threads: {error}") })
}

/// Opens what there is, or begins to knock.
async fn begin(inner: &Arc<Inner>, plugins: Plugins) -> Result<(), Error> {
    let config = inner.config.clone();
    let storage = founding::engine(&config, plugins.storage);
    founding::check_before_touching(&config, &*storage)?;
    let alone = plugins.transport.is_none() && config.listen.is_none();
    let transport = founding::transport(&config, plugins.transport).await?;
    // Without a network there is no address, and nobody is to be sent to one.
    let own = || if alone { String::new() } else { transport.local_address() };
    let peer_address = config.advertise.clone().unwrap_or_else(own);
    let member = Member {
        name: config.name.clone(),
        address: config.api_address.clone(),
        peer_address,
        vocabulary: VOCABULARY,
    };
    let (opening, engine) = (config.clone(), storage.clone());
    let found = runtime::blocking(move || founding::open_or_make(&opening, &*engine)).await?;
    if let Some(founded) = found {
        return run(inner, founded, transport, member).await;
    }
    let weak = Arc::downgrade(inner);
    runtime::spawn(async move {
        let founded = founding::knock(&config, &storage, &transport, &member, |reason| {
            let Some(inner) = weak.upgrade() else { return false };
            inner.phase.send_modify(|phase| {
                if let Phase::Joining(known) = phase {
                    *known = reason;
                }
            });
            matches!(*inner.phase.borrow(), Phase::Joining(_))
        });
        let founded = founded.await;
        let Some(inner) = weak.upgrade() else { return };
        let started = match founded {
            Ok(founded) => run(&inner, founded, transport, member).await,
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            inner.end(&error);
        }
    });
    Ok(())
}

/// Starts the engine of a replica that has an identity, and its tasks.
async fn run(
    inner: &Arc<Inner>,
    founded: Founded,
    transport: Arc<dyn Transport>,
    member: Member,
) -> Result<(), Error> {
    let Founded { identity, storage, directory, reserve, doors, healed } = founded;
    let myself = Myself {
        cluster_id: identity.cluster_id,
        id: identity.node_id,
        name: identity.name.clone(),
        secret: inner.config.proven_secret(),
    };
    let config = inner.config.clone();
    let parts = Parts { myself, storage, transport, config: config.clone() };
    let (engine, changes) = Engine::start(parts).await?;
    if identity.makes_cluster() && engine.is_pristine() {
        engine.initialize(member.clone()).await?;
    }
    engine.keep(membership::serve(engine.clone(), changes, member.clone()));
    engine.keep(compaction::run(engine.clone(), config.history));
    let directory = directory.map(Arc::new);
    integrity::start(&engine, &config, healed, directory.as_ref());
    engine.keep(headroom::watch(engine.clone(), reserve, config.clone()));
    engine.keep(headroom::yield_leadership(engine.clone(), config.sync_p99_max));
    let promotes = config.promotion == Promotion::Auto;
    let knock_at = match &config.origin {
        Origin::Join(addresses) => addresses.iter().cloned().chain(doors).collect(),
        _ => doors,
    };
    let discovery = gossip::start(&engine, &config, &member, knock_at.clone());
    let announced =
        membership::announce(engine.clone(), identity.nonce(), member.clone(), promotes, knock_at);
    let hub = Hub::new(engine.reader.clone());
    engine.keep(hub.clone().run());
    let (weak, told) = (Arc::downgrade(inner), hub.clone());
    let (watched, told_of) = (engine.clone(), discovery.clone());
    engine.keep(async move {
        // The lock on the directory is held for as long as anything may write to it.
        let cause = tokio::select! {
            fault = watched.faulted() => fault,
            id = announced => Error::Removed { id },
            condemned = integrity::condemned(&watched) => {
                integrity::quarantine(&watched, directory.clone(), condemned).await
            }
        };
        told.close(&cause);
        told_of.retire();
        drop(told);
        if let Some(inner) = weak.upgrade() {
            inner.end(&cause);
        }
        drop(weak);
        std::future::pending::<()>().await;
        drop(directory);
    });
    let running = Running { engine, name: identity.name, member, hub, discovery };
    let _ = inner.phase.send_replace(Phase::Running(Arc::new(running)));
    Ok(())
}

#[cfg(test)]
mod tests;
