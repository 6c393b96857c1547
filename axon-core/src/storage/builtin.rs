//! The two engines that Axon brings: one on the disk, and one that forgets.
//!
//! Hides which log goes with which state, and what their files are called. Invariants:
//!
//! * what [`DiskEngine`] makes lies in `log/` and `state.redb`, and is made and removed through its
//!   [`Disk`] alone;
//! * what [`MemoryEngine`] made is opened once: a replica that returns after it has lost its log is
//!   refused, as it would be with a disk that was wiped.

use super::disk::{Disk, RealDisk};
use super::memory::{MemLog, MemState};
use super::redb::{FILE_NAME as STATE_NAME, NEW_FILE_NAME as NEW_STATE_NAME, RedbState};
use super::wal::{Wal, WalConfig};
use super::{Result, Storage, StorageEngine};
use crate::error::StorageError;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The directory of the write-ahead log, in a data directory.
const LOG_NAME: &str = "log";

/// What [`DiskEngine`] keeps in a data directory.
pub(crate) const FILES: [&str; 3] = [LOG_NAME, STATE_NAME, NEW_STATE_NAME];

/// The default: Axon's write-ahead log, and the state in redb.
pub struct DiskEngine {
    disk: Arc<dyn Disk>,
    state_cache_bytes: usize,
}

impl DiskEngine {
    /// On the operating system's disk, with at most `state_cache_bytes` of the state in memory.
    #[must_use]
    pub fn new(state_cache_bytes: usize) -> Self {
        Self::on(Arc::new(RealDisk), state_cache_bytes)
    }

    /// On another disk.
    pub fn on(disk: Arc<dyn Disk>, state_cache_bytes: usize) -> Self {
        Self { disk, state_cache_bytes }
    }

    /// The states in `directory`, finished or not.
    fn states(directory: &Path) -> [PathBuf; 2] {
        [STATE_NAME, NEW_STATE_NAME].map(|name| directory.join(name))
    }

    fn has(&self, path: &Path) -> Result<bool> {
        self.disk.exists(path).map_err(wrap("cannot look at", path))
    }

    /// Removes what a making that was interrupted has left.
    fn clear(&self, directory: &Path) -> Result<()> {
        let log = directory.join(LOG_NAME);
        let mut remains = Vec::new();
        if self.has(&log)? {
            let names = self.disk.list(&log).map_err(wrap("cannot read", &log))?;
            remains.extend(names.into_iter().map(|name| log.join(name)));
        }
        for path in Self::states(directory) {
            if self.has(&path)? {
                remains.push(path);
            }
        }
        for path in &remains {
            self.disk.remove(path).map_err(wrap("cannot remove", path))?;
        }
        Ok(())
    }
}

fn wrap(what: &'static str, path: &Path) -> impl Fn(io::Error) -> StorageError {
    move |error| StorageError::io(what, path, &error)
}

impl StorageEngine for DiskEngine {
    fn exists(&self, directory: &Path) -> Result<bool> {
        let [state, new] = Self::states(directory);
        Ok(self.has(&directory.join(LOG_NAME))? || self.has(&state)? || self.has(&new)?)
    }

    fn create(&self, directory: &Path, log_id: u128) -> Result<()> {
        self.clear(directory)?;
        Wal::create(&self.disk, &directory.join(LOG_NAME), log_id, WalConfig::default())?;
        drop(RedbState::create(self.disk.clone(), directory, self.state_cache_bytes)?);
        Ok(())
    }

    fn open(&self, directory: &Path, log_id: u128) -> Result<Storage> {
        let log = directory.join(LOG_NAME);
        let log = Wal::open(self.disk.clone(), &log, log_id, WalConfig::default())?;
        let state = RedbState::open(self.disk.clone(), directory, self.state_cache_bytes)?;
        Ok(Storage { log: Arc::new(log), state: Arc::new(state) })
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        Some(self.disk.clone())
    }
}

/// Keeps log and state in memory: for tests, and for replicas whose data may die with their process.
#[derive(Default)]
pub struct MemoryEngine {
    /// The id of the log that was made for a directory, until it is opened.
    made: Mutex<BTreeMap<PathBuf, u128>>,
}

impl MemoryEngine {
    /// One that has made nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl StorageEngine for MemoryEngine {
    fn exists(&self, directory: &Path) -> Result<bool> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(made.contains_key(directory))
    }

    fn create(&self, directory: &Path, log_id: u128) -> Result<()> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(directory.to_owned(), log_id);
        Ok(())
    }

    fn open(&self, directory: &Path, log_id: u128) -> Result<Storage> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.get(directory) != Some(&log_id) {
            return Err(StorageError::Mismatch {
                path: directory.display().to_string(),
                reason: "its replica lived in memory and is gone: remove it from the cluster, \
                         empty the directory, let it join again"
                    .into(),
            });
        }
        made.remove(directory);
        Ok(Storage { log: Arc::new(MemLog::new()), state: Arc::new(MemState::new()) })
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        None
    }
}
