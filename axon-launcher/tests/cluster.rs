//! The launcher with real servers: what people do with a cluster on one machine.
//!
//! Needs the `axon-server` binary beside the launcher's (`cargo build -p axon-server`), or named by
//! `AXON_SERVER_BIN`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{Launcher, Site};

fn is(node: &Value, field: &str, value: &str) -> bool {
    node[field] == value
}

fn online_voter(node: &Value) -> bool {
    is(node, "status", "online") && is(node, "membership", "voter")
}

#[tokio::test]
async fn a_first_start_makes_one_cluster_and_a_later_one_continues_it() {
    let site = Site::new();
    let launcher = site.launch().await;
    let cluster = site.manifest()["cluster_id"].clone();
    let mut ids = Vec::new();
    for (number, name) in ["node1", "node2", "node3"].into_iter().enumerate() {
        let node = launcher.until_node(name, online_voter).await;
        assert_eq!(node["id"], name);
        assert_eq!(node["api_port"], site.base_port + 10 * number as u16);
        ids.push(node["node_id"].clone());
    }
    launcher.until_leader().await;
    assert_eq!(site.put(site.base_port + 10, "greeting", "hello").await, 200);
    assert_eq!(launcher.stop().await.code(), Some(0));

    let launcher = site.launch().await;
    for (name, id) in ["node1", "node2", "node3"].into_iter().zip(ids) {
        assert_eq!(launcher.until_node(name, online_voter).await["node_id"], id);
    }
    assert_eq!(site.manifest()["cluster_id"], cluster);
    assert_eq!(site.get(site.base_port + 20, "greeting").await.as_deref(), Some("hello"));
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn an_added_node_gets_a_vote_and_a_deleted_one_leaves_nothing_behind() {
    let site = Site::new();
    let launcher = site.launch().await;
    for name in ["node1", "node2", "node3"] {
        launcher.until_node(name, online_voter).await;
    }
    assert_eq!(site.put(site.base_port, "before", "node4").await, 200);

    let (status, added) = launcher.order("add", r#"{"node_id":"node4"}"#).await;
    assert_eq!((status, &added["id"]), (200, &json!("node4")), "{added}");
    let port = site.base_port + 30;
    assert_eq!(added["api_port"], port);
    let first_id = launcher.until_node("node4", online_voter).await["node_id"].clone();
    assert_eq!(site.get(port, "before").await.as_deref(), Some("node4"));
    let (status, refused) = launcher.order("add", r#"{"node_id":"node4"}"#).await;
    assert_eq!((status, &refused["code"]), (409, &json!("conflict")));
    for bad in [r#"{"node_id":"../up"}"#, r#"{"node_id":""}"#, r#"{"node_id":"Node"}"#, "{}", "x"] {
        assert_eq!(launcher.order("add", bad).await.0, 400, "{bad}");
    }

    let (status, gone) = launcher.order("delete/node4", "").await;
    assert_eq!(status, 200, "{gone}");
    assert!(launcher.nodes().await.get("node4").is_none());
    assert!(!site.data().join("nodes/node4").exists());
    assert!(!site.data().join("trash/node4").exists());
    site.until("node4 is no member", async || {
        (site.members(site.base_port).await == ["node1", "node2", "node3"]).then_some(())
    })
    .await;
    assert_eq!(launcher.order("delete/node4", "").await.0, 404);

    // The name may be used again; the id may not.
    assert_eq!(launcher.order("add", r#"{"node_id":"node4"}"#).await.0, 200);
    let second_id = launcher.until_node("node4", online_voter).await["node_id"].clone();
    assert_ne!(first_id, second_id);
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_stopped_node_can_be_deleted_and_the_leader_too() {
    let site = Site::new();
    let launcher = site.launch().await;
    launcher.order("add", r#"{"node_id":"spare"}"#).await;
    for name in ["node1", "node2", "node3", "spare"] {
        launcher.until_node(name, online_voter).await;
    }
    assert_eq!(launcher.order("stop/spare", "").await.0, 200);
    let (status, gone) = launcher.order("delete/spare", "").await;
    assert_eq!(status, 200, "{gone}");
    let leader = launcher.until_leader().await;
    let (status, gone) = launcher.order(&format!("delete/{leader}"), "").await;
    assert_eq!(status, 200, "{gone}");
    assert_ne!(launcher.until_leader().await, leader);
    assert!(!site.data().join("nodes").join(&leader).exists());
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn without_a_quorum_writes_are_refused_until_a_node_is_started() {
    let site = Site::new();
    let launcher = site.launch().await;
    for name in ["node1", "node2", "node3"] {
        launcher.until_node(name, online_voter).await;
    }
    assert_eq!(site.put(site.base_port, "k", "1").await, 200);
    for name in ["node2", "node3", "node3"] {
        let (status, node) = launcher.order(&format!("stop/{name}"), "").await;
        assert_eq!((status, &node["status"]), (200, &json!("offline")), "{node}");
    }
    let nodes = launcher.nodes().await;
    assert!(is(&nodes["node2"], "status", "offline") && is(&nodes["node1"], "status", "online"));
    site.until("a write is refused", async || {
        (site.put(site.base_port, "k", "2").await == 503).then_some(())
    })
    .await;
    assert_eq!(launcher.order("stop/nobody", "").await.0, 404);

    for _ in 0..2 {
        assert_eq!(launcher.order("start/node2", "").await.0, 200);
    }
    site.until("a write is taken", async || {
        (site.put(site.base_port, "k", "3").await == 200).then_some(())
    })
    .await;
    assert_eq!(launcher.stop().await.code(), Some(0));

    // A stopped node stays so over a restart of the launcher.
    let launcher = site.launch().await;
    let stopped = launcher.until_node("node3", |node| is(node, "desired", "stopped")).await;
    assert!(is(&stopped, "status", "offline"));
    assert_eq!(site.get(site.base_port, "k").await.as_deref(), Some("3"));
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_node_that_was_killed_is_started_again() {
    let site = Site::new();
    let launcher = site.launch().await;
    let before = launcher.until_node("node2", online_voter).await;
    let pid = before["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    let after = launcher
        .until_node("node2", |node| online_voter(node) && node["pid"] != before["pid"])
        .await;
    assert_eq!(after["node_id"], before["node_id"]);
    assert_eq!(after["last_exit"]["text"], "was killed (signal 9)");
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_launcher_takes_over_from_one_that_was_killed() {
    let site = Site::new();
    let launcher = site.launch().await;
    for name in ["node1", "node2", "node3"] {
        launcher.until_node(name, online_voter).await;
    }
    let before = launcher.nodes().await;
    launcher.kill();
    // The cluster does not notice.
    assert_eq!(site.put(site.base_port, "meanwhile", "yes").await, 200);

    let launcher = site.launch().await;
    for name in ["node1", "node2", "node3"] {
        let after = launcher.until_node(name, online_voter).await;
        assert_eq!(after["pid"], before[name]["pid"], "{name} was not restarted");
    }
    assert_eq!(launcher.order("stop/node3", "").await.0, 200);
    assert_eq!(launcher.order("start/node3", "").await.0, 200);
    let after = launcher.until_node("node3", online_voter).await;
    assert_ne!(after["pid"], before["node3"]["pid"]);
    assert_eq!(launcher.stop().await.code(), Some(0));
    assert!(std::net::TcpListener::bind(("127.0.0.1", site.base_port)).is_ok());
}

#[tokio::test]
async fn a_node_that_lost_its_directory_comes_back_under_a_new_id() {
    let site = Site::new();
    let launcher = site.launch().await;
    // Four, so that all three others are needed while the lost one still counts as a voter.
    assert_eq!(launcher.order("add", r#"{"node_id":"node4"}"#).await.0, 200);
    for name in ["node1", "node2", "node3", "node4"] {
        launcher.until_node(name, online_voter).await;
    }
    assert_eq!(site.put(site.base_port, "k", "kept").await, 200);
    let mut lost = launcher.nodes().await["node2"]["node_id"].clone();
    for what in ["nodes/node2/data", "nodes/node2"] {
        assert_eq!(launcher.order("stop/node2", "").await.0, 200);
        std::fs::remove_dir_all(site.data().join(what)).unwrap();
        assert_eq!(launcher.order("start/node2", "").await.0, 200);
        let back = launcher
            .until_node("node2", |node| online_voter(node) && node["node_id"] != lost)
            .await;
        lost = back["node_id"].clone();
        site.until("the lost id has left", async || {
            let members = site.members(site.base_port).await;
            (members == ["node1", "node2", "node3", "node4"]).then_some(())
        })
        .await;
        assert_eq!(site.get(site.base_port + 10, "k").await.as_deref(), Some("kept"));
        assert_eq!(site.put(site.base_port + 10, "k", "kept").await, 200);
    }
    let nodes = launcher.nodes().await;
    for (name, node) in nodes.as_object().unwrap() {
        assert_eq!(node["last_exit"]["code"].as_i64().unwrap_or(0), 0, "{name} has not crashed");
    }
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_launcher_and_a_lost_manifest_are_refused() {
    let site = Site::new();
    let launcher = site.launch().await;
    let said = site.refused(&[]);
    assert!(said.contains("is in use by another axon-launcher (process "), "{said}");
    for name in ["node1", "node2", "node3"] {
        launcher.until_node(name, online_voter).await;
    }
    assert_eq!(launcher.stop().await.code(), Some(0));

    let manifest = site.data().join("cluster.json");
    let aside = site.data().join("aside");
    std::fs::rename(&manifest, &aside).unwrap();
    let said = site.refused(&[]);
    assert!(said.contains("(node1, node2, node3) but no cluster.json"), "{said}");
    assert!(!manifest.exists(), "nothing was made in its place");
    std::fs::write(&manifest, r#"{"format":99}"#).unwrap();
    assert!(site.refused(&[]).contains("format 99"));
    std::fs::rename(&aside, &manifest).unwrap();
    let nodes = site.data().join("nodes");
    let elsewhere = site.data().join("elsewhere");
    std::fs::rename(&nodes, &elsewhere).unwrap();
    assert!(site.refused(&[]).contains("the directory of every node is gone"));
    std::fs::remove_dir(&nodes).unwrap();
    std::fs::rename(&elsewhere, &nodes).unwrap();

    let launcher = site.launch().await;
    launcher.until_node("node1", online_voter).await;
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_first_start_killed_at_any_point_ends_in_one_cluster() {
    let site = Site::new();
    let holds = |path: &str| {
        let path = site.data().join(path);
        std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
    };
    let points: [(&str, &dyn Fn() -> bool); 6] = [
        ("the manifest is there", &|| !site.manifest().is_null()),
        ("the founder's directory is there", &|| holds("nodes/node1")),
        ("the founder's replica is begun", &|| holds("nodes/node1/data")),
        ("the cluster is formed", &|| site.manifest()["formed"] == true),
        ("the second directory is there", &|| holds("nodes/node2")),
        ("the third replica is begun", &|| holds("nodes/node3/data")),
    ];
    let mut cluster = Value::Null;
    for (what, reached) in points {
        let launcher = site.begin();
        site.until(what, async || reached().then_some(())).await;
        launcher.kill();
        let found = site.manifest()["cluster_id"].clone();
        assert!(cluster.is_null() || cluster == found, "{what}: {found} after {cluster}");
        cluster = found;
    }
    let launcher = site.launch().await;
    assert_eq!(one_cluster_of_three(&site, &launcher).await, cluster);
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_first_start_killed_at_random_moments_ends_in_one_cluster() {
    let seed = std::env::var("AXON_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("AXON_TEST_SEED={seed} draws the same moments");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..6 {
        let site = Site::new();
        // A first start is complete in about a second; half of the kills come in its first third.
        let moment = Duration::from_millis(random.random_range(0..40_u64).pow(2));
        let launcher = site.begin();
        let begun = Instant::now();
        site.until("the moment comes", async || (begun.elapsed() >= moment).then_some(())).await;
        launcher.kill();
        let found = site.manifest()["cluster_id"].clone();
        let launcher = site.launch().await;
        let cluster = one_cluster_of_three(&site, &launcher).await;
        assert!(found.is_null() || found == cluster, "after {moment:?}: {cluster}, was {found}");
        assert_eq!(launcher.stop().await.code(), Some(0), "after {moment:?}");
    }
}

/// Checks that three nodes are the voters of one cluster, by their own words; returns its id.
async fn one_cluster_of_three(site: &Site, launcher: &Launcher<'_>) -> Value {
    let cluster = site.manifest()["cluster_id"].clone();
    let mut ids = std::collections::BTreeSet::new();
    for name in ["node1", "node2", "node3"] {
        let node = launcher.until_node(name, online_voter).await;
        ids.insert(node["node_id"].as_u64().unwrap());
    }
    assert_eq!(ids.len(), 3);
    for port in [0, 10, 20].map(|offset| site.base_port + offset) {
        let what = format!("the node at {port} knows three voters");
        let status = site
            .until(&what, async || {
                let status = site.status(port).await;
                (status["voters"].as_array()?.len() == 3).then_some(status)
            })
            .await;
        assert_eq!(status["cluster_id"], cluster);
        assert_eq!(site.members(port).await, ["node1", "node2", "node3"], "no ghosts");
    }
    cluster
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_finished_by_the_next_launcher() {
    let site = Site::new();
    for (mark, without_its_vote) in [("removing", true), ("removing", false), ("removed", true)] {
        let launcher = site.launch().await;
        assert_eq!(launcher.order("start/node3", "").await.0, 200);
        assert_eq!(launcher.order("add", r#"{"node_id":"node4"}"#).await.0, 200);
        for name in ["node1", "node2", "node3", "node4"] {
            launcher.until_node(name, online_voter).await;
        }
        if !without_its_vote {
            // Two of four are no majority: the next launcher must start what it deletes.
            assert_eq!(launcher.order("stop/node3", "").await.0, 200);
        }
        if mark == "removed" {
            // As a launcher leaves it that was killed between the second mark and the renaming.
            let id = launcher.nodes().await["node4"]["node_id"].clone();
            assert_eq!(launcher.order("stop/node4", "").await.0, 200);
            let path = format!("/v1/members/{id}");
            let removed = site.send(hyper::Method::DELETE, site.base_port, &path, "").await;
            assert!(removed.status.is_success(), "{}", removed.sentence());
        }
        assert_eq!(launcher.stop().await.code(), Some(0));
        let mut manifest = site.manifest();
        manifest["nodes"][3]["decommission"] = mark.into();
        std::fs::write(site.data().join("cluster.json"), manifest.to_string()).unwrap();

        let launcher = site.launch().await;
        launcher.until_node("node4", Value::is_null).await;
        assert!(!site.data().join("nodes/node4").exists(), "{mark}");
        site.until("node4 is no member", async || {
            (site.members(site.base_port).await == ["node1", "node2", "node3"]).then_some(())
        })
        .await;
        assert_eq!(launcher.stop().await.code(), Some(0));
    }
}
