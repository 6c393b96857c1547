//! What a script acts on: replicas by number, on one network, each with disks that outlive it.
//!
//! Replica `n` is called `node<n>` unless the script says otherwise, listens on `n<n>`, and has a
//! directory of its own: whoever comes under the name of another comes with an empty one. The
//! lowest living number campaigns first: each has election timeouts that are longer than its
//! predecessor's, and every campaign begins after all leases have run out. So scripts know who wins.

use crate::engine::OpenEngine;
use axon_core::config::{Config, History, Origin, Promotion};
use axon_core::runtime::{self, simulation};
use axon_core::status::Status;
use axon_core::storage::Space;
use axon_core::testing::tamper::tamper;
use axon_core::transport::memory::{Cut, MemNetwork};
use axon_core::{Cluster, Error};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The longest that a command may take, in simulated time.
pub const DEADLINE: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Replicas and what lies between them.
#[derive(Default)]
pub struct World {
    pub network: MemNetwork,
    pub replicas: BTreeMap<u64, Replica>,
    /// Commands that were begun and are not finished yet.
    pub begun: VecDeque<JoinHandle<String>>,
    /// Puts that go on while other commands run, until this is set.
    pub load: Option<(JoinHandle<String>, Arc<AtomicBool>)>,
    /// How much of the past the replicas to come keep.
    pub history: History,
    /// After how many revisions the replicas to come compare their states; 0: as by default.
    pub compare_revisions: u64,
    /// The bases of the replicas to come are too large to be scrubbed at open.
    pub large: bool,
    engine: Arc<OpenEngine>,
    /// Where the replicas' directories lie; `None` when they live in memory.
    disks: Option<TempDir>,
    /// The settings of every replica that there has been, for its restart.
    settings: BTreeMap<u64, Config>,
}

/// A running replica.
#[derive(Clone)]
pub struct Replica {
    pub number: u64,
    pub cluster: Cluster,
}

impl Replica {
    /// Runs `future` as part of the replica: it dies with it.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        simulation::on_node(self.number, future).await
    }

    pub fn status(&self) -> Option<Status> {
        self.cluster.status().ok()
    }
}

/// Where the replica `number` listens.
pub fn address(number: u64) -> String {
    format!("n{number}")
}

/// How a replica is started.
pub struct Start {
    pub number: u64,
    pub name: String,
    pub origin: Origin,
    pub promotion: Promotion,
}

impl World {
    /// Gives the replicas to come directories on the real disk.
    pub fn use_disks(&mut self) {
        self.disks = Some(tempfile::tempdir().unwrap());
    }

    pub fn replica(&self, number: u64) -> &Replica {
        self.replicas.get(&number).unwrap_or_else(|| panic!("replica {number} does not run"))
    }

    /// The living replica with the lowest number.
    pub fn first(&self) -> &Replica {
        self.replicas.values().next().expect("a replica runs")
    }

    pub async fn start(&mut self, start: Start) -> Result<(), Error> {
        let Start { number, name, origin, promotion } = start;
        let shortest = Duration::from_millis(400 + 150 * number);
        let config = Config {
            data_dir: self.disks.as_ref().map(|disks| disks.path().join(address(number))),
            name,
            listen: Some(address(number)),
            origin,
            promotion,
            history: self.history,
            compare_revisions: match self.compare_revisions {
                0 => Config::default().compare_revisions,
                revisions => revisions,
            },
            scrub_bytes_max: if self.large { 0 } else { Config::default().scrub_bytes_max },
            election_timeout_min: shortest,
            election_timeout_max: shortest + Duration::from_millis(50),
            ..Config::default()
        };
        self.settings.insert(number, config);
        self.restart(number).await
    }

    pub async fn restart(&mut self, number: u64) -> Result<(), Error> {
        let config = self.settings[&number].clone();
        let transport = Arc::new(self.network.transport(&address(number)));
        let mut builder = Cluster::builder().transport(transport);
        if config.data_dir.is_some() {
            builder = builder.storage(self.engine.clone());
        }
        let starting = builder.config(config).start();
        let cluster = simulation::on_node(number, starting).await?;
        self.replicas.insert(number, Replica { number, cluster });
        Ok(())
    }

    /// The words, without the name of the directory that is another one each time.
    pub fn without_places(&self, words: &str) -> String {
        let directory = self.disks.as_ref().map(|disks| format!("{}/", disks.path().display()));
        directory.map_or_else(|| words.to_owned(), |directory| words.replace(&directory, ""))
    }

    /// Changes a row of a replica's base so that only the hash of its state can tell.
    pub fn damage(&self, number: u64, key: &str, bit: u8) {
        let directory = self.settings[&number].data_dir.clone().expect("it has a disk");
        let store = self.engine.state_in(&directory).expect("its state is open");
        assert!(tamper(&*store, Space::Kv, key.as_bytes(), bit).unwrap(), "the base holds {key}");
    }

    /// Ends a replica where it stands.
    pub async fn kill(&mut self, number: u64) {
        self.replicas.remove(&number).unwrap_or_else(|| panic!("replica {number} does not run"));
        simulation::kill(number);
        // An aborted task lets go of what it holds when it would have run next.
        tokio::task::yield_now().await;
    }

    /// Begins `work` on a replica; it goes on while other commands run.
    pub fn begin(&mut self, number: u64, work: impl Future<Output = String> + Send + 'static) {
        let replica = self.replica(number).clone();
        let task = runtime::spawn(async move { replica.run(work).await });
        self.begun.push_back(task);
    }

    /// Cuts the links between every two groups.
    pub fn partition(&self, groups: &[Vec<u64>]) {
        for (at, group) in groups.iter().enumerate() {
            for other in groups[at + 1..].iter().flatten() {
                for one in group {
                    self.network.cut(&address(*one), &address(*other), Some(Cut::Stall));
                }
            }
        }
    }

    /// Breaks the channels there are between two replicas, and leaves the links as they are.
    pub fn reset(&self, one: u64, other: u64) {
        let (one, other) = (address(one), address(other));
        let links = [(&one, &other), (&other, &one)];
        let faults = links.map(|(from, to)| self.network.faults(from, to));
        self.network.cut(&one, &other, Some(Cut::Break));
        for ((from, to), faults) in links.into_iter().zip(faults) {
            self.network.set_faults(from, to, faults);
        }
    }
}

/// Waits until `condition` holds.
pub async fn until<T>(place: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = runtime::now() + DEADLINE;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) => assert!(runtime::now() < deadline, "{place}: in vain: {state}"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
