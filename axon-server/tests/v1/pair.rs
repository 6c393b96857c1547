//! One key: raw bodies, entity tags, conditions, moments.

use crate::common::Server;
use crate::{JSON, ask, refuses_parameter};
use axon_core::types::Limits;
use axon_server::Options;
use serde_json::{Value, json};

#[tokio::test]
async fn a_value_is_any_bytes_and_its_tag_is_its_revision() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let path = "/v1/kv/a%FF/b";
    let created = client.call_with("PUT", path, &[], &every_byte).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.text(), r#"{"revision":1,"previous_revision":null}"#);
    assert_eq!(created.header("etag"), Some("\"1\""));
    let updated = client.call_with("PUT", path, &[("content-type", "text/plain")], b"").await;
    assert_eq!((updated.status, updated.text()), (200, r#"{"revision":2,"previous_revision":1}"#));
    client.call_with("PUT", path, &[], &every_byte).await;
    for method in ["GET", "HEAD"] {
        let read = ask(&mut client, method, path, &[]).await;
        assert_eq!(read.status, 200);
        let headers = [
            ("etag", "\"3\""),
            ("x-axon-revision", "3"),
            ("x-axon-served-by", "node1"),
            ("content-type", "application/octet-stream"),
            ("content-length", "256"),
            ("cache-control", "no-cache"),
            ("vary", "accept"),
            ("x-content-type-options", "nosniff"),
        ];
        for (name, value) in headers {
            assert_eq!(read.header(name), Some(value), "{name}");
        }
        assert_eq!(read.header("x-axon-applied-index"), None, "only of local reads");
        assert!(method == "HEAD" || read.body == every_byte);
    }
    let envelope = ask(&mut client, "GET", "/v1/kv/a%ff%2Fb", &[JSON]).await;
    assert_eq!(envelope.header("etag"), Some("\"3\""), "one tag in both forms");
    assert_eq!(envelope.header("content-type"), Some("application/json"));
    let envelope = envelope.json();
    assert_eq!(envelope["key"], "Yf8vYg==");
    assert_eq!(
        (&envelope["key_encoding"], &envelope["encoding"]),
        (&json!("base64"), &json!("base64"))
    );
    assert_eq!((&envelope["create_revision"], &envelope["version"]), (&json!(1), &json!(3)));

    for (deleted, revision) in [(1, "4"), (0, "4")] {
        let answer = ask(&mut client, "DELETE", path, &[]).await;
        assert_eq!(answer.text(), format!(r#"{{"deleted":{deleted},"revision":{revision}}}"#));
        assert_eq!(answer.header("x-axon-revision"), Some(revision));
    }
    let gone = ask(&mut client, "GET", path, &[]).await;
    gone.is_problem(404, "not_found");
    assert_eq!((gone.header("x-axon-revision"), gone.header("etag")), (Some("4"), None));
    assert_eq!(gone.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn both_families_of_doors_show_the_same_keys() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (path, key) in
        [("a%20b", "a b"), ("a/b", "a/b"), ("%252F", "%2F"), ("a+b", "a+b"), ("..", "..")]
    {
        let put = client.call_with("PUT", &format!("/v1/kv/{path}"), &[], key.as_bytes()).await;
        assert_eq!(put.status, 201, "{path}");
        let read = client.call("GET", &format!("/kv/{path}"), "").await;
        assert_eq!(read.json(), json!({ "key": key, "value": key }));
        let stored = server.cluster.store().get(key).await.unwrap().unwrap();
        assert_eq!(stored.value, key);
    }
}

#[tokio::test]
async fn a_write_happens_only_where_its_condition_holds() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let absent = ("if-none-match", "*");
    let created = client.call_with("PUT", "/v1/kv/k", &[absent], b"1").await;
    assert_eq!((created.status, created.header("etag")), (201, Some("\"1\"")));
    client.call_with("PUT", "/v1/kv/other", &[], b"").await;
    let swapped = client.call_with("PUT", "/v1/kv/k", &[("if-match", "\"1\"")], b"2").await;
    assert_eq!((swapped.status, swapped.header("etag")), (200, Some("\"3\"")));
    assert_eq!(swapped.json(), json!({ "revision": 3, "previous_revision": 1 }));

    for (method, condition) in [
        ("PUT", absent),
        ("PUT", ("if-match", "\"1\"")),
        ("PUT", ("if-match", "\"4\"")),
        ("DELETE", ("if-match", "\"2\"")),
        ("DELETE", absent),
    ] {
        let lost = client.call_with(method, "/v1/kv/k", &[condition], b"lost").await;
        lost.is_problem(412, "precondition_failed");
        assert_eq!(lost.header("etag"), Some("\"3\""), "{method} {condition:?}");
        assert_eq!(lost.header("x-axon-revision"), Some("3"));
        let document = lost.json();
        assert_eq!(document["details"]["current_revision"], 3);
        assert_eq!(
            (&document["outcome"], &document["retryable"]),
            (&json!("not_applied"), &json!(false))
        );
    }
    for condition in [("if-match", "\"3\""), ("if-match", "*")] {
        let lost = client.call_with("PUT", "/v1/kv/absent", &[condition], b"lost").await;
        lost.is_problem(412, "precondition_failed");
        assert_eq!(lost.header("etag"), None);
        assert_eq!(lost.json()["details"]["current_revision"], Value::Null);
    }
    let read = ask(&mut client, "GET", "/v1/kv/k", &[]).await;
    assert_eq!((read.text(), read.header("x-axon-revision")), ("2", Some("3")), "nothing happened");

    let any = ("if-match", "*");
    assert_eq!(client.call_with("PUT", "/v1/kv/k", &[any], b"3").await.status, 200);
    let deleted = ask(&mut client, "DELETE", "/v1/kv/k", &[("if-match", "\"4\"")]).await;
    assert_eq!(deleted.json(), json!({ "deleted": 1, "revision": 5 }));
    ask(&mut client, "DELETE", "/v1/kv/k", &[any]).await.is_problem(412, "precondition_failed");
}

#[tokio::test]
async fn counting_by_compare_and_swap_loses_nothing() {
    const EACH: usize = 40;
    let server = Server::start().await;
    server.cluster.store().put("counter", "0").await.unwrap();
    let count = async || {
        let mut client = server.client().await;
        let mut done = 0;
        while done < EACH {
            let read = ask(&mut client, "GET", "/v1/kv/counter", &[]).await;
            let next = read.text().parse::<usize>().unwrap() + 1;
            let tag = [("if-match", read.header("etag").unwrap())];
            let body = next.to_string();
            match client.call_with("PUT", "/v1/kv/counter", &tag, body.as_bytes()).await.status {
                200 => done += 1,
                412 => {}
                other => panic!("{other}"),
            }
        }
    };
    tokio::join!(count(), count(), count());
    let total = server.call("GET", "/v1/kv/counter", "").await;
    assert_eq!(total.text(), (3 * EACH).to_string());
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.call_with("PUT", "/v1/kv/k", &[], b"1").await;
    for tags in ["\"1\"", "W/\"1\"", "\"9\", \"1\"", "*"] {
        let known = ask(&mut client, "GET", "/v1/kv/k", &[("if-none-match", tags)]).await;
        assert_eq!((known.status, known.body.len()), (304, 0), "{tags}");
        assert_eq!(known.header("etag"), Some("\"1\""));
        assert_eq!(known.header("x-axon-revision"), Some("1"));
        assert_eq!(known.header("cache-control"), Some("no-cache"));
    }
    client.call_with("PUT", "/v1/kv/k", &[], b"2").await;
    let newer = ask(&mut client, "GET", "/v1/kv/k", &[("if-none-match", "\"1\"")]).await;
    assert_eq!((newer.status, newer.text()), (200, "2"));
    let other = ask(&mut client, "GET", "/v1/kv/k", &[("if-match", "\"1\"")]).await;
    other.is_problem(412, "precondition_failed");
    assert_eq!(other.header("etag"), Some("\"2\""));
    let absent = ask(&mut client, "GET", "/v1/kv/absent", &[("if-none-match", "*")]).await;
    absent.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_read_chooses_its_moment() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for value in ["1", "2"] {
        client.call_with("PUT", "/v1/kv/k", &[], value.as_bytes()).await;
    }
    ask(&mut client, "DELETE", "/v1/kv/k", &[]).await;
    client.call_with("PUT", "/v1/kv/k", &[], b"4").await;
    for (query, value, revision) in [
        ("consistency=linearizable", "4", "4"),
        ("consistency=local", "4", "4"),
        ("min_revision=4", "4", "4"),
        ("consistency=local&min_revision=1", "4", "4"),
        ("revision=4", "4", "4"),
        ("revision=2", "2", "2"),
        ("revision=1&consistency=local", "1", "1"),
    ] {
        let read = ask(&mut client, "GET", &format!("/v1/kv/k?{query}"), &[]).await;
        assert_eq!((read.status, read.text()), (200, value), "{query}");
        assert_eq!(read.header("x-axon-revision"), Some(revision), "{query}");
        let local = query.contains("local") || query.contains("min");
        assert_eq!(read.header("x-axon-applied-index").is_some(), local, "{query}");
    }
    let deleted = ask(&mut client, "GET", "/v1/kv/k?revision=3", &[]).await;
    deleted.is_problem(404, "not_found");
    assert_eq!(deleted.header("x-axon-revision"), Some("3"));
    let future = ask(&mut client, "GET", "/v1/kv/k?revision=5", &[]).await;
    future.is_problem(400, "future_revision");
    assert_eq!(future.json()["details"], json!({ "requested": 5, "newest": 4 }));
    for (query, parameter) in [
        ("revision=1&min_revision=1", "min_revision"),
        ("consistency=linearizable&min_revision=1", "min_revision"),
        ("consistency=eventual", "consistency"),
        ("revision=-1", "revision"),
        ("revision=1&revision=1", "revision"),
        ("min_revision=x", "min_revision"),
        ("prefix=a", "prefix"),
    ] {
        let refused = ask(&mut client, "GET", &format!("/v1/kv/k?{query}"), &[]).await;
        refuses_parameter(&refused, parameter);
    }
}

#[tokio::test]
async fn what_a_write_does_not_understand_it_refuses() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for method in ["PUT", "DELETE"] {
        for headers in [
            &[("if-match", "W/\"1\"")][..],
            &[("if-match", "\"1\", \"2\"")],
            &[("if-match", "1")],
            &[("if-match", "")],
            &[("if-match", "\"x\"")],
            &[("if-none-match", "\"1\"")],
            &[("if-match", "*"), ("if-none-match", "*")],
            &[("idempotency-key", "")],
            &[("idempotency-key", "two words")],
            &[("idempotency-key", "a"), ("idempotency-key", "b")],
        ] {
            let refused = client.call_with(method, "/v1/kv/k", headers, b"v").await;
            refused.is_problem(400, "bad_request");
            assert!(refused.json()["details"]["header"].is_string(), "{headers:?}");
        }
        let refused = client.call_with(method, "/v1/kv/k?revision=1", &[], b"v").await;
        refuses_parameter(&refused, "revision");
    }
    let part = [("content-range", "bytes 0-0/2")];
    client.call_with("PUT", "/v1/kv/k", &part, b"v").await.is_problem(400, "bad_request");
    let coded = [("content-encoding", "gzip")];
    let refused = client.call_with("PUT", "/v1/kv/k", &coded, b"v").await;
    refused.is_problem(415, "unsupported_media_type");
    for path in ["/v1/kv/", "/v1/kv/%", "/v1/kv/%4", "/v1/kv/%zz"] {
        for method in ["GET", "PUT", "DELETE"] {
            client.call_with(method, path, &[], b"v").await.is_problem(400, "bad_request");
        }
    }
    let refused = ask(&mut client, "POST", "/v1/kv/k", &[]).await;
    refused.is_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), Some("GET, HEAD, PUT, DELETE"));
    assert_eq!(server.cluster.status().unwrap().revision.0, 0, "nothing was written");
}

#[tokio::test]
async fn keys_and_values_have_limits() {
    let limits = Limits { key_bytes_max: 3, value_bytes_max: 5 };
    let server = Server::with(Options { limits, ..Options::default() }).await;
    let mut client = server.client().await;
    assert_eq!(client.call_with("PUT", "/v1/kv/%00%00%00", &[], b"12345").await.status, 201);
    for (method, path, body) in [
        ("PUT", "/v1/kv/abc", &b"123456"[..]),
        ("PUT", "/v1/kv/abcd", b"1"),
        ("GET", "/v1/kv/abcd", b""),
        ("DELETE", "/v1/kv/abcd", b""),
        ("GET", "/v1/history/abcd", b""),
    ] {
        client.call_with(method, path, &[], body).await.is_problem(413, "too_large");
    }
    let chunked = b"PUT /v1/kv/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = server.client().await;
    client.send(chunked).await;
    client.send(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n").await;
    client.answer(false).await.unwrap().is_problem(413, "too_large");
    let mut client = server.client().await;
    client.send(chunked).await;
    client.send(b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n").await;
    assert_eq!(client.answer(false).await.unwrap().status, 201);
    assert_eq!(server.call("GET", "/v1/kv/a", "").await.text(), "abcde");
}
