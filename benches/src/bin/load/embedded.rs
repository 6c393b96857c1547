//! Axon embedded: three replicas of `axon-core` in this process, over TCP among themselves, and clients
//! that call it.

use crate::counters::Counters;
use crate::door::Failure;
use crate::nodes::NODES;
use crate::work::Request;
use crate::{Check, proc};
use axon_core::store::ReadConsistency;
use axon_core::{Error, Store};
use std::path::Path;

/// The replicas.
pub struct Replicas(axon_benches::Replicas);

impl Replicas {
    /// Starts them, with their data under `parent`, which must lie on a disk.
    pub async fn start(parent: &Path) -> Check<Self> {
        let made = std::fs::create_dir_all(parent);
        made.map_err(|error| format!("{}: {error}", parent.display()))?;
        proc::check_disk(parent)?;
        Ok(Self(axon_benches::Replicas::start(NODES, parent).await))
    }

    /// A client of one replica.
    pub fn door(&self, node: usize, value_bytes: usize) -> Embedded {
        let store = self.0.stores().swap_remove(node);
        let local = store.with_consistency(ReadConsistency::Local);
        Embedded { store, local, value_bytes }
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
