//! Damage: what a store with a bug would have answered, or told.

use crate::generate::Made;
use axon_core::testing::dice::Dice;
use axon_core::testing::history::{
    Action, Answer, Found, History, Operation, Outcome, Pair, Seen, Span, Step,
};
use axon_core::types::Revision;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Everything that was told of keys by an answer.
fn told(answer: &mut Answer) -> Vec<&mut Found> {
    match answer {
        Answer::Got(found)
        | Answer::Done { before: found, .. }
        | Answer::Conflict { found, .. } => vec![found],
        Answer::Txn { results, .. } => results.iter_mut().collect(),
        Answer::Range { .. } => Vec::new(),
    }
}

fn answers(history: &mut History) -> Vec<&mut Answer> {
    let outcomes = history.operations.iter_mut().map(|operation| &mut operation.outcome);
    let answer = |outcome| match outcome {
        &mut Outcome::Ok(ref mut answer) => Some(answer),
        _ => None,
    };
    outcomes.filter_map(answer).collect()
}

fn pick<'a, T>(all: &'a mut [T], dice: &mut Dice) -> Option<&'a mut T> {
    let count = all.len() as u64;
    (count > 0).then(|| &mut all[dice.below(count) as usize])
}

/// Changes something that was told, no matter whether that makes it wrong.
pub fn anything(history: &mut History, dice: &mut Dice) -> bool {
    match dice.below(8) {
        0 => revision(history, dice),
        1 => swap_revisions(history, dice),
        2 => swap_answers(history, dice),
        3 => time(history, dice),
        4 => outcome(history, dice),
        5 => leave_out(history, dice),
        _ => found(history, dice),
    }
}

fn told_revision(answer: &mut Answer) -> Option<&mut Revision> {
    match answer {
        Answer::Done { revision, .. }
        | Answer::Conflict { revision, .. }
        | Answer::Txn { revision, .. } => revision.as_mut(),
        Answer::Got(_) | Answer::Range { .. } => None,
    }
}

fn revision(history: &mut History, dice: &mut Dice) -> bool {
    let mut all: Vec<_> = answers(history).into_iter().filter_map(told_revision).collect();
    let Some(revision) = pick(&mut all, dice) else { return false };
    revision.0 = (revision.0 + 1 + dice.below(2)).saturating_sub(dice.below(3));
    true
}

fn swap_revisions(history: &mut History, dice: &mut Dice) -> bool {
    let mut all: Vec<_> = answers(history).into_iter().filter_map(told_revision).collect();
    let (one, other) = (dice.below(all.len() as u64 + 1), dice.below(all.len() as u64 + 1));
    let (one, other) = (one.min(other) as usize, one.max(other) as usize);
    if one == other || other >= all.len() {
        return false;
    }
    let (left, right) = all.split_at_mut(other);
    std::mem::swap(left[one], right[0]);
    true
}

/// Two reads get each other's answers.
fn swap_answers(history: &mut History, dice: &mut Dice) -> bool {
    let mut all: Vec<_> = answers(history).into_iter().flat_map(told).collect();
    let count = all.len();
    if count < 2 {
        return false;
    }
    let (one, other) = (dice.below(count as u64) as usize, dice.below(count as u64) as usize);
    let copy = all[one].clone();
    *all[other] = copy;
    true
}

fn time(history: &mut History, dice: &mut Dice) -> bool {
    let Some(operation) = pick(&mut history.operations, dice) else { return false };
    if dice.once_in(2) {
        let length = operation.end.map_or(5, |end| end - operation.begin);
        operation.begin = dice.below(25);
        operation.end = operation.end.map(|_| operation.begin + length);
    } else {
        operation.end = operation.end.map(|end| operation.begin.midpoint(end));
    }
    history.operations.sort_by_key(|operation| operation.begin);
    true
}

fn outcome(history: &mut History, dice: &mut Dice) -> bool {
    let Some(operation) = pick(&mut history.operations, dice) else { return false };
    operation.outcome = if dice.once_in(2) { Outcome::Failed } else { Outcome::Unknown };
    true
}

fn leave_out(history: &mut History, dice: &mut Dice) -> bool {
    let at = dice.below(history.operations.len() as u64) as usize;
    history.operations.remove(at);
    true
}

