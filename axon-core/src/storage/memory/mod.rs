//! Storage in memory: for tests, and for replicas whose data may die with their process.

mod log;
mod state;

pub use self::log::MemLog;
pub use self::state::MemState;
