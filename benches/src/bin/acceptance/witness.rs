//! Watches a cluster from outside, all the time: who says that it leads in which term, and which
//! cluster it is.

use crate::Check;
use crate::http::Http;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often every node is asked.
const EVERY: Duration = Duration::from_millis(20);

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The ids of those who said that they lead, by term.
    leaders: BTreeMap<u64, BTreeSet<u64>>,
    pub clusters: BTreeSet<String>,
    pub term: u64,
    pub answers: usize,
}

impl Seen {
    fn take(&mut self, status: &serde_json::Value) -> Option<()> {
        let term = status["term"].as_u64()?;
        self.term = self.term.max(term);
        self.answers += 1;
        self.clusters.insert(status["cluster_id"].as_str()?.to_owned());
        if status["raft_state"] == "leader" {
            self.leaders.entry(term).or_default().insert(status["node_id"].as_u64()?);
        }
        Some(())
    }
}

/// Asks nodes until it is ended.
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    asking: JoinHandle<()>,
}

impl Witness {
    /// Begins to ask the nodes at `ports`.
    pub fn watch(http: &Http, ports: &[u16]) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (http, ports, noted) = (http.clone(), ports.to_vec(), Arc::clone(&seen));
        let asking = tokio::spawn(async move {
            loop {
                for port in &ports {
                    // One that does not run has nothing to say.
                    if let Ok(status) = http.get_json(*port, "/v1/status").await {
                        noted.lock().unwrap_or_else(PoisonError::into_inner).take(&status);
                    }
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { seen, asking }
    }

    /// Ends; two leaders in one term, or two clusters, are a violation.
    pub fn end(self) -> Check<Seen> {
        self.asking.abort();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((term, leaders)) = seen.leaders.iter().find(|(_, ids)| ids.len() > 1) {
            return Err(format!("in term {term} the nodes {leaders:?} said that they lead"));
        }
        if seen.clusters.len() > 1 {
            return Err(format!("there were the clusters {:?}", seen.clusters));
        }
        Ok(seen)
    }
}
