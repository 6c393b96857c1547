//! Server-sent events, read as they come.

use crate::http::{Call, Http, NoAnswer};
use crate::{Check, ensure};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// The longest silence: a server says that it is alive more often.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// One event.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub id: Option<u64>,
    pub data: Value,
}

/// A stream of events.
pub struct Events {
    body: Incoming,
    unread: BytesMut,
}

/// Why there are no events: the server answered something else, or nothing.
#[derive(Debug)]
pub enum Refused {
    /// It answered an error: the status, and the code.
    Answer(StatusCode, String),
    /// There was no answer.
    Silence(NoAnswer),
}

impl Events {
    /// Begins `GET path` at the node at `port`, after the event with the id `after`.
    pub async fn open(
        http: &Http,
        port: u16,
        path: &str,
        after: Option<u64>,
    ) -> Result<Self, Refused> {
        let mut call = Call::new(Method::GET, port, path).header("accept", "text/event-stream");
        if let Some(id) = after {
            call = call.header("last-event-id", id.to_string());
        }
        let response = http.open(call).await.map_err(Refused::Silence)?;
        let (head, body) = response.into_parts();
        if head.status == StatusCode::OK {
            return Ok(Self { body, unread: BytesMut::new() });
        }
        let body = tokio::time::timeout(SILENCE_MAX, body.collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
        let problem: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
        Err(Refused::Answer(head.status, problem["code"].as_str().unwrap_or_default().to_owned()))
    }

    /// The next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Check<Option<Event>> {
        loop {
            if let Some(event) = self.take_unread()? {
                return Ok(Some(event));
            }
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await;
            match frame.map_err(|_| format!("no word for {} s", SILENCE_MAX.as_secs()))? {
                Some(Ok(frame)) => {
                    self.unread.extend_from_slice(frame.data_ref().map_or(b"", |data| data));
                }
                // A node that dies breaks its streams off.
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    /// Takes an event out of what was received; comments are none.
    fn take_unread(&mut self) -> Check<Option<Event>> {
        while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
            let block = self.unread.split_to(end + 2);
            let text = std::str::from_utf8(&block).map_err(|_| "an event is no text")?;
            if let Some(event) = parse(text)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

fn parse(block: &str) -> Check<Option<Event>> {
    let field = |name: &str| {
        block
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_start()))
    };
    let Some(data) = field("data") else { return Ok(None) };
    let name = field("event").unwrap_or("message").to_owned();
    let id = field("id").map(|id| id.parse().map_err(|_| format!("the id of an event is {id:?}")));
    let data = serde_json::from_str(data);
    ensure!(data.is_ok(), "the data of a {name} event is no JSON: {block:?}");
    Ok(Some(Event { name, id: id.transpose()?, data: data.unwrap_or_default() }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_event_has_a_name_an_id_and_data_and_a_comment_is_none() {
        let event = parse("event: change\nid: 18\ndata: {\"revision\":18}\n\n").unwrap().unwrap();
        assert_eq!((event.name.as_str(), event.id), ("change", Some(18)));
        assert_eq!(event.data["revision"], 18);
        assert!(parse(":\n\n").unwrap().is_none());
        assert!(parse("event: change\nid: x\ndata: {}\n\n").is_err());
        assert!(parse("event: change\ndata: {\n\n").is_err());
    }
}
