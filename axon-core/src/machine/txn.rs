//! Transactions and range deletes: many keys under one revision, or nothing at all.
//!
//! A transaction first only reads, and gathers what it would change ([`Run`]); what cannot be done
//! whole is thus given up without a trace. Invariants:
//!
//! * compares of the outermost transaction see the store as it was; operations take effect in their
//!   order, so that reads, and the compares of inner transactions, see those before them;
//! * no key is edited twice, and no edited key lies in a range that is deleted: [`Txn::check`] sees
//!   to it. So an edit always starts from the version in the store;
//! * what it removes and what it answers are bounded by the constants of [`crate::txn`], however
//!   many ranges and reads it has.

use super::outcomes::Answer;
use super::rows::Version;
use super::{Batch, Registers, Rows, kv};
use crate::command::{OpOutcome, Outcome, TxnOutcome};
use crate::error::StorageError;
use crate::storage::Result;
use crate::txn::{
    ANSWER_BYTES_MAX, Compare, Op, RANGE_BYTES_MAX, RANGE_KEYS_MAX, Target, Txn, TxnFault,
};
use crate::types::{KeyRange, Revision};
use bytes::Bytes;
use kv::Edit;
use std::collections::BTreeMap;

/// Does `txn`, whole or not at all.
pub fn run(
    registers: &mut Registers,
    store: &impl Rows,
    batch: &mut Batch,
    txn: Txn,
) -> Result<Answer> {
    if let Err(fault) = txn.check() {
        return Ok(Outcome::Refused(words(&fault)).into());
    }
    let mut run = Run {
        registers,
        store,
        edits: BTreeMap::new(),
        reads: Vec::new(),
        answer_bytes_left: ANSWER_BYTES_MAX,
        range_keys_left: RANGE_KEYS_MAX,
        range_bytes_left: RANGE_BYTES_MAX,
    };
    let (succeeded, results) = match run.branch(txn) {
        Ok(done) => done,
        Err(Stop::Fault(error)) => return Err(error),
        Err(Stop::TooLarge(outcome)) => return Ok(outcome.into()),
    };
    let Run { edits, reads, .. } = run;
    let revision = kv::commit(registers, batch, edits.into_values().collect::<Vec<_>>());
    let kept = Outcome::Txn(TxnOutcome { succeeded, revision, results });
    Ok(Answer { kept, reads })
}

/// Removes the first `limit` keys of `range`.
pub fn delete_range(
    registers: &mut Registers,
    store: &impl Rows,
    batch: &mut Batch,
    range: &KeyRange,
    limit: u64,
) -> Result<Outcome> {
    let keys_max = limit.clamp(1, RANGE_KEYS_MAX) as usize;
    let mut bytes_left = RANGE_BYTES_MAX;
    let (mut edits, mut more) = (Vec::new(), false);
    for edit in kv::removals(registers, store, range)? {
        let edit = edit?;
        let bytes = edit.bytes_before();
        more = edits.len() == keys_max || (bytes > bytes_left && !edits.is_empty());
        if more {
            break;
        }
        bytes_left = bytes_left.saturating_sub(bytes);
        edits.push(edit);
    }
    let deleted = edits.len() as u64;
    let revision = kv::commit(registers, batch, edits);
    Ok(Outcome::DeletedRange { revision, deleted, more })
}

/// Without the key of the fault: a stored outcome is short.
fn words(fault: &TxnFault) -> String {
    match fault {
        TxnFault::DuplicateKey(_) => "a transaction changes each key at most once".into(),
        TxnFault::TooMany { what, limit } => format!("more than {limit} {what}"),
    }
}

/// Why a transaction is given up.
enum Stop {
    Fault(StorageError),
    TooLarge(Outcome),
}

type Step<T> = std::result::Result<T, Stop>;

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Fault(error)
    }
}

/// A transaction under way: what it would change, and what it has read.
struct Run<'a, R> {
    registers: &'a Registers,
    store: &'a R,
    edits: BTreeMap<Bytes, Edit>,
    /// One for each `GotAt` of the results, in their order: the same, or what was got.
    reads: Vec<OpOutcome>,
    answer_bytes_left: usize,
    range_keys_left: u64,
    range_bytes_left: usize,
}

