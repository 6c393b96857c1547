//! Whether all this finds anything: each bug that can be planted is run until it is found.
//!
//! `make mutants` tries every bug with up to 200 seeds, and says by which check it was found, and
//! after how many. Otherwise those are tried that are found at once: to see that planting works.

use crate::number;
use crate::run::{catch_panics, run};
use axon_core::testing::bug::Bug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Found with any seed, or nearly.
const QUICK: [Bug; 3] = [Bug::LocalReads, Bug::DropDedupe, Bug::PurgeEarly];
/// How many seeds those may take.
const QUICK_SEEDS: u64 = 20;

/// The bug that `SIM_BUG` names: to see a run of it.
pub fn wanted() -> Option<Bug> {
    let name = std::env::var("SIM_BUG").ok()?;
    Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
}

/// How a bug was found: after how many seeds, and what was said.
struct Found {
    seeds: u64,
    check: &'static str,
    text: String,
}

fn hunt(bug: Bug, seeds: u64) -> Option<Found> {
    (1..=seeds).find_map(|seed| {
        let finding = run(Some(bug), seed).finding?;
        let text = finding.text.lines().next().unwrap_or_default().to_owned();
        Some(Found { seeds: seed, check: finding.check, text })
    })
}

#[test]
fn planted_bugs_are_found() {
    catch_panics();
    let all = number("SIM_MUTANTS");
    let (bugs, seeds) = all.map_or((&QUICK[..], QUICK_SEEDS), |seeds| (&Bug::ALL[..], seeds));
    let one = wanted().map(|bug| [bug]);
    let bugs = one.as_ref().map_or(bugs, |one| &one[..]);
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = format!("{bug:?}");
                    if let Some(Found { seeds, check, text }) = hunt(*bug, seeds) {
                        println!("R3: {name:<16} found with seed {seeds} by {check:?}: {text}");
                    } else {
                        println!("R3: {name:<16} NOT found with {seeds} seeds");
                        missed.lock().unwrap().push(*bug);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    println!("R3: {} of {} planted bugs found", bugs.len() - missed.len(), bugs.len());
    assert!(missed.is_empty(), "not found with {seeds} seeds: {missed:?}");
}
