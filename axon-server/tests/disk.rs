//! Real processes on real file systems that run full: 507 where it must be, and nothing else.
//!
//! Each node's directory is a small file system in memory of its own, mounted in a namespace that
//! ends with the test. That needs Linux, and root or the right to make user namespaces: a machine
//! without either fails this test, and says so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::PATIENCE;
use common::child::{Running, ask, ended, within};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Room for a few segments of a log and a state, and for little else.
const SIZE_MIB: u64 = 160;
const INSIDE: &str = "AXON_TEST_NAMESPACE";

/// Runs this test once more, alone, where it may mount; `true` there.
fn may_mount(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let myself = std::env::current_exe().unwrap();
    command.arg(myself).args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let ended = command.status().expect("this test needs the program `unshare`");
    assert!(
        ended.success(),
        "it failed, or it may not mount: run it as root, or where user namespaces are allowed"
    );
    false
}

struct Node {
    name: String,
    directory: PathBuf,
    join: Option<String>,
    process: Option<Running>,
}

impl Node {
    fn new(root: &Path, number: usize, join: Option<String>) -> Self {
        let name = format!("node{number}");
        let directory = root.join(&name);
        fs::create_dir(&directory).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE_MIB}m"), "tmpfs"]).arg(&directory);
        assert!(mount.status().unwrap().success(), "it mounts a file system of its own");
        Self { name, directory, join, process: None }
    }

    fn data_dir(&self) -> String {
        self.directory.join("data").to_str().unwrap().to_owned()
    }

    fn start(&mut self) {
        let data_dir = self.data_dir();
        let mut flags = vec!["run", "--name", &self.name, "--data-dir", &data_dir];
        flags.extend(["--listen", "127.0.0.1:0"]);
        if let Some(door) = &self.join {
            flags.extend(["--join", door]);
        }
        self.process = Some(Running::start(&flags));
    }

    #[track_caller]
    fn running(&self) -> &Running {
        self.process.as_ref().expect("the node runs")
    }

    fn status(&self) -> Option<Value> {
        self.running().look("/v1/status")
    }

    fn is_low(&self) -> bool {
        self.status().is_some_and(|status| status["disk"]["low"] == true)
    }

    /// Asks for a key; that a put made it or changed it is the same here.
    fn ask(&self, method: &str, key: &str, body: &str) -> Option<(u16, String)> {
        let (status, body) =
            self.running().ask(method, &format!("/v1/kv/{key}"), body, PATIENCE)?;
        Some((if status == 201 { 200 } else { status }, body))
    }

    /// Fills the disk to its last byte, in a file beside the node's directory.
    fn fill(&self) {
        let path = self.directory.join("filler");
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        for size in [1 << 20, 4 << 10, 1] {
            let part = vec![1; size];
            while file.write_all(&part).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.directory.join("filler")).unwrap();
    }
}

/// Writes at a steady pace through all nodes, each key until it is acknowledged.
struct Load {
    done: Arc<AtomicBool>,
    writer: JoinHandle<u64>,
}

impl Load {
    fn on(nodes: &[Node]) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (stop, doors) = (done.clone(), nodes.iter().map(|node| node.running().api));
        let doors: Vec<SocketAddr> = doors.collect();
        let writer = std::thread::spawn(move || {
            let (mut acknowledged, value) = (0, "v".repeat(16 << 10));
            for door in doors.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("/v1/kv/load{acknowledged}");
                match ask(*door, "PUT", &path, &value, PATIENCE) {
                    Some((200 | 201, _)) => acknowledged += 1,
                    // Refused, or in the middle of an election.
                    Some((503 | 504 | 507, _)) | None => {}
                    Some((status, body)) => panic!("{path} is answered {status}: {body}"),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            acknowledged
        });
        Self { done, writer }
    }

    fn stop(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.writer.join().unwrap()
    }
}

