//! Proposals: from any replica to the leader's log, in batches, until an answer or the deadline.
//!
//! One task drains what waits and sends it on as one batch: into the local log when this replica
//! leads, otherwise in one frame to the leader. While [`BATCHES_IN_FLIGHT_MAX`] batches are on their
//! way the next one grows. A command that was surely not handed to a log, and one that carries a
//! request id, is tried again when there is a leader; the session makes it happen once.
//!
//! Invariant: every waiting caller is answered, at its deadline at the latest.

use super::message::{self, Names, Proposed};
use super::peers::Peers;
use super::room::Room;
use super::{Proposal, Raft, TypeConfig};
use crate::command::{self, Outcome};
use crate::error::{Error, ErrorOutcome, TransportError};
use crate::raft::engine::{ClusterClock, SLOW_AFTER};
use crate::trace::Trace;
use crate::txn::ANSWER_BYTES_MAX;
use crate::types::{Limits, NodeId};
use crate::{codec, runtime};
use bytes::Bytes;
use futures_util::StreamExt;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::raft::WriteResult;
use openraft::rt::WatchReceiver;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Commands in one batch.
const BATCH_COMMANDS_MAX: usize = message::FORWARDED_MAX;
/// Bytes of commands in one batch, unless a single command is larger.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Batches on their way. With more, batches are smaller and cost more; with fewer, the next batch
/// waits for a round trip that it could share.
const BATCHES_IN_FLIGHT_MAX: usize = 4;
/// Bytes of pairs in the reply to a forwarded batch: any one answer fits, and all of them leave most
/// of a frame to the rest.
const REPLY_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX;
/// How soon a command that found no leader is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// What an overloaded caller is told to wait.
const OVERLOAD_RETRY: Duration = Duration::from_millis(100);
/// How long the leader keeps a forwarded batch whose fate is open.
const FORWARDED_DEADLINE: Duration = Duration::from_secs(10);

/// Hands commands to the leader, wherever it is.
pub(crate) struct Proposer {
    queue: mpsc::UnboundedSender<Waiting>,
    admission: Arc<Semaphore>,
    pub(crate) proposals: AtomicU64,
}

/// A command on its way, with its caller.
struct Waiting {
    command: Bytes,
    begun: Instant,
    deadline: Instant,
    /// Whether an attempt was, or may have been, handed to a log.
    attempted: bool,
    /// Gone once the caller has its answer.
    done: Option<oneshot::Sender<Result<Outcome, Error>>>,
    /// What its caller calls it.
    trace: Option<Trace>,
    _admitted: OwnedSemaphorePermit,
}

/// What the proposer's tasks share.
pub(crate) struct Route {
    pub(crate) raft: Raft,
    pub(crate) peers: Arc<Peers>,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) limits: Limits,
    pub(crate) room: Arc<Room>,
    /// Commands sent on to a leader elsewhere, and those that others sent here.
    pub(crate) forwarded_out: AtomicU64,
    pub(crate) forwarded_in: AtomicU64,
}

impl Proposer {
    /// Starts the proposer. Commands in flight take up to `inflight_bytes_max`.
    pub(crate) fn start(route: Arc<Route>, inflight_bytes_max: usize) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        runtime::spawn(dispatch(route, waiting));
        let admission = Arc::new(Semaphore::new(inflight_bytes_max));
        Self { queue, admission, proposals: AtomicU64::new(0) }
    }

    /// Proposes an encoded command and returns its outcome.
    ///
    /// Not cancel safe: dropped, the command may still happen.
    pub(crate) async fn propose(
        &self,
        command: Bytes,
        timeout: Duration,
        trace: Option<Trace>,
    ) -> Result<Outcome, Error> {
        let weight = command.len().max(256) as u32;
        let admitted = self
            .admission
            .clone()
            .try_acquire_many_owned(weight)
            .map_err(|_| Error::Overloaded { retry_after: OVERLOAD_RETRY })?;
        self.proposals.fetch_add(1, Ordering::Relaxed);
        let begun = runtime::now();
        let (done, answered) = oneshot::channel();
        let waiting = Waiting {
            command,
            begun,
            deadline: begun + timeout,
            attempted: false,
            done: Some(done),
            trace,
            _admitted: admitted,
        };
        self.queue.send(waiting).map_err(|_| Error::ShutDown)?;
        answered.await.unwrap_or(Err(Error::ShutDown))
    }
}

