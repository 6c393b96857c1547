//! Idempotency keys.

use super::commands::any_write;
use super::{Replica, put, request};
use axon_core::command::{Op, OpOutcome, Outcome, TxnOutcome};
use axon_core::machine::once::{KEPT_FOR, KEY_BYTES_MAX, KEYS_MAX};
use axon_core::txn::{Op as TxnOp, Txn};
use axon_core::types::{Revision, SessionId};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEPT_MILLIS: u64 = KEPT_FOR.as_millis() as u64;

fn once(key: impl Into<Bytes>, fingerprint: u128, op: Op) -> Op {
    Op::Once { key: key.into(), fingerprint, op: Box::new(op) }
}

/// Drops what only the first answer carries.
fn kept(outcome: Outcome) -> Outcome {
    fn drop_reads(results: Vec<OpOutcome>) -> Vec<OpOutcome> {
        let results = results.into_iter().map(|result| match result {
            OpOutcome::Got(_) | OpOutcome::GotAt(_) => OpOutcome::GotAt(Revision(0)),
            OpOutcome::Txn { succeeded, results } => {
                OpOutcome::Txn { succeeded, results: drop_reads(results) }
            }
            other => other,
        });
        results.collect()
    }
    match outcome {
        Outcome::Txn(done) => {
            Outcome::Txn(TxnOutcome { results: drop_reads(done.results), ..done })
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A second machine gets what is left when commands under a known key are taken out.
    #[test]
    fn a_key_does_its_command_once_a_day(
        arrivals in vec((0_u8..6, 0_u128..2, any_write(), 0_u64..KEPT_MILLIS / 3), 1..60),
        batch in 1_usize..9,
    ) {
        let [mut replica, mut plain] = [Replica::default(), Replica::default()];
        let mut known: BTreeMap<u8, (u64, u128, Outcome)> = BTreeMap::new();
        for (place, (key, fingerprint, op, elapsed)) in arrivals.into_iter().enumerate() {
            let op = if let Op::Once { op, .. } = op { *op } else { op };
            for replica in [&mut replica, &mut plain] {
                replica.stamp += elapsed;
            }
            let now = replica.stamp;
            let outcome = kept(replica.apply(None, once(vec![key], fingerprint, op.clone())));
            known.retain(|_, (at, ..)| now - *at < KEPT_MILLIS);
            let expected = match known.get(&key) {
                Some((_, same, outcome)) if *same == fingerprint => outcome.clone(),
                Some(_) => Outcome::KeyReused,
                None => {
                    let outcome = kept(plain.apply(None, op));
                    if !matches!(outcome, Outcome::Refused(_)) {
                        known.insert(key, (now, fingerprint, outcome.clone()));
                    }
                    outcome
                }
            };
            prop_assert_eq!(outcome, expected);
            prop_assert!(replica.machine.registers.once_kept() >= known.len() as u64);
            if place % batch == 0 {
                replica.end_batch();
                prop_assert_eq!(&replica.reload(), &replica.machine);
            }
        }
        replica.end_batch();
        prop_assert_eq!(&replica.reload(), &replica.machine);
        let revisions = [&replica, &plain].map(|replica| replica.machine.registers.revision);
        prop_assert_eq!(revisions[0], revisions[1]);
    }
}

#[test]
fn keys_go_when_they_are_due_two_at_a_time() {
    let mut replica = Replica::default();
    for number in 0..5_u8 {
        replica.apply(None, once(vec![number], 0, put(b"k", b"v")));
    }
    assert_eq!(replica.machine.registers.once_kept(), 5);
    replica.stamp += KEPT_MILLIS - 1;
    replica.apply(None, once("young", 0, put(b"k", b"v")));
    assert_eq!(replica.machine.registers.once_kept(), 6, "none is due");
    replica.stamp += 1;
    for kept in [5, 4, 4, 5] {
        replica.apply(None, once(format!("{kept}/{}", replica.index), 0, put(b"k", b"v")));
        assert_eq!(replica.machine.registers.once_kept(), kept);
        replica.reload();
    }
}

#[test]
fn of_too_many_keys_the_oldest_goes() {
    let mut replica = Replica::default();
    let put = || put(b"k", b"v");
    replica.apply(None, once("oldest", 0, put()));
    replica.apply(None, once("second", 0, put()));
    replica.apply(None, once("third", 0, put()));
    // As if many more had come.
    replica.machine.registers.once_next = KEYS_MAX;
    let again = |replica: &mut Replica, key| match replica.apply(None, once(key, 0, put())) {
        Outcome::Put { revision, .. } => revision,
        other => panic!("{other:?}"),
    };
    assert_eq!(again(&mut replica, "oldest"), Revision(1), "so many may be kept");
    assert_eq!(again(&mut replica, "new"), Revision(4));
    assert_eq!(replica.machine.registers.once_kept(), KEYS_MAX);
    assert_eq!(again(&mut replica, "second"), Revision(2));
    assert_eq!(again(&mut replica, "oldest"), Revision(5), "it was the one that went");
    assert_eq!(again(&mut replica, "third"), Revision(3));
}

#[test]
fn a_key_is_for_writes_of_data_and_a_refused_one_is_free_again() {
    let mut replica = Replica::default();
    let duplicate = Txn { then: vec![TxnOp::delete("k"); 2], ..Txn::default() };
    let inner = once("inner", 0, put(b"k", b"v"));
    let longest = vec![b'k'; KEY_BYTES_MAX];
    for (key, op) in [
        (longest.as_slice(), inner),
        (&longest, Op::OpenSession),
        (&longest, Op::Txn(duplicate)),
        (b"", put(b"k", b"v")),
        (&[longest.as_slice(), b"k"].concat(), put(b"k", b"v")),
    ] {
        let outcome = replica.apply(None, once(key.to_vec(), 0, op));
        assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }
    replica.end_batch();
    assert!(replica.store.0.is_empty());
    let outcome = replica.apply(None, once(longest, 1, put(b"k", b"v")));
    assert!(matches!(outcome, Outcome::Put { .. }));
}

#[test]
fn a_session_and_a_key_go_together() {
    let mut replica = Replica::default();
    let (one, other) = (replica.open_session(), replica.open_session());
    let read = |fingerprint| {
        let then = vec![TxnOp::put("k", "v"), TxnOp::get("k")];
        once("key", fingerprint, Op::Txn(Txn { then, ..Txn::default() }))
    };
    let first = replica.apply(request(one, 1, 1), read(7));
    let again = replica.apply(request(other, 1, 1), read(7));
    assert_eq!(kept(first), kept(again.clone()), "the same from another session");
    assert_eq!(replica.apply(request(other, 1, 1), read(7)), again);
    assert_eq!(replica.apply(request(one, 2, 1), read(8)), Outcome::KeyReused);
    assert_eq!(replica.apply(request(one, 2, 1), read(7)), Outcome::KeyReused, "as the first time");
    replica.end_batch();
    assert_eq!(replica.reload(), replica.machine);
    assert_eq!(replica.apply(request(SessionId(9), 1, 1), read(7)), Outcome::Expired);
}
