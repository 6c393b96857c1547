//! What can go wrong, by boundary, said so that the caller knows what to do.
//!
//! * [`Error`] is what `Store` and `Cluster` answer; it carries an [`Outcome`](ErrorOutcome).
//! * [`StorageError`], [`TransportError`] are what plug-ins answer to core.
//! * [`ConfigError`] names the setting that is wrong.

use crate::types::{NodeId, Revision};
use bytes::Bytes;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What is known of a write that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorOutcome {
    /// It was never handed to the log: it did not happen and will not.
    NotApplied,
    /// It may have happened, or may still happen.
    Unknown,
}

/// Why a call on [`Store`](crate::Store) or [`Cluster`](crate::Cluster) failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No leader is known at the moment; an election is under way.
    #[error("no leader: an election is under way; retry shortly")]
    NoLeader {
        /// Whether an attempt had been handed to a log.
        outcome: ErrorOutcome,
    },
    /// Too few voters are reachable to decide anything.
    #[error("{alive} of {voters} voters {} reachable, {needed} are needed", if *alive == 1 { "is" } else { "are" })]
    NoQuorum {
        /// Voters that can be reached, this replica included.
        alive: usize,
        /// Voters that a decision needs.
        needed: usize,
        /// Voters there are.
        voters: usize,
        /// Whether an attempt had been handed to a log.
        outcome: ErrorOutcome,
    },
    /// The deadline passed. A write may still happen.
    #[error("no answer within {}", humanized(*waited))]
    Timeout {
        /// How long the call waited.
        waited: Duration,
        /// Whether an attempt had been handed to a log.
        outcome: ErrorOutcome,
    },
    /// A key, value or command is larger than the settings allow.
    #[error("{what} has {got} bytes, the limit is {limit}")]
    TooLarge {
        /// What is too large: `key`, `value` or `command`.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
        /// What was given, in bytes.
        got: usize,
    },
    /// There is more of something than one call may ask for.
    #[error("more than {limit} {what}")]
    TooMany {
        /// What there is too much of: `operations in a transaction`.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The history that was asked for is gone.
    #[error("revision {requested} is compacted: the oldest that can be read is {oldest}")]
    Compacted {
        /// The revision that was asked for.
        requested: Revision,
        /// The oldest revision that can be asked for instead.
        oldest: Revision,
    },
    /// A transaction is done, but what it read cannot be told any more.
    ///
    /// Its answer was lost on the way or too large for one message, so that its reads had to be made
    /// again, and history was compacted in between.
    #[error(
        "the transaction was done at revision {revision}, but what it read is compacted: the \
         oldest revision that can be read is {oldest}"
    )]
    ReadsCompacted {
        /// The store's revision after the transaction.
        revision: Revision,
        /// The oldest revision that can be asked for instead.
        oldest: Revision,
    },
    /// The revision that was asked for does not exist yet.
    #[error("revision {requested} is in the future: the newest is {newest}")]
    FutureRevision {
        /// The revision that was asked for.
        requested: Revision,
        /// The newest revision there is.
        newest: Revision,
    },
    /// The cursor is damaged, or belongs to another query or store.
    #[error("this cursor cannot be used: {reason}; begin again without it")]
    BadCursor {
        /// What is wrong with it.
        reason: String,
    },
    /// A transaction would change a key twice.
    #[error("a transaction changes each key at most once; it changes {key:?} twice")]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// The idempotency key was used before, for another request.
    #[error("this idempotency key was used for another request; choose a new one")]
    IdempotencyMismatch,
    /// The state machine refuses the write as it stands.
    #[error("refused: {reason}")]
    Refused {
        /// What is wrong with it.
        reason: String,
    },
    /// A member runs an older Axon that does not know this command.
    #[error("{member} runs an older Axon that does not know this command: upgrade it, then retry")]
    UpgradeNeeded {
        /// The member's name.
        member: String,
    },
    /// A key has no bytes.
    #[error("a key has at least one byte")]
    EmptyKey,
    /// More is in flight than this replica takes on.
    #[error("too much in flight; retry after {}", humanized(*retry_after))]
    Overloaded {
        /// When a retry is worth it.
        retry_after: Duration,
    },
    /// No majority has disk space left for more writes; reads go on.
    #[error("the disk is full: free space, then retry")]
    DiskFull,
    /// The request's session is unknown or expired, so that it cannot be known whether it ran.
    #[error("the request's session has expired: read the key to learn whether the write happened")]
    RequestExpired,
    /// This replica has stopped after a fault.
    #[error("this replica has halted: {cause}")]
    Halted {
        /// The first cause.
        cause: String,
    },
    /// This replica was removed from the cluster.
    #[error("this replica (id {id}) was removed from the cluster")]
    Removed {
        /// Its id, which will never be used again.
        id: NodeId,
    },
    /// The replica is shut down, or shutting down.
    #[error("this replica is shut down")]
    ShutDown,
    /// The replica is not a member yet: it still knocks, or catches up.
    #[error("this replica is not ready: {reason}")]
    NotReady {
        /// What it waits for.
        reason: String,
    },
    /// No member has the id or name that was asked for.
    #[error("no member is called {member}")]
    UnknownMember {
        /// What was asked for.
        member: String,
    },
    /// The change of membership would leave the cluster unable to decide.
    #[error("refused: {reason}")]
    WouldLoseQuorum {
        /// The arithmetic in words.
        reason: String,
        /// Voters that would be left and answer.
        alive: usize,
        /// Voters that a decision would need.
        needed: usize,
        /// Voters that would be left.
        voters: usize,
    },
    /// The change of membership cannot be made now.
    #[error("refused: {reason}")]
    Conflict {
        /// What stands in its way.
        reason: String,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The transport cannot be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Error {
    /// Says whether the write that failed may have happened.
    #[must_use]
    pub fn outcome(&self) -> ErrorOutcome {
        match self {
            Self::NoLeader { outcome }
            | Self::NoQuorum { outcome, .. }
            | Self::Timeout { outcome, .. } => *outcome,
            Self::RequestExpired
            | Self::ReadsCompacted { .. }
            | Self::Halted { .. }
            | Self::ShutDown => ErrorOutcome::Unknown,
            _ => ErrorOutcome::NotApplied,
        }
    }

    /// Says whether the same call may succeed later, with nothing else changed.
    ///
    /// A write whose [`outcome`](Self::outcome) is `Unknown` may already have happened.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::NoLeader { .. }
                | Self::NoQuorum { .. }
                | Self::Timeout { .. }
                | Self::Overloaded { .. }
                | Self::DiskFull
                | Self::NotReady { .. }
                | Self::Conflict { .. }
                | Self::UpgradeNeeded { .. }
        )
    }
}

