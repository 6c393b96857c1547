//! More watchers on three embedded replicas: what they cost those who write, and how long it takes until
//! all of them were told.
//!
//! * **A key each**: watchers of different keys, while 64 clients put keys of all of them: a put concerns
//!   one watcher, or none.
//! * **One key**: all watch the same one. A put at a time; the time runs until the last one was told.
//!
//! That nobody's watch ends, and that those of one key were told of each put, once, is checked.

use super::{Args, add, measured};
use crate::Check;
use crate::embedded::Replicas;
use crate::figures::{Figure, quantile_ms};
use crate::system::{Rig, System};
use crate::table::{Table, columns};
use crate::work::{Op, Work};
use axon_core::Store;
use axon_core::store::WatchEvent;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 256;
const CLIENTS: usize = 64;

/// Puts of the key that all watch, one at a time.
const TELLINGS: u64 = 50;

/// How long the last watcher may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The table that is filled.
pub fn table() -> Table {
    Table {
        name: "watchers",
        title: "Watchers on three replicas in one process; 64 clients write".into(),
        axis: "watchers",
        columns: columns(&[
            ("puts_per_second", "puts/s"),
            ("put_p50_ms", "put p50 ms"),
            ("put_p99_ms", "put p99 ms"),
            ("put_cpu_us", "CPU us/put"),
            ("events_per_second", "told/s"),
            ("told_all_p50_ms", "one key: all told, p50 ms"),
            ("told_all_max_ms", "one key: all told, max ms"),
        ]),
        rows: Vec::new(),
        charts: [
            ("puts and events a second", vec!["puts_per_second", "events_per_second"]),
            (
                "latency in ms",
                vec!["put_p50_ms", "put_p99_ms", "told_all_p50_ms", "told_all_max_ms"],
            ),
        ],
    }
}

/// Adds a row for each number of watchers.
pub async fn measure(args: &Args, rig: &Rig, table: &mut Table) -> Check {
    for count in &args.watchers {
        // As many keys as watchers, so that each has one of its own.
        let keys = KEYS.max(*count as u64);
        let work = Work::new(keys, VALUE_BYTES, 0, args.seed);
        let replicas = Replicas::start(&rig.directory, 3).await?;
        let stores = replicas.stores();
        let mut system = System::embedded(rig, replicas);
        let own = |watcher: usize| Work::key(watcher as u64);
        let watching = Watching::start(&stores, *count, own).await?;
        let begun = Instant::now();
        let put = measured(args, &mut system, &work, Op::Put, CLIENTS).await?;
        let told = watching.told() as f64 / begun.elapsed().as_secs_f64();
        watching.end().await?;
        let one = |_| Work::key(keys);
        let watching = Watching::start(&stores, *count, one).await?;
        let tellings = watching.tell_all(&stores, &Work::key(keys)).await?;
        watching.end().await?;
        system.end().await;
        let row = [
            put.figure(Figure::Throughput),
            put.figure(Figure::P50),
            put.figure(Figure::P99),
            put.figure(Figure::ServerCpu),
            Some(told),
            quantile_ms(&tellings, 0.5),
            quantile_ms(&tellings, 1.0),
        ];
        add(table, count, row);
    }
    Ok(())
}

/// Watchers that read all they are told.
struct Watching {
    count: u64,
    heard: Arc<Heard>,
    tasks: JoinSet<Check>,
}

/// What all of them together were told.
#[derive(Default)]
struct Heard {
    events: AtomicU64,
    /// The number of events that somebody waits for.
    awaited: AtomicU64,
    reached: Notify,
}

impl Watching {
    /// Lets `count` watch, spread over `stores`, the key that `key` says for each.
    async fn start(stores: &[Store], count: usize, key: impl Fn(usize) -> String) -> Check<Self> {
        let heard = Arc::new(Heard::default());
        let mut tasks = JoinSet::new();
        for watcher in 0..count {
            let watch = stores[watcher % stores.len()].watch(key(watcher)).start();
            let mut events = watch.await.map_err(|error| format!("no watch: {error}"))?;
            let heard = Arc::clone(&heard);
            tasks.spawn(async move {
                while let Some(event) = events.next().await {
                    match event {
                        Ok(WatchEvent::Batch { .. }) => heard.one(),
                        Ok(WatchEvent::Progress(_)) => {}
                        other => return Err(format!("a watcher was told {other:?}")),
                    }
                }
                Err("a watch ended".into())
            });
        }
        Ok(Self { count: count as u64, heard, tasks })
    }

    fn told(&self) -> u64 {
        self.heard.events.load(Ordering::Relaxed)
    }

    /// Puts `key`, which all of them watch, again and again: how long until the last was told.
    async fn tell_all(&self, stores: &[Store], key: &str) -> Check<Histogram<u32>> {
        let histogram = Histogram::new_with_bounds(100, 120_000_000_000, 3);
        let mut tellings = histogram.map_err(|error| format!("no histogram: {error}"))?;
        if self.count == 0 {
            return Ok(tellings);
        }
        for telling in 1..=TELLINGS {
            let all = telling * self.count;
            self.heard.awaited.store(all, Ordering::SeqCst);
            let begun = Instant::now();
            let put = stores[0].put(key.to_owned(), telling.to_string());
            put.await.map_err(|error| format!("a put: {error}"))?;
            let reached = tokio::time::timeout(PATIENCE, self.heard.reached.notified()).await;
            reached.map_err(|_| {
                format!("{} of {all} events after {} s", self.told(), PATIENCE.as_secs())
            })?;
            tellings
                .saturating_record(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        if self.told() != TELLINGS * self.count {
            return Err(format!("{} events, {} were due", self.told(), TELLINGS * self.count));
        }
        Ok(tellings)
    }

    async fn end(mut self) -> Check {
        // Nobody ends by himself but with an error.
        let ended = self.tasks.try_join_next();
        self.tasks.shutdown().await;
        ended.map_or(Ok(()), |ended| ended.map_err(|error| format!("a watcher: {error}"))?)
    }
}

impl Heard {
    fn one(&self) {
        let events = self.events.fetch_add(1, Ordering::SeqCst) + 1;
        if events == self.awaited.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
    }
}
