//! A new cluster out of what is left of one: what comes back, what is refused, who stays out.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::backup::{self, RestoreOptions};
use axon_core::config::Origin;
use axon_core::error::StorageError;
use axon_core::recovery::{self, Recovered, Survey};
use axon_core::types::{ClusterId, NodeId};
use axon_core::{Cluster, Config, Error};
use std::fs;
use std::path::{Path, PathBuf};
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
        // What is not in a checkpoint is in the log alone.
        checkpoint_interval: Duration::from_hours(1),
        ..Config::default()
    }
}

/// Three replicas that vote; and the cluster's id.
async fn three(root: &Path) -> (Vec<Cluster>, ClusterId) {
    let first = Cluster::start(config(root, "node1", Origin::Init(None))).await.unwrap();
    first.wait_ready(DEADLINE).await.unwrap();
    let door = first.members().unwrap()[0].member.peer_address.clone();
    let mut cluster = vec![first];
    for name in ["node2", "node3"] {
        let joining = config(root, name, Origin::Join(vec![door.clone()]));
        cluster.push(Cluster::start(joining).await.unwrap());
    }
    until("three voters", async || {
        let voters = |replica: &Cluster| replica.status().map_or(0, |status| status.voters.len());
        cluster.iter().all(|replica| voters(replica) == 3).then_some(())
    })
    .await;
    let id = cluster[0].status().unwrap().cluster_id;
    (cluster, id)
}

/// The place of the replica that leads.
async fn leader(cluster: &[Cluster]) -> usize {
    until("a leader", async || {
        let leads =
            |replica: &Cluster| replica.status().is_ok_and(|status| status.raft_state.is_leader());
        cluster.iter().position(leads)
    })
    .await
}

/// The survey of directories whose replicas have just crashed, once they are let go.
async fn surveyed(paths: &[PathBuf]) -> Survey {
    until("the crashed replicas let go", async || match recovery::survey(paths) {
        Err(Error::Storage(StorageError::Locked { .. })) => None,
        surveyed => Some(surveyed.unwrap()),
    })
    .await
}

