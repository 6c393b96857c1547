//! Who a replica is, for ever: the files of a data directory that say so.
//!
//! ```text
//! lock       held while a process uses the directory; names the holder
//! joining    a newcomer's nonce, from before it first asks for an id until it has one
//! making     says that log and state are being made; gone once the identity is there
//! identity   cluster id, node id, name, log id, origin
//! reserve    bytes set aside on the disk; empty of meaning (see `storage/space.rs`)
//! recovery   says that a recovery exchanges the files of one replica for those of another
//! quarantine says that the files are out of use (see `quarantine.rs`)
//! ```
//!
//! Beside them lie the log and the state, in files of the storage engine's; the log knows the log id.
//!
//! The identity is written last, after its log and state are durable. So an identity proves that
//! its log was there, and a log that is missing, or another's, is refused. A directory without an
//! identity is one whose making was interrupted, which `making` proves, and is begun again; or it is
//! empty; or it is none of Axon's business, and is refused and left alone.

pub(crate) mod quarantine;

use crate::codec::{self, DecodeError};
use crate::error::StorageError;
use crate::storage::StorageEngine;
use crate::storage::disk;
use crate::storage::space::RESERVE_NAME;
use crate::types::{ClusterId, NodeId, Revision};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const IDENTITY_MAGIC: [u8; 8] = *b"AXONIDv1";
const JOINING_MAGIC: [u8; 8] = *b"AXONJOv1";
const RECOVERY_MAGIC: [u8; 8] = *b"AXONREv1";
/// What may lie in a directory in which no replica was made yet.
const VACANT: [&str; 6] =
    ["lock", "joining", "joining.new", "identity.new", RESERVE_NAME, "lost+found"];

/// The newest format of these files.
const FORMAT: u32 = 1;

/// How a replica came to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// It made the cluster. With an empty log, its making is resumed.
    Init,
    /// It joined with this nonce.
    Join(u128),
}

/// Who a replica is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster_id: ClusterId,
    pub(crate) node_id: NodeId,
    pub(crate) name: String,
    /// Repeated in each segment of its log.
    pub(crate) log_id: u128,
    pub(crate) origin: Origin,
}

