//! Replicas that compare notes over a network of queues, in paused time.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::sync::Weak;
use tokio::task::JoinHandle;

const INTERVAL: Duration = Duration::from_millis(500);

/// Whoever is reached at an address.
#[derive(Default)]
struct Net(Mutex<BTreeMap<String, mpsc::Sender<Gossip>>>);

struct Node {
    net: Weak<Net>,
    address: String,
    begin_at: Vec<String>,
    applied_index: Mutex<u64>,
    saw: Mutex<Vec<Sighting>>,
}

impl Host for Node {
    fn send(&self, address: &str, message: Bytes) {
        let Some(net) = self.net.upgrade() else { return };
        if let Some(inbox) = net.0.lock().unwrap().get(address) {
            let _ = inbox.try_send(Gossip { from: self.address.clone(), message });
        }
    }

    fn facts(&self) -> Facts {
        let applied_index = LogIndex(*self.applied_index.lock().unwrap());
        Facts { raft_state: "follower", applied_index }
    }

    fn addresses(&self) -> Vec<String> {
        self.begin_at.clone()
    }

    fn saw(&self, seen: &[Sighting]) {
        *self.saw.lock().unwrap() = seen.to_vec();
    }
}

/// A replica that compares notes; dropped, it has crashed.
struct Talker {
    discovery: Arc<Discovery>,
    node: Arc<Node>,
    task: JoinHandle<()>,
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Net {
    fn talker(self: &Arc<Self>, id: u64, address: &str, begin_at: &[&str]) -> Talker {
        self.talker_from(runtime::wall_clock_millis(), id, address, begin_at)
    }

    fn talker_from(
        self: &Arc<Self>,
        generation: u64,
        id: u64,
        address: &str,
        begin_at: &[&str],
    ) -> Talker {
        let (discovery, queue) = Discovery::new(Speaker {
            cluster_id: ClusterId(7),
            id: NodeId(id),
            name: format!("node{id}"),
            address: format!("{address}:9000"),
            peer_address: address.to_owned(),
            vocabulary: 2,
            interval: INTERVAL,
        });
        self.0.lock().unwrap().insert(address.to_owned(), discovery.inbox());
        let node = Arc::new(Node {
            net: Arc::downgrade(self),
            address: address.to_owned(),
            begin_at: begin_at.iter().map(|&address| address.to_owned()).collect(),
            applied_index: Mutex::default(),
            saw: Mutex::default(),
        });
        let (running, host) = (discovery.clone(), node.clone());
        let task = runtime::spawn(async move { running.run_from(generation, queue, host).await });
        Talker { discovery, node, task }
    }
}

impl Talker {
    fn of(&self, id: u64) -> Option<Sighting> {
        self.discovery.seen().into_iter().find(|seen| seen.id == NodeId(id))
    }

