//! Brings the nodes' own events into the launcher's log, each thing once.
//!
//! Every node keeps a list of what happened to it. Once a second each node that answers is asked for
//! what is new there; three nodes that all saw the same election have told one event. Invariants:
//!
//! * an election is told once a term; that a member is gone or back, or the quorum, once within
//!   [`SAME_WITHIN`], whoever says it first;
//! * a list is read from where it was left, over restarts of the launcher too; a node that was
//!   restarted has a new list, which is read from its beginning;
//! * a node that has no such list, being older, is no fault; then the launcher tells of elections itself.

use crate::events::{EventLog, NewEvent, Source};
use crate::node::Node;
use crate::probe::{NodeClient, PROBE_TIMEOUT};
use crate::supervisor::Supervisor;
use crate::wire::{Event, Severity};
use bytes::Bytes;
use futures_util::future::join_all;
use hyper::Method;
use serde::Deserialize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Time between two questions to a node.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The same thing, said by another within this time, is the same thing.
pub const SAME_WITHIN: Duration = Duration::from_secs(10);

/// What a node may tell of, and how bad it is.
const KINDS: [(&str, Severity); 21] = [
    ("election_started", Severity::Info),
    (LEADER_ELECTED, Severity::Info),
    ("leadership_lost", Severity::Warning),
    ("leadership_handed_over", Severity::Info),
    (QUORUM_LOST, Severity::Error),
    (QUORUM_BACK, Severity::Info),
    ("node_unreachable", Severity::Warning),
    ("node_back", Severity::Info),
    ("joined", Severity::Info),
    ("promoted", Severity::Info),
    ("removed", Severity::Warning),
    ("moved", Severity::Info),
    ("snapshot_sent", Severity::Info),
    ("snapshot_installed", Severity::Info),
    ("purged", Severity::Info),
    ("disk_low", Severity::Warning),
    ("disk_back", Severity::Info),
    ("disk_slow", Severity::Warning),
    ("scrubbed", Severity::Info),
    ("state_differs", Severity::Error),
    ("quarantined", Severity::Error),
];

/// What a node says that is in no table: a newer one may know more kinds.
const OTHER: &str = "other";

/// A leader was elected.
pub const LEADER_ELECTED: &str = "leader_elected";
/// Too few voters answer to decide anything.
pub const QUORUM_LOST: &str = "quorum_lost";
/// Enough voters answer again.
pub const QUORUM_BACK: &str = "quorum_back";

/// What of its members more than one node sees.
const OF_MEMBERS: [&str; 7] =
    ["node_unreachable", "node_back", "joined", "promoted", "removed", "moved", "state_differs"];

/// What `GET /v1/events` answers.
#[derive(Debug, Deserialize)]
struct List {
    boot: u64,
    events: Vec<Said>,
}

/// An event in a node's own list.
#[derive(Debug, Clone, Deserialize)]
struct Said {
    seq: u64,
    time: u64,
    kind: String,
    text: String,
}

