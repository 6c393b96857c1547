//! The points that are tried, by the numbers under which they were asked for.

pub mod figures;
pub mod flips;
pub mod history;
pub mod jumps;
pub mod kills;
pub mod members;
pub mod pages;
pub mod pairs;
pub mod quorum;
pub mod restart;
pub mod retries;
pub mod swaps;
pub mod watches;
