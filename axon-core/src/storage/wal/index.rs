//! Where each entry of the log lies: eight bytes an entry, by segment.
//!
//! The same steps build it when the log is opened and keep it while the log is written; it changes
//! only when what it says is durable. Invariants:
//!
//! * the entries form one run without gaps, from after the purge mark to the last one;
//! * a segment leaves it, oldest first, once all its entries are purged, and never the newest;
//! * the places of a segment that has not left it are those of its present file.

use super::record;
use super::segment::Segment;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last index that is purged.
    pub purged: Option<u64>,
    /// The index that the next entry must have; `None` while any will do.
    pub next: Option<u64>,
}

impl Tail {
    /// Takes in an entry; says why not when it does not follow.
    pub(super) fn append(&mut self, index: u64) -> Result<(), String> {
        match self.next {
            Some(next) if next != index => {
                Err(format!("entry {index} where entry {next} must follow"))
            }
            _ => {
                self.next = Some(index.saturating_add(1));
                Ok(())
            }
        }
    }

    /// Forgets the entries after `last`.
    pub(super) fn truncate_after(&mut self, last: Option<u64>) {
        let lowest = self.purged.map(|purged| purged.saturating_add(1));
        self.next = match (last, self.next) {
            (Some(last), Some(next)) => Some(next.min(last.saturating_add(1))).max(lowest),
            (Some(_), None) => None,
            (None, _) => lowest,
        };
    }

    /// Forgets the entries up to `upto`.
    pub(super) fn purge(&mut self, upto: u64) {
        self.purged = self.purged.max(Some(upto));
        self.next = self.next.max(Some(upto.saturating_add(1)));
    }
}

/// The place of a record in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub offset: u32,
    /// Without padding.
    pub bytes: u32,
}

/// Consecutive entries of one segment.
pub(super) struct Run {
    pub segment: Arc<Segment>,
    pub first: u64,
    pub slots: Vec<Slot>,
}

/// Where everything lies.
#[derive(Default)]
pub(super) struct Index {
    segments: VecDeque<Indexed>,
    tail: Tail,
}

struct Indexed {
    segment: Arc<Segment>,
    /// The index of the first slot.
    first: u64,
    slots: Vec<Slot>,
}

impl Indexed {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.slots.len() as u64)
    }

    /// The entries that are not purged.
    fn live(&self, purged: Option<u64>) -> Range<u64> {
        let lowest = purged.map_or(0, |purged| purged.saturating_add(1));
        self.first.max(lowest)..self.end()
    }
}

impl Index {
    /// Where the log begins and ends.
    pub(super) fn tail(&self) -> Tail {
        self.tail
    }

    /// Sets the index of the next entry, for a log whose beginning is gone.
    pub(super) fn begin_at(&mut self, next: Option<u64>) {
        self.tail.next = next;
    }

    /// Adds the segment that is written from now on.
    pub(super) fn add_segment(&mut self, segment: Arc<Segment>) {
        self.segments.push_back(Indexed { segment, first: 0, slots: Vec::new() });
    }

    /// Adds an entry to the newest segment; says why not when it does not follow.
    pub(super) fn append(&mut self, index: u64, slot: Slot) -> Result<(), String> {
        self.tail.append(index)?;
        let newest = self.segments.back_mut().ok_or("there is no segment")?;
        if newest.slots.is_empty() {
            newest.first = index;
        }
        newest.slots.push(slot);
        Ok(())
    }

    /// Forgets the entries after `last`.
    pub(super) fn truncate_after(&mut self, last: Option<u64>) {
        self.tail.truncate_after(last);
        self.cut();
    }

    /// Forgets the entries up to `upto`.
    pub(super) fn purge(&mut self, upto: u64) {
        self.tail.purge(upto);
        if self.last().is_none() {
            self.segments.iter_mut().for_each(|indexed| indexed.slots.clear());
        }
    }

    fn cut(&mut self) {
        let end = self.last_end();
        for indexed in &mut self.segments {
            let keep = end.saturating_sub(indexed.first) as usize;
            indexed.slots.truncate(keep);
        }
    }

    /// One above the last index that may have an entry.
    fn last_end(&self) -> u64 {
        self.tail.next.unwrap_or(0)
    }

    /// Removes the oldest segments as far as nothing in them is needed.
    pub(super) fn drop_purged(&mut self) -> Vec<Arc<Segment>> {
        let mut dropped = Vec::new();
        // Otherwise a log without its first segments could not be told from a damaged one.
        if !self.is_whole() {
            return dropped;
        }
        let purged = self.tail.purged;
        let unneeded = |oldest: &mut Indexed| oldest.live(purged).is_empty();
        while self.segments.len() > 1
            && let Some(oldest) = self.segments.pop_front_if(unneeded)
        {
            dropped.push(oldest.segment);
        }
        dropped
    }

    /// Reports whether the entries begin right after a purge mark.
    pub(super) fn is_whole(&self) -> bool {
        let Tail { purged: Some(purged), next } = self.tail else { return false };
        let first = purged.saturating_add(1);
        match next {
            Some(next) if next > first => {
                self.first() == Some(first) && self.last() == Some(next - 1)
            }
            _ => true,
        }
    }

    /// The oldest segment.
    pub(super) fn oldest(&self) -> Option<&Segment> {
        self.segments.front().map(|indexed| &*indexed.segment)
    }

    /// The index of the first entry.
    pub(super) fn first(&self) -> Option<u64> {
        let mut live = self.segments.iter().map(|indexed| indexed.live(self.tail.purged));
        live.find(|live| !live.is_empty()).map(|live| live.start)
    }

    /// The index of the last entry.
    pub(super) fn last(&self) -> Option<u64> {
        let mut live = self.segments.iter().rev().map(|indexed| indexed.live(self.tail.purged));
        live.find(|live| !live.is_empty()).map(|live| live.end - 1)
    }

    /// Finds the entries of `range`, as many as fit into `bytes_max`, and the first in any case.
    pub(super) fn locate(&self, range: &Range<u64>, bytes_max: usize) -> Vec<Run> {
        let (mut runs, mut bytes) = (Vec::new(), 0);
        for indexed in &self.segments {
            let live = indexed.live(self.tail.purged);
            let (first, end) = (live.start.max(range.start), live.end.min(range.end));
            if first >= end {
                continue;
            }
            let places = (first - indexed.first) as usize..(end - indexed.first) as usize;
            let wanted = &indexed.slots[places];
            let fits = wanted.iter().enumerate().take_while(|(at, slot)| {
                bytes += record::entry_payload_bytes(slot.bytes as usize);
                bytes <= bytes_max || (*at == 0 && runs.is_empty())
            });
            let slots: Vec<Slot> = fits.map(|(_, slot)| *slot).collect();
            let whole = slots.len() == wanted.len();
            if !slots.is_empty() {
                runs.push(Run { segment: Arc::clone(&indexed.segment), first, slots });
            }
            if !whole {
                break;
            }
        }
        runs
    }

    /// Reports whether every segment of `runs` is still there.
    pub(super) fn holds(&self, runs: &[Run]) -> bool {
        let ids = || self.segments.iter().map(|indexed| indexed.segment.id);
        runs.iter().all(|run| ids().any(|id| id == run.segment.id))
    }

    /// Bytes of the segments' files.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.segments.iter().map(|indexed| indexed.segment.capacity).sum()
    }

    /// Forgets everything, and with it the files.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
    }
}
