//! Watches as a service writes them.

use super::Store;
use crate::error::{ConfigError, Error};
use crate::raft::engine::Engine;
use crate::types::{KeyRange, Revision};
use crate::watch::{Feed, Interest, WatchEvent};
use futures_util::Stream;
use std::ops::Bound;
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
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::WatchEvent;
    /// use futures_util::StreamExt;
    ///
    /// let first = store.put("color", "red").await?.revision;
    /// let second = store.put("color", "blue").await?.revision;
    /// // As one that was told of the first, and then lost its connection.
    /// let mut changes = store.watch("color").from(first.next()).start().await?;
    /// match changes.next().await.expect("it does not end by itself")? {
    ///     WatchEvent::Batch { revision, .. } => assert_eq!(revision, second),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn from(mut self, revision: impl Into<Revision>) -> Self {
        self.from = Some(revision.into());
        self
    }

    /// Begins with what exists: batches of puts, all of the present revision, then
    /// [`WatchEvent::Progress`] of it, then what changes. Not together with [`from`](Self::from).
    ///
    /// Until that `Progress` the watcher holds a [`Snapshot`](super::Snapshot): take what exists in
    /// one go.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::{WatchChange, WatchEvent};
    /// use futures_util::StreamExt;
    /// use std::collections::BTreeMap;
    ///
    /// store.put("config/color", "red").await?;
    /// let mut changes = store.prefix("config/").watch().with_initial_state().start().await?;
    /// let mut settings = BTreeMap::new();
    /// while let Some(event) = changes.next().await {
    ///     match event? {
    ///         WatchEvent::Batch { changes, .. } => {
    ///             for change in changes {
    ///                 match change {
    ///                     WatchChange::Put { pair, .. } => settings.insert(pair.key, pair.value),
    ///                     WatchChange::Delete { key, .. } => settings.remove(&key),
    ///                 };
    ///             }
    ///         }
    ///         WatchEvent::Progress(_) => break, // That was all there is; go on for what changes.
    ///         // Too slow: begin again, from what exists then.
    ///         WatchEvent::Resync { .. } => panic!("nothing is that slow here"),
    ///     }
    /// }
    /// assert_eq!(settings.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn with_initial_state(mut self) -> Self {
        self.initial_state = true;
        self
    }

    /// Tells with each change what was there before, where the history still has it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::WatchEvent;
    /// use futures_util::StreamExt;
    ///
    /// store.put("color", "red").await?;
    /// let mut changes = store.watch("color").with_previous().start().await?;
    /// store.put("color", "blue").await?;
    /// match changes.next().await.expect("it does not end by itself")? {
    ///     WatchEvent::Batch { changes, .. } => {
    ///         assert_eq!(changes[0].previous().expect("it was red").value.as_ref(), b"red");
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn with_previous(mut self) -> Self {
        self.previous = true;
        self
    }

    /// Says how far it has come at least this often while nothing changes.
    /// Default [`PROGRESS_INTERVAL_DEFAULT`]; less than a millisecond is taken for one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::WatchEvent;
    /// use futures_util::StreamExt;
    ///
    /// let written = store.put("weather", "fine").await?;
    /// let often = std::time::Duration::from_millis(10);
    /// let mut changes = store.watch("color").progress_interval(often).start().await?;
    /// let quiet = changes.next().await.expect("it does not end by itself")?;
    /// assert_eq!(quiet, WatchEvent::Progress(written.revision));
    /// # Ok(()) }
    /// ```
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.progress_interval = interval;
        self
    }

    /// Starts it.
    ///
    /// Cancel safe. A start revision ahead of this replica waits for it.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRevision`]; [`Error::Overloaded`] when too many watch;
    /// [`Error::Config`] for [`from`](Self::from) together with
    /// [`with_initial_state`](Self::with_initial_state).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::Error;
    ///
    /// let far = store.watch("color").from(1_000).start().await;
    /// assert!(matches!(far, Err(Error::FutureRevision { .. })));
    /// # Ok(()) }
    /// ```
    pub async fn start(self) -> Result<Watcher, Error> {
        let Self { store, range, from, initial_state, previous, progress_interval } = self;
        if let (Bound::Included(start), Bound::Included(end)) = (&range.start, &range.end)
            && start == end
        {
            store.check_key(start)?;
        }
        if from.is_some() && initial_state {
            let reason = "a watch begins at a revision or with what exists, not with both".into();
            return Err(Error::Config(ConfigError { setting: "from", reason }));
        }
        let engine = store.inner.engine()?;
        let interest = Interest { range, with_previous: previous, progress_interval };
        let feed = match from {
            Some(from) => {
                reach(&store, &engine, from).await?;
                Feed::from(&store.inner.hub()?, interest, from)?
            }
            None if initial_state => {
                store.snapshot().await?;
                let view = engine.reader.view();
                Feed::with_initial_state(&store.inner.hub()?, interest, view)?
            }
            None => {
                let now = store.snapshot().await?.revision();
                Feed::from(&store.inner.hub()?, interest, now.next())?
            }
        };
        Ok(Watcher(feed))
    }
}

/// Waits until a watch may begin with the changes of `from` here.
async fn reach(store: &Store, engine: &Engine, from: Revision) -> Result<(), Error> {
    let view = store.view_of(engine, Revision(from.0.saturating_sub(1))).await?;
    let (newest, compacted) = (view.revision(), view.compacted_revision());
    if from > newest.next() {
        return Err(Error::FutureRevision { requested: from, newest });
    }
    if from <= compacted {
        return Err(Error::Compacted { requested: from, oldest: compacted.next() });
    }
    Ok(())
}

/// What changes, in order: every change of the range once, all changes of a revision together.
///
/// It buffers next to nothing: what is not read yet lies in the store's history, so that a slow
/// reader costs nothing, and is told ([`WatchEvent::Resync`]) when the history has moved beyond it.
/// It ends with an error when the replica stops; it does not keep the replica running. Dropping it
/// ends the watch. `next` on it is cancel safe: an event is told, or still to come.
pub struct Watcher(Feed);

impl Stream for Watcher {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(context)
    }
}
