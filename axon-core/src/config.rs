//! Every setting of a replica, with its default, its unit and its reason; checked together.

use crate::error::ConfigError;
use crate::secret::Secret;
use crate::types::{ClusterId, Limits};
use std::path::PathBuf;
use std::time::Duration;

/// When a learner becomes a voter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Promotion {
    /// As soon as it has caught up.
    #[default]
    Auto,
    /// When an operator says so.
    Manual,
    /// Never: it serves reads, and is refused a vote whoever asks.
    Never,
}

/// How a replica comes to its cluster when its data directory is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// It resumes what its directory holds, and refuses an empty one.
    #[default]
    Resume,
    /// It makes a new cluster, once, on an empty directory; resumes otherwise.
    Init(Option<ClusterId>),
    /// It knocks at these peer addresses, for ever, on an empty directory; resumes otherwise.
    Join(Vec<String>),
}

/// How much of the past the store keeps: what reads at a revision, cursors and watches can reach.
///
/// The leader's setting counts. Age is cluster time, which stands still without a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// It keeps so much of it; beyond either the oldest goes, soon and in small steps.
    Keep {
        /// Bytes of superseded versions and change records. Default 1 GiB.
        bytes: u64,
        /// How long a superseded version is kept, if the bytes allow; some hundredths more, never
        /// less. Default 1 h.
        age: Duration,
    },
    /// It keeps the latest version of each key, and forgets the others as soon as it can.
    LatestOnly,
}

impl History {
    /// The budget unless another is set: 1 GiB.
    pub const BYTES_DEFAULT: u64 = 1 << 30;
    /// The age unless another is set: 1 h.
    pub const AGE_DEFAULT: Duration = Duration::from_hours(1);
    /// The smallest budget: less than a few large values would leave nothing to read.
    pub const BYTES_MIN: u64 = 1 << 20;
    /// The shortest age: revisions are told apart by about a second.
    pub const AGE_MIN: Duration = Duration::from_secs(1);

    fn validate(self) -> Result<(), ConfigError> {
        let refused = |setting, reason: &str| Err(ConfigError { setting, reason: reason.into() });
        match self {
            Self::Keep { bytes, .. } if bytes < Self::BYTES_MIN => {
                refused("history_bytes", "must be at least 1048576 (1 MiB)")
            }
            Self::Keep { age, .. } if age < Self::AGE_MIN => {
                refused("history_age", "must be at least 1s")
            }
            _ => Ok(()),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self::Keep { bytes: Self::BYTES_DEFAULT, age: Self::AGE_DEFAULT }
    }
}

/// Where a replica runs its own tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// On a small runtime of its own: a host that blocks its runtime must not lose leadership.
    #[default]
    Own,
    /// On the caller's: one task hop less, for a process that does nothing but serve the store.
    Callers,
}

