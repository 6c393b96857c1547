//! Server-sent events: how a message looks on the wire, and how a stream of them is answered.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

/// Time between two signs of life.
pub const PING_EVERY: Duration = Duration::from_secs(10);

/// A sign of life, which browsers show nobody.
pub const PING: &[u8] = b": ping\n\n";

/// How soon a browser comes back.
pub const RETRY: &[u8] = b"retry: 1000\n\n";

/// Appends a message; `data` has no line breaks, as JSON has none outside of its strings.
pub fn append(out: &mut Vec<u8>, id: Option<&dyn Display>, event: &str, data: &str) {
    debug_assert!(!data.contains('\n'), "a message on one line");
    if let Some(id) = id {
        out.extend(format!("id: {id}\n").into_bytes());
    }
    out.extend(format!("event: {event}\ndata: ").into_bytes());
    out.extend(data.as_bytes());
    out.extend(b"\n\n");
}

/// Answers with messages as they come; the next is asked for when the reader has taken the last.
pub fn answer(messages: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let mut response = Body::from_stream(messages.map(Ok::<_, Infallible>)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
