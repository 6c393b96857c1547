//! The doors: each turns a request into a call on core, and what core answers into a response.

pub(crate) mod cluster;
pub(crate) mod health;
pub(crate) mod kv;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use bytes::Bytes;

/// A response with a JSON document.
pub(crate) fn json(document: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(document));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
