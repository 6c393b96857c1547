//! Transactions as a service writes them, the conditional writes made of them, and range deletes.
//!
//! What can be refused without the cluster is refused here, before anything is sent. A transaction's
//! answer may come without the values that it read; they are read on this replica then, at the
//! revision that the answer names.

use super::{Deleted, DeletedRange, Store, Written, check_len, unexpected};
use crate::command::{self, OpOutcome, Outcome, TxnOutcome};
use crate::error::{Error, ErrorOutcome};
use crate::runtime;
use crate::state::View;
use crate::txn::{Compare, Op, Relation, Txn, TxnFault};
use crate::types::{KeyRange, KeyValue, Revision};
use bytes::Bytes;

/// Keys that one step of a range delete removes.
const DELETE_STEP_KEYS: u64 = 1_000;

/// What must be true of a key for a conditional write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// There is no such key.
    Absent,
    /// There is such a key.
    Present,
    /// Its last change was made by this revision.
    ModRevision(Revision),
    /// It has this version.
    Version(u64),
    /// It has this value.
    Value(Bytes),
}

impl Expect {
    fn compare(self, key: Bytes) -> Compare {
        let equal = Relation::Equal;
        match self {
            Self::Absent => Compare::absent(key),
            Self::Present => Compare::present(key),
            Self::ModRevision(revision) => Compare::mod_revision(key, equal, revision),
            Self::Version(version) => Compare::version(key, equal, version),
            Self::Value(value) => Compare::value(key, equal, value),
        }
    }
}

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap<T = Written> {
    /// The expectation held, and the write is done.
    Done(T),
    /// The expectation did not hold, and nothing changed: this is what is there.
    Conflict(Option<KeyValue>),
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether the compares held.
    pub succeeded: bool,
    /// The store's revision after it; unmoved when it changed nothing.
    pub revision: Revision,
    /// One for each operation of the branch that was done, in order.
    pub results: Vec<OpResult>,
}

/// What one operation of a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// The key as it stood then.
    Get(Option<KeyValue>),
    /// The value is stored.
    Put {
        /// The key's version.
        version: u64,
        /// The revision of the value it replaced; `None` when the key is new.
        previous: Option<Revision>,
    },
    /// The key is absent.
    Delete {
        /// Whether there was a key to delete.
        existed: bool,
    },
    /// The keys of the range are absent.
    DeleteRange {
        /// How many there were.
        deleted: u64,
    },
    /// The inner transaction is done.
    Txn {
        /// Whether its compares held.
        succeeded: bool,
        /// One for each operation of the branch that was done, in order.
        results: Vec<OpResult>,
    },
}

/// A transaction in the making. Made by [`Store::txn`].
#[derive(Clone)]
pub struct Transaction {
    store: Store,
    txn: Txn,
}

impl Transaction {
    pub(super) fn new(store: Store) -> Self {
        Self { store, txn: Txn::default() }
    }

    /// Adds conditions; all must hold.
    pub fn when(mut self, compares: impl IntoIterator<Item = Compare>) -> Self {
        self.txn.when.extend(compares);
        self
    }

    /// Adds what is done when they hold.
    pub fn then(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.txn.then.extend(ops);
        self
    }

    /// Adds what is done when they do not.
    pub fn or_else(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        self.txn.or_else.extend(ops);
        self
    }

    /// Returns it as a value, to stand inside another one ([`Op::txn`]).
    pub fn into_txn(self) -> Txn {
        self.txn
    }

