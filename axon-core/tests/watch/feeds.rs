//! What a feed tells, and what it does not cost.

use crate::support::{Replica, anyone, delete, put, settle, simulate};
use crate::world::{PROGRESS_INTERVAL, World, compact, end, interest, next, next_batch, soon};
use axon_core::command::Op;
use axon_core::error::Error;
use axon_core::state::transfer::{SnapshotSink, SnapshotSource};
use axon_core::storage::StateStore;
use axon_core::storage::memory::MemState;
use axon_core::types::{KeyRange, Revision};
use axon_core::watch::{Feed, Hub, Interest, WatchChange, WatchEvent};
use futures_util::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

fn all() -> KeyRange {
    KeyRange::all()
}

#[test]
fn a_put_wakes_one_of_ten_thousand_watchers_of_other_keys() {
    simulate(async {
        let mut world = World::new();
        let key = |number: usize| format!("key-{number}");
        let mut feeds: Vec<Feed> =
            (0..10_000).map(|number| world.feed_now(KeyRange::key(key(number)))).collect();
        for feed in &mut feeds {
            assert_eq!(feed.next().now_or_never(), None);
        }
        assert_eq!(world.hub.metrics().watchers, 10_000);
        let before = world.hub.metrics().wakes;
        world.replica.apply(&[put(&key(77), "1"), put("other", "1"), put(&key(77), "2")]);
        settle().await;
        assert_eq!(world.hub.metrics().wakes - before, 1);
        let woken: Vec<usize> = (0..feeds.len())
            .filter(|number| feeds[*number].next().now_or_never().is_some())
            .collect();
        assert_eq!(woken, [77]);
        assert_eq!(next_batch(&mut feeds[77]).await, 3);
    });
}

#[test]
fn without_a_watcher_the_hub_does_not_look_at_the_state() {
    simulate(async {
        let mut world = World::new();
        world.replica.apply(&[put("a", "1")]);
        settle().await;
        assert_eq!(world.hub.metrics().looks, 0);
        let feed = world.feed_now(all());
        settle().await;
        drop(feed);
        assert_eq!(world.hub.metrics().watchers, 0);
        world.replica.apply(&[put("a", "2")]);
        settle().await;
        let looks = world.hub.metrics().looks;
        for _ in 0..10 {
            world.replica.apply(&[put("a", "3")]);
            settle().await;
        }
        assert_eq!(world.hub.metrics().looks, looks);

        // What came meanwhile is there for whoever asks for it.
        let mut feed = world.feed(all(), 2);
        for revision in 2..=12 {
            assert_eq!(next_batch(&mut feed).await, revision);
        }
        world.replica.apply(&[put("a", "4")]);
        assert_eq!(next_batch(&mut feed).await, 13);
    });
}

#[test]
fn a_reader_slower_than_the_history_is_told_what_it_missed() {
    simulate(async {
        let mut world = World::new();
        let mut feed = world.feed_now(KeyRange::prefix("a/"));
        world.replica.apply(&[put("b", "1"), put("a/1", "1"), put("a/2", "2"), put("b", "2")]);
        world.replica.apply(&[put("a/3", "3")]);
        settle().await;
        // It takes nothing for so long that the ring has moved on, too.
        for _ in 0..12 {
            world.replica.apply(&[put("a/large", &"x".repeat(1 << 20))]);
            settle().await;
        }
        world.replica.apply(&[compact(4)]);
        settle().await;
        let resync = WatchEvent::Resync { from: Revision(2), to: Revision(4) };
        assert_eq!(next(&mut feed).await, resync, "from the first that concerns it");
        assert_eq!(next_batch(&mut feed).await, 5);
        for revision in 6..=17 {
            assert_eq!(next_batch(&mut feed).await, revision);
        }
        assert_eq!(soon(&mut feed).await, None);
        assert_eq!(world.hub.metrics().resyncs, 1);
        assert_eq!(world.hub.metrics().events, 14);
    });
}

