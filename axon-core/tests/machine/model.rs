//! What the key space must be: a map of what there is now, and every version there ever was.

use super::{Map, history_key};
use axon_core::command::{Op, OpOutcome, Outcome, TxnOutcome};
use axon_core::machine::rows::{self, Kind};
use axon_core::storage::Space;
use axon_core::txn::{Compare, Op as TxnOp, Target, Txn};
use axon_core::types::{KeyValue, Revision};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A key's versions by revision; `None` is a delete.
type Versions = BTreeMap<u64, Option<KeyValue>>;

#[derive(Default)]
pub struct Model {
    pub revision: u64,
    now: BTreeMap<Bytes, KeyValue>,
    versions: BTreeMap<Bytes, Versions>,
    changes: BTreeMap<u64, Vec<(Bytes, Kind, Option<Revision>)>>,
}

impl Model {
    /// The key as it stood at `at`.
    pub fn read_at(&self, key: &Bytes, at: Revision) -> Option<KeyValue> {
        self.versions.get(key)?.range(..=at.0).next_back()?.1.clone()
    }

    pub fn run(&mut self, op: &Op) -> Outcome {
        let one = |op| Txn { then: vec![op], ..Txn::default() };
        match op {
            Op::Put { key, value } => {
                let (_, results) = self.change(&one(TxnOp::put(key.clone(), value.clone())));
                let [OpOutcome::Put { previous, .. }] = results[..] else { panic!("{results:?}") };
                Outcome::Put { revision: Revision(self.revision), previous }
            }
            Op::Delete { key } => {
                let (_, results) = self.change(&one(TxnOp::delete(key.clone())));
                let [OpOutcome::Deleted { previous }] = results[..] else { panic!("{results:?}") };
                Outcome::Deleted { revision: Revision(self.revision), previous }
            }
            Op::DeleteRange { range, limit } => {
                let within = self.now.keys().filter(|key| range.contains(key)).cloned();
                let mut keys: Vec<Bytes> = within.collect();
                let deleted = keys.len().min((*limit).max(1) as usize);
                let more = deleted < keys.len();
                keys.truncate(deleted);
                let then = keys.into_iter().map(TxnOp::delete).collect();
                self.change(&Txn { then, ..Txn::default() });
                let (revision, deleted) = (Revision(self.revision), deleted as u64);
                Outcome::DeletedRange { revision, deleted, more }
            }
            Op::Txn(txn) => {
                let (succeeded, results) = self.change(txn);
                let revision = Revision(self.revision);
                Outcome::Txn(TxnOutcome { succeeded, revision, results })
            }
            _ => unreachable!(),
        }
    }

    /// Does the transaction, one operation after the other.
    fn change(&mut self, txn: &Txn) -> (bool, Vec<OpOutcome>) {
        let before = self.now.clone();
        let done = self.branch(txn);
        let mut keys: Vec<Bytes> = before.keys().chain(self.now.keys()).cloned().collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| before.get(key) != self.now.get(key));
        if keys.is_empty() {
            return done;
        }
        self.revision += 1;
        for key in keys {
            let now = self.now.get(&key).cloned();
            let kind = if now.is_some() { Kind::Put } else { Kind::Delete };
            let previous = before.get(&key).map(|pair| pair.mod_revision);
            self.changes.entry(self.revision).or_default().push((key.clone(), kind, previous));
            self.versions.entry(key).or_default().insert(self.revision, now);
        }
        done
    }

    fn branch(&mut self, txn: &Txn) -> (bool, Vec<OpOutcome>) {
        let succeeded = txn.when.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.then } else { &txn.or_else };
        (succeeded, ops.iter().map(|op| self.step(op)).collect())
    }

    fn step(&mut self, op: &TxnOp) -> OpOutcome {
        match op {
            TxnOp::Get { key } => OpOutcome::Got(self.now.get(key).cloned()),
            TxnOp::Put { key, value } => {
                let before = self.now.get(key);
                let previous = before.map(|pair| pair.mod_revision);
                let version = before.map_or(0, |pair| pair.version) + 1;
                let mod_revision = Revision(self.revision + 1);
                let create_revision = before.map_or(mod_revision, |pair| pair.create_revision);
                let (key, value) = (key.clone(), value.clone());
                let pair =
                    KeyValue { key: key.clone(), value, create_revision, mod_revision, version };
                self.now.insert(key, pair);
                OpOutcome::Put { version, previous }
            }
            TxnOp::Delete { key } => {
                let previous = self.now.remove(key).map(|pair| pair.mod_revision);
                OpOutcome::Deleted { previous }
            }
            TxnOp::DeleteRange { range } => {
                let count = self.now.len();
                self.now.retain(|key, _| !range.contains(key));
                OpOutcome::DeletedRange { deleted: (count - self.now.len()) as u64 }
            }
            TxnOp::Txn(inner) => {
                let (succeeded, results) = self.branch(inner);
                OpOutcome::Txn { succeeded, results }
            }
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = self.now.get(&compare.key);
        let number = |of: fn(&KeyValue) -> u64, with: u64| {
            compare.relation.holds(&found.map_or(0, of), &with)
        };
        match &compare.target {
            Target::Version(version) => number(|pair| pair.version, *version),
            Target::CreateRevision(revision) => number(|pair| pair.create_revision.0, revision.0),
            Target::ModRevision(revision) => number(|pair| pair.mod_revision.0, revision.0),
            Target::Value(value) => {
                found.is_some_and(|pair| compare.relation.holds(&pair.value, value))
            }
        }
    }

    /// Checks that the rows are these versions and changes, and nothing else.
    pub fn check(&self, store: &Map) {
        let mut expected = BTreeMap::new();
        for (key, versions) in &self.versions {
            let newest = versions.keys().next_back().unwrap();
            for (revision, pair) in versions {
                let is_live = revision == newest && pair.is_some();
                let history = (Space::History, history_key(key, *revision));
                let place = if is_live { (Space::Kv, key.clone()) } else { history };
                expected.insert(place, (key.clone(), pair.clone()));
            }
        }
        let found = store.iter().filter(|((space, _), _)| *space != Space::Changes);
        let found = found.filter(|((space, _), _)| *space != Space::Sessions);
        let found: BTreeMap<_, _> = found
            .map(|((space, key), row)| {
                let name = match space {
                    Space::Kv => key.clone(),
                    _ => rows::history_key(key).unwrap().0,
                };
                let pair = rows::history(row).unwrap().map(|found| found.with_key(name.clone()));
                ((*space, key.clone()), (name, pair))
            })
            .collect();
        assert_eq!(found, expected, "every version has one row, and no row is too many");
        let changes = store.iter().filter(|((space, _), _)| *space == Space::Changes);
        let changes: BTreeMap<_, Vec<_>> = changes
            .map(|((_, key), row)| {
                let changes = rows::changes(row).unwrap().into_iter();
                let changes = changes.map(|change| (change.key, change.kind, change.previous));
                (rows::number(key).unwrap(), changes.collect())
            })
            .collect();
        assert_eq!(changes, self.changes, "one row a revision, without gaps, its keys in order");
    }
}
