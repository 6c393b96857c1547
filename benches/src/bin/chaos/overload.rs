//! R15: ten times as much work as the cluster can do. Its memory stays bounded, it answers 2xx, 429 or
//! 503 and nothing else, and when the work is over it serves as before within seconds.

use crate::cluster::{Cluster, NODES, Place, Surroundings};
use crate::trials::Trial;
use axon_benches::ensure;
use axon_benches::trial::http::Http;
use axon_benches::trial::load::Latencies;
use axon_benches::trial::{Check, rss_mib, until, v1};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Clients with which capacity is reached; ten times as many are too many.
const ENOUGH: usize = 128;
const TOO_MANY: usize = 10 * ENOUGH;
const VALUE_BYTES: usize = 4 << 10;
/// How long capacity is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Bodies in flight, the log's and the overlay's caps, and what a node takes at rest.
const MEMORY_MIB_MAX: f64 = 640.0;
const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// What clients were answered.
#[derive(Default)]
struct Answers {
    by_status: Mutex<BTreeMap<u16, u64>>,
    done: AtomicU64,
    none: AtomicU64,
}

/// Tries it, for as long as `trial` says.
pub async fn run(trial: &Trial<'_>) -> Check {
    trial
        .on("R15", Surroundings::default(), async |cluster| {
            overload(cluster, Duration::from_secs(trial.seconds)).await
        })
        .await
}

async fn overload(cluster: &mut Cluster, time: Duration) -> Check<String> {
    let capacity = work(cluster, ENOUGH, MEASURED).await?;
    let rate = |answers: &Answers, time: Duration| {
        answers.done.load(Ordering::Relaxed) as f64 / time.as_secs_f64()
    };
    let at_capacity = rate(&capacity.0, MEASURED);
    let (answers, memory) = work(cluster, TOO_MANY, time).await?;
    let over = Instant::now();
    let statuses = answers.by_status.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let others = statuses.keys().find(|status| !matches!(status, 200..=299 | 429 | 503));
    ensure!(others.is_none(), "there were answers of {statuses:?}");
    ensure!(memory <= MEMORY_MIB_MAX, "a node took {memory:.0} MiB");
    let mut latencies = Latencies::default();
    let places = cluster.places();
    until("a hundred puts in a row are acknowledged as before", RECOVERY_MAX, async || {
        for number in 0..100 {
            let sent = Instant::now();
            let put = v1::put(&format!("after/{number}"), "x");
            let answer = cluster.http.send(places[number % NODES].at(put)).await?;
            ensure!(v1::done(&answer), "a put was answered {}", answer.brief());
            latencies.record(sent.elapsed());
        }
        Ok(Some(()))
    })
    .await?;
    let back = over.elapsed().as_secs_f64();
    ensure!(over.elapsed() <= RECOVERY_MAX, "it served as before only after {back:.1} s");
    let none = answers.none.load(Ordering::Relaxed);
    let hashes = cluster.settle().await?;
    Ok(format!(
        "{ENOUGH} clients: {at_capacity:.0} puts/s of {} KiB; {TOO_MANY} clients for {:.0} s: {:.0} \
         puts/s, answers {statuses:?}, {none} without an answer; {memory:.0} MiB at most; serving as \
         before after {back:.2} s (p99 {:.1} ms); {hashes}",
        VALUE_BYTES >> 10,
        time.as_secs_f64(),
        rate(&answers, time),
        latencies.at(0.99),
    ))
}

/// Lets `clients` put as fast as they can, without ever waiting. Returns what they were answered, and how
/// much memory the largest node took.
async fn work(cluster: &mut Cluster, clients: usize, time: Duration) -> Check<(Answers, f64)> {
    let answers = Arc::new(Answers::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut working = JoinSet::new();
    for client in 0..clients {
        let place = cluster.places()[client % NODES];
        let (http, stop) = (cluster.http.clone(), Arc::clone(&stop));
        working.spawn(client_of(client, http, place, stop, Arc::clone(&answers)));
    }
    let (begun, mut memory) = (Instant::now(), 0.0_f64);
    while begun.elapsed() < time {
        for server in &mut cluster.servers {
            let pid = server.pid().ok_or_else(|| format!("{} is gone", server.name))?;
            memory = memory.max(rss_mib(pid)?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = working.join_next().await {
        ended.map_err(|error| format!("a client panicked: {error}"))?;
    }
    let answers = Arc::into_inner(answers).ok_or("a client is still at work")?;
    Ok((answers, memory))
}

async fn client_of(
    client: usize,
    http: Http,
    place: Place,
    stop: Arc<AtomicBool>,
    answers: Arc<Answers>,
) {
    let value = vec![b'v'; VALUE_BYTES];
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let put = v1::put(&format!("load/{client}/{}", number % 16), value.clone());
        number += 1;
        match http.send(place.at(put)).await {
            Ok(answer) => {
                let status = answer.status.as_u16();
                let mut by_status =
                    answers.by_status.lock().unwrap_or_else(PoisonError::into_inner);
                *by_status.entry(status).or_default() += 1;
                if v1::done(&answer) {
                    answers.done.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(_) => {
                answers.none.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
