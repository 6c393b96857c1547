//! A cluster that has lost its majority for good: what is left, and a new cluster out of the best of it.
//!
//! Works on the directories of replicas that do not run; their locks are held for as long as the
//! [`Survey`] lives. Looking changes nothing: log and state are opened through a
//! [`ScratchDisk`]. The new replica is built whole beside the old one, from the old checkpoint and
//! then *every* entry of the old log, committed or not: an acknowledged write must not be lost, and a
//! write that was never acknowledged may come to life by it, as in any election. Then the files are
//! exchanged:
//!
//! ```text
//! recovering/           the new replica while it is built; its identity comes last
//! recovery              says that files are being exchanged, and how far that has come
//! before-recovery-N/    the old replica's files; never deleted
//! ```
//!
//! Invariants:
//!
//! * before `recovery` is there, the old replica is untouched; while it is, no replica starts here; when
//!   it is gone, the new replica is whole;
//! * each step is one rename or one small write, and follows from what lies there: interrupted at any
//!   point, another call finishes;
//! * the new cluster has another id, by which the old members are refused, and ids go on.
//!
//! What it cannot know: entries that only the lost members had, and whether one of them still runs.

use crate::backup::{begin_again, load_state};
use crate::command::VOCABULARY;
use crate::error::{Error, StorageError};
use crate::identity::quarantine::{Fate, Quarantine};
use crate::identity::{self, DataDir, Exchange, Identity, sync_dir};
pub use crate::raft::offline::Standing;
use crate::raft::offline::{self, Begun};
use crate::runtime;
use crate::state::Summary;
use crate::state::transfer::SnapshotSource;
use crate::storage::builtin::{DiskEngine, FILES};
use crate::storage::disk::RealDisk;
use crate::storage::scratch::ScratchDisk;
use crate::storage::{Storage, StorageEngine};
use crate::types::{ClusterId, Member, NodeId, Revision};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a state kept in memory while it is looked at.
const CACHE_BYTES: usize = 16 << 20;
/// Where the new replica is built.
const RECOVERING: &str = "recovering";
/// What a replica has in its directory besides the files of its engine.
const OWN_FILES: [&str; 6] =
    ["identity", "identity.new", "joining", "joining.new", "making", "quarantine"];

/// What a directory holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// The directory.
    pub data_dir: PathBuf,
    /// Whose it is: cluster, id, name.
    pub identity: Result<(ClusterId, NodeId, String), StorageError>,
    /// How far it is, or what is wrong with it.
    pub standing: Result<Standing, StorageError>,
    /// A recovery was interrupted in it, and is to be finished.
    pub unfinished: bool,
}

/// What is left of a cluster. Keeps every process out of the directories while it lives.
pub struct Survey {
    replicas: Vec<Replica>,
    locks: Vec<DataDir>,
    exchange: Option<(usize, Exchange)>,
    cluster_id: ClusterId,
    best: Option<usize>,
}

/// What was made of the best survivor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its directory.
    pub data_dir: PathBuf,
    /// Where its old files are.
    pub kept: PathBuf,
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// The id of its only member.
    pub node_id: NodeId,
    /// The member's name: the survivor's.
    pub name: String,
    /// The store's revision.
    pub revision: Revision,
    /// Keys in the store.
    pub keys: u64,
}

fn mismatch(path: &Path, reason: impl Into<String>) -> Error {
    StorageError::Mismatch { path: path.display().to_string(), reason: reason.into() }.into()
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> StorageError + 'a {
    move |error| StorageError::io(what, path, &error)
}

