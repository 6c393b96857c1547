//! A replica's life: open, join, serve, stop.
//!
//! Owns every task of the replica, and decides once when it ends: by a fault, by removal or by
//! [`Cluster::shutdown`]. What is on disk is opened by [`founding`]; a newcomer is returned while it
//! still knocks, and becomes a member when a leader lets it in. [`builder`](Builder) is how a host
//! says what it wants, and plugs in what is its own; what a replica tells of itself is in `observe`,
//! what is asked of its cluster in `administer`.

mod administer;
mod builder;
mod gossip;
mod observe;

pub use builder::Builder;

use crate::command::VOCABULARY;
use crate::compaction;
use crate::config::{Config, Origin, Promotion, RuntimeChoice};
use crate::discovery::Discovery;
use crate::error::Error;
use crate::founding::{self, Founded, Plugins};
use crate::headroom;
use crate::integrity;
use crate::membership;
use crate::raft::engine::{Engine, Parts};
use crate::raft::peers::Myself;
use crate::runtime::{self, simulation};
use crate::session::Session;
use crate::store::Store;
use crate::transport::Transport;
use crate::types::{ClusterId, Member};
use crate::watch::Hub;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

/// Threads of a replica's own runtime.
const RUNTIME_THREADS: usize = 2;
/// How soon what could not be answered yet is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
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
    /// // The directory and the address are free again: this opens what was closed.
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
