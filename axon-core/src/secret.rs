//! What the members of a cluster share, and prove to each other before anything else.
//!
//! Hides the bytes and the keyed hash. A secret is never shown: not by `Debug`, not in an error.

use std::fmt;

/// A cluster's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The shortest secret, in bytes.
    pub const BYTES_MIN: usize = 16;
    /// The longest secret, in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Takes `bytes` for the secret; `None` when they are too few or too many.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&bytes.len()).then_some(Self(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
