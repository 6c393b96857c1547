//! Clusters whose disks run full: three replicas in this process, on disks of which the test says how
//! much is free.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::config::Origin;
use axon_core::error::ErrorOutcome;
use axon_core::events::EventKind;
use axon_core::status::Status;
use axon_core::storage::builtin::DiskEngine;
use axon_core::testing::faulty_disk::FaultyDisk;
use axon_core::transport::memory::MemNetwork;
use axon_core::types::LogIndex;
use axon_core::{Cluster, Config, Error};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const TOTAL: u64 = 10 << 30;
const LOW_BYTES: u64 = 40 << 20;
const RESERVE_BYTES: u64 = 8 << 20;
/// Below the watermark, not below what gives up the reserve.
const LOW: u64 = 20 << 20;
const AMPLE: u64 = 1 << 30;
/// Much longer than a disk in memory takes, on however busy a machine.
const SYNC_P99_MAX: Duration = Duration::from_millis(150);

async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A replica and its disk.
struct Node {
    cluster: Cluster,
    disk: FaultyDisk,
}

impl Node {
    async fn start(root: &Path, network: &MemNetwork, number: usize) -> Self {
        let disk = FaultyDisk::new();
        let name = format!("node{number}");
        let origin = match number {
            1 => Origin::Init(None),
            _ => Origin::Join(vec!["node1".into()]),
        };
        let config = Config {
            data_dir: Some(root.join(&name)),
            origin,
            disk_low_bytes: LOW_BYTES,
            disk_reserve_bytes: RESERVE_BYTES,
            sync_p99_max: SYNC_P99_MAX,
            name: name.clone(),
            ..Config::default()
        };
        let cluster = Cluster::builder()
            .config(config)
            .transport(Arc::new(network.transport(&name)))
            .storage(Arc::new(DiskEngine::on(Arc::new(disk.clone()), 1 << 20)))
            .start()
            .await
            .unwrap();
        cluster.wait_ready(PATIENCE).await.unwrap();
        Self { cluster, disk }
    }

    fn status(&self) -> Status {
        self.cluster.status().unwrap()
    }

    async fn put(&self, key: &str) -> Result<(), Error> {
        self.cluster.store().put(key.to_owned(), "v").await.map(drop)
    }

    /// The texts of what happened of one kind.
    fn told(&self, kind: EventKind) -> Vec<String> {
        let (events, _) = self.cluster.events(0).unwrap();
        events.into_iter().filter(|event| event.kind == kind).map(|event| event.text).collect()
    }

    /// Leaves so much of its disk, and waits until it has noticed.
    async fn leave(&self, free: u64) {
        self.disk.leave_free(free, TOTAL);
        let low = free < LOW_BYTES;
        until("the replica looks at its disk", async || {
            self.status()
                .disk
                .is_some_and(|disk| disk.total == TOTAL && disk.low == low)
                .then_some(())
        })
        .await;
    }
}

async fn three(root: &Path) -> Vec<Node> {
    let _ = tracing_subscriber::fmt()
        .with_env_filter("axon_core=info,openraft=off")
        .with_ansi(false)
        .with_test_writer()
        .try_init();
    let network = MemNetwork::new();
    let mut nodes = Vec::new();
    for number in 1..=3 {
        nodes.push(Node::start(root, &network, number).await);
    }
    until("three voters", async || {
        nodes.iter().all(|node| node.status().voters.len() == 3).then_some(())
    })
    .await;
    nodes
}

fn leader(nodes: &[Node]) -> Option<usize> {
    nodes.iter().position(|node| node.status().raft_state.is_leader())
}