impl<R: Rows> Run<'_, R> {
    fn branch(&mut self, txn: Txn) -> Step<(bool, Vec<OpOutcome>)> {
        let Txn { when, then, or_else } = txn;
        let mut succeeded = true;
        for compare in &when {
            succeeded = succeeded && self.holds(compare)?;
        }
        let ops = if succeeded { then } else { or_else };
        let results: Step<_> = ops.into_iter().map(|op| self.step(op)).collect();
        Ok((succeeded, results?))
    }

    fn step(&mut self, op: Op) -> Step<OpOutcome> {
        Ok(match op {
            Op::Get { key } => self.get(key)?,
            Op::Put { key, value } => {
                let before = kv::current(self.registers, self.store, &key)?;
                let version = before.as_ref().map_or(0, kv::Current::version).saturating_add(1);
                let previous = self.edit(Edit::put(key, before, value));
                OpOutcome::Put { version, previous }
            }
            Op::Delete { key } => {
                let before = kv::current(self.registers, self.store, &key)?;
                let edit = before.map(|before| Edit::delete(key, before));
                OpOutcome::Deleted { previous: edit.and_then(|edit| self.edit(edit)) }
            }
            Op::DeleteRange { range } => {
                OpOutcome::DeletedRange { deleted: self.delete_range(&range)? }
            }
            Op::Txn(inner) => {
                let (succeeded, results) = self.branch(*inner)?;
                OpOutcome::Txn { succeeded, results }
            }
        })
    }

    /// Takes an edit in; returns the revision that it supersedes.
    fn edit(&mut self, edit: Edit) -> Option<Revision> {
        let previous = edit.previous();
        self.edits.insert(edit.key().clone(), edit);
        previous
    }

    fn get(&mut self, key: Bytes) -> Result<OpOutcome> {
        let (revision, version) = self.look(&key)?;
        let later = OpOutcome::GotAt(revision);
        let bytes = version.as_ref().map_or(0, |version| key.len() + version.value.len());
        self.reads.push(match self.answer_bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.answer_bytes_left = left;
                OpOutcome::Got(version.map(|version| version.with_key(key)))
            }
            None => later.clone(),
        });
        Ok(later)
    }

    fn delete_range(&mut self, range: &KeyRange) -> Step<u64> {
        let mut deleted = 0;
        let removals = kv::removals(self.registers, self.store, range)?;
        for edit in removals {
            let edit = edit?;
            let too_large = |limit, bytes| Stop::TooLarge(Outcome::RangeTooLarge { limit, bytes });
            let keys_left = self.range_keys_left.checked_sub(1);
            self.range_keys_left = keys_left.ok_or_else(|| too_large(RANGE_KEYS_MAX, false))?;
            let bytes_left = self.range_bytes_left.checked_sub(edit.bytes_before());
            self.range_bytes_left =
                bytes_left.ok_or_else(|| too_large(RANGE_BYTES_MAX as u64, true))?;
            self.edits.insert(edit.key().clone(), edit);
            deleted += 1;
        }
        Ok(deleted)
    }

    /// The key as it stands now, and at which revision a later reader finds it so.
    fn look(&self, key: &Bytes) -> Result<(Revision, Option<Version>)> {
        let before = self.registers.revision;
        if let Some(edit) = self.edits.get(key) {
            return Ok((before.next(), edit.after(before.next())));
        }
        let current = kv::current(self.registers, self.store, key)?;
        Ok((before, current.map(kv::Current::into_version)))
    }

    fn holds(&self, compare: &Compare) -> Result<bool> {
        let Compare { key, target, relation } = compare;
        let (_, found) = self.look(key)?;
        let found = found.as_ref();
        Ok(match target {
            Target::Version(version) => {
                relation.holds(&found.map_or(0, |found| found.version), version)
            }
            Target::CreateRevision(revision) => {
                relation.holds(&found.map_or(Revision(0), |found| found.create_revision), revision)
            }
            Target::ModRevision(revision) => {
                relation.holds(&found.map_or(Revision(0), |found| found.mod_revision), revision)
            }
            Target::Value(value) => found.is_some_and(|found| relation.holds(&found.value, value)),
        })
    }
}
