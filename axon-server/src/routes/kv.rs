//! The simple doors: text under a text key, in JSON.
//!
//! What cannot be text is refused here and has its place under `/v1`: a key that is not UTF-8 (400),
//! a value that is not (406). The query is ignored. `Idempotency-Key` works as it does under `/v1`.
//! `X-Axon-Revision` is the store's revision: after a
//! write the one that it made, on a read the one that the reader saw, also where nothing was found.

use crate::app::Shared;
use crate::body;
use crate::conditions;
use crate::key;
use crate::problem::{Code, Problem};
use crate::routes::parts::{self, Content, Parts};
use crate::routes::{APPLIED_INDEX, at, check_key, json, require_json};
use crate::wire;
use axon_core::types::{KeyRange, KeyValue};
use axon_http::RequestBody;
use axum::body::Body;
use axum::http::header::TRAILER;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use axum::response::IntoResponse;
use bytes::Bytes;
use std::borrow::Cow;

const SKIPPED: HeaderName = HeaderName::from_static("x-axon-skipped");

/// `GET, HEAD, PUT, DELETE /kv/{key}`; `encoded` is the key as it stands in the path.
pub(crate) async fn pair(
    shared: &Shared,
    request: Request<RequestBody>,
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
            let key = owned(key::text(encoded)?);
            let deleted = conditions::once(&shared.store, request.headers())?.delete(key).await?;
            Ok(at(deleted.revision, json(Bytes::from_static(br#"{"status":"success"}"#))))
        }
        _ => Err(Problem::method_not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

async fn get(shared: &Shared, key: &str) -> Result<Response<Body>, Problem> {
    check_key(shared, key.as_bytes())?;
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
    request: Request<RequestBody>,
) -> Result<Response<Body>, Problem> {
    require_json(request.headers())?;
    let store = conditions::once(&shared.store, request.headers())?;
    let limit = shared.put_body_bytes_max();
    let timeout = shared.options.body_timeout;
    let received = body::receive(request.into_body(), limit, timeout, &shared.bodies).await?;
    let parsed = wire::PutRequest::parse(received.bytes()).map_err(Problem::bad_request)?;
    let value = match parsed.value {
        Cow::Borrowed(text) => received.keep(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let written = store.put(key, value).await?;
    Ok(at(written.revision, json(wire::encode(&wire::Success::written(written.revision)))))
}

/// `GET, HEAD /kv`: what this node has applied, as one flat object.
///
/// Pairs that are not text are left out and counted in `X-Axon-Skipped`: a header when the whole answer
/// fits into one part, a trailer (for clients that send `TE: trailers`) when it is streamed, because the
/// count is known only at the end and the store may be larger than memory.
pub(crate) async fn all(
    shared: &Shared,
    request: &Request<RequestBody>,
) -> Result<Response<Body>, Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed("GET, HEAD"));
    }
    let turn = parts::turn(shared)?;
    let snapshot = shared.local.snapshot().await?;
    let (applied_index, revision) = (snapshot.applied_index(), snapshot.revision());
    let members = Members { empty: true, skipped: 0 };
    let (first, parts) = Parts::new(snapshot, KeyRange::all(), members, turn).next().await?;
    let mut response = json(Bytes::new());
    let headers = response.headers_mut();
    if parts.is_finished() {
        headers.insert(SKIPPED, HeaderValue::from(parts.content().skipped));
        *response.body_mut() = Body::from(first);
    } else {
        headers.insert(TRAILER, HeaderValue::from_static("x-axon-skipped"));
        *response.body_mut() = parts.into_body(first);
    }
    response.headers_mut().insert(APPLIED_INDEX, HeaderValue::from(applied_index.0));
    Ok(at(revision, response))
}

/// The members of the object, as parts of the answer.
struct Members {
    empty: bool,
    skipped: u64,
}

impl Content for Members {
    fn begin(&mut self, part: &mut Vec<u8>) {
        part.push(b'{');
    }

    fn append(&mut self, pair: &KeyValue, part: &mut Vec<u8>) {
        let text = (std::str::from_utf8(&pair.key), std::str::from_utf8(&pair.value));
        let (Ok(key), Ok(value)) = text else {
            self.skipped += 1;
            return;
        };
        if !std::mem::replace(&mut self.empty, false) {
            part.push(b',');
        }
        wire::append_member(part, key, value);
    }

    fn end(&mut self, part: &mut Vec<u8>) {
        part.push(b'}');
    }

    fn trailers(&self) -> Option<HeaderMap> {
        let mut trailers = HeaderMap::new();
        trailers.insert(SKIPPED, HeaderValue::from(self.skipped));
        Some(trailers)
    }
}

fn owned(key: Cow<'_, str>) -> Bytes {
    // A copy: a key that borrowed from the path would hold on to the connection's read buffer.
    match key {
        Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

/// The operations of the simple doors, each as the API's description has it.
pub(crate) mod operations {
    #![allow(dead_code, reason = "they only carry descriptions: one function serves them all")]

    use crate::openapi::{BODY, QUORUM, REPLICA, WRITE, problems};
    use crate::problem::Code;
    use crate::wire;

    problems! {
        GetProblems = [Code::NotFound, Code::NotAcceptable, Code::TooLarge], QUORUM;
        PutProblems = BODY, WRITE, QUORUM;
        DeleteProblems = [Code::TooLarge], WRITE, QUORUM;
        AllProblems = [Code::Overloaded], REPLICA;
    }

    /// Reads a pair.
    ///
    /// Sees every write that was acknowledged before. A value that is not text is told by 406: `/v1/kv`
    /// has its bytes.
    #[utoipa::path(
        get, path = "/kv/{key}", tag = "simple",
        params(("key" = String, Path, min_length = 1, description = "Text; may have slashes in it.")),
        responses(
            (status = 200, description = "The pair.", body = wire::Pair<'_>,
                headers(("X-Axon-Revision" = u64, description = "The revision of the store that was read."))),
            GetProblems,
        ),
    )]
    pub(crate) fn get_pair() {}

    /// Stores a value.
    ///
    /// Answered once a majority has it on disk. The empty string is a value.
    #[utoipa::path(
        put, path = "/kv/{key}", tag = "simple",
        params(("key" = String, Path, min_length = 1, description = "Text; may have slashes in it.")),
        request_body(content = wire::PutRequest<'_>, example = json!({"value": "hello"})),
        responses(
            (status = 200, description = "It is stored.", body = wire::Success,
                headers(("X-Axon-Revision" = u64, description = "The revision that stored it."))),
            PutProblems,
        ),
    )]
    pub(crate) fn put_pair() {}

    /// Removes a key, if it is there.
    #[utoipa::path(
        delete, path = "/kv/{key}", tag = "simple",
        params(("key" = String, Path, min_length = 1, description = "Text; may have slashes in it.")),
        responses(
            (status = 200, description = "The key is absent now.", body = wire::Success,
                headers(("X-Axon-Revision" = u64, description = "The revision of the store after it."))),
            DeleteProblems,
        ),
    )]
    pub(crate) fn delete_pair() {}

    /// Reads all pairs that are text, as this node has them.
    ///
    /// One flat object, streamed in bounded memory. What this node has applied may be behind what was
    /// acknowledged elsewhere.
    #[utoipa::path(
        get, path = "/kv", tag = "simple",
        responses(
            (status = 200, description = "All pairs that are text.", body = BTreeMap<String, String>,
                headers(
                    ("X-Axon-Revision" = u64, description = "The revision that is shown."),
                    ("X-Axon-Applied-Index" = u64, description = "The last entry of the log in it."),
                    ("X-Axon-Skipped" = u64, description = "How many pairs are not text, and left out: \
                        a header of a short answer, a trailer of a long one."),
                )),
            AllProblems,
        ),
    )]
    pub(crate) fn all_pairs() {}
}
