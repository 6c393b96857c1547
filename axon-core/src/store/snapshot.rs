//! Reads that agree with each other: the store as of one moment.

use crate::error::Error;
use crate::state::View;
use crate::types::{KeyRange, KeyValue, LogIndex, NodeId, Revision};

/// The store as of one moment. Holds memory and disk space while it lives: drop it soon.
pub struct Snapshot {
    view: View,
    at: Revision,
    node_id: NodeId,
}

/// A version of a key, of now or of then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// The revision that made it.
    pub revision: Revision,
    /// The key as that revision left it; `None`: removed.
    pub pair: Option<KeyValue>,
}

impl Snapshot {
    pub(super) fn new(view: View, node_id: NodeId) -> Self {
        Self { at: view.revision(), view, node_id }
    }

    /// Returns the revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.at
    }

    /// Returns the last entry of the log that the replica had applied when it was taken.
    #[must_use]
    pub fn applied_index(&self) -> LogIndex {
        self.view.position().index
    }

    /// Returns the replica that shows it.
    #[must_use]
    pub fn served_by(&self) -> NodeId {
        self.node_id
    }

    /// Reads `key`. May block on the disk.
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.view.get_at(key, self.at).map_err(Error::from)
    }

    /// Reads the pairs of `range` in key order, at most `items_max` of them and, after the first,
    /// none that would exceed `bytes_max`. May block on the disk. Go on after the last key with
    /// `Bound::Excluded`; an empty answer is the end.
    pub fn page(
        &self,
        range: &KeyRange,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyValue>, Error> {
        self.view.page(range, items_max, bytes_max).map_err(Error::from)
    }

    /// Reads the kept versions of `key` that are older than `below` (all of them when `None`),
    /// newest first, at most `versions_max` of them. May block on the disk.
    pub fn history(
        &self,
        key: &[u8],
        below: Option<Revision>,
        versions_max: usize,
    ) -> Result<Vec<KeyVersion>, Error> {
        let _ = (key, below, versions_max);
        unimplemented!("reads of the past")
    }
}
