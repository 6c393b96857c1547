//! What replicas say to each other over the control and replication lanes.
//!
//! A control request is one frame: a tag byte, then for the two hot kinds (forwarded commands,
//! heartbeats) a hand-written body that is sliced instead of copied, and for the rest the codec's.
//! An unknown tag or a newer encoding is answered with [`Reply::Unsupported`], so that an older
//! replica never falls over a newer one.

use super::{Entry, LogId, TypeConfig, Vote, entry};
use crate::codec;
use crate::command::{Noted, Outcome};
use crate::config::Promotion;
use crate::trace::Trace;
use crate::types::{ClusterId, LogIndex, Member, NodeId};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

/// Commands in one forwarded batch. A frame of empty ones would take many times its size in memory.
pub(crate) const FORWARDED_MAX: usize = 1024;

const TAG_REQUEST: u8 = 0;
const TAG_FORWARD: u8 = 1;
const TAG_HEARTBEAT: u8 = 2;
const TAG_FORWARD_NAMED: u8 = 3;

/// A request over the control lane. Append only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// The index that a linearizable read must wait for.
    ReadIndex,
    /// "Are you there?"
    Ping,
    /// A newcomer asks for an id.
    Join(JoinRequest),
    /// A member says who and where it is; a newcomer that its identity is on disk.
    Announce(Announcement),
    /// A caught-up learner, or an operator, asks for promotion.
    Promote(NodeId),
    /// An operator removes a member.
    Remove(NodeId),
    /// An operator moves leadership.
    Transfer(Option<NodeId>),
    /// What the replica that is reached at `from` knows of others, for whoever keeps such notes.
    Gossip {
        from: String,
        message: Bytes,
    },
    /// What the hash of its state was as of this entry, where all were asked to note it.
    NotedHash(LogIndex),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    pub(crate) nonce: u128,
    pub(crate) member: Member,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) id: NodeId,
    /// What the joiner joined with; 0 for the founder.
    pub(crate) nonce: u128,
    pub(crate) member: Member,
}

/// The answer to a [`Request`]. Append only.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Vote(VoteResponse<TypeConfig>),
    /// The answer to a heartbeat, as on the replication lane.
    Appended(Bytes),
    Transferred(openraft::raft::TransferLeaderResponse<TypeConfig>),
    ReadIndex(u64),
    Pong(Pong),
    Joined {
        cluster_id: ClusterId,
        id: NodeId,
    },
    Done,
    /// Leadership is with this node now.
    Leader(NodeId),
    /// Ask the leader, if one is known here.
    NotLeader(Option<(NodeId, String)>),
    /// The id was removed from the cluster.
    Removed,
    /// It cannot be done; the words say why and what to do.
    Refused {
        reason: String,
    },
    /// It cannot be done now; trying again helps.
    Unavailable(String),
    /// This replica is too old for the request.
    Unsupported(String),
    /// It would leave `voters` of which `alive` answer and `needed` are needed.
    WouldLoseQuorum {
        reason: String,
        alive: usize,
        needed: usize,
        voters: usize,
    },
    /// To a newcomer, by a member that does not lead: where the leader is, if one is known here, and
    /// where others are that may know more.
    Elsewhere {
        leader: Option<String>,
        members: Vec<String>,
    },
    Noted(Noted),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pong {
    pub(crate) id: NodeId,
    pub(crate) version: String,
    pub(crate) applied_index: u64,
    /// When it wants to vote.
    pub(crate) promotion: Promotion,
    /// Its disk has too little space left for writes.
    pub(crate) disk_low: bool,
    /// The 99th percentile of its log's latest syncs, in microseconds.
    pub(crate) sync_p99_micros: u64,
}

/// What became of one forwarded command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Proposed {
    Done(Outcome),
    /// Not handed to the log: this replica does not lead.
    NotLeader,
    /// Handed to the log, then lost from sight.
    Unknown,
    /// The leader has halted or stops.
    Stopped,
    /// Not handed to the log: the leader finds this wrong with it.
    Refused(String),
    /// Not handed to the log: no majority has space on its disks.
    DiskFull,
}

/// The names that callers gave to commands of a batch, each with the command's place in it.
pub(crate) type Names = Vec<(usize, Trace)>;

/// A control frame, taken apart.
pub(crate) enum Control {
    Request(Box<Request>),
    Forward(Vec<Bytes>, Names),
    Heartbeat(AppendEntriesRequest<TypeConfig>),
}

impl Request {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![TAG_REQUEST, codec::VERSION];
        codec::encode_into(self, &mut out);
        out.into()
    }
}

