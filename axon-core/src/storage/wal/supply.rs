//! Segments to come and segments gone: prepares the next one, recycles the purged ones.
//!
//! Runs on a worker of its own, so that the log's writer finds its next segment ready; when it is
//! late, the writer waits for it or makes it itself. Invariants:
//!
//! * one segment is ready or being made, and at most `spare_segments` files wait to be used again;
//! * a segment is made once: never again when the writer may be using it;
//! * a purged file has lost its name, durably, before anything is written into it: no crash leaves
//!   a file with an old name and a new head;
//! * a preparation that fails is no fault yet: only when the writer needs it and fails too;
//! * a full disk is no fault either. A segment takes at most a quarter of what is free, if it can be
//!   so small; where nothing is left at all, the writer waits until there is.

use super::segment::{Name, Plan, Segment};
use super::{WalConfig, lock};
use crate::error::StorageError;
use crate::runtime;
use crate::storage::Result;
use crate::storage::disk::{Disk, is_full_kind};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a writer without a segment looks whether the disk has room for one.
const FULL_PAUSE: Duration = Duration::from_millis(100);

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
    /// The log closes: nobody waits for room any more.
    closing: AtomicBool,
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
        let closing = AtomicBool::new(false);
        Self { disk, directory, log_id, config, stock, stopped, closing, bytes }
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
                    self.prepare(&mut stock, id + 1, capacity, 0)
                }
                Job::Retire(segments) => self.retire(&mut stock, &segments),
            };
            self.bytes.store(stock.bytes(), Ordering::Relaxed);
            if let Err(error) = result {
                tracing::warn!(%error, "the log's next segment is not ready yet");
            }
        }
    }

    /// Hands out the segment after `current`, with room for `needed` bytes in all. Waits while the
    /// disk has no room for it: nothing of the log is half written meanwhile.
    pub(super) fn take_after(&self, current: &Segment, needed: u64) -> Result<Segment> {
        let mut waits = false;
        loop {
            let taken = self.try_take_after(current, needed);
            let Err(StorageError::Io { kind, .. }) = &taken else { return taken };
            let closing = self.closing.load(Ordering::Relaxed);
            if !is_full_kind(*kind) || closing || !runtime::rest(FULL_PAUSE) {
                return taken;
            }
            if !waits {
                tracing::warn!("the disk is full: the log waits for room for its next segment");
                waits = true;
            }
        }
    }

    fn try_take_after(&self, current: &Segment, needed: u64) -> Result<Segment> {
        let mut stock = lock(&self.stock);
        let id = current.id + 1;
        let needed = super::whole_sectors(needed);
        if stock.next.as_ref().is_none_or(|next| next.id != id) {
            let capacity = self.config.capacity_after(current.capacity);
            self.prepare(&mut stock, id, capacity.max(needed), needed)?;
        }
        // It stays in stock until it is as large as it must be.
        let next = match &stock.next {
            Some(next) if next.capacity < needed => Some(next.grow(self.log_id, needed)?),
            _ => stock.next.take(),
        };
        stock.next = None;
        stock.taken = id;
        self.bytes.store(stock.bytes(), Ordering::Relaxed);
        next.ok_or_else(|| super::closed(&self.directory))
    }

    /// Prepares segment `id` with `capacity`, or as little as `needed` where the disk is short.
    fn prepare(&self, stock: &mut Stock, id: u64, capacity: u64, needed: u64) -> Result<()> {
        if stock.next.as_ref().is_some_and(|next| next.id == id) {
            return Ok(());
        }
        let spare = stock.spares.iter().position(|spare| spare.bytes >= capacity);
        let spare = spare.map(|at| stock.spares.swap_remove(at));
        let least = needed.max(self.config.first_segment_bytes);
        let capacity = match &spare {
            Some(_) => capacity,
            None => capacity.min(self.affordable()).max(least),
        };
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

    /// What a segment may take of the disk, in whole sectors.
    fn affordable(&self) -> u64 {
        let space = self.disk.space(&self.directory);
        space.map_or(u64::MAX, |space| space.free / 4 / 512 * 512)
    }

    fn retire(&self, stock: &mut Stock, segments: &[Arc<Segment>]) -> Result<()> {
        let give_back = |stock: &mut Stock| -> io::Result<()> {
            for segment in segments {
                let wanted = stock.spares.len() < self.config.spare_segments
                    && segment.capacity == self.config.segment_bytes
                    && segment.capacity <= self.affordable();
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

    /// Ends a wait for room under way: the log closes.
    pub(super) fn let_go(&self) {
        self.closing.store(true, Ordering::Relaxed);
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
