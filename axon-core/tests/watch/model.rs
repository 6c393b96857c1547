//! Feeds against a model: whatever happens, each tells exactly what the model says, once, in order,
//! a revision at a time; or that it is too late, and for what.

use crate::support::{anyone, delete, put, settle, simulate};
use crate::world::{PROGRESS_INTERVAL, World, compact};
use axon_core::command::{Command, Op, Outcome, TxnOutcome};
use axon_core::testing::dice::Dice;
use axon_core::txn::Txn;
use axon_core::types::{KeyRange, KeyValue, Revision};
use axon_core::watch::{Feed, Interest, WatchChange, WatchEvent};
use bytes::Bytes;
use futures_util::StreamExt;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

const KEYS: [&str; 8] = ["a", "a/1", "a/2", "a/2/x", "b", "b/1", "c", "\u{7f}"];

/// What each revision changed, with what was there before, and what there is.
#[derive(Default)]
struct Model {
    /// The changes of revision N stand at N - 1.
    revisions: Vec<Vec<WatchChange>>,
    pairs: BTreeMap<Bytes, KeyValue>,
    compacted: u64,
}

impl Model {
    fn revision(&self) -> u64 {
        self.revisions.len() as u64
    }

    fn put(&mut self, key: &str, value: &str) -> WatchChange {
        let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
        let revision = Revision(self.revision() + 1);
        let previous = self.pairs.get(&key).cloned();
        let pair = KeyValue {
            key: key.clone(),
            value,
            create_revision: previous.as_ref().map_or(revision, |pair| pair.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(1, |pair| pair.version + 1),
        };
        self.pairs.insert(key, pair.clone());
        WatchChange::Put { pair, previous }
    }

    fn delete(&mut self, key: &[u8]) -> Option<WatchChange> {
        let previous = self.pairs.remove(key)?;
        let revision = Revision(self.revision() + 1);
        Some(WatchChange::Delete { key: previous.key.clone(), revision, previous: Some(previous) })
    }

    /// The first event of `watcher` that begins at `from` or later.
    fn next_batch(&self, watcher: &Watcher, from: u64) -> Option<WatchEvent> {
        (from..=self.revision()).find_map(|revision| {
            let changes = self.revisions[revision as usize - 1].iter();
            let inside = changes.filter(|change| watcher.range.contains(change.key()));
            let changes: Vec<_> = inside.cloned().map(|change| watcher.wanted(change)).collect();
            let revision = Revision(revision);
            (!changes.is_empty()).then_some(WatchEvent::Batch { revision, changes })
        })
    }

    /// The revision of that event; beyond all when there is none.
    fn next_revision(&self, watcher: &Watcher) -> u64 {
        match self.next_batch(watcher, watcher.next) {
            Some(WatchEvent::Batch { revision, .. }) => revision.0,
            _ => u64::MAX,
        }
    }
}

/// A feed, and how far it is.
struct Watcher {
    feed: Feed,
    range: KeyRange,
    with_previous: bool,
    /// The first revision that it was not told of.
    next: u64,
    /// What exists, as far as it is still to be told.
    initial: Option<Vec<WatchChange>>,
}

impl Watcher {
    fn wanted(&self, change: WatchChange) -> WatchChange {
        match change {
            change if self.with_previous => change,
            WatchChange::Put { pair, .. } => WatchChange::Put { pair, previous: None },
            WatchChange::Delete { key, revision, .. } => {
                WatchChange::Delete { key, revision, previous: None }
            }
        }
    }

