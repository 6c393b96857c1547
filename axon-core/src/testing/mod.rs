//! Conformance suites and faulty seams, for plug-ins and tests (feature `testing`).

pub mod state_suite;
