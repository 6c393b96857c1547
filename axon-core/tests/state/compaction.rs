//! What is compacted and swept is gone, all else is as it was; and the bytes of history are counted.

use crate::support::{Map, Replica, anyone, config, delete, put, rows, simulate, story};
use axon_core::command::{Command, Op, Outcome};
use axon_core::machine::Registers;
use axon_core::machine::rows::{history_key, number};
use axon_core::state::transfer::{SnapshotSink, SnapshotSource};
use axon_core::state::{StateConfig, Totals, View, scrub};
use axon_core::storage::memory::MemState;
use axon_core::storage::{RowChange, Space, StateStore};
use axon_core::types::Revision;
use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// A key's past: by revision, its value or that it was removed.
type Past = BTreeMap<u64, Option<Bytes>>;

/// A store that forgets nothing.
#[derive(Default)]
struct Model {
    revision: u64,
    compacted: u64,
    swept: u64,
    keys: BTreeMap<Bytes, Past>,
}

impl Model {
    fn run(&mut self, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (Op::Put { key, value }, Outcome::Put { revision, .. }) => {
                self.change(key, *revision, Some(value.clone()));
            }
            (Op::Delete { key }, Outcome::Deleted { revision, previous: Some(_) }) => {
                self.change(key, *revision, None);
            }
            (Op::Delete { key }, Outcome::Deleted { previous: None, .. }) => {
                assert_eq!(self.at(key, self.revision), None, "it was there");
            }
            (Op::Compact { upto }, Outcome::Compacted(compacted)) => {
                self.compacted = self.compacted.max(upto.0.min(self.revision));
                assert_eq!(compacted.0, self.compacted);
            }
            (Op::Sweep { limit }, Outcome::Swept { upto, more }) => {
                self.swept = self.compacted.min(self.swept + limit);
                assert_eq!((upto.0, *more), (self.swept, self.swept < self.compacted));
            }
            other => panic!("{other:?}"),
        }
    }

    fn change(&mut self, key: &Bytes, revision: Revision, value: Option<Bytes>) {
        self.revision += 1;
        assert_eq!(revision.0, self.revision);
        self.keys.entry(key.clone()).or_default().insert(self.revision, value);
    }

    fn at(&self, key: &Bytes, revision: u64) -> Option<(u64, Bytes)> {
        let (at, value) = self.keys.get(key)?.range(..=revision).next_back()?;
        Some((*at, value.clone()?))
    }

    /// Every read that is still allowed, and exactly the rows that such reads need.
    fn check(&self, view: &View) {
        assert_eq!(view.revision().0, self.revision);
        assert_eq!((view.compacted_revision().0, view.swept_revision().0), {
            (self.compacted, self.swept)
        });
        let mut history = BTreeSet::new();
        for (key, past) in &self.keys {
            for revision in self.compacted..=self.revision {
                let found = view.get_at(key, Revision(revision)).unwrap();
                let found = found.map(|pair| (pair.mod_revision.0, pair.value));
                assert_eq!(found, self.at(key, revision), "{key:?} at {revision}");
            }
            // A version goes with the revision that superseded it, a tombstone with its own.
            let superseded = past.keys().skip(1).map(Some).chain([None]);
            for ((revision, value), by) in past.iter().zip(superseded) {
                let gone_with = value.as_ref().map_or(Some(revision), |_| by);
                if gone_with.is_some_and(|with| *with > self.swept) {
                    history.insert((key.clone(), Revision(*revision)));
                }
            }
        }
        let rows = rows(view).unwrap();
        let keys_of = |space| rows.keys().filter(move |(of, _)| *of == space).map(|(_, key)| key);
        let found: BTreeSet<_> =
            keys_of(Space::History).map(|key| history_key(key).unwrap()).collect();
        assert_eq!(found, history);
        let changes: Vec<_> = keys_of(Space::Changes).map(|key| number(key).unwrap()).collect();
        assert_eq!(changes, (self.swept + 1..=self.revision).collect::<Vec<_>>());
        assert_eq!(view.totals().bytes, bytes_of(&rows));
    }
}

