//! Axon: a strongly consistent, replicated key-value store that lives inside your process.
//!
//! A service links this crate and holds a replica: reads are local memory and disk, writes are
//! agreed on by a majority of replicas. Start at [`Cluster::open`] (one durable replica, no network,
//! no configuration) or [`Cluster::builder`] (a replica among others); what you do with data is
//! [`Store`]. `docs/guide.md` explains both to a person who is new to all of it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
//! # let dir = tempfile::tempdir().expect("a directory");
//! let cluster = axon_core::Cluster::open(dir.path()).await?;
//! let store = cluster.store();
//! let written = store.put("greeting", "hello").await?;
//! let found = store.get("greeting").await?.expect("just written");
//! assert_eq!(found.mod_revision, written.revision);
//! cluster.shutdown().await
//! # }
//! ```
//!
//! # Promises
//!
//! * **Linearizable**: a read sees every write that was acknowledged before it began, on any
//!   replica ([`store::ReadConsistency`] trades that for speed, when you say so).
//! * **Durable**: acknowledged means synced on a majority. No crash, power cut or `kill -9` of any
//!   number of replicas loses an acknowledged write, as long as their disks survive.
//! * **Once**: a write happens once, however often it is sent on its way to the log.
//! * **One cluster**: only [`config::Origin::Init`] makes one, once; ids are never used again.
//! * **Down rather than wrong**: a failed sync, a checksum that does not match, a state that cannot
//!   be read halts the replica, and it says why ([`Cluster::stopped`]).
//! * **Checked**: members compare the hashes of their states and read them back from the disk, and one
//!   that differs from a majority halts; its next start is a new node with what the others hold
//!   ([`Config::compare_revisions`], [`Config::scrub_interval`]).
//! * **Bounded**: every queue, buffer and wait has a limit; beyond it there is an error that tells
//!   what to do ([`Error::is_retryable`], [`Error::outcome`]).
//!
//! # Limits and caveats
//!
//! * Keys of 1 B to 4 KiB, values up to 1 MiB by default, a command of at most 16 MiB.
//! * History is kept for 1 h and 1 GiB by default ([`config::History`]); what is older cannot be read
//!   or watched any more ([`Error::Compacted`]).
//! * Replicas prove a shared secret to each other ([`cluster::Builder::secret`]) and turn strangers away.
//!   What they say then is neither encrypted nor signed: keep it on a network on which nobody listens
//!   in or interferes.
//! * An old copy of a data directory put back under a running cluster cannot be detected.
//!
//! # Where things are
//!
//! [`store`] and [`cluster`] are the surface. Below it, lowest first: [`types`], [`error`],
//! [`codec`], [`runtime`] (the seams to tasks, threads, clocks and chance); [`command`] and
//! [`config`]; the traits of [`storage`] and [`transport`] for plug-ins; [`machine`] (what a command
//! means), [`state`] (memory over checkpoints); then consensus, identity and membership, which are
//! private. `ARCHITECTURE.md` tells the path of a write and of a read through them.

#![deny(missing_docs)]

pub mod backup;
mod bug;
pub mod cluster;
pub mod codec;
pub mod command;
mod compaction;
pub mod config;
mod discovery;
pub mod error;
pub mod events;
mod founding;
mod headroom;
pub mod histogram;
mod identity;
mod integrity;
pub mod machine;
mod membership;
mod raft;
pub mod recovery;
pub mod runtime;
pub mod secret;
mod session;
pub mod state;
pub mod status;
pub mod storage;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
pub mod transport;
pub mod txn;
pub mod types;
pub mod watch;

pub use cluster::Cluster;
pub use config::Config;
pub use error::Error;
pub use store::Store;
pub use txn::{Compare, Op};
