//! Axon: a strongly consistent, replicated key-value store that lives inside your process.

#![deny(missing_docs)]

pub mod cluster;
pub mod codec;
pub mod command;
pub mod config;
pub mod error;
mod founding;
mod identity;
pub mod machine;
mod membership;
mod raft;
pub mod runtime;
mod session;
pub mod state;
pub mod status;
pub mod storage;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
pub mod types;

pub use cluster::Cluster;
pub use config::Config;
pub use error::Error;
pub use store::Store;
