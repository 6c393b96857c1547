//! R20: one disk takes 200 ms a sync. It is the leader's: leadership moves to another node, and from then
//! on the cluster is as quick as before; until then it is slow, and bounded.

use crate::cluster::{Cluster, NODES, Place, Surroundings};
use crate::inject;
use crate::trials::Trial;
use axon_benches::ensure;
use axon_benches::trial::http::Http;
use axon_benches::trial::load::{Latencies, Load};
use axon_benches::trial::{Check, until, v1};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a sync takes.
const SLOW_MS: u64 = 200;
/// Above this a disk counts as slow, for as long as the server's documentation says.
const SYNC_P99_MAX: &str = "100ms";
const PUTS_A_SECOND: u32 = 100;
/// How long the load is measured, before and after.
const MEASURED: Duration = Duration::from_secs(10);
/// How long leadership may stay.
const MOVED_MAX: Duration = Duration::from_secs(30);
/// What a put may take while the slow disk leads, at the 99th percentile: some syncs behind each other.
const P99_MS_MAX: f64 = 2_000.0;

/// Tries it.
pub async fn run(trial: &Trial<'_>) -> Check {
    let more = ["--sync-p99-max", SYNC_P99_MAX].map(str::to_owned).to_vec();
    let surroundings = Surroundings { more, ..Surroundings::default() };
    trial.on("R20", surroundings, async |cluster| slowed(cluster).await).await
}

async fn slowed(cluster: &mut Cluster) -> Check<String> {
    let before = measured(cluster, async |_| tokio::time::sleep(MEASURED).await).await?.0;
    let leader = cluster.until_leader().await?;
    let (delay, trace) = (format!("delay_exit={}", SLOW_MS * 1_000), Path::new("/dev/null"));
    let mut slow = inject::syncs(cluster, leader, &delay, trace).await?;
    let (during, moved) = measured(cluster, async |cluster| {
        let begun = Instant::now();
        let moved = until("leadership has moved", MOVED_MAX, async || {
            Ok(cluster.leader().await.filter(|now| *now != leader))
        });
        moved.await.map(|_| begun.elapsed())
    })
    .await?;
    let moved = moved?;
    let after = measured(cluster, async |_| tokio::time::sleep(MEASURED).await).await?.0;
    let stayed = cluster.leader().await != Some(leader);
    ensure!(stayed, "leadership came back to the slow disk");
    ensure!(matches!(slow.try_wait(), Ok(None)), "the disk was not slow until the end");
    slow.kill().await.map_err(|error| format!("strace: {error}"))?;
    let p99 = during.2.max(after.2);
    ensure!(p99 <= P99_MS_MAX, "the 99th percentile of puts was {p99:.0} ms");
    let hashes = cluster.settle().await?;
    let told = |(count, p50, p99): (usize, f64, f64)| {
        format!("{count} puts, p50 {p50:.1} ms, p99 {p99:.1} ms")
    };
    Ok(format!(
        "before: {}; the leader's syncs {SLOW_MS} ms longer: leadership moved after {:.1} s, until \
         then {}; after: {}; {hashes}",
        told(before),
        moved.as_secs_f64(),
        told(during),
        told(after),
    ))
}

type Figures = (usize, f64, f64);

/// Puts at a steady rate while `meanwhile` lasts; returns how many were acknowledged, with what latency.
async fn measured<T>(
    cluster: &mut Cluster,
    meanwhile: impl AsyncFnOnce(&mut Cluster) -> T,
) -> Check<(Figures, T)> {
    let latencies = Arc::<Mutex<Latencies>>::default();
    let (http, places, noted) = (cluster.http.clone(), cluster.places(), Arc::clone(&latencies));
    // What was put before under an id would be answered, and not done.
    let run: u32 = rand::random();
    let load = Load::start(PUTS_A_SECOND, move |number, due| {
        let place = places[number as usize % NODES];
        put(http.clone(), place, format!("{run:x}-{number}"), due, Arc::clone(&noted))
    });
    let result = meanwhile(cluster).await;
    load.end().await?;
    let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    let figures = (latencies.count(), latencies.at(0.5), latencies.at(0.99));
    Ok((figures, result))
}

/// A put under an idempotency key, sent until it is acknowledged.
async fn put(
    http: Http,
    place: Place,
    id: String,
    due: Instant,
    latencies: Arc<Mutex<Latencies>>,
) -> Check {
    http.insist(&[place.port], 0, &v1::put(&format!("slow/{id}"), "x"), &id).await?;
    let took = due.elapsed();
    latencies.lock().unwrap_or_else(PoisonError::into_inner).record(took);
    Ok(())
}
