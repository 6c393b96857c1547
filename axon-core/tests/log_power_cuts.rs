//! The write-ahead log when the power fails: at every single operation on the disk.
//!
//! A seeded workload runs in a simulation, so that the same seed gives the same operations. For each
//! of them it runs again and the power ends there; the disk found afterwards is opened, compared with
//! every state that the calls can have left, and the workload goes on with it, into further cuts.
//! `AXON_POWER_CUT_SEEDS` sets the number of workloads (default 6).
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::error::StorageError;
use axon_core::runtime::simulation;
use axon_core::storage::disk::Disk;
use axon_core::storage::wal::{Wal, WalConfig};
use axon_core::storage::{Completion, LogRecord, LogState, LogStore, PurgeMark, Result};
use axon_core::testing::dice::Dice;
use axon_core::testing::faulty_disk::{Fault, FaultyDisk};
use axon_core::types::LogIndex;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

const LOG_ID: u128 = 0xA7;
const CONFIG: WalConfig =
    WalConfig { segment_bytes: 6 << 10, first_segment_bytes: 2 << 10, spare_segments: 1 };

fn directory() -> &'static Path {
    Path::new("/data/log")
}

fn open(disk: &FaultyDisk) -> Result<Wal> {
    Wal::open(Arc::new(disk.clone()), directory(), LOG_ID, CONFIG)
}

fn create(disk: &FaultyDisk) -> Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Wal::create(&disk, directory(), LOG_ID, CONFIG)
}

/// Runs `future` as a simulation with `seed`.
fn simulate<F: Future>(seed: u64, future: F) -> F::Output {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let output = runtime.block_on(async {
        simulation::begin(seed);
        future.await
    });
    drop(runtime);
    simulation::end();
    output
}

/// What a log should hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    entries: BTreeMap<u64, Bytes>,
    purged: Option<PurgeMark>,
    next: Option<u64>,
    vote: Option<Bytes>,
    /// Committed values saved so far: how many.
    committed: u64,
}

impl Model {
    fn lowest(&self) -> u64 {
        self.purged.as_ref().map_or(0, |mark| mark.upto.0 + 1)
    }

    fn truncate_after(&mut self, last: Option<u64>) {
        self.entries.retain(|index, _| last.is_some_and(|last| *index <= last));
        let lowest = self.purged.as_ref().map(|mark| mark.upto.0 + 1);
        self.next = match (last, self.next) {
            (Some(last), Some(next)) => Some(next.min(last + 1)).max(lowest),
            (Some(_), None) => None,
            (None, _) => lowest,
        };
    }

    fn purge(&mut self, mark: PurgeMark) {
        if self.purged.as_ref().is_none_or(|purged| purged.upto < mark.upto) {
            self.entries.retain(|index, _| *index > mark.upto.0);
            self.next = self.next.max(Some(mark.upto.0 + 1));
            self.purged = Some(mark);
        }
    }

    /// Whether a log that was found holds this; what is committed may be older.
    fn matches(&self, Found { state, records }: &Found, committed_at_least: u64) -> bool {
        let last = self.entries.last_key_value().map(|(index, _)| LogIndex(*index));
        state.purged == self.purged
            && state.vote == self.vote
            && state.last == last
            && (committed_at_least..=self.committed).contains(&committed_of(state))
            && records
                .iter()
                .map(|record| (record.index.0, &record.payload))
                .eq(self.entries.iter().map(|(index, payload)| (*index, payload)))
    }
}

/// What a log holds that was opened.
struct Found {
    state: LogState,
    records: Vec<LogRecord>,
}

impl Found {
    fn inspect(log: &Wal) -> Result<Self> {
        let records = log.read(LogIndex(0)..LogIndex(u64::MAX), usize::MAX)?;
        Ok(Self { state: log.opened(), records })
    }
}

fn committed_of(state: &LogState) -> u64 {
    state.committed.as_ref().map_or(0, |bytes| {
        u64::from_le_bytes(bytes.as_ref().try_into().expect("eight bytes, as saved"))
    })
}

/// What was asked of a log, as the states that it went through.
struct History {
    name: String,
    /// A call with many records takes many steps.
    states: Vec<Model>,
    /// Up to which state everything was acknowledged.
    acknowledged: usize,
}

impl History {
    fn begin(name: String, state: Model) -> Self {
        Self { name, states: vec![state], acknowledged: 0 }
    }

    fn state(&self) -> Model {
        self.states.last().unwrap().clone()
    }

    fn latest(&self) -> usize {
        self.states.len() - 1
    }

