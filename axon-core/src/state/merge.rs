//! One ordered map out of the layers of a state: the overlays over the base.
//!
//! Hides that there are layers. Of a key's rows the youngest layer's counts, and one that says that
//! the key is gone hides what lies below. It relies on each layer to be in order, with each key
//! once; it reads a layer only as far as it is asked for.

use super::base::Base;
use super::overlay::{Ascending, Descending, Lookup, Overlay};
use super::seal::unseal;
use crate::storage::{self, Result, Row, Space};
use bytes::Bytes;
use std::ops::Bound;

/// A key with its row; `None`: the key is gone.
pub(crate) type KeyRow = (Bytes, Option<Bytes>);

/// The layers of a state, as of a moment of the active overlay.
#[derive(Clone, Copy)]
pub(crate) struct Layers<'a> {
    pub active: &'a Overlay,
    pub sequence: u64,
    pub frozen: Option<&'a Overlay>,
    pub base: &'a Base,
}

impl<'a> Layers<'a> {
    /// Reads one row.
    pub(crate) fn get(self, space: Space, key: &Bytes) -> Result<Option<Bytes>> {
        for (overlay, sequence) in self.overlays() {
            match overlay.get(space, key, sequence) {
                Lookup::Unchanged => {}
                Lookup::Removed => return Ok(None),
                Lookup::Row(row) => return Ok(Some(row)),
            }
        }
        self.base.get(space, key)
    }

    /// Reads the rows between two bounds, in key order or against it.
    pub(crate) fn scan(
        self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        reverse: bool,
    ) -> Result<Merge<'a>> {
        let mut layers = Vec::with_capacity(3);
        for (overlay, sequence) in self.overlays() {
            layers.push(Layer::new(if reverse {
                Source::Descending(overlay.range_back(space, start, end, sequence))
            } else {
                Source::Ascending(overlay.range(space, start, end, sequence))
            }));
        }
        let rows = self.base.view.scan(space, start, end, reverse)?;
        layers.push(Layer::new(Source::Base(space, rows)));
        Ok(Merge { layers, reverse })
    }

    /// The overlays, youngest first, each with the moment as of which it is read.
    fn overlays(self) -> impl Iterator<Item = (&'a Overlay, u64)> {
        // The frozen one does not change any more: all of it belongs to the moment.
        let frozen = self.frozen.map(|frozen| (frozen, u64::MAX));
        std::iter::once((self.active, self.sequence)).chain(frozen)
    }
}

/// Where a layer's rows come from.
enum Source<'a> {
    Ascending(Ascending<'a>),
    Descending(Descending<'a>),
    Base(Space, storage::Rows<'a>),
}

impl Source<'_> {
    fn next(&mut self) -> Option<Result<KeyRow>> {
        match self {
            Self::Ascending(rows) => rows.next().map(Ok),
            Self::Descending(rows) => rows.next().map(Ok),
            Self::Base(space, rows) => Some(rows.next()?.and_then(|(key, sealed)| {
                let row = unseal(*space, &key, sealed)?;
                Ok((key, Some(row)))
            })),
        }
    }
}

struct Layer<'a> {
    source: Source<'a>,
    /// The row that comes next, once it was looked for.
    head: Option<KeyRow>,
}

impl<'a> Layer<'a> {
    fn new(source: Source<'a>) -> Self {
        Self { source, head: None }
    }
}

/// Rows merged out of layers, youngest first. Ends with the first error.
pub(crate) struct Merge<'a> {
    layers: Vec<Layer<'a>>,
    reverse: bool,
}

impl<'a> Merge<'a> {
    /// Leaves out the keys that are gone.
    pub(crate) fn present(self) -> impl Iterator<Item = Result<Row>> + Send + use<'a> {
        self.filter_map(|found| match found {
            Ok((key, Some(row))) => Some(Ok((key, row))),
            Ok((_, None)) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Looks for the head of each layer; a layer without one is at its end.
    fn fill(&mut self) -> Result<()> {
        let mut place = 0;
        while let Some(Layer { source, head }) = self.layers.get_mut(place) {
            if head.is_none() {
                *head = source.next().transpose()?;
            }
            if head.is_none() {
                self.layers.remove(place);
            } else {
                place += 1;
            }
        }
        Ok(())
    }

    /// The layer whose head comes first; of equal ones, the youngest.
    fn first(&self) -> Option<usize> {
        let key = |place: usize| self.layers[place].head.as_ref().map(|(key, _)| key);
        (0..self.layers.len()).reduce(|first, next| {
            let earlier =
                if self.reverse { key(next) > key(first) } else { key(next) < key(first) };
            if earlier { next } else { first }
        })
    }
}

impl Iterator for Merge<'_> {
    type Item = Result<KeyRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.layers.clear();
            return Some(Err(error));
        }
        let first = self.first()?;
        let found = self.layers[first].head.take()?;
        // Only an older layer can have the same key.
        for older in &mut self.layers[first + 1..] {
            older.head.take_if(|(key, _)| *key == found.0);
        }
        Some(Ok(found))
    }
}
