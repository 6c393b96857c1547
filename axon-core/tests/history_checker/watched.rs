//! Watches: what a correct store tells passes, and whatever a store with a bug tells is found.

use crate::generate::{Doors, Made, Shape, generate};
use axon_core::testing::dice::Dice;
use axon_core::testing::history::{
    Change, Checker, Event, Found, Seen, Span, Start, Told, Verdict, Watch, WatchId,
};
use axon_core::types::Revision;
use std::collections::BTreeMap;

fn shape(dice: &mut Dice) -> Shape {
    Shape {
        clients: 2 + dice.below(5),
        operations: 40 + dice.below(60) as usize,
        keys: 1 + dice.below(6),
        values: 0,
        lost_in: [0, 4, 10][dice.below(3) as usize],
        doors: Doors::Open,
        wide: true,
        again: dice.once_in(3),
    }
}

fn span(dice: &mut Dice) -> Span {
    match dice.below(3) {
        0 => Span::all(),
        1 => Span { from: "k01".into(), to: Some("k03".into()) },
        _ => Span { from: "k00".into(), to: Some("k00\0".into()) },
    }
}

/// Adds a watch, perhaps broken off and resumed, as a correct store serves it.
fn watch(made: &mut Made, dice: &mut Dice) {
    let last = made.store.revision().0;
    let span = span(dice);
    let begin = dice.below(last + 1);
    let mut at = made.times[begin as usize];
    let start = match dice.below(3) {
        0 => Start::From(Revision(begin + 1)),
        1 => Start::State,
        // The first revision after that moment is told.
        _ => Start::Now(at),
    };
    let begin = match start {
        Start::Now(time) => made.times.iter().filter(|made| **made <= time).count() as u64 - 1,
        Start::From(_) | Start::State => begin,
    };
    let mut id = made.history.watch(span.clone(), start);
    if start == Start::State {
        initial(made, id, begin, &span, at);
    }
    for revision in begin + 1..=last {
        at = at.max(made.times[revision as usize]) + dice.below(3);
        let changes = made.store.log[revision as usize].iter();
        let mut changes: Vec<_> =
            changes.filter(|change| span.contains(&change.key)).cloned().collect();
        if !changes.is_empty() {
            if dice.once_in(2) {
                for change in &mut changes {
                    change.before = Found::Untold;
                }
            }
            made.history.tell(id, at, Told::Batch { revision: Revision(revision), changes });
        }
        if dice.once_in(8) {
            made.history.tell(id, at, Told::Progress(Revision(revision)));
            if dice.once_in(2) {
                id = made.history.resume(id, Revision(revision + 1));
            }
        }
    }
    if !matches!(start, Start::Now(_)) {
        made.history.watches[id.0].complete_to = Some(Revision(last));
    }
}

fn initial(made: &mut Made, id: WatchId, revision: u64, span: &Span, at: u64) {
    let mut state: BTreeMap<_, Seen> = BTreeMap::new();
    for change in made.store.log[..=revision as usize].iter().flatten() {
        match &change.after {
            Some(seen) => drop(state.insert(change.key.clone(), seen.clone())),
            None => drop(state.remove(&change.key)),
        }
    }
    let inside = state.into_iter().filter(|(key, _)| span.contains(key));
    for (key, seen) in inside {
        let changes = vec![Change { key, after: Some(seen), before: Found::Untold }];
        made.history.tell(id, at, Told::Batch { revision: Revision(revision), changes });
    }
    made.history.tell(id, at, Told::Progress(Revision(revision)));
}

fn watched(seed: u64) -> (Made, Dice) {
    let mut dice = Dice::new(seed);
    let mut made = generate(shape(&mut dice), &mut dice);
    for _ in 0..=dice.below(3) {
        watch(&mut made, &mut dice);
    }
    (made, dice)
}

