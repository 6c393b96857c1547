//! `GET /api/v1/stream`: the cluster as it changes, as server-sent events.
//!
//! The first message is a `snapshot`, unless the reader says by `Last-Event-ID` what it has seen, and
//! that can be gone on from. Invariants:
//!
//! * a reader holds a number and nothing else: one that is slower than the ring is long gets a
//!   snapshot, never a queue;
//! * after `bye` the answer ends.

use super::sse::{self, PING, PING_EVERY, RETRY};
use crate::live::READERS_MAX;
use crate::live::ring::{Following, Ring};
use crate::problem::Problem;
use crate::supervisor::Supervisor;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

pub(super) fn routes() -> Router<Supervisor> {
    Router::new().route("/api/v1/stream", get(follow))
}

async fn follow(
    State(supervisor): State<Supervisor>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let live = &supervisor.0.live;
    let turn = live.readers.clone().try_acquire_owned().map_err(|_| {
        let error = format!("{READERS_MAX} streams are open already; close one of them first");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error).retryable("not_applied")
    })?;
    // Before the launcher's own first look there would be nothing to show.
    supervisor.publish();
    let ring = Arc::clone(&live.ring);
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = seen.and_then(|id| resume(&ring, id));
    let reader =
        Reader { ring, after, pinged: Instant::now(), greeted: false, ended: false, _turn: turn };
    let messages = stream::unfold(reader, |mut reader| async move {
        let part = reader.next().await?;
        Some((part, reader))
    });
    Ok(sse::answer(messages))
}

/// The number that an id stands for, if it was given by this launcher.
fn resume(ring: &Ring, id: &str) -> Option<u64> {
    let (epoch, seq) = id.trim().split_once('-')?;
    (epoch.parse() == Ok(ring.epoch)).then(|| seq.parse().ok())?
}

struct Reader {
    ring: Arc<Ring>,
    /// The last message that was handed out; `None`: a snapshot comes first.
    after: Option<u64>,
    pinged: Instant,
    greeted: bool,
    ended: bool,
    _turn: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(RETRY));
        }
        loop {
            let Some(after) = self.after else { return self.snapshot() };
            match self.ring.following(after) {
                Following::Unknown => self.after = None,
                Following::Messages(messages) if messages.is_empty() => {
                    // It may have read good-bye in an earlier connection.
                    if self.ring.is_closed() {
                        return None;
                    }
                    let ping = self.pinged + PING_EVERY;
                    let more = self.ring.until_after(after);
                    if tokio::time::timeout_at(ping, more).await.is_err() {
                        self.pinged = Instant::now();
                        return Some(Bytes::from_static(PING));
                    }
                }
                Following::Messages(messages) => {
                    let mut out = Vec::new();
                    if self.pinged.elapsed() >= PING_EVERY {
                        self.pinged = Instant::now();
                        out.extend(PING);
                    }
                    for message in messages {
                        let id = format!("{}-{}", self.ring.epoch, message.seq);
                        sse::append(&mut out, Some(&id), message.event, &message.data);
                        self.after = Some(message.seq);
                        self.ended = message.event == "bye";
                    }
                    return Some(out.into());
                }
            }
        }
    }

    fn snapshot(&mut self) -> Option<Bytes> {
        let snapshot = self.ring.snapshot()?;
        let data = serde_json::to_string(&snapshot).expect("every shape of the API is JSON");
        let id = format!("{}-{}", snapshot.epoch, snapshot.seq);
        let mut out = Vec::with_capacity(data.len() + 64);
        sse::append(&mut out, Some(&id), "snapshot", &data);
        self.after = Some(snapshot.seq);
        Some(out.into())
    }
}
