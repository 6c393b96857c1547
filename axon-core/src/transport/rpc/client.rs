//! The asking side: many requests over one connection to one address.
//!
//! A connection is one task, begun by the first request that finds none. It dials, then writes, reads and sweeps out what is overdue, until it ends; its last act, whatever ended it, is to
//! fail all that waits. Invariants:
//!
//! * there is at most one connection, and at most one dial at a time;
//! * requests are written in the order in which they were submitted, so that those not yet written are
//!   always the last ones: `outbox` holds a suffix of `pending`;
//! * every request ends by its deadline: with an answer, with an error, or swept out. One timer serves
//!   all requests; it is moved only when a deadline comes before every other;
//! * what is in flight is bounded, requests whose callers have gone included, because the peer
//!   still works on them;
//! * after a failed dial, or a connection without a single answer, nothing is dialled for a while, which
//!   grows with each failure and is random by half, so that peers do not knock in step.

use super::{BATCH, BODY_BYTES_MAX, Framer, Hello, dial, unframe};
use crate::error::TransportError;
use crate::runtime;
use crate::secret::Secret;
use crate::transport::{FrameSink, FrameStream, Transport};
use crate::types::NodeId;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Bytes of a body that count as one request more.
const UNIT_BYTES: usize = 16 << 10;

/// The settings of a [`Client`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a dial may take, greeting included. Default 1 s.
    pub dial_timeout: Duration,
    /// Requests in flight; every full 16 KiB of a body count as one more. Default 4096, so 64 MiB.
    pub in_flight_max: usize,
    /// How long nothing is dialled after one failure. Default 50 ms.
    pub back_off_min: Duration,
    /// How long nothing is dialled after many. Default 1 s.
    pub back_off_max: Duration,
    /// When a request times out and not a word has come since it was submitted, nor for this long,
    /// the connection is given up: what looks open may lead nowhere. Default 1 s.
    pub silence_max: Duration,
    /// An idle connection is closed after this long. Default 30 s, half of what the server allows.
    pub idle_max: Duration,
    /// The replica that must answer; another one at its address is not talked to. Default any.
    pub expected: Option<NodeId>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(1),
            in_flight_max: 4096,
            back_off_min: Duration::from_millis(50),
            back_off_max: Duration::from_secs(1),
            silence_max: Duration::from_secs(1),
            idle_max: Duration::from_secs(30),
            expected: None,
        }
    }
}

/// Sends requests to one address over one lane. Dropped, it closes its connection.
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Arc<dyn Transport>,
    address: String,
    hello: Arc<dyn Fn() -> Hello + Send + Sync>,
    secret: Secret,
    options: ClientOptions,
    admission: Arc<Semaphore>,
    state: Mutex<State>,
    /// The outbox is no longer empty.
    work: Notify,
    /// A deadline comes before `sweep_at`.
    sooner: Notify,
    /// The client was dropped.
    dropped: Notify,
}

struct State {
    connection: Option<Connection>,
    next_number: u64,
    pending: BTreeMap<u64, Pending>,
    outbox: Vec<(u64, Bytes)>,
    /// When the sweep looks again.
    sweep_at: Instant,
    last_heard: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// Until when nothing is dialled, and what a request is told meanwhile.
    back_off: Option<(Instant, TransportError)>,
}

#[derive(Default)]
struct Connection {
    /// The peer, once it has answered the dial.
    peer: Option<Hello>,
    /// Whether it has answered a request.
    heard: bool,
}

struct Pending {
    submitted: Instant,
    deadline: Instant,
    answer: oneshot::Sender<Result<Bytes, TransportError>>,
    _admission: OwnedSemaphorePermit,
}

