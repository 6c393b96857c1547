//! The hub of a replica: follows what is applied, and wakes the feeds that are concerned.

use super::WatchEvent;
use super::index::{Index, WatcherId};
use super::read::{self, Chunk};
use super::recent::Recent;
use super::slot::Slot;
use crate::error::{Error, StorageError};
use crate::machine::rows::KeyChange;
use crate::runtime;
use crate::state::{StateReader, View};
use crate::types::{KeyRange, Revision};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Watchers a replica.
pub const WATCHERS_MAX: usize = 100_000;
/// When it is worth to try again where there are too many.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Feeds that read from the state at once: each takes a thread that may wait for the disk.
const READS_MAX: usize = 4;
/// Slots marked at once, roughly: the lock is held meanwhile.
const MARKS_MAX: usize = 16 << 10;
/// Revisions of the ring looked through under the lock.
const LOOKED_THROUGH_MAX: usize = 256;

/// Counters since the start, and a gauge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HubMetrics {
    /// Watchers, now.
    pub watchers: u64,
    /// Events told.
    pub events: u64,
    /// Of them, those that say that the history has moved beyond a watcher.
    pub resyncs: u64,
    /// Times that a watcher was woken.
    pub wakes: u64,
    /// Times that it looked at the state for what is new.
    pub looks: u64,
}

struct Shared {
    /// `None` once it is closed: a feed that nobody asks any more must not keep the state open.
    reader: Option<StateReader>,
    /// Why it is closed.
    closed: Option<Error>,
    slots: BTreeMap<WatcherId, Slot>,
    index: Index,
    last_id: u64,
    /// How many want to know what was there before.
    with_previous: usize,
    recent: Recent,
    /// Everything up to here is matched. Stands still while nobody watches.
    position: Revision,
    /// The end of the chunk that is being matched; `position` when none is.
    matching: Revision,
    /// Who came while a chunk was being matched, and must read it for itself.
    late: Vec<WatcherId>,
    /// Moves when the first watcher comes: what was being matched for those before is void.
    epoch: u64,
}

/// What a feed is to do next.
pub(super) enum Turn {
    /// Tell this.
    Event(WatchEvent),
    /// Read these from the state, both included.
    Read(Revision, Revision),
    /// Nothing was found up to here; there may be more.
    Nothing(Revision),
    /// Wait to be woken; everything up to here is told.
    Wait(Revision),
    /// End.
    Closed(Error),
}

/// Tells the feeds of a replica that there is something to read. See the module's essay.
pub struct Hub {
    shared: Mutex<Shared>,
    /// The first watcher has come.
    occupied: Notify,
    pub(super) reads: Semaphore,
    pub(super) events: AtomicU64,
    pub(super) resyncs: AtomicU64,
    wakes: AtomicU64,
    looks: AtomicU64,
}

impl Hub {
    /// Makes the hub of the replica that `reader` reads. It does nothing until [`run`](Self::run).
    #[must_use]
    pub fn new(reader: StateReader) -> Arc<Self> {
        let shared = Shared {
            reader: Some(reader),
            closed: None,
            slots: BTreeMap::new(),
            index: Index::default(),
            last_id: 0,
            with_previous: 0,
            recent: Recent::default(),
            position: Revision(0),
            matching: Revision(0),
            late: Vec::new(),
            epoch: 0,
        };
        Arc::new(Self {
            shared: Mutex::new(shared),
            occupied: Notify::new(),
            reads: Semaphore::new(READS_MAX),
            events: AtomicU64::new(0),
            resyncs: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
            looks: AtomicU64::new(0),
        })
    }

