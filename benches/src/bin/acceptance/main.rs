//! Acceptance: what Axon promises, tried on real processes. For a person, and for a nightly run.
//!
//! It builds nothing: it takes the two binaries (by default those beside itself), starts a launcher
//! with three nodes in an empty directory on free ports, and tries one point after the other. It
//! prints a line with figures for each, and ends with status 1 at the first violation, leaving the
//! directory with all data and the launcher's output behind. Only public doors are used: HTTP, the
//! control API, signals, and the files of stopped nodes.
//!
//! Every pair written by any point is remembered in the [`Ledger`](ledger::Ledger) and checked
//! again by every later point, on every node: nothing acknowledged is ever missing or different.

mod files;
mod http;
mod ledger;
mod points;
mod ports;
mod rig;

use clap::Parser;
use rig::Rig;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// The result of a check: what it yields, or the violation in one sentence.
pub type Check<T = ()> = Result<T, String>;

/// Returns with a violation unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $($sentence:tt)+) => {
        if !$holds {
            return Err(format!($($sentence)+));
        }
    };
}
pub(crate) use ensure;

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
    /// Times the leader is killed in point 3.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Bits flipped in point 8.
    #[arg(long, default_value_t = 6)]
    flips: usize,
    /// The points to try, in this order.
    #[arg(long, value_delimiter = ',', default_values_t = [7, 2, 3, 4, 5, 6, 8])]
    points: Vec<u8>,
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
    let mut rig = Rig::start(args, seed).await?;
    println!("three nodes in {}", rig.root().display());
    let outcome = all_points(args, &mut rig).await;
    rig.end(outcome.is_ok() && !args.keep).await;
    outcome
}

async fn all_points(args: &Args, rig: &mut Rig) -> Check {
    for point in &args.points {
        let begun = Instant::now();
        let figures = match point {
            2 => points::pairs::run(rig, args.pairs).await,
            3 => points::kills::run(rig, args.rounds).await,
            4 => points::restart::run(rig).await,
            5 => points::quorum::run(rig).await,
            6 => points::members::run(rig).await,
            7 => points::figures::run(rig).await,
            8 => points::flips::run(rig, args.flips).await,
            other => Err(format!("there is no point {other}; there are 2 to 8")),
        };
        match figures {
            Ok(figures) => {
                println!("point {point} ok in {:.1} s: {figures}", begun.elapsed().as_secs_f64());
            }
            Err(violation) => return Err(format!("point {point}: {violation}")),
        }
    }
    Ok(())
}
