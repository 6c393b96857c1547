//! The history in its normal form: every operation a transaction or a read of a range, keys and
//! values as numbers in the order of their bytes, attempts under one id as one operation.
//!
//! What certainly did not happen, and reads without an answer, are left out: they say nothing.

use super::action::{Action, Answer, Found, Outcome, Seen, Span};
use super::evidence::Watched;
use super::names::Names;
use super::record::{Change, History, OpId, Operation};
use super::verdict::{Finding, Kind};
use crate::txn::Relation;
use crate::types::Revision;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A key, by its place in the order of all keys.
pub(super) type Key = u32;
/// A value, by its place in the order of all values.
pub(super) type Value = u32;
/// The end of what has none.
pub(super) const NEVER: u64 = u64::MAX;

/// A condition of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub key: Key,
    pub what: Compared,
    pub relation: Relation,
}

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    Version(u64),
    Created(u64),
    Modified(u64),
    Value(Value),
}

/// What a step does to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Get,
    Put(Value),
    Delete,
}

/// What was told of a key, as it was before the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    Untold,
    Absent,
    Present {
        value: Option<Value>,
        modified: Option<u64>,
        created: Option<u64>,
        version: Option<u64>,
    },
}

/// A read of the keys from `low` up to and without `high`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RangeRead {
    pub low: Key,
    pub high: Key,
    pub at: Option<u64>,
    pub pairs: Vec<(Key, Sight)>,
}

/// An operation in its normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Op {
    /// The operations of the history that it stands for.
    pub sources: Vec<OpId>,
    pub begin: u64,
    /// [`NEVER`] when nobody was answered: then it need not happen.
    pub end: u64,
    pub when: Vec<Check>,
    pub then: Vec<(Key, Deed)>,
    pub or_else: Vec<(Key, Deed)>,
    pub succeeded: Option<bool>,
    pub revision: Option<u64>,
    /// One for each step of the branch that was done; none when untold.
    pub results: Vec<Sight>,
    pub range: Option<RangeRead>,
}

impl Op {
    pub fn must(&self) -> bool {
        self.end != NEVER
    }

    /// Reports whether its answer says that it has changed nothing.
    pub fn is_idle(&self) -> bool {
        let absent = |at| matches!(self.results.get(at), Some(Sight::Absent));
        let idle = |(at, (_, deed)): (usize, &(Key, Deed))| match deed {
            Deed::Get => true,
            Deed::Delete => absent(at),
            Deed::Put(_) => false,
        };
        self.branch().is_some_and(|branch| self.must() && branch.iter().enumerate().all(idle))
    }

    /// Reports whether its answer tells a revision or a version.
    pub fn tells_revisions(&self) -> bool {
        let tells = |sight| match sight {
            Sight::Present { modified, created, version, .. } => {
                modified.or(created).or(version).is_some()
            }
            Sight::Untold | Sight::Absent => false,
        };
        self.revision.is_some() || self.sights().any(|(_, sight)| tells(sight))
    }

    /// Reports whether it compares a revision or a version.
    pub fn compares_revisions(&self) -> bool {
        let compares =
            |check: &Check| !matches!(check.what, Compared::Value(_) | Compared::Version(0));
        self.when.iter().any(compares)
    }

    /// The branch that was done, if that is known.
    pub fn branch(&self) -> Option<&[(Key, Deed)]> {
        match self.succeeded {
            Some(true) => Some(&self.then),
            Some(false) => Some(&self.or_else),
            None => self.when.is_empty().then_some(&self.then[..]),
        }
    }

    /// The changes that it certainly made.
    pub fn sure_changes(&self) -> impl Iterator<Item = (Key, Deed)> {
        let branch = self.branch().filter(|_| self.must()).unwrap_or_default();
        branch.iter().enumerate().filter_map(|(at, (key, deed))| match deed {
            Deed::Put(_) => Some((*key, *deed)),
            Deed::Delete if matches!(self.results.get(at), Some(Sight::Present { .. })) => {
                Some((*key, *deed))
            }
            _ => None,
        })
    }

    /// Every change that it may make.
    pub fn possible_changes(&self) -> impl Iterator<Item = (Key, Deed)> {
        let known = self.branch().filter(|_| self.must());
        let branches = known.map_or([&self.then[..], &self.or_else[..]], |branch| [branch, &[]]);
        branches.into_iter().flatten().copied().filter(|(_, deed)| *deed != Deed::Get)
    }

    /// Every key that it looks at or changes.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let steps = self.then.iter().chain(&self.or_else).map(|(key, _)| *key);
        let range = self.range.iter().flat_map(|range| range.low..range.high);
        self.when.iter().map(|check| check.key).chain(steps).chain(range)
    }

    /// What was told of which key, as it was before the operation.
    pub fn sights(&self) -> impl Iterator<Item = (Key, Sight)> {
        let steps = self.branch().unwrap_or_default().iter().map(|(key, _)| *key);
        let range = self.range.iter().flat_map(|range| &range.pairs).copied();
        steps.zip(self.results.iter().copied()).chain(range)
    }
}

