//! What befalls a cluster: one fault after the other, chosen by a seed, each undone after a while.
//!
//! Whatever there was, the cluster may always get a majority back: that is all it is promised. So before
//! a directory is emptied, everybody else has caught up.

use crate::cluster::{Cluster, NODES, SMALL};
use axon_benches::trial::{Check, clocks};
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::time::Duration;

/// Beyond every age that something is kept for.
const JUMP_SECONDS: i64 = 3_700;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillLeader,
    KillFollower,
    KillMajority,
    KillAll,
    PauseLeader,
    PauseFollower,
    PauseMajority,
    Wipe,
    DiskFull,
    Isolate,
    CutLeader,
    Deaf,
    Mute,
    Loss,
    Jump,
    JumpAll,
}

/// What processes and disks can suffer, anywhere.
pub const OF_PROCESSES: [Fault; 9] = [
    Fault::KillLeader,
    Fault::KillFollower,
    Fault::KillMajority,
    Fault::KillAll,
    Fault::PauseLeader,
    Fault::PauseFollower,
    Fault::PauseMajority,
    Fault::Wipe,
    Fault::DiskFull,
];
/// What a network does.
pub const OF_THE_NETWORK: [Fault; 5] =
    [Fault::Isolate, Fault::CutLeader, Fault::Deaf, Fault::Mute, Fault::Loss];
/// What clocks do.
pub const OF_CLOCKS: [Fault; 2] = [Fault::Jump, Fault::JumpAll];

impl Fault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "leader killed",
            Self::KillFollower => "follower killed",
            Self::KillMajority => "two killed",
            Self::KillAll => "all killed",
            Self::PauseLeader => "leader paused",
            Self::PauseFollower => "follower paused",
            Self::PauseMajority => "two paused",
            Self::Wipe => "directory wiped",
            Self::DiskFull => "disk full",
            Self::Isolate => "node cut off",
            Self::CutLeader => "leader cut off",
            Self::Deaf => "leader deaf",
            Self::Mute => "leader mute",
            Self::Loss => "5 % lost",
            Self::Jump => "clock moved",
            Self::JumpAll => "clocks moved",
        }
    }
}

/// Faults by kind.
pub type Count = BTreeMap<&'static str, usize>;

/// Chooses and carries out faults.
pub struct Faults {
    pub count: Count,
    kinds: Vec<Fault>,
    /// Those of `kinds` that were not chosen since all were.
    left: Vec<Fault>,
    rng: StdRng,
}

impl Faults {
    pub fn new(kinds: Vec<Fault>, rng: StdRng) -> Self {
        Self { count: Count::new(), left: Vec::new(), kinds, rng }
    }

    /// Carries out one fault, and undoes it. Each kind comes once before any comes again.
    pub async fn next(&mut self, cluster: &mut Cluster) -> Check {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        let at = self.rng.random_range(0..self.left.len());
        let fault = self.left.swap_remove(at);
        println!("  {}", fault.name());
        self.carry_out(fault, cluster).await.map_err(|what| format!("{}: {what}", fault.name()))?;
        *self.count.entry(fault.name()).or_default() += 1;
        tokio::time::sleep(self.time(300, 1_500)).await;
        Ok(())
    }

    fn time(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from_ms..to_ms))
    }

    async fn carry_out(&mut self, fault: Fault, cluster: &mut Cluster) -> Check {
        let any = self.rng.random_range(0..NODES);
        let leader = cluster.leader().await.unwrap_or(any);
        let follower = (leader + self.rng.random_range(1..NODES)) % NODES;
        match fault {
            Fault::KillLeader => self.kill(cluster, &[leader]).await,
            Fault::KillFollower => self.kill(cluster, &[follower]).await,
            Fault::KillMajority => self.kill(cluster, &[leader, follower]).await,
            Fault::KillAll => self.kill(cluster, &[0, 1, 2]).await,
            Fault::PauseLeader => self.pause(cluster, &[leader]).await,
            Fault::PauseFollower => self.pause(cluster, &[follower]).await,
            Fault::PauseMajority => self.pause(cluster, &[leader, follower]).await,
            Fault::Wipe => {
                cluster.until_ready().await?;
                cluster.settle_roughly().await?;
                cluster.kill(follower).await?;
                cluster.wipe(follower)?;
                cluster.start_node(follower)?;
                cluster.until_ready().await
            }
            Fault::DiskFull => {
                let disk = cluster.small_disk.as_ref().ok_or("no small disk")?;
                disk.fill()?;
                let time = self.time(2_000, 5_000);
                tokio::time::sleep(time).await;
                cluster.small_disk.as_ref().ok_or("no small disk")?.empty()?;
                // It takes its reserve back first.
                if cluster.servers[SMALL].pid().is_none() {
                    cluster.start_node(SMALL)?;
                }
                Ok(())
            }
            Fault::Isolate => self.cut(cluster, |from, to| from == any || to == any).await,
            Fault::CutLeader => self.cut(cluster, |from, to| from == leader || to == leader).await,
            Fault::Deaf => self.cut(cluster, |_, to| to == leader).await,
            Fault::Mute => self.cut(cluster, |from, _| from == leader).await,
            Fault::Loss => {
                cluster.network.as_ref().ok_or("no network")?.lose()?;
                let time = self.time(2_000, 5_000);
                tokio::time::sleep(time).await;
                cluster.network.as_ref().ok_or("no network")?.heal()
            }
            Fault::Jump => self.jump(cluster, &[any]).await,
            Fault::JumpAll => self.jump(cluster, &[0, 1, 2]).await,
        }
    }

    async fn kill(&mut self, cluster: &mut Cluster, nodes: &[usize]) -> Check {
        for node in nodes {
            cluster.kill(*node).await?;
        }
        let time = self.time(0, 3_000);
        tokio::time::sleep(time).await;
        cluster.start_all()
    }

    async fn pause(&mut self, cluster: &mut Cluster, nodes: &[usize]) -> Check {
        for node in nodes {
            cluster.servers[*node].signal(Signal::STOP)?;
        }
        let time = self.time(500, 5_000);
        tokio::time::sleep(time).await;
        nodes.iter().try_for_each(|node| cluster.servers[*node].signal(Signal::CONT))
    }

    async fn cut(&mut self, cluster: &mut Cluster, chosen: impl Fn(usize, usize) -> bool) -> Check {
        let network = cluster.network.as_ref().ok_or("no network")?;
        network.cut(&network.between(chosen))?;
        let time = self.time(1_000, 5_000);
        tokio::time::sleep(time).await;
        network.heal()
    }

    async fn jump(&mut self, cluster: &mut Cluster, nodes: &[usize]) -> Check {
        for node in nodes {
            let seconds = if self.rng.random() { JUMP_SECONDS } else { -JUMP_SECONDS };
            clocks::set(cluster.root(), &format!("node{}", node + 1), seconds)?;
        }
        // The library looks for another offset once a second.
        let time = self.time(1_500, 3_000);
        tokio::time::sleep(time).await;
        Ok(())
    }
}
