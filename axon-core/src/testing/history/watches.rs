//! What watches promise: every change of their span, once, in order, all of a revision together, from
//! their start on, and after a resumption as if there had been none; or that they cannot.
//!
//! The truth is the log of an order that was found. Without one, where no revision was told to any
//! writer, only what a watch says by itself is checked: its order.

use super::action::{Found, Seen};
use super::compile::Compiled;
use super::log::{Edited, Entry, Log};
use super::model::Cell;
use super::record::{Change, Event, History, OpId, Start, Told, Watch, WatchId};
use super::verdict::{Finding, Kind};
use std::collections::BTreeMap;

/// Checks every watch of `history`.
pub(super) fn check(
    history: &History,
    compiled: &Compiled,
    log: Option<&Log>,
) -> Result<(), Finding> {
    let mut ends = Vec::with_capacity(history.watches.len());
    for (place, watch) in history.watches.iter().enumerate() {
        let mut reader = Reader { compiled, log, watch, id: WatchId(place), next: None };
        reader.start(watch.resumes.and_then(|earlier| ends.get(earlier.0).copied().flatten()))?;
        let (shown, rest) = reader.split();
        reader.initial_state(shown)?;
        for event in rest {
            reader.take(event)?;
        }
        if let Some(to) = watch.complete_to {
            reader.nothing_missed_to(to.0, "was waited for, and is not told")?;
        }
        ends.push(reader.next);
    }
    Ok(())
}

/// Who reads a watch, and compares.
struct Reader<'a> {
    compiled: &'a Compiled,
    log: Option<&'a Log>,
    watch: &'a Watch,
    id: WatchId,
    /// The first revision that it was not told of; `None` while its start is not known.
    next: Option<u64>,
}

impl<'a> Reader<'a> {
    fn wrong(&self, kind: Kind, revision: u64, what: &str) -> Finding {
        let entry = self.log.and_then(|log| log.entry(revision));
        let sources = |entry: &Entry| self.compiled.ops[entry.op as usize].sources.clone();
        let ops: Vec<OpId> = entry.map(sources).unwrap_or_default();
        let reason = format!("watch {}: revision {revision} {what}", self.id.0);
        Finding::of_watch(kind, self.id, ops, reason)
    }

    fn start(&mut self, earlier: Option<u64>) -> Result<(), Finding> {
        let Start::From(from) = self.watch.start else { return Ok(()) };
        self.next = Some(from.0);
        if let Some(earlier) = earlier {
            if from.0 < earlier {
                let again = "was told before, and the watch is resumed there";
                return Err(self.wrong(Kind::WatchOrder, from.0, again));
            }
            self.next = Some(earlier);
            self.nothing_missed_to(from.0.saturating_sub(1), "was lost when it was resumed")?;
            self.next = Some(from.0);
        }
        Ok(())
    }

    /// What shows the state at the start, and what comes after.
    fn split(&self) -> (&'a [Event], &'a [Event]) {
        let told = &self.watch.told;
        let progress = |event: &Event| matches!(event.told, Told::Progress(_));
        let shown = match self.watch.start {
            Start::State => told.iter().position(progress).map_or(told.len(), |at| at + 1),
            Start::From(_) | Start::Now(_) => 0,
        };
        told.split_at(shown)
    }

    fn initial_state(&mut self, shown: &[Event]) -> Result<(), Finding> {
        let Some(Event { told: Told::Progress(moment), .. }) = shown.last() else { return Ok(()) };
        let mut pairs: BTreeMap<&bytes::Bytes, &Change> = BTreeMap::new();
        for event in shown {
            let (Told::Batch { revision, .. } | Told::Progress(revision)) = &event.told else {
                return Err(self.wrong(
                    Kind::WatchResync,
                    moment.0,
                    "is resynced while it is shown",
                ));
            };
            if revision != moment {
                let mixed = "is shown together with another one, as one moment";
                return Err(self.wrong(Kind::WatchOrder, revision.0, mixed));
            }
            let Told::Batch { changes, .. } = &event.told else { continue };
            for change in changes {
                if pairs.insert(&change.key, change).is_some() || change.after.is_none() {
                    let twice = "is shown with a key twice, or one that is gone";
                    return Err(self.wrong(Kind::WatchContent, moment.0, twice));
                }
            }
        }
        self.next = Some(moment.0 + 1);
        let Some(log) = self.log else { return Ok(()) };
        if moment.0 < log.start || moment.0 > log.last() {
            return Err(self.wrong(Kind::WatchContent, moment.0, "is shown, and does not exist"));
        }
        let cells = log.state_at(moment.0);
        let there = self.compiled.keys.iter().zip(&cells);
        let there =
            there.filter(|(key, cell)| **cell != Cell::NONE && self.watch.span.contains(key));
        let mut count = 0;
        for (key, cell) in there {
            count += 1;
            let seen = pairs.get(key).and_then(|change| change.after.as_ref());
            if !seen.is_some_and(|seen| self.shows(seen, cell)) {
                let what =
                    format!("is shown without {}, or with another one", super::text::show(key));
                return Err(self.wrong(Kind::WatchContent, moment.0, &what));
            }
        }
        if count != pairs.len() {
            return Err(self.wrong(
                Kind::WatchContent,
                moment.0,
                "is shown with keys that it has not",
            ));
        }
        Ok(())
    }

