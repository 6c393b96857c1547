//! Transactions as a service writes them, and the conditional writes made of them.

use super::{Deleted, Store, Written};
use crate::error::Error;
use crate::txn::{Compare, Op, Txn};
use crate::types::{KeyValue, Revision};
use bytes::Bytes;

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
    /// as [`Store::put`].
    pub async fn commit(self) -> Result<TxnResult, Error> {
        let Self { store, txn } = self;
        let _ = (store, txn);
        unimplemented!("transactions")
    }
}

impl Store {
    /// Stores `value` under `key` if `expected` is true of it.
    ///
    /// Not cancel safe: dropped, it may still happen.
    ///
    /// # Errors
    /// As [`put`](Self::put). A lost compare is no error: see [`Swap`].
    pub async fn put_if(
        &self,
        key: impl Into<Bytes>,
        expected: Expect,
        value: impl Into<Bytes>,
    ) -> Result<Swap, Error> {
        let _ = (key.into(), expected, value.into());
        unimplemented!("transactions")
    }

    /// Removes `key` if `expected` is true of it.
    ///
    /// Not cancel safe: dropped, it may still happen.
    ///
    /// # Errors
    /// As [`put`](Self::put). A lost compare is no error: see [`Swap`].
    pub async fn delete_if(
        &self,
        key: impl Into<Bytes>,
        expected: Expect,
    ) -> Result<Swap<Deleted>, Error> {
        let _ = (key.into(), expected);
        unimplemented!("transactions")
    }
}