impl Control {
    pub(crate) fn decode(mut frame: Bytes) -> Result<Self, String> {
        if frame.is_empty() {
            return Err("an empty request".into());
        }
        match frame.get_u8() {
            TAG_REQUEST => codec::decode(&frame)
                .map(|request| Self::Request(Box::new(request)))
                .map_err(|error| error.to_string()),
            TAG_FORWARD => {
                split(frame, FORWARDED_MAX).map(|commands| Self::Forward(commands, Names::new()))
            }
            TAG_FORWARD_NAMED => {
                let names = decode_names(&take_part(&mut frame)?)?;
                split(frame, FORWARDED_MAX).map(|commands| Self::Forward(commands, names))
            }
            TAG_HEARTBEAT => decode_append(frame).map(Self::Heartbeat),
            tag => {
                Err(format!("request tag {tag} is unknown to Axon {}", env!("CARGO_PKG_VERSION")))
            }
        }
    }
}

/// Encodes a batch of commands to be forwarded. Only one with `names` takes room for them.
pub(crate) fn encode_forward<'a>(
    commands: impl Iterator<Item = &'a Bytes> + Clone,
    names: &Names,
) -> Bytes {
    let size: usize = commands.clone().map(|command| command.len() + 4).sum();
    let mut out = BytesMut::with_capacity(5 + names.len() * (5 + Trace::BYTES_MAX) + size);
    if names.is_empty() {
        out.put_u8(TAG_FORWARD);
    } else {
        out.put_u8(TAG_FORWARD_NAMED);
        let bytes: usize = names.iter().map(|(_, name)| 5 + name.as_str().len()).sum();
        out.put_u32_le(bytes as u32);
        for (place, name) in names {
            out.put_u32_le(*place as u32);
            out.put_u8(name.as_str().len() as u8);
            out.put_slice(name.as_str().as_bytes());
        }
    }
    for command in commands {
        out.put_u32_le(command.len() as u32);
        out.put_slice(command);
    }
    out.freeze()
}

fn decode_names(mut bytes: &[u8]) -> Result<Names, String> {
    let mut names = Names::new();
    while bytes.has_remaining() {
        if names.len() == FORWARDED_MAX {
            return Err(format!("more than {FORWARDED_MAX} names"));
        }
        let cut = || "a name is cut short".to_owned();
        let place = bytes.try_get_u32_le().map_err(|_| cut())? as usize;
        let len = usize::from(bytes.try_get_u8().map_err(|_| cut())?);
        let (name, rest) = bytes.split_at_checked(len).ok_or_else(cut)?;
        bytes = rest;
        let name = std::str::from_utf8(name).ok().and_then(Trace::new);
        names.push((place, name.ok_or("a name holds what no name may")?));
    }
    Ok(names)
}

fn split(mut bytes: Bytes, parts_max: usize) -> Result<Vec<Bytes>, String> {
    let mut parts = Vec::new();
    while bytes.has_remaining() {
        if parts.len() == parts_max {
            return Err(format!("a batch of more than {parts_max}"));
        }
        parts.push(take_part(&mut bytes)?);
    }
    Ok(parts)
}

fn take_part(bytes: &mut Bytes) -> Result<Bytes, String> {
    if bytes.len() < 4 {
        return Err("a length is cut short".into());
    }
    let len = bytes.get_u32_le() as usize;
    if bytes.len() < len {
        return Err(format!("a part of {len} bytes is cut short at {}", bytes.len()));
    }
    Ok(bytes.split_to(len))
}

/// The part of an append that is not entries.
#[derive(Serialize, Deserialize)]
struct AppendHeader {
    vote: Vote,
    prev_log_id: Option<LogId>,
    leader_commit: Option<LogId>,
}

/// Encodes an append for the replication lane.
pub(crate) fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Bytes {
    let size: usize = request.entries.iter().map(|entry| entry::encoded_len(entry) + 4).sum();
    let mut out = Vec::with_capacity(128 + size);
    put_append(request, &mut out);
    out.into()
}

/// Encodes an append without entries for the control lane.
pub(crate) fn encode_heartbeat(request: &AppendEntriesRequest<TypeConfig>) -> Bytes {
    let mut out = vec![TAG_HEARTBEAT];
    put_append(request, &mut out);
    out.into()
}

fn put_append(request: &AppendEntriesRequest<TypeConfig>, out: &mut Vec<u8>) {
    let header = AppendHeader {
        vote: request.vote,
        prev_log_id: request.prev_log_id,
        leader_commit: request.leader_commit,
    };
    put_part(out, |out| codec::encode_into(&header, out));
    for entry in &request.entries {
        put_part(out, |out| entry::encode_into(entry, out));
    }
}

