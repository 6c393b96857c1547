//! What [`Store`](crate::Store) answers and watches tell, in the words of a history.

use super::action::{Answer, Condition, Found, Outcome, Seen, What};
use super::record::{Change, Told};
use crate::error::{Error, ErrorOutcome};
use crate::store::{Deleted, OpResult, Swap, TxnResult, Written};
use crate::txn::{Compare, Target};
use crate::types::{KeyValue, Revision};
use crate::watch::{WatchChange, WatchEvent};

/// A key that was there, of which its revision and perhaps its version is known.
fn there(mod_revision: Option<Revision>, version: Option<u64>) -> Found {
    Found::Present(Seen { mod_revision, version, ..Seen::default() })
}

impl From<Option<KeyValue>> for Answer {
    fn from(found: Option<KeyValue>) -> Self {
        Self::Got(found.into())
    }
}

impl From<Written> for Answer {
    fn from(written: Written) -> Self {
        let before = match written.previous {
            Some(previous) => there(Some(previous), None),
            None => Found::Absent,
        };
        Self::Done { revision: Some(written.revision), before }
    }
}

impl From<Deleted> for Answer {
    fn from(deleted: Deleted) -> Self {
        let before = if deleted.existed { there(None, None) } else { Found::Absent };
        Self::Done { revision: Some(deleted.revision), before }
    }
}

impl<T: Into<Answer>> From<Swap<T>> for Answer {
    fn from(swap: Swap<T>) -> Self {
        match swap {
            Swap::Done(done) => done.into(),
            Swap::Conflict(found) => Self::Conflict { revision: None, found: found.into() },
        }
    }
}

impl From<TxnResult> for Answer {
    /// Results of what [`Action::Txn`](super::Action::Txn) cannot ask for are left untold.
    fn from(result: TxnResult) -> Self {
        let found = |result| match result {
            OpResult::Get(found) => found.into(),
            OpResult::Put { version, previous } => match previous {
                Some(previous) => there(Some(previous), version.checked_sub(1)),
                None => Found::Absent,
            },
            OpResult::Delete { existed: true } => there(None, None),
            OpResult::Delete { existed: false } => Found::Absent,
            OpResult::DeleteRange { .. } | OpResult::Txn { .. } => Found::Untold,
        };
        let TxnResult { succeeded, revision, results } = result;
        let results = results.into_iter().map(found).collect();
        Self::Txn { succeeded, revision: Some(revision), results }
    }
}

impl From<&Error> for Outcome {
    /// What is known of a write after `error`.
    fn from(error: &Error) -> Self {
        match error.outcome() {
            ErrorOutcome::NotApplied => Self::Failed,
            ErrorOutcome::Unknown => Self::Unknown,
        }
    }
}

impl From<Compare> for Condition {
    fn from(compare: Compare) -> Self {
        let what = match compare.target {
            Target::Version(version) => What::Version(version),
            Target::CreateRevision(revision) => What::CreateRevision(revision),
            Target::ModRevision(revision) => What::ModRevision(revision),
            Target::Value(value) => What::Value(value),
        };
        Self { key: compare.key, what, relation: compare.relation }
    }
}

impl From<WatchChange> for Change {
    /// No previous value may mean that there was none, or that it is not known: untold.
    fn from(change: WatchChange) -> Self {
        let before = |previous: Option<KeyValue>| {
            previous.map_or(Found::Untold, |pair| Found::Present(pair.into()))
        };
        match change {
            WatchChange::Put { pair, previous } => {
                Self { key: pair.key.clone(), after: Some(pair.into()), before: before(previous) }
            }
            WatchChange::Delete { key, previous, .. } => {
                Self { key, after: None, before: before(previous) }
            }
        }
    }
}

impl From<WatchEvent> for Told {
    fn from(event: WatchEvent) -> Self {
        match event {
            WatchEvent::Batch { revision, changes } => {
                let changes = changes.into_iter().map(Change::from).collect();
                Self::Batch { revision, changes }
            }
            WatchEvent::Progress(revision) => Self::Progress(revision),
            WatchEvent::Resync { from, to } => Self::Resync { from, to },
        }
    }
}
