//! One running Raft replica: its parts, started together, stopped together.
//!
//! What the layers above use: [`Engine::propose`], [`Engine::linearize`], the state's reader, and
//! what is known of leader and members. Changes of membership arrive here from peers and from the
//! caller alike, and wait in one queue for `membership.rs`, which takes them one at a time.

use super::clock::ClusterClock;
use super::doorstep::Doorstep;
use super::forward::Proposer;
use super::inbound;
use super::log::Log;
use super::message::{Reply, Request};
use super::network::Networks;
use super::peers::{Myself, Peers};
use super::reads::Reads;
use super::reception::Receptions;
use super::room::Level;
use super::route::{Leader, Route, halted};
use super::snapshot::SnapshotCounters;
use super::soundness::Soundness;
use super::state::StateMachine;
use super::{Raft, TypeConfig, chronicle};
use crate::bug::{self, Bug};
use crate::command::{Command, Op, Outcome};
use crate::config::{Config, Promotion};
use crate::error::{Error, StorageError};
use crate::events::Events;
use crate::state::{Checkpointer, State, StateConfig, StateReader};
use crate::status::{DiskStatus, RaftState};
use crate::storage::disk::DiskSpace;
use crate::storage::{LogMetrics, LogStore, StateStore, Storage};
use crate::trace::Trace;
use crate::transport::Transport;
use crate::types::{Limits, LogIndex, Member, NodeId};
use crate::{codec, runtime};
use bytes::Bytes;
use futures_util::FutureExt;
use openraft::errors::{Fatal, InitializeError, RaftError};
use openraft::rt::WatchReceiver;
use openraft::{RaftMetrics, ServerState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Changes of membership that may wait.
const CHANGES_MAX: usize = 256;
/// How long the Raft core of a replica that stops may take: longer only when its log waits for space.
const CORE_STOP_DEADLINE: Duration = Duration::from_secs(3);
/// How long its tasks may take to end where they stand.
const TASKS_STOP_DEADLINE: Duration = Duration::from_secs(1);
/// How long the checkpoint of a replica that stops may take.
const LAST_CHECKPOINT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a read waits on a replica that takes no commands: it has what it needs, or never will.
const PAUSED_READ_DEADLINE: Duration = Duration::from_secs(1);
/// How soon a fault of the Raft core is noticed.
const FAULT_INTERVAL: Duration = Duration::from_millis(100);
/// How often the log's size is looked at.
const PURGE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a write that has a name may take before it is told of.
pub(crate) const SLOW_AFTER: Duration = Duration::from_secs(1);

/// What an engine is started from.
pub(crate) struct Parts {
    pub(crate) myself: Myself,
    pub(crate) storage: Storage,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) config: Arc<Config>,
}

/// A change of membership, and who waits for its answer.
pub(crate) struct Change {
    pub(crate) request: Request,
    /// Why leadership moves, when it is not an operator who asks.
    pub(crate) why: Option<String>,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// A running replica.
pub(crate) struct Engine {
    pub(crate) raft: Raft,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) route: Arc<Route>,
    pub(crate) reads: Reads,
    pub(crate) reader: StateReader,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) state_store: Arc<dyn StateStore>,
    pub(crate) snapshots: Arc<SnapshotCounters>,
    pub(crate) receptions: Receptions,
    /// Newcomers, and gossip.
    pub(crate) doorstep: Doorstep,
    /// What happened here, for people.
    pub(crate) events: Arc<Events>,
    /// Whether its state is what it should be.
    pub(crate) soundness: Soundness,
    proposer: Proposer,
    pub(super) log: Log,
    log_store: Arc<dyn LogStore>,
    config: Arc<Config>,
    changes: mpsc::Sender<Change>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Elections started here, since the start.
    pub(crate) elections: AtomicU64,
    /// Other leaders than before, since the start.
    pub(crate) leader_changes: AtomicU64,
}