impl Client {
    /// Makes a client that dials `address` when there is something to send. `hello` is asked at
    /// each dial: a replica may have found its identity since. Both ends prove `secret`.
    pub fn new(
        transport: Arc<dyn Transport>,
        address: impl Into<String>,
        hello: Arc<dyn Fn() -> Hello + Send + Sync>,
        secret: Secret,
        options: ClientOptions,
    ) -> Self {
        let state = State {
            connection: None,
            next_number: 0,
            pending: BTreeMap::new(),
            outbox: Vec::new(),
            sweep_at: runtime::now(),
            last_heard: None,
            failures: 0,
            back_off: None,
        };
        let shared = Shared {
            transport,
            address: address.into(),
            hello,
            secret,
            admission: Arc::new(Semaphore::new(options.in_flight_max.max(1))),
            options,
            state: Mutex::new(state),
            work: Notify::new(),
            sooner: Notify::new(),
            dropped: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sends `body` and waits for the answer, at most for `timeout`.
    ///
    /// Not cancel safe in one way only: dropped, the request may still be sent and answered.
    ///
    /// # Errors
    /// Surely not sent: [`TransportError::Unreachable`], [`TransportError::Refused`],
    /// [`TransportError::FrameTooLarge`]. Perhaps sent, and perhaps acted upon:
    /// [`TransportError::Closed`], [`TransportError::Timeout`], [`TransportError::Malformed`].
    pub async fn request(&self, body: Bytes, timeout: Duration) -> Result<Bytes, TransportError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(TransportError::FrameTooLarge { limit: BODY_BYTES_MAX, got: body.len() });
        }
        let submitted = runtime::now();
        let deadline = submitted + timeout;
        let admission = self.admit(body.len(), deadline).await?;
        let (answer, answered) = oneshot::channel();
        let pending = Pending { submitted, deadline, answer, _admission: admission };
        self.submit(body, pending)?;
        answered.await.unwrap_or_else(|_| Err(super::closed("the client was closed")))
    }

