//! What Axon costs as there is more of something: a table and a picture for each axis.
//!
//! | axis | what runs |
//! |---|---|
//! | `keys` | one embedded replica in a process of its own, that is killed and comes back |
//! | `values` | three embedded replicas |
//! | `connections` | three `axon-server` processes |
//! | `watchers` | three embedded replicas |
//! | `replicas` | embedded replicas |
//!
//! Each place of an axis has a fresh cluster, so that none pays for another; memory is told only of
//! processes that are as fresh. The loop, the work and the figures are those of `load`.

mod keys;
mod more;
mod watchers;

use crate::drive::{self, Measured, Plan};
use crate::system::{Rig, System};
use crate::table::{Row, Table};
use crate::work::{Op, Work};
use crate::{Check, args, interrupted, look_at_machine, make_parent, plot, proc, start, write};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// What there is more and more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Axis {
    /// Keys in one replica.
    Keys,
    /// Bytes in a value.
    Values,
    /// Connections to axon-servers, with a request in flight on each.
    Connections,
    /// Watchers, of a key each or all of one.
    Watchers,
    /// Replicas of a cluster.
    Replicas,
}

/// What is measured, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// What grows
    #[arg(long, value_enum, value_delimiter = ',',
          default_values = ["keys", "values", "connections", "watchers", "replicas"])]
    pub only: Vec<Axis>,
    /// Numbers of keys; 10,000,000 need about 8 GiB of disk and a quarter of an hour
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    pub keys: Vec<u64>,
    /// Sizes of values
    #[arg(long, value_delimiter = ',', default_values_t = [16, 256, 4_096, 65_536, 1_048_576])]
    pub value_bytes: Vec<usize>,
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1_000, 10_000])]
    pub connections: Vec<usize>,
    /// Numbers of watchers
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 10, 100, 1_000, 10_000])]
    pub watchers: Vec<usize>,
    /// Numbers of replicas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3, 5, 7])]
    pub replicas: Vec<usize>,
    /// How often a replica with so many keys is killed; the time until it serves is the median
    #[arg(long, default_value_t = 3)]
    pub restarts: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Seconds of the same load before each of them
    #[arg(long, default_value_t = 0.5)]
    pub warmup: f64,
    /// Seconds after which a request is given up and counted as an error
    #[arg(long, default_value_t = 30.0)]
    pub deadline: f64,
    /// What keys and values are drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The axon-server to start; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    pub axon_server: Option<PathBuf>,
    /// Where the data is put; by default beside this program
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Writes all figures there
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Writes the tables there, in Markdown
    #[arg(long, value_name = "FILE.md")]
    pub markdown: Option<PathBuf>,
    /// Draws them there
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

impl Args {
    /// Refuses what makes no sense, with the option's name.
    fn check(&self) -> Check {
        let refuse =
            |wrong: bool, message: &str| if wrong { Err(message.to_owned()) } else { Ok(()) };
        let outside = |seconds: f64, least: f64| !(least..=3600.0).contains(&seconds);
        refuse(outside(self.seconds, 0.1), "--seconds: 0.1 to 3600")?;
        refuse(outside(self.warmup, 0.0), "--warmup: 0 to 3600")?;
        refuse(outside(self.deadline, 0.01), "--deadline: 0.01 to 3600")?;
        refuse(!(1..=100).contains(&self.restarts), "--restarts: 1 to 100")?;
        let keys_max = 1_000_000_000;
        let wrong = self.keys.iter().any(|keys| !(1..=keys_max).contains(keys));
        refuse(wrong, "--keys: 1 to 10^9")?;
        let wrong = self.value_bytes.iter().any(|bytes| !(1..=1 << 20).contains(bytes));
        refuse(wrong, "--value-bytes: 1 to 1048576")?;
        let wrong = |numbers: &[usize], least: usize, most: usize| {
            numbers.iter().any(|number| !(least..=most).contains(number))
        };
        refuse(wrong(&self.connections, 1, args::CLIENTS_MAX), "--connections: 1 to 10000")?;
        refuse(wrong(&self.watchers, 0, 100_000), "--watchers: 0 to 100000")?;
        refuse(wrong(&self.replicas, 1, 9), "--replicas: 1 to 9")
    }