impl Engine {
    /// Starts a replica on what its storage holds. The second value is the queue of changes of
    /// membership, for `membership.rs` to serve.
    pub(crate) async fn start(parts: Parts) -> Result<(Arc<Self>, mpsc::Receiver<Change>), Error> {
        let Parts { myself, storage, transport, config } = parts;
        let (durable, durable_seen) = watch::channel(LogIndex(0));
        let state_config = StateConfig {
            checkpoint_bytes: config.checkpoint_bytes,
            overlay_bytes_max: config.overlay_bytes_max,
            checkpoint_interval: config.checkpoint_interval,
            scrub_bytes_max: config.scrub_bytes_max,
        };
        let state_store = storage.state.clone();
        let state =
            runtime::blocking(move || State::open(state_store, durable_seen, state_config)).await?;
        let (reader, checkpointer) = (state.reader(), state.checkpointer());
        let log = Log::open(storage.log.clone(), reader.clone(), durable, config.log_cache_bytes)?;
        check_state_reaches_log(&log, &reader)?;
        let clock = Arc::new(ClusterClock::new(reader.cluster_time().millis()));
        let events = Arc::new(Events::default());
        let snapshots = Arc::new(SnapshotCounters::new(events.clone()));
        let machine =
            StateMachine::new(state, storage.state.clone(), clock.clone(), snapshots.clone())?;
        let peers = Arc::new(Peers::new(myself.clone(), transport.clone()));
        let networks = Networks { peers: peers.clone(), snapshots: snapshots.clone() };
        let raft_config = Arc::new(super::settings(&config));
        let raft = Raft::new(myself.id.0, raft_config, networks, log.clone(), machine)
            .await
            .map_err(|fatal| halted(&fatal))?;
        let (for_route, limits) = (raft.clone(), config.limits);
        let route = Arc::new(Route::new(for_route, peers.clone(), clock, limits));
        let proposer = Proposer::start(route.clone(), config.inflight_bytes_max);
        let reads = Reads::start(route.clone(), reader.applied());
        let (changes, queue) = mpsc::channel(CHANGES_MAX);
        let engine = Arc::new(Self {
            raft,
            transport,
            peers,
            route,
            reads,
            reader,
            checkpointer,
            state_store: storage.state,
            snapshots,
            receptions: Receptions::new(),
            events,
            doorstep: Doorstep::default(),
            soundness: Soundness::default(),
            proposer,
            log,
            log_store: storage.log,
            config,
            changes,
            tasks: Mutex::default(),
            elections: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
        });
        engine.keep(inbound::accept(engine.clone()));
        let members = engine.clone();
        engine
            .keep(engine.peers.clone().watch_over(move || (members.members(), members.configs())));
        engine.keep(keep_log_short(engine.clone()));
        engine.keep(chronicle::keep(engine.clone()));
        Ok((engine, queue))
    }

    /// Runs `task` until the engine stops.
    pub(crate) fn keep(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = runtime::spawn(task);
        let mut tasks = self.tasks.lock().expect("no holder of the tasks' lock panics");
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }

