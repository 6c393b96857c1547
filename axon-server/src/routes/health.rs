//! What supervisors, load balancers and monitoring ask.

use crate::app::Shared;
use crate::metrics;
use crate::openapi::{Problems, QUORUM, problems};
use crate::problem::Problem;
use crate::routes::json;
use crate::wire::{self, Check, Health, Version};
use axon_core::Error;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use std::sync::Arc;

problems! {
    ReadyProblems = QUORUM;
}

/// Tells whether the process answers at all.
///
/// A replica that halts ends the process.
#[utoipa::path(
    get, path = "/livez", tag = "process",
    responses((status = 200, description = "It does.", body = wire::Health), Problems),
)]
pub(crate) async fn livez() -> Response<Body> {
    json(wire::encode(&Health { status: "ok", checks: Vec::new() }))
}

/// Tells whether linearizable reads can be served here.
#[utoipa::path(
    get, path = "/readyz", tag = "process",
    params(("verbose" = Option<String>, Query, description = "Present: every check is told.")),
    responses((status = 200, description = "They can.", body = wire::Health), ReadyProblems),
)]
pub(crate) async fn readyz(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let verdict = readiness(&shared);
    let named = |pair: &str| pair.split('=').next() == Some("verbose");
    let verbose = query.is_some_and(|query| query.split('&').any(named));
    let checks = if verbose { checks(&shared) } else { Vec::new() };
    match verdict {
        Ok(()) => Ok(json(wire::encode(&Health { status: "ok", checks }))),
        Err(error) if checks.is_empty() => Err(error.into()),
        Err(error) => {
            let checks = serde_json::to_value(checks).expect("checks are plain data");
            Err(Problem::from(error).detail("checks", checks))
        }
    }
}

pub(crate) fn readiness(shared: &Shared) -> Result<(), Error> {
    if *shared.draining.borrow() {
        return Err(shutting_down());
    }
    shared.cluster.readiness()
}

/// What a request hears that a shutdown finds waiting: another node may serve it.
pub(crate) fn shutting_down() -> Error {
    Error::NotReady { reason: "the server is shutting down".into() }
}

fn checks(shared: &Shared) -> Vec<Check> {
    let check = |name, result: Result<String, String>| Check {
        name,
        ok: result.is_ok(),
        message: result.unwrap_or_else(|reason| reason),
    };
    let draining = *shared.draining.borrow();
    let serving = if draining { Err("shutting down".into()) } else { Ok("accepting".into()) };
    let replica = shared.cluster.readiness();
    let replica = replica.map(|()| "caught up".into()).map_err(|error| error.to_string());
    let mut checks = vec![check("server", serving), check("replica", replica)];
    match shared.cluster.status() {
        Err(error) => checks.push(check("membership", Err(error.to_string()))),
        Ok(status) => {
            let leader = match &status.leader {
                Some((id, member)) => Ok(format!("{} (id {id})", member.name)),
                None => Err("none is known".into()),
            };
            checks.push(check("leader", leader));
            checks.push(check("membership", Ok(status.membership.as_str().into())));
            let (applied, committed) = (status.applied_index, status.committed_index);
            checks.push(check("applied", Ok(format!("{applied} of {committed} committed"))));
            checks.push(check("fault", status.halted.map_or_else(|| Ok("none".into()), Err)));
        }
    }
    checks
}

/// Tells what the node counts and measures, in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "process",
    responses(
        (status = 200, description = "The page.", body = String, content_type = metrics::MEDIA_TYPE),
        Problems,
    ),
)]
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Response<Body> {
    let mut response = Response::new(Body::from(metrics::page(&shared)));
    let media_type = HeaderValue::from_static(metrics::MEDIA_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// Tells which Axon this is.
#[utoipa::path(
    get, path = "/version", tag = "process",
    responses((status = 200, description = "The version.", body = wire::Version), Problems),
)]
pub(crate) async fn version() -> Response<Body> {
    let vocabulary = axon_core::command::VOCABULARY;
    json(wire::encode(&Version { version: wire::VERSION, vocabulary }))
}
