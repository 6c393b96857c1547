//! The changes since the last checkpoint, in memory: a memtable, as `LevelDB` calls it.
//!
//! A row's every version stands in an ordered map under `(key, newest first)`; a read as of a
//! sequence number takes the first version that is not younger. Invariants:
//!
//! * one writer, which hands out ever larger sequence numbers; any number of readers, none of which
//!   takes a lock or sees a version younger than its own moment;
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

/// The spaces whose rows the machine writes, and the state hash covers.
pub(crate) const SPACES: [Space; 4] = [Space::Kv, Space::History, Space::Changes, Space::Sessions];

/// What a version costs beyond its key and row: a node of the map with its tower, two handles.
const VERSION_OVERHEAD: usize = 128;

/// A key with a moment. Sorts by key, then from new to old.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Versioned {
    key: Bytes,
    sequence: Reverse<u64>,
}

impl Versioned {
    const fn new(key: Bytes, sequence: u64) -> Self {
        Self { key, sequence: Reverse(sequence) }
    }
}

type Versions = SkipMap<Versioned, Option<Bytes>>;

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
    spaces: [Versions; SPACES.len()],
    bytes: AtomicUsize,
}

impl Overlay {
    fn versions(&self, space: Space) -> Option<&Versions> {
        SPACES.iter().position(|known| *known == space).map(|place| &self.spaces[place])
    }

    /// Adds a version, younger than every other.
    pub(crate) fn insert(&self, space: Space, key: Bytes, sequence: u64, row: Option<Bytes>) {
        let Some(versions) = self.versions(space) else { return };
        let row_bytes = row.as_ref().map_or(0, Bytes::len);
        self.bytes.fetch_add(VERSION_OVERHEAD + key.len() + row_bytes, Ordering::Relaxed);
        versions.insert(Versioned::new(key, sequence), row);
    }

    /// Reads a row as of `sequence`.
    pub(crate) fn get(&self, space: Space, key: &Bytes, sequence: u64) -> Lookup {
        let Some(versions) = self.versions(space) else { return Lookup::Unchanged };
        let probe = Versioned::new(key.clone(), sequence);
        match versions.lower_bound(Bound::Included(&probe)) {
            Some(entry) if entry.key().key == *key => match entry.value() {
                Some(row) => Lookup::Row(row.clone()),
                None => Lookup::Removed,
            },
            _ => Lookup::Unchanged,
        }
    }

    /// Reads the rows between two bounds as of `sequence`, in key order.
    pub(crate) fn range(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        sequence: u64,
    ) -> OverlayRange<'_> {
        // Of a key's versions the newest comes first: to skip a key is to begin after its oldest.
        let first = match start {
            Bound::Included(key) => {
                Bound::Included(Versioned::new(Bytes::copy_from_slice(key), u64::MAX))
            }
            Bound::Excluded(key) => Bound::Excluded(Versioned::new(Bytes::copy_from_slice(key), 0)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let entry = self.versions(space).and_then(|versions| versions.lower_bound(first.as_ref()));
        let end = end.map(Bytes::copy_from_slice);
        OverlayRange { entry, end, sequence, last: None }
    }

    /// The memory it takes, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Rows of an overlay in key order.
pub(crate) struct OverlayRange<'a> {
    entry: Option<Entry<'a, Versioned, Option<Bytes>>>,
    end: Bound<Bytes>,
    sequence: u64,
    last: Option<Bytes>,
}

impl Iterator for OverlayRange<'_> {
    type Item = (Bytes, Option<Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = self.entry.take()?;
            let Versioned { key, sequence } = entry.key();
            let within = match &self.end {
                Bound::Included(end) => key <= end,
                Bound::Excluded(end) => key < end,
                Bound::Unbounded => true,
            };
            if !within {
                return None;
            }
            let visible = sequence.0 <= self.sequence && self.last.as_ref() != Some(key);
            let found = visible.then(|| (key.clone(), entry.value().clone()));
            self.entry = entry.next();
            if let Some((key, row)) = found {
                self.last = Some(key.clone());
                return Some((key, row));
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

    #[test]
    fn a_range_gives_each_key_once_within_its_bounds() {
        let overlay = Overlay::default();
        for (sequence, key) in ["a", "b", "b", "c", "c", "d"].into_iter().enumerate() {
            overlay.insert(Space::Kv, bytes(key), sequence as u64, Some(bytes(key)));
        }
        let keys = |start, end, sequence| {
            let range = overlay.range(Space::Kv, start, end, sequence);
            range.map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect::<String>()
        };
        assert_eq!(keys(Bound::Unbounded, Bound::Unbounded, 9), "abcd");
        assert_eq!(keys(Bound::Unbounded, Bound::Unbounded, 3), "abc");
        assert_eq!(keys(Bound::Excluded(b"b"), Bound::Included(b"d"), 9), "cd");
        assert_eq!(keys(Bound::Included(b"b"), Bound::Excluded(b"d"), 9), "bc");
    }
}
