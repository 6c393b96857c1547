//! Backups: the whole store at one revision as a stream of bytes, and a new cluster out of one.
//!
//! Hides the file's format around the chunks of [`transfer`](crate::state::transfer), which carry the
//! checksums, the counts and the hash over all:
//!
//! ```text
//! "AXONBACK" | format u16 | (bytes u32 | chunk)* | 0 u32            little endian
//! ```
//!
//! The zero tells a whole file from one that was cut. A backup has everything but the log: the pairs,
//! their history, sessions, idempotency keys, the revision, cluster time. Invariants:
//!
//! * it is of one revision, and holds every write that was acknowledged before it began;
//! * making one holds a view of the last checkpoint and one chunk in memory, and holds up nobody;
//! * [`restore`] leaves the directory as it was unless all that came has been checked;
//! * what is restored is a new cluster with one member: the old cluster's replicas are refused by its
//!   id, and its node ids are not given again.

use crate::command::VOCABULARY;
use crate::config;
use crate::error::{Error, StorageError};
use crate::identity::{self, DataDir, Identity};
use crate::raft::engine::Engine;
use crate::raft::offline::{self, Begun};
use crate::runtime;
use crate::state::transfer::{CHUNK_FRAME_BYTES_MAX, SnapshotSink, SnapshotSource};
use crate::storage::builtin::{DiskEngine, FILES};
use crate::storage::{StateStore, Storage, StorageEngine};
use crate::types::{ClusterId, Member, NodeId, Revision};
use bytes::{BufMut, Bytes, BytesMut};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a file of this format begins with.
const MAGIC: &[u8; 8] = b"AXONBACK";
/// The newest format written and read here.
const FORMAT: u16 = 1;
/// Bytes of the state kept in memory while it is loaded.
const CACHE_BYTES: usize = 16 << 20;

/// The whole store at one revision, on its way out. Made by
/// [`Cluster::backup`](crate::Cluster::backup).
///
/// Holds a view of a checkpoint: for as long as it lives, the disk space of what has changed since is
/// not used again.
pub struct Backup {
    cluster_id: ClusterId,
    stage: Stage,
    revision: Revision,
}

enum Stage {
    Head(SnapshotSource),
    Chunks(SnapshotSource),
    Done,
}

impl Backup {
    /// Begins a backup of what was acknowledged before the call.
    pub(crate) async fn begin(engine: &Engine, timeout: Duration) -> Result<Self, Error> {
        engine.linearize(timeout).await?;
        engine.checkpointer.checkpoint_now().await?;
        let store = engine.state_store.clone();
        let source = runtime::blocking(move || SnapshotSource::open(&*store)).await?;
        let cluster_id = engine.peers.myself().cluster_id;
        Ok(Self { cluster_id, revision: source.revision(), stage: Stage::Head(source) })
    }

    /// The revision that it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The cluster that it is of.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// Makes the next part, of about 1 MiB at most unless one pair is larger; `None` after the last.
    /// The parts, one after the other, are the backup.
    ///
    /// Not cancel safe: dropped, the backup has ended, and what came of it is not whole.
    ///
    /// # Errors
    /// What the disk says; after an error there are no more parts.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        let (head, mut source) = match stage {
            Stage::Head(source) => (true, source),
            Stage::Chunks(source) => (false, source),
            Stage::Done => return Ok(None),
        };
        let (source, chunk) = runtime::blocking(move || {
            let chunk = source.next_chunk();
            (source, chunk)
        })
        .await;
        let mut part = BytesMut::new();
        if head {
            part.extend_from_slice(MAGIC);
            part.put_u16_le(FORMAT);
        }
        match chunk? {
            Some(chunk) => {
                part.put_u32_le(chunk.len() as u32);
                part.extend_from_slice(&chunk);
                self.stage = Stage::Chunks(source);
            }
            None => part.put_u32_le(0),
        }
        Ok(Some(part.freeze()))
    }
}

/// What is made of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Where: a directory that is missing or empty.
    pub data_dir: PathBuf,
    /// The name of the replica.
    pub name: String,
    /// The new cluster's id; `None`: a random one.
    pub cluster_id: Option<ClusterId>,
}

/// What was made of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The new cluster.
    pub cluster_id: ClusterId,
    /// The id of its only member.
    pub node_id: NodeId,
    /// The store's revision.
    pub revision: Revision,
    /// Keys in the store.
    pub keys: u64,
}

