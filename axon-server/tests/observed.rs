//! What operators look at: the metrics page, what a node says of the others, one request in two logs.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::child::{Running, ended, within};
use common::{PATIENCE, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A metrics page, taken apart: each family with its type, each series with its value.
struct Page {
    types: BTreeMap<String, String>,
    series: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Page {
    /// Takes a page apart; fails the test where it is not what Prometheus' text format wants.
    #[track_caller]
    fn parse(text: &str) -> Self {
        let mut page = Self { types: BTreeMap::new(), series: Vec::new() };
        let mut helped = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty(), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(helped.as_deref(), Some(name), "the help comes first");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(page.types.insert(name.into(), kind.into()), None, "{name} comes twice");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let family = page.family(name);
                assert_eq!(
                    helped.as_deref(),
                    Some(family.as_str()),
                    "{line} stands with its family"
                );
                page.series.push((name.into(), parse_labels(labels), value.parse().expect(line)));
            }
        }
        page
    }

    /// The family that a series belongs to.
    fn family(&self, name: &str) -> String {
        let parts = ["_bucket", "_sum", "_count"].into_iter();
        let mut bases = parts.filter_map(|part| name.strip_suffix(part));
        let histogram = |base: &&str| self.types.get(*base).is_some_and(|kind| kind == "histogram");
        bases.find(histogram).unwrap_or(name).to_owned()
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| found.get(*key).is_some_and(|has| has == value))
        };
        self.series.iter().find(|(n, found, _)| n == name && fits(found)).map(|(.., value)| *value)
    }

    /// The rules of naming, and those that every histogram keeps.
    #[track_caller]
    fn check(&self) {
        for (name, kind) in &self.types {
            assert!(name.starts_with("axon_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            for unit in ["_ms", "_micros", "_millis", "_kb", "_kib", "_mib", "_percent"] {
                assert!(!name.contains(unit), "{name}: seconds and bytes are the units");
            }
            if name.contains("duration") {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            if kind == "histogram" {
                self.check_histogram(name);
            }
        }
        for (name, ..) in &self.series {
            assert!(self.types.contains_key(&self.family(name)), "{name} has no type");
        }
    }

    #[track_caller]
    fn check_histogram(&self, name: &str) {
        let bucket = format!("{name}_bucket");
        let mut by_labels: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (_, labels, count) in self.series.iter().filter(|(found, ..)| *found == bucket) {
            let mut rest = labels.clone();
            let bound = rest.remove("le").expect("a bucket has a bound");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            by_labels.entry(format!("{rest:?}")).or_default().push((bound, *count));
        }
        for (labels, buckets) in by_labels {
            let rises = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
            assert!(buckets.windows(2).all(rises), "{name}{labels}: {buckets:?}");
            let (last, all) = *buckets.last().unwrap();
            assert!(last.is_infinite(), "{name}{labels}");
            let figure = |part: &str| {
                let wanted = format!("{name}{part}");
                let mut found = self.series.iter();
                let found = found.find(|(n, l, _)| *n == wanted && format!("{l:?}") == labels);
                found.unwrap_or_else(|| panic!("{wanted}{labels} is missing")).2
            };
            assert!((figure("_count") - all).abs() < f64::EPSILON, "{name}{labels}");
            assert!(figure("_sum") >= 0.0);
        }
    }
}

fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let text = text.strip_suffix('}').expect("labels are closed");
    let pairs = text.split(r#"","#).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once(r#"=""#).unwrap();
        (key.to_owned(), value.trim_end_matches('"').to_owned())
    };
    pairs.map(pair).collect()
}

