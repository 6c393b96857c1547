//! What is asked of a cluster besides reads and writes: who belongs to it, who leads it, what is kept
//! of it. What only the leader may decide is passed on to it.

use super::{Cluster, RETRY_INTERVAL};
use crate::backup::Backup;
use crate::error::{Error, ErrorOutcome};
use crate::membership;
use crate::raft::engine::Engine;
use crate::raft::message::{Reply, Request};
use crate::runtime;
use crate::types::{LogIndex, NodeId};
use std::time::Duration;

/// How long whoever changed the membership waits until this replica has seen it.
const SEEN_DEADLINE: Duration = Duration::from_secs(1);

impl Cluster {
    /// Makes a learner a voter. Any replica passes it to the leader.
    ///
    /// # Errors
    /// [`Error::Conflict`] with what stands in its way; [`Error::UnknownMember`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # use axon_core::{Cluster, config::Promotion, transport::memory::MemNetwork};
    /// # use std::{sync::Arc, time::Duration};
    /// # let network = MemNetwork::new();
    /// # let one = Cluster::builder().name("one").init().transport(Arc::new(network.transport("one")));
    /// # let one = one.start().await?;
    /// # let two = Cluster::builder().name("two").join(["one"]).transport(Arc::new(network.transport("two")));
    /// # let two = two.settings(|config| config.promotion = Promotion::Manual).start().await?;
    /// # two.wait_ready(Duration::from_secs(30)).await?;
    /// use axon_core::status::Membership;
    ///
    /// let id = two.status()?.node_id;
    /// one.promote(id).await?;
    /// let voter = |id| one.members().is_ok_and(|members| {
    ///     members.iter().any(|m| m.id == id && m.membership == Membership::Voter)
    /// });
    /// assert!(voter(id));
    /// # Ok(()) }
    /// ```
    pub async fn promote(&self, id: NodeId) -> Result<(), Error> {
        self.known(id).await?;
        self.ask_leader(Request::Promote(id)).await.map(drop)
    }

    /// Takes a member out of the membership. Any replica passes it to the leader.
    ///
    /// # Errors
    /// [`Error::WouldLoseQuorum`] with the arithmetic; [`Error::UnknownMember`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # use axon_core::{Cluster, config::Promotion, transport::memory::MemNetwork};
    /// # use std::{sync::Arc, time::Duration};
    /// # let network = MemNetwork::new();
    /// # let one = Cluster::builder().name("one").init().transport(Arc::new(network.transport("one")));
    /// # let one = one.start().await?;
    /// # let two = Cluster::builder().name("two").join(["one"]).transport(Arc::new(network.transport("two")));
    /// # let two = two.settings(|config| config.promotion = Promotion::Manual).start().await?;
    /// # two.wait_ready(Duration::from_secs(30)).await?;
    /// let id = two.status()?.node_id;
    /// one.remove(id).await?;
    /// assert_eq!(one.members()?.len(), 1);
    /// assert_eq!(two.stopped().await, axon_core::Error::Removed { id });
    /// # Ok(()) }
    /// ```
    pub async fn remove(&self, id: NodeId) -> Result<(), Error> {
        self.known(id).await?;
        self.ask_leader(Request::Remove(id)).await.map(drop)
    }

    /// Hands leadership to `to`, or to the voter with the shortest lag. Returns the new leader.
    ///
    /// # Errors
    /// [`Error::Conflict`] when there is nobody to hand it to.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # use axon_core::{Cluster, config::Promotion, transport::memory::MemNetwork};
    /// # use std::{sync::Arc, time::Duration};
    /// # let network = MemNetwork::new();
    /// # let one = Cluster::builder().name("one").init().transport(Arc::new(network.transport("one")));
    /// # let one = one.start().await?;
    /// # let two = Cluster::builder().name("two").join(["one"]).transport(Arc::new(network.transport("two")));
    /// # let two = two.settings(|config| config.promotion = Promotion::Manual).start().await?;
    /// # two.wait_ready(Duration::from_secs(30)).await?;
    /// # one.promote(two.status()?.node_id).await?;
    /// // To the voter with the shortest lag, of those that answer.
    /// let leader = one.transfer_leadership(None).await?;
    /// assert_eq!(leader, two.status()?.node_id);
    /// # Ok(()) }
    /// ```
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, Error> {
        if let Some(to) = to {
            self.known(to).await?;
        }
        match self.ask_leader(Request::Transfer(to)).await? {
            Reply::Leader(leader) => Ok(leader),
            other => Err(Error::Conflict { reason: format!("an unexpected answer: {other:?}") }),
        }
    }

