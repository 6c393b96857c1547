//! Three real `axon-server` processes, and what can be done to them.

use crate::network::Network;
use axon_benches::ensure;
use axon_benches::trial::http::{Call, Http};
use axon_benches::trial::ledger::Ledger;
use axon_benches::trial::mount::Mount;
use axon_benches::trial::ports::{self, Ports};
use axon_benches::trial::server::Server;
use axon_benches::trial::{Check, PATIENCE, clocks, settle, until};
use hyper::{Method, StatusCode};
use rand::rngs::StdRng;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

pub const NODES: usize = 3;
/// The node whose disk can be filled.
pub const SMALL: usize = 2;
/// Room for the log's segments, and not much more.
const DISK_MIB: usize = 512;

/// What a cluster runs in.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// In a network of its own, of this number.
    pub network: Option<u8>,
    /// The library that gives each node a wall clock of its own.
    pub clocks: Option<PathBuf>,
    /// One node has a small disk.
    pub small_disk: bool,
    /// More arguments of every node.
    pub more: Vec<String>,
}

/// Where a node's API is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub host: IpAddr,
    pub port: u16,
}

impl Place {
    /// `call`, made there.
    pub fn at(self, call: Call) -> Call {
        Call { host: self.host, port: self.port, ..call }
    }
}

/// The cluster. Dropped, its processes are killed before its disk and network go.
pub struct Cluster {
    pub http: Http,
    pub servers: Vec<Server>,
    pub small_disk: Option<Mount>,
    pub network: Option<Network>,
    directory: TempDir,
}

impl Cluster {
    /// Starts it, and waits until all its nodes vote.
    pub async fn start(
        binary: &Path,
        parent: Option<&Path>,
        rng: &mut StdRng,
        surroundings: Surroundings,
    ) -> Check<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("axon-chaos-");
        let directory =
            parent.map_or_else(|| builder.tempdir(), |parent| builder.tempdir_in(parent));
        let directory = directory.map_err(|error| format!("no directory for the run: {error}"))?;
        let root = directory.path();
        let mut binary = binary.to_owned();
        if let Some(library) = &surroundings.clocks {
            (1..=NODES).try_for_each(|number| clocks::set(root, &format!("node{number}"), 0))?;
            binary = clocks::wrap(library, &binary, root)?;
        }
        let network =
            surroundings.network.map(|number| Network::open(NODES, number)).transpose()?;
        let ports: Ports = ports::find(rng)?;
        let mut servers = Vec::new();
        for node in 0..NODES {
            let (name, port) = (format!("node{}", node + 1), ports.base + 10 * node as u16);
            let mut server = Server::new(&binary, root, &name, port);
            server.more = surroundings.more.iter().map(Into::into).collect();
            if let Some(network) = &network {
                server.host = network.address(node);
                server.within = network.enter(node);
                server.more.push("--insecure".into());
            }
            servers.push(server);
        }
        let small_disk = if surroundings.small_disk {
            let place = &servers[SMALL].directory;
            fs::create_dir(place).map_err(|error| format!("{}: {error}", place.display()))?;
            Some(Mount::over(place, DISK_MIB)?)
        } else {
            None
        };
        let http = Http::default();
        let mut cluster = Self { http, servers, small_disk, network, directory };
        cluster.servers[0].init().await?;
        for node in 0..NODES {
            cluster.start_node(node)?;
            cluster.until_voters(node + 1).await?;
        }
        cluster.until_ready().await?;
        Ok(cluster)
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Keeps the directory with all data.
    pub fn keep(&mut self) {
        self.directory.disable_cleanup(true);
        println!("kept: {}", self.root().display());
    }

    pub fn places(&self) -> Vec<Place> {
        self.servers.iter().map(|server| Place { host: server.host, port: server.port }).collect()
    }

    /// The ports of all nodes, for calls on this machine.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// Waits until every node holds all that was acknowledged, and nothing that was never sent.
    pub async fn until_complete(&self, ledger: &Ledger) -> Check {
        until("every node holds every pair", PATIENCE, async || {
            for port in self.ports() {
                ledger.check_complete(&self.http.dump(port).await?)?;
            }
            Ok(Some(()))
        })
        .await
    }

