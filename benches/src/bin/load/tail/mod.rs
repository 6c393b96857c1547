//! How long puts take at a steady rate, without anything else and while something happens.
//!
//! Three replicas in this process. The first leads; clients ask it and the second; the third is the
//! follower that things happen to. For each disturbance, in turns: a time without anything, a time with
//! it, and again. Its ratio is to the times without that lie next to it. Latency is counted only while
//! the disturbance goes on ([`Gate`](crate::drive::Gate)), and from the moment at which a put is due.
//!
//! So that it is quiet without: no replica writes a checkpoint by itself, nothing is old enough to be
//! forgotten, and the log is long enough to be kept. What happens is in `disturb`.

mod disturb;
mod slow;

use crate::drive::{Latency, Load, Plan, Tally};
use crate::figures::quantile_ms;
use crate::table::{Row, Table, columns};
use crate::work::{Op, Work};
use crate::{Check, args, interrupted, look_at_machine, make_parent, plot, proc, write};
use disturb::{Disturbance, Stage};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A disturbance that ends by itself is begun again until it has lasted long enough, but not for ever.
const PATIENCE_TIMES: u32 = 4;

/// What is measured, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What happens meanwhile
    #[arg(long, value_enum, value_delimiter = ',',
          default_values = ["checkpoint", "compaction", "snapshot", "restart", "slow-disk"])]
    pub only: Vec<Disturbance>,
    /// Puts a second, of all clients together
    #[arg(long, default_value_t = 1_000.0)]
    pub rate: f64,
    /// Clients that make them in turn
    #[arg(long, default_value_t = 64)]
    pub clients: usize,
    /// Seconds of each time without anything, and at least of each time with it
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Times that the two take turns
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Keys that are there before, with values of 256 bytes: what checkpoints and snapshots are about
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Milliseconds that a sync of the slow disk takes longer
    #[arg(long, default_value_t = 100)]
    pub slow_ms: u64,
    /// Seconds after which a request is given up and counted as an error
    #[arg(long, default_value_t = 10.0)]
    pub deadline: f64,
    /// What keys and values are drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the data is put; by default beside this program
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Writes all figures there
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Writes the table there, in Markdown
    #[arg(long, value_name = "FILE.md")]
    pub markdown: Option<PathBuf>,
    /// Draws it there
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

impl Args {
    /// Refuses what makes no sense, with the option's name.
    fn check(&self) -> Check {
        let refuse =
            |wrong: bool, message: &str| if wrong { Err(message.to_owned()) } else { Ok(()) };
        refuse(!(1.0..=1e6).contains(&self.rate), "--rate: 1 to 1000000")?;
        refuse(!(1..=args::CLIENTS_MAX).contains(&self.clients), "--clients: 1 to 10000")?;
        refuse(!(0.1..=3600.0).contains(&self.seconds), "--seconds: 0.1 to 3600")?;
        refuse(!(1..=100).contains(&self.rounds), "--rounds: 1 to 100")?;
        refuse(!(1_000..=100_000_000).contains(&self.keys), "--keys: 1000 to 10^8")?;
        refuse(!(1..=10_000).contains(&self.slow_ms), "--slow-ms: 1 to 10000")?;
        refuse(!(0.01..=3600.0).contains(&self.deadline), "--deadline: 0.01 to 3600")
    }

    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// What was seen without a disturbance or with it, over all rounds.
struct Seen {
    latency: Latency,
    errors: BTreeMap<String, u64>,
    lasted: Duration,
}

impl Seen {
    fn new() -> Check<Self> {
        Ok(Self { latency: Latency::new()?, errors: BTreeMap::new(), lasted: Duration::ZERO })
    }

    fn add(&mut self, tally: &Tally, lasted: Duration) -> Check {
        self.lasted += lasted;
        for (kind, count) in &tally.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.latency.add(&tally.latency)
    }

