//! What a hostile or broken client sends: every answer is a whole problem document with a 4xx, slow
//! clients are cut off, and the server goes on serving everybody else.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use axon_server::Options;
use common::{PATIENCE, Server};
use std::time::Duration;
use tokio::time::timeout;

const VALUE: &str = r#"{"value":"v"}"#;

#[tokio::test]
async fn what_is_no_http_is_refused_with_a_whole_answer() {
    let server = Server::start().await;
    let long = "x".repeat(100_000);
    let many_headers = "a: b\r\n".repeat(500);
    let heads = [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "hello\r\n\r\n".into(),
        "GET\r\n\r\n".into(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "GET /kv/a b HTTP/1.1\r\n\r\n".into(),
        "GET /kv/a HTTP/9.9\r\n\r\n".into(),
        "GET /kv/a HTTP/1.1\r\nno colon\r\n\r\n".into(),
        "GET /kv/a HTTP/1.1\r\nbad name: x\r\n\r\n".into(),
        "GET /kv/a HTTP/1.1\r\nx: \0\r\n\r\n".into(),
        "PUT /kv/a HTTP/1.1\r\ncontent-length: x\r\n\r\n".into(),
        "PUT /kv/a HTTP/1.1\r\ncontent-length: -1\r\n\r\n".into(),
        "PUT /kv/a HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".into(),
        "PUT /kv/a HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".into(),
        "G\u{e9}T /kv/a HTTP/1.1\r\n\r\n".into(),
        format!("GET /kv/{long} HTTP/1.1\r\n\r\n"),
        format!("GET /kv/a HTTP/1.1\r\nx: {long}\r\n\r\n"),
        format!("GET /kv/a HTTP/1.1\r\n{many_headers}\r\n"),
        format!("{long}{long} / HTTP/1.1\r\n\r\n"),
    ];
    for head in heads {
        let mut client = server.client().await;
        client.send(head.as_bytes()).await;
        let shown = head.chars().take(60).collect::<String>();
        let answer = client.answer(false).await.unwrap_or_else(|| panic!("no answer to {shown:?}"));
        let document = answer.assert_problem();
        assert!((400..500).contains(&answer.status), "{shown:?}: {document}");
        assert_ne!(document["code"], "not_found", "it was taken for a request: {shown:?}");
        assert!(
            document["error"].as_str().is_some_and(|sentence| sentence.len() > 10),
            "{shown:?}"
        );
        assert_eq!(answer.header("connection"), Some("close"), "{shown:?}: {document}");
        assert_eq!(client.closed().await, b"", "nothing follows: {shown:?}");
    }
    assert_eq!(server.call("PUT", "/kv/a", VALUE).await.status, 200);
}

/// Paths that doors have, and that none has.
const PATHS: &[&str] = &[
    "/",
    "*",
    "/kv",
    "/kv/",
    "/kv/%",
    "/kv/%00",
    "/kv/%FF%FE",
    "/kv?x=%",
    "/kv/a?value=b",
    "/kvx",
    "/v1/status",
    "/v1/status/",
    "/v1/members",
    "/v1/events",
    "/v1/members/",
    "/v1/members/0",
    "/v1/members/99999999999999999999999",
    "/v1/members/1/2/3",
    "/v1/members/%2e%2e/promote",
    "/v1/leader/transfer",
    "/livez",
    "/readyz?verbose=%FF",
    "/metrics",
    "/version",
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "http://other/kv/a",
    "/v1/kv",
    "/v1/kv?prefix=%FF&limit=0",
    "/v1/kv?limit=1&limit=1",
    "/v1/kv?cursor=AAAA",
    "/v1/kv?%",
    "/v1/kv?confirm=all",
    "/v1/kv/",
    "/v1/kv/a",
    "/v1/kv/%FF%00",
    "/v1/kv/a?revision=18446744073709551615",
    "/v1/kv/a?consistency=local&x",
    "/v1/history/a",
    "/v1/history/%",
    "/v1/history/a?before=0&limit=x",
    "/v1/txn",
    "/v1/txn?a=b",
    "/\u{1f980}",
];
/// Methods that some door has, and others.
const METHODS: &[&str] =
    &["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "X"];

#[tokio::test]
async fn every_method_on_every_path_is_answered_in_json() {
    let server = Server::start().await;
    let bodies = ["", "{", r#"{"value":{"value":"v"}}"#, "\u{1f980}"];
    for &path in PATHS {
        for &method in METHODS {
            for body in bodies {
                let case = format!("{method} {path} {body:?}");
                let answer = server.call(method, path, body).await;
                if answer.status < 400 {
                    let json = answer.header("content-type") == Some("application/json");
                    let raw = path == "/metrics" || path.starts_with("/v1/kv/");
                    assert!(json || raw, "{case}: {answer:?}");
                } else if method == "HEAD" {
                    assert_eq!(
                        answer.header("content-type"),
                        Some("application/problem+json"),
                        "{case}"
                    );
                } else {
                    let document = answer.assert_problem();
                    // The only voter cannot hand over leadership: that is no fault of the server.
                    let unavailable = [503, 507].contains(&answer.status);
                    assert!(answer.status < 500 || unavailable, "{case}: {document}");
                }
            }
        }
    }
    assert_eq!(server.call("GET", "/readyz", "").await.status, 200);
}

#[tokio::test]
async fn deeply_nested_and_endless_bodies_are_refused() {
    let server = Server::start().await;
    let nested = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    server.call("PUT", "/kv/a", &nested).await.is_problem(400, "bad_request");

    let mut client = server.client().await;
    client
        .send(b"PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
    for _ in 0..8 {
        client.send(chunk.as_bytes()).await;
    }
    client.answer(false).await.unwrap().is_problem(413, "too_large");

    let mut client = server.client().await;
    client
        .send(b"PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        .await;
    client.answer(false).await.unwrap().is_problem(400, "bad_request");

    let mut client = server.client().await;
    client
        .send(b"PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999\r\n\r\n")
        .await;
    client.answer(false).await.unwrap().is_problem(413, "too_large");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let put = format!(
        "PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{VALUE}",
        VALUE.len()
    );
    let get = "GET /kv/a HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.send(format!("{put}{get}{get}rubbish\r\n\r\n").as_bytes()).await;
    for body in [
        r#"{"status":"success","revision":1}"#,
        r#"{"key":"a","value":"v"}"#,
        r#"{"key":"a","value":"v"}"#,
    ] {
        assert_eq!(client.answer(false).await.unwrap().text(), body);
    }
    assert_eq!(client.answer(false).await.unwrap().status, 400);
    assert_eq!(client.closed().await, b"");
}

/// Short enough for a test, and far apart, so that each limit can be told from the others.
fn impatient() -> Options {
    Options {
        head_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(900),
        ..Options::default()
    }
}

#[tokio::test]
async fn slow_heads_and_bodies_and_idle_connections_are_cut_off() {
    let server = Server::with(impatient()).await;
    let mut silent = server.client().await;
    let mut slow_head = server.client().await;
    slow_head.send(b"GET /kv/a HT").await;
    let mut slow_body = server.client().await;
    slow_body.send(b"PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{").await;
    let mut idle = server.client().await;
    assert_eq!(idle.call("GET", "/livez", "").await.status, 200);

    slow_head.answer(false).await.unwrap().is_problem(408, "request_timeout");
    slow_body.answer(false).await.unwrap().is_problem(408, "request_timeout");
    for client in [&mut silent, &mut slow_head, &mut slow_body, &mut idle] {
        assert_eq!(client.closed().await, b"", "closed without a further word");
    }
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_cut_off() {
    let stall_timeout = Duration::from_millis(300);
    let server = Server::with(Options { stall_timeout, ..Options::default() }).await;
    let store = server.cluster.store();
    // More than the buffers of both sockets can hold.
    let value = "v".repeat(1 << 20);
    for number in 0..32 {
        store.put(format!("key{number}"), value.clone()).await.unwrap();
    }
    let mut deaf = server.client().await;
    deaf.send(b"GET /kv HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut other = server.client().await;
    let only_the_other = async {
        while !other
            .call("GET", "/metrics", "")
            .await
            .text()
            .contains("\naxon_http_connections 1\n")
        {}
    };
    timeout(PATIENCE, only_the_other).await.expect("the deaf client is cut off");
    let heard = deaf.closed().await;
    assert!(!heard.ends_with(b"0\r\n\r\n"), "what was cut off does not look whole");
}

#[tokio::test]
async fn a_connection_over_the_cap_is_told_so_and_the_next_has_room() {
    let server = Server::with(Options { connections_max: 2, ..Options::default() }).await;
    let mut first = server.client().await;
    let mut second = server.client().await;
    assert_eq!(first.call("GET", "/livez", "").await.status, 200);
    assert_eq!(second.call("GET", "/livez", "").await.status, 200);
    server.call("GET", "/livez", "").await.is_problem(503, "too_many_connections");
    drop(first);
    // The server hears of the end a moment later.
    timeout(PATIENCE, async { while server.call("GET", "/livez", "").await.status != 200 {} })
        .await
        .expect("there is room again");
    assert_eq!(second.call("GET", "/livez", "").await.status, 200);
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_in_flight_and_refuses_the_rest() {
    let server = Server::start().await;
    let address = server.address;
    let mut idle = server.client().await;
    assert_eq!(idle.call("GET", "/livez", "").await.status, 200);
    let fresh = server.client().await;
    let mut in_flight = server.client().await;
    let head =
        format!("PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", VALUE.len());
    // The server's word that it waits for the body is the sign that the request is in flight.
    in_flight.send(format!("{head}expect: 100-continue\r\n\r\n").as_bytes()).await;
    let mut word = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut in_flight.stream, &mut word).await.unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");

    let stopping = server.stop();
    assert_eq!(idle.closed().await, b"");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
    in_flight.send(VALUE.as_bytes()).await;
    let answer = in_flight.answer(false).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(in_flight.closed().await, b"");
    drop(fresh);
    let cut_off = timeout(PATIENCE, stopping).await.expect("it stops").unwrap();
    assert_eq!(cut_off, 0);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let grace = Duration::from_millis(200);
    let server = Server::with(Options { shutdown_grace: grace, ..Options::default() }).await;
    let mut stuck = server.client().await;
    stuck
        .send(b"PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n")
        .await;
    let mut word = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut stuck.stream, &mut word).await.unwrap();
    let cut_off = timeout(PATIENCE, server.stop()).await.expect("it stops").unwrap();
    assert_eq!(cut_off, 1);
}
