//! The pure machine against a model, and whatever bytes come along.

#![allow(clippy::unwrap_used, reason = "tests")]

mod commands;
mod compact;
mod model;
mod once_keys;
mod txn;

use axon_core::codec;
use axon_core::command::{Command, Op, Outcome};
use axon_core::error::StorageError;
use axon_core::machine::rows;
use axon_core::machine::session::{IDLE_MAX, SESSIONS_MAX, WINDOW};
use axon_core::machine::{Batch, Change, Machine, Registers, Rows, nodes::Joiners, once};
use axon_core::storage::{Result, Row, Space};
use axon_core::types::{ClusterId, LogIndex, Member, NodeId, RequestId, Revision, SessionId};
use bytes::{Bytes, BytesMut};
use commands::{any_op, any_write};
use model::Model;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;

/// Bytes as pinned layouts are written down.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

type Map = BTreeMap<(Space, Bytes), Bytes>;

#[derive(Default)]
struct Store(Map);

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
        let bound = |bound: Bound<&[u8]>, open: Bound<(Space, Bytes)>| match bound {
            Bound::Unbounded => open,
            bound => bound.map(|key| (space, Bytes::copy_from_slice(key))),
        };
        let start = bound(start, Bound::Included((space, Bytes::new())));
        let end = bound(end, Bound::Unbounded);
        let rows = self.0.range((start, end)).take_while(move |((found, _), _)| *found == space);
        Ok(Box::new(rows.map(|((_, key), row)| Ok((key.clone(), row.clone())))))
    }
}

/// A machine over a map.
#[derive(Default)]
struct Replica {
    machine: Machine,
    store: Store,
    batch: Batch,
    index: u64,
    stamp: u64,
}

impl Replica {
    fn take_changes(&mut self) {
        for Change { space, key, old, new } in self.batch.changes.drain(..) {
            let before = match new {
                Some(row) => self.store.0.insert((space, key), row),
                None => self.store.0.remove(&(space, key)),
            };
            assert_eq!(before, old, "a change says truly what it replaces");
        }
    }

    fn apply_bytes(&mut self, command: Option<&[u8]>) -> Result<Outcome> {
        self.index += 1;
        let Self { machine, store, batch, index, stamp } = self;
        let outcome = machine.apply(store, batch, LogIndex(*index), *stamp, command)?;
        self.take_changes();
        Ok(outcome)
    }

    fn apply(&mut self, request: impl Into<Option<RequestId>>, op: Op) -> Outcome {
        let request = request.into();
        let command = codec::encode(&Command { request, op });
        self.apply_bytes(Some(&command)).unwrap()
    }

    fn end_batch(&mut self) {
        self.machine.finish(&self.store, &mut self.batch).unwrap();
        self.take_changes();
    }

