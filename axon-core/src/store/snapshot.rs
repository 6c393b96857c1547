//! Reads that agree with each other: the store as of one moment, of now or of then.
//!
//! A snapshot is a view of the state, and the revision at which it is read: the view's own, or an
//! older one that the view's history still reaches. A view never changes, so that neither writes
//! nor compaction show in a snapshot.

use super::scan::Scan;
use crate::error::Error;
use crate::state::View;
use crate::types::{KeyRange, KeyValue, LogIndex, NodeId, Revision};

/// The store as of one moment. Holds memory and disk space while it lives: drop it soon.
/// Made by [`Store::snapshot`](super::Store::snapshot) and
/// [`Store::snapshot_at`](super::Store::snapshot_at).
///
/// Its reads may block on the disk. They are short: a service with a runtime of its own can call them
/// in place for a few keys, and moves longer ones to a thread that may block.
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

    /// Shows the view as it was at `at`, if it reaches that far in either direction.
    pub(super) fn of(view: View, at: Revision, node_id: NodeId) -> Result<Self, Error> {
        let (newest, oldest) = (view.revision(), view.compacted_revision());
        if at > newest {
            return Err(Error::FutureRevision { requested: at, newest });
        }
        if at < oldest {
            return Err(Error::Compacted { requested: at, oldest });
        }
        Ok(Self { view, at, node_id })
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
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// let first = store.put("a", "1").await?;
    /// store.put("a", "2").await?;
    /// let then = store.snapshot_at(first.revision).await?;
    /// assert_eq!(then.get(b"a")?.expect("it was there").value, "1");
    /// # Ok(()) }
    /// ```
    pub fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.view.get_at(key, self.at).map_err(Error::from)
    }

    /// Reads the pairs of `range` in key order, at most `items_max` of them and, after the first,
    /// none that would exceed `bytes_max`. May block on the disk. Go on after the last key with
    /// `Bound::Excluded`; an empty answer is the end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::types::KeyRange;
    ///
    /// store.put("a", "1").await?;
    /// store.put("b", "2").await?;
    /// let page = store.snapshot().await?.page(&KeyRange::all(), 10, 1 << 20)?;
    /// assert_eq!(page[1].key, "b");
    /// # Ok(()) }
    /// ```
    pub fn page(
        &self,
        range: &KeyRange,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyValue>, Error> {
        self.view.page_at(range, self.at, false, items_max, bytes_max).map_err(Error::from)
    }

    /// Reads as [`page`](Self::page) does, but the last key first. Go on before the last of them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::types::KeyRange;
    ///
    /// store.put("a", "1").await?;
    /// store.put("b", "2").await?;
    /// let page = store.snapshot().await?.page_back(&KeyRange::all(), 1, 1 << 20)?;
    /// assert_eq!(page[0].key, "b");
    /// # Ok(()) }
    /// ```
    pub fn page_back(
        &self,
        range: &KeyRange,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<KeyValue>, Error> {
        self.view.page_at(range, self.at, true, items_max, bytes_max).map_err(Error::from)
    }

    /// Reads the kept versions of `key` that are older than `below` (all of them when `None`),
    /// newest first, at most `versions_max` of them. May block on the disk.
    ///
    /// Kept are the versions since the compacted revision, and the one that was current there. A
    /// snapshot of the past knows nothing of what came later.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("a", "1").await?;
    /// store.delete("a").await?;
    /// let versions = store.snapshot().await?.history(b"a", None, 10)?;
    /// assert_eq!(versions[0].pair, None, "the delete");
    /// assert_eq!(versions[1].pair.as_ref().expect("the put").value, "1");
    /// # Ok(()) }
    /// ```
    pub fn history(
        &self,
        key: &[u8],
        below: Option<Revision>,
        versions_max: usize,
    ) -> Result<Vec<KeyVersion>, Error> {
        let later = self.at.next();
        let below = below.map_or(later, |below| below.min(later));
        let versions = self.view.history(key, Some(below))?.take(versions_max);
        versions
            .map(|version| {
                let (revision, pair) = version?;
                Ok(KeyVersion { revision, pair })
            })
            .collect()
    }

    /// Counts all keys, if that takes no reading.
    pub(super) fn total(&self) -> Option<u64> {
        (self.at == self.view.revision()).then(|| self.view.totals().rows[0])
    }

    /// Begins to read `range`.
    pub(super) fn scan(&self, range: KeyRange, reverse: bool) -> Scan {
        Scan { view: self.view.clone(), at: self.at, rest: range, reverse }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::state::{State, StateConfig};
    use crate::storage::memory::MemState;
    use std::sync::Arc;
    use tokio::sync::watch;

    #[tokio::test]
    async fn a_snapshot_reaches_from_the_compacted_revision_to_the_newest() {
        let (_, durable) = watch::channel(LogIndex(0));
        let state =
            State::open(Arc::new(MemState::new()), durable, StateConfig::default()).unwrap();
        let view = state.reader().view().with_revisions(Revision(3), Revision(7));
        let at = |revision| {
            let snapshot = Snapshot::of(view.clone(), Revision(revision), NodeId(1));
            snapshot.map(|snapshot| snapshot.revision().0)
        };
        let (requested, oldest) = (Revision(2), Revision(3));
        assert_eq!(at(2), Err(Error::Compacted { requested, oldest }));
        assert_eq!(at(3), Ok(3));
        assert_eq!(at(7), Ok(7));
        let (requested, newest) = (Revision(8), Revision(7));
        assert_eq!(at(8), Err(Error::FutureRevision { requested, newest }));
    }
}
