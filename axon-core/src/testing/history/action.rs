//! What a client asked, and what it was answered, in plain words.
//!
//! Whatever a door of the store does not tell stays untold: a value without its revision, a delete
//! without a count. Only what was told is checked.

use super::text;
use crate::txn::Relation;
use crate::types::{KeyRange, KeyValue, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// A linearizable read of `key`.
    Get {
        /// The key.
        #[serde(with = "text")]
        key: Bytes,
    },
    /// Stores `value` under `key`.
    Put {
        /// The key.
        #[serde(with = "text")]
        key: Bytes,
        /// The value.
        #[serde(with = "text")]
        value: Bytes,
    },
    /// Removes `key`.
    Delete {
        /// The key.
        #[serde(with = "text")]
        key: Bytes,
    },
    /// Stores `value` under the key of `when`, if that holds.
    PutIf {
        /// What must hold.
        when: Condition,
        /// The value.
        #[serde(with = "text")]
        value: Bytes,
    },
    /// Removes the key of `when`, if that holds.
    DeleteIf {
        /// What must hold.
        when: Condition,
    },
    /// Does `then` when all of `when` holds, otherwise `or_else`. Changes a key at most once on
    /// either way.
    Txn {
        /// What must hold.
        when: Vec<Condition>,
        /// What is done then.
        then: Vec<Step>,
        /// What is done otherwise.
        or_else: Vec<Step>,
    },
    /// Reads all keys of `span` at one revision.
    Range {
        /// The keys.
        span: Span,
        /// The revision of the past that was asked for; `None` for a linearizable read.
        at: Option<Revision>,
    },
}

/// A condition on one key, as [`Compare`](crate::txn::Compare).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The key.
    #[serde(with = "text")]
    pub key: Bytes,
    /// What of it is compared, and with what.
    pub what: What,
    /// How the key's must stand to the given one.
    pub relation: Relation,
}

/// What of a key is compared, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Its version: 0 when absent.
    Version(u64),
    /// The revision that created it: 0 when absent.
    CreateRevision(Revision),
    /// The revision of its last change: 0 when absent.
    ModRevision(Revision),
    /// Its value; never holds when absent.
    Value(#[serde(with = "text")] Bytes),
}

impl Condition {
    /// Holds while `key` is absent.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), what: What::Version(0), relation: Relation::Equal }
    }

    /// Holds while `key` is present.
    pub fn present(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), what: What::Version(0), relation: Relation::Greater }
    }

    /// Holds while the last change of `key` is that of `revision`.
    pub fn mod_revision(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self { key: key.into(), what: What::ModRevision(revision), relation: Relation::Equal }
    }

    /// Holds while `key` has `value`.
    pub fn value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), what: What::Value(value.into()), relation: Relation::Equal }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Reads `key`.
    Get {
        /// The key.
        #[serde(with = "text")]
        key: Bytes,
    },
    /// Stores `value` under `key`.
    Put {
        /// The key.
        #[serde(with = "text")]
        key: Bytes,
        /// The value.
        #[serde(with = "text")]
        value: Bytes,
    },
    /// Removes `key`.
    Delete {
        /// The key.
        #[serde(with = "text")]
        key: Bytes,
    },
}

impl Step {
    /// Reads `key`.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self::Get { key: key.into() }
    }

    /// Stores `value` under `key`.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into() }
    }

    /// Removes `key`.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Returns its key.
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// The keys from `from` on, up to and without `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first key.
    #[serde(with = "text")]
    pub from: Bytes,
    /// The first key that is not part of it; `None`: it has no end.
    #[serde(with = "text::option", default)]
    pub to: Option<Bytes>,
}

impl Span {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self { from: Bytes::new(), to: None }
    }

    /// Reports whether `key` lies in it.
    #[must_use]
    pub fn contains(&self, key: &Bytes) -> bool {
        self.from <= *key && self.to.as_ref().is_none_or(|to| key < to)
    }
}

impl From<KeyRange> for Span {
    fn from(range: KeyRange) -> Self {
        let behind = |key: Bytes| [key.as_ref(), &[0]].concat().into();
        let from = match range.start {
            Bound::Included(key) => key,
            Bound::Excluded(key) => behind(key),
            Bound::Unbounded => Bytes::new(),
        };
        let to = match range.end {
            Bound::Included(key) => Some(behind(key)),
            Bound::Excluded(key) => Some(key),
            Bound::Unbounded => None,
        };
        Self { from, to }
    }
}

/// How an operation ended, as far as its client knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done, and was answered so.
    Ok(Answer),
    /// It certainly did not happen, and will not.
    Failed,
    /// It may take effect at any time after its begin, or never.
    #[default]
    Unknown,
}

/// What a client was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Action::Get`]: the key.
    Got(Found),
    /// To a write that is done: a put, a delete, or a conditional one whose condition held.
    Done {
        /// The store's revision after it.
        revision: Option<Revision>,
        /// The key before it.
        before: Found,
    },
    /// To a conditional write whose condition did not hold.
    Conflict {
        /// The store's revision then.
        revision: Option<Revision>,
        /// The key as it was.
        found: Found,
    },
    /// To [`Action::Txn`].
    Txn {
        /// Whether the conditions held.
        succeeded: bool,
        /// The store's revision after it.
        revision: Option<Revision>,
        /// One for each step of the branch that was done: what was read, or what was there before it
        /// was changed. None at all: untold.
        results: Vec<Found>,
    },
    /// To [`Action::Range`]: all keys there are.
    Range {
        /// The revision that this shows.
        revision: Option<Revision>,
        /// The keys, in any order.
        pairs: Vec<Pair>,
    },
}

/// A key that was found by reading a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The key.
    #[serde(with = "text")]
    pub key: Bytes,
    /// What was told of it.
    pub seen: Seen,
}

/// What was told of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Nothing.
    #[default]
    Untold,
    /// There is none.
    Absent,
    /// There is one.
    Present(Seen),
}

/// What was told of a key that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its value.
    #[serde(with = "text::option", default)]
    pub value: Option<Bytes>,
    /// The revision of its last change.
    #[serde(default)]
    pub mod_revision: Option<Revision>,
    /// The revision that created it.
    #[serde(default)]
    pub create_revision: Option<Revision>,
    /// Its version.
    #[serde(default)]
    pub version: Option<u64>,
}

impl Seen {
    /// Nothing but a value.
    pub fn value(value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }
}

impl From<KeyValue> for Seen {
    fn from(pair: KeyValue) -> Self {
        Self {
            value: Some(pair.value),
            mod_revision: Some(pair.mod_revision),
            create_revision: Some(pair.create_revision),
            version: Some(pair.version),
        }
    }
}

impl From<KeyValue> for Pair {
    fn from(pair: KeyValue) -> Self {
        Self { key: pair.key.clone(), seen: pair.into() }
    }
}

impl From<Option<KeyValue>> for Found {
    fn from(found: Option<KeyValue>) -> Self {
        found.map_or(Self::Absent, |pair| Self::Present(pair.into()))
    }
}
