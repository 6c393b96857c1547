//! The base of a state in memory: what redb does, without a disk.
//!
//! Each space is an ordered map of chunks of sorted rows. A commit copies the map of chunks and the
//! chunks it changes, and shares the others with the views that are open: a commit costs what it
//! changes, and one two-hundredth of what there is.

use crate::storage::{
    Replacement, Result, Row, RowChange, Rows, Space, StateStore, StateView, is_inverted,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

/// A chunk is split when it has more rows.
const CHUNK_ROWS_MAX: usize = 256;

/// Rows under the first key that their chunk ever had; no chunk is empty.
#[derive(Clone, Default)]
struct SpaceMap(BTreeMap<Bytes, Arc<Vec<Row>>>);

impl SpaceMap {
    fn set(&mut self, key: &Bytes, value: Option<&Bytes>) {
        let place = self.0.range(..=key.clone()).next_back().or_else(|| self.0.iter().next());
        let Some(name) = place.map(|(name, _)| name.clone()) else {
            if let Some(value) = value {
                self.0.insert(key.clone(), Arc::new(vec![(key.clone(), value.clone())]));
            }
            return;
        };
        // A key below the first chunk's name goes into that chunk under a name of its own.
        let mut chunk = self.0.remove(&name).unwrap_or_default();
        let rows = Arc::make_mut(&mut chunk);
        match (rows.binary_search_by(|(known, _)| known.cmp(key)), value) {
            (Ok(found), Some(value)) => rows[found].1 = value.clone(),
            (Ok(found), None) => drop(rows.remove(found)),
            (Err(gap), Some(value)) => rows.insert(gap, (key.clone(), value.clone())),
            (Err(_), None) => {}
        }
        if rows.len() > CHUNK_ROWS_MAX {
            let upper = rows.split_off(rows.len() / 2);
            self.0.insert(upper[0].0.clone(), Arc::new(upper));
        }
        if !rows.is_empty() {
            self.0.insert(name.min(rows[0].0.clone()), chunk);
        }
    }

    fn get(&self, key: &[u8]) -> Option<Bytes> {
        let bounds = (Bound::Unbounded, Bound::Included(key));
        let (_, rows) = self.0.range::<[u8], _>(bounds).next_back()?;
        let found = rows.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        Some(rows[found].1.clone())
    }

    fn scan<'a>(
        &'a self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Row> + Send + use<'a> {
        // The chunk before the first one named within the bounds may reach into them.
        let first = match start {
            Bound::Included(key) | Bound::Excluded(key) => {
                let bounds = (Bound::Unbounded, Bound::Included(key));
                self.0.range::<[u8], _>(bounds).next_back().map(|(name, _)| name.as_ref())
            }
            Bound::Unbounded => None,
        };
        let begin = first.map_or(Bound::Unbounded, Bound::Included);
        let chunks = (!is_inverted(start, end)).then(|| self.0.range::<[u8], _>((begin, end)));
        let (start, end) = (start.map(<[u8]>::to_vec), end.map(<[u8]>::to_vec));
        chunks.into_iter().flatten().flat_map(move |(_, rows)| {
            let low = match &start {
                Bound::Included(start) => rows.partition_point(|(key, _)| key < start),
                Bound::Excluded(start) => rows.partition_point(|(key, _)| key <= start),
                Bound::Unbounded => 0,
            };
            let high = match &end {
                Bound::Included(end) => rows.partition_point(|(key, _)| key <= end),
                Bound::Excluded(end) => rows.partition_point(|(key, _)| key < end),
                Bound::Unbounded => rows.len(),
            };
            rows[low..high.max(low)].iter().cloned()
        })
    }
}

type Spaces = [SpaceMap; Space::ALL.len()];

fn place(space: Space) -> usize {
    space as usize - 1
}

/// A [`StateStore`] in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemState(Arc<Mutex<Arc<Spaces>>>);

impl MemState {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn present(&self) -> Arc<Spaces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, spaces: Spaces) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spaces);
    }
}

impl StateStore for MemState {
    fn view(&self) -> Result<Arc<dyn StateView>> {
        Ok(Arc::new(MemView(self.present())))
    }

    fn commit(&self, changes: &mut dyn Iterator<Item = RowChange>) -> Result<()> {
        let mut spaces = (*self.present()).clone();
        for RowChange { space, key, value } in changes {
            spaces[place(space)].set(&key, value.as_ref());
        }
        self.set(spaces);
        Ok(())
    }

    fn replace(&self) -> Result<Box<dyn Replacement>> {
        Ok(Box::new(MemReplacement { store: self.clone(), spaces: Spaces::default() }))
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

struct MemView(Arc<Spaces>);

impl StateView for MemView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0[place(space)].get(key))
    }

    fn scan(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        reverse: bool,
    ) -> Result<Rows<'_>> {
        let rows = self.0[place(space)].scan(start, end);
        Ok(if reverse { Box::new(rows.rev().map(Ok)) } else { Box::new(rows.map(Ok)) })
    }
}

struct MemReplacement {
    store: MemState,
    spaces: Spaces,
}

impl Replacement for MemReplacement {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.spaces[place(space)].set(&key, Some(&value));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.store.set(self.spaces);
        Ok(())
    }
}
