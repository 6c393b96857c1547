//! The search that trusts no revision: values only, each group of keys that operations join apart.
//!
//! Linearizability is local (Herlihy and Wing, "Linearizability: a correctness condition for
//! concurrent objects", 1990): a history is linearizable if it is so for each object. An object is a
//! key here, or the keys that transactions and ranges join.

use super::compile::{Compared, Compiled, Deed, Key, NEVER, Op, Sight, Value};
use super::search::{Ending, Search};
use std::collections::{BTreeMap, HashSet};

/// What trusting nothing says.
#[derive(Debug)]
pub(super) enum Values {
    /// Every group has an order.
    Explained,
    /// These operations, of one group, have none.
    Unexplained(Vec<u32>),
    /// The budget is used up.
    Spent,
}

/// Looks for an order of the values of each group.
pub(super) fn check(history: &Compiled, budget: usize, states: &mut usize) -> Values {
    let mut spent = false;
    for ops in groups(history) {
        let ops = needed(history, ops);
        match search(history, &ops, budget, states) {
            Ending::Order(_) => {}
            Ending::Dead { .. } => return Values::Unexplained(ops),
            Ending::Spent => spent = true,
        }
    }
    if spent { Values::Spent } else { Values::Explained }
}

fn search(history: &Compiled, ops: &[u32], budget: usize, states: &mut usize) -> Ending {
    let mut search = Search::new(history, ops.iter().copied(), None);
    let ending = search.run(budget);
    *states += search.states;
    ending
}

/// The operations by the keys that they join, in the order of their begin.
fn groups(history: &Compiled) -> Vec<Vec<u32>> {
    fn root(parents: &mut [Key], key: Key) -> Key {
        let mut at = key;
        while parents[at as usize] != at {
            parents[at as usize] = parents[parents[at as usize] as usize];
            at = parents[at as usize];
        }
        at
    }
    let mut parents: Vec<Key> = (0..history.keys.len() as Key).collect();
    for op in &history.ops {
        let mut keys = op.keys();
        let Some(first) = keys.next() else { continue };
        for key in keys {
            let (one, other) = (root(&mut parents, first), root(&mut parents, key));
            parents[other as usize] = one;
        }
    }
    let mut groups: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
    for (at, op) in history.ops.iter().enumerate() {
        if let Some(key) = op.keys().next() {
            groups.entry(root(&mut parents, key)).or_default().push(at as u32);
        }
    }
    groups.into_values().collect()
}

/// Leaves out puts that may have happened and that nobody can have noticed: if there is an order
/// with them, there is one without.
fn needed(history: &Compiled, ops: Vec<u32>) -> Vec<u32> {
    let mut noticed: HashSet<(Key, Value)> = HashSet::new();
    let mut unclear: HashSet<Key> = HashSet::new();
    for op in ops.iter().map(|op| &history.ops[*op as usize]) {
        unclear.extend(op.when.iter().map(|check| check.key));
        for (key, sight) in op.sights() {
            match sight {
                Sight::Present { value: Some(value), .. } => {
                    noticed.insert((key, value));
                }
                Sight::Present { value: None, .. } => {
                    unclear.insert(key);
                }
                Sight::Untold | Sight::Absent => {}
            }
        }
    }
    let silent = |op: &Op| {
        !op.must()
            && op.when.is_empty()
            && op.then.iter().all(|(key, deed)| match deed {
                Deed::Put(value) => !unclear.contains(key) && !noticed.contains(&(*key, *value)),
                Deed::Delete => false,
                Deed::Get => true,
            })
    };
    ops.into_iter().filter(|op| !silent(&history.ops[*op as usize])).collect()
}

/// Searches for fewer of `ops`, which have no order, that have none either.
///
/// Sound whatever it leaves out: first what had not ended when it had become impossible; then
/// reads; then writes, together with everything that may have noticed them.
pub(super) fn fewest(history: &mut Compiled, ops: &[u32]) -> Vec<u32> {
    const BUDGET: usize = 20_000;
    const ATTEMPTS: usize = 400;
    let mut ops = cut(history, ops, BUDGET);
    let mut attempts = 0;
    for reads in [true, false] {
        let mut at = ops.len();
        while at > 0 && attempts < ATTEMPTS {
            at -= 1;
            let Some(candidate) = ops.get(at) else { continue };
            let op = &history.ops[*candidate as usize];
            if op.possible_changes().next().is_none() != reads {
                continue;
            }
            attempts += 1;
            let rest = without(history, &ops, *candidate);
            if matches!(search(history, &rest, BUDGET, &mut 0), Ending::Dead { .. }) {
                ops = rest;
            }
        }
    }
    ops
}

/// Cuts the history off at the earliest end at which no order is left. Who has not ended then may
/// have happened.
fn cut(history: &mut Compiled, ops: &[u32], budget: usize) -> Vec<u32> {
    let end = |op: &u32| history.ops[*op as usize].end;
    let mut ends: Vec<u64> = ops.iter().map(end).filter(|end| *end != NEVER).collect();
    ends.sort_unstable();
    ends.dedup();
    let original: Vec<u64> = history.ops.iter().map(|op| op.end).collect();
    let until = |history: &mut Compiled, time: u64| -> Vec<u32> {
        for op in ops {
            let end = original[*op as usize];
            history.ops[*op as usize].end = if end > time { NEVER } else { end };
        }
        ops.iter().copied().filter(|op| history.ops[*op as usize].begin <= time).collect()
    };
    let (mut low, mut high) = (0, ends.len().saturating_sub(1));
    while low < high {
        let middle = usize::midpoint(low, high);
        let part = until(history, ends[middle]);
        match search(history, &part, budget, &mut 0) {
            Ending::Dead { .. } => high = middle,
            Ending::Order(_) | Ending::Spent => low = middle + 1,
        }
    }
    ends.get(high).map_or_else(|| ops.to_vec(), |time| until(history, *time))
}

/// `ops` without `removed`, and without what may have noticed that it happened.
fn without(history: &Compiled, ops: &[u32], removed: u32) -> Vec<u32> {
    let mut rest: Vec<u32> = ops.iter().copied().filter(|op| *op != removed).collect();
    let mut gone: Vec<(Key, Deed)> = history.ops[removed as usize].possible_changes().collect();
    while let Some((key, deed)) = gone.pop() {
        rest.retain(|op| {
            let op = &history.ops[*op as usize];
            let keep = !may_notice(op, key, deed);
            if !keep {
                gone.extend(op.possible_changes());
            }
            keep
        });
    }
    rest
}

fn may_notice(op: &Op, key: Key, deed: Deed) -> bool {
    let compared = op.when.iter().any(|check| {
        let other = |value| matches!(deed, Deed::Put(put) if put != value);
        let told = op.succeeded == Some(true)
            && matches!(check.what, Compared::Value(value) if other(value))
            && check.relation == crate::txn::Relation::Equal;
        check.key == key && !told
    });
    compared
        || op.sights().any(|(seen, sight)| {
            seen == key
                && match sight {
                    Sight::Untold => false,
                    Sight::Absent => deed == Deed::Delete,
                    Sight::Present { value: None, .. } => true,
                    Sight::Present { value: Some(value), .. } => deed == Deed::Put(value),
                }
        })
        || op.range.as_ref().is_some_and(|range| {
            let inside = (range.low..range.high).contains(&key);
            inside && deed == Deed::Delete && range.pairs.iter().all(|(there, _)| *there != key)
        })
}
