//! Segments to come and segments gone: prepares the next one, recycles the purged ones.
//!
//! Runs on a worker of its own, so that the log's writer finds its next segment ready; when it is
//! late, the writer waits for it or makes it itself. Invariants:
//!
//! * one segment is ready or being made, and at most `spare_segments` files wait to be used again;
//! * a segment is made once: never again when the writer may be using it;
//! * a purged file has lost its name, durably, before anything is written into it: no crash leaves
//!   a file with an old name and a new head;
//! * a preparation that fails is no fault yet: only when the writer needs it and fails too.

use super::segment::{Name, Plan, Segment};
use super::{WalConfig, lock};
use crate::error::StorageError;
use crate::storage::Result;
use crate::storage::disk::Disk;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A job for the worker.
pub(super) enum Job {
    /// Make the segment that will follow the one with this id and capacity.
    PrepareAfter { id: u64, capacity: u64 },
    /// Give back the files of these segments, which nothing needs any more.
    Retire(Vec<Arc<Segment>>),
}

/// A purged file that waits to be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spare {
    pub path: PathBuf,
    pub bytes: u64,
}

/// What makes segments and takes them back.
pub(super) struct Supply {
    pub disk: Arc<dyn Disk>,
    pub directory: PathBuf,
    pub log_id: u128,
    pub config: WalConfig,
    stock: Mutex<Stock>,
    stopped: AtomicBool,
    bytes: AtomicU64,
}

#[derive(Default)]
pub(super) struct Stock {
    /// Ready to be written.
    pub next: Option<Segment>,
    pub spares: Vec<Spare>,
    /// The last segment that was handed out: a job to prepare it comes too late.
    pub taken: u64,
}

impl Stock {
    fn bytes(&self) -> u64 {
        let spares: u64 = self.spares.iter().map(|spare| spare.bytes).sum();
        spares + self.next.as_ref().map_or(0, |next| next.capacity)
    }
}

impl Supply {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        log_id: u128,
        config: WalConfig,
        stock: Stock,
    ) -> Self {
        let bytes = AtomicU64::new(stock.bytes());
        let (stock, stopped) = (Mutex::new(stock), AtomicBool::new(false));
        Self { disk, directory, log_id, config, stock, stopped, bytes }
    }

    /// Does what the worker was asked for.
    pub(super) fn work(&self, jobs: Vec<Job>) {
        for job in jobs {
            let mut stock = lock(&self.stock);
            // After the stop another log may own the directory.
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            let result = match job {
                // The writer did not wait: a second preparation would replace the segment in use.
                Job::PrepareAfter { id, .. } if stock.taken > id => Ok(()),
                Job::PrepareAfter { id, capacity } => {
                    let capacity = self.config.capacity_after(capacity);
                    self.prepare(&mut stock, id + 1, capacity)
                }
                Job::Retire(segments) => self.retire(&mut stock, &segments),
            };
            self.bytes.store(stock.bytes(), Ordering::Relaxed);
            if let Err(error) = result {
                tracing::warn!(%error, "the log's next segment is not ready yet");
            }
        }
    }

    /// Hands out the segment after `current`, with room for `needed` bytes in all.
    pub(super) fn take_after(&self, current: &Segment, needed: u64) -> Result<Segment> {
        let mut stock = lock(&self.stock);
        let id = current.id + 1;
        if stock.next.as_ref().is_none_or(|next| next.id != id) {
            let capacity = self.config.capacity_after(current.capacity);
            self.prepare(&mut stock, id, capacity.max(super::whole_sectors(needed)))?;
        }
        let next = stock.next.take();
        stock.taken = id;
        self.bytes.store(stock.bytes(), Ordering::Relaxed);
        match next {
            Some(next) if next.capacity < needed => {
                next.grow(self.log_id, super::whole_sectors(needed))
            }
            Some(next) => Ok(next),
            None => Err(super::closed(&self.directory)),
        }
    }

    fn prepare(&self, stock: &mut Stock, id: u64, capacity: u64) -> Result<()> {
        if stock.next.as_ref().is_some_and(|next| next.id == id) {
            return Ok(());
        }
        let spare = stock.spares.iter().position(|spare| spare.bytes >= capacity);
        let spare = spare.map(|at| stock.spares.swap_remove(at));
        let plan = Plan {
            directory: &self.directory,
            log_id: self.log_id,
            id,
            capacity,
            recycled: spare.as_ref().map(|spare| spare.path.as_path()),
        };
        stock.next = Segment::make(&*self.disk, &plan, &self.stopped)?;
        Ok(())
    }

    fn retire(&self, stock: &mut Stock, segments: &[Arc<Segment>]) -> Result<()> {
        let give_back = |stock: &mut Stock| -> io::Result<()> {
            for segment in segments {
                let wanted = stock.spares.len() < self.config.spare_segments
                    && segment.capacity == self.config.segment_bytes;
                if wanted {
                    let path = Name::Spare(segment.id).path(&self.directory);
                    self.disk.rename(&segment.path, &path)?;
                    stock.spares.push(Spare { path, bytes: segment.capacity });
                } else {
                    self.disk.remove(&segment.path)?;
                }
            }
            self.disk.sync_dir(&self.directory)
        };
        give_back(stock).map_err(|error| {
            // Which names are durable is not known: none of these files is used again before the
            // next open has looked at them.
            stock.spares.clear();
            StorageError::io("cannot recycle segments in", &self.directory, &error)
        })
    }

    /// Ends a preparation under way, waits for it, and lets go of every file.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        *lock(&self.stock) = Stock::default();
    }

    /// Bytes of the files that are not, or no longer, part of the log.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
