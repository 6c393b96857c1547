//! Bytes in JSON: as they are when they are text, otherwise in base64.
//!
//! Invariant: what an answer shows can be sent back as it is and names the same bytes. So a member
//! `encoding` (of a value) or `key_encoding` (of a key, or of what keys begin with) stands beside the
//! text when, and only when, it is base64.

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use utoipa::ToSchema;

/// Bytes as an answer shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text<'a> {
    /// They are text.
    Plain(&'a str),
    /// They are not: shown in base64.
    Base64(&'a [u8]),
}

/// How bytes are written when it is not as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// In base64 (RFC 4648, section 4, padded).
    Base64,
}

impl<'a> Text<'a> {
    /// Shows `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        std::str::from_utf8(bytes).map_or(Self::Base64(bytes), Self::Plain)
    }

    /// How they are written; `None`: as they are.
    #[must_use]
    pub const fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Plain(_) => None,
            Self::Base64(_) => Some(Encoding::Base64),
        }
    }

    /// Leaves at most `bytes` of them, and no half of a character of what is text.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Self {
        match self {
            Self::Plain(text) => Self::Plain(&text[..text.floor_char_boundary(bytes)]),
            Self::Base64(all) => Self::Base64(&all[..bytes.min(all.len())]),
        }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Base64(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

/// Decodes what a request wrote in `encoding`; `member` is its name, for the error.
pub(crate) fn decode(
    member: &str,
    text: Cow<'_, str>,
    encoding: Option<Encoding>,
) -> Result<Bytes, String> {
    match encoding {
        None => Ok(Bytes::from(text.into_owned())),
        Some(Encoding::Base64) => STANDARD
            .decode(text.as_bytes())
            .map(Bytes::from)
            .map_err(|error| format!("`{member}` is not base64: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_shown_can_be_sent_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let shown = Text::new(&bytes);
            let json = serde_json::to_string(&shown).unwrap();
            let text: String = serde_json::from_str(&json).unwrap();
            let back = decode("value", Cow::Owned(text), shown.encoding()).unwrap();
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn a_cut_is_the_longest_beginning_that_is_still_text(text in ".{0,12}", bytes in 0usize..40) {
            let Text::Plain(cut) = Text::new(text.as_bytes()).cut(bytes) else { unreachable!() };
            prop_assert!(text.starts_with(cut) && cut.len() <= bytes);
            let next = text[cut.len()..].chars().next();
            prop_assert!(next.is_none_or(|next| cut.len() + next.len_utf8() > bytes));
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_cut_as_bytes() {
        assert_eq!(Text::new(b"ab\xff").cut(2), Text::Base64(b"ab"), "it stays what it is");
        assert_eq!(Text::new(b"\xff").cut(9), Text::Base64(b"\xff"));
    }

    #[test]
    fn what_is_no_base64_is_refused_by_name() {
        for wrong in ["A", "====", "_-8=", "AA", "AA==\n"] {
            let refused = decode("key", Cow::Borrowed(wrong), Some(Encoding::Base64));
            assert!(refused.unwrap_err().starts_with("`key` is not base64"), "{wrong}");
        }
    }
}