    /// Starts a node's process; over an empty directory it joins the others.
    pub fn start_node(&mut self, node: usize) -> Check {
        let others = (0..NODES).filter(|other| *other != node);
        let others: Vec<SocketAddr> =
            others.map(|other| self.servers[other].peer_address()).collect();
        // The first has made the cluster, and joins nobody but after its directory was emptied.
        self.servers[node].start(&others)
    }

    /// Starts every node that does not run.
    pub fn start_all(&mut self) -> Check {
        for node in 0..NODES {
            if self.servers[node].pid().is_none() {
                self.start_node(node)?;
            }
        }
        Ok(())
    }

    pub async fn kill(&mut self, node: usize) -> Check {
        self.servers[node].end(Signal::KILL).await
    }

    /// Takes away everything that a dead node has stored.
    pub fn wipe(&self, node: usize) -> Check {
        let directory = &self.servers[node].directory;
        let told = |error: std::io::Error| format!("{}: {error}", directory.display());
        for entry in fs::read_dir(directory).map_err(told)? {
            let path = entry.map_err(told)?.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                .map_err(told)?;
        }
        Ok(())
    }

    /// What a node says of itself; soon, or not at all.
    pub async fn status(&self, node: usize) -> Check<Value> {
        let place = self.places()[node];
        let mut call = place.at(Call::new(Method::GET, 0, "/v1/status"));
        call.patience = Duration::from_secs(1);
        let answer = self.http.send(call).await?;
        ensure!(answer.status == StatusCode::OK, "a status: {}", answer.brief());
        answer.json()
    }

    /// The node that says that it leads, in the latest term.
    pub async fn leader(&self) -> Option<usize> {
        let mut leader = None;
        for node in 0..NODES {
            if let Ok(status) = self.status(node).await
                && status["raft_state"] == "leader"
            {
                leader = leader.max(status["term"].as_u64().map(|term| (term, node)));
            }
        }
        leader.map(|(_, node)| node)
    }

    /// Waits for a leader.
    pub async fn until_leader(&self) -> Check<usize> {
        until("a node leads", PATIENCE, async || Ok(self.leader().await)).await
    }

    async fn until_voters(&self, count: usize) -> Check {
        until(&format!("{count} nodes vote"), PATIENCE, async || {
            for node in 0..count {
                let status = self.status(node).await?;
                let voters = status["voters"].as_array().map_or(0, Vec::len);
                ensure!(voters == count, "node{} knows {voters} voters", node + 1);
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until every node is ready, and votes.
    pub async fn until_ready(&self) -> Check {
        self.until_voters(NODES).await?;
        until("every node is ready", PATIENCE, async || {
            for (node, place) in self.places().into_iter().enumerate() {
                let answer = self.http.send(place.at(Call::new(Method::GET, 0, "/readyz"))).await?;
                let name = node + 1;
                ensure!(answer.status == StatusCode::OK, "node{name}: {}", answer.brief());
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until all have applied what was committed a moment ago: nobody lags far behind.
    pub async fn settle_roughly(&self) -> Check {
        let mut committed = 0;
        for node in 0..NODES {
            let status = self.status(node).await?;
            committed = committed.max(status["committed_index"].as_u64().unwrap_or(0));
        }
        until("every node has caught up", PATIENCE, async || {
            for node in 0..NODES {
                let applied = self.status(node).await?["applied_index"].as_u64().unwrap_or(0);
                ensure!(applied >= committed, "node{} has applied {applied}", node + 1);
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until all have applied the same, with equal hashes.
    pub async fn settle(&self) -> Check<String> {
        settle(async || {
            let mut statuses = Vec::new();
            for node in 0..NODES {
                statuses.push((format!("node{}", node + 1), self.status(node).await?));
            }
            Ok(statuses)
        })
        .await
    }

    /// Ends every process as it should end.
    pub async fn end(mut self) -> Check {
        for server in &mut self.servers {
            if server.pid().is_some() {
                server.end(Signal::TERM).await?;
            }
        }
        Ok(())
    }
}
