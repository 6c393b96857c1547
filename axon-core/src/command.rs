//! The replicated vocabulary: what can be asked of the state machine, and what it answers.
//!
//! Append-only: a variant keeps its place for ever, a field is never removed. A replica that meets
//! a command beyond its own [`VOCABULARY`] halts rather than guess; so a command is proposed only
//! once every member's vocabulary holds it ([`Command::vocabulary`]).

use crate::types::{Member, NodeId, RequestId, Revision, SessionId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The newest vocabulary this Axon understands.
pub const VOCABULARY: u16 = 1;

/// A request to change the store, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Makes it happen once; `None` only for commands that may safely happen twice.
    pub request: Option<RequestId>,
    /// What to do.
    pub op: Op,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Opens a session; its id is this entry's index.
    OpenSession,
    /// Stores `value` under `key`.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Removes `key`.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Gives the joiner that holds `nonce` a node id; the same nonce gets the same id again.
    AllocateNode {
        /// Made and durably stored by the joiner before it first asks.
        nonce: u128,
        /// Who asks.
        member: Member,
    },
    /// Forgets the nonce of a node that has joined, so that the table stays small.
    SettleNode {
        /// The node.
        id: NodeId,
    },
    /// Writes the store's birth into it: the first command of every cluster.
    Found {
        /// The new cluster's id.
        cluster_id: crate::types::ClusterId,
        /// The highest node id handed out so far.
        last_node_id: NodeId,
    },
}

impl Command {
    /// The vocabulary that every member must understand before this may be proposed.
    #[must_use]
    pub const fn vocabulary(&self) -> u16 {
        match self.op {
            Op::OpenSession
            | Op::Put { .. }
            | Op::Delete { .. }
            | Op::AllocateNode { .. }
            | Op::SettleNode { .. }
            | Op::Found { .. } => 1,
        }
    }
}

/// What the state machine answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to say: blank and membership entries, `SettleNode`, `Found`.
    Done,
    /// The session is open.
    SessionOpened(SessionId),
    /// The value is stored.
    Put {
        /// The revision that did it.
        revision: Revision,
        /// The revision of the value it replaced; `None` when the key is new.
        previous: Option<Revision>,
    },
    /// The key is absent now.
    Deleted {
        /// The store's revision after it; unmoved when the key was absent before.
        revision: Revision,
        /// The revision of the value it removed; `None` when there was none.
        previous: Option<Revision>,
    },
    /// The joiner's id.
    NodeAllocated(NodeId),
    /// The request's session is unknown or expired, or its outcome was already forgotten.
    Expired,
    /// The machine refuses the command as it stands; nothing changed.
    Refused(String),
}
