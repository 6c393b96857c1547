//! The changes since the last checkpoint, in memory: a memtable, as `LevelDB` calls it.
//!
//! A row's every version stands in an ordered map under `(key, newest first)`; a read as of a
//! sequence number takes the first version that is not younger. Invariants:
//!
//! * one writer, which hands out ever larger sequence numbers and waits for nobody; any number of
//!   readers, none of which sees a version younger than its own moment;
//! * readers of keys take no lock. Rows of the past (history, changes) are seldom read before a
//!   checkpoint takes them, and to put each in its place costs apply more than the row: they are
//!   only noted, and whoever reads them first puts in their place what was noted until then;
//! * nothing is ever taken out: an overlay is dropped whole, once a checkpoint holds it.
//!
//! `meta` has no place here: the machine's registers and the applied position change with every
//! entry, stay beside the overlay, and become rows at a checkpoint.

use crate::storage::Space;
use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry;
use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The spaces whose rows the machine writes, and the state hash covers.
pub(crate) const SPACES: [Space; 4] = [Space::Kv, Space::History, Space::Changes, Space::Sessions];

/// What a version costs beyond its key and row: a node of the map with its tower, two handles.
const VERSION_OVERHEAD: usize = 144;

/// A key with a moment. Sorts by key, then from new to old.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Versioned {
    /// The first bytes of the key, filled up with zeros: where they differ, keys sort as they do. A
    /// search compares them where it finds them, and seldom has to go to the key for more.
    head: u128,
    key: Bytes,
    sequence: Reverse<u64>,
}

impl Versioned {
    fn new(key: Bytes, sequence: u64) -> Self {
        Self { head: head(&key), key, sequence: Reverse(sequence) }
    }
}

fn head(key: &[u8]) -> u128 {
    let mut head = [0; 16];
    let len = key.len().min(head.len());
    head[..len].copy_from_slice(&key[..len]);
    u128::from_be_bytes(head)
}

type Versions = SkipMap<Versioned, Option<Bytes>>;

/// The versions of a space.
#[derive(Default)]
struct SpaceRows {
    placed: Versions,
    /// What was noted, and has no place yet.
    noted: Mutex<Vec<(Versioned, Option<Bytes>)>>,
    /// Held by the reader that gives places, so that others find them.
    placing: Mutex<()>,
}

impl SpaceRows {
    /// Puts what was noted in its place. In order, which is faster: one place is near the next.
    fn settle(&self) {
        let _placing = lock(&self.placing);
        let mut noted = std::mem::take(&mut *lock(&self.noted));
        noted.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (key, row) in noted {
            self.placed.insert(key, row);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an overlay knows of a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Nothing: look below.
    Unchanged,
    /// It is gone.
    Removed,
    /// This is it.
    Row(Bytes),
}

/// Changes in memory. `None` instead of a row says that the row is gone.
#[derive(Default)]
pub(crate) struct Overlay {
    spaces: [SpaceRows; SPACES.len()],
    bytes: AtomicUsize,
    rows: AtomicUsize,
}

impl Overlay {
    fn space(&self, space: Space) -> Option<&SpaceRows> {
        SPACES.iter().position(|known| *known == space).map(|place| &self.spaces[place])
    }

    /// The versions of a space, to be read.
    fn versions(&self, space: Space) -> Option<&Versions> {
        let rows = self.space(space)?;
        if is_past(space) {
            rows.settle();
        }
        Some(&rows.placed)
    }

    /// Adds a version, younger than every other.
    pub(crate) fn insert(&self, space: Space, key: Bytes, sequence: u64, row: Option<Bytes>) {
        let Some(rows) = self.space(space) else { return };
        let row_bytes = row.as_ref().map_or(0, Bytes::len);
        self.bytes.fetch_add(VERSION_OVERHEAD + key.len() + row_bytes, Ordering::Relaxed);
        self.rows.fetch_add(1, Ordering::Relaxed);
        let version = Versioned::new(key, sequence);
        if is_past(space) {
            lock(&rows.noted).push((version, row));
        } else {
            rows.placed.insert(version, row);
        }
    }

    /// Reads a row as of `sequence`.
    pub(crate) fn get(&self, space: Space, key: &Bytes, sequence: u64) -> Lookup {
        self.versions(space).map_or(Lookup::Unchanged, |versions| look_up(versions, key, sequence))
    }

    /// Reads the rows between two bounds as of `sequence`, in key order.
    pub(crate) fn range(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        sequence: u64,
    ) -> Ascending<'_> {
        // Of a key's versions the newest comes first: to skip a key is to begin after its oldest.
        let first = match start {
            Bound::Included(key) => Bound::Included(newest(Bytes::copy_from_slice(key))),
            Bound::Excluded(key) => Bound::Excluded(oldest(Bytes::copy_from_slice(key))),
            Bound::Unbounded => Bound::Unbounded,
        };
        let versions = self.versions(space);
        let entry = versions.and_then(|versions| versions.lower_bound(first.as_ref()));
        let end = end.map(Bytes::copy_from_slice);
        Ascending { versions, entry, end, sequence, last: None, skipped: 0 }
    }

    /// Reads the rows between two bounds as of `sequence`, against the key order.
    pub(crate) fn range_back(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        sequence: u64,
    ) -> Descending<'_> {
        let below = match end {
            Bound::Included(key) => Bound::Included(oldest(Bytes::copy_from_slice(key))),
            Bound::Excluded(key) => Bound::Excluded(newest(Bytes::copy_from_slice(key))),
            Bound::Unbounded => Bound::Unbounded,
        };
        let start = start.map(Bytes::copy_from_slice);
        Descending { versions: self.versions(space), start, below, sequence }
    }

