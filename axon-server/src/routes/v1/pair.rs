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
use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::Incoming;

const RAW: &str = "application/octet-stream";

/// `GET, HEAD, PUT, DELETE /v1/kv/{key}`
pub(super) async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
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
    body: Incoming,
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
