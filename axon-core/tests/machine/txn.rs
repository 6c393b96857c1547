//! Transactions and range deletes.

use super::commands::{any_command, any_txn, any_write};
use super::model::Model;
use super::{Replica, history_key, put, request};
use axon_core::codec;
use axon_core::command::{Op, OpOutcome, Outcome, TxnOutcome};
use axon_core::machine::rows;
use axon_core::storage::Space;
use axon_core::txn::{
    ANSWER_BYTES_MAX, COMPARES_MAX, Compare, DEPTH_MAX, OPERATIONS_MAX, Op as TxnOp,
    RANGE_BYTES_MAX, RANGE_KEYS_MAX, Relation, Txn, TxnFault,
};
use axon_core::types::{KeyRange, KeyValue, Revision, SessionId};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::Bound;

/// Every way through `txn`: what is done on it, transactions taken apart.
fn ways(txn: &Txn) -> Vec<Vec<TxnOp>> {
    let branch = |ops: &[TxnOp]| {
        ops.iter().fold(vec![Vec::new()], |ways_so_far: Vec<Vec<TxnOp>>, op| {
            let next = match op {
                TxnOp::Txn(inner) => ways(inner),
                op => vec![vec![op.clone()]],
            };
            let both = |way: &Vec<TxnOp>| {
                let next = next.iter();
                next.map(|more| [way.as_slice(), more].concat()).collect::<Vec<_>>()
            };
            ways_so_far.iter().flat_map(both).collect()
        })
    };
    [branch(&txn.then), branch(&txn.or_else)].concat()
}

/// The keys that one way through `txn` changes twice: where two changes meet, the first key of one
/// of them is among these.
fn changed_twice(txn: &Txn) -> BTreeSet<Bytes> {
    let mut twice = BTreeSet::new();
    for way in ways(txn) {
        let mut keys = BTreeSet::from([Bytes::new()]);
        for op in &way {
            let mentioned = match op {
                TxnOp::DeleteRange { range } => [range.start.clone(), range.end.clone()],
                TxnOp::Get { key } | TxnOp::Put { key, .. } | TxnOp::Delete { key } => {
                    [Bound::Included(key.clone()), Bound::Unbounded]
                }
                TxnOp::Txn(_) => unreachable!("taken apart"),
            };
            for bound in mentioned {
                if let Bound::Included(key) | Bound::Excluded(key) = bound {
                    keys.insert([key.as_ref(), &[0]].concat().into());
                    keys.insert(key);
                }
            }
        }
        let changes = |op: &TxnOp, wanted: &Bytes| match op {
            TxnOp::Put { key, .. } | TxnOp::Delete { key } => key == wanted,
            TxnOp::DeleteRange { range } => range.contains(wanted),
            _ => false,
        };
        keys.retain(|key| way.iter().filter(|op| changes(op, key)).count() > 1);
        twice.extend(keys);
    }
    twice
}

