//! The document against the tables of the code that it describes.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::metrics;
use serde_json::Value;
use std::collections::BTreeSet;

fn document() -> Value {
    serde_json::from_slice(&DOCUMENT).unwrap()
}

/// Each operation, with the name of its path and method.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let of_path = move |(method, operation)| (format!("{method} {path}"), operation);
        item.as_object().unwrap().iter().map(of_path)
    })
}

#[test]
fn every_path_that_is_counted_is_described_and_the_other_way_round() {
    let document = document();
    let described: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let counted = metrics::routes().map(str::to_owned).collect();
    assert_eq!(described, counted);
}

#[test]
fn every_code_is_some_operations_and_has_its_own_status() {
    let document = document();
    let responses = document["components"]["responses"].as_object().unwrap();
    let mut told = BTreeSet::new();
    for (name, response) in responses {
        let schema = &response["content"][MEDIA_TYPE]["schema"]["allOf"];
        assert_eq!(schema[0]["$ref"], "#/components/schemas/Problem", "{name}");
        for code in schema[1]["properties"]["code"]["enum"].as_array().unwrap() {
            let code = Code::ALL.iter().find(|known| known.as_str() == code).unwrap();
            assert!(name.starts_with(code.status().as_str()), "{name}");
            told.insert(code.as_str());
        }
    }
    // An answer to a method that a path does not have belongs to no operation.
    told.insert(Code::MethodNotAllowed.as_str());
    assert_eq!(told, Code::ALL.iter().map(|code| code.as_str()).collect());
}

#[test]
fn every_operation_has_a_name_of_its_own_and_may_fail_in_every_common_way() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}");
        assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
        for code in ANY {
            let at = &operation["responses"][code.status().as_str()]["$ref"];
            assert!(at.as_str().is_some_and(|at| at.contains(code.as_str())), "{name}: {code:?}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value, document: &Value) {
        if let Some(at) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(&at[1..]).is_some(), "{at}");
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| check(item, document)),
            Value::Object(members) => members.values().for_each(|value| check(value, document)),
            _ => {}
        }
    }
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    check(&document, &document);
}
