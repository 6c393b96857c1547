//! The client's half of exactly once: numbers for requests, and what may be forgotten.
//!
//! A replica opens one session when it first writes, and again when that one has expired. Invariant:
//! a number names one command for ever. It is taken before the command is sent: should the caller
//! vanish in between, the number is burnt, and no later command can be taken for it.

use crate::command::{Command, Op, Outcome};
use crate::error::Error;
use crate::raft::engine::Engine;
use crate::types::{RequestId, SessionId};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Requests of one session in flight: what the state machine remembers of it.
const IN_FLIGHT_MAX: usize = 4096;
/// What a caller beyond that is told to wait.
const OVERLOAD_RETRY: Duration = Duration::from_millis(50);

/// The session of one replica's clients.
#[derive(Default)]
pub(crate) struct Session {
    numbers: Arc<Mutex<Numbers>>,
    /// Held while a session is opened, so that only one is.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Numbers {
    session: Option<SessionId>,
    last: u64,
    in_flight: BTreeSet<u64>,
}

/// A number in use; forgotten when dropped.
struct Ticket {
    numbers: Arc<Mutex<Numbers>>,
    id: RequestId,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut numbers = lock(&self.numbers);
        if numbers.session == Some(self.id.session) {
            numbers.in_flight.remove(&self.id.sequence);
        }
    }
}

fn lock(numbers: &Mutex<Numbers>) -> MutexGuard<'_, Numbers> {
    numbers.lock().expect("no holder of the numbers' lock panics")
}

impl Session {
    /// Makes `op` happen once, and returns its outcome. Not cancel safe: it may still happen.
    pub(crate) async fn write(
        &self,
        engine: &Engine,
        op: Op,
        timeout: Duration,
    ) -> Result<Outcome, Error> {
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
        if let Some(ticket) = self.take()? {
            return Ok(ticket);
        }
        let _opening = self.opening.lock().await;
        loop {
            if let Some(ticket) = self.take()? {
                return Ok(ticket);
            }
            let open = Command { request: None, op: Op::OpenSession };
            match engine.propose(&open, timeout).await? {
                Outcome::SessionOpened(session) => {
                    *lock(&self.numbers) = Numbers { session: Some(session), ..Numbers::default() };
                }
                other => {
                    return Err(Error::Halted { cause: format!("a session's outcome: {other:?}") });
                }
            }
        }
    }

    fn take(&self) -> Result<Option<Ticket>, Error> {
        let mut numbers = lock(&self.numbers);
        let Some(session) = numbers.session else { return Ok(None) };
        if numbers.in_flight.len() >= IN_FLIGHT_MAX {
            return Err(Error::Overloaded { retry_after: OVERLOAD_RETRY });
        }
        numbers.last += 1;
        let sequence = numbers.last;
        numbers.in_flight.insert(sequence);
        let lowest_unacknowledged = numbers.in_flight.first().copied().unwrap_or(sequence);
        if sequence - lowest_unacknowledged >= IN_FLIGHT_MAX as u64 {
            numbers.in_flight.remove(&sequence);
            return Err(Error::Overloaded { retry_after: OVERLOAD_RETRY });
        }
        let id = RequestId { session, sequence, lowest_unacknowledged };
        Ok(Some(Ticket { numbers: self.numbers.clone(), id }))
    }

    fn forget(&self, session: SessionId) {
        let mut numbers = lock(&self.numbers);
        if numbers.session == Some(session) {
            *numbers = Numbers::default();
        }
    }
}
