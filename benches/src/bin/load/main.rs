//! Load: what Axon and etcd do under the same work, one after the other, on this machine.
//!
//! It starts three nodes of each target in turn, with the durability that each has by default, puts
//! them under a closed loop of clients that are spread over all nodes, and ends them. Targets take turns
//! (A B A B ...), because on a machine with other work only figures that were taken back to back can be
//! compared: the ratio of each pair is the result, figures by themselves are not. `docs/performance.md`
//! says how it is meant to be used.
//!
//! What it relies on:
//!
//! * a target is its [`System`] and a [`Door`](door::Door) a client: the loop knows no other difference;
//! * all clients draw the same requests from the same seed;
//! * the load generator shares the machine with the servers and takes its part of it; what it takes is
//!   told beside what they take.
//!
//! `load scale` measures Axon alone, as there is more of something (`scale`), and `load tail` while
//! something happens (`tail`); they share the loop.
//!
//! What it does not do: other machines' memory and CPU, or judge. It fails only when something cannot
//! be measured.

mod args;
mod counters;
mod disk;
mod door;
mod drive;
mod embedded;
mod etcd;
mod figures;
mod holder;
mod http;
mod nodes;
mod plot;
mod proc;
mod report;
mod scale;
mod start;
mod system;
mod table;
mod tail;
mod work;

use args::{Args, Command, Program, Target};
use clap::Parser;
use drive::Plan;
use figures::{Results, Run};
use report::Surroundings;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use system::System;
use tokio::signal::unix::{SignalKind, signal};
use work::Op;

/// Clients that fill a store.
const FILLERS: usize = 64;

/// What a step yields, or why it could not be made, in one sentence.
pub type Check<T = ()> = Result<T, String>;

#[tokio::main]
async fn main() -> ExitCode {
    let Program { command, args } = Program::parse();
    let ended = match &command {
        None => run(&args).await,
        Some(Command::Scale(args)) => scale::run(args).await,
        Some(Command::Tail(args)) => tail::run(args).await,
        Some(Command::Holder(args)) => holder::run(args).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("load: {sentence}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Check {
    args.check()?;
    let around = look_around(args).await?;
    let mut results = Results::default();
    // A signal drops the measurement where it stands, and with it every process and directory.
    let outcome = tokio::select! {
        outcome = measure(args, &mut results) => outcome,
        outcome = interrupted() => outcome,
    };
    // What was measured before an error is still true.
    if !results.0.is_empty() {
        println!("{}", report::table(&results));
        if let Some(path) = &args.json {
            let json = report::json(args, &around, &results, outcome.is_ok());
            write(path, &format!("{json:#}\n"))?;
        }
        if let Some(path) = &args.plot {
            make_parent(path)?;
            plot::draw(&report::pictures(&results), path)?;
        }
    }
    outcome
}

/// Finds every program before the first is started, and what the disk can do.
async fn look_around(args: &Args) -> Check<Surroundings> {
    let mut around = Surroundings::default();
    for target in &args.targets {
        let version = match target {
            _ if args.running(*target).is_some() => continue,
            Target::Axon => {
                start::version(&start::axon_program(args.axon_server.as_deref())?).await?
            }
            Target::Etcd => start::version(&start::etcd_program(args.etcd.as_deref())?).await?,
            Target::Embedded => format!("axon-core {}", env!("CARGO_PKG_VERSION")),
        };
        println!("{}: {version}", target.name());
        around.versions.push((*target, version));
    }
    if args.targets.iter().all(|target| args.running(*target).is_some()) {
        return Ok(around);
    }
    around.syncs_ms = Some(look_at_machine(args.rig()?.directory).await?);
    Ok(around)
}

/// Tells what a sync costs in `directory` and what else the machine does; the milliseconds of a sync,
/// alone and of three at once.
async fn look_at_machine(directory: PathBuf) -> Check<(f64, f64)> {
    let syncs = tokio::task::spawn_blocking(move || disk::syncs_ms(&directory)).await;
    let (one, three) = syncs.map_err(|error| format!("the disk: {error}"))??;
    println!("a sync of 4 KiB: {one:.2} ms alone, {three:.2} ms when three are made at once");
    println!("load average: {:.1}", proc::load_average());
    Ok((one, three))
}

async fn measure(args: &Args, results: &mut Results) -> Check {
    for op in &args.op {
        for pair in 0..args.pairs {
            for target in &args.targets {
                let series = series(args, *op, pair, *target, results).await;
                series.map_err(|sentence| format!("{}: {sentence}", target.name()))?;
            }
        }
    }
    Ok(())
}

/// All numbers of clients on one fresh cluster: a turn of one target.
async fn series(args: &Args, op: Op, pair: u64, target: Target, results: &mut Results) -> Check {
    let work = args.work();
    let mut system = System::start(target, &args.rig()?, args.running(target)).await?;
    if op.reads() {
        drive::fill(&system, &work, FILLERS, args.deadline()).await?;
    }
    for clients in &args.clients {
        // With few clients it matters who leads, and which node does is chance: the first client asks
        // the leader in the first pair, a follower in the next two, and so on, of every target.
        let leader = system.leader().await?;
        let first = (leader.unwrap_or(0) + pair as usize) % system.nodes();
        let (clients, run) = (*clients, pair);
        let (warmup, length) = (args.warmup, args.seconds);
        let plan = Plan {
            work: &work,
            op,
            clients,
            first,
            run,
            warmup: Duration::from_secs_f64(warmup),
            length: Duration::from_secs_f64(length),
            deadline: args.deadline(),
        };
        let measured = drive::drive(&mut system, &plan).await?;
        let first_on_leader = leader.map(|leader| leader == first);
        let run = Run { target, op, clients, pair, first_on_leader, measured };
        println!("{}", report::line(&run));
        results.0.push(run);
    }
    system.end().await;
    Ok(())
}

/// Waits for Ctrl-C or for being told to end.
async fn interrupted() -> Check {
    let told = |error: std::io::Error| format!("no signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(told)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(told)?;
    tokio::select! {
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("told to end".into()),
    }
}

fn write(path: &Path, text: &str) -> Check {
    make_parent(path)?;
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn make_parent(path: &Path) -> Check {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), |parent| {
        std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))
    })
}