    fn alive(&self) -> Vec<u64> {
        let seen = self.discovery.seen().into_iter();
        seen.filter(|seen| seen.alive).map(|seen| seen.id.0).collect()
    }
}

/// Paused time jumps to the next timer, so that this takes no time.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(INTERVAL / 5).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn all_learn_of_each_through_one_and_forget_the_dead() {
    let net = Arc::new(Net::default());
    let one = net.talker(1, "one", &[]);
    let two = net.talker(2, "two", &["one"]);
    let three = net.talker(3, "host.of.three:9001", &["one"]);
    let all = [&one, &two, &three];
    until("all know all", || all.iter().all(|each| each.alive() == [1, 2, 3])).await;
    until("and what they say", || all.iter().all(|each| each.of(3).unwrap().name == "node3")).await;
    let seen = two.of(3).unwrap();
    assert_eq!(seen.peer_address, "host.of.three:9001");
    assert_eq!(seen.address, "host.of.three:9001:9000");
    assert_eq!(seen.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(seen.raft_state.as_deref(), Some("follower"));

    let died = runtime::now();
    drop(three);
    until("it is dead", || one.alive() == [1, 2] && two.alive() == [1, 2]).await;
    assert!(died.elapsed() < INTERVAL * 20, "found dead after {:?}", died.elapsed());
    assert_eq!(one.of(3).unwrap().name, "node3");
    assert!(one.of(3).unwrap().heard.unwrap() <= died + INTERVAL * 4);
    until("it is forgotten", || one.of(3).is_none() && two.of(3).is_none()).await;
    assert!(died.elapsed() < INTERVAL * FORGOTTEN_AFTER * 2, "{:?}", died.elapsed());
    assert_eq!(one.alive(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_came_back_elsewhere_is_seen_there() {
    let net = Arc::new(Net::default());
    let one = net.talker(1, "one", &[]);
    let two = net.talker_from(1_000, 2, "two", &["one"]);
    until("it is seen", || one.alive() == [1, 2]).await;
    drop(two);
    let _two = net.talker_from(2_000, 2, "elsewhere", &["one"]);
    let address = |talker: &Talker| talker.of(2).map(|seen| (seen.peer_address, seen.alive));
    until("it is seen there", || address(&one) == Some(("elsewhere".into(), true))).await;
    let told = one.node.saw.lock().unwrap().iter().filter(|seen| seen.id == NodeId(2)).count();
    assert_eq!(told, 1, "one entry an id");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_makes_no_earlier_start() {
    let net = Arc::new(Net::default());
    let one = net.talker(1, "one", &[]);
    let later = runtime::wall_clock_millis() + 3_600_000;
    let two = net.talker_from(later, 2, "two", &["one"]);
    until("it is seen", || one.alive() == [1, 2]).await;
    drop(two);
    until("it is dead", || one.alive() == [1]).await;
    let _two = net.talker(2, "elsewhere", &["one"]);
    until("its new start is the latest", || {
        one.of(2).is_some_and(|seen| {
            seen.generation > later && seen.alive && seen.peer_address == "elsewhere"
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_applied_is_told_in_large_steps_or_after_a_while() {
    let net = Arc::new(Net::default());
    let one = net.talker(1, "one", &[]);
    let two = net.talker(2, "two", &["one"]);
    let index = |talker: &Talker| talker.of(2).and_then(|seen| seen.applied_index);
    until("the first is told", || index(&one) == Some(LogIndex(0))).await;
    *two.node.applied_index.lock().unwrap() = INDEX_STEP;
    let begun = runtime::now();
    until("a large step is told", || index(&one) == Some(LogIndex(INDEX_STEP))).await;
    assert!(begun.elapsed() <= INTERVAL * 4, "{:?}", begun.elapsed());
    *two.node.applied_index.lock().unwrap() = INDEX_STEP + 1;
    let begun = runtime::now();
    until("a small one too", || index(&one) == Some(LogIndex(INDEX_STEP + 1))).await;
    assert!(begun.elapsed() >= INTERVAL * (INDEX_PATIENCE / 2), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_nodes_that_are_none_fills_no_memory_and_hides_nobody() {
    let net = Arc::new(Net::default());
    let one = net.talker(1, "one", &[]);
    let two = net.talker(2, "two", &["one"]);
    until("they know each other", || one.alive() == [1, 2] && two.alive() == [1, 2]).await;
    for round in 0..200_u64 {
        let ids = (0..300).map(|at| {
            let id = 1_000 + round * 300 + at;
            wire::chitchat_id(NodeId(id), 1, &format!("fake{id}"))
        });
        let message = wire::tests::syn(&ClusterId(7).to_string(), ids);
        let _ = one.discovery.inbox().try_send(Gossip { from: "mallory".into(), message });
        tokio::time::sleep(INTERVAL / 5).await;
    }
    let seen = one.discovery.seen().len();
    assert!((2..=500).contains(&seen), "{seen} nodes");
    assert_eq!(one.alive(), [1, 2]);
    assert_eq!(two.alive(), [1, 2]);
    until("they are forgotten", || one.discovery.seen().len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_too_much_ends_the_talk_and_it_begins_anew() {
    let net = Arc::new(Net::default());
    let one = net.talker(1, "one", &[]);
    let two = net.talker(2, "two", &["one"]);
    until("they know each other", || one.alive() == [1, 2]).await;
    let liar = wire::chitchat_id(NodeId(3), 1, "liar");
    let cluster = ClusterId(7).to_string();
    let facts = (0..=FACTS_MAX).map(|at| (format!("fact {at}"), "x".repeat(100)));
    let message = wire::tests::syn_ack(&liar, facts);
    let introduced = wire::tests::syn(&cluster, [liar]);
    for message in [introduced, message] {
        one.discovery.inbox().try_send(Gossip { from: "liar".into(), message }).unwrap();
    }
    let begun = runtime::now();
    until("it begins anew", || {
        let seen = two.of(1);
        seen.is_some_and(|seen| seen.alive && begun.elapsed() > RECOVERY_PAUSE)
    })
    .await;
    until("they know each other again", || one.alive() == [1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_replica_falls_silent() {
    let net = Arc::new(Net::default());
    let one = net.talker(1, "one", &[]);
    let two = net.talker(2, "two", &["one"]);
    until("they know each other", || one.alive() == [1, 2]).await;
    two.discovery.retire();
    until("it is silent", || two.task.is_finished() && one.alive() == [1]).await;
}
