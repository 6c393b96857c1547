//! What proves that a plug-in keeps its contract, and what the tests of Axon itself are made of
//! (feature `testing`).

pub mod bug;
pub mod dice;
pub mod engine_suite;
pub mod faulty_disk;
pub mod history;
pub mod log_suite;
pub mod state_suite;
pub mod tamper;
pub mod transport_suite;
