//! Hashes of the state that are noted so that replicas can compare them.
//!
//! An entry of the log asks every replica to note its hash as of that very entry, however its entries
//! were batched; another one says what came of the comparison. Neither is part of the state: a replica
//! that starts again knows what it applies again, and no more. The latest few are kept.

use super::StateReader;
use crate::command::Comparison;
use crate::types::{LogIndex, Revision};
use std::collections::VecDeque;
use tokio::sync::watch;

/// Notes kept: whoever compares asks soon.
const NOTES_MAX: usize = 16;

/// The hash of the whole state as of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The entry.
    pub index: LogIndex,
    /// The store's revision there.
    pub revision: Revision,
    /// The hash.
    pub hash: u128,
}

/// What the entries of one batch said.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    pub notes: Vec<Note>,
    pub comparison: Option<Comparison>,
}

/// What was noted, and what the last comparison came to.
#[derive(Debug)]
pub(crate) struct Notes {
    kept: watch::Sender<VecDeque<Note>>,
    compared: watch::Sender<Option<Comparison>>,
}

impl Notes {
    pub(super) fn new() -> Self {
        Self { kept: watch::Sender::default(), compared: watch::Sender::default() }
    }

    pub(super) fn take(&self, remarks: Remarks) {
        if !remarks.notes.is_empty() {
            self.kept.send_modify(|kept| {
                kept.extend(remarks.notes);
                kept.drain(..kept.len().saturating_sub(NOTES_MAX));
            });
        }
        if remarks.comparison.is_some() {
            self.compared.send_replace(remarks.comparison);
        }
    }
}

impl StateReader {
    /// The latest note; `None` when none was made since the start.
    pub fn last_note(&self) -> Option<Note> {
        self.inner.notes.kept.borrow().back().copied()
    }

    /// What was noted as of entry `index`, if it was, and is kept.
    pub fn note_at(&self, index: LogIndex) -> Option<Note> {
        self.inner.notes.kept.borrow().iter().find(|note| note.index == index).copied()
    }

    /// Watches comparisons of which something differed.
    pub fn compared(&self) -> watch::Receiver<Option<Comparison>> {
        self.inner.notes.compared.subscribe()
    }
}