/// Waits until all have applied the same entries, and checks that it made them equal.
async fn converge(nodes: &[Node]) {
    until("everything is applied everywhere", async || {
        let applied: BTreeSet<LogIndex> =
            nodes.iter().map(|node| node.status().applied_index).collect();
        (applied.len() == 1).then_some(())
    })
    .await;
    let hashes: BTreeSet<u128> = nodes.iter().map(|node| node.status().state_hash).collect();
    assert_eq!(hashes.len(), 1, "the replicas are equal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_space_hands_over_pauses_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let nodes = three(root.path()).await;
    let full = until("a leader", async || leader(&nodes)).await;
    nodes[full].leave(LOW).await;
    let next = until("another leads", async || leader(&nodes).filter(|next| *next != full)).await;
    let told =
        until("it says why", async || nodes[full].told(EventKind::LeadershipHandedOver).pop())
            .await;
    let name = nodes[next].status().name;
    assert!(told.contains(&name) && told.contains("its disk runs full"), "{told}");
    assert_eq!(nodes[full].told(EventKind::DiskLow).len(), 1);

    // The cluster goes on, and nothing of it reaches the full disk.
    until("it pauses", async || nodes[full].cluster.readiness().is_err().then_some(())).await;
    let before = nodes[full].status().last_log_index;
    for number in 0..50 {
        let through = &nodes[number % nodes.len()];
        through.put(&format!("key {number}")).await.unwrap();
    }
    let others = nodes[next].status().last_log_index;
    assert!(others.0 >= before.0 + 50, "{others} after {before}");
    let behind = nodes[full].status().last_log_index;
    assert!(others.0 - behind.0 >= 40, "the paused one stands at {behind}, the others at {others}");
    let refused = nodes[full].cluster.store().get("key 49").await.unwrap_err();
    assert!(matches!(refused, Error::NotReady { .. }), "it cannot know: {refused}");
    nodes[next].cluster.store().get("key 49").await.unwrap().unwrap();

    nodes[full].leave(AMPLE).await;
    nodes[full].put("back").await.unwrap();
    converge(&nodes).await;
    assert_eq!(nodes[full].told(EventKind::DiskBack).len(), 1);
    nodes[full].cluster.readiness().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_with_space_writes_are_refused_and_reads_go_on() {
    let root = tempfile::tempdir().unwrap();
    let nodes = three(root.path()).await;
    nodes[0].put("k").await.unwrap();
    nodes[0].leave(LOW).await;
    nodes[1].leave(LOW).await;
    for node in &nodes {
        let refused = until("writes are refused", async || node.put("k").await.err()).await;
        assert_eq!((&refused, refused.outcome()), (&Error::DiskFull, ErrorOutcome::NotApplied));
    }
    // Refused before anything enters the log.
    let last = nodes[2].status().last_log_index;
    for node in &nodes {
        assert_eq!(node.put("k").await, Err(Error::DiskFull));
        assert!(node.cluster.store().get("k").await.unwrap().is_some(), "reads go on");
    }
    assert_eq!(nodes[2].status().last_log_index, last);

    // The cluster can still decide: leadership moves, and its new leader commits.
    let target = nodes[2].status().node_id;
    nodes[0].cluster.transfer_leadership(Some(target)).await.unwrap();
    // It looks at what the voters say of their disks four times a second.
    let refused = until("the new leader refuses", async || nodes[0].put("k").await.err()).await;
    assert_eq!(refused, Error::DiskFull);

    nodes[0].leave(AMPLE).await;
    until("writes are taken", async || nodes[1].put("after").await.ok()).await;
    nodes[1].leave(AMPLE).await;
    for node in &nodes {
        node.put("k").await.unwrap();
    }
    converge(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_replica_catches_up_when_it_is_needed() {
    let root = tempfile::tempdir().unwrap();
    let mut nodes = three(root.path()).await;
    let leading = until("a leader", async || leader(&nodes)).await;
    let paused = (leading + 1) % 3;
    nodes[paused].leave(LOW).await;
    until("it pauses", async || nodes[paused].cluster.readiness().is_err().then_some(())).await;
    for number in 0..20 {
        nodes[leading].put(&format!("key {number}")).await.unwrap();
    }
    // Of the two that hold these entries one goes: what is left of the majority must get them.
    let gone = nodes.remove(3 - leading - paused);
    gone.cluster.shutdown().await.unwrap();
    drop(gone);
    converge(&nodes).await;
    let refused = until("writes are refused", async || nodes[0].put("k").await.err()).await;
    assert!(matches!(refused, Error::DiskFull | Error::NoLeader { .. }), "{refused}");
    for node in &nodes {
        until("reads go on", async || node.cluster.store().get("key 19").await.ok().flatten())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_on_a_disk_without_a_byte_left_stays_up() {
    let root = tempfile::tempdir().unwrap();
    let network = MemNetwork::new();
    let node = Node::start(root.path(), &network, 1).await;
    node.put("k").await.unwrap();
    let reserve = root.path().join("node1").join("reserve");
    let set_aside = || node.disk.paths().contains(&reserve);
    until("a reserve is set aside", async || set_aside().then_some(())).await;

    node.leave(0).await;
    until("the reserve is given up", async || (!set_aside()).then_some(())).await;
    node.disk.leave_free(0, TOTAL);
    assert_eq!(node.put("k").await, Err(Error::DiskFull));
    assert_eq!(node.cluster.checkpoint().await, Err(Error::DiskFull));
    assert!(node.cluster.store().get("k").await.unwrap().is_some());
    assert_eq!(node.status().halted, None);

    node.leave(AMPLE).await;
    assert!(set_aside(), "the reserve is made again before writes are taken");
    node.put("k").await.unwrap();
    assert!(node.cluster.checkpoint().await.unwrap() > LogIndex(0));
    node.cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_on_a_slow_disk_hands_over_and_says_why() {
    let root = tempfile::tempdir().unwrap();
    let nodes = three(root.path()).await;
    let slow = until("a leader", async || leader(&nodes)).await;
    nodes[slow].disk.slow_syncs(2 * SYNC_P99_MAX);
    // Writes go on all the time: a disk that nobody asks for anything is not slow.
    let next = until("another leads", async || {
        let _ = nodes[slow].put("k").await;
        leader(&nodes).filter(|next| *next != slow)
    })
    .await;
    let told =
        until("it says why", async || nodes[slow].told(EventKind::LeadershipHandedOver).pop())
            .await;
    assert!(told.contains(&nodes[next].status().name), "{told}");
    let figures = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_digit());
        words.filter_map(|word| word.parse::<u64>().ok()).any(|figure| figure >= 300)
    };
    assert!(figures(&told), "the figure is in it: {told}");
    let slow_told = nodes[slow].told(EventKind::DiskSlow);
    assert_eq!(slow_told.len(), 1, "{slow_told:?}");
    assert!(figures(&slow_told[0]), "{slow_told:?}");
    nodes[next].put("after").await.unwrap();
    nodes[slow].disk.slow_syncs(Duration::ZERO);
    converge(&nodes).await;
}
