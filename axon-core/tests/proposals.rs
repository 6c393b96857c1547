//! What a write waits for on its way into the log: one replica in memory, in simulated time.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::Cluster;
use axon_core::config::{Config, Origin};
use axon_core::runtime::{self, simulation};
use axon_core::transport::memory::MemNetwork;
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;

const CLIENTS: u64 = 256;
const PUTS: u64 = 50;
/// The simulated log takes up to 4 ms a sync. A put waits for the one under way, for those of the
/// batches before its own, which share one, and for its own.
const THREE_SYNCS: Duration = Duration::from_millis(12);

#[test]
fn a_write_waits_for_the_batches_before_it_and_for_nothing_else() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        simulation::begin(1);
        let network = MemNetwork::new();
        let config =
            Config { listen: Some("n1".into()), origin: Origin::Init(None), ..Config::default() };
        let starting =
            Cluster::builder().config(config).transport(Arc::new(network.transport("n1"))).start();
        let replica = simulation::on_node(1, starting).await.unwrap();
        replica.wait_ready(Duration::from_mins(1)).await.unwrap();

        let store = replica.store();
        let client = |client: u64| {
            let store = store.clone();
            async move {
                let mut waited = Vec::new();
                for put in 0..PUTS {
                    // Each at a time of its own, so that there are more batches than are sent at once.
                    tokio::time::sleep(Duration::from_millis((7 * client + 3 * put) % 5)).await;
                    let begun = runtime::now();
                    store.put(format!("{client}/{put}"), "value").await.unwrap();
                    waited.push(begun.elapsed());
                }
                waited
            }
        };
        let mut waited: Vec<Duration> =
            join_all((0..CLIENTS).map(client)).await.into_iter().flatten().collect();
        waited.sort_unstable();
        let longest = waited[waited.len() - 1];
        assert!(longest <= THREE_SYNCS, "p50 {:?}, {longest:?} at most", waited[waited.len() / 2]);
        simulation::end();
    });
}
