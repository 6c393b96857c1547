//! One key: its value as a raw body, with the revision of its last change as entity tag.

use super::{Freshness, PAIRS, owned};
use crate::app::Shared;
use crate::body;
use crate::conditions::{self, Verdict};
use crate::key;
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::routes::{REVISION, at, check_key, json};
use crate::wire::{self, kv};
use axon_core::store::{Deleted, OpResult, Written};
use axon_core::types::{KeyValue, Revision};
use axon_core::{Compare, Op, Store, runtime};
use axon_http::RequestBody;
use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;

const RAW: &str = "application/octet-stream";

/// `GET, HEAD, PUT, DELETE /v1/kv/{key}`
pub(super) async fn answer(
    shared: &Shared,
    request: Request<RequestBody>,
) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let key = owned(key::bytes(&head.uri.path()[PAIRS.len()..])?);
    check_key(shared, &key)?;
    match head.method {
        Method::GET | Method::HEAD => get(shared, key, &head).await,
        Method::PUT => put(shared, key, &head, body).await,
        Method::DELETE => delete(shared, key, &head).await,
        _ => Err(Problem::method_not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

async fn get(shared: &Shared, key: Bytes, head: &Parts) -> Result<Response<Body>, Problem> {
    let mut params = Params::parse(head.uri.query())?;
    let freshness = Freshness::take(&mut params)?;
    params.finish()?;
    let snapshot = freshness.snapshot(shared).await?;
    let (revision, applied_index) = (snapshot.revision(), snapshot.applied_index());
    // The present lies in memory, or in one page of the disk; the past may be anywhere.
    let found = match freshness.revision {
        None => snapshot.get(&key)?,
        Some(_) => runtime::blocking(move || snapshot.get(&key)).await?,
    };
    let current = found.as_ref().map(|pair| pair.mod_revision);
    let mut response = match (conditions::judge(&head.headers, current)?, &found) {
        (Verdict::Failed, _) => precondition_failed(current).into_response(),
        (Verdict::NotModified, _) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        (Verdict::Wanted, Some(pair)) => shown(pair, &head.headers),
        (Verdict::Wanted, None) => {
            Problem::new(Code::NotFound, "no value is stored under this key").into_response()
        }
    };
    let headers = response.headers_mut();
    if let Some(current) = current {
        headers.insert(ETAG, conditions::tag(current));
        // It may be kept, if it is asked for again each time: with its tag, that is a 304.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(VARY, HeaderValue::from_static("accept"));
    }
    Ok(freshness.told(revision, applied_index, response))
}

fn shown(pair: &KeyValue, headers: &HeaderMap) -> Response<Body> {
    if conditions::asks_for(headers, "application/json", RAW) {
        return json(wire::encode(&kv::Envelope::new(pair)));
    }
    let mut response = Response::new(Body::from(pair.value.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(RAW));
    // A value is data, even when it looks like a page with a script.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn put(
    shared: &Shared,
    key: Bytes,
    head: &Parts,
    body: RequestBody,
) -> Result<Response<Body>, Problem> {
    Params::parse(head.uri.query())?.finish()?;
    let condition = conditions::of_write(&head.headers, &key)?;
    let store = conditions::once(&shared.store, &head.headers)?;
    require_whole(&head.headers)?;
    let limit = shared.options.limits.value_bytes_max;
    let received = body::receive(body, limit, shared.options.body_timeout, &shared.bodies).await?;
    let value = received.keep(received.bytes());
    let written = match condition {
        None => store.put(key, value).await?,
        Some(compare) => match conditional(&store, compare, Op::put(key, value)).await? {
            (revision, OpResult::Put { previous, .. }) => Written { revision, previous },
            (_, other) => unreachable!("a put's result is not {other:?}"),
        },
    };
    let mut response = json(wire::encode(&kv::Put::from(written)));
    if written.previous.is_none() {
        *response.status_mut() = StatusCode::CREATED;
    }
    response.headers_mut().insert(ETAG, conditions::tag(written.revision));
    Ok(at(written.revision, response))
}

async fn delete(shared: &Shared, key: Bytes, head: &Parts) -> Result<Response<Body>, Problem> {
    Params::parse(head.uri.query())?.finish()?;
    let condition = conditions::of_write(&head.headers, &key)?;
    let store = conditions::once(&shared.store, &head.headers)?;
    let deleted = match condition {
        None => store.delete(key).await?,
        Some(compare) => match conditional(&store, compare, Op::delete(key)).await? {
            (revision, OpResult::Delete { existed }) => Deleted { revision, existed },
            (_, other) => unreachable!("a delete's result is not {other:?}"),
        },
    };
    Ok(at(deleted.revision, json(wire::encode(&kv::Delete::from(deleted)))))
}

/// Does `op` if `compare` holds. A transaction, for it also tells at which revision it did not.
async fn conditional(
    store: &Store,
    compare: Compare,
    op: Op,
) -> Result<(Revision, OpResult), Problem> {
    let look = Op::get(compare.key.clone());
    let mut done = store.txn().when([compare]).then([op]).or_else([look]).commit().await?;
    let result = done.results.pop().expect("a branch of one operation has one result");
    match result {
        OpResult::Get(found) => {
            let current = found.map(|pair| pair.mod_revision);
            let revision = HeaderValue::from(done.revision.0);
            Err(precondition_failed(current).header(REVISION, revision))
        }
        result => Ok((done.revision, result)),
    }
}

/// The key is not what the client expects: `current` changed it last, if it is there.
fn precondition_failed(current: Option<Revision>) -> Problem {
    let problem = |sentence| Problem::new(Code::PreconditionFailed, sentence);
    match current {
        None => problem(String::from("the key is absent")).detail("current_revision", None::<u64>),
        Some(revision) => problem(format!("the key was last changed by revision {revision}"))
            .detail("current_revision", revision.0)
            .header(ETAG, conditions::tag(revision)),
    }
}

/// Refuses a body that is not the value itself, or not all of it: it would be stored for the value.
fn require_whole(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Problem::bad_request("a value is put whole, without `Content-Range`")
            .detail("header", "Content-Range"));
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => Err(Problem::new(
            Code::UnsupportedMediaType,
            "a body is stored as it comes: send it without `Content-Encoding`",
        )),
        _ => Ok(()),
    }
}

/// The operations of one key, each as the API's description has it.
pub(crate) mod operations {
    #![allow(dead_code, reason = "they only carry descriptions: one function serves them all")]

    use crate::openapi::{ONCE, QUORUM, WRITE, problems};
    use crate::problem::Code;
    use crate::routes::v1::Freshness;
    use crate::wire::kv;

    problems! {
        GetProblems = [
            Code::NotFound, Code::FutureRevision, Code::Compacted, Code::PreconditionFailed, Code::TooLarge,
        ], QUORUM;
        PutProblems = [
            Code::PreconditionFailed, Code::TooLarge, Code::UnsupportedMediaType,
        ], ONCE, WRITE, QUORUM;
        DeleteProblems = [Code::PreconditionFailed, Code::TooLarge], ONCE, WRITE, QUORUM;
    }

    /// Reads a value: its bytes, or on `Accept: application/json` the envelope around it.
    #[utoipa::path(
        get, path = "/v1/kv/{key}", tag = "data", operation_id = "get_value",
        params(
            ("key" = String, Path, min_length = 1, description = "Any bytes, percent-encoded; may have slashes in it."),
            Freshness,
            ("If-Match" = Option<String>, Header, description = "Entity tags, one of which the key must have; or `*`."),
            ("If-None-Match" = Option<String>, Header, description = "Entity tags that the client has a value for; or `*`."),
        ),
        responses(
            (status = 200, description = "The value.",
                content(("application/octet-stream"), (kv::Envelope<'_> = "application/json")),
                headers(
                    ("ETag" = String, description = "The revision of the key's last change, in quotes."),
                    ("X-Axon-Revision" = u64, description = "The revision of the store that was read."),
                    ("X-Axon-Applied-Index" = u64, description = "Of a local read: the last entry that this node has applied."),
                )),
            (status = 304, description = "The client has this value.",
                headers(("ETag" = String, description = "The revision of the key's last change, in quotes."))),
            GetProblems,
        ),
    )]
    pub(crate) fn get() {}

    /// Stores a value: the body, whatever it is.
    ///
    /// Answered once a majority has it on disk.
    #[utoipa::path(
        put, path = "/v1/kv/{key}", tag = "data", operation_id = "put_value",
        params(
            ("key" = String, Path, min_length = 1, description = "Any bytes, percent-encoded; may have slashes in it."),
            ("If-Match" = Option<String>, Header, description = "The entity tag that the key must have; or `*`: any."),
            ("If-None-Match" = Option<String>, Header, description = "`*`: the key must be absent."),
            ("Idempotency-Key" = Option<String>, Header, description = "The write happens once under it: 1 to 128 visible ASCII characters."),
        ),
        request_body(content(("application/octet-stream")), description = "The value. None is the empty one."),
        responses(
            (status = 200, description = "The key has the new value.", body = kv::Put,
                headers(
                    ("ETag" = String, description = "The revision that stored it, in quotes."),
                    ("X-Axon-Revision" = u64, description = "The revision that stored it."),
                )),
            (status = 201, description = "The key is new.", body = kv::Put,
                headers(
                    ("ETag" = String, description = "The revision that stored it, in quotes."),
                    ("X-Axon-Revision" = u64, description = "The revision that stored it."),
                )),
            PutProblems,
        ),
    )]
    pub(crate) fn put() {}

    /// Removes a key, if it is there.
    #[utoipa::path(
        delete, path = "/v1/kv/{key}", tag = "data", operation_id = "delete_value",
        params(
            ("key" = String, Path, min_length = 1, description = "Any bytes, percent-encoded; may have slashes in it."),
            ("If-Match" = Option<String>, Header, description = "The entity tag that the key must have; or `*`: any."),
            ("If-None-Match" = Option<String>, Header, description = "`*`: the key must be absent."),
            ("Idempotency-Key" = Option<String>, Header, description = "The delete happens once under it: 1 to 128 visible ASCII characters."),
        ),
        responses(
            (status = 200, description = "The key is absent now.", body = kv::Delete,
                headers(("X-Axon-Revision" = u64, description = "The revision of the store after it."))),
            DeleteProblems,
        ),
    )]
    pub(crate) fn delete() {}
}
