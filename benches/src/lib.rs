//! Axon's benchmarks.
