//! Ranges read in bounded steps, and what is gathered on the way.
//!
//! A range may hold anything from nothing to everything, at a revision at which most of its keys may
//! have been absent. So it is read in steps, each of which looks at a bounded number of keys and
//! bytes on a thread that may block; in between, the deadline is looked at, and others get their
//! turn. What comes out of it is up to a [`Gather`].

use super::cursor::Place;
use super::query::Child;
use crate::error::{Error, ErrorOutcome};
use crate::machine::rows::Version;
use crate::runtime;
use crate::state::View;
use crate::storage;
use crate::types::{KeyRange, KeyValue, Revision};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// What a step may look at, before it ends with what it has.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Budget {
    /// A few milliseconds of a thread.
    pub(super) const STEP: Self = Self { rows: 1_000, bytes: 1 << 20 };
    /// What is read in place: a few rows lie together, so that they cost the engine about what the
    /// one row of a get costs, which is less than the way to another thread and back.
    pub(super) const IN_PLACE: Self = Self { rows: 16, bytes: 64 << 10 };
}

/// Takes the pairs of a scan, one by one.
pub(super) trait Gather: Send + 'static {
    /// Takes a pair, and says how to go on.
    fn take(&mut self, key: Bytes, version: Version) -> Flow;
}

/// How a scan goes on.
pub(super) enum Flow {
    /// With the next key.
    On,
    /// Behind all keys that begin with this.
    Skip(Bytes),
    /// Not at all: there is no room for the pair.
    Full,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Its budget is spent.
    More,
    /// The gatherer is full, and there is a pair for which it had no room.
    Full,
    /// The range is at its end.
    End,
}

/// A range that is being read, as of one revision.
pub(super) struct Scan {
    pub(super) view: View,
    pub(super) at: Revision,
    /// What is left of it.
    pub(super) rest: KeyRange,
    pub(super) reverse: bool,
}

impl Scan {
    /// Reads on. Blocks on the disk.
    pub(super) fn step(
        &mut self,
        gather: &mut impl Gather,
        budget: Budget,
    ) -> storage::Result<Step> {
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let mut spent = false;
            let mut left_at = None;
            for seen in self.view.walk(&self.rest, self.at, self.reverse)? {
                let (key, version) = seen?;
                rows += 1;
                bytes += key.len() + version.as_ref().map_or(0, |version| version.value.len());
                spent = rows >= budget.rows || bytes >= budget.bytes;
                let last = spent.then(|| Place::Key(key.clone()));
                left_at = match version.map_or(Flow::On, |version| gather.take(key, version)) {
                    Flow::On => last,
                    Flow::Skip(prefix) => Some(Place::Child(prefix)),
                    Flow::Full => return Ok(Step::Full),
                };
                if left_at.is_some() {
                    break;
                }
            }
            let rest = left_at.and_then(|place| place.rest(&self.rest, self.reverse));
            let Some(rest) = rest else { return Ok(Step::End) };
            self.rest = rest;
            if spent {
                return Ok(Step::More);
            }
        }
    }

    /// Reads until `gather` is full or the range ends; returns it with whether there is more.
    ///
    /// Cancel safe: dropped, the step that is under way ends by itself.
    pub(super) async fn gather<G: Gather>(
        mut self,
        mut gather: G,
        in_place: bool,
        deadline: Deadline,
    ) -> Result<(G, bool), Error> {
        let mut step = Step::More;
        if in_place {
            step = self.step(&mut gather, Budget::IN_PLACE)?;
        }
        while step == Step::More {
            deadline.check()?;
            let mut scan = self;
            (self, gather, step) = runtime::blocking(move || {
                let step = scan.step(&mut gather, Budget::STEP)?;
                Ok::<_, Error>((scan, gather, step))
            })
            .await?;
        }
        Ok((gather, step == Step::Full))
    }
}

/// When a call is given up.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self { at: runtime::now() + timeout, timeout }
    }

    fn check(self) -> Result<(), Error> {
        if runtime::now() < self.at {
            return Ok(());
        }
        Err(Error::Timeout { waited: self.timeout, outcome: ErrorOutcome::NotApplied })
    }
}

/// Room for what an answer may hold.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

impl Room {
    /// Takes room for one more of `bytes`; the first has room however large it is.
    fn take(&mut self, bytes: usize, is_first: bool) -> bool {
        if self.items == 0 || (bytes > self.bytes && !is_first) {
            return false;
        }
        self.items -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// Makes a pair of what was read, with its value or without.
fn pair(key: Bytes, mut version: Version, keys_only: bool) -> KeyValue {
    if keys_only {
        version.value = Bytes::new();
    }
    version.with_key(key)
}

/// Gathers pairs.
pub(super) struct Pairs {
    pub(super) items: Vec<KeyValue>,
    pub(super) room: Room,
    pub(super) keys_only: bool,
}

impl Gather for Pairs {
    fn take(&mut self, key: Bytes, version: Version) -> Flow {
        let pair = pair(key, version, self.keys_only);
        if !self.room.take(pair.key.len() + pair.value.len(), self.items.is_empty()) {
            return Flow::Full;
        }
        self.items.push(pair);
        Flow::On
    }
}

/// Counts pairs.
pub(super) struct Count(pub(super) u64);

impl Gather for Count {
    fn take(&mut self, _: Bytes, _: Version) -> Flow {
        self.0 += 1;
        Flow::On
    }
}

/// Gathers what lies in a folder: pairs, and the folders inside it.
pub(super) struct Folder {
    /// What all its keys begin with.
    pub(super) prefix: Bytes,
    /// At least one byte.
    pub(super) delimiter: Bytes,
    pub(super) items: Vec<KeyValue>,
    pub(super) children: Vec<Child>,
    /// The last item or child.
    pub(super) last: Option<Place>,
    pub(super) room: Room,
    pub(super) keys_only: bool,
}

impl Folder {
    /// How much of `key` is the child that it belongs to; `None`: it lies directly in the folder.
    fn child(&self, key: &[u8]) -> Option<usize> {
        let (begin, len) = (self.prefix.len(), self.delimiter.len());
        let rest = key.get(begin..)?;
        let found = rest.windows(len).position(|window| window == self.delimiter)?;
        Some(begin + found + len)
    }
}

impl Gather for Folder {
    fn take(&mut self, key: Bytes, version: Version) -> Flow {
        let is_first = self.last.is_none();
        let Some(len) = self.child(&key) else {
            let pair = pair(key, version, self.keys_only);
            if !self.room.take(pair.key.len() + pair.value.len(), is_first) {
                return Flow::Full;
            }
            self.last = Some(Place::Key(pair.key.clone()));
            self.items.push(pair);
            return Flow::On;
        };
        let prefix = &key[..len];
        // A child's keys follow each other.
        let is_last = matches!(&self.last, Some(Place::Child(last)) if last == prefix);
        if !is_last {
            if !self.room.take(len, is_first) {
                return Flow::Full;
            }
            let prefix = Bytes::copy_from_slice(prefix);
            self.last = Some(Place::Child(prefix.clone()));
            self.children.push(Child { prefix, count: 0 });
        }
        let Some(child) = self.children.last_mut() else { return Flow::On };
        child.count += 1;
        if child.count >= Child::COUNT_MAX { Flow::Skip(child.prefix.clone()) } else { Flow::On }
    }
}