#[test]
fn history_that_is_compacted_at_once_costs_a_prompt_reader_nothing() {
    simulate(async {
        let mut world = World::new();
        let mut idle = world.feed_now(KeyRange::key("rare"));
        let mut feed = world.feed_now(all());
        for revision in 1..=20 {
            world.replica.apply(&[put("a", "1"), compact(revision)]);
            assert_eq!(next_batch(&mut feed).await, revision);
        }
        // One that nothing concerned has missed nothing.
        world.replica.apply(&[put("rare", "1")]);
        assert_eq!(next_batch(&mut idle).await, 21);
        assert_eq!(world.hub.metrics().resyncs, 0);
    });
}

#[test]
fn what_was_swept_before_it_was_looked_at_is_missed_by_those_alone_who_may_need_it() {
    simulate(async {
        let mut world = World::new();
        world.replica.apply(&[put("a", "1"), put("b", "1")]);
        let mut feeds: Vec<_> = [3, 3, 6].map(|next| world.feed(all(), next)).into();
        assert_eq!(feeds[0].next().now_or_never(), None, "one waits, the others do not");
        assert_eq!(next_batch(&mut world.feed(all(), 1)).await, 1);
        let sweep = anyone(Op::Sweep { limit: 100 });
        world.replica.apply(&[put("a", "3"), put("a", "4"), put("a", "5"), compact(4), sweep]);
        world.replica.apply(&[put("a", "6")]);
        for feed in &mut feeds[..2] {
            let resync = WatchEvent::Resync { from: Revision(3), to: Revision(4) };
            assert_eq!(next(feed).await, resync);
            assert_eq!(next_batch(feed).await, 5);
        }
        for feed in &mut feeds {
            assert_eq!(next_batch(feed).await, 6);
            assert_eq!(soon(feed).await, None);
        }
    });
}

#[test]
fn what_is_there_comes_first_as_of_one_moment() {
    simulate(async {
        let mut world = World::new();
        for number in 0..2_500 {
            world.replica.apply(&[put(&format!("a/{number:04}"), "old")]);
        }
        world.replica.apply(&[put("b", "old")]);
        world.replica.checkpoint().await;
        world.replica.apply(&[delete("a/0000")]);
        let view = world.replica.reader().view();
        let range = interest(KeyRange::prefix("a/"));
        let mut feed = Feed::with_initial_state(&world.hub, range, view).unwrap();
        world.replica.apply(&[put("a/0001", "new"), delete("a/2499"), put("b", "new")]);

        let (mut keys, mut batches) = (Vec::new(), 0);
        loop {
            match next(&mut feed).await {
                WatchEvent::Batch { revision, changes } => {
                    assert_eq!(revision, Revision(2_502));
                    assert!(changes.len() <= 1_000);
                    batches += 1;
                    for change in changes {
                        let WatchChange::Put { pair, previous: None } = change else {
                            panic!("what exists is a put: {change:?}");
                        };
                        assert_eq!(pair.value.as_ref(), b"old");
                        keys.push(pair.key);
                    }
                }
                WatchEvent::Progress(revision) => {
                    assert_eq!(revision, Revision(2_502));
                    break;
                }
                other @ WatchEvent::Resync { .. } => panic!("{other:?}"),
            }
        }
        let expected: Vec<_> = (1..2_500).map(|number| format!("a/{number:04}")).collect();
        assert_eq!(keys, expected);
        assert_eq!(batches, 3);
        assert_eq!(next_batch(&mut feed).await, 2_503);
        assert_eq!(next_batch(&mut feed).await, 2_504);
        assert_eq!(soon(&mut feed).await, None);

        let nothing = interest(KeyRange::key("absent"));
        let view = world.replica.reader().view();
        let mut feed = Feed::with_initial_state(&world.hub, nothing, view).unwrap();
        assert_eq!(next(&mut feed).await, WatchEvent::Progress(Revision(2_505)));
    });
}

#[test]
fn quiet_is_broken_by_true_progress() {
    simulate(async {
        let mut world = World::new();
        let mut feed = world.feed_now(KeyRange::key("a"));
        let mut waiting = tokio::time::Instant::now();
        let mut told = async |feed: &mut Feed| {
            let event = feed.next().await.unwrap().unwrap();
            let waited = waiting.elapsed();
            waiting = tokio::time::Instant::now();
            (event, waited >= PROGRESS_INTERVAL)
        };
        assert_eq!(told(&mut feed).await, (WatchEvent::Progress(Revision(0)), true));
        world.replica.apply(&[put("b", "1"), put("c", "1")]);
        assert_eq!(told(&mut feed).await, (WatchEvent::Progress(Revision(2)), true));
        tokio::time::sleep(PROGRESS_INTERVAL / 2).await;
        world.replica.apply(&[put("a", "1")]);
        assert!(matches!(told(&mut feed).await, (WatchEvent::Batch { .. }, false)));
        assert_eq!(told(&mut feed).await, (WatchEvent::Progress(Revision(3)), true), "from then");
    });
}

