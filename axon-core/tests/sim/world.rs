//! What a run acts on: replicas by number, their disks, and the network between them.
//!
//! Replica `n` is called `node<n>` and listens on `n<n>`. Each of its lives is a simulated node of its
//! own: whatever an earlier life left behind dies with that life, and its disk is dead as well. A
//! number is used once: whoever lost its disk for good comes back as a new replica, under a new number.
//!
//! Small files that say who a replica is lie on the real file system, and survive every crash.

use crate::engine::SimEngine;
use crate::plan::Plan;
use crate::trace::Trace;
use crate::wire::Traced;
use axon_core::config::{Config, Origin, Promotion};
use axon_core::error::StorageError;
use axon_core::runtime::{self, simulation};
use axon_core::testing::faulty_disk::FaultyDisk;
use axon_core::transport::memory::{Cut, Faults, MemNetwork};
use axon_core::types::NodeId;
use axon_core::{Cluster, Error};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Lives that a replica may have.
const LIVES_MAX: u64 = 1_000;
/// How long the lock on a directory may outlive who held it.
const UNLOCK_TRIES: usize = 50;

/// What a run found wrong: the first thing that was.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which check found it.
    pub check: &'static str,
    pub text: String,
}

pub struct World {
    pub plan: Plan,
    pub trace: Trace,
    network: MemNetwork,
    replicas: Mutex<BTreeMap<u64, Replica>>,
    links: Mutex<Links>,
    finding: Mutex<Option<Finding>>,
    /// Changes of membership that were asked for and are not answered yet.
    pub changes: AtomicUsize,
    root: TempDir,
}

/// A replica, running or not.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Replica {
    pub config: Config,
    pub disk: FaultyDisk,
    /// The simulated node of its present or last life.
    pub life: u64,
    /// `None` while it is down.
    pub cluster: Option<Cluster>,
    pub paused: bool,
    /// It was told to stop, or its disk to fail: it is expected to halt.
    pub spoiled: bool,
    /// Its data were damaged: it may refuse to start.
    pub rotten: bool,
    /// Its id, once it is known.
    pub id: Option<NodeId>,
    /// It was asked to be removed, with or without success.
    pub leaving: bool,
    /// It will not run again.
    pub gone: bool,
}

/// A life of a replica that runs.
#[derive(Clone)]
pub struct Life {
    pub number: u64,
    pub node: u64,
    pub cluster: Cluster,
}

impl Life {
    /// Runs `future` as a task of the replica: it dies with it. `None`, when it has, or after
    /// `deadline`.
    pub async fn run<F>(&self, deadline: Duration, future: F) -> Option<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let (done, output) = oneshot::channel();
        let working = async move {
            let _ = done.send(future.await);
        };
        let starting = async move { runtime::spawn(working).abort_handle() };
        let task = simulation::on_node(self.node, starting).await;
        let output = tokio::time::timeout(deadline, output).await;
        task.abort();
        output.ok()?.ok()
    }
}

#[derive(Default)]
struct Links {
    base: Faults,
    cuts: BTreeMap<(u64, u64), Cut>,
}

