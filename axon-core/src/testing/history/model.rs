//! The store as it is promised to be: what an operation does to it, and whether its answer fits.

use super::compile::{Check, Compared, Compiled, Deed, Key, Op, RangeRead, Sight, Value};

/// The value of a key that is absent.
pub(super) const ABSENT: Value = Value::MAX;
/// The revision of a change of which no revision was told; only where revisions are not trusted.
const HIDDEN: u64 = u64::MAX;

/// A key as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    pub value: Value,
    pub version: u64,
    pub created: u64,
    pub modified: u64,
}

impl Cell {
    pub const NONE: Self = Self { value: ABSENT, version: 0, created: 0, modified: 0 };

    fn is_present(self) -> bool {
        self.value != ABSENT
    }
}

/// What of the answers has to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Everything, revisions and versions included: each change moves the one revision by one.
    Everything,
    /// Only values, and what is there or not. A revision only names the write that was told it.
    Values,
}

/// What an operation changes: keys, and what they are then.
pub(super) type Edits = Vec<(Key, Cell)>;

/// The store at one moment.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub revision: u64,
    pub cells: Vec<Cell>,
}

impl Store {
    pub fn start(history: &Compiled) -> Self {
        let mut cells = vec![Cell::NONE; history.keys.len()];
        for (key, sight) in &history.initial {
            if let Sight::Present { value: Some(value), modified, created, version } = *sight {
                let modified = modified.unwrap_or(HIDDEN);
                let created = created.unwrap_or(HIDDEN);
                let version = version.unwrap_or(HIDDEN);
                cells[*key as usize] = Cell { value, version, created, modified };
            }
        }
        Self { revision: history.revision, cells }
    }

    /// Reports whether `range` is what is here now.
    pub fn shows(&self, range: &RangeRead, exact: bool) -> bool {
        let cells = &self.cells[range.low as usize..range.high as usize];
        let present = cells.iter().filter(|cell| cell.is_present()).count();
        let mut pairs = range.pairs.iter();
        present == range.pairs.len()
            && pairs.all(|(key, sight)| fits(*sight, self.cells[*key as usize], exact))
    }

    /// Does `op`: puts what it changes into `edits`. `None` when its answer does not fit here.
    ///
    /// A read of the past fits once that is past; [`shows`](Self::shows) looks at it when it is present.
    /// A comparison that cannot be known is taken for `guess`; the answer says whether there was one.
    pub fn run(&self, op: &Op, trust: Trust, guess: bool, edits: &mut Edits) -> Option<bool> {
        edits.clear();
        let exact = trust == Trust::Everything;
        if let Some(range) = &op.range {
            if let Some(at) = range.at {
                return (!exact || at <= self.revision).then_some(false);
            }
            let now = !exact || op.revision.is_none_or(|told| told == self.revision);
            return (now && self.shows(range, exact)).then_some(false);
        }
        let near = |told| told == self.revision || told == self.revision + 1;
        if exact && !op.revision.is_none_or(near) {
            return None;
        }
        let mut guessed = false;
        let held = op.when.iter().all(|check| {
            holds(check, self.cells[check.key as usize]).unwrap_or_else(|| {
                guessed = true;
                guess
            })
        });
        if op.succeeded.is_some_and(|succeeded| succeeded != held) {
            return None;
        }
        let revision = if exact { self.revision + 1 } else { op.revision.unwrap_or(HIDDEN) };
        let branch = if held { &op.then } else { &op.or_else };
        for (at, (key, deed)) in branch.iter().enumerate() {
            let edited = edits.iter().find(|(edited, _)| edited == key).map(|(_, cell)| *cell);
            let before = edited.unwrap_or(self.cells[*key as usize]);
            if !fits(op.results.get(at).copied().unwrap_or(Sight::Untold), before, exact) {
                return None;
            }
            match deed {
                Deed::Put(value) => edits.push((*key, put(before, *value, revision))),
                Deed::Delete if before.is_present() => edits.push((*key, Cell::NONE)),
                Deed::Get | Deed::Delete => {}
            }
        }
        let after = self.revision + u64::from(!edits.is_empty());
        (!exact || op.revision.is_none_or(|told| told == after)).then_some(guessed)
    }
}

fn put(before: Cell, value: Value, revision: u64) -> Cell {
    let created = if before.is_present() { before.created } else { revision };
    Cell { value, version: before.version.saturating_add(1), created, modified: revision }
}

/// Reports whether `sight` may be told of `cell`.
pub(super) fn fits(sight: Sight, cell: Cell, exact: bool) -> bool {
    let same = |told: Option<u64>, is: u64| told.is_none_or(|told| told == is || is == HIDDEN);
    match sight {
        Sight::Untold => true,
        Sight::Absent => !cell.is_present(),
        Sight::Present { value, modified, created, version } => {
            cell.is_present()
                && value.is_none_or(|value| value == cell.value)
                && (!exact
                    || same(modified, cell.modified)
                        && same(created, cell.created)
                        && same(version, cell.version))
        }
    }
}

/// Reports whether `check` holds of `cell`; `None` when that cannot be known.
fn holds(check: &Check, cell: Cell) -> Option<bool> {
    let known = |is: u64, wanted: u64| (is != HIDDEN).then(|| check.relation.holds(&is, &wanted));
    match check.what {
        Compared::Value(value) => {
            Some(cell.is_present() && check.relation.holds(&cell.value, &value))
        }
        Compared::Version(0) if cell.is_present() => Some(!matches!(
            check.relation,
            crate::txn::Relation::Equal | crate::txn::Relation::Less
        )),
        Compared::Version(version) => known(cell.version, version),
        Compared::Created(revision) => known(cell.created, revision),
        Compared::Modified(revision) => known(cell.modified, revision),
    }
}
