//! What a replica tells of itself and of its cluster, and whether it is ready.

use super::{Cluster, RETRY_INTERVAL, gossip};
use crate::error::{Error, ErrorOutcome};
use crate::events::Event;
use crate::raft::engine::Engine;
use crate::runtime;
use crate::status::{MemberStatus, Membership, Metrics, SeenNode, Status};
use crate::types::LogIndex;
use std::time::Duration;

/// Entries behind which a replica is not ready.
const READY_LAG_MAX: u64 = 10_000;

impl Cluster {
    /// Returns how the replica sees itself and its cluster now.
    ///
    /// # Errors
    /// [`Error::NotReady`] while it has no identity yet, and why it has stopped once it has.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// let status = cluster.status()?;
    /// assert!(status.raft_state.is_leader());
    /// assert_eq!(status.voters, [status.node_id]);
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Result<Status, Error> {
        let running = self.inner.running()?;
        let engine = &running.engine;
        let metrics = engine.metrics();
        let members = engine.members();
        let view = engine.reader.view();
        let named = |voting: bool| {
            let named = members.iter().filter(move |(_, _, voter)| *voter == voting);
            named.map(|(id, ..)| *id).collect::<Vec<_>>()
        };
        let (voters, learners) = (named(true), named(false));
        let id = engine.id();
        let membership = match () {
            () if voters.contains(&id) => Membership::Voter,
            () if learners.contains(&id) => Membership::Learner,
            () => Membership::None,
        };
        let log_metrics = engine.log_metrics();
        let standing = engine.standing();
        Ok(Status {
            cluster_id: engine.peers.myself().cluster_id,
            node_id: id,
            name: running.name.clone(),
            raft_state: engine.raft_state(),
            membership,
            // Raft keeps the last leader in mind; without a quorum nobody leads.
            leader: engine.leader().filter(|_| !engine.peers.quorum().lost),
            term: metrics.current_term,
            revision: view.revision(),
            compacted_revision: view.compacted_revision(),
            last_log_index: engine.last_log_index(),
            committed_index: LogIndex(metrics.local_committed.map_or(0, |id| id.index)),
            applied_index: view.position().index,
            checkpoint_index: engine.reader.checkpoint_position().index,
            purged_index: standing.purged_index,
            vote: standing.vote,
            quorum_ack_age: standing.quorum_ack_age,
            joint: standing.joint,
            quorum: standing.quorum,
            peers: standing.peers,
            voters,
            learners,
            state_hash: view.totals().hash,
            integrity: engine.integrity(),
            sync_p99: Duration::from_micros(log_metrics.sync_p99_micros),
            disk: engine.disk_status(),
            halted: engine.fault().map(|fault| fault.to_string()),
        })
    }

    /// Returns the counters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// let before = cluster.metrics().log.appended_entries;
    /// cluster.store().put("greeting", "hello").await?;
    /// assert!(cluster.metrics().log.appended_entries > before);
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        if let Ok(running) = self.inner.running() {
            running.engine.count(&mut metrics);
            let watches = running.hub.metrics();
            metrics.watchers = watches.watchers;
            metrics.watch_events = watches.events;
            metrics.watch_resyncs = watches.resyncs;
        }
        metrics
    }

    /// Returns the members, with who is alive as seen from here.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// for member in cluster.members()? {
    ///     println!("{} at {}, alive: {}", member.member.name, member.member.peer_address, member.alive);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn members(&self) -> Result<Vec<MemberStatus>, Error> {
        let running = self.inner.running()?;
        let engine = &running.engine;
        let leader = engine.leader().map(|(id, _)| id);
        let members = engine.members().into_iter();
        Ok(members
            .map(|(id, member, voter)| engine.member_status(leader, id, member, voter))
            .collect())
    }

    /// Returns the nodes that this replica knows to be, or to have been, there: by gossip, so with or
    /// without a leader. By id; newcomers that knocked here and have none yet come last.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// for node in cluster.seen()? {
    ///     println!("{} at {}, alive: {}", node.name, node.peer_address, node.alive);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn seen(&self) -> Result<Vec<SeenNode>, Error> {
        let running = self.inner.running()?;
        Ok(gossip::seen(&running.engine, &running.discovery))
    }

    /// Returns what happened to this replica after event number `after` of this start, oldest
    /// first; the latest 1,024 are kept. The second value tells starts apart.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// let (events, _boot) = cluster.events(0)?;
    /// for event in events {
    ///     println!("{} {}: {}", event.seq, event.kind.as_str(), event.text);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn events(&self, after: u64) -> Result<(Vec<Event>, u64), Error> {
        let running = self.inner.running()?;
        let events = &running.engine.events;
        Ok((events.after(after), events.boot()))
    }

    /// Waits until the replica is a member, knows a leader and has caught up with it.
    ///
    /// # Errors
    /// After `timeout`, what it still waits for; and why it has stopped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// cluster.wait_ready(std::time::Duration::from_secs(30)).await?;
    /// assert!(cluster.readiness().is_ok());
    /// # Ok(()) }
    /// ```
    pub async fn wait_ready(&self, timeout: Duration) -> Result<(), Error> {
        let deadline = runtime::now() + timeout;
        loop {
            let reason = match self.readiness() {
                Ok(()) => {
                    let engine = self.inner.engine()?;
                    let left = deadline.saturating_duration_since(runtime::now());
                    return engine.linearize(left).await.map(drop);
                }
                Err(error) if !error.is_retryable() => return Err(error),
                Err(error) => error,
            };
            if runtime::now() >= deadline {
                return Err(reason);
            }
            tokio::time::sleep(RETRY_INTERVAL.min(timeout)).await;
        }
    }

    /// Reports why the replica is not ready to serve linearizable reads now; `Ok` when it is.
    ///
    /// # Errors
    /// The reason.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// if let Err(reason) = cluster.readiness() {
    ///     println!("take this process out of the load balancer: {reason}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn readiness(&self) -> Result<(), Error> {
        let running = self.inner.running()?;
        let engine = &running.engine;
        if let Some(fault) = engine.fault().or_else(|| engine.soundness.doubted()) {
            return Err(fault);
        }
        let status = self.status()?;
        // A leader that is cut off, and a follower that heard of one, know a leader all the same.
        if status.leader.is_none() || engine.peers.quorum().lost {
            return Err(engine.route.unavailable(runtime::now(), ErrorOutcome::NotApplied));
        }
        if status.membership == Membership::None {
            return Err(Error::NotReady { reason: "it is not a member yet".into() });
        }
        if engine.route.room.now().pauses {
            return Err(Engine::paused());
        }
        // Whoever is told of it now would be told where it was.
        let told = engine.members().into_iter().find(|(id, ..)| *id == status.node_id);
        if told.is_some_and(|(_, told, _)| told != running.member) {
            return Err(Error::NotReady {
                reason: "the others do not know its address yet".into(),
            });
        }
        let lag = status.committed_index.0.saturating_sub(status.applied_index.0);
        if lag > READY_LAG_MAX {
            return Err(Error::NotReady { reason: format!("it is {lag} entries behind") });
        }
        Ok(())
    }
}
