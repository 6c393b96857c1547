//! The history of a run, shared by all who ask: for the judge.

use crate::trace::Trace;
use axon_core::testing::history::{
    Action, History, OpId, Outcome, Span, Start, Told, Violation, WatchId,
};
use axon_core::testing::history::{Checker, Verdict};
use axon_core::types::Revision;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cheap to clone; all clones are one history.
#[derive(Clone)]
pub struct Record {
    history: Arc<Mutex<History>>,
    trace: Trace,
}

/// How many operations ended how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count {
    pub operations: usize,
    pub acknowledged: usize,
    pub failed: usize,
    pub unknown: usize,
    pub events: usize,
}

impl Record {
    pub fn new(trace: Trace) -> Self {
        Self { history: Arc::default(), trace }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, client: u64, id: Option<&str>, action: Action) -> OpId {
        let at = self.trace.moment();
        match id {
            None => self.history().begin(client, at, action),
            Some(id) => self.history().begin_once(client, id, at, action),
        }
    }

    pub fn end(&self, operation: OpId, outcome: Outcome) {
        let at = self.trace.moment();
        self.history().end(operation, at, outcome);
    }

    pub fn watch(&self, span: Span, start: Start, may_lag: bool) -> WatchId {
        let mut history = self.history();
        let watch = history.watch(span, start);
        history.watches[watch.0].may_lag = may_lag;
        watch
    }

    pub fn resume(&self, earlier: WatchId, from: Revision) -> WatchId {
        self.history().resume(earlier, from)
    }

    pub fn tell(&self, watch: WatchId, told: Told) {
        let at = self.trace.moment();
        self.history().tell(watch, at, told);
    }

    pub fn complete(&self, watch: WatchId, to: Revision) {
        self.history().watches[watch.0].complete_to = Some(to);
    }

    pub fn count(&self) -> Count {
        let history = self.history();
        let events = history.watches.iter().map(|watch| watch.told.len()).sum();
        let mut count = Count { operations: history.operations.len(), events, ..Count::default() };
        for operation in &history.operations {
            match operation.outcome {
                Outcome::Ok(_) => count.acknowledged += 1,
                Outcome::Failed => count.failed += 1,
                Outcome::Unknown => count.unknown += 1,
            }
        }
        count
    }

    /// What is wrong with the history. The second value says that the judge came to no end.
    pub fn judge(&self) -> (Option<Violation>, bool) {
        match Checker::new().check(&self.history()) {
            Verdict::Valid(_) => (None, false),
            Verdict::Violation(violation) => (Some(*violation), false),
            Verdict::Undecided(_) => (None, true),
        }
    }
}
