//! Exactly once: which requests of a client were already answered, and how.
//!
//! A session is a window of outcomes by sequence number. Invariants:
//!
//! * a request whose outcome is in the window is answered with it and never runs again;
//! * below the window, or in an unknown session, the answer is [`Outcome::Expired`]: whether it ran
//!   is not known any more, and it never runs now;
//! * a window holds sequences of [`WINDOW`] consecutive numbers at most, and [`SESSIONS_MAX`]
//!   sessions are open at most; a session idle for [`IDLE_MAX`] may be forgotten, the longest idle
//!   first. All this happens at fixed points of the log, so on every replica alike;
//! * a row is written once a batch, and its content depends only on the log up to there.
//!
//! It does not check who sends: a session's id is no secret.
//!
//! The row: `1`, floor, last active (varints), then for each outcome, in order: the sequence's
//! distance from the one before (from the floor, at first) as a varint, and the outcome
//! ([`outcomes`]).

use super::clock::ClusterClock;
use super::rows::{self, Reader, put_varint};
use super::{Batch, Rows, corrupt, outcomes};
use crate::bug::{self, Bug};
use crate::command::Outcome;
use crate::storage::{Result, Space};
use crate::types::{RequestId, SessionId};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Sequence numbers that a window spans: the most requests a client may have in flight.
pub const WINDOW: u64 = 4_096;
/// Sessions open at once.
pub const SESSIONS_MAX: usize = 100_000;
/// Cluster time after which an idle session may be forgotten.
pub const IDLE_MAX: Duration = Duration::from_hours(1);
/// Sessions forgotten when one opens: more than one, so that they go faster than they come, and a
/// bounded number, so that no entry takes long.
const EXPIRED_AT_ONCE: usize = 16;

const FORMAT: u8 = 1;

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new: run it, then [`record`](Sessions::record) its outcome.
    Run,
    /// It is answered already, or never will be.
    Answer(Outcome),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Session {
    last_active: ClusterClock,
    floor: u64,
    /// Sorted by sequence; nearly always appended to.
    outcomes: VecDeque<(u64, Outcome)>,
}

/// Every open session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    open: BTreeMap<SessionId, Session>,
    by_idleness: BTreeSet<(ClusterClock, SessionId)>,
    /// Changed since the last flush.
    dirty: BTreeSet<SessionId>,
}

impl Sessions {
    /// Reads the sessions' rows.
    pub fn load(rows: impl Iterator<Item = Result<(Bytes, Bytes)>>) -> Result<Self> {
        let mut sessions = Self::default();
        for row in rows {
            let (key, row) = row?;
            let id = SessionId(rows::number(&key)?);
            let session = Session::decode(&row)?;
            sessions.by_idleness.insert((session.last_active, id));
            sessions.open.insert(id, session);
        }
        Ok(sessions)
    }

    /// Counts the open sessions.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Opens a session, and forgets some that are idle.
    pub fn open(&mut self, id: SessionId, now: ClusterClock) {
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(&(since, oldest)) = self.by_idleness.first() else { break };
            if now.since(since) < IDLE_MAX && self.open.len() < SESSIONS_MAX {
                break;
            }
            self.by_idleness.pop_first();
            self.open.remove(&oldest);
            self.dirty.insert(oldest);
        }
        self.open.insert(id, Session { last_active: now, ..Session::default() });
        self.by_idleness.insert((now, id));
        self.dirty.insert(id);
    }

    /// Looks a request up, and takes note of what its client has acknowledged.
    pub fn admit(&mut self, request: RequestId, now: ClusterClock) -> Admission {
        let id = request.session;
        let Some(session) = self.open.get_mut(&id) else {
            return Admission::Answer(Outcome::Expired);
        };
        if session.last_active != now {
            self.by_idleness.remove(&(session.last_active, id));
            self.by_idleness.insert((now, id));
            session.last_active = now;
        }
        self.dirty.insert(id);
        session.forget_below(request.lowest_unacknowledged.min(request.sequence));
        if request.sequence < session.floor {
            return Admission::Answer(Outcome::Expired);
        }
        match session.place(request.sequence) {
            Ok(_) if bug::on(Bug::DropDedupe) => Admission::Run,
            Ok(place) => Admission::Answer(session.outcomes[place].1.clone()),
            Err(_) => Admission::Run,
        }
    }

    /// Keeps the outcome of a request that was admitted, as [`outcomes`] keep them.
    pub fn record(&mut self, request: RequestId, outcome: &Outcome) {
        let Some(session) = self.open.get_mut(&request.session) else { return };
        let place = session.place(request.sequence).unwrap_or_else(|place| place);
        session.outcomes.insert(place, (request.sequence, outcome.clone()));
        // A client that keeps to the window never gets here. For one that does not, what falls out
        // is answered `Expired`: not known is right, running twice is not.
        session.forget_below(request.sequence.saturating_sub(WINDOW - 1));
    }

    /// Writes the rows of the sessions that changed.
    pub fn flush(&mut self, store: &impl Rows, batch: &mut Batch) -> Result<()> {
        while let Some(id) = self.dirty.pop_first() {
            let key = rows::number_key(id.0);
            let old = store.get(Space::Sessions, &key)?;
            let new = self
                .open
                .get(&id)
                .map(|session| batch.row(session.encoded_bytes_max(), |out| session.encode(out)));
            if old != new {
                batch.change(Space::Sessions, key, old, new);
            }
        }
        Ok(())
    }
}

impl Session {
    fn forget_below(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        while self.outcomes.front().is_some_and(|(sequence, _)| *sequence < self.floor) {
            self.outcomes.pop_front();
        }
    }

    /// Where the outcome of `sequence` is, or where it belongs.
    fn place(&self, sequence: u64) -> std::result::Result<usize, usize> {
        match self.outcomes.back() {
            Some((last, _)) if *last >= sequence => {
                self.outcomes.binary_search_by_key(&sequence, |(known, _)| *known)
            }
            _ => Err(self.outcomes.len()),
        }
    }

    fn encoded_bytes_max(&self) -> usize {
        let outcomes = self.outcomes.iter();
        let bytes = outcomes.map(|(_, o)| rows::VARINT_BYTES_MAX + outcomes::bytes_max(o));
        1 + 2 * rows::VARINT_BYTES_MAX + bytes.sum::<usize>()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        put_varint(out, self.floor);
        put_varint(out, self.last_active.millis());
        let mut before = self.floor;
        for (sequence, outcome) in &self.outcomes {
            put_varint(out, sequence - before);
            outcomes::put(out, outcome);
            before = *sequence;
        }
    }

    fn decode(row: &Bytes) -> Result<Self> {
        let mut reader = Reader::new("a session", row, FORMAT)?;
        let floor = reader.varint()?;
        let last_active = ClusterClock::at(reader.varint()?);
        let mut outcomes = VecDeque::new();
        let mut before = floor;
        while reader.remaining() > 0 {
            let distance = reader.varint()?;
            let out_of_order = distance == 0 && !outcomes.is_empty();
            let sequence = before.checked_add(distance).filter(|_| !out_of_order);
            before = sequence.ok_or_else(|| corrupt("a session", "sequences out of order"))?;
            outcomes.push_back((before, outcomes::take(&mut reader)?));
        }
        Ok(Self { last_active, floor, outcomes })
    }
}
