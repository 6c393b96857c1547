//! The rest of a request that is answered before all of it has come.
//!
//! Hyper sends such an answer and then closes the connection, without a word of that in the answer. A
//! client that keeps its connections, as a proxy does, sends its next request into a closed one. So a
//! body that a handler gave up comes back here, and what is missing of it is read before the answer
//! goes out. Invariants:
//!
//! * an answer after which the connection is closed says so;
//! * no more than [`REST_BYTES_MAX`] are read, and not for longer than [`REST_TIMEOUT`]: the rest of
//!   what is larger or slower is not worth a connection;
//! * a client that asks first whether it may send its body is not told to.

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, EXPECT, HeaderValue};
use hyper::{Request, Response};
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
    /// `None` if there is no body.
    rest: Option<Rest>,
    /// The client sends it only once it is told to.
    held_back: bool,
}

/// What became of the body of the request that runs on a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rest(Arc<Mutex<Arrival>>);

#[derive(Debug, Default)]
enum Arrival {
    /// All of it has come, or there was none, or no request runs.
    #[default]
    Complete,
    /// Not all of it has come, as far as is known.
    Incomplete,
    /// Nobody wants what has not come.
    GivenUp(Incoming),
}

impl Rest {
    /// Returns `request` with a body that comes back here when it is given up.
    pub(crate) fn of(&self, request: Request<Incoming>) -> Request<RequestBody> {
        let held_back = request.headers().contains_key(EXPECT);
        request.map(|body| {
            let rest = (!body.is_end_stream()).then(|| self.clone());
            if rest.is_some() {
                *self.arrival() = Arrival::Incomplete;
            }
            RequestBody { body: Some(body), rest, held_back }
        })
    }

    /// Reads, within bounds, what is left of the request that `answer` is for, and says in `answer`
    /// whether the connection ends.
    pub(crate) async fn read_before<B>(&self, answer: &mut Response<B>) {
        // A body that is given up later belongs to no request that runs.
        let arrival = std::mem::take(&mut *self.arrival());
        let complete = match arrival {
            Arrival::Complete => true,
            Arrival::GivenUp(body) if body.size_hint().lower() <= REST_BYTES_MAX => {
                timeout(REST_TIMEOUT, read(body)).await.unwrap_or(false)
            }
            Arrival::Incomplete | Arrival::GivenUp(_) => false,
        };
        if !complete {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    fn arrival(&self) -> MutexGuard<'_, Arrival> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `body`, and returns whether it came to its end.
async fn read(mut body: Incoming) -> bool {
    let mut left = REST_BYTES_MAX;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(frame) = frame else { return false };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(less) = left.checked_sub(bytes) else { return false };
        left = less;
    }
    true
}

impl RequestBody {
    fn inner(&self) -> &Incoming {
        self.body.as_ref().expect("there until it is dropped")
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let (Some(rest), Some(body)) = (&self.rest, self.body.take()) else { return };
        let mut arrival = rest.arrival();
        if !matches!(*arrival, Arrival::Incomplete) {
            return;
        }
        if body.is_end_stream() {
            *arrival = Arrival::Complete;
        } else if !self.held_back {
            *arrival = Arrival::GivenUp(body);
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
            idle: Duration::from_mins(1),
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
            assert!(answer.contains("connection: close"), "{head}: {answer}");
            assert!(begun.elapsed() < at_most, "{head}: {:?}", begun.elapsed());
            let mut more = Vec::new();
            client.read_to_end(&mut more).await.unwrap();
            assert_eq!(more, b"", "{head}: the connection ends");
        }
    }
}
