//! Requests whose answers are taken as they come.

use axon_launcher::probe::NodeClient;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use std::time::Duration;

/// Longest wait for a message.
const SOON: Duration = Duration::from_secs(30);

/// Sends a request and returns the head of its answer, and its body as it comes.
pub async fn send(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (StatusCode, HeaderMap, Incoming) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body.into()).unwrap();
    let answer = NodeClient::new().pass(port, request).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.status, head.headers, body)
}

/// Sends a request and returns the whole answer.
pub async fn ask(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (u16, HeaderMap, Bytes) {
    let (status, headers, body) = send(port, method, path, headers, body).await;
    (status.as_u16(), headers, body.collect().await.unwrap().to_bytes())
}

/// Asks for JSON.
pub async fn get(port: u16, path: &str) -> (u16, Value) {
    let (status, _, body) = ask(port, "GET", path, &[], Body::empty()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: String,
    pub event: String,
    pub data: Value,
}

/// Server-sent events as they come.
pub struct Feed {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Feed {
    pub async fn open(port: u16, path: &str, seen: Option<&str>) -> Self {
        let last: Vec<(&str, &str)> = seen.map(|id| ("last-event-id", id)).into_iter().collect();
        let (status, headers, body) = send(port, "GET", path, &last, Body::empty()).await;
        assert_eq!(
            (status, headers["content-type"].as_bytes()),
            (StatusCode::OK, &b"text/event-stream"[..])
        );
        Self { body, buffer: Vec::new() }
    }

    /// The next message; `None` at the end.
    pub async fn next(&mut self) -> Option<Message> {
        tokio::time::timeout(SOON, self.read()).await.expect("a message in time")
    }

    async fn read(&mut self) -> Option<Message> {
        loop {
            while let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let part: Vec<u8> = self.buffer.drain(..at + 2).collect();
                let text = String::from_utf8(part).unwrap();
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
                if let Some(data) = field("data: ") {
                    let [id, event] =
                        ["id: ", "event: "].map(|name| field(name).unwrap_or_default().to_owned());
                    return Some(Message { id, event, data: serde_json::from_str(data).unwrap() });
                }
            }
            let frame = self.body.frame().await?.unwrap();
            self.buffer.extend(frame.into_data().unwrap());
        }
    }

    /// Takes messages until one is as wanted; returns all, that one last.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(SOON, async {
            while let Some(message) = self.read().await {
                seen.push(message);
                if wanted(&seen[seen.len() - 1]) {
                    return true;
                }
            }
            false
        });
        let found = found.await.unwrap_or(false);
        assert!(found, "{what}: not among {seen:#?}");
        seen
    }
}