    fn open_session(&mut self) -> SessionId {
        match self.apply(None, Op::OpenSession) {
            Outcome::SessionOpened(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn session_rows(&self) -> impl Iterator<Item = (&(Space, Bytes), &Bytes)> {
        self.store.0.iter().filter(|((space, _), _)| *space == Space::Sessions)
    }

    /// What a restart makes of it.
    fn reload(&self) -> Machine {
        let kept = usize::try_from(self.machine.registers.once_kept()).unwrap();
        assert_eq!(self.session_rows().count(), self.machine.session_count() + 2 * kept);
        let registers = Registers::decode(&self.machine.registers.encode()).unwrap();
        let joiners = Joiners::decode(&self.machine.joiners.encode()).unwrap();
        let sessions = self.session_rows().filter(|((_, key), _)| **key < *once::ROWS_FROM);
        let sessions = sessions.map(|((_, key), row)| Ok((key.clone(), row.clone())));
        Machine::load(registers, joiners, sessions).unwrap()
    }
}

fn put(key: &[u8], value: &[u8]) -> Op {
    Op::Put { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }
}

fn delete(key: &[u8]) -> Op {
    Op::Delete { key: Bytes::copy_from_slice(key) }
}

fn request(session: SessionId, sequence: u64, lowest_unacknowledged: u64) -> RequestId {
    RequestId { session, sequence, lowest_unacknowledged }
}

fn history_key(key: &[u8], revision: u64) -> Bytes {
    let mut out = BytesMut::new();
    rows::put_history_key(&mut out, key, Revision(revision));
    out.freeze()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn puts_and_deletes_agree_with_a_map(ops in vec(any_op(), 1..120)) {
        let (mut replica, mut model) = (Replica::default(), Model::default());
        for op in ops {
            prop_assert_eq!(replica.apply(None, op.clone()), model.run(&op));
        }
        replica.end_batch();
        model.check(&replica.store.0);
        prop_assert_eq!(replica.reload(), replica.machine);
    }

    /// Requests arrive in any order, some twice and more, some long after they were acknowledged.
    #[test]
    fn a_request_runs_once_however_often_it_comes(
        arrivals in vec((0_u64..40, 0_u64..30, any_op()), 1..150),
        batch in 1_usize..20,
    ) {
        let (mut replica, mut model) = (Replica::default(), Model::default());
        let session = replica.open_session();
        let mut first: BTreeMap<u64, Outcome> = BTreeMap::new();
        let mut floor = 0;
        for (place, (sequence, lowest, op)) in arrivals.into_iter().enumerate() {
            let outcome = replica.apply(request(session, sequence, lowest), op.clone());
            floor = floor.max(lowest.min(sequence));
            let expected = if sequence < floor {
                Outcome::Expired
            } else {
                first.entry(sequence).or_insert_with(|| model.run(&op)).clone()
            };
            prop_assert_eq!(outcome, expected);
            if place % batch == 0 {
                replica.end_batch();
                prop_assert_eq!(&replica.reload(), &replica.machine);
            }
        }
        replica.end_batch();
        model.check(&replica.store.0);
    }

    #[test]
    fn where_batches_end_leaves_no_trace(
        ops in vec((0_u64..3, any_write(), 0_u64..50), 1..80),
        borders in vec(any::<bool>(), 80),
    ) {
        let run = |borders: &dyn Fn(usize) -> bool| {
            let mut replica = Replica::default();
            let sessions = [(); 3].map(|()| replica.open_session());
            for (place, (session, op, elapsed)) in ops.iter().enumerate() {
                replica.stamp += elapsed;
                let sequence = place as u64 / 2 + 1;
                let id = request(sessions[*session as usize], sequence, sequence.saturating_sub(9));
                replica.apply(id, op.clone());
                if borders(place) {
                    replica.end_batch();
                }
            }
            replica.end_batch();
            (replica.store.0, replica.machine)
        };
        let whole = run(&|_| false);
        prop_assert_eq!(&run(&|place| borders[place]), &whole);
        prop_assert_eq!(&run(&|_| true), &whole);
    }

    #[test]
    fn composite_keys_keep_their_order(
        one in vec(prop_oneof![Just(0_u8), Just(1), Just(254), Just(255)], 0..6),
        two in vec(prop_oneof![Just(0_u8), Just(1), Just(254), Just(255)], 0..6),
        revisions in any::<(u64, u64)>(),
    ) {
        let keys = (history_key(&one, revisions.0), history_key(&two, revisions.1));
        prop_assert_eq!(keys.0.cmp(&keys.1), (&one, revisions.0).cmp(&(&two, revisions.1)));
        prop_assert!(keys.0.len() <= rows::history_key_bytes_max(one.len()));
        let (key, revision) = rows::history_key(&keys.0).unwrap();
        prop_assert_eq!((key.to_vec(), revision.0), (one, revisions.0));
    }

    #[test]
    fn a_version_comes_back_as_it_was(
        revisions in any::<(u64, u64)>(),
        version in any::<u64>(),
        value in vec(any::<u8>(), 0..40),
    ) {
        let (created, modified) = (revisions.0.min(revisions.1), revisions.0.max(revisions.1));
        let mut row = BytesMut::new();
        rows::put_version(&mut row, Revision(created), Revision(modified), version, &value);
        prop_assert!(row.len() <= rows::HEADER_BYTES_MAX + value.len());
        let found = rows::version(&row.freeze()).unwrap();
        prop_assert_eq!(
            (found.create_revision.0, found.mod_revision.0, found.version, found.value.to_vec()),
            (created, modified, version, value)
        );
    }

    /// Any bytes: a value or an error, never a panic.
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in vec(any::<u8>(), 0..60), first in 0_u8..3) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        let row = Bytes::from(bytes);
        let _ = rows::version(&row);
        let _ = rows::history(&row);
        let _ = rows::changes(&row);
        let _ = rows::history_key(&row);
        let _ = Registers::decode(&row);
        let _ = Joiners::decode(&row);
        let session = std::iter::once(Ok((rows::number_key(1), row.clone())));
        let _ = Machine::load(Registers::default(), Joiners::default(), session);
        let mut replica = Replica::default();
        let _ = replica.apply_bytes(Some(&row));
    }
}

#[test]
fn only_what_changes_something_moves_the_revision() {
    let mut replica = Replica::default();
    let nothing = Outcome::Deleted { revision: Revision(0), previous: None };
    assert_eq!(replica.apply(None, delete(b"absent")), nothing);
    assert_eq!(replica.apply_bytes(None).unwrap(), Outcome::Done);
    replica.apply(None, put(b"k", b"1"));
    replica.open_session();
    let outcome = replica.apply(None, put(b"k", b"2"));
    assert_eq!(outcome, Outcome::Put { revision: Revision(2), previous: Some(Revision(1)) });
    replica.apply(None, delete(b"k"));
    let outcome = replica.apply(None, put(b"k", b"3"));
    assert_eq!(outcome, Outcome::Put { revision: Revision(4), previous: None });
}

#[test]
fn a_command_from_the_future_halts_the_replica() {
    let mut newer = codec::encode(&Command { request: None, op: Op::OpenSession }).to_vec();
    newer.pop();
    newer.push(250);
    for command in [newer, vec![codec::VERSION + 1, 0, 0]] {
        let error = Replica::default().apply_bytes(Some(&command)).unwrap_err();
        assert!(matches!(error, StorageError::Mismatch { .. }));
        let words = "this replica is older than the cluster's commands: start a newer Axon";
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn an_unknown_session_never_runs_anything() {
    let mut replica = Replica::default();
    let id = request(SessionId(77), 1, 1);
    assert_eq!(replica.apply(id, put(b"k", b"v")), Outcome::Expired);
    replica.end_batch();
    assert!(replica.store.0.is_empty());
}

#[test]
fn an_idle_session_goes_when_another_opens() {
    let mut replica = Replica::default();
    let (idle, busy) = (replica.open_session(), replica.open_session());
    replica.stamp = IDLE_MAX.as_millis() as u64 - 1;
    assert!(matches!(replica.apply(request(busy, 1, 1), put(b"k", b"v")), Outcome::Put { .. }));
    replica.open_session();
    assert_eq!(replica.machine.session_count(), 3, "not idle for long enough");
    replica.stamp += 1;
    replica.open_session();
    replica.end_batch();
    assert_eq!(replica.machine.session_count(), 3);
    assert_eq!(replica.apply(request(idle, 1, 1), put(b"k", b"w")), Outcome::Expired);
    assert!(matches!(replica.apply(request(busy, 2, 1), put(b"k", b"w")), Outcome::Put { .. }));
    assert_eq!(replica.reload().session_count(), 3);
}

#[test]
fn sessions_are_capped_and_the_longest_idle_goes_first() {
    let mut replica = Replica::default();
    let first = replica.open_session();
    let second = replica.open_session();
    replica.stamp = 1;
    replica.apply(request(first, 1, 1), put(b"k", b"v"));
    for _ in 2..=SESSIONS_MAX {
        replica.open_session();
    }
    assert_eq!(replica.machine.session_count(), SESSIONS_MAX);
    assert_eq!(replica.apply(request(second, 1, 1), put(b"k", b"v")), Outcome::Expired);
    assert!(matches!(replica.apply(request(first, 1, 1), put(b"k", b"v")), Outcome::Put { .. }));
}

#[test]
fn a_window_is_bounded() {
    let mut replica = Replica::default();
    let session = replica.open_session();
    for sequence in 1..=WINDOW + 1 {
        replica.apply(request(session, sequence, 0), put(b"k", b"v"));
    }
    assert_eq!(replica.apply(request(session, 1, 0), put(b"k", b"v")), Outcome::Expired);
    let oldest = replica.apply(request(session, 2, 0), put(b"k", b"v"));
    assert_eq!(oldest, Outcome::Put { revision: Revision(2), previous: Some(Revision(1)) });
    replica.end_batch();
    assert_eq!(replica.reload(), replica.machine);
}

#[test]
fn a_cluster_is_founded_once() {
    let mut replica = Replica::default();
    let found = |id| Op::Found { cluster_id: ClusterId(id), last_node_id: NodeId(3) };
    assert_eq!(replica.apply(None, found(9)), Outcome::Done);
    assert_eq!(replica.apply(None, found(9)), Outcome::Done);
    assert!(matches!(replica.apply(None, found(8)), Outcome::Refused(_)));
    let allocate = Op::AllocateNode { nonce: 1, member: Member::default() };
    assert_eq!(replica.apply(None, allocate), Outcome::NodeAllocated(NodeId(4)));
    assert_eq!(replica.reload().registers.cluster_id, Some(ClusterId(9)));
}
