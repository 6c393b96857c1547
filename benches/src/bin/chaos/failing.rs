//! R11: a sync of the log fails, once on the leader and once on a follower. The node does not try it
//! again and does not go on as if nothing had been: its process ends, within a second, and says why.
//! Nothing that was acknowledged before is lost; with a sound disk it comes back.

use crate::cluster::{Cluster, NODES, Surroundings};
use crate::inject;
use crate::trials::Trial;
use axon_benches::ensure;
use axon_benches::trial::ledger::Ledger;
use axon_benches::trial::stream::Stream;
use axon_benches::trial::{Check, PATIENCE, until};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a process may live on after the first sync that failed.
const ENDED_WITHIN: Duration = Duration::from_secs(1);
/// How long the cluster is watched without the node.
const WATCHED: Duration = Duration::from_secs(3);

/// Tries it.
pub async fn run(trial: &Trial<'_>) -> Check {
    trial.on("R11", Surroundings::default(), async |cluster| both(cluster).await).await
}

async fn both(cluster: &mut Cluster) -> Check<String> {
    let mut ledger = Ledger::default();
    let leader = cluster.until_leader().await?;
    let leading = failing(cluster, leader, "failing/leader", &mut ledger).await?;
    let leader = cluster.until_leader().await?;
    let follower = (leader + 1) % NODES;
    let following = failing(cluster, follower, "failing/follower", &mut ledger).await?;
    let hashes = cluster.settle().await?;
    Ok(format!(
        "a sync fails: the leader's process ended {:.0} ms after it, a follower's {:.0} ms; 0 of {} \
         acknowledged puts lost; {hashes}",
        leading.as_secs_f64() * 1e3,
        following.as_secs_f64() * 1e3,
        ledger.acknowledged().len(),
    ))
}

/// Lets the syncs of `node` fail under a stream of puts. Returns how long its process lived on.
async fn failing(
    cluster: &mut Cluster,
    node: usize,
    name: &'static str,
    ledger: &mut Ledger,
) -> Check<Duration> {
    let ports = cluster.ports();
    let stream = Stream::start(&cluster.http, &ports, name);
    stream.acknowledgement_after(Instant::now()).await?;
    let trace = cluster.root().join(format!("syncs-of-node{}", node + 1));
    let strace = inject::syncs(cluster, node, "error=EIO", &trace).await?;
    let ended = until("the process has ended", PATIENCE, async || {
        Ok(cluster.servers[node].pid().is_none().then(SystemTime::now))
    })
    .await?;
    drop(strace);
    let failed = first_failure(&trace)?;
    let lived = ended.duration_since(failed).unwrap_or_default();
    ensure!(lived <= ENDED_WITHIN, "it lived on for {:.2} s", lived.as_secs_f64());
    let said = cluster.servers[node].logged();
    let cause = said.lines().rev().take(5).any(|line| line.contains("Input/output error"));
    ensure!(cause, "it did not say why it ended: {:?}", said.lines().last());
    // The others go on, or elect.
    tokio::time::sleep(WATCHED).await;
    stream.acknowledgement_after(Instant::now()).await?;
    stream.end(ledger).await?;
    cluster.start_node(node)?;
    cluster.until_ready().await?;
    cluster.until_complete(ledger).await?;
    Ok(lived)
}

/// When the first sync failed, as strace tells: `PID SECONDS.MICROS fdatasync(4) = -1 EIO ...`.
fn first_failure(trace: &Path) -> Check<SystemTime> {
    let told = std::fs::read_to_string(trace);
    let told = told.map_err(|error| format!("{}: {error}", trace.display()))?;
    let line = told.lines().find(|line| line.contains("EIO"));
    let seconds = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    let seconds = seconds.ok_or("it ended, and no sync had failed")?;
    Ok(UNIX_EPOCH + Duration::from_secs_f64(seconds))
}
