//! The half of `scale` that is killed: one replica in a process of its own, which does what it is told.
//!
//! A restart after a kill can only be measured on a process that was killed. So `scale` starts this
//! program again as `load holder`, says what to do in lines on its standard input, and reads one line
//! of JSON for each on its standard output:
//!
//! | said | done | answered |
//! |---|---|---|
//! | (the start) | the replica is opened, reads a key that an earlier one wrote, and writes one | `serving` |
//! | `fill` | every key is put | `seconds` |
//! | `OP CLIENTS SECONDS` | the loop of `load` | the figures of `load` by their names |
//!
//! It ends when its input does, so that it never outlives whoever started it.

use crate::Check;
use crate::drive::{self, Plan};
use crate::embedded::Replicas;
use crate::figures::Figure;
use crate::system::{Rig, System};
use crate::work::{Op, Work};
use axon_core::Cluster;
use axon_core::config::History;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Puts in flight while the store is filled.
const FILLERS: usize = 256;

/// What is held, and how it is measured.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub data_dir: PathBuf,
    #[arg(long)]
    pub keys: u64,
    #[arg(long)]
    pub value_bytes: usize,
    #[arg(long)]
    pub seed: u64,
    #[arg(long)]
    pub warmup: f64,
    #[arg(long)]
    pub deadline: f64,
    /// An earlier one has filled the directory: what it wrote must be there
    #[arg(long)]
    pub filled: bool,
}

/// Holds a replica until the standard input ends.
pub async fn run(args: &Args) -> Check {
    let deadline = Duration::from_secs_f64(args.deadline);
    let rig = Rig { deadline, ..Rig::default() };
    let work = Work::new(args.keys, args.value_bytes, 0, args.seed);
    let builder = Cluster::builder().data_dir(&args.data_dir);
    let builder = builder.settings(|config| config.history = History::LatestOnly);
    let mut system = System::embedded(&rig, Replicas::alone(builder).await);
    drive::probe(&system, &work, args.filled, deadline).await?;
    say(&json!({ "serving": true }))?;
    let mut lines = input();
    let mut run = 0;
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["fill"] => {
                let begun = Instant::now();
                drive::fill(&system, &work, FILLERS, deadline).await?;
                json!({ "seconds": begun.elapsed().as_secs_f64() })
            }
            [op, clients, seconds] => {
                let wrong = || format!("not understood: {line}");
                let plan = Plan {
                    work: &work,
                    op: Op::from_str(op, false).map_err(|_| wrong())?,
                    clients: clients.parse().map_err(|_| wrong())?,
                    first: 0,
                    run,
                    warmup: Duration::from_secs_f64(args.warmup),
                    length: Duration::from_secs_f64(seconds.parse().map_err(|_| wrong())?),
                    deadline,
                };
                let measured = drive::drive(&mut system, &plan).await?;
                let figure =
                    |figure: Figure| (figure.name().into(), json!(measured.figure(figure)));
                Value::Object(Figure::of(plan.op).into_iter().map(figure).collect::<Map<_, _>>())
            }
            _ => return Err(format!("not understood: {line}")),
        };
        run += 1;
        say(&answer)?;
    }
    system.end().await;
    Ok(())
}

fn say(value: &Value) -> Check {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{value}").and_then(|()| out.flush());
    said.map_err(|error| format!("nobody listens: {error}"))
}

/// The lines of the standard input, read on a thread of their own: it cannot be waited for otherwise.
fn input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
