//! The data doors under `/v1`, over a real socket, in front of a single replica.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod history;
mod once;
mod pair;
mod range;
mod txn;

use common::{Answer, Client};

/// What asks for JSON.
const JSON: (&str, &str) = ("accept", "application/json");
/// What asks for lines.
const LINES: (&str, &str) = ("accept", "application/x-ndjson");

/// A request without a body.
async fn ask(client: &mut Client, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.call_with(method, path, headers, b"").await
}

/// Checks that `answer` refuses a request for what it says of `parameter`.
#[track_caller]
fn refuses_parameter(answer: &Answer, parameter: &str) {
    answer.is_problem(400, "bad_request");
    let document = answer.json();
    assert_eq!(document["details"]["parameter"], parameter, "{document}");
    assert!(document["error"].as_str().unwrap().contains(&format!("`{parameter}`")), "{document}");
}