#[test]
fn a_rare_key_is_looked_for_in_steps_that_say_how_far_they_are() {
    simulate(async {
        const REVISIONS: u64 = 30_000;
        let mut world = World::new();
        for _ in 0..REVISIONS / 100 {
            let batch: Vec<_> = (0..100).map(|_| put("often", "x")).collect();
            world.replica.apply(&batch);
        }
        world.replica.apply(&[put("rare", "1")]);
        let range = KeyRange::key("rare");
        let progress_interval = Duration::from_millis(1);
        let interest = Interest { range, with_previous: false, progress_interval };
        let mut feed = Feed::from(&world.hub, interest, Revision(1)).unwrap();
        let mut progress = 0;
        loop {
            match next(&mut feed).await {
                WatchEvent::Progress(revision) => {
                    assert!(revision.0 <= REVISIONS, "the rare one is still to come");
                    progress += 1;
                }
                WatchEvent::Batch { revision, .. } => {
                    assert_eq!(revision.0, REVISIONS + 1);
                    break;
                }
                other @ WatchEvent::Resync { .. } => panic!("{other:?}"),
            }
        }
        assert!(progress >= 3, "{progress}");
    });
}

#[test]
fn the_end_is_told_once() {
    simulate(async {
        let mut world = World::new();
        let mut feeds: Vec<_> = (0..3).map(|_| world.feed_now(all())).collect();
        assert_eq!(feeds[0].next().now_or_never(), None, "one waits, the others do not");
        world.replica.apply(&[put("a", "1")]);
        settle().await;
        assert_eq!(next_batch(&mut feeds[1]).await, 1);
        let cause = Error::Halted { cause: "a bad disk".into() };
        world.hub.close(&cause);
        world.hub.close(&Error::ShutDown);
        for feed in &mut feeds {
            assert_eq!(end(feed).await, cause);
        }
        let late = Feed::from(&world.hub, interest(all()), Revision(1));
        assert_eq!(late.err(), Some(cause));
        drop(feeds);
        assert_eq!(world.hub.metrics().watchers, 0);
    });
}

#[test]
fn a_hub_that_is_no_longer_run_ends_its_feeds() {
    simulate(async {
        let world = World::new();
        let mut feed = world.feed_now(all());
        assert_eq!(soon(&mut feed).await, None);
        world.running.abort();
        assert_eq!(end(&mut feed).await, Error::ShutDown);
    });
}

/// Loads the checkpoint of `from` into `to`.
async fn install(from: &MemState, store: &MemState, to: &mut Replica) {
    let mut source = SnapshotSource::open(from as &dyn StateStore).unwrap();
    let mut sink = SnapshotSink::begin(store as &dyn StateStore, None).unwrap();
    while let Some(chunk) = source.next_chunk().unwrap() {
        sink.take_chunk(&chunk).unwrap();
    }
    to.state.install(sink.verify().unwrap()).await.unwrap();
    to.next = to.state.position().index.0 + 1;
}

