//! Scrubs: reading every row of a base, to see whether it is what was written.
//!
//! A read checks the row that it reads, and nobody reads most rows for a long time; and of a row that is
//! missing, or an old one that is back, no row's checksum tells. A scrub adds up what there is, and
//! compares the sum with the one that was committed with the base: the base at X with the hash at X. It
//! never looks at the overlay, so that apply and checkpoints go on meanwhile. Invariants:
//!
//! * a scrub is of one base from beginning to end: it holds that base's view, and with it the pages that
//!   the engine would use again; so it ends, or is dropped;
//! * each row is read twice, by scan and by key: damage to what an engine keeps between its rows can
//!   lead a search astray while a scan still passes.

use super::StateReader;
use super::base::{Base, Position, Summary};
use super::overlay::SPACES;
use super::seal::{RowHasher, Totals, unseal};
use crate::bug::{self, Bug};
use crate::machine::corrupt;
use crate::storage::{Result, StateView};
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// A scrub that is under way. Between two steps nothing happens.
pub struct Scrub {
    base: Arc<Base>,
    sum: Sum,
}

/// What was read so far of a view.
#[derive(Default)]
struct Sum {
    found: Totals,
    hasher: RowHasher,
    /// The place in `SPACES` of the space that is read, and the last key that was.
    space: usize,
    last: Option<Bytes>,
}

impl Sum {
    /// Reads on for about `bytes`; `true` when there is nothing more.
    fn read_on(&mut self, view: &dyn StateView, bytes: u64) -> Result<bool> {
        let mut left = bytes;
        while let Some(space) = SPACES.get(self.space).copied() {
            let from = self.last.clone();
            let start = from.as_ref().map_or(Bound::Unbounded, |last| Bound::Excluded(&last[..]));
            for row in view.scan(space, start, Bound::Unbounded, false)? {
                let (key, sealed) = row?;
                if view.get(space, &key)?.as_ref() != Some(&sealed) {
                    let key = key.escape_ascii();
                    return Err(corrupt(
                        "a row is not found by its key",
                        format!("{space:?} {key}"),
                    ));
                }
                let row = unseal(space, &key, sealed)?;
                self.found.add(&mut self.hasher, space, &key, &row);
                left = left.saturating_sub((key.len() + row.len()) as u64);
                if left == 0 {
                    self.last = Some(key);
                    return Ok(false);
                }
            }
            (self.space, self.last) = (self.space + 1, None);
        }
        Ok(true)
    }

    fn compare(&self, expected: Totals) -> Result<()> {
        if self.found == expected || bug::on(Bug::IgnoreChecksum) {
            return Ok(());
        }
        let reason = format!("{:x?}, not {expected:x?}", self.found);
        Err(corrupt("the state's hash does not match", reason))
    }
}

/// Reads every row of a base, and computes what its totals must be.
pub fn scrub(view: &dyn StateView) -> Result<Totals> {
    let mut sum = Sum::default();
    sum.read_on(view, u64::MAX)?;
    Ok(sum.found)
}

/// Fails when a base does not hash to `expected`.
pub(super) fn verify(view: &dyn StateView, expected: Totals) -> Result<()> {
    let mut sum = Sum::default();
    sum.read_on(view, u64::MAX)?;
    sum.compare(expected)
}

impl Scrub {
    /// Begins one of the present base; `None` when that holds nothing yet.
    pub fn begin(reader: &StateReader) -> Option<Self> {
        let base = reader.inner.moment().base.clone();
        (!base.position.is_start()).then(|| Self { base, sum: Sum::default() })
    }

    /// Reads on for about `bytes`, but for one row at least. `true`: that was all, and it is what was
    /// written.
    ///
    /// # Errors
    /// What is not as it was written. Nobody else was told.
    pub fn step(&mut self, bytes: u64) -> Result<bool> {
        let Base { view, totals, position } = &*self.base;
        if !self.sum.read_on(&**view, bytes)? {
            return Ok(false);
        }
        self.sum.compare(*totals)?;
        let summary = Summary::read(&**view)?.unwrap_or_default();
        if summary.position != *position || (!summary.uncounted && summary.totals != *totals) {
            return Err(corrupt("meta", "it is not what the last checkpoint wrote"));
        }
        Ok(true)
    }

    /// Where the base stands.
    pub fn position(&self) -> &Position {
        &self.base.position
    }

    /// The rows that were read so far, and their bytes.
    pub fn read(&self) -> (u64, u64) {
        (self.sum.found.rows.iter().sum(), self.sum.found.bytes.iter().sum())
    }
}
