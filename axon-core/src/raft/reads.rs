//! `ReadIndex`: how a read on any replica sees every write acknowledged before it began.
//!
//! One round asks the leader, which confirms with a quorum that it still leads, for the index that
//! is committed; it serves every read that was waiting when it began. Then this replica waits until
//! it has applied that index, once for all of them. The data never crosses the network.

use super::TypeConfig;
use super::message::{Reply, Request};
use super::route::{Leader, Route, halted};
use crate::bug::{self, Bug};
use crate::error::{Error, ErrorOutcome};
use crate::runtime;
use crate::types::LogIndex;
use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::rt::WatchReceiver;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Rounds under way at once: the next begins before the last one's answer is back.
const ROUNDS_MAX: usize = 2;
/// How long a round may take before its readers are asked for anew.
const ROUND_DEADLINE: Duration = Duration::from_millis(500);
/// How soon a round that found no leader is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// The reads that wait on one replica.
pub(crate) struct Reads {
    queue: mpsc::UnboundedSender<Reader>,
    pub(crate) counters: Arc<Counters>,
}

/// What the rounds count.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) rounds: AtomicU64,
    pub(crate) reads: AtomicU64,
}

struct Reader {
    begun: Instant,
    deadline: Instant,
    /// Whether it waits until the index is applied here, or wants the index alone.
    applied: bool,
    done: oneshot::Sender<Result<LogIndex, Error>>,
}

/// Why a round gave no index.
enum Miss {
    /// It may be tried again.
    Retry,
    /// It may not.
    Stop(Error),
}

impl Reads {
    pub(crate) fn start(route: Arc<Route>, applied: watch::Receiver<LogIndex>) -> Self {
        let (queue, readers) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        runtime::spawn(rounds(route, applied, readers, queue.downgrade(), counters.clone()));
        Self { queue, counters }
    }

    /// Returns once this replica has applied all that was acknowledged before the call.
    pub(crate) async fn linearize(&self, timeout: Duration) -> Result<LogIndex, Error> {
        self.wait(timeout, true).await
    }

    /// Returns the index that a linearizable read anywhere must wait for. Only the leader knows.
    pub(crate) async fn index(&self, timeout: Duration) -> Result<LogIndex, Error> {
        self.wait(timeout, false).await
    }

    async fn wait(&self, timeout: Duration, applied: bool) -> Result<LogIndex, Error> {
        let begun = runtime::now();
        let (done, answered) = oneshot::channel();
        let reader = Reader { begun, deadline: begun + timeout, applied, done };
        self.queue.send(reader).map_err(|_| Error::ShutDown)?;
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        answered.await.unwrap_or(Err(Error::ShutDown))
    }
}

async fn rounds(
    route: Arc<Route>,
    applied: watch::Receiver<LogIndex>,
    mut readers: mpsc::UnboundedReceiver<Reader>,
    queue: mpsc::WeakUnboundedSender<Reader>,
    counters: Arc<Counters>,
) {
    let slots = Arc::new(Semaphore::new(ROUNDS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let mut waiting = Vec::new();
        if readers.recv_many(&mut waiting, usize::MAX).await == 0 {
            return;
        }
        counters.rounds.fetch_add(1, Ordering::Relaxed);
        let (route, applied, queue) = (route.clone(), applied.clone(), queue.clone());
        runtime::spawn(async move {
            let found = round(&route, &waiting).await;
            match found {
                Ok(index) => {
                    // The next round may begin while these wait for apply.
                    drop(slot);
                    serve(&route, applied, waiting, index).await;
                }
                Err(Miss::Stop(error)) => {
                    for reader in waiting {
                        reader.answer(Err(error.clone()));
                    }
                }
                Err(Miss::Retry) => {
                    give_up(&route, &mut waiting);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    // Back to those that came meanwhile: one round serves them all.
                    if let Some(queue) = queue.upgrade() {
                        for reader in waiting {
                            let _ = queue.send(reader);
                        }
                    }
                }
            }
        });
    }
}

/// Asks once for the index that everybody in `waiting` may read at.
async fn round(route: &Route, waiting: &[Reader]) -> Result<LogIndex, Miss> {
    let first_deadline = waiting.iter().map(|reader| reader.deadline).min();
    let until = runtime::now() + ROUND_DEADLINE;
    let until = first_deadline.map_or(until, |deadline| deadline.min(until));
    tokio::select! {
        biased;
        found = read_index(route, until) => found,
        _ = route.peers.quorum_lost() => Err(Miss::Retry),
        () = tokio::time::sleep_until(until) => Err(Miss::Retry),
    }
}

/// Answers those that want the index at once, the others when it is applied here.
async fn serve(
    route: &Route,
    mut applied: watch::Receiver<LogIndex>,
    waiting: Vec<Reader>,
    index: LogIndex,
) {
    let (mut waiting, ready): (Vec<_>, Vec<_>) =
        waiting.into_iter().partition(|reader| reader.applied);
    for reader in ready {
        reader.answer(Ok(index));
    }
    while let Some(deadline) = waiting.iter().map(|reader| reader.deadline).min() {
        let caught_up = applied.wait_for(|applied| *applied >= index);
        let caught_up = matches!(tokio::time::timeout_at(deadline, caught_up).await, Ok(Ok(_)));
        if caught_up {
            waiting.drain(..).for_each(|reader| reader.answer(Ok(index)));
        } else {
            give_up(route, &mut waiting);
        }
    }
}

/// Answers those whose deadline passed, or all of them when the quorum is lost.
fn give_up(route: &Route, waiting: &mut Vec<Reader>) {
    let now = runtime::now();
    let lost = route.peers.quorum().lost;
    for reader in std::mem::take(waiting) {
        if lost || now >= reader.deadline {
            let error = route.unavailable(reader.begun, ErrorOutcome::NotApplied);
            reader.answer(Err(error));
        } else if !reader.done.is_closed() {
            waiting.push(reader);
        }
    }
}

async fn read_index(route: &Route, deadline: Instant) -> Result<LogIndex, Miss> {
    match route.leader() {
        None => Err(Miss::Retry),
        Some(Leader::Here) => confirm(route).await,
        Some(Leader::At(id, address)) => {
            let left = deadline.saturating_duration_since(runtime::now());
            match route.peers.ask(id, &address, &Request::ReadIndex, left).await {
                Ok(Reply::ReadIndex(index)) => Ok(LogIndex(index)),
                _ => Err(Miss::Retry),
            }
        }
    }
}

/// Confirms with a quorum that this replica leads, and returns the index to wait for.
async fn confirm(route: &Route) -> Result<LogIndex, Miss> {
    let (id, leases) = (route.peers.myself().id.0, bug::on(Bug::WallClockLease));
    if leases && bug::lease_holds(id, runtime::wall_clock_millis()) {
        let applied = route.raft.metrics().borrow_watched().last_applied;
        return Ok(LogIndex(applied.map_or(0, |applied| applied.index)));
    }
    match route.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => {
            if leases {
                bug::renew_lease(id, runtime::wall_clock_millis());
            }
            Ok(LogIndex(linearizer.read_log_id().index()))
        }
        Err(RaftError::<TypeConfig, LinearizableReadError<TypeConfig>>::Fatal(fatal)) => {
            Err(Miss::Stop(halted(&fatal)))
        }
        Err(RaftError::APIError(_)) => Err(Miss::Retry),
    }
}

impl Reader {
    fn answer(self, answer: Result<LogIndex, Error>) {
        let _ = self.done.send(answer);
    }
}
