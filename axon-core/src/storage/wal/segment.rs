//! One file of the log: its name, its head, and how it comes into being.
//!
//! A segment is written once over its whole length (with zeros, or with what it held before it was
//! recycled) before it is used: a sync in a file already written costs half of one in a file that
//! grows. Invariants:
//!
//! * a file is called `<id>.wal` only when its head and its whole length are durable, and it keeps
//!   both: a short file, or a head that does not match, is damage, never a torn write;
//! * its first group begins at [`HEAD_BYTES`]: no write after the preparation touches the head;
//! * a file never becomes the segment that it was before: old groups never pass for new ones.

use super::record;
use crate::error::StorageError;
use crate::storage::Result;
use crate::storage::disk::{Disk, DiskFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Groups begin here; before it is the head, in a sector of its own.
pub(super) const HEAD_BYTES: u64 = 512;
/// The newest format of a log's files that this Axon reads, and the one that it writes.
pub(super) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"AXONLOG\n";
/// What is used of the head; the last four bytes are its checksum. The same in every format.
const HEAD_USED: usize = 64;
const FILL_BYTES: usize = 1 << 20;
/// A fill is synced in steps, so that no sync of the log waits behind 64 MiB of zeros.
const FILL_SYNC_BYTES: u64 = 8 << 20;

/// A segment that may be read and written.
pub(super) struct Segment {
    /// Its place in the order of segments, from 1.
    pub id: u64,
    /// Where it lies.
    pub path: PathBuf,
    /// The file.
    pub file: Arc<dyn DiskFile>,
    /// Bytes that were written when it was prepared, the head included.
    pub capacity: u64,
    /// Where the checksums of its records begin.
    pub seed: u32,
}

/// What a name in the log's directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// A segment.
    Live(u64),
    /// A purged segment that waits to be used again.
    Spare(u64),
    /// A segment whose preparation did not end.
    Unfinished(u64),
}

impl Name {
    /// Reads a file name; `None` when it is not one of the log's.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (digits, suffix) = name.split_once('.')?;
        if digits.len() != 16 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let id = u64::from_str_radix(digits, 16).ok()?;
        match suffix {
            "wal" => Some(Self::Live(id)),
            "spare" => Some(Self::Spare(id)),
            "tmp" => Some(Self::Unfinished(id)),
            _ => None,
        }
    }

    /// The path in `directory`.
    pub(super) fn path(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Self::Live(id) => format!("{id:016x}.wal"),
            Self::Spare(id) => format!("{id:016x}.spare"),
            Self::Unfinished(id) => format!("{id:016x}.tmp"),
        })
    }
}

/// How a segment is to be made.
pub(super) struct Plan<'a> {
    pub directory: &'a Path,
    pub log_id: u128,
    pub id: u64,
    pub capacity: u64,
    /// A spare file of at least `capacity` bytes to make it of.
    pub recycled: Option<&'a Path>,
}

impl Segment {
    /// Makes a segment, durable and ready for its first group. `None` when `stop` was set.
    pub(super) fn make(
        disk: &dyn Disk,
        plan: &Plan<'_>,
        stop: &AtomicBool,
    ) -> Result<Option<Self>> {
        let path = Name::Live(plan.id).path(plan.directory);
        let unfinished = Name::Unfinished(plan.id).path(plan.directory);
        let prepare = || -> io::Result<Option<Arc<dyn DiskFile>>> {
            // Never in place of another, whatever the reason.
            if disk.exists(&path)? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if let Some(recycled) = plan.recycled {
                disk.rename(recycled, &unfinished)?;
            } else if disk.exists(&unfinished)? {
                disk.remove(&unfinished)?;
            }
            let file = disk.open(&unfinished, true)?;
            if plan.recycled.is_none() && !fill(&*file, 0, plan.capacity, stop)? {
                return Ok(None);
            }
            file.write_at(&head(plan.log_id, plan.id, plan.capacity), 0)?;
            file.sync()?;
            disk.rename(&unfinished, &path)?;
            disk.sync_dir(plan.directory)?;
            Ok(Some(file))
        };
        let made = prepare();
        if !matches!(made, Ok(Some(_))) {
            // Gives the space back; if that fails too, the next open removes the file.
            let _ = disk.remove(&unfinished);
        }
        let file = made.map_err(|error| StorageError::io("cannot prepare", &path, &error))?;
        let (id, capacity) = (plan.id, plan.capacity);
        let seed = record::seed(plan.log_id, id);
        Ok(file.map(|file| Self { id, path, file, capacity, seed }))
    }

    /// Makes a segment larger that holds no group yet: one record alone needs the room.
    pub(super) fn grow(&self, log_id: u128, capacity: u64) -> Result<Self> {
        let never = AtomicBool::new(false);
        // The head last: a crash in between leaves a segment that is longer than it says.
        fill(&*self.file, self.capacity, capacity, &never)
            .and_then(|_| self.file.write_at(&head(log_id, self.id, capacity), 0))
            .and_then(|()| self.file.sync())
            .map_err(|error| StorageError::io("cannot extend", &self.path, &error))?;
        let (path, file) = (self.path.clone(), self.file.clone());
        Ok(Self { id: self.id, path, file, capacity, seed: self.seed })
    }

    /// Opens a segment and reads all of it. Changes nothing.
    pub(super) fn load(
        disk: &dyn Disk,
        directory: &Path,
        log_id: u128,
        id: u64,
    ) -> Result<(Self, Vec<u8>)> {
        let path = Name::Live(id).path(directory);
        let read = || {
            let file = disk.open(&path, false)?;
            let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
            file.read_at(&mut bytes, 0)?;
            Ok((file, bytes))
        };
        let (file, bytes) =
            read().map_err(|error| StorageError::io("cannot read", &path, &error))?;
        let capacity = check_head(&path, &bytes, log_id, id)?;
        let seed = record::seed(log_id, id);
        Ok((Self { id, path, file, capacity, seed }, bytes))
    }