/// Makes a new cluster of a backup, in an empty directory, without starting it:
/// [`Cluster::start`](crate::Cluster::start) with the same name brings it to life, and others join it.
///
/// Blocks on the disk. Interrupted, it is simply done again.
///
/// # Errors
/// A directory that is not empty, a name that is none, anything about the backup that is not as it
/// was written: cut, damaged, or no backup. The directory is as it was, then.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// use axon_core::{Cluster, backup};
///
/// let cluster = Cluster::open(one.path()).await?;
/// cluster.store().put("greeting", "hello").await?;
/// let (mut parts, mut file) = (cluster.backup().await?, Vec::new());
/// while let Some(part) = parts.next().await? {
///     file.extend_from_slice(&part);
/// }
///
/// let options = backup::RestoreOptions {
///     data_dir: two.path().into(),
///     name: "node1".into(),
///     cluster_id: None,
/// };
/// let restored = backup::restore(&file[..], &options)?;
/// assert_ne!(restored.cluster_id, cluster.status()?.cluster_id);
/// let again = Cluster::open(two.path()).await?;
/// assert!(again.store().get("greeting").await?.is_some());
/// # Ok(()) }
/// ```
pub fn restore(mut source: impl Read, options: &RestoreOptions) -> Result<Restored, Error> {
    let RestoreOptions { data_dir, name, cluster_id } = options;
    config::validate_name(name)?;
    let engine = DiskEngine::new(CACHE_BYTES);
    if DataDir::holds_replica(data_dir) {
        let reason = "it already holds a replica; nothing was changed: choose an empty directory";
        return Err(mismatch(data_dir, reason));
    }
    DataDir::check_vacant(data_dir, &engine)?;
    check_head(&mut source)?;
    let mut attempt = Attempt::begin(data_dir)?;
    let restored = attempt.load(&mut source, &engine, name, *cluster_id)?;
    attempt.done = true;
    Ok(restored)
}

fn mismatch(path: &Path, reason: impl Into<String>) -> Error {
    StorageError::Mismatch { path: path.display().to_string(), reason: reason.into() }.into()
}

/// A backup that cannot be used, in words that fit one: what storage says of damage is about replicas.
fn unusable(reason: impl std::fmt::Display) -> Error {
    let reason = format!("{reason}; nothing was made of it: use another copy");
    StorageError::Mismatch { path: "the backup".into(), reason }.into()
}

fn judged(error: StorageError) -> Error {
    match error {
        StorageError::Corrupt { reason, .. } => unusable(reason),
        error => error.into(),
    }
}

fn unread(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return unusable("it is cut short");
    }
    StorageError::io("cannot read", "the backup", error).into()
}

fn check_head(source: &mut impl Read) -> Result<(), Error> {
    let mut head = [0; MAGIC.len() + 2];
    source.read_exact(&mut head).map_err(|error| unread(&error))?;
    let [magic @ .., low, high] = head;
    match u16::from_le_bytes([low, high]) {
        _ if magic != *MAGIC => Err(unusable("this is no backup of a store")),
        FORMAT => Ok(()),
        0 => Err(unusable("it is damaged in its first bytes")),
        found => Err(StorageError::NewerFormat {
            path: "the backup".into(),
            found: found.into(),
            supported: FORMAT.into(),
        }
        .into()),
    }
}

/// Reads the next chunk; `None` at the end, behind which there must be nothing.
fn next_chunk(source: &mut impl Read) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes).map_err(|error| unread(&error))?;
    let bytes = u32::from_le_bytes(bytes) as usize;
    if bytes == 0 {
        let behind = source.read(&mut [0]).map_err(|error| unread(&error))?;
        return if behind == 0 { Ok(None) } else { Err(unusable("it goes on behind its end")) };
    }
    if bytes > CHUNK_FRAME_BYTES_MAX {
        return Err(unusable(format_args!("a chunk claims {bytes} bytes")));
    }
    let mut chunk = Vec::new();
    // Grows with what comes: a length that is damaged costs nothing.
    let found =
        source.take(bytes as u64).read_to_end(&mut chunk).map_err(|error| unread(&error))?;
    if found < bytes { Err(unusable("it is cut short")) } else { Ok(Some(chunk)) }
}

/// A replica in the making. Dropped before it is done, it takes everything back.
struct Attempt {
    path: PathBuf,
    /// `None` once it is dropped.
    directory: Option<DataDir>,
    /// What was there before: the directory, and a lock file of an earlier use in it.
    existed: (bool, bool),
    done: bool,
}