    /// Does it, once. Returns when a majority has it on disk.
    ///
    /// Not cancel safe: dropped, it may still happen.
    ///
    /// # Errors
    /// [`Error::DuplicateKey`], [`Error::TooMany`], [`Error::TooLarge`], [`Error::EmptyKey`]; and
    /// as [`Store::put`]. [`Error::ReadsCompacted`]: it is done, and its reads are lost.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::OpResult;
    /// use axon_core::txn::{Compare, Op};
    ///
    /// store.put("stock", "1").await?;
    /// let order = store
    ///     .txn()
    ///     .when([Compare::present("stock"), Compare::absent("order/7")])
    ///     .then([Op::put("order/7", "paid"), Op::delete("stock")])
    ///     .or_else([Op::get("order/7")]);
    /// let first = order.clone().commit().await?;
    /// assert!(first.succeeded);
    ///
    /// let second = order.commit().await?;
    /// assert!(!second.succeeded);
    /// let [OpResult::Get(Some(found))] = &second.results[..] else { panic!() };
    /// assert_eq!((found.value.as_ref(), found.mod_revision), (b"paid".as_slice(), first.revision));
    /// # Ok(()) }
    /// ```
    pub async fn commit(self) -> Result<TxnResult, Error> {
        let Self { store, txn } = self;
        txn.check().map_err(|fault| match fault {
            TxnFault::DuplicateKey(key) => Error::DuplicateKey { key },
            TxnFault::TooMany { what, limit } => Error::TooMany { what, limit },
        })?;
        store.check_sizes(&txn)?;
        match store.write(command::Op::Txn(txn.clone())).await? {
            Outcome::Txn(outcome) => store.complete(txn, outcome).await,
            other => Err(unexpected(&other)),
        }
    }
}

