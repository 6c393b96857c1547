//! Queries: the keys of a range, page by page, counted, as a listing of folders, or as a stream.
//!
//! Hides which revision an answer shows and how the next page finds it again. The first page takes
//! the revision of a read as fresh as its store's handle asks for, or the one that was named; every
//! page after it shows the same one, because its cursor says so. What such a revision shows never
//! changes, so that any replica that has reached it may answer, whatever freshness was asked for.
//!
//! It relies on [`scan`](super::scan) to read in bounded steps.

use super::cursor::{Place, bad, fingerprint};
use super::scan::{Budget, Count, Deadline, Folder, Pairs, Room, Scan};
use super::{Cursor, DeletedRange, PairStream, Snapshot, Store, Watch};
use crate::error::{ConfigError, Error};
use crate::types::{ClusterId, KeyRange, KeyValue, LogIndex, NodeId, Revision};
use bytes::Bytes;
use std::ops::Bound;

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
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("a", "1").await?;
    /// store.put("b", "2").await?;
    /// assert_eq!(store.prefix("").limit(1).page().await?.items.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn limit(mut self, items: usize) -> Self {
        self.limit = items;
        self
    }

    /// Ends a page before its keys and values exceed `bytes`, though not before the first pair.
    /// Default, and at most, [`PAGE_BYTES_MAX`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("a", vec![0; 1000]).await?;
    /// store.put("b", vec![0; 1000]).await?;
    /// assert_eq!(store.prefix("").bytes_max(1500).page().await?.items.len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Asks for the last key first.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("a", "1").await?;
    /// store.put("b", "2").await?;
    /// assert_eq!(store.prefix("").reverse().page().await?.items[0].key, "b");
    /// # Ok(()) }
    /// ```
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Leaves the values out: they are empty in the answer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("a", "1").await?;
    /// assert_eq!(store.prefix("").keys_only().page().await?.items[0].value, "");
    /// # Ok(()) }
    /// ```
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Asks for the range as it was at `revision`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// let first = store.put("a", "1").await?;
    /// store.put("a", "2").await?;
    /// assert_eq!(store.prefix("").at(first.revision).page().await?.items[0].value, "1");
    /// # Ok(()) }
    /// ```
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }

    /// Goes on where the page that gave `cursor` ended, at that page's revision. Everything else
    /// must be asked as before, except the limits. See [`Cursor`] for an example.
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
    /// [`Error::FutureRevision`], [`Error::BadCursor`]; [`Error::TooMany`] for a limit beyond
    /// [`LIMIT_MAX`], and [`Error::Config`] for one of 0.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("user/1", "ada").await?;
    /// store.put("user/2", "grace").await?;
    /// let mut query = store.prefix("user/").limit(1);
    /// let mut names = Vec::new();
    /// loop {
    ///     let page = query.clone().page().await?;
    ///     names.extend(page.items.into_iter().map(|pair| pair.value));
    ///     let Some(next) = page.next else { break };
    ///     query = query.cursor(next);
    /// }
    /// assert_eq!(names, ["ada", "grace"]);
    /// # Ok(()) }
    /// ```
    pub async fn page(self) -> Result<Page, Error> {
        let room = self.room()?;
        let deadline = Deadline::after(self.store.timeout);
        let begun = self.begin(&[]).await?;
        let gather = Pairs { items: Vec::new(), room, keys_only: self.keys_only };
        let (Pairs { items, .. }, more) = match begun.scan() {
            Some(scan) => scan.gather(gather, self.is_small(), deadline).await?,
            None => (gather, false),
        };
        let last = items.last().filter(|_| more);
        Ok(Page {
            next: last.map(|last| begun.cursor(Place::Key(last.key.clone()))),
            items,
            revision: begun.snapshot.revision(),
            applied_index: begun.snapshot.applied_index(),
            served_by: begun.snapshot.served_by(),
        })
    }

    /// Counts the keys, without keeping their values in memory. The limits do not apply; after a
    /// [`cursor`](Self::cursor), it counts those that follow.
    ///
    /// Cancel safe. Reads the whole range, except for everything at the newest revision: a range
    /// of many millions may need more time than a call has ([`Store::with_timeout`]).
    ///
    /// # Errors
    /// As [`page`](Self::page).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// store.put("user/1", "ada").await?;
    /// assert_eq!(store.prefix("user/").count().await?.count, 1);
    /// # Ok(()) }
    /// ```
    pub async fn count(self) -> Result<Counted, Error> {
        let deadline = Deadline::after(self.store.timeout);
        let begun = self.begin(&[]).await?;
        let revision = begun.snapshot.revision();
        let applied_index = begun.snapshot.applied_index();
        let is_all = is_everything(&self.range) && self.cursor.is_none();
        if let Some(count) = begun.snapshot.total().filter(|_| is_all) {
            return Ok(Counted { count, revision, applied_index });
        }
        let count = match begun.scan() {
            Some(scan) => scan.gather(Count(0), false, deadline).await?.0.0,
            None => 0,
        };
        Ok(Counted { count, revision, applied_index })
    }

    /// Lists the range as a folder: keys that have `delimiter` after what the range's keys all
    /// begin with are gathered into children. The range must be a prefix, or everything.
    ///
    /// The limit counts items and children together. A child is counted up to
    /// [`Child::COUNT_MAX`] keys, so that a page of many large ones takes its time.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`page`](Self::page); [`Error::Config`] for another range, or an empty delimiter.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// for key in ["etc/hosts", "etc/ssh/config", "etc/ssh/known"] {
    ///     store.put(key, "").await?;
    /// }
    /// let listing = store.prefix("etc/").list("/").await?;
    /// assert_eq!(listing.items[0].key, "etc/hosts");
    /// assert_eq!((&listing.children[0].prefix[..], listing.children[0].count), (&b"etc/ssh/"[..], 2));
    /// # Ok(()) }
    /// ```
    pub async fn list(self, delimiter: impl Into<Bytes>) -> Result<Listing, Error> {
        let delimiter = delimiter.into();
        let room = self.room()?;
        if delimiter.is_empty() {
            return Err(wrong("delimiter", "must have at least one byte"));
        }
        let prefix = prefix_of(&self.range)
            .ok_or_else(|| wrong("range", "only a prefix, or everything, is listed as a folder"))?;
        let deadline = Deadline::after(self.store.timeout);
        let begun = self.begin(&delimiter).await?;
        let gather = Folder {
            prefix,
            delimiter,
            items: Vec::new(),
            children: Vec::new(),
            last: None,
            room,
            keys_only: self.keys_only,
        };
        let (folder, more) = match begun.scan() {
            Some(scan) => scan.gather(gather, false, deadline).await?,
            None => (gather, false),
        };
        Ok(Listing {
            items: folder.items,
            children: folder.children,
            next: folder.last.filter(|_| more).map(|last| begun.cursor(last)),
            revision: begun.snapshot.revision(),
            applied_index: begun.snapshot.applied_index(),
            served_by: begun.snapshot.served_by(),
        })
    }

    /// Streams all pairs, as of one moment. Memory is bounded whatever the range holds. The limits
    /// do not apply; after a [`cursor`](Self::cursor), it gives those that follow.
    ///
    /// The stream holds a view of the store, as a [`Snapshot`] does, for as long as it lives.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// use futures_util::StreamExt;
    ///
    /// store.put("a", "1").await?;
    /// store.put("b", "2").await?;
    /// let mut pairs = store.prefix("").stream().await?;
    /// let mut bytes = 0;
    /// while let Some(pair) = pairs.next().await {
    ///     bytes += pair?.value.len();
    /// }
    /// assert_eq!(bytes, 2);
    /// # Ok(()) }
    /// ```
    pub async fn stream(self) -> Result<PairStream, Error> {
        let begun = self.begin(&[]).await?;
        Ok(PairStream::start(begun.scan(), self.keys_only, &begun.snapshot))
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

    /// Checks the limits.
    fn room(&self) -> Result<Room, Error> {
        match self.limit {
            0 => Err(wrong("limit", "must be at least 1")),
            items @ 1..=LIMIT_MAX => Ok(Room { items, bytes: self.bytes_max.min(PAGE_BYTES_MAX) }),
            _ => Err(Error::TooMany { what: "items in a page", limit: LIMIT_MAX as u64 }),
        }
    }

    /// Whether a page takes little more than a get does. One more pair is looked for: the next.
    fn is_small(&self) -> bool {
        self.limit < Budget::IN_PLACE.rows
    }

    /// Fixes the revision that is shown, and finds out what is left of the range.
    async fn begin(&self, delimiter: &[u8]) -> Result<Begun, Error> {
        let Self { store, range, reverse, keys_only, at, cursor, .. } = self;
        let cluster = store.inner.engine()?.peers.myself().cluster_id;
        let query = fingerprint(range, *reverse, *keys_only, delimiter);
        let reverse = *reverse;
        let Some(cursor) = cursor else {
            let snapshot = match at {
                Some(revision) => store.snapshot_at(*revision).await?,
                None => store.snapshot().await?,
            };
            return Ok(Begun { snapshot, rest: Some(range.clone()), reverse, cluster, query });
        };
        cursor.check(cluster, query, range)?;
        if at.is_some_and(|at| at != cursor.revision) {
            return Err(bad("it belongs to another revision"));
        }
        let snapshot = store.snapshot_at(cursor.revision).await?;
        let rest = cursor.place.rest(range, reverse);
        Ok(Begun { snapshot, rest, reverse, cluster, query })
    }
}

