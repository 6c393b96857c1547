//! `/openapi.json` against the server that it describes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Server;
use serde_json::Value;
use std::collections::BTreeSet;

const METHODS: [&str; 8] = ["get", "head", "put", "post", "delete", "patch", "options", "query"];

/// A path with something in the place of each parameter.
fn example(path: &str) -> String {
    path.replace("{key}", "some/key").replace("{id}", "1")
}

#[tokio::test]
async fn every_path_has_the_methods_that_are_described_and_no_others() {
    let server = Server::start().await;
    let document = server.call("GET", "/openapi.json", "").await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    for (path, item) in document.json()["paths"].as_object().unwrap() {
        let described: BTreeSet<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
        for method in METHODS {
            let method = method.to_uppercase();
            // A watch has no end: its head tells enough, and a HEAD tells that there is GET.
            if (path.as_str(), method.as_str()) == ("/v1/watch", "GET") {
                continue;
            }
            let answer = server.call(&method, &example(path), "").await;
            let is_described = described.contains(method.to_lowercase().as_str());
            assert_eq!(answer.status != 405, is_described, "{method} {path}: {answer:?}");
            if answer.status == 405 {
                let allowed = answer.header("allow").unwrap_or_default().to_lowercase();
                let allowed: BTreeSet<_> = allowed.split(',').map(str::trim).collect();
                assert_eq!(allowed, described, "{method} {path}");
            } else if answer.status == 404 && method != "HEAD" {
                let sentence = answer.json()["error"].to_string();
                assert!(!sentence.contains("nothing at this path"), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn every_example_of_a_body_is_taken() {
    let server = Server::start().await;
    let document = server.call("GET", "/openapi.json", "").await.json();
    let mut taken = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            for (media_type, body) in
                content.iter().filter(|(_, body)| body.get("example").is_some())
            {
                let headers = [("content-type", media_type.as_str())];
                let example_body = body["example"].to_string();
                let mut client = server.client().await;
                let answer = client
                    .call_with(
                        &method.to_uppercase(),
                        &example(path),
                        &headers,
                        example_body.as_bytes(),
                    )
                    .await;
                // A single node has nobody to hand its leadership to.
                assert!([200, 409].contains(&answer.status), "{method} {path}: {answer:?}");
                taken += 1;
            }
        }
    }
    assert_eq!(taken, 3, "examples of a put, a transaction and a transfer");
}

/// Checks that `value` has the members that `schema` says: all that it must have, and no others.
fn check(value: &Value, schema: &Value, document: &Value, place: &str) {
    if let Some(at) = schema["$ref"].as_str() {
        return check(value, document.pointer(&at[1..]).unwrap(), document, place);
    }
    if let Some(kinds) = schema["oneOf"].as_array() {
        // Null, or something; of a null, nothing is left to check.
        let something = kinds.iter().find(|kind| kind["type"] != "null").unwrap();
        return check(value, something, document, place);
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        check(item, &schema["items"], document, &format!("{place}[{at}]"));
    }
    let Some(members) = value.as_object() else { return };
    let properties =
        schema["properties"].as_object().unwrap_or_else(|| panic!("{place}: {schema}"));
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(members.contains_key(required.as_str().unwrap()), "{place}: no {required}");
    }
    for (name, value) in members {
        let property = properties.get(name).unwrap_or_else(|| panic!("{place}: {name} is new"));
        check(value, property, document, &format!("{place}.{name}"));
    }
}

#[tokio::test]
async fn answers_have_the_members_that_are_described() {
    let server = Server::start().await;
    server.cluster.store().put("a", "1").await.unwrap();
    let document = server.call("GET", "/openapi.json", "").await.json();
    for path in [
        "/kv/a",
        "/v1/status",
        "/v1/members",
        "/v1/events",
        "/livez",
        "/readyz?verbose",
        "/version",
        "/v1/kv",
        "/v1/history/a",
    ] {
        let described = path.replace("/a", "/{key}").replace("?verbose", "");
        let content = &document["paths"][described]["get"]["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        check(&server.call("GET", path, "").await.json(), schema, &document, path);
    }
}
