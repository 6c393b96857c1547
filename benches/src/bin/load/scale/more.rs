//! Larger values, more connections, more replicas: the loop of `load` on a cluster of each kind.

use super::{Args, add, measured};
use crate::args::Target;
use crate::drive;
use crate::embedded::Replicas;
use crate::figures::Figure;
use crate::system::{Rig, System};
use crate::table::{Table, columns};
use crate::work::{Op, Work};
use crate::{Check, FILLERS};
use axon_core::config::History;

/// The work where it is not what grows.
const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 256;

/// Clients where they are not what grows.
const CLIENTS: usize = 64;

/// Fewer for large values: what is in flight is bounded by bytes.
const VALUE_CLIENTS: usize = 16;

/// All values together, about: a disk should not be filled to learn what a large one costs.
const VALUES_BYTES: usize = 64 << 20;

/// Log kept while large values are written, for the same reason.
const LOG_BYTES: u64 = 64 << 20;

/// The table of [`values`].
pub fn values_table() -> Table {
    Table {
        name: "values",
        title: format!("Values, three replicas in one process, {VALUE_CLIENTS} clients"),
        axis: "value bytes",
        columns: columns(&[
            ("puts_per_second", "puts/s"),
            ("put_mib_per_second", "put MiB/s"),
            ("put_p50_ms", "put p50 ms"),
            ("put_p99_ms", "put p99 ms"),
            ("put_cpu_us", "CPU us/put"),
            ("gets_per_second", "gets/s"),
            ("get_mib_per_second", "get MiB/s"),
            ("get_p50_ms", "get p50 ms"),
            ("get_p99_ms", "get p99 ms"),
            ("get_cpu_us", "CPU us/get"),
            ("errors", "errors"),
        ]),
        rows: Vec::new(),
        charts: [
            ("MiB a second", vec!["put_mib_per_second", "get_mib_per_second"]),
            ("latency in ms", vec!["put_p50_ms", "put_p99_ms", "get_p50_ms", "get_p99_ms"]),
        ],
    }
}

/// Adds a row for each size of values.
pub async fn values(args: &Args, rig: &Rig, table: &mut Table) -> Check {
    for bytes in &args.value_bytes {
        let keys = (VALUES_BYTES / bytes).clamp(16, 1_000) as u64;
        let work = Work::new(keys, *bytes, 0, args.seed);
        let replicas = Replicas::start_with(&rig.directory, 3, |_, builder| {
            builder.settings(|config| {
                config.history = History::LatestOnly;
                config.log_retention_bytes = LOG_BYTES;
            })
        });
        let mut system = System::embedded(rig, replicas.await?);
        drive::fill(&system, &work, VALUE_CLIENTS, rig.deadline).await?;
        let put = measured(args, &mut system, &work, Op::Put, VALUE_CLIENTS).await?;
        let get = measured(args, &mut system, &work, Op::Get, VALUE_CLIENTS).await?;
        system.end().await;
        let mib = |rate: Option<f64>| Some(rate? * *bytes as f64 / f64::from(1 << 20));
        let (puts, gets) = (put.figure(Figure::Throughput), get.figure(Figure::Throughput));
        let row = [
            puts,
            mib(puts),
            put.figure(Figure::P50),
            put.figure(Figure::P99),
            put.figure(Figure::ServerCpu),
            gets,
            mib(gets),
            get.figure(Figure::P50),
            get.figure(Figure::P99),
            get.figure(Figure::ServerCpu),
            Some(errors(&put) + errors(&get)),
        ];
        add(table, bytes, row);
    }
    Ok(())
}

fn errors(measured: &drive::Measured) -> f64 {
    measured.figure(Figure::Errors).unwrap_or_default()
}

