//! A state with a hub that runs, and feeds over it.

use crate::support::{Replica, anyone};
use axon_core::command::{Command, Op};
use axon_core::error::Error;
use axon_core::runtime;
use axon_core::storage::memory::MemState;
use axon_core::types::{KeyRange, Revision};
use axon_core::watch::{Feed, Hub, Interest, WatchEvent};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Longer than any step of reading takes, shorter than [`PROGRESS_INTERVAL`].
pub const SOON: Duration = Duration::from_millis(100);
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub struct World {
    pub replica: Replica,
    pub hub: Arc<Hub>,
    pub running: JoinHandle<()>,
}

impl World {
    pub fn new() -> Self {
        let replica = Replica::open(MemState::new()).unwrap();
        let hub = Hub::new(replica.reader());
        let running = runtime::spawn(hub.clone().run());
        Self { replica, hub, running }
    }

    pub fn feed(&self, range: KeyRange, next: u64) -> Feed {
        Feed::from(&self.hub, interest(range), Revision(next)).unwrap()
    }

    /// A feed of what comes after now.
    pub fn feed_now(&self, range: KeyRange) -> Feed {
        self.feed(range, self.revision() + 1)
    }

    pub fn revision(&self) -> u64 {
        self.replica.reader().view().revision().0
    }
}

pub fn interest(range: KeyRange) -> Interest {
    Interest { range, with_previous: false, progress_interval: PROGRESS_INTERVAL }
}

pub fn compact(upto: u64) -> Command {
    anyone(Op::Compact { upto: Revision(upto) })
}

/// The next event, if there is one soon.
pub async fn soon(feed: &mut Feed) -> Option<WatchEvent> {
    let next = tokio::time::timeout(SOON, feed.next()).await;
    next.ok().map(|event| event.expect("it has not ended").expect("it does not fail"))
}

/// The next event, which must come.
pub async fn next(feed: &mut Feed) -> WatchEvent {
    soon(feed).await.expect("an event")
}

/// The revision of the next event, which must be a batch.
pub async fn next_batch(feed: &mut Feed) -> u64 {
    match next(feed).await {
        WatchEvent::Batch { revision, .. } => revision.0,
        other => panic!("{other:?}"),
    }
}

/// The error that a feed ends with; nothing follows it.
pub async fn end(feed: &mut Feed) -> Error {
    let ended = tokio::time::timeout(SOON, feed.next()).await.expect("it ends");
    let error = ended.expect("an error comes first").expect_err("the end");
    assert!(feed.next().await.is_none(), "once");
    error
}
