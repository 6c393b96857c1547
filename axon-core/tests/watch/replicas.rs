//! Watches of real replicas: real disks, real sockets, in one process.

use axon_core::config::Origin;
use axon_core::store::{Store, WatchChange, WatchEvent, Watcher};
use axon_core::types::{KeyRange, Revision};
use axon_core::{Cluster, Config, Error};
use futures_util::StreamExt;
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

async fn start(root: &Path, name: &str, origin: Origin) -> Cluster {
    let config = Config {
        name: name.into(),
        data_dir: Some(root.join(name)),
        listen: Some("127.0.0.1:0".into()),
        origin,
        ..Config::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    cluster.wait_ready(DEADLINE).await.unwrap();
    cluster
}

async fn three(root: &Path) -> Vec<Cluster> {
    let first = start(root, "node1", Origin::Init(None)).await;
    let door = first.members().unwrap()[0].member.peer_address.clone();
    let mut cluster = vec![first];
    for name in ["node2", "node3"] {
        cluster.push(start(root, name, Origin::Join(vec![door.clone()])).await);
    }
    until("three voters", async || {
        let voters = |replica: &Cluster| replica.status().unwrap().voters.len();
        cluster.iter().all(|replica| voters(replica) == 3).then_some(())
    })
    .await;
    cluster
}

async fn next(watcher: &mut Watcher) -> Result<WatchEvent, Error> {
    let next = tokio::time::timeout(DEADLINE, watcher.next()).await;
    next.expect("an event in time").expect("it has not ended")
}

/// The revision and the one value of the next batch; progress is passed over.
async fn next_value(watcher: &mut Watcher) -> (u64, String) {
    loop {
        match next(watcher).await.unwrap() {
            WatchEvent::Progress(_) => {}
            WatchEvent::Batch { revision, changes } => {
                let [WatchChange::Put { pair, .. }] = changes.as_slice() else {
                    panic!("{changes:?}");
                };
                return (revision.0, String::from_utf8(pair.value.to_vec()).unwrap());
            }
            other @ WatchEvent::Resync { .. } => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_of_a_follower_sees_everything_once_while_leaders_die() {
    const PUTS: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = three(dir.path()).await;
    let leader = until("a leader", async || {
        let leads = |replica: &Cluster| replica.status().unwrap().raft_state.is_leader();
        cluster.iter().position(leads)
    })
    .await;
    let leader = cluster.remove(leader);
    let store = cluster[0].store();
    let mut from_start = store.prefix("n/").watch().from(1).start().await.unwrap();
    let mut others = store.watch("other").start().await.unwrap();

    let writing = {
        let store = cluster[1].store().with_timeout(DEADLINE);
        tokio::spawn(async move {
            let mut leader = Some(leader);
            for number in 1..=PUTS {
                store.put(format!("n/{}", number % 7), number.to_string()).await.unwrap();
                if number == PUTS / 3 {
                    // As a crash: it stops where it stands.
                    drop(leader.take());
                }
            }
            store.put("other", "last").await.unwrap();
        })
    };
    for number in 1..=PUTS / 2 {
        assert_eq!(next_value(&mut from_start).await, (number, number.to_string()));
    }
    // Another one goes on where this one is dropped, on another replica.
    drop(from_start);
    let resumed = cluster[1].store().prefix("n/").watch().from(PUTS / 2 + 1);
    let mut resumed = resumed.start().await.unwrap();
    for number in PUTS / 2 + 1..=PUTS {
        assert_eq!(next_value(&mut resumed).await, (number, number.to_string()));
    }
    writing.await.unwrap();
    assert_eq!(next_value(&mut others).await, (PUTS + 1, "last".to_owned()));
    assert!(cluster[0].metrics().watch_events > PUTS / 2);
    assert_eq!(cluster[0].metrics().watchers, 1);
    assert_eq!(cluster[0].metrics().watch_resyncs, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_is_resumed_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).await.unwrap();
    let store = cluster.store();
    for number in 1..=10 {
        store.put("k", number.to_string()).await.unwrap();
    }
    let mut watcher = store.watch("k").from(1).start().await.unwrap();
    for number in 1..=4 {
        assert_eq!(next_value(&mut watcher).await, (number, number.to_string()));
    }
    cluster.shutdown().await.unwrap();
    assert!(matches!(ended(&mut watcher).await, Error::ShutDown));
    // The watcher is still held: it does not keep the directory.
    drop((cluster, store));
    let cluster =
        until("the directory is free", async || Cluster::open(dir.path()).await.ok()).await;
    let mut resumed = cluster.store().watch("k").from(5).start().await.unwrap();
    cluster.store().put("k", "11").await.unwrap();
    for number in 5..=11 {
        assert_eq!(next_value(&mut resumed).await, (number, number.to_string()));
    }
    drop(watcher);
}

/// The error that a watcher ends with, after what it had to tell; nothing follows it.
async fn ended(watcher: &mut Watcher) -> Error {
    loop {
        if let Err(error) = next(watcher).await {
            assert!(watcher.next().await.is_none(), "once");
            return error;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_replica() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).await.unwrap();
    let store = cluster.store();
    let mut quiet = store.watch("k").start().await.unwrap();
    cluster.shutdown().await.unwrap();
    assert!(matches!(ended(&mut quiet).await, Error::ShutDown));
    assert!(matches!(store.watch("k").start().await.err(), Some(Error::ShutDown)));
    drop((quiet, cluster, store));

    // A watcher alone does not keep a replica running.
    let cluster =
        until("the directory is free", async || Cluster::open(dir.path()).await.ok()).await;
    let mut alone = cluster.store().range(KeyRange::all()).watch().start().await.unwrap();
    drop(cluster);
    assert!(matches!(ended(&mut alone).await, Error::ShutDown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_removed_ends_its_watches() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = three(dir.path()).await;
    let id = cluster[2].status().unwrap().node_id;
    let mut watcher = cluster[2].store().watch("k").start().await.unwrap();
    cluster[0].remove(id).await.unwrap();
    assert_eq!(ended(&mut watcher).await, Error::Removed { id });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::open(dir.path()).await.unwrap();
    let store: Store = cluster.store();
    store.put("k", "1").await.unwrap();
    let start = async |revision: u64| store.watch("k").from(revision).start().await.err();
    assert_eq!(
        start(0).await,
        Some(Error::Compacted { requested: Revision(0), oldest: Revision(1) })
    );
    assert_eq!(start(1).await, None);
    assert_eq!(start(2).await, None);
    let newest = Revision(1);
    assert_eq!(start(3).await, Some(Error::FutureRevision { requested: Revision(3), newest }));
    let both = store.watch("k").from(1).with_initial_state().start().await.err();
    assert!(matches!(both, Some(Error::Config(_))), "{both:?}");
    assert_eq!(store.watch("").start().await.err(), Some(Error::EmptyKey));
    let long = store.watch("k".repeat(5_000)).start().await.err();
    assert!(matches!(long, Some(Error::TooLarge { .. })), "{long:?}");
    assert_eq!(cluster.metrics().watchers, 0, "those that were refused left nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_behind_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = three(dir.path()).await;
    for round in 0..50 {
        let written = cluster[round % 3].store().put("k", round.to_string()).await.unwrap();
        // Right after it was acknowledged elsewhere, it need not have been applied here.
        let from = cluster[(round + 1) % 3].store().watch("k").from(written.revision.next());
        let mut watcher = from.start().await.unwrap();
        let next_one = cluster[round % 3].store().put("k", "next").await.unwrap();
        assert_eq!(next_value(&mut watcher).await, (next_one.revision.0, "next".to_owned()));
    }
}