    fn rig(&self) -> Check<Rig> {
        Ok(Rig {
            directory: args::directory(self.dir.as_deref())?,
            axon_server: self.axon_server.clone(),
            deadline: self.deadline(),
            ..Rig::default()
        })
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs_f64(self.deadline)
    }
}

/// Measures every axis that was asked for.
pub async fn run(args: &Args) -> Check {
    args.check()?;
    let rig = args.rig()?;
    if args.only.contains(&Axis::Connections) {
        // Found before the first is measured. Its nodes inherit the limit on open files.
        start::axon_program(rig.axon_server.as_deref())?;
        proc::raise_open_files();
    }
    let load_before = proc::load_average();
    let syncs_ms = look_at_machine(rig.directory.clone()).await?;
    let mut tables = Vec::new();
    let outcome = tokio::select! {
        outcome = measure(args, &rig, &mut tables) => outcome,
        outcome = interrupted() => outcome,
    };
    // What was measured before an error is still true.
    let measured: Vec<Table> =
        tables.into_iter().filter(|table: &Table| !table.rows.is_empty()).collect();
    let text: Vec<String> = measured.iter().map(Table::markdown).collect();
    println!("\n{}", text.join("\n"));
    if let Some(path) = &args.markdown {
        write(path, &text.join("\n"))?;
    }
    if let Some(path) = &args.json {
        let tables: Map<String, Value> =
            measured.iter().map(|table| (table.name.to_owned(), table.json())).collect();
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
                "seconds": args.seconds,
                "warmup": args.warmup,
                "deadline": args.deadline,
                "restarts": args.restarts,
                "seed": args.seed,
            },
            "tables": tables,
        });
        write(path, &format!("{json:#}\n"))?;
    }
    if let Some(path) = &args.plot {
        make_parent(path)?;
        plot::draw(&measured.iter().map(Table::picture).collect::<Vec<_>>(), path)?;
    }
    outcome
}

async fn measure(args: &Args, rig: &Rig, tables: &mut Vec<Table>) -> Check {
    for axis in &args.only {
        match axis {
            Axis::Keys => keys::measure(args, rig, begin(tables, keys::table())).await,
            Axis::Values => more::values(args, rig, begin(tables, more::values_table())).await,
            Axis::Connections => {
                more::connections(args, rig, begin(tables, more::connections_table())).await
            }
            Axis::Watchers => watchers::measure(args, rig, begin(tables, watchers::table())).await,
            Axis::Replicas => {
                more::replicas(args, rig, begin(tables, more::replicas_table())).await
            }
        }
        .map_err(|sentence| format!("{}: {sentence}", axis.name()))?;
    }
    Ok(())
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Values => "values",
            Self::Connections => "connections",
            Self::Watchers => "watchers",
            Self::Replicas => "replicas",
        }
    }
}

/// Puts `system` under the loop of `load`, clients spread over all nodes.
async fn measured(
    args: &Args,
    system: &mut System,
    work: &Work,
    op: Op,
    clients: usize,
) -> Check<Measured> {
    let plan = Plan {
        work,
        op,
        clients,
        first: 0,
        run: clients as u64,
        // So many connections are not made at once.
        warmup: Duration::from_secs_f64(args.warmup + clients as f64 / 2_000.0),
        length: Duration::from_secs_f64(args.seconds),
        deadline: args.deadline(),
    };
    drive::drive(system, &plan).await
}

/// Adds a row, and shows it to who waits.
fn add(table: &mut Table, at: &impl ToString, values: impl Into<Vec<Option<f64>>>) {
    let row = Row { at: at.to_string(), values: values.into() };
    println!("{}", row.line(table));
    table.rows.push(row);
}

/// Rows go into a table that is kept already, so that those before an error are not lost.
fn begin(tables: &mut Vec<Table>, table: Table) -> &mut Table {
    tables.push(table);
    tables.last_mut().expect("it was just pushed")
}
