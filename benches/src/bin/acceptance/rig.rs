//! The launcher under trial: its process, its control API, and the nodes behind it.

use crate::http::{Answer, Http};
use crate::ledger::Ledger;
use crate::ports::{self, Ports};
use crate::{Args, Check, clocks, ensure};
use axon_benches::trial::{self, binary};
pub use axon_benches::trial::{PATIENCE, signal, until};
use hyper::{Method, StatusCode};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The nodes of a cluster of three.
pub const ALL: [&str; 3] = ["node1", "node2", "node3"];

/// How long a launcher may take to end after a signal: it stops its nodes one by one.
const STOP_PATIENCE: Duration = Duration::from_mins(1);

/// A node as the control API shows it.
#[derive(Debug, Clone)]
pub struct Node {
    pub id: String,
    pub port: u16,
    pub online: bool,
    pub leader: bool,
    pub pid: Option<u32>,
}

/// What a cluster runs in; by default in nothing special.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Settings of every node, as variables of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// The library that gives each node a wall clock of its own.
    pub clocks: Option<PathBuf>,
    /// How many nodes there are; three unless another number is given.
    pub nodes: Option<u8>,
}

/// The run: one launcher, its directory, and what its nodes must hold.
pub struct Rig {
    pub http: Http,
    pub ledger: Ledger,
    pub rng: StdRng,
    directory: TempDir,
    launcher_binary: PathBuf,
    server_binary: PathBuf,
    environment: Vec<(&'static str, String)>,
    nodes: u8,
    /// The name of the launcher's data root in the directory of the run.
    home: String,
    ports: Ports,
    launcher: Option<Child>,
    pids: BTreeSet<u32>,
}

impl Rig {
    /// Starts a launcher in an empty directory, and waits until all its nodes are ready
    /// and vote.
    pub async fn start(args: &Args, seed: u64, surroundings: Surroundings) -> Check<Self> {
        let mut rig = Self::prepare(args, seed, surroundings)?;
        let names: Vec<String> = (1..=rig.nodes).map(|number| format!("node{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let started = async {
            rig.start_and_wait(&names).await?;
            rig.wait_voters().await
        };
        if let Err(violation) = started.await {
            rig.end(false).await;
            return Err(violation);
        }
        Ok(rig)
    }

    /// Makes an empty directory and finds free ports; starts nothing.
    pub fn prepare(args: &Args, seed: u64, surroundings: Surroundings) -> Check<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut builder = tempfile::Builder::new();
        builder.prefix("axon-acceptance-");
        let directory = match &args.dir {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        };
        let mut rig = Self {
            http: Http::default(),
            ledger: Ledger::default(),
            ports: ports::find(&mut rng)?,
            rng,
            directory: directory.map_err(|error| format!("no directory for the run: {error}"))?,
            launcher_binary: binary(args.launcher.as_deref(), "axon-launcher")?,
            server_binary: binary(args.server.as_deref(), "axon-server")?,
            environment: surroundings.environment,
            nodes: surroundings.nodes.unwrap_or(3),
            home: "data".to_owned(),
            launcher: None,
            pids: BTreeSet::new(),
        };
        if let Some(library) = surroundings.clocks {
            for id in ALL {
                clocks::set(rig.root(), id, 0)?;
            }
            rig.server_binary = clocks::wrap(&library, &rig.server_binary, rig.root())?;
        }
        Ok(rig)
    }

    /// Starts a cluster, tries `point` on it, and ends it.
    pub async fn with<T>(
        args: &Args,
        seed: u64,
        surroundings: Surroundings,
        point: impl AsyncFnOnce(&mut Self) -> Check<T>,
    ) -> Check<T> {
        let mut rig = Self::start(args, seed, surroundings).await?;
        let outcome = point(&mut rig).await;
        rig.end(outcome.is_ok() && !args.keep).await;
        outcome
    }

    /// The directory of the run.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The launcher's data root.
    pub fn data(&self) -> PathBuf {
        self.root().join(&self.home)
    }

    /// The next launcher gets an empty data root of this name.
    pub fn move_to(&mut self, home: &str) {
        home.clone_into(&mut self.home);
    }

    /// The port of the launcher.
    pub fn control_port(&self) -> u16 {
        self.ports.control
    }

    /// The API port of a node that the launcher does not know of; its peer port is the next.
    pub fn guest_port(&self, number: u16) -> u16 {
        self.ports.base + 10 * (ports::NODES - 1 - number)
    }

    /// The program that runs a node.
    pub fn server_binary(&self) -> &Path {
        &self.server_binary
    }

