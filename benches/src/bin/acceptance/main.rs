//! Acceptance: what Axon promises, tried on real processes. For a person, and for a nightly run.
//!
//! It builds nothing: it takes the two binaries (by default those beside itself), starts a launcher
//! with three nodes in an empty directory on free ports, and tries one point after the other. It
//! prints a line with figures for each, and ends with status 1 at the first violation, leaving the
//! directory with all data and the launcher's output behind. Only public doors are used: HTTP, the
//! control API, signals, and the files of stopped nodes.
//!
//! The points 2 to 8 (the group `cluster`) share one cluster. Every pair that any of them writes is
//! remembered in the [`Ledger`](ledger::Ledger) and checked again by every later one, on every node:
//! nothing acknowledged is ever missing or different. Each of the points 9 to 13 (the group `data`)
//! has clusters of its own, and ends with equal state hashes on all nodes. The points 14 to 22 (the
//! group `handling`) are what people and machines do to clusters: wipe, kill, add, restart, remove,
//! fill, intrude, lose.

mod events;
mod files;
mod guest;
mod measure;
mod points;
mod rig;
mod witness;

use axon_benches::ensure;
use axon_benches::trial::{Check, clocks, http, ledger, load, ports, stream, v1};
use clap::Parser;
use rig::{Rig, Surroundings};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Tries Axon's promises on real processes.
#[derive(Parser)]
pub struct Args {
    /// The axon-launcher to try; by default the one beside this program.
    #[arg(long)]
    launcher: Option<PathBuf>,
    /// The axon-server it is to start; by default the one beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Generated pairs in point 2.
    #[arg(long, default_value_t = 100_000)]
    pairs: usize,
    /// Times the leader is killed in the points 3 and 10.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// First starts that are killed in point 15.
    #[arg(long, default_value_t = 50)]
    births: usize,
    /// Bits flipped in point 8.
    #[arg(long, default_value_t = 6)]
    flips: usize,
    /// Keys loaded in point 12.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u32,
    /// Minutes of writing with the history at its budget in point 13.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The points to try, in this order: numbers, `cluster` for 2 to 8, `data` for 9 to 13, `handling` for
    /// 14 to 22.
    #[arg(long, value_delimiter = ',', default_values_t = ["cluster", "data", "handling"].map(str::to_owned))]
    points: Vec<String>,
    /// The seed of everything random; printed with every run.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the run's directory is made; by default the system's temporary directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Keeps the directory after a success, too.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            eprintln!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Check {
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("acceptance --seed {seed}");
    let points = selected(&args.points)?;
    for points in points.chunk_by(|one, next| SHARED.contains(one) && SHARED.contains(next)) {
        if SHARED.contains(&points[0]) {
            Rig::with(args, seed, Surroundings::default(), async |rig| {
                println!("three nodes in {}", rig.root().display());
                for point in points {
                    told(*point, on_shared(args, rig, *point)).await?;
                }
                Ok(())
            })
            .await?;
        } else {
            told(points[0], on_its_own(args, seed, points[0])).await?;
        }
    }
    Ok(())
}

/// The points that share a cluster, and the others.
const SHARED: [u8; 7] = [7, 2, 3, 4, 5, 6, 8];
const OWN: [u8; 5] = [9, 10, 11, 12, 13];
const HANDLING: [u8; 9] = [14, 15, 16, 17, 18, 19, 20, 21, 22];

/// The points that `names` mean.
fn selected(names: &[String]) -> Check<Vec<u8>> {
    let mut points = Vec::new();
    for name in names {
        match name.as_str() {
            "cluster" => points.extend(SHARED),
            "data" => points.extend(OWN),
            "handling" => points.extend(HANDLING),
            number => {
                let known = number.parse().ok().filter(|number| (2..=22).contains(number));
                points.push(known.ok_or_else(|| {
                    let groups = "`cluster`, `data` and `handling`";
                    format!("there is no point {number}; there are 2 to 22, {groups}")
                })?);
            }
        }
    }
    Ok(points)
}

/// Prints the figures of a point, or puts its number before the violation.
async fn told(point: u8, figures: impl Future<Output = Check<String>>) -> Check {
    let begun = Instant::now();
    let figures = figures.await.map_err(|violation| format!("point {point}: {violation}"))?;
    let (goals, took) = (goals(point), begun.elapsed().as_secs_f64());
    println!("{goals}point {point} ok in {took:.1} s: {figures}");
    Ok(())
}

/// The goals of `docs/reliability.md` that a point is about.
const fn goals(point: u8) -> &'static str {
    match point {
        3 => "R6 ",
        14 => "R13 ",
        15 => "R14 ",
        19 => "R7 R19 ",
        20 => "R12 ",
        _ => "",
    }
}

async fn on_shared(args: &Args, rig: &mut Rig, point: u8) -> Check<String> {
    match point {
        2 => points::pairs::run(rig, args.pairs).await,
        3 => points::kills::run(rig, args.rounds).await,
        4 => points::restart::run(rig).await,
        5 => points::quorum::run(rig).await,
        6 => points::members::run(rig).await,
        7 => points::figures::run(rig).await,
        _ => points::flips::run(rig, args.flips).await,
    }
}

async fn on_its_own(args: &Args, seed: u64, point: u8) -> Check<String> {
    match point {
        9 => points::swaps::run(args, seed).await,
        10 => points::retries::run(args, seed).await,
        11 => points::watches::run(args, seed).await,
        12 => points::pages::run(args, seed).await,
        13 => points::history::run(args, seed).await,
        14 => points::wiped::run(args, seed).await,
        15 => points::births::run(args, seed).await,
        16 => points::joiners::run(args, seed).await,
        17 => points::rolling::run(args, seed).await,
        18 => points::leaving::run(args, seed).await,
        19 => points::outcasts::run(args, seed).await,
        20 => points::full::run(args, seed).await,
        21 => points::strangers::run(args, seed).await,
        _ => points::recovery::run(args, seed).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_means_its_points() {
        let selected = |names: &[&str]| {
            selected(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(selected(&["data", "3"]), Ok(vec![9, 10, 11, 12, 13, 3]));
        assert_eq!(selected(&["cluster"]), Ok(vec![7, 2, 3, 4, 5, 6, 8]));
        assert_eq!(selected(&["handling"]).map(|points| points.len()), Ok(9));
        assert!(selected(&["1"]).is_err() && selected(&["23"]).is_err());
    }
}
