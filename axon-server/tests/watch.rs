//! `GET /v1/watch` over a real socket, in front of a single replica.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use axon_core::Op;
use axon_core::config::History;
use axon_core::types::Limits;
use axon_server::Options;
use common::{PATIENCE, Server};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const LINES: [(&str, &str); 1] = [("accept", "application/x-ndjson")];

/// Reads changes up to that of `revision`, and returns each with its id.
async fn changes_up_to(stream: &mut common::Stream, revision: u64) -> Vec<(Option<u64>, Value)> {
    let mut changes = Vec::new();
    loop {
        let (name, id, data) = stream.event().await.expect("the stream goes on");
        match name.as_str() {
            "progress" => continue,
            "change" => changes.push((id, data.clone())),
            other => panic!("{other}: {data}"),
        }
        if data["revision"] == revision {
            return changes;
        }
    }
}

#[tokio::test]
async fn changes_arrive_in_order_each_revision_whole_and_once() {
    let server = Server::start().await;
    let store = server.cluster.store();
    let (head, mut stream) = server.client().await.open("/v1/watch", &[]).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert_eq!(head.header("x-axon-revision"), Some("0"));
    for number in 0..20 {
        store.put(format!("k{}", number % 3), number.to_string()).await.unwrap();
    }
    store.delete("k0").await.unwrap();
    store.put(&b"\xff"[..], &b"\xfe"[..]).await.unwrap();
    let changes = changes_up_to(&mut stream, 22).await;
    let ids: Vec<_> = changes.iter().map(|(id, _)| id.unwrap()).collect();
    assert_eq!(ids, (1..=22).collect::<Vec<_>>());
    assert!(changes.iter().all(|(id, data)| data["revision"] == id.unwrap()));
    assert_eq!(
        changes[3].1["changes"],
        json!([{"type": "put", "key": "k0", "value": "3", "create_revision": 1, "mod_revision": 4, "version": 2}])
    );
    assert_eq!(
        changes[20].1["changes"],
        json!([{"type": "delete", "key": "k0", "mod_revision": 21}])
    );
    assert_eq!(
        changes[21].1["changes"],
        json!([{"type": "put", "key": "/w==", "key_encoding": "base64", "value": "/g==", "encoding": "base64",
            "create_revision": 22, "mod_revision": 22, "version": 1}])
    );
}

