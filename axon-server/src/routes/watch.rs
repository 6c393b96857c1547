//! `GET /v1/watch`: what changes, as server-sent events or as lines of JSON.
//!
//! The body of the answer is the watch itself: there is no task and no queue between core and the
//! socket. Hyper asks for a part when the socket took the one before, and only then is the watch asked
//! for what comes next. Invariants:
//!
//! * a client that does not read costs one part ([`PART_BYTES`] and one change) and hyper's own buffer,
//!   until the connection's stall timeout ends it; how far it is behind is core's to know;
//! * whoever resumes after the last `id` that arrived whole misses nothing and sees nothing twice. The
//!   initial state has no ids: broken off, it begins anew;
//! * a mistake in the request, and history that is gone, are answers with a status; what happens later
//!   is an `error` event, the last one;
//! * the stream is never silent for longer than [`KEEP_ALIVE`], or as lines for longer than the interval
//!   of its progress, which is bounded too: so a client that is gone is noticed;
//! * a shutdown ends it at once, with an `error` that invites to come again.
//!
//! Streams are not counted: each holds a connection, and there are `connections_max` of those.

use crate::app::Shared;
use crate::conditions;
use crate::openapi::{QUORUM, problems};
use crate::params::{Params, wrong};
use crate::problem::{Code, Problem};
use crate::routes::at;
use crate::routes::health::shutting_down;
use crate::routes::v1::RangeParams;
use crate::wire::watch::{Change, Event, ServerSentEvent};
use axon_core::Error;
use axon_core::store::{WatchChange, WatchEvent};
use axon_core::types::{KeyRange, Revision};
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use std::vec;
use tokio::sync::watch::Receiver;
use tokio::time::sleep;
use utoipa::IntoParams;

/// Bytes gathered before a part is sent: enough to make a long history cheap.
const PART_BYTES: usize = 64 << 10;
/// How often a quiet stream of events says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest interval of progress that a client may ask for.
const PROGRESS_SECONDS_MAX: usize = 60;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

problems! {
    WatchProblems = [Code::Compacted, Code::FutureRevision], QUORUM;
}

/// Tells what changes, in order and without a gap, for as long as the client listens.
///
/// The range is `prefix`, or `key`, or from `start` to below `end`, or everything. It begins with the
/// changes of `from`; without it, with those that come after now; with `initial`, with what exists:
/// `change` events without an id, up to the first `progress`.
///
/// Events are `change` (one a revision), `progress`, `resync` (changes from `from` to `to` are gone
/// untold) and `error` (a problem, the last event). The `id` of an event is its revision, so that a
/// client that comes back with `Last-Event-ID` goes on after it.
#[utoipa::path(
    get, path = "/v1/watch", tag = "data",
    params(
        RangeParams,
        ("key" = Option<String>, Query, min_length = 1, description = "The only key."),
        WatchParams,
        ("Last-Event-ID" = Option<u64>, Header,
            description = "The id of the last event that arrived: the watch goes on after it, whatever \
                `from` and `initial` say."),
    ),
    responses(
        (status = 200, description = "The changes; the answer ends with the node or the client.",
            content((ServerSentEvent<'_> = "text/event-stream"), (Event<'_> = "application/x-ndjson")),
            headers(
                ("X-Axon-Revision" = u64, description = "The revision of the store as it begins."),
                ("Cache-Control" = String, description = "`no-store`"),
            )),
        WatchProblems,
    ),
)]
pub(crate) async fn watch(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    let form = Form::asked(&headers);
    let asked = WatchParams::parse(query.as_deref(), resume_after(&headers)?)?;
    let mut watch = shared.store.range(asked.range).watch();
    if let Some(from) = asked.from {
        watch = watch.from(from);
    }
    if asked.initial {
        watch = watch.with_initial_state();
    }
    if asked.previous {
        watch = watch.with_previous();
    }
    if let Some(interval) = asked.progress {
        watch = watch.progress_interval(interval);
    }
    let watcher = Box::pin(watch.start().await?);
    let revision = shared.local.snapshot().await?.revision();
    let feed = Feed::new(watcher, form, asked.initial, shared.draining.subscribe());
    let mut response = Response::new(Body::from_stream(feed.into_parts()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    Ok(at(revision, response))
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Server-sent events.
    Events,
    /// A JSON document a line.
    Lines,
}

impl Form {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }

    fn asked(headers: &HeaderMap) -> Self {
        let (lines, events) = (Self::Lines.media_type(), Self::Events.media_type());
        if conditions::asks_for(headers, lines, events) { Self::Lines } else { Self::Events }
    }
}

/// What the client has seen, when it comes back.
fn resume_after(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let Some(id) = headers.get(LAST_EVENT_ID).map(HeaderValue::as_bytes) else { return Ok(None) };
    // `parse` would take a plus sign too.
    let digits = std::str::from_utf8(id).ok().filter(|_| id.iter().all(u8::is_ascii_digit));
    let revision = digits.and_then(|digits| digits.parse().ok());
    revision.map(|revision| Some(Revision(revision))).ok_or_else(|| {
        Problem::bad_request("`Last-Event-ID` is a revision: the id of an event of this stream")
    })
}

/// What a watch is asked.
#[derive(Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WatchParams {
    #[param(ignore)]
    range: KeyRange,
    /// The revision to begin with, instead of what comes after now.
    #[param(value_type = Option<u64>, minimum = 1)]
    from: Option<Revision>,
    /// Begins with what exists.
    #[param(required = false)]
    initial: bool,
    /// Tells with each change what was there before.
    #[param(required = false)]
    previous: bool,
    /// Tells at least so often how far it has come while nothing changes: in seconds, default 10.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 60)]
    progress: Option<Duration>,
}

