//! Three real processes as one cluster, over HTTP: formation, and what its nodes survive.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::PATIENCE;
use common::child::{Running, ended, within};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// Three nodes, each with ports and a directory that it keeps over restarts.
struct Cluster {
    nodes: Vec<Node>,
    _root: tempfile::TempDir,
}

struct Node {
    name: String,
    directory: PathBuf,
    flags: Vec<String>,
    process: Option<Running>,
}

impl Node {
    fn start(&mut self) {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.process = Some(Running::start(&flags));
    }

    #[track_caller]
    fn running(&self) -> &Running {
        self.process.as_ref().expect("the node runs")
    }

    fn kill(&mut self) {
        self.process.take().expect("the node runs").kill();
    }

    fn status(&self) -> Option<Value> {
        self.running().look("/v1/status")
    }

    /// Puts `value` under `key`, once; returns whether it was acknowledged.
    fn put(&self, key: &str, value: &str) -> bool {
        let body = json!({ "value": value }).to_string();
        let answer = self.running().ask("PUT", &format!("/kv/{key}"), &body, PATIENCE);
        answer.is_some_and(|(status, _)| status == 200)
    }

    /// The value under `key`; waits out an election, not an absent key.
    #[track_caller]
    fn get(&self, key: &str) -> Option<String> {
        let path = format!("/kv/{key}");
        let (status, body) = within(PATIENCE, "a definite answer", || {
            let answer = self.running().ask("GET", &path, "", PATIENCE)?;
            [200, 404].contains(&answer.0).then_some(answer)
        });
        let pair: Value = serde_json::from_str(&body).unwrap();
        (status == 200).then(|| pair["value"].as_str().unwrap().to_owned())
    }

    /// Checks that `method` on a key is refused for want of a quorum, within the time promised.
    #[track_caller]
    fn refuses_without_quorum(&self, method: &str, body: &str) {
        let limit = Duration::from_secs(2);
        let asked = Instant::now();
        let answer = self.running().ask(method, "/kv/k", body, PATIENCE);
        let took = asked.elapsed();
        let (status, problem) = answer.expect("an answer");
        let problem: Value = serde_json::from_str(&problem).unwrap();
        assert_eq!((status, &problem["code"]), (503, &json!("no_quorum")), "{method}: {problem}");
        assert!(took < limit, "{method} was refused after {took:?}");
    }
}

/// An address of this machine that nobody else takes ports of: the ports must outlive restarts, and a
/// connection of another process could take one meanwhile.
fn host() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + NEXT.fetch_add(1, Ordering::Relaxed), high, low)
}

