//! Transactions: what is compared, what is done then, and what is refused before anything happens.
//!
//! A transaction is one command: its compares see one moment, all of the chosen branch is applied
//! under one revision or nothing is. Its operations take effect in their order, so that a `Get`, and
//! the compares of a transaction inside it, see what stands before them in the list. Rules, checked
//! by whoever proposes it and again by the machine ([`Txn::check`]):
//!
//! * at most [`OPERATIONS_MAX`] operations and [`COMPARES_MAX`] compares, nested ones included, and at
//!   most [`DEPTH_MAX`] transactions inside each other;
//! * on each way through it, a key is changed at most once: a revision holds one change a key.

use crate::types::{KeyRange, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::ops::Bound;

/// Operations of a transaction, in all its branches.
pub const OPERATIONS_MAX: usize = 128;
/// Compares of a transaction, those of the transactions inside it included.
pub const COMPARES_MAX: usize = OPERATIONS_MAX;
/// Transactions inside each other, the outermost included.
pub const DEPTH_MAX: usize = 8;
/// Keys that a step of a range delete removes at most, and all [`Op::DeleteRange`]s of a transaction
/// together: a transaction with more is refused whole.
pub const RANGE_KEYS_MAX: u64 = 10_000;
/// Bytes of the keys and rows that they remove. A step of a range delete ends there, after one key at
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
    /// Removes every key of `range`; see [`RANGE_KEYS_MAX`].
    DeleteRange {
        /// The keys.
        range: KeyRange,
    },
    /// Decides again, and does one of two branches. Its compares see what the operations before it
    /// did.
    Txn(#[serde(deserialize_with = "crate::codec::nested")] Box<Txn>),
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

impl Txn {
    /// Checks the rules that need no data: how much there is of it, and that no way through it
    /// changes a key twice.
    ///
    /// A way is any choice of one branch in each transaction, whatever the compares say. An
    /// operation counts as changing its key even where that turns out to be absent.
    pub fn check(&self) -> Result<(), TxnFault> {
        let (mut operations, mut compares) = (0, 0);
        self.count(1, &mut operations, &mut compares)?;
        at_most("operations in a transaction", operations, OPERATIONS_MAX)?;
        at_most("compares in a transaction", compares, COMPARES_MAX)?;
        changed_by(&self.then)?;
        changed_by(&self.or_else).map(drop)
    }

    fn count(&self, depth: usize, ops: &mut usize, compares: &mut usize) -> Result<(), TxnFault> {
        at_most("transactions inside each other", depth, DEPTH_MAX)?;
        *ops += self.then.len() + self.or_else.len();
        *compares += self.when.len();
        self.then.iter().chain(&self.or_else).try_for_each(|op| match op {
            Op::Txn(inner) => inner.count(depth + 1, ops, compares),
            _ => Ok(()),
        })
    }
}

fn at_most(what: &'static str, got: usize, limit: usize) -> Result<(), TxnFault> {
    if got > limit { Err(TxnFault::TooMany { what, limit: limit as u64 }) } else { Ok(()) }
}

/// Reports whether no key can lie in `range`.
pub(crate) fn is_empty(range: &KeyRange) -> bool {
    Span::of(range).is_none()
}

/// The spans of keys that `ops`, done one after the other, may change: sorted, and apart from each
/// other.
fn changed_by(ops: &[Op]) -> Result<Vec<Span<'_>>, TxnFault> {
    let mut spans = Vec::with_capacity(ops.len());
    for op in ops {
        match op {
            Op::Get { .. } => {}
            Op::Put { key, .. } | Op::Delete { key } => spans.push(Span::key(key)),
            Op::DeleteRange { range } => spans.extend(Span::of(range)),
            Op::Txn(inner) => {
                spans.extend(either(changed_by(&inner.then)?, changed_by(&inner.or_else)?));
            }
        }
    }
    spans.sort_unstable_by_key(|span| span.start);
    // Sorted and apart so far: only a neighbour can overlap.
    match spans.windows(2).find(|two| two[0].end > End::At(two[1].start)) {
        Some(two) => Err(TxnFault::DuplicateKey(two[1].start.next_key())),
        None => Ok(spans),
    }
}

/// What one of two branches changes that exclude each other.
fn either<'a>(then: Vec<Span<'a>>, or_else: Vec<Span<'a>>) -> Vec<Span<'a>> {
    let mut all = then;
    all.extend(or_else);
    all.sort_unstable_by_key(|span| span.start);
    let mut joined: Vec<Span> = Vec::with_capacity(all.len());
    for span in all {
        match joined.last_mut() {
            Some(last) if last.end >= End::At(span.start) => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

/// A place between keys: just before `key`, or just after it.
#[derive(Debug, Clone, Copy)]
struct Cut<'a> {
    key: &'a [u8],
    after: bool,
}

impl Cut<'_> {
    /// The first key behind it.
    fn next_key(&self) -> Bytes {
        self.bytes_from(0).copied().collect()
    }

    fn bytes_from(&self, place: usize) -> impl Iterator<Item = &u8> {
        self.key[place..].iter().chain(self.after.then_some(&0))
    }
}

impl Ord for Cut<'_> {
    /// Just after a key is just before the key with a zero byte more.
    fn cmp(&self, other: &Self) -> Ordering {
        let common = self.key.len().min(other.key.len());
        let heads = self.key[..common].cmp(&other.key[..common]);
        heads.then_with(|| self.bytes_from(common).cmp(other.bytes_from(common)))
    }
}

impl PartialOrd for Cut<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cut<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Cut<'_> {}

/// Where a span ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End<'a> {
    At(Cut<'a>),
    Never,
}

/// The keys between two cuts; at least one.
#[derive(Debug, Clone, Copy)]
struct Span<'a> {
    start: Cut<'a>,
    end: End<'a>,
}

impl<'a> Span<'a> {
    fn key(key: &'a [u8]) -> Self {
        Self { start: Cut { key, after: false }, end: End::At(Cut { key, after: true }) }
    }

    fn of(range: &'a KeyRange) -> Option<Self> {
        let start = match &range.start {
            Bound::Included(key) => Cut { key, after: false },
            Bound::Excluded(key) => Cut { key, after: true },
            Bound::Unbounded => Cut { key: &[], after: false },
        };
        let end = match &range.end {
            Bound::Included(key) => End::At(Cut { key, after: true }),
            Bound::Excluded(key) => End::At(Cut { key, after: false }),
            Bound::Unbounded => End::Never,
        };
        (End::At(start) < end).then_some(Self { start, end })
    }
}