fn found(history: &mut History, dice: &mut Dice) -> bool {
    let mut all: Vec<_> = answers(history).into_iter().flat_map(told).collect();
    let Some(found) = pick(&mut all, dice) else { return false };
    match &mut **found {
        Found::Present(seen) if !dice.once_in(4) => match dice.below(4) {
            0 => seen.value = Some(Bytes::from(format!("v{}", dice.below(3)))),
            1 => seen.mod_revision = seen.mod_revision.map(|seen| Revision(seen.0 ^ 1)),
            2 => seen.version = seen.version.map(|version| version + 1),
            _ => seen.create_revision = seen.create_revision.map(|seen| Revision(seen.0 ^ 1)),
        },
        Found::Present(_) => **found = Found::Absent,
        Found::Absent | Found::Untold => **found = Found::Present(Seen::value("v0")),
    }
    true
}

/// What a store with one certain bug does. Each is wrong wherever it can be done.
#[derive(Debug, Clone, Copy)]
pub enum Bug {
    StaleRead,
    LostWrite,
    DoubledWrite,
    ReorderedRevision,
    HalfATransaction,
    FailedWriteShown,
}

impl Bug {
    pub const ALL: [Self; 6] = [
        Self::StaleRead,
        Self::LostWrite,
        Self::DoubledWrite,
        Self::ReorderedRevision,
        Self::HalfATransaction,
        Self::FailedWriteShown,
    ];

    /// Does it to a history of which everything was told; `false` where it cannot be done.
    pub fn strike(self, made: &mut Made, dice: &mut Dice) -> bool {
        match self {
            Self::StaleRead => stale_read(made, dice),
            Self::LostWrite => {
                let wanted = last_changes(made, 1);
                let Some((key, revision)) = choose(&wanted, dice) else { return false };
                let answer = Answer::Got(before(made, &key, revision));
                read_last(made, Action::Get { key }, answer)
            }
            Self::DoubledWrite => {
                let wanted = last_changes(made, 1);
                let stored =
                    wanted.into_iter().filter(|(key, _)| made.store.now().contains_key(key));
                let Some((key, _)) = choose(&stored.collect::<Vec<_>>(), dice) else {
                    return false;
                };
                let mut pair = made.store.now()[&key].clone();
                pair.mod_revision = made.store.revision().next();
                pair.version += 1;
                let answer = Answer::Got(Found::Present(pair.into()));
                read_last(made, Action::Get { key }, answer)
            }
            Self::ReorderedRevision => reordered(made, dice),
            Self::HalfATransaction => {
                let wanted = last_changes(made, 2);
                let Some((key, revision)) = choose(&wanted, dice) else { return false };
                let mut pairs = made.store.now().clone();
                pairs.remove(&key);
                let mut pairs: Vec<Pair> = pairs.into_values().map(Pair::from).collect();
                if let Found::Present(seen) = before(made, &key, revision) {
                    pairs.push(Pair { key, seen });
                }
                let answer = Answer::Range { revision: Some(made.store.revision()), pairs };
                read_last(made, Action::Range { span: Span::all(), at: None }, answer)
            }
            Self::FailedWriteShown => {
                // Another attempt under its id may have happened.
                let once = |id: &String| {
                    let ids = made.history.operations.iter();
                    ids.filter(|other| other.id.as_ref() == Some(id)).count() == 1
                };
                let failed = made.history.operations.iter().filter_map(|operation| {
                    match (&operation.action, &operation.outcome) {
                        (Action::Put { key, value }, Outcome::Failed)
                            if operation.id.as_ref().is_none_or(once) =>
                        {
                            Some((key, value))
                        }
                        _ => None,
                    }
                });
                let failed: Vec<_> =
                    failed.map(|(key, value)| (key.clone(), value.clone())).collect();
                let Some((key, value)) = choose(&failed, dice) else { return false };
                let mod_revision = Some(made.store.revision().next());
                let seen = Seen { mod_revision, ..Seen::value(value) };
                read_last(made, Action::Get { key }, Answer::Got(Found::Present(seen)))
            }
        }
    }
}

fn choose<T: Clone>(all: &[T], dice: &mut Dice) -> Option<T> {
    (!all.is_empty()).then(|| all[dice.below(all.len() as u64) as usize].clone())
}

