//! What happens between looking a chunk up and letting feeds read it, step by step.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::super::WatchEvent;
use super::super::index::WatcherId;
use super::super::read::{self, Chunk};
use super::super::recent::Recent;
use super::{Hub, Matched, Turn};
use crate::codec;
use crate::command::{Command, Op};
use crate::runtime::simulation;
use crate::state::{Position, State, StateConfig, StateEntry, View};
use crate::storage::memory::MemState;
use crate::types::{KeyRange, LogIndex, Revision};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use tokio::sync::watch;

/// A state that is written to, and a hub that follows when it is told to.
struct World {
    state: State,
    index: u64,
    hub: Arc<Hub>,
    _durable: watch::Sender<LogIndex>,
}

impl World {
    fn new() -> Self {
        let (durable, receiver) = watch::channel(LogIndex(u64::MAX));
        let store = Arc::new(MemState::new());
        let state = State::open(store, receiver, StateConfig::default()).unwrap();
        let hub = Hub::new(state.reader());
        Self { state, index: 0, hub, _durable: durable }
    }

    fn put(&mut self, key: &'static str) {
        self.index += 1;
        let op = Op::Put { key: Bytes::from_static(key.as_bytes()), value: Bytes::new() };
        let command = Some(codec::encode(&Command { request: None, op }));
        let index = LogIndex(self.index);
        let entry = StateEntry { index, stamp_millis: 0, command };
        let log_id = Bytes::from_static(b"an id");
        self.state.apply(&[entry], Position { index, log_id, membership: Bytes::new() }).unwrap();
    }

    /// The first half of what the hub does: it knows whom the next revisions concern.
    fn look_up(&self) -> Underway {
        let view = self.state.reader().view();
        let (epoch, from) = self.hub.begin(&view).unwrap();
        let chunk = Chunk::read(&view, from).unwrap();
        let matched = self.hub.look_up(chunk, epoch).unwrap();
        Underway { view, from, matched }
    }

    /// The second: they may read it.
    fn publish(&self, underway: Underway) {
        let Underway { view, from, matched } = underway;
        let mut recent = Recent::beginning_at(from);
        for (revision, changes) in &matched.concerned {
            recent.push(read::decode(&view, *revision, changes, false).unwrap());
        }
        self.hub.publish(recent, from, &matched);
    }
}

struct Underway {
    view: View,
    from: Revision,
    matched: Matched,
}

/// A watcher of one key, as the hub knows it.
struct Watcher {
    id: WatcherId,
    range: Arc<KeyRange>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watcher {
    fn enter(hub: &Hub, key: &'static str, next: u64) -> Self {
        let range = Arc::new(KeyRange::key(key));
        let id = hub.enter(&range, Revision(next), false).unwrap();
        Self { id, range, wakes: Arc::default() }
    }

    fn turn(&self, hub: &Hub) -> Turn {
        hub.turn(self.id, &self.range, false, &Waker::from(self.wakes.clone()))
    }

    fn waits(&self, hub: &Hub) -> bool {
        matches!(self.turn(hub), Turn::Wait(_))
    }

    /// The revision of what it is to tell from memory.
    fn told(&self, hub: &Hub) -> u64 {
        match self.turn(hub) {
            Turn::Event(WatchEvent::Batch { revision, .. }) => revision.0,
            _ => panic!("nothing to tell"),
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

fn simulate(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        simulation::begin(1);
        test().await;
        simulation::end();
    });
}

#[test]
fn one_that_comes_while_a_chunk_is_matched_reads_it_for_itself() {
    simulate(async || {
        let mut world = World::new();
        let hub = world.hub.clone();
        let first = Watcher::enter(&hub, "a", 1);
        assert!(first.waits(&hub));
        world.put("a");
        world.put("b");
        let underway = world.look_up();
        let late = Watcher::enter(&hub, "b", 1);
        let later = Watcher::enter(&hub, "b", 3);
        assert!(late.waits(&hub) && later.waits(&hub) && first.waits(&hub), "not yet");
        world.publish(underway);
        assert_eq!((first.wakes(), late.wakes()), (1, 1));
        assert_eq!(first.told(&hub), 1);
        let Turn::Read(from, upto) = late.turn(&hub) else { panic!("nobody looked it up for it") };
        assert_eq!((from, upto), (Revision(1), Revision(2)));

        // From then on it is looked up like the others.
        hub.advance(late.id, upto);
        assert!(late.waits(&hub) && later.waits(&hub) && first.waits(&hub));
        let wakes = later.wakes();
        world.put("b");
        assert!(hub.follow().unwrap());
        assert_eq!((first.wakes(), late.wakes(), later.wakes()), (1, 2, wakes + 1));
        assert_eq!((late.told(&hub), later.told(&hub)), (3, 3));
    });
}

#[test]
fn what_is_matched_for_those_who_left_is_not_what_those_who_came_are_told() {
    simulate(async || {
        let mut world = World::new();
        let hub = world.hub.clone();
        let gone = Watcher::enter(&hub, "a", 1);
        world.put("a");
        world.put("b");
        let underway = world.look_up();
        hub.leave(gone.id, &gone.range, false);
        world.put("b");
        let new = Watcher::enter(&hub, "b", 2);
        world.publish(underway);
        let Turn::Read(from, upto) = new.turn(&hub) else { panic!("it is to look for itself") };
        assert_eq!((from, upto), (Revision(2), Revision(3)));
        hub.advance(new.id, upto);
        assert!(new.waits(&hub));
        world.put("a");
        world.put("b");
        assert!(hub.follow().unwrap());
        assert_eq!(new.told(&hub), 5);
        assert!(new.waits(&hub));
        assert!(!hub.follow().unwrap(), "nothing is new");
    });
}
