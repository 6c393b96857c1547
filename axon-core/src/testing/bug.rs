//! Bugs to be planted on purpose: a test that is to find something is tried on each of them.

pub use crate::bug::{Bug, on, plant};
