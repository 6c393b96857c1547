//! The replicated vocabulary: what can be asked of the state machine, and what it answers.
//!
//! Append-only: a variant keeps its place for ever, a field is never removed. A replica that meets
//! a command beyond its own [`VOCABULARY`] halts rather than guess; so a command is proposed only
//! once every member's vocabulary holds it ([`Command::vocabulary`]).

use crate::codec;
use crate::txn::{self, Txn};
use crate::types::{
    KeyRange, KeyValue, Limits, LogIndex, Member, NodeId, RequestId, Revision, SessionId,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The newest vocabulary this Axon understands.
pub const VOCABULARY: u16 = 3;

/// A request to change the store, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Makes it happen once; `None` only for commands that may safely happen twice.
    pub request: Option<RequestId>,
    /// What to do.
    pub op: Op,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Opens a session; its id is this entry's index.
    OpenSession,
    /// Stores `value` under `key`.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Removes `key`.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Gives the joiner that holds `nonce` a node id; the same nonce gets the same id again.
    AllocateNode {
        /// Made and durably stored by the joiner before it first asks.
        nonce: u128,
        /// Who asks.
        member: Member,
    },
    /// Forgets the nonce of a node that has joined, so that the table stays small.
    SettleNode {
        /// The node.
        id: NodeId,
    },
    /// Writes the store's birth into it: the first command of every cluster.
    Found {
        /// The new cluster's id.
        cluster_id: crate::types::ClusterId,
        /// The highest node id handed out so far.
        last_node_id: NodeId,
    },
    /// Compares, and does one of two branches.
    Txn(Txn),
    /// Removes the first `limit` keys of `range`, under one revision.
    DeleteRange {
        /// The keys.
        range: KeyRange,
        /// How many at most; at least one and at most [`RANGE_KEYS_MAX`](crate::txn::RANGE_KEYS_MAX)
        /// whatever it says.
        limit: u64,
    },
    /// Forgets the history up to and with `upto`: reads and watches below it are refused from here
    /// on. [`Op::Sweep`] takes the rows away.
    Compact {
        /// The new compacted revision; an older one, or one of the future, moves nothing beyond
        /// what there is.
        upto: Revision,
    },
    /// Takes away what the next `limit` revisions below the compacted one left behind.
    Sweep {
        /// How many revisions at most.
        limit: u64,
    },
    /// Does `op` unless a command with the same key was done before, and answers what that one did.
    Once {
        /// The client's idempotency key.
        key: Bytes,
        /// Tells `op` from another one under the same key.
        fingerprint: u128,
        /// What to do: a put, a delete, a transaction or a step of a range delete.
        #[serde(deserialize_with = "crate::codec::nested")]
        op: Box<Op>,
    },
    /// Lets every replica note the hash of its state as of this entry. Changes nothing.
    NoteHash,
    /// Tells every replica what all noted, once some of it differs. Changes nothing.
    CompareHashes(Comparison),
}

/// What the members noted as of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The entry.
    pub index: LogIndex,
    /// One for each member.
    pub reports: Vec<Report>,
}

/// What one member noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The member.
    pub id: NodeId,
    /// Whether it votes.
    pub votes: bool,
    /// What it said.
    pub said: Noted,
}

/// What a replica says of its state as of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Noted {
    /// Nothing: it did not answer, or did not apply that entry since it started.
    Nothing,
    /// Its hash.
    Hash(u128),
    /// That it is not what was written on its disk: it holds no value.
    Damaged,
}

impl Command {
    /// Reports whether the cluster itself needs it, even when there is no space for anything else.
    #[must_use]
    pub const fn keeps_house(&self) -> bool {
        matches!(self.op, Op::AllocateNode { .. } | Op::SettleNode { .. } | Op::Found { .. })
    }

