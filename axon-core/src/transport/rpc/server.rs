//! The answering side of a channel.
//!
//! One task, the caller's, does everything: it reads requests, drives their handlers and writes the
//! answers, so that a request costs no task of its own and nothing is left running when the channel is
//! gone. Invariants:
//!
//! * requests are begun in the order in which they came: a handler runs to its first wait before
//!   the next request is looked at; what it queues until then is in order;
//! * an answer is written when it is there, whatever was asked before it;
//! * requests and answers in flight are bounded in number and in bytes; beyond that nothing is read, and
//!   the peer's sink waits;
//! * a channel on which nothing moves for [`SILENCE`] to twice that, and nothing is being worked on, is
//!   closed: its peer may be gone without a word.

use super::{BATCH, Framer, Hello, unframe};
use crate::error::TransportError;
use crate::transport::{Channel, FrameSink, FrameStream};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// See the module's essay. Longer than a client keeps an idle connection.
const SILENCE: Duration = Duration::from_mins(1);

/// Bytes of requests and answers in flight on one channel. One may take it over this.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;

/// Answers requests.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of `peer`.
    ///
    /// Handlers of one channel share a task: what computes for long belongs on a task of its own, or
    /// it holds up the others. Called in the order of the requests, up to the first wait. Must be
    /// cancel safe: when the channel ends, it is dropped where it waits; what must be
    /// finished is spawned.
    async fn handle(&self, peer: &Hello, body: Bytes) -> Bytes;
}

/// Answers the requests that come over `channel` until it ends, at most `in_flight_max` at once.
///
/// Dropped, it closes the channel.
///
/// # Errors
/// What broke the channel; the peer's orderly end is no error.
pub async fn serve(
    peer: Hello,
    channel: Channel,
    handler: Arc<dyn Handler>,
    in_flight_max: usize,
) -> Result<(), TransportError> {
    let mut ticks = tokio::time::interval(SILENCE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut serving = Serving {
        handler: &*handler,
        peer: &peer,
        sink: channel.sink,
        stream: channel.stream,
        in_flight_max: in_flight_max.max(1),
        in_flight_bytes: 0,
        running: FuturesUnordered::new(),
        answers: VecDeque::new(),
        framer: Framer::default(),
        unflushed: false,
        ticks,
        moved: true,
    };
    poll_fn(|context| serving.poll(context)).await
}

struct Serving<'a> {
    handler: &'a dyn Handler,
    peer: &'a Hello,
    sink: FrameSink,
    stream: FrameStream,
    in_flight_max: usize,
    in_flight_bytes: usize,
    running: FuturesUnordered<Running<'a>>,
    answers: VecDeque<(u64, Bytes)>,
    framer: Framer,
    unflushed: bool,
    ticks: Interval,
    /// Whether anything was read or written since the last tick.
    moved: bool,
}

/// A request whose handler waits.
struct Running<'a> {
    number: u64,
    bytes: usize,
    answer: BoxFuture<'a, Bytes>,
}

struct Answered {
    number: u64,
    request_bytes: usize,
    answer: Bytes,
}

impl Future for Running<'_> {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        let (number, request_bytes) = (self.number, self.bytes);
        self.answer.as_mut().poll(context).map(|answer| Answered { number, request_bytes, answer })
    }
}

impl Serving<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut budget = BATCH;
        loop {
            let before = budget;
            self.collect(context, &mut budget);
            self.send(context)?;
            if self.receive(context, &mut budget)?.is_break() {
                return Poll::Ready(Ok(()));
            }
            if budget == 0 {
                // There is more to do: after the flush, and after other tasks had their turn.
                self.send(context)?;
                context.waker().wake_by_ref();
                break;
            }
            if budget == before {
                break;
            }
        }
        if self.unflushed && self.sink.as_mut().poll_flush(context)?.is_ready() {
            self.unflushed = false;
            self.moved = true;
            if !self.answers.is_empty() {
                // The sink was full and is empty now: it will not wake us again.
                context.waker().wake_by_ref();
            }
        }
        self.watch(context)
    }

    /// Takes the answers of the handlers that are done.
    fn collect(&mut self, context: &mut Context<'_>, budget: &mut usize) {
        while *budget > 0 && !self.running.is_empty() {
            let polled = Pin::new(&mut self.running).poll_next(context);
            let Poll::Ready(Some(answered)) = polled else { return };
            self.answered(answered);
            *budget -= 1;
        }
    }

    fn answered(&mut self, answered: Answered) {
        self.in_flight_bytes += answered.answer.len();
        self.in_flight_bytes -= answered.request_bytes;
        self.answers.push_back((answered.number, answered.answer));
    }

    /// Hands answers to the sink, as many as it takes.
    fn send(&mut self, context: &mut Context<'_>) -> Result<(), TransportError> {
        while !self.answers.is_empty() && self.sink.as_mut().poll_ready(context)?.is_ready() {
            let Some((number, answer)) = self.answers.pop_front() else { break };
            self.in_flight_bytes -= answer.len();
            self.sink.as_mut().start_send(self.framer.frame(number, &answer))?;
            self.unflushed = true;
            self.moved = true;
        }
        Ok(())
    }

    /// Begins the requests that have come; breaks when the peer has closed the channel.
    fn receive(
        &mut self,
        context: &mut Context<'_>,
        budget: &mut usize,
    ) -> Result<std::ops::ControlFlow<()>, TransportError> {
        while *budget > 0 && self.has_room() {
            let frame = match self.stream.as_mut().poll_next(context) {
                Poll::Ready(Some(frame)) => frame?,
                Poll::Ready(None) => return Ok(std::ops::ControlFlow::Break(())),
                Poll::Pending => break,
            };
            let (number, body) = unframe(frame)?;
            let bytes = body.len();
            let answer = self.handler.handle(self.peer, body);
            let mut request = Running { number, bytes, answer };
            self.in_flight_bytes += bytes;
            match Pin::new(&mut request).poll(context) {
                Poll::Ready(answered) => self.answered(answered),
                Poll::Pending => self.running.push(request),
            }
            self.moved = true;
            *budget -= 1;
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }

    fn has_room(&self) -> bool {
        self.running.len() + self.answers.len() < self.in_flight_max
            && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
    }

    /// Ends the channel when nothing has moved between two ticks.
    fn watch(&mut self, context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        while self.ticks.poll_tick(context).is_ready() {
            if !self.moved && self.running.is_empty() {
                return Poll::Ready(Err(super::closed("nothing was heard for too long")));
            }
            self.moved = false;
        }
        Poll::Pending
    }
}
