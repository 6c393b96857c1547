//! What goes wrong, as RFC 9457 says it. The only file that knows which fault has which status.

use crate::operations::OperationError;
use crate::supervisor::ControlError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

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

    /// Asking again may help; `outcome` says whether anything was done.
    #[must_use]
    pub fn retryable(self, outcome: &'static str) -> Self {
        Self { retryable: true, outcome: Some(outcome), ..self }
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
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
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, body.to_string()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