    /// The vocabulary that every member must understand before this may be proposed.
    #[must_use]
    pub const fn vocabulary(&self) -> u16 {
        match self.op {
            Op::OpenSession
            | Op::Put { .. }
            | Op::Delete { .. }
            | Op::AllocateNode { .. }
            | Op::SettleNode { .. }
            | Op::Found { .. } => 1,
            Op::Txn(_)
            | Op::DeleteRange { .. }
            | Op::Compact { .. }
            | Op::Sweep { .. }
            | Op::Once { .. } => 2,
            Op::NoteHash | Op::CompareHashes(_) => 3,
        }
    }
}

/// Checks the encoded command of another replica before it enters the log, where every replica would
/// halt at what it cannot read: it is a command, for which there is a member that asks, within the
/// limits, and everyone understands `vocabulary`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(encoded: &[u8], limits: &Limits, vocabulary: u16) -> Result<(), String> {
    at_most("command", encoded.len(), Limits::COMMAND_BYTES_MAX)?;
    let command: Command =
        codec::decode(encoded).map_err(|error| format!("not a command: {error}"))?;
    if command.vocabulary() > vocabulary {
        return Err("a member runs an older Axon that does not know this command".into());
    }
    check_op(&command.op, limits)
}

fn check_op(op: &Op, limits: &Limits) -> Result<(), String> {
    match op {
        Op::Put { key, value } => check_pair(key, value, limits),
        Op::Delete { key } => check_pair(key, &[], limits),
        Op::Txn(txn) => check_txn(txn, limits),
        Op::Once { op, .. } => check_op(op, limits),
        // The founder leads when it founds, and nobody does so for it.
        Op::Found { .. } => Err("only its first replica founds a cluster".into()),
        // It makes replicas halt, and the leader that gathered the reports is the one to say so.
        Op::CompareHashes(_) => Err("only a leader compares hashes".into()),
        Op::OpenSession
        | Op::AllocateNode { .. }
        | Op::SettleNode { .. }
        | Op::DeleteRange { .. }
        | Op::Compact { .. }
        | Op::Sweep { .. }
        | Op::NoteHash => Ok(()),
    }
}

fn check_txn(txn: &Txn, limits: &Limits) -> Result<(), String> {
    txn.when.iter().try_for_each(|compare| check_pair(&compare.key, &[], limits))?;
    txn.then.iter().chain(&txn.or_else).try_for_each(|op| match op {
        txn::Op::Get { key } | txn::Op::Delete { key } => check_pair(key, &[], limits),
        txn::Op::Put { key, value } => check_pair(key, value, limits),
        txn::Op::DeleteRange { .. } => Ok(()),
        txn::Op::Txn(inner) => check_txn(inner, limits),
    })
}

fn check_pair(key: &[u8], value: &[u8], limits: &Limits) -> Result<(), String> {
    if key.is_empty() {
        return Err("a key has at least one byte".into());
    }
    at_most("key", key.len(), limits.key_bytes_max)?;
    at_most("value", value.len(), limits.value_bytes_max)
}

fn at_most(what: &str, got: usize, limit: usize) -> Result<(), String> {
    if got > limit { Err(format!("{what} has {got} bytes, the limit is {limit}")) } else { Ok(()) }
}

