//! The bytes of the log: records, and the groups in which they are written.
//!
//! A record is `[checksum u32][len u32][kind u8][version u8][payload]`, little endian, padded to
//! 8 bytes; `len` counts what follows it. A group is a [`Mark`] and the records written with it in
//! one write. Invariants:
//!
//! * the checksum (CRC32C) covers `len` and all that follows, and is seeded with the ids of the log
//!   and of the segment: a record of another log, or of the segment that a recycled file was
//!   before, never passes for one of this segment;
//! * the mark holds a checksum over the checksums of its records: what a torn write left of one
//!   group never completes another one that was later written over it;
//! * the mark says what was durable before the group: a group is written only when all before it is
//!   synced, so that this is exactly where the group before it ended;
//! * decoding any bytes gives a record or [`Damage`], never a panic.
//!
//! What it does not do: decide whether damage is a torn write or corruption (`recovery`).

use super::Position;

/// The version of every record written here.
pub(super) const VERSION: u8 = 1;
/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;
/// What a mark takes in a file.
pub(super) const MARK_BYTES: usize = padded(HEADER_BYTES + MARK_PAYLOAD_BYTES);
/// No payload is larger: more than any command, so that `len` is plausible or damaged.
pub(super) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

const HEADER_BYTES: usize = 10;
const MARK_PAYLOAD_BYTES: usize = 32;
/// What a checksum covers begins here.
const CHECKED_FROM: usize = 4;
/// What `len` counts begins here.
const COUNTED_FROM: usize = 8;
/// In a mark: there is no entry yet, and the first may have any index.
const ANY_INDEX: u64 = u64::MAX;

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const COMMITTED: u8 = 3;
const TRUNCATE: u8 = 4;
const PURGE: u8 = 5;
const MARK: u8 = 6;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// An entry of the Raft log.
    Entry { index: u64, payload: &'a [u8] },
    /// The vote, in place of the former one.
    Vote(&'a [u8]),
    /// How far the log is committed.
    Committed(&'a [u8]),
    /// Every entry after this index is removed; all of them when `None`.
    Truncate(Option<u64>),
    /// Every entry up to `upto` is removed.
    Purge { upto: u64, mark: &'a [u8] },
    /// The head of a group.
    Mark(Mark),
}

/// The head of a group: where the log stood when the group was written, and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Everything below was durable.
    pub durable: Position,
    /// The index that the next entry must have; `None` when any will do.
    pub next: Option<u64>,
    /// Bytes of the records that follow. A mark without records says only what it says.
    pub group_bytes: u32,
    /// CRC32C over the checksums of those records.
    pub checksum: u32,
}

/// A record as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoded<'a> {
    /// What it says.
    pub record: Record<'a>,
    /// Its bytes without padding.
    pub bytes: usize,
    /// Its checksum.
    pub checksum: u32,
}

/// Why bytes are not a record of this segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// They are torn, altered, or something else altogether.
    Broken(&'static str),
    /// They are intact and of a version unknown here.
    Newer(u8),
}

/// Where checksums begin, for one segment of one log.
pub(super) fn seed(log_id: u128, segment: u64) -> u32 {
    // CRC32C tells apart any two messages that differ in up to 32 bits in a row, so segments of one
    // log have different seeds for their first four thousand million ids.
    crc32c::crc32c_append(crc32c::crc32c(&log_id.to_le_bytes()), &segment.to_le_bytes())
}

/// What a record of `bytes` takes in a file.
pub(super) const fn padded(bytes: usize) -> usize {
    bytes.div_ceil(ALIGN) * ALIGN
}

/// The payload of an entry whose record has `bytes` without padding.
pub(super) const fn entry_payload_bytes(bytes: usize) -> usize {
    bytes.saturating_sub(HEADER_BYTES + 8)
}

impl Record<'_> {
    /// What it takes in a file.
    pub(super) const fn file_bytes(&self) -> usize {
        let payload = match self {
            Self::Entry { payload, .. } => 8 + payload.len(),
            Self::Vote(bytes) | Self::Committed(bytes) => bytes.len(),
            Self::Truncate(last) => {
                if last.is_some() {
                    8
                } else {
                    0
                }
            }
            Self::Purge { mark, .. } => 8 + mark.len(),
            Self::Mark(_) => MARK_PAYLOAD_BYTES,
        };
        padded(HEADER_BYTES + payload)
    }
}

