//! What happened to the cluster and who asked for it: kept on disk, bounded, and told to the stream.
//!
//! Hides how events are kept: the newest in memory, all of them as lines in a few files
//! (`shelf.rs`), written by a thread of its own. Invariants:
//!
//! * recording waits for nobody: neither for the disk nor for a reader;
//! * ids grow by one, over restarts too; who listens is told the events in the order of their ids;
//! * what a node said is kept with its place in that node's own list, so that after a restart the
//!   list is taken up where it was left ([`EventLog::position`]).
//!
//! Nothing is decided by what stands here, and it does not know which events are the same thing said
//! twice: [`gather`](crate::gather) does.

mod shelf;

use crate::report::millis;
use crate::wire::{Event, Exit, Severity};
use serde::{Deserialize, Serialize};
use shelf::{Shelf, Writer};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::broadcast;

/// Events that are kept in memory.
pub const IN_MEMORY_MAX: usize = 5_000;

/// Longest sentence that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// An event that is about to be noted.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing.
    pub kind: &'static str,
    /// The node that it is about.
    pub node: Option<String>,
    /// The Raft term it happened in.
    pub term: Option<u64>,
    /// In a sentence.
    pub text: String,
    /// Who did it.
    pub actor: String,
    /// How a process ended.
    pub exit: Option<Exit>,
}

/// The actor of what the launcher does by itself.
pub const LAUNCHER: &str = "launcher";

impl NewEvent {
    /// Something that the launcher did or saw by itself.
    pub fn new(severity: Severity, kind: &'static str, text: impl Into<String>) -> Self {
        let (text, actor) = (text.into(), LAUNCHER.to_owned());
        Self { severity, kind, node: None, term: None, text, actor, exit: None }
    }

    /// About a node.
    #[must_use]
    pub fn node(self, name: &(impl ToString + ?Sized)) -> Self {
        Self { node: Some(name.to_string()), ..self }
    }

    /// Done by somebody else.
    #[must_use]
    pub fn actor(self, actor: impl Into<String>) -> Self {
        Self { actor: actor.into(), ..self }
    }
}

/// Where an event stands in a node's own list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The node that said it.
    pub node: String,
    /// Which of its starts.
    pub boot: u64,
    /// Its number since then.
    pub seq: u64,
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    event: Event,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

/// Which events are asked for; all, when it says nothing.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of these kinds; empty: of any.
    pub kinds: Vec<String>,
    /// At least as bad as this.
    pub severity: Option<Severity>,
    /// About this node, or told by it.
    pub node: Option<String>,
    /// With this in their text, whatever the case; in lower case here.
    pub text: Option<String>,
    /// Not before this moment.
    pub since: Option<u64>,
    /// Not after this moment.
    pub until: Option<u64>,
    /// With a smaller number.
    pub before: Option<u64>,
}

impl Filter {
    /// Reports whether an event is asked for.
    pub fn accepts(&self, event: &Event) -> bool {
        let about = |node: &String| event.node.as_ref() == Some(node) || event.actor == *node;
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.severity.is_none_or(|least| event.severity >= least)
            && self.node.as_ref().is_none_or(about)
            && self.text.as_ref().is_none_or(|text| event.text.to_lowercase().contains(text))
            && self.since.is_none_or(|since| event.t >= since)
            && self.until.is_none_or(|until| event.t <= until)
            && self.before.is_none_or(|before| event.id < before)
    }
}

/// All events that are kept. Shared.
#[derive(Debug)]
pub struct EventLog {
    kept: Mutex<Kept>,
    shelf: Shelf,
    writer: Writer,
    told: broadcast::Sender<Event>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    newest: VecDeque<Event>,
    /// Whether there are older ones on disk.
    older: bool,
    positions: BTreeMap<String, (u64, u64)>,
}

impl Kept {
    fn push(&mut self, record: Record) {
        self.last = self.last.max(record.event.id);
        if let Some(Source { node, boot, seq }) = record.source {
            self.positions.insert(node, (boot, seq));
        }
        self.newest.push_back(record.event);
        if self.newest.len() > IN_MEMORY_MAX {
            self.newest.pop_front();
            self.older = true;
        }
    }
}

impl EventLog {
    /// Opens the log in `directory`; what an earlier launcher noted is there.
    ///
    /// # Errors
    /// When its files cannot be read or written.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let shelf = Shelf::open(directory)?;
        let mut kept = Kept::default();
        shelf.oldest_first(|record| kept.push(record))?;
        let writer = Writer::start(shelf.clone())?;
        Ok(Self { kept: Mutex::new(kept), shelf, writer, told: broadcast::channel(1024).0 })
    }

    /// Notes an event. Never waits for the disk or a reader, and never fails: what cannot be kept on
    /// disk is kept in memory and said in the launcher's own log.
    pub fn record(&self, new: NewEvent) {
        self.note(new, millis(SystemTime::now()), None);
    }

    /// Notes what a node said happened at `t`.
    pub fn record_said(&self, new: NewEvent, t: u64, source: Source) {
        self.note(new, t, Some(source));
    }

    fn note(&self, new: NewEvent, t: u64, source: Option<Source>) {
        let NewEvent { severity, kind, node, term, mut text, actor, exit } = new;
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        let mut kept = self.lock();
        let (id, kind) = (kept.last + 1, kind.to_owned());
        let event = Event { id, t, severity, kind, node, term, text, actor, exit };
        let record = Record { event: event.clone(), source };
        self.writer.write(&record);
        kept.push(record);
        // Under the lock, so that the order is that of the ids. Nobody may be listening.
        self.told.send(event).ok();
    }

    /// Every event from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.told.subscribe()
    }

    /// Up to `limit` events that `filter` accepts, newest first. Reads files when memory does not
    /// hold enough: not for a thread that must not wait.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn find(&self, filter: &Filter, limit: usize) -> io::Result<Vec<Event>> {
        let (mut found, oldest, older) = {
            let kept = self.lock();
            let newest = kept.newest.iter().rev().filter(|event| filter.accepts(event));
            let oldest = kept.newest.front().map_or(u64::MAX, |event| event.id);
            (newest.take(limit).cloned().collect::<Vec<_>>(), oldest, kept.older)
        };
        if older && found.len() < limit {
            self.shelf.newest_first(oldest, |event| {
                if filter.accepts(&event) {
                    found.push(event);
                }
                found.len() < limit
            })?;
        }
        Ok(found)
    }

    /// The newest events, oldest first, after the one numbered `after`; from memory.
    pub fn latest(&self, after: u64, limit: usize) -> Vec<Event> {
        let kept = self.lock();
        let newest = kept.newest.iter().rev().take_while(|event| event.id > after).take(limit);
        let mut latest: Vec<Event> = newest.cloned().collect();
        latest.reverse();
        latest
    }

    /// How far a node's own list was read: which of its starts, and the last number.
    pub fn position(&self, node: &str) -> Option<(u64, u64)> {
        self.lock().positions.get(node).copied()
    }

    /// Notes that what a node said was heard, and is not worth an event.
    pub fn pass_over(&self, Source { node, boot, seq }: Source) {
        self.lock().positions.insert(node, (boot, seq));
    }

    /// Reports whether an event in memory is as `wanted`.
    pub fn holds(&self, wanted: impl FnMut(&Event) -> bool) -> bool {
        self.lock().newest.iter().rev().any(wanted)
    }

    /// Waits until everything noted so far is on disk, for a second or two at most.
    pub fn flush(&self) {
        self.writer.flush();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
