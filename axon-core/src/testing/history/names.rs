//! Keys and values as numbers, in the order of their bytes.

use super::action::{Action, Answer, Condition, Found, Outcome, Pair, Seen, Span, Step, What};
use super::compile::{Check, Compared, Deed, Key, Sight, Value};
use super::record::{History, Operation, Told};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The numbers of keys and values.
pub(super) struct Names {
    pub keys: BTreeMap<Bytes, Key>,
    pub values: BTreeMap<Bytes, Value>,
}

impl Names {
    pub fn of(history: &History) -> Self {
        let (mut keys, mut values) = (BTreeSet::new(), BTreeSet::new());
        let mut pair = |key: &Bytes, seen: Option<&Seen>| {
            if !keys.contains(key) {
                keys.insert(key.clone());
            }
            if let Some(value) = seen.and_then(|seen| seen.value.as_ref()) {
                values.insert(value.clone());
            }
        };
        for Pair { key, seen } in &history.initial {
            pair(key, Some(seen));
        }
        for operation in &history.operations {
            visit(operation, &mut pair);
        }
        for event in history.watches.iter().flat_map(|watch| &watch.told) {
            if let Told::Batch { changes, .. } = &event.told {
                for change in changes {
                    pair(&change.key, change.after.as_ref());
                    if let Found::Present(seen) = &change.before {
                        pair(&change.key, Some(seen));
                    }
                }
            }
        }
        let number = |names: BTreeSet<Bytes>| names.into_iter().zip(0..).collect();
        Self { keys: number(keys), values: number(values) }
    }

    pub fn key(&self, key: &Bytes) -> Key {
        self.keys[key]
    }

    pub fn sight(&self, found: &Found) -> Sight {
        match found {
            Found::Untold => Sight::Untold,
            Found::Absent => Sight::Absent,
            Found::Present(seen) => self.seen(seen),
        }
    }

    pub fn seen(&self, seen: &Seen) -> Sight {
        Sight::Present {
            value: seen.value.as_ref().map(|value| self.values[value]),
            modified: seen.mod_revision.map(|revision| revision.0),
            created: seen.create_revision.map(|revision| revision.0),
            version: seen.version,
        }
    }

    pub fn check(&self, condition: &Condition) -> Check {
        let what = match &condition.what {
            What::Version(version) => Compared::Version(*version),
            What::CreateRevision(revision) => Compared::Created(revision.0),
            What::ModRevision(revision) => Compared::Modified(revision.0),
            What::Value(value) => Compared::Value(self.values[value]),
        };
        Check { key: self.key(&condition.key), what, relation: condition.relation }
    }

    pub fn steps(&self, steps: &[Step]) -> Vec<(Key, Deed)> {
        let deed = |step: &Step| match step {
            Step::Get { .. } => Deed::Get,
            Step::Put { value, .. } => Deed::Put(self.values[value]),
            Step::Delete { .. } => Deed::Delete,
        };
        steps.iter().map(|step| (self.key(step.key()), deed(step))).collect()
    }

    pub fn span(&self, span: &Span) -> (Key, Key) {
        let below = |bound: &Bytes| self.keys.range(..bound.clone()).next_back();
        let place = |bound| below(bound).map_or(0, |(_, key)| key + 1);
        (place(&span.from), span.to.as_ref().map_or(self.keys.len() as Key, place))
    }
}

/// Shows `visitor` every key, and every value with its key.
fn visit(operation: &Operation, visitor: &mut impl FnMut(&Bytes, Option<&Seen>)) {
    let mut show = |key: &Bytes, value: Option<&Bytes>| {
        visitor(key, value.map(|value| Seen::value(value.clone())).as_ref());
    };
    let compared = |when: &Condition| match &when.what {
        What::Value(value) => Some(value.clone()),
        _ => None,
    };
    match &operation.action {
        Action::Get { key } | Action::Delete { key } => show(key, None),
        Action::Put { key, value } => show(key, Some(value)),
        Action::PutIf { when, value } => {
            show(&when.key, compared(when).as_ref());
            show(&when.key, Some(value));
        }
        Action::DeleteIf { when } => show(&when.key, compared(when).as_ref()),
        Action::Txn { when, then, or_else } => {
            for when in when {
                show(&when.key, compared(when).as_ref());
            }
            for step in then.iter().chain(or_else) {
                match step {
                    Step::Put { key, value } => show(key, Some(value)),
                    Step::Get { key } | Step::Delete { key } => show(key, None),
                }
            }
        }
        Action::Range { .. } => {}
    }
    let key = match &operation.action {
        Action::Get { key } | Action::Delete { key } | Action::Put { key, .. } => Some(key),
        Action::PutIf { when, .. } | Action::DeleteIf { when } => Some(&when.key),
        Action::Txn { .. } | Action::Range { .. } => None,
    };
    let Outcome::Ok(answer) = &operation.outcome else { return };
    match (answer, key, &operation.action) {
        (Answer::Range { pairs, .. }, ..) => {
            for pair in pairs {
                visitor(&pair.key, Some(&pair.seen));
            }
        }
        (Answer::Txn { succeeded, results, .. }, _, Action::Txn { then, or_else, .. }) => {
            let branch = if *succeeded { then } else { or_else };
            for (step, found) in branch.iter().zip(results) {
                if let Found::Present(seen) = found {
                    visitor(step.key(), Some(seen));
                }
            }
        }
        (
            Answer::Got(Found::Present(seen))
            | Answer::Done { before: Found::Present(seen), .. }
            | Answer::Conflict { found: Found::Present(seen), .. },
            Some(key),
            _,
        ) => visitor(key, Some(seen)),
        _ => {}
    }
}
