//! What people and programs are shown of a cluster as it changes, with real servers.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/feed.rs"]
mod feed;
mod support;

use axum::body::Body;
use feed::{Feed, Message, ask, get};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};
use support::{Launcher, Site};

const STREAM: &str = "/api/v1/stream";

async fn complete(launcher: &Launcher<'_>) {
    for name in ["node1", "node2", "node3"] {
        let votes = |node: &Value| node["status"] == "online" && node["membership"] == "voter";
        launcher.until_node(name, |node| votes(node) && node["ready"] == true).await;
    }
}

fn health(message: &Message) -> Option<&str> {
    (message.event == "cluster").then(|| message.data["health"].as_str())?
}

fn number(message: &Message) -> u64 {
    message.id.rsplit('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn whoever_watches_sees_a_node_die_and_come_back_and_can_go_on_where_he_was() {
    let site = Site::new();
    let launcher = site.launch().await;
    complete(&launcher).await;
    let mut feed = Feed::open(launcher.port, STREAM, None).await;
    let snapshot = feed.next().await.unwrap();
    assert_eq!(snapshot.event, "snapshot");
    assert_eq!(snapshot.data["cluster"]["health"], "healthy", "{}", snapshot.data["cluster"]);
    let leader = snapshot.data["cluster"]["leader"].as_str().unwrap();
    let nodes = snapshot.data["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    let victim = nodes.iter().find(|node| node["id"] != leader).unwrap();
    let id = victim["id"].as_str().unwrap();
    let pid = Pid::from_raw(i32::try_from(victim["pid"].as_i64().unwrap()).unwrap()).unwrap();
    let begun = Instant::now();
    kill_process(pid, Signal::KILL).unwrap();

    let about = |m: &Message, field: &str| m.data[field] == id;
    let crashed =
        |m: &Message| m.event == "event" && m.data["kind"] == "crashed" && about(m, "node");
    let down = |m: &Message| m.event == "node" && m.data["state"] == "crashed" && about(m, "id");
    let degraded = |m: &Message| health(m) == Some("degraded");
    let mut seen = Vec::new();
    while !(seen.iter().any(crashed) && seen.iter().any(down) && seen.iter().any(degraded)) {
        seen.push(feed.next().await.unwrap());
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let cluster = seen.iter().find(|m| degraded(m)).unwrap();
    assert_eq!(
        cluster.data["sentence"],
        "Degraded. 2 of 3 voters online; writes continue and the cluster survives no further failure."
    );
    let event = seen.iter().find(|m| crashed(m)).unwrap();
    assert_eq!(event.data["exit"]["text"], "was killed (signal 9)");
    let patch = seen.iter().find(|m| down(m)).unwrap();
    assert!(patch.data.get("address").is_none(), "only what changed: {}", patch.data);
    seen.extend(feed.until("it is back", |m| health(m) == Some("healthy")).await);
    let ticks = feed.until("a second passes", |m| m.event == "tick").await;
    assert!(ticks[ticks.len() - 1].data["nodes"][leader]["rss"].as_u64().unwrap() > 1_000_000);
    seen.extend(ticks);

    // From any message on, exactly what followed it.
    let middle = seen.len() / 2;
    let mut again = Feed::open(launcher.port, STREAM, Some(&seen[middle].id)).await;
    for missed in &seen[middle + 1..] {
        assert_eq!(again.next().await.as_ref(), Some(missed));
    }
    let numbers: Vec<u64> = seen.iter().map(number).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!(numbers[0], snapshot.data["seq"].as_u64().unwrap() + 1);
    let garbled = Feed::open(launcher.port, STREAM, Some("no-id")).await.next().await.unwrap();
    assert_eq!(garbled.event, "snapshot");
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn events_outlive_the_launcher_and_a_stream_begins_anew() {
    let site = Site::new();
    let launcher = site.launch().await;
    complete(&launcher).await;
    assert_eq!(launcher.order("stop/node3", "").await.0, 200);
    let mut feed = Feed::open(launcher.port, STREAM, None).await;
    let first = feed.next().await.unwrap();
    let stopped = "/api/v1/events?kind=stopped&node=node3&limit=1&until=";
    let (status, page) = get(launcher.port, stopped).await;
    assert_eq!((status, &page["events"][0]["actor"]), (200, &json!("launcher")), "{page}");
    let before = page["events"][0].clone();
    let (_, page) = get(launcher.port, "/api/v1/events?kind=leader_elected").await;
    let elections = page["events"].as_array().unwrap();
    let mut terms: Vec<u64> = elections.iter().map(|e| e["term"].as_u64().unwrap()).collect();
    let count = terms.len();
    terms.dedup();
    assert!(count > 0 && terms.len() == count, "an election is told once: {page}");
    assert_eq!(get(launcher.port, "/api/v1/events?severity=loud").await.0, 400);
    assert_eq!(launcher.stop().await.code(), Some(0));
    let rest = feed.until("good-bye", |m| m.event == "bye").await;
    assert_eq!(rest[rest.len() - 1].data["retry_ms"], 1000);
    assert_eq!(feed.next().await, None, "nothing follows good-bye");
    assert!(rest.iter().any(|m| m.event == "node" && m.data["state"] == "stopped"), "{rest:#?}");

    let launcher = site.launch().await;
    let until = format!("{stopped}{}", before["t"]);
    assert_eq!(get(launcher.port, &until).await.1["events"][0], before, "kept");
    let lines = [("accept", "application/x-ndjson")];
    let (_, _, export) = ask(launcher.port, "GET", "/api/v1/events", &lines, Body::empty()).await;
    let lines = export.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let ids: Vec<u64> = events.map(|event| event["id"].as_u64().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1) && ids.last() == Some(&1), "{ids:?}");
    let mut again = Feed::open(launcher.port, STREAM, Some(&rest[0].id)).await;
    let snapshot = again.next().await.unwrap();
    assert_eq!(snapshot.event, "snapshot");
    assert_ne!(snapshot.data["epoch"], first.data["epoch"]);
    let newest = snapshot.data["events"].as_array().unwrap();
    assert!(newest.iter().any(|event| event["id"] == before["id"]), "with what happened before");
    assert_eq!(launcher.stop().await.code(), Some(0));
}

fn texts(message: &Message) -> Vec<String> {
    let lines = message.data["lines"].as_array().into_iter().flatten();
    lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_log_is_followed_over_its_rotation() {
    let site = Site::new();
    let launcher = site.launch().await;
    complete(&launcher).await;
    let port = launcher.port;
    let path = site.data().join("logs/node2.log");
    let mut log = std::fs::File::options().append(true).open(&path).unwrap();
    let mut write = |text: String| log.write_all(text.as_bytes()).unwrap();
    let line = |level: &str, text: &str| format!("2026-01-02T03:04:05.678901Z {level} {text}\n");
    write(line("INFO", "marker one"));
    write(line("WARN", "marker two"));
    let url = "/api/v1/nodes/node2/logs";
    let asked = format!("{url}?q=MARKER&lines=5");
    let (status, _, text) = ask(port, "GET", &asked, &[], Body::empty()).await;
    let both = line("INFO", "marker one") + &line("WARN", "marker two");
    assert_eq!((status, std::str::from_utf8(&text).unwrap()), (200, both.as_str()));
    let lines = [("accept", "application/x-ndjson")];
    let asked = format!("{url}?level=warn&q=marker");
    let (_, _, text) = ask(port, "GET", &asked, &lines, Body::empty()).await;
    let found: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(found["level"], "warn");
    assert_eq!(found["time"], 1_767_323_045_678_u64);

    let follow = format!("{url}?follow=true&lines=1&q=marker");
    let mut feed = Feed::open(port, &follow, None).await;
    assert!(texts(&feed.next().await.unwrap())[0].contains("marker two"));
    write(line("INFO", "marker three"));
    assert!(texts(&feed.next().await.unwrap())[0].contains("marker three"));
    // More than can be sent in time: what is left out is counted.
    let filler = line("INFO", &"x".repeat(400));
    write(filler.repeat((9 << 20) / filler.len()));
    let gap = feed.until("a gap", |m| m.event == "gap").await;
    assert!(gap[gap.len() - 1].data["dropped"].as_u64().unwrap() > 1_000);
    let aside = path.with_extension("log.1");
    site.until("the log is put aside", async || {
        (aside.exists() && path.metadata().unwrap().len() < 1 << 20).then_some(())
    })
    .await;
    write(line("INFO", "marker four"));
    let after = feed.until("the new file is read", |m| m.event == "lines").await.pop().unwrap();
    assert!(texts(&after)[0].contains("marker four"));
    let mut resumed = Feed::open(port, &follow, Some(&after.id)).await;
    write(line("INFO", "marker five"));
    assert!(texts(&resumed.next().await.unwrap())[0].contains("marker five"));

    assert_eq!(get(port, "/api/v1/nodes/nobody/logs").await.0, 404);
    assert_eq!(get(port, &format!("{url}?level=loud")).await.0, 400);
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn the_launcher_hands_requests_for_data_to_the_cluster() {
    let site = Site::new();
    let launcher = site.launch().await;
    complete(&launcher).await;
    let port = launcher.port;
    let value: Vec<u8> = (0..300_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    let pair = "/api/v1/kv/bin%00ary%2F%ff";
    let absent = [("if-none-match", "*"), ("cookie", "secret"), ("x-request-id", "mine")];
    let (status, headers, _) = ask(port, "PUT", pair, &absent, value.clone()).await;
    assert_eq!((status, headers["x-request-id"].to_str().unwrap()), (201, "mine"));
    let etag = headers["etag"].to_str().unwrap().to_owned();
    let (status, _, problem) = ask(port, "PUT", pair, &absent, value.clone()).await;
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    assert_eq!((status, &problem["code"]), (412, &json!("precondition_failed")));
    for node in ["node1", "node2", "node3"] {
        let path = format!("{pair}?node={node}");
        let (status, headers, got) = ask(port, "GET", &path, &[], Body::empty()).await;
        assert_eq!((status, headers["etag"].to_str().unwrap()), (200, etag.as_str()));
        assert!(got == value, "byte-equal through {node}");
    }
    let known = [("if-none-match", etag.as_str())];
    assert_eq!(ask(port, "GET", pair, &known, Body::empty()).await.0, 304);
    let (status, headers, body) = ask(port, "HEAD", pair, &[], Body::empty()).await;
    assert_eq!(
        (status, body.len(), headers["content-length"].as_bytes()),
        (200, 0, &b"300000"[..])
    );

    let mut watch = Feed::open(port, "/api/v1/watch?prefix=w/", None).await;
    for n in 1..=3 {
        assert_eq!(ask(port, "PUT", &format!("/api/v1/kv/w/{n}"), &[], "x").await.0, 201);
    }
    for n in 1..=3 {
        let change = watch.until("a change", |m| m.event == "change").await.pop().unwrap();
        assert_eq!(change.data["changes"][0]["key"], format!("w/{n}"));
    }
    let compare = json!([{"key": "w/1", "target": "value", "op": "=", "value": "x"}]);
    let txn = json!({"compare": compare, "success": [{"delete": {"key": "w/1"}}]}).to_string();
    let kind = [("content-type", "application/json")];
    let (status, _, done) = ask(port, "POST", "/api/v1/txn", &kind, txn).await;
    let done: Value = serde_json::from_slice(&done).unwrap();
    assert_eq!((status, &done["succeeded"]), (200, &json!(true)));
    let (_, page) = get(port, "/api/v1/kv?prefix=w/&keys_only=true").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let (_, history) = get(port, "/api/v1/history/w/1").await;
    assert!(history.to_string().contains("deleted"), "{history}");
    assert_eq!(get(port, "/api/v1/members").await.1["members"].as_array().unwrap().len(), 3);
    assert_eq!(launcher.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_for_a_node_that_is_not_there_or_does_not_answer_is_refused() {
    let site = Site::new();
    let launcher = site.launch().await;
    complete(&launcher).await;
    let port = launcher.port;
    assert_eq!(get(port, "/api/v1/status?node=node2").await.1["name"], "node2");
    assert_eq!(get(port, "/api/v1/status?node=nobody").await.0, 404);
    for bad in ["../x", "%2e%2e", "n%C3%B6de"] {
        assert_eq!(get(port, &format!("/api/v1/status?node={bad}")).await.0, 400);
        let logs = format!("/api/v1/nodes/{}/logs", bad.replace('/', "%2f"));
        assert_eq!(get(port, &logs).await.0, 400);
    }
    assert_eq!(ask(port, "POST", "/api/v1/members", &[], Body::empty()).await.0, 405);
    assert_eq!(launcher.order("stop/node2", "").await.0, 200);
    let (status, problem) = get(port, "/api/v1/kv/w/2?node=node2").await;
    assert_eq!((status, &problem["code"]), (503, &json!("not_ready")));
    assert_eq!(problem["outcome"], "not_applied");
    for name in ["node1", "node3"] {
        assert_eq!(launcher.order(&format!("stop/{name}"), "").await.0, 200);
    }
    let (status, _, problem) = ask(port, "PUT", "/api/v1/kv/w/2", &[], "y").await;
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    assert_eq!((status, &problem["code"]), (503, &json!("not_ready")));
    assert_eq!(problem["retryable"], true);
    site.until("the lost quorum is noted", async || {
        let (_, page) = get(port, "/api/v1/events?kind=quorum_lost").await;
        let found = page["events"].as_array().unwrap().len();
        assert!(found <= 1, "once: {page}");
        (found == 1).then_some(())
    })
    .await;
    assert_eq!(launcher.stop().await.code(), Some(0));
}
