//! Proposals: from any replica to the leader's log, in batches, until an answer or the deadline.
//!
//! One task drains what waits and sends it on as one batch: into the local log when this replica
//! leads, otherwise in one frame to the leader. While [`BATCHES_IN_FLIGHT_MAX`] batches are on their
//! way the next one grows. A command that was surely not handed to a log, and one that carries a
//! request id, is tried again when there is a leader; the session makes it happen once.
//!
//! Invariant: every waiting caller is answered, at its deadline at the latest.

use super::message::{self, Names, Proposed};
use super::route::{Leader, Route};
use crate::command::Outcome;
use crate::error::{Error, ErrorOutcome, TransportError};
use crate::trace::Trace;
use crate::{codec, runtime};
use bytes::Bytes;
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
/// How soon a command that found no leader is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// What an overloaded caller is told to wait.
const OVERLOAD_RETRY: Duration = Duration::from_millis(100);

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
        give_up(&route, &mut fresh);
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

/// Answers those that are not tried any more, and leaves the others: nobody is sent on after its
/// deadline, or without a quorum, when it might be decided long after its caller was told that
/// it cannot be.
fn give_up(route: &Route, waiting: &mut Vec<Waiting>) {
    if waiting.is_empty() {
        return;
    }
    let (now, lost) = (runtime::now(), route.peers.quorum().lost);
    waiting.retain_mut(|waiting| {
        let hopeless = lost || now >= waiting.deadline || waiting.is_deserted();
        if hopeless {
            waiting.answer(Err(route.unavailable(waiting.begun, waiting.outcome())));
        }
        !hopeless
    });
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
        give_up(&self.route, &mut again);
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
