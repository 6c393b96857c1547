//! `/api/v1/nodes`, `/api/v1/actions`, `/api/v1/cluster`: what runs, and what can be done to it.
//!
//! `?dry_run=true` says what an action would do; without it the action is begun and answered 202 with
//! its operation, or 200 once it has ended with `?wait=true`.

use super::{Named, actor, bad_request, body, params};
use crate::actions::{Asked, Begun};
use crate::manifest::NodeName;
use crate::problem::Problem;
use crate::quorum::Action;
use crate::supervisor::{ControlError, Supervisor};
use crate::wire::{Cluster, Node, Progress};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use std::time::Duration;

/// Longest wait of a request for the end of its operation; after it the answer is 202 all the same.
const WAIT_MAX: Duration = Duration::from_mins(2);

pub(super) fn routes() -> Router<Supervisor> {
    Router::new()
        .route("/api/v1/cluster", get(cluster))
        .route("/api/v1/nodes", get(nodes).post(add))
        .route("/api/v1/nodes/{id}", get(node))
        .route("/api/v1/nodes/{id}/actions/{action}", post(act))
        .route("/api/v1/actions/rolling_restart", post(rolling_restart))
}

async fn cluster(State(supervisor): State<Supervisor>) -> Json<Cluster> {
    Json(supervisor.cluster_v1())
}

async fn nodes(State(supervisor): State<Supervisor>) -> Json<Vec<Node>> {
    Json(supervisor.nodes_v1())
}

async fn node(
    State(supervisor): State<Supervisor>,
    Named(name): Named,
) -> Result<Json<Node>, Problem> {
    let found = supervisor.nodes_v1().into_iter().find(|node| node.id == name.as_str());
    let unknown = || ControlError::UnknownNode(name.to_string());
    Ok(Json(found.ok_or_else(unknown)?))
}

/// How an action is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct How {
    dry_run: bool,
    wait: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Membership {
    #[default]
    Voter,
    Learner,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNode {
    id: String,
    #[serde(default)]
    membership: Membership,
}

async fn add(
    State(supervisor): State<Supervisor>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Wait {
        wait: bool,
    }
    let Wait { wait } = params(query.as_deref())?;
    let NewNode { id, membership } = body(sent, r#"{"id":"NAME","membership":"voter"|"learner"}"#)?;
    let name: NodeName = id.parse().map_err(bad_request)?;
    let learner = membership == Membership::Learner;
    let by = actor(&headers);
    carry_out(
        supervisor,
        wait,
        |supervisor| async move { supervisor.add(&name, learner, &by).await },
    )
    .await
}

async fn act(
    State(supervisor): State<Supervisor>,
    Named(name): Named,
    Path((_, action)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let action: Action = action
        .parse()
        .map_err(|error: String| Problem::new(StatusCode::NOT_FOUND, "not_found", error))?;
    let How { dry_run, wait } = params(query.as_deref())?;
    nothing(sent)?;
    if dry_run {
        return Ok(Json(supervisor.dry_run(action, &name).await?).into_response());
    }
    let by = actor(&headers);
    carry_out(supervisor, wait, |supervisor| async move {
        supervisor.act(action, &name, Asked { actor: &by, patient: false }).await
    })
    .await
}

async fn rolling_restart(
    State(supervisor): State<Supervisor>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    sent: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let How { dry_run, wait } = params(query.as_deref())?;
    nothing(sent)?;
    if dry_run {
        return Ok(Json(supervisor.dry_rolling_restart().await).into_response());
    }
    let by = actor(&headers);
    carry_out(supervisor, wait, |supervisor| async move { supervisor.rolling_restart(&by).await })
        .await
}

/// An action has no body, or an empty object.
fn nothing(sent: Result<Bytes, BytesRejection>) -> Result<(), Problem> {
    if sent.as_ref().is_ok_and(|sent| sent.trim_ascii().is_empty()) {
        return Ok(());
    }
    let Nothing {} = body(sent, "empty, or {}")?;
    Ok(())
}

/// Begins an operation, whether whoever asks stays or hangs up, and answers with it.
async fn carry_out<F, Fut>(
    supervisor: Supervisor,
    wait: bool,
    order: F,
) -> Result<Response, Problem>
where
    F: FnOnce(Supervisor) -> Fut,
    Fut: Future<Output = Result<Begun, ControlError>> + Send + 'static,
{
    let order = order(supervisor.clone());
    let begun = tokio::spawn(order).await;
    let begun = begun.map_err(|error| ControlError::Internal(error.to_string()))??;
    let mut operation = begun.operation;
    if wait {
        let ended = supervisor.0.operations.until_ended(operation.id, WAIT_MAX).await;
        operation = ended.unwrap_or(operation);
    }
    let running = operation.state == Progress::Running;
    let status = if running { StatusCode::ACCEPTED } else { StatusCode::OK };
    let place = format!("/api/v1/operations/{}", operation.id);
    Ok((status, [(header::LOCATION, place)], Json(operation)).into_response())
}

#[cfg(test)]
mod tests;