    /// Checks an event, and moves on.
    fn check(&mut self, event: WatchEvent, model: &Model) {
        if let Some(initial) = &mut self.initial {
            match event {
                WatchEvent::Batch { revision, changes } => {
                    assert_eq!(revision.0 + 1, self.next);
                    assert!(!changes.is_empty() && changes.len() <= initial.len());
                    let rest = initial.split_off(changes.len());
                    assert_eq!(std::mem::replace(initial, rest), changes);
                }
                WatchEvent::Progress(revision) => {
                    assert_eq!(revision.0 + 1, self.next);
                    assert_eq!(*initial, [], "all that exists is told");
                    self.initial = None;
                }
                WatchEvent::Resync { .. } => panic!("what exists is never too late"),
            }
            return;
        }
        let due = model.next_revision(self);
        match event {
            WatchEvent::Batch { revision, .. } => {
                assert_eq!(Some(event), model.next_batch(self, self.next));
                self.next = revision.0 + 1;
            }
            WatchEvent::Progress(revision) => {
                assert!(revision.0 + 1 >= self.next, "it never goes back");
                assert!(revision.0 < due, "{revision} is told before {due}");
                self.next = revision.0 + 1;
            }
            WatchEvent::Resync { from, to } => {
                assert!(self.next <= from.0 && from <= to, "{from} to {to} after {}", self.next);
                assert!(from.0 <= due, "{from}: {due} is missing and not named");
                assert!(to.0 <= model.compacted, "{to} is still there");
                self.next = to.0 + 1;
            }
        }
    }

    /// Takes up to `events` events, and gives each up again and again while it waits for it.
    async fn take(&mut self, model: &Model, events: u64, dice: &mut Dice) -> bool {
        for _ in 0..events {
            let mut told = None;
            for _ in 0..12 {
                let magnitude = dice.below(16);
                let patience = Duration::from_micros(dice.below(1 << magnitude));
                told = tokio::time::timeout(patience, self.feed.next()).await.ok();
                if told.is_some() {
                    break;
                }
            }
            let Some(event) = told else { return false };
            self.check(event.unwrap().unwrap(), model);
        }
        true
    }
}

struct Story {
    world: World,
    model: Model,
    watchers: Vec<Watcher>,
    dice: Dice,
}

impl Story {
    fn new(seed: u64) -> Self {
        let (model, dice) = (Model::default(), Dice::new(seed));
        Self { world: World::new(), model, watchers: Vec::new(), dice }
    }

    async fn step(&mut self) {
        match self.dice.below(20) {
            0..=6 => self.write(),
            7 => drop(self.world.replica.checkpoint().await),
            8 => {
                let upto = self.model.compacted + self.dice.below(self.model.revision() + 3);
                self.world.replica.apply(&[compact(upto)]);
                self.model.compacted = upto.min(self.model.revision()).max(self.model.compacted);
            }
            11 => {
                let limit = 1 + self.dice.below(20);
                self.world.replica.apply(&[anyone(Op::Sweep { limit })]);
            }
            9 | 10 => self.watch(),
            12 if !self.watchers.is_empty() => self.leave(),
            13 => settle().await,
            14 => tokio::time::sleep(PROGRESS_INTERVAL).await,
            _ if !self.watchers.is_empty() => {
                let chosen = self.dice.below(self.watchers.len() as u64) as usize;
                let events = self.dice.below(20);
                self.watchers[chosen].take(&self.model, events, &mut self.dice).await;
            }
            _ => {}
        }
    }

