//! The store: what a service does with its data.

use crate::cluster::Inner;
use crate::command::{Op, Outcome};
use crate::error::Error;
use crate::raft::engine::Engine;
use crate::state::View;
use crate::types::{KeyRange, KeyValue, LogIndex, NodeId, Revision};
use bytes::Bytes;
use std::sync::Arc;
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
pub struct Store {
    inner: Arc<Inner>,
    consistency: ReadConsistency,
    timeout: Duration,
}

impl Store {
    pub(crate) fn new(inner: Arc<Inner>, timeout: Duration) -> Self {
        Self { inner, consistency: ReadConsistency::default(), timeout }
    }

    /// Returns a handle that reads with `consistency`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::ReadConsistency;
    ///
    /// let written = store.put("a", "1").await?;
    /// let at_least = store.with_consistency(ReadConsistency::AtLeast(written.revision));
    /// assert!(at_least.get("a").await?.is_some());
    /// # Ok(()) }
    /// ```
    pub fn with_consistency(&self, consistency: ReadConsistency) -> Self {
        Self { consistency, ..self.clone() }
    }

    /// Returns a handle whose calls are given up after `timeout`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// let patient = store.with_timeout(std::time::Duration::from_secs(30));
    /// patient.put("a", "1").await?;
    /// # Ok(()) }
    /// ```
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Stores `value` under `key`. Returns once a majority has it on disk.
    ///
    /// Not cancel safe: dropped, the write may still happen. It happens once, however often it is
    /// sent on the way.
    ///
    /// # Errors
    /// [`Error::EmptyKey`], [`Error::TooLarge`]; and when there is no answer in time, whatever is
    /// known: see [`Error::outcome`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// let first = store.put("color", "red").await?;
    /// let second = store.put("color", "blue").await?;
    /// assert_eq!(second.previous, Some(first.revision));
    /// # Ok(()) }
    /// ```
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Written, Error> {
        let (key, value) = (key.into(), value.into());
        self.check_key(&key)?;
        check_len("value", value.len(), self.inner.config().limits.value_bytes_max)?;
        match self.write(Op::Put { key, value }).await? {
            Outcome::Put { revision, previous } => Ok(Written { revision, previous }),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads `key`.
    ///
    /// Cancel safe. May read from the disk.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("color", "red").await?;
    /// let found = store.get("color").await?.expect("just stored");
    /// assert_eq!((found.value.as_ref(), found.version), (b"red".as_slice(), 1));
    /// assert_eq!(store.get("shape").await?, None);
    /// # Ok(()) }
    /// ```
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<KeyValue>, Error> {
        let key = key.as_ref();
        self.check_key(key)?;
        self.snapshot().await?.get(key)
    }

    /// Removes `key`, if it is there. Returns once a majority has that on disk.
    ///
    /// Not cancel safe: dropped, the delete may still happen.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("color", "red").await?;
    /// assert!(store.delete("color").await?.existed);
    /// assert!(!store.delete("color").await?.existed);
    /// # Ok(()) }
    /// ```
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<Deleted, Error> {
        let key = key.into();
        self.check_key(&key)?;
        match self.write(Op::Delete { key }).await? {
            Outcome::Deleted { revision, previous } => {
                Ok(Deleted { revision, existed: previous.is_some() })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Fixes the store as of one moment, for reads that must agree with each other.
    ///
    /// Cancel safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::types::KeyRange;
    ///
    /// store.put("a", "1").await?;
    /// let snapshot = store.snapshot().await?;
    /// store.put("b", "2").await?;
    /// assert_eq!(snapshot.page(&KeyRange::all(), 10, 1 << 20)?.len(), 1);
    /// # Ok(()) }
    /// ```
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let engine = self.inner.engine()?;
        match self.consistency {
            ReadConsistency::Linearizable => {
                engine.linearize(self.timeout).await?;
            }
            ReadConsistency::AtLeast(revision) => {
                self.await_revision(&engine, revision).await?;
            }
            ReadConsistency::Local => {}
        }
        if let Some(fault) = engine.fault() {
            return Err(fault);
        }
        Ok(Snapshot { view: engine.reader.view(), node_id: engine.id() })
    }

    async fn await_revision(&self, engine: &Engine, revision: Revision) -> Result<(), Error> {
        let mut applied = engine.reader.applied();
        let reached = async {
            while engine.reader.view().revision() < revision {
                if applied.changed().await.is_err() {
                    return Err(Error::ShutDown);
                }
            }
            Ok(())
        };
        let late = Error::Timeout {
            waited: self.timeout,
            outcome: crate::error::ErrorOutcome::NotApplied,
        };
        tokio::time::timeout(self.timeout, reached).await.unwrap_or(Err(late))
    }

    async fn write(&self, op: Op) -> Result<Outcome, Error> {
        let engine = self.inner.engine()?;
        self.inner.session().write(&engine, op, self.timeout).await
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        if key.is_empty() {
            return Err(Error::EmptyKey);
        }
        check_len("key", key.len(), self.inner.config().limits.key_bytes_max)
    }
}

fn check_len(what: &'static str, got: usize, limit: usize) -> Result<(), Error> {
    if got > limit { Err(Error::TooLarge { what, limit, got }) } else { Ok(()) }
}

fn unexpected(outcome: &Outcome) -> Error {
    Error::Halted { cause: format!("the state machine answered {outcome:?}") }
}

/// The store as of one moment. Holds disk space while it lives: drop it soon.
pub struct Snapshot {
    view: View,
    node_id: NodeId,
}

impl Snapshot {
    /// Returns the revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.view.revision()
    }

    /// Returns the last entry of the log that it shows.
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
        self.view.get(key).map_err(Error::from)
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
}
