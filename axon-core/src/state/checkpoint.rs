//! Checkpoints: from memory into the engine, one at a time, beside apply.
//!
//! A checkpoint freezes the overlay with all that belongs to its moment, waits until this node's own
//! log is durable up to there, writes the rows, sorted, in one commit on a thread of its own, opens
//! the new base and drops the frozen overlay. Invariants:
//!
//! * **it commits only once the log is durable up to its position.** Raft applies entries that a
//!   majority has synced and this node has not yet; a state ahead of its own log could not be
//!   started again;
//! * at most one is under way, and reads see the frozen overlay until its rows are in the base;
//! * the first one that fails is the last: the fault is latched, and the replica halts. What was
//!   not written is still in the log;
//! * so none is begun that the disk may be too full for: it is put off until there is room, and can
//!   be called off meanwhile.
//!
//! It begins when the overlay is large, when its oldest change is old, or when it is asked for.

use super::base::{Base, Position, Summary};
use super::overlay::{Overlay, SPACES};
use super::seal::seal;
use super::{Core, Inner};
use crate::bug::{self, Bug};
use crate::error::StorageError;
use crate::runtime;
use crate::storage::{Result, RowChange};
use bytes::BytesMut;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

/// How often a checkpoint that was put off looks whether there is room.
const ROOM_INTERVAL: Duration = Duration::from_millis(250);
/// What an engine may write for each row beside its bytes: the page it is on, and one above it.
const ROW_BYTES: u64 = 2 * 4096;
/// What it may write in any case.
const COMMIT_BYTES: u64 = 4 << 20;

/// An overlay to be written, with what belongs to its moment.
pub(crate) struct Frozen {
    pub overlay: Arc<Overlay>,
    pub summary: Summary,
}

/// A checkpoint that has begun. One that does not commit yet can still be called off, by taking it
/// out of the core: nobody then finds its number there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Underway {
    pub number: u64,
    pub commits: bool,
}

/// A checkpoint whose log is durable.
pub(crate) struct Job {
    inner: Arc<Inner>,
    frozen: Arc<Frozen>,
    number: u64,
}

/// Asks for checkpoints. Cheap to clone.
#[derive(Clone)]
pub struct Checkpointer {
    pub(crate) inner: Arc<Inner>,
}

impl Checkpointer {
    /// Makes a checkpoint of everything applied so far, and returns where it stands.
    ///
    /// Waits for as long as this node's log is not durable up to there. Cancel safe: the checkpoint
    /// goes on by itself.
    pub async fn checkpoint_now(&self) -> Result<Position> {
        let mut ticks = self.inner.ticks.subscribe();
        let mut faults = self.inner.faults.subscribe();
        let target = self.inner.core().position.clone();
        loop {
            self.inner.faults.check()?;
            {
                let mut core = self.inner.core();
                if core.base.position.covers(&target) {
                    return Ok(core.base.position.clone());
                }
                begin(&self.inner, &mut core);
            }
            tokio::select! {
                _ = ticks.changed() => {}
                _ = faults.changed() => {}
            }
        }
    }

    /// Where the last checkpoint stands.
    pub(crate) fn position(&self) -> Position {
        self.inner.core().base.position.clone()
    }

    /// Reports whether the disk has room for a checkpoint now.
    pub fn has_room(&self) -> bool {
        let overlay = {
            let core = self.inner.core();
            core.frozen.as_ref().unwrap_or(&core.active).clone()
        };
        self.inner.has_room_for(&overlay)
    }

    /// Reports whether a checkpoint waits for room on the disk.
    pub fn is_put_off(&self) -> bool {
        self.inner.put_off.load(Ordering::Relaxed)
    }

    /// Lets no checkpoint begin any more, and calls off one that waits: the replica stops.
    pub fn call_off(&self) {
        let mut core = self.inner.core();
        core.installing = true;
        if core.underway.is_some_and(|underway| !underway.commits) {
            core.underway = None;
        }
        drop(core);
        self.inner.tick();
    }
}

impl Inner {
    /// Whether what is free suffices for a commit of the rows of `overlay`, however they lie: each
    /// may dirty a page of its own, but all of them no more than there are.
    fn has_room_for(&self, overlay: &Overlay) -> bool {
        let Some(free) = self.store.free_bytes() else { return true };
        let pages = (overlay.rows() as u64 * ROW_BYTES).min(self.store.disk_bytes());
        free >= 2 * overlay.bytes() as u64 + pages + COMMIT_BYTES
    }
}

