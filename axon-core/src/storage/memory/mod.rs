//! Storage in memory, for tests and for replicas that may forget.

mod log;

pub use self::log::MemLog;
