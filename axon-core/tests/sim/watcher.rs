//! Watchers: each follows some keys for the whole run, and goes on elsewhere when its replica is lost.

use crate::record::Record;
use crate::world::{Life, World};
use axon_core::Error;
use axon_core::runtime::{self, simulation};
use axon_core::store::Store;
use axon_core::testing::dice::Dice;
use axon_core::testing::history::{Start, Told, WatchId};
use axon_core::types::{KeyRange, Revision};
use futures_util::StreamExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often a quiet watch says how far it has come.
const PROGRESS: Duration = Duration::from_millis(150);
/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(40);
/// How long a watch that has missed nothing may be silent before its watcher looks elsewhere.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// What a watcher follows now, and how far it was told.
#[derive(Debug, Clone, Copy)]
struct Place {
    watch: WatchId,
    /// `None` until the first thing is told that says so.
    told_to: Option<Revision>,
}

pub struct Watcher {
    pub world: Arc<World>,
    pub record: Record,
    pub number: u64,
    pub dice: Dice,
    pub progress: Arc<Progress>,
}

/// How far a watcher was told, for those who wait.
#[derive(Default)]
pub struct Progress {
    place: Mutex<Option<Place>>,
    /// The revision that everyone waits for in the end; 0 before it is known.
    pub wanted: AtomicU64,
}

impl Progress {
    fn place(&self) -> Option<Place> {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, place: Option<Place>) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// The watch that was told everything up to `revision`, if it was.
    pub fn reached(&self, revision: Revision) -> Option<WatchId> {
        self.place().filter(|place| place.told_to >= Some(revision)).map(|place| place.watch)
    }

    /// How far it was told, for people.
    pub fn told_to(&self) -> Option<u64> {
        self.place()?.told_to.map(|revision| revision.0)
    }
}

type Events = mpsc::UnboundedReceiver<Result<Told, Error>>;

impl Watcher {
    pub async fn run(mut self) {
        let range = if self.dice.once_in(2) {
            KeyRange::prefix("k/")
        } else {
            KeyRange::key(crate::client::key(self.dice.below(self.world.plan.keys)))
        };
        while !self.world.is_wrong() {
            let lives = self.world.running();
            if lives.is_empty() {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let life = &lives[self.dice.below(lives.len() as u64) as usize];
            match self.begin(life, &range).await {
                Some(events) => self.follow(life, events).await,
                None => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Starts a watch on `life`: where the last one was lost, or anew.
    async fn begin(&mut self, life: &Life, range: &KeyRange) -> Option<Events> {
        let resumed = self.progress.place().and_then(|place| Some((place.watch, place.told_to?)));
        let start = match resumed {
            Some((_, told_to)) => Start::From(told_to.next()),
            None => match self.dice.below(2) {
                0 => Start::State,
                _ => Start::Now(self.world.trace.moment()),
            },
        };
        let laziness = if self.dice.once_in(3) { self.dice.below(60) } else { 0 };
        let (store, range_wanted) = (life.cluster.store(), range.clone());
        let (events, told) = mpsc::unbounded_channel();
        let (started, answer) = tokio::sync::oneshot::channel();
        let watching = watch(store, range_wanted, start, laziness, started, events);
        simulation::on_node(life.node, async { drop(runtime::spawn(watching)) }).await;
        let said = match tokio::time::timeout(START_DEADLINE, answer).await {
            Ok(Ok(Ok(()))) => {
                let may_lag = self.world.plan.history_is_short;
                let watch = match (resumed, start) {
                    (Some((earlier, _)), Start::From(from)) => self.record.resume(earlier, from),
                    _ => self.record.watch(range.clone().into(), start, may_lag),
                };
                let told_to = resumed.map(|(_, told_to)| told_to);
                self.progress.set(Some(Place { watch, told_to }));
                self.note(life, &format!("starts {start:?}"));
                return Some(told);
            }
            Ok(Ok(Err(error))) => {
                if matches!(error, Error::Compacted { .. }) {
                    if !self.world.plan.history_is_short {
                        self.world.wrong("watch", format!("{error}, and nothing was compacted"));
                    }
                    self.progress.set(None);
                }
                error.to_string()
            }
            Ok(Err(_)) => "lost".to_owned(),
            Err(_) => "late".to_owned(),
        };
        self.note(life, &format!("cannot start {start:?}: {said}"));
        None
    }

    /// Reads until the replica is lost, or says nothing.
    async fn follow(&mut self, life: &Life, mut events: Events) {
        let Some(Place { watch, mut told_to }) = self.progress.place() else { return };
        let mut shown = told_to.is_some();
        loop {
            let event = tokio::time::timeout(SILENCE_MAX, events.recv()).await;
            let Ok(Some(Ok(told))) = event else {
                let why = match event {
                    Err(_) => "silent".to_owned(),
                    Ok(Some(Err(error))) => error.to_string(),
                    _ => "lost".to_owned(),
                };
                self.note(life, &format!("ends at {told_to:?}: {why}"));
                // What began with the state and did not get to its end is of no use.
                if !shown {
                    self.progress.set(None);
                }
                return;
            };
            self.note(life, &short(&told));
            let (revision, ends) = match &told {
                Told::Batch { revision, .. } => (*revision, false),
                Told::Progress(revision) => (*revision, true),
                Told::Resync { to, .. } => (*to, true),
            };
            shown |= ends;
            if shown {
                told_to = told_to.max(Some(revision));
                self.progress.set(Some(Place { watch, told_to }));
            }
            self.record.tell(watch, told);
            let wanted = self.progress.wanted.load(Ordering::Relaxed);
            if wanted > 0 && told_to >= Some(Revision(wanted)) {
                return std::future::pending().await;
            }
        }
    }

    fn note(&self, life: &Life, what: &str) {
        self.world.trace.note(format!("watcher {} on n{}: {what}", self.number, life.number));
    }
}

fn short(told: &Told) -> String {
    match told {
        Told::Batch { revision, changes } => format!("revision {revision}, {} keys", changes.len()),
        other => format!("{other:?}"),
    }
}

/// The part of a watcher that lives on the replica.
async fn watch(
    store: Store,
    range: KeyRange,
    start: Start,
    laziness: u64,
    started: tokio::sync::oneshot::Sender<Result<(), Error>>,
    events: mpsc::UnboundedSender<Result<Told, Error>>,
) {
    let watch = store.range(range).watch().progress_interval(PROGRESS).with_previous();
    let watch = match start {
        Start::From(from) => watch.from(from),
        Start::State => watch.with_initial_state(),
        Start::Now(_) => watch,
    };
    let mut watcher = match watch.start().await {
        Ok(watcher) => watcher,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    if started.send(Ok(())).is_err() {
        return;
    }
    while let Some(event) = watcher.next().await {
        if events.send(event.map(Told::from)).is_err() {
            return;
        }
        if laziness > 0 {
            tokio::time::sleep(Duration::from_millis(laziness)).await;
        }
    }
}
