//! What is recorded: operations with their times and outcomes, and what watches told.
//!
//! A [`History`] is plain data. Whoever records from several threads holds it behind a lock: an
//! operation has to begin here before it is sent, and to end here after its answer has come. Times
//! are of one monotonic clock, in any unit.

use super::action::{Action, Answer, Found, Outcome, Pair, Seen, Span};
use super::text;
use crate::types::Revision;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A client: whoever makes operations. It is for people to read.
pub type Client = u64;
/// A point of a monotonic clock.
pub type Time = u64;

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked.
    pub client: Client,
    /// The idempotency key, or the session and the number of the request: what was sent several
    /// times under one id happens at most once.
    #[serde(default)]
    pub id: Option<String>,
    /// When it was asked, at the latest.
    pub begin: Time,
    /// When the answer was there; `None` when none came.
    pub end: Option<Time>,
    /// What was asked.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
}

/// An operation of a [`History`]: its place, in the order in which they began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(pub usize);

/// A watch of a [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WatchId(pub usize);

/// One watch, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The keys it is told of.
    pub span: Span,
    /// Where it begins.
    pub start: Start,
    /// The watch that it goes on with.
    #[serde(default)]
    pub resumes: Option<WatchId>,
    /// Whether its reader may be slower than the history is long: only then it may be told
    /// [`Told::Resync`].
    #[serde(default)]
    pub may_lag: bool,
    /// Set when the reader has waited until this revision must have been told.
    #[serde(default)]
    pub complete_to: Option<Revision>,
    /// What it was told, in order.
    #[serde(default)]
    pub told: Vec<Event>,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// With the changes of this revision.
    From(Revision),
    /// With what exists: batches of one revision, and [`Told::Progress`] of it.
    State,
    /// With what comes after now: after what was acknowledged before this time.
    Now(Time),
}

/// What a watch told, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was there.
    pub at: Time,
    /// What it says.
    pub told: Told,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// What one revision changed in the span; of the state at the start: some of it.
    Batch {
        /// The revision.
        revision: Revision,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Everything up to and with this revision was told.
    Progress(Revision),
    /// The changes of `from` to `to`, both included, are not told.
    Resync {
        /// The first revision that is not told.
        from: Revision,
        /// The last revision that is not told.
        to: Revision,
    },
}

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    #[serde(with = "text")]
    pub key: Bytes,
    /// What is stored; `None`: the key was removed.
    pub after: Option<Seen>,
    /// What was there before.
    #[serde(default)]
    pub before: Found,
}

/// Everything that was recorded, in the order in which it began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The store's revision before it.
    #[serde(default)]
    pub revision: Revision,
    /// What was in the store before it.
    #[serde(default)]
    pub initial: Vec<Pair>,
    /// The operations.
    pub operations: Vec<Operation>,
    /// The watches.
    #[serde(default)]
    pub watches: Vec<Watch>,
}

impl History {
    /// Makes the history of a store that is empty, and used by nobody else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `client` is about to ask for `action`. Until its end is noted, its outcome is
    /// unknown.
    pub fn begin(&mut self, client: Client, at: Time, action: Action) -> OpId {
        self.operations.push(Operation {
            client,
            id: None,
            begin: at,
            end: None,
            action,
            outcome: Outcome::Unknown,
        });
        OpId(self.operations.len() - 1)
    }

    /// The same for one of several attempts under one `id`, which happen at most once.
    pub fn begin_once(
        &mut self,
        client: Client,
        id: impl Into<String>,
        at: Time,
        action: Action,
    ) -> OpId {
        let begun = self.begin(client, at, action);
        self.operations[begun.0].id = Some(id.into());
        begun
    }

    /// Notes how `operation` ended.
    pub fn end(&mut self, operation: OpId, at: Time, outcome: Outcome) {
        let operation = &mut self.operations[operation.0];
        operation.end = Some(at);
        operation.outcome = outcome;
    }

    /// Notes that `operation` was answered.
    pub fn answer(&mut self, operation: OpId, at: Time, answer: Answer) {
        self.end(operation, at, Outcome::Ok(answer));
    }

    /// Notes that a watch was started.
    pub fn watch(&mut self, span: impl Into<Span>, start: Start) -> WatchId {
        self.watches.push(Watch {
            span: span.into(),
            start,
            resumes: None,
            may_lag: false,
            complete_to: None,
            told: Vec::new(),
        });
        WatchId(self.watches.len() - 1)
    }

    /// Notes that `earlier` was lost, and a watch of the same span is started that begins with the
    /// changes of `from`.
    pub fn resume(&mut self, earlier: WatchId, from: Revision) -> WatchId {
        let watch = self.watch(self.watches[earlier.0].span.clone(), Start::From(from));
        self.watches[watch.0].resumes = Some(earlier);
        self.watches[watch.0].may_lag = self.watches[earlier.0].may_lag;
        watch
    }

    /// Notes what `watch` told.
    pub fn tell(&mut self, watch: WatchId, at: Time, told: Told) {
        self.watches[watch.0].told.push(Event { at, told });
    }

    /// Writes it down as JSON, to be read by [`from_json`](Self::from_json).
    ///
    /// # Errors
    /// None is known: a history is plain data.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// It is not such a text.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