/// Bytes of keys and rows in each space.
fn bytes_of(rows: &Map) -> [u64; 4] {
    [Space::Kv, Space::History, Space::Changes, Space::Sessions].map(|space| {
        let rows = rows.iter().filter(|((of, _), _)| *of == space);
        rows.map(|((_, key), row)| (key.len() + row.len()) as u64).sum()
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    let key = || (0_u8..6).prop_map(|key| Bytes::from(vec![b'k', key, 0]));
    prop_oneof![
        6 => (key(), 0_usize..40).prop_map(|(key, len)| {
            Op::Put { key, value: vec![7; len].into() }
        }),
        3 => key().prop_map(|key| Op::Delete { key }),
        1 => (0_u64..90).prop_map(|upto| Op::Compact { upto: Revision(upto) }),
        2 => (0_u64..20).prop_map(|limit| Op::Sweep { limit }),
    ]
}

fn meta(store: &MemState) -> Vec<(Bytes, Bytes)> {
    let view = store.view().unwrap();
    let rows = view.scan(Space::Meta, Bound::Unbounded, Bound::Unbounded, false).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 64, ..ProptestConfig::default()
    })]

    #[test]
    fn reads_that_are_allowed_are_exact_and_the_rest_is_gone(
        ops in vec(any_op(), 1..110),
        steps in vec((1_usize..9, 0_u8..6), 110),
    ) {
        simulate(async {
            let commands: Vec<_> = ops.iter().cloned().map(anyone).collect();
            let store = MemState::new();
            let mut replica = Replica::open(store.clone()).unwrap();
            let (mut model, mut done) = (Model::default(), 0);
            for (count, event) in steps {
                let batch = &commands[done..(done + count).min(commands.len())];
                if batch.is_empty() {
                    break;
                }
                let outcomes = replica.apply(batch);
                for (op, outcome) in ops[done..].iter().zip(&outcomes) {
                    model.run(op, outcome);
                }
                done += batch.len();
                if event < 2 {
                    replica.checkpoint().await;
                }
                if event == 0 {
                    drop(replica);
                    replica = Replica::open(store.clone()).unwrap();
                }
                model.check(&replica.reader().view());
            }
            replica.checkpoint().await;
            assert_eq!(scrub(&*store.view().unwrap()).unwrap(), replica.reader().view().totals());

            // In one batch, without restarts: the same rows, registers and totals, byte for byte.
            let whole_store = MemState::new();
            let mut whole = Replica::open(whole_store.clone()).unwrap();
            whole.apply(&commands);
            whole.checkpoint().await;
            let (view, whole_view) = (replica.reader().view(), whole.reader().view());
            assert_eq!(rows(&view).unwrap(), rows(&whole_view).unwrap());
            assert_eq!(meta(&store), meta(&whole_store));
        });
    }
}

/// Some history, a part of it compacted, a part of that swept.
fn past() -> Vec<Command> {
    [story(80), forgetting()].concat()
}

fn forgetting() -> Vec<Command> {
    vec![anyone(Op::Compact { upto: Revision(40) }), anyone(Op::Sweep { limit: 25 })]
}

fn transfer(from: &MemState, to: &MemState) -> SnapshotSink {
    let mut source = SnapshotSource::open(from).unwrap();
    let mut sink = SnapshotSink::begin(to, None).unwrap();
    while let Some(chunk) = source.next_chunk().unwrap() {
        sink.take_chunk(&chunk).unwrap();
    }
    sink
}

fn expect(replica: &Replica, store: &MemState) -> Totals {
    let view = replica.reader().view();
    assert_eq!(view.totals().bytes, bytes_of(&rows(&view).unwrap()));
    assert_eq!(scrub(&*store.view().unwrap()).unwrap(), view.totals());
    view.totals()
}

#[test]
fn the_bytes_of_history_are_right_after_checkpoint_restart_and_snapshot() {
    simulate(async {
        let store = MemState::new();
        let mut replica = Replica::open(store.clone()).unwrap();
        replica.apply(&past());
        replica.checkpoint().await;
        let before = expect(&replica, &store);
        assert!(before.history_bytes() > 1_000);
        drop(replica);
        let mut replica = Replica::open(store.clone()).unwrap();
        assert_eq!(expect(&replica, &store), before);

        let other = MemState::new();
        let mut newcomer = Replica::open(other.clone()).unwrap();
        let snapshot = transfer(&store, &other).verify().unwrap();
        newcomer.state.install(snapshot).await.unwrap();
        assert_eq!(expect(&newcomer, &other), before);

        // Both go on with what is left to sweep, alike.
        newcomer.next = replica.next;
        for replica in [&mut replica, &mut newcomer] {
            replica.apply(&[put("key-1", "more"), anyone(Op::Sweep { limit: 500 })]);
            assert_eq!(replica.reader().view().swept_revision(), Revision(40));
            replica.checkpoint().await;
        }
        assert_eq!(expect(&replica, &store), expect(&newcomer, &other));
    });
}

