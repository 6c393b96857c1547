//! Outcomes as they are kept: what a request that comes again is answered with.
//!
//! A kept outcome has a bounded size, and no values: what a transaction read is read again, at the
//! revision that [`OpOutcome::GotAt`] names. In memory and in rows it is the same.
//!
//! A row holds: a tag, then the variant's numbers (varints, a missing revision is 0); a reason's
//! bytes or a transaction's results follow their count. Tags are stored for ever.

use super::corrupt;
use super::rows::{Reader, VARINT_BYTES_MAX, put_varint};
use crate::command::{OpOutcome, Outcome, TxnOutcome};
use crate::storage::Result;
use crate::txn::{DEPTH_MAX, OPERATIONS_MAX};
use crate::types::{NodeId, Revision, SessionId};
use bytes::{BufMut, BytesMut};

/// What a command is answered with, at first and ever after.
#[derive(Debug)]
pub struct Answer {
    /// The outcome that is kept.
    pub kept: Outcome,
    /// What only the first answer carries: one for each `GotAt` of the kept outcome, in order.
    pub reads: Vec<OpOutcome>,
}

impl From<Outcome> for Answer {
    fn from(kept: Outcome) -> Self {
        Self { kept, reads: Vec::new() }
    }
}

impl Answer {
    /// Returns the first answer.
    pub fn into_first(self) -> Outcome {
        let Self { mut kept, reads } = self;
        if let Outcome::Txn(done) = &mut kept {
            fill(&mut done.results, &mut reads.into_iter());
        }
        kept
    }
}

fn fill(results: &mut [OpOutcome], reads: &mut impl Iterator<Item = OpOutcome>) {
    for result in results {
        match result {
            OpOutcome::GotAt(_) => {
                if let Some(read) = reads.next() {
                    *result = read;
                }
            }
            OpOutcome::Txn { results, .. } => fill(results, reads),
            _ => {}
        }
    }
}

/// The longest encoding of a kept outcome.
pub fn bytes_max(outcome: &Outcome) -> usize {
    let more = match outcome {
        Outcome::Refused(reason) => reason.len(),
        Outcome::Txn(done) => results_bytes_max(&done.results),
        _ => 0,
    };
    1 + 3 * VARINT_BYTES_MAX + more
}

fn results_bytes_max(results: &[OpOutcome]) -> usize {
    let bytes = results.iter().map(|result| match result {
        OpOutcome::Txn { results, .. } => results_bytes_max(results),
        _ => 0,
    });
    results.len() * (1 + 2 * VARINT_BYTES_MAX) + bytes.sum::<usize>()
}

/// Appends a kept outcome.
pub fn put(out: &mut BytesMut, outcome: &Outcome) {
    let (tag, numbers): (u8, &[u64]) = match outcome {
        Outcome::Done => (0, &[]),
        Outcome::SessionOpened(id) => (1, &[id.0]),
        Outcome::Put { revision, previous } => (2, &[revision.0, or_zero(*previous)]),
        Outcome::Deleted { revision, previous } => (3, &[revision.0, or_zero(*previous)]),
        Outcome::NodeAllocated(id) => (4, &[id.0]),
        Outcome::Expired => (5, &[]),
        Outcome::Refused(reason) => (6, &[reason.len() as u64]),
        Outcome::Txn(TxnOutcome { succeeded, revision, results }) => {
            (7, &[u64::from(*succeeded), revision.0, results.len() as u64])
        }
        Outcome::DeletedRange { revision, deleted, more } => {
            (8, &[revision.0, *deleted, u64::from(*more)])
        }
        Outcome::Compacted(upto) => (9, &[upto.0]),
        Outcome::Swept { upto, more } => (10, &[upto.0, u64::from(*more)]),
        Outcome::KeyReused => (11, &[]),
        Outcome::RangeTooLarge { limit, bytes } => (12, &[*limit, u64::from(*bytes)]),
    };
    put_numbers(out, tag, numbers);
    match outcome {
        Outcome::Refused(reason) => out.extend_from_slice(reason.as_bytes()),
        Outcome::Txn(done) => put_results(out, &done.results),
        _ => {}
    }
}

