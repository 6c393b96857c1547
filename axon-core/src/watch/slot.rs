//! What the hub and a feed know together: how far the feed is, and whether it waits.

use crate::types::Revision;
use std::task::Waker;

/// How far a feed is, as the hub and the feed know it together.
pub(super) struct Slot {
    /// Everything before it was told, or is of no concern. Only the feed moves it.
    pub(super) next: Revision,
    /// The first and the last revision that the feed has to look at; the last is below `next` when
    /// there is none.
    pub(super) first: Revision,
    last: Revision,
    /// From here on the hub matches for the feed, so that the ring has everything.
    pub(super) ring_from: Revision,
    pub(super) waker: Option<Waker>,
}

impl Slot {
    /// One that begins at `next`, is to read what there is of it up to `last`, and is looked up from
    /// `ring_from` on.
    pub(super) const fn new(next: Revision, last: Revision, ring_from: Revision) -> Self {
        Self { next, first: next, last, ring_from, waker: None }
    }

    pub(super) fn has_unread(&self) -> bool {
        self.last >= self.next
    }

    /// Notes that the feed has to look at `first` to `last`; returns whom to wake.
    pub(super) fn mark(&mut self, first: Revision, last: Revision) -> Option<Waker> {
        if last < self.next {
            return None;
        }
        if !self.has_unread() {
            self.first = first.max(self.next);
        }
        self.last = self.last.max(last);
        self.waker.take()
    }

    /// Notes that the feed has looked at everything up to `through`.
    pub(super) fn advance(&mut self, through: Revision) {
        self.next = self.next.max(through.next());
        self.first = self.next;
    }

    pub(super) fn park(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}
