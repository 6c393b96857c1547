//! Watches as a service writes them.

use super::Store;
use crate::error::Error;
use crate::types::{KeyRange, Revision};
use crate::watch::WatchEvent;
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often a quiet watch says how far it has come, when nothing is said.
pub const PROGRESS_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);

/// A watch in the making. Made by [`Store::watch`] and [`Query::watch`](super::Query::watch).
#[derive(Clone)]
pub struct Watch {
    store: Store,
    range: KeyRange,
    from: Option<Revision>,
    initial_state: bool,
    previous: bool,
    progress_interval: Duration,
}

impl Watch {
    pub(super) fn new(store: Store, range: KeyRange) -> Self {
        let progress_interval = PROGRESS_INTERVAL_DEFAULT;
        Self { store, range, from: None, initial_state: false, previous: false, progress_interval }
    }

    /// Begins with the changes of `revision`; without it, with those that come after now.
    ///
    /// To go on after an event of revision N, begin with N + 1.
    pub fn from(mut self, revision: impl Into<Revision>) -> Self {
        self.from = Some(revision.into());
        self
    }

    /// Begins with what exists: batches of puts, all of the present revision, then
    /// [`WatchEvent::Progress`] of it, then what changes. Not together with [`from`](Self::from).
    pub fn with_initial_state(mut self) -> Self {
        self.initial_state = true;
        self
    }

    /// Tells with each change what was there before, where the history still has it.
    pub fn with_previous(mut self) -> Self {
        self.previous = true;
        self
    }

    /// Says how far it has come at least this often while nothing changes.
    /// Default [`PROGRESS_INTERVAL_DEFAULT`].
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.progress_interval = interval;
        self
    }

    /// Starts it.
    ///
    /// Cancel safe. A start revision ahead of this replica waits for it.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRevision`]; [`Error::Overloaded`] when too many watch.
    pub async fn start(self) -> Result<Watcher, Error> {
        let Self { store, range, from, initial_state, previous, progress_interval } = self;
        let _ = (store, range, from, initial_state, previous, progress_interval);
        unimplemented!("watches")
    }
}

/// What changes, in order: every change of the range once, all changes of a revision together.
///
/// It buffers nothing: what is not read yet lies in the store's history, so that a slow reader costs
/// nothing, and is told ([`WatchEvent::Resync`]) when the history has moved beyond it. It ends with an
/// error when the replica stops.
pub struct Watcher(());

impl Stream for Watcher {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        unimplemented!("watches")
    }
}
