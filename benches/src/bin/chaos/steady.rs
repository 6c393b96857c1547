//! R18: a steady load for a long time, with checkpoints, compaction, and a follower that comes back so late
//! that it is sent a snapshot, again and again. What the nodes take does not grow: memory, open files,
//! log, state.

use crate::cluster::{Cluster, NODES, Surroundings};
use crate::trials::Trial;
use axon_benches::ensure;
use axon_benches::trial::load::{Latencies, Load};
use axon_benches::trial::{Check, rss_mib, v1};
use rustix::process::Signal;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PUTS_A_SECOND: u32 = 500;
const VALUE_BYTES: usize = 1 << 10;
const KEYS: u64 = 20_000;
/// So little that what a follower misses while it is away is soon gone.
const LOG_RETENTION_BYTES: u64 = 8 << 20;
const HISTORY_BYTES: u64 = 16 << 20;
/// How long a follower is away, and how long nobody is.
const AWAY: Duration = Duration::from_secs(30);
const TOGETHER: Duration = Duration::from_secs(30);
const SAMPLED_EVERY: Duration = Duration::from_secs(1);
/// A later part of the run may take so much more memory than an earlier one.
const GROWTH_MIB_MAX: f64 = 24.0;
const OPEN_FILES_MAX: usize = 256;
/// Retention, the segment that is written, those that are ready, and what waits for a checkpoint.
const LOG_MIB_MAX: f64 = 512.0;

/// What a node takes at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    memory_mib: f64,
    open_files: usize,
    log_mib: f64,
    state_mib: f64,
}

/// Tries it, for as long as `trial` says.
pub async fn run(trial: &Trial<'_>) -> Check {
    let (log, history) = (LOG_RETENTION_BYTES.to_string(), HISTORY_BYTES.to_string());
    let more = ["--log-retention-bytes", &log, "--history-bytes", &history];
    let more = more.map(str::to_owned).to_vec();
    let surroundings = Surroundings { more, ..Surroundings::default() };
    trial
        .on("R18", surroundings, async |cluster| {
            steady(cluster, Duration::from_secs(trial.seconds)).await
        })
        .await
}

async fn steady(cluster: &mut Cluster, time: Duration) -> Check<String> {
    let latencies = Arc::<Mutex<Latencies>>::default();
    let (http, ports) = (cluster.http.clone(), cluster.places());
    let noted = Arc::clone(&latencies);
    let load = Load::start(PUTS_A_SECOND, move |number, due| {
        let (http, noted) = (http.clone(), Arc::clone(&noted));
        // Whoever is away is not asked: the first node is always there.
        let port = ports[0].port;
        async move {
            let put = v1::put(&format!("steady/{}", number % KEYS), vec![b's'; VALUE_BYTES]);
            http.insist(&[port], 0, &put, &format!("steady-{number}")).await?;
            noted.lock().unwrap_or_else(PoisonError::into_inner).record(due.elapsed());
            Ok(())
        }
    });
    let begun = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    let mut away = None;
    let (mut absences, mut changed) = (0, begun);
    while begun.elapsed() < time && !load.has_failed() {
        tokio::time::sleep(SAMPLED_EVERY).await;
        match away {
            Some(node) if changed.elapsed() >= AWAY => {
                cluster.start_node(node)?;
                cluster.until_ready().await?;
                cluster.settle_roughly().await?;
                (away, changed) = (None, Instant::now());
            }
            None if changed.elapsed() >= TOGETHER => {
                let node = 1 + absences % (NODES - 1);
                cluster.servers[node].end(Signal::KILL).await?;
                absences += 1;
                (away, changed) = (Some(node), Instant::now());
            }
            _ => {}
        }
        samples.push(sampled(cluster)?);
    }
    let rate = load.end().await?;
    if let Some(node) = away {
        cluster.start_node(node)?;
    }
    cluster.until_ready().await?;
    let hashes = cluster.settle().await?;
    let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let told = judged(&samples)?;
    Ok(format!(
        "{:.0} s, {rate:.0} puts/s (p50 {:.1} ms, p99 {:.1} ms), {absences} absences of a follower: {told}; \
         {hashes}",
        begun.elapsed().as_secs_f64(),
        latencies.at(0.5),
        latencies.at(0.99),
    ))
}

/// What the first node takes: it is never away.
fn sampled(cluster: &mut Cluster) -> Check<Sample> {
    let server = &mut cluster.servers[0];
    let pid = server.pid().ok_or_else(|| format!("{} is gone", server.name))?;
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let files = files.map_err(|error| format!("/proc/{pid}/fd: {error}"))?;
    let data = &server.directory;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(Sample {
        memory_mib: rss_mib(pid)?,
        open_files: files.count(),
        log_mib: mib(bytes_under(&data.join("log"))),
        state_mib: mib(bytes_under(&data.join("state.redb"))),
    })
}

/// The bytes of a file, or of all in a directory; what goes meanwhile counts as nothing.
fn bytes_under(path: &Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| bytes_under(&entry.path())).sum(),
        Err(_) => std::fs::metadata(path).map_or(0, |file| file.len()),
    }
}

/// Compares the third quarter of the run with the last one: the first half is for filling what has a
/// bound.
fn judged(samples: &[Sample]) -> Check<String> {
    let quarter = samples.len() / 4;
    ensure!(quarter > 0, "too short to tell anything");
    let largest =
        |samples: &[Sample], of: fn(&Sample) -> f64| samples.iter().map(of).fold(0.0_f64, f64::max);
    let (third, last) = samples[2 * quarter..].split_at(quarter);
    let memory = [third, last].map(|part| largest(part, |sample| sample.memory_mib));
    let state = [third, last].map(|part| largest(part, |sample| sample.state_mib));
    let log = largest(samples, |sample| sample.log_mib);
    let files = samples.iter().map(|sample| sample.open_files).max().unwrap_or(0);
    ensure!(memory[1] <= memory[0] + GROWTH_MIB_MAX, "memory grew: {memory:?} MiB");
    ensure!(files <= OPEN_FILES_MAX, "{files} files were open");
    ensure!(log <= LOG_MIB_MAX, "the log took {log:.0} MiB");
    ensure!(state[1] <= state[0] * 1.25 + 16.0, "the state grew: {state:?} MiB");
    Ok(format!(
        "memory {:.0} MiB at most in the third quarter and {:.0} in the last, {files} open files, log {log:.0} \
         MiB, state {:.0} and {:.0} MiB",
        memory[0], memory[1], state[0], state[1]
    ))
}