/// A history in its normal form.
#[derive(Debug)]
pub(super) struct Compiled {
    /// Sorted by their begin.
    pub ops: Vec<Op>,
    pub keys: Vec<Bytes>,
    pub values: Vec<Bytes>,
    pub revision: u64,
    pub initial: Vec<(Key, Sight)>,
}

impl Compiled {
    /// The keys of `span`: from the first up to and without the second.
    pub fn span(&self, span: &Span) -> (Key, Key) {
        let place = |bound: &Bytes| self.keys.partition_point(|key| key < bound) as Key;
        (place(&span.from), span.to.as_ref().map_or(self.keys.len() as Key, place))
    }

    /// A change that a watch told; `None` when its key is nowhere else, which cannot be.
    pub fn watched(&self, change: &Change) -> Option<Watched> {
        let value = |value: &Bytes| self.values.binary_search(value).ok().map(|at| at as Value);
        let sight = |seen: &Seen| Sight::Present {
            value: seen.value.as_ref().and_then(value),
            modified: number(seen.mod_revision),
            created: number(seen.create_revision),
            version: seen.version,
        };
        let before = match &change.before {
            Found::Untold => Sight::Untold,
            Found::Absent => Sight::Absent,
            Found::Present(seen) => sight(seen),
        };
        let after = change.after.as_ref().map_or(Sight::Absent, sight);
        let key = self.keys.binary_search(&change.key).ok()? as Key;
        Some(Watched { key, after, before })
    }
}

/// Brings `history` into its normal form.
///
/// # Errors
/// An answer that does not fit what was asked, or another one to the same id.
pub(super) fn compile(history: &History) -> Result<Compiled, Finding> {
    let names = Names::of(history);
    let mut ops: Vec<Op> = Vec::with_capacity(history.operations.len());
    let mut by_id: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, operation) in history.operations.iter().enumerate() {
        if operation.outcome == Outcome::Failed {
            continue;
        }
        let op = normal(OpId(place), operation, &names)?;
        let reads = op.range.is_some() || op.possible_changes().next().is_none();
        let id = operation
            .id
            .as_deref()
            .filter(|_| !matches!(operation.action, Action::Get { .. } | Action::Range { .. }));
        if let Some(first) = id.and_then(|id| by_id.get(id)) {
            join(&mut ops[*first], op, history)?;
        } else if op.must() || !reads || id.is_some() {
            id.map(|id| by_id.insert(id, ops.len()));
            ops.push(op);
        }
    }
    ops.retain(|op| op.must() || op.possible_changes().next().is_some());
    ops.sort_by_key(|op| op.begin);
    let initial =
        history.initial.iter().map(|pair| (names.key(&pair.key), names.seen(&pair.seen))).collect();
    Ok(Compiled {
        ops,
        keys: names.keys.into_keys().collect(),
        values: names.values.into_keys().collect(),
        revision: history.revision.0,
        initial,
    })
}

fn number(revision: Option<Revision>) -> Option<u64> {
    revision.map(|revision| revision.0)
}

fn normal(id: OpId, operation: &Operation, names: &Names) -> Result<Op, Finding> {
    let mut op = Op {
        sources: vec![id],
        begin: operation.begin,
        end: NEVER,
        when: Vec::new(),
        then: Vec::new(),
        or_else: Vec::new(),
        succeeded: None,
        revision: None,
        results: Vec::new(),
        range: None,
    };
    let get = |key: &Bytes| vec![(names.key(key), Deed::Get)];
    match &operation.action {
        Action::Get { key } => op.then = get(key),
        Action::Put { key, value } => {
            op.then = vec![(names.key(key), Deed::Put(names.values[value]))];
        }
        Action::Delete { key } => op.then = vec![(names.key(key), Deed::Delete)],
        Action::PutIf { when, value } => {
            op.when = vec![names.check(when)];
            op.then = vec![(names.key(&when.key), Deed::Put(names.values[value]))];
            op.or_else = get(&when.key);
        }
        Action::DeleteIf { when } => {
            op.when = vec![names.check(when)];
            op.then = vec![(names.key(&when.key), Deed::Delete)];
            op.or_else = get(&when.key);
        }
        Action::Txn { when, then, or_else } => {
            op.when = when.iter().map(|when| names.check(when)).collect();
            op.then = names.steps(then);
            op.or_else = names.steps(or_else);
        }
        Action::Range { span, at } => {
            let (low, high) = names.span(span);
            op.range = Some(RangeRead { low, high, at: number(*at), pairs: Vec::new() });
        }
    }
    if let Outcome::Ok(answer) = &operation.outcome {
        op.end = operation.end.unwrap_or(NEVER - 1).max(operation.begin).min(NEVER - 1);
        answered(&mut op, &operation.action, answer, names).ok_or_else(|| {
            let text = "the answer does not belong to what was asked".into();
            Finding::new(Kind::Answer, vec![id], text)
        })?;
    }
    Ok(op)
}