fn humanized(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// Why a storage engine failed. Any of these halts the replica that meets it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused.
    #[error("{what} {path}: {message}")]
    Io {
        /// What was tried, as in `cannot sync`.
        what: &'static str,
        /// On which file or directory.
        path: String,
        /// What the operating system said.
        message: String,
        /// Its kind.
        kind: io::ErrorKind,
    },
    /// What is on disk is not what was written there.
    #[error(
        "{path} is corrupt at offset {offset}: {reason}; restore this replica from its peers: remove it from the cluster, empty its directory, let it join again"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// The byte at which the damage shows; 0 where the engine cannot tell.
        offset: u64,
        /// What does not match.
        reason: String,
    },
    /// Another process uses the data directory.
    #[error("{path} is in use by {holder}; stop it, or choose another data directory")]
    Locked {
        /// The data directory.
        path: String,
        /// Who holds it.
        holder: String,
    },
    /// A newer Axon wrote this.
    #[error("{path} has format {found}, this Axon reads up to {supported}: start a newer Axon")]
    NewerFormat {
        /// The file.
        path: String,
        /// The format found.
        found: u32,
        /// The newest format this Axon reads.
        supported: u32,
    },
    /// The parts of a data directory do not belong together, or to what was asked for.
    #[error("{path}: {reason}")]
    Mismatch {
        /// The file or directory.
        path: String,
        /// What does not fit, and what to do.
        reason: String,
    },
}

impl StorageError {
    /// Wraps what the operating system said, with what was tried on which path.
    pub fn io(what: &'static str, path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::Io {
            what,
            path: path.into().display().to_string(),
            message: error.to_string(),
            kind: error.kind(),
        }
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Io { kind, .. } => *kind,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Why a transport failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The peer cannot be reached.
    #[error("cannot reach {address}: {message}")]
    Unreachable {
        /// Whom.
        address: String,
        /// What went wrong.
        message: String,
    },
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}: {message}")]
    CannotListen {
        /// The address.
        address: String,
        /// What went wrong, and what to do.
        message: String,
    },
    /// The channel broke or was closed.
    #[error("the channel is closed: {message}")]
    Closed {
        /// What is known of the reason.
        message: String,
    },
    /// A frame is larger than the peers agreed on.
    #[error("a frame of {got} bytes is over the limit of {limit}")]
    FrameTooLarge {
        /// The limit in bytes.
        limit: usize,
        /// What was announced or offered, in bytes.
        got: usize,
    },
    /// The two replicas will not talk to each other. Nothing was sent but a greeting.
    #[error("refused: {reason}")]
    Refused {
        /// Why, for the program.
        code: RefusalCode,
        /// Why, for people.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer from the peer within {}", humanized(*.waited))]
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
    /// What arrived is no valid message.
    #[error("a malformed message: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
}

/// Why two replicas will not talk. The numbers go over the wire: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum RefusalCode {
    /// They belong to different clusters.
    WrongCluster,
    /// The dialer was removed from the cluster: its id is never used again.
    Removed,
    /// The dialer speaks a newer protocol than the one that refuses it, which must be upgraded.
    NewerProtocol,
    /// The dialer speaks an older protocol than the peer: it must be upgraded, and stays out.
    OlderProtocol,
    /// The dialer is no member, and this lane is for members.
    NotMember,
    /// The peer is shutting down: another one may answer.
    ShuttingDown,
    /// For another reason, which is in the words.
    Other,
    /// They do not share a secret: one has another one, or none.
    SecretsDiffer,
}

/// Which setting is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {reason}")]
pub struct ConfigError {
    /// The setting's name.
    pub setting: &'static str,
    /// What is wrong with it.
    pub reason: String,
}
