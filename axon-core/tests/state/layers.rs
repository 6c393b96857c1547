//! Reads through the layers, and what batches and checkpoints must not change.

use crate::support::{Replica, anyone, config, delete, put, rows, simulate, story};
use axon_core::command::{Command, Op};
use axon_core::error::StorageError;
use axon_core::state::{StateConfig, StateEntry, scrub};
use axon_core::storage::memory::MemState;
use axon_core::storage::{RowChange, Space, StateStore};
use axon_core::types::{KeyRange, KeyValue, LogIndex, RequestId, Revision, SessionId};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Bound;
use std::sync::Arc;

fn keys(pairs: &[KeyValue]) -> String {
    pairs.iter().map(|pair| String::from_utf8_lossy(&pair.key)).collect::<Vec<_>>().join(" ")
}

#[test]
fn reads_merge_the_base_the_frozen_and_the_active_overlay() {
    simulate(async {
        let mut replica = Replica::open(MemState::new()).unwrap();
        replica.apply(&[put("a", "1"), put("b", "1"), put("c", "1"), put("d", "1")]);
        replica.checkpoint().await;
        // The log holds this checkpoint up: its overlay stays frozen.
        replica.durable.send_replace(LogIndex(0));
        replica.apply(&[put("b", "2"), delete("c"), put("e", "2")]);
        let checkpointer = replica.state.checkpointer();
        let waiting = tokio::spawn(async move { checkpointer.checkpoint_now().await });
        crate::support::settle().await;
        assert!(!waiting.is_finished());
        replica.apply(&[put("c", "3"), delete("d"), put("aa", "3"), delete("e")]);

        let view = replica.reader().view();
        let all = view.page(&KeyRange::all(), 100, 1 << 20).unwrap();
        assert_eq!(keys(&all), "a aa b c");
        for pair in &all {
            assert_eq!(view.get(&pair.key).unwrap().as_ref(), Some(pair));
        }
        let c = &all[3];
        assert_eq!((c.version, c.create_revision, &c.value[..]), (1, Revision(8), &b"3"[..]));
        assert_eq!(view.get(b"d").unwrap(), None);
        assert_eq!(view.get(b"e").unwrap(), None);
        assert_eq!(view.revision(), Revision(11));
        replica.durable.send_replace(LogIndex(u64::MAX));
        waiting.await.unwrap().unwrap();
        let after = replica.reader().view();
        assert_eq!(rows(&after).unwrap(), rows(&view).unwrap());
    });
}

#[test]
fn a_page_keeps_its_range_and_its_limits() {
    simulate(async {
        let mut replica = Replica::open(MemState::new()).unwrap();
        replica.apply(&["a", "b", "ba", "bb", "c"].map(|key| put(key, "12345678")));
        let view = replica.reader().view();
        let page = |range: &KeyRange, items, bytes| keys(&view.page(range, items, bytes).unwrap());
        assert_eq!(page(&KeyRange::prefix("b"), 9, 999), "b ba bb");
        assert_eq!(page(&KeyRange::prefix("b"), 2, 999), "b ba");
        assert_eq!(page(&KeyRange::prefix("b"), 9, 19), "b ba");
        assert_eq!(page(&KeyRange::all(), 9, 0), "a", "one, however large");
        assert_eq!(page(&KeyRange::all(), 0, 999), "");
        let rest = KeyRange { start: Bound::Excluded("b".into()), end: Bound::Unbounded };
        assert_eq!(page(&rest, 9, 999), "ba bb c");
        let inverted =
            KeyRange { start: Bound::Included("c".into()), end: Bound::Included("a".into()) };
        assert_eq!(page(&inverted, 9, 999), "");
    });
}

#[test]
fn a_view_stays_as_it_was_while_apply_and_checkpoints_go_on() {
    simulate(async {
        let mut replica = Replica::open(MemState::new()).unwrap();
        let mut held = Vec::new();
        for (place, commands) in story(600).chunks(29).enumerate() {
            replica.apply(commands);
            let view = replica.reader().view();
            held.push((rows(&view).unwrap(), view));
            if place % 4 == 3 {
                replica.checkpoint().await;
            }
        }
        for (rows_then, view) in &held {
            assert_eq!(&rows(view).unwrap(), rows_then);
        }
        assert!(replica.reader().metrics().checkpoints >= 5);
    });
}

#[test]
fn a_batch_is_seen_whole_and_then_announced() {
    simulate(async {
        let mut replica = Replica::open(MemState::new()).unwrap();
        let before = replica.reader().view();
        let mut applied = replica.reader().applied();
        applied.mark_unchanged();
        replica.apply(&[put("a", "1"), put("b", "1")]);
        assert!(applied.has_changed().unwrap());
        assert_eq!(*applied.borrow(), LogIndex(2));
        assert_eq!(before.page(&KeyRange::all(), 9, 999).unwrap(), []);
        assert_eq!(replica.reader().view().position().index, LogIndex(2));
    });
}

