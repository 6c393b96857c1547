//! R6: the leader is killed again and again under a stream of puts. How long until one is acknowledged
//! that began after its death; and nothing that was acknowledged is missing anywhere.

use crate::cluster::{Cluster, Surroundings};
use crate::trials::Trial;
use axon_benches::ensure;
use axon_benches::trial::Check;
use axon_benches::trial::ledger::Ledger;
use axon_benches::trial::load::Latencies;
use axon_benches::trial::stream::Stream;
use std::time::Instant;

/// Milliseconds without an acknowledgement, in the middle of all and of 99 in 100.
const P50_MS_MAX: f64 = 1_000.0;
const P99_MS_MAX: f64 = 2_500.0;

/// Tries it.
pub async fn run(trial: &Trial<'_>, kills: usize) -> Check {
    trial.on("R6", Surroundings::default(), async |cluster| killed(cluster, kills).await).await
}

async fn killed(cluster: &mut Cluster, kills: usize) -> Check<String> {
    let ports = cluster.ports();
    let stream = Stream::start(&cluster.http, &ports, "leaders");
    let mut silences = Latencies::default();
    for _ in 0..kills {
        cluster.until_ready().await?;
        let leader = cluster.until_leader().await?;
        stream.acknowledgement_after(Instant::now()).await?;
        let killed = Instant::now();
        cluster.kill(leader).await?;
        silences.record(stream.acknowledgement_after(killed).await?);
        cluster.start_node(leader)?;
    }
    cluster.until_ready().await?;
    let mut ledger = Ledger::default();
    stream.end(&mut ledger).await?;
    let hashes = cluster.settle().await?;
    cluster.until_complete(&ledger).await?;
    let (p50, p99, longest) = (silences.at(0.5), silences.at(0.99), silences.at(1.0));
    let told = format!("p50 {p50:.0} ms, p99 {p99:.0} ms, max {longest:.0} ms");
    ensure!(p50 < P50_MS_MAX && p99 < P99_MS_MAX, "the next acknowledgement took {told}");
    Ok(format!(
        "{kills} leaders killed, the next acknowledgement {told}; 0 of {} acknowledged puts lost; {hashes}",
        ledger.acknowledged().len(),
    ))
}
