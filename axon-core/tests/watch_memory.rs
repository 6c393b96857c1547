//! What a watcher costs while nothing concerns it. Alone in its process: it looks at all its memory.

#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::error::Error;
use axon_core::state::{State, StateConfig};
use axon_core::storage::memory::MemState;
use axon_core::types::{KeyRange, LogIndex, Revision};
use axon_core::watch::{Feed, Hub, Interest, WATCHERS_MAX};
use futures_util::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const BYTES_A_WATCHER_MAX: usize = 2048;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[tokio::test]
async fn a_watcher_costs_two_kilobytes_at_most_and_there_are_not_too_many() {
    let (_durable, durable) = watch::channel(LogIndex(u64::MAX));
    let store = Arc::new(MemState::new());
    let state = State::open(store, durable, StateConfig::default()).unwrap();
    let hub = Hub::new(state.reader());
    let enter = |number: usize| {
        let interest = Interest {
            range: KeyRange::key(format!("key-{number:020}")),
            with_previous: false,
            progress_interval: Duration::from_hours(1),
        };
        Feed::from(&hub, interest, Revision(1))
    };
    let before = resident_bytes();
    let mut feeds = Vec::new();
    for number in 0..WATCHERS_MAX {
        let mut feed = enter(number).unwrap();
        assert_eq!(feed.next().now_or_never(), None);
        feeds.push(feed);
    }
    let each = (resident_bytes() - before) / feeds.len();
    assert!(each <= BYTES_A_WATCHER_MAX, "{each} bytes a watcher");
    assert!(matches!(enter(0).err(), Some(Error::Overloaded { .. })));
    feeds.pop();
    assert!(enter(0).is_ok(), "one left, one may come");
    drop(feeds);
    assert_eq!(hub.metrics().watchers, 0);
}
