//! The reserve: bytes of the disk that are taken early, to be given up when the disk runs full.
//!
//! Hides a file, `reserve`, in the data directory. Given up, it lets what is in flight end in order:
//! a checkpoint half way through its commit, a segment of the log. Invariants:
//!
//! * its blocks are really taken: a file of the right length proves it, since one whose blocks could
//!   not be had is removed at once;
//! * nothing is ever read from it. Whoever deletes it loses the reserve and no data.

use super::Result;
use super::disk::{Disk, DiskSpace};
use crate::error::StorageError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name in the data directory.
pub(crate) const RESERVE_NAME: &str = "reserve";
/// A replica that starts with less than this gives its reserve up before it opens anything.
const START_BYTES: u64 = 16 << 20;

/// The disk under one data directory, and what is set aside there.
#[derive(Clone)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    path: PathBuf,
}

impl Reserve {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        Self { disk, directory: directory.to_owned(), path: directory.join(RESERVE_NAME) }
    }

    /// How much room there is.
    pub(crate) fn space(&self) -> Result<DiskSpace> {
        let space = self.disk.space(&self.directory);
        space.map_err(|error| StorageError::io("cannot tell the space of", &self.directory, &error))
    }

    /// The bytes that are set aside now.
    pub(crate) fn bytes(&self) -> u64 {
        let len = || self.disk.open(&self.path, false)?.len();
        let there = self.disk.exists(&self.path).unwrap_or(false);
        if there { len().unwrap_or(0) } else { 0 }
    }

    /// Sets `bytes` aside, in place of what was set aside before.
    pub(crate) fn make(&self, bytes: u64) -> Result<()> {
        self.give_up()?;
        let made = self.disk.open(&self.path, true).and_then(|file| file.allocate(bytes));
        made.map_err(|error| {
            // Half a reserve would pass for a whole one that somebody cut.
            let _ = self.disk.remove(&self.path);
            StorageError::io("cannot set aside", &self.path, &error)
        })
    }

    /// Gives back what is set aside, if anything is.
    pub(crate) fn give_up(&self) -> Result<()> {
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io("cannot remove", &self.path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Makes room for a replica to start: opening a log and a state may have to write.
    pub(crate) fn make_room_to_start(&self) {
        let short = self.space().is_ok_and(|space| space.free < START_BYTES);
        if short && self.bytes() > 0 {
            match self.give_up() {
                Ok(()) => tracing::warn!("the disk is full: the reserve is given up for the start"),
                Err(error) => tracing::warn!("the disk is full: {error}"),
            }
        }
    }
}
