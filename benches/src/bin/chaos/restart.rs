//! R8: nodes with many keys are killed while clients write, and started again: how long until they serve.
//!
//! A follower, the leader, and all three at once; with a hundred thousand keys and with a million.

use crate::cluster::{Cluster, NODES, Surroundings};
use crate::trials::Trial;
use axon_benches::ensure;
use axon_benches::trial::http::Call;
use axon_benches::trial::stream::Stream;
use axon_benches::trial::{Check, PATIENCE, ledger::Ledger, until};
use hyper::{Method, StatusCode};
use std::time::{Duration, Instant};

const KEYS: [u32; 2] = [100_000, 1_000_000];
const VALUE_BYTES: usize = 256;
/// How long clients write before anybody is killed.
const WRITTEN: Duration = Duration::from_secs(2);
/// How long a killed node may take from its start until it serves.
const SERVING_WITHIN: Duration = Duration::from_secs(2);

/// Tries it.
pub async fn run(trial: &Trial<'_>) -> Check {
    trial.on("R8", Surroundings::default(), async |cluster| both(cluster).await).await
}

async fn both(cluster: &mut Cluster) -> Check<String> {
    let ports = cluster.ports();
    let mut told = Vec::new();
    for (keys, name) in KEYS.into_iter().zip(["restart/some", "restart/many"]) {
        let value = "v".repeat(VALUE_BYTES);
        let pair = |number| (format!("fill/{number:08}"), value.clone());
        cluster.http.fill(&ports, keys, pair).await?;
        let stream = Stream::start(&cluster.http, &ports, name);
        let leader = cluster.until_leader().await?;
        let follower = killed(cluster, &[(leader + 1) % NODES]).await?;
        let leader = cluster.until_leader().await?;
        let leader = killed(cluster, &[leader]).await?;
        let all = killed(cluster, &[0, 1, 2]).await?;
        let mut ledger = Ledger::default();
        stream.end(&mut ledger).await?;
        let hashes = cluster.settle().await?;
        let times = [follower, leader, all].map(|took| format!("{:.2} s", took.as_secs_f64()));
        let slowest = follower.max(leader).max(all);
        let [follower, leader, all] = times;
        let what =
            format!("{keys} keys: a follower {follower}, the leader {leader}, all at once {all}");
        ensure!(slowest <= SERVING_WITHIN, "serving again took too long with {what}");
        told.push(format!("{what}, {hashes}"));
    }
    Ok(format!("killed, started, serving: {}", told.join("; ")))
}

/// Kills nodes and starts them again; returns how long from there until all of them serve.
async fn killed(cluster: &mut Cluster, nodes: &[usize]) -> Check<Duration> {
    cluster.until_ready().await?;
    tokio::time::sleep(WRITTEN).await;
    for node in nodes {
        cluster.kill(*node).await?;
    }
    let begun = Instant::now();
    for node in nodes {
        cluster.start_node(*node)?;
    }
    let places = cluster.places();
    until("the killed serve", PATIENCE, async || {
        for node in nodes {
            // Linearizable: it has caught up with what was acknowledged without it.
            let read = places[*node].at(Call::new(Method::GET, 0, "/v1/kv/fill%2F00000000"));
            let answer = cluster.http.send(read).await?;
            ensure!(answer.status == StatusCode::OK, "node{}: {}", node + 1, answer.brief());
        }
        Ok(Some(()))
    })
    .await?;
    Ok(begun.elapsed())
}
