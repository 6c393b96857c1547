//! The bytes of a log entry, the same in the log and on the wire.
//!
//! Layout, little endian: `[version u8][kind u8][term u64]`, then for a command `[stamp u64][command]`,
//! for a membership its encoding, for a blank nothing. The index is not in it: the log's record and
//! the frame carry it. Written by hand because it is on the path of every put, once a replica.

use super::{Entry, LogId, Proposal};
use crate::codec;
use bytes::{Buf, Bytes};
use openraft::EntryPayload;
use openraft::alias::CommittedLeaderIdOf;

const VERSION: u8 = 1;

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

const HEADER_BYTES: usize = 10;
const STAMP_BYTES: usize = 8;

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderIdOf::<super::TypeConfig>::new(term), index)
}

/// How many bytes [`encode_into`] appends, or a little more.
pub(crate) fn encoded_len(entry: &Entry) -> usize {
    HEADER_BYTES
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(proposal) => STAMP_BYTES + proposal.command.len(),
            EntryPayload::Membership(_) => 1024,
        }
}

/// Appends the bytes of `entry` to `out`.
pub(crate) fn encode_into(entry: &Entry, out: &mut Vec<u8>) {
    out.push(VERSION);
    let kind = match &entry.payload {
        EntryPayload::Blank => BLANK,
        EntryPayload::Normal(_) => COMMAND,
        EntryPayload::Membership(_) => MEMBERSHIP,
    };
    out.push(kind);
    out.extend_from_slice(&entry.log_id.leader_id.to_le_bytes());
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(proposal) => {
            out.extend_from_slice(&proposal.stamp_millis.to_le_bytes());
            out.extend_from_slice(&proposal.command);
        }
        EntryPayload::Membership(membership) => codec::encode_into(membership, out),
    }
}

/// Reads the entry at `index` from its bytes, of which it keeps slices.
pub(crate) fn decode(index: u64, mut bytes: Bytes) -> Result<Entry, String> {
    if bytes.len() < HEADER_BYTES {
        return Err(format!("entry {index} has only {} bytes", bytes.len()));
    }
    let version = bytes.get_u8();
    if version != VERSION {
        return Err(format!(
            "entry {index} has version {version}, this Axon reads {VERSION}: start a newer Axon"
        ));
    }
    let kind = bytes.get_u8();
    let term = bytes.get_u64_le();
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        COMMAND if bytes.len() >= STAMP_BYTES => {
            let stamp_millis = bytes.get_u64_le();
            EntryPayload::Normal(Proposal { stamp_millis, command: bytes })
        }
        MEMBERSHIP => EntryPayload::Membership(
            codec::decode_from(&bytes)
                .map_err(|error| format!("entry {index}: its membership: {error}"))?,
        ),
        _ => return Err(format!("entry {index} has the unknown kind {kind}")),
    };
    Ok(Entry { log_id: log_id(term, index), payload })
}
