//! Cursors: where a query goes on, in a form that clients carry.
//!
//! Hides what a cursor is made of:
//!
//! ```text
//! version u8 | cluster u128 | query u64 | revision u64 | kind u8 | place ... | crc32c u32   big endian
//! ```
//!
//! printed as base64url without padding. `query` is a hash of all that must be asked as before. The
//! checksum finds damage, not forgery: whoever makes a cursor of his own can ask for nothing with it
//! that he could not ask for without.

use crate::error::Error;
use crate::types::{ClusterId, KeyRange, Limits, Revision};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;
use xxhash_rust::xxh3::xxh3_64;

const FORMAT: u8 = 1;
const AFTER_KEY: u8 = 1;
const AFTER_CHILD: u8 = 2;

/// What stands before the place.
const HEAD_BYTES: usize = 1 + 16 + 8 + 8 + 1;
const CHECKSUM_BYTES: usize = 4;
/// No key is longer than the largest command, and no text of a cursor than this.
const TEXT_BYTES_MAX: usize =
    (HEAD_BYTES + Limits::COMMAND_BYTES_MAX + CHECKSUM_BYTES).div_ceil(3) * 4;

/// Where a query goes on. Opaque: printed for a client to keep, parsed when it comes back.
///
/// It names the store, the query and the revision, so that pages of one listing are of one moment,
/// whichever replica serves them. It is as long as the key that it stands at, and a third: up to
/// 5.6 kB with keys of 4 KiB.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
/// # let dir = tempfile::tempdir().expect("a directory");
/// # let store = axon_core::Cluster::open(dir.path()).await?.store();
/// use axon_core::store::Cursor;
///
/// store.put("a", "1").await?;
/// store.put("b", "2").await?;
/// let first = store.prefix("").limit(1).page().await?;
/// let text = first.next.expect("there is another pair").to_string();
/// let cursor: Cursor = text.parse()?;
/// let second = store.prefix("").limit(1).cursor(cursor).page().await?;
/// assert_eq!((&second.items[0].key[..], second.next), (&b"b"[..], None));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) cluster: ClusterId,
    /// What [`fingerprint`] made of the query.
    pub(super) query: u64,
    pub(super) revision: Revision,
    pub(super) place: Place,
}

/// How far a query has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// It has dealt with this key.
    Key(Bytes),
    /// It has dealt with all keys that begin with this.
    Child(Bytes),
}

impl Place {
    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Self::Key(bytes) | Self::Child(bytes) => bytes,
        }
    }

    /// What is left of `range` from here on; `None`: nothing.
    pub(super) fn rest(&self, range: &KeyRange, reverse: bool) -> Option<KeyRange> {
        let KeyRange { start, end } = range.clone();
        let before = Bound::Excluded(self.bytes().clone());
        Some(match self {
            _ if reverse => KeyRange { start, end: before },
            Self::Key(_) => KeyRange { start: before, end },
            Self::Child(prefix) => match KeyRange::prefix(prefix.clone()).end {
                Bound::Excluded(after) => KeyRange { start: Bound::Included(after), end },
                _ => return None,
            },
        })
    }
}

/// Hashes what must be the same on all pages of a listing.
pub(super) fn fingerprint(
    range: &KeyRange,
    reverse: bool,
    keys_only: bool,
    delimiter: &[u8],
) -> u64 {
    let mut query = vec![u8::from(reverse), u8::from(keys_only)];
    for bound in [&range.start, &range.end] {
        let (kind, key) = match bound {
            Bound::Included(key) => (0, key.as_ref()),
            Bound::Excluded(key) => (1, key.as_ref()),
            Bound::Unbounded => (2, [].as_slice()),
        };
        query.push(kind);
        query.extend_from_slice(&(key.len() as u64).to_be_bytes());
        query.extend_from_slice(key);
    }
    query.extend_from_slice(delimiter);
    xxh3_64(&query)
}

impl Cursor {
    /// Checks that it belongs to this cluster and query.
    pub(super) fn check(
        &self,
        cluster: ClusterId,
        query: u64,
        range: &KeyRange,
    ) -> Result<(), Error> {
        if self.cluster != cluster {
            return Err(bad("it belongs to another cluster"));
        }
        if self.query != query || !range.contains(self.place.bytes()) {
            return Err(bad("it belongs to another query"));
        }
        Ok(())
    }
}

