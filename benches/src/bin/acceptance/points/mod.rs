//! The points that are tried, by the numbers under which they were asked for.

pub mod births;
pub mod figures;
pub mod flips;
pub mod full;
pub mod history;
pub mod joiners;
pub mod jumps;
pub mod kills;
pub mod leaving;
pub mod members;
pub mod outcasts;
pub mod pages;
pub mod pairs;
pub mod quorum;
pub mod recovery;
pub mod restart;
pub mod retries;
pub mod rolling;
pub mod strangers;
pub mod swaps;
pub mod watches;
pub mod wiped;
