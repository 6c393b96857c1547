//! The points that are tried, by the numbers under which they were asked for.

pub mod figures;
pub mod flips;
pub mod kills;
pub mod members;
pub mod pairs;
pub mod quorum;
pub mod restart;
