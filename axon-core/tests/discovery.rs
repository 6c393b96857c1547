//! Who is there, and where: what gossip is good for, on real disks and sockets in one process.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::config::{Origin, Promotion};
use axon_core::error::{StorageError, TransportError};
use axon_core::status::SeenNode;
use axon_core::types::NodeId;
use axon_core::{Cluster, Config, Error};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(40);

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
        api_address: format!("{name}:9000"),
        gossip_interval: Duration::from_millis(100),
        origin,
        ..Config::default()
    }
}

fn join<const N: usize>(doors: [&str; N]) -> Origin {
    Origin::Join(doors.into_iter().map(str::to_owned).collect())
}

/// Starts a replica where another has just gone, once the other's lock and address are free.
async fn restart(config: Config) -> Cluster {
    until("the former replica lets go", async || match Cluster::start(config.clone()).await {
        Ok(replica) => Some(replica),
        Err(
            Error::Storage(StorageError::Locked { .. })
            | Error::Transport(TransportError::CannotListen { .. }),
        ) => None,
        Err(error) => panic!("{error}"),
    })
    .await
}

/// Where a replica is, as it says itself.
async fn address(replica: &Cluster) -> String {
    let id = replica.status().unwrap().node_id;
    until("it tells of itself", async || {
        let seen = replica.seen().unwrap().into_iter().find(|seen| seen.id == Some(id))?;
        Some(seen.peer_address).filter(|address| !address.is_empty())
    })
    .await
}

fn id(replica: &Cluster) -> NodeId {
    replica.status().unwrap().node_id
}

fn seen(by: &Cluster, id: NodeId) -> Option<SeenNode> {
    by.seen().unwrap().into_iter().find(|seen| seen.id == Some(id))
}

/// Three voters; the first made the cluster.
async fn three(root: &Path) -> Vec<Cluster> {
    let _ = tracing_subscriber::fmt()
        .with_env_filter("axon_core=debug,openraft=error")
        .with_ansi(false)
        .with_test_writer()
        .try_init();
    let first = Cluster::start(config(root, "node1", Origin::Init(None))).await.unwrap();
    first.wait_ready(DEADLINE).await.unwrap();
    let door = address(&first).await;
    let mut cluster = vec![first];
    for name in ["node2", "node3"] {
        cluster.push(Cluster::start(config(root, name, join([&door]))).await.unwrap());
    }
    for replica in &cluster {
        replica.wait_ready(DEADLINE).await.unwrap();
        until("three voters", async || (replica.status().unwrap().voters.len() == 3).then_some(()))
            .await;
    }
    cluster
}

