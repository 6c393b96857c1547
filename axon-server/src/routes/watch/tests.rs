//! What is asked, and how what is told is written, without a server.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use axon_core::types::KeyValue;
use bytes::Bytes;
use futures_util::stream;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch::Sender;

fn pair(key: &'static str, value: impl Into<Bytes>, revision: u64) -> KeyValue {
    KeyValue {
        key: Bytes::from(key),
        value: value.into(),
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        version: 1,
    }
}

fn put(key: &'static str, value: impl Into<Bytes>, revision: u64) -> WatchChange {
    WatchChange::Put { pair: pair(key, value, revision), previous: None }
}

#[allow(clippy::unnecessary_wraps, reason = "as a watch yields it")]
fn batch(revision: u64, changes: Vec<WatchChange>) -> Result<WatchEvent, Error> {
    Ok(WatchEvent::Batch { revision: Revision(revision), changes })
}

/// What a client gets of `events`, which end with the replica.
async fn written(form: Form, initial: bool, events: Vec<Result<WatchEvent, Error>>) -> String {
    let draining = Sender::new(false);
    let feed = Feed::new(stream::iter(events), form, initial, draining.subscribe());
    let parts: Vec<_> = feed.into_parts().map(Result::unwrap).collect().await;
    String::from_utf8(parts.concat()).unwrap()
}

fn story() -> Vec<Result<WatchEvent, Error>> {
    let previous = Some(pair("b", "old", 3));
    let gone = WatchChange::Delete { key: Bytes::from("b"), revision: Revision(18), previous };
    vec![
        batch(18, vec![put("a", "1\n", 18), gone]),
        batch(19, vec![put("c", &b"\xff"[..], 19)]),
        Ok(WatchEvent::Progress(Revision(21))),
        Ok(WatchEvent::Resync { from: Revision(22), to: Revision(30) }),
        Err(Error::Halted { cause: "x".into() }),
    ]
}

#[tokio::test]
async fn events_read_as_documented() {
    let fixture = include_str!("../../../tests/fixtures/watch.sse");
    assert_eq!(written(Form::Events, false, story()).await, fixture);
}

#[tokio::test]
async fn lines_read_as_documented() {
    let fixture = include_str!("../../../tests/fixtures/watch.ndjson");
    assert_eq!(written(Form::Lines, false, story()).await, fixture);
}

#[tokio::test]
async fn the_initial_state_has_no_ids_until_its_progress() {
    let events = vec![
        batch(7, vec![put("a", "1", 2)]),
        batch(7, vec![put("b", "2", 7)]),
        Ok(WatchEvent::Progress(Revision(7))),
        batch(8, vec![put("a", "3", 8)]),
    ];
    let text = written(Form::Events, true, events).await;
    let ids: Vec<_> = text
        .split_terminator("\n\n")
        .map(|event| event.lines().find_map(|line| line.strip_prefix("id: ")))
        .collect();
    // The last is the end of the replica: it has none either.
    assert_eq!(ids, [None, None, Some("7"), Some("8"), None]);
}

