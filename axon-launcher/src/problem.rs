//! What goes wrong, as RFC 9457 says it. The only file that knows which fault has which status.

use crate::operations::OperationError;
use crate::supervisor::ControlError;
use axon_http::Refusal;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The media type of every fault.
const MEDIA_TYPE: &str = "application/problem+json";

/// A fault, as it is answered.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    error: String,
    retryable: bool,
    outcome: Option<&'static str>,
    details: Value,
}

impl Problem {
    /// Describes a fault; `error` is a sentence for people, `code` a word for programs.
    pub fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> Self {
        let (error, details) = (error.into(), json!({}));
        Self { status, code, error, retryable: false, outcome: None, details }
    }

    /// The request did not arrive in time.
    pub fn too_slow(error: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", error).retryable("not_applied")
    }

    /// Asking again may help; `outcome` says whether anything was done.
    #[must_use]
    pub fn retryable(self, outcome: &'static str) -> Self {
        Self { retryable: true, outcome: Some(outcome), ..self }
    }

    /// A complete answer in bytes that closes the connection, for where there is no request to answer.
    pub fn last_words(&self) -> Vec<u8> {
        let document = self.document();
        let answer = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
             x-content-type-options: nosniff\r\nconnection: close\r\n\r\n{document}",
            self.status.as_u16(),
            self.status.canonical_reason().unwrap_or_default(),
            document.len(),
        );
        answer.into_bytes()
    }

    fn document(&self) -> String {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "error": self.error,
            "code": self.code,
            "retryable": self.retryable,
            "details": self.details,
        });
        if let Some(outcome) = self.outcome {
            body["outcome"] = outcome.into();
        }
        body.to_string()
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let text = error.to_string();
        let not_done = |details| Self {
            outcome: Some("not_applied"),
            details,
            ..Self::new(StatusCode::CONFLICT, "conflict", text.clone())
        };
        match error {
            ControlError::UnknownNode(_) => Self::new(StatusCode::NOT_FOUND, "not_found", text),
            ControlError::Harm { effect, .. } => {
                not_done(effect.map_or_else(|| json!({}), |effect| json!(effect)))
            }
            ControlError::Operation(OperationError::Unknown(_)) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", text)
            }
            ControlError::Operation(OperationError::Busy { id, .. }) => {
                not_done(json!({ "operation": id }))
            }
            ControlError::Exists(_) | ControlError::Refused(_) | ControlError::Operation(_) => {
                not_done(json!({}))
            }
            ControlError::Cancelled => Self::new(StatusCode::CONFLICT, "conflict", text),
            ControlError::Unavailable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", text)
                    .retryable("not_applied")
            }
            ControlError::OutcomeUnknown(_) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", text).retryable("unknown")
            }
            ControlError::StartFailed { name, .. } => Self {
                details: json!({ "node": name }),
                ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "start_failed", text)
            },
            ControlError::Internal(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let bad = |error: &str| Self::new(StatusCode::BAD_REQUEST, "bad_request", error);
        match refusal {
            Refusal::Malformed => bad("the request is not well-formed HTTP/1.1"),
            Refusal::NotHttp1 => bad("the request is not HTTP/1.1, all that is spoken here"),
            Refusal::UriTooLong => {
                Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", "the request line is too long")
            }
            Refusal::HeadersTooLarge => Self::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "the request's headers are too large",
            ),
            Refusal::SlowHead(limit) => {
                Self::too_slow(format!("the head did not arrive within {limit:?}"))
            }
            Refusal::TooManyConnections(limit) => {
                let error = format!("{limit} connections are open, and no more are allowed");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", error)
                    .retryable("not_applied")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static(MEDIA_TYPE);
        let mut response = (self.status, self.document()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
