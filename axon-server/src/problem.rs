//! Errors as HTTP answers: the only file that knows which status an error has.
//!
//! Invariants:
//!
//! * every error answer of the server, from whichever layer, is a [`Problem`]: JSON, never empty;
//! * `outcome` is `unknown` whenever a write may have been handed to the log, as core says;
//! * what the server refuses by itself never reached the log: `not_applied`.

use crate::key::KeyError;
use crate::wire;
use crate::wire::text::Text;
use axon_core::Error;
use axon_core::error::ErrorOutcome;
use axon_http::{HEAD_BYTES_MAX, Refusal};
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::time::Duration;

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $code:literal, $title:literal;)*) => {
        /// What went wrong, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The HTTP status it has.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The word for it in `code`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The request makes no sense.
    BadRequest = BAD_REQUEST, "bad_request", "Bad request";
    /// The token is missing, or is another one.
    Unauthorized = UNAUTHORIZED, "unauthorized", "Unauthorized";
    /// The request comes from a page of another site.
    Forbidden = FORBIDDEN, "forbidden", "Forbidden";
    /// What is asked for does not exist.
    NotFound = NOT_FOUND, "not_found", "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed";
    /// The answer has no form that the client accepts.
    NotAcceptable = NOT_ACCEPTABLE, "not_acceptable", "Not acceptable";
    /// The request took too long to arrive.
    RequestTimeout = REQUEST_TIMEOUT, "request_timeout", "Request timeout";
    /// The revision that is asked for does not exist yet.
    FutureRevision = BAD_REQUEST, "future_revision", "Future revision";
    /// The cursor is damaged, or belongs to something else.
    BadCursor = BAD_REQUEST, "bad_cursor", "Bad cursor";
    /// A compare of a transaction is malformed.
    BadCompare = BAD_REQUEST, "bad_compare", "Bad compare";
    /// A transaction would change a key twice.
    DuplicateKey = BAD_REQUEST, "duplicate_key", "Duplicate key";
    /// The state of the cluster stands in the way.
    Conflict = CONFLICT, "conflict", "Conflict";
    /// The request's session is gone, so that it cannot be known whether it ran.
    RequestExpired = CONFLICT, "request_expired", "Request expired";
    /// The history that is asked for is gone.
    Compacted = GONE, "compacted", "Compacted";
    /// The key is not what the request expects it to be.
    PreconditionFailed = PRECONDITION_FAILED, "precondition_failed", "Precondition failed";
    /// The body, key or value is too large, or there is too much of something.
    TooLarge = PAYLOAD_TOO_LARGE, "too_large", "Too large";
    /// The request line is too long.
    UriTooLong = URI_TOO_LONG, "uri_too_long", "URI too long";
    /// The body is of a kind that is not understood.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type";
    /// The idempotency key was used for another request.
    IdempotencyMismatch = UNPROCESSABLE_ENTITY, "idempotency_mismatch", "Idempotency mismatch";
    /// More is in flight than the server takes on.
    Overloaded = TOO_MANY_REQUESTS, "overloaded", "Overloaded";
    /// The headers are too large.
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "Headers too large";
    /// A fault of the server.
    Internal = INTERNAL_SERVER_ERROR, "internal", "Internal error";
    /// No leader is known.
    NoLeader = SERVICE_UNAVAILABLE, "no_leader", "No leader";
    /// Too few voters are reachable.
    NoQuorum = SERVICE_UNAVAILABLE, "no_quorum", "No quorum";
    /// The replica, or the server, cannot serve yet or any more.
    NotReady = SERVICE_UNAVAILABLE, "not_ready", "Not ready";
    /// The replica has halted after a fault.
    Halted = SERVICE_UNAVAILABLE, "halted", "Halted";
    /// The replica was removed from its cluster.
    Removed = SERVICE_UNAVAILABLE, "removed", "Removed";
    /// A member must be upgraded first.
    UpgradeNeeded = SERVICE_UNAVAILABLE, "upgrade_needed", "Upgrade needed";
    /// As many connections are open as the settings allow.
    TooManyConnections = SERVICE_UNAVAILABLE, "too_many_connections", "Too many connections";
    /// No answer in time.
    Timeout = GATEWAY_TIMEOUT, "timeout", "Timeout";
    /// The disk is full.
    DiskFull = INSUFFICIENT_STORAGE, "disk_full", "Disk full";
}

