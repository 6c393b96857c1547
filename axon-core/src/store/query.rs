//! Queries: the keys of a range, page by page, counted, as a listing of folders, or as a stream.

use super::{Cursor, DeletedRange, Store, Watch};
use crate::error::Error;
use crate::types::{KeyRange, KeyValue, LogIndex, NodeId, Revision};
use bytes::Bytes;
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Items of a page when nothing is said.
pub const LIMIT_DEFAULT: usize = 100;
/// The most items that a page may have.
pub const LIMIT_MAX: usize = 10_000;
/// Bytes of keys and values after which a page ends early, with a cursor: after one item at least.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// A question about the keys of a range. Made by [`Store::prefix`] and [`Store::range`].
#[derive(Clone)]
pub struct Query {
    store: Store,
    range: KeyRange,
    limit: usize,
    bytes_max: usize,
    reverse: bool,
    keys_only: bool,
    at: Option<Revision>,
    cursor: Option<Cursor>,
}

/// Some of a range's pairs, as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The pairs, in the order asked for.
    pub items: Vec<KeyValue>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<Cursor>,
    /// The revision that all pages of this listing show.
    pub revision: Revision,
    /// The last entry of the log that the serving replica had applied.
    pub applied_index: LogIndex,
    /// The replica that served it.
    pub served_by: NodeId,
}

/// How many keys there are, as of one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// The revision that it is true of.
    pub revision: Revision,
    /// The last entry of the log that the serving replica had applied.
    pub applied_index: LogIndex,
}

/// A folder of keys: what lies directly in it, and what folders it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The pairs whose keys have no further delimiter, in the order asked for.
    pub items: Vec<KeyValue>,
    /// The folders, in the order asked for.
    pub children: Vec<Child>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<Cursor>,
    /// The revision that all pages of this listing show.
    pub revision: Revision,
    /// The last entry of the log that the serving replica had applied.
    pub applied_index: LogIndex,
    /// The replica that served it.
    pub served_by: NodeId,
}

/// A folder inside a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// What all its keys begin with, the delimiter included.
    pub prefix: Bytes,
    /// How many keys it holds, counted up to [`Child::COUNT_MAX`].
    pub count: u64,
}

impl Child {
    /// Where counting ends: a child with this count may hold more keys.
    pub const COUNT_MAX: u64 = 10_000;
}

impl Query {
    pub(super) fn new(store: Store, range: KeyRange) -> Self {
        let (limit, bytes_max) = (LIMIT_DEFAULT, PAGE_BYTES_MAX);
        let (reverse, keys_only) = (false, false);
        Self { store, range, limit, bytes_max, reverse, keys_only, at: None, cursor: None }
    }

    /// Asks for at most `items` pairs a page: 1 to [`LIMIT_MAX`], default [`LIMIT_DEFAULT`].
    pub fn limit(mut self, items: usize) -> Self {
        self.limit = items;
        self
    }

    /// Ends a page before its keys and values exceed `bytes`, though not before the first pair.
    /// Default, and at most, [`PAGE_BYTES_MAX`].
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Asks for the last key first.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Leaves the values out: they are empty in the answer.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Asks for the range as it was at `revision`.
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }

    /// Goes on where the page that gave `cursor` ended, at that page's revision. Everything else
    /// must be asked as before, except the limits.
    pub fn cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Reads a page.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Compacted`] once the history has moved beyond the listing's revision,
    /// [`Error::FutureRevision`], [`Error::BadCursor`].
    pub async fn page(self) -> Result<Page, Error> {
        let Self { store, range, limit, bytes_max, reverse, keys_only, at, cursor } = self;
        let _ = (store, range, limit, bytes_max, reverse, keys_only, at, cursor);
        unimplemented!("queries")
    }

    /// Counts the keys, without reading their values into memory.
    ///
    /// Cancel safe. Reads the whole range.
    pub async fn count(self) -> Result<Counted, Error> {
        unimplemented!("queries")
    }

    /// Lists the range as a folder: keys that have `delimiter` after what the range's keys all
    /// begin with are gathered into children. The range must be a prefix, or everything.
    ///
    /// Cancel safe.
    pub async fn list(self, delimiter: impl Into<Bytes>) -> Result<Listing, Error> {
        let _ = delimiter.into();
        unimplemented!("queries")
    }

    /// Streams all pairs, as of one moment. Memory is bounded whatever the range holds.
    ///
    /// The stream holds a [`Snapshot`](super::Snapshot) for as long as it lives.
    pub async fn stream(self) -> Result<PairStream, Error> {
        unimplemented!("queries")
    }

    /// Removes the keys of the range, whatever else was asked for: see [`Store::delete_range`].
    ///
    /// Not cancel safe: dropped, some steps may have happened, or may still happen.
    ///
    /// # Errors
    /// As [`Store::put`]. After an error, some of the keys may be gone.
    pub async fn delete(self) -> Result<DeletedRange, Error> {
        self.store.delete_range(self.range).await
    }

    /// Begins a watch of the range. What else was asked for, as a limit or an order, does not matter.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use axon_core::store::WatchEvent;
    /// use futures_util::StreamExt;
    ///
    /// let mut settings = store.prefix("config/").watch().start().await?;
    /// store.put("weather", "fine").await?;
    /// let written = store.put("config/color", "red").await?;
    /// match settings.next().await.expect("it does not end by itself")? {
    ///     WatchEvent::Batch { revision, .. } => assert_eq!(revision, written.revision),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn watch(self) -> Watch {
        Watch::new(self.store, self.range)
    }
}

/// The pairs of a range, as of one moment. Made by [`Query::stream`].
pub struct PairStream(());

impl PairStream {
    /// Returns the revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        unimplemented!("queries")
    }
}

impl Stream for PairStream {
    type Item = Result<KeyValue, Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        unimplemented!("queries")
    }
}