    /// Goes on from the state that a log was found in, which is one that the calls have left and
    /// that holds everything acknowledged.
    fn resume(&mut self, found: &Found) {
        let committed = self.states[self.acknowledged].committed;
        let mut possible = self.states[self.acknowledged..].iter();
        let Some(state) = possible.find(|state| state.matches(found, committed)) else {
            let summary = |state: &Model| {
                let last = state.entries.last_key_value().map(|(last, _)| *last);
                let upto = state.purged.as_ref().map(|mark| mark.upto);
                format!(
                    "{upto:?} to {last:?}, vote {:?}, {} committed",
                    state.vote, state.committed
                )
            };
            let states: Vec<_> = self.states[self.acknowledged..].iter().map(summary).collect();
            let (name, found) = (&self.name, &found.state);
            panic!(
                "{name}: no call has left {found:?}; from what was acknowledged on: {states:#?}"
            );
        };
        // A later value that was not there did not reach the disk, and must not come back.
        let committed = committed_of(&found.state);
        *self = Self::begin(self.name.clone(), Model { committed, ..state.clone() });
    }
}

/// One life of a log: from its opening to the end of the power.
struct Life<'a> {
    disk: &'a FaultyDisk,
    log: Wal,
    dice: Dice,
    history: &'a mut History,
    waiting: Vec<(usize, oneshot::Receiver<Result<()>>)>,
}

impl Life<'_> {
    fn completion(&mut self) -> Completion {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push((self.history.latest(), receiver));
        Box::new(move |result| drop(sender.send(result)))
    }

    /// Waits for every call; `false` when the power has ended.
    async fn wait(&mut self) -> bool {
        let mut powered = true;
        for (state, answer) in self.waiting.drain(..) {
            match answer.await.expect("every call is answered") {
                Ok(()) => {
                    assert!(powered, "{}: nothing succeeds after a failure", self.history.name);
                    self.history.acknowledged = state;
                }
                Err(_) => powered = false,
            }
        }
        powered
    }

    fn append(&mut self) {
        let count = 1 + self.dice.below(6);
        let mut state = self.history.state();
        let mut records = Vec::new();
        for _ in 0..count {
            let index = state.next.unwrap_or_else(|| self.dice.below(3));
            let bytes = match self.dice.below(16) {
                0 => 2_000 + self.dice.below(9_000),
                1..4 => self.dice.below(1_500),
                _ => self.dice.below(100),
            };
            let name = format!("{} state {} ", self.history.name, self.dice.roll());
            let payload: Bytes =
                name.bytes().cycle().take(name.len() + bytes as usize).collect::<Vec<_>>().into();
            records.push(LogRecord { index: LogIndex(index), payload: payload.clone() });
            state.entries.insert(index, payload);
            state.next = Some(index + 1);
            self.history.states.push(state.clone());
        }
        let done = self.completion();
        self.log.append(records, done);
    }

    fn vote(&mut self) {
        let vote = Bytes::from(format!("{} vote {}", self.history.name, self.dice.roll()));
        self.history.states.push(Model { vote: Some(vote.clone()), ..self.history.state() });
        let done = self.completion();
        self.log.save_vote(vote, done);
    }

    fn commit(&mut self) {
        let mut state = self.history.state();
        state.committed += 1;
        self.log.save_committed(Bytes::copy_from_slice(&state.committed.to_le_bytes()));
        self.history.states.push(state);
    }

    fn truncate(&mut self) {
        let mut state = self.history.state();
        let span = state.entries.len() as u64 + 2;
        let last = (!self.dice.once_in(12)).then(|| state.lowest() + self.dice.below(span));
        state.truncate_after(last);
        self.history.states.push(state);
        let done = self.completion();
        self.log.truncate_after(last.map(LogIndex), done);
    }

    fn purge(&mut self) {
        let mut state = self.history.state();
        let beyond = if self.dice.once_in(10) { 9 } else { 0 };
        let span = state.entries.len() as u64 + 1 + beyond;
        let upto = LogIndex(state.lowest() + self.dice.below(span));
        let mark = PurgeMark { upto, mark: format!("{} mark {upto}", self.history.name).into() };
        state.purge(mark.clone());
        self.history.states.push(state);
        let done = self.completion();
        self.log.purge(mark, done);
    }

    /// A stop and a start, clean or as after a kill; `false` when the power has ended.
    async fn restart(&mut self, clean: bool) -> bool {
        if clean {
            self.log.close();
        } else {
            self.log = match open_after(self.disk, &mut self.log) {
                Ok(log) => log,
                Err(error) => return unpowered(&self.history.name, &error),
            };
        }
        let closed = self.wait().await;
        if clean {
            match open(self.disk) {
                Ok(log) => self.log = log,
                Err(error) => return unpowered(&self.history.name, &error),
            }
            if closed {
                // There was still power: what is committed has ridden along with the last mark.
                self.history.acknowledged = self.history.latest();
            }
        }
        match Found::inspect(&self.log) {
            Ok(found) => self.history.resume(&found),
            Err(error) => return unpowered(&self.history.name, &error),
        }
        true
    }

    /// Works until it is done or the power ends; `true` when it is done.
    async fn work(&mut self, steps: u64) -> bool {
        for _ in 0..steps {
            let powered = match self.dice.below(40) {
                0..16 => {
                    self.append();
                    true
                }
                16..20 => {
                    self.vote();
                    true
                }
                20..25 => {
                    self.commit();
                    true
                }
                25..28 => {
                    self.truncate();
                    true
                }
                28..32 => {
                    self.purge();
                    true
                }
                choice @ 32..34 => self.restart(choice == 32).await,
                _ => self.wait().await,
            };
            if !powered {
                return false;
            }
        }
        self.wait().await
    }
}

