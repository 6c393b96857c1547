//! Point 8: one bit turned over in a stopped node's log or state is found or harmless; never served.
//!
//! After each flip the node either serves, and then exactly what the others hold, or it refuses;
//! the others go on meanwhile. A node that refuses is healed as its error message says: deleted
//! and added anew, under its old name.

use crate::rig::{ALL, Node, Rig};
use crate::{Check, ensure, files};
use hyper::StatusCode;
use std::time::{Duration, Instant};

/// A node that is not ready by then has refused (or keeps being restarted, and refusing).
const READY_MAX: Duration = Duration::from_secs(15);

pub async fn run(rig: &mut Rig, flips: usize) -> Check<String> {
    let mut refusals = 0;
    for number in 0..flips {
        rig.wait_ready(&ALL).await?;
        let leader = rig.leader().await?.id;
        let victims: Vec<_> = ALL.into_iter().filter(|id| *id != leader).collect();
        let victim = victims[number % victims.len()];
        rig.control("stop", victim).await?;
        let directory = files::directory_of(&rig.data(), victim)
            .ok_or_else(|| format!("the directory of {victim} is not found"))?;
        let flipped = files::flip(&directory, number, &mut rig.rng)?;
        let served = start_damaged(rig, victim, number)
            .await
            .map_err(|what| format!("{victim}, {flipped}: {what}"))?;
        println!("point 8: {victim}, {flipped}: {}", if served { "harmless" } else { "refused" });
        if !served {
            refusals += 1;
            heal(rig, victim).await?;
        }
        rig.verify().await.map_err(|what| format!("{victim}, {flipped}: {what}"))?;
    }
    Ok(format!("{flips} flips: {refusals} refused, {} harmless, none served", flips - refusals))
}

/// Starts a damaged node; reports whether it came to serve. Whatever it answers on the way must be
/// genuine, and the others must go on.
async fn start_damaged(rig: &mut Rig, victim: &str, number: usize) -> Check<bool> {
    let damaged = rig.node(victim).await?;
    let others: Vec<Node> =
        rig.nodes().await?.into_iter().filter(|node| node.id != victim && node.online).collect();
    // A start that reports the refusal of the node is as good as one that does not.
    rig.try_control("start", victim).await?;
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let mut writes = 0_usize;
    while begun.elapsed() < READY_MAX {
        ticks.tick().await;
        let other = &others[writes % others.len()];
        let (key, value) = (format!("flip/{number}/{writes}"), format!("{number} {writes}"));
        rig.http.must_put(other.port, &key, &value).await?;
        rig.ledger.acknowledge(key, value);
        writes += 1;
        if let Ok(dump) = rig.http.dump(damaged.port).await {
            rig.ledger.check_genuine(&dump).map_err(|what| format!("served: it {what}"))?;
        }
        if rig.is_ready(damaged.port).await {
            return reads_like_the_others(rig, &damaged).await;
        }
    }
    Ok(false)
}

/// Reads pairs one by one through a damaged node that says it is ready. `false` when it halts over
/// one of them: found, not served.
async fn reads_like_the_others(rig: &Rig, damaged: &Node) -> Check<bool> {
    let step = (rig.ledger.acknowledged().len() / 500).max(1);
    for (key, value) in rig.ledger.acknowledged().iter().step_by(step) {
        let Ok(answer) = rig.http.get(damaged.port, key).await else { return Ok(false) };
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(false);
        }
        ensure!(answer.status == StatusCode::OK, "{key:?} was answered {}", answer.brief());
        ensure!(answer.json()?["value"] == *value, "{key:?} was served as {}", answer.brief());
    }
    // The node may have found the damage in rows that were not among those.
    let Ok(dump) = rig.http.dump(damaged.port).await else { return Ok(false) };
    rig.ledger.check_complete(&dump).map(|()| true)
}

/// Replaces a node that refuses by a new one under its name.
async fn heal(rig: &mut Rig, victim: &str) -> Check {
    rig.control("delete", victim).await?;
    let added = rig.add(victim).await?;
    ensure!(added.status == StatusCode::OK, "adding {victim} again: {}", added.brief());
    rig.wait_ready(&[victim]).await?;
    // Until it votes, the next one that stops would take the majority with it.
    rig.wait_voters().await
}
