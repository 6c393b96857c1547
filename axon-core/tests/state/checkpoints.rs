//! When checkpoints are made, and when they must not be.

use crate::support::{Replica, Spy, config, position, put, rows, settle, simulate, story};
use axon_core::state::{State, StateConfig};
use axon_core::storage::memory::MemState;
use axon_core::types::LogIndex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

fn spied() -> (Spy, Replica) {
    let spy = Spy::default();
    let replica = Replica::open(spy.clone()).unwrap();
    spy.seen.lock().unwrap().durable = Some(replica.durable.subscribe());
    (spy, replica)
}

#[test]
fn a_checkpoint_commits_only_after_the_log_is_durable_up_to_it() {
    simulate(async {
        let (spy, mut replica) = spied();
        replica.durable.send_replace(LogIndex(0));
        let last = replica.apply(&story(30)).len() as u64;
        let checkpointer = replica.state.checkpointer();
        let checkpoint = tokio::spawn(async move { checkpointer.checkpoint_now().await });
        for durable in [0, 1, last - 1] {
            replica.durable.send_replace(LogIndex(durable));
            settle().await;
            assert!(!checkpoint.is_finished());
            assert!(replica.state.checkpoint_position().is_start());
            assert!(spy.seen.lock().unwrap().commits.is_empty(), "not before entry {last}");
        }
        // Later entries are applied while it waits; they are not part of it.
        replica.apply(&[put("later", "1")]);
        replica.durable.send_replace(LogIndex(last));
        assert_eq!(checkpoint.await.unwrap().unwrap(), position(last));
        assert_eq!(spy.seen.lock().unwrap().commits, [LogIndex(last)]);
        let reopened = Replica::open(spy.store).unwrap();
        assert_eq!(reopened.state.position(), position(last));
        assert_eq!(reopened.reader().view().get(b"later").unwrap(), None);
        assert!(replica.reader().view().get(b"later").unwrap().is_some());
    });
}

#[test]
fn a_log_that_is_closed_too_early_fails_the_checkpoint() {
    simulate(async {
        let spy = Spy::default();
        let (durable, receiver) = watch::channel(LogIndex(0));
        let mut state = State::open(Arc::new(spy.clone()), receiver, config()).unwrap();
        state.apply(&[], position(4)).unwrap();
        drop(durable);
        state.checkpointer().checkpoint_now().await.unwrap_err();
        state.apply(&[], position(4)).unwrap_err();
        assert!(Replica::open(spy.store).unwrap().state.position().is_start());
    });
}

#[test]
fn a_large_overlay_starts_a_checkpoint() {
    simulate(async {
        let (spy, mut replica) = spied();
        let batch: Vec<_> = (0..20).map(|n| put(&format!("{n}"), &"v".repeat(1_000))).collect();
        while replica.reader().metrics().overlay_bytes < 64 << 10 {
            assert!(spy.seen.lock().unwrap().commits.is_empty());
            replica.apply(&batch);
        }
        settle().await;
        assert_eq!(spy.seen.lock().unwrap().commits.len(), 1);
        assert_eq!(replica.state.checkpoint_position(), replica.state.position());
        assert_eq!(replica.reader().metrics().overlay_bytes, 0, "the overlay is gone");
    });
}

#[test]
fn an_old_change_starts_a_checkpoint_and_an_idle_state_none() {
    simulate(async {
        let (spy, mut replica) = spied();
        let commits = || spy.seen.lock().unwrap().commits.len();
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(commits(), 0, "nothing to write");
        replica.apply(&[put("a", "1")]);
        tokio::time::sleep(Duration::from_millis(4_900)).await;
        assert_eq!(commits(), 0, "not old enough");
        replica.apply(&[put("b", "1")]);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(commits(), 1);
        assert_eq!(replica.state.checkpoint_position(), replica.state.position());
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(commits(), 1);
        replica.apply(&[put("c", "1")]);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(commits(), 2);
    });
}