impl WatchParams {
    fn parse(query: Option<&str>, resume_after: Option<Revision>) -> Result<Self, Problem> {
        let mut params = Params::parse(query)?;
        let (keys, key) = (RangeParams::take(&mut params)?, params.bytes("key")?);
        let from = params.revision("from")?;
        let initial = params.flag("initial")?;
        let previous = params.flag("previous")?;
        let progress = params.count("progress", PROGRESS_SECONDS_MAX)?;
        params.finish()?;
        let range = match key {
            None => keys.range()?,
            Some(_) if keys.is_given() => {
                return Err(wrong("key", "stands alone, without `prefix`, `start` and `end`"));
            }
            Some(key) if key.is_empty() => return Err(Error::EmptyKey.into()),
            Some(key) => KeyRange::key(key),
        };
        if from == Some(Revision(0)) {
            return Err(wrong("from", "is at least 1, the first revision"));
        }
        if initial && from.is_some() {
            return Err(wrong("initial", "begins with what exists, and `from` with what changed"));
        }
        let resumed = resume_after.map(|seen| Revision(seen.0.saturating_add(1)));
        Ok(Self {
            range,
            from: resumed.or(from),
            // A client that comes back has the initial state already.
            initial: initial && resumed.is_none(),
            previous,
            progress: progress.map(|seconds| Duration::from_secs(seconds as u64)),
        })
    }
}

/// A watch on its way out, part by part.
struct Feed<S> {
    events: S,
    form: Form,
    draining: Receiver<bool>,
    /// Whether what is told is still the initial state, which has no ids.
    initial: bool,
    /// What is still to be written of a revision's changes, and whether nothing of them is yet.
    changes: Option<(vec::IntoIter<WatchChange>, bool)>,
    over: bool,
}

/// What a feed writes next.
enum Told {
    Event(WatchEvent),
    Failed(Error),
    Nothing,
}

impl Told {
    fn of(event: Option<Result<WatchEvent, Error>>) -> Self {
        match event {
            Some(Ok(event)) => Self::Event(event),
            Some(Err(error)) => Self::Failed(error),
            // A watch ends with the replica alone.
            None => Self::Failed(Error::ShutDown),
        }
    }
}

