//! Every door of a running server, over a real socket, in front of a single replica.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use axon_core::types::Limits;
use axon_server::Options;
use common::Server;
use serde_json::{Value, json};

fn put(value: &str) -> String {
    json!({ "value": value }).to_string()
}

#[tokio::test]
async fn a_pair_is_put_read_and_deleted() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let written = client.call("PUT", "/kv/greeting", &put("hello")).await;
    assert_eq!((written.status, written.text()), (200, r#"{"status":"success","revision":1}"#));
    assert_eq!(written.header("x-axon-revision"), Some("1"));
    assert_eq!(written.header("content-type"), Some("application/json"));

    let read = client.call("GET", "/kv/greeting", "").await;
    assert_eq!((read.status, read.text()), (200, r#"{"key":"greeting","value":"hello"}"#));
    assert_eq!(read.header("x-axon-revision"), Some("1"));
    let head = client.call("HEAD", "/kv/greeting", "").await;
    assert_eq!(head.header("content-length"), read.header("content-length"));

    let second = client.call("PUT", "/kv/greeting", &put("again")).await;
    assert_eq!(second.json()["revision"], 2);
    for _ in 0..2 {
        let deleted = client.call("DELETE", "/kv/greeting", "").await;
        assert_eq!((deleted.status, deleted.text()), (200, r#"{"status":"success"}"#));
        assert_eq!(deleted.header("x-axon-revision"), Some("3"), "an absent key moves nothing");
    }
    client.call("GET", "/kv/greeting", "").await.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_read_tells_the_revision_of_the_store_that_it_saw() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let absent = client.call("GET", "/kv/a", "").await;
    absent.is_problem(404, "not_found");
    assert_eq!(absent.header("x-axon-revision"), Some("0"));
    client.call("PUT", "/kv/a", &put("1")).await;
    server.cluster.store().put("binary", &b"\xff"[..]).await.unwrap();
    client.call("DELETE", "/kv/gone", "").await;
    for (path, status) in [("/kv/a", 200), ("/kv/binary", 406), ("/kv/absent", 404), ("/kv", 200)] {
        for method in ["GET", "HEAD"] {
            let read = client.call(method, path, "").await;
            assert_eq!(
                (read.status, read.header("x-axon-revision")),
                (status, Some("2")),
                "{path}"
            );
        }
    }
    let applied = server.cluster.status().unwrap().applied_index.to_string();
    let all = client.call("GET", "/kv", "").await;
    assert_eq!(all.header("x-axon-applied-index"), Some(applied.as_str()));
    let too_long = format!("/kv/{}", "k".repeat(4097));
    client.call("GET", &too_long, "").await.is_problem(413, "too_large");
}

#[tokio::test]
async fn keys_are_what_their_path_decodes_to() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let keys = [
        ("a%20b", "a b"),
        ("a/b/c", "a/b/c"),
        ("x%2Fy", "x/y"),
        ("100%25", "100%"),
        ("%252F", "%2F"),
        ("%F0%9F%A6%80", "\u{1f980}"),
        ("../up", "../up"),
        ("a//b", "a//b"),
        ("/", "/"),
        ("end/", "end/"),
        ("a+b", "a+b"),
        ("%22%5C%0A%00", "\"\\\n\0"),
    ];
    for (path, key) in keys {
        let path = format!("/kv/{path}");
        assert_eq!(client.call("PUT", &path, &put(key)).await.status, 200, "{path}");
        let read = client.call("GET", &path, "").await;
        assert_eq!(read.json(), json!({ "key": key, "value": key }), "{path}");
    }
    assert_eq!(
        client.call("GET", "/kv/x/y", "").await.json()["value"],
        "x/y",
        "one key, two spellings"
    );
    let all = client.call("GET", "/kv", "").await.json();
    assert_eq!(all.as_object().unwrap().len(), keys.len());
}

#[tokio::test]
async fn values_are_any_text_up_to_the_limit() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let longest = "x".repeat(1 << 20);
    let escaped = "\u{1}".repeat(1 << 20);
    for value in ["", "\u{1f980} \"quoted\"\n\0", &longest, &escaped] {
        assert_eq!(client.call("PUT", "/kv/k", &put(value)).await.status, 200);
        assert_eq!(client.call("GET", "/kv/k", "").await.json()["value"], value);
    }
    // An escape that JSON allows and this client does not use.
    assert_eq!(client.call("PUT", "/kv/k", r#" {"value":"\u0061\/"} "#).await.status, 200);
    assert_eq!(client.call("GET", "/kv/k", "").await.json()["value"], "a/");

    let too_long = "x".repeat((1 << 20) + 1);
    let refused = client.call("PUT", "/kv/k", &put(&too_long)).await;
    refused.is_problem(413, "too_large");
    assert_eq!(refused.json()["details"]["limit"], 1 << 20);
    let huge = "x".repeat(7 << 20);
    server.call("PUT", "/kv/k", &put(&huge)).await.is_problem(413, "too_large");
    let long_key = format!("/kv/{}", "k".repeat(4097));
    server.call("PUT", &long_key, &put("v")).await.is_problem(413, "too_large");
    let long_key = format!("/kv/{}", "%41".repeat(4096));
    assert_eq!(server.call("PUT", &long_key, &put("v")).await.status, 200);
    assert_eq!(
        server.call("GET", "/kv/k", "").await.json()["value"],
        "a/",
        "refusals change nothing"
    );
}

#[tokio::test]
async fn a_stored_value_that_looks_like_a_refusal_comes_back_untouched() {
    let server = Server::start().await;
    let value = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".repeat(20_000);
    assert_eq!(server.call("PUT", "/kv/k", &put(&value)).await.status, 200);
    let mut client = server.client().await;
    for _ in 0..3 {
        assert_eq!(client.call("GET", "/kv/k", "").await.json()["value"], value.as_str());
    }
}

#[tokio::test]
async fn bad_keys_methods_and_bodies_are_refused_by_name() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for path in ["/kv/", "/kv/%", "/kv/%4", "/kv/%zz", "/kv/%FF"] {
        for method in ["GET", "PUT", "DELETE"] {
            client.call(method, path, &put("v")).await.is_problem(400, "bad_request");
        }
    }
    let no_shape = [
        "",
        "{",
        "null",
        "[]",
        r#"["v"]"#,
        "{}",
        r#"{"value":1}"#,
        r#"{"value":null}"#,
        r#"{"value":"a","value":"b"}"#,
        r#"{"value":"a"} x"#,
        r#"{"Value":"a"}"#,
        r#"{"value":"\ud800"}"#,
    ];
    for body in no_shape {
        client.call("PUT", "/kv/k", body).await.is_problem(400, "bad_request");
    }
    let not_utf8 = client.call_with("PUT", "/kv/k", &[], b"{\"value\":\"\xff\"}").await;
    not_utf8.is_problem(400, "bad_request");
    for media_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"]
    {
        let headers = [("content-type", media_type)];
        let refused = client.call_with("PUT", "/kv/k", &headers, put("v").as_bytes()).await;
        refused.is_problem(415, "unsupported_media_type");
    }
    for (method, path, allow) in [
        ("POST", "/kv/k", "GET, HEAD, PUT, DELETE"),
        ("PATCH", "/kv/k", "GET, HEAD, PUT, DELETE"),
        ("DELETE", "/kv", "GET, HEAD"),
        ("PUT", "/kv", "GET, HEAD"),
    ] {
        let refused = client.call(method, path, "").await;
        refused.is_problem(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some(allow));
    }
    for (method, path, allow) in
        [("POST", "/v1/status", "GET,HEAD"), ("GET", "/v1/leader/transfer", "POST")]
    {
        let refused = client.call(method, path, "").await;
        refused.is_problem(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some(allow));
    }
    for path in ["/", "/kvs", "/v1", "/v1/nothing", "/KV/k", "//kv/k"] {
        client.call("GET", path, "").await.is_problem(404, "not_found");
    }
    assert_eq!(
        client.call("PUT", "/kv/k", &put("v")).await.status,
        200,
        "the connection still works"
    );
}

#[tokio::test]
async fn what_is_not_text_is_refused_or_left_out_and_counted() {
    let server = Server::start().await;
    let store = server.cluster.store();
    store.put("binary", &b"\xff\xfe"[..]).await.unwrap();
    store.put(&b"\xff"[..], "under a binary key").await.unwrap();
    store.put("text", "t").await.unwrap();
    server.call("GET", "/kv/binary", "").await.is_problem(406, "not_acceptable");
    let all = server.call("GET", "/kv", "").await;
    assert_eq!((all.status, all.text()), (200, r#"{"text":"t"}"#));
    assert_eq!(all.header("x-axon-skipped"), Some("2"));
    assert_eq!(all.header("x-axon-revision"), Some("3"));
    assert!(all.header("x-axon-applied-index").unwrap().parse::<u64>().unwrap() >= 3);
}

#[tokio::test]
async fn the_whole_store_is_one_object_streamed_when_it_is_large() {
    let server = Server::start().await;
    let empty = server.call("GET", "/kv", "").await;
    assert_eq!((empty.status, empty.text()), (200, "{}"));
    assert_eq!(empty.header("x-axon-skipped"), Some("0"));

    let store = server.cluster.store();
    let value = "v".repeat(2000);
    for number in 0..600 {
        store.put(format!("key/{number:04}"), value.clone()).await.unwrap();
    }
    store.put("binary", &b"\xff"[..]).await.unwrap();
    let mut client = server.client().await;
    let all = client.call_with("GET", "/kv", &[("te", "trailers")], b"").await;
    assert_eq!(all.header("content-length"), None, "streamed");
    assert_eq!(all.header("trailer"), Some("x-axon-skipped"));
    assert_eq!(all.header("x-axon-skipped"), Some("1"), "in the trailer");
    let all = all.json();
    let pairs = all.as_object().unwrap();
    assert_eq!(pairs.len(), 600);
    assert!(pairs.values().all(|stored| *stored == value));
    assert_eq!(client.call("GET", "/kv", "").await.json(), all, "without trailers as well");
}

#[tokio::test]
async fn headers_say_who_served_what() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for path in ["/kv/absent", "/kv", "/v1/status", "/nowhere", "/livez"] {
        let answer = client.call_with("GET", path, &[("x-request-id", "mine-1")], b"").await;
        assert_eq!(answer.header("x-request-id"), Some("mine-1"), "{path}");
        assert_eq!(answer.header("x-axon-served-by"), Some("node1"), "{path}");
    }
    let generated = client.call("GET", "/livez", "").await;
    let other = client.call_with("GET", "/livez", &[("x-request-id", "not sane")], b"").await;
    assert_ne!(generated.header("x-request-id").unwrap(), other.header("x-request-id").unwrap());
}

/// The names of an object's members.
fn shape(document: &str) -> Vec<String> {
    let document: serde_json::Map<String, Value> = serde_json::from_str(document).unwrap();
    document.keys().cloned().collect()
}

#[tokio::test]
async fn the_cluster_is_shown_as_documented() {
    let server = Server::start().await;
    server.call("PUT", "/kv/a", &put("1")).await;
    let status = server.call("GET", "/v1/status", "").await;
    assert_eq!(shape(status.text()), shape(include_str!("fixtures/status.json")));
    let status = status.json();
    assert_eq!(status["raft_state"], "leader");
    assert_eq!(status["membership"], "voter");
    assert_eq!(status["revision"], 1);
    assert_eq!(status["leader"]["id"], status["node_id"]);
    assert_eq!(status["voters"], json!([status["node_id"]]));
    assert_eq!(status["cluster_id"].as_str().unwrap().len(), 32);
    assert_eq!(status["state_hash"]["hash"].as_str().unwrap().len(), 32);

    let members = server.call("GET", "/v1/members", "").await.json();
    let member = &members["members"][0];
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    assert_eq!((&member["id"], &member["leader"]), (&status["node_id"], &json!(true)));
    assert_eq!((&member["name"], &member["alive"]), (&json!("node1"), &json!(true)));
    assert_eq!(member["address"], "127.0.0.1:9000");
}

#[tokio::test]
async fn what_happened_is_told_after_any_number() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let answer = client.call("GET", "/v1/events", "").await.json();
    assert_eq!(shape(&answer.to_string()), shape(include_str!("fixtures/events.json")));
    let events = answer["events"].as_array().unwrap();
    let elected = events.iter().find(|event| event["kind"] == "leader_elected").unwrap();
    assert_eq!(elected["text"], "node1 (id 1) leads in term 1");
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());

    for (query, first) in [("after=0", Some(1)), ("after=1", Some(2)), ("after=9999", None)] {
        let later = client.call("GET", &format!("/v1/events?{query}"), "").await.json();
        assert_eq!(later["boot"], answer["boot"]);
        assert_eq!(later["events"][0]["seq"].as_u64(), first, "{query}");
    }
    for query in ["after=", "after=-1", "after=x", "after=1&after=2", "since=1", "after=1&x"] {
        let answer = client.call("GET", &format!("/v1/events?{query}"), "").await;
        answer.is_problem(400, "bad_request");
    }
}

#[tokio::test]
async fn changes_of_the_cluster_that_cannot_be_are_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.call("POST", "/v1/members/99/promote", "").await.is_problem(404, "not_found");
    client.call("DELETE", "/v1/members/99", "").await.is_problem(404, "not_found");
    client.call("POST", "/v1/leader/transfer", r#"{"to":99}"#).await.is_problem(404, "not_found");
    for path in ["/v1/members/node1/promote", "/v1/members/-1/promote", "/v1/members/%FF/promote"] {
        client.call("POST", path, "").await.is_problem(400, "bad_request");
    }
    for body in ["[]", "[1]", r#"{"to":"node1"}"#, r#"{"too":1}"#, "x"] {
        client.call("POST", "/v1/leader/transfer", body).await.is_problem(400, "bad_request");
    }
    let id = client.call("GET", "/v1/status", "").await.json()["node_id"].clone();
    let last = client.call("DELETE", &format!("/v1/members/{id}"), "").await;
    last.is_problem(409, "conflict");
    assert_eq!(last.json()["outcome"], "not_applied");
    assert_eq!(client.call("GET", "/readyz", "").await.status, 200, "and nothing has changed");
}

#[tokio::test]
async fn health_version_and_metrics_are_there() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.call("PUT", "/kv/a", &put("1")).await;
    client.call("GET", "/kv/none", "").await;
    assert_eq!(client.call("GET", "/livez", "").await.text(), r#"{"status":"ok"}"#);
    assert_eq!(client.call("GET", "/readyz", "").await.text(), r#"{"status":"ok"}"#);
    let verbose = client.call("GET", "/readyz?verbose", "").await.json();
    assert!(
        verbose["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true),
        "{verbose}"
    );
    let version = client.call("GET", "/version", "").await.json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));

    let metrics = client.call("GET", "/metrics", "").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = metrics.text();
    let value = |name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing in\n{page}")).parse().unwrap()
    };
    assert!(value("axon_log_appended_entries_total") >= 1.0);
    assert!(value("axon_log_syncs_total") >= 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 3.0);
    assert!((value("axon_ready") - 1.0).abs() < f64::EPSILON);
    let labelled = r#"axon_http_requests_total{route="/kv/{key}",method="PUT",status="200"}"#;
    assert!((value(labelled) - 1.0).abs() < f64::EPSILON);
    let missed = r#"axon_http_requests_total{route="/kv/{key}",method="GET",status="404"}"#;
    assert!((value(missed) - 1.0).abs() < f64::EPSILON);
    let health = r#"axon_http_requests_total{route="/livez",method="GET",status="200"}"#;
    assert!((value(health) - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn smaller_limits_are_kept_too() {
    let limits = Limits { key_bytes_max: 3, value_bytes_max: 5 };
    let server = Server::with(Options { limits, ..Options::default() }).await;
    assert_eq!(server.call("PUT", "/kv/abc", &put("12345")).await.status, 200);
    server.call("PUT", "/kv/abcd", &put("1")).await.is_problem(413, "too_large");
    server.call("PUT", "/kv/a", &put("123456")).await.is_problem(413, "too_large");
}
