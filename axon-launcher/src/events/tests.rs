//! The log of events over restarts, torn lines, rotation, and what is asked of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::fs;
use std::io::Write;

fn note(log: &EventLog, kind: &'static str, text: &str) {
    log.record(NewEvent::new(Severity::Info, kind, text));
}

fn ids(log: &EventLog, filter: &Filter) -> Vec<u64> {
    log.find(filter, usize::MAX).unwrap().iter().map(|event| event.id).collect()
}

#[test]
fn events_are_kept_over_a_restart_and_their_numbers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let log = EventLog::open(directory.path()).unwrap();
    let exit = Exit { code: Some(3), text: "halted".into(), at: 7, lines: vec!["why".into()] };
    let crash = NewEvent {
        exit: Some(exit),
        term: Some(4),
        ..NewEvent::new(Severity::Error, "crashed", "node1: halted")
    };
    log.record(crash.node("node1").actor("alice"));
    let source = Source { node: "node2".into(), boot: 11, seq: 5 };
    log.record_said(NewEvent::new(Severity::Info, "joined", "x"), 99, source);
    let before = log.find(&Filter::default(), 10).unwrap();
    log.flush();
    drop(log);

    let log = EventLog::open(directory.path()).unwrap();
    assert_eq!(log.find(&Filter::default(), 10).unwrap(), before);
    assert_eq!((before[0].id, before[0].t, before[1].id), (2, 99, 1));
    assert_eq!((log.position("node2"), log.position("node1")), (Some((11, 5)), None));
    note(&log, "started", "again");
    assert_eq!(ids(&log, &Filter::default()), [3, 2, 1]);
}

#[test]
fn a_torn_last_line_is_passed_over_and_spoils_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.jsonl");
    let log = EventLog::open(directory.path()).unwrap();
    for text in ["one", "two"] {
        note(&log, "started", text);
    }
    log.flush();
    drop(log);
    let whole = fs::read(&file).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in first..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        let log = EventLog::open(directory.path()).unwrap();
        note(&log, "started", "three");
        log.flush();
        drop(log);
        let log = EventLog::open(directory.path()).unwrap();
        let texts = log.latest(0, 9).into_iter().map(|event| event.text).collect::<Vec<_>>();
        let complete = cut + 1 == whole.len();
        let wanted: &[&str] = if complete { &["one", "two", "three"] } else { &["one", "three"] };
        assert_eq!(texts, wanted, "cut at {cut}");
    }
}

#[test]
fn files_are_bounded_and_what_memory_no_longer_holds_is_found_in_them() {
    let directory = tempfile::tempdir().unwrap();
    let log = EventLog::open(directory.path()).unwrap();
    let text = "x".repeat(1_000);
    let count = IN_MEMORY_MAX as u64 + 1_500;
    for number in 1..=count {
        note(&log, if number % 100 == 0 { "joined" } else { "started" }, &text);
        if number % 1_000 == 0 {
            log.flush();
        }
    }
    log.flush();
    assert_eq!(log.latest(0, usize::MAX).len(), IN_MEMORY_MAX);
    let all = ids(&log, &Filter::default());
    assert!(all.is_sorted_by(|one, other| one > other), "newest first, none twice");
    assert_eq!((all[0], *all.last().unwrap()), (count, 1), "the oldest are on disk");
    let joined = Filter { kinds: vec!["joined".into()], before: Some(901), ..Filter::default() };
    assert_eq!(ids(&log, &joined), [900, 800, 700, 600, 500, 400, 300, 200, 100]);
    assert_eq!(log.find(&joined, 2).unwrap().len(), 2);

    for _ in 0..14 {
        (0..1_000).for_each(|_| note(&log, "started", &text));
        log.flush();
    }
    let sizes =
        fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    let sizes: Vec<u64> = sizes.collect();
    assert_eq!(sizes.len(), 4);
    assert!(sizes.iter().all(|size| *size < shelf::FILE_BYTES_MAX * 2), "{sizes:?}");
    let all = ids(&log, &Filter::default());
    assert!(*all.last().unwrap() > 1, "the oldest are gone");
    let last = all[0];
    drop(log);
    let log = EventLog::open(directory.path()).unwrap();
    assert_eq!(ids(&log, &Filter::default()), all);
    note(&log, "started", "next");
    assert_eq!(ids(&log, &Filter::default())[0], last + 1);
}

#[test]
fn a_filter_takes_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let log = EventLog::open(directory.path()).unwrap();
    let said = |severity, kind, node: &str, text: &str, t| {
        let source = Source { node: "node1".into(), boot: 1, seq: t };
        log.record_said(NewEvent::new(severity, kind, text).node(node).actor("node1"), t, source);
    };
    said(Severity::Info, "joined", "node2", "Node2 joined", 10);
    said(Severity::Warning, "node_unreachable", "node3", "node3 does not ANSWER", 20);
    said(Severity::Error, "quorum_lost", "node1", "1 of 3", 30);
    let filter = Filter::default;
    for (filter, wanted) in [
        (filter(), vec![3, 2, 1]),
        (Filter { kinds: vec!["joined".into(), "quorum_lost".into()], ..filter() }, vec![3, 1]),
        (Filter { severity: Some(Severity::Warning), ..filter() }, vec![3, 2]),
        (Filter { node: Some("node3".into()), ..filter() }, vec![2]),
        (Filter { node: Some("node1".into()), ..filter() }, vec![3, 2, 1]),
        (Filter { text: Some("answer".into()), ..filter() }, vec![2]),
        (Filter { since: Some(20), ..filter() }, vec![3, 2]),
        (Filter { until: Some(20), ..filter() }, vec![2, 1]),
        (Filter { before: Some(3), severity: Some(Severity::Warning), ..filter() }, vec![2]),
        (Filter { kinds: vec!["nothing".into()], ..filter() }, vec![]),
    ] {
        assert_eq!(ids(&log, &filter), wanted, "{filter:?}");
    }
    assert_eq!(log.find(&filter(), 1).unwrap()[0].id, 3);
    assert_eq!(log.latest(1, 10).iter().map(|event| event.id).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn garbage_in_the_file_is_passed_over_and_listeners_hear_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(directory.path().join("events.jsonl")).unwrap();
    file.write_all(b"\xff\xfe\n{}\n\n[1]\n").unwrap();
    let log = EventLog::open(directory.path()).unwrap();
    let mut told = log.subscribe();
    (0..3).for_each(|_| note(&log, "started", "x"));
    for id in 1..=3 {
        assert_eq!(told.try_recv().unwrap().id, id);
    }
}
