//! The engine on the disk, with a door to the states that are open.

use axon_core::config::Config;
use axon_core::storage::builtin::DiskEngine;
use axon_core::storage::disk::Disk;
use axon_core::storage::{Result, StateStore, Storage, StorageEngine};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

/// Opens what the engine of every replica opens, and remembers the states for as long as they are open.
pub struct OpenEngine {
    inner: DiskEngine,
    states: Mutex<BTreeMap<PathBuf, Weak<dyn StateStore>>>,
}

impl Default for OpenEngine {
    fn default() -> Self {
        let inner = DiskEngine::new(Config::default().state_cache_bytes);
        Self { inner, states: Mutex::default() }
    }
}

impl OpenEngine {
    /// The state in `directory`, if it is open.
    pub fn state_in(&self, directory: &Path) -> Option<Arc<dyn StateStore>> {
        self.states.lock().unwrap().get(directory)?.upgrade()
    }
}

impl StorageEngine for OpenEngine {
    fn exists(&self, directory: &Path) -> Result<bool> {
        self.inner.exists(directory)
    }

    fn create(&self, directory: &Path, log_id: u128) -> Result<()> {
        self.inner.create(directory, log_id)
    }

    fn open(&self, directory: &Path, log_id: u128) -> Result<Storage> {
        let storage = self.inner.open(directory, log_id)?;
        let state = Arc::downgrade(&storage.state);
        self.states.lock().unwrap().insert(directory.to_owned(), state);
        Ok(storage)
    }

    fn disk(&self) -> Option<Arc<dyn Disk>> {
        self.inner.disk()
    }
}