/// Sends batches on their way, and takes back what must be tried again.
async fn dispatch(route: Arc<Route>, mut queue: mpsc::UnboundedReceiver<Waiting>) {
    let (returned, mut returns) = mpsc::unbounded_channel::<Waiting>();
    // What pauses before it is tried again.
    let mut parked: VecDeque<Waiting> = VecDeque::new();
    // What was taken from the queue and goes with the next batch that there is room for.
    let mut fresh = Vec::new();
    let airborne = Arc::new(AtomicUsize::new(0));
    let landed = Arc::new(tokio::sync::Notify::new());
    let mut retry = tokio::time::interval(RETRY_INTERVAL);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let room = airborne.load(Ordering::Acquire) < BATCHES_IN_FLIGHT_MAX;
        let goes = room && parked.is_empty();
        tokio::select! {
            biased;
            Some(waiting) = returns.recv() => {
                parked.push_back(waiting);
                continue;
            }
            // Not at the next tick: whoever waited for room goes as soon as there is some.
            () = std::future::ready(()), if goes && !fresh.is_empty() => {
                take(&mut queue, &mut fresh);
            }
            taken = queue.recv_many(&mut fresh, BATCH_COMMANDS_MAX), if goes => {
                if taken == 0 {
                    return;
                }
                // The runtime runs whom a task wakes right after that task: before the other callers
                // that are ready. They have their turn first, and share the batch (16 clients: 14 %
                // more puts a second; 64 clients: 9 %).
                tokio::task::yield_now().await;
                take(&mut queue, &mut fresh);
            }
            () = landed.notified(), if !room => continue,
            _ = retry.tick(), if !room || !parked.is_empty() => {
                // What waits longest goes first; what arrived meanwhile follows it.
                let arrived = std::mem::take(&mut fresh);
                fresh.extend(parked.drain(..).chain(arrived));
                take(&mut queue, &mut fresh);
            }
        }
        route.give_up(&mut fresh);
        if !room || fresh.is_empty() {
            continue;
        }
        let Some(leader) = route.leader() else {
            parked.extend(fresh.drain(..));
            continue;
        };
        for batch in batches(std::mem::take(&mut fresh)) {
            let flight = Flight {
                route: route.clone(),
                returned: returned.clone(),
                airborne: airborne.clone(),
                landed: landed.clone(),
            };
            airborne.fetch_add(1, Ordering::AcqRel);
            let leader = leader.clone();
            runtime::spawn(async move { flight.fly(leader, batch).await });
        }
    }
}

/// Takes all that is in the queue.
fn take(queue: &mut mpsc::UnboundedReceiver<Waiting>, fresh: &mut Vec<Waiting>) {
    while let Ok(waiting) = queue.try_recv() {
        fresh.push(waiting);
    }
}

fn batches(waiting: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut batches: Vec<Vec<Waiting>> = Vec::new();
    let mut bytes = 0;
    for waiting in waiting {
        bytes += waiting.command.len();
        match batches.last_mut() {
            Some(batch) if bytes <= BATCH_BYTES_MAX && batch.len() < BATCH_COMMANDS_MAX => {
                batch.push(waiting);
            }
            _ => {
                bytes = waiting.command.len();
                batches.push(vec![waiting]);
            }
        }
    }
    batches
}

/// Where the leader is.
#[derive(Clone)]
pub(crate) enum Leader {
    Here,
    At(NodeId, String),
}

impl Route {
    pub(crate) fn new(
        raft: Raft,
        peers: Arc<Peers>,
        clock: Arc<ClusterClock>,
        limits: Limits,
    ) -> Self {
        let (forwarded_out, forwarded_in) = (AtomicU64::new(0), AtomicU64::new(0));
        let room = Arc::default();
        Self { raft, peers, clock, limits, room, forwarded_out, forwarded_in }
    }

