//! Point 20: a disk that is full. One node's: the cluster goes on. All: writes are refused with 507,
//! reads go on. With space again everything works, with no further step.
//!
//! Each node's directory is a small file system of its own in memory, which takes the rights to mount
//! one; where they are missing, the point says so and is not passed.

use crate::rig::{ALL, Rig, Surroundings, until};
use crate::{Args, Check, ensure};
use axon_benches::trial::mount::Mount;
use hyper::StatusCode;
use std::time::{Duration, Instant};

/// The size of each disk: room for the log's segments, and not much more.
const DISK_MIB: usize = 512;
/// How long writes are watched while one disk is full.
const WATCHED: Duration = Duration::from_secs(8);
/// How long the cluster may take to notice, and to work again.
const NOTICE_MAX: Duration = Duration::from_secs(15);

pub async fn run_on(rig: &mut Rig) -> Check<String> {
    rig.stop_launcher().await?;
    let mounts = ALL.map(|id| Mount::over(&rig.data().join("nodes").join(id), DISK_MIB));
    let mounts: Vec<Mount> = mounts.into_iter().collect::<Check<_>>()?;
    rig.start_and_wait(&ALL).await?;
    rig.verify().await?;
    let told = fill(rig, &mounts).await;
    // The nodes must be gone before their disks are.
    let stopped = rig.stop_launcher().await;
    drop(mounts);
    let told = told?;
    stopped?;
    Ok(told)
}

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), run_on).await
}

async fn fill(rig: &mut Rig, mounts: &[Mount]) -> Check<String> {
    let leader = rig.leader().await?;
    let full = ALL.iter().position(|id| *id == leader.id).ok_or("another leader")?;
    mounts[full].fill()?;
    let slowest = goes_on(rig, "full/one", WATCHED).await?;
    for (index, mount) in mounts.iter().enumerate() {
        if index != full {
            mount.fill()?;
        }
    }
    let refused = refused(rig).await?;
    let key = rig.ledger.acknowledged().keys().next().cloned().ok_or("nothing was ever put")?;
    for node in rig.nodes().await? {
        ensure!(node.online, "{} went down", node.id);
        let found = rig.http.must_get(node.port, &key).await?;
        ensure!(found.is_some(), "{} has lost {key:?}", node.id);
        let dump = rig.http.dump(node.port).await?;
        rig.ledger.check_genuine(&dump).map_err(|what| format!("{} {what}", node.id))?;
    }
    mounts.iter().try_for_each(Mount::empty)?;
    let emptied = Instant::now();
    let port = rig.api_ports().await?[0];
    until("writes work again", NOTICE_MAX, async || {
        rig.http.must_put(port, "full/back", "x").await.map(Some)
    })
    .await?;
    let back = emptied.elapsed().as_secs_f64();
    rig.ledger.acknowledge("full/back".into(), "x".into());
    rig.wait_ready(&ALL).await?;
    goes_on(rig, "full/after", Duration::from_secs(1)).await?;
    let pairs = rig.verify().await?;
    let hashes = rig.settle().await?;
    Ok(format!(
        "disks of {DISK_MIB} MiB; the leader's full: writes went on, the slowest in {slowest:.2} s; \
         all full: 507 after {refused:.2} s, reads went on at every node; space again: writing after \
         {back:.2} s by itself; {pairs} pairs on each node; {hashes}"
    ))
}

/// Puts for a while, through every node in turn; returns how long the slowest took. A refusal that
/// says `not_applied` may be tried again, as clients do.
async fn goes_on(rig: &mut Rig, prefix: &str, time: Duration) -> Check<f64> {
    let ports = rig.api_ports().await?;
    let (begun, mut slowest, mut number) = (Instant::now(), Duration::ZERO, 0);
    while begun.elapsed() < time {
        let (key, value) = (format!("{prefix}/{number:06}"), "v".repeat(1 << 10));
        let sent = Instant::now();
        let port = ports[number % ports.len()];
        until(&format!("a put through port {port}"), NOTICE_MAX, async || {
            rig.http.must_put(port, &key, &value).await.map(Some)
        })
        .await?;
        slowest = slowest.max(sent.elapsed());
        rig.ledger.acknowledge(key, value);
        number += 1;
    }
    Ok(slowest.as_secs_f64())
}

/// Puts until every node says that the disks are full; returns after how long.
async fn refused(rig: &mut Rig) -> Check<f64> {
    let begun = Instant::now();
    let mut number = 0;
    for port in rig.api_ports().await? {
        until("507", NOTICE_MAX, async || {
            let key = format!("full/all/{port}/{number}");
            number += 1;
            let answer = rig.http.put(port, &key, "x").await?;
            if answer.status == StatusCode::INSUFFICIENT_STORAGE {
                ensure!(answer.code() == "disk_full", "507 as {}", answer.brief());
                ensure!(answer.json()?["outcome"] == "not_applied", "507 as {}", answer.brief());
                return Ok(Some(()));
            }
            if crate::http::acknowledged(&answer)? {
                rig.ledger.acknowledge(key, "x".into());
            } else {
                rig.ledger.suspect(key, "x".into());
            }
            Ok(None)
        })
        .await?;
    }
    Ok(begun.elapsed().as_secs_f64())
}
