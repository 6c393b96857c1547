//! From what a request says to the bytes of a key, or to a range of keys.
//!
//! The path is taken as it came over the wire: decoded once, never normalised, so that `a%2Fb` and
//! `a/b` name the same key, `%252F` is the three characters `%2F`, and `..` or `//` are part of the
//! key like any other bytes. A `+` is a plus sign. Invariant: whatever the path holds, decoding
//! answers a value or an error, and never panics.

use axon_core::types::KeyRange;
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Bound;

/// Why a path does not name a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A `%` is not followed by two hexadecimal digits.
    #[error(
        "the key has a bad percent-encoding at byte {at}: '%' is followed by two hexadecimal digits, and itself written %25"
    )]
    Percent {
        /// Where the `%` stands in the encoded key.
        at: usize,
    },
    /// The decoded key is not text.
    #[error("the key is not UTF-8 text; /v1/kv/{{key}} takes any bytes")]
    NotText,
    /// There is no key.
    #[error("a key has at least one byte")]
    Empty,
}

/// Decodes the key in `path`, the part of the request path that follows `/kv/`, into bytes.
///
/// # Errors
/// [`KeyError::Empty`] and [`KeyError::Percent`].
pub fn bytes(path: &str) -> Result<Cow<'_, [u8]>, KeyError> {
    if path.is_empty() {
        return Err(KeyError::Empty);
    }
    decode(path.as_bytes()).map_err(|at| KeyError::Percent { at })
}

/// Undoes percent-encoding; of a bad one, returns where its `%` stands.
pub(crate) fn decode(encoded: &[u8]) -> Result<Cow<'_, [u8]>, usize> {
    let Some(first) = encoded.iter().position(|byte| *byte == b'%') else {
        return Ok(Cow::Borrowed(encoded));
    };
    let mut decoded = Vec::with_capacity(encoded.len());
    decoded.extend_from_slice(&encoded[..first]);
    let mut at = first;
    while at < encoded.len() {
        if encoded[at] == b'%' {
            let byte = encoded.get(at + 1..at + 3).and_then(hex_pair);
            decoded.push(byte.ok_or(at)?);
            at += 3;
        } else {
            decoded.push(encoded[at]);
            at += 1;
        }
    }
    Ok(Cow::Owned(decoded))
}

/// Decodes the key in `path` as the text that the simple doors speak.
///
/// # Errors
/// Those of [`bytes()`], and [`KeyError::NotText`]: a key that JSON cannot carry must not be written
/// where it could never be read back.
pub fn text(path: &str) -> Result<Cow<'_, str>, KeyError> {
    match bytes(path)? {
        // A path without a percent sign is what it was: text.
        Cow::Borrowed(_) => Ok(Cow::Borrowed(path)),
        Cow::Owned(key) => String::from_utf8(key).map(Cow::Owned).map_err(|_| KeyError::NotText),
    }
}

/// Why three texts do not name a range of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Both spellings are used.
    #[error("a range is a `prefix`, or it has a `start` and an `end`: not both")]
    Both,
    /// The range ends before it begins.
    #[error("`end` comes after `start`, and is not part of the range")]
    Backwards,
}

/// The keys that begin with `prefix`, or those from `start` on and before `end`. What is not given, or
/// empty, is no limit.
///
/// # Errors
/// Those of [`RangeError`].
pub fn range(
    prefix: Option<Bytes>,
    start: Option<Bytes>,
    end: Option<Bytes>,
) -> Result<KeyRange, RangeError> {
    let given = |text: Option<Bytes>| text.filter(|text| !text.is_empty());
    let (start, end) = (given(start), given(end));
    if prefix.is_some() && (start.is_some() || end.is_some()) {
        return Err(RangeError::Both);
    }
    if let Some(prefix) = given(prefix) {
        return Ok(KeyRange::prefix(prefix));
    }
    if let (Some(start), Some(end)) = (&start, &end)
        && start >= end
    {
        return Err(RangeError::Backwards);
    }
    Ok(KeyRange {
        start: start.map_or(Bound::Unbounded, Bound::Included),
        end: end.map_or(Bound::Unbounded, Bound::Excluded),
    })
}

fn hex_pair(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(digits[0])? << 4 | digit(digits[1])?) as u8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decodes_once_and_normalises_nothing() {
        let cases = [
            ("a", "a"),
            ("a/b", "a/b"),
            ("a%2Fb", "a/b"),
            ("a%2fb", "a/b"),
            ("%252F", "%2F"),
            ("../etc//passwd/.", "../etc//passwd/."),
            ("/", "/"),
            ("a+b%20c", "a+b c"),
            ("%F0%9F%A6%80", "\u{1f980}"),
            ("\u{1f980}", "\u{1f980}"),
            ("100%25", "100%"),
            ("%00", "\0"),
        ];
        for (path, key) in cases {
            assert_eq!(text(path).unwrap(), key, "{path}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        assert_eq!(text(""), Err(KeyError::Empty));
        assert_eq!(text("ab%"), Err(KeyError::Percent { at: 2 }));
        assert_eq!(text("ab%4"), Err(KeyError::Percent { at: 2 }));
        assert_eq!(text("%zz"), Err(KeyError::Percent { at: 0 }));
        assert_eq!(text("%+1"), Err(KeyError::Percent { at: 0 }));
        assert_eq!(text("%\u{1f980}"), Err(KeyError::Percent { at: 0 }));
        assert_eq!(text("%FF"), Err(KeyError::NotText));
        assert_eq!(bytes("%FF").unwrap().as_ref(), [0xff]);
    }

    #[test]
    fn a_range_is_a_prefix_or_has_ends() {
        let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let all = KeyRange::all();
        for nothing in [None, text("")] {
            assert_eq!(range(nothing.clone(), nothing.clone(), nothing), Ok(all.clone()));
        }
        assert_eq!(range(text("a"), None, text("")), Ok(KeyRange::prefix("a")));
        let between = range(None, text("a"), text("c")).unwrap();
        assert!(between.contains(b"a") && between.contains(b"bz") && !between.contains(b"c"));
        assert!(range(None, text("b"), None).unwrap().contains(b"\xff"));
        assert!(range(None, None, text("b")).unwrap().contains(b"\0"));
        assert_eq!(range(text("a"), text("a"), None), Err(RangeError::Both));
        assert_eq!(range(text(""), None, text("a")), Err(RangeError::Both));
        for (start, end) in [("b", "a"), ("a", "a")] {
            assert_eq!(range(None, text(start), text(end)), Err(RangeError::Backwards));
        }
    }

    proptest! {
        #[test]
        fn any_path_is_a_key_or_an_error(path in any::<String>()) {
            let _ = text(&path);
        }

        #[test]
        fn every_key_comes_back_from_its_encoding(key in prop::collection::vec(any::<u8>(), 1..64)) {
            use std::fmt::Write;
            let mut path = String::new();
            for byte in &key {
                write!(path, "%{byte:02x}").unwrap();
            }
            let decoded = bytes(&path).unwrap();
            prop_assert_eq!(decoded.as_ref(), &key[..]);
        }

        #[test]
        fn hostile_percent_signs_never_panic(path in "[%0-9a-fA-FgG\u{e9}/]{0,40}") {
            let _ = text(&path);
        }
    }
}
