//! What a history at its budget costs a put: latencies without and with compaction, in turn.
//!
//! One embedded replica, durable, overwrites 10,000 keys with values of 256 B from 64 tasks, for a
//! few seconds a run: without a budget, with one of 16 MiB that is reached before the run begins,
//! and with nothing kept. How fast a history is swept while there are no puts follows the first.
//! Not criterion's, since it is the tail that matters; it notes the medians of its runs for
//! `bench_summary` itself. Compare the lines of one invocation.
//!
//! The data lies in the build directory, or where `AXON_BENCH_DIR` says; `AXON_BENCH_SECONDS` sets
//! the length of a run.

use axon_benches::bench::{self, process_cpu};
use axon_core::config::{History, Origin};
use axon_core::{Cluster, Config, Store};
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const TASKS: usize = 64;
const KEYS: u64 = 10_000;
const VALUE: [u8; 256] = [b'v'; 256];
const ROUNDS: usize = 3;
const DAY: Duration = Duration::from_hours(24);
const BUDGET: u64 = 16 << 20;

fn main() {
    if !bench::is_chosen("compaction") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let seconds = std::env::var("AXON_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let length = if bench::is_trial() { 0.2 } else { seconds.unwrap_or(5.0) };
    let rounds = if bench::is_trial() { 1 } else { ROUNDS };
    let mut figures: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for _ in 0..rounds {
        for (name, history) in [
            ("no budget", History::Keep { bytes: u64::MAX, age: DAY }),
            ("16 MiB", History::Keep { bytes: BUDGET, age: DAY }),
            ("latest only", History::LatestOnly),
        ] {
            let run = runtime.block_on(run(name, history, Duration::from_secs_f64(length)));
            figures.entry(name).or_default().push(run);
        }
    }
    if !bench::is_trial() {
        for (name, runs) in figures {
            note(name, &runs);
        }
    }
}

/// What a run measured.
struct Figures {
    puts_per_second: f64,
    cpu_us: f64,
    /// p50, p99, p99.9.
    millis: [f64; 3],
}

/// Notes the medians of `runs`.
fn note(name: &str, runs: &[Figures]) {
    let median = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let figures = json!({
        "median_ns": median(|run| run.millis[0] * 1e6),
        "throughput": median(|run| run.puts_per_second),
        "unit": "elements/s",
        "p99_ns": median(|run| run.millis[1] * 1e6),
        "p999_ns": median(|run| run.millis[2] * 1e6),
        "cpu_us": median(|run| run.cpu_us),
    });
    bench::note(env!("CARGO_TARGET_TMPDIR"), &format!("compaction/{name}"), figures);
}

async fn run(name: &str, history: History, length: Duration) -> Figures {
    let parent = bench::directory(env!("CARGO_TARGET_TMPDIR"));
    let data = tempfile::tempdir_in(parent).expect("the benchmark's directory is writable");
    let config = Config {
        data_dir: Some(data.path().into()),
        origin: Origin::Init(None),
        history,
        ..Config::default()
    };
    let cluster = Cluster::start(config.clone()).await.expect("the replica opens");
    cluster.wait_ready(Duration::from_mins(1)).await.expect("the replica becomes ready");
    let next = Arc::new(AtomicU64::new(0));
    // As many as fill the budget, whether there is one or not.
    drive(&cluster, &next, End::Puts(bench::size(60_000, 2_000))).await;
    let (cpu, begun) = (process_cpu(), Instant::now());
    let (mut latencies, most) = drive(&cluster, &next, End::After(length)).await;
    let puts_per_second = latencies.len() as f64 / begun.elapsed().as_secs_f64();
    let cpu_us = (process_cpu().saturating_sub(cpu)).as_secs_f64() * 1e6 / latencies.len() as f64;
    latencies.sort_unstable();
    let millis = |share: f64| {
        let place = (latencies.len() as f64 * share) as usize;
        latencies[place.min(latencies.len() - 1)].as_secs_f64() * 1e3
    };
    let metrics = cluster.metrics();
    println!(
        "{name:>11}: {puts_per_second:6.0} puts/s, {cpu_us:4.1} us of CPU a put; p50 {:.2} ms, \
         p99 {:.2}, p99.9 {:.2}; at most {:.1} MiB of history, {} of {} revisions swept",
        millis(0.5),
        millis(0.99),
        millis(0.999),
        most as f64 / f64::from(1 << 20),
        metrics.swept_revision,
        next.load(Ordering::Relaxed),
    );
    cluster.shutdown().await.expect("the replica was running until now");
    drop(cluster);
    if matches!(history, History::Keep { bytes: u64::MAX, .. }) {
        sweep_all(Config { history: History::LatestOnly, ..config }).await;
    }
    Figures { puts_per_second, cpu_us, millis: [millis(0.5), millis(0.99), millis(0.999)] }
}

/// Forgets all that a replica had kept.
async fn sweep_all(config: Config) {
    let cluster = Cluster::start(config).await.expect("the replica opens again");
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while cluster.metrics().history_bytes > 0 || cluster.metrics().swept_revision.0 == 0 {
        ticks.tick().await;
    }
    let revisions = cluster.metrics().swept_revision.0 as f64;
    println!("    sweeping: {:6.0} revisions/s", revisions / begun.elapsed().as_secs_f64());
    cluster.shutdown().await.expect("the replica was running until now");
}

/// When a run ends.
#[derive(Clone, Copy)]
enum End {
    Puts(u64),
    After(Duration),
}

/// Puts from all tasks until `end`; their latencies, and the most bytes of history that were seen.
async fn drive(cluster: &Cluster, next: &Arc<AtomicU64>, end: End) -> (Vec<Duration>, u64) {
    let begun = Instant::now();
    let mut set = JoinSet::new();
    for _ in 0..TASKS {
        set.spawn(puts(cluster.store(), next.clone(), begun, end));
    }
    let mut latencies = Vec::new();
    let mut most = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            ended = set.join_next() => match ended {
                Some(ended) => latencies.extend(ended.expect("no task panics")),
                None => return (latencies, most),
            },
            _ = ticks.tick() => most = most.max(cluster.metrics().history_bytes),
        }
    }
}

async fn puts(store: Store, next: Arc<AtomicU64>, begun: Instant, end: End) -> Vec<Duration> {
    let mut latencies = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let ended = match end {
            End::Puts(count) => number >= count,
            End::After(length) => begun.elapsed() >= length,
        };
        if ended {
            return latencies;
        }
        let key = Bytes::from(format!("{:016}", number.wrapping_mul(7_919) % KEYS));
        let sent = Instant::now();
        let put = store.put(key, Bytes::from_static(&VALUE));
        put.await.expect("a healthy replica acknowledges every put");
        latencies.push(sent.elapsed());
    }
}
