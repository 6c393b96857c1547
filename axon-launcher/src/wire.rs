//! Every JSON shape of `/api/v1`, and nothing else. What the dashboard and scripts rely on.
//!
//! Times are milliseconds since 1970 on the launcher's wall clock. What is not known is `null`,
//! never 0. Words are lower case with underscores.
//!
//! The dashboard's own idea of them is made of these: see `wire/tests.rs`.

use serde::{Deserialize, Serialize};

/// What a node is doing, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing runs and nothing should.
    Stopped,
    /// Its process runs and has not answered yet.
    Starting,
    /// It runs and answers.
    Running,
    /// Its process runs and does not answer, or answers that it cannot serve.
    Unhealthy,
    /// Its process ended by itself; `next_start` says when it starts again, if it does.
    Crashed,
    /// It was told to stop and has not ended yet.
    Stopping,
    /// It is on its way out of the cluster.
    Decommissioning,
    /// Its cluster has removed it: it does not start again.
    Removed,
}

/// A node, as `GET /api/v1/nodes` lists it and the stream's `node` event carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Node {
    /// Its name.
    pub id: String,
    /// The id that the cluster gave it.
    pub node_id: Option<u64>,
    /// Where its API answers.
    pub address: String,
    /// Where its peers reach it.
    pub peer_address: String,
    /// What it is doing.
    pub state: State,
    /// Since when.
    pub since: u64,
    /// Whether it should run.
    pub desired_running: bool,
    /// What is wrong, in a sentence.
    pub trouble: Option<String>,
    /// How its last process ended, if it did by itself.
    pub exit: Option<Exit>,
    /// How often in a row its process has ended by itself.
    pub failures: u32,
    /// When a crashed one starts again; null: not by itself.
    pub next_start: Option<u64>,
    /// Its process id while it runs.
    pub pid: Option<u32>,
    /// When its process was started.
    pub started: Option<u64>,
    /// `voter`, `learner` or `none`, by the best informed node that answers.
    pub membership: Option<String>,
    /// `leader`, `follower`, `candidate` or `learner`, by its own words.
    pub role: Option<String>,
    /// Whether it can serve linearizable reads.
    pub ready: bool,
    /// Its Raft term.
    pub term: Option<u64>,
    /// Whom it last voted for, by its id.
    pub vote: Option<u64>,
    /// Whom it takes for the leader, by its id.
    pub leader_seen: Option<u64>,
    /// The last entry of its log.
    pub last_log: Option<u64>,
    /// The last entry that it knows to be committed.
    pub committed: Option<u64>,
    /// The last entry that it has applied.
    pub applied: Option<u64>,
    /// How far its log agrees with the leader's, as the leader says.
    pub matched: Option<u64>,
    /// Entries behind the leader, as the leader says; null without a leader.
    pub lag: Option<u64>,
    /// The last entry in its checkpoint.
    pub snapshot: Option<u64>,
    /// Entries up to here are gone from its log.
    pub purged: Option<u64>,
    /// How long ago a quorum answered it, if it leads.
    pub quorum_ack_age_ms: Option<u64>,
    /// How long it took to answer the launcher's last question.
    pub probe_rtt_ms: Option<f64>,
    /// The 99th percentile of its log's latest syncs.
    pub sync_p99_ms: Option<f64>,
    /// Share of one processor that it uses.
    pub cpu: Option<f64>,
    /// Memory that it uses, in bytes.
    pub rss: Option<u64>,
    /// What its directory takes, in bytes.
    pub disk: Option<u64>,
    /// Free bytes of the disk that its directory is on.
    pub disk_free: Option<u64>,
    /// Whether that is too little for writes.
    pub disk_low: Option<bool>,
    /// The version that it runs.
    pub version: Option<String>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Exit {
    /// Its exit code, if it had one and it is known.
    pub code: Option<i32>,
    /// The same in words.
    pub text: String,
    /// When.
    pub at: u64,
    /// The last lines of its log at that moment.
    pub lines: Vec<String>,
}

/// How the cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It decides, and everyone who should be there is.
    Healthy,
    /// It decides, and someone is missing.
    Degraded,
    /// Enough voters answer, and none leads yet.
    NoLeader,
    /// Too few voters answer to decide anything.
    NoQuorum,
}

/// The cluster, as `GET /api/v1/cluster` and the stream's `cluster` event show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Cluster {
    /// Its id.
    pub id: String,
    /// How it is, in a word.
    pub health: Health,
    /// How it is, in a sentence: what it can do now, and how many more failures it survives.
    pub sentence: String,
    /// Since when its health is this.
    pub since: u64,
    /// The highest term known.
    pub term: Option<u64>,
    /// The leader's name.
    pub leader: Option<String>,
    /// The names of the voters; an id without a known name stands as `#7`.
    pub voters: Vec<String>,
    /// The names of the learners.
    pub learners: Vec<String>,
    /// How many voters a decision needs.
    pub quorum: usize,
    /// How many voters answer.
    pub online: usize,
    /// How many more voters may fail before nothing can be decided; null while that is not known.
    pub failures_tolerated: Option<usize>,
    /// The last entry known to be committed.
    pub committed: Option<u64>,
    /// Whether a change of membership is half done.
    pub joint: bool,
}

