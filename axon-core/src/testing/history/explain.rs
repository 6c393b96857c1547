//! Why no order explains a history: the fewest operations that show it, by rules of two or three,
//! each of which is a contradiction in itself.

use super::compile::{Compiled, Deed, Key, Op, Sight, Value};
use super::evidence::{Evidence, Quiet};
use super::record::{History, OpId};
use super::verdict::{Finding, Kind};
use std::collections::{BTreeSet, HashMap};

/// Where rules look.
pub(super) struct Case<'a> {
    pub history: &'a History,
    pub compiled: &'a Compiled,
    pub evidence: &'a Evidence,
}

impl Case<'_> {
    /// The contradiction of the fewest operations that a rule finds.
    pub fn contradiction(&self) -> Option<Finding> {
        let rules = [
            Self::same_revision,
            Self::never_written,
            Self::not_yet_written,
            Self::other_writer,
            Self::done_twice,
            Self::made_by_nobody,
            Self::out_of_order,
            Self::missed_change,
            Self::missed_put,
        ];
        let found = rules.iter().filter_map(|rule| rule(self));
        found.min_by_key(|violation| violation.operations.len())
    }

    fn op(&self, place: u32) -> &Op {
        &self.compiled.ops[place as usize]
    }

    fn violation(&self, kind: Kind, ops: &[u32], reason: String) -> Finding {
        let sources = ops.iter().flat_map(|op| self.op(*op).sources.iter().copied());
        Finding::new(kind, sources.collect(), reason)
    }

    fn key(&self, key: Key) -> String {
        super::text::show(&self.compiled.keys[key as usize])
    }

    fn value(&self, value: Value) -> String {
        super::text::show(&self.compiled.values[value as usize])
    }

    /// Everything that was told of keys: who was told it, the key, what.
    fn sights(&self) -> impl Iterator<Item = (u32, Key, Sight)> {
        let ops = self.compiled.ops.iter().zip(0..);
        ops.flat_map(|(op, place)| op.sights().map(move |(key, sight)| (place, key, sight)))
    }

    /// Who may have written what.
    fn writers(&self) -> HashMap<(Key, Value), Vec<u32>> {
        let mut writers: HashMap<(Key, Value), Vec<u32>> = HashMap::new();
        for (op, place) in self.compiled.ops.iter().zip(0..) {
            for (key, deed) in op.possible_changes() {
                if let Deed::Put(value) = deed {
                    writers.entry((key, value)).or_default().push(place);
                }
            }
        }
        writers
    }

    fn same_revision(&self) -> Option<Finding> {
        let (one, other) = self.evidence.twice?;
        let reason = "two writes were told the same revision".into();
        Some(self.violation(Kind::Revision, &[one, other], reason))
    }

    /// A value that nobody wrote, or only who failed for certain.
    fn never_written(&self) -> Option<Finding> {
        let writers = self.writers();
        let initial = |key: Key, value: Value| {
            let sights = self.compiled.initial.iter().filter(|(there, _)| *there == key);
            sights.into_iter().any(|(_, sight)| {
                matches!(sight, Sight::Present { value: Some(there), .. } if *there == value)
            })
        };
        let (place, key, value) = self.sights().find_map(|(place, key, sight)| match sight {
            Sight::Present { value: Some(value), .. }
                if !writers.contains_key(&(key, value)) && !initial(key, value) =>
            {
                Some((place, key, value))
            }
            _ => None,
        })?;
        let (key, value) = (self.key(key), self.value(value));
        let reason =
            format!("{key} is {value}, which nobody wrote, or only who failed for certain");
        let mut violation = self.violation(Kind::Invented, &[place], reason);
        let failed = self.history.operations.iter().enumerate().find(|(_, operation)| {
            let failed = operation.outcome == super::action::Outcome::Failed;
            failed && super::verdict::line(operation).contains(&format!("put {key}={value}"))
        });
        violation.operations.extend(failed.map(|(place, _)| OpId(place)));
        Some(violation)
    }

    /// A value that was read before anybody had begun to write it.
    fn not_yet_written(&self) -> Option<Finding> {
        let writers = self.writers();
        let early = |place: u32, key, sight| {
            let Sight::Present { value: Some(value), modified, .. } = sight else { return None };
            let end = self.op(place).end;
            let made = modified.and_then(|revision| self.evidence.made.get(&revision));
            if let Some(writer) = made.filter(|writer| self.op(**writer).begin > end) {
                return Some([place, *writer]);
            }
            let all = writers.get(&(key, value))?;
            let first = all.iter().min_by_key(|writer| self.op(**writer).begin)?;
            let untouched = self.compiled.initial.iter().all(|(there, _)| *there != key);
            (untouched && self.op(*first).begin > end).then_some([place, *first])
        };
        let ops = self.sights().find_map(|(place, key, sight)| early(place, key, sight))?;
        Some(self.violation(
            Kind::Invented,
            &ops,
            "a write is shown before it was asked for".into(),
        ))
    }

    /// A revision of a key that another write was told to have made, of something else.
    fn other_writer(&self) -> Option<Finding> {
        let ops = self.sights().find_map(|(place, key, sight)| {
            let Sight::Present { value, modified: Some(modified), .. } = sight else { return None };
            let writer = *self.evidence.made.get(&modified)?;
            let fits = |deed| match deed {
                Deed::Put(put) => value.is_none_or(|value| value == put),
                Deed::Get | Deed::Delete => false,
            };
            let mut changes = self.op(writer).possible_changes();
            let wrote = changes.any(|(changed, deed)| changed == key && fits(deed));
            (!wrote).then_some([place, writer])
        })?;
        let reason = "the revision that is shown of a key was made by a write of something else";
        Some(self.violation(Kind::Revision, &ops, reason.into()))
    }

    /// What was written once, and is shown under two revisions.
    fn done_twice(&self) -> Option<Finding> {
        let writers = self.writers();
        let ops = self.sights().find_map(|(place, key, sight)| {
            let Sight::Present { value: Some(value), modified: Some(modified), .. } = sight else {
                return None;
            };
            let [writer] = writers.get(&(key, value))?[..] else { return None };
            let made = self.op(writer).revision?;
            (made != modified && self.op(writer).sure_changes().next().is_some())
                .then_some([place, writer])
        })?;
        let reason = "a write that was told one revision is shown under another: it took effect \
                      twice, or was told a wrong one";
        Some(self.violation(Kind::Once, &ops, reason.into()))
    }

    /// A revision that nobody can have made.
    fn made_by_nobody(&self) -> Option<Finding> {
        let writers = self.writers();
        let (place, revision) = self.sights().find_map(|(place, key, sight)| {
            let Sight::Present { value: Some(value), modified: Some(modified), .. } = sight else {
                return None;
            };
            let sure = |op: &Op| op.revision.is_some() && op.sure_changes().next().is_some();
            let unmade = modified > self.compiled.revision
                && !self.evidence.made.contains_key(&modified)
                && writers.get(&(key, value))?.iter().all(|writer| sure(self.op(*writer)));
            unmade.then_some((place, modified))
        })?;
        let reason = format!("revision {revision} is shown, and no write can have made it");
        Some(self.violation(Kind::Once, &[place], reason))
    }

    /// A write that ended before another began, and has the higher revision.
    fn out_of_order(&self) -> Option<Finding> {
        let mut made: Vec<(u64, u32)> =
            self.evidence.made.iter().map(|(revision, op)| (*revision, *op)).collect();
        made.sort_unstable();
        let mut latest: Option<u32> = None;
        for (_, op) in made {
            if let Some(latest) = latest.filter(|latest| self.op(*latest).begin > self.op(op).end) {
                let reason = "a write that ended before another began has the higher revision";
                return Some(self.violation(Kind::Revision, &[op, latest], reason.into()));
            }
            if latest.is_none_or(|latest| self.op(op).begin > self.op(latest).begin) {
                latest = Some(op);
            }
        }
        None
    }

    /// A key that is shown unchanged between two revisions, and a write of it in between.
    fn missed_change(&self) -> Option<Finding> {
        let mut changes: Vec<Vec<(u64, u32)>> = vec![Vec::new(); self.compiled.keys.len()];
        for (revision, place) in &self.evidence.made {
            for (key, _) in self.op(*place).sure_changes() {
                changes[key as usize].push((*revision, *place));
            }
        }
        let mut best: Option<(usize, Vec<u32>, Key)> = None;
        for (key, made) in changes.iter_mut().enumerate() {
            made.sort_unstable();
            for Quiet { from, to, told, bound } in &self.evidence.quiet[key] {
                let first = made.partition_point(|(revision, _)| revision <= from);
                for (_, writer) in made[first..].iter().take_while(|(revision, _)| revision <= to) {
                    let apart = self.op(*writer).end < self.op(*told).begin;
                    let mut ops = BTreeSet::from([*told, *writer]);
                    if !apart {
                        ops.insert(*bound);
                    }
                    if best.as_ref().is_none_or(|(count, ..)| ops.len() < *count) {
                        best = Some((ops.len(), ops.into_iter().collect(), key as Key));
                    }
                }
            }
        }
        let (_, ops, key) = best?;
        let told_by_write = ops.iter().all(|op| self.op(*op).possible_changes().next().is_some());
        let key = self.key(key);
        Some(if told_by_write {
            let reason =
                format!("a write of {key} was acknowledged, and a later one did not find it");
            self.violation(Kind::Lost, &ops, reason)
        } else {
            let reason = format!("{key} is shown as it was before a change that had to be seen");
            self.violation(Kind::Stale, &ops, reason)
        })
    }

    /// A key that is absent after it was stored, and that nobody can have removed.
    fn missed_put(&self) -> Option<Finding> {
        let mut puts: HashMap<Key, u32> = HashMap::new();
        let mut removed: BTreeSet<Key> = BTreeSet::new();
        for (op, place) in self.compiled.ops.iter().zip(0..) {
            for (key, deed) in op.possible_changes() {
                if deed == Deed::Delete {
                    removed.insert(key);
                }
            }
            for (key, deed) in op.sure_changes().filter(|(_, deed)| *deed != Deed::Delete) {
                debug_assert!(deed != Deed::Get, "a read changes nothing");
                let first = puts.entry(key).or_insert(place);
                if op.end < self.op(*first).end {
                    *first = place;
                }
            }
        }
        let missed = |place: u32, key: Key| {
            let put = *puts.get(&key).filter(|_| !removed.contains(&key))?;
            (self.op(put).end < self.op(place).begin).then_some((key, [put, place]))
        };
        let absent = self.sights().filter(|(_, _, sight)| *sight == Sight::Absent);
        let told = absent.map(|(place, key, _)| (place, key));
        let (key, ops) = told.chain(self.left_out()).find_map(|(place, key)| missed(place, key))?;
        let reason = format!("{} was stored, nobody removed it, and it is absent", self.key(key));
        Some(self.violation(Kind::Lost, &ops, reason))
    }

    /// The keys that a read of a range did not show.
    fn left_out(&self) -> impl Iterator<Item = (u32, Key)> {
        self.compiled.ops.iter().zip(0..).flat_map(|(op, place)| {
            let range = op.range.iter().filter(|range| range.at.is_none());
            range.flat_map(move |range| {
                let shown =
                    |key: &Key| range.pairs.binary_search_by_key(key, |pair| pair.0).is_ok();
                (range.low..range.high).filter(move |key| !shown(key)).map(move |key| (place, key))
            })
        })
    }
}
