//! Puts and deletes: the key space, its history and its changes.
//!
//! * each command that changes something moves the revision by one, and nothing else does;
//! * `kv` holds the current version of each key, `history` every other one and the tombstones;
//! * `changes` has one row a revision, without gaps above the compacted revision.

use super::rows::{self, Kind, Version};
use super::{Batch, Registers, Rows, corrupt};
use crate::command::Outcome;
use crate::storage::{Result, Space};
use crate::types::Revision;
use bytes::Bytes;

/// Stores `value` under `key`.
pub fn put(
    registers: &mut Registers,
    store: &impl Rows,
    batch: &mut Batch,
    key: Bytes,
    value: &[u8],
) -> Result<Outcome> {
    let old = store.get(Space::Kv, &key)?;
    let before = old.as_ref().map(|row| current(registers, row)).transpose()?;
    let revision = registers.revision.next();
    registers.revision = revision;
    let (created, version) = match &before {
        Some(before) => (before.create_revision, before.version.saturating_add(1)),
        None => (revision, 1),
    };
    let previous = before.map(|before| before.mod_revision);
    supersede(batch, &key, previous, old.as_ref());
    note(batch, revision, Kind::Put, previous, &key);
    let new = batch.row(rows::HEADER_BYTES_MAX + value.len(), |out| {
        rows::put_version(out, created, revision, version, value);
    });
    batch.change(Space::Kv, key, old, Some(new));
    Ok(Outcome::Put { revision, previous })
}

/// Removes `key`; changes nothing when it is absent.
pub fn delete(
    registers: &mut Registers,
    store: &impl Rows,
    batch: &mut Batch,
    key: Bytes,
) -> Result<Outcome> {
    let Some(old) = store.get(Space::Kv, &key)? else {
        return Ok(Outcome::Deleted { revision: registers.revision, previous: None });
    };
    let previous = Some(current(registers, &old)?.mod_revision);
    let revision = registers.revision.next();
    registers.revision = revision;
    supersede(batch, &key, previous, Some(&old));
    let tombstone_key = history_key(batch, &key, revision);
    batch.change(Space::History, tombstone_key, None, Some(rows::tombstone()));
    note(batch, revision, Kind::Delete, previous, &key);
    batch.change(Space::Kv, key, Some(old), None);
    Ok(Outcome::Deleted { revision, previous })
}

/// Decodes the current version of a key, which no revision to come can precede.
fn current(registers: &Registers, row: &Bytes) -> Result<Version> {
    let version = rows::version(row)?;
    if version.mod_revision > registers.revision {
        return Err(corrupt("a version", "it is newer than the store's revision"));
    }
    Ok(version)
}

/// Moves the version that a change supersedes into the history.
fn supersede(batch: &mut Batch, key: &Bytes, previous: Option<Revision>, old: Option<&Bytes>) {
    let (Some(previous), Some(old)) = (previous, old) else { return };
    let history_key = history_key(batch, key, previous);
    batch.change(Space::History, history_key, None, Some(old.clone()));
}

fn history_key(batch: &mut Batch, key: &[u8], revision: Revision) -> Bytes {
    batch.row(rows::history_key_bytes_max(key.len()), |out| {
        rows::put_history_key(out, key, revision);
    })
}

fn note(batch: &mut Batch, revision: Revision, kind: Kind, previous: Option<Revision>, key: &[u8]) {
    let row = batch.row(rows::change_bytes_max(key.len()), |out| {
        rows::put_change(out, kind, previous, key);
    });
    let key = batch.row(8, |out| out.extend_from_slice(&revision.0.to_be_bytes()));
    batch.change(Space::Changes, key, None, Some(row));
}
