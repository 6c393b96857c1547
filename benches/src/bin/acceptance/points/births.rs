//! Point 15: a launcher that is killed at any moment of its first start makes one cluster all the
//! same; of two that are started at once one works, and the other says why it does not.

use crate::rig::{ALL, Rig, Surroundings};
use crate::{Args, Check, ensure};
use rand::RngExt;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// A whole first start takes about this long.
const MOMENT_MAX_MS: u64 = 1_500;
/// A launcher that refuses does so at once; this is for a busy machine.
const REFUSAL_MAX: Duration = Duration::from_secs(20);

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    let mut rig = Rig::prepare(args, seed, Surroundings::default())?;
    let outcome = all(&mut rig, args.births).await;
    rig.end(outcome.is_ok() && !args.keep).await;
    outcome
}

async fn all(rig: &mut Rig, rounds: usize) -> Check<String> {
    let mut formed = 0;
    for round in 1..=rounds {
        rig.move_to(&format!("birth-{round}"));
        // Most of what can go wrong is in its first tenth.
        let share: f64 = rig.rng.random();
        let moment = Duration::from_millis(MOMENT_MAX_MS).mul_f64(share.powi(3));
        rig.start_launcher()?;
        tokio::time::sleep(moment).await;
        rig.kill_launcher().await?;
        let known = manifest(rig);
        formed += usize::from(known.as_ref().is_some_and(|manifest| manifest["formed"] == true));
        let id = known.and_then(|manifest| Some(manifest["cluster_id"].as_str()?.to_owned()));
        let told = |what: String| format!("killed after {} ms: {what}", moment.as_millis());
        rig.start_and_wait(&ALL).await.map_err(told)?;
        one_cluster(rig, id).await.map_err(told)?;
        rig.stop_launcher().await?;
    }
    rig.move_to("twins");
    let refusal = twins(rig).await?;
    Ok(format!(
        "{rounds} first starts killed within {MOMENT_MAX_MS} ms ({formed} after the cluster was \
         made): each time one cluster of three, with the id that was drawn first; of two launchers \
         one worked, the other said: {refusal}"
    ))
}

/// What the launcher has saved, if anything.
fn manifest(rig: &Rig) -> Option<Value> {
    serde_json::from_slice(&fs::read(rig.data().join("cluster.json")).ok()?).ok()
}

/// Checks that all three nodes vote in one cluster, the one whose `id` was drawn before the kill.
async fn one_cluster(rig: &mut Rig, id: Option<String>) -> Check {
    let (mut clusters, mut ids) = (BTreeSet::new(), BTreeSet::new());
    crate::rig::until("three voters", crate::rig::PATIENCE, async || {
        clusters.clear();
        for node in rig.nodes().await? {
            let status = rig.http.get_json(node.port, "/v1/status").await?;
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            ensure!(voters == 3, "{} knows {voters} voters", node.id);
            clusters.insert(status["cluster_id"].as_str().unwrap_or_default().to_owned());
            ids.insert(status["node_id"].as_u64());
        }
        Ok(Some(()))
    })
    .await?;
    let first = clusters.first().cloned();
    ensure!(clusters.len() == 1 && ids.len() == 3, "clusters {clusters:?}, ids {ids:?}");
    ensure!(id.is_none() || id == first, "{id:?} was drawn, the cluster is {first:?}");
    ensure!(
        manifest(rig).is_some_and(|m| m["cluster_id"].as_str() == first.as_deref()),
        "the manifest names another cluster"
    );
    Ok(())
}

/// Starts two launchers at once; returns why one of them refused.
async fn twins(rig: &mut Rig) -> Check<String> {
    let twin = || {
        let mut command = rig.launcher_command();
        command.args(rig.launcher_args()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map_err(|error| format!("cannot start a launcher: {error}"))
    };
    let (mut one, mut other) = (twin()?, twin()?);
    let ended = async {
        tokio::select! {
            ended = one.wait() => (ended, true),
            ended = other.wait() => (ended, false),
        }
    };
    let ended = tokio::time::timeout(REFUSAL_MAX, ended).await;
    let (status, first) = ended.map_err(|_| "two launchers run on one data directory")?;
    ensure!(status.is_ok_and(|status| !status.success()), "a second launcher ended as if in order");
    let (refused, working) = if first { (one, other) } else { (other, one) };
    let output = refused.wait_with_output().await.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(said.contains("process"), "a second launcher did not say who holds it: {said:?}");
    rig.wait_ready(&ALL).await?;
    one_cluster(rig, None).await?;
    crate::rig::signal(working.id().unwrap_or_default(), rustix::process::Signal::TERM)?;
    let ended = working.wait_with_output().await.map_err(|error| error.to_string())?;
    ensure!(ended.status.success(), "the launcher that worked ended with {}", ended.status);
    Ok(said.lines().last().unwrap_or_default().to_owned())
}
