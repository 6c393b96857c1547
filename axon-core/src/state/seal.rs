//! What guards rows against silent damage: a checksum on each, and a hash over all.
//!
//! An engine below may serve bytes that were never written (redb does not check its pages when it
//! reads). So every row is stored with a CRC32C over its space, key and content, checked on each
//! read; and because no checksum of a row can tell that another row is missing, or an old one back,
//! the state carries a hash: the sum of a 128-bit hash of each row, kept with every change.

use super::overlay::SPACES;
use crate::bug::{self, Bug};
use crate::machine::corrupt;
use crate::machine::rows::{Reader, put_varint};
use crate::storage::{Result, Space, StateView};
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Bound;
use xxhash_rust::xxh3::xxh3_128;

const CHECKSUM_BYTES: usize = 4;

fn checksum(space: Space, key: &[u8], row: &[u8]) -> u32 {
    let mut head = [space as u8; 5];
    head[1..].copy_from_slice(&(key.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), key);
    crc32c::crc32c_append(crc, row)
}

/// Appends its checksum to a row, as it goes to the engine. `arena` is used again once the rows in
/// it are gone.
pub(crate) fn seal(space: Space, key: &[u8], row: &[u8], arena: &mut BytesMut) -> Bytes {
    arena.reserve(row.len() + CHECKSUM_BYTES);
    arena.extend_from_slice(row);
    arena.put_u32_le(checksum(space, key, row));
    arena.split().freeze()
}

/// Checks a row that came from the engine, and takes its checksum off.
pub(crate) fn unseal(space: Space, key: &[u8], mut sealed: Bytes) -> Result<Bytes> {
    let stored = sealed.last_chunk::<CHECKSUM_BYTES>().copied().map(u32::from_le_bytes);
    let row_bytes = sealed.len().saturating_sub(CHECKSUM_BYTES);
    let fits = stored == Some(checksum(space, key, &sealed[..row_bytes]));
    if !fits && !bug::on(Bug::IgnoreChecksum) {
        let key = key.escape_ascii();
        return Err(corrupt("a row's checksum does not match", format_args!("{space:?} {key}")));
    }
    sealed.truncate(row_bytes);
    Ok(sealed)
}

/// Changes a sealed row, and gives it the checksum that fits.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn seal_again(
    space: Space,
    key: &[u8],
    sealed: &mut BytesMut,
    change: impl FnOnce(&mut [u8]),
) -> Bytes {
    sealed.truncate(sealed.len().saturating_sub(CHECKSUM_BYTES));
    change(sealed);
    seal(space, key, sealed, &mut BytesMut::new())
}

/// How many rows there are, how large they are, and their hash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// The sum of the hashes of the rows of `kv`, `history`, `changes` and `sessions`.
    pub hash: u128,
    /// Rows of `kv`, `history`, `changes` and `sessions`.
    pub rows: [u64; 4],
    /// Bytes of those rows and of their keys.
    pub bytes: [u64; 4],
}

/// Layout 1 ended with the rows; its bytes are to be counted.
const TOTALS_FORMAT: u8 = 2;
const TOTALS_FORMAT_1: u8 = 1;

impl Totals {
    /// Bytes that are there for the sake of the past: superseded versions and change records.
    #[must_use]
    pub const fn history_bytes(&self) -> u64 {
        let [_, history, changes, _] = self.bytes;
        history.saturating_add(changes)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(96);
        out.put_u8(TOTALS_FORMAT);
        out.put_u128(self.hash);
        for number in self.rows.into_iter().chain(self.bytes) {
            put_varint(&mut out, number);
        }
        out.freeze()
    }

    /// Decodes the row; the flag says that its bytes are zero for want of a count.
    pub(crate) fn decode(row: &Bytes) -> Result<(Self, bool)> {
        let uncounted = row.first() == Some(&TOTALS_FORMAT_1);
        let format = if uncounted { TOTALS_FORMAT_1 } else { TOTALS_FORMAT };
        let mut reader = Reader::new("totals", row, format)?;
        let mut totals = Self { hash: u128::from_be_bytes(reader.array()?), ..Self::default() };
        for rows in &mut totals.rows {
            *rows = reader.varint()?;
        }
        if !uncounted {
            for bytes in &mut totals.bytes {
                *bytes = reader.varint()?;
            }
        }
        reader.end()?;
        Ok((totals, uncounted))
    }

