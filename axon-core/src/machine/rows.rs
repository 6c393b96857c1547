//! How rows and their keys are laid out. Stored for ever: a new layout gets a new version byte.
//!
//! | space | key | row |
//! |---|---|---|
//! | kv | the key | version row: `1`, create, mod - create, version (varints), value |
//! | history | escaped key, mod revision (big endian) | the version row as it stood, or `2`: a tombstone |
//! | changes | revision (big endian) | `1`, then for each key, in order: kind, revision it superseded or 0, length (varints), key |
//! | sessions | session id (big endian) | see [`session`](super::session) |
//! | sessions | `fe`, number (big endian); `ff`, idempotency key | see [`once`](super::once) |
//!
//! Keys keep the order of what they encode. In a composite key a part is escaped (`00` becomes
//! `00 FF`) and ended by `00 00`, so that no part is a prefix of another. A version row moves from
//! `kv` to `history` as it is: nothing is copied, and history costs no encoding.

use super::corrupt;
use crate::storage::Result;
use crate::types::{KeyValue, Revision};
use bytes::{Buf, BufMut, Bytes, BytesMut};

const VERSION_ROW: u8 = 1;
const TOMBSTONE_ROW: u8 = 2;
const CHANGES_ROW: u8 = 1;

/// The longest varint.
pub const VARINT_BYTES_MAX: usize = 10;
/// The longest header of a version row.
pub const HEADER_BYTES_MAX: usize = 1 + 3 * VARINT_BYTES_MAX;

/// Appends a number, seven bits a byte, low bits first.
pub fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Takes a row apart; says which row was wrong.
pub struct Reader {
    what: &'static str,
    rest: Bytes,
}

impl Reader {
    /// Begins after the version byte, which must be `format`.
    pub fn new(what: &'static str, row: &Bytes, format: u8) -> Result<Self> {
        match row.first() {
            Some(found) if *found == format => Ok(Self { what, rest: row.slice(1..) }),
            Some(found) => Err(corrupt(what, format_args!("layout {found}, not {format}"))),
            None => Err(corrupt(what, "an empty row")),
        }
    }

    /// Counts the bytes left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes a number.
    pub fn varint(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for (place, byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if place == VARINT_BYTES_MAX - 1 && bits > 1 {
                break;
            }
            number |= bits << (7 * place);
            if byte & 0x80 == 0 {
                self.rest.advance(place + 1);
                return Ok(number);
            }
        }
        Err(corrupt(self.what, "a number that does not end"))
    }

    /// Takes `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some(array) = self.rest.first_chunk::<N>().copied() else {
            return Err(corrupt(self.what, "it ends too early"));
        };
        self.rest.advance(N);
        Ok(array)
    }

    /// Takes `len` bytes, shared with the row.
    pub fn bytes(&mut self, len: u64) -> Result<Bytes> {
        if len > self.rest.len() as u64 {
            return Err(corrupt(self.what, "it ends too early"));
        }
        Ok(self.rest.split_to(len as usize))
    }

    /// Takes the rest.
    pub fn rest(self) -> Bytes {
        self.rest
    }

    /// Checks that nothing is left.
    pub fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(corrupt(self.what, "bytes too many")) }
    }
}

/// A version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// When the key was created.
    pub create_revision: Revision,
    /// When this version was stored.
    pub mod_revision: Revision,
    /// 1 at creation, +1 each change.
    pub version: u64,
    /// The value.
    pub value: Bytes,
}

impl Version {
    /// Gives it its key.
    pub fn with_key(self, key: Bytes) -> KeyValue {
        let Self { create_revision, mod_revision, version, value } = self;
        KeyValue { key, value, create_revision, mod_revision, version }
    }
}

/// Appends a version row.
pub fn put_version(
    out: &mut BytesMut,
    create_revision: Revision,
    mod_revision: Revision,
    version: u64,
    value: &[u8],
) {
    out.put_u8(VERSION_ROW);
    put_varint(out, create_revision.0);
    put_varint(out, mod_revision.0 - create_revision.0);
    put_varint(out, version);
    out.extend_from_slice(value);
}

/// Decodes a version row; the value shares its bytes.
pub fn version(row: &Bytes) -> Result<Version> {
    let mut reader = Reader::new("a version", row, VERSION_ROW)?;
    let create_revision = reader.varint()?;
    let since = reader.varint()?;
    let version = reader.varint()?;
    let mod_revision = create_revision
        .checked_add(since)
        .ok_or_else(|| corrupt("a version", "a revision out of range"))?;
    Ok(Version {
        create_revision: Revision(create_revision),
        mod_revision: Revision(mod_revision),
        version,
        value: reader.rest(),
    })
}

