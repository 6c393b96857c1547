//! What happens while puts are measured, and the cluster that it happens to.

use super::Args;
use super::slow::SlowDisk;
use crate::Check;
use crate::door::Door;
use crate::drive::Gate;
use crate::embedded::Embedded;
use crate::work::{Request, Work};
use axon_benches::{Replicas, until};
use axon_core::cluster::Builder;
use axon_core::config::History;
use axon_core::storage::builtin::DiskEngine;
use axon_core::{Config, Store};
use clap::ValueEnum;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a value is.
pub const VALUE_BYTES: usize = 256;

/// Who leads without anything, who leads where the history is forgotten, and the follower that things
/// happen to.
const LEADER: usize = 0;
const FORGETFUL: usize = 1;
const FOLLOWER: usize = 2;

/// Puts in flight while the store is filled.
const FILLERS: usize = 256;

/// Between the checkpoints of one replica: each has something to write.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// Log that is kept while the store is filled, so that a newcomer needs a snapshot.
const SHORT_LOG: u64 = 1 << 20;

/// Long enough for what is not to happen by itself.
const NEVER: Duration = Duration::from_hours(24);

/// More than is written between two checkpoints that are asked for.
const ENOUGH_BYTES: usize = 256 << 20;

/// After leadership has moved, until all goes its usual way again.
const SETTLING: Duration = Duration::from_secs(1);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Disturbance {
    /// Every replica writes a checkpoint, once a second; counted while one of them does.
    Checkpoint,
    /// The leader forgets what is overwritten, and what had been kept before; counted throughout.
    Compaction,
    /// A newcomer is sent the whole state; counted until it has caught up.
    Snapshot,
    /// A follower stops in order and starts again; counted until it has caught up.
    Restart,
    /// A follower's syncs take longer; counted throughout.
    SlowDisk,
}

impl Disturbance {
    /// Its name on the command line and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Compaction => "compaction",
            Self::Snapshot => "snapshot",
            Self::Restart => "restart",
            Self::SlowDisk => "slow-disk",
        }
    }
}

/// Three replicas, and the disk of one of them.
pub struct Stage {
    replicas: Replicas,
    disk: SlowDisk,
}

impl Stage {
    /// Sets the cluster up, filled, with a log that begins after what is in it.
    pub async fn set(parent: &Path, work: &Work) -> Check<Self> {
        let disk = SlowDisk::default();
        let mut replicas = Replicas::start_with(3, parent, |at, builder| {
            let builder = builder.settings(|config| {
                config.log_retention_bytes = SHORT_LOG;
                if at == FORGETFUL {
                    config.history = History::LatestOnly;
                }
            });
            if at != FOLLOWER {
                return builder;
            }
            let cache_bytes = Config::default().state_cache_bytes;
            let engine = DiskEngine::on(Arc::new(disk.clone()), cache_bytes);
            builder.storage(Arc::new(engine))
        })
        .await;
        replicas.lead(LEADER).await;
        let filling = work.clone();
        let fill = move |store: Store, number| {
            let put = filling.filling(number);
            async move {
                let Request::Put(key, value) = put else { return };
                store.put(key, value).await.expect("a healthy cluster takes every put");
            }
        };
        axon_benches::drive(&replicas.stores(), FILLERS, work.keys, fill).await;
        let short = |at: usize| {
            let status = replicas.cluster(at).status();
            status.map(|status| status.purged_index.0 > work.keys / 2)
        };
        let all_short = || Ok(short(LEADER)? && short(FORGETFUL)? && short(FOLLOWER)?);
        until("every log is short", all_short).await;
        // From now on nothing happens by itself.
        for at in [LEADER, FORGETFUL, FOLLOWER] {
            replicas.restart(at, quiet).await;
        }
        replicas.lead(LEADER).await;
        Ok(Self { replicas, disk })
    }

    /// Clients of the two that nothing happens to.
    pub fn doors(&self, clients: usize) -> Vec<Door> {
        let node = |client: usize| if client.is_multiple_of(2) { LEADER } else { FORGETFUL };
        let door = |client| Embedded::new(self.replicas.cluster(node(client)), VALUE_BYTES);
        (0..clients).map(|client| Door::Embedded(Box::new(door(client)))).collect()
    }

