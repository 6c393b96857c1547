//! Whether this replica's state is what it should be, as far as is known: said to peers, and counted.
//!
//! A replica that knows its state to be damaged goes on in the log, since its peers must learn of it
//! there, but serves nothing more: whoever reads here is sent elsewhere. What follows is decided in
//! `integrity.rs`.

use super::engine::Engine;
use crate::command::Noted;
use crate::error::Error;
use crate::runtime;
use crate::status::{Integrity, Metrics};
use crate::types::LogIndex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// How long a replica that is asked for its hash may take to apply the entry.
const APPLY_DEADLINE: Duration = Duration::from_millis(500);

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Soundness {
    /// Why this replica serves nothing more.
    doubt: OnceLock<String>,
    scrubbed: Mutex<Option<(LogIndex, Instant)>>,
    pub(crate) comparisons: AtomicU64,
    pub(crate) differences: AtomicU64,
    pub(crate) scrubs: AtomicU64,
    pub(crate) scrubbed_bytes: AtomicU64,
}

impl Soundness {
    /// Lets this replica serve nothing more; the first reason stands.
    pub(crate) fn doubt(&self, reason: impl Into<String>) {
        let _ = self.doubt.set(reason.into());
    }

    /// Why this replica serves nothing more, if so.
    pub(crate) fn doubted(&self) -> Option<Error> {
        self.doubt.get().map(|reason| Error::NotReady { reason: reason.clone() })
    }

    /// Takes down that all of the base as of `index` was read, and is as it was written.
    pub(crate) fn scrubbed(&self, index: LogIndex) {
        self.scrubs.fetch_add(1, Ordering::Relaxed);
        let mut scrubbed = self.scrubbed.lock().expect("no holder of this lock panics");
        *scrubbed = Some((index, runtime::now()));
    }

    /// Fills in what is counted.
    pub(crate) fn count(&self, metrics: &mut Metrics) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        metrics.state_comparisons = read(&self.comparisons);
        metrics.state_differences = read(&self.differences);
        metrics.scrubs = read(&self.scrubs);
        metrics.scrubbed_bytes = read(&self.scrubbed_bytes);
    }
}

impl Engine {
    /// What this replica noted as of entry `index`, once it has applied it.
    pub(crate) async fn noted_at(&self, index: LogIndex) -> Noted {
        let mut applied = self.reader.applied();
        let there = applied.wait_for(|applied| *applied >= index);
        let _ = tokio::time::timeout(APPLY_DEADLINE, there).await;
        if self.soundness.doubt.get().is_some() {
            return Noted::Damaged;
        }
        self.reader.note_at(index).map_or(Noted::Nothing, |note| Noted::Hash(note.hash))
    }

    /// What this replica knows of its state.
    pub(crate) fn integrity(&self) -> Integrity {
        let scrubbed = *self.soundness.scrubbed.lock().expect("no holder of this lock panics");
        Integrity {
            noted_index: self.reader.last_note().map(|note| note.index),
            scrubbed_index: scrubbed.map(|(index, _)| index),
            scrubbed_age: scrubbed.map(|(_, at)| at.elapsed()),
            doubt: self.soundness.doubt.get().cloned(),
        }
    }
}
