//! Point 7: many writers share a sync, a put's price is known, a killed node is back quickly, and an
//! idle node is small.

use crate::rig::{ALL, PATIENCE, Rig, kill, until};
use crate::{Check, ensure, measure};
use futures_util::stream::{self, TryStreamExt};
use std::time::{Duration, Instant};

/// Clients that put at the same time.
const CLIENTS: usize = 64;
/// Puts for the figures.
const PUTS: usize = 20_000;
/// More entries than this share a sync, on average, at that many clients.
const ENTRIES_A_SYNC_MIN: f64 = 5.0;
/// How long a killed node may take from its start until it serves.
const RESTART_MAX: Duration = Duration::from_secs(2);
/// How long a node is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(20);
/// What a node without data may take.
const IDLE_MIB_MAX: f64 = 40.0;

pub async fn run(rig: &mut Rig) -> Check<String> {
    rig.wait_ready(&ALL).await?;
    let idle = idle_mib(rig).await?;
    let (entries_a_sync, cpu_micros, rate) = puts(rig).await?;
    let restart = restart(rig).await?;
    let pairs = rig.verify().await?;
    Ok(format!(
        "{idle}; {entries_a_sync:.1} entries a sync at {CLIENTS} clients, {rate:.0} puts/s, \
         {cpu_micros:.0} us of CPU a put over all nodes; serving {restart:.2} s after the start of a \
         killed node with {pairs} pairs"
    ))
}

async fn idle_mib(rig: &mut Rig) -> Check<String> {
    if !rig.ledger.acknowledged().is_empty() {
        return Ok("idle memory: only measured as the first point".into());
    }
    tokio::time::sleep(IDLE).await;
    let mut largest: f64 = 0.0;
    for node in rig.nodes().await? {
        largest = largest.max(measure::rss_mib(&node)?);
    }
    let small = largest < IDLE_MIB_MAX;
    ensure!(small, "an idle node takes {largest:.1} MiB");
    Ok(format!("an idle node takes at most {largest:.1} MiB"))
}

/// Entries a sync, microseconds of CPU a put over all nodes, puts a second.
async fn puts(rig: &mut Rig) -> Check<(f64, f64, f64)> {
    let ports = rig.api_ports().await?;
    let (log_before, cpu_before) = (log_counters(rig).await?, cpu_seconds(rig).await?);
    let begun = Instant::now();
    let http = &rig.http;
    let value = "v".repeat(256);
    let calls = (0..PUTS).map(|number| {
        let (port, key) = (ports[number % ports.len()], format!("figures/{number:08}"));
        let value = &value;
        Ok::<_, String>(async move { http.must_put(port, &key, value).await.map(|()| key) })
    });
    let keys: Vec<String> = stream::iter(calls).try_buffer_unordered(CLIENTS).try_collect().await?;
    let seconds = begun.elapsed().as_secs_f64();
    let (log_after, cpu_after) = (log_counters(rig).await?, cpu_seconds(rig).await?);
    for key in keys {
        rig.ledger.acknowledge(key, value.clone());
    }
    let entries_a_sync = (log_after.0 - log_before.0) / (log_after.1 - log_before.1).max(1.0);
    let shared = entries_a_sync > ENTRIES_A_SYNC_MIN;
    ensure!(shared, "only {entries_a_sync:.1} entries share a sync at {CLIENTS} clients");
    let cpu_micros = (cpu_after - cpu_before) * 1e6 / PUTS as f64;
    Ok((entries_a_sync, cpu_micros, PUTS as f64 / seconds))
}

/// Entries appended and syncs made, over all nodes.
async fn log_counters(rig: &mut Rig) -> Check<(f64, f64)> {
    let (mut entries, mut syncs) = (0.0, 0.0);
    for port in rig.api_ports().await? {
        let text = rig.http.get_text(port, "/metrics").await?;
        entries += metric(&text, "axon_log_appended_entries_total")?;
        syncs += metric(&text, "axon_log_syncs_total")?;
    }
    Ok((entries, syncs))
}

fn metric(text: &str, name: &str) -> Check<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.ok_or_else(|| format!("/metrics has no {name}"))
}

async fn cpu_seconds(rig: &mut Rig) -> Check<f64> {
    let mut seconds = 0.0;
    for node in rig.nodes().await? {
        seconds += measure::cpu_seconds(&node)?;
    }
    Ok(seconds)
}

/// Kills a follower; seconds from its new process's start until it serves.
async fn restart(rig: &mut Rig) -> Check<f64> {
    let leader = rig.leader().await?.id;
    let id = ALL.into_iter().find(|id| *id != leader).ok_or("there is no follower")?;
    let killed = rig.node(id).await?;
    kill(&killed)?;
    until("the killed node is started again", PATIENCE, async || {
        let node = rig.node(id).await?;
        Ok(node.pid.filter(|pid| Some(*pid) != killed.pid))
    })
    .await?;
    let begun = Instant::now();
    until("the killed node serves", PATIENCE, async || {
        Ok(rig.is_ready(killed.port).await.then_some(()))
    })
    .await?;
    let took = begun.elapsed();
    ensure!(
        took <= RESTART_MAX,
        "a killed node served only {:.2} s after its start",
        took.as_secs_f64()
    );
    Ok(took.as_secs_f64())
}
