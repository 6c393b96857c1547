//! The change feed: who must be told of which revision.

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
