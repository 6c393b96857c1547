//! A launcher's cluster of which two of three directories are gone for good.
//!
//! Needs the `axon-server` binary beside the launcher's (`cargo build -p axon-server`), or named by
//! `AXON_SERVER_BIN`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "each test file uses its own part of the support")]

mod support;

use serde_json::json;
use std::fs;
use support::Site;

#[tokio::test]
async fn two_of_three_directories_are_gone_and_the_third_brings_the_cluster_back() {
    let site = Site::new();
    let launcher = site.launch().await;
    let voter = |node: &serde_json::Value| node["membership"] == "voter";
    for name in ["node1", "node2", "node3"] {
        launcher.until_node(name, voter).await;
    }
    assert_eq!(site.put(site.base_port, "greeting", "hello").await, 200);
    let running = site.refused(&["recover"]);
    assert!(running.contains("in use by another axon-launcher"), "{running}");
    assert_eq!(launcher.stop().await.code(), Some(0));

    let lost = site.manifest()["cluster_id"].as_str().unwrap().to_owned();
    let needless = site.refused(&["recover", "--yes", &lost]);
    assert!(needless.contains("a majority of the cluster is here"), "{needless}");
    // One is gone, and one cannot be read.
    fs::remove_dir_all(site.data().join("nodes/node2")).unwrap();
    fs::remove_dir_all(site.data().join("nodes/node3/data/log")).unwrap();
    let shown = site.done(&["recover"]);
    assert!(shown.contains("axon-launcher recover --data-dir"), "{shown}");
    assert!(shown.contains("cannot be used") && shown.contains(&lost), "{shown}");
    assert!(site.refused(&["recover", "--yes", &"0".repeat(32)]).contains(&lost));

    // It was interrupted when it had just begun: no launcher starts, and it is finished.
    let plan = json!({ "lost": lost, "survivor": "node1", "keep": "before-recovery-1" });
    fs::write(site.data().join("recovery.json"), plan.to_string()).unwrap();
    let refused = site.refused(&[]);
    assert!(refused.contains(&format!("--yes {lost}")), "{refused}");
    let done = site.done(&["recover", "--yes", &lost]);
    let found = site.manifest()["cluster_id"].as_str().unwrap().to_owned();
    assert!(found != lost && done.contains(&found), "{done}");
    assert!(site.data().join("before-recovery-1/node3/data/identity").exists());
    // It was interrupted after the server's part: what is there is recognised.
    fs::write(site.data().join("recovery.json"), plan.to_string()).unwrap();
    site.done(&["recover", "--yes", &lost]);
    assert_eq!(site.manifest()["cluster_id"], found.as_str());

    let launcher = site.launch().await;
    let mut ids = Vec::new();
    for name in ["node1", "node2", "node3"] {
        ids.push(launcher.until_node(name, voter).await["node_id"].as_u64().unwrap());
    }
    assert_eq!(ids[0], 4);
    ids.sort_unstable();
    assert_eq!(ids, [4, 5, 6], "no id is used again");
    for port in [0, 10, 20].map(|offset| site.base_port + offset) {
        assert_eq!(site.get(port, "greeting").await.as_deref(), Some("hello"));
    }
    assert_eq!(launcher.stop().await.code(), Some(0));
}
