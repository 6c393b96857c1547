//! Durable means synced on a majority before the answer: while the syncs of two of three nodes do not
//! return, nothing is acknowledged, by anybody; once they do, all goes on, and nothing is lost.

use crate::cluster::{Cluster, NODES, Surroundings};
use crate::inject;
use crate::trials::Trial;
use axon_benches::ensure;
use axon_benches::trial::{Check, PATIENCE, until, v1};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than the trial: each sync waits for it on its way in, until strace is gone.
const FOR_EVER: &str = "delay_enter=600000000";
/// How long puts are tried while syncs are blocked.
const BLOCKED: Duration = Duration::from_secs(8);
/// What was on its way when the syncs were blocked has been answered by then.
const SETTLED: Duration = Duration::from_secs(1);

/// Tries it.
pub async fn run(trial: &Trial<'_>) -> Check {
    trial.on("blocked", Surroundings::default(), async |cluster| both(cluster).await).await
}

async fn both(cluster: &mut Cluster) -> Check<String> {
    let leader = cluster.until_leader().await?;
    let followers = [(leader + 1) % NODES, (leader + 2) % NODES];
    let refused = blocked(cluster, followers, "followers").await?;
    let leader = cluster.until_leader().await?;
    let and_leader = blocked(cluster, [leader, (leader + 1) % NODES], "leader").await?;
    let hashes = cluster.settle().await?;
    Ok(format!(
        "syncs of both followers do not return for {0} s: 0 of {refused} puts acknowledged; of the leader and \
         a follower: 0 of {and_leader}; {hashes}",
        BLOCKED.as_secs()
    ))
}

/// Blocks the syncs of two nodes and puts through all three; returns how many puts were refused.
async fn blocked(cluster: &mut Cluster, nodes: [usize; 2], name: &str) -> Check<usize> {
    let nowhere = Path::new("/dev/null");
    let first = inject::syncs(cluster, nodes[0], FOR_EVER, nowhere).await?;
    let second = inject::syncs(cluster, nodes[1], FOR_EVER, nowhere).await?;
    tokio::time::sleep(SETTLED).await;
    let (begun, mut refused) = (Instant::now(), 0);
    while begun.elapsed() < BLOCKED {
        let puts = cluster.places().into_iter().enumerate().map(|(node, place)| {
            let put = place.at(v1::put(&format!("blocked/{name}/{node}/{refused}"), "x"));
            cluster.http.send(put)
        });
        for answer in futures_util::future::join_all(puts).await {
            let done = answer.is_ok_and(|answer| v1::done(&answer));
            ensure!(!done, "a put was acknowledged that two of three nodes could not have synced");
            refused += 1;
        }
    }
    drop((first, second));
    until("a put is acknowledged again", PATIENCE, async || {
        let place = cluster.places()[0];
        let answer = cluster.http.send(place.at(v1::put("blocked/after", "x"))).await?;
        ensure!(v1::done(&answer), "a put was answered {}", answer.brief());
        Ok(Some(()))
    })
    .await?;
    cluster.until_ready().await?;
    Ok(refused)
}
