//! Idempotency keys: which commands of whatever client were done already, and how they ended.
//!
//! A session tells a client's own requests apart; a key is chosen outside, and means the same from
//! whoever it comes. Invariants:
//!
//! * a command under a kept key is answered what the first one was, and is not done;
//! * a key is kept for [`KEPT_FOR`] of cluster time, the latest [`KEYS_MAX`] keys at most; each
//!   command that is done under a new one forgets up to [`FORGOTTEN_AT_ONCE`] that are due;
//! * the kept keys are numbered without gaps, `once_first` to `once_next` of the registers, and of
//!   two the one with the higher number is the younger, or both are due;
//! * each kept key has two rows, and there are no others from [`ROWS_FROM`] on.
//!
//! A command that was refused changed nothing, and its key stays free: put right, it may come again.
//!
//! The rows, in `sessions`: `ff` and the key to `1`, fingerprint (16 bytes, big endian), number,
//! cluster time (varints), outcome; `fe` and the number, big endian, to `1` and the key.

use super::clock::ClusterClock;
use super::outcomes::{self, Answer};
use super::rows::{Reader, VARINT_BYTES_MAX, put_varint};
use super::{Batch, Registers, Rows, corrupt};
use crate::bug::{self, Bug};
use crate::command::Outcome;
use crate::storage::{Result, Space};
use bytes::{BufMut, Bytes, BytesMut};
use std::time::Duration;

/// The longest key; an empty one is none.
pub const KEY_BYTES_MAX: usize = 256;
/// Keys kept.
pub const KEYS_MAX: u64 = 1_000_000;
/// Cluster time after which a key is new again.
pub const KEPT_FOR: Duration = Duration::from_hours(24);
/// Keys forgotten when one is kept: more than one, so that they go faster than they come.
const FORGOTTEN_AT_ONCE: u64 = 2;
/// Where the rows of this module begin: those of sessions come before, for a session's id is the
/// index of a log entry, and no log grows to 2^56.
pub const ROWS_FROM: &[u8] = &[BY_NUMBER];

const BY_NUMBER: u8 = 0xfe;
const BY_KEY: u8 = 0xff;
const FORMAT: u8 = 1;

/// What is kept of a command that was done under a key.
struct Record {
    fingerprint: u128,
    number: u64,
    at: ClusterClock,
    outcome: Outcome,
}

/// Does `run`, unless a command under `key` was done before.
pub fn once<R: Rows>(
    registers: &mut Registers,
    store: &R,
    batch: &mut Batch,
    key: &Bytes,
    fingerprint: u128,
    run: impl FnOnce(&mut Registers, &mut Batch) -> Result<Answer>,
) -> Result<Answer> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let reason = format!("an idempotency key has 1 to {KEY_BYTES_MAX} bytes");
        return Ok(Outcome::Refused(reason).into());
    }
    let old = store.get(Space::Sessions, &by_key(key))?;
    let known = old.as_ref().map(Record::decode).transpose()?;
    let now = registers.clock;
    let dropped = bug::on(Bug::DropDedupe);
    if let Some(known) = known.as_ref().filter(|known| !known.is_due(now) && !dropped) {
        let same = known.fingerprint == fingerprint;
        return Ok(if same { known.outcome.clone() } else { Outcome::KeyReused }.into());
    }
    let answer = run(registers, batch)?;
    if matches!(answer.kept, Outcome::Refused(_) | Outcome::RangeTooLarge { .. }) {
        return Ok(answer);
    }
    match known {
        Some(known) => close_gap(registers, store, batch, known.number)?,
        None => forget_due(registers, store, batch)?,
    }
    let number = registers.once_next;
    registers.once_next += 1;
    let record = Record { fingerprint, number, at: now, outcome: answer.kept.clone() };
    let row = record.row(batch);
    batch.change(Space::Sessions, by_key(key), old, Some(row));
    batch.change(Space::Sessions, by_number(number), None, Some(number_row(key)));
    Ok(answer)
}

/// Forgets the oldest keys, as far as they are due.
fn forget_due(registers: &mut Registers, store: &impl Rows, batch: &mut Batch) -> Result<()> {
    for _ in 0..FORGOTTEN_AT_ONCE {
        if registers.once_kept() == 0 {
            break;
        }
        let Oldest { number_row, key_row, key, record } = oldest(registers, store)?;
        if registers.once_kept() < KEYS_MAX && !record.is_due(registers.clock) {
            break;
        }
        batch.change(Space::Sessions, by_number(record.number), Some(number_row), None);
        batch.change(Space::Sessions, by_key(&key), Some(key_row), None);
        registers.once_first += 1;
    }
    Ok(())
}

/// Frees `number`, whose key is due and gets a new one: the oldest key, due as well then, takes it.
fn close_gap(
    registers: &mut Registers,
    store: &impl Rows,
    batch: &mut Batch,
    number: u64,
) -> Result<()> {
    let Oldest { number_row, key_row, key, record } = oldest(registers, store)?;
    batch.change(Space::Sessions, by_number(record.number), Some(number_row.clone()), None);
    registers.once_first += 1;
    if record.number != number {
        let freed = store.get(Space::Sessions, &by_number(number))?;
        batch.change(Space::Sessions, by_number(number), freed, Some(number_row));
        let moved = Record { number, ..record }.row(batch);
        batch.change(Space::Sessions, by_key(&key), Some(key_row), Some(moved));
    }
    Ok(())
}

/// The oldest key that is kept, with its rows.
struct Oldest {
    number_row: Bytes,
    key_row: Bytes,
    key: Bytes,
    record: Record,
}

fn oldest(registers: &Registers, store: &impl Rows) -> Result<Oldest> {
    let missing = || corrupt("idempotency keys", "a row is missing");
    let number = registers.once_first;
    let number_row = store.get(Space::Sessions, &by_number(number))?.ok_or_else(missing)?;
    let key = Reader::new("an idempotency key", &number_row, FORMAT)?.rest();
    let key_row = store.get(Space::Sessions, &by_key(&key))?.ok_or_else(missing)?;
    let record = Record::decode(&key_row)?;
    if record.number != number {
        return Err(corrupt("idempotency keys", "two rows disagree"));
    }
    Ok(Oldest { number_row, key_row, key, record })
}

fn by_key(key: &[u8]) -> Bytes {
    [&[BY_KEY], key].concat().into()
}

fn by_number(number: u64) -> Bytes {
    [&[BY_NUMBER], number.to_be_bytes().as_slice()].concat().into()
}

fn number_row(key: &[u8]) -> Bytes {
    [&[FORMAT], key].concat().into()
}

impl Record {
    fn is_due(&self, now: ClusterClock) -> bool {
        now.since(self.at) >= KEPT_FOR
    }

    fn row(&self, batch: &mut Batch) -> Bytes {
        let bytes_max = 1 + 16 + 2 * VARINT_BYTES_MAX + outcomes::bytes_max(&self.outcome);
        batch.row(bytes_max, |out| self.encode(out))
    }

    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        out.put_u128(self.fingerprint);
        put_varint(out, self.number);
        put_varint(out, self.at.millis());
        outcomes::put(out, &self.outcome);
    }

    fn decode(row: &Bytes) -> Result<Self> {
        let mut reader = Reader::new("an idempotency key's outcome", row, FORMAT)?;
        let record = Self {
            fingerprint: u128::from_be_bytes(reader.array()?),
            number: reader.varint()?,
            at: ClusterClock::at(reader.varint()?),
            outcome: outcomes::take(&mut reader)?,
        };
        reader.end().map(|()| record)
    }
}