/// The settings of a replica.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name chosen by people. Default `node1`.
    pub name: String,
    /// Where its data lies; `None` keeps it in memory, for tests.
    pub data_dir: Option<PathBuf>,
    /// Where it listens for its peers (`host:port`); `None`: a single replica without a network.
    pub listen: Option<String>,
    /// How its peers reach it, when that is not where it listens (port 0, a wildcard, NAT).
    pub advertise: Option<String>,
    /// Where its API answers, told to the other members; empty when it has none.
    pub api_address: String,
    /// How it comes to its cluster.
    pub origin: Origin,
    /// When it is promoted after joining.
    pub promotion: Promotion,
    /// Sizes of keys and values.
    pub limits: Limits,
    /// How long a call waits. Default 5 s: longer than the worst election.
    pub request_timeout: Duration,
    /// How often a leader says that it is there. Default 50 ms.
    pub heartbeat_interval: Duration,
    /// The shortest silence after which a follower asks for votes. Default 250 ms.
    pub election_timeout_min: Duration,
    /// The longest such silence. Default 500 ms.
    pub election_timeout_max: Duration,
    /// Bytes of commands in flight before a put is answered `Overloaded`. Default 32 MiB.
    pub inflight_bytes_max: usize,
    /// Bytes of recent entries kept in memory, for replication and apply. Default 32 MiB.
    pub log_cache_bytes: usize,
    /// Bytes of log kept on disk for members that lag. Default 1 GiB.
    pub log_retention_bytes: u64,
    /// Bytes in the overlay that start a checkpoint. Default 32 MiB: of the rows of a larger one more
    /// lie on the same page, and a key that changes often is written once.
    pub checkpoint_bytes: usize,
    /// Bytes in the overlay at which apply waits for the checkpoint. Default 64 MiB.
    pub overlay_bytes_max: usize,
    /// Longest time from a change to the checkpoint that holds it. Default 5 s.
    pub checkpoint_interval: Duration,
    /// Bytes of the state's base kept in memory. Default 48 MiB: what is beyond it, the operating
    /// system keeps as long as it has room.
    pub state_cache_bytes: usize,
    /// How much of the past is kept.
    pub history: History,
    /// Revisions after which the members compare their states, by their hashes; 0: never. The leader's
    /// counts. Default 10,000: a comparison is an entry and a question to each member, some thousandths
    /// of what so many writes cost.
    pub compare_revisions: u64,
    /// A base of the state below this size is read and checked whole before the replica starts on it; a
    /// larger one soon after, in the background. Default 64 MiB, which take a fraction of a second.
    pub scrub_bytes_max: u64,
    /// How long the base rests between two scrubs in the background. Default 24 h: disks forget bits over
    /// months.
    pub scrub_interval: Duration,
    /// The pace of a scrub in the background, in bytes of rows. Default 8 MiB/s: reads and checkpoints
    /// next to it hardly feel it, and 10 GiB take 22 minutes.
    pub scrub_bytes_per_second: u64,
    /// What the members of its cluster share, and prove to each other before anything else; `None`
    /// talks to replicas that have none either.
    pub secret: Option<Secret>,
    /// How often a replica tells another of who it knows. Default 500 ms.
    pub gossip_interval: Duration,
    /// Bytes set aside on its disk, to be given up when the disk runs full; never more than a tenth
    /// of the disk. Default 32 MiB.
    pub disk_reserve_bytes: u64,
    /// Free bytes of its disk below which it takes no writes; never more than 5 % of the disk.
    /// Default 512 MiB.
    pub disk_low_bytes: u64,
    /// The 99th percentile of its log's syncs above which a leader hands over, if it stays there and
    /// another voter's is half as long. Default 500 ms.
    pub sync_p99_max: Duration,
    /// Where its own tasks run.
    pub runtime: RuntimeChoice,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "node1".into(),
            data_dir: None,
            listen: None,
            advertise: None,
            api_address: String::new(),
            origin: Origin::default(),
            promotion: Promotion::default(),
            limits: Limits::default(),
            request_timeout: Duration::from_secs(5),
            heartbeat_interval: Duration::from_millis(50),
            election_timeout_min: Duration::from_millis(250),
            election_timeout_max: Duration::from_millis(500),
            inflight_bytes_max: 32 << 20,
            log_cache_bytes: 32 << 20,
            log_retention_bytes: 1 << 30,
            checkpoint_bytes: 32 << 20,
            overlay_bytes_max: 64 << 20,
            checkpoint_interval: Duration::from_secs(5),
            state_cache_bytes: 48 << 20,
            history: History::default(),
            compare_revisions: 10_000,
            scrub_bytes_max: 64 << 20,
            scrub_interval: Duration::from_hours(24),
            scrub_bytes_per_second: 8 << 20,
            secret: None,
            gossip_interval: Duration::from_millis(500),
            disk_reserve_bytes: 32 << 20,
            disk_low_bytes: 512 << 20,
            sync_p99_max: Duration::from_millis(500),
            runtime: RuntimeChoice::default(),
        }
    }
}

impl Config {
    /// What it proves to its peers: its secret, or that it has none.
    pub(crate) fn proven_secret(&self) -> Secret {
        self.secret.clone().unwrap_or_else(Secret::none)
    }