    /// Who leads, as far as is known here.
    pub(crate) fn leader(&self) -> Option<Leader> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        if leader == self.peers.myself().id.0 {
            return Some(Leader::Here);
        }
        let membership = metrics.membership_config.membership();
        let member = membership.get_node(&leader)?;
        Some(Leader::At(NodeId(leader), member.peer_address.clone()))
    }

    /// Answers those that are not tried any more, and leaves the others: nobody is sent on after its
    /// deadline, or without a quorum, when it might be decided long after its caller was told that
    /// it cannot be.
    fn give_up(&self, waiting: &mut Vec<Waiting>) {
        if waiting.is_empty() {
            return;
        }
        let (now, lost) = (runtime::now(), self.peers.quorum().lost);
        waiting.retain_mut(|waiting| {
            let hopeless = lost || now >= waiting.deadline || waiting.is_deserted();
            if hopeless {
                waiting.answer(Err(self.unavailable(waiting.begun, waiting.outcome())));
            }
            !hopeless
        });
    }

    /// The best explanation for a call that could not be served.
    pub(crate) fn unavailable(&self, begun: Instant, outcome: ErrorOutcome) -> Error {
        let quorum = self.peers.quorum();
        if let Some(error) = self.fatal() {
            error
        } else if quorum.alive < quorum.needed {
            let (alive, needed, voters) = (quorum.alive, quorum.needed, quorum.voters);
            Error::NoQuorum { alive, needed, voters, outcome }
        } else if self.leader().is_none() {
            Error::NoLeader { outcome }
        } else {
            Error::Timeout { waited: begun.elapsed(), outcome }
        }
    }

    fn fatal(&self) -> Option<Error> {
        let metrics = self.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        state.err().map(|fatal| halted(&fatal))
    }

    /// Writes commands into the log here; one answer a command, in order.
    ///
    /// Dropped, the commands may still happen.
    async fn write_here(&self, commands: Vec<Bytes>) -> Vec<Proposed> {
        if !self.room.now().refuses {
            return self.write_all_here(commands).await;
        }
        let admitted: Vec<bool> =
            commands.iter().map(|command| self.room.admits(command)).collect();
        let kept = commands.into_iter().zip(&admitted).filter(|(_, admitted)| **admitted);
        let kept: Vec<Bytes> = kept.map(|(command, _)| command).collect();
        let written = if kept.is_empty() { Vec::new() } else { self.write_all_here(kept).await };
        let mut written = written.into_iter();
        let mut next = || written.next().unwrap_or(Proposed::Unknown);
        let answer = |admitted| if admitted { next() } else { Proposed::DiskFull };
        admitted.into_iter().map(answer).collect()
    }

    async fn write_all_here(&self, commands: Vec<Bytes>) -> Vec<Proposed> {
        let count = commands.len();
        let stamp_millis = self.clock.now_millis();
        let proposals = commands.into_iter().map(|command| Proposal { stamp_millis, command });
        let mut answers = Vec::with_capacity(count);
        match self.raft.client_write_many(proposals).await {
            Ok(mut results) => {
                while let Some(result) = results.next().await {
                    answers.push(proposed(result));
                }
            }
            Err(_) => answers.push(Proposed::Stopped),
        }
        answers.resize(count, Proposed::Unknown);
        answers
    }

    /// Serves a batch that the replica called `from` forwarded.
    ///
    /// Each command is looked at before it enters the log: at one that cannot be read every replica
    /// would halt, and again at each start.
    pub(crate) async fn serve_forwarded(
        &self,
        commands: Vec<Bytes>,
        names: &Names,
        from: &str,
    ) -> Bytes {
        let begun = runtime::now();
        self.forwarded_in.fetch_add(commands.len() as u64, Ordering::Relaxed);
        let mut answers = if matches!(self.leader(), Some(Leader::Here)) {
            let vocabulary = self.vocabulary();
            let mut refused = Vec::new();
            let mut sound = Vec::with_capacity(commands.len());
            for (place, encoded) in commands.into_iter().enumerate() {
                match command::check(&encoded, &self.limits, vocabulary) {
                    Ok(()) => sound.push(encoded),
                    Err(reason) => refused.push((place, reason)),
                }
            }
            let mut answers = self.write_forwarded(sound).await;
            // In ascending order: each finds those before it in their places.
            for (place, reason) in refused {
                tracing::warn!("a command that was forwarded here is refused: {reason}");
                answers.insert(place, Proposed::Refused(reason));
            }
            answers
        } else {
            vec![Proposed::NotLeader; commands.len()]
        };
        for (place, name) in names {
            if let Some(answer) = answers.get(*place) {
                tell(&self.peers.myself().name, from, name, begun.elapsed(), answer);
            }
        }
        lighten(&mut answers);
        codec::encode(&answers)
    }

    async fn write_forwarded(&self, commands: Vec<Bytes>) -> Vec<Proposed> {
        if commands.is_empty() {
            return Vec::new();
        }
        let lost = vec![Proposed::Unknown; commands.len()];
        let write = self.write_here(commands);
        tokio::time::timeout(FORWARDED_DEADLINE, write).await.unwrap_or(lost)
    }

    /// What every member understands.
    fn vocabulary(&self) -> u16 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership().nodes();
        members.map(|(_, member)| member.vocabulary).min().unwrap_or(0)
    }
}

