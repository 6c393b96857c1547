//! The rows as apply reads them: the present ones.
//!
//! Each write reads the present row of its key. An ordered map of many versions takes longer to find
//! it than the rest of the write takes, so that the newest row of each key of `kv` that an overlay has
//! is kept in a hash map besides. Nothing iterates it: what apply does never depends on its order.

use super::base::Base;
use super::merge::Layers;
use super::overlay::Overlay;
use crate::machine::Rows;
use crate::storage::{Result, Row, Space};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Bound;

type Newest = HashMap<Bytes, Option<Bytes>>;

/// The newest rows of `kv` in the overlays; `None`: the key is gone.
#[derive(Default)]
pub(crate) struct Present {
    active: Newest,
    frozen: Newest,
}

impl Present {
    /// Notes what the active overlay has taken.
    pub(crate) fn note(&mut self, space: Space, key: &Bytes, row: Option<&Bytes>) {
        if space == Space::Kv {
            self.active.insert(key.clone(), row.cloned());
        }
    }

    /// The active overlay is frozen.
    pub(crate) fn freeze(&mut self) {
        self.frozen = std::mem::take(&mut self.active);
    }

    /// The frozen overlay is in the base.
    pub(crate) fn thaw(&mut self) {
        self.frozen = Newest::default();
    }

    fn get(&self, key: &Bytes) -> Option<&Option<Bytes>> {
        self.active.get(key).or_else(|| self.frozen.get(key))
    }
}

/// The rows as the machine sees them: up to and with the change before.
pub(crate) struct Latest<'a> {
    pub active: &'a Overlay,
    pub frozen: Option<&'a Overlay>,
    pub present: &'a Present,
    pub base: &'a Base,
}

impl<'a> Latest<'a> {
    fn layers(&self) -> Layers<'a> {
        let Self { active, frozen, base, .. } = *self;
        Layers { active, sequence: u64::MAX, frozen, base }
    }
}

impl Rows for Latest<'_> {
    fn get(&self, space: Space, key: &Bytes) -> Result<Option<Bytes>> {
        if space != Space::Kv {
            return self.layers().get(space, key);
        }
        match self.present.get(key) {
            Some(row) => Ok(row.clone()),
            None => self.base.get(space, key),
        }
    }

    fn scan(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Result<Box<dyn Iterator<Item = Result<Row>> + '_>> {
        Ok(Box::new(self.layers().scan(space, start, end, false)?.present()))
    }
}