    /// The largest reserve: more would only be missed.
    pub const DISK_RESERVE_BYTES_MAX: u64 = 1 << 30;
    /// The lowest watermark: what is in flight takes more than less.
    pub const DISK_LOW_BYTES_MIN: u64 = 1 << 20;
    /// The shortest [`scrub_interval`](Self::scrub_interval): below, the disk does little else.
    pub const SCRUB_INTERVAL_MIN: Duration = Duration::from_secs(1);
    /// The slowest scrub: it keeps pages of the base from being used again, so it must end.
    pub const SCRUB_BYTES_PER_SECOND_MIN: u64 = 64 << 10;
    /// The shortest [`gossip_interval`](Self::gossip_interval): below, idle replicas would be busy.
    pub const GOSSIP_INTERVAL_MIN: Duration = Duration::from_millis(100);
    /// The longest one: beyond, who died is told of minutes later.
    pub const GOSSIP_INTERVAL_MAX: Duration = Duration::from_mins(1);

    /// Checks the settings, alone and together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |holds: bool, setting: &'static str, reason: &str| {
            if holds { Ok(()) } else { Err(ConfigError { setting, reason: reason.into() }) }
        };
        validate_name(&self.name)?;
        let Limits { key_bytes_max, value_bytes_max } = self.limits;
        check(key_bytes_max > 0, "key_bytes_max", "must be at least 1")?;
        check(
            key_bytes_max + value_bytes_max <= Limits::COMMAND_BYTES_MAX - 1024,
            "value_bytes_max",
            "a key and a value must fit into a command of 16 MiB",
        )?;
        check(
            self.heartbeat_interval * 2 < self.election_timeout_min,
            "heartbeat_interval",
            "must be less than half of election_timeout_min, or followers give up a living leader",
        )?;
        check(
            self.election_timeout_min < self.election_timeout_max,
            "election_timeout_max",
            "must be greater than election_timeout_min, or candidates keep splitting the vote",
        )?;
        check(
            self.checkpoint_bytes < self.overlay_bytes_max,
            "overlay_bytes_max",
            "must be greater than checkpoint_bytes, or every checkpoint stops writes",
        )?;
        let interval = Self::GOSSIP_INTERVAL_MIN..=Self::GOSSIP_INTERVAL_MAX;
        check(
            interval.contains(&self.gossip_interval),
            "gossip_interval",
            "must be between 100ms and 60s",
        )?;
        check(!self.request_timeout.is_zero(), "request_timeout", "must be greater than zero")?;
        check(
            self.disk_reserve_bytes <= Self::DISK_RESERVE_BYTES_MAX,
            "disk_reserve_bytes",
            "must be at most 1073741824 (1 GiB)",
        )?;
        check(
            self.disk_low_bytes >= Self::DISK_LOW_BYTES_MIN,
            "disk_low_bytes",
            "must be at least 1048576 (1 MiB)",
        )?;
        check(
            self.sync_p99_max >= Duration::from_millis(1),
            "sync_p99_max",
            "must be at least 1ms: any disk takes longer now and then",
        )?;
        check(
            self.scrub_interval >= Self::SCRUB_INTERVAL_MIN,
            "scrub_interval",
            "must be at least 1s",
        )?;
        check(
            self.scrub_bytes_per_second >= Self::SCRUB_BYTES_PER_SECOND_MIN,
            "scrub_bytes_per_second",
            "must be at least 65536 (64 KiB): a scrub must end",
        )?;
        self.history.validate()?;
        let joins = matches!(&self.origin, Origin::Join(_));
        check(!joins || self.listen.is_some(), "join", "a joining replica needs `listen`")
    }
}

/// Checks a replica's name: `[a-z0-9][a-z0-9-]{0,31}`.
pub fn validate_name(name: &str) -> Result<(), ConfigError> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = name.len() <= 32
        && name.starts_with(letters)
        && name.chars().all(|c| letters(c) || c == '-');
    valid.then_some(()).ok_or_else(|| ConfigError {
        setting: "name",
        reason: format!(
            "must be 1 to 32 of a-z, 0-9 and '-', not beginning with '-'; got {name:?}"
        ),
    })
}
