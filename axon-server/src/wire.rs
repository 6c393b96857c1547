//! Every JSON shape that crosses the wire, and nothing else.
//!
//! Names and order of the fields are the contract; `tests/fixtures` holds each shape as documented.
//! Shapes borrow from what they show, so that an answer is encoded once, into the buffer that is sent.

use axon_core::status;
use axon_core::types::{LogIndex, Member, NodeId, Revision};
use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

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

/// The body of `PUT /kv/{key}`. Other members are ignored.
#[derive(Debug, Deserialize)]
pub struct PutRequest<'a> {
    /// The value, borrowed from the body unless it has escapes.
    #[serde(borrow)]
    pub value: Cow<'a, str>,
}

impl<'a> PutRequest<'a> {
    /// Parses a body.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(body: &'a [u8]) -> Result<Self, String> {
        let parsed = if is_object(body) {
            serde_json::from_slice(body).map_err(|error| error.to_string())
        } else {
            Err("it is not a JSON object".into())
        };
        parsed.map_err(|reason| format!(r#"the body must be {{"value":"..."}}: {reason}"#))
    }
}

/// The body of `POST /v1/leader/transfer`; an empty body is the same as `{}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// Who should lead; the voter with the shortest lag when absent.
    #[serde(default)]
    pub to: Option<NodeId>,
}

impl TransferRequest {
    /// Parses a body.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        if !is_object(body) {
            return Err(r#"the body must be {"to":ID}, or empty: it is not a JSON object"#.into());
        }
        serde_json::from_slice(body)
            .map_err(|error| format!(r#"the body must be {{"to":ID}}, or empty: {error}"#))
    }
}

/// Reports whether `body` can only be a JSON object: serde takes an array for a struct as well, which
/// is no part of the contract.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// `{"status":"success", ...}`
#[derive(Debug, Serialize)]
pub struct Success {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<NodeId>,
}

impl Success {
    /// Success, and no more to say.
    pub const PLAIN: Self = Self { status: "success", revision: None, leader: None };

    /// A write that made `revision`.
    pub const fn written(revision: Revision) -> Self {
        Self { revision: Some(revision), ..Self::PLAIN }
    }

    /// A transfer that made `leader` the leader.
    pub const fn transferred(leader: NodeId) -> Self {
        Self { leader: Some(leader), ..Self::PLAIN }
    }
}

/// The answer to `GET /kv/{key}`.
#[derive(Debug, Serialize)]
pub struct Pair<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: &'a str,
}

/// Appends one member of the flat object that answers `GET /kv`.
pub fn append_member(object: &mut Vec<u8>, key: &str, value: &str) {
    serde_json::to_writer(&mut *object, key).expect("a buffer takes every text");
    object.push(b':');
    serde_json::to_writer(&mut *object, value).expect("a buffer takes every text");
}

/// The answer to `GET /v1/status`.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    #[serde(serialize_with = "shown")]
    cluster_id: axon_core::types::ClusterId,
    node_id: NodeId,
    name: &'a str,
    raft_state: &'static str,
    membership: &'static str,
    leader: Option<Leader<'a>>,
    term: u64,
    revision: Revision,
    compacted_revision: Revision,
    last_log_index: LogIndex,
    committed_index: LogIndex,
    applied_index: LogIndex,
    voters: &'a [NodeId],
    learners: &'a [NodeId],
    state_hash: StateHash,
    version: &'static str,
}

#[derive(Debug, Serialize)]
struct Leader<'a> {
    id: NodeId,
    name: &'a str,
    address: &'a str,
}

#[derive(Debug, Serialize)]
struct StateHash {
    applied_index: LogIndex,
    hash: String,
}

impl<'a> From<&'a status::Status> for Status<'a> {
    fn from(status: &'a status::Status) -> Self {
        let leader = |(id, member): &'a (NodeId, Member)| Leader {
            id: *id,
            name: &member.name,
            address: &member.address,
        };
        Self {
            cluster_id: status.cluster_id,
            node_id: status.node_id,
            name: &status.name,
            raft_state: status.raft_state.as_str(),
            membership: status.membership.as_str(),
            leader: status.leader.as_ref().map(leader),
            term: status.term,
            revision: status.revision,
            compacted_revision: status.compacted_revision,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: status.applied_index,
            voters: &status.voters,
            learners: &status.learners,
            state_hash: StateHash {
                applied_index: status.applied_index,
                hash: format!("{:032x}", status.state_hash),
            },
            version: VERSION,
        }
    }
}

/// The answer to `GET /v1/members`.
#[derive(Debug, Serialize)]
pub struct Members<'a> {
    members: Vec<MemberShape<'a>>,
}

#[derive(Debug, Serialize)]
struct MemberShape<'a> {
    id: NodeId,
    name: &'a str,
    membership: &'static str,
    leader: bool,
    address: &'a str,
    peer_address: &'a str,
    alive: bool,
    version: Option<&'a str>,
    applied_index: Option<LogIndex>,
}