/// An error, ready to be sent.
// Boxed, because it travels through every `Result` of the hot path and is rare.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    error: Cow<'static, str>,
    retryable: bool,
    outcome: ErrorOutcome,
    details: Map<String, Value>,
    retry_after: Option<Duration>,
    headers: HeaderMap,
}

impl Problem {
    /// A problem with `code`, described by the sentence `error`; a write did not happen.
    pub fn new(code: Code, error: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            error: error.into(),
            retryable: false,
            outcome: ErrorOutcome::NotApplied,
            details: Map::new(),
            retry_after: None,
            headers: HeaderMap::new(),
        }))
    }

    /// The request makes no sense: `error` says why.
    pub fn bad_request(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadRequest, error)
    }

    /// The path has other methods: those in `allow`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let sentence = format!("this path does not have that method; it has {allow}");
        Self::new(Code::MethodNotAllowed, sentence).header(ALLOW, HeaderValue::from_static(allow))
    }

    /// The body is over `limit` bytes.
    pub fn body_too_large(limit: usize) -> Self {
        Self::new(Code::TooLarge, format!("the body is over the limit of {limit} bytes"))
            .detail("what", "body")
            .detail("limit", limit)
    }

    /// More is in flight than the server takes on.
    pub fn overloaded(error: &'static str) -> Self {
        let mut problem = Self::new(Code::Overloaded, error).retryable();
        problem.0.retry_after = Some(Duration::from_secs(1));
        problem
    }

    /// The handler panicked: nobody knows how far it came.
    pub fn panicked() -> Self {
        let mut problem = Self::new(
            Code::Internal,
            "the server met a bug of its own; its log has the details under this request's id",
        );
        problem.0.outcome = ErrorOutcome::Unknown;
        problem
    }

    /// Says that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// Adds a figure or a name to `details`.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.details.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// What went wrong, for programs.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The JSON document.
    #[must_use]
    pub fn document(&self) -> Bytes {
        let Parts { code, error, retryable, outcome, details, .. } = self.0.as_ref();
        wire::encode(&wire::Problem {
            r#type: "about:blank",
            title: code.title(),
            status: code.status().as_u16(),
            error,
            code: code.as_str(),
            retryable: *retryable,
            outcome: match outcome {
                ErrorOutcome::NotApplied => "not_applied",
                ErrorOutcome::Unknown => "unknown",
            },
            details,
        })
    }

    /// A complete answer in bytes that closes the connection, for where no HTTP machinery is left.
    #[must_use]
    pub fn last_words(&self) -> Vec<u8> {
        let status = self.0.code.status();
        let document = self.document();
        let mut answer = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            document.len(),
        )
        .into_bytes();
        answer.extend_from_slice(&document);
        answer
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed => Self::bad_request("the request is not well-formed HTTP/1.1"),
            Refusal::NotHttp1 => {
                Self::bad_request("the request is not HTTP/1.1, all that is spoken here")
            }
            Refusal::UriTooLong => Self::new(Code::UriTooLong, "the request line is too long"),
            Refusal::HeadersTooLarge => {
                Self::new(Code::HeadersTooLarge, "the request's headers are too large")
                    .detail("limit", HEAD_BYTES_MAX)
            }
            Refusal::SlowHead(limit) => {
                let sentence = format!("the head did not arrive within {limit:?}");
                Self::new(Code::RequestTimeout, sentence).retryable()
            }
            Refusal::TooManyConnections(limit) => {
                let sentence = "as many connections are open as the settings allow";
                Self::new(Code::TooManyConnections, sentence).retryable().detail("limit", limit)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.document()));
        *response.status_mut() = self.0.code.status();
        *response.headers_mut() = self.0.headers;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(delay) = self.0.retry_after {
            // Whole seconds are all that the header knows; never 0, which asks for a storm.
            let seconds = delay.as_millis().div_ceil(1000).max(1) as u64;
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NoLeader { .. } => Code::NoLeader,
            Error::NoQuorum { .. } => Code::NoQuorum,
            Error::Timeout { .. } => Code::Timeout,
            Error::TooLarge { .. } | Error::TooMany { .. } => Code::TooLarge,
            Error::Compacted { .. } | Error::ReadsCompacted { .. } => Code::Compacted,
            Error::FutureRevision { .. } => Code::FutureRevision,
            Error::BadCursor { .. } => Code::BadCursor,
            Error::DuplicateKey { .. } => Code::DuplicateKey,
            Error::IdempotencyMismatch => Code::IdempotencyMismatch,
            Error::UpgradeNeeded { .. } => Code::UpgradeNeeded,
            Error::EmptyKey | Error::Refused { .. } => Code::BadRequest,
            Error::Overloaded { .. } => Code::Overloaded,
            Error::DiskFull => Code::DiskFull,
            Error::RequestExpired => Code::RequestExpired,
            Error::Halted { .. } => Code::Halted,
            Error::Removed { .. } => Code::Removed,
            Error::ShutDown | Error::NotReady { .. } => Code::NotReady,
            Error::UnknownMember { .. } => Code::NotFound,
            Error::WouldLoseQuorum { .. } | Error::Conflict { .. } => Code::Conflict,
            // Storage, transport and configuration are none of the client's doing; nor is what a
            // newer core may add.
            _ => Code::Internal,
        };
        let mut problem = Self::new(code, error.to_string());
        problem.0.retryable = error.is_retryable();
        problem.0.outcome = error.outcome();
        match error {
            Error::NoQuorum { alive, needed, .. } => {
                problem.detail("alive", alive).detail("needed", needed)
            }
            Error::WouldLoseQuorum { alive, needed, voters, .. } => {
                problem.detail("alive", alive).detail("needed", needed).detail("voters", voters)
            }
            Error::Timeout { waited, .. } => problem.detail("waited_ms", millis(waited)),
            Error::TooLarge { what, limit, got } => {
                problem.detail("what", what).detail("limit", limit).detail("got", got)
            }
            Error::TooMany { what, limit } => problem.detail("what", what).detail("limit", limit),
            Error::Compacted { requested, oldest } => {
                problem.detail("requested", requested.0).detail("oldest", oldest.0)
            }
            Error::ReadsCompacted { revision, oldest } => {
                problem.detail("revision", revision.0).detail("oldest", oldest.0)
            }
            Error::FutureRevision { requested, newest } => {
                problem.detail("requested", requested.0).detail("newest", newest.0)
            }
            Error::DuplicateKey { key } => {
                let text = Text::new(&key);
                let shown = serde_json::to_value(text).expect("a key is a JSON text");
                let problem = problem.detail("key", shown);
                if text.encoding().is_none() {
                    return problem;
                }
                problem.detail("key_encoding", "base64")
            }
            Error::Overloaded { retry_after } => {
                problem.0.retry_after = Some(retry_after);
                problem.detail("retry_after_ms", millis(retry_after))
            }
            Error::Removed { id } => problem.detail("id", id.0),
            Error::UnknownMember { member } | Error::UpgradeNeeded { member } => {
                problem.detail("member", member)
            }
            _ => problem,
        }
    }
}