/// Says in the log of replica `node` what became there of a write that has a name.
fn tell(node: &str, from: &str, trace: &Trace, took: Duration, answer: &Proposed) {
    let millis = took.as_millis() as u64;
    match answer {
        Proposed::Done(_) if took < SLOW_AFTER => {
            tracing::debug!(node, from, request_id = %trace, millis, "a forwarded write is decided");
        }
        Proposed::Done(_) => {
            tracing::warn!(node, from, request_id = %trace, millis, "a forwarded write was slow");
        }
        // It was sent to the wrong place: whoever sent it asks again.
        Proposed::NotLeader => {
            tracing::debug!(node, from, request_id = %trace, millis, "a forwarded write found no leader here");
        }
        _ => {
            tracing::warn!(node, from, request_id = %trace, millis, "a forwarded write was lost from sight");
        }
    }
}

/// Leaves out the answers that would make a reply too large for a frame: asked again, they come
/// without what makes them large (see `machine/outcomes.rs`).
fn lighten(answers: &mut [Proposed]) {
    let mut left = REPLY_BYTES_MAX;
    for answer in answers {
        let Proposed::Done(outcome) = answer else { continue };
        match left.checked_sub(outcome.pair_bytes()) {
            Some(fewer) => left = fewer,
            None => *answer = Proposed::Unknown,
        }
    }
}

fn proposed(result: Result<WriteResult<TypeConfig>, Fatal<TypeConfig>>) -> Proposed {
    match result {
        Ok(Ok(response)) => Proposed::Done(response.response),
        // A fresh leader says so too, until its first quorum answers: it is tried again.
        Ok(Err(ClientWriteError::ForwardToLeader(_))) => Proposed::NotLeader,
        Ok(Err(_)) => Proposed::Unknown,
        Err(_) => Proposed::Stopped,
    }
}

pub(crate) fn halted(fatal: &Fatal<TypeConfig>) -> Error {
    match fatal {
        Fatal::Stopped => Error::ShutDown,
        Fatal::Panicked => Error::Halted { cause: "the Raft core panicked".into() },
        Fatal::StorageError(error) => Error::Halted { cause: error.to_string() },
    }
}

impl Waiting {
    fn outcome(&self) -> ErrorOutcome {
        if self.attempted { ErrorOutcome::Unknown } else { ErrorOutcome::NotApplied }
    }

    fn answer(&mut self, result: Result<Outcome, Error>) {
        if let Some(done) = self.done.take() {
            let _ = done.send(result);
        }
    }

