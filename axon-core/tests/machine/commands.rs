//! Commands drawn by chance, over few keys so that they meet.

use super::{delete, put};
use axon_core::command::{Command, Op};
use axon_core::txn::{Compare, Op as TxnOp, Relation, Target, Txn};
use axon_core::types::{KeyRange, Member, NodeId, RequestId, Revision, SessionId};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Bound;

/// A put or a delete of whatever key.
pub fn any_op() -> impl Strategy<Value = Op> {
    let key =
        prop_oneof![vec(any::<u8>(), 1..3), vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 1..4)];
    (key, proptest::option::weighted(0.7, vec(any::<u8>(), 0..20))).prop_map(|(key, value)| {
        match value {
            Some(value) => put(&key, &value),
            None => delete(&key),
        }
    })
}

/// One of a few keys, some of which follow each other without a gap.
pub fn any_key() -> impl Strategy<Value = Bytes> {
    let keys: [&[u8]; 7] = [b"a", b"b", b"b\0", b"b\0\0", b"ba", b"c", b"d"];
    proptest::sample::select(keys.to_vec()).prop_map(Bytes::from_static)
}

pub fn any_range() -> impl Strategy<Value = KeyRange> {
    let bound = || {
        prop_oneof![
            any_key().prop_map(Bound::Included),
            any_key().prop_map(Bound::Excluded),
            Just(Bound::Unbounded),
        ]
    };
    let whatever = (bound(), bound()).prop_map(|(start, end)| KeyRange { start, end });
    prop_oneof![1 => whatever, 2 => any_key().prop_map(KeyRange::key)]
}

fn any_value() -> impl Strategy<Value = Bytes> {
    vec(b'x'..=b'z', 0..2).prop_map(Bytes::from)
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0_u64..4).prop_map(Target::Version),
        (0_u64..9).prop_map(|revision| Target::CreateRevision(Revision(revision))),
        (0_u64..9).prop_map(|revision| Target::ModRevision(Revision(revision))),
        any_value().prop_map(Target::Value),
    ];
    let relations = [Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater];
    let relation = proptest::sample::select(relations.to_vec());
    (any_key(), target, relation).prop_map(|(key, target, relation)| Compare {
        key,
        target,
        relation,
    })
}

/// A transaction; many change a key twice.
pub fn any_txn() -> impl Strategy<Value = Txn> {
    let op = prop_oneof![
        3 => any_key().prop_map(TxnOp::get),
        3 => (any_key(), any_value()).prop_map(|(key, value)| TxnOp::put(key, value)),
        2 => any_key().prop_map(TxnOp::delete),
        1 => any_range().prop_map(TxnOp::delete_range),
    ];
    let txn = |op: BoxedStrategy<TxnOp>| {
        (vec(any_compare(), 0..2), vec(op.clone(), 0..4), vec(op, 0..3))
            .prop_map(|(when, then, or_else)| Txn { when, then, or_else })
    };
    let deeper = move |inner: BoxedStrategy<TxnOp>| txn(inner).prop_map(TxnOp::txn);
    let op = op.prop_recursive(3, 12, 3, deeper);
    txn(op.boxed())
}

/// A write of data: of each kind, and under a few idempotency keys.
pub fn any_write() -> impl Strategy<Value = Op> {
    let write = prop_oneof![
        3 => (any_key(), any_value()).prop_map(|(key, value)| Op::Put { key, value }),
        1 => any_key().prop_map(|key| Op::Delete { key }),
        3 => any_txn().prop_map(Op::Txn),
        1 => (any_range(), 0_u64..3).prop_map(|(range, limit)| Op::DeleteRange { range, limit }),
    ];
    let once = (any_key(), 0_u128..2, write.clone()).prop_map(|(key, fingerprint, op)| Op::Once {
        key,
        fingerprint,
        op: Box::new(op),
    });
    prop_oneof![3 => write, 1 => once]
}

/// A number, or one of those that overflow.
fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..5, Just(u64::MAX), Just(u64::MAX - 1)]
}

/// Any command at all, sensible or not.
pub fn any_command() -> impl Strategy<Value = Command> {
    let bytes = || vec(any::<u8>(), 0..3).prop_map(Bytes::from);
    let bound = move || {
        prop_oneof![
            bytes().prop_map(Bound::Included),
            bytes().prop_map(Bound::Excluded),
            Just(Bound::Unbounded),
        ]
    };
    let range = (bound(), bound()).prop_map(|(start, end)| KeyRange { start, end });
    let op = prop_oneof![
        Just(Op::OpenSession),
        (bytes(), bytes()).prop_map(|(key, value)| Op::Put { key, value }),
        bytes().prop_map(|key| Op::Delete { key }),
        any::<u128>()
            .prop_map(|nonce| Op::AllocateNode { nonce: nonce % 3, member: Member::default() }),
        any_number().prop_map(|id| Op::SettleNode { id: NodeId(id) }),
        any_txn().prop_map(Op::Txn),
        (range, any_number()).prop_map(|(range, limit)| Op::DeleteRange { range, limit }),
        any_number().prop_map(|upto| Op::Compact { upto: Revision(upto) }),
        any_number().prop_map(|limit| Op::Sweep { limit }),
        any_write(),
    ];
    let op = op.prop_recursive(2, 4, 1, move |inner| {
        (bytes(), 0_u128..2, inner).prop_map(|(key, fingerprint, op)| Op::Once {
            key,
            fingerprint,
            op: Box::new(op),
        })
    });
    let request = (1_u64..4, any_number(), any_number()).prop_map(|numbers| RequestId {
        session: SessionId(numbers.0),
        sequence: numbers.1,
        lowest_unacknowledged: numbers.2,
    });
    (proptest::option::of(request), op).prop_map(|(request, op)| Command { request, op })
}