impl<S> Feed<S>
where
    S: Stream<Item = Result<WatchEvent, Error>> + Unpin,
{
    fn new(events: S, form: Form, initial: bool, draining: Receiver<bool>) -> Self {
        Self { events, form, draining, initial, changes: None, over: false }
    }

    fn into_parts(self) -> impl Stream<Item = Result<Vec<u8>, Infallible>> {
        stream::unfold(self, async |mut feed| {
            let part = feed.part().await;
            (!part.is_empty()).then_some((Ok(part), feed))
        })
    }

    /// Waits for something to tell, and writes it with what else is there already. Empty at the end.
    async fn part(&mut self) -> Vec<u8> {
        let mut part = Vec::new();
        while part.len() < PART_BYTES && !self.over {
            if self.changes.is_some() {
                self.write_changes(&mut part);
                continue;
            }
            let told = if part.is_empty() {
                self.wait().await
            } else {
                let Some(event) = self.events.next().now_or_never() else { break };
                Told::of(event)
            };
            self.begin(told, &mut part);
        }
        part
    }

    async fn wait(&mut self) -> Told {
        let drained = async { drop(self.draining.wait_for(|draining| *draining).await) };
        tokio::select! {
            biased;
            () = drained => Told::Failed(shutting_down()),
            event = self.events.next() => Told::of(event),
            // Lines have no comments: what keeps them alive is their progress.
            () = sleep(KEEP_ALIVE), if self.form == Form::Events => Told::Nothing,
        }
    }

    fn begin(&mut self, told: Told, part: &mut Vec<u8>) {
        match told {
            Told::Nothing => part.extend_from_slice(b":\n\n"),
            Told::Event(WatchEvent::Batch { revision, changes }) => {
                self.head("change", (!self.initial).then_some(revision), part);
                append(part, format_args!(r#""revision":{revision},"changes":["#));
                self.changes = Some((changes.into_iter(), true));
            }
            Told::Event(WatchEvent::Progress(revision)) => {
                self.initial = false;
                self.head("progress", Some(revision), part);
                append(part, format_args!(r#""revision":{revision}"#));
                self.tail(part);
            }
            Told::Event(WatchEvent::Resync { from, to }) => {
                self.head("resync", Some(to), part);
                append(part, format_args!(r#""from":{from},"to":{to}"#));
                self.tail(part);
            }
            Told::Failed(error) => {
                let document = Problem::from(error).document();
                self.head("error", None, part);
                match self.form {
                    Form::Events => part.extend_from_slice(&document[1..document.len() - 1]),
                    // A problem has a `type` of its own.
                    Form::Lines => {
                        part.extend_from_slice(br#""problem":"#);
                        part.extend_from_slice(&document);
                    }
                }
                self.tail(part);
                self.over = true;
            }
        }
    }

    /// Writes changes until the part is full, or they end.
    fn write_changes(&mut self, part: &mut Vec<u8>) {
        let Some((changes, first)) = &mut self.changes else { return };
        while part.len() < PART_BYTES
            && let Some(change) = changes.next()
        {
            if !std::mem::take(first) {
                part.push(b',');
            }
            Change::from(&change).append_to(part);
        }
        if changes.len() == 0 {
            self.changes = None;
            part.push(b']');
            self.tail(part);
        }
    }

    /// Opens an event and the JSON object that is its data.
    fn head(&self, name: &str, id: Option<Revision>, part: &mut Vec<u8>) {
        match (self.form, id) {
            (Form::Lines, _) => append(part, format_args!(r#"{{"type":"{name}","#)),
            (Form::Events, None) => append(part, format_args!("event: {name}\ndata: {{")),
            (Form::Events, Some(id)) => {
                append(part, format_args!("event: {name}\nid: {id}\ndata: {{"));
            }
        }
    }

    fn tail(&self, part: &mut Vec<u8>) {
        part.extend_from_slice(match self.form {
            Form::Events => b"}\n\n",
            Form::Lines => b"}\n",
        });
    }
}

fn append(part: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    part.write_fmt(text).expect("a buffer takes every byte");
}

#[cfg(test)]
mod tests;