/// Begins a checkpoint, unless one is under way, there is nothing to write, or must not be.
pub(crate) fn begin(inner: &Arc<Inner>, core: &mut Core) {
    let held = core.underway.is_some() || core.installing;
    if held || core.dirty_since.is_none() || inner.faults.check().is_err() {
        return;
    }
    core.checkpoints_begun += 1;
    let number = core.checkpoints_begun;
    let frozen = Arc::new(Frozen {
        overlay: std::mem::take(&mut core.active),
        summary: Summary {
            position: core.position.clone(),
            registers: core.machine.registers.clone(),
            joiners: core.machine.joiners.clone(),
            totals: core.totals,
            uncounted: false,
        },
    });
    core.underway = Some(Underway { number, commits: false });
    inner.queue.hurry(false);
    core.frozen = Some(frozen.overlay.clone());
    core.present.freeze();
    core.dirty_since = None;
    inner.publish(core);
    runtime::spawn(wait_for_log(Job { inner: inner.clone(), frozen, number }));
}

async fn wait_for_log(job: Job) {
    let index = job.frozen.summary.position.index;
    let mut durable = job.inner.durable.clone();
    if durable.wait_for(|durable| *durable >= index).await.is_err() {
        job.inner.faults.latch(&StorageError::Mismatch {
            path: "the state".into(),
            reason: format!("the log was closed before entry {index} was durable"),
        });
        return;
    }
    if !wait_for_room(&job).await {
        return;
    }
    let queue = job.inner.queue.clone();
    if queue.push(job).is_err() {
        // The worker ends only with the last holder of its queue, and this is one.
        tracing::error!("the checkpoint worker has ended");
    }
}

/// Waits until the disk has room; `false` when the checkpoint was called off meanwhile.
async fn wait_for_room(job: &Job) -> bool {
    let Job { inner, frozen, number } = job;
    while !inner.has_room_for(&frozen.overlay) {
        let wanted = inner.core().underway.is_some_and(|underway| underway.number == *number);
        if inner.put_off.swap(wanted, Ordering::Relaxed) != wanted && wanted {
            tracing::warn!("the disk has no room for a checkpoint: it is put off");
        }
        if !wanted {
            return false;
        }
        tokio::time::sleep(ROOM_INTERVAL).await;
    }
    inner.put_off.store(false, Ordering::Relaxed);
    true
}

impl Job {
    /// Writes the checkpoint. Blocks on the disk.
    pub(crate) fn run(self) {
        let Self { inner, frozen, number } = self;
        match &mut inner.core().underway {
            Some(underway) if underway.number == number => underway.commits = true,
            _ => return,
        }
        let began = runtime::now();
        let written = write(&inner, &frozen);
        let micros = began.elapsed().as_micros() as u64;
        let mut core = inner.core();
        match written {
            Ok(base) => {
                core.base = Arc::new(base);
                core.frozen = None;
                core.present.thaw();
                inner.publish(&core);
                let mut taken =
                    inner.checkpoint_micros.lock().unwrap_or_else(PoisonError::into_inner);
                taken.record(micros);
            }
            // The frozen overlay stays, so that reads stay right until the replica has halted.
            Err(error) => inner.faults.latch(&error),
        }
        core.underway = None;
        drop(core);
        inner.tick();
    }
}

fn write(inner: &Inner, frozen: &Frozen) -> Result<Base> {
    let rows = SPACES.into_iter().flat_map(|space| {
        let rows = frozen.overlay.range(space, Bound::Unbounded, Bound::Unbounded, u64::MAX);
        rows.map(move |(key, row)| (space, key, row))
    });
    let mut arena = BytesMut::new();
    let mut changes = rows.map(|(space, key, row)| {
        runtime::give_way();
        let value = row.map(|row| seal(space, &key, &row, &mut arena));
        RowChange { space, key, value }
    });
    if bug::on(Bug::AppliedNotAtomic) {
        inner.store.commit(&mut changes)?;
    }
    inner.store.commit(&mut changes.chain(frozen.summary.rows()))?;
    let Summary { position, totals, .. } = &frozen.summary;
    Ok(Base { view: inner.store.view()?, position: position.clone(), totals: *totals })
}

/// Begins a checkpoint whenever the oldest change in memory has reached the age for it.
pub(crate) async fn keep_time(inner: Weak<Inner>, dirty: Arc<tokio::sync::Notify>) {
    loop {
        dirty.notified().await;
        loop {
            let due = {
                let Some(inner) = inner.upgrade() else { return };
                let mut core = inner.core();
                let interval = inner.config.checkpoint_interval;
                match core.dirty_since {
                    None => break,
                    Some(since) if since.elapsed() < interval => since + interval,
                    Some(_) => {
                        begin(&inner, &mut core);
                        if core.dirty_since.is_none() || inner.faults.check().is_err() {
                            break;
                        }
                        // Another one is under way: look again when it has had as much time.
                        runtime::now() + interval
                    }
                }
            };
            tokio::time::sleep_until(due).await;
        }
    }
}