#[test]
fn what_a_correct_store_tells_passes() {
    let mut events = 0;
    for seed in 0..500 {
        let (made, _) = watched(seed);
        match Checker::new().check(&made.history) {
            Verdict::Valid(stats) => events += stats.events,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("{events} events of seeds 0 to 499");
}

#[derive(Debug, Clone, Copy)]
enum Bug {
    Dropped,
    Doubled,
    Swapped,
    Half,
    OtherValue,
    Invented,
    TooEarly,
    Resynced,
    ResumedLate,
}

const BUGS: [Bug; 9] = [
    Bug::Dropped,
    Bug::Doubled,
    Bug::Swapped,
    Bug::Half,
    Bug::OtherValue,
    Bug::Invented,
    Bug::TooEarly,
    Bug::Resynced,
    Bug::ResumedLate,
];

impl Bug {
    /// Strikes one watch that began with a revision; `false` where it cannot.
    fn strike(self, watch: &mut Watch, dice: &mut Dice) -> bool {
        let Start::From(from) = watch.start else { return false };
        let is_batch = |event: &Event| matches!(event.told, Told::Batch { .. });
        let batches: Vec<usize> =
            (0..watch.told.len()).filter(|at| is_batch(&watch.told[*at])).collect();
        if batches.len() < 2 {
            return false;
        }
        // Never the last one: what comes after it shows that it is missing.
        let place = dice.below(batches.len() as u64 - 1) as usize;
        let (at, later) = (batches[place], batches[place + 1]);
        match self {
            Self::Dropped => drop(watch.told.remove(at)),
            Self::Doubled => watch.told.insert(at, watch.told[at].clone()),
            Self::Swapped => watch.told.swap(at, later),
            Self::ResumedLate => {
                let Told::Batch { revision, .. } = watch.told[at].told else { return false };
                watch.told.drain(..=at);
                watch.start = Start::From(revision.next());
                return watch.resumes.is_some() && revision >= from;
            }
            Self::Resynced => {
                let Told::Batch { revision, .. } = watch.told[at].told else { return false };
                watch.told[at].told = Told::Resync { from: revision, to: revision };
            }
            Self::TooEarly => watch.told[later].at = 0,
            Self::Half | Self::OtherValue | Self::Invented => {
                let Told::Batch { changes, .. } = &mut watch.told[at].told else { return false };
                match self {
                    Self::Half if changes.len() > 1 => drop(changes.pop()),
                    Self::OtherValue => changes[0].after = Some(Seen::value("other")),
                    Self::Invented => {
                        let key = [changes[0].key.as_ref(), b"\0"].concat().into();
                        let change = Change { key, ..changes[0].clone() };
                        changes.push(change);
                    }
                    _ => return false,
                }
            }
        }
        true
    }
}

#[test]
fn every_kind_of_wrong_watch_is_found_wherever_it_strikes() {
    for bug in BUGS {
        let mut strikes = 0;
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for seed in 0..600 {
            let (mut made, mut dice) = watched(seed);
            let watches = &mut made.history.watches;
            if !watches.iter_mut().any(|watch| bug.strike(watch, &mut dice)) {
                continue;
            }
            strikes += 1;
            let verdict = Checker::new().check(&made.history);
            let Some(violation) = verdict.violation() else {
                panic!("{bug:?}, seed {seed}: not found\n{}", made.history.to_json().unwrap());
            };
            *kinds.entry(format!("{:?}", violation.kind)).or_default() += 1;
        }
        println!("{bug:?}: {strikes} of {strikes} found, {kinds:?}");
        assert!(strikes >= 20, "{bug:?} struck only {strikes} times");
    }
}

#[test]
fn a_resync_is_allowed_to_a_reader_that_may_lag() {
    let mut allowed = 0;
    for seed in 0..200 {
        let (mut made, mut dice) = watched(seed);
        let watches = &mut made.history.watches;
        let Some(lagging) = watches
            .iter_mut()
            .find_map(|watch| Bug::Resynced.strike(watch, &mut dice).then_some(watch))
        else {
            continue;
        };
        lagging.may_lag = true;
        let verdict = Checker::new().check(&made.history);
        assert!(matches!(verdict, Verdict::Valid(_)), "seed {seed}: {verdict:?}");
        allowed += 1;
    }
    assert!(allowed > 20, "{allowed}");
}
