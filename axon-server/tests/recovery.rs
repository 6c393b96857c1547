//! Two of three processes and their directories are gone for good: what the third brings back.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::PATIENCE;
use common::child::{Running, ended, within};
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// A node that keeps its ports over restarts.
struct Node {
    directory: PathBuf,
    flags: Vec<String>,
}

impl Node {
    fn start(&self) -> Running {
        self.start_in(&self.directory)
    }

    /// Starts it with what lies in `directory`.
    fn start_in(&self, directory: &Path) -> Running {
        let mut flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        flags.extend(["--data-dir", directory.to_str().unwrap()]);
        Running::start(&flags)
    }
}

/// Three nodes on an address that nobody else takes ports of, and the directory of each.
fn nodes(root: &Path) -> Vec<Node> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let linux = cfg!(target_os = "linux");
    let host = if linux { Ipv4Addr::new(127, 97, high, low) } else { Ipv4Addr::LOCALHOST };
    let listeners = [(); 6].map(|()| TcpListener::bind((host, 0)).unwrap());
    let addresses = listeners.map(|listener| listener.local_addr().unwrap().to_string());
    let node = |number: usize| {
        let name = format!("node{}", number + 1);
        let (listen, peers) = (&addresses[2 * number], &addresses[2 * number + 1]);
        let others = [1, 2].map(|other| addresses[2 * ((number + other) % 3) + 1].clone());
        let flags = ["run", "--name", &name, "--listen", listen, "--peer-listen", peers, "--join"];
        let mut flags = flags.map(String::from).to_vec();
        flags.push(others.join(","));
        Node { directory: root.join(name), flags }
    };
    (0..3).map(node).collect()
}

/// Waits until `running` says that three vote and who leads; returns its status.
#[track_caller]
fn three_voters(running: &Running) -> Value {
    within(PATIENCE, "three voters and a leader", || {
        let status = running.look("/v1/status")?;
        let settled = status["voters"].as_array()?.len() == 3
            && status["learners"] == json!([])
            && !status["leader"].is_null();
        settled.then_some(status)
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap().path();
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            fs::copy(entry, target).unwrap();
        }
    }
}

fn recover(directory: &Path, more: &[&str]) -> (i32, String, String) {
    ended(&[&["recover", "--data-dir", directory.to_str().unwrap()], more].concat())
}