    /// Makes this replica the first and only voter of its cluster.
    pub(crate) async fn initialize(&self, member: Member) -> Result<(), Error> {
        let members = BTreeMap::from([(self.id().0, member)]);
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error)) => Err(Error::Halted { cause: error.to_string() }),
            Err(RaftError::Fatal(fatal)) => Err(halted(&fatal)),
        }
    }

    /// Whether this replica's log and state are empty: it was never initialised.
    pub(crate) fn is_pristine(&self) -> bool {
        self.log.is_pristine()
    }

    /// Proposes a command, wherever the leader is. Not cancel safe: it may still happen.
    ///
    /// What a member would halt at, because it is too old to know it, is not proposed.
    pub(crate) async fn propose(
        &self,
        command: &Command,
        timeout: Duration,
    ) -> Result<Outcome, Error> {
        let needed = command.vocabulary();
        if needed > 1
            && let Some(member) = self.member_below(needed)
        {
            return Err(Error::UpgradeNeeded { member });
        }
        let encoded = codec::encode(command);
        let (limit, got) = (Limits::COMMAND_BYTES_MAX, encoded.len());
        if got > limit {
            return Err(Error::TooLarge { what: "command", limit, got });
        }
        if bug::on(Bug::AckBeforeCommit)
            && self.leads()
            && let Op::Put { key, .. } = &command.op
        {
            return self.acknowledge_early(key, encoded, timeout).await;
        }
        let command = encoded;
        let Some(trace) = Trace::current() else {
            return self.proposer.propose(command, timeout, None).await;
        };
        let begun = runtime::now();
        let result = self.proposer.propose(command, timeout, Some(trace.clone())).await;
        tell(&self.peers.myself().name, &trace, begun.elapsed(), &result);
        result
    }

    /// [`Bug::AckBeforeCommit`]: guesses what will come of a put once it is in the log here.
    async fn acknowledge_early(
        &self,
        key: &Bytes,
        command: Bytes,
        timeout: Duration,
    ) -> Result<Outcome, Error> {
        let view = self.reader.view();
        let previous = view.get(key)?.map(|pair| pair.mod_revision);
        let guess = Outcome::Put { revision: view.revision().next(), previous };
        let proposed = self.proposer.propose(command, timeout, None);
        tokio::time::timeout(Duration::from_millis(1), proposed).await.unwrap_or(Ok(guess))
    }

    /// The name of a member that does not understand `vocabulary`.
    fn member_below(&self, vocabulary: u16) -> Option<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let mut members = metrics.membership_config.membership().nodes();
        let older = members.find(|(_, member)| member.vocabulary < vocabulary);
        older.map(|(_, member)| member.name.clone())
    }

    /// Returns once this replica has applied all that was acknowledged before the call. One that takes
    /// no commands, for want of space, may never have: it says so soon, that others can be asked.
    pub(crate) async fn linearize(&self, timeout: Duration) -> Result<LogIndex, Error> {
        if bug::on(Bug::LocalReads) {
            return Ok(self.reader.view().position().index);
        }
        if !self.route.room.now().pauses {
            return self.reads.linearize(timeout).await;
        }
        match self.reads.linearize(timeout.min(PAUSED_READ_DEADLINE)).await {
            Err(Error::Timeout { .. }) => Err(Self::paused()),
            answer => answer,
        }
    }

    /// Why a replica that takes no commands for want of space is not ready.
    pub(crate) fn paused() -> Error {
        let reason = "its disk is full, and it takes no writes until space is freed: ask another";
        Error::NotReady { reason: reason.into() }
    }

    /// Queues a change of membership and waits for its answer.
    pub(crate) async fn change(&self, request: Request) -> Reply {
        self.queue(request, None).await
    }

    /// Hands leadership to the voter with the shortest lag; `why` goes on "hands leadership over".
    pub(crate) async fn hand_over(&self, why: impl Into<String>) -> Reply {
        self.queue(Request::Transfer(None), Some(why.into())).await
    }

    async fn queue(&self, request: Request, why: Option<String>) -> Reply {
        let (reply, answered) = oneshot::channel();
        match self.changes.try_send(Change { request, why, reply }) {
            Ok(()) => {
                answered.await.unwrap_or_else(|_| Reply::Unavailable("this replica stops".into()))
            }
            Err(_) => Reply::Unavailable("too many changes of membership wait".into()),
        }
    }

    pub(crate) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// When this replica wants to vote.
    pub(crate) fn promotion(&self) -> Promotion {
        self.config.promotion
    }

    pub(crate) fn id(&self) -> NodeId {
        self.peers.myself().id
    }

    pub(crate) fn leads(&self) -> bool {
        matches!(self.route.leader(), Some(Leader::Here))
    }

    /// The leader, with what the membership says of it.
    pub(crate) fn leader(&self) -> Option<(NodeId, Member)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let member = metrics.membership_config.membership().get_node(&leader)?.clone();
        Some((NodeId(leader), member))
    }

    /// The members of the effective membership, each with whether it votes.
    pub(crate) fn members(&self) -> Vec<(NodeId, Member, bool)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        membership
            .nodes()
            .map(|(id, member)| (NodeId(*id), member.clone(), voters.contains(id)))
            .collect()
    }

    /// Who votes; two sets while a change of membership is under way.
    pub(crate) fn configs(&self) -> Vec<BTreeSet<u64>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_joint_config().clone()
    }

    pub(crate) fn raft_state(&self) -> RaftState {
        match self.raft.metrics().borrow_watched().state {
            ServerState::Leader => RaftState::Leader,
            ServerState::Candidate => RaftState::Candidate,
            ServerState::Learner => RaftState::Learner,
            ServerState::Follower | ServerState::Shutdown => RaftState::Follower,
        }
    }

    /// Why the replica cannot go on, if it cannot.
    pub(crate) fn fault(&self) -> Option<Error> {
        if let Some(error) = self.reader.faults().borrow().as_ref() {
            return Some(Error::Halted { cause: error.to_string() });
        }
        let state = self.raft.metrics().borrow_watched().running_state.clone();
        state.err().map(|fatal| halted(&fatal))
    }

    /// Returns when the replica cannot go on, with the first cause.
    pub(crate) async fn faulted(&self) -> Error {
        let mut faults = self.reader.faults();
        let mut metrics = self.raft.metrics();
        loop {
            // A core that panics says nothing, but closes its metrics. Looked at first: one that ends
            // in any other way has said so before.
            let ended = loop {
                match metrics.changed().now_or_never() {
                    Some(Ok(())) => {}
                    Some(Err(_)) => break true,
                    None => break false,
                }
            };
            if let Some(fault) = self.fault() {
                return fault;
            }
            if ended {
                return halted(&Fatal::Panicked);
            }
            // Raft's metrics change with every entry: looking now and then is cheaper.
            let _ = tokio::time::timeout(FAULT_INTERVAL, faults.changed()).await;
        }
    }

    /// What is known of the disk, where it is watched.
    pub(crate) fn disk_status(&self) -> Option<DiskStatus> {
        let allowed = self.route.room.now();
        let low = allowed.is_low();
        allowed.space.map(|DiskSpace { free, total }| DiskStatus { free, total, low })
    }

    pub(crate) fn log_metrics(&self) -> LogMetrics {
        self.log_store.metrics()
    }

    pub(crate) fn last_log_index(&self) -> LogIndex {
        LogIndex(self.log.last_index())
    }

    /// Fills in what the engine counts.
    pub(crate) fn count(&self, metrics: &mut crate::status::Metrics) {
        let state = self.reader.metrics();
        metrics.log = self.log_metrics();
        metrics.applied_entries = state.applied_entries;
        metrics.checkpoints = state.checkpoints;
        metrics.checkpoint_micros = state.checkpoint_micros;
        metrics.overlay_bytes = state.overlay_bytes;
        metrics.state_disk_bytes = state.disk_bytes;
        let view = self.reader.view();
        metrics.history_bytes = view.totals().history_bytes();
        metrics.compacted_revision = view.compacted_revision();
        metrics.swept_revision = view.swept_revision();
        (metrics.snapshot_sends, metrics.snapshot_receipts) = self.snapshots.transfers();
        metrics.snapshots_sent = metrics.snapshot_sends.micros.count();
        metrics.snapshots_installed = metrics.snapshot_receipts.micros.count();
        self.soundness.count(metrics);
        metrics.elections = self.elections.load(Ordering::Relaxed);
        metrics.forwarded_out = self.route.forwarded_out.load(Ordering::Relaxed);
        metrics.forwarded_in = self.route.forwarded_in.load(Ordering::Relaxed);
        metrics.leader_changes = self.leader_changes.load(Ordering::Relaxed);
        metrics.proposals = self.proposer.proposals.load(Ordering::Relaxed);
        metrics.read_index_rounds = self.reads.counters.rounds.load(Ordering::Relaxed);
        metrics.linearizable_reads = self.reads.counters.reads.load(Ordering::Relaxed);
    }

    /// Stops every task, then makes what is applied durable. In-flight calls are answered.
    ///
    /// Without room for a checkpoint none is written: the log has everything anyway.
    pub(crate) async fn stop(&self) -> Result<(), Error> {
        let _ = tokio::time::timeout(CORE_STOP_DEADLINE, self.raft.shutdown()).await;
        let writable = self.reader.faults().borrow().is_none() && self.checkpointer.has_room();
        let checkpointed = if writable {
            let checkpoint = self.checkpointer.checkpoint_now();
            // A disk that hangs must not keep the process: the log has everything anyway.
            let in_time = tokio::time::timeout(LAST_CHECKPOINT_DEADLINE, checkpoint).await;
            in_time.map_or(Ok(()), |checkpointed| checkpointed.map(drop))
        } else {
            Ok(())
        };
        self.checkpointer.call_off();
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("no holder panics"));
        tasks.iter().for_each(JoinHandle::abort);
        let ended = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(TASKS_STOP_DEADLINE, ended).await;
        let _ = tokio::time::timeout(TASKS_STOP_DEADLINE, self.transport.close()).await;
        let log = self.log_store.clone();
        runtime::blocking(move || log.close()).await;
        checkpointed.map_err(Error::from)
    }
}

