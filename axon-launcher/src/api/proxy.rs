//! `/api/v1/kv` and its like: the cluster's own API, so that a browser has one origin for everything.
//!
//! Hides which node is asked: the one named by `?node=`, else the leader, else any that is ready, else
//! any that answers. Invariants:
//!
//! * bodies are streamed both ways, at the pace of the slower side, with no limit but the node's;
//! * a request is handed to one node, once; what became of one without an answer is not known;
//! * only the headers that the node's API knows are passed on, none of who asks, no cookie.

use crate::problem::Problem;
use crate::proxy::{self, Fault};
use crate::supervisor::Supervisor;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{any, get, post};

pub(super) fn routes() -> Router<Supervisor> {
    Router::new()
        .route("/api/v1/kv", any(pass))
        .route("/api/v1/kv/", any(pass))
        .route("/api/v1/kv/{*key}", any(pass))
        .route("/api/v1/history/{*key}", get(pass))
        .route("/api/v1/txn", post(pass))
        .route("/api/v1/watch", get(pass))
        .route("/api/v1/snapshot", get(pass))
        .route("/api/v1/members", get(pass))
        .route("/api/v1/status", get(pass))
}

async fn pass(State(supervisor): State<Supervisor>, request: Request) -> Result<Response, Problem> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    proxy::pass(&supervisor, request).await.map_err(|fault| {
        let outcome = if reads { "not_applied" } else { "unknown" };
        let text = fault.to_string();
        let (unavailable, late) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT);
        match fault {
            Fault::UnknownNode(_) => Problem::new(StatusCode::NOT_FOUND, "not_found", text),
            Fault::BadTarget(_) => Problem::new(StatusCode::BAD_REQUEST, "bad_request", text),
            Fault::NotReady(_) | Fault::Unreachable { .. } => {
                Problem::new(unavailable, "not_ready", text).retryable("not_applied")
            }
            Fault::Broken { .. } => Problem::new(unavailable, "not_ready", text).retryable(outcome),
            Fault::Late { .. } => Problem::new(late, "timeout", text).retryable(outcome),
        }
    })
}
