//! What shows the cluster, and what changes it.

use super::{VERSION, is_object};
use axon_core::status;
use axon_core::types::{LogIndex, Member, NodeId, Revision};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::time::Duration;
use utoipa::ToSchema;

/// The body of `POST /v1/leader/transfer`; an empty body is the same as `{}`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// Who should lead; the voter with the shortest lag when absent.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
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

/// The answer to `GET /v1/status`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status<'a> {
    /// The cluster.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String)]
    cluster_id: axon_core::types::ClusterId,
    /// The id of this node.
    #[schema(value_type = u64)]
    node_id: NodeId,
    /// The name of this node.
    name: &'a str,
    /// `leader`, `candidate`, `follower`, or what else it does in the protocol.
    raft_state: &'static str,
    /// `voter`, `learner`, or what else it is to the cluster.
    membership: &'static str,
    /// Whom it takes for the leader; null: nobody.
    #[schema(required = true)]
    leader: Option<Leader<'a>>,
    /// Its Raft term.
    term: u64,
    /// The revision of the store, as it is here.
    #[schema(value_type = u64)]
    revision: Revision,
    /// History up to here is gone.
    #[schema(value_type = u64)]
    compacted_revision: Revision,
    /// The last entry of its log.
    #[schema(value_type = u64)]
    last_log_index: LogIndex,
    /// The last entry that it knows to be committed.
    #[schema(value_type = u64)]
    committed_index: LogIndex,
    /// The last entry that is applied.
    #[schema(value_type = u64)]
    applied_index: LogIndex,
    /// The last entry in its checkpoint.
    #[schema(value_type = u64)]
    checkpoint_index: LogIndex,
    /// Entries up to here are gone from its log.
    #[schema(value_type = u64)]
    purged_index: LogIndex,
    /// Whom it last voted for, by id; null: nobody yet.
    #[schema(value_type = Option<u64>, required = true)]
    vote: Option<NodeId>,
    /// How long ago a quorum last answered it; null: it does not lead.
    #[schema(required = true)]
    quorum_ack_age_ms: Option<u64>,
    /// The 99th percentile of the latest syncs of its log.
    sync_p99_ms: f64,
    /// Whether a change of membership is half done.
    joint: bool,
    /// How many voters answer it.
    quorum: Quorum,
    /// The other members, by id.
    peers: Vec<Peer>,
    /// Members with a vote.
    #[schema(value_type = Vec<u64>)]
    voters: &'a [NodeId],
    /// Members without a vote.
    #[schema(value_type = Vec<u64>)]
    learners: &'a [NodeId],
    /// A hash of all that is applied, the same on every node.
    state_hash: StateHash,
    /// What is known of whether that is what it should be.
    integrity: Integrity<'a>,
    /// The room on its disk; null: it is not watched.
    #[schema(required = true)]
    disk: Option<Disk>,
    /// The version of the server.
    version: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Disk {
    /// Bytes that it may still take.
    free: u64,
    /// Bytes of the disk.
    total: u64,
    /// Whether that is too little: it takes no writes until there is more.
    low: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Leader<'a> {
    /// Its id.
    #[schema(value_type = u64)]
    id: NodeId,
    /// Its name.
    name: &'a str,
    /// Where its API is.
    address: &'a str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Quorum {
    /// Voters that answer, this node among them if it votes.
    alive: usize,
    /// How many a decision needs.
    needed: usize,
    /// Voters in all.
    voters: usize,
    /// Whether too few answer, and have for a while.
    lost: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Peer {
    /// Its id.
    #[schema(value_type = u64)]
    id: NodeId,
    /// The last entry that its log is known to share with this one; null: this node does not lead.
    #[schema(value_type = Option<u64>, required = true)]
    matched: Option<LogIndex>,
    /// Entries of this log beyond that; null: this node does not lead.
    #[schema(required = true)]
    lag: Option<u64>,
    /// Whether it answered lately.
    alive: bool,
    /// How long ago it last answered; null: it never did since this node started.
    #[schema(required = true)]
    last_contact_ms: Option<u64>,
}

impl From<&status::PeerStatus> for Peer {
    fn from(peer: &status::PeerStatus) -> Self {
        Self {
            id: peer.id,
            matched: peer.matched,
            lag: peer.lag,
            alive: peer.alive,
            last_contact_ms: peer.last_contact.map(millis),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[derive(Debug, Serialize, ToSchema)]
struct StateHash {
    /// The entry after which it was taken.
    #[schema(value_type = u64)]
    applied_index: LogIndex,
    /// The hash, in hexadecimal digits.
    hash: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Integrity<'a> {
    /// The last entry as of which it noted that hash to compare it with the other nodes'; null: none
    /// since it started.
    #[schema(value_type = Option<u64>, required = true)]
    noted_index: Option<LogIndex>,
    /// The entry of the last checkpoint that was read whole in the background, and found to be as it was
    /// written; null: none since it started.
    #[schema(value_type = Option<u64>, required = true)]
    scrubbed_index: Option<LogIndex>,
    /// How long ago that was; null: never since it started.
    #[schema(required = true)]
    scrubbed_age_ms: Option<u64>,
    /// Why it serves nothing more; null: it serves.
    #[schema(required = true)]
    doubt: Option<&'a str>,
}

impl<'a> From<&'a status::Integrity> for Integrity<'a> {
    fn from(known: &'a status::Integrity) -> Self {
        Self {
            noted_index: known.noted_index,
            scrubbed_index: known.scrubbed_index,
            scrubbed_age_ms: known.scrubbed_age.map(millis),
            doubt: known.doubt.as_deref(),
        }
    }
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
            checkpoint_index: status.checkpoint_index,
            purged_index: status.purged_index,
            vote: status.vote,
            quorum_ack_age_ms: status.quorum_ack_age.map(millis),
            sync_p99_ms: status.sync_p99.as_micros() as f64 / 1e3,
            joint: status.joint,
            quorum: Quorum {
                alive: status.quorum.alive,
                needed: status.quorum.needed,
                voters: status.quorum.voters,
                lost: status.quorum.lost,
            },
            peers: status.peers.iter().map(Peer::from).collect(),
            voters: &status.voters,
            learners: &status.learners,
            state_hash: StateHash {
                applied_index: status.applied_index,
                hash: format!("{:032x}", status.state_hash),
            },
            integrity: Integrity::from(&status.integrity),
            disk: status.disk.map(|status::DiskStatus { free, total, low }| Disk {
                free,
                total,
                low,
            }),
            version: VERSION,
        }
    }
}

/// The answer to `GET /v1/members`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Members<'a> {
    /// The members, by id.
    members: Vec<MemberShape<'a>>,
    /// The nodes that are or were there, by what they tell each other, with or without a leader.
    seen: Vec<SeenShape<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Member)]
