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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::Machine;
    use super::*;
    use crate::codec;
    use crate::command::{Command, Op};
    use crate::storage::Row;
    use crate::types::{KeyRange, LogIndex};
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[derive(Default)]
    struct Store(BTreeMap<(Space, Bytes), Bytes>);

    impl Rows for Store {
        fn get(&self, space: Space, key: &Bytes) -> Result<Option<Bytes>> {
            Ok(self.0.get(&(space, key.clone())).cloned())
        }

        fn scan(
            &self,
            space: Space,
            start: Bound<&[u8]>,
            end: Bound<&[u8]>,
        ) -> Result<Box<dyn Iterator<Item = Result<Row>> + '_>> {
            let bound = |bound: Bound<&[u8]>| bound.map(|key| (space, Bytes::copy_from_slice(key)));
            let rows = self.0.range((bound(start), bound(end)));
            Ok(Box::new(rows.map(|((_, key), row)| Ok((key.clone(), row.clone())))))
        }
    }

    #[derive(Default)]
    struct Replica {
        machine: Machine,
        store: Store,
        index: u64,
        stamp: u64,
    }

    impl Replica {
        fn try_apply(&mut self, op: Op) -> Result<Outcome> {
            self.index += 1;
            let command = codec::encode(&Command { request: None, op });
            let mut batch = Batch::default();
            let Self { machine, store, index, stamp } = self;
            let outcome =
                machine.apply(store, &mut batch, LogIndex(*index), *stamp, Some(&command))?;
            self.take(batch);
            Ok(outcome)
        }

        fn take(&mut self, batch: Batch) {
            for change in batch.changes {
                let at = (change.space, change.key);
                let before = match change.new {
                    Some(row) => self.store.0.insert(at, row),
                    None => self.store.0.remove(&at),
                };
                assert_eq!(before, change.old, "a change says truly what it replaces");
            }
        }

        fn apply(&mut self, op: Op) -> Outcome {
            self.try_apply(op).unwrap()
        }

        fn put(&mut self, key: &'static str, value: impl Into<Bytes>) {
            self.apply(Op::Put { key: key.into(), value: value.into() });
        }

        fn compact(&mut self, upto: u64) -> Outcome {
            self.apply(Op::Compact { upto: Revision(upto) })
        }

        fn sweep(&mut self, limit: u64) -> (u64, bool) {
            match self.apply(Op::Sweep { limit }) {
                Outcome::Swept { upto, more } => (upto.0, more),
                other => panic!("{other:?}"),
            }
        }

        fn count(&self, space: Space) -> usize {
            self.store.0.keys().filter(|(found, _)| *found == space).count()
        }
    }

    #[test]
    fn the_compacted_revision_rises_to_what_there_is_and_never_falls() {
        let mut replica = Replica::default();
        for value in ["1", "2", "3"] {
            replica.put("k", value);
        }
        assert_eq!(replica.compact(2), Outcome::Compacted(Revision(2)));
        assert_eq!(replica.compact(1), Outcome::Compacted(Revision(2)));
        assert_eq!(replica.compact(u64::MAX), Outcome::Compacted(Revision(3)));
        assert_eq!(replica.machine.registers.revision, Revision(3));
        assert_eq!(replica.count(Space::Changes), 3, "nothing is swept yet");
    }

    #[test]
    fn a_step_takes_what_the_oldest_revisions_left_behind() {
        let mut replica = Replica::default();
        assert_eq!(replica.sweep(9), (0, false), "there is nothing");
        for value in ["1", "2", "3", "4"] {
            replica.put("k", value);
        }
        replica.apply(Op::Delete { key: "k".into() });
        replica.put("k", "6");
        assert_eq!(replica.sweep(9), (0, false), "nothing is compacted");
        replica.compact(5);
        assert_eq!(replica.sweep(0), (0, true));
        assert_eq!(replica.sweep(3), (3, true));
        assert_eq!((replica.count(Space::Changes), replica.count(Space::History)), (3, 3));
        assert_eq!(replica.sweep(u64::MAX), (5, false));
        assert_eq!((replica.count(Space::Changes), replica.count(Space::History)), (1, 0));
        assert_eq!(replica.count(Space::Kv), 1);
        assert_eq!(replica.sweep(9), (5, false), "as often as one likes");
    }

    #[test]
    fn a_step_is_bounded_in_revisions_rows_and_bytes_but_takes_one_revision_whole() {
        let mut replica = Replica::default();
        for number in 0..SWEEP_REVISIONS_MAX + 5 {
            replica.put("small", number.to_string());
        }
        replica.compact(u64::MAX);
        assert_eq!(replica.sweep(u64::MAX), (SWEEP_REVISIONS_MAX, true));
        assert_eq!(replica.sweep(u64::MAX), (SWEEP_REVISIONS_MAX + 5, false));

        let mut replica = Replica::default();
        for _ in 0..10 {
            replica.put("large", vec![7; SWEEP_BYTES_MAX / 2]);
        }
        replica.compact(u64::MAX);
        assert_eq!(replica.sweep(9), (3, true), "two superseded values are in the bound");
        assert_eq!(replica.sweep(9), (5, true));

        // One revision that changed more keys than a step has rows.
        let mut replica = Replica::default();
        let keys = SWEEP_ROWS_MAX as u64;
        for number in 0..keys {
            let key = Bytes::from(number.to_string());
            replica.apply(Op::Put { key, value: Bytes::new() });
        }
        let range =
            KeyRange { start: Bound::Included("0".into()), end: Bound::Excluded(":".into()) };
        replica.apply(Op::DeleteRange { range, limit: u64::MAX });
        assert_eq!(replica.count(Space::Kv), 0, "under one revision");
        replica.compact(u64::MAX);
        while replica.machine.registers.swept_revision < Revision(keys) {
            replica.sweep(u64::MAX);
        }
        assert_eq!(replica.count(Space::History), 2 * SWEEP_ROWS_MAX);
        assert_eq!(replica.sweep(1), (keys + 1, false));
        assert_eq!(replica.count(Space::History), 0);
    }

    #[test]
    fn a_row_that_is_missing_halts_the_replica() {
        for space in [Space::Changes, Space::History] {
            let mut replica = Replica::default();
            for value in ["1", "2", "3"] {
                replica.put("k", value);
            }
            replica.compact(3);
            let lost = replica.store.0.keys().find(|(found, _)| *found == space).unwrap().clone();
            replica.store.0.remove(&lost);
            let error = replica.try_apply(Op::Sweep { limit: 9 }).unwrap_err();
            assert!(error.to_string().contains("missing"), "{error}");
        }
    }

    /// Leaders stamp what their monotonic clocks say; nothing else moves the age of a revision.
    #[test]
    fn history_ages_by_the_stamps_alone_and_never_backwards() {
        const HOUR: u64 = 3_600_000;
        let mut replica = Replica::default();
        let age = Duration::from_millis(HOUR);
        let old = |replica: &Replica, now| {
            replica.machine.registers.older_than(age, super::super::clock::ClusterClock::at(now))
        };
        for minute in 0..60 {
            replica.stamp = minute * 60_000;
            replica.put("k", minute.to_string());
        }
        let last = replica.stamp;
        // A new leader whose clock is an hour behind, and one that begins at zero.
        for stamp in [0, 5, last - HOUR / 2] {
            replica.stamp = stamp;
            replica.put("k", "from the past");
            assert_eq!(old(&replica, last), None, "nothing is an hour old");
        }
        assert_eq!(replica.machine.registers.clock.millis(), last);
        let (early, late) = (old(&replica, HOUR), old(&replica, HOUR + 120_000));
        assert_eq!((early, late), (Some(Revision(0)), Some(Revision(2))), "two minutes in");
        // Nothing is written any more: all of it is old in the end.
        assert_eq!(old(&replica, last + HOUR - 1), Some(Revision(58)));
        assert_eq!(old(&replica, last + HOUR), Some(Revision(63)));
        // The same when commands go on that change nothing, and move time.
        for stamp in [last + HOUR, last + HOUR + HOUR / 2] {
            replica.stamp = stamp;
            replica.apply(Op::Delete { key: "absent".into() });
        }
        assert_eq!(old(&replica, last + HOUR + HOUR / 2), Some(Revision(59)));
        assert_eq!(old(&replica, last + 2 * HOUR), Some(Revision(63)));
    }
}
