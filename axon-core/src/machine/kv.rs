//! Puts and deletes: the key space, its history and its changes.
//!
//! * each command that changes something moves the revision by one, and nothing else does;
//! * `kv` holds the current version of each key, `history` every other one and the tombstones;
//! * `changes` has one row a revision, with its keys in order, without gaps above the compacted
//!   revision.
//!
//! Whatever a command changes becomes [`Edit`]s, of different keys and in key order, and [`commit`]
//! writes them: nothing else writes into these spaces, and until then a command may change its mind.

use super::rows::{self, Kind, Version};
use super::{Batch, Registers, Rows, corrupt};
use crate::command::Outcome;
use crate::storage::{Result, Space};
use crate::txn;
use crate::types::{KeyRange, Revision};
use bytes::Bytes;

/// The current version of a key: its row, and what that says.
pub struct Current {
    row: Bytes,
    version: Version,
}

impl Current {
    /// How many times the key was changed since it was created.
    pub fn version(&self) -> u64 {
        self.version.version
    }

    /// Takes the version out.
    pub fn into_version(self) -> Version {
        self.version
    }
}

/// A change of one key.
pub struct Edit {
    key: Bytes,
    before: Option<Current>,
    /// `None` removes the key.
    value: Option<Bytes>,
}

impl Edit {
    /// Stores `value` under `key`.
    pub fn put(key: Bytes, before: Option<Current>, value: Bytes) -> Self {
        Self { key, before, value: Some(value) }
    }

    /// Removes `key`, which is there.
    pub fn delete(key: Bytes, before: Current) -> Self {
        Self { key, before: Some(before), value: None }
    }

    /// The key.
    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The revision that it supersedes.
    pub fn previous(&self) -> Option<Revision> {
        self.before.as_ref().map(|before| before.version.mod_revision)
    }

    /// The bytes of the key and of the row that it supersedes.
    pub fn bytes_before(&self) -> usize {
        self.key.len() + self.before.as_ref().map_or(0, |before| before.row.len())
    }

    /// The version of the key that it makes as part of `revision`.
    pub fn after(&self, revision: Revision) -> Option<Version> {
        let value = self.value.clone()?;
        let (create_revision, version) = self.numbers(revision);
        Some(Version { create_revision, mod_revision: revision, version, value })
    }

    /// When the key was created, and its version, once `revision` has stored a value.
    fn numbers(&self, revision: Revision) -> (Revision, u64) {
        self.before.as_ref().map_or((revision, 1), |Current { version: before, .. }| {
            (before.create_revision, before.version.saturating_add(1))
        })
    }

    fn kind(&self) -> Kind {
        if self.value.is_some() { Kind::Put } else { Kind::Delete }
    }

    fn write(self, batch: &mut Batch, revision: Revision) {
        let (created, version_after) = self.numbers(revision);
        let Self { key, before, value } = self;
        if let Some(Current { row, version }) = &before {
            let history_key = history_key(batch, &key, version.mod_revision);
            batch.change(Space::History, history_key, None, Some(row.clone()));
        }
        let new = value.map(|value| {
            batch.row(rows::HEADER_BYTES_MAX + value.len(), |out| {
                rows::put_version(out, created, revision, version_after, &value);
            })
        });
        if new.is_none() {
            let tombstone_key = history_key(batch, &key, revision);
            batch.change(Space::History, tombstone_key, None, Some(rows::tombstone()));
        }
        batch.change(Space::Kv, key, before.map(|before| before.row), new);
    }
}

/// Makes `edits` under one new revision, which it returns; none of them move nothing.
pub fn commit<Edits>(registers: &mut Registers, batch: &mut Batch, edits: Edits) -> Revision
where
    Edits: AsRef<[Edit]> + IntoIterator<Item = Edit>,
{
    if edits.as_ref().is_empty() {
        return registers.revision;
    }
    let revision = registers.revision.next();
    registers.revision = revision;
    note(batch, revision, edits.as_ref());
    for edit in edits {
        edit.write(batch, revision);
    }
    revision
}

/// Stores `value` under `key`.
pub fn put(
    registers: &mut Registers,
    store: &impl Rows,
    batch: &mut Batch,
    key: Bytes,
    value: Bytes,
) -> Result<Outcome> {
    let before = current(registers, store, &key)?;
    let edit = Edit::put(key, before, value);
    let previous = edit.previous();
    let revision = commit(registers, batch, [edit]);
    Ok(Outcome::Put { revision, previous })
}

/// Removes `key`; changes nothing when it is absent.
pub fn delete(
    registers: &mut Registers,
    store: &impl Rows,
    batch: &mut Batch,
    key: Bytes,
) -> Result<Outcome> {
    let Some(before) = current(registers, store, &key)? else {
        return Ok(Outcome::Deleted { revision: registers.revision, previous: None });
    };
    let edit = Edit::delete(key, before);
    let previous = edit.previous();
    let revision = commit(registers, batch, [edit]);
    Ok(Outcome::Deleted { revision, previous })
}

/// Reads the current version of `key`.
pub fn current(registers: &Registers, store: &impl Rows, key: &Bytes) -> Result<Option<Current>> {
    store.get(Space::Kv, key)?.map(|row| decode(registers, row)).transpose()
}

/// Reads the keys of `range` in their order, each as the edit that would remove it.
pub fn removals<'a>(
    registers: &'a Registers,
    store: &'a impl Rows,
    range: &KeyRange,
) -> Result<impl Iterator<Item = Result<Edit>> + 'a> {
    let rows = if txn::is_empty(range) {
        None
    } else {
        let bounds = (range.start.as_ref(), range.end.as_ref());
        Some(store.scan(Space::Kv, bounds.0.map(AsRef::as_ref), bounds.1.map(AsRef::as_ref))?)
    };
    Ok(rows.into_iter().flatten().map(|row| {
        let (key, row) = row?;
        Ok(Edit::delete(key, decode(registers, row)?))
    }))
}

/// Decodes the current version of a key, which no revision to come can precede.
fn decode(registers: &Registers, row: Bytes) -> Result<Current> {
    let version = rows::version(&row)?;
    if version.mod_revision > registers.revision {
        return Err(corrupt("a version", "it is newer than the store's revision"));
    }
    Ok(Current { row, version })
}

fn history_key(batch: &mut Batch, key: &[u8], revision: Revision) -> Bytes {
    batch.row(rows::history_key_bytes_max(key.len()), |out| {
        rows::put_history_key(out, key, revision);
    })
}

fn note(batch: &mut Batch, revision: Revision, edits: &[Edit]) {
    let bytes_max = edits.iter().map(|edit| rows::change_bytes_max(edit.key.len())).sum();
    let row = batch.row(bytes_max, |out| {
        let changes = edits.iter().map(|edit| (edit.kind(), edit.previous(), edit.key.as_ref()));
        rows::put_changes(out, changes);
    });
    let key = batch.row(8, |out| out.extend_from_slice(&revision.0.to_be_bytes()));
    batch.change(Space::Changes, key, None, Some(row));
}
