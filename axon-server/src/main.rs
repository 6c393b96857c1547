//! Axon server.
fn main() {}