/// The table of [`connections`].
pub fn connections_table() -> Table {
    Table {
        name: "connections",
        title: "Connections to three axon-server, with a request in flight on each".into(),
        axis: "connections",
        columns: columns(&[
            ("gets_per_second", "gets/s"),
            ("get_p50_ms", "get p50 ms"),
            ("get_p99_ms", "get p99 ms"),
            ("get_cpu_us", "CPU us/get"),
            ("puts_per_second", "puts/s"),
            ("put_p50_ms", "put p50 ms"),
            ("put_p99_ms", "put p99 ms"),
            ("put_cpu_us", "CPU us/put"),
            ("memory_mib", "MiB/node"),
            ("errors", "errors"),
        ]),
        rows: Vec::new(),
        charts: [
            ("operations a second", vec!["gets_per_second", "puts_per_second"]),
            ("latency in ms", vec!["get_p50_ms", "get_p99_ms", "put_p50_ms", "put_p99_ms"]),
        ],
    }
}

/// Adds a row for each number of connections.
pub async fn connections(args: &Args, rig: &Rig, table: &mut Table) -> Check {
    let work = Work::new(KEYS, VALUE_BYTES, 0, args.seed);
    for connections in &args.connections {
        // A fresh one each: memory that was taken for many is not given back for few.
        let mut system = System::start(Target::Axon, rig, None).await?;
        drive::fill(&system, &work, FILLERS, rig.deadline).await?;
        let get = measured(args, &mut system, &work, Op::Get, *connections).await?;
        let put = measured(args, &mut system, &work, Op::Put, *connections).await?;
        system.end().await;
        let row = [
            get.figure(Figure::Throughput),
            get.figure(Figure::P50),
            get.figure(Figure::P99),
            get.figure(Figure::ServerCpu),
            put.figure(Figure::Throughput),
            put.figure(Figure::P50),
            put.figure(Figure::P99),
            put.figure(Figure::ServerCpu),
            put.figure(Figure::Memory),
            Some(errors(&put) + errors(&get)),
        ];
        add(table, connections, row);
    }
    Ok(())
}

/// The table of [`replicas`].
pub fn replicas_table() -> Table {
    Table {
        name: "replicas",
        title: "Replicas in one process, clients spread over all of them".into(),
        axis: "replicas",
        columns: columns(&[
            ("put_p50_ms", "put p50 ms, 1 client"),
            ("put_p99_ms", "put p99 ms, 1 client"),
            ("get_p50_ms", "get p50 ms, 1 client"),
            ("puts_per_second", "puts/s, 64"),
            ("put_64_p99_ms", "put p99 ms, 64"),
            ("put_cpu_us", "CPU us/put, 64"),
            ("put_entries_per_sync", "entries/sync, 64"),
            ("gets_per_second", "gets/s, 64"),
            ("get_cpu_us", "CPU us/get, 64"),
        ]),
        rows: Vec::new(),
        charts: [
            ("operations a second, 64 clients", vec!["puts_per_second", "gets_per_second"]),
            ("latency in ms, 1 client", vec!["put_p50_ms", "put_p99_ms", "get_p50_ms"]),
        ],
    }
}

/// Adds a row for each number of replicas.
pub async fn replicas(args: &Args, rig: &Rig, table: &mut Table) -> Check {
    let work = Work::new(KEYS, VALUE_BYTES, 0, args.seed);
    for count in &args.replicas {
        let mut system = System::embedded(rig, Replicas::start(&rig.directory, *count).await?);
        drive::fill(&system, &work, FILLERS, rig.deadline).await?;
        let put = measured(args, &mut system, &work, Op::Put, 1).await?;
        let get = measured(args, &mut system, &work, Op::Get, 1).await?;
        let puts = measured(args, &mut system, &work, Op::Put, CLIENTS).await?;
        let gets = measured(args, &mut system, &work, Op::Get, CLIENTS).await?;
        system.end().await;
        let row = [
            put.figure(Figure::P50),
            put.figure(Figure::P99),
            get.figure(Figure::P50),
            puts.figure(Figure::Throughput),
            puts.figure(Figure::P99),
            puts.figure(Figure::ServerCpu),
            puts.figure(Figure::Entries),
            gets.figure(Figure::Throughput),
            gets.figure(Figure::ServerCpu),
        ];
        add(table, count, row);
    }
    Ok(())
}
