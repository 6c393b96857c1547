//! `Idempotency-Key`: a write that is sent again happens once, on every door.

use crate::common::Server;
use serde_json::json;

fn key(key: &str) -> [(&str, &str); 1] {
    [("idempotency-key", key)]
}

#[tokio::test]
async fn a_write_sent_again_is_answered_as_the_first_and_happens_once() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let longest = "k".repeat(128);
    let writes: [(&str, &str, &str, &[u8]); 8] = [
        ("put", "PUT", "/v1/kv/a", b"1"),
        (&longest, "PUT", "/v1/kv/a", b"2"),
        ("simple put", "PUT", "/kv/b", br#"{"value":"1"}"#),
        (
            "txn",
            "POST",
            "/v1/txn",
            br#"{"success":[{"put":{"key":"c","value":"1"}},{"get":{"key":"a"}}]}"#,
        ),
        ("delete", "DELETE", "/v1/kv/a", b""),
        ("simple delete", "DELETE", "/kv/b", b""),
        ("range", "DELETE", "/v1/kv?prefix=c", b""),
        ("last", "PUT", "/v1/kv/a", b"3"),
    ];
    for (number, (name, method, path, body)) in writes.into_iter().enumerate() {
        let name = name.replace(' ', "-");
        let first = client.call_with(method, path, &key(&name), body).await;
        assert!([200, 201].contains(&first.status), "{name}: {first:?}");
        let revision = (number + 1).to_string();
        assert_eq!(first.header("x-axon-revision"), Some(revision.as_str()), "{name}");
        for _ in 0..2 {
            let again = client.call_with(method, path, &key(&name), body).await;
            assert_eq!(again.status, first.status, "{name}");
            assert_eq!(again.text(), first.text(), "{name}");
            for header in ["etag", "x-axon-revision"] {
                assert_eq!(again.header(header), first.header(header), "{name}: {header}");
            }
        }
        assert_eq!(server.cluster.status().unwrap().revision.0, number as u64 + 1, "{name}");
    }
}

#[tokio::test]
async fn a_lost_condition_is_answered_again_as_lost() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.call_with("PUT", "/v1/kv/a", &[], b"1").await;
    let headers = [("idempotency-key", "x"), ("if-none-match", "*")];
    for _ in 0..2 {
        let lost = client.call_with("PUT", "/v1/kv/a", &headers, b"2").await;
        lost.is_problem(412, "precondition_failed");
        assert_eq!(lost.header("etag"), Some("\"1\""));
        // What is there now does not change what was answered.
        client.call_with("DELETE", "/v1/kv/a", &[], b"").await;
    }
}

#[tokio::test]
async fn a_key_used_for_another_request_is_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    assert_eq!(client.call_with("PUT", "/v1/kv/a", &key("x"), b"1").await.status, 201);
    let others: [(&str, &str, &[u8]); 6] = [
        ("PUT", "/v1/kv/a", b"2"),
        ("PUT", "/v1/kv/b", b"1"),
        ("DELETE", "/v1/kv/a", b""),
        ("PUT", "/kv/a", br#"{"value":"2"}"#),
        ("POST", "/v1/txn", br#"{"success":[{"put":{"key":"a","value":"1"}}]}"#),
        ("DELETE", "/v1/kv?prefix=a", b""),
    ];
    for (method, path, body) in others {
        let refused = client.call_with(method, path, &key("x"), body).await;
        refused.is_problem(422, "idempotency_mismatch");
        assert_eq!(refused.json()["outcome"], json!("not_applied"), "{method} {path}");
    }
    let same = client.call_with("PUT", "/kv/a", &key("x"), br#"{"value":"1"}"#).await;
    assert_eq!(same.status, 200, "the same write through another door is the same write");
    assert_eq!(server.cluster.status().unwrap().revision.0, 1);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_on_every_door() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let too_long = "k".repeat(129);
    for bad in ["", "a b", "\u{e9}", &too_long] {
        for (method, path, body) in [
            ("PUT", "/kv/a", r#"{"value":"1"}"#),
            ("DELETE", "/kv/a", ""),
            ("PUT", "/v1/kv/a", "1"),
            ("DELETE", "/v1/kv/a", ""),
            ("DELETE", "/v1/kv?prefix=a", ""),
            ("POST", "/v1/txn", "{}"),
        ] {
            let refused = client.call_with(method, path, &key(bad), body.as_bytes()).await;
            refused.is_problem(400, "bad_request");
        }
    }
    assert_eq!(server.cluster.status().unwrap().revision.0, 0);
}
