//! The way of a request: through here to its door, and back with its headers.
//!
//! One function does what a stack of layers would (identify, catch panics, count), without boxing a
//! future per layer. The data doors are called directly; axum's router finds all others. Invariants:
//!
//! * nobody comes to a door that the [`Guard`] does not let pass;
//! * every answer carries `X-Request-Id` and `X-Axon-Served-By`, and what disarms it in a browser;
//! * a panic in a door is answered like any other error, with its outcome unknown;
//! * nothing is logged per request, unless it is a fault of ours.

use crate::Options;
use crate::body::{Budget, Room};
use crate::guard::{self, Guard};
use crate::metrics::{self, Requests, Route};
use crate::openapi;
use crate::problem::{Code, Problem};
use crate::routes::{cluster, events, health, kv, snapshot, v1, watch};
use axon_core::store::ReadConsistency;
use axon_core::trace::Trace;
use axon_core::types::Limits;
use axon_core::{Cluster, Store};
use axon_http::RequestBody;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request as AxumRequest};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, post};
use bytes::Bytes;
use futures_util::FutureExt;
use std::any::Any;
use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::sync::watch::Sender;
use tower::ServiceExt;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVED_BY: HeaderName = HeaderName::from_static("x-axon-served-by");

/// How many clients may read the whole store at once: each holds a snapshot, and disk space with it.
const DUMPS_MAX: usize = 8;
/// Bytes of pages held at once, while they are made and until they are taken.
const PAGES_BYTES_MAX: usize = 64 << 20;

/// What every door knows.
pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    /// Reads are linearizable.
    pub(crate) store: Store,
    /// Reads show what this node has applied.
    pub(crate) local: Store,
    pub(crate) options: Options,
    pub(crate) bodies: Budget,
    pub(crate) dumps: Arc<Semaphore>,
    pub(crate) pages: Room,
    pub(crate) requests: Requests,
    /// Holds `true` from the beginning of a shutdown on.
    pub(crate) draining: Sender<bool>,
}

impl Shared {
    /// The largest body of a `PUT /kv/{key}`: JSON may write each byte of a value as `\u0001`.
    pub(crate) fn put_body_bytes_max(&self) -> usize {
        self.options.limits.value_bytes_max * 6 + 1024
    }

    /// The largest body of a `POST /v1/txn`: a whole command, of which JSON may write each byte as
    /// `\u0001`; but one transaction must not keep all other bodies out. Half of the default budget
    /// holds the largest command in base64.
    pub(crate) fn txn_body_bytes_max(&self) -> usize {
        (Limits::COMMAND_BYTES_MAX * 6).min(self.options.body_bytes_in_flight_max / 2)
    }
}

/// The whole HTTP application.
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    router: Router,
    guard: Guard,
    served_by: HeaderValue,
    ids: RequestIds,
}

impl App {
    /// `local`: only this machine can connect.
    pub(crate) fn new(cluster: Cluster, options: Options, local: bool) -> Self {
        let guard = Guard::new(options.token.clone(), local, options.told_host.clone());
        let store = cluster.store();
        let served_by = HeaderValue::from_str(&options.name)
            .unwrap_or_else(|_| HeaderValue::from_static("unnamed"));
        let shared = Arc::new(Shared {
            local: store.with_consistency(ReadConsistency::Local),
            store,
            cluster,
            bodies: Budget::new(options.body_bytes_in_flight_max),
            dumps: Arc::new(Semaphore::new(DUMPS_MAX)),
            pages: Room::new(PAGES_BYTES_MAX),
            requests: Requests::default(),
            draining: Sender::new(false),
            options,
        });
        Self { router: router(shared.clone()), shared, guard, served_by, ids: RequestIds::new() }
    }

    /// Answers `request`, whatever it is.
    pub(crate) async fn handle(&self, request: Request<RequestBody>) -> Response<Body> {
        let begun = Instant::now();
        let running = Running::new(&self.shared.requests.running);
        let (id, theirs) = self.ids.of(request.headers());
        let method = metrics::method_index(request.method());
        let door = AssertUnwindSafe(self.dispatch(request)).catch_unwind();
        // Only a name that the client chose travels on: it alone looks for it in other nodes' logs.
        let answer = match theirs {
            Some(trace) => trace.scope(door).await,
            None => door.await,
        };
        let (route, mut response) = answer.unwrap_or_else(|panic| {
            let message = panic_message(panic.as_ref());
            let request_id = id.to_str().unwrap_or_default();
            tracing::error!(request_id, message, "a request met a bug");
            (Route::OTHER, Problem::panicked().into_response())
        });
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        headers.insert(SERVED_BY, self.served_by.clone());
        guard::disarm(headers);
        self.shared.requests.observe(route, method, response.status(), begun.elapsed());
        drop(running);
        response
    }