/// The exchange of files that ends a recovery; in the file `recovery` while it is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// The cluster that has lost its majority.
    pub(crate) lost: ClusterId,
    pub(crate) cluster_id: ClusterId,
    pub(crate) node_id: NodeId,
    pub(crate) name: String,
    pub(crate) revision: Revision,
    pub(crate) keys: u64,
    /// The directory that takes the old files.
    pub(crate) keep: String,
    /// The old files are out of the way: what has their names is new.
    pub(crate) placing: bool,
}

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Reports whether `path` holds a replica, without changing anything.
    pub(crate) fn holds_replica(path: &Path) -> bool {
        path.join("identity").exists()
    }

    /// Checks that a replica may be made in `path`: it is missing, empty, or its making was
    /// interrupted. Changes nothing.
    pub(crate) fn check_vacant(
        path: &Path,
        engine: &dyn StorageEngine,
    ) -> Result<(), StorageError> {
        let names = match fs::read_dir(path) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => Err(error),
        };
        let names = names.map_err(|error| StorageError::io("cannot read", path, &error))?;
        let refuse = |reason: String| {
            Err(StorageError::Mismatch { path: path.display().to_string(), reason })
        };
        if names.iter().any(|name| name == "recovery") {
            return Err(unfinished(path));
        }
        if names.iter().any(|name| name == "making" || name == quarantine::NAME) {
            return Ok(());
        }
        if engine.exists(path)? {
            return refuse(
                "it holds a replica's log or state but not its identity: put the file `identity` \
                 back, or empty the directory and let the replica join as a new one"
                    .into(),
            );
        }
        match names.iter().find(|name| !VACANT.contains(&name.as_str())) {
            Some(name) => {
                refuse(format!("it is not empty, it holds {name}: choose an empty directory"))
            }
            None => Ok(()),
        }
    }

    /// Reports whether `path` holds a replica, or a recovery that was interrupted.
    pub(crate) fn is_replicas(path: &Path) -> bool {
        Self::holds_replica(path) || path.join("recovery").exists()
    }

    /// Creates `path` if need be, and keeps every other process out of it.
    pub(crate) fn lock(path: &Path) -> Result<Self, StorageError> {
        let missing = !path.exists();
        fs::create_dir_all(path)
            .map_err(|error| StorageError::io("cannot create", path, &error))?;
        if missing && let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
            sync_dir(parent)?;
        }
        let file = path.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&file)
            .map_err(|error| StorageError::io("cannot open", &file, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another process".into() } else { holder };
                return Err(StorageError::Locked { path: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StorageError::io("cannot lock", &file, &error));
            }
        }
        let holder = format!("process {}", std::process::id());
        let written = lock.set_len(0).and_then(|()| lock.write_all(holder.as_bytes()));
        match written {
            // The name is for people; the lock is held, and a full disk is no reason not to start.
            Err(error) if !disk::is_full(&error) => {
                return Err(StorageError::io("cannot write", &file, &error));
            }
            _ => {}
        }
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the identity; `None` when there is none yet. Refused in the middle of a recovery.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, StorageError> {
        if self.path.join("recovery").exists() {
            return Err(unfinished(&self.path));
        }
        self.read("identity", IDENTITY_MAGIC)
    }

    /// Reads which exchange of files is under way, if one is.
    pub(crate) fn exchange(&self) -> Result<Option<Exchange>, StorageError> {
        self.read("recovery", RECOVERY_MAGIC)
    }

    /// Says durably which exchange of files is under way.
    pub(crate) fn write_exchange(&self, exchange: &Exchange) -> Result<(), StorageError> {
        self.write("recovery", RECOVERY_MAGIC, exchange)
    }

    /// Says durably that the exchange of files is done.
    pub(crate) fn end_exchange(&self) -> Result<(), StorageError> {
        let path = self.path.join("recovery");
        fs::remove_file(&path).map_err(|error| StorageError::io("cannot remove", &path, &error))?;
        sync_dir(&self.path)
    }

    /// Writes the identity, durably, once.
    pub(crate) fn write_identity(&self, identity: &Identity) -> Result<(), StorageError> {
        self.write("identity", IDENTITY_MAGIC, identity)?;
        for done in ["joining", "making"].map(|name| self.path.join(name)) {
            if done.exists() {
                fs::remove_file(&done)
                    .map_err(|error| StorageError::io("cannot remove", &done, &error))?;
            }
        }
        Ok(())
    }

    /// Returns the nonce that this newcomer asks with: the stored one, or `fresh`, now stored.
    pub(crate) fn nonce(&self, fresh: u128) -> Result<u128, StorageError> {
        if let Some(nonce) = self.read("joining", JOINING_MAGIC)? {
            return Ok(nonce);
        }
        self.write("joining", JOINING_MAGIC, &fresh)?;
        Ok(fresh)
    }

    /// Says durably that log and state are being made.
    pub(crate) fn begin_making(&self) -> Result<(), StorageError> {
        let making = self.path.join("making");
        File::create(&making)
            .map_err(|error| StorageError::io("cannot create", &making, &error))?;
        sync_dir(&self.path)
    }

    fn read<T>(&self, name: &str, magic: [u8; 8]) -> Result<Option<T>, StorageError>
    where
        T: for<'de> Deserialize<'de>,
    {
        let path = self.path.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io("cannot read", &path, &error)),
        };
        parse(&bytes, magic, &path).map(Some)
    }

    fn write<T: Serialize>(
        &self,
        name: &str,
        magic: [u8; 8],
        value: &T,
    ) -> Result<(), StorageError> {
        let mut bytes = magic.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&codec::encode(value));
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let written = File::create(&new)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| StorageError::io("cannot write", &path, &error))?;
        sync_dir(&self.path)
    }
}

