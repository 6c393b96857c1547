//! A store as simple as can be: what is promised, without any of the machinery.

use axon_core::testing::history::{
    Action, Answer, Change, Condition, Found, Pair, Seen, Step, What,
};
use axon_core::types::{KeyValue, Revision};
use bytes::Bytes;
use std::collections::BTreeMap;

type Pairs = BTreeMap<Bytes, KeyValue>;

/// The store, with its past if that is wanted.
#[derive(Debug, Clone)]
pub struct Store {
    revision: u64,
    now: Pairs,
    /// By revision.
    past: Option<Vec<Pairs>>,
    /// What each revision changed, in the order of keys; the first one is nothing.
    pub log: Vec<Vec<Change>>,
    answered: BTreeMap<String, Answer>,
}

impl Store {
    pub fn new() -> Self {
        Self { past: Some(vec![Pairs::new()]), ..Self::without_past() }
    }

    pub fn without_past() -> Self {
        let (now, answered) = (Pairs::new(), BTreeMap::new());
        Self { revision: 0, now, past: None, log: vec![Vec::new()], answered }
    }

    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    pub fn now(&self) -> &Pairs {
        &self.now
    }

    fn at(&self, revision: Revision) -> Option<&Pairs> {
        if revision.0 == self.revision {
            return Some(&self.now);
        }
        self.past.as_ref()?.get(usize::try_from(revision.0).unwrap())
    }

    fn found(&self, key: &Bytes) -> Found {
        self.now.get(key).cloned().into()
    }

    /// Does `action`, once for each id. `None`: the past that it asks for is the future.
    pub fn once(&mut self, id: Option<&String>, action: &Action) -> Option<Answer> {
        if let Some(answer) = id.and_then(|id| self.answered.get(id)) {
            return Some(answer.clone());
        }
        let answer = self.act(action)?;
        if let Some(id) = id {
            self.answered.insert(id.clone(), answer.clone());
        }
        Some(answer)
    }

    fn act(&mut self, action: &Action) -> Option<Answer> {
        Some(match action {
            Action::Get { key } => Answer::Got(self.found(key)),
            Action::Put { key, value } => self.write(&Step::put(key.clone(), value.clone())),
            Action::Delete { key } => self.write(&Step::delete(key.clone())),
            Action::PutIf { when, value } if self.holds(when) => {
                self.write(&Step::put(when.key.clone(), value.clone()))
            }
            Action::DeleteIf { when } if self.holds(when) => {
                self.write(&Step::delete(when.key.clone()))
            }
            Action::PutIf { when, .. } | Action::DeleteIf { when } => {
                Answer::Conflict { revision: Some(self.revision()), found: self.found(&when.key) }
            }
            Action::Txn { when, then, or_else } => {
                let succeeded = when.iter().all(|when| self.holds(when));
                let results = self.steps(if succeeded { then } else { or_else });
                Answer::Txn { succeeded, revision: Some(self.revision()), results }
            }
            Action::Range { span, at } => {
                let revision = at.unwrap_or(self.revision());
                let pairs = self.at(revision)?.values().cloned();
                let pairs = pairs.filter(|pair| span.contains(&pair.key)).map(Pair::from).collect();
                Answer::Range { revision: Some(revision), pairs }
            }
        })
    }

    fn write(&mut self, step: &Step) -> Answer {
        let before = self.steps(std::slice::from_ref(step)).remove(0);
        Answer::Done { revision: Some(self.revision()), before }
    }

    fn steps(&mut self, steps: &[Step]) -> Vec<Found> {
        let revision = self.revision().next();
        let mut pairs = self.now.clone();
        let mut changes = Vec::new();
        let mut results = Vec::new();
        for step in steps {
            let key = step.key();
            let before: Found = pairs.get(key).cloned().into();
            results.push(before.clone());
            let change = |after| changes.push(Change { key: key.clone(), after, before });
            match step {
                Step::Get { .. } => {}
                Step::Put { value, .. } => {
                    let before = pairs.get(key);
                    let pair = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: before.map_or(revision, |before| before.create_revision),
                        mod_revision: revision,
                        version: before.map_or(0, |before| before.version) + 1,
                    };
                    change(Some(pair.clone().into()));
                    pairs.insert(key.clone(), pair);
                }
                Step::Delete { .. } => {
                    if pairs.remove(key).is_some() {
                        change(None);
                    }
                }
            }
        }
        if !changes.is_empty() {
            changes.sort_by(|one, other| one.key.cmp(&other.key));
            self.revision += 1;
            self.log.push(changes);
            if let Some(past) = &mut self.past {
                past.push(pairs.clone());
            }
            self.now = pairs;
        }
        results
    }

    fn holds(&self, when: &Condition) -> bool {
        let pair = self.now.get(&when.key);
        let relation = when.relation;
        match &when.what {
            What::Version(version) => relation.holds(&pair.map_or(0, |pair| pair.version), version),
            What::CreateRevision(revision) => {
                relation.holds(&pair.map_or(Revision(0), |pair| pair.create_revision), revision)
            }
            What::ModRevision(revision) => {
                relation.holds(&pair.map_or(Revision(0), |pair| pair.mod_revision), revision)
            }
            What::Value(value) => pair.is_some_and(|pair| relation.holds(&pair.value, value)),
        }
    }
}

/// Reports whether `told` is `full`, or less of it.
pub fn is_part(told: &Answer, full: &Answer) -> bool {
    match (told, full) {
        (Answer::Got(told), Answer::Got(full)) => found(told, full),
        (Answer::Done { revision, before: told }, Answer::Done { revision: is, before: full })
        | (
            Answer::Conflict { revision, found: told },
            Answer::Conflict { revision: is, found: full },
        ) => same(revision.as_ref(), is.as_ref()) && found(told, full),
        (
            Answer::Txn { succeeded, revision, results: told },
            Answer::Txn { succeeded: does, revision: is, results: full },
        ) => {
            succeeded == does
                && same(revision.as_ref(), is.as_ref())
                && (told.is_empty() || told.len() == full.len())
                && told.iter().zip(full).all(|(told, full)| found(told, full))
        }
        (Answer::Range { revision, pairs: told }, Answer::Range { revision: is, pairs: full }) => {
            same(revision.as_ref(), is.as_ref())
                && told.len() == full.len()
                && told
                    .iter()
                    .zip(full)
                    .all(|(told, full)| told.key == full.key && seen(&told.seen, &full.seen))
        }
        _ => false,
    }
}

fn same<T: PartialEq>(told: Option<&T>, is: Option<&T>) -> bool {
    told.is_none() || told == is
}

fn found(told: &Found, full: &Found) -> bool {
    match (told, full) {
        (Found::Untold, _) | (Found::Absent, Found::Absent) => true,
        (Found::Present(told), Found::Present(full)) => seen(told, full),
        _ => false,
    }
}

fn seen(told: &Seen, full: &Seen) -> bool {
    same(told.value.as_ref(), full.value.as_ref())
        && same(told.mod_revision.as_ref(), full.mod_revision.as_ref())
        && same(told.create_revision.as_ref(), full.create_revision.as_ref())
        && same(told.version.as_ref(), full.version.as_ref())
}