impl<'a> From<&'a [status::MemberStatus]> for Members<'a> {
    fn from(members: &'a [status::MemberStatus]) -> Self {
        let shape = |seen: &'a status::MemberStatus| MemberShape {
            id: seen.id,
            name: &seen.member.name,
            membership: seen.membership.as_str(),
            leader: seen.leader,
            address: &seen.member.address,
            peer_address: &seen.member.peer_address,
            alive: seen.alive,
            version: seen.version.as_deref(),
            applied_index: seen.applied_index,
        };
        Self { members: members.iter().map(shape).collect() }
    }
}

/// The answer to `GET /livez` and `GET /readyz`.
#[derive(Debug, Serialize)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
    /// With `?verbose`: what was looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// One thing that `GET /readyz?verbose` looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was seen.
    pub message: String,
}

/// The answer to `GET /version`.
#[derive(Debug, Serialize)]
pub struct Version {
    /// The server's version.
    pub version: &'static str,
    /// The newest replicated vocabulary that it understands.
    pub vocabulary: u16,
}

/// Every error (RFC 9457, with members of our own).
#[derive(Debug, Serialize)]
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

fn shown<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use axon_core::status::{Membership, RaftState};
    use axon_core::types::ClusterId;
    use std::time::Duration;

    fn member() -> Member {
        Member {
            name: "node1".into(),
            address: "127.0.0.1:9000".into(),
            peer_address: "127.0.0.1:9001".into(),
            vocabulary: 1,
        }
    }

    #[track_caller]
    fn reads(shape: &impl Serialize, fixture: &str) {
        assert_eq!(String::from_utf8(encode(shape).to_vec()).unwrap(), fixture.trim_end());
    }

    #[test]
    fn status_reads_as_documented() {
        let status = status::Status {
            cluster_id: ClusterId(0x9f00_0000_0000_0000_0000_0000_0000_0001),
            node_id: NodeId(1),
            name: "node1".into(),
            raft_state: RaftState::Leader,
            membership: Membership::Voter,
            leader: Some((NodeId(1), member())),
            term: 3,
            revision: Revision(17),
            compacted_revision: Revision(0),
            last_log_index: LogIndex(40),
            committed_index: LogIndex(40),
            applied_index: LogIndex(40),
            checkpoint_index: LogIndex(30),
            voters: vec![NodeId(1), NodeId(2), NodeId(3)],
            learners: Vec::new(),
            state_hash: 0xabcd,
            sync_p99: Duration::ZERO,
            halted: None,
        };
        reads(&Status::from(&status), include_str!("../tests/fixtures/status.json"));
    }

    #[test]
    fn members_read_as_documented() {
        let mut members = [status::MemberStatus {
            id: NodeId(1),
            member: member(),
            membership: Membership::Voter,
            leader: true,
            alive: true,
            version: Some("0.1.0".into()),
            applied_index: Some(LogIndex(40)),
            last_contact: None,
        }];
        reads(&Members::from(&members[..]), include_str!("../tests/fixtures/members.json"));
        members[0].version = None;
        members[0].applied_index = None;
        let unheard = String::from_utf8(encode(&Members::from(&members[..])).to_vec()).unwrap();
        assert!(unheard.ends_with(r#""version":null,"applied_index":null}]}"#), "{unheard}");
    }

    #[test]
    fn the_answers_of_the_simple_doors_read_as_documented() {
        reads(&Success::written(Revision(7)), r#"{"status":"success","revision":7}"#);
        reads(&Success::PLAIN, r#"{"status":"success"}"#);
        reads(&Success::transferred(NodeId(2)), r#"{"status":"success","leader":2}"#);
        reads(&Pair { key: "a/\"", value: "" }, r#"{"key":"a/\"","value":""}"#);
        reads(&Health { status: "ok", checks: Vec::new() }, r#"{"status":"ok"}"#);
        let mut object = Vec::new();
        append_member(&mut object, "k\n", "v");
        assert_eq!(object, br#""k\n":"v""#);
    }

    #[test]
    fn a_value_is_borrowed_unless_it_has_escapes() {
        let plain = PutRequest::parse(br#" {"value":"v", "more":[1]} "#).unwrap();
        assert!(matches!(plain.value, Cow::Borrowed("v")));
        let escaped = PutRequest::parse(br#"{"value":"\u0061"}"#).unwrap();
        assert!(matches!(escaped.value, Cow::Owned(text) if text == "a"));
    }

    #[test]
    fn a_transfer_may_name_its_target() {
        let target = |body: &[u8]| TransferRequest::parse(body).map(|request| request.to);
        assert_eq!(target(b""), Ok(None));
        assert_eq!(target(b"{}"), Ok(None));
        assert_eq!(target(br#"{"to":2}"#), Ok(Some(NodeId(2))));
        for wrong in [&b"[2]"[..], b"2", br#"{"to":"2"}"#, br#"{"id":2}"#] {
            assert!(target(wrong).is_err());
        }
    }
}