fn three(root: &Path) -> Vec<Node> {
    let mut first = Node::new(root, 1, None);
    assert_eq!(ended(&["init", "--name", "node1", "--data-dir", &first.data_dir()]).0, 0);
    first.start();
    let door = within(PATIENCE, "the first node's peer address", || {
        let members = first.running().look("/v1/members")?;
        Some(members["members"][0]["peer_address"].as_str()?.to_owned())
    });
    let mut nodes = vec![first];
    for number in 2..=3 {
        let mut node = Node::new(root, number, Some(door.clone()));
        node.start();
        nodes.push(node);
    }
    within(PATIENCE, "three voters", || {
        let voters = |node: &Node| Some(node.status()?["voters"].as_array()?.len());
        nodes.iter().all(|node| voters(node) == Some(3)).then_some(())
    });
    nodes
}

/// Waits until `method` through each node is answered with `status`, once; returns the last answer.
#[track_caller]
fn all_answer(nodes: &[Node], method: &str, key: &str, status: u16) -> String {
    let mut last = String::new();
    for node in nodes {
        last = within(PATIENCE, &format!("{method} at {} answers {status}", node.name), || {
            let (found, body) = node.ask(method, key, "value")?;
            (found == status).then_some(body)
        });
    }
    last
}

#[test]
fn full_disks_stop_writes_alone_and_space_brings_them_back() {
    if !may_mount("full_disks_stop_writes_alone_and_space_brings_them_back") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut nodes = three(root.path());
    all_answer(&nodes, "PUT", "before", 200);
    let load = Load::on(&nodes);

    // One is full, and it is the leader: the cluster goes on.
    let leader = |nodes: &[Node]| {
        nodes.iter().position(|node| node.status().is_some_and(|s| s["raft_state"] == "leader"))
    };
    let full = within(PATIENCE, "a leader", || leader(&nodes));
    nodes[full].fill();
    within(PATIENCE, "the full node says so", || nodes[full].is_low().then_some(()));
    let next = within(PATIENCE, "another leads", || leader(&nodes).filter(|next| *next != full));
    for number in 0..30 {
        let (status, body) = nodes[number % 3].ask("PUT", &format!("key{number}"), "v").unwrap();
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(nodes[next].ask("GET", "key29", "").unwrap().0, 200);

    // All are full: writes are refused, and reads go on everywhere.
    nodes.iter().for_each(Node::fill);
    within(PATIENCE, "all say so", || nodes.iter().all(Node::is_low).then_some(()));
    let problem: Value = serde_json::from_str(&all_answer(&nodes, "PUT", "refused", 507)).unwrap();
    assert_eq!(
        (&problem["code"], &problem["outcome"]),
        (&"disk_full".into(), &"not_applied".into())
    );
    all_answer(&nodes, "GET", "key29", 200);
    all_answer(&nodes, "GET", "refused", 404);
    let metrics = nodes[0].running().call("GET", "/metrics", "");
    assert!(metrics.contains("\naxon_disk_low 1\n"), "{metrics}");

    // What the reserves gave back is taken too, and one that is killed comes up again as it was.
    nodes.iter().for_each(Node::fill);
    let killed = (full + 1) % 3;
    nodes[killed].process.take().expect("it runs").kill();
    nodes[killed].start();
    all_answer(&nodes, "GET", "key29", 200);
    all_answer(&nodes, "PUT", "refused", 507);

    // Space is enough: no step, no restart.
    nodes.iter().for_each(Node::free);
    all_answer(&nodes, "PUT", "after", 200);
    all_answer(&nodes, "GET", "after", 200);
    let equal = || {
        let hashes: Vec<Value> =
            nodes.iter().filter_map(|node| Some(node.status()?["state_hash"].clone())).collect();
        (hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0])).then_some(())
    };
    let acknowledged = load.stop();
    within(PATIENCE, "the nodes are equal", equal);
    eprintln!("{acknowledged} writes were acknowledged under load");
    for number in 0..acknowledged {
        let (status, _) = nodes[0].ask("GET", &format!("load{number}"), "").unwrap();
        assert_eq!(status, 200, "write {number} was acknowledged");
    }
    within(PATIENCE, "none is low", || (!nodes.iter().any(Node::is_low)).then_some(()));
}