/// Every file below `path` with its bytes, but those that say who holds a lock.
fn contents(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().unwrap() != "lock" {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

async fn resumed(root: &Path, name: &str) -> Cluster {
    let resumed = until("the directory is free", async || {
        match Cluster::start(config(root, name, Origin::Resume)).await {
            Err(Error::Storage(StorageError::Locked { .. })) => None,
            started => Some(started.unwrap()),
        }
    })
    .await;
    resumed.wait_ready(DEADLINE).await.unwrap();
    resumed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_brings_back_all_that_its_log_holds_acknowledged_or_not() {
    let root = tempfile::tempdir().unwrap();
    let (mut cluster, lost) = three(root.path()).await;
    let survivor = cluster.remove(leader(&cluster).await);
    let name = survivor.status().unwrap().name;
    let store = survivor.store();
    let mut acknowledged = Vec::new();
    for number in 0..50 {
        let key = format!("k{number}");
        store.put(key.clone(), "v").await.unwrap();
        acknowledged.push(key);
    }
    drop(cluster);
    // In its log, and in nobody else's: nothing tells it from an acknowledged write.
    let alone = store.with_timeout(Duration::from_secs(1)).put("alone", "v").await;
    assert!(alone.is_err());
    let end = survivor.status().unwrap().last_log_index;
    drop((survivor, store));

    let path = root.path().join(&name);
    let survey = surveyed(std::slice::from_ref(&path)).await;
    let standing = survey.best().unwrap().standing.clone().unwrap();
    assert_eq!(standing.last_index, end);
    assert!(standing.committed_index < end && standing.checkpoint_index < end);
    assert_eq!((survey.cluster_id(), survey.missing().count()), (lost, 2));
    assert!(!survey.has_majority());
    let recovered = survey.recover(lost, false).await.unwrap();
    assert_eq!(recovered.name, name);
    assert_eq!(recovered.node_id, NodeId(4), "ids go on");

    let again = resumed(root.path(), &name).await;
    let status = again.status().unwrap();
    assert_eq!(status.cluster_id, recovered.cluster_id);
    assert_eq!((status.voters, status.learners), (vec![NodeId(4)], Vec::new()));
    for key in acknowledged.iter().map(String::as_str).chain(["alone"]) {
        assert!(again.store().get(key).await.unwrap().is_some(), "{key}");
    }
    again.store().put("after", "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_changes_nothing_and_names_the_one_with_the_latest_entry() {
    let root = tempfile::tempdir().unwrap();
    let (mut cluster, lost) = three(root.path()).await;
    let behind = (leader(&cluster).await + 1) % 3;
    let behind = cluster.remove(behind);
    let names: Vec<String> =
        cluster.iter().chain([&behind]).map(|replica| replica.status().unwrap().name).collect();
    behind.shutdown().await.unwrap();
    drop(behind);
    let at = leader(&cluster).await;
    cluster[at].store().put("later", "v").await.unwrap();
    let lagging = cluster.remove(1 - at);
    drop(lagging);
    drop(cluster);

    let paths: Vec<PathBuf> = names.iter().map(|name| root.path().join(name)).collect();
    drop(surveyed(&paths).await);
    let before = contents(root.path());
    let survey = surveyed(&paths).await;
    assert_eq!(survey.replicas().len(), 3);
    let best = survey.best().unwrap();
    let end = best.standing.as_ref().unwrap().last_index;
    let behind = survey.replicas()[2].standing.as_ref().unwrap().last_index;
    assert!(end > behind, "{end} is later than {behind}");
    assert!(survey.has_majority() && survey.missing().next().is_none());
    let refused = survey.recover(lost, false).await.unwrap_err().to_string();
    assert!(refused.contains("a majority of the cluster is here"), "{refused}");
    let refused = surveyed(&paths[2..]).await.recover(ClusterId(7), false).await.unwrap_err();
    assert!(refused.to_string().contains(&lost.to_string()), "{refused}");
    assert!(contents(root.path()) == before, "all files are as they were");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_replica_another_cluster_and_an_empty_directory_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let one = Cluster::open(root.path().join("one")).await.unwrap();
    let two = Cluster::open(root.path().join("two")).await.unwrap();
    let refusal = |paths: &[PathBuf]| recovery::survey(paths).err().unwrap().to_string();
    let (path_one, path_two) = (root.path().join("one"), root.path().join("two"));
    let running = refusal(std::slice::from_ref(&path_one));
    assert!(running.contains(&format!("process {}", std::process::id())), "{running}");
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
    drop((one, two));
    let mixed = until("both are let go", async || {
        let refused = refusal(&[path_one.clone(), path_two.clone()]);
        (!refused.contains("in use")).then_some(refused)
    })
    .await;
    assert!(mixed.contains("recover one at a time"), "{mixed}");
    let empty = root.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(refusal(std::slice::from_ref(&empty)).contains("it holds no replica"));
    assert!(fs::read_dir(empty).unwrap().next().is_none());
    assert!(refusal(&[root.path().join("missing")]).contains("missing"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_survivor_is_told_and_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let (cluster, lost) = three(root.path()).await;
    cluster[0].store().put("k", "v").await.unwrap();
    for replica in &cluster {
        replica.shutdown().await.unwrap();
    }
    drop(cluster);
    fs::remove_dir_all(root.path().join("node1/log")).unwrap();
    let paths = ["node1", "node2"].map(|name| root.path().join(name));
    let survey = surveyed(&paths).await;
    let damage = survey.replicas()[0].standing.clone().unwrap_err().to_string();
    assert!(damage.contains("log"), "{damage}");
    assert_eq!(survey.best().unwrap().data_dir, fs::canonicalize(&paths[1]).unwrap());
    assert!(!survey.has_majority());
    survey.recover(lost, false).await.unwrap();
    let again = resumed(root.path(), "node2").await;
    assert!(again.store().get("k").await.unwrap().is_some());
    // Of node1 alone there is nothing to make.
    let survey = surveyed(&paths[..1]).await;
    assert!(survey.best().is_none());
    let refused = survey.recover(lost, true).await.unwrap_err().to_string();
    assert!(refused.contains("no directory"), "{refused}");
}

/// A replica that a snapshot has just been installed on has a checkpoint and no entry; so has a
/// restored one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_entries_is_enough_and_recoveries_may_follow_each_other() {
    let root = tempfile::tempdir().unwrap();
    let first = Cluster::open(root.path().join("first")).await.unwrap();
    first.store().put("k", "v").await.unwrap();
    let (mut backup, mut file) = (first.backup().await.unwrap(), Vec::new());
    while let Some(part) = backup.next().await.unwrap() {
        file.extend_from_slice(&part);
    }
    let path = root.path().join("node1");
    let options = RestoreOptions { data_dir: path.clone(), name: "node1".into(), cluster_id: None };
    let mut lost = backup::restore(&file[..], &options).unwrap().cluster_id;
    for number in 1..=2 {
        let survey = surveyed(std::slice::from_ref(&path)).await;
        assert!(survey.has_majority(), "one of one");
        let recovered = survey.recover(lost, true).await.unwrap();
        let Recovered { kept, cluster_id, node_id, .. } = recovered;
        assert_eq!(node_id, NodeId(2 + number));
        assert!(kept.ends_with(format!("before-recovery-{number}")));
        lost = cluster_id;
    }
    let again = resumed(root.path(), "node1").await;
    assert_eq!(again.store().get("k").await.unwrap().unwrap().value, "v");
    assert_eq!(again.status().unwrap().cluster_id, lost);
}