fn put_results(out: &mut BytesMut, results: &[OpOutcome]) {
    for result in results {
        let (tag, numbers): (u8, &[u64]) = match result {
            OpOutcome::Got(_) => unreachable!("a kept outcome has no values"),
            OpOutcome::GotAt(revision) => (1, &[revision.0]),
            OpOutcome::Put { version, previous } => (2, &[*version, or_zero(*previous)]),
            OpOutcome::Deleted { previous } => (3, &[or_zero(*previous)]),
            OpOutcome::DeletedRange { deleted } => (4, &[*deleted]),
            OpOutcome::Txn { succeeded, results } => {
                (5, &[u64::from(*succeeded), results.len() as u64])
            }
        };
        put_numbers(out, tag, numbers);
        if let OpOutcome::Txn { results, .. } = result {
            put_results(out, results);
        }
    }
}

fn put_numbers(out: &mut BytesMut, tag: u8, numbers: &[u64]) {
    out.put_u8(tag);
    for number in numbers {
        put_varint(out, *number);
    }
}

fn or_zero(revision: Option<Revision>) -> u64 {
    revision.map_or(0, |revision| revision.0)
}

/// Takes what [`put`] appended.
pub fn take(reader: &mut Reader) -> Result<Outcome> {
    let [tag] = reader.array()?;
    Ok(match tag {
        0 => Outcome::Done,
        1 => Outcome::SessionOpened(SessionId(reader.varint()?)),
        2 => Outcome::Put { revision: take_revision(reader)?, previous: take_previous(reader)? },
        3 => {
            Outcome::Deleted { revision: take_revision(reader)?, previous: take_previous(reader)? }
        }
        4 => Outcome::NodeAllocated(NodeId(reader.varint()?)),
        5 => Outcome::Expired,
        6 => {
            let len = reader.varint()?;
            let reason = String::from_utf8(reader.bytes(len)?.into())
                .map_err(|error| corrupt("an outcome", error))?;
            Outcome::Refused(reason)
        }
        7 => {
            let (succeeded, revision) = (take_flag(reader)?, take_revision(reader)?);
            let results = take_results(reader, 1)?;
            Outcome::Txn(TxnOutcome { succeeded, revision, results })
        }
        8 => Outcome::DeletedRange {
            revision: take_revision(reader)?,
            deleted: reader.varint()?,
            more: take_flag(reader)?,
        },
        9 => Outcome::Compacted(take_revision(reader)?),
        10 => Outcome::Swept { upto: take_revision(reader)?, more: take_flag(reader)? },
        11 => Outcome::KeyReused,
        12 => Outcome::RangeTooLarge { limit: reader.varint()?, bytes: take_flag(reader)? },
        other => return Err(corrupt("an outcome", format_args!("tag {other}"))),
    })
}

fn take_results(reader: &mut Reader, depth: usize) -> Result<Vec<OpOutcome>> {
    let count = reader.varint()?;
    if count > OPERATIONS_MAX as u64 || depth > DEPTH_MAX {
        return Err(corrupt("an outcome", "results beyond what a transaction has"));
    }
    let results = (0..count).map(|_| {
        let [tag] = reader.array()?;
        Ok(match tag {
            1 => OpOutcome::GotAt(take_revision(reader)?),
            2 => OpOutcome::Put { version: reader.varint()?, previous: take_previous(reader)? },
            3 => OpOutcome::Deleted { previous: take_previous(reader)? },
            4 => OpOutcome::DeletedRange { deleted: reader.varint()? },
            5 => OpOutcome::Txn {
                succeeded: take_flag(reader)?,
                results: take_results(reader, depth + 1)?,
            },
            other => return Err(corrupt("an outcome", format_args!("result {other}"))),
        })
    });
    results.collect()
}

fn take_revision(reader: &mut Reader) -> Result<Revision> {
    reader.varint().map(Revision)
}

fn take_previous(reader: &mut Reader) -> Result<Option<Revision>> {
    Ok(Some(take_revision(reader)?).filter(|revision| revision.0 > 0))
}

fn take_flag(reader: &mut Reader) -> Result<bool> {
    match reader.varint()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(corrupt("an outcome", format_args!("flag {other}"))),
    }
}
