//! What happened to this node, for whoever shows a cluster to people.

use crate::app::Shared;
use crate::openapi::{REPLICA, problems};
use crate::params::Params;
use crate::problem::Problem;
use crate::routes::json;
use crate::wire;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::Response;
use std::sync::Arc;
use utoipa::IntoParams;

/// What `GET /v1/events` is asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsParams {
    /// Tells what happened after the event of this number; 0, the default, tells all that is kept.
    #[param(value_type = Option<u64>)]
    after: u64,
}

impl EventsParams {
    fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::parse(query)?;
        let asked = Self { after: params.number("after")?.unwrap_or(0) };
        params.finish()?;
        Ok(asked)
    }
}

problems! {
    EventsProblems = REPLICA;
}

/// Tells what happened to this node since it started: elections, members that came and went, trouble
/// with the disk.
///
/// The latest 1,024 events are kept, in memory. Ask again with the last `seq` as `after`, and from 0 when
/// `boot` has changed.
#[utoipa::path(
    get, path = "/v1/events", tag = "cluster", operation_id = "events",
    params(EventsParams),
    responses((status = 200, description = "The events, oldest first.", body = wire::Events<'_>), EventsProblems),
)]
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, Problem> {
    let asked = EventsParams::parse(query.as_deref())?;
    let (events, boot) = shared.cluster.events(asked.after)?;
    Ok(json(wire::encode(&wire::Events::new(boot, &events))))
}
