//! The simple doors: text under a text key.

use super::is_object;
use axon_core::types::{NodeId, Revision};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// The body of `PUT /kv/{key}`. Other members are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PutRequest<'a> {
    /// The value, borrowed from the body unless it has escapes.
    #[serde(borrow)]
    pub value: Cow<'a, str>,
}

impl<'a> PutRequest<'a> {
    /// Parses a body.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(body: &'a [u8]) -> Result<Self, String> {
        let parsed = if is_object(body) {
            serde_json::from_slice(body).map_err(|error| error.to_string())
        } else {
            Err("it is not a JSON object".into())
        };
        parsed.map_err(|reason| format!(r#"the body must be {{"value":"..."}}: {reason}"#))
    }
}

/// `{"status":"success", ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct Success {
    /// Always `success`.
    status: &'static str,
    /// Of a put: the revision that stored the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, nullable = false)]
    revision: Option<Revision>,
    /// Of a transfer: the id of the new leader.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, nullable = false)]
    leader: Option<NodeId>,
}

impl Success {
    /// Success, and no more to say.
    pub const PLAIN: Self = Self { status: "success", revision: None, leader: None };

    /// A write that made `revision`.
    pub const fn written(revision: Revision) -> Self {
        Self { revision: Some(revision), ..Self::PLAIN }
    }

    /// A transfer that made `leader` the leader.
    pub const fn transferred(leader: NodeId) -> Self {
        Self { leader: Some(leader), ..Self::PLAIN }
    }
}

/// The answer to `GET /kv/{key}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pair<'a> {
    /// The key.
    pub key: &'a str,
    /// The value.
    pub value: &'a str,
}

/// Appends one member of the flat object that answers `GET /kv`.
pub fn append_member(object: &mut Vec<u8>, key: &str, value: &str) {
    serde_json::to_writer(&mut *object, key).expect("a buffer takes every text");
    object.push(b':');
    serde_json::to_writer(&mut *object, value).expect("a buffer takes every text");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::tests::reads;

    #[test]
    fn the_answers_of_the_simple_doors_read_as_documented() {
        reads(&Success::written(Revision(7)), r#"{"status":"success","revision":7}"#);
        reads(&Success::PLAIN, r#"{"status":"success"}"#);
        reads(&Success::transferred(NodeId(2)), r#"{"status":"success","leader":2}"#);
        reads(&Pair { key: "a/\"", value: "" }, r#"{"key":"a/\"","value":""}"#);
        let mut object = Vec::new();
        append_member(&mut object, "k\n", "v");
        assert_eq!(object, br#""k\n":"v""#);
    }

    #[test]
    fn a_value_is_borrowed_unless_it_has_escapes() {
        let plain = PutRequest::parse(br#" {"value":"v", "more":[1]} "#).unwrap();
        assert!(matches!(plain.value, Cow::Borrowed("v")));
        let escaped = PutRequest::parse(br#"{"value":"\u0061"}"#).unwrap();
        assert!(matches!(escaped.value, Cow::Owned(text) if text == "a"));
    }
}
