//! The client's half of exactly once: numbers for requests, and what may be forgotten.
//!
//! A replica opens one session when it first writes, and again when that one has expired. Invariant:
//! a number names one command for ever. It is taken before the command is sent: should the caller
//! vanish in between, the number is burnt, and no later command can be taken for it.

use crate::command::{Command, Op, Outcome};
use crate::error::Error;
use crate::raft::engine::Engine;
use crate::runtime;
use crate::types::{RequestId, SessionId};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Requests of one session in flight, and the numbers from the oldest of them to the newest: what the
/// state machine remembers of it.
const IN_FLIGHT_MAX: usize = 4096;
/// What a caller beyond that is told to wait.
const OVERLOAD_RETRY: Duration = Duration::from_millis(50);

/// The session of one replica's clients.
pub(crate) struct Session {
    shared: Arc<Shared>,
    /// For each request in flight, or about to be.
    places: Semaphore,
    /// Held while a session is opened, so that only one is.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Shared {
    numbers: Mutex<Numbers>,
    /// The oldest request in flight has ended, or its session has.
    advanced: Notify,
}

#[derive(Default)]
struct Numbers {
    session: Option<SessionId>,
    last: u64,
    in_flight: BTreeSet<u64>,
}

/// What there is for a request that wants a number.
enum Turn {
    Taken(Ticket),
    /// A session has to be opened.
    NoSession,
    /// The oldest request in flight is too far behind.
    Behind,
}

/// A number in use; forgotten when dropped.
struct Ticket {
    shared: Arc<Shared>,
    id: RequestId,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut numbers = self.shared.numbers();
        if numbers.session != Some(self.id.session) {
            return;
        }
        let oldest = numbers.in_flight.first() == Some(&self.id.sequence);
        numbers.in_flight.remove(&self.id.sequence);
        drop(numbers);
        if oldest {
            self.shared.advanced.notify_waiters();
        }
    }
}

impl Shared {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().expect("no holder of the numbers' lock panics")
    }
}

impl Default for Session {
    fn default() -> Self {
        let places = Semaphore::new(IN_FLIGHT_MAX);
        Self { shared: Arc::default(), places, opening: tokio::sync::Mutex::default() }
    }
}

impl Session {
    /// Makes `op` happen once, and returns its outcome. Not cancel safe: it may still happen.
    pub(crate) async fn write(
        &self,
        engine: &Engine,
        op: Op,
        timeout: Duration,
    ) -> Result<Outcome, Error> {
        let overloaded = Error::Overloaded { retry_after: OVERLOAD_RETRY };
        let _place = self.places.try_acquire().map_err(|_| overloaded)?;
        let mut command = Command { request: None, op };
        for _ in 0..2 {
            let ticket = self.ticket(engine, timeout).await?;
            command.request = Some(ticket.id);
            match engine.propose(&command, timeout).await? {
                // A session expires an hour after its last use, and this request is seconds old: it
                // expired before the request came, which therefore was never applied.
                Outcome::Expired => self.forget(ticket.id.session),
                outcome => return Ok(outcome),
            }
        }
        Err(Error::RequestExpired)
    }

    async fn ticket(&self, engine: &Engine, timeout: Duration) -> Result<Ticket, Error> {
        let deadline = runtime::now() + timeout;
        loop {
            // Before it looks: what ends meanwhile is not missed.
            let mut advanced = std::pin::pin!(self.shared.advanced.notified());
            advanced.as_mut().enable();
            match self.take() {
                Turn::Taken(ticket) => return Ok(ticket),
                Turn::NoSession => self.open(engine, timeout).await?,
                // One that is late is not the fault of those behind it: they wait, as it does.
                Turn::Behind => {
                    let overloaded = Error::Overloaded { retry_after: OVERLOAD_RETRY };
                    let waited = tokio::time::timeout_at(deadline, advanced).await;
                    waited.map_err(|_| overloaded)?;
                }
            }
        }
    }

    /// Opens a session, unless another one has meanwhile.
    async fn open(&self, engine: &Engine, timeout: Duration) -> Result<(), Error> {
        let _opening = self.opening.lock().await;
        if self.shared.numbers().session.is_some() {
            return Ok(());
        }
        let open = Command { request: None, op: Op::OpenSession };
        match engine.propose(&open, timeout).await? {
            Outcome::SessionOpened(session) => {
                *self.shared.numbers() = Numbers { session: Some(session), ..Numbers::default() };
                Ok(())
            }
            other => Err(Error::Halted { cause: format!("a session's outcome: {other:?}") }),
        }
    }

    fn take(&self) -> Turn {
        let mut numbers = self.shared.numbers();
        let Some(session) = numbers.session else { return Turn::NoSession };
        let sequence = numbers.last + 1;
        let lowest_unacknowledged = numbers.in_flight.first().copied().unwrap_or(sequence);
        if sequence - lowest_unacknowledged >= IN_FLIGHT_MAX as u64 {
            return Turn::Behind;
        }
        numbers.last = sequence;
        numbers.in_flight.insert(sequence);
        let id = RequestId { session, sequence, lowest_unacknowledged };
        Turn::Taken(Ticket { shared: self.shared.clone(), id })
    }

    fn forget(&self, session: SessionId) {
        let mut numbers = self.shared.numbers();
        if numbers.session == Some(session) {
            *numbers = Numbers::default();
            drop(numbers);
            self.shared.advanced.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn who_is_too_far_ahead_of_a_late_request_waits_for_it() {
        let session = Session::default();
        session.shared.numbers().session = Some(SessionId(1));
        let take = || match session.take() {
            Turn::Taken(ticket) => Some(ticket),
            Turn::NoSession | Turn::Behind => None,
        };
        let late = take().unwrap();
        for _ in 1..IN_FLIGHT_MAX {
            assert_eq!(take().unwrap().id.lowest_unacknowledged, late.id.sequence);
        }
        assert!(matches!(session.take(), Turn::Behind));
        let mut advanced = std::pin::pin!(session.shared.advanced.notified());
        assert!(advanced.as_mut().now_or_never().is_none());
        drop(late);
        advanced.now_or_never().expect("those behind it are told");
        assert_eq!(take().unwrap().id.sequence, IN_FLIGHT_MAX as u64 + 1);
    }
}
