//! What a replica says of itself and of its cluster. Plain data, made by `cluster.rs`.

use crate::histogram::Histogram;
use crate::types::{ClusterId, LogIndex, Member, NodeId, Revision};
use std::time::Duration;

/// A replica's part in the Raft protocol at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaftState {
    /// It decides what is appended.
    Leader,
    /// It votes and follows a leader, or waits for one.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows without a vote.
    Learner,
}

impl RaftState {
    /// Reports whether this is the leader's.
    #[must_use]
    pub const fn is_leader(self) -> bool {
        matches!(self, Self::Leader)
    }

    /// The word for it, as shown to people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
        }
    }
}

/// A replica's place in the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It votes.
    Voter,
    /// It receives the log without a vote.
    Learner,
    /// It does not belong (yet, or no longer).
    None,
}

impl Membership {
    /// The word for it, as shown to people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::None => "none",
        }
    }
}

/// A replica as it sees itself and its cluster, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This replica.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// Its part in the protocol.
    pub raft_state: RaftState,
    /// Its place in the membership it knows.
    pub membership: Membership,
    /// The leader it follows, with what is known of it.
    pub leader: Option<(NodeId, Member)>,
    /// Its Raft term.
    pub term: u64,
    /// The store's revision, as applied here.
    pub revision: Revision,
    /// History up to this revision is compacted.
    pub compacted_revision: Revision,
    /// The last entry in its log.
    pub last_log_index: LogIndex,
    /// The last entry it knows to be committed.
    pub committed_index: LogIndex,
    /// The last entry it has applied.
    pub applied_index: LogIndex,
    /// The last entry that its checkpoint holds.
    pub checkpoint_index: LogIndex,
    /// Entries up to here are gone from its log.
    pub purged_index: LogIndex,
    /// Whom it last voted for; `None` before its first term.
    pub vote: Option<NodeId>,
    /// How long ago a quorum last answered it, if it leads.
    pub quorum_ack_age: Option<Duration>,
    /// Whether a change of membership is half done.
    pub joint: bool,
    /// How many voters answer here.
    pub quorum: Quorum,
    /// The other members, by id.
    pub peers: Vec<PeerStatus>,
    /// Who votes, sorted.
    pub voters: Vec<NodeId>,
    /// Who receives the log without a vote, sorted.
    pub learners: Vec<NodeId>,
    /// The hash of the whole state as of `applied_index`.
    pub state_hash: u128,
    /// What it knows of whether that state is as it should be.
    pub integrity: Integrity,
    /// The 99th percentile of the latest syncs of its log.
    pub sync_p99: Duration,
    /// The room on its disk; `None` where it is not watched, as in memory.
    pub disk: Option<DiskStatus>,
    /// Why it has halted, if it has.
    pub halted: Option<String>,
}

/// The room on the disk that a replica's data directory lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskStatus {
    /// Bytes that it may still take.
    pub free: u64,
    /// Bytes of the disk.
    pub total: u64,
    /// Whether that is too little: it takes no writes until there is more.
    pub low: bool,
}

/// What a replica knows of whether its state is what it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Integrity {
    /// The last entry as of which it noted the hash of its state, to be compared with the others';
    /// `None` when it did not since it started.
    pub noted_index: Option<LogIndex>,
    /// The entry of the last checkpoint that was scrubbed in the background: every row was read, and
    /// is as it was written.
    pub scrubbed_index: Option<LogIndex>,
    /// How long ago that scrub ended.
    pub scrubbed_age: Option<Duration>,
    /// Why it serves nothing more, if its state is damaged or differs.
    pub doubt: Option<String>,
}

/// How many voters answer, against how many a decision needs. During a change of membership, of the half
/// that is worse off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Voters that answer, this replica among them if it votes.
    pub alive: usize,
    /// How many a decision needs.
    pub needed: usize,
    /// Voters in all.
    pub voters: usize,
    /// Whether too few answer, and have for longer than a restart or an election takes.
    pub lost: bool,
}

/// Another member, as a replica sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its id.
    pub id: NodeId,
    /// The last entry that its log is known to share with the leader's; only the leader knows.
    pub matched: Option<LogIndex>,
    /// Entries of the leader's log beyond that.
    pub lag: Option<u64>,
    /// Whether it answered lately.
    pub alive: bool,
    /// How long ago it last answered; `None` when it never did since this replica started.
    pub last_contact: Option<Duration>,
}