/// Looks at what is left of a cluster. Reads all of it, checks all of it, changes nothing.
///
/// # Errors
/// A directory that is missing, in use, or of another cluster than the others. One that is damaged is
/// part of the survey.
pub fn survey(directories: &[PathBuf]) -> Result<Survey, Error> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for directory in directories {
        let path = fs::canonicalize(directory).map_err(failed("cannot open", directory))?;
        if !DataDir::is_replicas(&path) {
            return Err(mismatch(&path, "it holds no replica: name directories of replicas"));
        }
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let locks = paths.iter().map(|path| DataDir::lock(path)).collect::<Result<Vec<_>, _>>()?;
    let exchanges = locks.iter().map(DataDir::exchange).collect::<Result<Vec<_>, _>>()?;
    let replicas: Vec<Replica> = locks
        .iter()
        .zip(&exchanges)
        .map(|(lock, exchange)| look(lock, exchange.as_ref()))
        .collect();
    let exchange = exchanges.into_iter().enumerate().find_map(|(at, found)| Some((at, found?)));
    let mut ids = replicas.iter().filter_map(|replica| {
        let (cluster_id, ..) = replica.identity.as_ref().ok()?;
        Some((*cluster_id, &replica.data_dir))
    });
    let Some((cluster_id, first)) = ids.next() else {
        return Err(replicas[0].identity.clone().err().map_or(Error::ShutDown, Error::from));
    };
    if let Some((other, path)) = ids.find(|(other, _)| *other != cluster_id) {
        let first = first.display();
        return Err(mismatch(
            path,
            format!("it is of cluster {other}, and {first} of {cluster_id}: recover one at a time"),
        ));
    }
    let best = match &exchange {
        Some((at, _)) => Some(*at),
        None => best(&replicas),
    };
    Ok(Survey { replicas, locks, exchange, cluster_id, best })
}

/// The place of the replica that an election would choose. Of equals, the first.
fn best(replicas: &[Replica]) -> Option<usize> {
    let last = |replica: &Replica| {
        let standing = replica.standing.as_ref().ok().filter(|_| replica.identity.is_ok())?;
        Some((standing.term, standing.last_index))
    };
    let places = (0..replicas.len()).filter(|at| last(&replicas[*at]).is_some());
    places.rev().max_by_key(|at| last(&replicas[*at]))
}

fn look(directory: &DataDir, exchange: Option<&Exchange>) -> Replica {
    let data_dir = directory.path().to_owned();
    if let Some(Exchange { lost, node_id, name, .. }) = exchange {
        let standing = Err(identity::unfinished(&data_dir));
        let identity = Ok((*lost, *node_id, name.clone()));
        return Replica { data_dir, identity, standing, unfinished: true };
    }
    let identity = directory.identity().and_then(|identity| {
        let lost = || StorageError::Mismatch {
            path: data_dir.display().to_string(),
            reason: "its identity is gone".into(),
        };
        identity.ok_or_else(lost)
    });
    let standing = identity.clone().and_then(|identity| {
        check_is_right(directory, &identity)?;
        open_untouched(directory.path(), &identity).and_then(|storage| offline::standing(&storage))
    });
    let identity = identity.map(|found| (found.cluster_id, found.node_id, found.name));
    Replica { data_dir, identity, standing, unfinished: false }
}

/// Refuses a state that is known to be wrong. One of several of which no majority held any may be used.
fn check_is_right(directory: &DataDir, identity: &Identity) -> Result<(), StorageError> {
    match directory.quarantine()? {
        Some(Quarantine { node_id, fate: Fate::Heals { .. }, reason, .. })
            if node_id == identity.node_id =>
        {
            let path = directory.path().display().to_string();
            Err(StorageError::Mismatch { path, reason })
        }
        _ => Ok(()),
    }
}

/// Opens a replica's storage so that nothing of it is changed.
fn open_untouched(path: &Path, identity: &Identity) -> Result<Storage, StorageError> {
    let disk = ScratchDisk::new(Arc::new(RealDisk));
    DiskEngine::on(Arc::new(disk), CACHE_BYTES).open(path, identity.log_id)
}

impl Survey {
    /// What each directory holds, in the order in which they were named.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// The cluster that they are of.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// The replica to begin again from: the one that an election would choose. `None` when all are
    /// damaged.
    #[must_use]
    pub fn best(&self) -> Option<&Replica> {
        self.best.map(|at| &self.replicas[at])
    }

    /// The members, by what the best knows last, each with whether it votes.
    #[must_use]
    pub fn members(&self) -> &[(NodeId, Member, bool)] {
        self.best_standing().map_or(&[], |standing| &standing.members)
    }

    /// The members of which no directory was named that can be used.
    pub fn missing(&self) -> impl Iterator<Item = &(NodeId, Member, bool)> {
        self.members().iter().filter(|(id, ..)| !self.usable(*id))
    }

    /// Reports whether those that can be used are a majority: then the cluster is not lost.
    #[must_use]
    pub fn has_majority(&self) -> bool {
        let Some(standing) = self.best_standing() else { return false };
        standing.configs.iter().all(|voters| {
            let there = voters.iter().filter(|id| self.usable(**id)).count();
            there > voters.len() / 2
        })
    }

    fn best_standing(&self) -> Option<&Standing> {
        self.best()?.standing.as_ref().ok()
    }