/// Appends `record`; returns its bytes without padding, and its checksum.
pub(super) fn encode(record: &Record<'_>, seed: u32, out: &mut Vec<u8>) -> (usize, u32) {
    match *record {
        Record::Entry { index, payload } => put(ENTRY, &index.to_le_bytes(), payload, seed, out),
        Record::Vote(vote) => put(VOTE, &[], vote, seed, out),
        Record::Committed(committed) => put(COMMITTED, &[], committed, seed, out),
        Record::Truncate(None) => put(TRUNCATE, &[], &[], seed, out),
        Record::Truncate(Some(last)) => put(TRUNCATE, &last.to_le_bytes(), &[], seed, out),
        Record::Purge { upto, mark } => put(PURGE, &upto.to_le_bytes(), mark, seed, out),
        Record::Mark(mark) => put(MARK, &mark_payload(&mark), &[], seed, out),
    }
}

fn put(kind: u8, head: &[u8], body: &[u8], seed: u32, out: &mut Vec<u8>) -> (usize, u32) {
    let start = out.len();
    let bytes = HEADER_BYTES + head.len() + body.len();
    let len = (bytes - COUNTED_FROM) as u32;
    out.reserve(padded(bytes));
    out.extend_from_slice(&[0; CHECKED_FROM]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[kind, VERSION]);
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    let checksum = crc32c::crc32c_append(seed, &out[start + CHECKED_FROM..]);
    out[start..start + CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    out.resize(start + padded(bytes), 0);
    (bytes, checksum)
}

fn mark_payload(mark: &Mark) -> [u8; MARK_PAYLOAD_BYTES] {
    let mut payload = [0; MARK_PAYLOAD_BYTES];
    payload[0..8].copy_from_slice(&mark.durable.segment.to_le_bytes());
    payload[8..16].copy_from_slice(&mark.durable.offset.to_le_bytes());
    payload[16..24].copy_from_slice(&mark.next.unwrap_or(ANY_INDEX).to_le_bytes());
    payload[24..28].copy_from_slice(&mark.group_bytes.to_le_bytes());
    payload[28..32].copy_from_slice(&mark.checksum.to_le_bytes());
    payload
}

/// Decodes the record at the beginning of `bytes`.
pub(super) fn decode(bytes: &[u8], seed: u32) -> Result<Decoded<'_>, Damage> {
    let broken = Damage::Broken;
    let (Some(checksum), Some(len)) = (u32_at(bytes, 0), u32_at(bytes, CHECKED_FROM)) else {
        return Err(broken("the file ends within a record"));
    };
    let len = len as usize;
    if !(HEADER_BYTES - COUNTED_FROM..=PAYLOAD_BYTES_MAX).contains(&len) {
        return Err(broken("no record has this length"));
    }
    let checked = bytes
        .get(CHECKED_FROM..COUNTED_FROM + len)
        .ok_or(broken("the file ends within a record"))?;
    if crc32c::crc32c_append(seed, checked) != checksum {
        return Err(broken("a checksum does not match"));
    }
    let (kind, version) = (bytes[COUNTED_FROM], bytes[COUNTED_FROM + 1]);
    if version != VERSION {
        return Err(Damage::Newer(version));
    }
    let payload = &bytes[HEADER_BYTES..COUNTED_FROM + len];
    let record = read_payload(kind, payload)?;
    Ok(Decoded { record, bytes: COUNTED_FROM + len, checksum })
}

fn read_payload(kind: u8, payload: &[u8]) -> Result<Record<'_>, Damage> {
    let short = Damage::Broken("a record is shorter than its kind");
    let numbered = || u64_at(payload, 0).map(|number| (number, &payload[8..])).ok_or(short);
    Ok(match kind {
        ENTRY => {
            let (index, payload) = numbered()?;
            Record::Entry { index, payload }
        }
        VOTE => Record::Vote(payload),
        COMMITTED => Record::Committed(payload),
        TRUNCATE if payload.is_empty() => Record::Truncate(None),
        TRUNCATE => Record::Truncate(Some(numbered()?.0)),
        PURGE => {
            let (upto, mark) = numbered()?;
            Record::Purge { upto, mark }
        }
        MARK => Record::Mark(read_mark(payload).ok_or(short)?),
        // Intact, and yet of no kind there is: only a later Axon can have written it.
        _ => return Err(Damage::Newer(VERSION.saturating_add(1))),
    })
}

fn read_mark(payload: &[u8]) -> Option<Mark> {
    let next = u64_at(payload, 16)?;
    Some(Mark {
        durable: Position { segment: u64_at(payload, 0)?, offset: u64_at(payload, 8)? },
        next: (next != ANY_INDEX).then_some(next),
        group_bytes: u32_at(payload, 24)?,
        checksum: u32_at(payload, 28)?,
    })
}