/// Makes the file with the secret that the nodes share.
fn secret_file(root: &Path) -> String {
    let path = root.join("secret");
    fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn free_ports(host: Ipv4Addr) -> [u16; 6] {
    let listeners = [(); 6].map(|()| TcpListener::bind((host, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Cluster {
    /// Makes a cluster, and starts nothing yet.
    #[track_caller]
    fn init() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = host();
        let ports = free_ports(host);
        let doors: Vec<String> = (0..3).map(|n| format!("{host}:{}", ports[2 * n + 1])).collect();
        let secret = secret_file(root.path());
        let node = |number: usize| {
            let name = format!("node{}", number + 1);
            let directory = root.path().join(&name);
            let listen = format!("{host}:{}", ports[2 * number]);
            let others = doors.iter().filter(|door| **door != doors[number]);
            let others = others.cloned().collect::<Vec<_>>().join(",");
            let path = directory.to_str().unwrap();
            let flags = ["run", "--name", &name, "--data-dir", path, "--listen", &listen];
            let mut flags = flags.map(String::from).to_vec();
            flags.extend(["--peer-listen", &doors[number], "--join", &others].map(String::from));
            flags.extend(["--secret-file".into(), secret.clone()]);
            Node { name, directory, flags, process: None }
        };
        let nodes: Vec<Node> = (0..3).map(node).collect();
        let first = nodes[0].directory.to_str().unwrap();
        assert_eq!(ended(&["init", "--name", "node1", "--data-dir", first]).0, 0);
        Self { nodes, _root: root }
    }

    /// Makes a cluster and starts its nodes, as a launcher would: all at once.
    #[track_caller]
    fn start() -> Self {
        let mut cluster = Self::init();
        cluster.nodes.iter_mut().for_each(Node::start);
        cluster
    }

    /// A cluster whose three nodes vote, and agree on a leader.
    #[track_caller]
    fn formed() -> Self {
        let cluster = Self::start();
        cluster.settle();
        cluster
    }

    fn alive(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.process.is_some())
    }

    /// Waits until every running node says that three vote and who leads. Returns the leader's place.
    #[track_caller]
    fn settle(&self) -> usize {
        within(PATIENCE, "three voters and a leader", || {
            let agreed = self.alive().all(|node| {
                node.status().is_some_and(|status| {
                    status["voters"].as_array().unwrap().len() == 3
                        && status["learners"] == json!([])
                })
            });
            self.leader().filter(|_| agreed)
        })
    }

    /// The place of the node that all running ones call their leader, if they agree.
    fn leader(&self) -> Option<usize> {
        let leader = |node: &Node| Some(node.status()?["leader"]["name"].as_str()?.to_owned());
        let mut names = self.alive().map(leader);
        let first = names.next()??;
        if !names.all(|name| name.as_deref() == Some(&first)) {
            return None;
        }
        self.nodes.iter().position(|node| node.name == first)
    }

    #[track_caller]
    fn members(&self, from: usize) -> Vec<Value> {
        let answer = self.nodes[from].running().look("/v1/members").unwrap();
        answer["members"].as_array().unwrap().clone()
    }
}

#[test]
fn three_processes_form_a_cluster_and_serve_each_others_writes() {
    let started = Instant::now();
    let cluster = Cluster::start();
    within(Duration::from_secs(5), "all nodes know the leader", || cluster.leader());
    eprintln!("all nodes knew the leader {:?} after the start", started.elapsed());
    cluster.settle();
    for (number, node) in cluster.nodes.iter().enumerate() {
        let (key, value) = (format!("key{number}"), format!("value{number}"));
        assert!(node.put(&key, &value));
        for other in &cluster.nodes {
            assert_eq!(other.get(&key).as_ref(), Some(&value), "{key} on {}", other.name);
        }
    }
}

#[test]
fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::formed();
    let leader = cluster.settle();
    let mut victim = cluster.nodes.remove(leader);
    let done = AtomicBool::new(false);
    let (acknowledged, killed) = std::thread::scope(|scope| {
        let writers: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| {
                let done = &done;
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for number in 0.. {
                        let key = format!("{}-{number}", node.name);
                        if node.put(&key, &key) {
                            acknowledged.push((key, Instant::now()));
                        }
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        within(PATIENCE, "puts are under way", || {
            let revision = victim.status()?["revision"].as_u64()?;
            (revision > 50).then_some(())
        });
        let killed = Instant::now();
        victim.kill();
        // Until there is a new leader, and then a while of its puts.
        let led = within(PATIENCE, "a new leader", || cluster.leader());
        let node = &cluster.nodes[led];
        let begun = node.status().unwrap()["revision"].as_u64().unwrap();
        within(PATIENCE, "puts go on", || {
            (node.status()?["revision"].as_u64()? > begun + 50).then_some(())
        });
        done.store(true, Ordering::Relaxed);
        let acknowledged: Vec<Vec<(String, Instant)>> =
            writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (acknowledged, killed)
    });
    for puts in &acknowledged {
        // What was on its way at that moment may have been acknowledged by the old leader: the pause is
        // the longest that a writer saw.
        let times: Vec<Instant> =
            puts.iter().map(|(_, at)| *at).filter(|at| *at > killed).collect();
        let from_kill = std::iter::once(killed).chain(times.iter().copied());
        let pause = from_kill.zip(&times).map(|(before, after)| *after - before).max().unwrap();
        eprintln!("puts stood still for {pause:?}");
        assert!(pause < Duration::from_millis(2500), "puts stood still for {pause:?}");
    }
    victim.start();
    cluster.nodes.push(victim);
    cluster.settle();
    for node in &cluster.nodes {
        let all = node.running().look("/kv").unwrap();
        let stored = all.as_object().unwrap();
        let lost = |(key, _): &&(String, Instant)| node.get(key).as_ref() != Some(key);
        let first_lost = acknowledged.iter().flatten().find(lost);
        assert!(
            first_lost.is_none(),
            "{first_lost:?} is lost on {}: it has {}",
            node.name,
            stored.len()
        );
    }
}

/// Kills two nodes, among them the leader or not; checks what the last one says, and that one more is
/// enough to go on.
fn a_majority_is_lost_and_comes_back(survivor_leads: bool) {
    let mut cluster = Cluster::formed();
    let leader = cluster.settle();
    let survivor = if survivor_leads { leader } else { (leader + 1) % 3 };
    let victims = [(survivor + 1) % 3, (survivor + 2) % 3];
    assert!(cluster.nodes[survivor].put("k", "before"));
    for victim in victims {
        cluster.nodes[victim].kill();
    }
    let last = &cluster.nodes[survivor];
    let body = json!({ "value": "v" }).to_string();
    // At once, while the loss is not noticed yet, and again when it is.
    for _ in 0..2 {
        std::thread::scope(|scope| {
            scope.spawn(|| last.refuses_without_quorum("PUT", &body));
            scope.spawn(|| last.refuses_without_quorum("GET", ""));
            scope.spawn(|| last.refuses_without_quorum("DELETE", ""));
        });
    }
    let (status, body) = last.running().ask("GET", "/readyz", "", PATIENCE).unwrap();
    assert_eq!(status, 503, "{body}");
    assert_eq!(last.status().unwrap()["leader"], Value::Null, "nobody leads");
    assert_eq!(last.running().look("/kv").expect("local reads go on")["k"], "before");

    cluster.nodes[victims[0]].start();
    let back = [survivor, victims[0]].map(|place| &cluster.nodes[place]);
    within(Duration::from_secs(5), "two of three are enough", || {
        back[0].put("k", "after").then_some(())
    });
    for node in back {
        // The writes that were refused may have happened; this one came last, and did.
        assert_eq!(node.get("k").as_deref(), Some("after"));
    }
}

#[test]
fn a_leader_alone_refuses_until_one_more_is_back() {
    a_majority_is_lost_and_comes_back(true);
}

#[test]
fn a_follower_alone_refuses_until_one_more_is_back() {
    a_majority_is_lost_and_comes_back(false);
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_first() {
    let mut cluster = Cluster::formed();
    let leader = cluster.settle();
    let mut retiring = cluster.nodes.remove(leader);
    let term = retiring.status().unwrap()["term"].as_u64().unwrap();
    let told = Instant::now();
    retiring.running().signal(Signal::TERM);
    within(Duration::from_secs(1), "an acknowledged put", || {
        cluster.nodes[0].put("k", "v").then_some(())
    });
    eprintln!("the next put was acknowledged after {:?}", told.elapsed());
    assert_eq!(retiring.process.as_mut().unwrap().exit_code(), Some(0));
    assert!(cluster.nodes[1].put("k", "w"), "leadership has moved for good");
    let status = cluster.nodes[1].status().unwrap();
    assert_ne!(status["leader"]["name"], retiring.name.as_str());
    assert_eq!(status["term"].as_u64().unwrap(), term + 1, "one election, and no second one");
    assert_eq!(cluster.nodes[1].get("k").as_deref(), Some("w"));
}

#[test]
fn a_removed_node_ends_and_stays_out() {
    let mut cluster = Cluster::formed();
    let leader = cluster.settle();
    let (removed, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let id = cluster.nodes[removed].status().unwrap()["node_id"].clone();
    // Any node takes the call.
    cluster.nodes[other].running().call("DELETE", &format!("/v1/members/{id}"), "");
    assert_eq!(cluster.nodes[removed].process.as_mut().unwrap().exit_code(), Some(4));
    cluster.nodes[removed].process = None;
    for place in [leader, other] {
        within(PATIENCE, "two members are left", || {
            (cluster.members(place).len() == 2).then_some(())
        });
        assert!(cluster.members(place).iter().all(|member| member["id"] != id));
    }
    let term = |place: usize| cluster.nodes[place].status().unwrap()["term"].clone();
    let before = [term(leader), term(other)];
    // It comes back: it is told again, and disturbs nobody meanwhile.
    let flags: Vec<&str> = cluster.nodes[removed].flags.iter().map(String::as_str).collect();
    let (code, _, err) = ended(&flags);
    assert_eq!(code, 4, "{err}");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!([term(leader), term(other)], before, "the term moved");
        assert!(cluster.nodes[other].put("k", "v"));
    }
    assert_eq!(cluster.members(leader).len(), 2);
}

#[test]
fn a_learner_that_is_removed_stays_out_too() {
    let mut cluster = Cluster::init();
    cluster.nodes[2].flags.extend(["--promotion", "manual"].map(String::from));
    cluster.nodes.iter_mut().for_each(Node::start);
    let learner = within(PATIENCE, "two voters and a learner", || {
        let status = cluster.nodes[2].status()?;
        let two = status["voters"].as_array().unwrap().len() == 2;
        (two && status["membership"] == "learner").then(|| status["node_id"].clone())
    });
    cluster.nodes[0].running().call("DELETE", &format!("/v1/members/{learner}"), "");
    assert_eq!(cluster.nodes[2].process.as_mut().unwrap().exit_code(), Some(4));
    assert_eq!(cluster.members(0).len(), 2);
    assert!(cluster.nodes[1].put("k", "v"));
}

#[test]
fn a_node_that_lost_its_directory_replaces_itself() {
    let mut cluster = Cluster::formed();
    let leader = cluster.settle();
    let (lost, other) = ((leader + 1) % 3, (leader + 2) % 3);
    assert!(cluster.nodes[lost].put("k", "v"));
    let old = cluster.nodes[lost].status().unwrap()["node_id"].as_u64().unwrap();
    cluster.nodes[lost].kill();
    std::fs::remove_dir_all(&cluster.nodes[lost].directory).unwrap();
    cluster.nodes[lost].start();
    let name = cluster.nodes[lost].name.clone();
    for place in [leader, other, lost] {
        let new = within(PATIENCE, "the new id votes in place of the old one", || {
            cluster.nodes[place].status()?;
            let members = cluster.members(place);
            let mine = members.iter().filter(|member| member["name"] == name.as_str());
            let [mine] = mine.collect::<Vec<_>>()[..] else { return None };
            let settled = members.len() == 3 && mine["membership"] == "voter";
            mine["id"].as_u64().filter(|id| settled && *id != old)
        });
        assert!(new > 3, "ids are never used again");
    }
    assert_eq!(cluster.nodes[lost].get("k").as_deref(), Some("v"));
    assert!(cluster.nodes[lost].put("k", "w"));
    assert_eq!(cluster.nodes[leader].get("k").as_deref(), Some("w"));
}

#[test]
fn a_store_that_began_inside_a_process_becomes_a_cluster_of_servers() {
    let mut cluster = Cluster::init();
    let directory = cluster.nodes[0].directory.clone();
    std::fs::remove_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster_id = runtime.block_on(async {
        let alone = axon_core::Cluster::open(&directory).await.unwrap();
        alone.store().put("since", "the first day").await.unwrap();
        let id = alone.status().unwrap().cluster_id.to_string();
        alone.shutdown().await.unwrap();
        id
    });
    drop(runtime);
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.settle();
    for node in &cluster.nodes {
        assert_eq!(node.get("since").as_deref(), Some("the first day"));
        assert_eq!(node.status().unwrap()["cluster_id"], cluster_id.as_str());
    }
}