    /// Whether nobody waits for it any more.
    fn is_deserted(&self) -> bool {
        self.done.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// One batch under way.
struct Flight {
    route: Arc<Route>,
    returned: mpsc::UnboundedSender<Waiting>,
    airborne: Arc<AtomicUsize>,
    landed: Arc<tokio::sync::Notify>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.airborne.fetch_sub(1, Ordering::AcqRel);
        self.landed.notify_one();
    }
}

impl Flight {
    async fn fly(&self, leader: Leader, mut batch: Vec<Waiting>) {
        let deadline = batch.iter().map(|waiting| waiting.deadline).max();
        let deadline = deadline.unwrap_or_else(runtime::now);
        let commands: Vec<Bytes> = batch.iter().map(|waiting| waiting.command.clone()).collect();
        let names = batch.iter().enumerate();
        let names = names.filter_map(|(place, waiting)| Some((place, waiting.trace.clone()?)));
        let mut attempt =
            std::pin::pin!(self.attempt(&leader, commands, names.collect(), deadline));
        let answers = loop {
            let open = batch.iter().filter(|waiting| waiting.done.is_some());
            let Some(next_deadline) = open.map(|waiting| waiting.deadline).min() else { return };
            tokio::select! {
                biased;
                answers = &mut attempt => break answers,
                // Nothing can be decided now: what was handed over may still be, later.
                _ = self.route.peers.quorum_lost() => break Err(true),
                () = tokio::time::sleep_until(next_deadline) => self.expire(&mut batch),
            }
        };
        let answers = match answers {
            Ok(answers) => answers,
            Err(true) => vec![Proposed::Unknown; batch.len()],
            Err(false) => vec![Proposed::NotLeader; batch.len()],
        };
        let mut again = Vec::new();
        for (mut waiting, answer) in batch.drain(..).zip(answers) {
            match answer {
                Proposed::Done(outcome) => waiting.answer(Ok(outcome)),
                Proposed::Refused(reason) => waiting.answer(Err(Error::Refused { reason })),
                Proposed::DiskFull if !waiting.attempted => waiting.answer(Err(Error::DiskFull)),
                // An earlier attempt may have happened: only its session could tell, from the log.
                Proposed::NotLeader | Proposed::DiskFull => again.push(waiting),
                Proposed::Unknown => {
                    waiting.attempted = true;
                    again.push(waiting);
                }
                Proposed::Stopped => {
                    waiting.attempted = true;
                    match self.route.fatal() {
                        Some(error) => waiting.answer(Err(error)),
                        None => again.push(waiting),
                    }
                }
            }
        }
        self.route.give_up(&mut again);
        for waiting in again {
            // Gone with the replica.
            let _ = self.returned.send(waiting);
        }
    }

    /// Answers those whose deadline has passed while the batch is under way.
    fn expire(&self, batch: &mut [Waiting]) {
        let now = runtime::now();
        for waiting in batch.iter_mut().filter(|waiting| waiting.deadline <= now) {
            waiting.attempted = true;
            let error = self.route.unavailable(waiting.begun, waiting.outcome());
            waiting.answer(Err(error));
        }
    }

    /// `Err(attempted)` when there is no answer for any command.
    async fn attempt(
        &self,
        leader: &Leader,
        commands: Vec<Bytes>,
        names: Names,
        deadline: Instant,
    ) -> Result<Vec<Proposed>, bool> {
        match leader {
            Leader::Here => Ok(self.route.write_here(commands).await),
            Leader::At(id, address) => {
                self.route.forwarded_out.fetch_add(commands.len() as u64, Ordering::Relaxed);
                let frame = message::encode_forward(commands.iter(), &names);
                let left = deadline.saturating_duration_since(runtime::now());
                let client = self.route.peers.client(*id, address);
                let reply = client.request(frame, left).await.map_err(|error| {
                    !matches!(
                        error,
                        TransportError::Unreachable { .. } | TransportError::Refused { .. }
                    )
                })?;
                let answers: Vec<Proposed> = codec::decode(&reply).map_err(|_| true)?;
                if answers.len() == commands.len() { Ok(answers) } else { Err(true) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::command::{OpOutcome, TxnOutcome};
    use crate::transport::FRAME_BYTES_MAX;
    use crate::types::{KeyValue, Revision};

    #[test]
    fn a_reply_to_many_large_answers_fits_into_a_frame() {
        let (key, value) = (Bytes::from("k"), Bytes::from(vec![0; 1 << 20]));
        let (create_revision, mod_revision, version) = (Revision(1), Revision(1), 1);
        let pair = KeyValue { key, value, create_revision, mod_revision, version };
        let large = |pairs| {
            let results = vec![OpOutcome::Got(Some(pair.clone())); pairs];
            let inner = OpOutcome::Txn { succeeded: true, results };
            let (succeeded, revision, results) = (true, Revision(1), vec![inner]);
            Proposed::Done(Outcome::Txn(TxnOutcome { succeeded, revision, results }))
        };
        let mut answers = vec![large(3), large(3), large(3), Proposed::NotLeader, large(1)];
        answers.extend(vec![large(3); 50]);
        answers.push(Proposed::Done(Outcome::Done));
        lighten(&mut answers);
        assert!(codec::encode(&answers).len() < FRAME_BYTES_MAX);
        let kept = |at: usize| matches!(answers[at], Proposed::Done(_));
        assert_eq!([0, 1, 2, 4, 54, 55].map(kept), [true, true, false, true, false, true]);
        assert!(matches!(answers[2], Proposed::Unknown), "it is asked again");
        assert!(matches!(answers[3], Proposed::NotLeader));
    }
}
