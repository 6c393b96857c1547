//! A whole cluster, simulated: several replicas with Axon's own core, log and state, on a network and
//! on disks that fail, with clients that remember what they were told.
//!
//! Everything in a run follows from its seed: `make sim SEEDS=200` runs the seeds 1 to 200, `SEED=17`
//! one of them again, exactly (with `--cfg tokio_unstable`, which lets the scheduler's own choices be
//! seeded; without it a run is as good, and may take another course the next time).
//!
//! * `plan`: what a seed decides beforehand; `world`: replicas, disks, network; `nemesis`: trouble;
//! * `client`, `watcher`: who asks, and `record`, what they were told, for the judge;
//! * `observer`: what must never be seen; `finish`: what must come true when all is mended;
//! * `trace`: what happened, and the proof that it happened again;
//! * `mutants`: whether all this finds anything.
//!
//! What it does not try: time within a write (a batch is written at one moment, or the power ends in
//! it), gossip, TCP and HTTP; and files that say who a replica is survive everything.

#![allow(clippy::unwrap_used, reason = "tests")]

mod client;
mod engine;
mod finish;
mod mutants;
mod nemesis;
mod observer;
mod plan;
mod record;
mod run;
mod trace;
mod watcher;
mod wire;
mod world;

use run::Report;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Seeds that run when nothing is said.
const SEEDS: u64 = 4;
/// Faults that a run has at least.
const FAULTS_MIN: usize = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds that were asked for.
fn seeds() -> Vec<u64> {
    if let Some(seed) = number("SIM_SEED") {
        return vec![seed];
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    (first..first + number("SIM_SEEDS").unwrap_or(SEEDS)).collect()
}

/// Runs every seed, on all processors; in the order of seeds.
fn run_all(seeds: &[u64], run: impl Fn(u64) -> Report + Sync) -> Vec<Report> {
    run::catch_panics();
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(seeds.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(*seed);
                    tell(&report);
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort_by_key(|report| report.seed);
    reports
}

/// Says what came of a run, if that is wanted or it failed.
fn tell(report: &Report) {
    let Report { seed, replicas, faults, count, coverage, simulated, hash, .. } = report;
    if number("SIM_VERBOSE").is_some() || report.finding.is_some() {
        println!(
            "seed {seed}: {replicas} replicas, {faults} faults, {} operations ({} acknowledged, {} \
             failed, {} unknown), {} watch events, {} terms, {} states compared, {} \
             snapshots installed, {} checkpoints, compacted to {}, {:.1} s simulated, trace {hash:016x}",
            count.operations,
            count.acknowledged,
            count.failed,
            count.unknown,
            count.events,
            coverage.terms,
            coverage.states,
            coverage.snapshots,
            coverage.checkpoints,
            coverage.compacted,
            simulated.as_secs_f64(),
        );
    }
    if let Some(finding) = &report.finding {
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sim-{seed}"));
        let written = std::fs::write(&file, &report.text);
        println!(
            "{}\n\nVIOLATION of {:?}, seed {seed}: {}",
            report.tail, finding.check, finding.text
        );
        println!("all of the trace: {} ({written:?})", file.display());
        println!("replay: make sim SEED={seed}\n");
    }
}

#[test]
fn nothing_is_lost_whatever_fails() {
    let (seeds, begun) = (seeds(), Instant::now());
    let bug = mutants::wanted();
    let reports = run_all(&seeds, |seed| run::run(bug, seed));
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let violations: Vec<u64> =
        reports.iter().filter(|one| one.finding.is_some()).map(|one| one.seed).collect();
    let simulated: f64 = reports.iter().map(|one| one.simulated.as_secs_f64()).sum();
    println!(
        "R1: {} seeds, {} faults (at least {} each), {} operations ({} acknowledged, {} unknown), {} \
         watch events, {} snapshots installed, {} undecided, {} violations; {simulated:.0} s simulated in {:.1} s",
        reports.len(),
        sum(|one| one.faults),
        reports.iter().map(|one| one.faults).min().unwrap_or(0),
        sum(|one| one.count.operations),
        sum(|one| one.count.acknowledged),
        sum(|one| one.count.unknown),
        sum(|one| one.count.events),
        sum(|one| one.coverage.snapshots as usize),
        sum(|one| usize::from(one.undecided)),
        violations.len(),
        begun.elapsed().as_secs_f64(),
    );
    assert!(violations.is_empty(), "violations with the seeds {violations:?}");
    assert!(reports.iter().all(|report| report.faults >= FAULTS_MIN));
}

/// Without the flag the scheduler's own choices follow from nothing.
#[cfg(tokio_unstable)]
#[test]
fn a_seed_replays_exactly() {
    let seeds: Vec<u64> = (1..=number("SIM_TWICE").unwrap_or(2)).collect();
    let once = |seed| run::run(None, seed);
    let (first, again) = (run_all(&seeds, once), run_all(&seeds, once));
    let equal = first.iter().zip(&again).filter(|(one, other)| one.hash == other.hash).count();
    println!("R2: {equal} of {} seeds have an equal trace when they run again", seeds.len());
    for (one, other) in first.iter().zip(&again).filter(|(one, other)| one.hash != other.hash) {
        let parts = one.text.lines().zip(other.text.lines()).find(|(one, other)| one != other);
        println!("seed {}: they part at {parts:?}", one.seed);
    }
    assert_eq!(equal, seeds.len());
}
