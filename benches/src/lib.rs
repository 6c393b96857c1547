//! What the benchmarks share: replicas in this process over TCP on the loopback interface, with
//! data directories on a real file system, and the process's own CPU time.
//!
//! It relies on the public interface of `axon-core` alone, so that a figure measured here is one
//! that a service would see.

pub mod trial;

use axon_core::config::Origin;
use axon_core::status::{Membership, Metrics, RaftState};
use axon_core::{Cluster, Config, Error, Store};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than a join, a catch-up and a promotion take on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// A cluster of replicas in this process.
pub struct Replicas {
    clusters: Vec<Cluster>,
    _data: TempDir,
}

impl Replicas {
    /// Starts `count` voters with data directories under `parent`, which should lie on the disk
    /// that is to be measured: a sync on a file system in memory costs nothing.
    ///
    /// # Panics
    /// When they do not come up: a benchmark has nobody to report that to.
    pub async fn start(count: usize, parent: &Path) -> Self {
        let data = tempfile::tempdir_in(parent).expect("the benchmark's directory is writable");
        let mut clusters = vec![open(data.path(), 1, Origin::Init(None)).await];
        for number in 2..=count {
            let members = clusters[0].members().expect("the first replica is ready");
            let join = Origin::Join(vec![members[0].member.peer_address.clone()]);
            clusters.push(open(data.path(), number, join).await);
        }
        let replicas = Self { clusters, _data: data };
        tokio::time::timeout(DEADLINE, replicas.all_vote())
            .await
            .expect("every replica votes before the deadline")
            .expect("the replicas keep running");
        replicas
    }

    /// Returns the store of each replica.
    #[must_use]
    pub fn stores(&self) -> Vec<Store> {
        self.clusters.iter().map(Cluster::store).collect()
    }

    /// Returns what each replica has counted.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metrics> {
        self.clusters.iter().map(Cluster::metrics).collect()
    }

    /// Returns which replica leads, counted from 0, if one does.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads = |cluster: &Cluster| {
            cluster.status().is_ok_and(|status| status.raft_state == RaftState::Leader)
        };
        self.clusters.iter().position(leads)
    }

    /// Stops them all, the first last: fewer elections.
    ///
    /// # Panics
    /// When a replica had stopped by itself: the figures are worthless then.
    pub async fn shutdown(self) {
        for cluster in self.clusters.iter().rev() {
            cluster.shutdown().await.expect("the replica was running until now");
        }
    }

    async fn all_vote(&self) -> Result<(), Error> {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let members = self.clusters[0].members()?;
            let voters = members.iter().filter(|member| member.membership == Membership::Voter);
            if voters.count() == self.clusters.len() {
                return Ok(());
            }
        }
    }
}

async fn open(root: &Path, number: usize, origin: Origin) -> Cluster {
    let name = format!("node{number}");
    let config = Config {
        data_dir: Some(root.join(&name)),
        name,
        listen: Some("127.0.0.1:0".into()),
        origin,
        ..Config::default()
    };
    let cluster = Cluster::start(config).await.expect("the replica opens");
    cluster.wait_ready(DEADLINE).await.expect("the replica becomes ready");
    cluster
}

/// Returns the CPU time, user and system, that this process has used: all its threads, all its
/// replicas, and whoever drives them.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn process_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    cpu_of(&stat, rustix::param::clock_ticks_per_second())
        .expect("the kernel writes /proc/self/stat in its documented form")
}

/// Reads `utime` and `stime`, the 14th and 15th field of proc(5)'s `stat`. The second field, the
/// program's name in parentheses, may hold anything: fields are counted from its last parenthesis.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let sum = ticks()? + ticks()?;
    Some(Duration::from_secs(sum) / u32::try_from(ticks_per_second).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_the_sum_of_user_and_system_ticks() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 91 0 0 0 250 50 0 0 20 0 1 0 100 2 3";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_cut_stat_line_is_no_figure() {
        assert_eq!(cpu_of("42 (axon) S 1 2 3", 100), None);
    }
}
