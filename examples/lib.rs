//! Axon's examples.
