//! The store: what a service does with its data.

use crate::error::Error;
use crate::types::{KeyRange, KeyValue, Revision};
use bytes::Bytes;
use std::time::Duration;

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadConsistency {
    /// Sees every write that was acknowledged before the read began, on any replica.
    #[default]
    Linearizable,
    /// Sees at least this revision.
    AtLeast(Revision),
    /// Sees what this replica has applied; may be stale, and may go backwards after a restart.
    Local,
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The revision that stored the value.
    pub revision: Revision,
    /// The revision of the value it replaced; `None` when the key is new.
    pub previous: Option<Revision>,
}

/// What a delete did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// The store's revision after it; unmoved when the key was absent.
    pub revision: Revision,
    /// Whether there was a key to delete.
    pub existed: bool,
}

/// A handle on the replicated store. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Returns a handle that reads with `consistency`.
    pub fn with_consistency(&self, _consistency: ReadConsistency) -> Self {
        self.clone()
    }

    /// Returns a handle whose calls are given up after `timeout`.
    pub fn with_timeout(&self, _timeout: Duration) -> Self {
        self.clone()
    }

    /// Stores `value` under `key`. Returns once a majority has it on disk.
    ///
    /// Not cancel safe: dropped, the write may still happen.
    pub async fn put(
        &self,
        _key: impl Into<Bytes>,
        _value: impl Into<Bytes>,
    ) -> Result<Written, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Reads `key`.
    pub async fn get(&self, _key: impl AsRef<[u8]>) -> Result<Option<KeyValue>, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Removes `key`, if it is there. Returns once a majority has that on disk.
    ///
    /// Not cancel safe: dropped, the delete may still happen.
    pub async fn delete(&self, _key: impl Into<Bytes>) -> Result<Deleted, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }

    /// Fixes the store as of one moment, for reads that must agree with each other.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        std::future::ready(Err(Error::ShutDown)).await
    }
}

/// The store as of one moment. Holds disk space while it lives: drop it soon.
pub struct Snapshot {}

impl Snapshot {
    /// Returns the revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(0)
    }

    /// Reads `key`. May block on the disk.
    pub fn get(&self, _key: &[u8]) -> Result<Option<KeyValue>, Error> {
        Err(Error::ShutDown)
    }

    /// Reads the pairs of `range` in key order, at most `items_max` of them and, after the first,
    /// none that would exceed `bytes_max`. May block on the disk. Go on after the last key with
    /// `Bound::Excluded`; an empty answer is the end.
    pub fn page(
        &self,
        _range: &KeyRange,
        _items_max: usize,
        _bytes_max: usize,
    ) -> Result<Vec<KeyValue>, Error> {
        Err(Error::ShutDown)
    }
}
