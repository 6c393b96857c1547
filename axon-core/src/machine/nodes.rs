//! Node ids: strictly increasing, never used twice.
//!
//! A joiner that asks again with the same nonce gets the same id, so that a lost answer does not
//! burn one. The table of nonces is bounded: the oldest goes first, and its holder, should it ask
//! again, gets a new id; the old one is burnt, never reused.

use super::rows::{Reader, put_varint};
use crate::bug::{self, Bug};
use crate::command::Outcome;
use crate::storage::Result;
use crate::types::NodeId;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// Nonces remembered at once.
pub const JOINERS_MAX: usize = 1_024;

const FORMAT: u8 = 1;

/// Who was given an id and has not settled yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joiners {
    nonces: BTreeMap<NodeId, u128>,
}

impl Joiners {
    /// Gives the holder of `nonce` its id.
    pub fn allocate(&mut self, last: &mut NodeId, nonce: u128) -> Outcome {
        let known = self.nonces.iter().find(|(_, known)| **known == nonce).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| {
            if !bug::on(Bug::ReuseNodeId) {
                *last = last.next();
            }
            self.nonces.insert(*last, nonce);
            if self.nonces.len() > JOINERS_MAX {
                self.nonces.pop_first();
            }
            *last
        });
        Outcome::NodeAllocated(id)
    }

    /// Whether `id` was given to the holder of `nonce`, who has not settled yet.
    #[must_use]
    pub fn holds(&self, id: NodeId, nonce: u128) -> bool {
        self.nonces.get(&id) == Some(&nonce)
    }

    /// Whether `id` was given to someone who has not settled yet.
    #[must_use]
    pub fn remembers(&self, id: NodeId) -> bool {
        self.nonces.contains_key(&id)
    }

    /// Forgets the nonce of a node that has joined.
    pub fn settle(&mut self, id: NodeId) {
        self.nonces.remove(&id);
    }

    /// Encodes the row.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + self.nonces.len() * 24);
        out.put_u8(FORMAT);
        for (id, nonce) in &self.nonces {
            put_varint(&mut out, id.0);
            out.put_u128(*nonce);
        }
        out.freeze()
    }

    /// Decodes the row.
    pub fn decode(row: &Bytes) -> Result<Self> {
        let mut reader = Reader::new("joiners", row, FORMAT)?;
        let mut nonces = BTreeMap::new();
        while reader.remaining() > 0 {
            nonces.insert(NodeId(reader.varint()?), u128::from_be_bytes(reader.array()?));
        }
        Ok(Self { nonces })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_repeated_nonce_gets_its_id_again_and_no_id_is_given_twice() {
        let (mut joiners, mut last) = (Joiners::default(), NodeId(3));
        assert_eq!(joiners.allocate(&mut last, 7), Outcome::NodeAllocated(NodeId(4)));
        assert_eq!(joiners.allocate(&mut last, 7), Outcome::NodeAllocated(NodeId(4)));
        assert_eq!(joiners.allocate(&mut last, 8), Outcome::NodeAllocated(NodeId(5)));
        joiners.settle(NodeId(4));
        assert_eq!(joiners.allocate(&mut last, 7), Outcome::NodeAllocated(NodeId(6)));
        assert_eq!(Joiners::decode(&joiners.encode()).unwrap(), joiners);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest_first() {
        let (mut joiners, mut last) = (Joiners::default(), NodeId(0));
        for nonce in 0..=JOINERS_MAX as u128 {
            joiners.allocate(&mut last, nonce);
        }
        assert_eq!(joiners.nonces.len(), JOINERS_MAX);
        let fresh = Outcome::NodeAllocated(last.next());
        assert_eq!(joiners.allocate(&mut last, 0), fresh, "its id is burnt");
        assert_eq!(joiners.allocate(&mut last, 900), Outcome::NodeAllocated(NodeId(901)));
    }
}