/// A row of `meta` as it lies in the engine.
fn sealed(key: &[u8], row: &[u8]) -> RowChange {
    let mut head = vec![Space::Meta as u8];
    head.put_u32_le(key.len() as u32);
    let checksum = crc32c::crc32c(&[&head, key, row].concat());
    let mut value = BytesMut::from(row);
    value.put_u32_le(checksum);
    let key = Bytes::copy_from_slice(key);
    RowChange { space: Space::Meta, key, value: Some(value.freeze()) }
}

/// Puts the layouts of before history had a budget in place of today's: registers and totals.
fn age(store: &MemState, totals: Totals) {
    let view = store.view().unwrap();
    let row = view.get(Space::Meta, b"registers").unwrap().unwrap();
    let registers = Registers::decode(&row.slice(..row.len() - 4)).unwrap();
    let varint = |out: &mut BytesMut, number: u64| {
        axon_core::machine::rows::put_varint(out, number);
    };
    let mut old = BytesMut::from(&[1][..]);
    varint(&mut old, registers.revision.0);
    varint(&mut old, 0);
    varint(&mut old, registers.clock.millis());
    varint(&mut old, registers.last_node_id.0);
    old.put_u128(registers.cluster_id.unwrap().0);
    let mut old_totals = BytesMut::from(&[1][..]);
    old_totals.put_u128(totals.hash);
    for rows in totals.rows {
        varint(&mut old_totals, rows);
    }
    let rows = [sealed(b"registers", &old), sealed(b"totals", &old_totals)];
    store.commit(&mut rows.into_iter()).unwrap();
}

#[test]
fn a_checkpoint_of_the_layouts_before_is_opened_and_sent_and_its_bytes_are_counted() {
    simulate(async {
        let store = MemState::new();
        let mut replica = Replica::open(store.clone()).unwrap();
        replica.apply(&story(80));
        replica.checkpoint().await;
        let totals = expect(&replica, &store);
        drop(replica);
        age(&store, totals);
        for scrub_bytes_max in [0, u64::MAX] {
            let config = StateConfig { scrub_bytes_max, ..config() };
            let replica = Replica::open_with(Arc::new(store.clone()), config).unwrap();
            assert_eq!(expect(&replica, &store), totals);
        }
        let other = MemState::new();
        let mut newcomer = Replica::open(other.clone()).unwrap();
        let snapshot = transfer(&store, &other).verify().unwrap();
        newcomer.state.install(snapshot).await.unwrap();
        assert_eq!(expect(&newcomer, &other), totals);

        let mut replica = Replica::open(store.clone()).unwrap();
        newcomer.next = replica.next;
        for replica in [&mut replica, &mut newcomer] {
            replica.apply(&forgetting());
            replica.apply(&[delete("key-1")]);
            assert_eq!(replica.reader().view().swept_revision(), Revision(25));
            replica.checkpoint().await;
        }
        assert_eq!(expect(&replica, &store), expect(&newcomer, &other));
        drop(replica);
        Replica::open(store).unwrap();
    });
}

#[test]
fn registers_of_layout_1_begin_without_a_past() {
    let mut row = vec![1, 7, 0, 0xac, 2, 3];
    row.extend_from_slice(&9_u128.to_be_bytes());
    let registers = Registers::decode(&Bytes::from(row)).unwrap();
    assert_eq!((registers.revision, registers.swept_revision), (Revision(7), Revision(0)));
    assert_eq!((registers.clock.millis(), registers.last_node_id.0), (300, 3));
    assert_eq!(registers.cluster_id.unwrap().0, 9);
    assert_eq!(Registers::decode(&registers.encode()).unwrap(), registers);
    let impossible = Registers { swept_revision: Revision(1), ..registers };
    assert!(Registers::decode(&impossible.encode()).is_err(), "swept, but not compacted");
}
