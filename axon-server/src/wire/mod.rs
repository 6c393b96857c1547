//! Every JSON shape that crosses the wire, and nothing else.
//!
//! Names and order of the fields are the contract; `tests/fixtures` holds each shape as documented.
//! Shapes borrow from what they show, so that an answer is encoded once, into the buffer that is sent.
//! [`simple`] has the doors at `/kv`, [`kv`] and [`txn`] the data under `/v1`, [`cluster`] and
//! [`events`] the rest;
//! [`text`] is how JSON carries bytes that may not be text.

pub mod cluster;
pub mod events;
pub mod kv;
pub mod simple;
pub mod text;
pub mod txn;
pub mod watch;

pub use cluster::{Check, Health, Members, Status, TransferRequest, Version};
pub use events::Events;
pub use simple::{Pair, PutRequest, Success, append_member};

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

/// The version that this server reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Encodes `shape` into one buffer.
#[must_use]
pub fn encode(shape: &impl Serialize) -> Bytes {
    let mut buffer = Vec::with_capacity(128);
    serde_json::to_writer(&mut buffer, shape)
        .expect("the shapes have text as keys, and a buffer takes every byte");
    Bytes::from(buffer)
}

/// Reports whether `body` can only be a JSON object: serde takes an array for a struct as well, which
/// is no part of the contract.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// Every error (RFC 9457, with members of our own).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem<'a> {
    /// Always `about:blank`: `code` is what programs look at.
    pub r#type: &'static str,
    /// What `code` means, for people.
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// What happened, in a sentence.
    pub error: &'a str,
    /// What happened, for programs.
    pub code: &'a str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Whether a write may have happened: `not_applied` or `unknown`.
    pub outcome: &'a str,
    /// Figures and names that belong to `code`.
    pub details: &'a serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Checks that `shape` is encoded as the text of `fixture`, to the byte.
    #[track_caller]
    pub(super) fn reads(shape: &impl Serialize, fixture: &str) {
        assert_eq!(String::from_utf8(encode(shape).to_vec()).unwrap(), fixture.trim_end());
    }
}
