//! Chaos: real processes, real faults, and the judge of histories.
//!
//! Three `axon-server` processes serve clients that write, swap, delete and read over HTTP, and record
//! every attempt as acknowledged, refused or open; what is acknowledged is read at once through another
//! node. Meanwhile processes are killed and paused, directories wiped, a disk filled (R4); in a network of
//! their own they are cut off, one way and both, and lose packets, and their wall clocks jump (R5). Then
//! all heals, every node answers for every key, the state hashes are equal, and the judge
//! (`axon_core::testing::history`) looks for an order that explains every answer.
//!
//! What cannot be done for want of rights or tools is said in a line that begins with `LEFT OUT`. The seed
//! fixes which faults come in which order, and what clients ask; not when anything happens.
//!
//! Other trials are leaders that are killed (R6), restarts with many keys (R8), a sync that fails (R11), an overload
//! (R15), a steady load for hours (R18), a slow disk (R20), and two disks that do not sync. The paused leader (R7)
//! and the removed node left running (R19) are point 19 of `acceptance`.

mod blocked;
mod clients;
mod cluster;
mod failing;
mod faults;
mod inject;
mod leaders;
mod network;
mod overload;
mod restart;
mod slow;
mod steady;
mod trials;

use axon_benches::trial::{Check, binary};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use trials::Trial;

/// Tries clusters of real processes under faults.
#[derive(Parser)]
struct Args {
    /// The axon-server to try; by default the one beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// How long faults come, in each trial.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Leaders that r6 kills.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// The trials: r4 (processes and disks), r5 (network and clocks), r6 (leaders killed), r8
    /// (restarts with many keys), r11 (a sync fails), r15 (overload), r18 (steady load), r20 (a slow disk), blocked
    /// (two disks that do not sync).
    #[arg(long, value_delimiter = ',', default_values_t = ["r4", "r5"].map(str::to_owned))]
    trials: Vec<String>,
    /// The seed of everything random.
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
    let outcome = tokio::select! {
        outcome = run(&args) => outcome,
        // What was made goes as it would at the end.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            eprintln!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Check {
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("chaos --seed {seed} --seconds {}", args.seconds);
    let server = binary(args.server.as_deref(), "axon-server")?;
    let trial = Trial {
        binary: &server,
        parent: args.dir.as_deref(),
        seconds: args.seconds,
        seed,
        keep: args.keep,
    };
    for name in &args.trials {
        match name.as_str() {
            "r4" => trial.r4().await?,
            "r5" => trial.r5().await?,
            "r6" => leaders::run(&trial, args.kills).await?,
            "r8" => restart::run(&trial).await?,
            "r11" => failing::run(&trial).await?,
            "r15" => overload::run(&trial).await?,
            "r18" => steady::run(&trial).await?,
            "blocked" => blocked::run(&trial).await?,
            "r20" => slow::run(&trial).await?,
            _ => {
                let all = "r4, r5, r6, r8, r11, r15, r18, r20 and blocked";
                return Err(format!("there is no trial {name}; there are {all}"));
            }
        }
    }
    Ok(())
}
