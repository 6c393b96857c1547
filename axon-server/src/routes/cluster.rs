//! The cluster as this node sees it, and the changes that operators make to it.

use crate::app::Shared;
use crate::body;
use crate::problem::Problem;
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

/// `GET /v1/status`
pub(crate) async fn status(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, Problem> {
    let status = shared.cluster.status()?;
    Ok(json(wire::encode(&wire::Status::from(&status))))
}

/// `GET /v1/members`
pub(crate) async fn members(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, Problem> {
    let members = shared.cluster.members()?;
    Ok(json(wire::encode(&wire::Members::from(&members[..]))))
}

/// `POST /v1/members/{id}/promote`
pub(crate) async fn promote(
    State(shared): State<Arc<Shared>>,
    MemberId(id): MemberId,
) -> Result<Response<Body>, Problem> {
    shared.cluster.promote(id).await?;
    Ok(json(wire::encode(&wire::Success::PLAIN)))
}

/// `DELETE /v1/members/{id}`
pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    MemberId(id): MemberId,
) -> Result<Response<Body>, Problem> {
    shared.cluster.remove(id).await?;
    Ok(json(wire::encode(&wire::Success::PLAIN)))
}

/// `POST /v1/leader/transfer`
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