    /// Reports whether there is room for a mark at `offset`.
    pub(super) fn fits_mark(&self, offset: u64) -> bool {
        offset + record::MARK_BYTES as u64 <= self.capacity
    }

    /// Says that what lies at `offset` is not what was written there.
    pub(super) fn corrupt(&self, offset: u64, reason: &str) -> StorageError {
        corrupt(&self.path, offset, reason)
    }
}

fn corrupt(path: &Path, offset: u64, reason: &str) -> StorageError {
    StorageError::Corrupt { path: path.display().to_string(), offset, reason: reason.into() }
}

/// Writes zeros from `from` to `to` and syncs them; `false` when it was stopped.
fn fill(file: &dyn DiskFile, from: u64, to: u64, stop: &AtomicBool) -> io::Result<bool> {
    let zeros = vec![0; FILL_BYTES.min((to - from) as usize)];
    let (mut at, mut synced) = (from, from);
    while at < to {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let bytes = zeros.len().min((to - at) as usize);
        file.write_at(&zeros[..bytes], at)?;
        at += bytes as u64;
        if at - synced >= FILL_SYNC_BYTES {
            file.sync()?;
            synced = at;
        }
    }
    file.sync()?;
    Ok(true)
}

/// `[magic 8][format u32][0 u32][log id u128][segment u64][capacity u64][0 ...][checksum u32]`
fn head(log_id: u128, id: u64, capacity: u64) -> [u8; HEAD_USED] {
    let mut head = [0; HEAD_USED];
    head[0..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    head[16..32].copy_from_slice(&log_id.to_le_bytes());
    head[32..40].copy_from_slice(&id.to_le_bytes());
    head[40..48].copy_from_slice(&capacity.to_le_bytes());
    let checksum = crc32c::crc32c(&head[..HEAD_USED - 4]);
    head[HEAD_USED - 4..].copy_from_slice(&checksum.to_le_bytes());
    head
}

/// Checks a segment's head and length; returns its capacity.
fn check_head(path: &Path, bytes: &[u8], log_id: u128, id: u64) -> Result<u64> {
    let Some(head) = bytes.first_chunk::<HEAD_USED>() else {
        return Err(corrupt(path, bytes.len() as u64, "the file ends within its head"));
    };
    let number = |at| record::u64_at(head, at).expect("the head has 64 bytes");
    let checksum = record::u32_at(head, HEAD_USED - 4).expect("the head has 64 bytes");
    if head[..8] != MAGIC || crc32c::crc32c(&head[..HEAD_USED - 4]) != checksum {
        return Err(corrupt(path, 0, "the checksum of its head does not match"));
    }
    let path_text = || path.display().to_string();
    let format = record::u32_at(head, 8).expect("the head has 64 bytes");
    if format > FORMAT {
        return Err(StorageError::NewerFormat {
            path: path_text(),
            found: format,
            supported: FORMAT,
        });
    }
    let found = u128::from(number(24)) << 64 | u128::from(number(16));
    if found != log_id {
        let reason = format!(
            "it belongs to log {found:032x}, but this replica's log is {log_id:032x}: \
             the directories of two replicas were mixed up; put its own log back"
        );
        return Err(StorageError::Mismatch { path: path_text(), reason });
    }
    if number(32) != id {
        return Err(corrupt(path, 32, &format!("it says that it is segment {}", number(32))));
    }
    let capacity = number(40);
    if (bytes.len() as u64) < capacity || capacity < HEAD_BYTES {
        let reason = format!("it has {} of its {capacity} bytes", bytes.len());
        return Err(corrupt(path, bytes.len() as u64, &reason));
    }
    Ok(capacity)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let directory = Path::new("/log");
        for name in [Name::Live(1), Name::Spare(0x1f), Name::Unfinished(u64::MAX)] {
            let path = name.path(directory);
            let text = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(Name::parse(text), Some(name));
        }
        for text in ["1.wal", "000000000000000g.wal", "+00000000000000a.wal", "LOCK", ".wal"] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_head_of_another_format_log_or_segment_is_refused() {
        let path = Path::new("/log/0000000000000002.wal");
        let file = |head: [u8; HEAD_USED]| [head.to_vec(), vec![0; 960]].concat();
        let good = file(head(7, 2, 1024));
        assert_eq!(check_head(path, &good, 7, 2), Ok(1024));

        assert!(matches!(check_head(path, &good, 8, 2), Err(StorageError::Mismatch { .. })));
        assert!(matches!(check_head(path, &good, 7, 3), Err(StorageError::Corrupt { .. })));
        let short = check_head(path, &good[..1000], 7, 2);
        assert!(matches!(short, Err(StorageError::Corrupt { offset: 1000, .. })));
        let mut newer = head(7, 2, 1024);
        newer[8] = 2;
        let flipped = check_head(path, &file(newer), 7, 2);
        assert!(matches!(flipped, Err(StorageError::Corrupt { offset: 0, .. })));
        let checksum = crc32c::crc32c(&newer[..HEAD_USED - 4]);
        newer[HEAD_USED - 4..].copy_from_slice(&checksum.to_le_bytes());
        let newer = check_head(path, &file(newer), 7, 2);
        assert!(matches!(newer, Err(StorageError::NewerFormat { found: 2, supported: 1, .. })));
    }
}
