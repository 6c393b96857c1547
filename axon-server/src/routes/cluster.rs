//! The cluster as this node sees it, and the changes that operators make to it.

use crate::app::Shared;
use crate::body;
use crate::openapi::{QUORUM, REPLICA, problems};
use crate::problem::{Code, Problem};
use crate::routes::json;
use crate::wire;
use axon_core::types::NodeId;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::Response;
use axum::http::request::Parts;
use std::sync::Arc;

/// The largest body of a request to change the cluster.
const BODY_BYTES_MAX: usize = 4 << 10;

problems! {
    StatusProblems = REPLICA;
    ChangeProblems = [Code::NotFound, Code::Conflict], QUORUM;
    TransferProblems = [Code::NotFound, Code::Conflict, Code::TooLarge], QUORUM;
}

/// Tells what this node is and knows of its cluster.
#[utoipa::path(
    get, path = "/v1/status", tag = "cluster",
    responses((status = 200, description = "As this node sees it.", body = wire::Status<'_>), StatusProblems),
)]
pub(crate) async fn status(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, Problem> {
    let status = shared.cluster.status()?;
    Ok(json(wire::encode(&wire::Status::from(&status))))
}

/// Lists the members of the cluster, and the nodes that are heard, which needs no leader.
#[utoipa::path(
    get, path = "/v1/members", tag = "cluster",
    responses((status = 200, description = "As this node sees them.", body = wire::Members<'_>), StatusProblems),
)]
pub(crate) async fn members(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, Problem> {
    let (members, seen) = (shared.cluster.members()?, shared.cluster.seen()?);
    Ok(json(wire::encode(&wire::Members::new(&members, &seen))))
}

/// Gives a learner a vote.
#[utoipa::path(
    post, path = "/v1/members/{id}/promote", tag = "cluster",
    params(("id" = u64, Path, description = "The id of a member.")),
    responses((status = 200, description = "It votes.", body = wire::Success), ChangeProblems),
)]
pub(crate) async fn promote(
    State(shared): State<Arc<Shared>>,
    MemberId(id): MemberId,
) -> Result<Response<Body>, Problem> {
    shared.cluster.promote(id).await?;
    Ok(json(wire::encode(&wire::Success::PLAIN)))
}

/// Removes a member from the cluster, for good.
///
/// Refused if those that are left could decide nothing.
#[utoipa::path(
    delete, path = "/v1/members/{id}", tag = "cluster",
    params(("id" = u64, Path, description = "The id of a member.")),
    responses((status = 200, description = "It is no member.", body = wire::Success), ChangeProblems),
)]
pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    MemberId(id): MemberId,
) -> Result<Response<Body>, Problem> {
    shared.cluster.remove(id).await?;
    Ok(json(wire::encode(&wire::Success::PLAIN)))
}

/// Makes another voter the leader.
#[utoipa::path(
    post, path = "/v1/leader/transfer", tag = "cluster",
    request_body(content = Option<wire::TransferRequest>, example = json!({})),
    responses((status = 200, description = "It leads.", body = wire::Success), TransferProblems),
)]
pub(crate) async fn transfer(
    State(shared): State<Arc<Shared>>,
    body: Body,
) -> Result<Response<Body>, Problem> {
    let timeout = shared.options.body_timeout;
    let received = body::receive(body, BODY_BYTES_MAX, timeout, &shared.bodies).await?;
    let request = wire::TransferRequest::parse(received.bytes()).map_err(Problem::bad_request)?;
    let leader = shared.cluster.transfer_leadership(request.to).await?;
    Ok(json(wire::encode(&wire::Success::transferred(leader))))
}

/// The member that a path names by its id.
pub(crate) struct MemberId(NodeId);

impl<S: Send + Sync> FromRequestParts<S> for MemberId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<u64>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(NodeId(id))),
            Err(_) => Err(Problem::bad_request(
                "a member is named by its id, a number; GET /v1/members lists them",
            )),
        }
    }
}