#[tokio::test]
async fn the_metrics_page_keeps_the_rules_of_its_format() {
    let server = Server::start().await;
    for key in 0..20 {
        let path = format!("/kv/k{key}");
        assert_eq!(server.call("PUT", &path, r#"{"value":"v"}"#).await.status, 200);
    }
    server.call("GET", "/v1/kv?prefix=k", "").await;
    server.cluster.checkpoint().await.unwrap();
    let text = server.call("GET", "/metrics", "").await.text().to_owned();
    let page = Page::parse(&text);
    page.check();
    let at_least = |name: &str, least: f64| {
        let value = page.value(name, &[]).unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
        assert!(value >= least, "{name} {value}");
    };
    at_least("axon_log_syncs_total", 1.0);
    at_least("axon_log_sync_duration_seconds_count", 1.0);
    at_least("axon_log_group_entries_sum", 20.0);
    at_least("axon_checkpoints_total", 1.0);
    at_least("axon_checkpoint_duration_seconds_sum", 1e-6);
    at_least("axon_overlay_bytes", 0.0);
    at_least("axon_raft_term", 1.0);
    at_least("axon_raft_elections_total", 0.0);
    at_least("axon_raft_leader_changes_total", 0.0);
    at_least("axon_snapshots_sent_bytes_total", 0.0);
    at_least("axon_snapshots_installed_duration_seconds_count", 0.0);
    at_least("axon_quorum_alive", 1.0);
    at_least("axon_quorum_needed", 1.0);
    at_least("axon_read_index_rounds_total", 0.0);
    at_least("axon_proposals_total", 20.0);
    at_least("axon_proposals_forwarded_total", 0.0);
    at_least("axon_watchers", 0.0);
    at_least("process_cpu_seconds_total", 0.0);
    at_least("process_resident_memory_bytes", 1e6);
    at_least("process_open_fds", 3.0);
    // Started after this was written, and not in the future.
    at_least("process_start_time_seconds", 1.7e9);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(page.value("process_start_time_seconds", &[]).unwrap() < now + 2.0);
}

fn start(directory: &Path, name: &str, extra: &[&str]) -> Running {
    let data = directory.join(name);
    let mut flags = vec!["--name", name, "--data-dir", data.to_str().unwrap()];
    flags.extend(["--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"]);
    flags.extend(["--log", "info,axon_core=debug", "--log-format", "json"]);
    flags.extend(extra);
    Running::start(&flags)
}

/// Two nodes: the first leads, the second follows.
fn pair(directory: &Path) -> (Running, Running) {
    let data = directory.join("n1");
    let (code, ..) = ended(&["init", "--name", "n1", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(code, 0);
    let first = start(directory, "n1", &[]);
    let address = within(PATIENCE, "the first node's address", || {
        let members = first.look("/v1/members")?;
        Some(members["members"][0]["peer_address"].as_str()?.to_owned())
    });
    let second = start(directory, "n2", &["--join", &address]);
    within(PATIENCE, "both vote", || {
        let status = first.look("/v1/status")?;
        (status["voters"].as_array()?.len() == 2 && status["joint"] == false).then_some(())
    });
    (first, second)
}

#[test]
fn one_request_is_found_in_the_logs_of_both_nodes_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = pair(directory.path());
    let (leads, follows) = within(PATIENCE, "a leader", || {
        let leader = first.look("/v1/status")?["leader"]["name"].as_str()?.to_owned();
        Some(if leader == "n1" { (&first, &second) } else { (&second, &first) })
    });
    within(PATIENCE, "a write through the follower", || {
        let named = "x-request-id: order-4711\r\n";
        let body = r#"{"value":"v"}"#;
        let (status, _) = follows.ask_with("PUT", "/kv/k", named, body, PATIENCE)?;
        (status == 200).then_some(())
    });
    assert_eq!(follows.ask("PUT", "/kv/k", r#"{"value":"w"}"#, PATIENCE).unwrap().0, 200);
    let line = |node: &Running, message: &str| -> Value {
        let log = node.logged(message);
        let lines = log.iter().filter(|line| line.contains(message));
        let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        let ours: Vec<_> =
            lines.iter().filter(|line| line["fields"]["request_id"] == "order-4711").collect();
        // A session is opened under the name of the write that needs it.
        assert!((1..=2).contains(&ours.len()), "{lines:#?}");
        assert_eq!(ours.len(), lines.len(), "a write without a name is not told of: {lines:#?}");
        ours[0]["fields"].clone()
    };
    let (sent, decided) = (
        line(follows, r#""a write is decided""#),
        line(leads, r#""a forwarded write is decided""#),
    );
    assert_eq!(decided["from"], sent["node"]);
    assert_ne!(decided["node"], sent["node"]);
}

#[test]
fn a_leader_tells_how_far_its_followers_are_and_a_follower_whom_it_hears() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = pair(directory.path());
    first.call("PUT", "/kv/k", r#"{"value":"v"}"#);
    let (leads, follows) = within(PATIENCE, "a follower that has everything", || {
        let (one, two) = (first.look("/v1/status")?, second.look("/v1/status")?);
        let (leads, follows) = if one["raft_state"] == "leader" { (one, two) } else { (two, one) };
        let peer = &leads["peers"][0];
        let caught_up = peer["lag"] == 0 && peer["alive"] == true && follows["vote"].is_u64();
        (caught_up && leads["raft_state"] == "leader").then_some((leads, follows))
    });
    assert_eq!(leads["peers"][0]["id"], follows["node_id"]);
    assert_eq!(leads["peers"][0]["matched"], leads["last_log_index"]);
    assert!(leads["quorum_ack_age_ms"].as_u64().unwrap() < 20_000, "{leads}");
    assert_eq!(leads["vote"], leads["node_id"]);
    let peer = &follows["peers"][0];
    assert_eq!(
        (&peer["id"], &peer["matched"], &peer["lag"]),
        (&leads["node_id"], &Value::Null, &Value::Null)
    );
    assert!(
        peer["last_contact_ms"].is_u64() && follows["quorum_ack_age_ms"].is_null(),
        "{follows}"
    );
    for status in [&leads, &follows] {
        let quorum = &status["quorum"];
        assert_eq!((&quorum["needed"], &quorum["voters"]), (&2.into(), &2.into()), "{status}");
        assert!(status["sync_p99_ms"].is_f64() && status["purged_index"].is_u64(), "{status}");
    }
    let node = if leads["name"] == "n1" { &first } else { &second };
    let id = follows["node_id"].to_string();
    let page = Page::parse(&node.ask("GET", "/metrics", "", PATIENCE).unwrap().1);
    page.check();
    assert!(page.value("axon_replication_lag_entries", &[("peer", &id)]).is_some());
    assert!(page.value("axon_raft_elections_total", &[]).unwrap() >= 1.0, "it was elected");
}

#[test]
fn the_last_line_of_a_json_log_is_json_too() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("n1");
    let data = data.to_str().unwrap();
    for filter in ["info", "off"] {
        let (code, _, err) = ended(&[
            "--name",
            "n1",
            "--data-dir",
            data,
            "--listen",
            "127.0.0.1:0",
            "--log",
            filter,
            "--log-format",
            "json",
        ]);
        assert_eq!(code, 1, "{err}");
        let last: Value = serde_json::from_str(err.lines().last().unwrap()).unwrap();
        assert_eq!((&last["level"], &last["fields"]["exit_code"]), (&"ERROR".into(), &1.into()));
        assert!(last["fields"]["message"].as_str().unwrap().contains("axon-server init"), "{last}");
        assert!(last["timestamp"].as_str().unwrap().contains('T'), "{last}");
    }
}
