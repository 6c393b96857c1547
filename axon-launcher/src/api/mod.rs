//! HTTP in front of the [`Supervisor`]: the control API, the dashboard, the guard before both.
//!
//! It validates what comes in and shapes what goes out; it decides nothing. A node id from a request
//! is only ever looked up among the names in the manifest.

mod control;

use crate::guard::{self, Guard};
use crate::problem::Problem;
use crate::supervisor::Supervisor;
use crate::ui::{self, Ui};
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::routing::any;
use axum::{Router, middleware};
use std::sync::Arc;

/// Longest body of a request to the launcher itself; a node's name is all that is ever sent.
const BODY_BYTES_MAX: usize = 4 << 10;

/// Everything that the launcher answers.
pub fn router(supervisor: Supervisor, ui: Ui) -> Router {
    let guard = Guard::new(&supervisor);
    Router::new()
        .merge(control::routes())
        .route("/api", any(unknown))
        .route("/api/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .with_state(supervisor)
        .fallback_service(Router::new().fallback(ui::serve).with_state(Arc::new(ui)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::guard))
}

async fn unknown(uri: Uri) -> Problem {
    let error = format!("there is nothing at {}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not_found", error)
}

async fn wrong_method() -> Problem {
    let error = "this address answers another method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error)
}
