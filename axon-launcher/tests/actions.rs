//! Handling a cluster of real servers through `/api/v1`: what is refused, what it costs, what it leaves.
//!
//! Needs the `axon-server` binary, as `cluster.rs` does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use axon_launcher::probe::NodeClient;
use hyper::Method;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Launcher, Site};
use tokio::task::JoinHandle;

/// How long one try of a put may take before the next node is asked.
const TRY: Duration = Duration::from_secs(2);

/// What a writer did.
struct Written {
    acknowledged: u64,
    /// From the first try of a put to its acknowledgement.
    slowest: Duration,
}

/// Puts one key after the other, each until it is acknowledged, through whichever node takes it.
struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Written>,
}

impl Writer {
    fn begin(ports: Vec<u16>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let client = NodeClient::new();
            let mut written = Written { acknowledged: 0, slowest: Duration::ZERO };
            let mut asked = 0;
            while !told.load(Ordering::Relaxed) {
                let number = written.acknowledged;
                let (path, body) =
                    (format!("/kv/w{number}"), json!({ "value": number.to_string() }));
                let begun = Instant::now();
                loop {
                    let port = ports[asked % ports.len()];
                    let sent = client.send(Method::PUT, port, &path, body.to_string(), TRY).await;
                    if sent.is_ok_and(|answer| answer.status.is_success()) {
                        break;
                    }
                    // This node is down, or knows no leader: the next one.
                    asked += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                written.slowest = written.slowest.max(begun.elapsed());
                written.acknowledged += 1;
            }
            written
        });
        Self { stop, task }
    }

    async fn end(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Checks that every acknowledged put is there, read through `port`.
async fn all_there(site: &Site, port: u16, written: &Written) {
    assert!(written.acknowledged > 0);
    let last = format!("w{}", written.acknowledged - 1);
    // Linearizable, so that what the node holds after it has everything that was acknowledged.
    assert!(site.get(port, &last).await.is_some());
    let answer = site.send(Method::GET, port, "/kv", "").await;
    let pairs: Value = serde_json::from_slice(&answer.body).unwrap();
    for number in 0..written.acknowledged {
        assert_eq!(pairs[format!("w{number}")], number.to_string(), "acknowledged and lost");
    }
}

fn listens(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

async fn until_all_vote(launcher: &Launcher<'_>, names: &[&str]) {
    for name in names {
        launcher
            .until_node(name, |node| {
                node["status"] == "online" && node["membership"] == "voter" && node["ready"] == true
            })
            .await;
    }
}

const THREE: [&str; 3] = ["node1", "node2", "node3"];

#[tokio::test]
async fn a_rolling_restart_under_load_takes_one_node_down_at_a_time_and_loses_nothing() {
    let site = Site::of(5);
    let launcher = site.launch().await;
    let names = ["node1", "node2", "node3", "node4", "node5"];
    until_all_vote(&launcher, &names).await;
    let leader = launcher.until_leader().await;
    let before = launcher.nodes().await;
    let ports: Vec<u16> = (0..5).map(|n| site.base_port + 10 * n).collect();
    let writer = Writer::begin(ports.clone());

    let (status, begun) = launcher.api(Method::POST, "actions/rolling_restart", "").await;
    assert_eq!(status, 202, "{begun}");
    let steps = begun["steps"].as_array().unwrap();
    let last = format!("move leadership away from {leader}, then restart it");
    assert_eq!((steps.len(), &steps[4]["name"]), (5, &json!(last)));
    let (status, refused) = launcher.api(Method::POST, "nodes/node2/actions/restart", "").await;
    assert_eq!((status, &refused["details"]["operation"]), (409, &begun["id"]), "{refused}");

    let place = format!("operations/{}", begun["id"]);
    let mut most_down = 0;
    let ended = site
        .until("the rolling restart ends", async || {
            most_down = most_down.max(ports.iter().filter(|port| !listens(**port)).count());
            let operation = launcher.api(Method::GET, &place, "").await.1;
            (operation["state"] != "running").then_some(operation)
        })
        .await;
    let written = writer.end().await;
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!(most_down, 1, "one node is down at a time");
    let after = launcher.nodes().await;
    for name in names {
        assert_ne!(after[name]["pid"], before[name]["pid"], "{name} was restarted");
        assert_eq!(after[name]["node_id"], before[name]["node_id"]);
    }
    println!("{} puts, the slowest took {:?}", written.acknowledged, written.slowest);
    assert!(written.slowest < Duration::from_millis(2_500), "{:?}", written.slowest);
    for port in [ports[0], ports[4]] {
        all_there(&site, port, &written).await;
    }
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn the_leader_is_decommissioned_under_load_without_a_long_pause() {
    let site = Site::new();
    let launcher = site.launch().await;
    until_all_vote(&launcher, &THREE).await;
    let leader = launcher.until_leader().await;
    let port = launcher.nodes().await[&leader]["api_port"].as_u64().unwrap() as u16;
    let rest: Vec<u16> =
        (0..3).map(|n| site.base_port + 10 * n).filter(|other| *other != port).collect();
    let writer = Writer::begin(rest.clone());
    let path = format!("nodes/{leader}/actions/decommission");
    let (_, dry) = launcher.api(Method::POST, &format!("{path}?dry_run=true"), "").await;
    assert_eq!((&dry["allowed"], &dry["effect"]["moves_leadership"]), (&json!(true), &json!(true)));
    let (status, ended) = launcher.api(Method::POST, &format!("{path}?wait=true"), "").await;
    assert_eq!((status, &ended["state"]), (200, &json!("done")), "{ended}");
    let steps: Vec<&Value> =
        ended["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert_eq!(json!(steps), dry["steps"]);
    let written = writer.end().await;
    println!("{} puts, the slowest took {:?}", written.acknowledged, written.slowest);
    assert!(written.slowest < Duration::from_millis(1_500), "{:?}", written.slowest);
    assert_ne!(launcher.until_leader().await, leader);
    assert!(!site.data().join("nodes").join(&leader).exists());
    for port in rest {
        all_there(&site, port, &written).await;
        assert_eq!(site.members(port).await.len(), 2);
    }
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn what_would_lose_the_quorum_is_refused_by_the_dry_run_and_the_action_alike() {
    let site = Site::new();
    let launcher = site.launch().await;
    until_all_vote(&launcher, &THREE).await;
    let (status, stopped) =
        launcher.api(Method::POST, "nodes/node3/actions/stop?wait=true", "").await;
    assert_eq!((status, &stopped["state"]), (200, &json!("done")), "{stopped}");
    launcher.until_leader().await;
    for (path, reason) in [
        (
            "nodes/node2/actions/decommission",
            "decommissioning node2 leaves 1 of 2 voters, 2 are needed",
        ),
        ("nodes/node2/actions/restart", "restarting node2 leaves 1 of 3 voters, 2 are needed"),
        ("actions/rolling_restart", "restarting one at a time leaves 1 of 3 voters, 2 are needed"),
    ] {
        let (status, dry) = launcher.api(Method::POST, &format!("{path}?dry_run=true"), "").await;
        assert_eq!((status, &dry["allowed"]), (200, &json!(false)), "{path}");
        assert_eq!(dry["reason"], reason);
        let (status, problem) = launcher.api(Method::POST, path, "").await;
        assert_eq!(
            (status, &problem["code"], &problem["error"]),
            (409, &json!("conflict"), &dry["reason"])
        );
        assert_eq!(problem["details"], dry["effect"]);
    }
    let (status, problem) = launcher.order("delete/node2", "").await;
    assert_eq!((status, &problem["details"]["online_after"]), (409, &json!(1)));
    // The one that is down may go, and stopping is allowed with a warning.
    let dry = |path: &'static str| launcher.api(Method::POST, path, "");
    let (_, gone) = dry("nodes/node3/actions/decommission?dry_run=true").await;
    assert_eq!(gone["allowed"], true, "{gone}");
    let (_, stop) = dry("nodes/node2/actions/stop?dry_run=true").await;
    assert_eq!(stop["allowed"], true);
    let warning = stop["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("stopping node2 leaves 1 of 3 voters, 2 are needed"), "{warning}");
    let nodes = launcher.nodes().await;
    assert!(nodes["node2"]["status"] == "online" && nodes["node2"]["decommission"].is_null());
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_first_node_that_lost_its_directory_comes_back_under_a_new_id() {
    let site = Site::new();
    let launcher = site.launch().await;
    until_all_vote(&launcher, &THREE).await;
    assert_eq!(site.put(site.base_port, "k", "kept").await, 200);
    let lost = launcher.nodes().await["node1"]["node_id"].clone();
    let cluster = site.status(site.base_port + 10).await["cluster_id"].clone();
    let act = |what: &'static str| launcher.api(Method::POST, what, "");
    assert_eq!(act("nodes/node1/actions/stop?wait=true").await.1["state"], "done");
    std::fs::remove_dir_all(site.data().join("nodes/node1")).unwrap();
    let (_, started) = act("nodes/node1/actions/start?wait=true").await;
    assert_eq!(started["state"], "done", "{started}");
    launcher
        .until_node("node1", |node| node["membership"] == "voter" && node["node_id"] != lost)
        .await;
    site.until("the lost id has left", async || {
        let status = site.status(site.base_port + 10).await;
        let members = [&status["voters"], &status["learners"]];
        let gone = members.iter().all(|ids| !ids.as_array().is_some_and(|ids| ids.contains(&lost)));
        (gone && status["voters"].as_array()?.len() == 3).then_some(())
    })
    .await;
    assert_eq!(site.status(site.base_port).await["cluster_id"], cluster);
    assert_eq!(site.get(site.base_port, "k").await.as_deref(), Some("kept"));
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_node_that_keeps_halting_stays_down_with_its_reason_until_it_is_started() {
    let mut site = Site::new();
    let broken = site.data().with_file_name("broken");
    let script = site.data().with_file_name("server.sh");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n*'--name node3 '*) if [ -e '{}' ]; then\n\
         echo 'axon-server: halted: a checksum is wrong' >&2; exit 3; fi;;\nesac\nexec '{}' \"$@\"\n",
        broken.display(),
        support::server().display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    site.server = script;
    let launcher = site.launch().await;
    until_all_vote(&launcher, &THREE).await;
    assert_eq!(launcher.order("stop/node3", "").await.0, 200);
    std::fs::write(&broken, "").unwrap();
    assert_eq!(launcher.order("start/node3", "").await.0, 500);
    let down = site
        .until("node3 stays down", async || {
            let (_, node) = launcher.api(Method::GET, "nodes/node3", "").await;
            (node["state"] == "crashed" && node["next_start"].is_null()).then_some(node)
        })
        .await;
    assert_eq!((&down["failures"], &down["exit"]["code"]), (&json!(5), &json!(3)), "{down}");
    let trouble = down["trouble"].as_str().unwrap();
    assert!(
        trouble.contains("a checksum is wrong") && trouble.contains("until it is started"),
        "{trouble}"
    );
    assert_eq!(down["desired_running"], true);
    std::fs::remove_file(&broken).unwrap();
    let (_, started) = launcher.api(Method::POST, "nodes/node3/actions/start?wait=true", "").await;
    assert_eq!(started["state"], "done", "{started}");
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_rolling_restart_ends_with_its_launcher_or_when_it_is_cancelled_and_all_nodes_run() {
    let site = Site::new();
    let launcher = site.launch().await;
    until_all_vote(&launcher, &THREE).await;
    let roll = async |launcher: &Launcher<'_>| {
        let (status, begun) = launcher.api(Method::POST, "actions/rolling_restart", "").await;
        assert_eq!(status, 202, "{begun}");
        let down = (0..3).map(|n| site.base_port + 10 * n).collect::<Vec<u16>>();
        site.until("a node is down", async || {
            down.iter().any(|port| !listens(*port)).then_some(())
        })
        .await;
        format!("operations/{}", begun["id"])
    };
    let place = roll(&launcher).await;
    assert_eq!(launcher.api(Method::POST, &format!("{place}/cancel"), "").await.0, 200);
    let ended = site
        .until("it is cancelled", async || {
            let operation = launcher.api(Method::GET, &place, "").await.1;
            (operation["state"] != "running").then_some(operation)
        })
        .await;
    assert_eq!(
        (&ended["state"], &ended["steps"][2]["state"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    until_all_vote(&launcher, &THREE).await;

    roll(&launcher).await;
    launcher.kill();
    assert!(!site.manifest()["rolling_restart"].is_null());
    let launcher = site.launch().await;
    until_all_vote(&launcher, &THREE).await;
    assert!(site.manifest()["rolling_restart"].is_null());
    assert_eq!(launcher.api(Method::GET, "operations", "").await.1, json!([]));
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn leadership_moves_where_it_is_sent_and_before_its_node_stops() {
    let site = Site::new();
    let launcher = site.launch().await;
    until_all_vote(&launcher, &THREE).await;
    let leader = launcher.until_leader().await;
    let target = THREE.into_iter().find(|name| *name != leader).unwrap();
    let act = async |path: String| {
        let (status, ended) = launcher.api(Method::POST, &format!("{path}?wait=true"), "").await;
        assert_eq!((status, &ended["state"]), (200, &json!("done")), "{ended}");
        ended
    };
    act(format!("nodes/{target}/actions/transfer")).await;
    assert_eq!(launcher.until_leader().await, target);
    let stopped = act(format!("nodes/{target}/actions/stop")).await;
    assert_eq!(stopped["steps"][0]["name"], format!("move leadership away from {target}"));
    assert_eq!(stopped["steps"][0]["state"], "done");
    act(format!("nodes/{target}/actions/start")).await;
    let before = launcher.nodes().await[target]["pid"].clone();
    act(format!("nodes/{target}/actions/kill")).await;
    launcher.until_node(target, |node| node["ready"] == true && node["pid"] != before).await;
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_node_added_as_a_learner_stays_one_until_it_is_promoted() {
    let site = Site::new();
    let launcher = site.launch().await;
    until_all_vote(&launcher, &THREE).await;
    let body = r#"{"id":"node4","membership":"learner"}"#;
    let (status, added) = launcher.api(Method::POST, "nodes?wait=true", body).await;
    assert_eq!(
        (status, &added["state"], added["steps"].as_array().unwrap().len()),
        (200, &json!("done"), 3)
    );
    let (_, node) = launcher.api(Method::GET, "nodes/node4", "").await;
    assert_eq!(node["membership"], "learner");
    let (status, problem) = launcher.api(Method::POST, "nodes", body).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")));
    // Its vote is nobody's to miss: it restarts as a learner.
    let restart = "nodes/node4/actions/restart?wait=true";
    assert_eq!(launcher.api(Method::POST, restart, "").await.1["state"], "done");
    let transfer = "nodes/node4/actions/transfer?dry_run=true";
    assert_eq!(launcher.api(Method::POST, transfer, "").await.1["allowed"], false);
    let promote = "nodes/node4/actions/promote?wait=true";
    let (status, promoted) = launcher.api(Method::POST, promote, "").await;
    assert_eq!((status, &promoted["state"]), (200, &json!("done")), "{promoted}");
    until_all_vote(&launcher, &["node4"]).await;
    assert_eq!(launcher.stop().await.code(), Some(0));
}