    /// Writes a checkpoint of everything applied so far; returns its place in the log.
    ///
    /// # Errors
    /// [`Error::DiskFull`] when the disk may have no room for it. A disk that fails halts the
    /// replica.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// cluster.store().put("greeting", "hello").await?;
    /// let index = cluster.checkpoint().await?;
    /// assert!(cluster.status()?.checkpoint_index >= index);
    /// # Ok(()) }
    /// ```
    pub async fn checkpoint(&self) -> Result<LogIndex, Error> {
        let engine = self.inner.engine()?;
        if !engine.checkpointer.has_room() {
            return Err(Error::DiskFull);
        }
        let position =
            self.inner.run(async move { engine.checkpointer.checkpoint_now().await }).await?;
        Ok(position.index)
    }

    /// Begins a backup: the whole store at one revision, with every write that was acknowledged
    /// before. Writes go on meanwhile.
    ///
    /// # Errors
    /// As for a linearizable read, and a disk that fails.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let cluster = axon_core::Cluster::open(dir.path()).await?;
    /// use std::io::Write;
    ///
    /// let written = cluster.store().put("greeting", "hello").await?;
    /// let mut backup = cluster.backup().await?;
    /// assert!(backup.revision() >= written.revision);
    /// let mut file = std::fs::File::create(dir.path().join("backup")).expect("a file");
    /// while let Some(part) = backup.next().await? {
    ///     file.write_all(&part).expect("space");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn backup(&self) -> Result<Backup, Error> {
        let engine = self.inner.engine()?;
        let timeout = self.inner.config.request_timeout;
        self.inner.run(async move { Backup::begin(&engine, timeout).await }).await
    }

    /// Refuses an id that no member has. A replica that lags asks before it says so.
    async fn known(&self, id: NodeId) -> Result<(), Error> {
        let engine = self.inner.engine()?;
        let looking = async move {
            let known = || engine.members().iter().any(|(known, ..)| *known == id);
            if known() || (seen(&engine).await && known()) {
                return Ok(());
            }
            Err(Error::UnknownMember { member: id.to_string() })
        };
        self.inner.run(looking).await
    }

    /// Asks the leader until it answers or the time is up.
    async fn ask_leader(&self, request: Request) -> Result<Reply, Error> {
        let engine = self.inner.engine()?;
        let timeout = self.inner.config.request_timeout * 2;
        let begun = runtime::now();
        let asking = async move {
            loop {
                let reply = membership::ask_leader(&engine, &request, &[]).await;
                let late = begun.elapsed() >= timeout;
                match reply {
                    Reply::WouldLoseQuorum { reason, alive, needed, voters } => {
                        return Err(Error::WouldLoseQuorum { reason, alive, needed, voters });
                    }
                    Reply::Refused { reason } => return Err(Error::Conflict { reason }),
                    Reply::Unavailable(reason) if late => return Err(Error::Conflict { reason }),
                    Reply::Unavailable(_) | Reply::NotLeader(_) if !late => {
                        if engine.peers.quorum().lost {
                            return Err(engine.route.unavailable(begun, ErrorOutcome::NotApplied));
                        }
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                    Reply::NotLeader(_) => {
                        return Err(engine.route.unavailable(begun, ErrorOutcome::NotApplied));
                    }
                    Reply::Done => {
                        // Whoever asks next is told of the change, here too. A replica that was
                        // removed hears of nothing any more.
                        seen(&engine).await;
                        return Ok(Reply::Done);
                    }
                    reply => return Ok(reply),
                }
            }
        };
        self.inner.run(asking).await
    }
}

/// Waits until this replica tells of everything that was done before the call; not for long.
async fn seen(engine: &Engine) -> bool {
    let told = async {
        let index = engine.linearize(SEEN_DEADLINE).await.ok()?;
        engine.until_applied(index).await;
        Some(())
    };
    tokio::time::timeout(SEEN_DEADLINE, told).await.ok().flatten().is_some()
}