/// An old member comes back where a new one is: it is refused, and refuses, and moves nothing.
/// `running` are the new ones, of which the second is `node`.
fn a_zombie_stays_out(
    node: &Node,
    zombie: &Path,
    running: &mut [Running],
    (lost, found): (&str, &str),
) {
    running[1].kill();
    let settled = within(PATIENCE, "two of three agree on a leader", || {
        running[0].call("PUT", "/kv/two", r#"{"value":"of three"}"#);
        let statuses = [0, 2].map(|at| running[at].look("/v1/status"));
        let [Some(one), Some(two)] = statuses else { return None };
        let agreed = one["term"] == two["term"] && one["leader"]["id"] == two["leader"]["id"];
        (agreed && one["leader"]["id"] != json!(null)).then_some(one)
    });
    let undead = node.start_in(zombie);
    undead.logged(&format!("refuses this replica: it belongs to cluster {lost}, this is {found}"));
    running[0]
        .logged(&format!("refuses this replica: it belongs to cluster {found}, this is {lost}"));
    within(PATIENCE, "it serves nobody", || {
        let (status, _) = undead.ask("GET", "/kv/k0", "", PATIENCE)?;
        (status == 503).then_some(())
    });
    running[0].call("PUT", "/kv/after", r#"{"value":"w"}"#);
    let status = running[0].look("/v1/status").unwrap();
    assert_eq!((&status["term"], &status["voters"]), (&settled["term"], &settled["voters"]));
    assert_eq!(undead.look("/kv").unwrap().get("after"), None);
    drop(undead);
    running[1] = node.start();
    three_voters(&running[1]);
    assert!(running[1].call("GET", "/kv/after", "").contains('w'));
}

#[test]
fn the_last_of_three_brings_back_what_was_acknowledged_and_a_zombie_stays_out() {
    let root = tempfile::tempdir().unwrap();
    let nodes = nodes(root.path());
    let first = nodes[0].directory.to_str().unwrap();
    let (code, out, _) = ended(&["init", "--name", "node1", "--data-dir", first]);
    assert_eq!(code, 0);
    let lost = out.trim();
    let mut running: Vec<Running> = nodes.iter().map(Node::start).collect();
    three_voters(&running[0]);
    for number in 0..30 {
        let body = json!({ "value": format!("v{number}") }).to_string();
        running[number % 3].call("PUT", &format!("/kv/k{number}"), &body);
    }
    let (code, _, err) = recover(&nodes[0].directory, &[]);
    assert!(code == 1 && err.contains("in use by process"), "{err}");

    // A follower may hear of the last commit only later: it must know that write, too.
    within(PATIENCE, "node1 has all", || running[0].look("/kv")?.get("k29").cloned());
    running.iter_mut().for_each(Running::kill);
    drop(running);
    let zombie = root.path().join("zombie");
    copy(&nodes[1].directory, &zombie);
    for node in &nodes[1..] {
        fs::remove_dir_all(&node.directory).unwrap();
    }

    let (code, out, err) = recover(&nodes[0].directory, &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    for words in ["Missing, or of no use: node", "What may be lost", "Nothing was changed"] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(out.contains(&format!("--yes {lost}")), "{out}");
    let (code, _, err) = recover(&nodes[0].directory, &["--yes", &"0".repeat(32)]);
    assert!(code == 1 && err.contains(lost), "{err}");
    let (code, out, err) = recover(&nodes[0].directory, &["--json", "--yes", lost]);
    assert_eq!((code, err.as_str()), (0, ""));
    let document: Value = serde_json::from_str(&out).unwrap();
    let made = &document["recovered"];
    let found = made["cluster_id"].as_str().unwrap();
    assert_eq!((made["id"].as_u64(), made["keys"].as_u64()), (Some(4), Some(30)));
    assert_ne!(found, lost);

    let mut running: Vec<Running> = nodes.iter().map(Node::start).collect();
    for server in &running {
        let status = three_voters(server);
        assert_eq!(status["cluster_id"], found);
        for number in 0..30 {
            let pair: Value =
                serde_json::from_str(&server.call("GET", &format!("/kv/k{number}"), "")).unwrap();
            assert_eq!(pair["value"], format!("v{number}"));
        }
    }
    let ids = running[0].look("/v1/status").unwrap()["voters"].clone();
    assert_eq!(ids, json!([4, 5, 6]), "no id is used again");

    a_zombie_stays_out(&nodes[1], &zombie, &mut running, (lost, found));
}

#[test]
fn a_majority_is_started_and_not_recovered() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("node1");
    let path = directory.to_str().unwrap();
    let (_, out, _) = ended(&["init", "--name", "node1", "--data-dir", path]);
    let id = out.trim();
    // A replica that never ran has nothing to bring back.
    let (code, out, _) = recover(&directory, &[]);
    assert!(code == 0 && out.contains("None of them can be used"), "{out}");
    let run = ["run", "--name", "node1", "--data-dir", path, "--listen", "127.0.0.1:0"];
    let mut running = Running::start(&run);
    running.call("PUT", "/kv/k", r#"{"value":"v"}"#);
    running.kill();
    let (code, out, err) = recover(&directory, &["--yes", id]);
    assert!(code == 1 && err.contains("start these replicas"), "{err}");
    assert!(out.contains("Recovery is not needed"), "{out}");
    let (code, out, _) = recover(&directory, &["--yes", id, "--force"]);
    assert!(code == 0 && out.contains("before-recovery-1"), "{out}");
    let running = Running::start(&run);
    assert!(running.call("GET", "/kv/k", "").contains('v'));
    assert_ne!(running.look("/v1/status").unwrap()["cluster_id"], id);
    let (code, _, err) = ended(&["recover"]);
    assert!(code == 2 && err.contains("--data-dir"), "{err}");
}