#[tokio::test]
async fn who_comes_back_with_the_last_id_misses_nothing() {
    let server = Server::start().await;
    let store = server.cluster.store();
    for number in 0..5 {
        store.put("k", number.to_string()).await.unwrap();
    }
    let (_, mut stream) = server.client().await.open("/v1/watch?from=2", &[]).await;
    let seen = changes_up_to(&mut stream, 3).await;
    assert_eq!(seen.iter().map(|(id, _)| id.unwrap()).collect::<Vec<_>>(), [2, 3]);
    drop(stream);
    store.put("k", "while away").await.unwrap();
    for query in ["from=2", "initial=true", ""] {
        let path = format!("/v1/watch?{query}");
        let (_, mut stream) = server.client().await.open(&path, &[("last-event-id", "3")]).await;
        let seen = changes_up_to(&mut stream, 6).await;
        assert_eq!(
            seen.iter().map(|(id, _)| id.unwrap()).collect::<Vec<_>>(),
            [4, 5, 6],
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_watch_may_begin_with_what_exists() {
    let server = Server::start().await;
    let store = server.cluster.store();
    for key in ["a/1", "a/2", "b/1", "a/3"] {
        store.put(key, "v").await.unwrap();
    }
    store.delete("a/2").await.unwrap();
    let (_, mut stream) = server.client().await.open("/v1/watch?prefix=a/&initial=true", &[]).await;
    let mut keys = Vec::new();
    let told = loop {
        let (name, id, data) = stream.event().await.unwrap();
        if name == "progress" {
            assert_eq!(data, json!({ "revision": 5 }));
            break id;
        }
        assert_eq!((name.as_str(), id), ("change", None), "what is broken off here begins anew");
        let changes = data["changes"].as_array().unwrap();
        keys.extend(changes.iter().map(|change| change["key"].as_str().unwrap().to_owned()));
    };
    assert_eq!((keys, told), (vec!["a/1".to_owned(), "a/3".to_owned()], Some(5)));
    store.put("b/2", "not watched").await.unwrap();
    store.put("a/4", "v").await.unwrap();
    let next = changes_up_to(&mut stream, 7).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].0, Some(7));
}

#[tokio::test]
async fn a_transaction_is_one_event_and_tells_what_was_there_if_asked() {
    let server = Server::start().await;
    let store = server.cluster.store();
    store.put("a", "old").await.unwrap();
    let (_, mut stream) = server.client().await.open("/v1/watch?previous=true", &[]).await;
    store.txn().then([Op::put("a", "new"), Op::put("b", "1")]).commit().await.unwrap();
    let changes = changes_up_to(&mut stream, 2).await;
    assert_eq!(changes.len(), 1);
    let changes = &changes[0].1["changes"];
    assert_eq!((&changes[0]["key"], &changes[1]["key"]), (&json!("a"), &json!("b")));
    assert_eq!(changes[0]["previous"]["value"], "old");
    assert_eq!(changes[1].get("previous"), None);
}

#[tokio::test]
async fn lines_tell_the_same_as_events() {
    let server = Server::start().await;
    let store = server.cluster.store();
    store.put("a", "1").await.unwrap();
    store.delete("a").await.unwrap();
    let (head, mut lines) = server.client().await.open("/v1/watch?from=1&progress=1", &LINES).await;
    assert_eq!(head.header("content-type"), Some("application/x-ndjson"));
    let (_, mut events) = server.client().await.open("/v1/watch?from=1&progress=1", &[]).await;
    for _ in 0..3 {
        let (name, id, data) = events.event().await.unwrap();
        let mut line = lines.document().await.unwrap();
        assert_eq!(line.as_object_mut().unwrap().remove("type").unwrap(), name);
        assert_eq!((Some(&line), id), (Some(&data), data["revision"].as_u64()));
    }
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_before_any_event() {
    let server = Server::start().await;
    let store = server.cluster.store();
    store.put("a", "1").await.unwrap();
    let mut client = server.client().await;
    for (query, status, code) in [
        ("from=0", 400, "bad_request"),
        ("from=9", 400, "future_revision"),
        ("from=18446744073709551615", 400, "future_revision"),
        ("key=", 400, "bad_request"),
        ("keys=a", 400, "bad_request"),
        ("key=a&prefix=b", 400, "bad_request"),
        ("initial=true&from=1", 400, "bad_request"),
    ] {
        let path = format!("/v1/watch?{query}");
        client.call("GET", &path, "").await.is_problem(status, code);
    }
    let headers = [("last-event-id", "x")];
    client.call_with("GET", "/v1/watch", &headers, b"").await.is_problem(400, "bad_request");
    client.call("POST", "/v1/watch", "").await.is_problem(405, "method_not_allowed");
    assert_eq!(client.call("HEAD", "/v1/watch", "").await.status, 200);
}

#[tokio::test]
async fn a_watch_of_what_is_forgotten_is_refused_with_the_oldest_that_is_not() {
    let server = Server::keeping(History::LatestOnly, Options::default()).await;
    let store = server.cluster.store();
    for number in 0..4 {
        store.put("k", number.to_string()).await.unwrap();
    }
    let forgotten = async {
        while server.call("GET", "/v1/status", "").await.json()["compacted_revision"] != 4 {}
    };
    timeout(PATIENCE, forgotten).await.unwrap();
    let mut client = server.client().await;
    let gone = client.call("GET", "/v1/watch?from=4", "").await;
    gone.is_problem(410, "compacted");
    assert_eq!(gone.json()["details"], json!({"requested": 4, "oldest": 5}));
    let late = [("last-event-id", "2")];
    client.call_with("GET", "/v1/watch", &late, b"").await.is_problem(410, "compacted");
    let (head, _) = client.open("/v1/watch?from=5", &[]).await;
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn a_stream_outlives_every_timeout_while_it_is_read() {
    let options = Options {
        idle_timeout: Duration::from_millis(200),
        stall_timeout: Duration::from_millis(200),
        head_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    let server = Server::with(options).await;
    let (_, mut stream) = server.client().await.open("/v1/watch?progress=1", &[]).await;
    // Two intervals of nothing but progress: ten times the idle timeout.
    for _ in 0..2 {
        assert_eq!(stream.event().await.unwrap().0, "progress");
    }
    server.cluster.store().put("a", "1").await.unwrap();
    changes_up_to(&mut stream, 1).await;
}

#[tokio::test]
async fn a_shutdown_ends_a_stream_with_an_error_that_invites_to_come_again() {
    let server = Server::start().await;
    let (_, mut events) = server.client().await.open("/v1/watch", &[]).await;
    let (_, mut lines) = server.client().await.open("/v1/watch", &LINES).await;
    let begun = std::time::Instant::now();
    let stopped = server.stop();
    let (name, id, problem) = events.event().await.unwrap();
    assert_eq!((name.as_str(), id), ("error", None));
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("not_ready"), &json!(true)));
    assert_eq!(lines.document().await.unwrap(), json!({ "type": "error", "problem": problem }));
    assert!(events.event().await.is_none() && lines.document().await.is_none());
    let cut_off = timeout(PATIENCE, stopped).await.unwrap().unwrap();
    assert_eq!(cut_off, 0);
    assert!(begun.elapsed() < Options::default().shutdown_grace, "it does not wait for the grace");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_and_holds_nobody_up() {
    let options = Options { stall_timeout: Duration::from_millis(500), ..Options::default() };
    let server = Server::with(options).await;
    let store = server.cluster.store();
    let (_, mut stalled) = server.client().await.open("/v1/watch", &[]).await;
    let (_, mut reader) = server.client().await.open("/v1/watch", &[]).await;
    let mut onlooker = server.client().await;
    let value = vec![b'v'; Limits::default().value_bytes_max];
    let mut stored = 0;
    // Until the buffers of its socket are full, and it has taken nothing for long enough.
    timeout(PATIENCE, async {
        loop {
            store.put("k", value.clone()).await.unwrap();
            stored += 1;
            let read = changes_up_to(&mut reader, stored).await;
            assert_eq!(read.len(), 1, "the other one is told as if it were alone");
            let metrics = onlooker.call("GET", "/metrics", "").await;
            if metrics.text().contains("\naxon_http_connections 2\n") {
                break;
            }
        }
    })
    .await
    .expect("it is cut off");
    let rest = timeout(PATIENCE, stalled.broken_off()).await.expect("its connection is closed");
    assert!(rest < stored as usize * value.len(), "{rest} bytes of {stored} values");
}