    fn usable(&self, id: NodeId) -> bool {
        self.replicas.iter().any(|replica| {
            let named = replica.identity.as_ref().is_ok_and(|(_, named, _)| *named == id);
            named && replica.standing.is_ok()
        })
    }

    /// Makes a new cluster of the best survivor, or finishes what was interrupted. `consent` is the id
    /// of the lost cluster, as a person has typed it.
    ///
    /// Blocks its thread on the disk. Other directories stay as they are; their replicas belong to the
    /// lost cluster, and come back by joining with empty directories.
    ///
    /// # Errors
    /// Without a change: consent to something else; a majority that is there, unless `force`; no
    /// replica that can be used. Interrupted by anything else, it is called again.
    pub async fn recover(self, consent: ClusterId, force: bool) -> Result<Recovered, Error> {
        let refused = |reason: String| Err(Error::Conflict { reason });
        if consent != self.cluster_id {
            return refused(format!(
                "these replicas are of cluster {}, and the consent is for {consent}",
                self.cluster_id
            ));
        }
        let Some(at) = self.best else {
            return refused("no directory holds a replica that can be used".into());
        };
        let directory = &self.locks[at];
        if let Some((_, exchange)) = &self.exchange {
            return exchange_all(directory, exchange.clone());
        }
        if self.has_majority() && !force {
            return refused(
                "a majority of the cluster is here: start these replicas, and nothing is lost"
                    .into(),
            );
        }
        let ids =
            self.replicas.iter().filter_map(|replica| Some(replica.identity.as_ref().ok()?.1));
        let used = ids.max().unwrap_or_default();
        let exchange = match build(directory, self.members(), used).await {
            Ok(exchange) => exchange,
            Err(error) => {
                let _ = fs::remove_dir_all(directory.path().join(RECOVERING));
                return Err(error);
            }
        };
        directory.write_exchange(&exchange)?;
        exchange_all(directory, exchange)
    }
}

/// Builds the new replica beside the old one, of which nothing is changed.
async fn build(
    directory: &DataDir,
    members: &[(NodeId, Member, bool)],
    used: NodeId,
) -> Result<Exchange, Error> {
    let path = directory.path();
    let old = directory.identity()?.ok_or_else(|| mismatch(path, "its identity is gone"))?;
    let from = open_untouched(path, &old)?;
    let place = path.join(RECOVERING);
    if place.exists() {
        fs::remove_dir_all(&place).map_err(failed("cannot remove", &place))?;
    }
    let beside = DataDir::lock(&place)?;
    beside.begin_making()?;
    let (engine, log_id) = (DiskEngine::new(CACHE_BYTES), runtime::random_u128());
    engine.create(&place, log_id)?;
    let storage = engine.open(&place, log_id)?;
    if Summary::read(&*from.state.view()?)?.is_some() {
        let mut source = SnapshotSource::open(&*from.state)?;
        load_state(&*storage.state, || Ok(source.next_chunk()?))?;
    }
    offline::replay(&*from.log, storage.state.clone()).await?;
    let known = members.iter().find(|(id, ..)| *id == old.node_id);
    let known = known.map_or_else(Member::default, |(_, member, _)| member.clone());
    let member = Member { name: old.name.clone(), vocabulary: VOCABULARY, ..known };
    let cluster_id = ClusterId(runtime::random_u128());
    let begun = begin_again(&beside, storage, cluster_id, member, used, log_id)?;
    let Begun { node_id, revision, keys } = begun;
    let free = |name: &String| !path.join(name).exists();
    let mut names = (1_u64..).map(|number| format!("before-recovery-{number}"));
    let keep = names.find(free).expect("numbers do not end");
    let (lost, name) = (old.cluster_id, old.name);
    Ok(Exchange { lost, cluster_id, node_id, name, revision, keys, keep, placing: false })
}

fn exchange_all(directory: &DataDir, mut exchange: Exchange) -> Result<Recovered, Error> {
    while step(directory, &mut exchange)? {}
    let Exchange { cluster_id, node_id, name, revision, keys, keep, .. } = exchange;
    let data_dir = directory.path().to_owned();
    let kept = data_dir.join(keep);
    Ok(Recovered { data_dir, kept, cluster_id, node_id, name, revision, keys })
}

