//! Bodies: reading one from a client that may be slow, huge or malicious, and knowing when one is sent.
//!
//! Invariants:
//!
//! * no body larger than its limit is ever held, whether or not its length was announced;
//! * all request bodies together hold at most the bytes of one [`Budget`]; what is over is refused;
//! * pages, which are held whole until a client has taken them, have a [`Room`], and wait for it;
//! * a body that has already arrived costs no timer.

use crate::problem::{Code, Problem};
use axon_core::store::PAGE_BYTES_MAX;
use axon_http::Tracked;
use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes of request bodies may be held at once.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self { held: AtomicUsize::new(0), max }
    }
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
struct Reservation<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Reservation<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let before = self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > self.budget.max {
            return Err(Problem::overloaded(
                "too many request bodies are in flight; retry shortly",
            ));
        }
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request body that has arrived. Holds its part of the budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    bytes: Bytes,
    /// Whether `bytes` shares the connection's read buffer with who knows what else.
    borrowed: bool,
    _reservation: Reservation<'a>,
}

impl Received<'_> {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns `part`, which must lie in these bytes, to be kept for long.
    ///
    /// A body in one frame is a window into the connection's read buffer: kept in the store, sixteen
    /// bytes would hold on to all of that buffer. So those are copied, and they are small; a body that
    /// was put together from many frames is a buffer of its own and is shared.
    pub(crate) fn keep(&self, part: &[u8]) -> Bytes {
        if self.borrowed { Bytes::copy_from_slice(part) } else { self.bytes.slice_ref(part) }
    }
}

/// Reads `body` to its end: at most `limit` bytes, within `timeout`.
pub(crate) async fn receive<B>(
    body: B,
    limit: usize,
    timeout: Duration,
    budget: &Budget,
) -> Result<Received<'_>, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::body_too_large(limit));
    }
    let mut read = pin!(read(body, limit, budget));
    // Nearly every body came in one packet with its head: no timer for those.
    if let Poll::Ready(received) = futures_util::poll!(read.as_mut()) {
        return received;
    }
    tokio::time::timeout(timeout, read).await.unwrap_or_else(|_| {
        Err(Problem::new(
            Code::RequestTimeout,
            format!("the body did not arrive within {} s", timeout.as_secs_f64()),
        )
        .retryable())
    })
}

async fn read<B>(body: B, limit: usize, budget: &Budget) -> Result<Received<'_>, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
{
    let mut reservation = Reservation { budget, bytes: 0 };
    let announced = body.size_hint().exact().map_or(0, |bytes| bytes as usize).min(limit);
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Problem::bad_request("the body broke off or is malformed"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + gathered.len() + data.len() > limit {
            return Err(Problem::body_too_large(limit));
        }
        reservation.grow(data.len())?;
        if first.is_empty() && gathered.is_empty() {
            first = data;
            continue;
        }
        if gathered.is_empty() {
            gathered.reserve_exact(announced.max(first.len() + data.len()));
            gathered.extend_from_slice(&std::mem::take(&mut first));
        }
        gathered.extend_from_slice(&data);
    }
    let borrowed = gathered.is_empty();
    let bytes = if borrowed { first } else { Bytes::from(gathered) };
    Ok(Received { bytes, borrowed, _reservation: reservation })
}

/// What pages hold in memory, while they are made and until they are taken: so many bytes.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    // A permit is 1 KiB.
    free: Arc<Semaphore>,
}

/// The room of one page; free again when dropped.
#[derive(Debug)]
pub(crate) struct PageRoom(OwnedSemaphorePermit);

impl Room {
    /// What a page may hold while it is made.
    const PAGE_KIB: u32 = (PAGE_BYTES_MAX >> 10) as u32;
    /// How long a page waits for those that are slowly taken.
    const WAIT: Duration = Duration::from_secs(2);

    pub(crate) fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes >> 10)) }
    }

    /// Waits, a while, for room to make a page in.
    pub(crate) async fn take(&self) -> Result<PageRoom, Problem> {
        let crowded = || Problem::overloaded("too many pages are in flight; retry shortly");
        let taken = self.free.clone().acquire_many_owned(Self::PAGE_KIB);
        let taken = tokio::time::timeout(Self::WAIT, taken).await.map_err(|_| crowded())?;
        Ok(PageRoom(taken.expect("nobody closes the room")))
    }
}

impl PageRoom {
    /// Keeps as much of it as `response` needs, until that is taken.
    pub(crate) fn hold(mut self, response: Response<Body>) -> Response<Body> {
        let needed =
            (hyper::body::Body::size_hint(response.body()).lower() as usize).div_ceil(1 << 10);
        drop(self.0.split(self.0.num_permits().saturating_sub(needed)));
        response.map(|body| Body::new(Tracked::new(body, self)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use std::convert::Infallible;

    const SOON: Duration = Duration::from_secs(30);

    fn frames(
        parts: &[&'static str],
    ) -> impl hyper::body::Body<Data = Bytes, Error = Infallible> + use<> {
        let parts: Vec<_> =
            parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
        StreamBody::new(stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_is_put_together_from_its_frames() {
        let budget = Budget::new(100);
        let received = receive(frames(&["ab", "", "cd", "e"]), 5, SOON, &budget).await.unwrap();
        assert_eq!(received.bytes(), b"abcde");
        assert_eq!(received.keep(&received.bytes()[1..3]), "bc");
        assert_eq!(budget.held.load(Ordering::Relaxed), 5);
        drop(received);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_announced_or_not() {
        let budget = Budget::new(100);
        let announced = receive(Full::new(Bytes::from("abcdef")), 5, SOON, &budget).await;
        let streamed = receive(frames(&["abc", "def"]), 5, SOON, &budget).await;
        assert_eq!(announced.unwrap_err().code(), Code::TooLarge);
        assert_eq!(streamed.unwrap_err().code(), Code::TooLarge);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0, "what was refused is given back");
    }

    #[tokio::test]
    async fn bodies_over_the_budget_are_refused_until_others_are_done() {
        let budget = Budget::new(5);
        let first = receive(frames(&["abc"]), 5, SOON, &budget).await.unwrap();
        let second = receive(frames(&["def"]), 5, SOON, &budget).await;
        assert_eq!(second.unwrap_err().code(), Code::Overloaded);
        drop(first);
        assert!(receive(frames(&["def"]), 5, SOON, &budget).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_holds_what_it_needs_until_it_is_taken() {
        let room = Room::new(PAGE_BYTES_MAX + 4096);
        let first = room.take().await.unwrap();
        let refused = room.take().await.unwrap_err();
        assert_eq!(refused.code(), Code::Overloaded, "there is no room while a page is made");
        let held = first.hold(Response::new(Body::from(vec![0; 4000])));
        let second = room.take().await.unwrap().hold(Response::new(Body::from(vec![0; 5000])));
        assert!(room.take().await.is_err());
        drop((held, second));
        assert_eq!(room.free.available_permits(), (PAGE_BYTES_MAX + 4096) >> 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let budget = Budget::new(5);
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let given_up = receive(never, 5, SOON, &budget).await;
        assert_eq!(given_up.unwrap_err().code(), Code::RequestTimeout);
    }
}
