//! Backups: what comes back, what is refused, and that a directory is left as it was.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::backup::{self, RestoreOptions, Restored};
use axon_core::config::{History, Origin};
use axon_core::store::{WatchChange, WatchEvent};
use axon_core::types::{ClusterId, NodeId, Revision};
use axon_core::{Cluster, Config, Error, Op};
use bytes::Bytes;
use futures_util::StreamExt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

async fn open(path: &Path) -> Cluster {
    let history = History::Keep { bytes: 1 << 30, age: Duration::from_hours(1) };
    let config = Config {
        data_dir: Some(path.into()),
        listen: Some("127.0.0.1:0".into()),
        origin: Origin::Init(None),
        history,
        ..Config::default()
    };
    let cluster = Cluster::start(config).await.unwrap();
    cluster.wait_ready(DEADLINE).await.unwrap();
    cluster
}

async fn taken(cluster: &Cluster) -> (Revision, Vec<u8>) {
    let (mut backup, mut file) = (cluster.backup().await.unwrap(), Vec::new());
    while let Some(part) = backup.next().await.unwrap() {
        file.extend_from_slice(&part);
    }
    assert!(backup.next().await.unwrap().is_none());
    (backup.revision(), file)
}

fn options(path: &Path) -> RestoreOptions {
    RestoreOptions { data_dir: path.into(), name: "node1".into(), cluster_id: None }
}

