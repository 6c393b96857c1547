//! R16: hostile requests. A real `axon-server` and a real `axon-launcher` with three nodes get
//! everything that clients must not send, and their peer ports everything that peers must not.
//!
//! The table is data ([`table`]); one runner holds each conversation over a connection of its own, and
//! one judge ([`judge`]) says what is wrong with an answer. Afterwards the same processes run, in bounded
//! memory, in the same term; what was stored is there, and nothing that was refused.
//!
//! ```text
//! hostile                      # the binaries beside this program
//! hostile --times 15           # the table again and again: one process for all
//! hostile --only smuggled      # cases by name
//! ```

mod case;
mod judge;
mod peer;
mod site;
mod table;
mod victim;
mod wire;

use axon_benches::trial::{Check, binary, ports};
use axon_core::secret::Secret;
use case::Case;
use clap::Parser;
use futures_util::{StreamExt, stream};
use peer::Door;
use rand::SeedableRng;
use rand::rngs::StdRng;
use site::Kind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use victim::Victim;

/// Conversations at a time.
const AT_ONCE: usize = 24;
/// Faults that are told of one by one.
const TOLD_MAX: usize = 40;

/// Tries hostile requests on real processes.
#[derive(Parser)]
struct Args {
    /// The axon-server to try; by default the one beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// The axon-launcher to try; by default the one beside this program.
    #[arg(long)]
    launcher: Option<PathBuf>,
    /// How often the table is gone through.
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// Only the cases whose names have this in them; no peers.
    #[arg(long)]
    only: Option<String>,
    /// The seed of everything random.
    #[arg(long)]
    seed: Option<u64>,
}

/// What was tried, and what went wrong.
#[derive(Default)]
struct Tally {
    requests: usize,
    faults: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match Box::pin(run(&args)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(violation) => {
            eprintln!("VIOLATION: {violation}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Check<bool> {
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("hostile --seed {seed}");
    let server = binary(args.server.as_deref(), "axon-server")?;
    let launcher = binary(args.launcher.as_deref(), "axon-launcher")?;
    let directory = tempfile::Builder::new().prefix("axon-hostile-").tempdir();
    let directory = directory.map_err(|error| format!("no directory for the run: {error}"))?;
    let root = directory.path();
    let mut rng = StdRng::seed_from_u64(seed);
    let ports = (ports::find(&mut rng)?, ports::find(&mut rng)?);
    // Most of the time is waiting, for what must be cut off: both at a time.
    let (of_server, of_launcher) = tokio::join!(
        async {
            let victim = Victim::server(&server, root, ports.0).await?;
            attacked(args, victim, root, StdRng::seed_from_u64(seed)).await
        },
        async {
            let victim = Victim::launcher(&launcher, &server, root, ports.1).await?;
            attacked(args, victim, root, StdRng::seed_from_u64(seed)).await
        },
    );
    let mut all = of_server?;
    all.add(of_launcher?);
    for fault in all.faults.iter().take(TOLD_MAX) {
        println!("  FAULT {fault}");
    }
    println!("R16 hostile: {} requests, {} faults", all.requests, all.faults.len());
    if !all.faults.is_empty() {
        println!("kept: {}", directory.keep().display());
    }
    Ok(all.faults.is_empty())
}

/// Attacks a victim and ends it; says what came of it.
async fn attacked(args: &Args, mut victim: Victim, root: &Path, mut rng: StdRng) -> Check<Tally> {
    let begun = Instant::now();
    let attacked = attack(args, &mut victim, root, &mut rng).await;
    let name = victim.site.name();
    let ended = victim.end().await;
    let (mut tally, memory) = attacked?;
    ended?;
    println!(
        "{name}: {} requests in {:.0} s, {} faults, {memory:.0} MiB at the end",
        tally.requests,
        begun.elapsed().as_secs_f64(),
        tally.faults.len(),
    );
    for fault in &mut tally.faults {
        *fault = format!("{name}: {fault}");
    }
    Ok(tally)
}

async fn attack(
    args: &Args,
    victim: &mut Victim,
    root: &Path,
    rng: &mut StdRng,
) -> Check<(Tally, f64)> {
    let wanted = |case: &Case| args.only.as_ref().is_none_or(|part| case.name.contains(part));
    let quick: Vec<Case> = table::quick(&victim.site).into_iter().filter(wanted).collect();
    let slow: Vec<Case> = table::slow(&victim.site).into_iter().filter(wanted).collect();
    let (port, mut tally) = (victim.site.port, Tally::default());
    // Those that wait do so while the others are tried.
    let waiting = tokio::spawn(async move {
        let at_once = slow.len().max(1);
        tried(port, slow, at_once).await
    });
    for _ in 0..args.times {
        tally.add(tried(port, quick.clone(), AT_ONCE).await);
    }
    tally.add(waiting.await.map_err(|error| error.to_string())?);
    if args.only.is_none() {
        let status = victim.status().await?;
        let cluster = status["cluster_id"].as_str().and_then(|id| id.parse().ok());
        let secret = match victim.site.kind {
            Kind::Server => Secret::none(),
            Kind::Launcher => {
                let secret = std::fs::read(victim::launched(root).join("cluster.secret"));
                let secret = secret.map_err(|error| format!("cluster.secret: {error}"))?;
                Secret::new(secret.trim_ascii()).ok_or("cluster.secret holds no secret")?
            }
        };
        let cluster = cluster.ok_or("a status without a cluster")?;
        let door = Door { port: victim.peer_port(), secret, cluster };
        let (requests, faults) = door.attack(rng).await?;
        tally.requests += requests;
        tally.faults.extend(faults);
    }
    match victim.unharmed().await {
        Ok(memory) => Ok((tally, memory)),
        Err(what) => {
            tally.faults.push(format!("afterwards: {what}"));
            Ok((tally, f64::NAN))
        }
    }
}

/// Tries `cases`, so many at a time.
async fn tried(port: u16, cases: Vec<Case>, at_once: usize) -> Tally {
    let one = move |case: Case| async move {
        let verdict = judge::tried(port, &case).await;
        (case, verdict)
    };
    let mut trying = Box::pin(stream::iter(cases).map(one).buffer_unordered(at_once));
    let mut tally = Tally::default();
    while let Some((case, verdict)) = trying.next().await {
        tally.requests += case.wants.len().max(1);
        if let Err(what) = verdict {
            tally.faults.push(format!("{}: {what}", case.name));
        }
    }
    tally
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.faults.extend(other.faults);
    }
}
