//! Axon's own log and state on a faulty disk, with segments so small that they are changed all the time.

use axon_core::error::StorageError;
use axon_core::storage::disk::Disk;
use axon_core::storage::redb::{FILE_NAME, RedbState};
use axon_core::storage::wal::{Wal, WalConfig};
use axon_core::storage::{Result, Storage, StorageEngine};
use axon_core::testing::faulty_disk::FaultyDisk;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CACHE_BYTES: usize = 1 << 20;

/// What a simulated replica keeps its data in.
pub struct SimEngine {
    disk: Arc<dyn Disk>,
    wal: WalConfig,
}

impl SimEngine {
    pub fn on(disk: &FaultyDisk, wal: WalConfig) -> Self {
        Self { disk: Arc::new(disk.clone()), wal }
    }
}

fn files(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("log"), directory.join(FILE_NAME))
}

fn wrap(path: &Path) -> impl Fn(io::Error) -> StorageError {
    move |error| StorageError::io("cannot use", path, &error)
}

impl StorageEngine for SimEngine {
    fn exists(&self, directory: &Path) -> Result<bool> {
        let (log, state) = files(directory);
        let has = |path: &Path| self.disk.exists(path).map_err(wrap(path));
        Ok(has(&log)? || has(&state)?)
    }

    fn create(&self, directory: &Path, log_id: u128) -> Result<()> {
        let (log, state) = files(directory);
        if self.disk.exists(&log).map_err(wrap(&log))? {
            for name in self.disk.list(&log).map_err(wrap(&log))? {
                self.disk.remove(&log.join(name)).map_err(wrap(&log))?;
            }
        }
        if self.disk.exists(&state).map_err(wrap(&state))? {
            self.disk.remove(&state).map_err(wrap(&state))?;
        }
        Wal::create(&self.disk, &log, log_id, self.wal)?;
        drop(RedbState::create(self.disk.clone(), directory, CACHE_BYTES)?);
        Ok(())
    }

    fn open(&self, directory: &Path, log_id: u128) -> Result<Storage> {
        let (log, _) = files(directory);
        let log = Wal::open(self.disk.clone(), &log, log_id, self.wal)?;
        let state = RedbState::open(self.disk.clone(), directory, CACHE_BYTES)?;
        Ok(Storage { log: Arc::new(log), state: Arc::new(state) })
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        Some(self.disk.clone())
    }
}
