//! Applies committed commands to the key space.
//!
//! Hides *what a command means*; knows nothing of Raft, clocks or disks. Given the same rows and
//! the same commands it makes the same changes, on every replica, for ever:
//!
//! * it reads only through [`Rows`] and writes only into the [`Batch`];
//! * it never iterates a hash map, reads a clock or draws a random number;
//! * what it keeps in memory ([`Registers`], sessions, joiners) is a function of the log alone:
//!   [`Machine::load`] rebuilds it from the rows of a checkpoint, and the two are equal;
//! * what it writes depends on the log up to an index, never on how entries were batched.
//!
//! Every row begins with a version byte of its layout ([`rows`]).

pub mod clock;
pub mod compact;
pub mod kv;
pub mod marks;
pub mod nodes;
pub mod once;
pub mod outcomes;
pub mod rows;
pub mod session;
pub mod txn;

use crate::codec;
use crate::command::{Command, Comparison, Op, Outcome};
use crate::error::StorageError;
use crate::storage::{Result, Row, Space};
use crate::types::{ClusterId, LogIndex, NodeId, Revision, SessionId};
use bytes::{Bytes, BytesMut};
use clock::ClusterClock;
use marks::Marks;
use nodes::Joiners;
use outcomes::Answer;
use rows::{Reader, put_varint};
use session::{Admission, Sessions};
use std::ops::Bound;
use std::time::Duration;

/// The rows as they stand: every change of the batches before, and of this one so far.
pub trait Rows {
    /// Reads one row.
    fn get(&self, space: Space, key: &Bytes) -> Result<Option<Bytes>>;

    /// Reads the rows between two bounds, in key order, each when it is asked for.
    fn scan(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Result<Box<dyn Iterator<Item = Result<Row>> + '_>>;
}

/// One change of a row, with what was there before: the state hash subtracts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub space: Space,
    /// Under which key.
    pub key: Bytes,
    /// The row as it was.
    pub old: Option<Bytes>,
    /// The row as it is now; `None`: gone.
    pub new: Option<Bytes>,
}

/// Where the machine writes.
#[derive(Debug, Default)]
pub struct Batch {
    /// The changes in the order in which they were made. Whoever applies the batch drains them
    /// after each command, so that the next one reads them through [`Rows`].
    pub changes: Vec<Change>,
    /// What the last command says of hashes, which are not the machine's. Taken with the changes.
    pub remark: Option<Remark>,
    chunk: BytesMut,
}

/// What a command says of the hash of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// It is to be noted as of this entry.
    Note,
    /// What all members noted, of which some differs.
    Compared(Comparison),
}

/// Rows are carved out of chunks of this size: one allocation serves dozens of them. A row that is
/// handed out keeps its whole chunk alive, so that chunks stay small.
const CHUNK_BYTES: usize = 32 << 10;

impl Batch {
    /// Records a change.
    pub fn change(&mut self, space: Space, key: Bytes, old: Option<Bytes>, new: Option<Bytes>) {
        self.changes.push(Change { space, key, old, new });
    }

    /// Builds a row of at most `bytes_max` bytes without an allocation of its own.
    pub fn row(&mut self, bytes_max: usize, build: impl FnOnce(&mut BytesMut)) -> Bytes {
        if self.chunk.capacity() < bytes_max {
            self.chunk = BytesMut::with_capacity(bytes_max.max(CHUNK_BYTES));
        }
        build(&mut self.chunk);
        self.chunk.split().freeze()
    }
}

/// The small state of the machine: what is written beside the rows, once a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers {
    /// The store's revision.
    pub revision: Revision,
    /// History up to here is gone.
    pub compacted_revision: Revision,
    /// Cluster time.
    pub clock: ClusterClock,
    /// The cluster; `None` before [`Op::Found`].
    pub cluster_id: Option<ClusterId>,
    /// The highest node id handed out.
    pub last_node_id: NodeId,
    /// What history up to here left behind is gone too; at most the compacted revision.
    pub swept_revision: Revision,
    /// The idempotency keys that are kept were numbered from here ...
    pub once_first: u64,
    /// ... up to, and without, here.
    pub once_next: u64,
    /// Which revision stood when.
    pub marks: Marks,
}