    fn write(&mut self) {
        let mut commands: Vec<Command> = Vec::new();
        let mut revisions = Vec::new();
        let commands_max = if self.dice.once_in(20) { 600 } else { 6 };
        for _ in 0..=self.dice.below(commands_max) {
            let (command, mut changes) = self.command();
            changes.sort_by(|one, other| one.key().cmp(other.key()));
            if !changes.is_empty() {
                self.model.revisions.push(changes);
            }
            commands.push(command);
            revisions.push(self.model.revision());
        }
        for (outcome, expected) in self.world.replica.apply(&commands).iter().zip(revisions) {
            match outcome {
                Outcome::Put { revision, .. }
                | Outcome::Deleted { revision, .. }
                | Outcome::DeletedRange { revision, .. }
                | Outcome::Txn(TxnOutcome { revision, .. }) => {
                    assert_eq!(revision.0, expected, "the model is not the machine's");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// A command, and what it changes.
    fn command(&mut self) -> (Command, Vec<WatchChange>) {
        match self.dice.below(12) {
            0 => {
                let range = self.range();
                let gone = self.model.pairs.keys().filter(|key| range.contains(key));
                let gone: Vec<Bytes> = gone.cloned().collect();
                let changes = gone.iter().filter_map(|key| self.model.delete(key)).collect();
                (anyone(Op::DeleteRange { range, limit: u64::MAX }), changes)
            }
            1 | 2 => {
                let keys: BTreeSet<_> = (0..4).map(|_| self.key()).collect();
                let mut changes = Vec::new();
                // In another order than that of the keys.
                let then = keys.into_iter().rev().map(|key| {
                    if self.dice.once_in(3) {
                        changes.extend(self.model.delete(key.as_bytes()));
                        axon_core::Op::delete(key)
                    } else {
                        let value = self.value();
                        changes.push(self.model.put(key, &value));
                        axon_core::Op::put(key, value)
                    }
                });
                let then = then.collect();
                let txn = Txn { when: Vec::new(), then, or_else: Vec::new() };
                (anyone(Op::Txn(txn)), changes)
            }
            3..=5 => {
                let key = self.key();
                (delete(key), self.model.delete(key.as_bytes()).into_iter().collect())
            }
            _ => {
                let (key, value) = (self.key(), self.value());
                (put(key, &value), vec![self.model.put(key, &value)])
            }
        }
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.dice.below(KEYS.len() as u64) as usize]
    }

    fn value(&mut self) -> String {
        let magnitude = if self.dice.once_in(50) { 20 } else { 8 };
        let length = 1 << self.dice.below(magnitude);
        format!("{:x}", self.dice.below(16)).repeat(length)
    }

    fn watch(&mut self) {
        let range = self.range();
        let with_previous = self.dice.once_in(2);
        let interest =
            Interest { range: range.clone(), with_previous, progress_interval: PROGRESS_INTERVAL };
        let view = self.world.replica.reader().view();
        let (hub, dice) = (&self.world.hub, &mut self.dice);
        if dice.once_in(4) {
            let next = view.revision().0 + 1;
            let pairs = self.model.pairs.values().filter(|pair| range.contains(&pair.key));
            let put = |pair: &KeyValue| WatchChange::Put { pair: pair.clone(), previous: None };
            let initial = Some(pairs.map(put).collect());
            let feed = Feed::with_initial_state(hub, interest, view).unwrap();
            self.watchers.push(Watcher { feed, range, with_previous, next, initial });
        } else {
            // From anywhere: long ago, or some time to come.
            let next = 1 + dice.below(self.model.revision() + 4);
            let feed = Feed::from(hub, interest, Revision(next)).unwrap();
            self.watchers.push(Watcher { feed, range, with_previous, next, initial: None });
        }
    }

    /// Lets a watcher go; now and then it comes back, and goes on where it was.
    fn leave(&mut self) {
        let chosen = self.dice.below(self.watchers.len() as u64) as usize;
        let gone = self.watchers.swap_remove(chosen);
        let Watcher { feed, range, with_previous, next, initial } = gone;
        drop(feed);
        if initial.is_none() && self.dice.once_in(2) {
            let progress_interval = PROGRESS_INTERVAL;
            let interest = Interest { range: range.clone(), with_previous, progress_interval };
            let feed = Feed::from(&self.world.hub, interest, Revision(next)).unwrap();
            self.watchers.push(Watcher { feed, range, with_previous, next, initial });
        }
    }

    fn range(&mut self) -> KeyRange {
        let (one, other) = (self.key(), self.key());
        match self.dice.below(6) {
            0 | 1 => KeyRange::key(one),
            2 | 3 => KeyRange::prefix(one),
            4 => {
                KeyRange { start: Bound::Excluded(one.into()), end: Bound::Included(other.into()) }
            }
            _ => KeyRange::all(),
        }
    }

    /// Everyone reads to the end, and misses nothing.
    async fn finish(mut self) {
        for watcher in &mut self.watchers {
            loop {
                let all = self.model.revision();
                if watcher.initial.is_none() && watcher.next > all {
                    break;
                }
                let told = tokio::time::timeout(2 * PROGRESS_INTERVAL, watcher.feed.next()).await;
                let event = told.expect("an event, or progress").unwrap().unwrap();
                watcher.check(event, &self.model);
            }
        }
        let metrics = self.world.hub.metrics();
        assert_eq!(metrics.watchers, self.watchers.len() as u64);
        self.watchers.clear();
        assert_eq!(self.world.hub.metrics().watchers, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_feed_tells_what_the_model_says(seed: u64) {
        simulate(async {
            let mut story = Story::new(seed);
            for _ in 0..200 {
                story.step().await;
            }
            story.finish().await;
        });
    }
}
