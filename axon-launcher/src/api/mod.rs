//! HTTP in front of the [`Supervisor`]: the control API, the dashboard, the guard before both.
//!
//! It validates what comes in and shapes what goes out; it decides nothing. A node id from a request
//! is only ever looked up among the names in the manifest.

mod control;
mod events;
mod logs;
mod nodes;
mod operations;
mod proxy;
mod sse;
mod stream;

use crate::guard::{self, Guard};
use crate::manifest::NodeName;
use crate::problem::Problem;
use crate::supervisor::Supervisor;
use crate::ui::{self, Ui};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::any;
use axum::{Router, middleware};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Longest body of a request to the launcher itself; a node's name is all that is ever sent.
const BODY_BYTES_MAX: usize = 4 << 10;

/// Everything that the launcher answers.
pub fn router(supervisor: Supervisor, ui: Ui) -> Router {
    let guard = Guard::new(&supervisor);
    Router::new()
        .merge(control::routes())
        .merge(events::routes())
        .merge(logs::routes())
        .merge(nodes::routes())
        .merge(operations::routes())
        .merge(proxy::routes())
        .merge(stream::routes())
        .route("/api", any(unknown))
        .route("/api/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .with_state(supervisor)
        .fallback_service(Router::new().fallback(ui::serve).with_state(Arc::new(ui)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::guard))
}

async fn unknown(uri: Uri) -> Problem {
    let path = uri.path();
    // No file is ever found by a path; but what looks like an attempt at one is called so.
    if path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return bad_request(format!("{path} has a segment that is empty, or dots"));
    }
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
}

async fn wrong_method() -> Problem {
    let error = "this address answers another method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error)
}

fn bad_request(error: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", error)
}

/// The node that the first parameter of a path names; 400 when that is no name of a node.
#[derive(Debug)]
struct Named(NodeName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let First(id) = First::from_request_parts(parts, state).await?;
        id.parse().map(Self).map_err(|error: String| bad_request(error))
    }
}

/// The first parameter of a path, as text; 400 when it is none.
#[derive(Debug)]
struct First(String);

impl<S: Send + Sync> FromRequestParts<S> for First {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|error| bad_request(error.body_text()))?;
        let (_, first) =
            params.iter().next().ok_or_else(|| bad_request("the path names nothing"))?;
        Ok(Self(first.to_owned()))
    }
}

/// Longest name of an actor.
const ACTOR_BYTES_MAX: usize = 64;

/// Who asks, by their own words in `X-Axon-Actor`; `api` when they say nothing that can be shown.
fn actor(headers: &HeaderMap) -> String {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    headers
        .get("x-axon-actor")
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
        .filter(|said| !said.is_empty() && said.len() <= ACTOR_BYTES_MAX)
        .filter(|said| said.as_bytes().iter().all(printable))
        .map_or_else(|| "api".to_owned(), ToOwned::to_owned)
}

/// Reads a query strictly: what is not known is refused, not ignored.
fn params<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Problem> {
    let uri = Uri::builder().path_and_query(format!("/?{}", query.unwrap_or_default())).build();
    let uri = uri.map_err(|error| bad_request(error.to_string()))?;
    Query::try_from_uri(&uri).map(|Query(found)| found).map_err(|error| {
        let reason = std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string);
        bad_request(format!("the query is not understood: {reason}"))
    })
}

/// Reads a body strictly. Whatever the content type: a page of another site was refused by its origin
/// already, and `curl -d` should work as people type it.
fn body<T: DeserializeOwned>(
    sent: Result<Bytes, BytesRejection>,
    expected: &str,
) -> Result<T, Problem> {
    let sent = sent.map_err(|_| {
        let error = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
    })?;
    serde_json::from_slice(&sent)
        .map_err(|error| bad_request(format!("the body is not {expected}: {error}")))
}
