//! The rest of a request that was answered before all of it was there.
//!
//! Hyper sends such an answer and closes the connection. A client that still sends, as a proxy does,
//! may then see a broken connection and no answer. So a body that a handler gave up comes back here,
//! and what is missing of it is read before the answer goes out. Invariants:
//!
//! * no more than [`REST_BYTES_MAX`] are read, and not for longer than [`REST_TIMEOUT`]: the rest of
//!   what is larger or slower is not worth a connection;
//! * a client that asks first whether it may send its body is not told to.

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// How much of a request that was answered already is read.
const REST_BYTES_MAX: u64 = 64 << 10;
/// For how long.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// A request's body. What is left of it when it is dropped is read before the answer goes out, if that
/// is little.
#[derive(Debug)]
pub struct RequestBody {
    /// `None` only while it is dropped.
    body: Option<Incoming>,
    /// `None` if nothing may be left.
    rest: Option<Rest>,
}

/// Where a connection finds the body that its running request gave up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rest(Arc<Mutex<GivenUp>>);

#[derive(Debug, Default)]
struct GivenUp {
    /// Whether a request runs: who gives up a body after its answer, gives up its connection.
    awaited: bool,
    body: Option<Incoming>,
}

impl Rest {
    /// Returns `request` with a body that comes back here when it is given up.
    pub(crate) fn of(&self, request: Request<Incoming>) -> Request<RequestBody> {
        let held_back = request.headers().contains_key(EXPECT);
        request.map(|body| {
            let rest = (!held_back && !body.is_end_stream()).then(|| self.clone());
            if rest.is_some() {
                self.given_up().awaited = true;
            }
            RequestBody { body: Some(body), rest }
        })
    }

    /// Reads what came back, within bounds.
    pub(crate) async fn read(&self) {
        let Some(body) = std::mem::take(&mut *self.given_up()).body else { return };
        if body.size_hint().lower() <= REST_BYTES_MAX {
            // Whatever comes of it, there is an answer to send.
            let _ = timeout(REST_TIMEOUT, read(body)).await;
        }
    }

    fn given_up(&self) -> MutexGuard<'_, GivenUp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(mut body: Incoming) {
    let mut left = REST_BYTES_MAX;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(bytes) {
            Some(less) => left = less,
            None => return,
        }
    }
}

impl RequestBody {
    fn inner(&self) -> &Incoming {
        self.body.as_ref().expect("there until it is dropped")
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(rest), Some(body)) = (&self.rest, self.body.take())
            && !body.is_end_stream()
        {
            let mut given_up = rest.given_up();
            if given_up.awaited {
                given_up.body = Some(body);
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let body = self.body.as_mut().expect("there until it is dropped");
        Pin::new(body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use crate::{Patience, Refusal, drive};
    use http_body_util::Empty;
    use hyper::{Request, Response, StatusCode};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;
    use tokio::time::{Instant, sleep};

    /// A connection to a server that refuses each request by its head.
    async fn refusing() -> TcpStream {
        const PATIENCE: Patience = Patience {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            stall: Duration::from_secs(30),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let refuse = |request: Request<super::RequestBody>| async {
                drop(request);
                let mut answer = Response::new(Empty::new());
                *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                answer
            };
            let words = |_: Refusal| Vec::new();
            let (_going_on, draining) = watch::channel(false);
            drive(stream, refuse, words, PATIENCE, draining).await;
        });
        client
    }

    /// Reads the head of one answer, which has no body.
    async fn answer(client: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn a_refused_request_may_send_the_rest_of_its_body() {
        let mut client = refusing().await;
        for _ in 0..2 {
            client.write_all(b"PUT /a HTTP/1.1\r\ncontent-length: 2\r\n\r\na").await.unwrap();
            sleep(Duration::from_millis(50)).await;
            client.write_all(b"b").await.unwrap();
            let head = answer(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 413"), "{head}");
            assert!(!head.contains("connection: close"), "{head}");
        }
        let chunk = b"PUT /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
        client.write_all(chunk).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        client.write_all(b"0\r\n\r\n").await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 413"));
    }

    #[tokio::test]
    async fn what_is_large_slow_or_held_back_is_not_waited_for() {
        for (head, at_most) in [
            ("content-length: 70000\r\n", Duration::from_millis(500)),
            ("content-length: 2\r\nexpect: 100-continue\r\n", Duration::from_millis(500)),
            ("content-length: 2\r\n", super::REST_TIMEOUT + Duration::from_secs(1)),
        ] {
            let mut client = refusing().await;
            let begun = Instant::now();
            client.write_all(format!("PUT /a HTTP/1.1\r\n{head}\r\n").as_bytes()).await.unwrap();
            let answer = answer(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 413"), "{head}: {answer}");
            assert!(begun.elapsed() < at_most, "{head}: {:?}", begun.elapsed());
            let mut more = Vec::new();
            client.read_to_end(&mut more).await.unwrap();
            assert_eq!(more, b"", "{head}: the connection ends");
        }
    }
}