/// Takes the next step of an exchange of files; `false` when that was the last.
fn step(directory: &DataDir, exchange: &mut Exchange) -> Result<bool, StorageError> {
    let path = directory.path();
    let (keep, new) = (path.join(&exchange.keep), path.join(RECOVERING));
    if !exchange.placing {
        if !keep.exists() {
            fs::create_dir(&keep).map_err(failed("cannot create", &keep))?;
            return sync_dir(path).map(|()| true);
        }
        for name in OWN_FILES.into_iter().chain(FILES) {
            if move_file(name, path, &keep)? {
                return Ok(true);
            }
        }
        exchange.placing = true;
        directory.write_exchange(exchange)?;
        return Ok(true);
    }
    for name in FILES.into_iter().chain(["identity"]) {
        if move_file(name, &new, path)? {
            return Ok(true);
        }
    }
    if new.exists() {
        fs::remove_dir_all(&new).map_err(failed("cannot remove", &new))?;
        return sync_dir(path).map(|()| true);
    }
    directory.end_exchange()?;
    Ok(false)
}

/// Moves a file or a directory, if it is there. Durable when it returns.
fn move_file(name: &str, from: &Path, to: &Path) -> Result<bool, StorageError> {
    let (old, new) = (from.join(name), to.join(name));
    if !old.exists() {
        return Ok(false);
    }
    fs::rename(&old, &new).map_err(failed("cannot move", &old))?;
    sync_dir(to)?;
    sync_dir(from)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cluster::Cluster;
    use std::time::Duration;

    async fn replica(path: &Path) -> ClusterId {
        let cluster = Cluster::open(path).await.unwrap();
        cluster.store().put("k", "v").await.unwrap();
        let id = cluster.status().unwrap().cluster_id;
        cluster.shutdown().await.unwrap();
        id
    }

    /// The directory's survey, once the replica that ran in it has let go of it.
    fn surveyed(path: &Path) -> Survey {
        loop {
            match survey(&[path.to_owned()]) {
                Err(Error::Storage(StorageError::Locked { .. })) => std::thread::yield_now(),
                surveyed => return surveyed.unwrap(),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_exchange_that_is_interrupted_anywhere_is_refused_by_a_start_and_finished_by_the_next()
     {
        let dir = tempfile::tempdir().unwrap();
        let (mut steps, mut ended) = (0, false);
        while !ended {
            let path = dir.path().join(steps.to_string());
            let lost = replica(&path).await;
            let survey = surveyed(&path);
            let directory = &survey.locks[0];
            let mut exchange = build(directory, survey.members(), NodeId(0)).await.unwrap();
            directory.write_exchange(&exchange).unwrap();
            for _ in 0..steps {
                ended = !step(directory, &mut exchange).unwrap();
            }
            drop(survey);
            if !ended {
                let refused = Cluster::open(&path).await.err().unwrap().to_string();
                assert!(refused.contains("axon-server recover"), "after {steps} steps: {refused}");
                let again = surveyed(&path);
                assert!(again.replicas()[0].unfinished);
                assert_eq!(again.cluster_id(), lost);
                let recovered = again.recover(lost, false).await.unwrap();
                assert_eq!((recovered.node_id, recovered.keys), (NodeId(2), 1));
                assert_eq!(recovered.cluster_id, exchange.cluster_id);
            }
            let cluster = Cluster::open(&path).await.unwrap();
            assert_eq!(cluster.store().get("k").await.unwrap().unwrap().value, "v");
            assert_eq!(cluster.status().unwrap().cluster_id, exchange.cluster_id);
            let kept = path.join("before-recovery-1");
            assert!(kept.join("identity").exists() && kept.join("log").exists());
            assert!(!path.join(RECOVERING).exists());
            steps += 1;
        }
        assert!(steps > 8, "only {steps} steps");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_recovery_that_ended_before_the_exchange_has_changed_nothing_and_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let lost = replica(dir.path()).await;
        let survey = surveyed(dir.path());
        build(&survey.locks[0], survey.members(), NodeId(0)).await.unwrap();
        drop(survey);
        let cluster = Cluster::open(dir.path()).await.unwrap();
        assert_eq!(cluster.status().unwrap().cluster_id, lost);
        cluster.store().put("later", "v").await.unwrap();
        cluster.shutdown().await.unwrap();
        drop(cluster);
        let recovered = surveyed(dir.path()).recover(lost, true).await.unwrap();
        assert_eq!(recovered.keys, 2, "built anew");
        let cluster = Cluster::open(dir.path()).await.unwrap();
        cluster.wait_ready(Duration::from_secs(20)).await.unwrap();
        assert!(cluster.store().get("later").await.unwrap().is_some());
    }
}