/// Takes the answer in; `None` when it is none to `action`.
fn answered(op: &mut Op, action: &Action, answer: &Answer, names: &Names) -> Option<()> {
    let conditional = matches!(action, Action::PutIf { .. } | Action::DeleteIf { .. });
    match (action, answer) {
        (Action::Get { .. }, Answer::Got(found)) => op.results = vec![names.sight(found)],
        (Action::Put { .. } | Action::Delete { .. }, Answer::Done { revision, before }) => {
            op.revision = number(*revision);
            op.results = vec![names.sight(before)];
        }
        (_, Answer::Done { revision, before }) if conditional => {
            op.succeeded = Some(true);
            op.revision = number(*revision);
            op.results = vec![names.sight(before)];
        }
        (_, Answer::Conflict { revision, found }) if conditional => {
            op.succeeded = Some(false);
            op.revision = number(*revision);
            op.results = vec![names.sight(found)];
        }
        (Action::Txn { .. }, Answer::Txn { succeeded, revision, results }) => {
            op.succeeded = Some(*succeeded);
            op.revision = number(*revision);
            op.results = results.iter().map(|found| names.sight(found)).collect();
            let branch = if *succeeded { &op.then } else { &op.or_else };
            return (results.is_empty() || results.len() == branch.len()).then_some(());
        }
        (Action::Range { .. }, Answer::Range { revision, pairs }) => {
            let range = op.range.as_mut()?;
            let told = pairs.iter().map(|pair| (names.key(&pair.key), names.seen(&pair.seen)));
            range.pairs = told.collect();
            range.pairs.sort_by_key(|(key, _)| *key);
            let twice = range.pairs.windows(2).any(|two| two[0].0 == two[1].0);
            let outside = range.pairs.iter().any(|(key, _)| !(range.low..range.high).contains(key));
            op.revision = number(*revision).or(range.at);
            let other = range.at.is_some() && range.at != op.revision;
            return (!twice && !outside && !other).then_some(());
        }
        _ => return None,
    }
    Some(())
}

/// Makes one operation of two attempts under one id.
fn join(first: &mut Op, other: Op, history: &History) -> Result<(), Finding> {
    let differs = |kind, text: &str| {
        let ids = first.sources.iter().chain(&other.sources).copied().collect();
        Err(Finding::new(kind, ids, text.into()))
    };
    let action = |op: &Op| &history.operations[op.sources[0].0].action;
    if action(first) != action(&other) {
        return differs(Kind::Answer, "one id was used for two different requests");
    }
    if first.must() && other.must() {
        let contradict =
            |one: Option<u64>, other: Option<u64>| one.is_some() && other.is_some() && one != other;
        let results = first.results.iter().zip(&other.results);
        if first.succeeded != other.succeeded
            || contradict(first.revision, other.revision)
            || results.into_iter().any(|(one, other)| !one.agrees(other))
        {
            return differs(Kind::Once, "one request, sent several times, is answered differently");
        }
    }
    first.begin = first.begin.min(other.begin);
    if other.must() && (!first.must() || first.results.is_empty()) {
        first.results = other.results;
    }
    first.end = first.end.min(other.end);
    first.succeeded = first.succeeded.or(other.succeeded);
    first.revision = first.revision.or(other.revision);
    first.sources.extend(other.sources);
    Ok(())
}

impl Sight {
    /// Reports whether both may be told of one moment.
    pub fn agrees(&self, other: &Self) -> bool {
        fn same<T: PartialEq + Copy>(one: Option<T>, other: Option<T>) -> bool {
            one.is_none() || other.is_none() || one == other
        }
        match (self, other) {
            (Self::Untold, _) | (_, Self::Untold) | (Self::Absent, Self::Absent) => true,
            (
                Self::Present { value, modified, created, version },
                Self::Present {
                    value: value2,
                    modified: modified2,
                    created: created2,
                    version: version2,
                },
            ) => {
                same(*value, *value2)
                    && same(*modified, *modified2)
                    && same(*created, *created2)
                    && same(*version, *version2)
            }
            _ => false,
        }
    }

    /// The revision of its last change, as told.
    pub fn modified(&self) -> Option<u64> {
        match self {
            Self::Present { modified, .. } => *modified,
            _ => None,
        }
    }
}