/// What the state machine answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to say: blank and membership entries, `SettleNode`, `Found`.
    Done,
    /// The session is open.
    SessionOpened(SessionId),
    /// The value is stored.
    Put {
        /// The revision that did it.
        revision: Revision,
        /// The revision of the value it replaced; `None` when the key is new.
        previous: Option<Revision>,
    },
    /// The key is absent now.
    Deleted {
        /// The store's revision after it; unmoved when the key was absent before.
        revision: Revision,
        /// The revision of the value it removed; `None` when there was none.
        previous: Option<Revision>,
    },
    /// The joiner's id.
    NodeAllocated(NodeId),
    /// The request's session is unknown or expired, or its outcome was already forgotten.
    Expired,
    /// The machine refuses the command as it stands; nothing changed.
    Refused(String),
    /// The transaction is done.
    Txn(TxnOutcome),
    /// A step of a range delete is done.
    DeletedRange {
        /// The store's revision after it; unmoved when there was nothing to delete.
        revision: Revision,
        /// How many keys were removed.
        deleted: u64,
        /// Whether the range may hold more.
        more: bool,
    },
    /// History up to here is forgotten.
    Compacted(Revision),
    /// The rows of history up to here are gone.
    Swept {
        /// The last revision that was swept.
        upto: Revision,
        /// Whether there is more to sweep.
        more: bool,
    },
    /// The idempotency key was used for something else before; nothing changed.
    KeyReused,
    /// A range of a transaction holds more than a transaction may remove; nothing changed.
    RangeTooLarge {
        /// The limit, in keys or in bytes.
        limit: u64,
        /// Whether it is the bytes that are too many.
        bytes: bool,
    },
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnOutcome {
    /// Whether the compares held.
    pub succeeded: bool,
    /// The store's revision after it; unmoved when it changed nothing.
    pub revision: Revision,
    /// One for each operation of the branch that was done.
    pub results: Vec<OpOutcome>,
}

impl Outcome {
    /// Counts the bytes of the pairs that it carries.
    #[must_use]
    pub fn pair_bytes(&self) -> usize {
        fn of(results: &[OpOutcome]) -> usize {
            let bytes = results.iter().map(|result| match result {
                OpOutcome::Got(Some(pair)) => pair.key.len() + pair.value.len(),
                OpOutcome::Txn { results, .. } => of(results),
                _ => 0,
            });
            bytes.sum()
        }
        if let Self::Txn(done) = self { of(&done.results) } else { 0 }
    }
}