/// A query of which it is known what it shows.
struct Begun {
    snapshot: Snapshot,
    /// What is left of the range; `None`: nothing.
    rest: Option<KeyRange>,
    reverse: bool,
    cluster: ClusterId,
    query: u64,
}

impl Begun {
    fn scan(&self) -> Option<Scan> {
        Some(self.snapshot.scan(self.rest.clone()?, self.reverse))
    }

    /// Where the next page begins when this one ended at `place`.
    fn cursor(&self, place: Place) -> Cursor {
        let Self { cluster, query, .. } = *self;
        Cursor { cluster, query, revision: self.snapshot.revision(), place }
    }
}

fn wrong(setting: &'static str, reason: &str) -> Error {
    Error::Config(ConfigError { setting, reason: reason.to_owned() })
}

fn is_everything(range: &KeyRange) -> bool {
    prefix_of(range).is_some_and(|prefix| prefix.is_empty())
}

/// What all keys of `range` begin with, when it has all keys that do.
fn prefix_of(range: &KeyRange) -> Option<Bytes> {
    match &range.start {
        Bound::Unbounded if *range == KeyRange::all() => Some(Bytes::new()),
        Bound::Included(prefix) if *range == KeyRange::prefix(prefix.clone()) => {
            Some(prefix.clone())
        }
        _ => None,
    }
}
