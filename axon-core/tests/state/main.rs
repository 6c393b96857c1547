//! The two-level state, through what its owner calls.

#![allow(clippy::unwrap_used, reason = "tests")]

mod checkpoints;
mod compaction;
mod damage;
mod full_disk;
mod hashes;
mod layers;
mod past;
mod snapshots;
mod support;
