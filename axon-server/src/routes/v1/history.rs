//! What became of one key: the versions that the history still has.

use super::{Consistency, Freshness, HISTORIES, owned};
use crate::app::Shared;
use crate::key;
use crate::openapi::{QUORUM, problems};
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::routes::{check_key, json};
use crate::wire::{self, kv};
use axon_core::store::{KeyVersion, PAGE_BYTES_MAX, Snapshot};
use axon_core::types::Revision;
use axon_core::{Error, runtime};
use axon_http::RequestBody;
use axum::body::Body;
use axum::http::{Method, Request, Response};
use bytes::Bytes;
use utoipa::IntoParams;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// What `GET /v1/history/{key}` is asked.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// The most versions that are told: 1 to 1,000, default 100. Fewer are when they are large.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    limit: usize,
    /// Tells versions older than this revision: `next` of the page before.
    #[param(value_type = Option<u64>)]
    before: Option<Revision>,
    /// `linearizable` (the default) or `local`.
    #[param(value_type = Option<Consistency>, inline, rename = "consistency")]
    freshness: Freshness,
}

impl HistoryParams {
    fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params = Params::parse(query)?;
        let asked = Self {
            limit: params.count("limit", LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT),
            before: params.revision("before")?,
            freshness: Freshness::of_now(&mut params)?,
        };
        params.finish()?;
        Ok(asked)
    }
}

problems! {
    HistoryProblems = [Code::Compacted, Code::FutureRevision, Code::TooLarge], QUORUM;
}

/// Tells what became of a key: the versions that the history still has, newest first.
#[utoipa::path(
    get, path = "/v1/history/{key}", tag = "data", operation_id = "history",
    params(
        ("key" = String, Path, min_length = 1, description = "Any bytes, percent-encoded; may have slashes in it."),
        HistoryParams,
        ("min_revision" = Option<u64>, Query, description = "Sees at least this revision."),
    ),
    responses(
        (status = 200, description = "The versions; none, of a key that never was.", body = kv::History<'_>,
            headers(
                ("X-Axon-Revision" = u64, description = "The revision of the store that was read."),
                ("X-Axon-Applied-Index" = u64, description = "Of a local read: the last entry that this node has applied."),
            )),
        HistoryProblems,
    ),
)]
pub(super) async fn answer(
    shared: &Shared,
    request: Request<RequestBody>,
) -> Result<Response<Body>, Problem> {
    let key = owned(key::bytes(&request.uri().path()[HISTORIES.len()..])?);
    check_key(shared, &key)?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed("GET, HEAD"));
    }
    let asked = HistoryParams::parse(request.uri().query())?;
    let room = shared.pages.take().await?;
    let snapshot = asked.freshness.snapshot(shared).await?;
    let (revision, applied_index) = (snapshot.revision(), snapshot.applied_index());
    // What is read beyond the bytes of a page is one step: of the largest values, a page again.
    let step =
        (PAGE_BYTES_MAX / shared.options.limits.value_bytes_max.max(1)).clamp(1, asked.limit);
    let read = move || read(&snapshot, &key, asked.before, asked.limit, step);
    let document = runtime::blocking(read);
    let response = room.hold(json(document.await?));
    Ok(asked.freshness.told(revision, applied_index, response))
}

/// Reads versions, `step` at once, until there are `limit` of them, or too many bytes.
fn read(
    snapshot: &Snapshot,
    key: &Bytes,
    before: Option<Revision>,
    limit: usize,
    step: usize,
) -> Result<Bytes, Error> {
    let mut below = before;
    let mut versions: Vec<KeyVersion> = Vec::new();
    let mut bytes = 0;
    while versions.len() < limit && bytes < PAGE_BYTES_MAX {
        let read = snapshot.history(key, below, step.min(limit - versions.len()))?;
        let Some(last) = read.last() else {
            below = None;
            break;
        };
        below = Some(last.revision);
        let values = read.iter().filter_map(|version| version.pair.as_ref());
        bytes += values.map(|pair| pair.key.len() + pair.value.len()).sum::<usize>();
        versions.extend(read);
    }
    if below.is_some() && snapshot.history(key, below, 1)?.is_empty() {
        below = None;
    }
    let versions = versions.iter().map(|version| kv::Version::new(key, version));
    Ok(wire::encode(&kv::History { versions: versions.collect(), next: below }))
}
