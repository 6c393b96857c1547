//! What the answers prove of the order of writes, before any order is tried: who made a revision,
//! what somebody saw of one, and between which revisions a key did not change.

use super::compile::{Compiled, Deed, Key, Op, RangeRead, Sight, Value};
use super::record::{History, Start, Told};
use std::collections::HashMap;

/// What a revision made of keys; `None` when it removed one, or when it is not known what.
type Changed = Vec<(Key, Option<Value>)>;

/// What a watch told of a revision.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub low: Key,
    pub high: Key,
    pub changes: Vec<Watched>,
    /// When it was told: whatever made the revision had begun by then.
    pub at: u64,
}

/// A key's change, as a watch told it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub key: Key,
    pub after: Sight,
    pub before: Sight,
}

/// What is known of one revision without knowing who made it.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// Keys that it changed, and to what as far as it was told.
    pub seen: Changed,
    /// Spans of keys, with all that it changed there, as watches told it.
    pub whole: Vec<Whole>,
    /// What watches that began with it showed.
    pub shown: Vec<RangeRead>,
    /// Reads of the past that ask for it.
    pub past: Vec<u32>,
}

/// A key that did not change after `from` up to and with `to`, says `told`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    pub from: u64,
    pub to: u64,
    /// The operation that was told so.
    pub told: u32,
    /// The operation that had ended with `to` before that one began; the same when it told `to`.
    pub bound: u32,
}

/// What the answers prove.
#[derive(Debug)]
pub(super) struct Evidence {
    /// The operation that certainly made a revision.
    pub made: HashMap<u64, u32>,
    /// Two operations that were told to have made the same revision.
    pub twice: Option<(u32, u32)>,
    pub traces: HashMap<u64, Trace>,
    /// By key, sorted by `from`.
    pub quiet: Vec<Vec<Quiet>>,
    /// By key: it was there from one revision to another.
    alive: Vec<Vec<(u64, u64)>>,
    /// The only revision that an operation can have made.
    only: HashMap<u32, u64>,
    /// The highest revision that was told.
    pub reach: u64,
}

impl Evidence {
    pub fn gather(history: &Compiled) -> Self {
        let mut evidence = Self {
            made: HashMap::new(),
            twice: None,
            traces: HashMap::new(),
            quiet: vec![Vec::new(); history.keys.len()],
            alive: vec![Vec::new(); history.keys.len()],
            only: HashMap::new(),
            reach: history.revision,
        };
        for (place, op) in history.ops.iter().enumerate() {
            evidence.take(place as u32, op, history.revision);
        }
        let bounds = bounds(history);
        for (place, op) in history.ops.iter().enumerate() {
            evidence.note_quiet(place as u32, op, bounds[place]);
        }
        for quiet in &mut evidence.quiet {
            quiet.sort_by_key(|quiet| (quiet.from, std::cmp::Reverse(quiet.to)));
        }
        evidence.note_only(history);
        evidence
    }

    /// Finds the revisions that only one operation can have made: nobody else wrote what was seen.
    fn note_only(&mut self, history: &Compiled) {
        let mut writers: HashMap<(Key, Value), Option<u32>> = HashMap::new();
        for (op, place) in history.ops.iter().zip(0..) {
            for (key, deed) in op.possible_changes() {
                if let Deed::Put(value) = deed {
                    let writer = writers.entry((key, value)).or_insert(Some(place));
                    *writer = writer.filter(|writer| *writer == place);
                }
            }
        }
        let seen = self.traces.iter().flat_map(|(revision, trace)| {
            trace.seen.iter().filter_map(move |(key, value)| Some((*revision, (*key, (*value)?))))
        });
        let only = seen.filter_map(|(revision, put)| Some(((*writers.get(&put)?)?, revision)));
        self.only = only.collect();
    }

    fn take(&mut self, place: u32, op: &Op, start: u64) {
        if let Some(revision) = op.revision {
            self.reach = self.reach.max(revision);
            if op.range.as_ref().is_some_and(|range| range.at.is_some()) {
                self.traces.entry(revision).or_default().past.push(place);
            } else if op.sure_changes().next().is_some()
                && let Some(other) = self.made.insert(revision, place)
            {
                self.twice = self.twice.or(Some((other, place)));
            }
        }
        for (key, sight) in op.sights() {
            self.see(key, sight, start);
        }
    }

    fn see(&mut self, key: Key, sight: Sight, start: u64) {
        if let Sight::Present { value, modified: Some(modified), .. } = sight
            && modified > start
        {
            self.reach = self.reach.max(modified);
            let seen = &mut self.traces.entry(modified).or_default().seen;
            if !seen.contains(&(key, value)) {
                seen.push((key, value));
            }
        }
    }

    fn note_quiet(&mut self, place: u32, op: &Op, bound: Option<(u64, u32)>) {
        // What is read together is of one moment, which is no earlier than the latest of it.
        let reads = op.possible_changes().next().is_none();
        let latest = op.sights().filter_map(|(_, sight)| sight.modified()).max();
        let moment = latest.filter(|_| reads).map(|latest| (latest, place));
        for (key, sight) in op.sights() {
            let Some(from) = sight.modified() else { continue };
            let told = match op.revision {
                Some(revision) if op.range.is_some() => Some((revision, place)),
                Some(revision) => Some((revision.saturating_sub(1), place)),
                None => None,
            };
            let past = op.range.as_ref().is_some_and(|range| range.at.is_some());
            if let (Sight::Present { created: Some(created), .. }, Some((to, _))) = (sight, told) {
                self.alive[key as usize].push((created, to));
            }
            let bound = told.max(moment).max(bound.filter(|_| !past));
            let Some((to, bound)) = bound.filter(|(to, _)| *to > from) else { continue };
            self.quiet[key as usize].push(Quiet { from, to, told: place, bound });
        }
    }

