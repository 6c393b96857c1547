//! Operations: their steps, their bounds, and who may cancel them.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn draft(kind: &'static str, node: Option<&str>) -> Draft {
    let steps = vec!["first".to_owned(), "second".to_owned()];
    Draft { kind, node: node.map(ToOwned::to_owned), actor: "anna".to_owned(), steps }
}

fn states(operations: &Operations, id: u64) -> (Progress, Vec<Progress>) {
    let operation = operations.find(id).unwrap();
    (operation.state, operation.steps.into_iter().map(|step| step.state).collect())
}

#[tokio::test(start_paused = true)]
async fn an_operation_goes_from_step_to_step_and_ends() {
    use Progress::{Done, Pending, Running};
    let operations = Operations::default();
    let run = operations.begin(draft("restart", Some("node1"))).unwrap();
    assert_eq!(states(&operations, 1), (Running, vec![Pending, Pending]));
    run.next(Cancel::No).unwrap();
    run.note("it takes its time");
    tokio::time::advance(Duration::from_millis(1_500)).await;
    assert_eq!(states(&operations, 1), (Running, vec![Running, Pending]));
    let shown = operations.find(1).unwrap();
    assert_eq!((shown.actor.as_str(), shown.can_cancel), ("anna", false));
    assert_eq!(
        (shown.steps[0].ms, shown.steps[0].note.as_deref()),
        (1_500, Some("it takes its time"))
    );
    run.next(Cancel::Now).unwrap();
    tokio::time::advance(Duration::from_millis(500)).await;
    run.end(&Ok(()));
    assert_eq!(states(&operations, 1), (Done, vec![Done, Done]));
    let ended = operations.find(1).unwrap();
    assert_eq!(ended.steps.iter().map(|step| step.ms).collect::<Vec<_>>(), [1_500, 500]);
    assert_eq!((ended.ended.unwrap() - ended.started, ended.can_cancel), (2_000, false));
}

#[tokio::test]
async fn a_failure_says_why_and_what_was_not_done() {
    let operations = Operations::default();
    let run = operations.begin(draft("start", Some("node1"))).unwrap();
    run.next(Cancel::No).unwrap();
    run.end(&Err(ControlError::Unavailable("nobody answers".to_owned())));
    let cancelled = Progress::Cancelled;
    assert_eq!(states(&operations, 1), (Progress::Failed, vec![Progress::Failed, cancelled]));
    assert_eq!(operations.find(1).unwrap().error.as_deref(), Some("nobody answers"));
    // One that is dropped does not run for ever.
    drop(operations.begin(draft("start", Some("node1"))).unwrap());
    assert_eq!(states(&operations, 2).0, Progress::Failed);
}

#[tokio::test]
async fn one_operation_a_node_and_one_on_all_stands_alone() {
    let operations = Operations::default();
    let first = operations.begin(draft("restart", Some("node1"))).unwrap();
    let busy = operations.begin(draft("decommission", Some("node1"))).unwrap_err();
    assert!(busy.to_string().starts_with("operation 1 (restart) is under way on node1"), "{busy}");
    let other = operations.begin(draft("restart", Some("node2"))).unwrap();
    assert!(operations.begin(draft("rolling_restart", None)).is_err());
    first.end(&Ok(()));
    other.end(&Ok(()));
    let all = operations.begin(draft("rolling_restart", None)).unwrap();
    let busy = operations.begin(draft("restart", Some("node2"))).unwrap_err();
    assert!(busy.to_string().contains("(rolling_restart) is under way on the whole cluster"));
    assert_eq!(operations.on_all(), Some(busy));
    all.end(&Ok(()));
    assert_eq!(operations.on_all(), None);
}

