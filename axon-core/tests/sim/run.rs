//! One run: a seed, from the founding of a cluster to the verdict.

use crate::client::Client;
use crate::finish;
use crate::nemesis::Nemesis;
use crate::observer::{Coverage, Observer};
use crate::plan::Plan;
use crate::record::{Count, Record};
use crate::watcher::{Progress, Watcher};
use crate::world::{Finding, Life, World, address};
use axon_core::config::{Origin, Promotion};
use axon_core::runtime::{self, simulation};
use axon_core::testing::bug::{self, Bug};
use axon_core::testing::dice::Dice;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a cluster may take to be founded, with nothing wrong.
const FOUNDING_DEADLINE: Duration = Duration::from_secs(30);
/// How long a run may take.
const DEADLINE: Duration = Duration::from_mins(10);
/// How long clients go on after everything was mended and serves.
const AFTERMATH: Duration = Duration::from_secs(1);
/// The client that reads everything in the end.
const AUDITOR: u64 = 99;

/// What came of a run.
#[derive(Default)]
pub struct Report {
    pub seed: u64,
    pub replicas: u64,
    pub faults: usize,
    pub count: Count,
    pub coverage: Coverage,
    pub simulated: Duration,
    /// Of the trace: equal when the same happened.
    pub hash: u64,
    /// The judge came to no end.
    pub undecided: bool,
    pub finding: Option<Finding>,
    /// The trace's last lines, and all of them.
    pub tail: String,
    pub text: String,
}

thread_local! {
    /// Panics of this thread since the run began, by where they were.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Takes note of panics, on whatever task they happen. Once for a process.
pub fn catch_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !simulation::active() {
            return usual(info);
        }
        let place = info.location().map_or(String::new(), ToString::to_string);
        // Damaged pages make the state's engine panic; that is caught, and no surprise.
        if !place.contains("redb") {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
        }
    }));
}

fn runtime(seed: u64) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    let _ = seed;
    builder.build().expect("a runtime")
}

/// Runs `seed`, perhaps with a bug in the product.
pub fn run(bug: Option<Bug>, seed: u64) -> Report {
    PANICS.with_borrow_mut(Vec::clear);
    bug::plant(bug);
    let played = catch_unwind(AssertUnwindSafe(|| {
        let runtime = runtime(seed);
        let report = runtime.block_on(async {
            simulation::begin(seed);
            play(seed).await
        });
        drop(runtime);
        report
    }));
    simulation::end();
    bug::plant(None);
    let mut report = played.unwrap_or_default();
    report.seed = seed;
    if let Some(panic) = PANICS.with_borrow(|panics| panics.first().cloned()) {
        report.finding = Some(Finding { check: "panic", text: panic });
    }
    report
}

async fn play(seed: u64) -> Report {
    let mut dice = Dice::new(seed);
    let world = World::new(Plan::draw(&mut dice));
    let record = Record::new(world.trace.clone());
    let observer = Observer::new(world.clone());
    let mut report = Report { replicas: world.plan.replicas, ..Report::default() };
    let begun = runtime::now();
    let playing = act(&world, &record, &observer, &mut dice, &mut report);
    if tokio::time::timeout(DEADLINE, playing).await.is_err() {
        world.wrong("deadline", format!("the run does not end within {DEADLINE:?}"));
    }
    let (violation, undecided) = record.judge();
    if let Some(violation) = violation {
        world.wrong("history", format!("{:?}: {}", violation.kind, violation.text));
    }
    let coverage = observer.coverage();
    for Life { number, .. } in world.running() {
        world.crash(number, 0).await;
    }
    Report {
        count: record.count(),
        coverage,
        simulated: begun.elapsed(),
        hash: world.trace.hash(),
        undecided,
        finding: world.finding(),
        tail: world.trace.tail(),
        text: world.trace.text(),
        ..report
    }
}

async fn act(
    world: &Arc<World>,
    record: &Record,
    observer: &Observer,
    dice: &mut Dice,
    report: &mut Report,
) {
    let (tell, voted) = mpsc::unbounded_channel();
    drop(runtime::spawn(observer.clone().run(tell)));
    found(world).await;
    world.weather(world.plan.network);
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut client = |number| Client {
        world: world.clone(),
        record: record.clone(),
        number,
        dice: Dice::new(dice.roll()),
        stop: stop.clone(),
        done: done.clone(),
        known: BTreeMap::new(),
        sent: 0,
    };
    let mut auditor = client(AUDITOR);
    let clients: Vec<_> =
        (1..=world.plan.clients).map(|number| runtime::spawn(client(number).run())).collect();
    let watchers: Vec<Arc<Progress>> = (1..=world.plan.watchers)
        .map(|number| {
            let progress = Arc::new(Progress::default());
            let dice = Dice::new(dice.roll());
            let (world, record) = (world.clone(), record.clone());
            let watcher = Watcher { world, record, number, dice, progress: progress.clone() };
            drop(runtime::spawn(watcher.run()));
            progress
        })
        .collect();
    let mut nemesis = Nemesis::new(world.clone(), Dice::new(dice.roll()), voted);
    nemesis.run().await;
    report.faults = nemesis.faults;
    finish::mend(world);
    finish::serve(world).await;
    let before = done.load(Ordering::Relaxed);
    tokio::time::sleep(AFTERMATH).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let _ = client.await;
    }
    if done.load(Ordering::Relaxed) == before && !world.is_wrong() {
        world.wrong("serve", "everything is mended, and no client is served");
    }
    if world.is_wrong() {
        return;
    }
    finish::read_all(world, &mut auditor).await;
    if let Some(revision) = finish::equal(world).await {
        finish::told(world, &auditor, &watchers, revision).await;
    }
}

/// Makes a cluster of all its replicas, with nothing wrong yet.
async fn found(world: &World) {
    for number in 1..=world.plan.replicas {
        let origin = match number {
            1 => Origin::Init(None),
            _ => Origin::Join(vec![address(1)]),
        };
        world.add(number, origin, Promotion::Auto);
        if let Err(error) = world.start(number).await {
            return world.wrong("start", format!("n{number} does not start: {error}"));
        }
    }
    let deadline = runtime::now() + FOUNDING_DEADLINE;
    let complete = |life: &Life| {
        let voters = life.cluster.status().map_or(0, |status| status.voters.len() as u64);
        voters == world.plan.replicas && life.cluster.readiness().is_ok()
    };
    while !world.running().iter().all(complete) {
        if runtime::now() >= deadline || world.is_wrong() {
            return world.wrong("start", "the cluster is not complete");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.trace.note(format!("{} replicas vote", world.plan.replicas));
}
