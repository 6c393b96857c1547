//! A service that follows its configuration: everything under `config/`, as it is and as it changes.
//!
//! It begins with what exists, takes every change in as it is made, and remembers the revision up to
//! which it has seen everything. A watch that broke off goes on from there; only when the history no
//! longer reaches back so far does it read everything anew. Run it with
//! `cargo run --example config_watch [directory]`.

use axon_core::config::History;
use axon_core::store::{WatchChange, WatchEvent, Watcher};
use axon_core::types::Revision;
use axon_core::{Cluster, Error, Store};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

const PREFIX: &str = "config/";
const DEADLINE: Duration = Duration::from_secs(30);

/// The configuration as the service sees it.
struct Settings {
    store: Store,
    values: BTreeMap<String, String>,
    /// Every change up to this revision is in `values`; `None` until the first picture is whole.
    seen: Option<Revision>,
    watcher: Option<Watcher>,
    /// How often everything was read from the beginning.
    beginnings: usize,
}

impl Settings {
    fn new(store: Store) -> Self {
        Self { store, values: BTreeMap::new(), seen: None, watcher: None, beginnings: 0 }
    }

    /// Waits until the service sees `value` under `key`, and is up to date. Counts what it was told.
    async fn until(&mut self, key: &str, value: &str) -> Result<usize, Error> {
        let mut told = 0;
        while self.seen.is_none() || self.values.get(key).is_none_or(|found| found != value) {
            let mut watcher = match self.watcher.take() {
                Some(watcher) => watcher,
                None => self.watch().await?,
            };
            let event =
                timeout(DEADLINE, watcher.next()).await.expect("the change is told in time");
            if let Some(event) = event.transpose()? {
                // A watcher that is not put back is gone: the next round begins a new one.
                self.watcher = Some(watcher);
                told += self.take(event);
            }
        }
        Ok(told)
    }

    /// Goes on after what was seen, or begins with what exists.
    async fn watch(&mut self) -> Result<Watcher, Error> {
        if let Some(seen) = self.seen {
            let after = self.store.prefix(PREFIX).watch().from(seen.next());
            match after.start().await {
                Err(Error::Compacted { oldest, .. }) => println!("history begins at {oldest} now"),
                started => return started,
            }
        }
        self.forget();
        self.beginnings += 1;
        self.store.prefix(PREFIX).watch().with_initial_state().start().await
    }

    /// Takes in what the watch tells; returns how many changes that were.
    fn take(&mut self, event: WatchEvent) -> usize {
        match event {
            WatchEvent::Batch { revision, changes } => {
                // Of the first picture there may be more to come under the same revision: it is
                // whole with the progress that follows it.
                self.seen = self.seen.map(|_| revision);
                let count = changes.len();
                for change in changes {
                    match change {
                        WatchChange::Put { pair, .. } => {
                            self.values.insert(text(&pair.key), text(&pair.value))
                        }
                        WatchChange::Delete { key, .. } => self.values.remove(&text(&key)),
                    };
                }
                count
            }
            WatchEvent::Progress(revision) => {
                self.seen = Some(revision);
                0
            }
            // Changes went by untold. What is left of a key that was removed meanwhile would stay
            // for ever: begin with nothing.
            WatchEvent::Resync { from, to } => {
                println!("revisions {from} to {to} are gone unread: reading everything anew");
                self.forget();
                0
            }
        }
    }

    fn forget(&mut self) {
        self.values.clear();
        (self.seen, self.watcher) = (None, None);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| scratch.path().join("data"), PathBuf::from);
    let replica = Cluster::open(&path).await?;
    let store = replica.store();
    store.put("config/limit", "100").await?;
    store.put("config/mode", "fast").await?;

    let mut settings = Settings::new(store.clone());
    settings.until("config/limit", "100").await?;
    println!("begins with {:?}", settings.values);
    assert_eq!(settings.values.len(), 2);

    store.put("config/limit", "200").await?;
    assert_eq!(settings.until("config/limit", "200").await?, 1);
    println!("is told of limit {}", settings.values["config/limit"]);

    // The watch breaks off, and the world goes on without it.
    settings.watcher = None;
    store.delete("config/mode").await?;
    store.put("unrelated", "noise").await?;
    store.put("config/limit", "300").await?;
    let told = settings.until("config/limit", "300").await?;
    println!("goes on where it was: {told} changes later it has {:?}", settings.values);
    assert_eq!((told, settings.values.len()), (2, 1), "what was missed, and no more than that");
    let Settings { values, seen, .. } = settings;
    replica.shutdown().await?;
    drop((replica, store));

    falls_behind(&path, values, seen).await
}

/// The same service on a store that keeps no history: what it misses, it cannot catch up with.
async fn falls_behind(
    path: &Path,
    values: BTreeMap<String, String>,
    seen: Option<Revision>,
) -> Result<(), Box<dyn std::error::Error>> {
    let builder = Cluster::builder().data_dir(path).settings(|c| c.history = History::LatestOnly);
    let replica = builder.start().await?;
    replica.wait_ready(DEADLINE).await?;
    let store = replica.store();
    let mut settings = Settings { values, seen, ..Settings::new(store.clone()) };

    // It watches, but does not read, while more goes by than the store keeps at hand.
    settings.watcher = Some(settings.watch().await?);
    store.put("config/color", "red").await?;
    store.delete("config/limit").await?;
    for _ in 0..10 {
        store.put("config/manual", vec![b' '; 1 << 20]).await?;
    }
    store.delete("config/manual").await?;
    forgotten(&replica, store.put("config/size", "small").await?.revision).await?;
    settings.until("config/size", "small").await?;
    println!("was too slow, and has {:?}", settings.values);
    assert!(!settings.values.contains_key("config/limit"), "what was removed unseen is gone");
    assert_eq!(settings.beginnings, 1);

    // It does not even watch.
    settings.watcher = None;
    store.delete("config/color").await?;
    forgotten(&replica, store.put("config/size", "large").await?.revision).await?;
    settings.until("config/size", "large").await?;
    println!("was away too long, and has {:?}", settings.values);
    assert_eq!((settings.values.len(), settings.beginnings), (1, 2));
    Ok(replica.shutdown().await?)
}

/// Waits until the history begins after `revision`.
async fn forgotten(
    replica: &Cluster,
    revision: Revision,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let compacted = async {
        while replica.status()?.compacted_revision < revision {
            ticks.tick().await;
        }
        Ok::<(), Error>(())
    };
    Ok(timeout(DEADLINE, compacted).await??)
}