/// Layout 1 ended with the cluster id; what 2 adds begins at zero.
const REGISTERS_FORMAT: u8 = 2;
const REGISTERS_FORMAT_1: u8 = 1;

impl Registers {
    /// Counts the idempotency keys that are kept.
    pub fn once_kept(&self) -> u64 {
        self.once_next.saturating_sub(self.once_first)
    }

    /// Encodes the row.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        out.extend_from_slice(&[REGISTERS_FORMAT]);
        put_varint(&mut out, self.revision.0);
        put_varint(&mut out, self.compacted_revision.0);
        put_varint(&mut out, self.clock.millis());
        put_varint(&mut out, self.last_node_id.0);
        put_varint(&mut out, self.swept_revision.0);
        put_varint(&mut out, self.once_first);
        put_varint(&mut out, self.once_next);
        self.marks.encode(&mut out);
        if let Some(ClusterId(id)) = self.cluster_id {
            out.extend_from_slice(&id.to_be_bytes());
        }
        out.freeze()
    }

    /// Decodes the row.
    pub fn decode(row: &Bytes) -> Result<Self> {
        let is_old = row.first() == Some(&REGISTERS_FORMAT_1);
        let format = if is_old { REGISTERS_FORMAT_1 } else { REGISTERS_FORMAT };
        let mut reader = Reader::new("registers", row, format)?;
        let mut registers = Self {
            revision: Revision(reader.varint()?),
            compacted_revision: Revision(reader.varint()?),
            clock: ClusterClock::at(reader.varint()?),
            last_node_id: NodeId(reader.varint()?),
            ..Self::default()
        };
        if !is_old {
            registers.swept_revision = Revision(reader.varint()?);
            registers.once_first = reader.varint()?;
            registers.once_next = reader.varint()?;
            registers.marks = Marks::decode(&mut reader)?;
        }
        if reader.remaining() > 0 {
            registers.cluster_id = Some(ClusterId(u128::from_be_bytes(reader.array()?)));
        }
        reader.end()?;
        let Self { swept_revision, compacted_revision, revision, .. } = registers;
        if swept_revision > compacted_revision || compacted_revision > revision {
            return Err(corrupt("registers", "revisions out of order"));
        }
        Ok(registers)
    }

    /// The newest revision known to be older than `age` at `now`; `None` when none is.
    #[must_use]
    pub fn older_than(&self, age: Duration, now: ClusterClock) -> Option<Revision> {
        // Nothing is younger than the last entry.
        if now.since(self.clock) >= age {
            return Some(self.revision);
        }
        self.marks.older_than(age, now)
    }
}

/// The machine: what it remembers between commands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The counters.
    pub registers: Registers,
    /// Who was given a node id and has not settled yet.
    pub joiners: Joiners,
    sessions: Sessions,
}

impl Machine {
    /// Rebuilds the machine from the rows that it wrote: the sessions' rows, which end where those of
    /// [`once`] begin, and those that [`Registers::encode`] and [`Joiners::encode`] made.
    pub fn load(
        registers: Registers,
        joiners: Joiners,
        sessions: impl Iterator<Item = Result<(Bytes, Bytes)>>,
    ) -> Result<Self> {
        Ok(Self { registers, joiners, sessions: Sessions::load(sessions)? })
    }

    /// Applies one entry of the log; `command` is `None` for a blank or a membership.
    ///
    /// # Errors
    /// A row that cannot be read, or a command that this Axon does not know: the replica halts.
    pub fn apply(
        &mut self,
        rows: &impl Rows,
        batch: &mut Batch,
        index: LogIndex,
        stamp_millis: u64,
        command: Option<&[u8]>,
    ) -> Result<Outcome> {
        self.registers.clock.advance(stamp_millis);
        let Some(command) = command else { return Ok(Outcome::Done) };
        let Command { request, op } = decode(index, command)?;
        let now = self.registers.clock;
        // Whatever the command does: so the revision of a store that is no longer written has a mark.
        self.registers.marks.note(now, self.registers.revision);
        let Some(request) = request else {
            return self.run(rows, batch, index, op).map(Answer::into_first);
        };
        match self.sessions.admit(request, now) {
            Admission::Answer(outcome) => Ok(outcome),
            Admission::Run => {
                let answer = self.run(rows, batch, index, op)?;
                self.sessions.record(request, &answer.kept);
                Ok(answer.into_first())
            }
        }
    }

