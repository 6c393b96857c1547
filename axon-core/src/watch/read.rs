//! Reads what revisions changed from a view, in steps that are bounded. May block on the disk.

use super::WatchChange;
use super::recent::Revised;
use crate::machine::rows::{KeyChange, Kind};
use crate::state::View;
use crate::storage::Result;
use crate::types::{KeyRange, KeyValue, Revision};
use bytes::{Bytes, BytesMut};

/// Revisions looked at in a step.
const SCANNED_MAX: usize = 4096;
/// Revisions found in a step.
const FOUND_MAX: usize = 256;
/// Bytes found in a step, after which it ends: what a feed holds while its reader does not ask.
const FOUND_BYTES_MAX: usize = 64 << 10;
/// Revisions that the hub matches at once.
const CHUNK_REVISIONS_MAX: usize = 256;
/// Bytes of keys read in a step or matched at once, after which it ends.
const KEYS_BYTES_MAX: usize = 1 << 20;

/// What a change takes beside its keys and values, roughly.
const CHANGE_OVERHEAD: usize = size_of::<WatchChange>() + 64;

/// Some revisions that follow each other.
pub(super) struct Chunk {
    pub(super) revisions: Vec<(Revision, Vec<KeyChange>)>,
}

impl Chunk {
    /// Reads the next ones from `from` on; at least one, when there is one.
    pub(super) fn read(view: &View, from: Revision) -> Result<Self> {
        let (mut revisions, mut bytes) = (Vec::new(), 0);
        for revision in view.changes(from)? {
            let (revision, changes) = revision?;
            bytes += keys_bytes(&changes);
            revisions.push((revision, changes));
            if revisions.len() >= CHUNK_REVISIONS_MAX || bytes >= KEYS_BYTES_MAX {
                break;
            }
        }
        Ok(Self { revisions })
    }
}

/// What a step found.
pub(super) struct Found {
    pub(super) revised: Vec<Revised>,
    /// The last revision it looked at; the one before the first when there was none.
    pub(super) through: Revision,
}

/// Reads on from `from`, which is not compacted, up to and with `upto`: what is in `range`.
pub(super) fn step(
    view: &View,
    range: &KeyRange,
    from: Revision,
    upto: Revision,
    with_previous: bool,
) -> Result<Found> {
    let mut found = Found { revised: Vec::new(), through: Revision(from.0 - 1) };
    let (mut bytes, mut keys) = (0, 0);
    for (scanned, revision) in view.changes(from)?.enumerate() {
        let (revision, mut changes) = revision?;
        let full = found.revised.len() >= FOUND_MAX || bytes >= FOUND_BYTES_MAX;
        if revision > upto || scanned >= SCANNED_MAX || keys >= KEYS_BYTES_MAX || full {
            break;
        }
        keys += keys_bytes(&changes);
        changes.retain(|change| range.contains(&change.key));
        if !changes.is_empty() {
            let revised = decode(view, revision, &changes, with_previous)?;
            bytes += revised.bytes;
            found.revised.push(revised);
        }
        found.through = revision;
    }
    Ok(found)
}

/// Reads what `changes` of `revision` stored and, `with_previous`, what they superseded: a version
/// stays until the revision that superseded it is swept.
pub(super) fn decode(
    view: &View,
    revision: Revision,
    changes: &[KeyChange],
    with_previous: bool,
) -> Result<Revised> {
    let mut told = Vec::with_capacity(changes.len());
    let mut bytes = 0;
    for KeyChange { kind, previous, key } in changes {
        let previous = match previous {
            Some(superseded) if with_previous => {
                view.version_of(key, *superseded)?.as_ref().map(copy)
            }
            _ => None,
        };
        let change = match kind {
            Kind::Put => WatchChange::Put { pair: copy(&view.stored_by(key, revision)?), previous },
            Kind::Delete => {
                WatchChange::Delete { key: Bytes::copy_from_slice(key), revision, previous }
            }
        };
        bytes += CHANGE_OVERHEAD + change_bytes(&change);
        told.push(change);
    }
    // A row of changes promises no order.
    told.sort_by(|one, other| one.key().cmp(other.key()));
    Ok(Revised { revision, changes: told, bytes })
}

/// The same in memory of its own: a row shares that of many others, and would keep it.
fn copy(pair: &KeyValue) -> KeyValue {
    let mut both = BytesMut::with_capacity(pair.key.len() + pair.value.len());
    both.extend_from_slice(&pair.key);
    let key = both.split().freeze();
    both.extend_from_slice(&pair.value);
    KeyValue { key, value: both.freeze(), ..*pair }
}

fn change_bytes(change: &WatchChange) -> usize {
    let of = |pair: &KeyValue| pair.key.len() + pair.value.len();
    let previous = change.previous().map_or(0, of);
    match change {
        WatchChange::Put { pair, .. } => of(pair) + previous,
        WatchChange::Delete { key, .. } => key.len() + previous,
    }
}

fn keys_bytes(changes: &[KeyChange]) -> usize {
    changes.iter().map(|change| change.key.len()).sum()
}