fn put_part(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// Decodes an append; its entries keep slices of the frame.
pub(crate) fn decode_append(mut frame: Bytes) -> Result<AppendEntriesRequest<TypeConfig>, String> {
    let header = take_part(&mut frame)?;
    let header: AppendHeader = codec::decode_from(&header).map_err(|error| error.to_string())?;
    let first = header.prev_log_id.as_ref().map_or(0, |prev| prev.index + 1);
    let entries = split(frame, usize::MAX)?
        .into_iter()
        .zip(first..)
        .map(|(bytes, index)| entry::decode(index, bytes))
        .collect::<Result<Vec<Entry>, String>>()?;
    Ok(AppendEntriesRequest {
        vote: header.vote,
        prev_log_id: header.prev_log_id,
        leader_commit: header.leader_commit,
        entries,
    })
}

/// Encodes the answer to one append.
pub(crate) fn encode_appended(result: &StreamAppendResult<TypeConfig>) -> Bytes {
    let result = match result {
        Ok(log_id) => Appended::Matched(*log_id),
        Err(openraft::raft::StreamAppendError::Conflict(log_id)) => Appended::Conflict(*log_id),
        Err(openraft::raft::StreamAppendError::HigherVote(vote)) => Appended::HigherVote(*vote),
    };
    codec::encode(&result)
}

/// Decodes the answer to one append.
pub(crate) fn decode_appended(frame: &[u8]) -> Result<StreamAppendResult<TypeConfig>, String> {
    let result = codec::decode(frame).map_err(|error| error.to_string())?;
    Ok(match result {
        Appended::Matched(log_id) => Ok(log_id),
        Appended::Conflict(log_id) => Err(openraft::raft::StreamAppendError::Conflict(log_id)),
        Appended::HigherVote(vote) => Err(openraft::raft::StreamAppendError::HigherVote(vote)),
    })
}

#[derive(Serialize, Deserialize)]
enum Appended {
    Matched(Option<LogId>),
    Conflict(LogId),
    HigherVote(Vote),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::raft::Proposal;
    use openraft::EntryPayload;
    use proptest::prelude::*;

    fn append(prev: Option<u64>, commands: Vec<Vec<u8>>) -> AppendEntriesRequest<TypeConfig> {
        let first = prev.map_or(0, |prev| prev + 1);
        let entries = (first..).zip(commands).map(|(index, command)| Entry {
            log_id: entry::log_id(2, index),
            payload: EntryPayload::Normal(Proposal { stamp_millis: 5, command: command.into() }),
        });
        AppendEntriesRequest {
            vote: Vote::new(2, 1),
            prev_log_id: prev.map(|index| entry::log_id(1, index)),
            entries: entries.collect(),
            leader_commit: None,
        }
    }

    proptest! {
        #[test]
        fn an_append_comes_back_as_it_was(
            prev in prop::option::of(0..1_000_000u64),
            commands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        ) {
            let request = append(prev, commands);
            let decoded = decode_append(encode_append(&request)).unwrap();
            prop_assert_eq!(decoded.entries, request.entries);
            prop_assert_eq!(decoded.prev_log_id, request.prev_log_id);
            prop_assert_eq!(decoded.vote, request.vote);
        }

        #[test]
        fn forwarded_commands_come_back_as_they_were(
            commands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
            names in prop::collection::vec((0..1024_usize, "[!-~]{1,64}"), 0..20),
        ) {
            let commands: Vec<Bytes> = commands.into_iter().map(Bytes::from).collect();
            let named = names.iter().map(|(place, name)| (*place, Trace::new(name).unwrap()));
            let names: Names = named.collect();
            let frame = encode_forward(commands.iter(), &names);
            let bare: usize = commands.iter().map(|command| command.len() + 4).sum();
            prop_assert!(!names.is_empty() || frame.len() == 1 + bare, "no names, no bytes for them");
            let Control::Forward(decoded, said) = Control::decode(frame).unwrap()
            else { panic!("a batch of commands is decoded as something else") };
            prop_assert_eq!((decoded, said), (commands, names));
        }

        #[test]
        fn any_frame_is_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = Bytes::from(bytes);
            let _ = Control::decode(bytes.clone());
            let _ = decode_append(bytes.clone());
            let _ = decode_appended(&bytes);
        }
    }

    #[test]
    fn a_batch_of_too_many_commands_is_refused() {
        let batch = |count| vec![Bytes::new(); count];
        for (count, taken) in [(FORWARDED_MAX, true), (FORWARDED_MAX + 1, false)] {
            assert_eq!(
                Control::decode(encode_forward(batch(count).iter(), &Names::new())).is_ok(),
                taken
            );
        }
    }

    #[test]
    fn an_unknown_request_is_an_answer_and_no_fall() {
        assert!(Control::decode(Bytes::from_static(&[99, 1, 2])).is_err());
    }
}