    /// Returns the address that it dials.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Reports whether a connection is open now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.state().is_open()
    }

    /// Returns how the peer introduced itself on the connection that is open now.
    #[must_use]
    pub fn peer(&self) -> Option<Hello> {
        self.shared.state().connection.as_ref()?.peer.clone()
    }

    /// Returns when the peer last said anything, over this connection or an earlier one.
    #[must_use]
    pub fn last_heard(&self) -> Option<Instant> {
        self.shared.state().last_heard
    }

    async fn admit(
        &self,
        bytes: usize,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, TransportError> {
        let Shared { admission, options, .. } = &*self.shared;
        let units = (1 + bytes / UNIT_BYTES).min(options.in_flight_max.max(1)) as u32;
        if let Ok(permit) = admission.clone().try_acquire_many_owned(units) {
            return Ok(permit);
        }
        let waited = timeout_at(deadline, admission.clone().acquire_many_owned(units)).await;
        waited
            .map(|acquired| acquired.expect("the semaphore of a client is never closed"))
            .map_err(|_| self.shared.unreachable("too many requests are in flight"))
    }

    fn submit(&self, body: Bytes, pending: Pending) -> Result<(), TransportError> {
        let mut state = self.shared.state();
        let begins = state.connection.is_none();
        if begins {
            if let Some((until, error)) = &state.back_off
                && pending.submitted < *until
            {
                return Err(error.clone());
            }
            state.sweep_at = pending.deadline;
            state.connection = Some(Connection::default());
        } else if pending.deadline < state.sweep_at {
            state.sweep_at = pending.deadline;
            self.shared.sooner.notify_one();
        }
        let number = state.next_number;
        state.next_number += 1;
        state.pending.insert(number, pending);
        state.outbox.push((number, body));
        if state.outbox.len() == 1 {
            self.shared.work.notify_one();
        }
        drop(state);
        if begins {
            // Without the lock: a runtime that shuts down drops the task here, which then takes it.
            runtime::spawn(Connecting { shared: self.shared.clone(), end: None }.run());
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.dropped.notify_one();
    }
}

/// How a connection ends.
enum End {
    /// The dial failed: nothing was sent.
    NotOpened(TransportError),
    Broken(TransportError),
    /// It was idle, and has already left its place to another.
    Idle,
}

/// The task of a connection.
struct Connecting {
    shared: Arc<Shared>,
    end: Option<End>,
}

impl Connecting {
    async fn run(mut self) {
        let shared = self.shared.clone();
        // Biased: the order must not be random under simulation.
        self.end = tokio::select! {
            biased;
            () = shared.dropped.notified() => None,
            end = shared.converse() => Some(end),
            end = shared.sweep() => Some(end),
        };
    }
}

impl Drop for Connecting {
    // In `drop`, so that requests fail at once even when the task is aborted or panics.
    fn drop(&mut self) {
        let aborted = || End::Broken(super::closed("the client was closed"));
        match self.end.take().unwrap_or_else(aborted) {
            End::Idle => {}
            End::NotOpened(error) => self.shared.ended(&error, false),
            End::Broken(error) => self.shared.ended(&error, true),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    fn unreachable(&self, message: &str) -> TransportError {
        TransportError::Unreachable { address: self.address.clone(), message: message.to_owned() }
    }

    async fn converse(&self) -> End {
        let hello = (self.hello)();
        let dialled = dial(
            &*self.transport,
            &self.address,
            &hello,
            &self.secret,
            self.options.expected,
            self.options.dial_timeout,
        )
        .await;
        let (peer, channel) = match dialled {
            Ok(dialled) => dialled,
            Err(error) => return End::NotOpened(error),
        };
        {
            let mut state = self.state();
            state.last_heard = Some(runtime::now());
            if let Some(connection) = &mut state.connection {
                connection.peer = Some(peer);
            }
        }
        let broken = tokio::select! {
            biased;
            error = self.read(channel.stream) => error,
            error = self.write(channel.sink) => error,
        };
        End::Broken(broken)
    }

    async fn read(&self, stream: FrameStream) -> TransportError {
        let mut chunks = stream.ready_chunks(BATCH);
        let mut answered = Vec::with_capacity(BATCH);
        while let Some(chunk) = chunks.next().await {
            let taken = self.take_answered(chunk, &mut answered);
            // Outside the lock: whoever is woken here may want it at once.
            for (pending, body) in answered.drain(..) {
                // The caller may have gone.
                let _ = pending.answer.send(Ok(body));
            }
            if let Err(error) = taken {
                return error;
            }
        }
        super::closed("the peer closed it")
    }

    fn take_answered(
        &self,
        chunk: Vec<Result<Bytes, TransportError>>,
        answered: &mut Vec<(Pending, Bytes)>,
    ) -> Result<(), TransportError> {
        let now = runtime::now();
        let mut state = self.state();
        for frame in chunk {
            let (number, body) = unframe(frame?)?;
            state.last_heard = Some(now);
            if let Some(connection) = &mut state.connection {
                connection.heard = true;
            }
            // An answer without a request came after its deadline.
            if let Some(pending) = state.pending.remove(&number) {
                answered.push((pending, body));
            }
        }
        Ok(())
    }

    async fn write(&self, mut sink: FrameSink) -> TransportError {
        let mut framer = Framer::default();
        let mut batch = Vec::new();
        loop {
            std::mem::swap(&mut batch, &mut self.state().outbox);
            if batch.is_empty() {
                self.work.notified().await;
                // Whoever else is ready to ask has its turn first: one system call for all (64 clients:
                // 6 % more puts a second).
                tokio::task::yield_now().await;
                continue;
            }
            for (number, body) in batch.drain(..) {
                if let Err(error) = sink.feed(framer.frame(number, &body)).await {
                    return error;
                }
            }
            if let Err(error) = sink.flush().await {
                return error;
            }
        }
    }

    async fn sweep(&self) -> End {
        loop {
            let sweep_at = match self.sweep_once() {
                Ok(sweep_at) => sweep_at,
                Err(end) => return end,
            };
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = sleep_until(sweep_at) => {}
            }
        }
    }

    /// Fails what is overdue; returns when to look again, or that the connection is over.
    fn sweep_once(&self) -> Result<Instant, End> {
        let now = runtime::now();
        let mut state = self.state();
        let (expired, silent) = state.take_expired(now, &self.options);
        let unsent_from = state.outbox.first().map_or(u64::MAX, |(number, _)| *number);
        if !expired.is_empty() {
            let State { outbox, pending, .. } = &mut *state;
            outbox.retain(|(number, _)| pending.contains_key(number));
        }
        let result = if silent {
            Err(End::Broken(super::closed("the peer has fallen silent")))
        } else if state.is_idle(now, &self.options) {
            // Under the lock of the decision: a request that comes now opens a connection of its own.
            state.connection = None;
            Err(End::Idle)
        } else {
            let next = state.pending.values().map(|pending| pending.deadline).min();
            state.sweep_at = next.unwrap_or(now + self.options.idle_max);
            Ok(state.sweep_at)
        };
        drop(state);
        for (number, pending) in expired {
            let waited = pending.deadline - pending.submitted;
            let error = if number < unsent_from {
                TransportError::Timeout { waited }
            } else {
                self.unreachable(&format!("could not be sent within {} ms", waited.as_millis()))
            };
            let _ = pending.answer.send(Err(error));
        }
        result
    }

    /// Fails all that waits, and puts off the next dial when this one led nowhere.
    fn ended(&self, error: &TransportError, opened: bool) {
        let mut state = self.state();
        let heard = state.connection.take().is_some_and(|connection| connection.heard);
        let unsent_error = match error {
            TransportError::Refused { .. } | TransportError::Unreachable { .. } => error.clone(),
            _ => self.unreachable(&error.to_string()),
        };
        if heard {
            state.failures = 0;
            state.back_off = None;
        } else {
            state.failures = state.failures.saturating_add(1);
            let until = runtime::now() + self.back_off(state.failures);
            state.back_off = Some((until, unsent_error.clone()));
        }
        let unsent_from = match state.outbox.first() {
            _ if !opened => 0,
            Some((number, _)) => *number,
            None => u64::MAX,
        };
        state.outbox.clear();
        let pending = std::mem::take(&mut state.pending);
        drop(state);
        for (number, pending) in pending {
            let error = if number < unsent_from { error } else { &unsent_error };
            let _ = pending.answer.send(Err(error.clone()));
        }
    }

    fn back_off(&self, failures: u32) -> Duration {
        let ClientOptions { back_off_min, back_off_max, .. } = self.options;
        let doubled = back_off_min.saturating_mul(1 << (failures - 1).min(16));
        let half = doubled.min(back_off_max) / 2;
        half + runtime::jitter(half)
    }
}

impl State {
    /// Takes out what is overdue, and says whether the connection leads nowhere: a request that is
    /// overdue was submitted after the last word that was heard, and that is long ago.
    fn take_expired(
        &mut self,
        now: Instant,
        options: &ClientOptions,
    ) -> (Vec<(u64, Pending)>, bool) {
        let expired: Vec<_> =
            self.pending.extract_if(.., |_, pending| pending.deadline <= now).collect();
        let silent = self.is_open()
            && self.last_heard.is_some_and(|heard| {
                now - heard >= options.silence_max
                    && expired.iter().any(|(_, pending)| pending.submitted >= heard)
            });
        (expired, silent)
    }

    fn is_idle(&self, now: Instant, options: &ClientOptions) -> bool {
        let quiet = self.last_heard.is_some_and(|heard| now - heard >= options.idle_max);
        self.is_open() && self.pending.is_empty() && quiet
    }

    fn is_open(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.peer.is_some())
    }
}
