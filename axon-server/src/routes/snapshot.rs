//! `GET /v1/snapshot`: a backup of the whole store, made while the client takes it.
//!
//! Invariants:
//!
//! * it is of one revision, told in `X-Axon-Revision` before the first byte;
//! * it holds one part in memory, and the next is made when the client has taken the one before;
//! * an error in the middle breaks the body off without its end, and a body without its end is no
//!   backup: `axon-server restore` refuses it;
//! * a client that takes nothing is cut off by its connection's stall timeout; how many take turns is
//!   bounded, together with the other readers of the whole store.

use crate::app::Shared;
use crate::openapi::{QUORUM, problems};
use crate::problem::Problem;
use crate::routes::at;
use crate::routes::parts::turn;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};
use futures_util::stream;
use std::sync::Arc;

problems! {
    SnapshotProblems = QUORUM;
}

/// Reads a backup of the whole store, for `axon-server restore`.
///
/// Of one revision, with every write that was acknowledged before, and with history and idempotency
/// keys. Streamed: a body that ends early is no backup.
#[utoipa::path(
    get, path = "/v1/snapshot", tag = "cluster",
    responses(
        (status = 200, description = "The backup.", body = Vec<u8>, content_type = "application/octet-stream",
            headers(
                ("X-Axon-Revision" = u64, description = "The revision that it shows."),
                ("Content-Disposition" = String, description = "A file's name: the cluster and the revision."),
            )),
        SnapshotProblems,
    ),
)]
pub(crate) async fn snapshot(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, Problem> {
    let turn = turn(&shared)?;
    let backup = shared.cluster.backup().await?;
    let revision = backup.revision();
    let name = format!("attachment; filename=\"{}-{revision}.axon\"", backup.cluster_id());
    let parts = stream::try_unfold((backup, turn), async |(mut backup, turn)| {
        Ok::<_, axon_core::Error>(backup.next().await?.map(|part| (part, (backup, turn))))
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let name = HeaderValue::from_maybe_shared(name).expect("hexadecimal digits are a header");
    headers.insert(CONTENT_DISPOSITION, name);
    Ok(at(revision, response))
}
