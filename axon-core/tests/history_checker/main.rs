//! The judge is judged: the history checker against all orders of small histories, against every kind
//! of wrong history that a store could make, and against the clock.
//!
//! A failure prints the seed that replays it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod brute;
mod generate;
mod mutate;
mod power;
mod speed;
mod store;
mod watched;
