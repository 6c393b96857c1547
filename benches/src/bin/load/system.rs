//! What is under load, whichever it is: a cluster with doors for clients, and what can be learnt of it.

use crate::args::Target;
use crate::counters::{Counters, etcd_leads};
use crate::door::Door;
use crate::embedded::Replicas;
use crate::etcd::Etcd;
use crate::http::{self, Http};
use crate::nodes::{NODES, Nodes};
use crate::start::{self, Started};
use crate::{Check, proc};
use std::path::PathBuf;
use std::time::Duration;

/// How clusters are started and asked, whoever wants to know what.
#[derive(Debug, Clone, Default)]
pub struct Rig {
    /// Where data is put.
    pub directory: PathBuf,
    /// The program, if it is not the one beside this; and arguments for each node.
    pub axon_server: Option<PathBuf>,
    pub axon_arg: Vec<String>,
    /// The same of etcd.
    pub etcd: Option<PathBuf>,
    pub etcd_arg: Vec<String>,
    /// How many connections all clients of etcd share.
    pub etcd_connections: Option<usize>,
    /// How long a request may take.
    pub deadline: Duration,
    /// What axon-servers want to see that were not started here.
    pub token: Option<String>,
}

/// A cluster that serves.
pub struct System {
    target: Target,
    endpoints: Vec<String>,
    runs: Runs,
    etcd_connections: Option<usize>,
    deadline: Duration,
    token: Option<String>,
}

/// Who runs it.
enum Runs {
    /// This program started its processes.
    Here(Nodes),
    /// This program is it.
    Inside(Replicas),
    /// Somebody else: it can be loaded, and not be looked into.
    Elsewhere,
}

/// What the servers have used.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// CPU time over all nodes; unknown of clusters that run elsewhere.
    pub server_cpu: Option<Duration>,
    /// CPU time of this program.
    pub own_cpu: Duration,
}

impl System {
    /// Starts the cluster of `target`, or takes the one that runs at `running`.
    pub async fn start(target: Target, rig: &Rig, running: Option<&[String]>) -> Check<Self> {
        if let Some(endpoints) = running {
            return Ok(Self::of(target, rig, endpoints.to_vec(), Runs::Elsewhere));
        }
        let Started { nodes, endpoints } = match target {
            Target::Axon => start::axon(rig).await?,
            Target::Etcd => start::etcd(rig).await?,
            Target::Embedded => {
                let replicas = Replicas::start(&rig.directory, NODES).await?;
                return Ok(Self::embedded(rig, replicas));
            }
        };
        Ok(Self::of(target, rig, endpoints, Runs::Here(nodes)))
    }

    /// The cluster of `replicas`.
    pub fn embedded(rig: &Rig, replicas: Replicas) -> Self {
        Self::of(Target::Embedded, rig, Vec::new(), Runs::Inside(replicas))
    }

    fn of(target: Target, rig: &Rig, endpoints: Vec<String>, runs: Runs) -> Self {
        let Rig { etcd_connections, deadline, ref token, .. } = *rig;
        Self { target, endpoints, runs, etcd_connections, deadline, token: token.clone() }
    }

    /// How many nodes it has.
    pub fn nodes(&self) -> usize {
        match &self.runs {
            Runs::Inside(replicas) => replicas.count(),
            Runs::Here(_) | Runs::Elsewhere => self.endpoints.len(),
        }
    }

    /// The node that leads, if one says so.
    pub async fn leader(&self) -> Check<Option<usize>> {
        if let Runs::Inside(replicas) = &self.runs {
            return Ok(replicas.leader());
        }
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            let leads = if self.target == Target::Etcd {
                etcd_leads(&self.page(endpoint, "/metrics").await?)
            } else {
                let status = http::json(endpoint, "/v1/status", self.token.as_deref()).await?;
                status["raft_state"] == "leader"
            };
            if leads {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// A client for each of `clients`, spread over the nodes from `first` on. Each expects to read
    /// values of `value_bytes`.
    pub fn doors(&self, clients: usize, first: usize, value_bytes: usize) -> Check<Vec<Door>> {
        let node = |client: usize| (first + client) % self.nodes();
        if self.target == Target::Etcd {
            let asked = self.etcd_connections.unwrap_or(clients).max(self.nodes());
            let connections = asked.min(clients);
            let channels: Vec<_> = (0..connections)
                .map(|at| Etcd::channel(&self.endpoints[node(at)], self.deadline))
                .collect::<Check<_>>()?;
            let channel = |client: usize| channels[client % connections].clone();
            let door = |client| Door::Etcd(Etcd::new(channel(client), value_bytes));
            return Ok((0..clients).map(door).collect());
        }
        let door = |client: usize| {
            if let Runs::Inside(replicas) = &self.runs {
                return Door::Embedded(Box::new(replicas.door(node(client), value_bytes)));
            }
            let endpoint = &self.endpoints[node(client)];
            Door::Http(Http::new(endpoint, value_bytes, self.token.as_deref()))
        };
        Ok((0..clients).map(door).collect())
    }

    /// What the servers have counted until now, over all nodes.
    pub async fn counters(&self) -> Check<Counters> {
        if let Runs::Inside(replicas) = &self.runs {
            return Ok(replicas.counters());
        }
        let mut sum: Option<Counters> = None;
        for endpoint in &self.endpoints {
            let counters = Counters::of_page(&self.page(endpoint, "/metrics").await?);
            sum = Some(sum.map_or(counters, |sum| sum.plus(counters)));
        }
        Ok(sum.unwrap_or_default())
    }

    /// The CPU time that was used until now. Embedded, servers and clients are one process: its time
    /// is the servers', and an upper bound of it.
    pub fn usage(&self) -> Check<Usage> {
        let own_cpu = proc::cpu(std::process::id())?;
        let server_cpu = match &self.runs {
            Runs::Here(nodes) => {
                let times = nodes.pids().into_iter().map(proc::cpu).collect::<Check<Vec<_>>>()?;
                Some(times.into_iter().sum())
            }
            Runs::Inside(_) => Some(own_cpu),
            Runs::Elsewhere => None,
        };
        Ok(Usage { server_cpu, own_cpu })
    }

    /// The memory of each node's process, in bytes; embedded, of the one that holds them all.
    pub fn memory(&self) -> Check<Vec<u64>> {
        match &self.runs {
            Runs::Here(nodes) => nodes.pids().into_iter().map(proc::memory).collect(),
            Runs::Inside(_) => Ok(vec![proc::memory(std::process::id())?]),
            Runs::Elsewhere => Ok(Vec::new()),
        }
    }

    /// Checks that no node has ended.
    pub fn check_alive(&mut self) -> Check {
        match &mut self.runs {
            Runs::Here(nodes) => nodes.check_alive(),
            Runs::Inside(_) | Runs::Elsewhere => Ok(()),
        }
    }

    /// Ends what was started.
    pub async fn end(self) {
        if let Runs::Inside(replicas) = self.runs {
            replicas.end().await;
        }
    }

    async fn page(&self, endpoint: &str, path: &str) -> Check<String> {
        let page = http::page(endpoint, path, self.token.as_deref()).await?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }
}