    /// A command that runs the launcher's program on the data root, to be given arguments.
    pub fn launcher_command(&self) -> Command {
        let mut command = Command::new(&self.launcher_binary);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// What launcher and nodes have printed.
    pub fn output(&self) -> PathBuf {
        self.root().join("launcher.log")
    }

    /// Starts the launcher.
    pub fn start_launcher(&mut self) -> Check {
        let open = || -> std::io::Result<(File, File)> {
            let file = OpenOptions::new().create(true).append(true).open(self.output())?;
            Ok((file.try_clone()?, file))
        };
        let (stdout, stderr) = open().map_err(|error| format!("no output file: {error}"))?;
        let child = self
            .launcher_command()
            .args(self.launcher_args())
            .stdout(stdout)
            .stderr(stderr)
            .spawn();
        let path = self.launcher_binary.display();
        self.launcher = Some(child.map_err(|error| format!("cannot start {path}: {error}"))?);
        Ok(())
    }

    /// The command line of the launcher: the same for the first start and every other.
    pub fn launcher_args(&self) -> Vec<std::ffi::OsString> {
        let control = format!("127.0.0.1:{}", self.ports.control);
        let (nodes, base) = (self.nodes.to_string(), self.ports.base.to_string());
        let mut args = vec!["--data-dir".into(), self.data().into_os_string()];
        args.extend(["--server-bin".into(), self.server_binary.clone().into_os_string()]);
        args.extend(
            ["--nodes", &nodes, "--listen", &control, "--base-port", &base].map(Into::into),
        );
        args
    }

    /// Kills the launcher as a crash would; its nodes go on.
    pub async fn kill_launcher(&mut self) -> Check {
        let child = self.launcher.as_ref().ok_or("the launcher does not run")?;
        signal(child.id().ok_or("the launcher had ended by itself")?, Signal::KILL)?;
        self.launcher_ended(STOP_PATIENCE).await.map(drop)
    }

    /// Starts the launcher and waits until the nodes called `ids` are ready.
    pub async fn start_and_wait(&mut self, ids: &[&str]) -> Check {
        self.start_launcher()?;
        self.wait_ready(ids).await
    }

    /// Asks the launcher to end, as Ctrl-C does, and waits for it.
    pub async fn stop_launcher(&mut self) -> Check<ExitStatus> {
        let child = self.launcher.as_ref().ok_or("the launcher does not run")?;
        signal(child.id().ok_or("the launcher had ended by itself")?, Signal::TERM)?;
        self.launcher_ended(STOP_PATIENCE).await
    }

    /// Waits until the launcher has ended.
    pub async fn launcher_ended(&mut self, patience: Duration) -> Check<ExitStatus> {
        let child = self.launcher.as_mut().ok_or("the launcher does not run")?;
        let status = tokio::time::timeout(patience, child.wait())
            .await
            .map_err(|_| format!("the launcher has not ended after {} s", patience.as_secs()))?
            .map_err(|error| format!("the launcher cannot be waited for: {error}"))?;
        self.launcher = None;
        Ok(status)
    }

    /// The nodes that the launcher knows, by id.
    pub async fn nodes(&mut self) -> Check<Vec<Node>> {
        if let Some(ended) = self.launcher.as_mut().and_then(|child| child.try_wait().ok()?) {
            return Err(format!("the launcher ended by itself with {ended}"));
        }
        let map = self.http.get_json(self.ports.control, "/api/control/nodes").await?;
        let map = map.as_object().ok_or("GET /api/control/nodes is no map")?;
        let mut nodes = Vec::new();
        for (id, node) in map {
            nodes.push(parse(id, node).ok_or_else(|| format!("a node of another shape: {node}"))?);
        }
        nodes.sort_by(|one, other| one.id.cmp(&other.id));
        self.pids.extend(nodes.iter().filter_map(|node| node.pid));
        Ok(nodes)
    }

    /// The node called `id`.
    pub async fn node(&mut self, id: &str) -> Check<Node> {
        let found = self.nodes().await?.into_iter().find(|node| node.id == id);
        found.ok_or_else(|| format!("the launcher does not know {id}"))
    }

    /// The API ports of all nodes, in the order of their ids.
    pub async fn api_ports(&mut self) -> Check<Vec<u16>> {
        Ok(self.nodes().await?.iter().map(|node| node.port).collect())
    }

    /// The node that leads; waits for one.
    pub async fn leader(&mut self) -> Check<Node> {
        until("a leader shows in the control API", PATIENCE, async || {
            Ok(self.nodes().await?.into_iter().find(|node| node.leader && node.online))
        })
        .await
    }

    /// `POST /api/control/{action}/{id}`, which must succeed.
    pub async fn control(&self, action: &str, id: &str) -> Check {
        let answer = self.try_control(action, id).await?;
        ensure!(answer.status == StatusCode::OK, "{action} of {id}: {}", answer.brief());
        Ok(())
    }

    /// `POST /api/control/{action}/{id}`, whatever the answer.
    pub async fn try_control(&self, action: &str, id: &str) -> Check<Answer> {
        let path = format!("/api/control/{action}/{id}");
        Ok(self.http.post(self.ports.control, &path, None).await?)
    }

    /// `POST /api/v1/{path}` of the launcher, whatever the answer.
    pub async fn order(&self, path: &str) -> Check<Answer> {
        Ok(self.http.post(self.ports.control, &format!("/api/v1/{path}"), None).await?)
    }

    /// `POST /api/control/add`, whatever the answer.
    pub async fn add(&self, id: &str) -> Check<Answer> {
        let body = json!({ "node_id": id });
        Ok(self.http.post(self.ports.control, "/api/control/add", Some(&body)).await?)
    }

    /// Waits until the nodes called `ids` are online and say that they are ready.
    pub async fn wait_ready(&mut self, ids: &[&str]) -> Check {
        until(&format!("{} ready", ids.join(", ")), PATIENCE, async || {
            for id in ids {
                let node = self.node(id).await?;
                ensure!(node.online, "{id} is offline");
                if !self.is_ready(node.port).await {
                    return Err(format!("{id} is online, not ready"));
                }
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until all nodes know that all vote: before that, the first alone decides.
    pub async fn wait_voters(&mut self) -> Check {
        let wanted = usize::from(self.nodes);
        until("every node votes", PATIENCE, async || {
            for node in self.nodes().await? {
                let status = self.http.get_json(node.port, "/v1/status").await?;
                let voters = status["voters"].as_array().map_or(0, Vec::len);
                ensure!(voters == wanted, "{} knows {voters} voters", node.id);
            }
            Ok(Some(()))
        })
        .await
    }

    /// Reports whether the node at `port` says that it is ready.
    pub async fn is_ready(&self, port: u16) -> bool {
        let call = self.http.call(Method::GET, port, "/readyz", None, Duration::from_secs(3)).await;
        call.is_ok_and(|answer| answer.status == StatusCode::OK)
    }

    /// Waits until all online nodes have applied the same, and checks that each then holds exactly
    /// the same pairs, complete and genuine. Returns their number.
    pub async fn verify(&mut self) -> Check<usize> {
        let ledger = std::mem::take(&mut self.ledger);
        let verified = until("every node holds every pair", PATIENCE, async || {
            let nodes: Vec<_> =
                self.nodes().await?.into_iter().filter(|node| node.online).collect();
            ensure!(!nodes.is_empty(), "no node is online");
            let mut former: Option<(String, _)> = None;
            for node in nodes {
                let dump = self.http.dump(node.port).await?;
                ledger.check_complete(&dump).map_err(|what| format!("{} {what}", node.id))?;
                if let Some((id, pairs)) = &former {
                    ensure!(dump == *pairs, "{} and {id} hold different pairs", node.id);
                }
                former = Some((node.id, dump));
            }
            Ok(former.map(|(_, pairs)| pairs.len()))
        })
        .await;
        self.ledger = ledger;
        verified
    }

    /// Waits until all nodes have applied the same entry, and checks that their state hashes were
    /// equal wherever two of them were seen at the same entry.
    pub async fn settle(&mut self) -> Check<String> {
        trial::settle(async || {
            let mut statuses = Vec::new();
            for Node { id, port, online, .. } in self.nodes().await? {
                ensure!(online, "{id} is offline");
                statuses.push((id, self.http.get_json(port, "/v1/status").await?));
            }
            Ok(statuses)
        })
        .await
    }

    /// Ends everything the run has started; removes its directory when `remove` is set.
    pub async fn end(mut self, remove: bool) {
        if self.launcher.is_some() && self.stop_launcher().await.is_err() {
            eprintln!("the launcher did not end when asked to; it is killed");
            if let Some(child) = &mut self.launcher {
                let _ = child.kill().await;
            }
        }
        for pid in std::mem::take(&mut self.pids) {
            if self.is_ours(pid) {
                eprintln!("node process {pid} outlived the launcher; it is killed");
                let _ = signal(pid, Signal::KILL);
            }
        }
        if !remove {
            println!("kept: {}", self.directory.keep().display());
        }
    }

    /// Reports whether `pid` still is a node of this run: numbers are used again.
    fn is_ours(&self, pid: u32) -> bool {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let root = self.root().as_os_str().as_encoded_bytes();
        line.windows(root.len()).any(|window| window == root)
    }
}

fn parse(id: &str, node: &Value) -> Option<Node> {
    let online = match node["status"].as_str()? {
        "online" => true,
        "offline" => false,
        _ => return None,
    };
    Some(Node {
        id: (node["id"] == id).then(|| id.to_owned())?,
        port: u16::try_from(node["api_port"].as_u64()?).ok()?,
        online,
        leader: node["is_leader"].as_bool()?,
        pid: node["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()),
    })
}

/// Ends a node's process as a crash would.
pub fn kill(node: &Node) -> Check {
    signal(node.pid.ok_or_else(|| format!("{} shows no pid", node.id))?, Signal::KILL)
}