/// What the outcome is once every `GotAt` is read, as the model has it.
fn read_again(model: &Model, ops: &[TxnOp], results: &[OpOutcome]) -> Vec<OpOutcome> {
    let results = ops.iter().zip(results).map(|(op, result)| match (op, result) {
        (TxnOp::Get { key }, OpOutcome::GotAt(at)) => OpOutcome::Got(model.read_at(key, *at)),
        (TxnOp::Get { .. }, other) => panic!("{other:?} was kept"),
        (TxnOp::Txn(inner), OpOutcome::Txn { succeeded, results }) => {
            let ops = if *succeeded { &inner.then } else { &inner.or_else };
            OpOutcome::Txn { succeeded: *succeeded, results: read_again(model, ops, results) }
        }
        (_, result) => result.clone(),
    });
    results.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_check_finds_what_every_way_tried_out_finds(txn in any_txn()) {
        let twice = changed_twice(&txn);
        match txn.check() {
            Ok(()) => prop_assert!(twice.is_empty(), "{:?}", twice),
            Err(TxnFault::DuplicateKey(key)) => prop_assert!(twice.contains(&key), "{:?}", key),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn transactions_agree_with_a_map(ops in vec(any_write(), 1..60), batch in 1_usize..9) {
        let (mut replica, mut model) = (Replica::default(), Model::default());
        let session = replica.open_session();
        for (place, op) in ops.into_iter().enumerate() {
            // What a key was used for before is the subject of another test.
            let op = if let Op::Once { op, .. } = op { *op } else { op };
            let id = request(session, place as u64 + 1, 0);
            let first = replica.apply(id, op.clone());
            if let Op::Txn(txn) = &op && !changed_twice(txn).is_empty() {
                prop_assert!(matches!(first, Outcome::Refused(_)), "{:?}", first);
                continue;
            }
            prop_assert_eq!(&first, &model.run(&op));
            if place % batch == 0 {
                replica.end_batch();
                prop_assert_eq!(&replica.reload(), &replica.machine);
            }
            let revision = model.revision;
            let again = match (replica.apply(id, op.clone()), op) {
                (Outcome::Txn(TxnOutcome { succeeded, revision, results }), Op::Txn(txn)) => {
                    let ops = if succeeded { txn.then } else { txn.or_else };
                    let results = read_again(&model, &ops, &results);
                    Outcome::Txn(TxnOutcome { succeeded, revision, results })
                }
                (again, _) => again,
            };
            prop_assert_eq!(&again, &first, "the second time nothing happens");
            prop_assert_eq!(replica.machine.registers.revision.0, revision);
        }
        replica.end_batch();
        prop_assert_eq!(&replica.reload(), &replica.machine);
        model.check(&replica.store.0);
    }

    /// Any command: an outcome, never a panic, and the same on every replica.
    #[test]
    fn any_command_is_answered_alike_everywhere(
        commands in vec((any_command(), 0_u64..40_000_000), 1..60),
        batch in 1_usize..9,
    ) {
        let [mut one, mut other] = [Replica::default(), Replica::default()];
        for (place, (command, elapsed)) in commands.into_iter().enumerate() {
            let command = codec::encode(&command);
            let outcomes = [&mut one, &mut other].map(|replica| {
                replica.stamp += elapsed;
                replica.apply_bytes(Some(&command)).unwrap()
            });
            prop_assert_eq!(&outcomes[0], &outcomes[1]);
            if place % batch == 0 {
                other.end_batch();
                prop_assert_eq!(&other.reload(), &other.machine);
            }
        }
        one.end_batch();
        other.end_batch();
        prop_assert_eq!(&one.store.0, &other.store.0);
        prop_assert_eq!(one.machine, other.machine);
    }
}

fn key(number: usize) -> Bytes {
    Bytes::from(format!("{number:06}"))
}

fn puts(count: usize) -> Txn {
    Txn { then: (0..count).map(|at| TxnOp::put(key(at), "v")).collect(), ..Txn::default() }
}

fn nested(depth: usize) -> Txn {
    let level = |inner| Txn { or_else: vec![TxnOp::txn(inner)], ..Txn::default() };
    (1..depth).fold(Txn::default(), |inner, _| level(inner))
}

#[test]
fn a_transaction_is_bounded() {
    let too_many = |txn: &Txn| match txn.check() {
        Ok(()) => None,
        Err(TxnFault::TooMany { what, limit }) => Some((what, limit as usize)),
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(too_many(&puts(OPERATIONS_MAX)), None);
    let operations = Some(("operations in a transaction", OPERATIONS_MAX));
    assert_eq!(too_many(&puts(OPERATIONS_MAX + 1)), operations);
    let inner = Txn { or_else: vec![TxnOp::txn(puts(OPERATIONS_MAX))], ..Txn::default() };
    assert_eq!(too_many(&inner), operations, "those inside count, and so does what holds them");

    let compares = |count| vec![Compare::absent("k"); count];
    let txn = Txn { when: compares(COMPARES_MAX), ..Txn::default() };
    assert_eq!(too_many(&txn), None);
    let txn = Txn { when: compares(1), then: vec![TxnOp::txn(txn)], ..Txn::default() };
    assert_eq!(too_many(&txn), Some(("compares in a transaction", COMPARES_MAX)));

    assert_eq!(too_many(&nested(DEPTH_MAX)), None);
    let depth = Some(("transactions inside each other", DEPTH_MAX));
    assert_eq!(too_many(&nested(DEPTH_MAX + 1)), depth);
    let refused = Replica::default().apply(None, Op::Txn(nested(DEPTH_MAX + 1)));
    assert_eq!(refused, Outcome::Refused("more than 8 transactions inside each other".into()));
}

#[test]
fn inner_compares_and_reads_see_what_stands_before_them() {
    let mut replica = Replica::default();
    replica.apply(None, put(b"k", b"old"));
    let inner = Txn {
        when: vec![Compare::value("k", Relation::Equal, "new"), Compare::absent("gone")],
        then: vec![TxnOp::get("k")],
        or_else: vec![],
    };
    let txn = Txn {
        when: vec![Compare::value("k", Relation::Equal, "old")],
        then: vec![TxnOp::get("k"), TxnOp::put("k", "new"), TxnOp::txn(inner)],
        or_else: vec![],
    };
    let pair = |value: &'static str, revision: u64| {
        let (create_revision, mod_revision) = (Revision(1), Revision(revision));
        let (key, value) = (Bytes::from("k"), Bytes::from(value));
        KeyValue { key, value, create_revision, mod_revision, version: revision }
    };
    let results = vec![
        OpOutcome::Got(Some(pair("old", 1))),
        OpOutcome::Put { version: 2, previous: Some(Revision(1)) },
        OpOutcome::Txn { succeeded: true, results: vec![OpOutcome::Got(Some(pair("new", 2)))] },
    ];
    let done = TxnOutcome { succeeded: true, revision: Revision(2), results };
    assert_eq!(replica.apply(None, Op::Txn(txn)), Outcome::Txn(done));
}

/// Puts `count` keys with values of `bytes` each, a thousand a transaction or fewer.
fn fill(replica: &mut Replica, count: usize, bytes: usize) {
    let value = Bytes::from(vec![b'x'; bytes]);
    for at in 0..count {
        replica.apply(None, Op::Put { key: key(at), value: value.clone() });
    }
}

fn ranges(ranges: impl IntoIterator<Item = KeyRange>) -> Op {
    let then = ranges.into_iter().map(TxnOp::delete_range).collect();
    Op::Txn(Txn { then, ..Txn::default() })
}

fn range(from: usize, to: usize) -> KeyRange {
    KeyRange { start: Bound::Included(key(from)), end: Bound::Excluded(key(to)) }
}

#[test]
fn a_transaction_that_would_remove_too_many_keys_removes_none() {
    let mut replica = Replica::default();
    let max = RANGE_KEYS_MAX as usize;
    fill(&mut replica, max + 1, 0);
    let (before, machine) = (replica.store.0.clone(), replica.reload());
    let too_large = Outcome::RangeTooLarge { limit: RANGE_KEYS_MAX, bytes: false };
    // A put that stands before the range, and two ranges that are too large together.
    let Op::Txn(mut with_put) = ranges([KeyRange::prefix("0")]) else { unreachable!() };
    with_put.then.insert(0, TxnOp::put("other", "v"));
    assert_eq!(replica.apply(None, Op::Txn(with_put)), too_large);
    assert_eq!(replica.apply(None, ranges([range(0, 5), range(5, max + 1)])), too_large);
    assert_eq!((&replica.store.0, &replica.machine), (&before, &machine), "nothing is changed");

    let outcome = replica.apply(None, ranges([range(0, 5), range(5, max)]));
    let Outcome::Txn(done) = outcome else { panic!("{outcome:?}") };
    assert_eq!(done.revision, machine.registers.revision.next());
    let row = &replica.store.0[&(Space::Changes, rows::number_key(done.revision.0))];
    assert_eq!(rows::changes(row).unwrap().len(), max);
}

#[test]
fn removals_are_bounded_by_bytes_too() {
    let mut replica = Replica::default();
    fill(&mut replica, 17, 1 << 20);
    let limit = RANGE_BYTES_MAX as u64;
    let too_large = Outcome::RangeTooLarge { limit, bytes: true };
    assert_eq!(replica.apply(None, ranges([KeyRange::all()])), too_large);
    let step = |limit| Op::DeleteRange { range: KeyRange::all(), limit };
    let deleted = |revision, deleted, more| Outcome::DeletedRange {
        revision: Revision(revision),
        deleted,
        more,
    };
    assert_eq!(replica.apply(None, step(u64::MAX)), deleted(18, 15, true));
    assert_eq!(replica.apply(None, step(0)), deleted(19, 1, true));
    assert_eq!(replica.apply(None, step(1)), deleted(20, 1, false));
    assert_eq!(replica.apply(None, step(1)), deleted(20, 0, false));
}

#[test]
fn an_answer_carries_so_many_bytes_and_names_the_revision_of_the_rest() {
    let mut replica = Replica::default();
    fill(&mut replica, 5, ANSWER_BYTES_MAX / 4);
    let then = (0..5).map(|at| TxnOp::get(key(at))).chain([TxnOp::get("absent")]).collect();
    let session = replica.open_session();
    let id = request(session, 1, 1);
    let mut ask = |op| match replica.apply(id, op) {
        Outcome::Txn(TxnOutcome { results, .. }) => results,
        other => panic!("{other:?}"),
    };
    let first = ask(Op::Txn(Txn { then, ..Txn::default() }));
    let inline = first.iter().filter(|result| matches!(result, OpOutcome::Got(Some(_)))).count();
    assert_eq!(inline, 3, "four values fit, their keys do not");
    assert_eq!(first[3..5], [OpOutcome::GotAt(Revision(5)), OpOutcome::GotAt(Revision(5))]);
    assert_eq!(first[5], OpOutcome::Got(None));
    let again = ask(Op::OpenSession);
    assert_eq!(again, vec![OpOutcome::GotAt(Revision(5)); 6], "no value is kept");
    replica.end_batch();
    assert_eq!(replica.reload(), replica.machine);
}

/// The row of a session as it was written when outcomes of transactions came.
#[test]
fn kept_outcomes_have_the_layout_that_they_were_given() {
    let mut replica = Replica::default();
    let session = replica.open_session();
    let txn = Txn {
        when: vec![Compare::absent("k")],
        then: vec![
            TxnOp::get("k"),
            TxnOp::put("k", "v"),
            TxnOp::delete("l"),
            TxnOp::delete_range(KeyRange::prefix("m")),
            TxnOp::txn(Txn::default()),
        ],
        or_else: vec![],
    };
    replica.apply(request(session, 1, 1), Op::Txn(txn.clone()));
    let range = KeyRange::all();
    replica.apply(request(session, 2, 1), Op::DeleteRange { range, limit: 7 });
    replica.apply(request(session, 3, 1), Op::Txn(nested(DEPTH_MAX + 1)));
    replica.end_batch();
    let row = &replica.store.0[&(Space::Sessions, rows::number_key(SessionId(1).0))];
    let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
    let refused: String = b"more than 8 transactions inside each other"
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Format, floor, last active; of the transaction: sequence, tag, succeeded, revision, results:
    // got at 0, put of version 1, deleted nothing, deleted none, a transaction without results.
    let txn = "0007010105010002010003000400050100";
    assert_eq!(hex, format!("010100{txn}01080201000106{:02x}{refused}", refused.len() / 2));
    assert_eq!(history_key(b"k", 1).len(), 11, "what it changed is elsewhere");
}