#[test]
fn apply_waits_for_room_while_a_checkpoint_is_under_way() {
    simulate(async {
        let (_, mut replica) = spied();
        replica.durable.send_replace(LogIndex(0));
        let batch: Vec<_> = (0..20).map(|n| put(&format!("{n}"), &"v".repeat(1_000))).collect();
        for _ in 0..8 {
            replica.apply(&batch);
        }
        let held_up = tokio::time::timeout(Duration::from_mins(1), replica.state.room()).await;
        assert!(held_up.is_err(), "the overlay is full, and the log not durable");
        replica.durable.send_replace(LogIndex(u64::MAX));
        tokio::time::timeout(Duration::from_mins(1), replica.state.room()).await.unwrap();
        replica.apply(&batch);
        replica.checkpoint().await;
        assert_eq!(replica.state.checkpoint_position(), replica.state.position());
    });
}

#[test]
fn many_ask_and_each_gets_what_was_applied_when_it_asked() {
    simulate(async {
        let (_, mut replica) = spied();
        let mut waiting = Vec::new();
        for batch in story(200).chunks(17) {
            replica.apply(batch);
            let (checkpointer, asked) = (replica.state.checkpointer(), replica.state.position());
            let made = async move { (checkpointer.checkpoint_now().await.unwrap(), asked) };
            waiting.push(tokio::spawn(made));
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        for made in waiting {
            let (made, asked) = made.await.unwrap();
            assert!(made.covers(&asked));
        }
    });
}

#[test]
fn the_first_failed_checkpoint_is_the_last() {
    simulate(async {
        let (spy, mut replica) = spied();
        let mut faults = replica.reader().faults();
        replica.apply(&story(40));
        let before = rows(&replica.reader().view()).unwrap();
        spy.seen.lock().unwrap().fail = true;
        let error = replica.state.checkpointer().checkpoint_now().await.unwrap_err();
        spy.seen.lock().unwrap().fail = false;
        assert_eq!(*faults.borrow_and_update(), Some(error.clone()));
        assert_eq!(replica.try_apply(&[put("a", "1")]), Err(error.clone()));
        let again = replica.state.checkpointer().checkpoint_now().await;
        assert_eq!(again.unwrap_err(), error);
        assert_eq!(spy.seen.lock().unwrap().commits.len(), 1, "it is not tried again");
        assert_eq!(rows(&replica.reader().view()).unwrap(), before, "reads stay right");
    });
}

/// The same on real threads, where a view may be taken between any two steps of a checkpoint.
#[test]
fn readers_on_other_threads_never_see_half_a_checkpoint() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let small = StateConfig { checkpoint_bytes: 8 << 10, overlay_bytes_max: 1 << 20, ..config() };
    let mut replica = Replica::open_with(Arc::new(MemState::new()), small).unwrap();
    let reader = replica.reader();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = done.clone();
    let watching = std::thread::spawn(move || {
        let mut looked = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) || looked == 0 {
            // Each round writes the same value under every key, in one batch.
            let view = reader.view();
            let pairs = view.page(&axon_core::types::KeyRange::all(), 99, 1 << 20).unwrap();
            assert!(pairs.windows(2).all(|pair| pair[0].value == pair[1].value), "{pairs:?}");
            assert!(pairs.is_empty() || pairs.len() == 10);
            looked += 1;
        }
        looked
    });
    // On a busy machine the worker that writes checkpoints may hardly get a turn in 400 rounds.
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    let mut round = 0;
    while round < 400 || replica.reader().metrics().checkpoints <= 3 {
        assert!(std::time::Instant::now() < deadline, "no checkpoints in {round} rounds");
        let batch: Vec<_> =
            (0..10).map(|key| put(&format!("key-{key}"), &format!("{round}"))).collect();
        replica.apply(&batch);
        round += 1;
    }
    runtime.block_on(replica.checkpoint());
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(watching.join().unwrap() > 0);
    assert!(replica.reader().metrics().checkpoints > 3);
}