/// The files below `path`; `None` when it is missing.
fn listing(path: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(path).ok()?;
    Some(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_comes_back_but_the_cluster_and_its_members() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(&dir.path().join("old")).await;
    let store = cluster.store();
    let first = store.put("a", "1").await.unwrap().revision;
    store.put("a", "2").await.unwrap();
    store.put("gone", "x").await.unwrap();
    store.delete("gone").await.unwrap();
    let once = store.with_idempotency_key("key-1").unwrap().put("once", "v").await.unwrap();
    let large = vec![7; 900 << 10];
    for number in 0..4 {
        store.put(format!("large/{number}"), large.clone()).await.unwrap();
    }
    let (revision, file) = taken(&cluster).await;
    let old = cluster.status().unwrap();
    assert_eq!(revision, old.revision);

    let path = dir.path().join("new");
    let restored = backup::restore(&file[..], &options(&path)).unwrap();
    let Restored { cluster_id, node_id, .. } = restored;
    assert_ne!(cluster_id, old.cluster_id);
    assert_eq!(node_id, NodeId(2), "ids go on");
    assert_eq!((restored.revision, restored.keys), (revision, 6));

    let new = open(&path).await;
    let status = new.status().unwrap();
    assert_eq!((status.cluster_id, status.node_id), (cluster_id, node_id));
    assert_eq!(status.voters, [node_id]);
    assert_eq!((status.revision, status.state_hash), (old.revision, old.state_hash));
    let store = new.store();
    let past = store.snapshot_at(first).await.unwrap();
    assert_eq!(past.get(b"a").unwrap().unwrap().value, "1");
    assert_eq!(store.get("large/3").await.unwrap().unwrap().value, large);
    let again = store.with_idempotency_key("key-1").unwrap();
    assert_eq!(again.put("once", "v").await.unwrap(), once, "done once, ever");
    let other = store.with_idempotency_key("key-1").unwrap().put("once", "w").await;
    assert_eq!(other.unwrap_err(), Error::IdempotencyMismatch);

    let mut watcher = store.watch("a").from(first).start().await.unwrap();
    store.put("a", "3").await.unwrap();
    let mut values = Vec::new();
    while values.len() < 3 {
        match watcher.next().await.unwrap().unwrap() {
            WatchEvent::Batch { changes, .. } => {
                values.extend(changes.into_iter().filter_map(|change| match change {
                    WatchChange::Put { pair, .. } => Some(pair.value),
                    WatchChange::Delete { .. } => None,
                }));
            }
            WatchEvent::Progress(_) => {}
            other @ WatchEvent::Resync { .. } => panic!("{other:?}"),
        }
    }
    assert_eq!(values, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_join_what_was_restored_under_new_ids_and_become_equal() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(&dir.path().join("old")).await;
    for number in 0..100 {
        cluster.store().put(format!("k{number}"), "v").await.unwrap();
    }
    let (_, file) = taken(&cluster).await;
    backup::restore(&file[..], &options(&dir.path().join("new"))).unwrap();
    let new = open(&dir.path().join("new")).await;
    let address = || {
        let members = new.members().unwrap();
        Some(members[0].member.peer_address.clone()).filter(|address| !address.is_empty())
    };
    let door = until("it has told its address", address).await;
    let joiner = Cluster::start(Config {
        name: "node2".into(),
        data_dir: Some(dir.path().join("joiner")),
        listen: Some("127.0.0.1:0".into()),
        origin: Origin::Join(vec![door]),
        ..Config::default()
    });
    let joiner = joiner.await.unwrap();
    joiner.wait_ready(DEADLINE).await.unwrap();
    assert_eq!(joiner.status().unwrap().node_id, NodeId(3));
    until("both are equal", || {
        let (one, two) = (new.status().ok()?, joiner.status().ok()?);
        let settled = one.voters.len() == 2 && one.applied_index == two.applied_index;
        (settled && one.state_hash == two.state_hash).then_some(())
    })
    .await;
    assert!(joiner.store().get("k99").await.unwrap().is_some());
}

async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_writes_is_of_one_revision() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(&dir.path().join("old")).await;
    let (done, store) = (AtomicBool::new(false), cluster.store());
    let put = |key: &'static str, number: u64| Op::put(key, number.to_string());
    let writing = async {
        let mut number = 0_u64;
        while !done.load(Ordering::Relaxed) {
            number += 1;
            store.txn().then([put("left", number), put("right", number)]).commit().await.unwrap();
        }
        number
    };
    let backing_up = async {
        let mut files = Vec::new();
        while files.len() < 5 {
            files.push(taken(&cluster).await);
        }
        done.store(true, Ordering::Relaxed);
        files
    };
    let (written, files) = tokio::join!(writing, backing_up);
    assert!(written > 5, "{written} transactions");
    for (number, (revision, file)) in files.into_iter().enumerate() {
        let path = dir.path().join(number.to_string());
        let restored = backup::restore(&file[..], &options(&path)).unwrap();
        assert_eq!(restored.revision, revision);
        let new = open(&path).await;
        let store = new.store();
        let (left, right) = (store.get("left").await.unwrap(), store.get("right").await.unwrap());
        let value = |pair: &Option<axon_core::types::KeyValue>| {
            pair.as_ref().map(|pair| (pair.value.clone(), pair.mod_revision))
        };
        assert_eq!(value(&left), value(&right));
        assert!(left.is_none_or(|left| left.mod_revision == revision));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_refused_and_leaves_the_directory_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(&dir.path().join("old")).await;
    for number in 0..20 {
        cluster.store().put(format!("k{number}"), "value").await.unwrap();
    }
    let (_, file) = taken(&cluster).await;
    let (missing, empty) = (dir.path().join("missing"), dir.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    let refused = |bad: &[u8], path: &Path, what: &str| {
        let before = listing(path);
        let error = backup::restore(bad, &options(path)).expect_err(what).to_string();
        assert!(error.contains("backup"), "{what}: {error}");
        assert_eq!(listing(path), before, "{what}");
    };
    // All of the head and of the end, and a sample of what is between.
    let len = file.len();
    let sample = |at: &usize| *at < 20 || *at > len - 8 || at.is_multiple_of(61);
    for at in (0..len).filter(sample) {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&bad, &missing, &format!("byte {at} of {len}"));
        refused(&file[..at], &empty, &format!("cut at {at} of {len}"));
    }
    refused(&[&file[..], &[0]].concat(), &empty, "a byte behind the end");
    refused(b"PK\x03\x04 some other file", &empty, "a wrong file");
    backup::restore(&file[..], &options(&empty)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_empty_directory_and_an_id_of_its_own_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old");
    let cluster = open(&old).await;
    cluster.store().put("k", "v").await.unwrap();
    let (_, file) = taken(&cluster).await;
    let id = cluster.status().unwrap().cluster_id;
    let refusal =
        |options: &RestoreOptions| backup::restore(&file[..], options).unwrap_err().to_string();
    assert!(refusal(&options(&old)).contains("already holds a replica"));
    assert!(cluster.store().get("k").await.unwrap().is_some(), "it goes on");

    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.tex"), "").unwrap();
    assert!(refusal(&options(&full)).contains("thesis.tex"));

    let new = options(&dir.path().join("new"));
    let same = RestoreOptions { cluster_id: Some(id), ..new.clone() };
    assert!(refusal(&same).contains("needs an id of its own"));
    assert!(listing(&new.data_dir).is_none());
    let nameless = RestoreOptions { name: "No Name".into(), ..new.clone() };
    assert!(refusal(&nameless).contains("name"));

    let wanted = RestoreOptions { cluster_id: Some(ClusterId(7)), ..new };
    assert_eq!(backup::restore(&file[..], &wanted).unwrap().cluster_id, ClusterId(7));
}

/// The file was made by the first version of this format: `a` = `1`, then `2`, and `b` = any byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_format_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = include_bytes!("fixtures/backup-1.axon");
    let restored = backup::restore(&file[..], &options(dir.path())).unwrap();
    assert_eq!((restored.revision, restored.keys), (Revision(3), 2));
    let cluster = open(dir.path()).await;
    let past = cluster.store().snapshot_at(Revision(1)).await.unwrap();
    assert_eq!(past.get(b"a").unwrap().unwrap().value, "1");
    let every: Vec<u8> = (0..=255).collect();
    assert_eq!(cluster.store().get("b").await.unwrap().unwrap().value, Bytes::from(every));

    let mut newer = file.to_vec();
    newer[8] = 2;
    let refused = backup::restore(&newer[..], &options(&dir.path().join("new"))).unwrap_err();
    assert!(refused.to_string().contains("start a newer Axon"), "{refused}");
}
