//! Hashes that are noted, and scrubs of the base against them.

use crate::support::{Replica, anyone, config, put, simulate, story};
use axon_core::command::{Command, Comparison, Noted, Op, Report};
use axon_core::error::StorageError;
use axon_core::state::{Note, Scrub, StateConfig};
use axon_core::storage::memory::MemState;
use axon_core::storage::{RowChange, Space, StateStore};
use axon_core::testing::tamper::tamper;
use axon_core::types::{LogIndex, NodeId};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// A story in which hashes are noted every now and then.
fn noted_story() -> Vec<Command> {
    let mut commands = Vec::new();
    for (at, command) in story(60).into_iter().enumerate() {
        commands.push(command);
        if at % 7 == 3 {
            commands.push(anyone(Op::NoteHash));
        }
    }
    commands
}

#[test]
fn what_is_noted_depends_on_the_log_and_not_on_batches_checkpoints_and_restarts() {
    simulate(async {
        let commands = noted_story();
        let indexes: Vec<u64> = (1..)
            .zip(&commands)
            .filter(|(_, command)| command.op == Op::NoteHash)
            .map(|(index, _)| index)
            .collect();
        let last: Vec<u64> = indexes[indexes.len() - 3..].to_vec();
        let mut found: Vec<Vec<Note>> = Vec::new();
        for (batch, checkpoints) in [(1, false), (1, true), (5, false), (16, true), (999, false)] {
            let store = MemState::new();
            let mut replica = Replica::open(store.clone()).unwrap();
            for (at, chunk) in commands.chunks(batch).enumerate() {
                replica.apply(chunk);
                if checkpoints {
                    replica.checkpoint().await;
                }
                // It starts again from its last checkpoint, some time before the last notes.
                let early = (at + 2) * batch < last[0] as usize;
                if checkpoints && early && at % 2 == 1 {
                    drop(replica);
                    replica = Replica::open(store.clone()).unwrap();
                }
            }
            let reader = replica.reader();
            let notes = last.iter().map(|index| reader.note_at(LogIndex(*index)).unwrap());
            found.push(notes.collect());
            assert_eq!(reader.last_note().unwrap().index.0, *last.last().unwrap());
        }
        assert!(found.iter().all(|notes| *notes == found[0]), "{found:#?}");
        let hashes: std::collections::BTreeSet<u128> =
            found[0].iter().map(|note| note.hash).collect();
        assert_eq!(hashes.len(), last.len(), "each state has its own hash");
    });
}

#[test]
fn a_note_is_the_hash_of_what_is_applied_and_changes_nothing() {
    simulate(async {
        let mut replica = Replica::open(MemState::new()).unwrap();
        replica.apply(&story(20));
        let before = replica.reader().view().totals();
        replica.apply(&[anyone(Op::NoteHash)]);
        let view = replica.reader().view();
        assert_eq!(view.totals(), before);
        let note = replica.reader().last_note().unwrap();
        let expected = (view.position().index, view.revision(), before.hash);
        assert_eq!((note.index, note.revision, note.hash), expected);

        // Of the many that were made, some are kept.
        replica.apply(&vec![anyone(Op::NoteHash); 40]);
        assert_eq!(replica.reader().note_at(note.index), None);
        assert!(replica.reader().note_at(view.position().index.next()).is_none());
    });
}

#[test]
fn a_comparison_is_told_and_changes_nothing() {
    simulate(async {
        let mut replica = Replica::open(MemState::new()).unwrap();
        replica.apply(&story(20));
        let before = replica.reader().view().totals();
        let mut compared = replica.reader().compared();
        assert_eq!(*compared.borrow_and_update(), None);
        let report = Report { id: NodeId(1), votes: true, said: Noted::Hash(before.hash) };
        let comparison = Comparison { index: LogIndex(9), reports: vec![report] };
        replica.apply(&[anyone(Op::CompareHashes(comparison.clone()))]);
        assert!(compared.has_changed().unwrap());
        assert_eq!(*compared.borrow(), Some(comparison));
        assert_eq!(replica.reader().view().totals(), before);
    });
}

/// Scrubs the base in steps of `bytes`; how many there were.
fn scrub(replica: &Replica, bytes: u64) -> Result<usize, StorageError> {
    let mut scrub = Scrub::begin(&replica.reader()).unwrap();
    for steps in 1.. {
        if scrub.step(bytes)? {
            let totals = replica.reader().view().totals();
            let all = (totals.rows.iter().sum(), totals.bytes.iter().sum());
            assert_eq!(scrub.read(), all, "all was read");
            return Ok(steps);
        }
    }
    unreachable!("a scrub ends")
}

#[test]
fn a_scrub_reads_all_of_one_base_in_steps_while_the_state_goes_on() {
    simulate(async {
        let mut replica = Replica::open(MemState::new()).unwrap();
        assert!(Scrub::begin(&replica.reader()).is_none(), "there is nothing yet");
        replica.apply(&story(60));
        assert!(Scrub::begin(&replica.reader()).is_none(), "the overlay is no base");
        let first = replica.checkpoint().await;
        let (one, few, many) =
            (scrub(&replica, 1), scrub(&replica, 500), scrub(&replica, u64::MAX));
        let rows: u64 = replica.reader().view().totals().rows.iter().sum();
        assert_eq!(one, Ok(rows as usize + 1));
        assert!(few.unwrap() > 5);
        assert_eq!(many, Ok(1));

        let mut under_way = Scrub::begin(&replica.reader()).unwrap();
        assert!(!under_way.step(500).unwrap());
        replica.apply(&[put("key-1", "later"), put("a", "new")]);
        let second = replica.checkpoint().await;
        while !under_way.step(500).unwrap() {}
        assert_eq!(*under_way.position(), first, "of the base that it began with");
        scrub(&replica, 500).unwrap();
        assert_ne!(first, second);
    });
}

/// Every row of the base that the hash is over.
fn all_rows(store: &MemState) -> Vec<(Space, Bytes)> {
    let view = store.view().unwrap();
    let mut rows = Vec::new();
    for space in [Space::Kv, Space::History, Space::Changes, Space::Sessions] {
        let found = view.scan(space, Bound::Unbounded, Bound::Unbounded, false).unwrap();
        rows.extend(found.map(|row| (space, row.unwrap().0)));
    }
    rows
}

#[test]
fn a_scrub_finds_every_row_that_is_changed_with_a_checksum_that_fits_or_missing() {
    simulate(async {
        let store = MemState::new();
        let mut replica = Replica::open(store.clone()).unwrap();
        replica.apply(&story(60));
        replica.checkpoint().await;
        drop(replica);
        let rows = all_rows(&store);
        assert!(rows.len() > 60);
        for (space, key) in rows {
            let sealed = store.view().unwrap().get(space, &key).unwrap();
            let commit = |value| {
                let change = RowChange { space, key: key.clone(), value };
                store.commit(&mut [change].into_iter()).unwrap();
            };
            for missing in [false, true] {
                if missing {
                    commit(None);
                } else {
                    assert!(tamper(&store, space, &key, 3).unwrap());
                }
                let unscrubbed = StateConfig { scrub_bytes_max: 0, ..config() };
                let opened = Replica::open_with(Arc::new(store.clone()), unscrubbed);
                let found = opened.and_then(|replica| scrub(&replica, 500));
                let refused = matches!(found, Err(StorageError::Corrupt { .. }));
                assert!(refused, "{space:?} {key:?}, missing: {missing}: {found:?}");
            }
            commit(sealed);
        }
        assert!(Replica::open(store).unwrap().reader().was_scrubbed_at_open());
    });
}