/// Says in the log of replica `node` what became of a write that has a name.
fn tell(node: &str, trace: &Trace, took: Duration, result: &Result<Outcome, Error>) {
    let millis = took.as_millis() as u64;
    match result {
        Ok(_) if took < SLOW_AFTER => {
            tracing::debug!(node, request_id = %trace, millis, "a write is decided");
        }
        Ok(_) => tracing::warn!(node, request_id = %trace, millis, "a write was slow"),
        Err(error) => {
            tracing::warn!(node, request_id = %trace, millis, %error, "a write failed");
        }
    }
}

/// The log begins where a checkpoint stood. A state from before that is an older one that damage, or
/// a copy put back, brought up again: the entries between are gone.
fn check_state_reaches_log(log: &Log, reader: &StateReader) -> Result<(), StorageError> {
    let state = reader.checkpoint_position();
    match log.purged_index() {
        Some(purged) if state.is_start() || state.index.0 < purged => Err(StorageError::Mismatch {
            path: "the data directory".into(),
            reason: format!(
                "its state stands at entry {}, its log begins after entry {purged}: they do not \
                 belong together; remove this replica from the cluster, empty its directory, let \
                 it join again",
                state.index
            ),
        }),
        _ => Ok(()),
    }
}

/// Cuts the log to its retention, below the last checkpoint.
async fn keep_log_short(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(PURGE_INTERVAL).await;
        let mut retention = engine.config.log_retention_bytes;
        if engine.route.room.now().level >= Level::Scarce {
            retention = retention.min(engine.config.checkpoint_bytes as u64);
        }
        let upto = engine.log.purgeable(retention);
        // No checkpoint is made for it: one comes soon enough, and each costs as much as many writes.
        let upto = upto.min(engine.reader.checkpoint_position().index.0);
        let known =
            engine.raft.metrics().borrow_watched().snapshot.as_ref().map_or(0, |id| id.index);
        // openraft purges what a snapshot that it knows covers; it looks at the last checkpoint.
        if upto > known && engine.raft.trigger().snapshot().await.is_err() {
            return;
        }
        if upto > 0 && engine.raft.trigger().purge_log(upto).await.is_err() {
            return;
        }
    }
}
