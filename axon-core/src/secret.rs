//! What the members of a cluster share, and prove to each other before anything else.
//!
//! Hides the bytes and the keyed hash (HMAC-SHA256). Invariants:
//!
//! * a secret is never shown: not by `Debug`, not in an error; and only a key derived from it is kept;
//! * a proof is checked in a time that does not tell how much of it was right;
//! * what is proven is unambiguous: every part goes in behind its length, and the label that says who
//!   proves it goes in first, so that no proof ever passes for another;
//! * without a secret there is a key all the same, which everyone knows ([`Secret::none`]): there is
//!   one way of talking, and a replica with a secret and one without do not understand each other.
//!
//! It does not encrypt. Whoever hears a proof can try guesses at the secret on it for as long as he
//! likes: a secret is random (32 bytes are plenty), never a word.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// The length of a proof, in bytes.
pub(crate) const PROOF_BYTES: usize = 32;

/// A cluster's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The shortest secret, in bytes.
    pub const BYTES_MIN: usize = 16;
    /// The longest secret, in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Takes `bytes` for the secret; `None` when they are too few or too many.
    ///
    /// ```
    /// use axon_core::secret::Secret;
    ///
    /// assert!(Secret::new("too short").is_none());
    /// assert!(Secret::new("0123456789abcdef0123456789abcdef").is_some());
    /// ```
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let fits = (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&bytes.len());
        fits.then(|| Self(keyed(b"axon cluster secret", &[&bytes]).finalize().into_bytes().into()))
    }

    /// What a replica proves that has no secret: that it has none.
    #[must_use]
    pub fn none() -> Self {
        Self(keyed(b"axon without a secret", &[]).finalize().into_bytes().into())
    }

    /// Proves to whoever has the same secret that `parts` come from one who has it, too.
    pub(crate) fn prove(&self, label: &[u8], parts: &[&[u8]]) -> [u8; PROOF_BYTES] {
        self.mac(label, parts).finalize().into_bytes().into()
    }

    /// Reports whether `proof` was made of this secret, `label` and `parts`.
    pub(crate) fn proves(&self, proof: &[u8], label: &[u8], parts: &[&[u8]]) -> bool {
        self.mac(label, parts).verify_slice(proof).is_ok()
    }

    fn mac(&self, label: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut all = vec![label];
        all.extend_from_slice(parts);
        keyed(&self.0, &all)
    }
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn secret(fill: u8) -> Secret {
        Secret::new([fill; 32]).unwrap()
    }

    #[test]
    fn only_the_same_secret_label_and_parts_prove() {
        let proof = secret(1).prove(b"label", &[b"ab", b"c"]);
        assert!(secret(1).proves(&proof, b"label", &[b"ab", b"c"]));
        assert!(!secret(2).proves(&proof, b"label", &[b"ab", b"c"]), "another secret");
        assert!(!secret(1).proves(&proof, b"lapel", &[b"ab", b"c"]), "another label");
        assert!(!secret(1).proves(&proof, b"label", &[b"a", b"bc"]), "cut elsewhere");
        assert!(!secret(1).proves(&proof, b"label", &[b"abc"]), "not cut");
        for cut in 0..PROOF_BYTES {
            assert!(!secret(1).proves(&proof[..cut], b"label", &[b"ab", b"c"]), "{cut} bytes");
        }
    }

    #[test]
    fn secrets_that_look_alike_differ() {
        // A keyed hash fills a short key up with zeros and hashes a long one: not so here.
        let short = [7; 20];
        let filled = [&short[..], &[0]].concat();
        let proof = Secret::new(short).unwrap().prove(b"", &[]);
        assert!(!Secret::new(filled).unwrap().proves(&proof, b"", &[]));
        assert!(!Secret::none().proves(&proof, b"", &[]));
    }

    #[test]
    fn a_secret_is_neither_too_short_nor_too_long_and_never_shown() {
        for (length, fits) in [(0, false), (15, false), (16, true), (1024, true), (1025, false)] {
            assert_eq!(Secret::new(vec![b'x'; length]).is_some(), fits, "{length} bytes");
        }
        assert_eq!(format!("{:?}", secret(1)), "Secret(..)");
    }
}
