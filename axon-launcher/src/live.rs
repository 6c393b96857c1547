//! The cluster as it is now, for whoever watches it.

use crate::health::{self, Members};
use crate::node::View;
use crate::report::{Words, millis};
use crate::roster::{self, Usage};
use crate::supervisor::Supervisor;
use crate::wire::{Cluster, Health, Node};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What is remembered from one look at the cluster to the next.
#[derive(Debug, Default)]
pub struct Live {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    members: Members,
    health: Option<(Health, u64)>,
    usage: BTreeMap<String, Usage>,
}

impl Supervisor {
    /// All nodes, as `/api/v1` shows them, in the order of the manifest.
    pub fn nodes_v1(&self) -> Vec<Node> {
        let views = self.views();
        let manifest = self.manifest();
        roster::nodes(&manifest, &views, &self.0.live.lock().usage)
    }

    /// The cluster, as `/api/v1` shows it.
    pub fn cluster_v1(&self) -> Cluster {
        let views = self.views();
        let manifest = self.manifest();
        let mut memory = self.0.live.lock();
        if let Some(heard) = Members::heard(Words::of(&views)) {
            memory.members = heard;
        }
        let mut cluster = health::cluster(&manifest, &views, &memory.members);
        cluster.since = match memory.health {
            Some((health, since)) if health == cluster.health => since,
            _ => millis(SystemTime::now()),
        };
        memory.health = Some((cluster.health, cluster.since));
        cluster
    }

    fn views(&self) -> BTreeMap<String, View> {
        self.nodes().into_iter().map(|node| (node.name().to_string(), node.view())).collect()
    }
}

impl Live {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