/// Kills what runs and opens its log again, as another process would.
fn open_after(disk: &FaultyDisk, killed: &mut Wal) -> Result<Wal> {
    // A log on another disk takes its place, so that it is dropped before the log is opened again.
    let elsewhere = FaultyDisk::new();
    create(&elsewhere)?;
    drop(std::mem::replace(killed, open(&elsewhere)?));
    open(disk)
}

fn unpowered(name: &str, error: &StorageError) -> bool {
    assert!(
        matches!(error, StorageError::Io { .. }),
        "{name}: only the power can be missing: {error}"
    );
    false
}

/// Opens the log and works with it; `true` when the power has lasted.
async fn live(disk: &FaultyDisk, history: &mut History, seed: u64) -> bool {
    let log = match open(disk) {
        Ok(log) => log,
        Err(error) => return unpowered(&history.name, &error),
    };
    let mut dice = Dice::new(seed);
    let steps = 30 + dice.below(30);
    Life { disk, log, dice, history, waiting: vec![] }.work(steps).await
}

/// Lives until the power ends after `cut` operations, and on from what is found, three times.
/// Returns how many operations the first life took.
async fn lives(seed: u64, cut: Option<u64>, crash_seed: u64) -> u64 {
    let mut dice = Dice::new(seed ^ crash_seed << 32 ^ cut.unwrap_or(0) << 16);
    let name = format!("seed {seed}, cut {cut:?}, crash {crash_seed}");
    let mut disk = FaultyDisk::new();
    if let Some(cut) = cut {
        disk.cut_power_after(cut);
    }
    let mut history = History::begin(name.clone(), Model::default());
    let created = create(&disk);
    let lasted = created.is_ok() && live(&disk, &mut history, seed).await;
    assert!(lasted || cut.is_some(), "{name}: nothing fails while there is power");
    let operations = disk.operations();
    disk = disk.crash(dice.roll());
    if created.is_err() && matches!(open(&disk), Err(StorageError::Mismatch { .. })) {
        create(&disk).expect("what a power cut left of a log in the making is no obstacle");
    }
    for life in 1..=3 {
        find(&disk, &mut history, dice.once_in(2));
        history.name = format!("{name}, life {life}");
        disk.cut_power_after(disk.operations() + dice.below(120));
        live(&disk, &mut history, dice.roll()).await;
        disk = disk.crash(dice.roll());
    }
    find(&disk, &mut history, true);
    operations
}

/// Opens what a power cut has left, which must hold what it promised.
fn find(disk: &FaultyDisk, history: &mut History, close: bool) {
    let found = open(disk).and_then(|log| {
        let found = Found::inspect(&log)?;
        if close {
            log.close();
        }
        Ok(found)
    });
    history.resume(&found.unwrap_or_else(|error| panic!("{}: {error}", history.name)));
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let seeds = std::env::var("AXON_POWER_CUT_SEEDS").map_or(6, |seeds| seeds.parse().unwrap());
    let mut cuts = 0;
    for seed in 1..=seeds {
        let operations = simulate(seed, lives(seed, None, 0));
        for cut in 0..operations {
            for crash_seed in 0..2 {
                simulate(seed, lives(seed, Some(cut), crash_seed));
                cuts += 1;
            }
        }
    }
    println!(
        "R10: log: {cuts} power cuts in the first life, three more in each; 0 acknowledged entries lost"
    );
    assert!(cuts >= 500 || seeds < 6, "the workloads are too small: {cuts} cuts");
}

#[test]
fn a_full_or_failing_disk_loses_nothing_acknowledged() {
    for seed in 1..=120 {
        simulate(seed, async {
            let mut dice = Dice::new(seed);
            let fault = if dice.once_in(2) { Fault::NoSpace } else { Fault::Io };
            let disk = FaultyDisk::new();
            create(&disk).unwrap();
            if dice.once_in(2) {
                disk.fail_write(1 + dice.below(60), fault);
            } else {
                disk.fail_sync(1 + dice.below(40), fault);
            }
            let mut history = History::begin(format!("seed {seed}"), Model::default());
            live(&disk, &mut history, seed).await;
            let image = disk.crash(seed);
            find(&image, &mut history, false);
        });
    }
}
