//! The desired cluster against the actual one.
//!
//! Hides *how N processes become and stay one cluster*. It relies on the manifest (what should be),
//! on one [`Node`] task a node (what is), and on `axon-server`: `init` makes a cluster once and
//! refuses ever after; `run` never makes one, and a node that is not in its cluster yet knocks at
//! the others for ever.
//!
//! # Invariants
//! * The cluster is made once, as [`formation`](crate::formation) tells; nothing is ever wiped
//!   except by [decommissioning](crate::decommission).
//! * What was asked for is saved before it is done, so a restart continues it.
//! * Orders for one node do not cross: each holds the node's `order` lock.
//!
//! What people ask for comes through [`actions`](crate::actions). It does not elect, promote or repair:
//! that is the cluster's own work.

use crate::directory::{DataDir, DirectoryError};
use crate::events::EventLog;
use crate::guard::Access;
use crate::live::Live;
use crate::manifest::{
    ClusterId, Decommission, Desired, Manifest, ManifestError, NodeName, NodeSpec,
};
use crate::node::{Node, Place, Plan, View, port_is_free};
use crate::operations::{Cancelled, OperationError, Operations};
use crate::probe::NodeClient;
use crate::process::Launch;
use crate::report::{NodeReport, report};
use crate::secret;
use crate::wire::Effect;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// What no node gets from the launcher's environment: settings of `axon-server` that can be meant for
/// one node only, and what the launcher decides for all (who may ask them, and what they share). Others,
/// such as `AXON_LOG`, reach all nodes.
pub(crate) const NOT_FOR_NODES: &[&str] = &[
    "AXON_NAME",
    "AXON_DATA_DIR",
    "AXON_CLUSTER_ID",
    "AXON_LISTEN",
    "AXON_PEER_LISTEN",
    "AXON_ADVERTISE",
    "AXON_PEER_ADVERTISE",
    "AXON_JOIN",
    "AXON_CONFIG",
    "AXON_SECRET_FILE",
    "AXON_TOKEN",
    "AXON_TOKEN_FILE",
    "AXON_INSECURE",
    "AXON_LAUNCHER_TOKEN",
];

/// How often the launcher looks after what is unfinished.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// What a supervisor is made of.
#[derive(Debug)]
pub struct Setup {
    /// The data directory, taken.
    pub data: DataDir,
    /// The program that runs a node, absolute.
    pub server: PathBuf,
    /// The API port of the first node of a new cluster.
    pub base_port: u16,
    /// The nodes of a new cluster.
    pub nodes: u8,
    /// Who may ask it.
    pub access: Access,
}

/// Why the cluster cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// What lies in the data directory does not fit together.
    #[error("{0}")]
    Inconsistent(String),
    /// The first node could not make the cluster.
    #[error(
        "{node} could not make the cluster; the next start tries again. axon-server {exit}: {said}"
    )]
    Init {
        /// The founder.
        node: NodeName,
        /// How `axon-server init` ended.
        exit: String,
        /// What it said.
        said: String,
    },
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such node.
    #[error("there is no node {0:?}")]
    UnknownNode(String),
    /// There is one already.
    #[error("there is a node {0} already")]
    Exists(NodeName),
    /// It would do harm, or contradicts what is under way. Asking again does not help by itself.
    #[error("{0}")]
    Refused(String),
    /// It would cost the cluster its quorum, or makes no sense as things are.
    #[error("{reason}")]
    Harm {
        /// Why, with the arithmetic.
        reason: String,
        /// What it would do to the quorum, as far as that is known.
        effect: Option<Effect>,
    },
    /// An operation stands in the way, or cannot be had.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// It was cancelled before it was done.
    #[error("it was cancelled")]
    Cancelled,
    /// It was not done, for now.
    #[error("{0}")]
    Unavailable(String),
    /// It may have been done; the launcher goes on trying.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// The node does not start.
    #[error("{name} does not start: {reason}")]
    StartFailed {
        /// The node.
        name: NodeName,
        /// What is wrong.
        reason: String,
    },
    /// Something is wrong with the launcher's own files.
    #[error("{0}")]
    Internal(String),
}

