//! A launcher's cluster of which one node holds another state than the others.
//!
//! Needs the `axon-server` binary beside the launcher's (`cargo build -p axon-server`), or named by
//! `AXON_SERVER_BIN`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use axon_core::storage::Space;
use axon_core::storage::disk::RealDisk;
use axon_core::storage::redb::RedbState;
use axon_core::testing::tamper::tamper;
use hyper::Method;
use serde_json::Value;
use std::sync::Arc;
use support::{Launcher, Site};

fn is_complete(node: &Value) -> bool {
    node["status"] == "online" && node["membership"] == "voter" && node["ready"] == true
}

/// The events of one kind about `node3`, newest first.
async fn events(launcher: &Launcher<'_>, kind: &str) -> Vec<Value> {
    let path = format!("events?kind={kind}&node=node3");
    let (status, page) = launcher.api(Method::GET, &path, "").await;
    assert_eq!(status, 200, "{page}");
    page["events"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_node_whose_state_differs_halts_and_is_started_again_as_a_new_one() {
    let mut site = Site::new();
    // Its base is not read when it starts: what is wrong must be found by what comes later.
    site.environment = vec![("AXON_SCRUB_BYTES_MAX", "0"), ("AXON_COMPARE_REVISIONS", "10")];
    let launcher = site.launch().await;
    for name in ["node1", "node2", "node3"] {
        launcher.until_node(name, is_complete).await;
    }
    let (first, third) = (site.base_port, site.base_port + 20);
    assert_eq!(site.put(first, "a", "1").await, 200);
    let id = launcher.until_node("node3", is_complete).await["node_id"].clone();

    // It writes its checkpoint as it stops. Then a row is changed, with a checksum that fits.
    assert_eq!(launcher.order("stop/node3", "").await.0, 200);
    launcher.until_node("node3", |node| node["status"] == "offline").await;
    let directory = site.data().join("nodes/node3/data");
    let state = RedbState::open(Arc::new(RealDisk), &directory, 1 << 20).unwrap();
    assert!(tamper(&state, Space::Kv, b"a", 1).unwrap());
    drop(state);
    assert_eq!(launcher.order("start/node3", "").await.0, 200);
    let node = launcher.until_node("node3", is_complete).await;
    assert_eq!(node["node_id"], id);
    assert_eq!(site.get(third, "a").await.as_deref(), Some("3"), "nobody knows yet");

    assert_eq!(site.put(first, "a", "2").await, 200);
    for number in 0..12 {
        assert_eq!(site.put(first, "b", &number.to_string()).await, 200);
    }
    launcher.until_node("node3", |node| is_complete(node) && node["node_id"] != id).await;
    assert_eq!(site.get(third, "a").await.as_deref(), Some("2"));
    let kept = directory.join(format!("quarantined-{id}"));
    assert!(kept.join("identity").exists() && kept.join("state.redb").exists());
    assert!(!directory.join("quarantine").exists());
    let hash = async |port| site.status(port).await["state_hash"].clone();
    site.until("the states are equal", async || {
        (hash(first).await == hash(third).await).then_some(())
    })
    .await;

    let back = format!("node3 was quarantined as id {id}, and is back as id");
    site.until("it is told that it is back", async || {
        let told = events(&launcher, "quarantined").await;
        told.iter().any(|event| event["text"].as_str().unwrap().starts_with(&back)).then_some(())
    })
    .await;
    let differs = events(&launcher, "state_differs").await;
    assert_eq!(differs.len(), 1, "told once: {differs:#?}");
    assert_eq!(differs[0]["severity"], "error");
    let crashed = events(&launcher, "crashed").await;
    assert_eq!(crashed[0]["exit"]["code"], 3, "{crashed:#?}");
    assert!(crashed[0]["text"].as_str().unwrap().contains("it is quarantined"), "{crashed:#?}");
    assert_eq!(launcher.stop().await.code(), Some(0));
}
