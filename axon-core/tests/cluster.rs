//! Stories of real replicas: real disks, real sockets, in one process.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::config::Origin;
use axon_core::error::{StorageError, TransportError};
use axon_core::events::EventKind;
use axon_core::status::Status;
use axon_core::types::{ClusterId, NodeId, Revision};
use axon_core::{Cluster, Config, Error};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Starts a replica where another has just crashed, once the other's lock and address are free.
async fn restart(config: Config) -> Cluster {
    until("the crashed replica lets go", async || match Cluster::start(config.clone()).await {
        Ok(replica) => Some(replica),
        Err(
            Error::Storage(StorageError::Locked { .. })
            | Error::Transport(TransportError::CannotListen { .. }),
        ) => None,
        Err(error) => panic!("{error}"),
    })
    .await
}

/// Waits until all have applied the same entries, and checks that it made them equal.
async fn converge(cluster: &[Cluster]) -> Status {
    let statuses = until("everything is applied everywhere", async || {
        let statuses: Vec<Status> =
            cluster.iter().map(Cluster::status).collect::<Result<_, _>>().ok()?;
        let applied: BTreeSet<_> = statuses.iter().map(|status| status.applied_index).collect();
        (applied.len() == 1).then_some(statuses)
    })
    .await;
    for status in &statuses {
        assert_eq!(status.state_hash, statuses[0].state_hash, "{statuses:?}");
        assert_eq!(status.revision, statuses[0].revision);
    }
    statuses[0].clone()
}

fn log() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter("axon_core=debug,openraft=error")
        .with_ansi(false)
        .with_test_writer()
        .try_init();
}

