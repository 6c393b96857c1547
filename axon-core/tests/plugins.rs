//! What a host plugs in is what a replica runs on, under the same rules as what Axon brings.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::config::{Config, Origin};
use axon_core::error::StorageError;
use axon_core::storage::builtin::{DiskEngine, MemoryEngine};
use axon_core::storage::{self, Storage, StorageEngine};
use axon_core::testing::engine_suite::check_engine;
use axon_core::transport::Transport;
use axon_core::transport::memory::MemNetwork;
use axon_core::{Cluster, Error};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
const CACHE_BYTES: usize = 4 << 20;

/// A third party's engine: everything lies in `own/`, and creating fails as often as it is told to.
struct Own {
    inner: DiskEngine,
    failures: AtomicUsize,
}

impl Own {
    fn new(failures: usize) -> Arc<Self> {
        Arc::new(Self { inner: DiskEngine::new(CACHE_BYTES), failures: AtomicUsize::new(failures) })
    }
}

impl StorageEngine for Own {
    fn exists(&self, directory: &Path) -> storage::Result<bool> {
        Ok(directory.join("own").exists())
    }

    fn create(&self, directory: &Path, log_id: u128) -> storage::Result<()> {
        let own = directory.join("own");
        fs::create_dir_all(&own).unwrap();
        self.inner.create(&own, log_id)?;
        let failing =
            self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| {
                failures.checked_sub(1)
            });
        match failing {
            Ok(_) => Err(StorageError::Mismatch { path: "own".into(), reason: "cut off".into() }),
            Err(_) => Ok(()),
        }
    }

    fn open(&self, directory: &Path, log_id: u128) -> storage::Result<Storage> {
        self.inner.open(&directory.join("own"), log_id)
    }
}

async fn start(path: &Path, engine: Arc<dyn StorageEngine>) -> Result<Cluster, Error> {
    let replica = Cluster::builder().data_dir(path).init().storage(engine).start().await?;
    replica.wait_ready(DEADLINE).await?;
    Ok(replica)
}

fn refusal(started: Result<Cluster, Error>) -> StorageError {
    match started {
        Ok(_) => panic!("it was not refused"),
        Err(Error::Storage(error)) => error,
        Err(error) => panic!("refused for another reason: {error}"),
    }
}

fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn the_engine_on_the_disk_keeps_the_contract() {
    check_engine(&DiskEngine::new(CACHE_BYTES), true);
}

#[test]
fn the_engine_in_memory_keeps_the_contract() {
    check_engine(&MemoryEngine::new(), false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_lives_on_the_engine_that_was_plugged_in() {
    let dir = tempfile::tempdir().unwrap();
    let replica = start(dir.path(), Own::new(0)).await.unwrap();
    replica.store().put("k", "v").await.unwrap();
    replica.shutdown().await.unwrap();
    drop(replica);
    assert!(dir.path().join("own/log").exists() && !dir.path().join("log").exists());

    // Another engine finds nothing of its own beside the identity: it must not begin anew.
    let before = contents(dir.path());
    let refused = refusal(Cluster::open(dir.path()).await);
    assert!(matches!(refused, StorageError::Mismatch { .. }), "{refused}");
    assert_eq!(contents(dir.path()), before);

    let replica = start(dir.path(), Own::new(0)).await.unwrap();
    assert_eq!(replica.store().get("k").await.unwrap().unwrap().value.as_ref(), b"v");
    replica.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_making_that_was_interrupted_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let own = Own::new(1);
    let refused = refusal(start(dir.path(), own.clone()).await);
    assert!(refused.to_string().contains("cut off"), "{refused}");
    assert!(!dir.path().join("identity").exists(), "the identity is written last");
    let replica = start(dir.path(), own).await.unwrap();
    replica.store().put("k", "v").await.unwrap();
    replica.shutdown().await.unwrap();
    drop(replica);

    // Without an identity and without a mark, what lies there may be acknowledged: it is left alone.
    fs::remove_file(dir.path().join("identity")).unwrap();
    let before = contents(dir.path());
    let refused = refusal(start(dir.path(), Own::new(0)).await);
    assert!(refused.to_string().contains("not its identity"), "{refused}");
    let refused = refusal(Cluster::open(dir.path()).await);
    assert!(refused.to_string().contains("own"), "{refused}");
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lost_its_memory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(MemoryEngine::new());
    let replica = start(dir.path(), engine.clone()).await.unwrap();
    replica.store().put("k", "v").await.unwrap();
    replica.shutdown().await.unwrap();
    drop(replica);
    let refused = refusal(start(dir.path(), engine).await);
    assert!(refused.to_string().contains("is gone"), "{refused}");
}

#[tokio::test]
async fn an_engine_without_a_directory_is_refused() {
    let started = Cluster::builder().init().storage(Own::new(0)).start().await;
    let Some(Error::Config(error)) = started.err() else { panic!("it was not refused") };
    assert_eq!(error.setting, "data_dir");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugged_in_transport_is_where_a_replica_listens() {
    let network = MemNetwork::new();
    let transport = |name| -> Arc<dyn Transport> { Arc::new(network.transport(name)) };
    let first = Cluster::builder().init().transport(transport("a")).start().await.unwrap();
    let second = Cluster::builder().name("node2").join(["a"]).transport(transport("b"));
    let second = second.start().await.unwrap();
    second.wait_ready(DEADLINE).await.unwrap();
    first.store().put("k", "v").await.unwrap();
    assert_eq!(second.store().get("k").await.unwrap().unwrap().value.as_ref(), b"v");
    let members = first.members().unwrap();
    let addresses: Vec<_> = members.iter().map(|m| m.member.peer_address.as_str()).collect();
    assert_eq!(addresses, ["a", "b"]);
}

#[tokio::test]
async fn the_builder_says_what_a_config_says() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = Config {
        name: "node7".into(),
        data_dir: Some(one.path().into()),
        listen: Some("127.0.0.1:0".into()),
        advertise: Some("node7.example:7001".into()),
        origin: Origin::Init(None),
        ..Config::default()
    };
    let built = Cluster::builder()
        .name("node7")
        .data_dir(other.path())
        .listen("127.0.0.1:0")
        .advertise("node7.example:7001")
        .init();
    for replica in [Cluster::start(config).await.unwrap(), built.start().await.unwrap()] {
        replica.wait_ready(DEADLINE).await.unwrap();
        let member = replica.members().unwrap().swap_remove(0).member;
        assert_eq!(member.name, "node7");
        assert_eq!(member.peer_address, "node7.example:7001");
    }
    // Settings are checked together, whichever way they came.
    let refused = Cluster::builder().settings(|config| config.heartbeat_interval = DEADLINE);
    let Some(Error::Config(error)) = refused.start().await.err() else { panic!("not refused") };
    assert_eq!(error.setting, "heartbeat_interval");
}
