//! The store: what a service does with its data.
//!
//! [`Store`] has the calls on single keys, and the beginnings of the others: [`Transaction`] (compare
//! and change several keys at once), [`Query`] (ranges, page by page or as a stream), [`Snapshot`]
//! (reads that agree with each other, of now or of then) and [`Watch`] (what changes).

mod cursor;
mod query;
mod scan;
mod snapshot;
mod stream;
mod transaction;
mod watch;

pub use crate::watch::{WatchChange, WatchEvent};
pub use cursor::Cursor;
pub use query::{Child, Counted, LIMIT_DEFAULT, LIMIT_MAX, Listing, PAGE_BYTES_MAX, Page, Query};
pub use snapshot::{KeyVersion, Snapshot};
pub use stream::PairStream;
pub use transaction::{Expect, OpResult, Swap, Transaction, TxnResult};
pub use watch::{Watch, Watcher};

use crate::cluster::Inner;
use crate::codec;
use crate::command::{Op, Outcome};
use crate::error::Error;
use crate::machine::once::KEY_BYTES_MAX;
use crate::raft::engine::Engine;
use crate::state::View;
use crate::types::{KeyRange, KeyValue, Revision};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

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

/// What a range delete did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedRange {
    /// The store's revision after it; unmoved when there was nothing to delete.
    pub revision: Revision,
    /// How many keys were removed.
    pub deleted: u64,
}

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
const _: () = assert!(IDEMPOTENCY_KEY_BYTES_MAX + 5 <= KEY_BYTES_MAX, "see `once`");

/// A handle on the replicated store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    consistency: ReadConsistency,
    timeout: Duration,
    /// Set by [`with_idempotency_key`](Self::with_idempotency_key).
    idempotency_key: Option<Bytes>,
}

