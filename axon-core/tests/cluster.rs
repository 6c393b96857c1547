//! Stories of real replicas: real disks, real sockets, in one process.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::config::Origin;
use axon_core::types::NodeId;
use axon_core::{Cluster, Config};
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn config(root: &Path, name: &str, origin: Origin) -> Config {
    Config {
        name: name.into(),
        data_dir: Some(root.join(name)),
        listen: Some("127.0.0.1:0".into()),
        origin,
        ..Config::default()
    }
}

/// Three replicas; the first made the cluster.
async fn three(root: &Path) -> Vec<Cluster> {
    let _ = tracing_subscriber::fmt()
        .with_env_filter("axon_core=debug,openraft=warn")
        .with_test_writer()
        .try_init();
    let first = Cluster::start(config(root, "node1", Origin::Init(None))).await.unwrap();
    first.wait_ready(DEADLINE).await.unwrap();
    let door = first.members().unwrap()[0].member.peer_address.clone();
    let mut cluster = vec![first];
    for name in ["node2", "node3"] {
        let joining = config(root, name, Origin::Join(vec![door.clone()]));
        cluster.push(Cluster::start(joining).await.unwrap());
    }
    for replica in &cluster {
        replica.wait_ready(DEADLINE).await.unwrap();
    }
    until("three voters", async || {
        let everywhere = cluster.iter().all(|replica| {
            replica
                .status()
                .is_ok_and(|status| status.voters.len() == 3 && status.learners.is_empty())
        });
        everywhere.then_some(())
    })
    .await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_replica_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).await.unwrap();
    let store = cluster.store();
    let written = store.put("greeting", "hello").await.unwrap();
    assert_eq!(store.get("greeting").await.unwrap().unwrap().mod_revision, written.revision);
    let id = cluster.status().unwrap().cluster_id;
    cluster.shutdown().await.unwrap();
    drop((cluster, store));

    let cluster = Cluster::open(dir.path()).await.unwrap();
    assert_eq!(cluster.status().unwrap().cluster_id, id);
    let found = cluster.store().get("greeting").await.unwrap().unwrap();
    assert_eq!(found.value.as_ref(), b"hello");
    assert_eq!(found.mod_revision, written.revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_serve_each_others_writes() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = three(dir.path()).await;
    for (number, replica) in cluster.iter().enumerate() {
        let key = format!("key {number}");
        replica.store().put(key.clone(), format!("value {number}")).await.unwrap();
        for other in &cluster {
            let found = other.store().get(&key).await.unwrap().unwrap();
            assert_eq!(found.value, format!("value {number}"));
        }
    }
    let ids: Vec<NodeId> = cluster.iter().map(|r| r.status().unwrap().node_id).collect();
    assert_eq!(ids, [NodeId(1), NodeId(2), NodeId(3)]);
}
