//! Axon launcher.
fn main() {}