struct MemberShape<'a> {
    /// Its id.
    #[schema(value_type = u64)]
    id: NodeId,
    /// Its name.
    name: &'a str,
    /// `voter` or `learner`.
    membership: &'static str,
    /// Whether it leads.
    leader: bool,
    /// Where its API is.
    address: &'a str,
    /// Where its peers reach it.
    peer_address: &'a str,
    /// Whether it was heard of lately.
    alive: bool,
    /// The version of its server; null: it has not been heard.
    #[schema(required = true)]
    version: Option<&'a str>,
    /// The last entry that it has applied; null: it has not been heard.
    #[schema(value_type = Option<u64>, required = true)]
    applied_index: Option<LogIndex>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SeenNode)]
struct SeenShape<'a> {
    /// Its id; null: a newcomer that knocked here and has none yet.
    #[schema(value_type = Option<u64>, required = true)]
    id: Option<NodeId>,
    /// Its name.
    name: &'a str,
    /// Where its API is.
    address: &'a str,
    /// Where its peers reach it now; the membership may not know yet.
    peer_address: &'a str,
    /// The version of its server; null: it has not been heard.
    #[schema(required = true)]
    version: Option<&'a str>,
    /// What it does in the protocol; null: it has not been heard.
    #[schema(required = true)]
    raft_state: Option<&'a str>,
    /// About what it has applied; null: it has not been heard.
    #[schema(value_type = Option<u64>, required = true)]
    applied_index: Option<LogIndex>,
    /// Whether it gave a sign of life lately, here or to others.
    alive: bool,
    /// Milliseconds since the last one that is known of here; null: it has not been heard.
    #[schema(required = true)]
    last_heard_ms: Option<u64>,
}