impl Store {
    pub(crate) fn new(inner: Arc<Inner>, timeout: Duration) -> Self {
        Self { inner, consistency: ReadConsistency::default(), timeout, idempotency_key: None }
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

    /// Returns a handle whose writes happen once under `key` in the whole cluster, whoever sends
    /// them: a write under a key that was used before is answered what the first one was. Meant for
    /// one write: another one under the same key is refused.
    ///
    /// Keys are kept for 24 h of cluster time, the latest 1,000,000 of them; then they are new again.
    /// A write that is refused leaves its key unused. Retries inside one call need no key: [`Store`]
    /// sees to them itself.
    ///
    /// # Errors
    /// [`Error::EmptyKey`]; [`Error::TooLarge`] over [`IDEMPOTENCY_KEY_BYTES_MAX`]. The writes of the
    /// handle: [`Error::IdempotencyMismatch`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::Error;
    ///
    /// let order = store.with_idempotency_key("order 7")?;
    /// let first = order.put("stock", "41").await?;
    /// assert_eq!(order.put("stock", "41").await?, first);
    /// assert_eq!(order.put("stock", "40").await, Err(Error::IdempotencyMismatch));
    /// # Ok(()) }
    /// ```
    pub fn with_idempotency_key(&self, key: impl Into<Bytes>) -> Result<Self, Error> {
        let key = key.into();
        if key.is_empty() {
            return Err(Error::EmptyKey);
        }
        check_len("idempotency key", key.len(), IDEMPOTENCY_KEY_BYTES_MAX)?;
        Ok(Self { idempotency_key: Some(key), ..self.clone() })
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

    /// Begins a query of the keys that begin with `prefix`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("user/1", "ada").await?;
    /// store.put("visits", "7").await?;
    /// let users = store.prefix("user/").page().await?;
    /// assert_eq!((users.items.len(), users.next), (1, None));
    /// # Ok(()) }
    /// ```
    pub fn prefix(&self, prefix: impl Into<Bytes>) -> Query {
        self.range(KeyRange::prefix(prefix))
    }

    /// Begins a query of the keys of `range`; [`KeyRange::all`] is every key.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::types::KeyRange;
    ///
    /// store.put("a", "1").await?;
    /// assert_eq!(store.range(KeyRange::all()).count().await?.count, 1);
    /// # Ok(()) }
    /// ```
    pub fn range(&self, range: KeyRange) -> Query {
        Query::new(self.clone(), range)
    }

    /// Begins a watch of `key` alone. Prefixes and ranges are watched by [`Query::watch`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::{WatchChange, WatchEvent};
    /// use futures_util::StreamExt;
    ///
    /// let mut changes = store.watch("color").start().await?;
    /// let written = store.put("color", "red").await?;
    /// match changes.next().await.expect("it does not end by itself")? {
    ///     WatchEvent::Batch { revision, changes } => {
    ///         assert_eq!(revision, written.revision);
    ///         let WatchChange::Put { pair, .. } = &changes[0] else { panic!("it was a put") };
    ///         assert_eq!(pair.value.as_ref(), b"red");
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn watch(&self, key: impl Into<Bytes>) -> Watch {
        Watch::new(self.clone(), KeyRange::key(key))
    }

    /// Begins a transaction.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::txn::Op;
    ///
    /// let done = store.txn().then([Op::put("a", "1"), Op::put("b", "2")]).commit().await?;
    /// let (a, b) = (store.get("a").await?, store.get("b").await?);
    /// assert!(a.is_some_and(|a| b.is_some_and(|b| a.mod_revision == b.mod_revision)));
    /// assert!(done.succeeded);
    /// # Ok(()) }
    /// ```
    pub fn txn(&self) -> Transaction {
        Transaction::new(self.clone())
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
        Ok(Snapshot::new(engine.reader.view(), engine.id()))
    }

    /// Fixes the store as it was at `revision`. Waits for it on a replica that is behind.
    ///
    /// What a revision shows never changes: a replica that has reached it answers by itself, however
    /// fresh this handle's reads must be.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Compacted`]; [`Error::FutureRevision`] when not even a linearizable read sees it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// let first = store.put("a", "1").await?;
    /// store.delete("a").await?;
    /// let then = store.snapshot_at(first.revision).await?;
    /// assert!(then.get(b"a")?.is_some());
    /// # Ok(()) }
    /// ```
    pub async fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, Error> {
        let engine = self.inner.engine()?;
        let view = self.view_of(&engine, revision).await?;
        Snapshot::of(view, revision, engine.id())
    }

    /// A view that shows `revision`, or else all that a linearizable read would.
    async fn view_of(&self, engine: &Engine, revision: Revision) -> Result<View, Error> {
        if engine.reader.view().revision() < revision {
            self.catch_up(engine, revision).await?;
        }
        match engine.fault() {
            Some(fault) => Err(fault),
            None => Ok(engine.reader.view()),
        }
    }

    /// Waits until this replica has `revision`, or all that there is.
    async fn catch_up(&self, engine: &Engine, revision: Revision) -> Result<(), Error> {
        let reached = self.await_revision(engine, revision);
        let all_there_is = engine.linearize(self.timeout);
        tokio::select! {
            reached = reached => reached,
            all = all_there_is => all.map(drop),
        }
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
        self.write_step(op, 0).await
    }

    /// Makes a step of a write that has several, the first one being 0.
    async fn write_step(&self, op: Op, step: u32) -> Result<Outcome, Error> {
        let op = match &self.idempotency_key {
            None => op,
            Some(key) => once(key, step, op),
        };
        let engine = self.inner.engine()?;
        match self.inner.session().write(&engine, op, self.timeout).await? {
            Outcome::KeyReused => Err(Error::IdempotencyMismatch),
            Outcome::RangeTooLarge { limit, bytes } => {
                let what = if bytes {
                    "bytes to delete in one transaction"
                } else {
                    "keys to delete in one transaction"
                };
                Err(Error::TooMany { what, limit })
            }
            Outcome::Refused(reason) => Err(Error::Refused { reason }),
            outcome => Ok(outcome),
        }
    }

    fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        if key.is_empty() {
            return Err(Error::EmptyKey);
        }
        check_len("key", key.len(), self.inner.config().limits.key_bytes_max)
    }
}

/// Wraps a write so that it happens once under `key`. Its first step is known by the key itself, each
/// further one by a key of its own, longer than any that a caller may choose.
fn once(key: &Bytes, step: u32, op: Op) -> Op {
    let fingerprint = xxh3_128(&codec::encode(&op));
    let key = if step == 0 {
        key.clone()
    } else {
        let mut longer = key.to_vec();
        longer.resize(IDEMPOTENCY_KEY_BYTES_MAX, 0);
        longer.push(key.len() as u8);
        longer.extend(step.to_be_bytes());
        longer.into()
    };
    Op::Once { key, fingerprint, op: Box::new(op) }
}

fn check_len(what: &'static str, got: usize, limit: usize) -> Result<(), Error> {
    if got > limit { Err(Error::TooLarge { what, limit, got }) } else { Ok(()) }
}

fn unexpected(outcome: &Outcome) -> Error {
    Error::Halted { cause: format!("the state machine answered {outcome:?}") }
}