/// A member, as one replica sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberStatus {
    /// Its id.
    pub id: NodeId,
    /// What the log says of it.
    pub member: Member,
    /// Voter or learner.
    pub membership: Membership,
    /// Whether it is the leader, as far as is known here.
    pub leader: bool,
    /// Whether it answered lately.
    pub alive: bool,
    /// The Axon version it runs, once it has answered.
    pub version: Option<String>,
    /// The last entry it has applied, as it said when it last answered.
    pub applied_index: Option<LogIndex>,
    /// When it last answered; `None` when it never did since this replica started.
    pub last_contact: Option<Duration>,
}

/// A node, by what it says of itself and by whether it is heard; with or without a leader.
///
/// It may be a member, one that joins or asks to, or one that was a member and is not forgotten yet.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenNode {
    /// Its id; `None` for a newcomer that knocked here and has none yet.
    pub id: Option<NodeId>,
    /// Its name.
    pub name: String,
    /// Where its API answers; empty when it has none.
    pub address: String,
    /// Where its peers reach it now, which the membership may not know yet.
    pub peer_address: String,
    /// The Axon version it runs; `None` when it was never heard.
    pub version: Option<String>,
    /// Its part in the protocol, as [`RaftState::as_str`] says it; `None` when it was never heard.
    pub raft_state: Option<String>,
    /// About what it has applied: the last entry that it told of. `None` when it was never heard.
    pub applied_index: Option<LogIndex>,
    /// Whether it gave a sign of life lately, here or to others.
    pub alive: bool,
    /// When it last gave one, as far as is known here; `None` when it was never heard.
    pub last_heard: Option<Duration>,
}

impl SeenNode {
    /// A node of which nothing is known but its id.
    pub(crate) fn unheard(id: Option<NodeId>) -> Self {
        Self {
            id,
            name: String::new(),
            address: String::new(),
            peer_address: String::new(),
            version: None,
            raft_state: None,
            applied_index: None,
            alive: false,
            last_heard: None,
        }
    }
}

/// Snapshots that went over the network one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transfers {
    /// How long each took, in microseconds.
    pub micros: Histogram,
    /// Bytes of all.
    pub bytes: u64,
}

/// Counters and gauges of a replica, for a metrics page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The log's counters.
    pub log: crate::storage::LogMetrics,
    /// Entries applied since the start.
    pub applied_entries: u64,
    /// Checkpoints written since the start.
    pub checkpoints: u64,
    /// How long each of them took, in microseconds.
    pub checkpoint_micros: Histogram,
    /// Bytes in the overlays.
    pub overlay_bytes: u64,
    /// Bytes that the state's base takes on disk.
    pub state_disk_bytes: u64,
    /// Bytes of the history: superseded versions and change records.
    pub history_bytes: u64,
    /// History up to this revision is compacted.
    pub compacted_revision: Revision,
    /// What history up to this revision left behind is gone too.
    pub swept_revision: Revision,
    /// Comparisons of the members' states that this replica made, as their leader, since the start.
    pub state_comparisons: u64,
    /// How many of those showed a difference.
    pub state_differences: u64,
    /// Scrubs of the base in the background that ended well since the start.
    pub scrubs: u64,
    /// Bytes of rows that scrubs in the background have read since the start.
    pub scrubbed_bytes: u64,
    /// Elections that this replica has started since it did.
    pub elections: u64,
    /// Leadership changes seen since the start.
    pub leader_changes: u64,
    /// Snapshots sent to other members since the start.
    pub snapshots_sent: u64,
    /// How long they took, and their bytes.
    pub snapshot_sends: Transfers,
    /// Snapshots installed here since the start.
    pub snapshots_installed: u64,
    /// How long it took to receive and install them, and their bytes.
    pub snapshot_receipts: Transfers,
    /// Writes proposed through this replica.
    pub proposals: u64,
    /// How many of those were sent on to a leader elsewhere; again each time it was tried.
    pub forwarded_out: u64,
    /// Writes that other replicas sent on to this one.
    pub forwarded_in: u64,
    /// `ReadIndex` rounds asked of the leader by this replica.
    pub read_index_rounds: u64,
    /// Linearizable reads served by those rounds.
    pub linearizable_reads: u64,
    /// Watchers, now.
    pub watchers: u64,
    /// Events told to watchers since the start.
    pub watch_events: u64,
    /// Watchers told since the start that the history has moved beyond them.
    pub watch_resyncs: u64,
}
