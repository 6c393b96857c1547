//! The doors: each turns a request into a call on core, and what core answers into a response.

pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod kv;
mod parts;
pub(crate) mod v1;
pub(crate) mod watch;

use crate::app::Shared;
use crate::problem::{Code, Problem};
use axon_core::Error;
use axon_core::types::Revision;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::Bytes;

const APPLIED_INDEX: HeaderName = HeaderName::from_static("x-axon-applied-index");
const REVISION: HeaderName = HeaderName::from_static("x-axon-revision");

/// A response with a JSON document.
pub(crate) fn json(document: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(document));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Says which revision of the store `response` is about.
fn at(revision: Revision, mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(REVISION, HeaderValue::from(revision.0));
    response
}

/// Refuses a key that no store of these settings has, before anything is waited for.
fn check_key(shared: &Shared, key: &[u8]) -> Result<(), Error> {
    let (limit, got) = (shared.options.limits.key_bytes_max, key.len());
    if got > limit { Err(Error::TooLarge { what: "key", limit, got }) } else { Ok(()) }
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
