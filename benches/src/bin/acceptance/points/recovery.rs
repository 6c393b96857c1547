//! Point 22: two of three directories are lost for good. What is left becomes a new cluster, on
//! explicit consent; a zombie of the old one stays out.

use crate::guest::Guest;
use crate::ledger::Ledger;
use crate::rig::{self, ALL, PATIENCE, Rig, Surroundings, until};
use crate::stream::Stream;
use crate::{Args, Check, ensure};
use std::fs;
use std::time::{Duration, Instant};

/// How long the zombie is watched.
const WATCHED: Duration = Duration::from_secs(10);

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), async |rig| {
        let ports = rig.api_ports().await?;
        let stream = Stream::start(&rig.http, &ports, "recovery/settled");
        tokio::time::sleep(Duration::from_secs(2)).await;
        stream.end(&mut rig.ledger).await?;
        let settled = rig.verify().await?;
        let old = rig.http.get_json(ports[0], "/v1/status").await?["cluster_id"].clone();
        let old = old.as_str().ok_or("a status without a cluster")?.to_owned();

        let stream = Stream::start(&rig.http, &ports, "recovery/late");
        stream.acknowledgement_after(Instant::now()).await?;
        crash(rig).await?;
        let mut late = Ledger::default();
        stream.end(&mut late).await?;
        // Acknowledged by a majority that may be the two which are lost: it may be there or not.
        let acknowledged = late.acknowledged().len();
        rig.ledger.doubt(late);
        let begun = Instant::now();
        lose(rig)?;
        recover(rig, &old).await?;
        rig.start_and_wait(&ALL).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let new = voters(rig, &old).await?;
        let pairs = rig.verify().await?;
        ensure!(pairs >= settled, "{settled} pairs had settled, {pairs} are left");
        let zombie = zombie(rig, &new).await?;
        let hashes = rig.settle().await?;
        Ok(format!(
            "cluster {old:.8} lost two of three directories; recovered as {new:.8} with three voters \
             in {seconds:.1} s, {settled} settled pairs and {} of {acknowledged} late ones there; the zombie: \
             {zombie}; {hashes}",
            pairs - settled
        ))
    })
    .await
}

/// Kills the launcher and every node at once.
async fn crash(rig: &mut Rig) -> Check {
    let nodes = rig.nodes().await?;
    rig.kill_launcher().await?;
    nodes.iter().try_for_each(rig::kill)?;
    let gone = |pid: u32| !fs::exists(format!("/proc/{pid}")).unwrap_or(true);
    until("every node is gone", PATIENCE, async || {
        Ok(nodes.iter().all(|node| node.pid.is_none_or(gone)).then_some(()))
    })
    .await
}

/// Loses two directories; a copy of one comes back as the zombie.
fn lose(rig: &Rig) -> Check {
    let nodes = rig.data().join("nodes");
    let zombie = rig.root().join("node2");
    fs::rename(nodes.join("node2").join("data"), &zombie)
        .and_then(|()| fs::remove_dir_all(nodes.join("node2")))
        .and_then(|()| fs::remove_dir_all(nodes.join("node3")))
        .map_err(|error| format!("cannot lose the directories: {error}"))
}

/// Asks what would be done, then consents.
async fn recover(rig: &Rig, old: &str) -> Check {
    let command = || {
        let mut command = rig.launcher_command();
        command.arg("recover").arg("--data-dir").arg(rig.data());
        command.arg("--server-bin").arg(rig.server_binary());
        command
    };
    let asked = command().output().await.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    ensure!(said.contains("node1") && said.contains(old), "it does not say what is left: {said}");
    let done = command().args(["--yes", old]).output().await.map_err(|error| error.to_string())?;
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(done.status.success(), "recover ended with {}: {said:?}", done.status);
    Ok(())
}

/// Waits until all three vote in one new cluster; returns its id.
async fn voters(rig: &mut Rig, old: &str) -> Check<String> {
    until("three voters of a new cluster", PATIENCE, async || {
        let mut clusters = Vec::new();
        for id in ALL {
            let port = rig.node(id).await?.port;
            let status = rig.http.get_json(port, "/v1/status").await?;
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            ensure!(voters == 3, "{id} knows {voters} voters");
            clusters.push(status["cluster_id"].as_str().unwrap_or_default().to_owned());
        }
        clusters.dedup();
        ensure!(clusters.len() == 1 && clusters[0] != old, "the nodes are in {clusters:?}");
        Ok(clusters.pop())
    })
    .await
}

/// Starts what was lost, with the secret and the addresses of the new cluster.
async fn zombie(rig: &mut Rig, new: &str) -> Check<String> {
    let ports = rig.api_ports().await?;
    let doors: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{}", port + 1)).collect();
    let term = rig.http.get_json(ports[0], "/v1/status").await?["term"].clone();
    let zombie = Guest::start(rig, "node2", 0, &["--join".into(), doors.join(",").into()])?;
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        for port in &ports {
            let status = rig.http.get_json(*port, "/v1/status").await?;
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            let same = status["cluster_id"] == *new && voters == 3 && status["term"] == term;
            ensure!(same, "a zombie changed the cluster to {status}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if let Ok(status) = zombie.status().await {
        ensure!(status["cluster_id"] != *new, "the zombie is a member of the new cluster");
        ensure!(status["leader"].is_null(), "the zombie follows a leader: {status}");
    }
    let logged = zombie.logged();
    let told = logged.lines().rev().find(|line| line.contains("cluster"));
    let told = told.ok_or_else(|| format!("the zombie was not told why it is alone: {logged}"))?;
    Ok(format!("no member, no leader, the term did not move; it logged: {}", told.trim()))
}
