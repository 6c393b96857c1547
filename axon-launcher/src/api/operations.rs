//! `/api/v1/operations`: what takes a while, how far it has come, and how to cancel it.

use super::{First, actor, bad_request};
use crate::operations::OperationError;
use crate::problem::Problem;
use crate::supervisor::{ControlError, Supervisor};
use crate::wire::{Operation, Severity};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};

pub(super) fn routes() -> Router<Supervisor> {
    Router::new()
        .route("/api/v1/operations", get(list))
        .route("/api/v1/operations/{id}", get(find))
        .route("/api/v1/operations/{id}/cancel", post(cancel))
}

async fn list(State(supervisor): State<Supervisor>) -> Json<Vec<Operation>> {
    Json(supervisor.0.operations.list())
}

async fn find(
    State(supervisor): State<Supervisor>,
    First(id): First,
) -> Result<Json<Operation>, Problem> {
    let id = number(&id)?;
    let found = supervisor.0.operations.find(id);
    Ok(Json(found.ok_or(OperationError::Unknown(id)).map_err(ControlError::from)?))
}

/// It ends before its next step, or at once where it only waits; the answer is the operation as it is.
async fn cancel(
    State(supervisor): State<Supervisor>,
    First(id): First,
    headers: HeaderMap,
) -> Result<Json<Operation>, Problem> {
    let id = number(&id)?;
    let operation = supervisor.0.operations.cancel(id).map_err(ControlError::from)?;
    let (node, kind) = (operation.node.as_deref(), &operation.kind);
    let text = format!("asked to cancel operation {id} ({kind})");
    supervisor.tell(Severity::Info, "operation", node, &actor(&headers), text);
    Ok(Json(operation))
}

fn number(id: &str) -> Result<u64, Problem> {
    id.parse().map_err(|_| {
        bad_request("an operation is named by its number; GET /api/v1/operations lists them")
    })
}