/// Three replicas; the first made the cluster.
async fn three(root: &Path) -> Vec<Cluster> {
    log();
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
async fn a_replica_that_was_shut_down_starts_again_at_its_address_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = three(dir.path()).await;
    let id = cluster[2].status().unwrap().node_id;
    let members = cluster[0].members().unwrap();
    let address = members.into_iter().find(|member| member.id == id).unwrap().member.peer_address;
    // The runtime has other work: what it is told to end does not end at once by itself.
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let store = cluster[0].store();
            tokio::spawn(async move {
                loop {
                    store.put(format!("{writer}"), "value").await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..20 {
        cluster[2].shutdown().await.unwrap();
        let same = config(dir.path(), "node3", Origin::Resume);
        let same = Config { listen: Some(address.clone()), ..same };
        cluster[2] = Cluster::start(same).await.unwrap();
    }
    for writer in writers {
        writer.abort();
    }
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
    // The second and the third may knock in any order.
    let ids: BTreeSet<NodeId> = cluster.iter().map(|r| r.status().unwrap().node_id).collect();
    assert_eq!(ids, BTreeSet::from([NodeId(1), NodeId(2), NodeId(3)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_crashed_whole_comes_back_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = three(dir.path()).await;
    for number in 0..50 {
        let through = &cluster[number % cluster.len()];
        through.store().put(format!("key {number}"), format!("value {number}")).await.unwrap();
    }
    let before: Vec<Status> = cluster.iter().map(|replica| replica.status().unwrap()).collect();
    let addresses: BTreeMap<NodeId, String> = cluster[0]
        .members()
        .unwrap()
        .into_iter()
        .map(|member| (member.id, member.member.peer_address))
        .collect();
    drop(cluster);

    let mut cluster = Vec::new();
    for status in &before {
        let listen = Some(addresses[&status.node_id].clone());
        let config = config(dir.path(), &status.name, Origin::Resume);
        cluster.push(restart(Config { listen, ..config }).await);
    }
    for (replica, before) in cluster.iter().zip(&before) {
        replica.wait_ready(DEADLINE).await.unwrap();
        let status = replica.status().unwrap();
        assert_eq!((status.node_id, status.cluster_id), (before.node_id, before.cluster_id));
        for number in 0..50 {
            let found = replica.store().get(format!("key {number}")).await.unwrap().unwrap();
            assert_eq!(found.value, format!("value {number}"));
        }
    }
    assert_eq!(converge(&cluster).await.revision, Revision(50));
    let written = cluster[2].store().put("one more", "x").await.unwrap();
    assert_eq!(written.revision, Revision(51));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_catches_up_by_snapshot_while_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    log();
    let small = |name: &str, origin| Config {
        log_retention_bytes: 4 << 20,
        log_cache_bytes: 64 << 10,
        checkpoint_bytes: 256 << 10,
        overlay_bytes_max: 1 << 20,
        checkpoint_interval: Duration::from_millis(200),
        ..config(dir.path(), name, origin)
    };
    let first = Cluster::start(small("node1", Origin::Init(None))).await.unwrap();
    first.wait_ready(DEADLINE).await.unwrap();

    // Ten MiB go through a log that keeps four: its first segments go.
    let filling = (0..640).map(|number| {
        let store = first.store();
        async move { store.put(format!("fill {number}"), vec![b'x'; 16 << 10]).await.unwrap() }
    });
    futures_util::future::join_all(filling).await;
    let mut most = 0;
    until("the log's beginning is purged", async || {
        let bytes = first.metrics().log.disk_bytes;
        most = most.max(bytes);
        (bytes < most).then_some(())
    })
    .await;

    // Writes go on, at a steady pace, until the newcomer is a voter and beyond.
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(640)));
    let writers = (0..2).map(|writer| {
        let (store, stop, written) = (first.store(), stop.clone(), written.clone());
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            while !stop.load(Ordering::Relaxed) {
                pace.tick().await;
                let number = written.load(Ordering::Relaxed) % 50;
                store.put(format!("{writer}/{number}"), vec![b'y'; 512]).await.unwrap();
                written.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let door = first.members().unwrap()[0].member.peer_address.clone();
    let second = Cluster::start(small("node2", Origin::Join(vec![door]))).await.unwrap();
    until("the newcomer votes", async || {
        let status = first.status().unwrap();
        (status.voters.len() == 2).then_some(())
    })
    .await;
    let in_between = written.load(Ordering::Relaxed);
    until("writes go on with it", async || {
        (written.load(Ordering::Relaxed) > in_between + 20).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }

    second.wait_ready(DEADLINE).await.unwrap();
    assert!(second.metrics().snapshots_installed >= 1, "{:?}", second.metrics());
    assert!(first.metrics().snapshots_sent >= 1, "{:?}", first.metrics());
    let noticed = |replica: &Cluster, kind| {
        let (events, _) = replica.events(0).unwrap();
        events.iter().filter(|event| event.kind == kind).count()
    };
    assert!(noticed(&second, EventKind::SnapshotInstalled) >= 1);
    assert!(noticed(&first, EventKind::SnapshotSent) >= 1);
    assert_eq!(noticed(&first, EventKind::LogPurged), 1, "once a minute is enough");
    let status = converge(&[first, second]).await;
    assert_eq!(status.revision, Revision(written.load(Ordering::Relaxed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_alone_becomes_a_cluster_with_all_it_has() {
    log();
    let dir = tempfile::tempdir().unwrap();
    let alone = Cluster::open(dir.path().join("node1")).await.unwrap();
    alone.store().put("since", "the first day").await.unwrap();
    let cluster_id = alone.status().unwrap().cluster_id;
    assert_eq!(alone.members().unwrap()[0].member.peer_address, "", "it has no network");
    alone.shutdown().await.unwrap();
    drop(alone);

    // It knows where it is before it is ready, so that nobody is ever sent elsewhere.
    let first = restart(config(dir.path(), "node1", Origin::Resume)).await;
    first.wait_ready(DEADLINE).await.unwrap();
    let door = first.members().unwrap()[0].member.peer_address.clone();
    assert!(door.starts_with("127.0.0.1:"), "{door:?}");

    let mut cluster = vec![first];
    for name in ["node2", "node3"] {
        let joining = config(dir.path(), name, Origin::Join(vec![door.clone()]));
        let joined = Cluster::start(joining).await.unwrap();
        joined.wait_ready(DEADLINE).await.unwrap();
        let members = joined.members().unwrap();
        let known = members.iter().map(|member| member.member.peer_address.as_str());
        assert!(known.clone().all(|address| address.starts_with("127.0.0.1:")), "{members:?}");
        cluster.push(joined);
    }
    until("three vote", async || {
        let three = |replica: &Cluster| replica.status().is_ok_and(|it| it.voters.len() == 3);
        cluster.iter().all(three).then_some(())
    })
    .await;
    assert_eq!(converge(&cluster).await.cluster_id, cluster_id);
    let found = cluster[2].store().get("since").await.unwrap().unwrap();
    assert_eq!((found.value.as_ref(), found.mod_revision), (&b"the first day"[..], Revision(1)));

    // Any of them can be missing now, also the one that was alone.
    cluster.remove(0).shutdown().await.unwrap();
    cluster[0].store().put("since", "then").await.unwrap();
}

/// Every file below `path` with its bytes, but not the lock, which names its last holder.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_does_not_fit_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node1");
    let fitting = || config(dir.path(), "node1", Origin::Init(None));
    let replica = Cluster::start(fitting()).await.unwrap();
    replica.wait_ready(DEADLINE).await.unwrap();
    replica.store().put("k", "v").await.unwrap();
    let refused = async |config: Config| match Cluster::start(config).await {
        Ok(_) => panic!("it was not refused"),
        Err(Error::Storage(error)) => error,
        Err(error) => panic!("refused for another reason: {error}"),
    };

    let locked = refused(fitting()).await;
    assert!(matches!(locked, StorageError::Locked { .. }), "{locked}");
    replica.shutdown().await.unwrap();
    drop(replica);

    let before = contents(&path);
    let another = config(dir.path(), "node2", Origin::Resume);
    let another = Config { data_dir: Some(path.clone()), ..another };
    let words = refused(another).await.to_string();
    assert!(words.contains("belongs to node1"), "{words}");

    let another = config(dir.path(), "node1", Origin::Init(Some(ClusterId(7))));
    let words = refused(another).await.to_string();
    assert!(words.contains("belongs to cluster"), "{words}");
    assert_eq!(contents(&path), before);

    // A log that is gone is not begun anew: what it had acknowledged would be lost.
    let (log, aside) = (path.join("log"), dir.path().join("aside"));
    fs::rename(&log, &aside).unwrap();
    let without_log = contents(&path);
    let missing = refused(fitting()).await;
    assert!(matches!(missing, StorageError::Mismatch { .. }), "{missing}");
    assert_eq!(contents(&path), without_log);

    fs::rename(&aside, &log).unwrap();
    let replica = Cluster::start(fitting()).await.unwrap();
    replica.wait_ready(DEADLINE).await.unwrap();
    assert_eq!(replica.store().get("k").await.unwrap().unwrap().value.as_ref(), b"v");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_moved_is_found_at_its_new_address() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = three(dir.path()).await;
    let moving = cluster.pop().unwrap();
    let id = moving.status().unwrap().node_id;
    let address = |seen_by: &Cluster| {
        let members = seen_by.members().unwrap().into_iter();
        let member = members.filter(|member| member.id == id).map(|member| member.member).next();
        member.unwrap().peer_address
    };
    let old = address(&cluster[0]);
    // Nobody else gets the port while this holds it.
    moving.shutdown().await.unwrap();
    drop(moving);
    let _taken = until("the port is free", async || std::net::TcpListener::bind(&old).ok()).await;
    cluster[0].store().put("k", "meanwhile").await.unwrap();

    let moved = restart(config(dir.path(), "node3", Origin::Resume)).await;
    moved.wait_ready(DEADLINE).await.unwrap();
    let new = until("the membership follows", async || {
        Some(address(&cluster[0])).filter(|address| *address != old)
    })
    .await;
    cluster.push(moved);
    for replica in &cluster {
        until("all know it", async || (address(replica) == new).then_some(())).await;
    }
    assert_eq!(cluster[2].status().unwrap().node_id, id);
    cluster[2].store().put("k", "moved").await.unwrap();
    converge(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_happens_once_while_leadership_moves() {
    const PUTS: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let cluster = three(dir.path()).await;
    let leaders: Vec<NodeId> =
        cluster[..2].iter().map(|replica| replica.status().unwrap().node_id).collect();
    let mover = cluster[0].clone();
    let moving = tokio::spawn(async move {
        let mut count = 0;
        let mut interval = tokio::time::interval(Duration::from_millis(50));
        for to in leaders.iter().cycle() {
            interval.tick().await;
            // One that comes while another is under way may fail: the next one follows.
            count += u64::from(mover.transfer_leadership(Some(*to)).await.is_ok());
            if mover.status().unwrap().revision >= Revision(PUTS) {
                break;
            }
        }
        count
    });
    let store = cluster[2].store();
    for number in 1..=PUTS {
        let written = store.put("counter", number.to_string()).await.unwrap();
        assert_eq!(written.revision, Revision(number), "one put, one revision");
    }
    let count = moving.await.unwrap();
    assert!(count >= 3, "leadership moved only {count} times");
    assert_eq!(converge(&cluster).await.revision, Revision(PUTS));
    let found = store.get("counter").await.unwrap().unwrap();
    assert_eq!((found.version, found.value.as_ref()), (PUTS, PUTS.to_string().as_bytes()));
}