/// Adds a read after everything.
fn read_last(made: &mut Made, action: Action, answer: Answer) -> bool {
    let history = &mut made.history;
    let last = history.operations.iter().map(|operation| operation.end.max(Some(operation.begin)));
    let now = last.max().flatten().unwrap_or(0) + 10;
    let read = history.begin(99, now, action);
    history.answer(read, now + 1, answer);
    true
}

/// Revisions that an acknowledged write made, with that write.
fn acknowledged(made: &Made) -> BTreeMap<u64, usize> {
    let mut found = BTreeMap::new();
    for (at, operation) in made.history.operations.iter().enumerate() {
        let revision = match &operation.outcome {
            Outcome::Ok(Answer::Done { revision, .. } | Answer::Txn { revision, .. }) => {
                revision.unwrap().0
            }
            _ => continue,
        };
        let changes = &made.store.log[revision as usize];
        let wrote = |key: &Bytes, value: &Bytes| {
            changes.iter().any(|change| {
                let after = change.after.as_ref().and_then(|seen| seen.value.as_ref());
                change.key == key && after == Some(value)
            })
        };
        let its_own = match &operation.action {
            Action::Put { key, value } => wrote(key, value),
            Action::PutIf { when, value } => wrote(&when.key, value),
            Action::Txn { then, or_else, .. } => {
                then.iter().chain(or_else).any(|step| match step {
                    Step::Put { key, value } => wrote(key, value),
                    _ => false,
                })
            }
            _ => false,
        };
        if its_own {
            found.insert(revision, at);
        }
    }
    found
}

/// Keys with the revision that changed them last, if that was acknowledged and changed at least
/// `count` keys.
fn last_changes(made: &Made, count: usize) -> Vec<(Bytes, u64)> {
    let acknowledged = acknowledged(made);
    let mut last = BTreeMap::new();
    for (revision, changes) in made.store.log.iter().enumerate() {
        for change in changes {
            last.insert(change.key.clone(), revision as u64);
        }
    }
    // Where there was nothing before, a delete without an answer might explain that it is gone.
    last.retain(|key, revision| {
        matches!(before(made, key, *revision), Found::Present(_))
            && acknowledged.contains_key(revision)
            && made.store.log[*revision as usize].len() >= count
    });
    last.into_iter().collect()
}

/// `key` before `revision` changed it.
fn before(made: &Made, key: &Bytes, revision: u64) -> Found {
    let changes = &made.store.log[revision as usize];
    changes.iter().find(|change| change.key == key).unwrap().before.clone()
}

fn stale_read(made: &mut Made, dice: &mut Dice) -> bool {
    let acknowledged = acknowledged(made);
    let operations = &made.history.operations;
    let stale = |operation: &Operation| {
        let Outcome::Ok(Answer::Got(Found::Present(seen))) = &operation.outcome else {
            return None;
        };
        let Action::Get { key } = &operation.action else { return None };
        let revision = seen.mod_revision?.0;
        let writer = &operations[*acknowledged.get(&revision)?];
        let before = before(made, key, revision);
        (writer.end? < operation.begin && matches!(before, Found::Present(_))).then_some(before)
    };
    let reads = operations.iter().enumerate();
    let reads: Vec<_> = reads.filter_map(|(at, read)| Some((at, stale(read)?))).collect();
    let Some((at, found)) = choose(&reads, dice) else { return false };
    made.history.operations[at].outcome = Outcome::Ok(Answer::Got(found));
    true
}

/// Two puts, one after the other, get each other's revisions.
fn reordered(made: &mut Made, dice: &mut Dice) -> bool {
    let puts: Vec<usize> = acknowledged(made).into_values().collect();
    let Some(one) = choose(&puts, dice) else { return false };
    let end = made.history.operations[one].end.unwrap();
    let later = puts.into_iter().filter(|put| made.history.operations[*put].begin > end);
    let Some(other) = choose(&later.collect::<Vec<_>>(), dice) else { return false };
    let mut all = made.history.operations.iter_mut().enumerate();
    let mut revisions =
        all.by_ref().filter(|(at, _)| *at == one || *at == other).filter_map(|(_, operation)| {
            match &mut operation.outcome {
                Outcome::Ok(answer) => told_revision(answer),
                _ => None,
            }
        });
    let (one, other) = (revisions.next().unwrap(), revisions.next().unwrap());
    std::mem::swap(one, other);
    true
}
