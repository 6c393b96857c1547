//! Encodes and decodes what goes into files and frames. The only file that names `bincode`.
//!
//! Every encoding begins with a version byte. What comes from a peer or a disk is decoded under a
//! size limit, so that a few hostile bytes cannot ask for gigabytes, and nothing may follow it.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use std::cell::Cell;

/// The version of every encoding made here.
pub const VERSION: u8 = 1;

/// More than any message that is decoded here may claim to hold.
const DECODE_BYTES_MAX: usize = 64 << 20;

/// Levels of values inside their own kind: more than any that is valid, less than a stack bears.
const NESTING_MAX: usize = 32;

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They were written by a newer Axon.
    #[error("encoding version {found} is newer than {VERSION}")]
    Newer {
        /// The version found.
        found: u8,
    },
    /// They are not a valid encoding.
    #[error("{0}")]
    Malformed(String),
}

const fn config() -> Configuration<LittleEndian, Varint, Limit<DECODE_BYTES_MAX>> {
    bincode::config::standard().with_limit::<DECODE_BYTES_MAX>()
}

/// Encodes `value` behind a version byte.
///
/// # Panics
/// Never for the types of this crate: all of them have a serde derive that cannot fail.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut out = vec![VERSION];
    encode_into(value, &mut out);
    Bytes::from(out)
}

/// Appends the encoding of `value`, without a version byte, to `out`.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, config())
        .expect("writing to memory does not fail and the derives cover every value");
}

/// Decodes what [`encode`] made; all of it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (&version, rest) =
        bytes.split_first().ok_or_else(|| DecodeError::Malformed("no bytes".into()))?;
    match version {
        VERSION => decode_from(rest),
        0 => Err(DecodeError::Malformed("version 0".into())),
        found => Err(DecodeError::Newer { found }),
    }
}

/// Decodes what [`encode_into`] appended; all of `bytes`.
pub fn decode_from<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if used != bytes.len() {
        return Err(DecodeError::Malformed(format!("{} bytes too many", bytes.len() - used)));
    }
    Ok(value)
}

/// Decodes a part that may hold its own kind again, as in `#[serde(deserialize_with)]`. Too many
/// levels are refused: each costs a few bytes only, and a stack is not under the size limit.
pub fn nested<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    thread_local!(static LEVEL: Cell<usize> = const { Cell::new(0) });
    let level = LEVEL.get();
    if level >= NESTING_MAX {
        return Err(D::Error::custom("nested too deep"));
    }
    LEVEL.set(level + 1);
    let decoded = T::deserialize(deserializer);
    LEVEL.set(level);
    decoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::command::{Command, Op, Outcome};
    use crate::types::{RequestId, SessionId};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_command_comes_back_as_it_was(
            key in prop::collection::vec(any::<u8>(), 0..200),
            value in prop::collection::vec(any::<u8>(), 0..2_000),
            numbers in any::<Option<(u64, u64, u64)>>(),
        ) {
            let request = numbers.map(|(session, sequence, lowest_unacknowledged)| RequestId {
                session: SessionId(session),
                sequence,
                lowest_unacknowledged,
            });
            let command = Command { request, op: Op::Put { key: key.into(), value: value.into() } };
            prop_assert_eq!(decode::<Command>(&encode(&command)).unwrap(), command);
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Command>(&bytes);
            let _ = decode::<Outcome>(&bytes);
            let _ = decode_from::<Command>(&bytes);
        }

        #[test]
        fn nothing_may_follow_a_value(tail in prop::collection::vec(any::<u8>(), 1..50)) {
            let mut bytes = encode(&7u64).to_vec();
            bytes.extend(tail);
            prop_assert!(decode::<u64>(&bytes).is_err());
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_costs_no_stack() {
        use crate::txn::{Op as TxnOp, Txn};
        let nested = |levels: usize| {
            let op = Op::Delete { key: Bytes::new() };
            let op = (0..levels).fold(op, |op, _| Op::Once {
                key: Bytes::new(),
                fingerprint: 0,
                op: Box::new(op),
            });
            encode(&Command { request: None, op })
        };
        assert!(decode::<Command>(&nested(NESTING_MAX)).is_ok());
        assert!(decode::<Command>(&nested(NESTING_MAX + 1)).is_err());
        assert!(decode::<Command>(&nested(NESTING_MAX)).is_ok(), "the count begins anew");
        let level = |inner| Txn { then: vec![TxnOp::txn(inner)], ..Txn::default() };
        let op = Op::Txn((0..=NESTING_MAX).fold(Txn::default(), |inner, _| level(inner)));
        assert!(decode::<Command>(&encode(&Command { request: None, op })).is_err());
        // A million levels of `Once` with an empty key.
        let mut hostile = vec![VERSION, 0];
        hostile.extend([10, 0, 0].repeat(1 << 20));
        assert!(decode::<Command>(&hostile).is_err());
    }

    #[test]
    fn a_newer_version_is_named_and_a_huge_claim_takes_no_memory() {
        assert_eq!(
            decode::<u64>(&[VERSION + 1, 7]),
            Err(DecodeError::Newer { found: VERSION + 1 })
        );
        // A byte string that claims to have 2^62 bytes.
        let hostile = [VERSION, 253, 0, 0, 0, 0, 0, 0, 0, 64];
        assert!(decode::<Bytes>(&hostile).is_err());
        assert!(decode::<Vec<u64>>(&hostile).is_err());
    }
}