#[test]
fn entries_out_of_order_are_refused_for_good() {
    for (index, ends) in [(1, 1), (3, 3), (2, 3)] {
        simulate(async {
            let mut replica = Replica::open(MemState::new()).unwrap();
            replica.apply(&[put("a", "1")]);
            let entry = StateEntry { index: LogIndex(index), stamp_millis: 0, command: None };
            let position = crate::support::position(ends);
            let refused = replica.state.apply(&[entry], position).unwrap_err();
            assert!(matches!(refused, StorageError::Mismatch { .. }));
            assert_eq!(replica.try_apply(&[put("b", "1")]), Err(refused));
        });
    }
}

#[test]
fn a_row_that_was_changed_below_halts_the_replica() {
    simulate(async {
        let store = MemState::new();
        let mut replica = Replica::open(store.clone()).unwrap();
        replica.apply(&[put("a", "1"), put("b", "1")]);
        replica.checkpoint().await;
        let sound = store.view().unwrap().get(Space::Kv, b"a").unwrap().unwrap();
        drop(replica);
        let key = Bytes::from_static(b"b");
        let change = RowChange { space: Space::Kv, key, value: Some(sound) };
        store.commit(&mut [change].into_iter()).unwrap();
        let error = Replica::open(store.clone()).err().unwrap();
        assert!(matches!(error, StorageError::Corrupt { .. }), "scrubbed at open");

        let unscrubbed = StateConfig { scrub_bytes_max: 0, ..config() };
        let mut replica = Replica::open_with(Arc::new(store), unscrubbed).unwrap();
        let view = replica.reader().view();
        assert_eq!(view.get(b"a").unwrap().unwrap().value, "1");
        let error = view.get(b"b").unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }));
        assert_eq!(*replica.reader().faults().borrow(), Some(error.clone()));
        assert_eq!(replica.try_apply(&[put("c", "1")]), Err(error));
    });
}

#[test]
fn a_missing_row_is_found_at_open() {
    simulate(async {
        for space in Space::ALL {
            let store = MemState::new();
            let mut replica = Replica::open(store.clone()).unwrap();
            replica.apply(&story(50));
            replica.checkpoint().await;
            drop(replica);
            let view = store.view().unwrap();
            let mut rows = view.scan(space, Bound::Unbounded, Bound::Unbounded, false).unwrap();
            let (key, _) = rows.next().unwrap().unwrap();
            drop(rows);
            store.commit(&mut [RowChange { space, key, value: None }].into_iter()).unwrap();
            let error = Replica::open(store).err().unwrap();
            assert!(matches!(error, StorageError::Corrupt { .. }), "{space:?}");
        }
    });
}

fn any_command() -> impl Strategy<Value = Command> {
    let op = (0_u8..12, proptest::option::weighted(0.8, 0_usize..300)).prop_map(|(key, value)| {
        let key = Bytes::from(vec![b'k', key]);
        match value {
            Some(value) => Op::Put { key, value: Bytes::from(vec![7; value]) },
            None => Op::Delete { key },
        }
    });
    (op, proptest::option::of(1_u64..40)).prop_map(|(op, sequence)| {
        let request = sequence.map(|sequence| RequestId {
            session: SessionId(1),
            sequence,
            lowest_unacknowledged: sequence.saturating_sub(10),
        });
        Command { request, op }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 48, ..ProptestConfig::default()
    })]

    /// However entries are batched, and wherever checkpoints and restarts fall: the same rows, the
    /// same hash, and the hash is that of the rows.
    #[test]
    fn batches_checkpoints_and_restarts_leave_no_trace(
        commands in vec(any_command(), 1..60),
        steps in vec((1_usize..9, 0_u8..8), 60),
    ) {
        simulate(async {
            let commands: Vec<_> =
                std::iter::once(anyone(Op::OpenSession)).chain(commands).collect();
            let mut whole = Replica::open(MemState::new()).unwrap();
            let expected = whole.apply(&commands);

            let store = MemState::new();
            let mut replica = Replica::open(store.clone()).unwrap();
            let (mut rest, mut outcomes) = (commands.as_slice(), Vec::new());
            for (count, event) in steps {
                let (batch, later) = rest.split_at(count.min(rest.len()));
                if batch.is_empty() {
                    break;
                }
                outcomes.extend(replica.apply(batch));
                rest = later;
                if event < 2 {
                    replica.checkpoint().await;
                }
                if event == 0 {
                    drop(replica);
                    replica = Replica::open(store.clone()).unwrap();
                }
            }
            if !rest.is_empty() {
                outcomes.extend(replica.apply(rest));
            }
            assert_eq!(outcomes, expected);
            let (view, whole_view) = (replica.reader().view(), whole.reader().view());
            assert_eq!(rows(&view).unwrap(), rows(&whole_view).unwrap());
            assert_eq!(replica.reader().hash(), whole.reader().hash());
            assert_eq!(view.totals(), whole_view.totals());
            replica.checkpoint().await;
            assert_eq!(scrub(&*store.view().unwrap()).unwrap(), view.totals());
        });
    }
}
