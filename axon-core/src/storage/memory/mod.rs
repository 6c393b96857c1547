//! Storage in memory: for tests, and for replicas whose data may die with their process.

pub mod state;

pub use state::MemState;
