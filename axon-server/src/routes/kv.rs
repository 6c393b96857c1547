//! The simple doors: text under a text key, in JSON.
//!
//! What cannot be text is refused here and has its place under `/v1`: a key that is not UTF-8 (400),
//! a value that is not (406). The query is ignored. `X-Axon-Revision` is the store's revision: after a
//! write the one that it made, on a read the one that the reader saw, also where nothing was found.

use crate::app::Shared;
use crate::body;
use crate::key;
use crate::problem::{Code, Problem};
use crate::routes::json;
use crate::wire;
use axon_core::store::Snapshot;
use axon_core::types::{KeyRange, Revision};
use axon_core::{Error, runtime};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, TRAILER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use std::borrow::Cow;
use std::ops::Bound;
use tokio::sync::OwnedSemaphorePermit;

const APPLIED_INDEX: HeaderName = HeaderName::from_static("x-axon-applied-index");
const REVISION: HeaderName = HeaderName::from_static("x-axon-revision");
const SKIPPED: HeaderName = HeaderName::from_static("x-axon-skipped");

/// Bytes gathered before a part of `GET /kv` is sent: enough to make the hop to a blocking thread
/// cheap, little enough for ten slow readers.
const PART_BYTES: usize = 256 << 10;
/// Pairs asked of the store at once.
const PAGE_ITEMS_MAX: usize = 1000;