    /// Counts a row in.
    pub(crate) fn add(&mut self, hasher: &mut RowHasher, space: Space, key: &[u8], row: &[u8]) {
        let Some(place) = SPACES.iter().position(|known| *known == space) else { return };
        self.hash = self.hash.wrapping_add(hasher.hash(space, key, row));
        self.rows[place] += 1;
        self.bytes[place] += (key.len() + row.len()) as u64;
    }

    /// Counts a row out.
    pub(crate) fn remove(&mut self, hasher: &mut RowHasher, space: Space, key: &[u8], row: &[u8]) {
        let Some(place) = SPACES.iter().position(|known| *known == space) else { return };
        self.hash = self.hash.wrapping_sub(hasher.hash(space, key, row));
        self.rows[place] = self.rows[place].saturating_sub(1);
        let bytes = (key.len() + row.len()) as u64;
        self.bytes[place] = self.bytes[place].saturating_sub(bytes);
    }
}

/// Hashes rows; keeps a buffer, so that a row is hashed in one go.
#[derive(Default)]
pub(crate) struct RowHasher(Vec<u8>);

/// A buffer that one huge row has blown up is given back.
const HASHER_BYTES_KEPT: usize = 64 << 10;

impl RowHasher {
    fn hash(&mut self, space: Space, key: &[u8], row: &[u8]) -> u128 {
        self.0.clear();
        self.0.shrink_to(HASHER_BYTES_KEPT);
        self.0.push(space as u8);
        self.0.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(row);
        xxh3_128(&self.0)
    }
}

/// Counts the bytes of a base in its spaces: what totals of layout 1 do not tell.
pub(crate) fn count_bytes(view: &dyn StateView) -> Result<[u64; 4]> {
    let mut bytes = [0; 4];
    for (bytes, space) in bytes.iter_mut().zip(SPACES) {
        for row in view.scan(space, Bound::Unbounded, Bound::Unbounded, false)? {
            let (key, sealed) = row?;
            let row = unseal(space, &key, sealed)?;
            *bytes += (key.len() + row.len()) as u64;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_sealed_row_opens_only_as_it_was_and_where_it_was() {
        let sealed = seal(Space::Kv, b"key", b"row", &mut BytesMut::new());
        assert_eq!(unseal(Space::Kv, b"key", sealed.clone()).unwrap(), "row");
        assert!(unseal(Space::Kv, b"kex", sealed.clone()).is_err());
        assert!(unseal(Space::History, b"key", sealed.clone()).is_err());
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Space::Kv, b"key", flipped.into()).is_err());
        }
        assert!(unseal(Space::Kv, b"key", Bytes::from_static(b"abc")).is_err());
    }

    #[test]
    fn totals_do_not_depend_on_the_order_of_changes() {
        let (mut one, mut two, mut hasher) =
            (Totals::default(), Totals::default(), RowHasher::default());
        one.add(&mut hasher, Space::Kv, b"a", b"1");
        one.add(&mut hasher, Space::Kv, b"b", b"2");
        two.add(&mut hasher, Space::Kv, b"b", b"2");
        two.add(&mut hasher, Space::Kv, b"c", b"3");
        two.add(&mut hasher, Space::Kv, b"a", b"1");
        assert_ne!(one, two);
        two.remove(&mut hasher, Space::Kv, b"c", b"3");
        assert_eq!(one, two);
        assert_eq!(one.bytes, [4, 0, 0, 0]);
        assert_eq!(Totals::decode(&one.encode()).unwrap(), (one, false));
    }

    #[test]
    fn totals_of_layout_1_are_read_without_their_bytes() {
        let mut row = vec![1];
        row.extend_from_slice(&7_u128.to_be_bytes());
        row.extend_from_slice(&[3, 0x80, 1, 2, 1]);
        let expected = Totals { hash: 7, rows: [3, 128, 2, 1], bytes: [0; 4] };
        assert_eq!(Totals::decode(&Bytes::from(row)).unwrap(), (expected, true));
    }
}
