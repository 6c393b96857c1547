//! The change feed: who must be told of which revision.
//!
//! A watcher is pulled, never pushed to. It has no queue: what it was not told yet lies in the store's
//! history, as the [`View`](crate::state::View) shows it, and a [`Feed`] reads it from there when its
//! reader asks. So a slow reader costs nothing, and lags until the history is compacted beyond it;
//! then it is told so. One [`Hub`] a replica wakes the feeds: it reads each new revision's changes
//! once for all, looks the keys up in an index of what is watched ([`index`]), and tells each feed
//! concerned the first revision that it has to read. What it found so it keeps for a moment
//! ([`recent`]), decoded, for all who read it promptly; the others read it again ([`read`]).
//!
//! Nothing here is ever waited for by apply, and without a watcher nothing here runs. Invariants:
//!
//! * **position**: every revision up to the hub's position was matched with every feed, or lies
//!   among those that the feed was told to read for itself when it came (its `ring_from`);
//! * **nothing is lost**: a feed looks at its slot and leaves its waker under the lock under which
//!   the hub marks slots and takes wakers; and the hub looks at the state after it has begun to
//!   listen for the next batch, so that none is applied unseen;
//! * **order**: a feed's `next` only grows; an event is told only of revisions at or after it, in
//!   order, all changes of a revision together;
//! * **truth**: `Progress(r)` is told only when `r` is below all that the feed has not read;
//! * **compaction**: a feed reads no revision at or below its view's compacted one, which may be
//!   half swept. The hub reads those that are not swept: what was watched when it was written is
//!   told, though history that is not kept at all is compacted within the same batch.
//!
//! Bounded: a feed holds at most what one step of reading gives it, the ring is bounded in bytes,
//! steps on the disk are few at a time, and so are feeds a replica.

mod feed;
mod hub;
mod index;
mod read;
mod recent;
mod slot;

pub use feed::{Feed, Interest};
pub use hub::{Hub, HubMetrics, WATCHERS_MAX};

use crate::types::{KeyValue, Revision};
use bytes::Bytes;

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// What one revision changed in the range: all of it. Of the initial state: some of what exists.
    Batch {
        /// The revision.
        revision: Revision,
        /// The changes, in key order.
        changes: Vec<WatchChange>,
    },
    /// Every change up to and with this revision was told: a watch may be resumed after it.
    Progress(Revision),
    /// The changes of `from` to `to`, both included, are gone unread: the reader was slower than the
    /// history is long. What follows begins after `to`: read the range at `to`, or later, first.
    Resync {
        /// The first revision that is not told.
        from: Revision,
        /// The last revision that is not told.
        to: Revision,
    },
}

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchChange {
    /// A value was stored.
    Put {
        /// The key as it is now.
        pair: KeyValue,
        /// The key as it was; `None` when it is new, was not asked for, or is compacted.
        previous: Option<KeyValue>,
    },
    /// The key was removed.
    Delete {
        /// The key.
        key: Bytes,
        /// The revision that removed it.
        revision: Revision,
        /// The key as it was; `None` when it was not asked for, or is compacted.
        previous: Option<KeyValue>,
    },
}

impl WatchChange {
    /// Returns the key that changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put { pair, .. } => &pair.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// Returns the key as it was; `None` when it is new, was not asked for, or is compacted.
    #[must_use]
    pub fn previous(&self) -> Option<&KeyValue> {
        match self {
            Self::Put { previous, .. } | Self::Delete { previous, .. } => previous.as_ref(),
        }
    }

    /// The same, without what was there before.
    fn without_previous(&self) -> Self {
        match self {
            Self::Put { pair, .. } => Self::Put { pair: pair.clone(), previous: None },
            Self::Delete { key, revision, .. } => {
                Self::Delete { key: key.clone(), revision: *revision, previous: None }
            }
        }
    }
}