    fn take(&mut self, event: &Event) -> Result<(), Finding> {
        match &event.told {
            Told::Batch { revision, changes } => {
                let revision = revision.0;
                if self.next.is_some_and(|next| revision < next) {
                    let text = "is told again, or after a later one";
                    return Err(self.wrong(Kind::WatchOrder, revision, text));
                }
                self.starts_at(revision)?;
                self.nothing_missed_to(revision - 1, "is not told, but a later one is")?;
                self.content(revision, changes, event.at)?;
                self.next = Some(revision + 1);
            }
            Told::Progress(revision) => {
                let revision = revision.0;
                if self.next.is_some_and(|next| revision + 1 < next) {
                    let text = "is said to be how far it came, after a later one";
                    return Err(self.wrong(Kind::WatchOrder, revision, text));
                }
                self.exists(revision, event.at)?;
                self.starts_at(revision + 1)?;
                self.nothing_missed_to(revision, "is not told, and said to be passed")?;
                self.next = self.next.max(Some(revision + 1));
            }
            Told::Resync { from, to } => {
                let (from, to) = (from.0, to.0);
                if !self.watch.may_lag {
                    let text = "is resynced, and its reader was not slow";
                    return Err(self.wrong(Kind::WatchResync, from, text));
                }
                if to < from || self.next.is_some_and(|next| from < next) {
                    let text = "is resynced, and was told before";
                    return Err(self.wrong(Kind::WatchResync, from, text));
                }
                self.exists(to, event.at)?;
                self.starts_at(from)?;
                self.nothing_missed_to(from - 1, "is not told, nor said to be left out")?;
                self.next = Some(to + 1);
            }
        }
        Ok(())
    }

    /// Where a watch that begins with what comes after now begins: with its first event, and not
    /// with what was acknowledged before.
    fn starts_at(&mut self, revision: u64) -> Result<(), Finding> {
        let Start::Now(time) = self.watch.start else { return Ok(()) };
        if self.next.is_some() {
            return Ok(());
        }
        self.next = Some(revision);
        let entry = self.log.and_then(|log| log.entry(revision));
        if entry.is_some_and(|entry| self.compiled.ops[entry.op as usize].end < time) {
            let old = "was acknowledged before a watch began that tells it as new";
            return Err(self.wrong(Kind::WatchContent, revision, old));
        }
        Ok(())
    }

    fn exists(&self, revision: u64, at: u64) -> Result<(), Finding> {
        let Some(log) = self.log else { return Ok(()) };
        let begun = log.entry(revision).map(|entry| self.compiled.ops[entry.op as usize].begin);
        if revision > log.last() || begun.is_some_and(|begun| begun > at) {
            return Err(self.wrong(Kind::WatchContent, revision, "is spoken of before it exists"));
        }
        Ok(())
    }

    fn inside<'e>(&'e self, entry: &'e Entry) -> impl Iterator<Item = &'e Edited> {
        let key = |edit: &&Edited| &self.compiled.keys[edit.key as usize];
        entry.edits.iter().filter(move |edit| self.watch.span.contains(key(edit)))
    }

    /// Nothing that was not told yet changed the span up to and with `revision`.
    fn nothing_missed_to(&self, revision: u64, what: &str) -> Result<(), Finding> {
        let (Some(log), Some(next)) = (self.log, self.next) else { return Ok(()) };
        let missed = (next.max(log.start + 1)..=revision.min(log.last()))
            .find(|at| log.entry(*at).is_some_and(|entry| self.inside(entry).next().is_some()));
        missed.map_or(Ok(()), |missed| Err(self.wrong(Kind::WatchGap, missed, what)))
    }

    fn content(&self, revision: u64, changes: &[Change], at: u64) -> Result<(), Finding> {
        let Some(log) = self.log else { return Ok(()) };
        if revision <= log.start {
            return Ok(());
        }
        self.exists(revision, at)?;
        let wrong = |kind, text: &str| Err(self.wrong(kind, revision, text));
        let Some(entry) = log.entry(revision) else {
            return wrong(Kind::WatchContent, "is told, and nobody made it");
        };
        let mut count = 0;
        for edit in self.inside(entry) {
            count += 1;
            let key = &self.compiled.keys[edit.key as usize];
            let mut told = changes.iter().filter(|change| change.key == key);
            let Some(change) = told.next() else {
                return wrong(Kind::WatchGap, "is told in part");
            };
            let after = match &change.after {
                Some(seen) => edit.after != Cell::NONE && self.shows(seen, &edit.after),
                None => edit.after == Cell::NONE,
            };
            let before = match &change.before {
                Found::Untold => true,
                Found::Absent => edit.before == Cell::NONE,
                Found::Present(seen) => edit.before != Cell::NONE && self.shows(seen, &edit.before),
            };
            if !after || !before {
                return wrong(Kind::WatchContent, "is told otherwise than it was");
            }
            if told.next().is_some() {
                return wrong(Kind::WatchOrder, "is told with a key twice");
            }
        }
        if count != changes.len() {
            return wrong(Kind::WatchContent, "is told with changes that it has not made");
        }
        Ok(())
    }

    fn shows(&self, seen: &Seen, cell: &Cell) -> bool {
        let same =
            |told: Option<u64>, is: u64| told.is_none_or(|told| told == is || is == u64::MAX);
        let value = &self.compiled.values[cell.value as usize];
        seen.value.as_ref().is_none_or(|told| told == value)
            && same(seen.mod_revision.map(|revision| revision.0), cell.modified)
            && same(seen.create_revision.map(|revision| revision.0), cell.created)
            && same(seen.version, cell.version)
    }
}