pub fn address(number: u64) -> String {
    format!("n{number}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory in memory, where there is one: every start syncs some small files.
fn root() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

impl World {
    pub fn new(plan: Plan) -> Arc<Self> {
        let root = root();
        Arc::new(Self {
            plan,
            trace: Trace::new(&root.path().display().to_string()),
            network: MemNetwork::new(),
            replicas: Mutex::default(),
            links: Mutex::default(),
            finding: Mutex::default(),
            changes: AtomicUsize::new(0),
            root,
        })
    }

    /// Reports what is wrong; the first report stands.
    pub fn wrong(&self, check: &'static str, text: impl Into<String>) {
        let text = text.into();
        let mut finding = lock(&self.finding);
        if finding.is_none() {
            self.trace.note(format!("VIOLATION: {check}: {text}"));
            *finding = Some(Finding { check, text });
        }
    }

    pub fn finding(&self) -> Option<Finding> {
        lock(&self.finding).clone()
    }

    pub fn is_wrong(&self) -> bool {
        lock(&self.finding).is_some()
    }

    /// Makes a replica, which does not run yet.
    pub fn add(&self, number: u64, origin: Origin, promotion: Promotion) {
        let config = Config {
            data_dir: Some(self.root.path().join(address(number))),
            name: format!("node{number}"),
            listen: Some(address(number)),
            origin,
            promotion,
            ..self.plan.config.clone()
        };
        let replica = Replica {
            config,
            disk: FaultyDisk::new(),
            life: number * LIVES_MAX,
            cluster: None,
            paused: false,
            spoiled: false,
            rotten: false,
            id: (number == 1).then_some(NodeId(1)),
            leaving: false,
            gone: false,
        };
        lock(&self.replicas).insert(number, replica);
    }

    /// Does something with a replica.
    pub fn with<T>(&self, number: u64, act: impl FnOnce(&mut Replica) -> T) -> T {
        act(lock(&self.replicas).get_mut(&number).expect("there is such a replica"))
    }

    /// The numbers of the replicas of which `is` holds, in order.
    pub fn numbers(&self, is: impl Fn(&Replica) -> bool) -> Vec<u64> {
        let replicas = lock(&self.replicas);
        replicas.iter().filter(|(_, replica)| is(replica)).map(|(number, _)| *number).collect()
    }

    /// The replicas that run, paused ones among them.
    pub fn running(&self) -> Vec<Life> {
        let replicas = lock(&self.replicas);
        let lives = replicas.iter().filter_map(|(number, replica)| {
            let cluster = replica.cluster.clone()?;
            Some(Life { number: *number, node: replica.life, cluster })
        });
        lives.collect()
    }

    pub fn life(&self, number: u64) -> Option<Life> {
        self.running().into_iter().find(|life| life.number == number)
    }

    /// The replica that leads in the highest term.
    pub fn leader(&self) -> Option<u64> {
        let leads = |life: &Life| {
            let status = life.cluster.status().ok()?;
            status.raft_state.is_leader().then_some((status.term, life.number))
        };
        self.running().iter().filter_map(leads).max().map(|(_, number)| number)
    }

    /// Starts a replica on what its disk holds.
    pub async fn start(&self, number: u64) -> Result<(), Error> {
        let (config, disk, node) = self.with(number, |replica| {
            replica.life += 1;
            replica.spoiled = false;
            (replica.config.clone(), replica.disk.clone(), replica.life)
        });
        for _ in 0..UNLOCK_TRIES {
            let inner = self.network.transport(&address(number));
            let transport = Arc::new(Traced { inner, trace: self.trace.clone() });
            let engine = Arc::new(SimEngine::on(&disk, self.plan.wal));
            let builder = Cluster::builder().config(config.clone());
            let starting = builder.transport(transport).storage(engine).start();
            match simulation::on_node(node, starting).await {
                Ok(cluster) => {
                    self.trace.note(format!("n{number} runs"));
                    self.with(number, |replica| replica.cluster = Some(cluster));
                    return Ok(());
                }
                Err(Error::Storage(StorageError::Locked { .. })) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => {
                    simulation::kill(node);
                    return Err(error);
                }
            }
        }
        simulation::kill(node);
        Err(Error::NotReady { reason: "its directory stays locked".into() })
    }

    /// Ends a replica where it stands; `seed` decides what of its unsynced writes is found.
    pub async fn crash(&self, number: u64, seed: u64) {
        let (node, cluster) = self.with(number, |replica| {
            replica.disk = replica.disk.crash(seed);
            (replica.life, replica.cluster.take())
        });
        self.end(number, node, cluster).await;
    }

    /// Stops a replica politely.
    pub async fn stop(&self, number: u64) {
        let Some(life) = self.life(number) else { return };
        self.with(number, |replica| replica.spoiled = true);
        let cluster = life.cluster.clone();
        let stopping = async move { cluster.shutdown().await };
        let stopped = life.run(Duration::from_secs(30), stopping).await;
        self.trace.note(format!("n{number} stops: {}", stopped.is_some_and(|end| end.is_ok())));
        // The system goes on, and knows what was written, whether it was synced or not.
        let cluster = self.with(number, |replica| {
            replica.disk = replica.disk.fork();
            replica.cluster.take()
        });
        self.end(number, life.node, cluster).await;
    }

    async fn end(&self, number: u64, node: u64, cluster: Option<Cluster>) {
        self.with(number, |replica| replica.paused = false);
        simulation::resume(node);
        simulation::kill(node);
        simulation::on_node(node, async move { drop(cluster) }).await;
        // An aborted task lets go of what it holds when it would have run next.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        simulation::kill(node);
    }

    pub fn pause(&self, number: u64, paused: bool) {
        let node = self.with(number, |replica| {
            replica.paused = paused;
            replica.life
        });
        if paused { simulation::pause(node) } else { simulation::resume(node) }
    }

    /// Sets what is wrong with every link, beside cuts.
    pub fn weather(&self, base: Faults) {
        lock(&self.links).base = base;
        self.connect();
    }

    /// Cuts links, each in one direction, in place of those that were cut before.
    pub fn cut(&self, cuts: BTreeMap<(u64, u64), Cut>) {
        lock(&self.links).cuts = cuts;
        self.connect();
    }

    pub fn is_cut(&self) -> bool {
        !lock(&self.links).cuts.is_empty()
    }

    fn connect(&self) {
        let links = lock(&self.links);
        self.network.set_all_faults(links.base);
        for ((from, to), cut) in &links.cuts {
            let faults = Faults { cut: Some(*cut), ..links.base };
            self.network.set_faults(&address(*from), &address(*to), faults);
        }
    }
}