/// Reports whether a mark could begin at `offset`; decides cheaply and is wrong only on one side.
pub(super) fn may_be_mark(bytes: &[u8], offset: usize) -> bool {
    const LEN: u32 = (HEADER_BYTES + MARK_PAYLOAD_BYTES - COUNTED_FROM) as u32;
    u32_at(bytes, offset + CHECKED_FROM) == Some(LEN)
        && bytes.get(offset + COUNTED_FROM) == Some(&MARK)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// A group in the making: one buffer, used again for each.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    seed: u32,
    next: Option<u64>,
    checksum: u32,
}

impl Group {
    /// The buffer gives back what it holds beyond this, once a group has needed more.
    const KEPT_BYTES: usize = 8 << 20;

    /// Begins a group of records of the segment with `seed`; `next` as in [`Mark::next`].
    pub(super) fn begin(&mut self, seed: u32, next: Option<u64>) {
        self.bytes.clear();
        self.bytes.shrink_to(Self::KEPT_BYTES);
        self.bytes.resize(MARK_BYTES, 0);
        (self.seed, self.next, self.checksum) = (seed, next, 0);
    }

    /// Forgets what was begun.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Reports whether none is begun.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes so far, mark included.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record; returns its place in the group and its bytes without padding.
    pub(super) fn push(&mut self, record: &Record<'_>) -> (usize, usize) {
        let at = self.bytes.len();
        let (bytes, checksum) = encode(record, self.seed, &mut self.bytes);
        self.checksum = crc32c::crc32c_append(self.checksum, &checksum.to_le_bytes());
        (at, bytes)
    }

    /// Completes the group; everything below `durable` is durable.
    pub(super) fn seal(&mut self, durable: Position) {
        let mark = Mark {
            durable,
            next: self.next,
            group_bytes: (self.bytes.len() - MARK_BYTES) as u32,
            checksum: self.checksum,
        };
        let mut head = Vec::with_capacity(MARK_BYTES);
        encode(&Record::Mark(mark), self.seed, &mut head);
        self.bytes[..MARK_BYTES].copy_from_slice(&head);
    }

    /// The bytes of the group, once it is sealed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A group as it was found: its mark, and its records with their offsets.
#[derive(Debug)]
pub(super) struct FoundGroup<'a> {
    /// Its head.
    pub mark: Mark,
    /// Each record with its offset in `bytes`.
    pub records: Vec<(usize, Decoded<'a>)>,
    /// Where it ends.
    pub end: usize,
}

/// Decodes the group at `offset` of a segment's `bytes`: all of it, or the offset and the reason.
pub(super) fn decode_group(
    bytes: &[u8],
    offset: usize,
    seed: u32,
) -> Result<FoundGroup<'_>, (usize, Damage)> {
    let broken = |at, reason| (at, Damage::Broken(reason));
    let found =
        decode(bytes.get(offset..).unwrap_or_default(), seed).map_err(|why| (offset, why))?;
    let Record::Mark(mark) = found.record else {
        return Err(broken(offset, "a group does not begin with a mark"));
    };
    let (mut at, end) = (offset + MARK_BYTES, offset + MARK_BYTES + mark.group_bytes as usize);
    if end > bytes.len() {
        return Err(broken(offset, "the file ends within a group"));
    }
    let (mut records, mut checksum) = (Vec::new(), 0);
    while at < end {
        let found = decode(&bytes[at..end], seed).map_err(|why| (at, why))?;
        if matches!(found.record, Record::Mark(_)) {
            return Err(broken(at, "a group begins within another"));
        }
        checksum = crc32c::crc32c_append(checksum, &found.checksum.to_le_bytes());
        records.push((at, found));
        at += padded(found.bytes);
    }
    if at != end || checksum != mark.checksum {
        return Err(broken(offset, "a group is not made of the records it was written with"));
    }
    Ok(FoundGroup { mark, records, end })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn any_mark() -> impl Strategy<Value = Mark> {
        let next = proptest::option::of(0..u64::MAX);
        (any::<u64>(), any::<u64>(), next, any::<u32>(), any::<u32>()).prop_map(
            |(segment, offset, next, group_bytes, checksum)| Mark {
                durable: Position { segment, offset },
                next,
                group_bytes,
                checksum,
            },
        )
    }

