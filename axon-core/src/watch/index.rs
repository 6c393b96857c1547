//! Who watches a key: one look-up for those of the key alone, one for each length of prefix in use.
//!
//! Only ranges of other shapes are looked through one by one: they are rare.

use crate::types::KeyRange;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Names a feed of a hub; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatcherId(pub(super) u64);

type Watchers = BTreeSet<WatcherId>;

/// The ranges that are watched.
#[derive(Default)]
pub(super) struct Index {
    keys: HashMap<Bytes, Watchers>,
    /// By length, then by the prefix itself.
    prefixes: BTreeMap<usize, HashMap<Bytes, Watchers>>,
    ranges: BTreeMap<WatcherId, Arc<KeyRange>>,
}

/// How a range is found again.
enum Shape {
    Key(Bytes),
    Prefix(Bytes),
    Other,
}

impl Shape {
    fn of(range: &KeyRange) -> Self {
        match (&range.start, &range.end) {
            (Bound::Included(start), Bound::Included(end)) if start == end => {
                Self::Key(start.clone())
            }
            (Bound::Included(start), _) if *range == KeyRange::prefix(start.clone()) => {
                Self::Prefix(start.clone())
            }
            (Bound::Unbounded, Bound::Unbounded) => Self::Prefix(Bytes::new()),
            _ => Self::Other,
        }
    }
}

impl Index {
    /// Adds a watcher of `range`.
    pub(super) fn add(&mut self, id: WatcherId, range: &Arc<KeyRange>) {
        match Shape::of(range) {
            Shape::Key(key) => {
                self.keys.entry(key).or_default().insert(id);
            }
            Shape::Prefix(prefix) => {
                let of_length = self.prefixes.entry(prefix.len()).or_default();
                of_length.entry(prefix).or_default().insert(id);
            }
            Shape::Other => {
                self.ranges.insert(id, range.clone());
            }
        }
    }

    /// Takes a watcher of `range` out.
    pub(super) fn remove(&mut self, id: WatcherId, range: &KeyRange) {
        let remove_from = |map: &mut HashMap<Bytes, Watchers>, key: &Bytes| {
            if let Some(watchers) = map.get_mut(key) {
                watchers.remove(&id);
                if watchers.is_empty() {
                    map.remove(key);
                }
            }
        };
        match Shape::of(range) {
            Shape::Key(key) => remove_from(&mut self.keys, &key),
            Shape::Prefix(prefix) => {
                let Some(of_length) = self.prefixes.get_mut(&prefix.len()) else { return };
                remove_from(of_length, &prefix);
                if of_length.is_empty() {
                    self.prefixes.remove(&prefix.len());
                }
            }
            Shape::Other => {
                self.ranges.remove(&id);
            }
        }
    }

    /// Calls `found` with each watcher of `key`.
    pub(super) fn each_watcher(&self, key: &[u8], mut found: impl FnMut(WatcherId)) {
        let mut all = |watchers: &Watchers| watchers.iter().copied().for_each(&mut found);
        if let Some(watchers) = self.keys.get(key) {
            all(watchers);
        }
        for (length, of_length) in self.prefixes.range(..=key.len()) {
            if let Some(watchers) = of_length.get(&key[..*length]) {
                all(watchers);
            }
        }
        self.ranges.iter().filter(|(_, range)| range.contains(key)).for_each(|(id, _)| found(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: &[u8]) -> Bytes {
        Bytes::copy_from_slice(bytes)
    }

    /// All byte strings of up to three bytes out of four.
    fn strings() -> Vec<Bytes> {
        let mut strings = vec![Bytes::new()];
        for at in 0..(1 + 4 + 16) {
            for byte in [0, 1, 0xfe, 0xff] {
                strings.push(bytes(&[&strings[at], [byte].as_slice()].concat()));
            }
        }
        strings
    }

    #[test]
    fn a_key_finds_exactly_those_whose_range_holds_it() {
        let strings = strings();
        let mut ranges = vec![KeyRange::all()];
        for (at, string) in strings.iter().enumerate() {
            let other = strings[at * 7 % strings.len()].clone();
            ranges.push(KeyRange::key(string.clone()));
            ranges.push(KeyRange::prefix(string.clone()));
            ranges.push(KeyRange {
                start: Bound::Excluded(string.clone()),
                end: Bound::Included(other.clone()),
            });
            ranges.push(KeyRange { start: Bound::Unbounded, end: Bound::Excluded(other) });
        }
        let ranges: Vec<_> = (0..).map(WatcherId).zip(ranges.into_iter().map(Arc::new)).collect();
        let mut index = Index::default();
        for (id, range) in &ranges {
            index.add(*id, range);
        }
        let check = |index: &Index, ranges: &[(WatcherId, Arc<KeyRange>)]| {
            for key in &strings {
                let mut found = BTreeSet::new();
                index.each_watcher(key, |id| assert!(found.insert(id), "each once"));
                let expected = ranges.iter().filter(|(_, range)| range.contains(key));
                assert_eq!(found, expected.map(|(id, _)| *id).collect(), "{key:?}");
            }
        };
        check(&index, &ranges);
        let (gone, left): (Vec<_>, Vec<_>) = ranges.into_iter().partition(|(id, _)| id.0 % 3 > 0);
        for (id, range) in &gone {
            index.remove(*id, range);
        }
        check(&index, &left);
        for (id, range) in &left {
            index.remove(*id, range);
        }
        assert!(index.keys.is_empty() && index.prefixes.is_empty() && index.ranges.is_empty());
    }
}