    /// The memory it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The rows that were put into it, those that are superseded by now among them.
    pub(crate) fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }
}

/// Whether a space's rows are seldom read.
const fn is_past(space: Space) -> bool {
    matches!(space, Space::History | Space::Changes)
}

/// Where the versions of a key begin.
fn newest(key: Bytes) -> Versioned {
    Versioned::new(key, u64::MAX)
}

/// Where they end.
fn oldest(key: Bytes) -> Versioned {
    Versioned::new(key, 0)
}

fn look_up(versions: &Versions, key: &Bytes, sequence: u64) -> Lookup {
    let probe = Versioned::new(key.clone(), sequence);
    match versions.lower_bound(Bound::Included(&probe)) {
        Some(entry) if entry.key().key == *key => match entry.value() {
            Some(row) => Lookup::Row(row.clone()),
            None => Lookup::Removed,
        },
        _ => Lookup::Unchanged,
    }
}

/// Versions that are stepped over, before a search goes past all that are not wanted: a step is
/// cheaper than a search, but a key may have any number of versions.
const SKIPPED_MAX: u32 = 8;

/// Rows of an overlay in key order.
pub(crate) struct Ascending<'a> {
    versions: Option<&'a Versions>,
    entry: Option<Entry<'a, Versioned, Option<Bytes>>>,
    end: Bound<Bytes>,
    sequence: u64,
    last: Option<Bytes>,
    skipped: u32,
}

impl<'a> Ascending<'a> {
    /// Finds where to go on behind a version of `key` that is not wanted: an older one of the key
    /// that came last, or one that is too young.
    fn behind(
        &mut self,
        entry: &Entry<'a, Versioned, Option<Bytes>>,
    ) -> Option<Entry<'a, Versioned, Option<Bytes>>> {
        self.skipped += 1;
        if self.skipped <= SKIPPED_MAX {
            return entry.next();
        }
        self.skipped = 0;
        let key = entry.key().key.clone();
        if self.last.as_ref() == Some(&key) {
            self.versions?.lower_bound(Bound::Excluded(&oldest(key)))
        } else {
            self.versions?.lower_bound(Bound::Included(&Versioned::new(key, self.sequence)))
        }
    }
}

impl Iterator for Ascending<'_> {
    type Item = (Bytes, Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = self.entry.take()?;
            let Versioned { key, sequence, .. } = entry.key();
            let within = match &self.end {
                Bound::Included(end) => key <= end,
                Bound::Excluded(end) => key < end,
                Bound::Unbounded => true,
            };
            if !within {
                return None;
            }
            if sequence.0 > self.sequence || self.last.as_ref() == Some(key) {
                self.entry = self.behind(&entry);
                continue;
            }
            let (key, row) = (key.clone(), entry.value().clone());
            self.entry = entry.next();
            self.last = Some(key.clone());
            self.skipped = 0;
            return Some((key, row));
        }
    }
}

/// Rows of an overlay against the key order. Two searches a key, however many versions it has: the
/// map has no links backwards, so that a step back would be a search as well.
pub(crate) struct Descending<'a> {
    versions: Option<&'a Versions>,
    start: Bound<Bytes>,
    /// What lies above the keys to come.
    below: Bound<Versioned>,
    sequence: u64,
}