    /// Writes the rows of the sessions that changed since the last call: one each, however many
    /// commands a session had in the batch.
    pub fn finish(&mut self, rows: &impl Rows, batch: &mut Batch) -> Result<()> {
        self.sessions.flush(rows, batch)
    }

    /// Counts the open sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.count()
    }

    fn run(
        &mut self,
        rows: &impl Rows,
        batch: &mut Batch,
        index: LogIndex,
        op: Op,
    ) -> Result<Answer> {
        let registers = &mut self.registers;
        let outcome = match op {
            Op::OpenSession => {
                let id = SessionId(index.0);
                self.sessions.open(id, registers.clock);
                Outcome::SessionOpened(id)
            }
            // The founder's id is counted by `Found`: before it, that very id would be given away.
            Op::AllocateNode { .. } if registers.cluster_id.is_none() => {
                Outcome::Refused("the cluster is being founded; ask again".into())
            }
            Op::AllocateNode { nonce, member: _ } => {
                self.joiners.allocate(&mut registers.last_node_id, nonce)
            }
            Op::SettleNode { id } => {
                self.joiners.settle(id);
                Outcome::Done
            }
            Op::Found { cluster_id, last_node_id } => self.found(cluster_id, last_node_id),
            Op::Compact { upto } => compact::compact(registers, upto),
            Op::Sweep { limit } => compact::sweep(registers, rows, batch, limit)?,
            Op::Once { key, fingerprint, op } => {
                return once::once(
                    registers,
                    rows,
                    batch,
                    &key,
                    fingerprint,
                    |registers, batch| write(registers, rows, batch, *op),
                );
            }
            Op::NoteHash => {
                batch.remark = Some(Remark::Note);
                Outcome::Done
            }
            Op::CompareHashes(comparison) => {
                batch.remark = Some(Remark::Compared(comparison));
                Outcome::Done
            }
            op => return write(registers, rows, batch, op),
        };
        Ok(outcome.into())
    }

    fn found(&mut self, cluster_id: ClusterId, last_node_id: NodeId) -> Outcome {
        let known = *self.registers.cluster_id.get_or_insert(cluster_id);
        if known != cluster_id {
            return Outcome::Refused(format!("this is cluster {known} already"));
        }
        self.registers.last_node_id = self.registers.last_node_id.max(last_node_id);
        Outcome::Done
    }
}

/// Does what a client may ask for under an idempotency key too.
fn write(registers: &mut Registers, rows: &impl Rows, batch: &mut Batch, op: Op) -> Result<Answer> {
    let outcome = match op {
        Op::Put { key, value } => kv::put(registers, rows, batch, key, value)?,
        Op::Delete { key } => kv::delete(registers, rows, batch, key)?,
        Op::Txn(txn) => return txn::run(registers, rows, batch, txn),
        Op::DeleteRange { range, limit } => {
            txn::delete_range(registers, rows, batch, &range, limit)?
        }
        _ => Outcome::Refused("an idempotency key is for a write of data".into()),
    };
    Ok(outcome.into())
}

/// The log checks its records, so that a command that cannot be decoded is not damaged: it is
/// newer than this Axon. To skip it would make this replica another one than its peers.
fn decode(index: LogIndex, command: &[u8]) -> Result<Command> {
    codec::decode(command).map_err(|error| StorageError::Mismatch {
        path: format!("log entry {index}"),
        reason: format!(
            "this replica is older than the cluster's commands: start a newer Axon ({error})"
        ),
    })
}

/// A row that is not what was written.
pub(crate) fn corrupt(what: &str, reason: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupt {
        path: "the state".into(),
        offset: 0,
        reason: format!("{what}: {reason}"),
    }
}
