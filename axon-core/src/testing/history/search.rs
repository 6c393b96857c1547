//! The search for an order that explains every answer.
//!
//! Wing and Gong ("Testing and verifying concurrent objects", 1993) linearise one operation after the
//! other among those that no other had ended before, and go back where none fits. Lowe ("Testing for
//! linearizability", 2017) remembers which sets of operations have been tried with which state. On
//! top of both:
//!
//! * an operation that was told to have changed nothing, and fits, is taken at once: in whatever
//!   order of the rest it stands later, it may as well stand here;
//! * with revisions ([`Trust::Everything`]) the next write is the one that was told the next
//!   revision. There is a choice only where nobody was told it, and there what was seen of it, and of
//!   its keys later, leaves few.
//!
//! A set and a state are remembered by 128 bits of hash: that two differ and look the same to it
//! is less likely than a fault of the memory that holds them.

use super::compile::{Compiled, NEVER};
use super::evidence::Evidence;
use super::model::{Cell, Edits, Store, Trust, fits};
use std::collections::HashSet;

/// An operation in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub op: u32,
    /// How a comparison was taken that could not be known.
    pub guess: bool,
}

/// How a search ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// This order explains everything.
    Order(Vec<Placed>),
    /// No order does. The furthest ended after this revision, with these operations left.
    Dead { revision: u64, left: Vec<u32> },
    /// The budget is used up.
    Spent,
}

/// A search under way.
pub(super) struct Search<'a> {
    history: &'a Compiled,
    evidence: Option<&'a Evidence>,
    /// Those that must happen, sorted by begin.
    must: Vec<u32>,
    /// Those that may, sorted by begin.
    may: Vec<u32>,
    order: Vec<Placed>,
    tried: HashSet<(u64, u64)>,
    edits: Edits,
    furthest: (usize, u64, Vec<u32>),
    /// States that were looked at.
    pub states: usize,
}

/// What has been placed so far, and what that made of the store.
#[derive(Debug, Clone)]
struct World {
    store: Store,
    /// Begun, and not placed.
    active: Vec<u32>,
    next: usize,
    maybe: Vec<u32>,
    next_maybe: usize,
    placed: usize,
    depth: usize,
    set: (u64, u64),
    state: (u64, u64),
}

/// A place to come back to.
struct Fork {
    world: World,
    choices: Vec<Placed>,
}

