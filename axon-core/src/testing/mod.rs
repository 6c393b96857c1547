//! Conformance suites for plug-ins. Feature `testing`.

pub mod transport_suite;
