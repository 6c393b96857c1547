//! Axon embedded: replicas of `axon-core` in this process, over TCP among themselves, and clients
//! that call it.

use crate::counters::Counters;
use crate::door::Failure;
use crate::work::Request;
use crate::{Check, proc};
use axon_core::cluster::Builder;
use axon_core::store::ReadConsistency;
use axon_core::{Cluster, Error, Store};
use std::path::Path;

/// The replicas.
pub struct Replicas(axon_benches::Replicas);

impl Replicas {
    /// Starts `count` of them, with their data under `parent`, which must lie on a disk.
    pub async fn start(parent: &Path, count: usize) -> Check<Self> {
        Self::start_with(parent, count, |_, builder| builder).await
    }

    /// The same with other settings: see [`axon_benches::Replicas::start_with`].
    pub async fn start_with(
        parent: &Path,
        count: usize,
        change: impl Fn(usize, Builder) -> Builder,
    ) -> Check<Self> {
        let made = std::fs::create_dir_all(parent);
        made.map_err(|error| format!("{}: {error}", parent.display()))?;
        proc::check_disk(parent)?;
        Ok(Self(axon_benches::Replicas::start_with(count, parent, change).await))
    }

    /// One alone, on a directory that stays.
    pub async fn alone(builder: Builder) -> Self {
        Self(axon_benches::Replicas::alone(builder).await)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.stores().len()
    }

    /// A client of one replica.
    pub fn door(&self, node: usize, value_bytes: usize) -> Embedded {
        Embedded::new(self.0.cluster(node), value_bytes)
    }

    /// The store of each.
    pub fn stores(&self) -> Vec<Store> {
        self.0.stores()
    }

    /// What the logs have counted.
    pub fn counters(&self) -> Counters {
        let metrics = self.0.metrics();
        Counters {
            syncs: Some(metrics.iter().map(|metrics| metrics.log.syncs).sum()),
            entries: Some(metrics.iter().map(|metrics| metrics.log.appended_entries).sum()),
        }
    }

    /// The replica that leads, if one does.
    pub fn leader(&self) -> Option<usize> {
        self.0.leader()
    }

    /// Stops them and removes their data.
    pub async fn end(self) {
        self.0.shutdown().await;
    }
}

/// A client: it calls the library.
pub struct Embedded {
    store: Store,
    local: Store,
    value_bytes: usize,
}

impl Embedded {
    /// A client of `cluster`; it expects to read values of `value_bytes`.
    pub fn new(cluster: &Cluster, value_bytes: usize) -> Self {
        let store = cluster.store();
        let local = store.with_consistency(ReadConsistency::Local);
        Self { store, local, value_bytes }
    }

    /// Makes one request.
    pub async fn ask(&mut self, request: Request) -> Result<(), Failure> {
        // A local read never waits: without this, 64 clients that make them never let go of the
        // runtime's threads, and the clock that ends the run is not looked at again.
        tokio::task::coop::consume_budget().await;
        match request {
            Request::Put(key, value) => {
                self.store.put(key, value).await.map(drop).map_err(|error| failed(&error))
            }
            Request::Get { key, local } => {
                let store = if local { &self.local } else { &self.store };
                match store.get(key).await.map_err(|error| failed(&error))? {
                    Some(pair) if pair.value.len() == self.value_bytes => Ok(()),
                    Some(_) => Err(Failure::OTHER_VALUE),
                    None => Err(Failure::ABSENT),
                }
            }
        }
    }
}

/// The kind of an error: the name of its variant, without what differs each time.
fn failed(error: &Error) -> Failure {
    let shown = format!("{error:?}");
    let name = shown.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    Failure(name.to_owned().into())
}