impl Iterator for Descending<'_> {
    type Item = (Bytes, Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        let versions = self.versions?;
        loop {
            let key = versions.upper_bound(self.below.as_ref())?.key().key.clone();
            let within = match &self.start {
                Bound::Included(start) => key >= *start,
                Bound::Excluded(start) => key > *start,
                Bound::Unbounded => true,
            };
            if !within {
                self.versions = None;
                return None;
            }
            self.below = Bound::Excluded(newest(key.clone()));
            match look_up(versions, &key, self.sequence) {
                Lookup::Row(row) => return Some((key, Some(row))),
                Lookup::Removed => return Some((key, None)),
                // All its versions are younger.
                Lookup::Unchanged => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_read_sees_the_newest_version_of_its_moment() {
        let overlay = Overlay::default();
        overlay.insert(Space::Kv, bytes("k"), 2, Some(bytes("two")));
        overlay.insert(Space::Kv, bytes("k"), 5, None);
        overlay.insert(Space::Kv, bytes("kk"), 6, Some(bytes("six")));
        let get = |sequence| overlay.get(Space::Kv, &bytes("k"), sequence);
        assert_eq!(get(1), Lookup::Unchanged);
        assert_eq!(get(4), Lookup::Row(bytes("two")));
        assert_eq!(get(5), Lookup::Removed);
        assert_eq!(overlay.get(Space::History, &bytes("k"), 9), Lookup::Unchanged);
    }

    fn keys(rows: impl Iterator<Item = (Bytes, Option<Bytes>)>) -> String {
        rows.map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
    }

    #[test]
    fn a_range_gives_each_key_once_within_its_bounds_in_both_directions() {
        let overlay = Overlay::default();
        for (sequence, key) in ["a", "b", "b", "c", "c", "d"].into_iter().enumerate() {
            overlay.insert(Space::Kv, bytes(key), sequence as u64, Some(bytes(key)));
        }
        let check = |start, end, sequence, expected: &str| {
            assert_eq!(keys(overlay.range(Space::Kv, start, end, sequence)), expected);
            let back: String = expected.chars().rev().collect();
            assert_eq!(keys(overlay.range_back(Space::Kv, start, end, sequence)), back);
        };
        check(Bound::Unbounded, Bound::Unbounded, 9, "abcd");
        check(Bound::Unbounded, Bound::Unbounded, 3, "abc");
        check(Bound::Excluded(b"b"), Bound::Included(b"d"), 9, "cd");
        check(Bound::Included(b"b"), Bound::Excluded(b"d"), 9, "bc");
        check(Bound::Included(b"c"), Bound::Included(b"b"), 9, "");
        assert_eq!(keys(overlay.range(Space::Meta, Bound::Unbounded, Bound::Unbounded, 9)), "");
    }

    #[test]
    fn keys_sort_by_their_bytes_however_long() {
        let keys = ["", "\0", "\0\0", "a", "a\0", "a\0\u{1}", "a\u{1}", "ab"];
        let long = ["", "\0", "a", "a\0", "b"].map(|end| format!("sixteen bytes ..{end}"));
        let mut keys: Vec<Bytes> = keys.into_iter().map(bytes).collect();
        keys.extend(long.into_iter().map(Bytes::from));
        let overlay = Overlay::default();
        for key in keys.iter().rev() {
            overlay.insert(Space::Kv, key.clone(), 1, None);
        }
        let rows = overlay.range(Space::Kv, Bound::Unbounded, Bound::Unbounded, 1);
        assert_eq!(rows.map(|(key, _)| key).collect::<Vec<_>>(), keys);
        for key in &keys {
            assert_eq!(overlay.get(Space::Kv, key, 1), Lookup::Removed);
        }
    }

    #[test]
    fn many_versions_of_a_key_are_passed_by() {
        let overlay = Overlay::default();
        for sequence in 0..100 {
            let key = if sequence % 10 == 0 { "a" } else { "hot" };
            let row = Some(Bytes::from(format!("{sequence}")));
            overlay.insert(Space::Kv, bytes(key), sequence, row);
        }
        overlay.insert(Space::Kv, bytes("z"), 100, None);
        for sequence in 1..=100 {
            let (all, end) = (Bound::Unbounded, Bound::Unbounded);
            let rows: Vec<_> = overlay.range(Space::Kv, all, end, sequence).collect();
            let mut back: Vec<_> = overlay.range_back(Space::Kv, all, end, sequence).collect();
            back.reverse();
            assert_eq!(rows, back);
            let row = |number: u64| Some(Bytes::from(format!("{number}")));
            let newest_a = sequence.min(99) / 10 * 10;
            let newest_hot = sequence.min(99) - u64::from(sequence % 10 == 0 && sequence < 100);
            assert_eq!(rows[0], (bytes("a"), row(newest_a)));
            assert_eq!(rows[1], (bytes("hot"), row(newest_hot)));
            assert_eq!(rows.get(2), (sequence == 100).then_some(&(bytes("z"), None)));
        }
    }
}