async fn is_let_in(newcomer: &Cluster) {
    newcomer.wait_ready(DEADLINE).await.unwrap();
    newcomer.store().get("anything").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_alive_is_known_with_and_without_a_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = three(dir.path()).await;
    for replica in &cluster {
        until("each hears what all say", async || {
            let seen = replica.seen().unwrap();
            let heard = |seen: &SeenNode| seen.alive && seen.raft_state.is_some();
            let leaders =
                seen.iter().filter(|seen| seen.raft_state.as_deref() == Some("leader")).count();
            (seen.len() == 3 && leaders == 1 && seen.iter().all(heard)).then_some(())
        })
        .await;
    }
    let second = seen(&cluster[0], id(&cluster[1])).unwrap();
    assert_eq!((second.name.as_str(), second.address.as_str()), ("node2", "node2:9000"));
    assert_eq!(second.peer_address, address(&cluster[1]).await);
    assert_eq!(second.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(second.applied_index.is_some() && second.last_heard.is_some());

    let survivor = cluster.pop().unwrap();
    let gone: Vec<NodeId> = cluster.iter().map(id).collect();
    drop(cluster);
    until("the survivor lists them dead and itself alive", async || {
        let seen = survivor.seen().unwrap();
        let right = seen.len() == 3
            && seen.iter().all(|seen| seen.alive != gone.contains(&seen.id.unwrap()));
        (right && survivor.status().unwrap().leader.is_none()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_members_address_is_enough_to_join() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let cluster = three(root).await;
    let leader = cluster[0].status().unwrap().leader.unwrap().0;
    let follower = cluster.iter().find(|replica| id(replica) != leader).unwrap();

    let manual = Config {
        promotion: Promotion::Manual,
        ..config(root, "node4", join([&address(follower).await]))
    };
    let learner = Cluster::start(manual).await.unwrap();
    is_let_in(&learner).await;
    let through_learner = config(root, "node5", join([&address(&learner).await]));
    let fifth = Cluster::start(through_learner).await.unwrap();
    is_let_in(&fifth).await;

    // One that was a member, and still listens: it knows where others are.
    let former = address(&learner).await;
    cluster[0].remove(id(&learner)).await.unwrap();
    assert_eq!(learner.stopped().await, Error::Removed { id: NodeId(4) });
    let sixth = Cluster::start(config(root, "node6", join([&former]))).await.unwrap();
    is_let_in(&sixth).await;
    until("all see it", async || {
        let seen_alive = |by: &Cluster| seen(by, id(&sixth)).is_some_and(|seen| seen.alive);
        cluster.iter().all(seen_alive).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_goes_on_to_the_doors_that_one_without_a_leader_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let mut cluster = three(root).await;
    let door = cluster.pop().unwrap();
    let others = [address(&cluster[0]).await, address(&cluster[1]).await];
    drop(cluster);
    until("the door knows no leader", async || {
        door.status().unwrap().leader.is_none().then_some(())
    })
    .await;
    let newcomer =
        Cluster::start(config(root, "node4", join([&address(&door).await]))).await.unwrap();
    let knocking = until("the door shows who knocks", async || {
        door.seen().unwrap().into_iter().find(|seen| seen.id.is_none())
    })
    .await;
    assert_eq!((knocking.name.as_str(), knocking.alive), ("node4", true));
    // Its answer came before this: the one door that the newcomer was told of is gone for good.
    until("it was answered", async || match newcomer.status() {
        Err(Error::NotReady { reason }) => reason.contains("asks to join").then_some(()),
        other => panic!("{other:?}"),
    })
    .await;
    door.shutdown().await.unwrap();
    drop(door);
    let mut back = Vec::new();
    for (name, listen) in ["node1", "node2"].into_iter().zip(others) {
        let resumed = config(root, name, Origin::Resume);
        back.push(restart(Config { listen: Some(listen), ..resumed }).await);
    }
    is_let_in(&newcomer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_all_moved_at_once_find_each_other_without_a_leader() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let cluster = three(root).await;
    cluster[0].store().put("k", "before").await.unwrap();
    let mut old: BTreeMap<NodeId, String> = BTreeMap::new();
    for replica in &cluster {
        old.insert(id(replica), address(replica).await);
    }
    for replica in &cluster {
        replica.shutdown().await.unwrap();
    }
    drop(cluster);
    // Nobody gets the old ports while these hold them.
    let mut held = Vec::new();
    for address in old.values() {
        held.push(until("the port is free", async || TcpListener::bind(address).ok()).await);
    }

    let first = restart(config(root, "node1", Origin::Resume)).await;
    let door = until("it says where it is now", async || {
        Some(address(&first).await).filter(|address| *address != old[&id(&first)])
    })
    .await;
    let mut moved = vec![first];
    for name in ["node2", "node3"] {
        moved.push(restart(config(root, name, join([&door]))).await);
    }
    for replica in &moved {
        replica.wait_ready(DEADLINE).await.unwrap();
        assert_eq!(replica.store().get("k").await.unwrap().unwrap().value.as_ref(), b"before");
    }
    for replica in &moved {
        until("the membership is corrected", async || {
            let members = replica.members().unwrap();
            let moved = members.iter().all(|member| member.member.peer_address != old[&member.id]);
            (members.len() == 3 && moved).then_some(())
        })
        .await;
    }
    moved[2].store().put("k", "after").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_shown_dead_and_then_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = three(dir.path()).await;
    let third = id(&cluster[2]);
    until("it is heard", async || {
        seen(&cluster[0], third).filter(|seen| seen.raft_state.is_some())
    })
    .await;
    cluster[0].remove(third).await.unwrap();
    let removed = cluster.pop().unwrap();
    assert_eq!(removed.stopped().await, Error::Removed { id: third });
    removed.shutdown().await.unwrap();
    drop(removed);
    for replica in &cluster {
        until("it is dead", async || {
            let seen = seen(replica, third).expect("it is remembered for a while");
            (!seen.alive && seen.name == "node3").then_some(())
        })
        .await;
    }
    for replica in &cluster {
        until("it is forgotten", async || seen(replica, third).is_none().then_some(())).await;
    }
}