impl Attempt {
    fn begin(path: &Path) -> Result<Self, Error> {
        let existed = (path.exists(), path.join("lock").exists());
        let directory = Some(DataDir::lock(path)?);
        Ok(Self { path: path.to_owned(), directory, existed, done: false })
    }

    fn load(
        &mut self,
        source: &mut impl Read,
        engine: &DiskEngine,
        name: &str,
        cluster_id: Option<ClusterId>,
    ) -> Result<Restored, Error> {
        let directory = self.directory.as_ref().expect("it is held until the drop");
        let log_id = runtime::random_u128();
        directory.begin_making()?;
        engine.create(&self.path, log_id)?;
        let storage = engine.open(&self.path, log_id)?;
        let former = load_state(&*storage.state, || next_chunk(source))?;
        let cluster_id = cluster_id.unwrap_or_else(|| ClusterId(runtime::random_u128()));
        if former == Some(cluster_id) {
            return Err(mismatch(
                &self.path,
                format!(
                    "{cluster_id} is the cluster that the backup is of: what is restored is a new \
                     one, and needs an id of its own"
                ),
            ));
        }
        let member = Member { name: name.into(), vocabulary: VOCABULARY, ..Member::default() };
        let begun = begin_again(directory, storage, cluster_id, member, NodeId(0), log_id)?;
        let Begun { node_id, revision, keys } = begun;
        Ok(Restored { cluster_id, node_id, revision, keys })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (directory, lock) = self.existed;
        for name in FILES.into_iter().chain(["making", "identity.new"]) {
            let path = self.path.join(name);
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        if !lock {
            let _ = fs::remove_file(self.path.join("lock"));
        }
        self.directory = None;
        if !directory {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Takes the chunks of a snapshot into an empty state, and says which cluster it is of.
pub(crate) fn load_state<B: AsRef<[u8]>>(
    state: &dyn StateStore,
    mut next: impl FnMut() -> Result<Option<B>, Error>,
) -> Result<Option<ClusterId>, Error> {
    let mut sink = SnapshotSink::begin(state, None).map_err(judged)?;
    while let Some(chunk) = next()? {
        sink.take_chunk(chunk.as_ref()).map_err(judged)?;
    }
    sink.verify().map_err(judged)?.put_in_place()?;
    Ok(SnapshotSource::open(state)?.cluster_id())
}

/// Makes of `storage`, which lies in `directory`, the first replica of a new cluster; its identity
/// comes last.
pub(crate) fn begin_again(
    directory: &DataDir,
    storage: Storage,
    cluster_id: ClusterId,
    member: Member,
    ids_used: NodeId,
    log_id: u128,
) -> Result<Begun, Error> {
    let name = member.name.clone();
    let begun = offline::begin_again(&storage, cluster_id, member, ids_used)?;
    storage.log.close();
    // Whoever opens them next finds both closed.
    drop(storage);
    let origin = identity::Origin::Init;
    let identity = Identity { cluster_id, node_id: begun.node_id, name, log_id, origin };
    directory.write_identity(&identity)?;
    Ok(begun)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::storage::memory::MemState;
    use proptest::prelude::*;

    /// One of format 1.
    const GENUINE: &[u8] = include_bytes!("../tests/fixtures/backup-1.axon");

    fn loaded(mut bytes: &[u8]) -> Result<Option<ClusterId>, Error> {
        check_head(&mut bytes)?;
        load_state(&MemState::default(), || next_chunk(&mut bytes))
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_backup_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            headed in any::<bool>(),
        ) {
            let head = [&MAGIC[..], &FORMAT.to_le_bytes()].concat();
            let bytes = if headed { [head, bytes].concat() } else { bytes };
            prop_assert!(loaded(&bytes).is_err(), "random bytes are no store");
        }

        #[test]
        fn any_damage_to_a_backup_is_refused(
            at in any::<prop::sample::Index>(),
            flip in 1..=u8::MAX,
            cut in any::<prop::sample::Index>(),
            behind in prop::collection::vec(any::<u8>(), 1..20),
        ) {
            let mut damaged = GENUINE.to_vec();
            damaged[at.index(GENUINE.len())] ^= flip;
            prop_assert!(loaded(&damaged).is_err());
            prop_assert!(loaded(&GENUINE[..cut.index(GENUINE.len())]).is_err());
            prop_assert!(loaded(&[GENUINE, &behind].concat()).is_err());
        }
    }

    #[test]
    fn what_is_damaged_here_is_whole_without_damage() {
        assert!(loaded(GENUINE).unwrap().is_some());
    }
}
