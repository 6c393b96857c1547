//! From a request path to the bytes of a key.
//!
//! The path is taken as it came over the wire: decoded once, never normalised, so that `a%2Fb` and
//! `a/b` name the same key, `%252F` is the three characters `%2F`, and `..` or `//` are part of the
//! key like any other bytes. A `+` is a plus sign. Invariant: whatever the path holds, decoding
//! answers a value or an error, and never panics.

use std::borrow::Cow;

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
    let encoded = path.as_bytes();
    if encoded.is_empty() {
        return Err(KeyError::Empty);
    }
    let Some(first) = encoded.iter().position(|byte| *byte == b'%') else {
        return Ok(Cow::Borrowed(encoded));
    };
    let mut decoded = Vec::with_capacity(encoded.len());
    decoded.extend_from_slice(&encoded[..first]);
    let mut at = first;
    while at < encoded.len() {
        if encoded[at] == b'%' {
            let byte = encoded.get(at + 1..at + 3).and_then(hex_pair);
            decoded.push(byte.ok_or(KeyError::Percent { at })?);
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
