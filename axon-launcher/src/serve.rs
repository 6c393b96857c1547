//! Connections to the launcher: as many as are allowed, for as long as they have something to say.
//!
//! `axon-http` watches each connection; here is what it is told, and the way to the router. Invariants:
//!
//! * a head, a rest, a stalled answer and a body have a limit each, so that nobody holds a connection,
//!   or a node behind the proxy, by being slow;
//! * what is refused before there is a request is said as every other fault is.

use crate::problem::Problem;
use axon_http::{Arriving, Patience, Refusal, RequestBody};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// More than dashboards and scripts ever need.
const CONNECTIONS_MAX: usize = 2_000;
/// How many connections over the cap are told so at once; more are closed without a word.
const REFUSALS_MAX: usize = 64;

/// The same limits as a node's.
const PATIENCE: Patience = Patience {
    head: Duration::from_secs(10),
    idle: Duration::from_mins(1),
    stall: Duration::from_secs(30),
};
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers with `router` whatever arrives at `listener`. Dropped, it cuts off every connection.
pub async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    let mut refusals = JoinSet::new();
    // Nobody is sent away before the process ends.
    let (_going_on, draining) = watch::channel(false);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Err(error) => axon_http::recover(&error).await,
                Ok((stream, _)) if connections.len() >= CONNECTIONS_MAX => {
                    if refusals.len() < REFUSALS_MAX {
                        refusals.spawn(axon_http::refuse(stream, words, CONNECTIONS_MAX));
                    }
                }
                Ok((stream, peer)) => {
                    let (router, draining) = (router.clone(), draining.clone());
                    let handle = move |request| answer(router.clone(), peer, request);
                    let stream = axon_http::ready(stream);
                    connections.spawn(axon_http::drive(stream, handle, words, PATIENCE, draining));
                }
            },
            Some(_) = connections.join_next() => {}
            Some(_) = refusals.join_next() => {}
        }
    }
}

async fn answer(router: Router, peer: SocketAddr, request: Request<RequestBody>) -> Response {
    let (head, body) = request.into_parts();
    let (body, late) = Arriving::new(body);
    let mut request = Request::from_parts(head, Body::new(body));
    request.extensions_mut().insert(ConnectInfo(peer));
    tokio::select! {
        answer = router.oneshot(request) => {
            let Ok(answer) = answer;
            answer
        }
        () = late.than(BODY_TIMEOUT) => {
            let error = format!("the body did not arrive within {BODY_TIMEOUT:?}");
            Problem::too_slow(error).into_response()
        }
    }
}

fn words(refusal: Refusal) -> Vec<u8> {
    Problem::from(refusal).last_words()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn answer_to(bytes: &[u8]) -> (String, serde_json::Value) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Router::new()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        // Read to the end: whatever is refused here closes the connection.
        stream.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn what_is_no_http_is_refused_with_a_whole_answer() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(500));
        for (bytes, status) in [
            ("hello\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            ("PUT / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
            (&long, 431),
            (&many, 431),
        ] {
            let (head, problem) = answer_to(bytes.as_bytes()).await;
            assert_eq!(problem["status"], status, "{head}");
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            assert!(problem["error"].as_str().unwrap().len() > 10, "{problem}");
        }
    }
}