impl<'a> Members<'a> {
    /// The members, and who was seen.
    pub fn new(members: &'a [status::MemberStatus], seen: &'a [status::SeenNode]) -> Self {
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
        let seen_shape = |seen: &'a status::SeenNode| SeenShape {
            id: seen.id,
            name: &seen.name,
            address: &seen.address,
            peer_address: &seen.peer_address,
            version: seen.version.as_deref(),
            raft_state: seen.raft_state.as_deref(),
            applied_index: seen.applied_index,
            alive: seen.alive,
            last_heard_ms: seen.last_heard.map(|ago| ago.as_millis() as u64),
        };
        Self {
            members: members.iter().map(shape).collect(),
            seen: seen.iter().map(seen_shape).collect(),
        }
    }
}

/// The answer to `GET /livez` and `GET /readyz`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
    /// With `?verbose`: what was looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// One thing that `GET /readyz?verbose` looked at.
#[derive(Debug, Serialize, ToSchema)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was seen.
    pub message: String,
}

/// The answer to `GET /version`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    /// The server's version.
    pub version: &'static str,
    /// The newest replicated vocabulary that it understands.
    pub vocabulary: u16,
}

fn shown<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::encode;
    use crate::wire::tests::reads;
    use axon_core::status::{Membership, RaftState};
    use axon_core::types::ClusterId;

    fn member() -> Member {
        Member {
            name: "node1".into(),
            address: "127.0.0.1:9000".into(),
            peer_address: "127.0.0.1:9001".into(),
            vocabulary: 1,
        }
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
            purged_index: LogIndex(10),
            vote: Some(NodeId(1)),
            quorum_ack_age: Some(Duration::from_millis(9)),
            joint: false,
            quorum: status::Quorum { alive: 2, needed: 2, voters: 3, lost: false },
            peers: vec![
                status::PeerStatus {
                    id: NodeId(2),
                    matched: Some(LogIndex(40)),
                    lag: Some(0),
                    alive: true,
                    last_contact: Some(Duration::from_millis(12)),
                },
                status::PeerStatus {
                    id: NodeId(3),
                    matched: None,
                    lag: None,
                    alive: false,
                    last_contact: None,
                },
            ],
            voters: vec![NodeId(1), NodeId(2), NodeId(3)],
            learners: Vec::new(),
            state_hash: 0xabcd,
            integrity: status::Integrity {
                noted_index: Some(LogIndex(35)),
                scrubbed_index: Some(LogIndex(30)),
                scrubbed_age: Some(Duration::from_secs(2)),
                doubt: None,
            },
            sync_p99: Duration::from_micros(1250),
            disk: Some(status::DiskStatus { free: 5_000, total: 9_000, low: false }),
            halted: None,
        };
        reads(&Status::from(&status), include_str!("../../tests/fixtures/status.json"));
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
        let mut seen = [status::SeenNode {
            id: Some(NodeId(1)),
            name: "node1".into(),
            address: "127.0.0.1:9000".into(),
            peer_address: "127.0.0.1:9001".into(),
            version: Some("0.1.0".into()),
            raft_state: Some("leader".into()),
            applied_index: Some(LogIndex(40)),
            alive: true,
            last_heard: Some(Duration::from_millis(120)),
        }];
        let documented = include_str!("../../tests/fixtures/members.json");
        reads(&Members::new(&members, &seen), documented);
        members[0].version = None;
        members[0].applied_index = None;
        let of_members = Members::new(&members, &[]);
        let unheard = String::from_utf8(encode(&of_members).to_vec()).unwrap();
        let end = r#""version":null,"applied_index":null}],"seen":[]}"#;
        assert!(unheard.ends_with(end), "{unheard}");
        seen[0] = status::SeenNode {
            id: None,
            version: None,
            raft_state: None,
            applied_index: None,
            alive: false,
            last_heard: None,
            ..seen[0].clone()
        };
        let of_seen = Members::new(&[], &seen);
        let unheard = String::from_utf8(encode(&of_seen).to_vec()).unwrap();
        assert!(unheard.starts_with(r#"{"members":[],"seen":[{"id":null,"name""#), "{unheard}");
        let end = r#""version":null,"raft_state":null,"applied_index":null,"alive":false,"last_heard_ms":null}]}"#;
        assert!(unheard.ends_with(end), "{unheard}");
    }

    #[test]
    fn health_reads_as_documented() {
        reads(&Health { status: "ok", checks: Vec::new() }, r#"{"status":"ok"}"#);
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