impl From<Cancelled> for ControlError {
    fn from(Cancelled: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<ManifestError> for ControlError {
    fn from(error: ManifestError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<DirectoryError> for ControlError {
    fn from(error: DirectoryError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Keeps a cluster running. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Supervisor(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) data: Arc<DataDir>,
    pub(crate) client: NodeClient,
    pub(crate) server: PathBuf,
    /// The manifest as it was last saved.
    manifest: watch::Sender<Manifest>,
    editing: Mutex<()>,
    nodes: RwLock<BTreeMap<String, Node>>,
    closing: AtomicBool,
    /// Who may ask.
    pub(crate) access: Access,
    /// What happened, and who asked for it.
    pub(crate) events: EventLog,
    /// What takes a while.
    pub(crate) operations: Operations,
    /// Held while it is decided that the cluster can do without a node, until that node is down.
    pub(crate) handling: Mutex<()>,
    /// What is remembered of the cluster for whoever watches it.
    pub(crate) live: Live,
}

impl Supervisor {
    /// Reads or makes the manifest and takes over nodes that run; starts nothing.
    ///
    /// Must be called within a runtime.
    pub fn open(setup: Setup) -> Result<Self, StartError> {
        let manifest = crate::formation::load_or_draw(&setup)?;
        secret::share(&setup.data, &manifest, setup.access.token())
            .map_err(StartError::Inconsistent)?;
        let unusable = |error| StartError::Inconsistent(format!("cannot open the events: {error}"));
        let events = EventLog::open(&setup.data.root().join("events")).map_err(unusable)?;
        let (manifest, _) = watch::channel(manifest);
        let supervisor = Self(Arc::new(Shared {
            data: Arc::new(setup.data),
            client: NodeClient::new().with_token(setup.access.token()),
            server: setup.server,
            manifest,
            editing: Mutex::default(),
            nodes: RwLock::default(),
            closing: AtomicBool::new(false),
            access: setup.access,
            events,
            operations: Operations::default(),
            handling: Mutex::default(),
            live: Live::default(),
        }));
        for spec in &supervisor.manifest().nodes {
            supervisor.supervise(spec);
        }
        Ok(supervisor)
    }

    /// Makes the cluster if it is not made yet, and starts what should run.
    pub async fn launch(&self) -> Result<(), StartError> {
        let ended = self.end_left_over_roll().await;
        ended.map_err(|error| StartError::Inconsistent(error.to_string()))?;
        crate::live::start(self);
        if self.manifest().formed {
            self.start_desired().await;
        } else {
            let made = self.form().await?;
            let supervisor = self.clone();
            tokio::spawn(async move { supervisor.gather(made).await });
        }
        let supervisor = self.clone();
        tokio::spawn(async move { supervisor.tend().await });
        Ok(())
    }

    /// The manifest as it was last saved.
    pub fn manifest(&self) -> Manifest {
        self.0.manifest.borrow().clone()
    }

    /// All nodes, as they are now.
    pub fn report(&self) -> BTreeMap<String, NodeReport> {
        let views: BTreeMap<String, View> =
            self.nodes().into_iter().map(|node| (node.name().to_string(), node.view())).collect();
        report(&self.0.manifest.borrow(), &views)
    }

    /// Stops all nodes, leaving what is desired as it is.
    pub async fn shutdown(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
        join_all(self.nodes().iter().map(|node| async move {
            node.close().await;
            node.until_stopped().await
        }))
        .await;
    }

    /// Kills all nodes.
    pub async fn kill(&self) {
        join_all(self.nodes().iter().map(|node| async move {
            node.kill().await;
            node.until(Duration::from_secs(5), |view| view.pid.is_none()).await
        }))
        .await;
    }

    /// Waits until a node leads and returns its name.
    pub async fn until_leader(&self) -> String {
        loop {
            if let Some(leader) = self.report().into_values().find(|node| node.is_leader) {
                return leader.id;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every node that should run is a voter that serves, and returns how many they are.
    pub async fn until_complete(&self) -> usize {
        loop {
            let wanted = self
                .report()
                .into_values()
                .filter(|node| node.desired == Desired::Running && node.decommission.is_none());
            let is_voter = |node: &NodeReport| node.ready && node.membership == Some("voter");
            let (voters, others): (Vec<_>, Vec<_>) = wanted.partition(is_voter);
            if others.is_empty() {
                return voters.len();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn check_open(&self) -> Result<(), ControlError> {
        if self.0.closing.load(Ordering::SeqCst) {
            return Err(ControlError::Unavailable("the launcher is stopping".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Result<Node, ControlError> {
        let nodes = self.0.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(name).cloned().ok_or_else(|| ControlError::UnknownNode(name.to_owned()))
    }

    pub(crate) fn nodes(&self) -> Vec<Node> {
        let nodes = self.0.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.values().cloned().collect()
    }

    pub(crate) fn forget(&self, name: &NodeName) {
        let mut nodes = self.0.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.remove(name.as_str());
    }

    /// Changes the manifest and saves it before anyone sees the change.
    pub(crate) async fn edit<T>(
        &self,
        change: impl FnOnce(&mut Manifest) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let _editing = self.0.editing.lock().await;
        let mut manifest = self.manifest();
        let before = manifest.clone();
        let out = change(&mut manifest)?;
        if manifest != before {
            let path = self.0.data.manifest();
            let saving =
                tokio::task::spawn_blocking(move || manifest.save(&path).map(|()| manifest));
            let saved =
                saving.await.map_err(|error| ControlError::Internal(error.to_string()))??;
            self.0.manifest.send_replace(saved);
        }
        Ok(out)
    }

    pub(crate) async fn desire(&self, node: &Node, desired: Desired) -> Result<(), ControlError> {
        let name = node.name();
        self.edit(|manifest| {
            let spec = manifest
                .node_mut(name)
                .ok_or_else(|| ControlError::UnknownNode(name.to_string()))?;
            if spec.decommission.is_some() {
                return Err(ControlError::Refused(format!("{name} is being deleted")));
            }
            spec.desired = desired;
            Ok(())
        })
        .await
    }

    pub(crate) fn supervise(&self, spec: &NodeSpec) -> Node {
        let place = Place {
            name: spec.name.clone(),
            cluster: self.0.manifest.borrow().cluster_id.clone(),
            api_port: spec.api_port,
            peer_port: spec.peer_port,
            replica: self.0.data.replica(&spec.name),
            log: self.0.data.log(&spec.name),
        };
        let shared = Arc::downgrade(&self.0);
        let tell = move |event| {
            // Weak: a node's task must not keep alive what owns it.
            if let Some(shared) = shared.upgrade() {
                shared.events.record(event);
            }
        };
        let client = self.0.client.clone();
        let node = Node::supervise(place, self.plan(spec), client, Box::new(tell));
        let mut nodes = self.0.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(spec.name.to_string(), node.clone());
        node
    }

    /// The line that starts a node: the same for its first start and every later one.
    fn plan(&self, spec: &NodeSpec) -> Plan {
        let (data, server) = (Arc::clone(&self.0.data), self.0.server.clone());
        let manifest = self.0.manifest.subscribe();
        let token = self.0.access.token().map(|_| data.token());
        let spec = spec.clone();
        Box::new(move || {
            let manifest = manifest.borrow();
            data.prepare(&spec.name, &manifest.cluster_id).map_err(|error| error.to_string())?;
            let mut args = server_args("run", &spec.name, &data);
            let address = |port: u16| OsString::from(format!("127.0.0.1:{port}"));
            args.extend(["--listen".into(), address(spec.api_port)]);
            args.extend(["--peer-listen".into(), address(spec.peer_port)]);
            args.extend([secret::OPTION.into(), data.secret().into()]);
            if let Some(token) = &token {
                args.extend(["--token-file".into(), token.into()]);
            }
            // Alone until the cluster is known to be made: see the essay above.
            let others = manifest.nodes.iter().filter(|_| manifest.formed);
            let others: Vec<String> = others
                .filter(|other| other.name != spec.name && other.decommission.is_none())
                .map(|other| format!("127.0.0.1:{}", other.peer_port))
                .collect();
            if !others.is_empty() {
                args.extend(["--join".into(), others.join(",").into()]);
            }
            if manifest.node(&spec.name).is_some_and(|spec| spec.learner) {
                args.extend(["--promotion".into(), "manual".into()]);
            }
            let log = data.log(&spec.name);
            Ok(Launch { program: server.clone(), args, unset: NOT_FOR_NODES, log })
        })
    }

    /// Starts what should run, in the order of the manifest, and stops what should not.
    pub(crate) async fn start_desired(&self) {
        for spec in self.manifest().nodes {
            let Ok(node) = self.find(spec.name.as_str()) else { continue };
            // Whoever holds it gives an order of today, which wins over what was left.
            let Ok(_order) = node.order.try_lock() else { continue };
            let manifest = self.manifest();
            let Some(spec) = manifest.node(node.name()) else { continue };
            match (spec.desired, spec.decommission) {
                // Its vote may be needed for its own removal; `tend` goes on with that.
                (Desired::Running, None | Some(Decommission::Removing)) => node.start().await,
                (Desired::Stopped, None) => node.stop().await,
                (_, Some(_)) => {}
            }
        }
    }

    /// Goes on with what is unfinished: ids not noted yet, decommissions cut short.
    async fn tend(&self) {
        let mut clock = tokio::time::interval(TEND_EVERY);
        loop {
            clock.tick().await;
            if self.check_open().is_err() {
                return;
            }
            if let Err(error) = self.note_ids().await {
                tracing::warn!(%error, "cannot save the ids of the nodes");
            }
            for spec in self.manifest().nodes.iter().filter(|spec| spec.decommission.is_some()) {
                if let Err(error) = self.resume_decommission(&spec.name).await {
                    tracing::warn!(node = %spec.name, %error, "its deletion is not finished yet");
                }
            }
        }
    }

    async fn note_ids(&self) -> Result<(), ControlError> {
        let views: Vec<_> = self.nodes().iter().map(|n| (n.name().clone(), n.view())).collect();
        self.edit(|manifest| {
            for (name, view) in &views {
                if let (Some(id), Some(spec)) = (view.node_id, manifest.node_mut(name)) {
                    spec.node_id = Some(id);
                }
            }
            Ok(())
        })
        .await
    }
}

pub(crate) fn server_args(command: &str, name: &NodeName, data: &DataDir) -> Vec<OsString> {
    let replica = data.replica(name).into_os_string();
    vec![command.into(), "--name".into(), name.as_str().into(), "--data-dir".into(), replica]
}

/// Reports whether both ports of a slot are free; says so when another process has one.
pub(crate) fn slot_is_free(api_port: u16) -> bool {
    let taken = [api_port, api_port + 1].into_iter().find(|port| !port_is_free(*port));
    if let Some(port) = taken {
        tracing::warn!("port {port} is taken by another process; trying the next ones");
    }
    taken.is_none()
}

impl Shared {
    /// The cluster.
    pub(crate) fn cluster_id(&self) -> ClusterId {
        self.manifest.borrow().cluster_id.clone()
    }
}
