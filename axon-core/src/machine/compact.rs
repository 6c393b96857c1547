//! Compaction: how the past is forgotten, first in word, then step by step in deed.
//!
//! [`compact`] raises the compacted revision: from then on reads and watches below it are refused.
//! [`sweep`] takes away, a few revisions at a time, what they left behind. Invariants:
//!
//! * a read at the compacted revision or above finds what it would have found without compaction:
//!   only a version that was superseded at or below it goes, or a tombstone that stands at or below
//!   it, and no older version outlives the tombstone that hides it;
//! * the change records above the swept revision are all there, one a revision; the rows that they
//!   name are too, since each of them is taken by one revision alone. One that is missing is damage;
//! * a step is bounded in revisions, rows and bytes, whatever was asked for; only the first revision
//!   of a step is taken whole, however much it changed.
//!
//! What a step takes depends on the rows alone. It reads each row before it deletes it, because the
//! state's hash subtracts it.

use super::rows::{self, Kind};
use super::{Batch, Registers, Rows, corrupt};
use crate::command::Outcome;
use crate::storage::{Result, Space};
use crate::types::Revision;
use bytes::Bytes;
use std::ops::Bound;

/// Revisions that one step sweeps at most.
pub const SWEEP_REVISIONS_MAX: u64 = 1_000;
/// Rows after which a step ends with the revision that it is at.
pub const SWEEP_ROWS_MAX: usize = 4_000;
/// Bytes of rows and keys after which a step ends with the revision that it is at.
pub const SWEEP_BYTES_MAX: usize = 4 << 20;

/// Forgets the history up to and with `upto`, as far as there is any.
pub fn compact(registers: &mut Registers, upto: Revision) -> Outcome {
    let upto = upto.min(registers.revision);
    if upto > registers.compacted_revision {
        registers.compacted_revision = upto;
        registers.marks.forget_below(upto);
    }
    Outcome::Compacted(registers.compacted_revision)
}

/// Takes away what the next `limit` revisions up to the compacted one left behind.
///
/// # Errors
/// A row that cannot be read, or is not there: the replica halts.
pub fn sweep(
    registers: &mut Registers,
    store: &impl Rows,
    batch: &mut Batch,
    limit: u64,
) -> Result<Outcome> {
    let compacted = registers.compacted_revision;
    let first = registers.swept_revision.next();
    if first > compacted {
        return Ok(Outcome::Swept { upto: registers.swept_revision, more: false });
    }
    let (start, end) = (rows::number_key(first.0), rows::number_key(compacted.0));
    let mut changes = store.scan(
        Space::Changes,
        Bound::Included(start.as_ref()),
        Bound::Included(end.as_ref()),
    )?;
    let mut step = Step { store, batch, rows: 0, bytes: 0 };
    for revision in (first.0..=compacted.0).take(limit.min(SWEEP_REVISIONS_MAX) as usize) {
        let Some(row) = changes.next() else { return Err(missing("a changes row")) };
        let (key, row) = row?;
        if rows::number(&key)? != revision {
            return Err(missing("a changes row"));
        }
        for change in rows::changes(&row)? {
            if let Some(previous) = change.previous {
                step.take_history(&change.key, previous)?;
            }
            if change.kind == Kind::Delete {
                step.take_history(&change.key, Revision(revision))?;
            }
        }
        step.take(Space::Changes, key, row);
        registers.swept_revision = Revision(revision);
        if step.is_full() {
            break;
        }
    }
    let upto = registers.swept_revision;
    Ok(Outcome::Swept { upto, more: upto < compacted })
}

fn missing(what: &str) -> crate::error::StorageError {
    corrupt(what, "it is missing above the swept revision")
}

/// What a step has taken so far.
struct Step<'a, R> {
    store: &'a R,
    batch: &'a mut Batch,
    rows: usize,
    bytes: usize,
}

impl<R: Rows> Step<'_, R> {
    fn take_history(&mut self, key: &[u8], revision: Revision) -> Result<()> {
        let key = self.batch.row(rows::history_key_bytes_max(key.len()), |out| {
            rows::put_history_key(out, key, revision);
        });
        let Some(row) = self.store.get(Space::History, &key)? else {
            return Err(missing("a history row"));
        };
        self.take(Space::History, key, row);
        Ok(())
    }

    fn take(&mut self, space: Space, key: Bytes, row: Bytes) {
        self.rows += 1;
        self.bytes += key.len() + row.len();
        self.batch.change(space, key, Some(row), None);
    }

    fn is_full(&self) -> bool {
        self.rows >= SWEEP_ROWS_MAX || self.bytes >= SWEEP_BYTES_MAX
    }
}
