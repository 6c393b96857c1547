//! Transactions: what is compared, what is done then, and what is refused before anything happens.
//!
//! A transaction is one command: its compares see one moment, all of the chosen branch is applied
//! under one revision or nothing is. Its operations take effect in their order, so that a `Get` sees
//! what stands before it in the list. Rules, checked by whoever proposes it and again by the
//! machine ([`Txn::check`]):
//!
//! * at most [`OPERATIONS_MAX`] operations and as many compares, nested ones included, and at most
//!   [`DEPTH_MAX`] transactions inside each other;
//! * on each way through it, a key is changed at most once: a revision holds one change a key.

use crate::types::{KeyRange, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Operations of a transaction, in all its branches; and compares.
pub const OPERATIONS_MAX: usize = 128;
/// Transactions inside each other, the outermost included.
pub const DEPTH_MAX: usize = 8;
/// Keys that one [`Op::DeleteRange`] may remove: a transaction with more is refused whole.
pub const RANGE_KEYS_MAX: u64 = 10_000;
/// Bytes of the rows that one range removes. A step of a range delete ends there, after one key at
/// least; a transaction with more is refused whole.
pub const RANGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of values that a transaction's answer carries; what is over is read again at its revision.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A condition on one key.
///
/// An absent key has version 0 and revisions 0; a compare of its value never holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// What of it is compared, and with what.
    pub target: Target,
    /// How the key's must stand to the given one.
    pub relation: Relation,
}

/// What of a key is compared, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Its version: 0 when absent, 1 at creation, +1 each change.
    Version(u64),
    /// The revision that created it.
    CreateRevision(Revision),
    /// The revision of its last change.
    ModRevision(Revision),
    /// Its value, byte by byte.
    Value(Bytes),
}

/// How two values stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `>`
    Greater,
}

impl Relation {
    /// Reports whether `left` stands so to `right`.
    #[must_use]
    pub fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::Greater => left > right,
        }
    }
}

impl Compare {
    /// Holds while `key` is absent.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::version(key, Relation::Equal, 0)
    }

    /// Holds while `key` is present.
    pub fn present(key: impl Into<Bytes>) -> Self {
        Self::version(key, Relation::Greater, 0)
    }

    /// Compares the version of `key`.
    pub fn version(key: impl Into<Bytes>, relation: Relation, version: u64) -> Self {
        Self { key: key.into(), target: Target::Version(version), relation }
    }

    /// Compares the revision that created `key`.
    pub fn create_revision(key: impl Into<Bytes>, relation: Relation, revision: Revision) -> Self {
        Self { key: key.into(), target: Target::CreateRevision(revision), relation }
    }

    /// Compares the revision of the last change of `key`.
    pub fn mod_revision(key: impl Into<Bytes>, relation: Relation, revision: Revision) -> Self {
        Self { key: key.into(), target: Target::ModRevision(revision), relation }
    }

    /// Compares the value of `key`; never holds while it is absent.
    pub fn value(key: impl Into<Bytes>, relation: Relation, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), target: Target::Value(value.into()), relation }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Reads `key`.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Stores `value` under `key`.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Removes `key`, if it is there.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Removes every key of `range`, at most [`RANGE_KEYS_MAX`] of them.
    DeleteRange {
        /// The keys.
        range: KeyRange,
    },
    /// Decides again, and does one of two branches.
    Txn(Box<Txn>),
}

impl Op {
    /// Reads `key`.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Get { key: key.into() }
    }

    /// Stores `value` under `key`.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into() }
    }

    /// Removes `key`, if it is there.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Removes every key of `range`.
    pub fn delete_range(range: KeyRange) -> Self {
        Self::DeleteRange { range }
    }

    /// Decides again: a transaction inside the transaction.
    pub fn txn(txn: Txn) -> Self {
        Self::Txn(Box::new(txn))
    }
}

/// A transaction: when all compares hold, `then` is done, otherwise `or_else`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// What must hold; all of it. Nothing: it holds.
    pub when: Vec<Compare>,
    /// What is done then.
    pub then: Vec<Op>,
    /// What is done otherwise.
    pub or_else: Vec<Op>,
}

/// Why a transaction is refused as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnFault {
    /// This key is changed twice on one way through it.
    DuplicateKey(Bytes),
    /// There are more of these than a transaction may have.
    TooMany {
        /// `operations in a transaction`, `compares in a transaction` or `transactions inside each
        /// other`.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}