    async fn dispatch(&self, request: Request<RequestBody>) -> (Route, Response<Body>) {
        const PAIRS: &str = "/kv/";
        if let Err(problem) = self.guard.check(&request) {
            return (Route::OTHER, problem.into_response());
        }
        let path = request.uri().path();
        if path.starts_with(PAIRS) {
            let answer = kv::pair(&self.shared, request, PAIRS).await;
            return (Route::PAIR, answer.unwrap_or_else(Problem::into_response));
        }
        if path == "/kv" {
            let answer = kv::all(&self.shared, &request).await;
            return (Route::ALL, answer.unwrap_or_else(Problem::into_response));
        }
        if let Some(route) = v1::route(path) {
            return (route, v1::answer(&self.shared, route, request).await);
        }
        let Ok(response) = self.router.clone().oneshot(request.map(Body::new)).await;
        let route = response.extensions().get::<Route>().copied().unwrap_or(Route::OTHER);
        (route, response)
    }
}

/// The doors that axum's router finds.
fn doors() -> [(&'static str, MethodRouter<Arc<Shared>>); 13] {
    [
        ("/v1/watch", get(watch::watch)),
        ("/v1/snapshot", get(snapshot::snapshot)),
        ("/v1/status", get(cluster::status)),
        ("/v1/members", get(cluster::members)),
        ("/v1/members/{id}", delete(cluster::remove)),
        ("/v1/members/{id}/promote", post(cluster::promote)),
        ("/v1/events", get(events::events)),
        ("/v1/leader/transfer", post(cluster::transfer)),
        ("/livez", get(health::livez)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(health::metrics)),
        ("/version", get(health::version)),
        ("/openapi.json", get(openapi::document)),
    ]
}

fn router(shared: Arc<Shared>) -> Router {
    let doors = doors().into_iter();
    doors
        .fold(Router::new(), |router, (pattern, door)| router.route(pattern, door))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "this path does not have that method; see `Allow`")
        })
        .fallback(async || Problem::new(Code::NotFound, "there is nothing at this path"))
        .layer(middleware::from_fn(note_route))
        .with_state(shared)
}

/// Leaves the route on the response, for the metrics.
async fn note_route(request: AxumRequest, next: Next) -> axum::response::Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or(Route::OTHER, |matched| Route::of(matched.as_str()));
    let mut response = next.run(request).await;
    response.extensions_mut().insert(route);
    response
}

/// Counts a request as running until it is dropped, also when its client goes away.
struct Running<'a>(&'a AtomicU64);

impl<'a> Running<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Gives each request an id: the client's, if it is sane, or one that no other request has.
struct RequestIds {
    /// Random, so that ids of two processes, or of two lives of one, do not meet.
    prefix: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self { prefix: axon_core::runtime::random_u128() as u64, next: AtomicU64::new(1) }
    }

    /// The id, and the same as a trace when the client chose it.
    fn of(&self, headers: &HeaderMap) -> (HeaderValue, Option<Trace>) {
        if let Some(theirs) = headers.get(REQUEST_ID)
            && let Some(trace) = Self::sane(theirs)
        {
            return (theirs.clone(), Some(trace));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = String::with_capacity(33);
        write!(text, "{:016x}-{number:x}", self.prefix).expect("a string takes every text");
        let made = HeaderValue::from_maybe_shared(Bytes::from(text));
        (made.expect("hexadecimal digits are a header"), None)
    }

    /// Ids go into logs: nothing long, and nothing but plain characters.
    fn sane(id: &HeaderValue) -> Option<Trace> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
        let text = id.to_str().ok().filter(|id| id.as_bytes().iter().all(plain))?;
        Trace::new(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_door_is_counted() {
        for (pattern, _) in doors() {
            assert_ne!(Route::of(pattern), Route::OTHER, "{pattern}");
        }
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        let ids = RequestIds::new();
        let answer = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            ids.of(&headers)
        };
        let (id, trace) = answer(b"trace-1:a/b");
        assert_eq!((id.to_str().unwrap(), trace.unwrap().as_str()), ("trace-1:a/b", "trace-1:a/b"));
        let long = [b'a'; Trace::BYTES_MAX + 1];
        for bad in [&b"two words"[..], b"", b"\xff", b"<script>", &long] {
            let (id, trace) = answer(bad);
            assert!(RequestIds::sane(&id).is_some() && id.as_bytes() != bad, "{id:?}");
            assert_eq!(trace, None, "nobody looks for what this node made up");
        }
        assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
    }
}
