//! The plain words of Axon: identifiers, members, keys with their versions, ranges, limits.
//!
//! Nothing here does anything. Identifiers are newtypes so that a log index can never be passed
//! where a revision is meant.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Bound;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the number that follows this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }
    };
}

number! {
    /// Names a replica for ever: allocated by the cluster, never reused.
    NodeId
}
number! {
    /// A place in the Raft log.
    LogIndex
}
number! {
    /// The store's version: 0 when empty, +1 for each committed command that changed something.
    Revision
}
number! {
    /// Names a client session: the index of the log entry that opened it.
    SessionId
}

/// Names a cluster for ever: 128 random bits, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ClusterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| format!("a cluster id is 32 hexadecimal digits, not {text:?}"))
    }
}

/// A replica that the log says belongs to the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name chosen by people, such as `node3`.
    pub name: String,
    /// Where its API answers (`host:port`); empty when it has none, as in an embedded replica.
    pub address: String,
    /// Where its peers reach it, in the transport's notation.
    pub peer_address: String,
    /// The newest replicated vocabulary it understands (`command::VOCABULARY`).
    pub vocabulary: u16,
}

/// A key with its value and its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The revision at which the key was created.
    pub create_revision: Revision,
    /// The revision of its last change.
    pub mod_revision: Revision,
    /// 1 at creation, +1 with each change; gone with a delete.
    pub version: u64,
}

/// Makes a write happen once however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestId {
    /// The session that sends it.
    pub session: SessionId,
    /// Its number in the session, from 1, never reused.
    pub sequence: u64,
    /// Every outcome below this number has reached the client and may be forgotten.
    pub lowest_unacknowledged: u64,
}

/// A range of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// Where it begins.
    pub start: Bound<Bytes>,
    /// Where it ends.
    pub end: Bound<Bytes>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// This key alone.
    pub fn key(key: impl Into<Bytes>) -> Self {
        let key = key.into();
        Self { start: Bound::Included(key.clone()), end: Bound::Included(key) }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        let end = match successor(&prefix) {
            Some(end) => Bound::Excluded(end),
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(prefix), end }
    }

    /// Reports whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let after_start = match &self.start {
            Bound::Included(start) => key >= start.as_ref(),
            Bound::Excluded(start) => key > start.as_ref(),
            Bound::Unbounded => true,
        };
        let before_end = match &self.end {
            Bound::Included(end) => key <= end.as_ref(),
            Bound::Excluded(end) => key < end.as_ref(),
            Bound::Unbounded => true,
        };
        after_start && before_end
    }
}

/// The smallest byte string above all that begin with `prefix`; `None` when there is none.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Bytes::from(end))
}

/// What a single key, value and command may measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest key in bytes; the shortest is 1. Default 4 KiB.
    pub key_bytes_max: usize,
    /// Longest value in bytes. Default 1 MiB.
    pub value_bytes_max: usize,
}

impl Limits {
    /// No command is ever larger, whatever the settings say.
    pub const COMMAND_BYTES_MAX: usize = 16 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self { key_bytes_max: 4 << 10, value_bytes_max: 1 << 20 }
    }
}