/// Asks all nodes, again and again, until the launcher stops.
pub(crate) async fn run(supervisor: Supervisor) {
    let mut clock = tokio::time::interval(ASK_EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while supervisor.check_open().is_ok() {
        clock.tick().await;
        let nodes: Vec<Node> =
            supervisor.nodes().into_iter().filter(|node| node.view().status().is_some()).collect();
        let client = &supervisor.0.client;
        let events = &supervisor.0.events;
        let asked = nodes.iter().map(|node| async {
            let name = node.name().as_str();
            (name, ask(client, node.place.api_port, events.position(name)).await)
        });
        let mut told = false;
        let mut news: Vec<(Source, Said)> = Vec::new();
        for (name, list) in join_all(asked).await {
            let Some(List { boot, events }) = list else { continue };
            told = true;
            let source = |seq| Source { node: name.to_owned(), boot, seq };
            news.extend(events.into_iter().map(|said| (source(said.seq), said)));
        }
        supervisor.0.live.nodes_tell.store(told, Ordering::Relaxed);
        news.sort_by_key(|(source, said)| (said.time, source.seq));
        for (source, said) in news {
            let (event, t) = (event(&source.node, &said), said.time);
            if names_nobody(&said) || is_told(&event, t, events) {
                events.pass_over(source);
            } else {
                events.record_said(event, t, source);
            }
        }
    }
}

/// What is new in the list of the node at `port`; `None` when it has none, or does not answer.
async fn ask(client: &NodeClient, port: u16, position: Option<(u64, u64)>) -> Option<List> {
    let (boot, after) = position.unwrap_or_default();
    let list = list(client, port, after).await?;
    if list.boot == boot || after == 0 {
        return Some(list);
    }
    self::list(client, port, 0).await
}

async fn list(client: &NodeClient, port: u16, after: u64) -> Option<List> {
    let path = format!("/v1/events?after={after}");
    let answer = client.send(Method::GET, port, &path, Bytes::new(), PROBE_TIMEOUT).await.ok()?;
    serde_json::from_slice(&answer.body).ok().filter(|_| answer.status.is_success())
}

/// Whether a node that has just started tells who leads before it knows that one's name. Whoever leads
/// tells it as well, and knows.
fn names_nobody(said: &Said) -> bool {
    said.kind == LEADER_ELECTED && said.text.starts_with("id ")
}

/// What `node` said, as the launcher tells it.
fn event(node: &str, said: &Said) -> NewEvent {
    let known = KINDS.iter().find(|(kind, _)| *kind == said.kind);
    let text = said.text.replace("this replica", node);
    let (kind, severity, text) = match known {
        Some((kind, severity)) => (*kind, *severity, text),
        None => (OTHER, Severity::Info, format!("{}: {text}", said.kind)),
    };
    // A member is named in front, with its id.
    let subject = said.text.split_once(" (id ").map(|(name, _)| name).filter(|n| !n.contains(' '));
    let of_quorum = kind == QUORUM_LOST || kind == QUORUM_BACK;
    NewEvent {
        severity,
        kind,
        node: (!of_quorum).then(|| subject.unwrap_or(node).to_owned()),
        term: term(&said.text),
        text,
        actor: node.to_owned(),
        exit: None,
    }
}

/// The number behind the word "term".
fn term(text: &str) -> Option<u64> {
    let (_, behind) = text.rsplit_once("term ")?;
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Reports whether what happened at `t` stands in the log already, in the words of another.
pub(crate) fn is_told(new: &NewEvent, t: u64, log: &EventLog) -> bool {
    let lately = |event: &Event| u128::from(event.t.abs_diff(t)) <= SAME_WITHIN.as_millis();
    let by_another = |event: &Event| event.node == new.node && event.actor != new.actor;
    log.holds(|event| {
        event.kind == new.kind
            && match new.kind {
                LEADER_ELECTED => event.term.is_some() && event.term == new.term,
                QUORUM_LOST | QUORUM_BACK => lately(event),
                kind if OF_MEMBERS.contains(&kind) => lately(event) && by_another(event),
                _ => false,
            }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    /// Lets nodes say things, and returns who told what in the end.
    fn told(said: &[(&str, &str, &str, u64)]) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::open(directory.path()).unwrap();
        for (seq, (node, kind, text, time)) in (1..).zip(said) {
            let said =
                Said { seq, time: *time, kind: (*kind).to_owned(), text: (*text).to_owned() };
            let event = event(node, &said);
            if !names_nobody(&said) && !is_told(&event, said.time, &log) {
                let source = Source { node: (*node).to_owned(), boot: 1, seq };
                log.record_said(event, said.time, source);
            }
        }
        log.latest(0, 99).into_iter().map(|event| (event.actor, event.text)).collect()
    }

    fn pair(actor: &str, text: &str) -> (String, String) {
        (actor.to_owned(), text.to_owned())
    }

    #[test]
    fn an_election_is_told_once_a_term_whoever_saw_it_when() {
        let a = "node1 (id 1) leads in term 4";
        let b = "node2 (id 2) leads in term 5";
        let got = told(&[
            ("node1", "leader_elected", a, 0),
            ("node2", "leader_elected", a, 50),
            ("node2", "leader_elected", b, 60),
            // It was cut off meanwhile.
            ("node3", "leader_elected", a, 900_000),
            ("node3", "leader_elected", b, 900_000),
        ]);
        assert_eq!(got, [pair("node1", a), pair("node2", b)]);
    }

    #[test]
    fn an_election_is_told_by_whoever_knows_the_leaders_name() {
        let named = "node2 (id 2) leads in term 2";
        let got = told(&[
            ("node1", "leader_elected", "id 2 leads in term 2", 0),
            ("node2", "leader_elected", named, 20),
        ]);
        assert_eq!(got, [pair("node2", named)]);
    }

    #[test]
    fn a_member_is_gone_once_until_it_is_gone_again() {
        let gone = "node3 (id 3) does not answer";
        let got = told(&[
            ("node1", "node_unreachable", gone, 1_000),
            ("node2", "node_unreachable", gone, 1_300),
            ("node2", "node_unreachable", "node1 (id 1) does not answer", 1_400),
            ("node1", "node_back", "node3 (id 3) answers again", 2_000),
            // Who told it the first time may tell it again at once.
            ("node1", "node_unreachable", gone, 3_000),
            ("node2", "node_unreachable", gone, 60_000),
        ]);
        let actors: Vec<&str> = got.iter().map(|(actor, _)| actor.as_str()).collect();
        assert_eq!(actors, ["node1", "node2", "node1", "node1", "node2"]);
    }

    #[test]
    fn a_state_that_differs_is_told_once_and_the_quarantine_by_whom_it_concerns() {
        let differs = "node3 (id 3) holds another state than a majority as of entry 9: it halts";
        let got = told(&[
            ("node1", "state_differs", differs, 1_000),
            ("node2", "state_differs", differs, 1_100),
            ("node3", "state_differs", differs, 1_100),
            ("node3", "quarantined", "this replica halts: it is quarantined", 1_200),
            ("node3", "quarantined", "node3 was quarantined as id 3, and is back as id 4", 3_000),
        ]);
        let back = "node3 was quarantined as id 3, and is back as id 4";
        let halts = pair("node3", "node3 halts: it is quarantined");
        assert_eq!(got, [pair("node1", differs), halts, pair("node3", back)]);
    }

    #[test]
    fn a_lost_quorum_is_told_once_and_what_a_node_does_each_time() {
        let got = told(&[
            ("node1", "quorum_lost", "1 of 3 voters can be reached, 2 are needed", 1_000),
            ("node2", "quorum_lost", "1 of 3 voters can be reached, 2 are needed", 2_000),
            ("node1", "election_started", "this replica asks for votes in term 7", 2_000),
            ("node2", "election_started", "this replica asks for votes in term 7", 2_000),
            ("node2", "warp_drive", "this replica is new", 2_000),
        ]);
        let asks = |node| pair(node, &format!("{node} asks for votes in term 7"));
        assert_eq!(got[0].0, "node1");
        assert_eq!(&got[1..3], [asks("node1"), asks("node2")]);
        assert_eq!(got[3], pair("node2", "warp_drive: node2 is new"));
        assert_eq!(got.len(), 4);
    }

    #[test]
    fn an_event_is_about_whom_it_names_and_in_the_term_it_names() {
        let said = |kind: &str, text: &str| {
            let said = Said { seq: 1, time: 0, kind: kind.into(), text: text.into() };
            let event = event("node1", &said);
            (event.node, event.term, event.severity)
        };
        let node = |name: &str| Some(name.to_owned());
        let (info, warning, error) = (Severity::Info, Severity::Warning, Severity::Error);
        let elected = said("leader_elected", "node2 (id 2) leads in term 14");
        assert_eq!(elected, (node("node2"), Some(14), info));
        let lost = said("leadership_lost", "this replica leads no longer; it led in term 3");
        assert_eq!(lost, (node("node1"), Some(3), warning));
        let quorum = said("quorum_lost", "1 of 3 voters can be reached, 2 are needed");
        assert_eq!(quorum, (None, None, error));
        assert_eq!(said("purged", "the log begins after entry 9"), (node("node1"), None, info));
    }

    #[tokio::test]
    async fn a_list_is_read_on_and_the_list_of_a_restarted_node_from_its_beginning() {
        use axum::{Router, extract::RawQuery, routing::get};
        let answer = |RawQuery(query): RawQuery| async move {
            let after: u64 = query.unwrap().strip_prefix("after=").unwrap().parse().unwrap();
            let events: Vec<_> = (after + 1..=3)
                .map(|seq| json!({"seq": seq, "time": 1, "kind": "joined", "text": "x"}))
                .collect();
            json!({"boot": 7, "events": events}).to_string()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().route("/v1/events", get(answer));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = NodeClient::new();
        for (position, wanted) in [
            (None, vec![1, 2, 3]),
            (Some((7, 2)), vec![3]),
            (Some((7, 3)), vec![]),
            (Some((6, 2)), vec![1, 2, 3]),
            (Some((6, 900)), vec![1, 2, 3]),
        ] {
            let list = ask(&client, port, position).await.unwrap();
            let got: Vec<u64> = list.events.iter().map(|said| said.seq).collect();
            assert_eq!((list.boot, got), (7, wanted), "{position:?}");
        }
    }
}