fn millis(duration: Duration) -> Value {
    json!(duration.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use axon_core::error::{ConfigError, StorageError, TransportError};
    use axon_core::types::{NodeId, Revision};
    use std::io;

    fn parsed(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.document()).unwrap()
    }

    type Answer = (u16, &'static str, bool, &'static str);

    /// Checks the status, code, `retryable` and `outcome` of each error.
    fn check(cases: impl IntoIterator<Item = (Error, Answer)>) {
        for (error, (status, code, retryable, outcome)) in cases {
            let sentence = error.to_string();
            let problem = Problem::from(error);
            let document = parsed(&problem);
            assert_eq!(document["status"], status, "{sentence}");
            assert_eq!(document["code"], code, "{sentence}");
            assert_eq!(document["retryable"], retryable, "{sentence}");
            assert_eq!(document["outcome"], outcome, "{sentence}");
            assert_eq!(document["error"], sentence.as_str());
            assert_eq!(problem.into_response().status().as_u16(), status, "{sentence}");
        }
    }

    #[test]
    fn every_error_of_the_cluster_has_its_documented_answer() {
        let unknown = ErrorOutcome::Unknown;
        let reason = String::from("r");
        let second = Duration::from_secs(1);
        let storage = StorageError::io("cannot sync", "x", &io::Error::other("y"));
        let transport = TransportError::Timeout { waited: second };
        let config = ConfigError { setting: "s", reason: reason.clone() };
        let internal = (500, "internal", false, "not_applied");
        check([
            (Error::NoLeader { outcome: unknown }, (503, "no_leader", true, "unknown")),
            (
                Error::Timeout { waited: second, outcome: unknown },
                (504, "timeout", true, "unknown"),
            ),
            (Error::Overloaded { retry_after: second }, (429, "overloaded", true, "not_applied")),
            (Error::DiskFull, (507, "disk_full", true, "not_applied")),
            (Error::RequestExpired, (409, "request_expired", false, "unknown")),
            (Error::Halted { cause: reason.clone() }, (503, "halted", false, "unknown")),
            (Error::Removed { id: NodeId(4) }, (503, "removed", false, "not_applied")),
            (Error::ShutDown, (503, "not_ready", false, "unknown")),
            (Error::NotReady { reason: reason.clone() }, (503, "not_ready", true, "not_applied")),
            (
                Error::UpgradeNeeded { member: "n".into() },
                (503, "upgrade_needed", true, "not_applied"),
            ),
            (Error::UnknownMember { member: "9".into() }, (404, "not_found", false, "not_applied")),
            (
                Error::WouldLoseQuorum { reason: reason.clone(), alive: 1, needed: 2, voters: 2 },
                (409, "conflict", false, "not_applied"),
            ),
            (Error::Conflict { reason }, (409, "conflict", true, "not_applied")),
            (Error::Storage(storage), internal),
            (Error::Transport(transport), internal),
            (Error::Config(config), internal),
        ]);
    }

    #[test]
    fn every_error_about_data_has_its_documented_answer() {
        let reason = String::from("r");
        let refused = |status, code| (status, code, false, "not_applied");
        let (requested, oldest, newest) = (Revision(7), Revision(8), Revision(6));
        check([
            (Error::TooLarge { what: "key", limit: 1, got: 2 }, refused(413, "too_large")),
            (Error::TooMany { what: "operations", limit: 1 }, refused(413, "too_large")),
            (Error::EmptyKey, refused(400, "bad_request")),
            (Error::Refused { reason: reason.clone() }, refused(400, "bad_request")),
            (Error::Compacted { requested, oldest }, refused(410, "compacted")),
            (
                Error::ReadsCompacted { revision: requested, oldest },
                (410, "compacted", false, "unknown"),
            ),
            (Error::FutureRevision { requested, newest }, refused(400, "future_revision")),
            (Error::BadCursor { reason }, refused(400, "bad_cursor")),
            (Error::DuplicateKey { key: "k".into() }, refused(400, "duplicate_key")),
            (Error::IdempotencyMismatch, refused(422, "idempotency_mismatch")),
        ]);
        let alone = Error::WouldLoseQuorum { reason: "why".into(), alive: 1, needed: 2, voters: 2 };
        let alone = parsed(&Problem::from(alone));
        assert_eq!(alone["details"], json!({ "alive": 1, "needed": 2, "voters": 2 }));
        let gone = parsed(&Problem::from(Error::Compacted { requested, oldest }));
        assert_eq!(gone["details"], json!({ "requested": 7, "oldest": 8 }));
        let binary = parsed(&Problem::from(Error::DuplicateKey { key: (&b"\xff"[..]).into() }));
        assert_eq!(binary["details"], json!({ "key": "/w==", "key_encoding": "base64" }));
    }

    #[test]
    fn no_quorum_reads_as_documented() {
        let outcome = ErrorOutcome::NotApplied;
        let problem = Problem::from(Error::NoQuorum { alive: 1, needed: 2, voters: 3, outcome });
        let fixture = include_str!("../tests/fixtures/problem.json");
        assert_eq!(String::from_utf8(problem.document().to_vec()).unwrap(), fixture.trim_end());
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_never_zero() {
        for (millis, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let retry_after = Duration::from_millis(millis);
            let response = Problem::from(Error::Overloaded { retry_after }).into_response();
            assert_eq!(response.headers()["retry-after"], header);
        }
    }

    #[test]
    fn every_code_is_an_error_with_a_body_of_its_own_status() {
        for code in Code::ALL {
            let document = parsed(&Problem::new(*code, "why"));
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert_eq!(document["status"], code.status().as_u16());
            assert_eq!(document["details"], json!({}));
        }
    }

    #[test]
    fn last_words_are_a_complete_answer() {
        let words = Problem::new(Code::RequestTimeout, "too slow").last_words();
        let text = String::from_utf8(words).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with("connection: close"), "{head}");
    }
}