    /// Follows what is applied, while anyone watches. When this ends, or is dropped, so do the feeds.
    pub async fn run(self: Arc<Self>) {
        let _closing = Closing(&self);
        let Ok(reader) = self.reader() else { return };
        let mut applied = reader.applied();
        loop {
            while self.is_idle() {
                self.occupied.notified().await;
            }
            // What is applied after the last of these looks moves `applied`: it is seen to be new.
            loop {
                let hub = self.clone();
                match runtime::blocking(move || hub.follow()).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return self.close(&halted(&error)),
                }
            }
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends all feeds with `cause`; the first one stands.
    pub fn close(&self, cause: &Error) {
        let mut shared = self.shared();
        shared.closed.get_or_insert_with(|| cause.clone());
        shared.reader = None;
        shared.recent = Recent::default();
        let wakers = shared.slots.values_mut().filter_map(|slot| slot.waker.take()).collect();
        drop(shared);
        self.wake(wakers);
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> HubMetrics {
        HubMetrics {
            watchers: self.shared().slots.len() as u64,
            events: self.events.load(Ordering::Relaxed),
            resyncs: self.resyncs.load(Ordering::Relaxed),
            wakes: self.wakes.load(Ordering::Relaxed),
            looks: self.looks.load(Ordering::Relaxed),
        }
    }

    /// Takes in a feed that begins with the changes of `next`.
    pub(super) fn enter(
        &self,
        range: &Arc<KeyRange>,
        next: Revision,
        with_previous: bool,
    ) -> Result<WatcherId, Error> {
        let mut shared = self.shared();
        let shared = &mut *shared;
        let reader = shared.reader()?;
        if shared.slots.len() >= WATCHERS_MAX {
            return Err(Error::Overloaded { retry_after: RETRY_AFTER });
        }
        if shared.slots.is_empty() {
            // Nobody has followed meanwhile. What is there already is the feed's own to read.
            shared.restart_at(reader.view().revision());
            self.occupied.notify_one();
        }
        shared.last_id += 1;
        let id = WatcherId(shared.last_id);
        // What is being matched was looked up without this one.
        let (last, ring_from) = (shared.matching, shared.matching.next());
        shared.slots.insert(id, Slot::new(next, last, ring_from));
        shared.index.add(id, range);
        shared.with_previous += usize::from(with_previous);
        if shared.matching > shared.position {
            shared.late.push(id);
        }
        Ok(id)
    }

    /// Lets a feed go.
    pub(super) fn leave(&self, id: WatcherId, range: &KeyRange, with_previous: bool) {
        let mut shared = self.shared();
        let slot = shared.slots.remove(&id);
        shared.index.remove(id, range);
        shared.with_previous -= usize::from(with_previous);
        if shared.slots.is_empty() {
            shared.recent = Recent::beginning_at(shared.position.next());
        }
        drop(shared);
        // The last handle on a task drops the task, and that may drop another feed.
        drop(slot);
    }

    /// Says what feed `id` is to do. It is woken by `waker` when it is to wait.
    pub(super) fn turn(
        &self,
        id: WatcherId,
        range: &KeyRange,
        with_previous: bool,
        waker: &Waker,
    ) -> Turn {
        let mut shared = self.shared();
        let Shared { slots, recent, position, closed, .. } = &mut *shared;
        if let Some(cause) = closed {
            return Turn::Closed(cause.clone());
        }
        let slot = slots.get_mut(&id).expect("a feed has a slot until it leaves");
        if !slot.has_unread() {
            slot.advance(*position);
            slot.park(waker);
            return Turn::Wait(Revision(slot.next.0 - 1));
        }
        let from = slot.first;
        if from > *position {
            // It came while a chunk was being matched, which it is to read when that is done.
            slot.park(waker);
            return Turn::Wait(Revision(from.0 - 1));
        }
        if from < slot.ring_from || !recent.covers(from) {
            return Turn::Read(from, *position);
        }
        let mut through = *position;
        for (looked_through, revised) in recent.since(from).enumerate() {
            if looked_through == LOOKED_THROUGH_MAX {
                through = Revision(revised.revision.0 - 1);
                break;
            }
            if let Some(event) = revised.event(range, with_previous) {
                slot.advance(revised.revision);
                return Turn::Event(event);
            }
        }
        slot.advance(through);
        Turn::Nothing(through)
    }

    /// Notes that feed `id` has looked at everything up to `through`.
    pub(super) fn advance(&self, id: WatcherId, through: Revision) {
        if let Some(slot) = self.shared().slots.get_mut(&id) {
            slot.advance(through);
        }
    }

    /// The state, or why the hub is closed.
    pub(super) fn reader(&self) -> Result<StateReader, Error> {
        self.shared().reader()
    }

    /// Matches the next revisions with the feeds; whether there may be more. May block on the disk.
    fn follow(&self) -> Result<bool, StorageError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let Ok(reader) = self.reader() else { return Ok(false) };
        let view = reader.view();
        let Some((epoch, from)) = self.begin(&view) else { return Ok(false) };
        let chunk = Chunk::read(&view, from)?;
        let Some(matched) = self.look_up(chunk, epoch) else { return Ok(true) };
        let mut recent = Recent::beginning_at(from);
        for (revision, changes) in &matched.concerned {
            recent.push(read::decode(&view, *revision, changes, matched.with_previous)?);
        }
        self.publish(recent, from, &matched);
        Ok(true)
    }

    /// Where to go on in `view`; `None` when there is nothing to do. What was swept before anyone
    /// looked is left out, and those who may have needed it are told to look for themselves.
    fn begin(&self, view: &View) -> Option<(u64, Revision)> {
        let mut shared = self.shared();
        let swept = view.swept_revision();
        let mut wakers = Vec::new();
        if !shared.slots.is_empty() && shared.position < swept {
            let missed = shared.position.next();
            let marked = shared.slots.values_mut().filter_map(|slot| slot.mark(missed, swept));
            wakers = marked.collect();
            (shared.position, shared.matching) = (swept, swept);
            shared.recent = Recent::beginning_at(swept.next());
        }
        let more = !shared.slots.is_empty() && shared.position < view.revision();
        let from = more.then(|| (shared.epoch, shared.position.next()));
        drop(shared);
        self.wake(wakers);
        from
    }

    /// Finds who watches what of `chunk`; `None` when those who watched when it began are all gone.
    fn look_up(&self, chunk: Chunk, epoch: u64) -> Option<Matched> {
        let mut shared = self.shared();
        if shared.epoch != epoch || shared.slots.is_empty() {
            return None;
        }
        let mut matched = Matched {
            epoch,
            through: shared.position,
            with_previous: shared.with_previous > 0,
            concerned: Vec::new(),
            marks: Vec::new(),
        };
        for (revision, mut changes) in chunk.revisions {
            let marks = &mut matched.marks;
            changes.retain(|change| {
                let before = marks.len();
                shared.index.each_watcher(&change.key, |id| marks.push((id, revision)));
                marks.len() > before
            });
            if !changes.is_empty() {
                matched.concerned.push((revision, changes));
            }
            matched.through = revision;
            if matched.marks.len() >= MARKS_MAX {
                break;
            }
        }
        shared.matching = matched.through;
        Some(matched)
    }

    /// Lets the feeds read what was matched.
    fn publish(&self, recent: Recent, from: Revision, matched: &Matched) {
        let mut shared = self.shared();
        if shared.epoch != matched.epoch {
            return;
        }
        let Shared { slots, late, .. } = &mut *shared;
        let marks = matched.marks.iter();
        let mut wakers: Vec<Waker> = marks
            .filter_map(|(id, revision)| slots.get_mut(id)?.mark(*revision, *revision))
            .collect();
        let late = late.drain(..).filter_map(|id| slots.get_mut(&id)?.waker.take());
        wakers.extend(late);
        shared.position = matched.through;
        shared.recent.append(recent, from);
        drop(shared);
        self.wake(wakers);
    }

    fn is_idle(&self) -> bool {
        self.shared().slots.is_empty()
    }

    fn wake(&self, wakers: Vec<Waker>) {
        self.wakes.fetch_add(wakers.len() as u64, Ordering::Relaxed);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no holder of the hub's lock panics")
    }
}

impl Shared {
    fn reader(&self) -> Result<StateReader, Error> {
        self.reader.clone().ok_or_else(|| self.closed.clone().unwrap_or(Error::ShutDown))
    }

    /// Begins anew, with nobody watching.
    fn restart_at(&mut self, position: Revision) {
        self.epoch += 1;
        (self.position, self.matching) = (position, position);
        self.recent = Recent::beginning_at(position.next());
        self.late.clear();
    }
}

/// What of a chunk is watched.
struct Matched {
    epoch: u64,
    /// The last revision that was looked up.
    through: Revision,
    with_previous: bool,
    /// The revisions that concern anyone, and what of them does.
    concerned: Vec<(Revision, Vec<KeyChange>)>,
    /// Who is concerned by what.
    marks: Vec<(WatcherId, Revision)>,
}

/// Closes the hub when whoever ran it is gone.
struct Closing<'a>(&'a Hub);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close(&Error::ShutDown);
    }
}

/// A replica whose state cannot be read halts.
pub(super) fn halted(error: &StorageError) -> Error {
    Error::Halted { cause: error.to_string() }
}

#[cfg(test)]
mod tests;