#[tokio::test]
async fn stopping_and_killing_are_let_in_and_cancel_what_runs() {
    let operations = Operations::default();
    for (on, node) in [("start", Some("node1")), ("rolling_restart", None)] {
        let run = operations.begin(draft(on, node)).unwrap();
        run.next(Cancel::No).unwrap();
        let stop = operations.begin(draft("stop", Some("node1"))).unwrap();
        assert!(operations.begin(draft("stop", Some("node1"))).is_err(), "one is enough");
        let kill = operations.begin(draft("kill", Some("node1"))).unwrap();
        stop.next(Cancel::No).unwrap();
        kill.next(Cancel::No).unwrap();
        assert_eq!(states(&operations, run.id()).1[0], Progress::Running, "the step is finished");
        assert_eq!(run.next(Cancel::No), Err(Cancelled));
        let id = run.id();
        run.end(&Err(Cancelled.into()));
        let (done, cancelled) = (Progress::Cancelled, Progress::Cancelled);
        assert_eq!(states(&operations, id), (cancelled, vec![done, cancelled]));
        assert!(operations.begin(draft("start", Some("node1"))).is_err(), "it is being stopped");
        stop.end(&Ok(()));
        kill.end(&Ok(()));
    }
}

#[tokio::test]
async fn a_step_is_cancelled_after_it_or_at_once_or_not_at_all() {
    let operations = Operations::default();
    assert_eq!(operations.cancel(1).unwrap_err(), OperationError::Unknown(1));
    let run = operations.begin(draft("restart", Some("node1"))).unwrap();
    run.next(Cancel::No).unwrap();
    assert_eq!(operations.cancel(1).unwrap_err(), OperationError::NotNow(1));
    run.next(Cancel::Now).unwrap();
    operations.until_waits(1, Duration::from_secs(10)).await;
    let waiting = run.wait(std::future::pending::<()>());
    let cancelling = async { operations.cancel(1).unwrap() };
    let (waited, _) = tokio::join!(waiting, cancelling);
    assert_eq!(waited, Err(Cancelled));
    run.end(&Err(Cancelled.into()));
    assert_eq!(operations.cancel(1).unwrap_err(), OperationError::Ended(1));

    let run = operations.begin(draft("rolling_restart", None)).unwrap();
    run.next(Cancel::AfterStep).unwrap();
    operations.cancel(2).unwrap();
    assert_eq!(states(&operations, 2).1[0], Progress::Running);
    assert_eq!(run.next(Cancel::AfterStep), Err(Cancelled));
}

#[tokio::test]
async fn whoever_waits_hears_of_the_end_and_not_for_ever() {
    let operations = Operations::default();
    let run = operations.begin(draft("start", Some("node1"))).unwrap();
    let soon = Duration::from_millis(20);
    assert_eq!(operations.until_ended(1, soon).await.unwrap().state, Progress::Running);
    let waiting = tokio::spawn({
        let operations = operations.clone();
        async move { operations.until_ended(1, Duration::from_mins(1)).await }
    });
    run.end(&Ok(()));
    assert_eq!(waiting.await.unwrap().unwrap().state, Progress::Done);
    assert_eq!(operations.until_ended(7, soon).await, None);
}

#[tokio::test]
async fn the_latest_that_ended_are_kept_and_all_that_run() {
    let operations = Operations::default();
    let oldest = operations.begin(draft("start", Some("node1"))).unwrap();
    for _ in 0..ENDED_MAX + 50 {
        operations.begin(draft("start", Some("node2"))).unwrap().end(&Ok(()));
    }
    let _newest = operations.begin(draft("start", Some("node2"))).unwrap();
    let ids: Vec<u64> = operations.list().iter().map(|operation| operation.id).collect();
    assert_eq!(ids.len(), ENDED_MAX + 2);
    assert_eq!((ids[0], *ids.last().unwrap()), (252, oldest.id()));
}

#[tokio::test(start_paused = true)]
async fn subscribers_are_told_of_the_last_state_and_not_too_often() {
    let operations = Operations::default();
    let mut told = operations.subscribe();
    let run = operations.begin(draft("add", Some("node4"))).unwrap();
    run.next(Cancel::Now).unwrap();
    for left in 0..1_000 {
        run.note(format!("{left} entries left"));
        tokio::time::advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
    }
    run.end(&Ok(()));
    let (mut messages, mut last) = (0, None);
    while let Ok(Ok(message)) = tokio::time::timeout(TELL_EVERY * 2, told.recv()).await {
        messages += 1;
        last = Some(message);
    }
    assert!((4..=6).contains(&messages), "{messages} messages in a second");
    assert_eq!(last.unwrap().state, Progress::Done);
}
