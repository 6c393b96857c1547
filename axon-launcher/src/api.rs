//! The control API: HTTP in front of the [`Supervisor`].
//!
//! It validates what comes in and shapes what goes out; it decides nothing. A node id from a request is
//! only ever looked up among the names in the manifest. An order that was begun is carried out even
//! if whoever gave it hangs up, since half an order would be the worst of both.

use crate::guard::guard;
use crate::manifest::NodeName;
use crate::problem::Problem;
use crate::supervisor::{ControlError, Supervisor};
use crate::ui::{self, Ui};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router, middleware};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest request body; a node's name is all that is ever sent.
const BODY_BYTES_MAX: usize = 4 << 10;

type Outcome = Result<Json<Value>, Problem>;

/// Everything that the launcher answers: control API, dashboard, guard.
pub fn router(supervisor: Supervisor, ui: Ui) -> Router {
    Router::new()
        .route("/api/control/nodes", get(nodes))
        .route("/api/control/add", post(add))
        .route("/api/control/start/{id}", post(start))
        .route("/api/control/stop/{id}", post(stop))
        .route("/api/control/delete/{id}", post(delete))
        .route("/api", any(unknown))
        .route("/api/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .with_state(supervisor)
        .fallback_service(Router::new().fallback(ui::serve).with_state(Arc::new(ui)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(guard))
}

async fn unknown(uri: Uri) -> Problem {
    let error = format!("there is nothing at {}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not_found", error)
}

async fn wrong_method() -> Problem {
    let error = "this address answers another method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error)
}

async fn nodes(State(supervisor): State<Supervisor>) -> Response {
    let cluster = supervisor.manifest().cluster_id;
    let name = HeaderName::from_static("x-axon-cluster-id");
    ([(name, cluster.to_string())], Json(supervisor.report())).into_response()
}

#[derive(Deserialize)]
struct Add {
    node_id: String,
}

async fn add(State(supervisor): State<Supervisor>, body: Result<Bytes, BytesRejection>) -> Outcome {
    let bad = |error: String| Problem::new(StatusCode::BAD_REQUEST, "bad_request", error);
    let body = body.map_err(|_| {
        let error = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
    })?;
    // Whatever the content type: a page of another site was refused by its origin already, and
    // `curl -d` should work as people type it.
    let asked: Add = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is not {{\"node_id\":\"NAME\"}}: {error}")))?;
    let name: NodeName = asked.node_id.parse().map_err(bad)?;
    let id = name.to_string();
    carry_out(supervisor, id, |supervisor, _| async move { supervisor.add(name).await }).await
}

async fn start(State(supervisor): State<Supervisor>, Path(id): Path<String>) -> Outcome {
    carry_out(supervisor, id, |supervisor, id| async move { supervisor.start(&id).await }).await
}

async fn stop(State(supervisor): State<Supervisor>, Path(id): Path<String>) -> Outcome {
    carry_out(supervisor, id, |supervisor, id| async move { supervisor.stop(&id).await }).await
}

async fn delete(State(supervisor): State<Supervisor>, Path(id): Path<String>) -> Outcome {
    carry_out(supervisor, id, |supervisor, id| async move { supervisor.delete(&id).await }).await
}

/// Carries an order out to its end, in a task of its own, and answers with the node as it is then.
async fn carry_out<F, Fut>(supervisor: Supervisor, id: String, order: F) -> Outcome
where
    F: FnOnce(Supervisor, String) -> Fut,
    Fut: Future<Output = Result<(), ControlError>> + Send + 'static,
{
    let done = tokio::spawn(order(supervisor.clone(), id.clone())).await;
    done.map_err(|error| ControlError::Internal(error.to_string()))??;
    let node = supervisor.report().remove(&id);
    Ok(Json(match node {
        Some(node) => json!({ "id": id, "api_port": node.api_port, "status": node.status }),
        None => json!({ "id": id, "deleted": true }),
    }))
}