fn mix(seed: u64, word: u64) -> u64 {
    let mut mixed = (seed ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    mixed ^ (mixed >> 29)
}

fn hash_op(op: u32) -> (u64, u64) {
    (mix(1, u64::from(op) + 1), mix(mix(2, 7), u64::from(op) + 1))
}

fn hash_cell(key: u32, cell: Cell) -> (u64, u64) {
    let hash = |seed| {
        let words = [u64::from(key), u64::from(cell.value), cell.version, cell.created];
        words.iter().fold(mix(seed, cell.modified), |hash, word| mix(hash, *word))
    };
    (hash(3), hash(4))
}

fn toggle(hash: &mut (u64, u64), by: (u64, u64)) {
    hash.0 ^= by.0;
    hash.1 ^= by.1;
}

impl<'a> Search<'a> {
    /// Prepares the search for an order of `ops`, sorted by their begin. With `evidence`,
    /// revisions guide it and have to fit.
    pub fn new(
        history: &'a Compiled,
        ops: impl IntoIterator<Item = u32>,
        evidence: Option<&'a Evidence>,
    ) -> Self {
        let (must, may) = ops.into_iter().partition(|op| history.ops[*op as usize].must());
        Self {
            history,
            evidence,
            must,
            may,
            order: Vec::new(),
            tried: HashSet::new(),
            edits: Edits::new(),
            furthest: (0, history.revision, Vec::new()),
            states: 0,
        }
    }

    /// Searches, looking at no more than `budget` states.
    pub fn run(&mut self, budget: usize) -> Ending {
        let mut world = World {
            store: Store::start(self.history),
            active: Vec::new(),
            next: 0,
            maybe: Vec::new(),
            next_maybe: 0,
            placed: 0,
            depth: 0,
            set: (0, 0),
            state: (0, 0),
        };
        let mut forks: Vec<Fork> = Vec::new();
        loop {
            let mut choices = Vec::new();
            if self.settle(&mut world) {
                if self.is_done(&world) {
                    return Ending::Order(std::mem::take(&mut self.order));
                }
                choices = self.choices(&mut world);
            }
            if choices.len() > 1 && !self.is_new(&world) {
                choices.clear();
            }
            if choices.is_empty() {
                self.note_end(&world);
                let Some(fork) = forks.pop() else {
                    let (_, revision, left) = std::mem::take(&mut self.furthest);
                    return Ending::Dead { revision, left };
                };
                Fork { world, choices } = fork;
                self.order.truncate(world.depth);
            }
            if choices.len() > 1 {
                self.states += 1;
                if self.states > budget {
                    return Ending::Spent;
                }
                let rest = choices.split_off(1);
                forks.push(Fork { world: world.clone(), choices: rest });
            }
            self.place(&mut world, choices[0]);
        }
    }

    fn is_new(&mut self, world: &World) -> bool {
        let revision = if self.evidence.is_some() { world.store.revision } else { 0 };
        let one = mix(mix(5, revision) ^ world.set.0, world.state.0);
        self.tried.insert((one, world.set.1 ^ world.state.1.rotate_left(1)))
    }

    fn is_done(&self, world: &World) -> bool {
        let reached = self.evidence.is_none_or(|evidence| world.store.revision >= evidence.reach);
        reached && world.next == self.must.len() && world.active.is_empty()
    }

    fn note_end(&mut self, world: &World) {
        if world.placed >= self.furthest.0 {
            self.furthest = (world.placed, world.store.revision, world.active.clone());
        }
    }

    fn trust(&self) -> Trust {
        if self.evidence.is_some() { Trust::Everything } else { Trust::Values }
    }

    /// The earliest end of what is not placed: nothing may be placed that began after it.
    fn horizon(&self, world: &mut World) -> u64 {
        let end = |op: &u32| self.history.ops[*op as usize].end;
        let begin = |op: &u32| self.history.ops[*op as usize].begin;
        let mut horizon = world.active.iter().map(end).min().unwrap_or(NEVER);
        while let Some(op) = self.must.get(world.next).filter(|op| begin(op) <= horizon) {
            world.active.push(*op);
            world.next += 1;
            horizon = horizon.min(end(op));
        }
        while let Some(op) = self.may.get(world.next_maybe).filter(|op| begin(op) <= horizon) {
            world.maybe.push(*op);
            world.next_maybe += 1;
        }
        horizon
    }

    /// Places everything that fits and changes nothing; `false` when what must fit here does not.
    fn settle(&mut self, world: &mut World) -> bool {
        loop {
            let horizon = self.horizon(world);
            let before = world.active.len();
            let mut kept = 0;
            for at in 0..before {
                let id = world.active[at];
                let op = &self.history.ops[id as usize];
                let trust = self.trust();
                // Later its revision would be too low for having changed something.
                let sure = op.is_idle() || (trust == Trust::Everything && op.revision.is_some());
                let mut fits = |guess| {
                    let run = world.store.run(op, trust, guess, &mut self.edits);
                    (run.is_some() && self.edits.is_empty(), run == Some(true))
                };
                let now = sure && op.begin <= horizon;
                let mut idle = now && fits(false).0;
                let mut guess = false;
                if !idle && now && trust == Trust::Values && !op.when.is_empty() {
                    idle = fits(true).0;
                    guess = true;
                }
                if idle {
                    self.order.push(Placed { op: id, guess });
                    toggle(&mut world.set, hash_op(id));
                    world.placed += 1;
                } else {
                    world.active[kept] = id;
                    kept += 1;
                }
            }
            world.active.truncate(kept);
            world.depth = self.order.len();
            if kept == before {
                return self.past_fits(world);
            }
        }
    }

    /// Reports whether the reads of the past that ask for this revision fit.
    fn past_fits(&self, world: &World) -> bool {
        let trace = self.evidence.and_then(|evidence| evidence.traces.get(&world.store.revision));
        let mut shown = trace.iter().flat_map(|trace| &trace.shown);
        let mut past = trace.iter().flat_map(|trace| &trace.past);
        shown.all(|range| world.store.shows(range, true))
            && past.all(|past| {
                let range = self.history.ops[*past as usize].range.as_ref();
                range.is_none_or(|range| world.store.shows(range, true))
            })
    }

    /// What may be next: it changes something, or may do so later.
    fn choices(&mut self, world: &mut World) -> Vec<Placed> {
        let horizon = self.horizon(world);
        let next = world.store.revision + 1;
        let made = self.evidence.and_then(|evidence| evidence.made.get(&next).copied());
        let mut choices = Vec::new();
        if let Some(op) = made.filter(|op| world.active.contains(op)) {
            self.offer(world, op, horizon, &mut choices);
        }
        for at in 0..world.active.len() {
            let op = world.active[at];
            let untold = self.history.ops[op as usize].revision.is_none();
            if made.is_none_or(|made| made != op && untold) {
                self.offer(world, op, horizon, &mut choices);
            }
        }
        if made.is_some() {
            return choices;
        }
        if self.evidence.is_none() {
            choices.sort_by_key(|placed| self.history.ops[placed.op as usize].end);
        }
        for at in 0..world.maybe.len() {
            self.offer(world, world.maybe[at], horizon, &mut choices);
        }
        choices
    }

    fn offer(&mut self, world: &World, id: u32, horizon: u64, choices: &mut Vec<Placed>) {
        let op = &self.history.ops[id as usize];
        if op.begin > horizon {
            return;
        }
        for guess in [false, true] {
            let run = world.store.run(op, self.trust(), guess, &mut self.edits);
            let idle = self.edits.is_empty();
            let may = if idle { op.must() } else { self.may_make(&world.store, id) };
            if run.is_some() && may {
                choices.push(Placed { op: id, guess });
            }
            // Without a guess, the other one is the same.
            if run == Some(false) || op.when.is_empty() || self.evidence.is_some() {
                break;
            }
        }
    }

    /// Reports whether the edits at hand may be those of the next revision, by what was told of it.
    fn may_make(&self, store: &Store, id: u32) -> bool {
        let Some(evidence) = self.evidence else { return true };
        let (edits, revision) = (&self.edits, store.revision + 1);
        let trace = evidence.traces.get(&revision);
        let begin = self.history.ops[id as usize].begin;
        let watched = trace.is_none_or(|trace| {
            trace.whole.iter().all(|whole| {
                let inside =
                    || edits.iter().filter(|(key, _)| (whole.low..whole.high).contains(key));
                let told = |(key, cell): &(u32, Cell)| {
                    whole.changes.iter().any(|change| {
                        change.key == *key
                            && fits(change.after, *cell, true)
                            && fits(change.before, store.cells[*key as usize], true)
                    })
                };
                begin <= whole.at && inside().count() == whole.changes.len() && inside().all(told)
            })
        });
        if !watched || evidence.made.contains_key(&revision) {
            return watched && evidence.made.get(&revision) == Some(&id);
        }
        let seen = trace.is_none_or(|trace| {
            trace.seen.iter().all(|(key, seen)| {
                let edit = edits.iter().find(|(edited, _)| edited == key);
                let value =
                    edit.filter(|(_, cell)| *cell != Cell::NONE).map(|(_, cell)| cell.value);
                value.is_some_and(|value| seen.is_none_or(|seen| seen == value))
            })
        });
        let may = |(key, cell): &(u32, Cell)| {
            evidence.may_change(*key, revision)
                && (*cell != Cell::NONE || evidence.may_remove(*key, revision))
        };
        seen && evidence.may_make(id, revision) && edits.iter().all(may)
    }

    fn place(&mut self, world: &mut World, placed: Placed) {
        let op = &self.history.ops[placed.op as usize];
        let run = world.store.run(op, self.trust(), placed.guess, &mut self.edits);
        debug_assert!(run.is_some(), "only what fits is placed");
        world.store.revision += u64::from(!self.edits.is_empty());
        for (key, cell) in self.edits.drain(..) {
            let place = &mut world.store.cells[key as usize];
            toggle(&mut world.state, hash_cell(key, *place));
            toggle(&mut world.state, hash_cell(key, cell));
            *place = cell;
        }
        let list = if op.must() { &mut world.active } else { &mut world.maybe };
        list.retain(|other| *other != placed.op);
        toggle(&mut world.set, hash_op(placed.op));
        world.placed += 1;
        self.order.push(placed);
        world.depth = self.order.len();
    }
}
