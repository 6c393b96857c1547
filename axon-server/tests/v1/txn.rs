//! Several keys compared and changed at once.

use crate::common::{Answer, Server};
use serde_json::{Value, json};

async fn commit(server: &Server, body: &str) -> Answer {
    server.call("POST", "/v1/txn", body).await
}

#[tokio::test]
async fn the_documented_transaction_is_done_once_and_then_answers_what_is_there() {
    let server = Server::start().await;
    for key in ["tmp/1", "tmp/2", "tmp/3", "tmp0"] {
        server.cluster.store().put(key, "x").await.unwrap();
    }
    let body = include_str!("../fixtures/txn_request.json");
    let done = commit(&server, body).await;
    assert_eq!((done.status, done.header("x-axon-revision")), (200, Some("5")));
    let results = json!([
        {"put":{"mod_revision":5,"version":1}}, {"delete":{"deleted":0}}, {"delete_range":{"deleted":3}}
    ]);
    assert_eq!(done.json(), json!({ "succeeded": true, "revision": 5, "results": results }));
    assert_eq!(done.header("cache-control"), Some("no-store"));

    let lost = commit(&server, body).await.json();
    let kv = json!({"key":"t1","value":"1","create_revision":5,"mod_revision":5,"version":1});
    assert_eq!(lost, json!({"succeeded":false,"revision":5,"results":[{"get":{"kv":kv}}]}));
}

#[tokio::test]
async fn compares_see_one_moment_and_operations_their_order() {
    let server = Server::start().await;
    server.cluster.store().put(&b"\xff"[..], &b"\xfe"[..]).await.unwrap();
    let body = json!({
        "compare": [
            {"key":"/w==","key_encoding":"base64","target":"value","op":"=","value":"/g==","encoding":"base64"},
            {"key":"/w==","key_encoding":"base64","target":"mod_revision","op":"<","mod_revision":2},
            {"key":"/w==","key_encoding":"base64","target":"create_revision","op":"!=","create_revision":0},
            {"key":"a","target":"version","op":"=","version":0},
        ],
        "success": [
            {"get":{"key":"a"}},
            {"put":{"key":"a","value":"1"}},
            {"get":{"key":"a"}},
            {"txn":{"compare":[{"key":"a","target":"version","op":">","version":0}],
                "success":[{"delete":{"key":"/w==","key_encoding":"base64"}}],
                "failure":[{"get":{"key":"a"}}]}},
        ],
    });
    let done = commit(&server, &body.to_string()).await.json();
    let a = json!({"key":"a","value":"1","create_revision":2,"mod_revision":2,"version":1});
    let results = json!([
        {"get":{"kv":null}},
        {"put":{"mod_revision":2,"version":1}},
        {"get":{"kv":a}},
        {"txn":{"succeeded":true,"results":[{"delete":{"deleted":1}}]}},
    ]);
    assert_eq!(done, json!({ "succeeded": true, "revision": 2, "results": results }));
    let nothing = commit(&server, "{}").await.json();
    assert_eq!(nothing, json!({ "succeeded": true, "revision": 2, "results": [] }));
    let read = r#"{"compare":[{"key":"b","target":"value","op":"!=","value":"x"}]}"#;
    let absent = commit(&server, read).await.json();
    assert_eq!(absent["succeeded"], false, "a compare of an absent key's value never holds");
}

#[tokio::test]
async fn a_transaction_that_cannot_be_is_refused_by_code() {
    let server = Server::start().await;
    let put = r#"{"put":{"key":"a","value":"1"}}"#;
    let get = r#"{"get":{"key":"a"}}"#;
    let long_key = "k".repeat(4097);
    let cases = [
        (format!(r#"{{"success":[{put},{put}]}}"#), 400, "duplicate_key"),
        (
            format!(r#"{{"success":[{put},{{"delete_range":{{"prefix":"a"}}}}]}}"#),
            400,
            "duplicate_key",
        ),
        (format!(r#"{{"success":[{put},{{"txn":{{"failure":[{put}]}}}}]}}"#), 400, "duplicate_key"),
        (format!(r#"{{"success":[{}{get}]}}"#, format!("{get},").repeat(128)), 413, "too_large"),
        (r#"{"success":[{"get":{"key":""}}]}"#.into(), 400, "bad_request"),
        (format!(r#"{{"success":[{{"get":{{"key":"{long_key}"}}}}]}}"#), 413, "too_large"),
        (r#"{"compare":[{"key":"a","target":"version","op":"="}]}"#.into(), 400, "bad_compare"),
        (
            r#"{"compare":[{"key":"a","target":"age","op":"=","version":1}]}"#.into(),
            400,
            "bad_compare",
        ),
        (r#"{"success":[{"put":{"key":"a"}}]}"#.into(), 400, "bad_request"),
        (r#"{"success":[{"delete_range":{"prefix":""}}]}"#.into(), 400, "bad_request"),
        (r#"{"then":[]}"#.into(), 400, "bad_request"),
        ("[]".into(), 400, "bad_request"),
        (String::new(), 400, "bad_request"),
        (r#"{"success":[{"txn":"#.repeat(500), 400, "bad_request"),
    ];
    for (body, status, code) in cases {
        let refused = commit(&server, &body).await;
        refused.is_problem(status, code);
        assert_eq!(refused.json()["outcome"], "not_applied", "{code}");
    }
    let fault = commit(&server, r#"{"success":[{"get":{"key":"a"}},{"put":{"key":"a"}}]}"#).await;
    assert_eq!(fault.json()["details"]["at"], "success[1].put", "the place is told");
    let twice = commit(&server, &format!(r#"{{"success":[{put},{put}]}}"#)).await;
    assert_eq!(twice.json()["details"]["key"], "a");

    let mut client = server.client().await;
    let text = [("content-type", "text/plain")];
    let refused = client.call_with("POST", "/v1/txn", &text, b"{}").await;
    refused.is_problem(415, "unsupported_media_type");
    let refused = client.call_with("POST", "/v1/txn", &[("if-match", "*")], b"{}").await;
    refused.is_problem(400, "bad_request");
    let refused = client.call_with("POST", "/v1/txn?dry_run=true", &[], b"{}").await;
    refused.is_problem(400, "bad_request");
    let refused = client.call("GET", "/v1/txn", "").await;
    refused.is_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("POST"));
    assert_eq!(server.cluster.status().unwrap().revision.0, 0, "nothing happened");
}

#[tokio::test]
async fn a_transaction_carries_megabytes_in_either_encoding() {
    let server = Server::start().await;
    let value = "\u{1}".repeat(1 << 20);
    let puts = |count: usize| {
        let put = |number: usize| json!({"put":{"key":format!("k{number}"),"value":value}});
        json!({"success": (0..count).map(put).collect::<Vec<_>>()}).to_string()
    };
    let done = commit(&server, &puts(4)).await.json();
    assert_eq!(done["results"].as_array().map(Vec::len), Some(4));
    let gets: Vec<Value> = (0..4).map(|n| json!({"get":{"key":format!("k{n}")}})).collect();
    let read = commit(&server, &json!({ "success": gets }).to_string()).await.json();
    let whole = |result: &Value| result["get"]["kv"]["value"] == value.as_str();
    assert!(read["results"].as_array().unwrap().iter().all(whole));
    commit(&server, &puts(7)).await.is_problem(413, "too_large");
}