/// `GET, HEAD, PUT, DELETE /kv/{key}`; `encoded` is the key as it stands in the path.
pub(crate) async fn pair(
    shared: &Shared,
    request: Request<Incoming>,
    prefix: &str,
) -> Result<Response<Body>, Problem> {
    let encoded = &request.uri().path()[prefix.len()..];
    match *request.method() {
        Method::GET | Method::HEAD => get(shared, &key::text(encoded)?).await,
        Method::PUT => {
            let key = owned(key::text(encoded)?);
            put(shared, key, request).await
        }
        Method::DELETE => {
            let deleted = shared.store.delete(owned(key::text(encoded)?)).await?;
            Ok(at(deleted.revision, json(Bytes::from_static(br#"{"status":"success"}"#))))
        }
        _ => Err(Problem::method_not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

async fn get(shared: &Shared, key: &str) -> Result<Response<Body>, Problem> {
    let (limit, got) = (shared.options.limits.key_bytes_max, key.len());
    if got > limit {
        return Err(Error::TooLarge { what: "key", limit, got }.into());
    }
    let snapshot = shared.store.snapshot().await?;
    let found = snapshot.get(key.as_bytes())?;
    let answer = match found.as_ref().map(|pair| std::str::from_utf8(&pair.value)) {
        Some(Ok(value)) => json(wire::encode(&wire::Pair { key, value })),
        Some(Err(_)) => Problem::new(
            Code::NotAcceptable,
            "the value is not UTF-8 text; GET /v1/kv/{key} has its bytes",
        )
        .into_response(),
        None => Problem::new(Code::NotFound, "no value is stored under this key").into_response(),
    };
    Ok(at(snapshot.revision(), answer))
}

async fn put(
    shared: &Shared,
    key: Bytes,
    request: Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    require_json(request.headers())?;
    let limit = shared.put_body_bytes_max();
    let timeout = shared.options.body_timeout;
    let received = body::receive(request.into_body(), limit, timeout, &shared.bodies).await?;
    let parsed = wire::PutRequest::parse(received.bytes()).map_err(Problem::bad_request)?;
    let value = match parsed.value {
        Cow::Borrowed(text) => received.keep(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let written = shared.store.put(key, value).await?;
    Ok(at(written.revision, json(wire::encode(&wire::Success::written(written.revision)))))
}

/// Refuses a body that says it is something else than JSON. One that says nothing is taken as JSON.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(declared) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let media_type = declared.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii();
    if media_type.eq_ignore_ascii_case(b"application/json")
        || media_type.to_ascii_lowercase().ends_with(b"+json")
    {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "the body must be JSON: send `Content-Type: application/json`",
    ))
}

/// `GET, HEAD /kv`: what this node has applied, as one flat object.
///
/// Pairs that are not text are left out and counted in `X-Axon-Skipped`: a header when the whole answer
/// fits into one part, a trailer (for clients that send `TE: trailers`) when it is streamed, because the
/// count is known only at the end and the store may be larger than memory.
pub(crate) async fn all(
    shared: &Shared,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed("GET, HEAD"));
    }
    let turn = shared.dumps.clone().try_acquire_owned().map_err(|_| {
        Problem::overloaded("as many readers of the whole store are at work as this node takes on")
    })?;
    let snapshot = shared.local.snapshot().await?;
    let (applied_index, revision) = (snapshot.applied_index(), snapshot.revision());
    let (first, dump) = Dump::new(snapshot, turn).next().await?;
    let mut response = if dump.finished {
        let mut response = json(Bytes::from(first));
        response.headers_mut().insert(SKIPPED, HeaderValue::from(dump.skipped));
        response
    } else {
        let mut response = json(Bytes::new());
        *response.body_mut() = dump.into_body(first);
        response.headers_mut().insert(TRAILER, HeaderValue::from_static("x-axon-skipped"));
        response
    };
    response.headers_mut().insert(APPLIED_INDEX, HeaderValue::from(applied_index.0));
    Ok(at(revision, response))
}

/// The whole store on its way out, part by part. Holds the snapshot, and a turn among the readers.
struct Dump {
    snapshot: Snapshot,
    range: KeyRange,
    empty: bool,
    skipped: u64,
    finished: bool,
    _turn: OwnedSemaphorePermit,
}

impl Dump {
    fn new(snapshot: Snapshot, turn: OwnedSemaphorePermit) -> Self {
        let range = KeyRange::all();
        Self { snapshot, range, empty: true, skipped: 0, finished: false, _turn: turn }
    }

    /// Makes the next part, on a thread that may block.
    async fn next(mut self) -> Result<(Vec<u8>, Self), Error> {
        runtime::blocking(move || {
            let mut part = Vec::with_capacity(PART_BYTES + (PART_BYTES >> 2));
            self.fill(&mut part)?;
            Ok((part, self))
        })
        .await
    }

    fn fill(&mut self, part: &mut Vec<u8>) -> Result<(), Error> {
        if self.empty && self.range.start == Bound::Unbounded {
            part.push(b'{');
        }
        while part.len() < PART_BYTES {
            let pairs = self.snapshot.page(&self.range, PAGE_ITEMS_MAX, PART_BYTES)?;
            let Some(last) = pairs.last() else {
                part.push(b'}');
                self.finished = true;
                break;
            };
            self.range.start = Bound::Excluded(last.key.clone());
            for pair in &pairs {
                let text = (std::str::from_utf8(&pair.key), std::str::from_utf8(&pair.value));
                let (Ok(key), Ok(value)) = text else {
                    self.skipped += 1;
                    continue;
                };
                if !std::mem::replace(&mut self.empty, false) {
                    part.push(b',');
                }
                wire::append_member(part, key, value);
            }
        }
        Ok(())
    }

    fn into_body(self, first: Vec<u8>) -> Body {
        enum Step {
            Send(Vec<u8>, Box<Dump>),
            Go(Box<Dump>),
            Done,
        }
        let frames = stream::unfold(Step::Send(first, Box::new(self)), async |step| {
            let (part, dump) = match step {
                Step::Done => return None,
                Step::Send(part, dump) => (part, dump),
                Step::Go(dump) if dump.finished => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert(SKIPPED, HeaderValue::from(dump.skipped));
                    return Some((Ok(Frame::trailers(trailers)), Step::Done));
                }
                Step::Go(dump) => match dump.next().await {
                    Ok((part, dump)) => (part, Box::new(dump)),
                    // The chunked body breaks off without its end: the client sees that it is not whole.
                    Err(error) => return Some((Err(error), Step::Done)),
                },
            };
            Some((Ok(Frame::data(Bytes::from(part))), Step::Go(dump)))
        });
        Body::new(StreamBody::new(frames))
    }
}

fn at(revision: Revision, mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(REVISION, HeaderValue::from(revision.0));
    response
}

fn owned(key: Cow<'_, str>) -> Bytes {
    // A copy: a key that borrowed from the path would hold on to the connection's read buffer.
    match key {
        Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_taken_for_json() {
        let verdict = |media_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            require_json(&headers).is_ok()
        };
        assert!(require_json(&HeaderMap::new()).is_ok());
        for taken in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
            assert!(verdict(taken), "{taken}");
        }
        for refused in ["text/plain", "application/x-www-form-urlencoded", "", ";", "json"] {
            assert!(!verdict(refused), "{refused}");
        }
    }
}
