//! The document against the code that it describes.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn dump() {
    std::fs::write("/tmp/feed-openapi.json", &DOCUMENT[..]).unwrap();
}
