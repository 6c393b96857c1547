//! A channel in memory: two queues of frames, each with the time when it is due.

use super::{Cut, Faults, closed, lock};
use crate::error::TransportError;
use crate::runtime;
use crate::transport::{Channel, check_length};
use bytes::Bytes;
use futures_util::{Sink, Stream};
use rand::rngs::SmallRng;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::time::{Instant, Sleep};

/// Bytes that a channel holds in one direction before its sink waits.
const QUEUE_BYTES_MAX: usize = 256 << 10;

/// What a frame costs in a queue besides its bytes, so that empty frames are bounded too.
const FRAME_COST: usize = 64;

/// Both directions of a channel. A side writes into the way of its number and reads the other.
pub(super) struct Wire {
    ways: [Mutex<Way>; 2],
}

impl Wire {
    /// Joins two addresses, with what is wrong on the ways there and back.
    pub(super) fn new(there: Faults, back: Faults) -> Self {
        Self { ways: [Mutex::new(Way::new(there, back)), Mutex::new(Way::new(back, there))] }
    }

    pub(super) fn end(wire: &Arc<Self>, side: usize) -> Channel {
        Channel {
            sink: Box::pin(MemSink { wire: wire.clone(), side, fed: Vec::new(), fed_cost: 0 }),
            stream: Box::pin(MemStream {
                wire: wire.clone(),
                way: 1 - side,
                timer: None,
                ended: false,
            }),
        }
    }

    pub(super) fn set_faults(&self, way: usize, faults: Faults) {
        {
            let mut way = lock(&self.ways[way]);
            way.faults = faults;
            way.wake();
        }
        {
            let mut opposite = lock(&self.ways[1 - way]);
            opposite.answers_silent = faults.silent();
            opposite.wake();
        }
        if faults.cut == Some(Cut::Break) {
            self.break_off();
        }
    }

    fn break_off(&self) {
        for way in &self.ways {
            let mut way = lock(way);
            way.broken = true;
            way.queue.clear();
            way.wake();
        }
    }
}

/// One direction of a channel.
struct Way {
    /// When each frame is due; it never goes back from one frame to the next.
    queue: VecDeque<(Instant, Bytes)>,
    cost: usize,
    due_last: Instant,
    faults: Faults,
    /// Nothing comes the other way, so that the writer cannot learn that its reader is gone.
    answers_silent: bool,
    /// When the reader hears that the writer has closed.
    closes: Option<Instant>,
    reader_gone: bool,
    broken: bool,
    rng: SmallRng,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What a reader finds.
enum Next {
    Frame(Bytes),
    DueAt(Instant),
    Nothing,
    Closed,
    Broken,
}

impl Way {
    fn new(faults: Faults, opposite: Faults) -> Self {
        Self {
            queue: VecDeque::new(),
            cost: 0,
            due_last: runtime::now(),
            faults,
            answers_silent: opposite.silent(),
            closes: None,
            reader_gone: false,
            broken: false,
            rng: runtime::rng(),
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Fails when the writer knows that its frames cannot arrive.
    fn check(&self) -> Result<(), TransportError> {
        if self.broken {
            return Err(closed("the network broke it"));
        }
        if self.reader_gone && !self.answers_silent {
            return Err(closed("the peer has closed it"));
        }
        Ok(())
    }

    fn draw_due(&mut self) -> Instant {
        let delay = self.faults.draw_delay(&mut self.rng);
        self.due_last = self.due_last.max(runtime::now() + delay);
        self.due_last
    }

    /// Takes the frames; false when one of them breaks the channel.
    fn push(&mut self, frames: &mut Vec<Bytes>) -> bool {
        if frames.is_empty() {
            // A reader woken for nothing may be in the writer's task, and wake it in turn, for ever.
            return true;
        }
        for frame in frames.drain(..) {
            if self.faults.draw_break(&mut self.rng) {
                return false;
            }
            let due = self.draw_due();
            self.cost += FRAME_COST + frame.len();
            self.queue.push_back((due, frame));
        }
        self.reader.take().into_iter().for_each(Waker::wake);
        true
    }

    fn close(&mut self) {
        if self.closes.is_none() {
            self.closes = Some(self.draw_due());
            self.wake();
        }
    }

    fn next(&mut self) -> Next {
        if self.broken {
            return Next::Broken;
        }
        if self.faults.silent() {
            return Next::Nothing;
        }
        let Some(due) = self.queue.front().map(|(due, _)| *due).or(self.closes) else {
            return Next::Nothing;
        };
        if due > runtime::now() {
            return Next::DueAt(due);
        }
        let Some((_, frame)) = self.queue.pop_front() else { return Next::Closed };
        self.cost -= FRAME_COST + frame.len();
        if self.cost < QUEUE_BYTES_MAX {
            self.writer.take().into_iter().for_each(Waker::wake);
        }
        Next::Frame(frame)
    }
}

struct MemSink {
    wire: Arc<Wire>,
    side: usize,
    fed: Vec<Bytes>,
    fed_cost: usize,
}

impl MemSink {
    fn flush(&mut self) -> Result<(), TransportError> {
        let mut way = lock(&self.wire.ways[self.side]);
        way.check()?;
        self.fed_cost = 0;
        if way.push(&mut self.fed) {
            return Ok(());
        }
        drop(way);
        self.wire.break_off();
        Err(closed("the network broke it"))
    }
}

impl Sink<Bytes> for MemSink {
    type Error = TransportError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        let full = lock(&self.wire.ways[self.side]).cost + self.fed_cost >= QUEUE_BYTES_MAX;
        if full {
            self.flush()?;
        }
        let mut way = lock(&self.wire.ways[self.side]);
        way.check()?;
        if way.cost + self.fed_cost < QUEUE_BYTES_MAX {
            return Poll::Ready(Ok(()));
        }
        way.writer = Some(context.waker().clone());
        Poll::Pending
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Bytes) -> Result<(), TransportError> {
        check_length(&frame)?;
        self.fed_cost += FRAME_COST + frame.len();
        self.fed.push(frame);
        Ok(())
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        Poll::Ready(self.flush())
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        self.flush()?;
        lock(&self.wire.ways[self.side]).close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemSink {
    fn drop(&mut self) {
        lock(&self.wire.ways[self.side]).close();
    }
}

struct MemStream {
    wire: Arc<Wire>,
    way: usize,
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl MemStream {
    fn wait_until(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(context)
    }
}

impl Stream for MemStream {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let next = {
                let mut way = lock(&self.wire.ways[self.way]);
                let next = way.next();
                if matches!(next, Next::DueAt(_) | Next::Nothing) {
                    way.reader = Some(context.waker().clone());
                }
                next
            };
            match next {
                Next::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                Next::DueAt(due) if self.wait_until(due, context).is_ready() => {}
                Next::DueAt(_) | Next::Nothing => return Poll::Pending,
                Next::Closed => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Next::Broken => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(closed("the network broke it"))));
                }
            }
        }
    }
}

impl Drop for MemStream {
    fn drop(&mut self) {
        let mut way = lock(&self.wire.ways[self.way]);
        way.reader_gone = true;
        way.wake();
    }
}
