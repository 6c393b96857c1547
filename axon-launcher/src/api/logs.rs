//! `GET /api/v1/nodes/{id}/logs`: the last lines of a node's log, and those that follow.

use super::First;
use super::sse::{self, PING, PING_EVERY, RETRY};
use crate::live::FOLLOWERS_MAX;
use crate::logs::follow::{Batch, Log, Position};
use crate::logs::line::{self, Line, Wanted};
use crate::manifest::NodeName;
use crate::problem::Problem;
use crate::supervisor::Supervisor;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Lines that are shown, unless asked otherwise, and at most.
const LINES: usize = 500;
const LINES_MAX: usize = 10_000;

/// Lines in a message, and the time between two looks at the file.
const BATCH_LINES: usize = 200;
const LOOK_EVERY: Duration = Duration::from_millis(100);

const NDJSON: &str = "application/x-ndjson";

pub(super) fn routes() -> Router<Supervisor> {
    Router::new().route("/api/v1/nodes/{id}/logs", get(logs))
}

#[derive(Debug, Default)]
struct Asked {
    lines: Option<usize>,
    follow: bool,
    level: Option<String>,
    q: Option<String>,
    from: Option<String>,
}

fn bad(error: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", error)
}

async fn logs(
    State(supervisor): State<Supervisor>,
    First(id): First,
    Query(asked): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let _: NodeName = id.parse().map_err(|error: String| bad(error))?;
    let log = Arc::clone(&supervisor.find(&id)?.log);
    let asked = parse(asked)?;
    let level = asked.level.as_deref().map(|name| {
        let known = line::level(name);
        known
            .ok_or_else(|| bad(format!("level is trace, debug, info, warn or error, not {name:?}")))
    });
    let wanted = Wanted::new(level.transpose()?, asked.q.as_deref().filter(|q| !q.is_empty()));
    let count = asked.lines.unwrap_or(LINES).min(LINES_MAX);
    if asked.follow {
        let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok().map(str::to_owned));
        let from = seen.or(asked.from).filter(|from| !from.is_empty());
        return follow(supervisor, id, log, wanted, count, from.as_deref()).await;
    }
    if asked.from.is_some() {
        return Err(bad("from goes with follow=true"));
    }
    let (lines, _) = last(log, count, wanted).await?.0;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains(NDJSON)) {
        let mut body = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut body, &line).expect("a line is JSON");
            body.push(b'\n');
        }
        return Ok(([(header::CONTENT_TYPE, NDJSON)], body).into_response());
    }
    let text: String = lines.into_iter().flat_map(|line| [line.text, "\n".to_owned()]).collect();
    Ok(text.into_response())
}

fn parse(query: Vec<(String, String)>) -> Result<Asked, Problem> {
    let mut asked = Asked::default();
    for (name, value) in query {
        match name.as_str() {
            "lines" => {
                // `parse` would take a plus sign too.
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let count = value.parse().ok().filter(|_| digits);
                asked.lines = Some(count.ok_or_else(|| bad(format!("lines is 0 to {LINES_MAX}")))?);
            }
            "follow" => {
                asked.follow = value.parse().map_err(|_| bad("follow is true or false"))?;
            }
            "level" => asked.level = Some(value).filter(|level| !level.is_empty()),
            "q" => asked.q = Some(value),
            "from" => asked.from = Some(value),
            _ => {
                let known = "lines, follow, level, q and from";
                return Err(bad(format!("there is no parameter {name:?}; there are {known}")));
            }
        }
    }
    Ok(asked)
}

type Last = ((Vec<Line>, Position), Wanted);

async fn last(log: Arc<Log>, count: usize, mut wanted: Wanted) -> Result<Last, Problem> {
    let read = move || log.last(count, &mut wanted).map(|last| (last, wanted));
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string());
    read.and_then(|read| read.map_err(|error| error.to_string())).map_err(|error| {
        let error = format!("the log cannot be read: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error)
    })
}

async fn follow(
    supervisor: Supervisor,
    id: String,
    log: Arc<Log>,
    wanted: Wanted,
    count: usize,
    from: Option<&str>,
) -> Result<Response, Problem> {
    let turn = supervisor.0.live.followers.clone().try_acquire_owned().map_err(|_| {
        let error = format!("{FOLLOWERS_MAX} logs are followed already; close one of them first");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error).retryable("not_applied")
    })?;
    let (waiting, at, wanted) = match from {
        Some("end") | None => {
            let count = if from.is_some() { 0 } else { count };
            let ((lines, at), wanted) = last(Arc::clone(&log), count, wanted).await?;
            (lines.into(), at, wanted)
        }
        Some(position) => (VecDeque::new(), position.parse().map_err(bad)?, wanted),
    };
    let follower = Follower {
        supervisor,
        id,
        log,
        wanted,
        at,
        waiting,
        looked: None,
        spoke: Instant::now(),
        greeted: false,
        _turn: turn,
    };
    let messages = stream::unfold(follower, |mut follower| async move {
        let part = follower.next().await?;
        Some((part, follower))
    });
    Ok(sse::answer(messages))
}

struct Follower {
    supervisor: Supervisor,
    id: String,
    log: Arc<Log>,
    wanted: Wanted,
    at: Position,
    /// Lines of the beginning that were not sent yet.
    waiting: VecDeque<Line>,
    looked: Option<Instant>,
    spoke: Instant,
    greeted: bool,
    _turn: OwnedSemaphorePermit,
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(RETRY));
        }
        loop {
            if let Some(looked) = self.looked {
                tokio::time::sleep_until(looked + LOOK_EVERY).await;
            }
            self.looked = Some(Instant::now());
            let batch = self.batch().await?;
            let mut out = Vec::new();
            if batch.lost || batch.dropped > 0 {
                let dropped = (!batch.lost).then_some(batch.dropped);
                sse::append(&mut out, None, "gap", &json!({ "dropped": dropped }).to_string());
            }
            if !batch.lines.is_empty() {
                // Whoever comes back within the beginning gets the rest of it by position only.
                let id = self.waiting.is_empty().then_some(&self.at as &dyn std::fmt::Display);
                let lines = json!({ "lines": batch.lines }).to_string();
                sse::append(&mut out, id, "lines", &lines);
            }
            if out.is_empty() && self.spoke.elapsed() >= PING_EVERY {
                out.extend(PING);
            }
            if !out.is_empty() {
                self.spoke = Instant::now();
                return Some(out.into());
            }
        }
    }

    /// What is to be told now; `None` once the node is no more, or the launcher stops.
    async fn batch(&mut self) -> Option<Batch> {
        if !self.waiting.is_empty() {
            let count = self.waiting.len().min(BATCH_LINES);
            return Some(Batch {
                lines: self.waiting.drain(..count).collect(),
                ..Batch::default()
            });
        }
        if self.supervisor.0.live.ring.is_closed() {
            return None;
        }
        let same = self.supervisor.find(&self.id).is_ok_and(|n| Arc::ptr_eq(&n.log, &self.log));
        let (log, mut at, mut wanted) = (Arc::clone(&self.log), self.at, self.wanted.clone());
        let read = tokio::task::spawn_blocking(move || {
            let batch = log.read_on(&mut at, BATCH_LINES, &mut wanted);
            (batch, at, wanted)
        });
        let (batch, at, wanted) = read.await.ok()?;
        (self.at, self.wanted) = (at, wanted);
        let batch = batch.inspect_err(|error| {
            tracing::warn!(node = %self.id, %error, "cannot read the log");
        });
        batch.ok().filter(|batch| same || !batch.lines.is_empty())
    }
}
