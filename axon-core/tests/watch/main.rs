//! Watches: feeds over a state, then watches of real replicas.

#![allow(clippy::unwrap_used, reason = "tests")]

mod feeds;
mod model;
mod replicas;
#[path = "../state/support.rs"]
#[allow(dead_code, reason = "the tests of the state use the rest")]
mod support;
mod world;
