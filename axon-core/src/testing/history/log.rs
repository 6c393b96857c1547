//! What each revision changed, by an order that was found.

use super::compile::{Compiled, Key};
use super::model::{Cell, Edits, Store, Trust};
use super::search::Placed;

/// A key's change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edited {
    pub key: Key,
    pub before: Cell,
    pub after: Cell,
}

/// A revision: who made it, and what it changed, in the order of keys.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub op: u32,
    pub edits: Vec<Edited>,
}

/// Every revision of a history.
#[derive(Debug)]
pub(super) struct Log {
    /// The revision before the first entry.
    pub start: u64,
    entries: Vec<Entry>,
    initial: Vec<Cell>,
}

impl Log {
    /// Does everything again, in the order that was found.
    pub fn replay(history: &Compiled, order: &[Placed]) -> Self {
        let mut store = Store::start(history);
        let (start, initial) = (store.revision, store.cells.clone());
        let (mut entries, mut edits) = (Vec::new(), Edits::new());
        for Placed { op, guess } in order {
            let run = store.run(&history.ops[*op as usize], Trust::Everything, *guess, &mut edits);
            debug_assert!(run.is_some(), "the order was found with these answers");
            if edits.is_empty() {
                continue;
            }
            store.revision += 1;
            let mut edited: Vec<Edited> = edits
                .drain(..)
                .map(|(key, after)| {
                    let cell = &mut store.cells[key as usize];
                    Edited { key, before: std::mem::replace(cell, after), after }
                })
                .collect();
            edited.sort_by_key(|edit| edit.key);
            entries.push(Entry { op: *op, edits: edited });
        }
        Self { start, entries, initial }
    }

    /// The last revision.
    pub fn last(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    /// What `revision` changed; `None` before the history, and after it.
    pub fn entry(&self, revision: u64) -> Option<&Entry> {
        self.entries.get(revision.checked_sub(self.start + 1)? as usize)
    }

    /// All keys as they were at `revision`.
    pub fn state_at(&self, revision: u64) -> Vec<Cell> {
        let mut cells = self.initial.clone();
        for entry in
            &self.entries[..(revision.saturating_sub(self.start) as usize).min(self.entries.len())]
        {
            for edit in &entry.edits {
                cells[edit.key as usize] = edit.after;
            }
        }
        cells
    }
}
