//! Axon server.