    fn at(&self, share: f64) -> Option<f64> {
        quantile_ms(&self.latency.puts, share)
    }
}

/// Measures every disturbance that was asked for.
pub async fn run(args: &Args) -> Check {
    args.check()?;
    let directory = args::directory(args.dir.as_deref())?;
    let load_before = proc::load_average();
    let syncs_ms = look_at_machine(directory.clone()).await?;
    let mut table = table(args);
    let outcome = tokio::select! {
        outcome = measure(args, &directory, &mut table) => outcome,
        outcome = interrupted() => outcome,
    };
    // What was measured before an error is still true.
    if table.rows.is_empty() {
        return outcome;
    }
    println!("\n{}", table.markdown());
    if let Some(path) = &args.markdown {
        write(path, &table.markdown())?;
    }
    if let Some(path) = &args.json {
        let json = json!({
            "format": 1,
            "complete": outcome.is_ok(),
            "version": env!("CARGO_PKG_VERSION"),
            "machine": {
                "cores": std::thread::available_parallelism().map_or(0, usize::from),
                "load_average_before": load_before,
                "sync_ms": syncs_ms.0,
                "sync_ms_three_at_once": syncs_ms.1,
            },
            "settings": {
                "rate": args.rate,
                "clients": args.clients,
                "seconds": args.seconds,
                "rounds": args.rounds,
                "keys": args.keys,
                "slow_ms": args.slow_ms,
                "deadline": args.deadline,
                "seed": args.seed,
            },
            "tail": table.json(),
        });
        write(path, &format!("{json:#}\n"))?;
    }
    if let Some(path) = &args.plot {
        make_parent(path)?;
        plot::draw(&[table.picture()], path)?;
    }
    outcome
}

fn table(args: &Args) -> Table {
    Table {
        name: "tail",
        title: format!("A put at {} a second, three replicas in one process", args.rate),
        axis: "meanwhile",
        columns: columns(&[
            ("quiet_p50_ms", "quiet p50 ms"),
            ("p50_ms", "p50 ms"),
            ("p50_ratio", "x"),
            ("quiet_p99_ms", "quiet p99 ms"),
            ("p99_ms", "p99 ms"),
            ("p99_ratio", "x"),
            ("quiet_p999_ms", "quiet p99.9 ms"),
            ("p999_ms", "p99.9 ms"),
            ("p999_ratio", "x"),
            ("quiet_max_ms", "quiet max ms"),
            ("max_ms", "max ms"),
            ("seconds", "s"),
            ("puts", "puts"),
            ("errors", "errors"),
        ]),
        rows: Vec::new(),
        charts: [
            ("p50 and p99 in ms", vec!["quiet_p50_ms", "p50_ms", "quiet_p99_ms", "p99_ms"]),
            ("p99.9 and max in ms", vec!["quiet_p999_ms", "p999_ms", "quiet_max_ms", "max_ms"]),
        ],
    }
}

async fn measure(args: &Args, directory: &Path, table: &mut Table) -> Check {
    std::fs::create_dir_all(directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    proc::check_disk(directory)?;
    let work = Work::new(args.keys, disturb::VALUE_BYTES, 100, args.seed);
    let mut stage = Stage::set(directory, &work).await?;
    for disturbance in &args.only {
        let (mut quiet, mut during) = (Seen::new()?, Seen::new()?);
        let mut happened = 0;
        for round in 0..args.rounds {
            let run = u64::from(round) * 2;
            stage.prepare().await?;
            let load = start(args, &stage, &work, run)?;
            load.gate.measure(true);
            tokio::time::sleep(args.length()).await;
            load.gate.measure(false);
            quiet.add(&load.end().await?, args.length())?;

            let load = start(args, &stage, &work, run + 1)?;
            let (begun, mut lasted) = (Instant::now(), Duration::ZERO);
            while lasted < args.length() && begun.elapsed() < args.length() * PATIENCE_TIMES {
                lasted += stage.disturb(*disturbance, args, &load.gate).await?;
                happened += 1;
            }
            during.add(&load.end().await?, lasted)?;
        }
        let row = row(*disturbance, &quiet, &during);
        println!("{}  ({happened} times)", row.line(table));
        for (kind, count) in &during.errors {
            println!("    {count} x {kind}");
        }
        table.rows.push(row);
    }
    stage.end().await;
    Ok(())
}

/// Puts the steady load on the stage, and lets it come to its rate.
fn start(args: &Args, stage: &Stage, work: &Work, run: u64) -> Check<Load> {
    let plan = Plan {
        work,
        op: Op::Put,
        clients: args.clients,
        first: 0,
        run,
        warmup: Duration::ZERO,
        length: args.length(),
        deadline: Duration::from_secs_f64(args.deadline),
    };
    Load::start(stage.doors(args.clients), &plan, Some(args.rate))
}

fn row(disturbance: Disturbance, quiet: &Seen, during: &Seen) -> Row {
    let mut values = Vec::new();
    for share in [0.5, 0.99, 0.999] {
        let (without, with) = (quiet.at(share), during.at(share));
        let ratio = without.zip(with).map(|(without, with)| with / without);
        values.extend([without, with, ratio]);
    }
    let errors: u64 = during.errors.values().sum();
    values.extend([
        quiet.at(1.0),
        during.at(1.0),
        Some(during.lasted.as_secs_f64()),
        Some(during.latency.puts.len() as f64),
        Some(errors as f64),
    ]);
    Row { at: disturbance.name().into(), values }
}
