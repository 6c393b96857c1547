//! What a replica says of itself and of its cluster. Plain data, made by `cluster.rs`.

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
    /// Who votes, sorted.
    pub voters: Vec<NodeId>,
    /// Who receives the log without a vote, sorted.
    pub learners: Vec<NodeId>,
    /// The hash of the whole state as of `applied_index`.
    pub state_hash: u128,
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

/// Counters and gauges of a replica, for a metrics page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The log's counters.
    pub log: crate::storage::LogMetrics,
    /// Entries applied since the start.
    pub applied_entries: u64,
    /// Checkpoints written since the start.
    pub checkpoints: u64,
    /// Time spent writing checkpoints, in microseconds.
    pub checkpoint_micros: u64,
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
    /// Leadership changes seen since the start.
    pub leader_changes: u64,
    /// Snapshots sent to other members since the start.
    pub snapshots_sent: u64,
    /// Snapshots installed here since the start.
    pub snapshots_installed: u64,
    /// Writes proposed through this replica.
    pub proposals: u64,
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