pub(super) fn bad(reason: &str) -> Error {
    Error::BadCursor { reason: reason.to_owned() }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, query, revision, place } = self;
        let mut out = BytesMut::with_capacity(HEAD_BYTES + place.bytes().len() + CHECKSUM_BYTES);
        out.put_u8(FORMAT);
        out.put_u128(cluster.0);
        out.put_u64(*query);
        out.put_u64(revision.0);
        out.put_u8(match place {
            Place::Key(_) => AFTER_KEY,
            Place::Child(_) => AFTER_CHILD,
        });
        out.extend_from_slice(place.bytes());
        out.put_u32(crc32c::crc32c(&out));
        f.write_str(&URL_SAFE_NO_PAD.encode(&out))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let decoded = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad("it is damaged"))?;
        let Some((content, checksum)) = decoded.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(bad("it is damaged"));
        };
        let intact = u32::from_be_bytes(*checksum) == crc32c::crc32c(content);
        if !intact || content.is_empty() {
            return Err(bad("it is damaged"));
        }
        // A newer one may be laid out in any way behind its version.
        if content[0] != FORMAT {
            return Err(bad("another version of Axon made it"));
        }
        if content.len() < HEAD_BYTES {
            return Err(bad("it is damaged"));
        }
        let mut content = Bytes::copy_from_slice(&content[1..]);
        let cluster = ClusterId(content.get_u128());
        let query = content.get_u64();
        let revision = Revision(content.get_u64());
        let place = match content.get_u8() {
            AFTER_KEY => Place::Key(content),
            AFTER_CHILD => Place::Child(content),
            _ => return Err(bad("it is damaged")),
        };
        Ok(Self { cluster, query, revision, place })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn any_cursor() -> impl Strategy<Value = Cursor> {
        let place = (any::<bool>(), vec(any::<u8>(), 0..40)).prop_map(|(is_key, bytes)| {
            let bytes = Bytes::from(bytes);
            if is_key { Place::Key(bytes) } else { Place::Child(bytes) }
        });
        (any::<u128>(), any::<u64>(), any::<u64>(), place).prop_map(
            |(cluster, query, revision, place)| Cursor {
                cluster: ClusterId(cluster),
                query,
                revision: Revision(revision),
                place,
            },
        )
    }

    fn refused(text: &str) -> bool {
        matches!(text.parse::<Cursor>(), Err(Error::BadCursor { .. }))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_cursor_comes_back_from_its_text_and_from_no_other(
            cursor in any_cursor(),
            place in any::<prop::sample::Index>(),
            flip in 1_u8..128,
        ) {
            let text = cursor.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            prop_assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
            let mut damaged = text.clone().into_bytes();
            let place = place.index(damaged.len());
            damaged[place] ^= flip;
            prop_assert!(refused(&String::from_utf8(damaged).unwrap()));
            prop_assert!(refused(&text[..place]));
            prop_assert!(refused(&(text.clone() + "=")));
            prop_assert!(refused(&(text + "A")));
        }

        #[test]
        fn any_text_is_a_cursor_or_refused(text in any::<String>(), bytes in vec(any::<u8>(), 0..80)) {
            prop_assert!(refused(&text));
            prop_assert!(refused(&URL_SAFE_NO_PAD.encode(&bytes)));
            // What is whole but was never a cursor.
            let sealed = [&bytes[..], &crc32c::crc32c(&bytes).to_be_bytes()].concat();
            let sealed = URL_SAFE_NO_PAD.encode(sealed);
            if let Ok(cursor) = sealed.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), sealed);
            }
        }
    }

    #[test]
    fn a_cursor_of_another_store_or_query_is_refused() {
        let (all, users) = (KeyRange::all(), KeyRange::prefix("user/"));
        let query = fingerprint(&users, false, false, b"");
        let place = Place::Key(Bytes::from_static(b"user/7"));
        let cursor = Cursor { cluster: ClusterId(1), query, revision: Revision(9), place };
        assert_eq!(cursor.check(ClusterId(1), query, &users), Ok(()));
        assert!(cursor.check(ClusterId(2), query, &users).is_err());
        for other in [
            fingerprint(&all, false, false, b""),
            fingerprint(&users, true, false, b""),
            fingerprint(&users, false, true, b""),
            fingerprint(&users, false, false, b"/"),
            fingerprint(&KeyRange::key("user/"), false, false, b""),
        ] {
            assert!(cursor.check(ClusterId(1), other, &users).is_err());
        }
        let outside = Cursor { place: Place::Key(Bytes::from_static(b"admin")), ..cursor };
        assert!(outside.check(ClusterId(1), query, &users).is_err(), "it would widen the range");
    }

    #[test]
    fn the_rest_of_a_range_begins_behind_the_place() {
        let range = KeyRange::prefix("a/");
        let key = Place::Key(Bytes::from_static(b"a/k"));
        let child = Place::Child(Bytes::from_static(b"a/k/"));
        let last = Place::Child(Bytes::from_static(&[0xff, 0xff]));
        let holds = |place: &Place, reverse, key: &str| {
            place.rest(&range, reverse).unwrap().contains(key.as_bytes())
        };
        assert!(
            !holds(&key, false, "a/k") && holds(&key, false, "a/k\0") && !holds(&key, false, "b")
        );
        assert!(!holds(&key, true, "a/k") && holds(&key, true, "a/j") && !holds(&key, true, "a"));
        assert!(!holds(&child, false, "a/k/z") && holds(&child, false, "a/k0"));
        assert!(!holds(&child, true, "a/k/") && holds(&child, true, "a/k"));
        assert_eq!(last.rest(&KeyRange::all(), false), None);
    }
}
