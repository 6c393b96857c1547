//! What proves that a plug-in keeps its contract, and what the tests of Axon itself are made of.

pub mod dice;
pub mod faulty_disk;
pub mod state_suite;