    fn with_record<R>(choice: u8, number: u64, body: &[u8], f: impl Fn(Record<'_>) -> R) -> R {
        f(match choice % 6 {
            0 => Record::Entry { index: number, payload: body },
            1 => Record::Vote(body),
            2 => Record::Committed(body),
            3 => Record::Truncate(None),
            4 => Record::Truncate(Some(number)),
            _ => Record::Purge { upto: number, mark: body },
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes(
            choice: u8, number: u64, body in proptest::collection::vec(any::<u8>(), 0..300), seed: u32,
        ) {
            with_record(choice, number, &body, |record| {
                let mut out = vec![];
                let (bytes, checksum) = encode(&record, seed, &mut out);
                prop_assert_eq!(out.len(), record.file_bytes());
                prop_assert_eq!(decode(&out, seed), Ok(Decoded { record, bytes, checksum }));
                prop_assert!(decode(&out, seed ^ 1).is_err());
                Ok(())
            })?;
        }

        #[test]
        fn a_mark_decodes(mark in any_mark(), seed: u32) {
            let mut out = vec![];
            encode(&Record::Mark(mark), seed, &mut out);
            prop_assert!(may_be_mark(&out, 0));
            prop_assert_eq!(decode(&out, seed).unwrap().record, Record::Mark(mark));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), seed: u32) {
            let _ = decode(&bytes, seed);
            let _ = decode_group(&bytes, 0, seed);
            may_be_mark(&bytes, 0);
        }

        #[test]
        fn any_payload_under_a_right_checksum_decodes_or_is_refused(
            kind: u8, version: u8, payload in proptest::collection::vec(any::<u8>(), 0..60), seed: u32,
        ) {
            let mut bytes = vec![0; 4];
            bytes.extend(((payload.len() + 2) as u32).to_le_bytes());
            bytes.extend([kind, version]);
            bytes.extend(payload);
            let checksum = crc32c::crc32c_append(seed, &bytes[4..]);
            bytes[..4].copy_from_slice(&checksum.to_le_bytes());
            let _ = decode(&bytes, seed);
            let _ = decode_group(&bytes, 0, seed);
        }

        #[test]
        fn a_flipped_bit_in_a_group_is_noticed(at in 0..160_usize, bit in 0..8_u8, seed: u32) {
            let mut group = Group::default();
            group.begin(seed, Some(7));
            group.push(&Record::Entry { index: 7, payload: &[7; 38] });
            group.push(&Record::Entry { index: 8, payload: &[8; 38] });
            let durable = Position { segment: 1, offset: 512 };
            group.seal(durable);
            let whole = group.bytes().to_vec();
            prop_assert_eq!(whole.len(), 160);
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            // The padding of a record is nobody's.
            let padding = (42..48).contains(&at);
            prop_assert_eq!(decode_group(&flipped, 0, seed).is_ok(), padding);
            prop_assert_eq!(decode_group(&whole, 0, seed).unwrap().records.len(), 2);
        }
    }

    #[test]
    fn records_of_one_group_do_not_complete_another() {
        let group = |payload: u8| {
            let mut group = Group::default();
            group.begin(3, Some(1));
            for index in 1..=2 {
                group.push(&Record::Entry { index, payload: &[payload; 600] });
            }
            group.seal(Position { segment: 1, offset: 512 });
            group.bytes().to_vec()
        };
        let (old, new) = (group(b'a'), group(b'b'));
        let second = MARK_BYTES + padded(HEADER_BYTES + 8 + 600);
        let mixed = [&new[..second], &old[second..]].concat();
        let (_, damage) = decode_group(&mixed, 0, 3).unwrap_err();
        assert_eq!(
            damage,
            Damage::Broken("a group is not made of the records it was written with")
        );
    }

    #[test]
    fn a_record_of_another_segment_or_log_is_none() {
        let mut bytes = vec![];
        encode(&Record::Vote(b"v"), seed(7, 1), &mut bytes);
        assert!(decode(&bytes, seed(7, 1)).is_ok());
        for other in [seed(7, 2), seed(8, 1), seed(7, 1 << 32), seed(7 << 64, 1)] {
            assert_eq!(decode(&bytes, other), Err(Damage::Broken("a checksum does not match")));
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_named_as_such() {
        let mut bytes = vec![];
        encode(&Record::Vote(b"v"), 9, &mut bytes);
        bytes[COUNTED_FROM + 1] = 2;
        let checksum = crc32c::crc32c_append(9, &bytes[CHECKED_FROM..=HEADER_BYTES]);
        bytes[..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(decode(&bytes, 9), Err(Damage::Newer(2)));
    }
}