#[test]
fn a_snapshot_put_in_place_is_told_like_what_it_holds() {
    simulate(async {
        let (from, store) = (MemState::new(), MemState::new());
        let mut ahead = Replica::open(from.clone()).unwrap();
        let mut behind = Replica::open(store.clone()).unwrap();
        let hub = Hub::new(behind.reader());
        axon_core::runtime::spawn(hub.clone().run());
        let feed = |range| Feed::from(&hub, interest(range), Revision(1)).unwrap();
        let (mut everything, mut rare) = (feed(all()), feed(KeyRange::key("rare")));

        let beginning = [put("a", "1"), put("rare", "1")];
        ahead.apply(&beginning);
        behind.apply(&beginning);
        assert_eq!(next_batch(&mut everything).await, 1);
        assert_eq!(next_batch(&mut rare).await, 2);
        for number in 3..=1_000 {
            ahead.apply(&[put("a", &number.to_string())]);
        }
        ahead.apply(&[put("rare", "2")]);
        ahead.checkpoint().await;
        install(&from, &store, &mut behind).await;
        for revision in 2..=1_001 {
            assert_eq!(next_batch(&mut everything).await, revision);
        }
        assert_eq!(next_batch(&mut rare).await, 1_001);

        // The same, but the history was compacted there.
        let mut waiting = feed(KeyRange::key("b"));
        assert_eq!(soon(&mut waiting).await, None);
        for number in 1_002..=2_000 {
            ahead.apply(&[put("a", &number.to_string())]);
        }
        ahead.apply(&[compact(1_500)]);
        ahead.checkpoint().await;
        install(&from, &store, &mut behind).await;
        // The rows are not swept: who was there is told; who comes now, is not.
        for revision in 1_002..=2_000 {
            assert_eq!(next_batch(&mut everything).await, revision);
        }
        let resync = WatchEvent::Resync { from: Revision(1), to: Revision(1_500) };
        assert_eq!(next(&mut feed(all())).await, resync);
        behind.apply(&[put("b", "1")]);
        assert_eq!(next_batch(&mut waiting).await, 2_001);
    });
}

/// Many threads; each watcher comes at a moment of its own, and must learn of what follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost() {
    const ROUNDS: u64 = 500;
    const WATCHERS: u64 = 5;
    let mut replica = Replica::open(MemState::new()).unwrap();
    let (reader, hub) = (replica.reader(), Hub::new(replica.reader()));
    let running = tokio::spawn(hub.clone().run());
    // The writer goes as far as the watchers need, so that all wait in between, again and again.
    let wanted = Arc::new(Semaphore::new(0));
    let wants = wanted.clone();
    let writing = tokio::spawn(async move {
        for revision in 0_u64.. {
            wants.acquire().await.unwrap().forget();
            replica.apply(&[put(&format!("key-{}", revision % WATCHERS), "x")]);
        }
    });
    let watchers = (0..WATCHERS).map(|watcher| {
        let (reader, hub, wanted) = (reader.clone(), hub.clone(), wanted.clone());
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let now = reader.view().revision();
                let range = KeyRange::key(format!("key-{watcher}"));
                // Not even progress wakes it.
                let progress_interval = Duration::from_hours(1);
                let interest = Interest { range, with_previous: false, progress_interval };
                let mut feed = Feed::from(&hub, interest, now.next()).unwrap();
                wanted.add_permits(2 * WATCHERS as usize);
                let first = now.0 + 1 + (watcher + WATCHERS - now.0 % WATCHERS) % WATCHERS;
                for expected in [first, first + WATCHERS] {
                    let told = tokio::time::timeout(Duration::from_secs(20), feed.next()).await;
                    match told.expect("it is woken").unwrap().unwrap() {
                        WatchEvent::Batch { revision, .. } => assert_eq!(revision.0, expected),
                        other => panic!("{other:?}"),
                    }
                }
            }
        })
    });
    for watcher in watchers.collect::<Vec<_>>() {
        watcher.await.unwrap();
    }
    writing.abort();
    running.abort();
}

#[test]
fn what_a_slow_reader_missed_in_memory_it_reads_from_the_state() {
    simulate(async {
        let mut world = World::new();
        let mut feed = world.feed_now(all());
        let mut prompt = world.feed_now(all());
        let large = |number: u64| format!("{number}").repeat(1 << 19);
        for number in 10..40 {
            world.replica.apply(&[put("a", &large(number))]);
            assert_eq!(next_batch(&mut prompt).await, number - 9);
        }
        world.replica.checkpoint().await;
        for number in 10..40 {
            let WatchEvent::Batch { revision, changes } = next(&mut feed).await else {
                panic!("a batch");
            };
            assert_eq!(revision.0, number - 9);
            let WatchChange::Put { pair, .. } = &changes[0] else { panic!("a put") };
            assert!(pair.value == large(number).as_bytes());
        }
        assert_eq!(soon(&mut feed).await, None);
    });
}
