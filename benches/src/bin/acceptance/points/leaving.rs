//! Point 18: the leader is decommissioned, and hands over first; a decommission that would leave no
//! majority is refused, before it and when it is tried.

use crate::rig::{ALL, Rig, Surroundings};
use crate::stream::Stream;
use crate::{Args, Check, ensure};
use hyper::StatusCode;
use std::time::{Duration, Instant};

/// The longest that writes may pause.
const PAUSE_MAX: Duration = Duration::from_millis(1_500);

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    let surroundings = Surroundings { nodes: Some(4), ..Surroundings::default() };
    Rig::with(args, seed, surroundings, async |rig| {
        let leader = rig.leader().await?.id;
        let others: Vec<u16> = {
            let nodes = rig.nodes().await?;
            nodes.iter().filter(|node| node.id != leader).map(|node| node.port).collect()
        };
        let stream = Stream::start(&rig.http, &others, "leaving");
        stream.acknowledgement_after(Instant::now()).await?;
        let begun = Instant::now();
        let gone = rig.order(&format!("nodes/{leader}/actions/decommission?wait=true")).await;
        let seconds = begun.elapsed().as_secs_f64();
        let after = stream.acknowledgement_after(Instant::now()).await;
        let pace = stream.end(&mut rig.ledger).await?;
        let gone = gone?;
        after?;
        ensure!(gone.json()?["state"] == "done", "it was answered {}", gone.brief());
        let pause = pace.longest_gap.as_secs_f64();
        ensure!(pace.longest_gap <= PAUSE_MAX, "writes paused for {pause:.2} s");
        ensure!(!rig.data().join("nodes").join(&leader).exists(), "its directory is still there");
        let refused = refusals(rig).await?;
        let pairs = rig.verify().await?;
        let hashes = rig.settle().await?;
        Ok(format!(
            "{leader}, the leader of four, gone in {seconds:.2} s; writes paused for {pause:.2} s at \
             most ({} acknowledged); {refused}; {pairs} pairs on each node; {hashes}",
            pace.puts
        ))
    })
    .await
}

/// With one of three down, none of the two others may leave.
async fn refusals(rig: &mut Rig) -> Check<String> {
    let nodes: Vec<String> = rig.nodes().await?.into_iter().map(|node| node.id).collect();
    let ids: Vec<&str> = nodes.iter().map(String::as_str).collect();
    ensure!(ids.len() == ALL.len(), "after one has left there are {ids:?}");
    rig.wait_ready(&ids).await?;
    rig.control("stop", ids[0]).await?;
    let path = format!("nodes/{}/actions/decommission", ids[1]);
    let dry = rig.order(&format!("{path}?dry_run=true")).await?.json()?;
    let reason = dry["reason"].as_str().unwrap_or_default().to_owned();
    ensure!(dry["allowed"] == false && !reason.is_empty(), "the dry run says {dry}");
    let tried = rig.order(&format!("{path}?wait=true")).await?;
    ensure!(tried.status == StatusCode::CONFLICT, "it was answered {}", tried.brief());
    let kept = rig.try_control("delete", ids[1]).await?;
    ensure!(kept.status == StatusCode::CONFLICT, "it was answered {}", kept.brief());
    let node = rig.node(ids[1]).await?;
    ensure!(node.online && rig.is_ready(node.port).await, "what was refused was done in part");
    rig.control("start", ids[0]).await?;
    rig.wait_ready(&ids).await?;
    Ok(format!("with one of three down refused: {reason}"))
}
