//! Point 19: who was removed while it could not hear of it disturbs nobody; and a leader that slept
//! never answers with what was true before.

use crate::guest::Guest;
use crate::http::Call;
use crate::rig::{ALL, PATIENCE, Rig, Surroundings, signal, until};
use crate::{Args, Check, ensure};
use hyper::{Method, StatusCode};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long the cluster is watched after a removal.
const WATCHED: Duration = Duration::from_mins(1);
/// How long a leader sleeps, and how often.
const SLEEP: Duration = Duration::from_secs(5);
const SLEEPS: usize = 3;
/// Reads that wait at a sleeping leader's door.
const READS: usize = 64;

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), async |rig| {
        let term = removed(rig).await?;
        let mut answers = (0, 0);
        for round in 0..SLEEPS {
            let (fresh, refused) = asleep(rig, round).await?;
            answers = (answers.0 + fresh, answers.1 + refused);
            rig.wait_ready(&ALL).await?;
        }
        let hashes = rig.settle().await?;
        Ok(format!(
            "a node removed while it slept ran on and was told: term {term} for {} s; a leader that \
             slept for {} s, {SLEEPS} times: {} linearizable reads fresh, {} refused, none stale; \
             {hashes}",
            WATCHED.as_secs(),
            SLEEP.as_secs(),
            answers.0,
            answers.1
        ))
    })
    .await
}

/// Removes a fourth voter that sleeps, wakes it, and watches the term.
async fn removed(rig: &mut Rig) -> Check<u64> {
    let leader = rig.leader().await?;
    let join = ["--join".into(), format!("127.0.0.1:{}", leader.port + 1).into()];
    let mut guest = Guest::start(rig, "guest", 0, &join)?;
    let id = until("a guest votes", PATIENCE, async || {
        let status = guest.status().await?;
        Ok(status["node_id"].as_u64().filter(|_| status["membership"] == "voter"))
    })
    .await?;
    guest.signal(Signal::STOP)?;
    let call = Call::new(Method::DELETE, leader.port, format!("/v1/members/{id}"));
    let removed = rig.http.send(call).await?;
    ensure!(removed.status == StatusCode::OK, "it was answered {}", removed.brief());
    let term = term(rig, leader.port).await?;
    guest.signal(Signal::CONT)?;
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        for node in rig.nodes().await? {
            let now = self::term(rig, node.port).await?;
            ensure!(now == term, "the term moved from {term} to {now} at {}", node.id);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ended = guest.ended(Duration::from_secs(1)).await?;
    ensure!(ended.code() == Some(4), "the removed node ended with {ended}");
    Ok(term)
}

async fn term(rig: &Rig, port: u16) -> Check<u64> {
    let status = rig.http.get_json(port, "/v1/status").await?;
    status["term"].as_u64().ok_or_else(|| "a status without a term".to_owned())
}

/// Lets the leader sleep while the others go on; returns how many of the reads that waited at its
/// door were answered with the new value, and how many were refused.
async fn asleep(rig: &mut Rig, round: usize) -> Check<(usize, usize)> {
    let leader = rig.leader().await?;
    let key = format!("slept/{round}");
    rig.http.must_put(leader.port, &key, "before").await?;
    // Connections that are open before it sleeps, so that the reads are there when it wakes.
    for _ in 0..READS {
        rig.http.must_get(leader.port, &key).await?;
    }
    let pid = leader.pid.ok_or("the leader shows no pid")?;
    signal(pid, Signal::STOP)?;
    let slept = Instant::now();
    let outcome = meanwhile(rig, &leader.id, &key).await;
    let mut reads = JoinSet::new();
    for _ in 0..READS {
        let (http, port, key) = (rig.http.clone(), leader.port, key.clone());
        reads.spawn(async move { http.get(port, &key).await });
    }
    tokio::time::sleep(SLEEP.saturating_sub(slept.elapsed())).await;
    signal(pid, Signal::CONT)?;
    outcome?;
    let (mut fresh, mut refused) = (0, 0);
    while let Some(read) = reads.join_next().await {
        match read.map_err(|error| error.to_string())? {
            Ok(answer) if answer.status == StatusCode::OK => {
                let value = answer.json()?["value"].clone();
                ensure!(value == "after", "a leader that slept answered {value}, replaced before");
                fresh += 1;
            }
            _ => refused += 1,
        }
    }
    Ok((fresh, refused))
}

/// Waits until somebody else leads, and replaces the value.
async fn meanwhile(rig: &mut Rig, asleep: &str, key: &str) -> Check {
    let others: Vec<u16> = {
        let nodes = rig.nodes().await?;
        nodes.iter().filter(|node| node.id != asleep).map(|node| node.port).collect()
    };
    until("the others write", SLEEP, async || {
        rig.http.must_put(others[0], key, "after").await.map(Some)
    })
    .await
}
