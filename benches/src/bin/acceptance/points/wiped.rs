//! Point 14: a node whose directory is gone comes back as a new one under its name, and its old id
//! leaves; nobody makes a second cluster of it.

use crate::rig::{ALL, PATIENCE, Rig, Surroundings, until};
use crate::stream::Stream;
use crate::witness::Witness;
use crate::{Args, Check, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

const WIPED: &str = "node1";

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), async |rig| {
        let ports = rig.api_ports().await?;
        let witness = Witness::watch(&rig.http, &ports);
        let stream = Stream::start(&rig.http, &ports, "wiped");
        let outcome = wipe(rig).await;
        stream.end(&mut rig.ledger).await?;
        let (old, new, seconds, learned) = outcome?;
        let pairs = rig.verify().await?;
        let hashes = rig.settle().await?;
        let told = witness.end()?;
        let learned = if learned { "a learner, then a voter" } else { "a voter" };
        Ok(format!(
            "{WIPED} came back under id {new} instead of {old}, {learned} after {seconds:.2} s; one \
             cluster and never two leaders in a term in {} answers; {pairs} pairs on each node; \
             {hashes}",
            told.answers
        ))
    })
    .await
}

async fn wipe(rig: &mut Rig) -> Check<(u64, u64, f64, bool)> {
    let port = rig.node(WIPED).await?.port;
    let before = rig.http.get_json(port, "/v1/status").await?;
    let old = before["node_id"].as_u64().ok_or("a status without an id")?;
    rig.control("stop", WIPED).await?;
    let directory = rig.data().join("nodes").join(WIPED);
    fs::remove_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let begun = Instant::now();
    rig.control("start", WIPED).await?;
    let port = rig.node(WIPED).await?.port;
    let mut learned = false;
    let new = until("it votes again", PATIENCE, async || {
        let status = rig.http.get_json(port, "/v1/status").await?;
        ensure!(status["cluster_id"] == before["cluster_id"], "it is of another cluster: {status}");
        learned |= status["membership"] == "learner";
        let id = status["node_id"].as_u64().filter(|id| *id != old);
        Ok(id.filter(|_| status["membership"] == "voter"))
    })
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    until("the old id is gone everywhere", PATIENCE, async || {
        for id in ALL {
            let port = rig.node(id).await?.port;
            let members = rig.http.get_json(port, "/v1/members").await?;
            let ids = members["members"].as_array().ok_or("no members are listed")?;
            let ids: BTreeSet<_> = ids.iter().filter_map(|member| member["id"].as_u64()).collect();
            ensure!(ids.len() == 3 && !ids.contains(&old), "{id} knows the members {ids:?}");
        }
        Ok(Some(()))
    })
    .await?;
    rig.wait_ready(&ALL).await?;
    Ok((old, new, seconds, learned))
}
