//! What was watched of the latest revisions, decoded once for all who read it promptly: a ring.
//!
//! Bounded in bytes and in revisions. It owns copies: a row of the state keeps alive the chunk that
//! it was carved out of, many times its size. Invariant: of the revisions from `covered_from` on that
//! the hub has matched, it holds all that anyone watched.

use super::{WatchChange, WatchEvent};
use crate::types::{KeyRange, Revision};
use std::collections::VecDeque;

/// Bytes of changes kept for those who read promptly; what falls out is read from the state again.
pub(super) const RECENT_BYTES_MAX: usize = 8 << 20;
/// Revisions kept.
const RECENT_REVISIONS_MAX: usize = 8192;

/// What a revision changed, as far as it is watched.
pub(super) struct Revised {
    pub(super) revision: Revision,
    /// In key order.
    pub(super) changes: Vec<WatchChange>,
    /// The memory it takes, roughly.
    pub(super) bytes: usize,
}

impl Revised {
    /// What of it is told to a watcher of `range`.
    pub(super) fn event(&self, range: &KeyRange, with_previous: bool) -> Option<WatchEvent> {
        let inside = self.changes.iter().filter(|change| range.contains(change.key()));
        let changes: Vec<_> = if with_previous {
            inside.cloned().collect()
        } else {
            inside.map(WatchChange::without_previous).collect()
        };
        let revision = self.revision;
        (!changes.is_empty()).then_some(WatchEvent::Batch { revision, changes })
    }
}

/// The ring.
#[derive(Default)]
pub(super) struct Recent {
    revisions: VecDeque<Revised>,
    bytes: usize,
    covered_from: Revision,
}

impl Recent {
    /// An empty one that will hold what comes from `covered_from` on.
    pub(super) fn beginning_at(covered_from: Revision) -> Self {
        Self { covered_from, ..Self::default() }
    }

    /// Adds the next one, and drops the oldest until it fits.
    pub(super) fn push(&mut self, revised: Revised) {
        self.bytes += revised.bytes;
        self.revisions.push_back(revised);
        while self.bytes > RECENT_BYTES_MAX || self.revisions.len() > RECENT_REVISIONS_MAX {
            let Some(oldest) = self.revisions.pop_front() else { return };
            self.bytes -= oldest.bytes;
            self.covered_from = oldest.revision.next();
        }
    }

    /// Adds those that follow, which were gathered from `from` on.
    pub(super) fn append(&mut self, following: Self, from: Revision) {
        if following.covered_from > from {
            // It has dropped its own beginning: between the two something would be missing.
            *self = following;
            return;
        }
        following.revisions.into_iter().for_each(|revised| self.push(revised));
    }

    /// Whether everything that was watched from `revision` on is here.
    pub(super) fn covers(&self, revision: Revision) -> bool {
        revision >= self.covered_from
    }

    /// What was watched from `revision` on.
    pub(super) fn since(&self, revision: Revision) -> impl Iterator<Item = &Revised> {
        let first = self.revisions.partition_point(|revised| revised.revision < revision);
        self.revisions.range(first..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn revised(revision: u64, bytes: usize) -> Revised {
        let revision = Revision(revision);
        let key = Bytes::from_static(b"k");
        let changes = vec![WatchChange::Delete { key, revision, previous: None }];
        Revised { revision, changes, bytes }
    }

    fn held(recent: &Recent) -> Vec<u64> {
        recent.since(Revision(0)).map(|revised| revised.revision.0).collect()
    }

    #[test]
    fn it_drops_the_oldest_and_says_from_where_it_has_all() {
        let mut recent = Recent::beginning_at(Revision(5));
        for revision in [6, 8, 9] {
            recent.push(revised(revision, RECENT_BYTES_MAX / 2));
        }
        assert_eq!(held(&recent), [8, 9]);
        assert!(!recent.covers(Revision(6)) && recent.covers(Revision(7)));
        assert_eq!(recent.since(Revision(9)).count(), 1);

        recent.push(revised(11, RECENT_BYTES_MAX + 1));
        assert_eq!(held(&recent), [0; 0], "one that is larger than all does not stay");
        assert!(!recent.covers(Revision(11)) && recent.covers(Revision(12)));
        for revision in 12..=12 + RECENT_REVISIONS_MAX as u64 {
            recent.push(revised(revision, 1));
        }
        assert_eq!(held(&recent).len(), RECENT_REVISIONS_MAX);
        assert!(!recent.covers(Revision(12)));
    }

    #[test]
    fn what_follows_leaves_no_gap() {
        let mut recent = Recent::beginning_at(Revision(1));
        recent.push(revised(2, 1));
        let mut following = Recent::beginning_at(Revision(4));
        following.push(revised(7, 1));
        recent.append(following, Revision(4));
        assert_eq!(held(&recent), [2, 7]);

        let mut following = Recent::beginning_at(Revision(8));
        following.push(revised(8, RECENT_BYTES_MAX));
        following.push(revised(9, 1));
        recent.append(following, Revision(8));
        assert_eq!(held(&recent), [9]);
        assert!(!recent.covers(Revision(8)));
    }
}
