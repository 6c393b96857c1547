//! The ring: what a reader gets, whatever it asks for, adds up to what there is.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::manifest::Manifest;
use crate::report::tests::view;
use crate::wire::{Progress, Severity};
use crate::{health, roster};

fn cluster() -> Cluster {
    let manifest = Manifest::new(9000, 1).unwrap();
    let cluster = health::cluster(&manifest, &BTreeMap::new(), &health::Members::default());
    Cluster { id: "c".to_owned(), ..cluster }
}

fn node(name: &str) -> Node {
    let manifest = Manifest::new(9000, 1).unwrap();
    let views = BTreeMap::from([("node1".to_owned(), view("node1", 1, "leader", 4))]);
    let node = roster::nodes(&manifest, &views, &BTreeMap::new()).remove(0);
    Node { id: name.to_owned(), ..node }
}

fn event(id: u64) -> Event {
    let (severity, kind, actor) = (Severity::Info, "started".to_owned(), "launcher".to_owned());
    Event {
        id,
        t: 1,
        severity,
        kind,
        node: None,
        term: None,
        text: String::new(),
        actor,
        exit: None,
    }
}

fn messages(ring: &Ring, after: u64) -> Vec<(u64, &'static str, Value)> {
    let Following::Messages(messages) = ring.following(after) else { panic!("{after} is unknown") };
    let read = |m: &Arc<Message>| (m.seq, m.event, serde_json::from_str(&m.data).unwrap());
    messages.iter().map(read).collect()
}

#[test]
fn a_snapshot_and_what_follows_it_add_up() {
    let ring = Ring::default();
    assert!(ring.snapshot().is_none());
    let now = Instant::now();
    ring.look(now, cluster(), vec![node("node1"), node("node2")]);
    ring.event(event(7));
    let snapshot = ring.snapshot().unwrap();
    assert_eq!((snapshot.seq, snapshot.nodes.len(), snapshot.events.len()), (4, 2, 1));
    assert!(messages(&ring, snapshot.seq).is_empty());

    ring.event(event(7));
    ring.look(now, cluster(), vec![Node { ready: false, term: Some(5), ..node("node1") }]);
    let got = messages(&ring, snapshot.seq);
    assert_eq!(got[0], (5, "node", json!({"id": "node2", "gone": true})));
    assert_eq!(got[1], (6, "node", json!({"id": "node1", "ready": false, "term": 5})));
    assert_eq!(got.len(), 2, "an event is told once");
    assert_eq!(ring.snapshot().unwrap().nodes.len(), 1);
}

#[test]
fn figures_wait_and_what_people_act_on_does_not() {
    let ring = Ring::default();
    let now = Instant::now();
    let show = |after: u64, node: Node, cluster: Cluster| {
        ring.look(now + Duration::from_millis(after), cluster, vec![node]);
        let seq = ring.snapshot().unwrap().seq;
        messages(&ring, 2)
            .into_iter()
            .take((seq - 2) as usize)
            .map(|(_, event, _)| event)
            .collect::<Vec<_>>()
    };
    let with_lag = |lag| Node { lag: Some(lag), ..node("node1") };
    let committed = |index| Cluster { committed: Some(index), ..cluster() };
    assert!(show(0, with_lag(1), committed(1)).is_empty());
    assert!(show(100, with_lag(2), committed(2)).is_empty());
    assert_eq!(show(500, with_lag(2), committed(1)), ["node"]);
    assert_eq!(show(600, with_lag(3), committed(3)), ["node", "cluster"]);
    let crashed = Node { state: crate::wire::State::Crashed, ..with_lag(3) };
    let lost = Cluster { health: Health::NoLeader, ..committed(3) };
    assert_eq!(show(610, crashed, lost), ["node", "cluster", "cluster", "node"]);
}

#[test]
fn an_operation_that_goes_on_is_told_four_times_a_second_and_its_end_at_once() {
    let ring = Ring::default();
    let now = Instant::now();
    let at = |millis| now + Duration::from_millis(millis);
    let operation = |id, ended: Option<u64>| Operation {
        id,
        kind: "stop".into(),
        node: None,
        actor: "api".into(),
        state: if ended == Some(9) { Progress::Done } else { Progress::Running },
        steps: vec![],
        started: 1,
        ended,
        error: None,
        can_cancel: false,
    };
    ring.operation(at(0), operation(1, None));
    ring.operation(at(10), operation(1, Some(1)));
    ring.operation(at(20), operation(1, Some(2)));
    ring.look(at(100), cluster(), vec![]);
    let told = || {
        messages(&ring, 0)
            .into_iter()
            .filter(|(_, event, _)| *event == "operation")
            .map(|(_, _, o)| o["ended"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(told(), [Value::Null]);
    ring.look(at(250), cluster(), vec![]);
    assert_eq!(told(), [Value::Null, json!(2)], "the latest of those held back");
    ring.operation(at(260), operation(1, Some(3)));
    ring.operation(at(261), operation(1, Some(9)));
    ring.look(at(600), cluster(), vec![]);
    assert_eq!(told(), [Value::Null, json!(2), json!(9)], "and nothing after its end");
    ring.operation(at(700), operation(2, None));
    let ids: Vec<u64> = ring.snapshot().unwrap().operations.iter().map(|o| o.id).collect();
    assert_eq!(ids, [2, 1]);
}

#[test]
fn what_fell_out_of_the_ring_or_was_never_in_it_is_unknown() {
    let ring = Ring::default();
    ring.look(Instant::now(), cluster(), vec![]);
    for id in 1..=MESSAGES_MAX as u64 {
        ring.event(event(id));
    }
    let last = MESSAGES_MAX as u64 + 1;
    assert!(matches!(ring.following(0), Following::Unknown), "fell out");
    assert!(matches!(ring.following(last + 1), Following::Unknown), "of another launcher");
    let mut seen = Vec::new();
    while let Some(next) = messages(&ring, seen.last().copied().unwrap_or(1)).first() {
        let after = next.0 - 1;
        seen.extend(messages(&ring, after).into_iter().map(|(seq, _, _)| seq));
    }
    assert_eq!(seen, (2..=last).collect::<Vec<_>>(), "every message once, in order");
    assert_eq!(ring.snapshot().unwrap().events.len(), EVENTS_MAX);
}

#[test]
fn large_messages_push_out_earlier_ones() {
    let ring = Ring::default();
    let large = "x".repeat(BYTES_MAX / 4);
    for id in 1..=6 {
        ring.event(Event { text: large.clone(), ..event(id) });
    }
    assert!(matches!(ring.following(1), Following::Unknown));
    assert_eq!(messages(&ring, 3).len(), 3);
}

#[tokio::test]
async fn nothing_follows_good_bye() {
    let ring = Ring::default();
    ring.look(Instant::now(), cluster(), vec![]);
    let waiting = ring.until_after(1);
    ring.close("stopping", Duration::from_secs(1));
    waiting.await;
    ring.event(event(1));
    let bye = json!({"reason": "stopping", "retry_ms": 1000});
    assert_eq!(messages(&ring, 1), [(2, "bye", bye)]);
    assert!(ring.is_closed());
}