impl Store {
    /// Stores `value` under `key` if `expected` is true of it.
    ///
    /// Not cancel safe: dropped, it may still happen.
    ///
    /// # Errors
    /// As [`put`](Self::put). A lost compare is no error: see [`Swap`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::{Expect, Swap};
    ///
    /// let Swap::Done(mine) = store.put_if("lock", Expect::Absent, "me").await? else { panic!() };
    /// match store.put_if("lock", Expect::Absent, "you").await? {
    ///     Swap::Conflict(Some(held)) => assert_eq!(held.mod_revision, mine.revision),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn put_if(
        &self,
        key: impl Into<Bytes>,
        expected: Expect,
        value: impl Into<Bytes>,
    ) -> Result<Swap, Error> {
        let (key, value) = (key.into(), value.into());
        let op = Op::put(key.clone(), value);
        let done = |revision, result| match result {
            OpResult::Put { previous, .. } => Some(Written { revision, previous }),
            _ => None,
        };
        self.write_if(key, expected, op, done).await
    }

    /// Removes `key` if `expected` is true of it.
    ///
    /// Not cancel safe: dropped, it may still happen.
    ///
    /// # Errors
    /// As [`put`](Self::put). A lost compare is no error: see [`Swap`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::{Expect, Swap};
    ///
    /// let mine = store.put("lock", "me").await?.revision;
    /// let swap = store.delete_if("lock", Expect::ModRevision(mine)).await?;
    /// assert!(matches!(swap, Swap::Done(deleted) if deleted.existed));
    /// let swap = store.delete_if("lock", Expect::ModRevision(mine)).await?;
    /// assert_eq!(swap, Swap::Conflict(None));
    /// # Ok(()) }
    /// ```
    pub async fn delete_if(
        &self,
        key: impl Into<Bytes>,
        expected: Expect,
    ) -> Result<Swap<Deleted>, Error> {
        let key = key.into();
        let op = Op::delete(key.clone());
        let done = |revision, result| match result {
            OpResult::Delete { existed } => Some(Deleted { revision, existed }),
            _ => None,
        };
        self.write_if(key, expected, op, done).await
    }

    /// Removes the keys of `range`, in steps of up to 1,000 keys and 16 MiB, each with a revision of
    /// its own and this handle's timeout. What is written into the range meanwhile may be removed too.
    ///
    /// Under an idempotency key each step happens once: sent again, the steps that were made are
    /// answered as they were, and the others are made.
    ///
    /// Not cancel safe: dropped, some steps may have happened, and one may still happen.
    ///
    /// # Errors
    /// As [`put`](Self::put). After an error whose outcome is not known, some of the keys may be gone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::types::KeyRange;
    ///
    /// store.put("job/1", "x").await?;
    /// store.put("job/2", "y").await?;
    /// let done = store.delete_range(KeyRange::prefix("job/")).await?;
    /// assert_eq!((done.deleted, done.revision.0), (2, 3));
    /// # Ok(()) }
    /// ```
    pub async fn delete_range(&self, range: KeyRange) -> Result<DeletedRange, Error> {
        let mut all = DeletedRange { revision: Revision(0), deleted: 0 };
        for step in 0.. {
            let op = command::Op::DeleteRange { range: range.clone(), limit: DELETE_STEP_KEYS };
            let outcome = if step == 0 {
                self.write_step(op, step).await?
            } else {
                self.write_next_step(op, step).await.map_err(undecided)?
            };
            let Outcome::DeletedRange { revision, deleted, more } = outcome else {
                return Err(unexpected(&outcome));
            };
            all = DeletedRange { revision, deleted: all.deleted + deleted };
            if !more {
                break;
            }
        }
        Ok(all)
    }

    /// A store that has no room at the moment is no reason to give up half-way.
    async fn write_next_step(&self, op: command::Op, step: u32) -> Result<Outcome, Error> {
        let begun = runtime::now();
        loop {
            match self.write_step(op.clone(), step).await {
                Err(Error::Overloaded { retry_after }) => {
                    let waited = begun.elapsed();
                    if waited >= self.timeout {
                        return Err(Error::Timeout { waited, outcome: ErrorOutcome::Unknown });
                    }
                    tokio::time::sleep(retry_after).await;
                }
                answer => return answer,
            }
        }
    }

    /// Does `op` on `key` if `expected` is true of it.
    async fn write_if<T>(
        &self,
        key: Bytes,
        expected: Expect,
        op: Op,
        done: impl FnOnce(Revision, OpResult) -> Option<T>,
    ) -> Result<Swap<T>, Error> {
        let compare = expected.compare(key.clone());
        let txn = self.txn().when([compare]).then([op]).or_else([Op::get(key)]);
        let TxnResult { succeeded, revision, results } = txn.commit().await?;
        let swap = match results.into_iter().next() {
            Some(OpResult::Get(found)) if !succeeded => Some(Swap::Conflict(found)),
            Some(result) => done(revision, result).map(Swap::Done),
            None => None,
        };
        swap.ok_or_else(mismatched)
    }

    fn check_sizes(&self, txn: &Txn) -> Result<(), Error> {
        txn.when.iter().try_for_each(|compare| self.check_key(&compare.key))?;
        txn.then.iter().chain(&txn.or_else).try_for_each(|op| match op {
            Op::Get { key } | Op::Delete { key } => self.check_key(key),
            Op::Put { key, value } => {
                self.check_key(key)?;
                check_len("value", value.len(), self.inner.config().limits.value_bytes_max)
            }
            Op::DeleteRange { .. } => Ok(()),
            Op::Txn(inner) => self.check_sizes(inner),
        })
    }

    /// Makes the result of `txn` out of its outcome, and reads what that leaves to be read.
    async fn complete(&self, txn: Txn, outcome: TxnOutcome) -> Result<TxnResult, Error> {
        let TxnOutcome { succeeded, revision, results } = outcome;
        let ops = if succeeded { txn.then } else { txn.or_else };
        let results = match latest_read(&results) {
            None => match_up(&ops, results, &|_, _| Ok(None))?,
            Some(latest) => {
                let reading = self.read_again(ops, results, latest, revision);
                reading.await.map_err(undecided)?
            }
        };
        Ok(TxnResult { succeeded, revision, results })
    }

    async fn read_again(
        &self,
        ops: Vec<Op>,
        results: Vec<OpOutcome>,
        latest: Revision,
        revision: Revision,
    ) -> Result<Vec<OpResult>, Error> {
        let engine = self.inner.engine()?;
        self.await_revision(&engine, latest).await?;
        let view = engine.reader.view();
        let read = move |key: &Bytes, at| read_at(&view, key, at, revision);
        runtime::blocking(move || match_up(&ops, results, &read)).await
    }
}

fn read_at(
    view: &View,
    key: &Bytes,
    at: Revision,
    revision: Revision,
) -> Result<Option<KeyValue>, Error> {
    let oldest = view.compacted_revision();
    if at < oldest {
        return Err(Error::ReadsCompacted { revision, oldest });
    }
    Ok(view.get_at(key, at)?)
}

/// The highest revision at which something is to be read again.
fn latest_read(results: &[OpOutcome]) -> Option<Revision> {
    let revisions = results.iter().filter_map(|result| match result {
        OpOutcome::GotAt(revision) => Some(*revision),
        OpOutcome::Txn { results, .. } => latest_read(results),
        _ => None,
    });
    revisions.max()
}

type Read<'a> = &'a dyn Fn(&Bytes, Revision) -> Result<Option<KeyValue>, Error>;

