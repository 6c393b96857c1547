//! Consensus: the only place that names openraft.
//!
//! Hides *how replicas agree*. Above it there are bytes to propose, outcomes, and an index to wait
//! for; below it a [`LogStore`](crate::storage::LogStore), a [`State`](crate::state::State) and a
//! [`Transport`](crate::transport::Transport). What it relies on:
//!
//! * votes and entries go through one ordered queue of the log, a vote durable before any entry of
//!   its term;
//! * a checkpoint never runs ahead of this replica's own durable log ([`log`], "durable");
//! * a node id is never used twice.

pub(crate) mod change;
pub(crate) mod chronicle;
pub(crate) mod clock;
pub(crate) mod doorstep;
pub(crate) mod engine;
pub(crate) mod entry;
pub(crate) mod forward;
pub(crate) mod inbound;
pub(crate) mod log;
pub(crate) mod message;
pub(crate) mod network;
pub(crate) mod offline;
pub(crate) mod peers;
pub(crate) mod reads;
pub(crate) mod reception;
pub(crate) mod room;
pub(crate) mod route;
pub(crate) mod snapshot;
pub(crate) mod soundness;
mod standing;
pub(crate) mod state;
#[cfg(test)]
mod suite;
pub(crate) mod whereabouts;

use crate::command::Outcome;
use crate::config::Config;
use crate::runtime;
use crate::types::Member;
use bytes::Bytes;
use openraft::impls;
use openraft::vote::RaftLeaderId;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftTypeConfig, SnapshotPolicy};
use openraft_rt::AsyncRuntime;
use openraft_rt_tokio::TokioRuntime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// What is put into the log for a client: an encoded command and the leader's stamp.
///
/// The command was encoded once, by the replica that the client called; it is decoded once, when
/// it is applied.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    /// Cluster time at the leader when it was proposed.
    pub(crate) stamp_millis: u64,
    /// `codec::encode(&Command)`.
    pub(crate) command: Bytes,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} ms", self.command.len(), self.stamp_millis)
    }
}

/// The types that openraft is used with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Outcome;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = impls::leader_id_std::LeaderId<u64, u64>;
    type Vote = impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Proposal, u64, Member>;
    type Entry = impls::Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = Rt;
    type Responder<T>
        = impls::OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = AnyError;
}

pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Raft = openraft::Raft<TypeConfig, state::StateMachine>;

/// openraft's settings.
pub(crate) fn settings(config: &Config) -> openraft::Config {
    let millis = |duration: Duration| duration.as_millis() as u64;
    let election_max = millis(config.election_timeout_max);
    openraft::Config {
        cluster_name: "axon".into(),
        heartbeat_interval: millis(config.heartbeat_interval),
        election_timeout_min: millis(config.election_timeout_min),
        election_timeout_max: election_max,
        enable_pre_vote: Some(true),
        // Without it a bridge partition can leave a leader that nobody hears.
        quorum_loss_probe_interval: Some(2 * election_max),
        // A restarted leader must win an election: it could serve reads below what it acknowledged.
        enable_leader_restore: Some(false),
        max_payload_entries: 1024,
        max_append_entries: Some(4096),
        replication_lag_threshold: 1_000_000,
        // A snapshot is a checkpoint; the engine shows openraft the last one when the log is to be cut.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 4096,
        // While apply waits for a checkpoint that the disk has no room for, the core must go on.
        state_machine_channel_size: Some(65_536),
        install_snapshot_timeout: 120_000,
        ..openraft::Config::default()
    }
}

/// openraft's runtime: tokio's, with tasks and randomness behind the seams of [`runtime`].
#[derive(Debug)]
pub(crate) struct Rt(TokioRuntime);

impl AsyncRuntime for Rt {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = rand::rngs::SmallRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        runtime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        runtime::rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