/// How bad an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warning,
    /// Something is broken.
    Error,
}

/// Something that happened, as `GET /api/v1/events` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Event {
    /// Its number; grows by one, over restarts of the launcher too.
    pub id: u64,
    /// When.
    pub t: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing, such as `leader_elected`, `crashed`, `started`, `operation`.
    pub kind: String,
    /// The node that it is about.
    pub node: Option<String>,
    /// The Raft term it happened in.
    pub term: Option<u64>,
    /// In a sentence.
    pub text: String,
    /// Who did it: `launcher` by itself, the cluster's node by its name, or who asked.
    pub actor: String,
    /// With `crashed`: how the process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub exit: Option<Exit>,
}

/// How far an operation, or a step of one, has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A step whose turn has not come.
    Pending,
    /// It is under way.
    Running,
    /// It is done.
    Done,
    /// It could not be done; `error` says why.
    Failed,
    /// It was cancelled before it was done.
    Cancelled,
}

/// A step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Step {
    /// What is done, for people: `move leadership away from node1`.
    pub name: String,
    /// How far it has come.
    pub state: Progress,
    /// How long it took, or has taken so far.
    pub ms: u64,
    /// What is waited for or was found, for people.
    pub note: Option<String>,
}

/// Something that takes a while, as `GET /api/v1/operations/{id}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Operation {
    /// Its number.
    pub id: u64,
    /// `start`, `stop`, `restart`, `kill`, `promote`, `transfer`, `decommission`, `add` or
    /// `rolling_restart`.
    pub kind: String,
    /// The node that it is about; null: the whole cluster.
    pub node: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// How far it has come; never `pending`.
    pub state: Progress,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// When it began.
    pub started: u64,
    /// When it ended.
    pub ended: Option<u64>,
    /// Why it failed, in a sentence.
    pub error: Option<String>,
    /// Whether it can be cancelled now without harm.
    pub can_cancel: bool,
}

/// What an action would do: the answer to `?dry_run=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DryRun {
    /// Whether it would be done.
    pub allowed: bool,
    /// Why not, with the arithmetic.
    pub reason: Option<String>,
    /// What else to know before it is done.
    pub warnings: Vec<String>,
    /// What it does to the quorum; null while nobody says who votes.
    pub effect: Option<Effect>,
    /// The steps that would be done, in words.
    pub steps: Vec<String>,
}

/// The quorum before and after an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Effect {
    /// Voters now.
    pub voters_before: usize,
    /// Of them, how many answer.
    pub online_before: usize,
    /// How many a decision needs now.
    pub needed_before: usize,
    /// Voters after it.
    pub voters_after: usize,
    /// Of them, how many would answer.
    pub online_after: usize,
    /// How many a decision would need.
    pub needed_after: usize,
    /// Whether leadership moves: away first, or to the node if that is the action.
    pub moves_leadership: bool,
}

/// One second of the cluster's work: the stream's `tick` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Tick {
    /// When.
    pub t: u64,
    /// Reads answered in that second, over all nodes.
    pub reads: Option<f64>,
    /// Writes acknowledged.
    pub writes: Option<f64>,
    /// Requests that failed by a fault of the cluster (5xx).
    pub errors: Option<f64>,
    /// The median of the writes' latencies, in milliseconds.
    pub write_p50_ms: Option<f64>,
    /// Their 99th percentile.
    pub write_p99_ms: Option<f64>,
    /// The 99th percentile of the reads' latencies.
    pub read_p99_ms: Option<f64>,
    /// What each node did, by name.
    #[cfg_attr(test, ts(type = "Record<string, NodeTick>"))]
    pub nodes: std::collections::BTreeMap<String, NodeTick>,
}

/// One second of one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct NodeTick {
    /// Entries behind the leader.
    pub lag: Option<u64>,
    /// Share of one processor.
    pub cpu: Option<f64>,
    /// Memory, in bytes.
    pub rss: Option<u64>,
    /// Bytes that its log takes on disk.
    pub log_bytes: Option<u64>,
}

/// The first message of a stream: everything as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Snapshot {
    /// Tells starts of the launcher apart; ids of messages are `<epoch>-<seq>`.
    pub epoch: u64,
    /// The number of the last message before this one.
    pub seq: u64,
    /// The launcher's time.
    pub now: u64,
    /// The launcher's version, so that an older page can tell.
    pub version: String,
    /// The cluster.
    pub cluster: Cluster,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Operations that run, and the latest that ended.
    pub operations: Vec<Operation>,
    /// The latest 100 events.
    pub events: Vec<Event>,
    /// Up to 15 minutes of ticks, oldest first.
    pub ticks: Vec<Tick>,
}

#[cfg(test)]
mod tests;