    /// Takes in what watches told of revisions.
    pub fn watched(&mut self, history: &History, compiled: &Compiled) {
        // What a wrong watch says of the far future is found where its events are checked.
        let future = self.reach + compiled.ops.len() as u64;
        for watch in &history.watches {
            let mut next = match watch.start {
                Start::From(from) => Some(from.0),
                Start::State | Start::Now(_) => None,
            };
            let (low, high) = compiled.span(&watch.span);
            let mut shown = Vec::new();
            let pass =
                |evidence: &mut Self, (next, to): (u64, u64), at: u64, last: Vec<Watched>| {
                    for revision in next.max(compiled.revision + 1)..=to.min(future) {
                        let changes = if revision == to { last.clone() } else { Vec::new() };
                        let trace = evidence.traces.entry(revision).or_default();
                        trace.whole.push(Whole { low, high, changes, at });
                        evidence.reach = evidence.reach.max(revision);
                    }
                };
            for event in &watch.told {
                let state = watch.start == Start::State && next.is_none();
                match &event.told {
                    Told::Batch { revision, changes } => {
                        let changes: Vec<Watched> =
                            changes.iter().filter_map(|change| compiled.watched(change)).collect();
                        if state {
                            shown.extend(changes.iter().map(|change| (change.key, change.after)));
                        } else {
                            let from = next.unwrap_or(revision.0);
                            pass(self, (from, revision.0), event.at, changes);
                            next = Some(revision.0 + 1);
                        }
                    }
                    Told::Progress(revision) if state => {
                        next = Some(revision.0 + 1);
                        let mut pairs = std::mem::take(&mut shown);
                        pairs.sort_by_key(|(key, _)| *key);
                        let shown = RangeRead { low, high, at: Some(revision.0), pairs };
                        self.traces.entry(revision.0).or_default().shown.push(shown);
                        self.reach = self.reach.max(revision.0.min(future));
                    }
                    Told::Progress(revision) => {
                        let from = next.unwrap_or(revision.0 + 1);
                        if from <= revision.0 {
                            pass(self, (from, revision.0), event.at, Vec::new());
                        }
                        next = Some(from.max(revision.0 + 1));
                    }
                    Told::Resync { from, to } => {
                        if let Some(next) = next.filter(|next| *next < from.0) {
                            pass(self, (next, from.0 - 1), event.at, Vec::new());
                        }
                        next = Some(to.0 + 1);
                    }
                }
            }
            if let (Some(next), Some(to)) = (next, watch.complete_to)
                && next <= to.0
            {
                pass(self, (next, to.0), u64::MAX, Vec::new());
            }
        }
    }

    /// Reports whether `op` may make `revision` as far as that revision and others are known.
    pub fn may_make(&self, op: u32, revision: u64) -> bool {
        self.only.get(&op).is_none_or(|only| *only == revision)
    }

    /// Reports whether an operation that nobody was told the revision of may have made `revision`
    /// by removing `key`.
    pub fn may_remove(&self, key: Key, revision: u64) -> bool {
        let alive = &self.alive[key as usize];
        !alive.iter().any(|(from, to)| (from + 1..=*to).contains(&revision))
    }

    /// Reports whether an operation that nobody was told the revision of may have made `revision`
    /// by changing `key`.
    pub fn may_change(&self, key: Key, revision: u64) -> bool {
        let quiet = &self.quiet[key as usize];
        let before = quiet.partition_point(|quiet| quiet.from < revision);
        // The last one begins latest, and of those that do, the first reaches furthest.
        let Some(from) = before.checked_sub(1).map(|last| quiet[last].from) else { return true };
        let first = quiet.partition_point(|quiet| quiet.from < from);
        quiet[first].to < revision
    }
}

/// For each operation, the highest revision that an operation proves that ended before it began.
fn bounds(history: &Compiled) -> Vec<Option<(u64, u32)>> {
    let floor =
        |op: &Op| op.revision.max(op.sights().filter_map(|(_, sight)| sight.modified()).max());
    let mut ended: Vec<(u64, u32)> = Vec::with_capacity(history.ops.len());
    ended.extend(
        history.ops.iter().zip(0..).filter(|(op, _)| op.must()).map(|(op, at)| (op.end, at)),
    );
    ended.sort_unstable();
    let mut ended = ended.into_iter().peekable();
    let mut highest: Option<(u64, u32)> = None;
    let bound = |op: &Op| {
        while let Some((_, at)) = ended.next_if(|(end, _)| *end < op.begin) {
            let Some(floor) = floor(&history.ops[at as usize]) else { continue };
            if highest.is_none_or(|(highest, _)| floor > highest) {
                highest = Some((floor, at));
            }
        }
        highest
    };
    history.ops.iter().map(bound).collect()
}
