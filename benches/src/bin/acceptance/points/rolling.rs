//! Point 17: all of five nodes are restarted under load, one at a time, and nobody who writes has
//! to wait for long.

use crate::rig::{Rig, Surroundings, until};
use crate::stream::Stream;
use crate::{Args, Check, ensure};
use hyper::StatusCode;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The longest that an acknowledged put may take.
const PUT_MAX: Duration = Duration::from_millis(2_500);
/// How long all restarts together may take.
const RESTARTS_MAX: Duration = Duration::from_mins(3);

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    let surroundings = Surroundings { nodes: Some(5), ..Surroundings::default() };
    Rig::with(args, seed, surroundings, async |rig| {
        let before = pids(rig).await?;
        until("five voters", crate::rig::PATIENCE, async || {
            let port = rig.node("node1").await?.port;
            let status = rig.http.get_json(port, "/v1/status").await?;
            Ok((status["voters"].as_array().map(Vec::len) == Some(5)).then_some(()))
        })
        .await?;
        let ports = rig.api_ports().await?;
        let stream = Stream::start(&rig.http, &ports, "rolling");
        stream.acknowledgement_after(Instant::now()).await?;
        let begun = Instant::now();
        let most_down = restart_all(rig).await;
        let seconds = begun.elapsed().as_secs_f64();
        let pace = stream.end(&mut rig.ledger).await?;
        let most_down = most_down?;
        let after = pids(rig).await?;
        for (id, pid) in &before {
            ensure!(after.get(id) != Some(pid), "{id} was not restarted");
        }
        let slowest = pace.slowest.as_secs_f64();
        ensure!(pace.slowest <= PUT_MAX, "a put took {slowest:.2} s");
        let pairs = rig.verify().await?;
        let hashes = rig.settle().await?;
        Ok(format!(
            "five nodes restarted in {seconds:.1} s, at most {most_down} down at a time; {} puts \
             acknowledged meanwhile, the slowest in {slowest:.2} s, the longest gap {:.2} s; {pairs} \
             pairs on each node; {hashes}",
            pace.puts,
            pace.longest_gap.as_secs_f64()
        ))
    })
    .await
}

async fn pids(rig: &mut Rig) -> Check<BTreeMap<String, Option<u32>>> {
    Ok(rig.nodes().await?.into_iter().map(|node| (node.id, node.pid)).collect())
}

/// Restarts all; returns how many nodes at most were seen down at once.
async fn restart_all(rig: &mut Rig) -> Check<usize> {
    let answer = rig.order("actions/rolling_restart").await?;
    ensure!(answer.status == StatusCode::ACCEPTED, "it was answered {}", answer.brief());
    let id = answer.json()?["id"].as_u64().ok_or("an operation without an id")?;
    let path = format!("/api/v1/operations/{id}");
    let (mut most, begun) = (0, Instant::now());
    loop {
        let down = rig.nodes().await?.iter().filter(|node| !node.online).count();
        most = most.max(down);
        ensure!(down <= 1, "{down} nodes were down at once");
        let operation: Value = rig.http.get_json(rig.control_port(), &path).await?;
        match operation["state"].as_str() {
            Some("done") => return Ok(most),
            Some("running") => {}
            _ => return Err(format!("the restart ended as {operation}")),
        }
        ensure!(begun.elapsed() < RESTARTS_MAX, "it goes on and on: {operation}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
