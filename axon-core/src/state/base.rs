//! A checkpoint as it lies in the engine: the rows, and in `meta` what they belong to.
//!
//! The `meta` rows go in with the rows they describe, in one commit, and are read back from the same
//! view: where the log stood, the machine's registers, the joiners, the totals. All four are there
//! or none; none means that nothing was ever applied, and then there is no other row either.

use super::scrub::verify;
use super::seal::{Totals, count_bytes, seal, unseal};
use crate::machine::rows::{Reader, put_varint};
use crate::machine::{Machine, Registers, corrupt, nodes::Joiners, once};
use crate::storage::{Result, RowChange, Space, StateStore, StateView};
use crate::types::LogIndex;
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Bound;
use std::sync::Arc;

/// A place in the log, with what Raft must remember of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The last entry that was applied.
    pub index: LogIndex,
    /// Opaque: Raft's full name for that entry. Empty when nothing was applied yet.
    pub log_id: Bytes,
    /// Opaque: the membership as of that entry.
    pub membership: Bytes,
}

impl Position {
    /// Reports whether nothing was applied yet.
    #[must_use]
    pub fn is_start(&self) -> bool {
        self.log_id.is_empty()
    }

    /// Reports whether a state that stands here holds all that one at `other` holds.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.is_start() || (!self.is_start() && self.index >= other.index)
    }
}

const POSITION: &[u8] = b"position";
const REGISTERS: &[u8] = b"registers";
const JOINERS: &[u8] = b"joiners";
const TOTALS: &[u8] = b"totals";

const POSITION_FORMAT: u8 = 1;

fn encode_position(position: &Position) -> Bytes {
    let Position { index, log_id, membership } = position;
    let mut out = BytesMut::with_capacity(32 + log_id.len() + membership.len());
    out.put_u8(POSITION_FORMAT);
    put_varint(&mut out, index.0);
    put_varint(&mut out, log_id.len() as u64);
    out.extend_from_slice(log_id);
    out.extend_from_slice(membership);
    out.freeze()
}

fn decode_position(row: &Bytes) -> Result<Position> {
    let mut reader = Reader::new("position", row, POSITION_FORMAT)?;
    let index = LogIndex(reader.varint()?);
    let len = reader.varint()?;
    let log_id = reader.bytes(len)?;
    Ok(Position { index, log_id, membership: reader.rest() })
}

/// What a checkpoint holds besides its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub position: Position,
    pub registers: Registers,
    pub joiners: Joiners,
    pub totals: Totals,
    /// It was written before totals counted bytes: theirs are zero.
    pub uncounted: bool,
}

impl Summary {
    /// The `meta` rows, sealed, in key order.
    pub(crate) fn rows(&self) -> Vec<RowChange> {
        let rows = [
            (JOINERS, self.joiners.encode()),
            (POSITION, encode_position(&self.position)),
            (REGISTERS, self.registers.encode()),
            (TOTALS, self.totals.encode()),
        ];
        let mut arena = BytesMut::new();
        rows.into_iter()
            .map(|(key, row)| RowChange {
                space: Space::Meta,
                key: Bytes::from_static(key),
                value: Some(seal(Space::Meta, key, &row, &mut arena)),
            })
            .collect()
    }

    /// Reads the `meta` rows; `None` when nothing was ever applied.
    pub(crate) fn read(view: &dyn StateView) -> Result<Option<Self>> {
        let row = |key: &[u8]| match view.get(Space::Meta, key)? {
            Some(sealed) => unseal(Space::Meta, key, sealed).map(Some),
            None => Ok(None),
        };
        match (row(JOINERS)?, row(POSITION)?, row(REGISTERS)?, row(TOTALS)?) {
            (Some(joiners), Some(position), Some(registers), Some(totals)) => {
                let (totals, uncounted) = Totals::decode(&totals)?;
                Ok(Some(Self {
                    position: decode_position(&position)?,
                    registers: Registers::decode(&registers)?,
                    joiners: Joiners::decode(&joiners)?,
                    totals,
                    uncounted,
                }))
            }
            (None, None, None, None) => check_empty(view).map(|()| None),
            _ => Err(corrupt("meta", "rows are missing")),
        }
    }
}

impl Summary {
    /// Reads the `meta` rows and holds every other row against them.
    pub(crate) fn verified(view: &dyn StateView) -> Result<Option<Self>> {
        let Some(mut summary) = Self::read(view)? else { return Ok(None) };
        summary.count(view)?;
        verify(view, summary.totals)?;
        Ok(Some(summary))
    }

    /// Changes what a checkpoint holds besides its rows, which stay as they are.
    pub(crate) fn rewrite<T>(
        store: &dyn StateStore,
        change: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let view = store.view()?;
        let mut summary =
            Self::read(&*view)?.ok_or_else(|| corrupt("meta", "nothing was ever applied"))?;
        summary.count(&*view)?;
        let result = change(&mut summary)?;
        store.commit(&mut summary.rows().into_iter())?;
        Ok(result)
    }

    fn count(&mut self, view: &dyn StateView) -> Result<()> {
        if std::mem::take(&mut self.uncounted) {
            self.totals.bytes = count_bytes(view)?;
        }
        Ok(())
    }
}

fn check_empty(view: &dyn StateView) -> Result<()> {
    for space in Space::ALL {
        if view.scan(space, Bound::Unbounded, Bound::Unbounded, false)?.next().is_some() {
            return Err(corrupt("meta", format_args!("rows are missing, {space:?} has some")));
        }
    }
    Ok(())
}

/// The base of the state: one view of the engine, shared by all who read until the next checkpoint.
pub(crate) struct Base {
    pub view: Arc<dyn StateView>,
    pub position: Position,
    /// Of exactly its rows.
    pub totals: Totals,
}

impl Base {
    /// Reads one row.
    pub(crate) fn get(&self, space: Space, key: &Bytes) -> Result<Option<Bytes>> {
        let sealed = self.view.get(space, key)?;
        sealed.map(|sealed| unseal(space, key, sealed)).transpose()
    }
}

/// A state as it was read from the engine.
pub(crate) struct Loaded {
    pub base: Arc<Base>,
    pub machine: Machine,
}

impl Loaded {
    /// Reads the state from a view, and checks every row when `scrub` says so.
    pub(crate) fn read(view: Arc<dyn StateView>, scrub: bool) -> Result<Self> {
        let mut summary = Summary::read(&*view)?.unwrap_or_default();
        summary.count(&*view)?;
        let Summary { position, registers, joiners, totals, .. } = summary;
        if scrub {
            verify(&*view, totals)?;
        }
        let until = Bound::Excluded(once::ROWS_FROM);
        let sessions = view.scan(Space::Sessions, Bound::Unbounded, until, false)?.map(|row| {
            let (key, sealed) = row?;
            let row = unseal(Space::Sessions, &key, sealed)?;
            Ok((key, row))
        });
        let machine = Machine::load(registers, joiners, sessions)?;
        let once_rows = machine.registers.once_kept().saturating_mul(2);
        if totals.rows[3].checked_sub(once_rows) != Some(machine.session_count() as u64) {
            return Err(corrupt("sessions", "rows are missing"));
        }
        Ok(Self { base: Arc::new(Base { view, position, totals }), machine })
    }
}
