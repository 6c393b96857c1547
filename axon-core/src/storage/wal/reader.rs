//! Reads entries back from the files, beside everything that goes on.
//!
//! The places come from the index, under its lock; the files are read without it. Meanwhile a
//! segment may be purged and its file recycled: then the checksums, seeded with the segment's id,
//! do not match, and the index, asked again, no longer has that segment. Damage in a segment that
//! the index still has is corruption, and latches.

use super::index::{Run, Slot};
use super::record::{self, Record};
use super::segment::Segment;
use super::{Common, read_lock};
use crate::error::StorageError;
use crate::storage::{LogRecord, Result};
use crate::types::LogIndex;
use bytes::Bytes;
use std::ops::Range;

/// Neighbouring entries are read at once up to this.
const READ_BYTES_MAX: usize = 1 << 20;

/// Reads the entries of `range`, as [`LogStore::read`](crate::storage::LogStore::read) says.
pub(super) fn read(
    common: &Common,
    range: &Range<u64>,
    bytes_max: usize,
) -> Result<Vec<LogRecord>> {
    loop {
        let runs = read_lock(&common.index).locate(range, bytes_max);
        let mut records = Vec::with_capacity(runs.iter().map(|run| run.slots.len()).sum());
        let result = runs.iter().try_for_each(|run| read_run(run, &mut records));
        match result {
            Ok(()) => return Ok(records),
            // Purged and recycled while it was read: look again at what is left.
            Err(_) if !read_lock(&common.index).holds(&runs) => common.failure()?,
            Err(error) => return Err(common.latch(error)),
        }
    }
}

fn read_run(run: &Run, records: &mut Vec<LogRecord>) -> Result<()> {
    let mut first = run.first;
    let mut slots = run.slots.as_slice();
    while let Some(slot) = slots.first() {
        let begin = slot.offset as usize;
        let near = |slot: &&Slot| end(**slot) - begin <= READ_BYTES_MAX;
        let count = slots.iter().take_while(near).count().max(1);
        let (chunk, rest) = slots.split_at(count);
        read_chunk(&run.segment, first, chunk, records)?;
        first += count as u64;
        slots = rest;
    }
    Ok(())
}

fn end(slot: Slot) -> usize {
    slot.offset as usize + slot.bytes as usize
}

/// Reads entries that lie close to each other; their payloads share one buffer.
fn read_chunk(
    segment: &Segment,
    first: u64,
    slots: &[Slot],
    records: &mut Vec<LogRecord>,
) -> Result<()> {
    let (Some(front), Some(back)) = (slots.first(), slots.last()) else { return Ok(()) };
    let begin = front.offset as usize;
    let mut bytes = vec![0; end(*back) - begin];
    segment
        .file
        .read_at(&mut bytes, begin as u64)
        .map_err(|error| StorageError::io("cannot read", &segment.path, &error))?;
    let bytes = Bytes::from(bytes);
    for (index, slot) in (first..).zip(slots) {
        let range = slot.offset as usize - begin..end(*slot) - begin;
        let corrupt = |reason| segment.corrupt(u64::from(slot.offset), reason);
        match record::decode(&bytes[range], segment.seed).map(|found| found.record) {
            Ok(Record::Entry { index: found, payload }) if found == index => {
                let payload = bytes.slice_ref(payload);
                records.push(LogRecord { index: LogIndex(index), payload });
            }
            Ok(_) => return Err(corrupt("another record lies here")),
            Err(_) => return Err(corrupt("a checksum does not match")),
        }
    }
    Ok(())
}
