//! Bodies that tell what becomes of them.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// A body that tells when it is dropped: a response's when its last byte was handed over.
#[derive(Debug)]
pub struct Tracked<B, D> {
    body: B,
    _done: D,
}

impl<B, D> Tracked<B, D> {
    /// Drops `done` with `body`.
    pub fn new(body: B, done: D) -> Self {
        Self { body, _done: done }
    }
}

impl<B: Body<Data = Bytes> + Unpin, D: Unpin> Body for Tracked<B, D> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body, of which it is known whether somebody still waits for its end.
#[derive(Debug)]
pub struct Arriving<B> {
    body: B,
    over: Over,
}

/// Waits for a body that takes too long.
#[derive(Debug)]
pub struct Late(Arc<AtomicBool>);

/// Set when the body has arrived, or nobody wants it any more.
#[derive(Debug)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<B: Body> Arriving<B> {
    /// Watches `body`.
    pub fn new(body: B) -> (Self, Late) {
        let over = Arc::new(AtomicBool::new(body.is_end_stream()));
        (Self { body, over: Over(Arc::clone(&over)) }, Late(over))
    }
}

impl Late {
    /// Reports whether the body has arrived, or nobody wants it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends after `limit` if the body is still waited for then, and otherwise never.
    pub async fn than(self, limit: Duration) {
        tokio::time::sleep(limit).await;
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }
}

impl<B: Body + Unpin> Body for Arriving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.over.0.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// A body of so many frames, after which there is an end, or silence.
    struct Parts(usize, bool);

    impl Body for Parts {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.0 == 0 {
                return if self.1 { Poll::Ready(None) } else { Poll::Pending };
            }
            self.0 -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    const LIMIT: Duration = Duration::from_secs(30);

    async fn is_late(late: Late) -> bool {
        tokio::time::timeout(2 * LIMIT, late.than(LIMIT)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_body_that_is_waited_for_is_late() {
        let (mut body, late) = Arriving::new(Parts(1, false));
        assert!(poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.is_some());
        assert!(is_late(late).await, "one frame of more");
        drop(body);

        let (mut body, late) = Arriving::new(Parts(1, true));
        while poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.is_some() {}
        assert!(!is_late(late).await, "it has arrived");

        let (body, late) = Arriving::new(Parts(1, false));
        drop(body);
        assert!(!is_late(late).await, "nobody wants it");
    }
}