/// The row that says: at this revision the key was removed.
pub fn tombstone() -> Bytes {
    Bytes::from_static(&[TOMBSTONE_ROW])
}

/// Decodes a history row; `None` is a tombstone.
pub fn history(row: &Bytes) -> Result<Option<Version>> {
    if row.as_ref() == [TOMBSTONE_ROW] { Ok(None) } else { version(row).map(Some) }
}

/// The longest history key of a key of `len` bytes.
pub const fn history_key_bytes_max(len: usize) -> usize {
    2 * len + 2 + 8
}

/// Appends the history key of a version.
pub fn put_history_key(out: &mut BytesMut, key: &[u8], mod_revision: Revision) {
    put_escaped(out, key);
    out.put_u64(mod_revision.0);
}

/// Appends one part of a composite key.
pub fn put_escaped(out: &mut BytesMut, part: &[u8]) {
    let mut pieces = part.split(|byte| *byte == 0);
    out.extend_from_slice(pieces.next().unwrap_or_default());
    for piece in pieces {
        out.extend_from_slice(&[0, 0xff]);
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(&[0, 0]);
}

/// Splits a history key into its escaped key, which sorts as the key does, and its revision.
pub fn split_history_key(encoded: &[u8]) -> Result<(&[u8], Revision)> {
    let (escaped, revision) = encoded
        .split_last_chunk::<8>()
        .ok_or_else(|| corrupt("a history key", "not what was encoded"))?;
    Ok((escaped, Revision(u64::from_be_bytes(*revision))))
}

/// Decodes a history key.
pub fn history_key(encoded: &[u8]) -> Result<(Bytes, Revision)> {
    let wrong = || corrupt("a history key", "not what was encoded");
    let (mut rest, revision) = split_history_key(encoded)?;
    let mut key = BytesMut::with_capacity(rest.len());
    loop {
        let zero = rest.iter().position(|byte| *byte == 0).ok_or_else(wrong)?;
        key.extend_from_slice(&rest[..zero]);
        match rest[zero + 1..] {
            [0] => return Ok((key.freeze(), revision)),
            [0xff, ..] => {
                key.put_u8(0);
                rest = &rest[zero + 2..];
            }
            _ => return Err(wrong()),
        }
    }
}

/// What a revision did to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It stored a value.
    Put,
    /// It removed the key.
    Delete,
}

/// A key that a revision changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// How.
    pub kind: Kind,
    /// The revision of the version that it superseded; `None` when the key was absent.
    pub previous: Option<Revision>,
    /// Which key.
    pub key: Bytes,
}

/// The most bytes that a key of `len` bytes takes in a changes row, with the version byte.
pub const fn change_bytes_max(len: usize) -> usize {
    2 + 2 * VARINT_BYTES_MAX + len
}

/// Appends a changes row: kind, superseded revision and key of each change.
pub fn put_changes<'a>(
    out: &mut BytesMut,
    changes: impl IntoIterator<Item = (Kind, Option<Revision>, &'a [u8])>,
) {
    out.put_u8(CHANGES_ROW);
    for (kind, previous, key) in changes {
        out.put_u8(match kind {
            Kind::Put => 1,
            Kind::Delete => 2,
        });
        put_varint(out, previous.map_or(0, |revision| revision.0));
        put_varint(out, key.len() as u64);
        out.extend_from_slice(key);
    }
}

/// Decodes a changes row.
pub fn changes(row: &Bytes) -> Result<Vec<KeyChange>> {
    let mut reader = Reader::new("a changes row", row, CHANGES_ROW)?;
    let mut changes = Vec::with_capacity(1);
    while reader.remaining() > 0 {
        let kind = match reader.array()? {
            [1] => Kind::Put,
            [2] => Kind::Delete,
            [other] => return Err(corrupt("a changes row", format_args!("kind {other}"))),
        };
        let previous = Some(reader.varint()?).filter(|revision| *revision > 0).map(Revision);
        let len = reader.varint()?;
        changes.push(KeyChange { kind, previous, key: reader.bytes(len)? });
    }
    Ok(changes)
}

/// The key of a revision or a session: its number, big endian, so that order is kept.
pub fn number_key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// Decodes what [`number_key`] made.
pub fn number(key: &[u8]) -> Result<u64> {
    let bytes = key.try_into().map_err(|_| corrupt("a number's key", "not eight bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}
