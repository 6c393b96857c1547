//! Compaction: what it takes, step by step, and when.

use super::Replica;
use axon_core::codec;
use axon_core::command::{Command, Op, Outcome};
use axon_core::machine::clock::ClusterClock;
use axon_core::machine::compact::{SWEEP_BYTES_MAX, SWEEP_REVISIONS_MAX, SWEEP_ROWS_MAX};
use axon_core::storage::{Result, Space};
use axon_core::types::{KeyRange, Revision};
use bytes::Bytes;
use std::time::Duration;

impl Replica {
    fn try_apply(&mut self, op: Op) -> Result<Outcome> {
        self.apply_bytes(Some(&codec::encode(&Command { request: None, op })))
    }

    fn put(&mut self, key: &'static str, value: impl Into<Bytes>) {
        self.apply(None, Op::Put { key: key.into(), value: value.into() });
    }

    fn compact(&mut self, upto: u64) -> Outcome {
        self.apply(None, Op::Compact { upto: Revision(upto) })
    }

    /// Up to where it has swept then, and whether there is more.
    fn sweep(&mut self, limit: u64) -> (u64, bool) {
        match self.apply(None, Op::Sweep { limit }) {
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
    replica.apply(None, Op::Delete { key: "k".into() });
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
        replica.apply(None, Op::Put { key, value: Bytes::new() });
    }
    replica.apply(None, Op::DeleteRange { range: KeyRange::all(), limit: u64::MAX });
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
    let old =
        |replica: &Replica, now| replica.machine.registers.older_than(age, ClusterClock::at(now));
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
        replica.apply(None, Op::Delete { key: "absent".into() });
    }
    assert_eq!(old(&replica, last + HOUR + HOUR / 2), Some(Revision(59)));
    assert_eq!(old(&replica, last + 2 * HOUR), Some(Revision(63)));
}