/// What one operation of a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpOutcome {
    /// The key as it stood then.
    Got(Option<KeyValue>),
    /// The key as it stood then is to be read at this revision: the answer would be too large, or
    /// this is a repeated one, of which the values were not kept. It is the transaction's revision
    /// when the transaction had changed the key by then, and the one before otherwise.
    GotAt(Revision),
    /// The value is stored.
    Put {
        /// The key's version.
        version: u64,
        /// The revision of the value it replaced; `None` when the key is new.
        previous: Option<Revision>,
    },
    /// The key is absent.
    Deleted {
        /// The revision of the value that was removed; `None` when there was none.
        previous: Option<Revision>,
    },
    /// The keys of the range are absent.
    DeletedRange {
        /// How many there were.
        deleted: u64,
    },
    /// The inner transaction is done.
    Txn {
        /// Whether its compares held.
        succeeded: bool,
        /// One for each operation of the branch that was done.
        #[serde(deserialize_with = "crate::codec::nested")]
        results: Vec<OpOutcome>,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::types::ClusterId;
    use proptest::prelude::*;
    use std::fmt::Write as _;

    const LIMITS: Limits = Limits { key_bytes_max: 4, value_bytes_max: 8 };

    fn checked(op: Op) -> Result<(), String> {
        check(&codec::encode(&Command { request: None, op }), &LIMITS, VOCABULARY)
    }

    fn put(key: &'static str, value: &'static str) -> Op {
        Op::Put { key: key.into(), value: value.into() }
    }

    fn once(op: Op) -> Op {
        Op::Once { key: "once".into(), fingerprint: 1, op: Box::new(op) }
    }

    fn txn(op: txn::Op) -> Op {
        let inner = Txn { then: vec![op], ..Txn::default() };
        Op::Txn(Txn { or_else: vec![txn::Op::txn(inner)], ..Txn::default() })
    }

    #[test]
    fn what_members_ask_for_is_let_in_and_what_breaks_a_limit_is_not() {
        checked(put("key", "value")).unwrap();
        checked(once(put("key", "value"))).unwrap();
        checked(txn(txn::Op::put("key", "value"))).unwrap();
        checked(Op::OpenSession).unwrap();
        checked(Op::Sweep { limit: 3 }).unwrap();
        for (op, reason) in [
            (put("", "value"), "at least one byte"),
            (put("a key", "value"), "key has 5 bytes, the limit is 4"),
            (put("key", "long value"), "value has 10 bytes, the limit is 8"),
            (Op::Delete { key: "a key".into() }, "key has 5 bytes"),
            (once(put("key", "long value")), "value has 10 bytes"),
            (txn(txn::Op::put("key", "long value")), "value has 10 bytes"),
            (txn(txn::Op::get("")), "at least one byte"),
            (
                Op::Found { cluster_id: ClusterId(1), last_node_id: NodeId(u64::MAX) },
                "only its first replica",
            ),
            (
                Op::CompareHashes(Comparison { index: LogIndex(1), reports: Vec::new() }),
                "only a leader",
            ),
        ] {
            let refused = checked(op).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        let large = vec![0; Limits::COMMAND_BYTES_MAX + 1];
        assert!(check(&large, &LIMITS, VOCABULARY).unwrap_err().contains("command has"));
    }

    #[test]
    fn what_a_member_does_not_understand_is_not_let_in() {
        let encoded = codec::encode(&Command { request: None, op: once(put("key", "value")) });
        check(&encoded, &LIMITS, 2).unwrap();
        assert!(check(&encoded, &LIMITS, 1).unwrap_err().contains("older Axon"));
        let encoded_note = codec::encode(&Command { request: None, op: Op::NoteHash });
        check(&encoded_note, &LIMITS, 3).unwrap();
        assert!(check(&encoded_note, &LIMITS, 2).unwrap_err().contains("older Axon"));
        let newer = [&[codec::VERSION + 1][..], &encoded[1..]].concat();
        assert!(check(&newer, &LIMITS, VOCABULARY).unwrap_err().contains("not a command"));
    }

    /// The bytes in the logs of replicas that run: no later Axon may read or write them otherwise.
    #[test]
    fn commands_have_the_bytes_that_they_always_had() {
        let request = RequestId { session: SessionId(300), sequence: 2, lowest_unacknowledged: 1 };
        let reports = [Noted::Nothing, Noted::Hash(9), Noted::Damaged];
        let reports =
            (1..).zip(reports).map(|(id, said)| Report { id: NodeId(id), votes: id < 3, said });
        let comparison = Comparison { index: LogIndex(5), reports: reports.collect() };
        let get = Txn { then: vec![txn::Op::get("k")], ..Txn::default() };
        let found = Op::Found { cluster_id: ClusterId(7), last_node_id: NodeId(1) };
        let range = Op::DeleteRange { range: KeyRange::prefix("k"), limit: 9 };
        let ops = [
            Op::OpenSession,
            put("k", "v"),
            Op::Delete { key: "k".into() },
            Op::AllocateNode { nonce: 4, member: Member::default() },
            Op::SettleNode { id: NodeId(3) },
            found,
            Op::Txn(get),
            range,
            Op::Compact { upto: Revision(6) },
            Op::Sweep { limit: 8 },
            once(put("k", "v")),
            Op::NoteHash,
            Op::CompareHashes(comparison),
        ];
        let encoded = ops.map(|op| {
            let command = Command { request: Some(request), op };
            let encoded = codec::encode(&command);
            assert_eq!(codec::decode::<Command>(&encoded), Ok(command));
            encoded.iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            })
        });
        let known = [
            "0101fb2c01020100",
            "0101fb2c01020101016b0176",
            "0101fb2c01020102016b",
            "0101fb2c010201030400000000",
            "0101fb2c0102010403",
            "0101fb2c010201050701",
            "0101fb2c01020106000100016b00",
            "0101fb2c0102010701016b02016c09",
            "0101fb2c0102010806",
            "0101fb2c0102010908",
            "0101fb2c0102010a046f6e63650101016b0176",
            "0101fb2c0102010b",
            "0101fb2c0102010c050301010002010109030002",
        ];
        assert_eq!(encoded, known);
    }

    proptest! {
        #[test]
        fn what_is_let_in_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if check(&bytes, &LIMITS, VOCABULARY).is_ok() {
                prop_assert!(codec::decode::<Command>(&bytes).is_ok());
            }
        }
    }
}