    /// Makes it as it is to be before a disturbance: the same leader, nothing to be written soon.
    pub async fn prepare(&self) -> Check {
        self.replicas.lead(LEADER).await;
        self.checkpoint_all().await?;
        tokio::time::sleep(SETTLING).await;
        Ok(())
    }

    /// Lets `disturbance` happen once, and `gate` measure for as long as it does; how long that was.
    pub async fn disturb(
        &mut self,
        disturbance: Disturbance,
        args: &Args,
        gate: &Gate,
    ) -> Check<Duration> {
        match disturbance {
            Disturbance::Checkpoint => {
                tokio::time::sleep(CHECKPOINT_EVERY).await;
                let measured = Measured::begin(gate);
                self.checkpoint_all().await?;
                Ok(measured.end())
            }
            Disturbance::Compaction => self.forget(args.length(), gate).await,
            Disturbance::Snapshot => {
                let measured = Measured::begin(gate);
                self.replicas.add_learner().await;
                let lasted = measured.end();
                // Counted a moment after it is in place.
                let newcomer = || self.replicas.metrics().pop().unwrap_or_default();
                until("it was sent a snapshot", || Ok(newcomer().snapshots_installed > 0)).await;
                self.replicas.remove_last().await;
                Ok(lasted)
            }
            Disturbance::Restart => {
                let measured = Measured::begin(gate);
                self.replicas.restart(FOLLOWER, |builder| builder).await;
                Ok(measured.end())
            }
            Disturbance::SlowDisk => {
                self.disk.delay(Duration::from_millis(args.slow_ms));
                let measured = Measured::begin(gate);
                tokio::time::sleep(args.length()).await;
                let lasted = measured.end();
                self.disk.delay(Duration::ZERO);
                Ok(lasted)
            }
        }
    }

    /// Lets the past be forgotten: the leader's setting counts.
    async fn forget(&self, length: Duration, gate: &Gate) -> Check<Duration> {
        self.replicas.lead(FORGETFUL).await;
        tokio::time::sleep(SETTLING).await;
        let swept = || self.replicas.metrics()[FORGETFUL].swept_revision;
        let before = swept();
        let measured = Measured::begin(gate);
        tokio::time::sleep(length).await;
        let lasted = measured.end();
        if swept() == before {
            return Err("nothing was forgotten".into());
        }
        Ok(lasted)
    }

    /// Stops it.
    pub async fn end(self) {
        self.replicas.shutdown().await;
    }

    /// Lets all three write a checkpoint at once.
    async fn checkpoint_all(&self) -> Check {
        let clusters = [LEADER, FORGETFUL, FOLLOWER].map(|at| self.replicas.cluster(at));
        let [one, two, three] = clusters;
        let written = tokio::join!(one.checkpoint(), two.checkpoint(), three.checkpoint());
        for index in [written.0, written.1, written.2] {
            index.map_err(|error| format!("a checkpoint: {error}"))?;
        }
        Ok(())
    }
}

/// A time that is measured.
struct Measured<'a> {
    gate: &'a Gate,
    begun: Instant,
}

impl<'a> Measured<'a> {
    fn begin(gate: &'a Gate) -> Self {
        gate.measure(true);
        Self { gate, begun: Instant::now() }
    }

    /// How long it was.
    fn end(self) -> Duration {
        self.gate.measure(false);
        self.begun.elapsed()
    }
}

/// Settings with which nothing happens by itself, but that one of them forgets where it leads.
fn quiet(builder: Builder) -> Builder {
    builder.settings(|config| {
        config.log_retention_bytes = Config::default().log_retention_bytes;
        config.checkpoint_interval = NEVER;
        config.checkpoint_bytes = ENOUGH_BYTES;
        config.overlay_bytes_max = 2 * ENOUGH_BYTES;
        if config.history != History::LatestOnly {
            config.history = History::Keep { bytes: u64::MAX, age: NEVER };
        }
    })
}