#[tokio::test]
async fn a_revision_of_any_size_goes_out_in_bounded_parts() {
    const CHANGES: usize = 1000;
    const VALUE_BYTES: usize = 3000;
    let changes = vec![put("k", vec![b'v'; VALUE_BYTES], 5); CHANGES];
    for form in [Form::Events, Form::Lines] {
        // A small event before it moves the seams.
        for before in 0..3 {
            let mut events = vec![batch(4, vec![put("a", vec![b'x'; before], 4)]); before];
            events.push(batch(5, changes.clone()));
            let draining = Sender::new(false);
            let feed = Feed::new(stream::iter(events), form, false, draining.subscribe());
            let parts: Vec<_> = feed.into_parts().map(Result::unwrap).collect().await;
            let change_bytes_max = VALUE_BYTES + 200;
            assert!(parts.iter().all(|part| part.len() < PART_BYTES + change_bytes_max));
            let text = String::from_utf8(parts.concat()).unwrap();
            let line = text.lines().find(|line| line.contains(r#""revision":5"#)).unwrap();
            let document = line.strip_prefix("data: ").unwrap_or(line);
            let event: serde_json::Value = serde_json::from_str(document).unwrap();
            assert_eq!(event["changes"].as_array().unwrap().len(), CHANGES);
        }
    }
}

#[tokio::test]
async fn a_part_whose_last_word_is_the_head_of_an_event_goes_on_without_a_comma() {
    // Sizes around the limit: one of them fills the part with the head of the second event.
    for size in PART_BYTES - 220..PART_BYTES {
        let events =
            vec![batch(4, vec![put("a", vec![b'x'; size], 4)]), batch(5, vec![put("b", "", 5)])];
        let text = written(Form::Lines, false, events).await;
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_for() {
    let asked = AtomicUsize::new(0);
    let value = Bytes::from(vec![b'v'; 10 << 10]);
    let events = stream::iter(1..1000).map(|revision| {
        asked.fetch_add(1, Ordering::Relaxed);
        batch(revision, vec![put("k", value.clone(), revision)])
    });
    let draining = Sender::new(false);
    let mut parts =
        Box::pin(Feed::new(events, Form::Events, false, draining.subscribe()).into_parts());
    assert_eq!(asked.load(Ordering::Relaxed), 0, "nothing was asked for");
    parts.next().await;
    let taken = asked.load(Ordering::Relaxed);
    assert!(taken <= PART_BYTES / (10 << 10) + 1, "{taken} events for one part");
    parts.next().await;
    assert!(asked.load(Ordering::Relaxed) <= 2 * taken);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_of_events_says_that_it_is_alive() {
    let draining = Sender::new(false);
    let feed = Feed::new(stream::pending(), Form::Events, false, draining.subscribe());
    let mut parts = Box::pin(feed.into_parts());
    let begun = tokio::time::Instant::now();
    for beat in 1..4 {
        assert_eq!(parts.next().await.unwrap().unwrap(), b":\n\n");
        assert_eq!(begun.elapsed(), KEEP_ALIVE * beat);
    }
}

#[tokio::test]
async fn a_shutdown_ends_a_stream_with_a_problem_that_invites_to_come_again() {
    let draining = Sender::new(false);
    let feed = Feed::new(stream::pending(), Form::Lines, false, draining.subscribe());
    let mut parts = Box::pin(feed.into_parts());
    assert!(parts.next().now_or_never().is_none());
    draining.send_replace(true);
    let line: serde_json::Value =
        serde_json::from_slice(&parts.next().await.unwrap().unwrap()).unwrap();
    assert_eq!((&line["type"], &line["problem"]["code"]), (&"error".into(), &"not_ready".into()));
    assert_eq!(line["problem"]["retryable"], true);
    assert!(parts.next().await.is_none());
}

#[test]
fn a_watch_is_of_a_key_a_prefix_a_range_or_everything() {
    let range = |query| WatchParams::parse(Some(query), None).unwrap().range;
    assert_eq!(range(""), KeyRange::all());
    assert_eq!(range("prefix="), KeyRange::all());
    assert_eq!(range("prefix=a%2F"), KeyRange::prefix("a/"));
    assert_eq!(range("key=a+b"), KeyRange::key("a b"));
    assert!(range("start=a&end=c").contains(b"b") && !range("start=a&end=c").contains(b"c"));
    for wrong in [
        "key=",
        "key=a&prefix=a",
        "key=a&end=b",
        "prefix=a&start=a",
        "start=b&end=a",
        "from=0",
        "from=-1",
        "from=x",
        "from=1&from=2",
        "initial",
        "initial=1",
        "from=1&initial=true",
        "progress=0",
        "progress=61",
        "form=1",
        "key=%",
    ] {
        let problem = WatchParams::parse(Some(wrong), None).unwrap_err();
        assert_eq!(problem.code(), Code::BadRequest, "{wrong}");
    }
}

#[test]
fn who_comes_back_goes_on_whatever_the_query_says() {
    let asked = |query, seen| WatchParams::parse(Some(query), Some(Revision(seen))).unwrap();
    assert_eq!(asked("from=3", 7).from, Some(Revision(8)));
    let resumed = asked("initial=true", 7);
    assert_eq!((resumed.from, resumed.initial), (Some(Revision(8)), false));
    assert_eq!(asked("", u64::MAX).from, Some(Revision(u64::MAX)));

    let seen = |id: &'static [u8]| {
        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, HeaderValue::from_bytes(id).unwrap());
        resume_after(&headers).ok()
    };
    assert_eq!(seen(b"0"), Some(Some(Revision(0))));
    for wrong in [&b""[..], b"+1", b"-1", b"x", b"\xff", b"18446744073709551616"] {
        assert_eq!(seen(wrong), None);
    }
    assert_eq!(resume_after(&HeaderMap::new()).unwrap(), None);
}
