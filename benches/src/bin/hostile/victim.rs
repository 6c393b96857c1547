//! Who is attacked, with what it must still have afterwards.

use crate::site::{Kind, Site};
use axon_benches::ensure;
use axon_benches::trial::http::{Call, Http};
use axon_benches::trial::ports::Ports;
use axon_benches::trial::server::Server;
use axon_benches::trial::{Check, rss_mib, until, v1};
use hyper::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long a victim may take to come up, and to be well again.
const PATIENCE: Duration = Duration::from_mins(2);
/// More than a node takes at rest, with room for what hostile clients may hold: bodies and pages in
/// flight (64 MiB each) above all.
const MEMORY_MIB_MAX: f64 = 320.0;

/// A process under attack, and those behind it.
pub struct Victim {
    pub site: Site,
    http: Http,
    process: Process,
    /// The processes that there were at first, by name.
    pids: BTreeMap<String, u32>,
    /// The pairs that must stay as they are: value and revision.
    kept: BTreeMap<String, (u64, Vec<u8>)>,
    term: u64,
}

enum Process {
    Server(Box<Server>),
    Launcher { child: Child, nodes: u16 },
}

impl Victim {
    /// Starts a single node.
    pub async fn server(binary: &Path, root: &Path, ports: Ports) -> Check<Self> {
        let mut server = Server::new(binary, root, "alone", ports.base);
        server.init().await?;
        server.start(&[])?;
        Self::prepared(Kind::Server, ports.base, Process::Server(Box::new(server))).await
    }

    /// Starts a launcher with three nodes.
    pub async fn launcher(binary: &Path, server: &Path, root: &Path, ports: Ports) -> Check<Self> {
        let log = OpenOptions::new().create(true).append(true).open(root.join("launcher.log"));
        let log = log.map_err(|error| format!("{}: {error}", root.display()))?;
        let child = Command::new(binary)
            .args(["--listen", &format!("127.0.0.1:{}", ports.control)])
            .args(["--base-port", &ports.base.to_string(), "--nodes", "3"])
            .arg("--data-dir")
            .arg(launched(root))
            .arg("--server-bin")
            .arg(server)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.map_err(|error| format!("{}: {error}", binary.display()))?;
        let process = Process::Launcher { child, nodes: ports.base };
        Self::prepared(Kind::Launcher, ports.control, process).await
    }

    async fn prepared(kind: Kind, port: u16, process: Process) -> Check<Self> {
        let site = Site { kind, port, cursor: String::new() };
        let (pids, kept) = (BTreeMap::new(), BTreeMap::new());
        let mut victim = Self { site, http: Http::default(), process, pids, kept, term: 0 };
        let prepared = victim.prepare().await;
        match prepared {
            Ok(()) => Ok(victim),
            Err(what) => {
                victim.end().await?;
                Err(what)
            }
        }
    }

    async fn prepare(&mut self) -> Check {
        until("it serves, with all its voters", PATIENCE, async || {
            let status = self.status().await?;
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            let wanted = if self.site.kind == Kind::Server { 1 } else { 3 };
            Ok((voters == wanted).then_some(()))
        })
        .await?;
        for number in 1..=20 {
            let key = format!("kept/{number}");
            let value = format!("value {number}").repeat(number).into_bytes();
            let call = Call::new(Method::PUT, self.site.port, self.path(&key)).body(value.clone());
            let answer = self.http.send(call).await?;
            ensure!(answer.status == StatusCode::CREATED, "a put: {}", answer.brief());
            self.kept.insert(key, (v1::etag(&answer)?, value));
        }
        let page = self.site.v1("kv?prefix=kept/&limit=2");
        let page = self.http.get_json(self.site.port, &page).await?;
        let cursor = page["next"].as_str().map(str::to_owned);
        self.site.cursor = cursor.ok_or("a page without a cursor for the next")?;
        self.term = self.status().await?["term"].as_u64().ok_or("a status without a term")?;
        self.pids = self.processes().await?;
        Ok(())
    }

    fn path(&self, key: &str) -> String {
        self.site.v1(&format!("kv/{key}"))
    }

    /// What the node, or the leader, says of itself.
    pub async fn status(&self) -> Check<Value> {
        self.http.get_json(self.site.port, &self.site.v1("status")).await
    }

    /// The peer port of a node.
    pub fn peer_port(&self) -> u16 {
        match &self.process {
            Process::Server(server) => server.port + 1,
            Process::Launcher { nodes, .. } => nodes + 1,
        }
    }

    async fn processes(&mut self) -> Check<BTreeMap<String, u32>> {
        let mut pids = BTreeMap::new();
        match &mut self.process {
            Process::Server(server) => {
                let pid = server.pid().ok_or("axon-server is gone")?;
                pids.insert("axon-server".to_owned(), pid);
            }
            Process::Launcher { child, .. } => {
                let running = matches!(child.try_wait(), Ok(None));
                let pid = child.id().filter(|_| running).ok_or("axon-launcher is gone")?;
                pids.insert("axon-launcher".to_owned(), pid);
                let nodes = self.http.get_json(self.site.port, "/api/control/nodes").await?;
                for (name, node) in nodes.as_object().ok_or("no map of nodes")? {
                    ensure!(node["status"] == "online", "{name} is {}", node["status"]);
                    let pid = node["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
                    pids.insert(name.clone(), pid.ok_or_else(|| format!("{name} has no pid"))?);
                }
            }
        }
        Ok(pids)
    }

    /// Checks that nothing has changed: the same processes, a single node in the same term, in bounded
    /// memory; what was stored is, and what must not be is not. Returns how much memory the largest process takes.
    pub async fn unharmed(&mut self) -> Check<f64> {
        let pids = self.processes().await?;
        ensure!(pids == self.pids, "the processes were {:?} and are {pids:?}", self.pids);
        // Of three nodes on a busy machine another may be elected, whoever attacks or not.
        if self.site.kind == Kind::Server {
            let term = self.status().await?["term"].clone();
            ensure!(term == self.term, "the term was {} and is {term}", self.term);
        }
        for (key, (revision, value)) in &self.kept {
            let call = Call::new(Method::GET, self.site.port, self.path(key));
            let answer = self.http.send(call).await?;
            let same = answer.body == *value && v1::etag(&answer) == Ok(*revision);
            ensure!(same, "{key} is {}", answer.brief());
        }
        let never = self.site.v1("kv?prefix=never/&keys_only=true");
        let never = self.http.get_json(self.site.port, &never).await?["items"].clone();
        ensure!(never == Value::Array(Vec::new()), "was done, though refused: {never}");
        let mut largest: f64 = 0.0;
        for (name, pid) in pids {
            let memory = rss_mib(pid)?;
            ensure!(memory <= MEMORY_MIB_MAX, "{name} takes {memory:.0} MiB");
            largest = largest.max(memory);
        }
        Ok(largest)
    }

    /// Ends it.
    pub async fn end(mut self) -> Check {
        match &mut self.process {
            Process::Server(server) => server.end(Signal::TERM).await,
            Process::Launcher { child, .. } => {
                let pid = child.id().ok_or("axon-launcher had ended by itself")?;
                axon_benches::trial::signal(pid, Signal::TERM)?;
                let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
                ensure!(ended.is_ok(), "axon-launcher has not ended");
                Ok(())
            }
        }
    }
}

/// Where the launcher has its data.
pub fn launched(root: &Path) -> PathBuf {
    root.join("launched")
}
