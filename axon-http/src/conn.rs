//! One connection: hyper on a socket, watched from outside.
//!
//! Hyper's own timers cannot tell a client that is slow to send a head from one that rests between two
//! requests, and cost an allocation per request. And to a head that it cannot parse hyper answers
//! without a body. Here one coarse tick per connection looks at what the connection is doing, as two
//! atomics say, and the socket's wrapper gives hyper's bare refusals a body. Invariants:
//!
//! * a phase lasts no longer than its limit and half of the shortest limit;
//! * bytes of our own answers are never touched: a refusal is replaced only while no request runs and
//!   nothing of an earlier answer waits in hyper's buffer;
//! * a socket is closed only after what the client still sends was drained (bounded), or the kernel
//!   would reset the connection and take our last answer with it.

use crate::rest::{RequestBody, Rest};
use crate::{HEAD_BYTES_MAX, Refusal, Tracked, Words};
use bytes::Bytes;
use hyper::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long a closed connection is drained.
const LINGER: Duration = Duration::from_secs(1);
/// How much of a closed connection is drained.
const LINGER_BYTES_MAX: usize = 16 << 20;
/// How long accepting rests when the process has run out of something, such as descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first byte of a head (or the connection) to its last.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without taking a byte of an answer.
    pub stall: Duration,
}

impl Patience {
    fn tick(&self) -> Duration {
        self.head.min(self.idle).min(self.stall) / 2
    }
}

const FRESH: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;
const IDLE: u8 = 3;

/// What a connection does, and since when. Shared by its socket, its requests and its watcher, which
/// all run in one task; so the order of memory does not matter.
#[derive(Debug)]
struct Activity {
    began: Instant,
    phase: AtomicU8,
    /// Milliseconds after `began` at which the phase was entered.
    since: AtomicU64,
    /// Milliseconds after `began`, plus 1, since when the client takes no bytes; 0 when it does.
    stalled: AtomicU64,
    /// Whether hyper's buffer may hold bytes of an answer.
    unflushed: AtomicBool,
    /// Whether hyper has refused what arrived.
    refused: AtomicBool,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Hyper is done with it, or the client is.
    Closed,
    /// Hyper gave up on what arrived without a word.
    Unanswered,
    /// A head did not arrive in time.
    SlowHead,
    /// It rested, or did not take its answer, for too long.
    Abandoned,
}

