//! What the benchmarks share: replicas in this process over TCP on the loopback interface, with
//! data directories on a real file system, and tasks that put them to work; how a benchmark is
//! run, and what it counts beside the time ([`mod@bench`]).
//!
//! It relies on the public interface of `axon-core` alone, so that a figure measured here is one
//! that a service would see.

pub mod bench;
pub mod trial;

use axon_core::cluster::Builder;
use axon_core::config::Promotion;
use axon_core::status::{Membership, Metrics, RaftState};
use axon_core::{Cluster, Error, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Longer than a join, a catch-up and a promotion take on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// How often something is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A cluster of replicas in this process. Its methods panic when they cannot do what they say: a
/// benchmark has nobody to report that to.
pub struct Replicas {
    running: Vec<Replica>,
    /// How many there have been: directories are not used again.
    made: usize,
    /// Where they have their directories; none, if that is the caller's business.
    data: Option<TempDir>,
}

struct Replica {
    cluster: Cluster,
    /// What it was started with, and is started with again.
    builder: Builder,
}

impl Replicas {
    /// Starts `count` voters with data directories under `parent`, which should lie on the disk
    /// that is to be measured: a sync on a file system in memory costs nothing.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start(count: usize, parent: &Path) -> Self {
        Self::start_with(count, parent, |_, builder| builder).await
    }

    /// Starts `count` voters, each with the settings that `change` makes of the usual ones; it is
    /// told which replica they are for, counted from 0.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start_with(
        count: usize,
        parent: &Path,
        change: impl Fn(usize, Builder) -> Builder,
    ) -> Self {
        let data = tempfile::tempdir_in(parent).expect("the benchmark's directory is writable");
        let mut replicas = Self { running: Vec::new(), made: 0, data: Some(data) };
        for at in 0..count {
            let builder = change(at, replicas.next());
            replicas.add(builder).await;
        }
        until("every replica votes", || replicas.all_vote()).await;
        replicas
    }

    /// Starts one alone, on a directory that stays.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn alone(builder: Builder) -> Self {
        let mut replicas = Self { running: Vec::new(), made: 1, data: None };
        replicas.add(builder.init()).await;
        replicas
    }

    /// Adds one that never votes, and waits until it has caught up.
    ///
    /// # Panics
    /// When it does not.
    pub async fn add_learner(&mut self) {
        let builder = self.next().settings(|config| config.promotion = Promotion::Never);
        self.add(builder).await;
    }

    /// Takes the one that was added last out of the cluster, and its data off the disk.
    ///
    /// # Panics
    /// When the others cannot agree on that.
    pub async fn remove_last(&mut self) {
        let Replica { cluster, .. } = self.running.pop().expect("one was added");
        let status = cluster.status().expect("it was running until now");
        self.running[0].cluster.remove(status.node_id).await.expect("it can be spared");
        // Being removed has stopped it already, or is about to.
        let _ = cluster.shutdown().await;
        drop(cluster);
        std::fs::remove_dir_all(self.directory(&status.name))
            .expect("nobody uses its directory any more");
    }

    /// Stops one in order and starts it again on what it has stored, at the same address, with the
    /// settings that `change` makes of those it had. Returns when it has caught up.
    ///
    /// # Panics
    /// When it does not.
    pub async fn restart(&mut self, at: usize, change: impl FnOnce(Builder) -> Builder) {
        let Replica { cluster, builder } = &mut self.running[at];
        let id = cluster.status().expect("it was running until now").node_id;
        let members = cluster.members().expect("it was running until now");
        let own = members.into_iter().find(|member| member.id == id).expect("it is a member");
        *builder = change(builder.clone()).listen(own.member.peer_address);
        cluster.shutdown().await.expect("it was running until now");
        *cluster = open(builder.clone()).await;
    }

    /// Makes `at` lead.
    ///
    /// # Panics
    /// When it does not.
    pub async fn lead(&self, at: usize) {
        let cluster = &self.running[at].cluster;
        let id = cluster.status().expect("it is running").node_id;
        let begun = Instant::now();
        while self.leader() != Some(at) {
            assert!(begun.elapsed() < DEADLINE, "replica {at} does not come to lead");
            // Refused when it is not needed any more, or not possible yet.
            let _ = cluster.transfer_leadership(Some(id)).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Returns one of the replicas.
    #[must_use]
    pub fn cluster(&self, at: usize) -> &Cluster {
        &self.running[at].cluster
    }

    /// Returns the store of each replica.
    #[must_use]
    pub fn stores(&self) -> Vec<Store> {
        self.running.iter().map(|replica| replica.cluster.store()).collect()
    }

    /// Returns what each replica has counted.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metrics> {
        self.running.iter().map(|replica| replica.cluster.metrics()).collect()
    }

    /// Returns which replica leads, counted from 0, if one does.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads = |replica: &Replica| {
            replica.cluster.status().is_ok_and(|status| status.raft_state == RaftState::Leader)
        };
        self.running.iter().position(leads)
    }

    /// Stops them all, the first last: fewer elections.
    ///
    /// # Panics
    /// When a replica had stopped by itself: the figures are worthless then.
    pub async fn shutdown(self) {
        for replica in self.running.iter().rev() {
            replica.cluster.shutdown().await.expect("the replica was running until now");
        }
    }

    /// The usual settings of the next one.
    fn next(&mut self) -> Builder {
        self.made += 1;
        let name = format!("node{}", self.made);
        let builder = Cluster::builder().data_dir(self.directory(&name)).name(name);
        let builder = builder.listen("127.0.0.1:0");
        match self.running.first() {
            None => builder.init(),
            Some(first) => {
                let members = first.cluster.members().expect("the first replica is ready");
                builder.join([members[0].member.peer_address.clone()])
            }
        }
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.data.as_ref().expect("one that is alone stays alone").path().join(name)
    }

    async fn add(&mut self, builder: Builder) {
        let cluster = open(builder.clone()).await;
        self.running.push(Replica { cluster, builder });
    }

    fn all_vote(&self) -> Result<bool, Error> {
        let members = self.running[0].cluster.members()?;
        let voters = members.iter().filter(|member| member.membership == Membership::Voter);
        Ok(voters.count() == self.running.len())
    }
}

async fn open(builder: Builder) -> Cluster {
    let cluster = builder.start().await.expect("the replica opens");
    cluster.wait_ready(DEADLINE).await.expect("the replica becomes ready");
    cluster
}

/// Waits until `what` is so.
///
/// # Panics
/// When it is not so within a minute, or cannot be any more.
pub async fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Error>) {
    let begun = Instant::now();
    while !holds().unwrap_or_else(|error| panic!("{what}: {error}")) {
        assert!(begun.elapsed() < DEADLINE, "not within {} s: {what}", DEADLINE.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks `count` times from `tasks` tasks that are spread over `stores`, each with one request in
/// flight, and says how long that took. Each request is told its store and its number.
///
/// # Panics
/// When a request does.
pub async fn drive<Asked>(
    stores: &[Store],
    tasks: usize,
    count: u64,
    ask: impl Fn(Store, u64) -> Asked + Clone + Send + 'static,
) -> Duration
where
    Asked: Future<Output = ()> + Send + 'static,
{
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut set = JoinSet::new();
    for task in 0..tasks {
        let (store, next, ask) =
            (stores[task % stores.len()].clone(), Arc::clone(&next), ask.clone());
        set.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                ask(store.clone(), number).await;
            }
        });
    }
    while let Some(ended) = set.join_next().await {
        ended.expect("no task panics");
    }
    begun.elapsed()
}
