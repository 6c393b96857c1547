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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::types::Member;
    use openraft::Membership;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn encoded(entry: &Entry) -> Bytes {
        let mut out = Vec::new();
        encode_into(entry, &mut out);
        assert!(out.len() <= encoded_len(entry), "the estimate is no upper bound");
        out.into()
    }

    proptest! {
        #[test]
        fn a_proposal_comes_back_as_it_was(
            (term, index, stamp_millis) in any::<(u64, u64, u64)>(),
            command in prop::collection::vec(any::<u8>(), 0..500),
        ) {
            let proposal = Proposal { stamp_millis, command: command.into() };
            let entry = Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(proposal) };
            prop_assert_eq!(decode(index, encoded(&entry)).unwrap(), entry);
        }

        #[test]
        fn any_bytes_are_an_entry_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(7, bytes.into());
        }
    }

    #[test]
    fn blanks_and_memberships_come_back_as_they_were() {
        let member = Member { name: "node1".into(), ..Member::default() };
        let voters = vec![BTreeSet::from([1])];
        let membership = Membership::new(voters, BTreeMap::from([(1, member)])).unwrap();
        for payload in [EntryPayload::Blank, EntryPayload::Membership(membership)] {
            let entry = Entry { log_id: log_id(3, 9), payload };
            assert_eq!(decode(9, encoded(&entry)).unwrap(), entry);
        }
    }

    #[test]
    fn a_newer_layout_is_named() {
        let mut bytes =
            encoded(&Entry { log_id: log_id(1, 1), payload: EntryPayload::Blank }).to_vec();
        bytes[0] = VERSION + 1;
        assert!(decode(1, bytes.into()).unwrap_err().contains("newer Axon"));
    }
}
