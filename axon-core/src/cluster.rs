//! A replica's life: open, serve, shut down.

use crate::config::Config;
use crate::error::Error;
use crate::status::{MemberStatus, Metrics, Status};
use crate::store::Store;
use crate::types::{ClusterId, LogIndex, NodeId};
use std::path::Path;
use std::time::Duration;

/// A replica of a cluster, running in this process. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {}

impl Cluster {
    /// Opens a durable single replica without a network, and makes its cluster the first time.
    pub async fn open(_data_dir: impl AsRef<Path>) -> Result<Self, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Makes a new cluster in the directory that `config` names, once: writes the identity of its first
    /// replica, then returns without running it. [`start`](Self::start) resumes it. The cluster id is the one in
    /// [`Origin::Init`](crate::config::Origin::Init), or a random one.
    ///
    /// # Errors
    /// [`Error::Storage`] when the directory holds anything already, or cannot be written.
    pub async fn init(_config: Config) -> Result<ClusterId, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Opens a replica with `config`. A joining one is returned while it still knocks: its calls
    /// answer [`Error::NotReady`] until it is a member (see [`wait_ready`](Self::wait_ready)).
    pub async fn start(_config: Config) -> Result<Self, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Returns the store.
    pub fn store(&self) -> Store {
        Store {}
    }

    /// Returns how the replica sees itself and its cluster now.
    ///
    /// # Errors
    /// [`Error::NotReady`] while it has no identity yet.
    pub fn status(&self) -> Result<Status, Error> {
        Err(Error::ShutDown)
    }

    /// Returns the counters.
    pub fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    /// Returns the members, with who is alive as seen from here.
    pub fn members(&self) -> Result<Vec<MemberStatus>, Error> {
        Err(Error::ShutDown)
    }

    /// Waits until the replica is a member, knows a leader and has caught up with it.
    pub async fn wait_ready(&self, _timeout: Duration) -> Result<(), Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Reports why the replica is not ready to serve linearizable reads now; `Ok` when it is.
    pub fn readiness(&self) -> Result<(), Error> {
        Err(Error::ShutDown)
    }

    /// Makes a learner a voter. Any replica passes it to the leader.
    pub async fn promote(&self, _id: NodeId) -> Result<(), Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Takes a member out of the membership. Any replica passes it to the leader.
    pub async fn remove(&self, _id: NodeId) -> Result<(), Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Hands leadership to `to`, or to the voter with the shortest lag. Returns the new leader.
    pub async fn transfer_leadership(&self, _to: Option<NodeId>) -> Result<NodeId, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Writes a checkpoint of everything applied so far; returns its place in the log.
    pub async fn checkpoint(&self) -> Result<LogIndex, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Waits until the replica has stopped for good, and returns why: halted by a fault
    /// ([`Error::Halted`]), removed ([`Error::Removed`]) or shut down ([`Error::ShutDown`]).
    pub async fn stopped(&self) -> Error {
        std::future::ready(Error::ShutDown).await
    }

    /// Hands leadership over, finishes what is in flight, writes a checkpoint and stops.
    pub async fn shutdown(&self) -> Result<(), Error> {
        std::future::ready(Ok(())).await
    }
}
