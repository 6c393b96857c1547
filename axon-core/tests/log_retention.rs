//! The log is kept short without work of its own: one replica in memory, in simulated time.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::Cluster;
use axon_core::config::{Config, Origin};
use axon_core::runtime::simulation;
use axon_core::transport::memory::MemNetwork;
use axon_core::types::LogIndex;
use std::sync::Arc;
use std::time::Duration;

const VALUE_BYTES: usize = 64 << 10;

#[test]
fn a_log_beyond_its_retention_is_cut_at_checkpoints_and_causes_none() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        simulation::begin(1);
        let network = MemNetwork::new();
        let config = Config {
            listen: Some("n1".into()),
            origin: Origin::Init(None),
            log_retention_bytes: 1 << 20,
            checkpoint_bytes: 1 << 30,
            overlay_bytes_max: 2 << 30,
            checkpoint_interval: Duration::from_hours(1),
            ..Config::default()
        };
        let starting =
            Cluster::builder().config(config).transport(Arc::new(network.transport("n1"))).start();
        let replica = simulation::on_node(1, starting).await.unwrap();
        replica.wait_ready(Duration::from_mins(1)).await.unwrap();
        let store = replica.store();
        // Some 16 MiB in ten seconds.
        let fill = async || {
            for number in 0..250 {
                store.put(format!("{number}"), vec![7; VALUE_BYTES]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        };
        fill().await;
        assert_eq!(replica.metrics().checkpoints, 0);
        assert_eq!(replica.status().unwrap().purged_index, LogIndex(0));

        let checkpoint = replica.checkpoint().await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let purged = replica.status().unwrap().purged_index;
        assert!(purged > LogIndex(200) && purged <= checkpoint, "purged up to {purged}");
        fill().await;
        assert_eq!(replica.metrics().checkpoints, 1, "none but the one that was asked for");
        simulation::end();
    });
}
