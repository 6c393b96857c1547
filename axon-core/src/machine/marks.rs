//! Which revision stood when: what turns an age of history into a revision.
//!
//! Sparse, bounded and a function of the log alone. Invariants:
//!
//! * marks lie [`SPACING_MIN`] apart or more, and at the time they were set more than a
//!   [`SPAN_SHARE`]th of the span that they covered: the longer they reach back, the coarser the
//!   new ones are, so that an age of any length finds one that is hardly older;
//! * no two stand for the same revision, and there are at most [`MARKS_MAX`]: beyond that every
//!   second one goes.

use super::clock::ClusterClock;
use super::corrupt;
use super::rows::{Reader, put_varint};
use crate::storage::Result;
use crate::types::Revision;
use bytes::BytesMut;
use std::time::Duration;

/// The shortest cluster time between two marks.
pub const SPACING_MIN: Duration = Duration::from_secs(1);
/// The part of the span between the oldest mark and now that lies between two marks at least.
pub const SPAN_SHARE: u32 = 256;
/// Marks kept.
pub const MARKS_MAX: usize = 512;

/// Moments of cluster time, each with the last revision that was made before it; oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<(ClusterClock, Revision)>);

impl Marks {
    /// Takes note that `revision` was the newest at `now`.
    pub fn note(&mut self, now: ClusterClock, revision: Revision) {
        if let (Some((first, _)), Some((last, marked))) = (self.0.first(), self.0.last()) {
            let since = now.since(*last);
            let early = since < SPACING_MIN || since < now.since(*first) / SPAN_SHARE;
            if early || *marked == revision {
                return;
            }
        }
        if self.0.len() >= MARKS_MAX {
            let mut kept = false;
            self.0.retain(|_| {
                kept = !kept;
                kept
            });
        }
        self.0.push((now, revision));
    }

    /// The newest revision known to be older than `age` at `now`; `None` when none is.
    #[must_use]
    pub fn older_than(&self, age: Duration, now: ClusterClock) -> Option<Revision> {
        let old = self.0.partition_point(|(at, _)| now.since(*at) >= age);
        old.checked_sub(1).map(|last| self.0[last].1)
    }

    /// Forgets the marks below `revision`, but the newest of them.
    pub fn forget_below(&mut self, revision: Revision) {
        let below = self.0.partition_point(|(_, marked)| *marked < revision);
        self.0.drain(..below.saturating_sub(1));
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_varint(out, self.0.len() as u64);
        let (mut time, mut last) = (0, 0);
        for (at, revision) in &self.0 {
            put_varint(out, at.millis() - time);
            put_varint(out, revision.0 - last);
            (time, last) = (at.millis(), revision.0);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self> {
        let wrong = || corrupt("marks", "out of range");
        let count = reader.varint()?;
        if count > MARKS_MAX as u64 {
            return Err(wrong());
        }
        let mut marks = Vec::with_capacity(count as usize);
        let (mut time, mut last) = (0_u64, 0_u64);
        for _ in 0..count {
            time = time.checked_add(reader.varint()?).ok_or_else(wrong)?;
            last = last.checked_add(reader.varint()?).ok_or_else(wrong)?;
            marks.push((ClusterClock::at(time), Revision(last)));
        }
        Ok(Self(marks))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bytes::BufMut;

    fn at(seconds: u64) -> ClusterClock {
        ClusterClock::at(seconds * 1000)
    }

    #[test]
    fn an_age_names_the_newest_revision_that_is_surely_older() {
        let mut marks = Marks::default();
        for second in 0..100 {
            marks.note(at(second), Revision(second * 10));
            marks.note(ClusterClock::at(second * 1000 + 999), Revision(second * 10 + 9));
        }
        let old = |age| marks.older_than(Duration::from_secs(age), at(100));
        assert_eq!(old(10), Some(Revision(900)));
        assert_eq!(old(100), Some(Revision(0)));
        assert_eq!(old(101), None);
    }

    /// A revision a second for days: no age is found early, and none much too late, whether the
    /// history is compacted meanwhile or not.
    #[test]
    fn an_age_is_found_however_long_writes_go_on() {
        for (age, compacts) in [(2, true), (60, true), (3_600, true), (60_000, true), (9, false)] {
            let mut marks = Marks::default();
            let mut compacted = 0;
            for second in 0..300_000 {
                marks.note(at(second), Revision(second));
                assert!(marks.0.len() <= MARKS_MAX);
                let Some(old) = marks.older_than(Duration::from_secs(age), at(second)) else {
                    assert!(second < age);
                    continue;
                };
                let found_age = second - old.0;
                assert!(found_age >= age, "{found_age} s at {second}");
                let span = if compacts { age } else { second };
                let late = found_age - age;
                assert!(late <= 2 + span / 100, "{late} s late of {age} at {second}");
                if compacts && old.0 > compacted {
                    compacted = old.0;
                    marks.forget_below(old);
                }
            }
        }
    }

    #[test]
    fn a_revision_that_stays_is_marked_once() {
        let mut marks = Marks::default();
        for second in 0..100 {
            marks.note(at(second), Revision(7));
        }
        assert_eq!(marks.0, [(at(0), Revision(7))]);
    }

    #[test]
    fn they_are_bounded_and_come_back_from_their_bytes() {
        let mut marks = Marks::default();
        for second in 0..10_000 {
            marks.note(at(second), Revision(second));
        }
        assert!(marks.0.len() <= MARKS_MAX);
        assert_eq!(marks.0[0], (at(0), Revision(0)), "the oldest stays");
        let mut out = BytesMut::new();
        out.put_u8(1);
        marks.encode(&mut out);
        let mut reader = Reader::new("marks", &out.freeze(), 1).unwrap();
        assert_eq!(Marks::decode(&mut reader).unwrap(), marks);
        let last = *marks.0.last().unwrap();
        marks.forget_below(last.1);
        assert_eq!(marks.0.len(), 2, "the last mark below is what an age may still name");
        assert_eq!(marks.0[1], last);
    }
}