/// Puts the operations of a branch and their outcomes together.
fn match_up(ops: &[Op], outcomes: Vec<OpOutcome>, read: Read) -> Result<Vec<OpResult>, Error> {
    if ops.len() != outcomes.len() {
        return Err(mismatched());
    }
    let results = ops.iter().zip(outcomes).map(|(op, outcome)| {
        Ok(match (op, outcome) {
            (Op::Get { .. }, OpOutcome::Got(found)) => OpResult::Get(found),
            (Op::Get { key }, OpOutcome::GotAt(revision)) => OpResult::Get(read(key, revision)?),
            (Op::Put { .. }, OpOutcome::Put { version, previous }) => {
                OpResult::Put { version, previous }
            }
            (Op::Delete { .. }, OpOutcome::Deleted { previous }) => {
                OpResult::Delete { existed: previous.is_some() }
            }
            (Op::DeleteRange { .. }, OpOutcome::DeletedRange { deleted }) => {
                OpResult::DeleteRange { deleted }
            }
            (Op::Txn(inner), OpOutcome::Txn { succeeded, results }) => {
                let ops = if succeeded { &inner.then } else { &inner.or_else };
                OpResult::Txn { succeeded, results: match_up(ops, results, read)? }
            }
            _ => return Err(mismatched()),
        })
    });
    results.collect()
}

fn mismatched() -> Error {
    Error::Halted { cause: "the state machine answered another transaction".into() }
}

/// The error of a call of which a part has happened already.
fn undecided(error: Error) -> Error {
    let outcome = ErrorOutcome::Unknown;
    match error {
        Error::NoLeader { .. } => Error::NoLeader { outcome },
        Error::NoQuorum { alive, needed, voters, .. } => {
            Error::NoQuorum { alive, needed, voters, outcome }
        }
        Error::Timeout { waited, .. } => Error::Timeout { waited, outcome },
        Error::Storage(error) => Error::Halted { cause: error.to_string() },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Cluster;
    use crate::config::{Config, Origin};
    use crate::raft::change::{ChangeMembers, change_membership};
    use crate::types::Member;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    #[tokio::test]
    async fn what_a_member_does_not_know_is_not_proposed() {
        let config = Config { origin: Origin::Init(None), ..Config::default() };
        let cluster = Cluster::start(config).await.unwrap();
        cluster.wait_ready(Duration::from_secs(10)).await.unwrap();
        let store = cluster.store();
        let engine = store.inner.engine().unwrap();
        let old = Member { name: "old".into(), vocabulary: 1, ..Member::default() };
        let join = ChangeMembers::AddNodes(BTreeMap::from([(9, old)]));
        change_membership(&engine, join).await.unwrap();

        let needed = Error::UpgradeNeeded { member: "old".into() };
        let swap = store.put_if("k", Expect::Absent, "v").await;
        assert_eq!(swap, Err(needed.clone()));
        assert_eq!(store.delete_range(KeyRange::all()).await, Err(needed.clone()));
        let once = store.with_idempotency_key("key").unwrap();
        assert_eq!(once.put("k", "v").await, Err(needed));
        assert_eq!(store.put("k", "v").await.unwrap().revision, Revision(1), "that is known");

        let leave = ChangeMembers::RemoveNodes(BTreeSet::from([9]));
        change_membership(&engine, leave).await.unwrap();
        let left = async {
            while engine.members().len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), left).await.unwrap();
        assert!(matches!(store.put_if("k", Expect::Present, "w").await, Ok(Swap::Done(_))));
    }

    #[test]
    fn an_error_after_the_fact_leaves_open_what_happened() {
        let (outcome, second) = (ErrorOutcome::NotApplied, Duration::from_secs(1));
        let io = std::io::Error::other("x");
        for error in [
            Error::NoLeader { outcome },
            Error::NoQuorum { alive: 1, needed: 2, voters: 3, outcome },
            Error::Timeout { waited: second, outcome },
            Error::Storage(crate::error::StorageError::io("cannot read", "x", &io)),
            Error::ShutDown,
            Error::ReadsCompacted { revision: Revision(1), oldest: Revision(2) },
        ] {
            assert_eq!(undecided(error).outcome(), ErrorOutcome::Unknown);
        }
    }
}