impl Activity {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            phase: AtomicU8::new(FRESH),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            unflushed: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
        // A running request has deadlines of its own: nobody asks since when it runs.
        if phase != BUSY {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn bytes_arrived(&self) {
        if matches!(self.phase(), FRESH | IDLE) {
            self.enter(HEAD);
        }
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        let stalled = self.stalled.load(Ordering::Relaxed);
        if outcome.is_pending() && stalled == 0 {
            self.stalled.store(self.now() + 1, Ordering::Relaxed);
        } else if outcome.is_ready() && stalled != 0 {
            self.stalled.store(0, Ordering::Relaxed);
        }
    }

    fn flushed(&self) {
        if self.phase() != BUSY {
            self.unflushed.store(false, Ordering::Relaxed);
        }
    }

    /// Returns what hyper's bare refusal in `bytes` stands for, if that is what they are.
    fn improve(&self, bytes: &[u8]) -> Option<Refusal> {
        if self.phase() == BUSY || self.unflushed.load(Ordering::Relaxed) {
            return None;
        }
        let status = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
        let refusal = match status {
            b"400" => Refusal::Malformed,
            b"414" => Refusal::UriTooLong,
            b"431" => Refusal::HeadersTooLarge,
            _ => return None,
        };
        self.refused.store(true, Ordering::Relaxed);
        Some(refusal)
    }

    /// Says how the connection ended when hyper is done with it.
    fn end(&self, outcome: &Result<(), hyper::Error>, stopping: bool) -> End {
        // The preface of HTTP/2 is the case in which hyper says nothing.
        let malformed = outcome.as_ref().is_err_and(hyper::Error::is_parse);
        if malformed && self.phase() == HEAD && !self.refused.load(Ordering::Relaxed) {
            return End::Unanswered;
        }
        // At rest, nothing is unread: a shutdown need not wait for the client to close its end.
        if stopping && self.phase() == IDLE { End::Abandoned } else { End::Closed }
    }

    /// Says whether the connection has used up its time.
    fn expired(&self, patience: &Patience) -> Option<End> {
        let now = self.now();
        let over =
            |since: u64, limit: Duration| now.saturating_sub(since) >= limit.as_millis() as u64;
        let stalled = self.stalled.load(Ordering::Relaxed);
        if stalled != 0 && over(stalled - 1, patience.stall) {
            return Some(End::Abandoned);
        }
        let since = self.since.load(Ordering::Relaxed);
        match self.phase() {
            HEAD if over(since, patience.head) => Some(End::SlowHead),
            FRESH if over(since, patience.head) => Some(End::Abandoned),
            IDLE if over(since, patience.idle) => Some(End::Abandoned),
            _ => None,
        }
    }
}

/// Ends the phase of a request when its answer has been handed over, or was given up.
struct Answered(Arc<Activity>);

impl Drop for Answered {
    fn drop(&mut self) {
        self.0.unflushed.store(true, Ordering::Relaxed);
        self.0.enter(IDLE);
    }
}

/// The socket, telling the activity what passes through it.
struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    words: Words,
    /// What goes out in place of hyper's refusal, and how much of it has gone.
    improved: Option<(Vec<u8>, usize)>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_arrived();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn poll_improved(
        &mut self,
        context: &mut Context<'_>,
        replaced: usize,
    ) -> Poll<io::Result<usize>> {
        while let Some((bytes, gone)) = &mut self.improved {
            if *gone == bytes.len() {
                self.improved = None;
                break;
            }
            let outcome = Pin::new(&mut self.stream).poll_write(context, &bytes[*gone..]);
            self.activity.wrote(&outcome);
            *gone += ready!(outcome)?;
        }
        Poll::Ready(Ok(replaced))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.improved.is_none() {
            self.improved = self.activity.improve(bytes).map(|refusal| ((self.words)(refusal), 0));
        }
        if self.improved.is_some() {
            return self.poll_improved(context, bytes.len());
        }
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A refusal is a head alone: always a single slice.
        if let [single] = slices {
            return self.poll_write(context, single);
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        // Hyper flushes the socket only once its own buffer is empty.
        self.activity.flushed();
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Prepares a socket that was accepted.
pub fn ready(stream: TcpStream) -> TcpStream {
    // An answer is one write: waiting for more of it would only delay it. A socket that refuses the
    // option is broken, and shows it at the first read.
    let _ = stream.set_nodelay(true);
    stream
}

/// Decides what a failed accept means: a client that left, or a process that ran out of something.
pub async fn recover(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "cannot accept connections; trying again");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Serves one connection to its end: `handle` answers its requests, `words` says what is refused
/// before. Once `draining` holds `true`, it ends with the running request.
pub async fn drive<F, B>(
    stream: TcpStream,
    handle: impl Fn(Request<RequestBody>) -> F,
    words: Words,
    patience: Patience,
    mut draining: watch::Receiver<bool>,
) where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let activity = Arc::new(Activity::new());
    let io = Watched { stream, activity: activity.clone(), words, improved: None };
    let rest = Rest::default();
    let service = service_fn(|request| {
        let answered = Answered(activity.clone());
        activity.enter(BUSY);
        let answering = handle(rest.of(request));
        let rest = &rest;
        async move {
            let mut response = answering.await;
            rest.read_before(&mut response).await;
            Ok::<_, Infallible>(response.map(|body| Tracked::new(body, answered)))
        }
    });
    let mut connection = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);

    let end = {
        let mut stop = pin!(async { drop(draining.wait_for(|draining| *draining).await) });
        let mut stopping = false;
        let mut tick = pin!(sleep(patience.tick()));
        loop {
            tokio::select! {
                biased;
                outcome = Pin::new(&mut connection) => break activity.end(&outcome, stopping),
                () = &mut tick => match activity.expired(&patience) {
                    Some(end) => break end,
                    None => tick.as_mut().reset(Instant::now() + patience.tick()),
                },
                () = &mut stop, if !stopping => {
                    // Hyper would wait for the first request of a connection that never had one.
                    if activity.phase() == FRESH {
                        break End::Abandoned;
                    }
                    stopping = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    };
    let stream = connection.into_parts().io.into_inner().stream;
    match end {
        End::Closed => linger(stream, None).await,
        End::Unanswered => linger(stream, Some(words(Refusal::NotHttp1))).await,
        End::SlowHead => linger(stream, Some(words(Refusal::SlowHead(patience.head)))).await,
        End::Abandoned => {}
    }
}

/// Refuses a connection that is one too many.
pub async fn refuse(mut stream: TcpStream, words: Words, connections_max: usize) {
    // Read first what it asks: an answer that overtakes the question confuses clients.
    let mut head = [0; 4096];
    let _ = timeout(LINGER, stream.read(&mut head)).await;
    linger(stream, Some(words(Refusal::TooManyConnections(connections_max)))).await;
}

/// Says `farewell`, if any, and closes once the client has stopped sending; bounded in time and bytes.
async fn linger(mut stream: TcpStream, farewell: Option<Vec<u8>>) {
    let closing = async {
        if let Some(words) = farewell {
            stream.write_all(&words).await?;
        }
        stream.shutdown().await?;
        let mut scratch = [0; 4096];
        let mut drained = 0;
        while drained < LINGER_BYTES_MAX {
            match stream.read(&mut scratch).await? {
                0 => break,
                bytes => drained += bytes,
            }
        }
        io::Result::Ok(())
    };
    // The client is gone, or will be: nobody is left to tell.
    let _ = timeout(LINGER, closing).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(10),
        idle: Duration::from_mins(1),
        stall: Duration::from_secs(30),
    };

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_own_limit() {
        let activity = Activity::new();
        let wait = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        wait(9).await;
        assert_eq!(activity.expired(&PATIENCE), None);
        wait(1).await;
        assert_eq!(activity.expired(&PATIENCE), Some(End::Abandoned), "nothing was ever sent");

        activity.bytes_arrived();
        wait(9).await;
        activity.bytes_arrived();
        assert_eq!(activity.expired(&PATIENCE), None);
        wait(1).await;
        assert_eq!(activity.expired(&PATIENCE), Some(End::SlowHead), "a trickle buys no time");

        activity.enter(BUSY);
        wait(1000).await;
        assert_eq!(activity.expired(&PATIENCE), None, "a request has deadlines of its own");
        activity.wrote(&Poll::Pending);
        wait(30).await;
        assert_eq!(activity.expired(&PATIENCE), Some(End::Abandoned), "it takes no answer");
        activity.wrote(&Poll::Ready(Ok(1)));
        assert_eq!(activity.expired(&PATIENCE), None);

        activity.enter(IDLE);
        wait(59).await;
        assert_eq!(activity.expired(&PATIENCE), None);
        wait(1).await;
        assert_eq!(activity.expired(&PATIENCE), Some(End::Abandoned));
    }

    #[tokio::test]
    async fn only_a_bare_refusal_is_replaced() {
        let refusal = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let activity = Arc::new(Activity::new());
        assert!(activity.improve(refusal).is_some());
        assert!(activity.improve(b"HTTP/1.1 100 Continue\r\n\r\n").is_none());
        activity.enter(BUSY);
        assert!(activity.improve(refusal).is_none(), "the value of a key may look like this");
        drop(Answered(activity.clone()));
        assert!(activity.improve(refusal).is_none(), "and part of it may not be flushed yet");
        activity.flushed();
        assert!(activity.improve(refusal).is_some());
    }
}
