//! The data under `/v1`: keys are any bytes, values are raw bodies.
//!
//! Invariants:
//!
//! * every answer that knows a revision tells it in `X-Axon-Revision`: of a write the one that it made,
//!   of a read the one that the reader saw, also where nothing was found;
//! * no answer is taken from a cache without being asked for again;
//! * what a request says and this version does not understand is refused, not ignored.

pub(crate) mod history;
pub(crate) mod pair;
pub(crate) mod range;
pub(crate) mod txn;

use crate::app::Shared;
use crate::metrics::Route;
use crate::params::{Params, wrong};
use crate::problem::Problem;
use crate::routes::{APPLIED_INDEX, at};
use axon_core::store::{ReadConsistency, Snapshot};
use axon_core::types::{LogIndex, Revision};
use axon_core::{Error, Store};
use axon_http::RequestBody;
use axum::body::Body;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Request, Response};
use axum::response::IntoResponse;
use bytes::Bytes;
use std::borrow::Cow;
use utoipa::{IntoParams, ToSchema};

pub(crate) use range::RangeParams;

const PAIRS: &str = "/v1/kv/";
const HISTORIES: &str = "/v1/history/";

/// The route of `path`, if its door is here.
pub(crate) fn route(path: &str) -> Option<Route> {
    match path {
        "/v1/kv" => Some(Route::V1_RANGE),
        "/v1/txn" => Some(Route::V1_TXN),
        _ if path.starts_with(PAIRS) => Some(Route::V1_PAIR),
        _ if path.starts_with(HISTORIES) => Some(Route::V1_HISTORY),
        _ => None,
    }
}

/// Answers a request whose route is one of [`route`]'s.
pub(crate) async fn answer(
    shared: &Shared,
    route: Route,
    request: Request<RequestBody>,
) -> Response<Body> {
    let answer = match route {
        Route::V1_PAIR => pair::answer(shared, request).await,
        Route::V1_RANGE => range::answer(shared, request).await,
        Route::V1_HISTORY => history::answer(shared, request).await,
        _ => txn::answer(shared, request).await,
    };
    let mut response = answer.unwrap_or_else(Problem::into_response);
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().entry(CACHE_CONTROL).or_insert(never);
    response
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Freshness {
    /// `linearizable` (sees every write that was acknowledged before; the default) or `local` (what
    /// this node has applied: it may be stale, and is there without a leader).
    #[param(inline)]
    consistency: Option<Consistency>,
    /// Sees at least this revision; on this node, without asking the leader.
    #[param(value_type = Option<u64>)]
    min_revision: Option<Revision>,
    /// Sees the store as it was at this revision.
    #[param(value_type = Option<u64>)]
    revision: Option<Revision>,
}

/// What `consistency` can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
enum Consistency {
    Linearizable,
    Local,
}

impl Freshness {
    /// Takes `consistency`, `min_revision` and `revision`.
    fn take(params: &mut Params<'_>) -> Result<Self, Problem> {
        let revision = params.revision("revision")?;
        let freshness = Self { revision, ..Self::of_now(params)? };
        if revision.is_some() && freshness.min_revision.is_some() {
            return Err(wrong("min_revision", "makes no sense beside `revision`"));
        }
        Ok(freshness)
    }

    /// Takes `consistency` and `min_revision`.
    fn of_now(params: &mut Params<'_>) -> Result<Self, Problem> {
        let words = [("linearizable", Consistency::Linearizable), ("local", Consistency::Local)];
        let consistency = params.word("consistency", &words)?;
        let min_revision = params.revision("min_revision")?;
        if min_revision.is_some() && consistency == Some(Consistency::Linearizable) {
            return Err(wrong("min_revision", "makes no sense beside `consistency=linearizable`"));
        }
        Ok(Self { consistency, min_revision, revision: None })
    }

    /// The store that reads so, but for `revision`.
    fn store<'a>(&self, shared: &'a Shared) -> Cow<'a, Store> {
        match (self.min_revision, self.consistency) {
            (Some(revision), _) => {
                let at_least = ReadConsistency::AtLeast(revision);
                Cow::Owned(shared.store.with_consistency(at_least))
            }
            (None, Some(Consistency::Local)) => Cow::Borrowed(&shared.local),
            (None, _) => Cow::Borrowed(&shared.store),
        }
    }

    async fn snapshot(&self, shared: &Shared) -> Result<Snapshot, Error> {
        let store = self.store(shared);
        match self.revision {
            Some(revision) => store.snapshot_at(revision).await,
            None => store.snapshot().await,
        }
    }

    /// Says in `response` what it shows: the revision, and where this node stands when only it was
    /// asked.
    fn told(
        &self,
        revision: Revision,
        applied_index: LogIndex,
        mut response: Response<Body>,
    ) -> Response<Body> {
        let local = self.consistency == Some(Consistency::Local) || self.min_revision.is_some();
        if local {
            response.headers_mut().insert(APPLIED_INDEX, HeaderValue::from(applied_index.0));
        }
        at(revision, response)
    }
}

/// Returns `key` to be kept: one that borrowed from the path would hold on to the connection's buffer.
fn owned(key: Cow<'_, [u8]>) -> Bytes {
    match key {
        Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn data_doors_are_found_by_their_paths_alone() {
        for (path, route) in [
            ("/v1/kv", Some(Route::V1_RANGE)),
            ("/v1/kv/", Some(Route::V1_PAIR)),
            ("/v1/kv/a/b", Some(Route::V1_PAIR)),
            ("/v1/history/a", Some(Route::V1_HISTORY)),
            ("/v1/txn", Some(Route::V1_TXN)),
            ("/v1/txn/", None),
            ("/v1/history", None),
            ("/v1/kvs", None),
            ("/kv/a", None),
        ] {
            assert_eq!(super::route(path), route, "{path}");
        }
    }

    #[test]
    fn a_read_is_of_one_freshness() {
        let take = |query| {
            let mut params = Params::parse(Some(query)).unwrap();
            Freshness::take(&mut params).is_ok() && params.finish().is_ok()
        };
        for taken in [
            "",
            "consistency=local",
            "consistency=linearizable&revision=3",
            "min_revision=3",
            "consistency=local&min_revision=3",
            "revision=0",
        ] {
            assert!(take(taken), "{taken}");
        }
        for refused in [
            "consistency=",
            "consistency=stale",
            "consistency=linearizable&min_revision=3",
            "revision=3&min_revision=3",
            "revision=latest",
            "revision=",
        ] {
            assert!(!take(refused), "{refused}");
        }
    }
}