/// Layout: magic, format, the codec's bytes, and a checksum over all of that.
fn parse<T>(bytes: &[u8], magic: [u8; 8], path: &Path) -> Result<T, StorageError>
where
    T: for<'de> Deserialize<'de>,
{
    let corrupt = |reason: &str| StorageError::Corrupt {
        path: path.display().to_string(),
        offset: 0,
        reason: reason.into(),
    };
    let newer = |found: u32| StorageError::NewerFormat {
        path: path.display().to_string(),
        found,
        supported: FORMAT,
    };
    let (head, body) = bytes.split_at_checked(12).ok_or_else(|| corrupt("it is cut short"))?;
    let (body, sum) = body.split_last_chunk::<4>().ok_or_else(|| corrupt("it is cut short"))?;
    if crc32c::crc32c(&bytes[..bytes.len() - 4]) != u32::from_le_bytes(*sum) {
        return Err(corrupt("its checksum does not match"));
    }
    if !head.starts_with(&magic) {
        return Err(corrupt("it is no such file"));
    }
    let format = head.last_chunk::<4>().map_or(0, |format| u32::from_le_bytes(*format));
    if format > FORMAT {
        return Err(newer(format));
    }
    codec::decode(body).map_err(|error| match error {
        DecodeError::Newer { found } => newer(u32::from(found)),
        DecodeError::Malformed(reason) => corrupt(&reason),
    })
}

/// Why nothing starts in a directory in which a recovery was interrupted.
pub(crate) fn unfinished(path: &Path) -> StorageError {
    let reason = "a recovery was interrupted here, and the files of two replicas lie side by side: run \
                  `axon-server recover` on it again, which finishes it";
    StorageError::Mismatch { path: path.display().to_string(), reason: reason.into() }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StorageError::io("cannot sync", path, &error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::storage::builtin::DiskEngine;

    fn identity() -> Identity {
        Identity {
            cluster_id: ClusterId(7),
            node_id: NodeId(3),
            name: "node3".into(),
            log_id: 9,
            origin: Origin::Join(11),
        }
    }

    #[test]
    fn an_identity_survives_and_ends_the_joining() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::lock(dir.path()).unwrap();
        assert_eq!(data.identity().unwrap(), None);
        assert_eq!(data.nonce(5).unwrap(), 5);
        assert_eq!(data.nonce(6).unwrap(), 5, "a stored nonce is kept");
        data.write_identity(&identity()).unwrap();
        assert_eq!(data.identity().unwrap(), Some(identity()));
        assert!(!dir.path().join("joining").exists());
    }

    #[test]
    fn a_second_holder_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::lock(dir.path()).unwrap();
        let refused = DataDir::lock(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        DataDir::lock(dir.path()).unwrap();
    }

    #[test]
    fn every_flipped_bit_of_an_identity_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::lock(dir.path()).unwrap();
        data.write_identity(&identity()).unwrap();
        let path = dir.path().join("identity");
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bad).unwrap();
            assert!(data.identity().is_err(), "bit {bit} went unnoticed");
        }
        for len in 0..good.len() {
            fs::write(&path, &good[..len]).unwrap();
            assert!(data.identity().is_err(), "cut at {len} went unnoticed");
        }
    }

    #[test]
    fn only_an_empty_or_interrupted_directory_is_vacant() {
        let engine = DiskEngine::new(1 << 20);
        let vacant = |path: &Path| DataDir::check_vacant(path, &engine);
        let dir = tempfile::tempdir().unwrap();
        vacant(&dir.path().join("missing")).unwrap();
        let data = DataDir::lock(dir.path()).unwrap();
        data.nonce(5).unwrap();
        vacant(dir.path()).unwrap();

        fs::create_dir(dir.path().join("log")).unwrap();
        let refused = vacant(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("identity"), "a log is never wiped: {refused}");

        data.begin_making().unwrap();
        vacant(dir.path()).unwrap();
        data.write_identity(&identity()).unwrap();
        assert!(!dir.path().join("making").exists());

        let emptied = tempfile::tempdir().unwrap();
        fs::write(emptied.path().join("reserve"), "").unwrap();
        vacant(emptied.path()).unwrap();

        let foreign = tempfile::tempdir().unwrap();
        fs::write(foreign.path().join("thesis.tex"), "").unwrap();
        let refused = vacant(foreign.path()).unwrap_err().to_string();
        assert!(refused.contains("thesis.tex"), "{refused}");
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = IDENTITY_MAGIC.to_vec();
        bytes.extend_from_slice(&2u32.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        let refused = parse::<Identity>(&bytes, IDENTITY_MAGIC, Path::new("identity")).unwrap_err();
        assert!(matches!(refused, StorageError::NewerFormat { found: 2, supported: 1, .. }));
    }
}
