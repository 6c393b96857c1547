//! Point 10: a put sent again and again under one idempotency key happens once, with the leader
//! killed in between.
//!
//! In every second round the leader dies while the first put is on its way, so that nobody knows
//! whether it happened; otherwise between the first answer and the second put.

use crate::http::Call;
use crate::rig::{self, ALL, Rig, Surroundings};
use crate::{Args, Check, ensure, v1};
use hyper::{Method, StatusCode};
use rand::RngExt;
use std::time::Duration;

/// Acknowledgements of each put.
const ANSWERS: usize = 3;
/// How long after a put was sent the leader dies.
const ON_ITS_WAY_MAX: u64 = 3_000;

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), async |rig| {
        let (mut sent, mut unanswered) = (0, 0);
        for round in 1..=args.rounds {
            let tries = try_round(rig, round).await.map_err(|what| format!("put {round}: {what}"))?;
            sent += tries;
            unanswered += tries - ANSWERS;
        }
        rig.wait_ready(&ALL).await?;
        let hashes = rig.settle().await?;
        Ok(format!(
            "{} puts sent {sent} times ({unanswered} times in vain), {} leaders killed in between: \
             each done once, one revision in all answers, refused (422) with another value; {hashes}",
            args.rounds, args.rounds
        ))
    })
    .await
}

/// One put; returns how often it was sent.
async fn try_round(rig: &mut Rig, round: usize) -> Check<usize> {
    rig.wait_ready(&ALL).await?;
    let leader = rig.leader().await?;
    let ports: Vec<u16> = rig.api_ports().await?;
    // Through a follower, whose door stays open, or through the leader itself.
    let first = rig.rng.random_range(0..ports.len());
    let (key, name) = (format!("retry/{round}"), format!("round-{round}"));
    let put = v1::put(&key, format!("value {round}"));
    let http = rig.http.clone();
    let (mut sent, mut revisions) = (0, Vec::new());
    if round.is_multiple_of(2) {
        let pause = Duration::from_micros(rig.rng.random_range(0..ON_ITS_WAY_MAX));
        let kill = async {
            tokio::time::sleep(pause).await;
            rig::kill(&leader)
        };
        let (answer, killed) = tokio::join!(http.insist(&ports, first, &put, &name), kill);
        killed?;
        take(&answer?, &mut sent, &mut revisions)?;
    } else {
        take(&http.insist(&ports, first, &put, &name).await?, &mut sent, &mut revisions)?;
        rig::kill(&leader)?;
    }
    while revisions.len() < ANSWERS {
        let next = first + revisions.len();
        take(&http.insist(&ports, next, &put, &name).await?, &mut sent, &mut revisions)?;
    }
    let one = revisions[0];
    ensure!(revisions.iter().all(|each| *each == one), "it was answered {revisions:?}");

    rig.wait_ready(&ALL).await?;
    for port in &ports {
        let other = v1::put(&key, "another value").header("idempotency-key", name.clone());
        let answer = http.send(Call { port: *port, ..other }).await?;
        let refused = answer.status == StatusCode::UNPROCESSABLE_ENTITY;
        ensure!(refused, "the same key with another value was answered {}", answer.brief());
        ensure!(answer.code() == "idempotency_mismatch", "422 as {}", answer.brief());
        let pair = http.envelope(*port, &key).await?;
        let as_put = pair["value"] == format!("value {round}") && pair["mod_revision"] == one;
        ensure!(as_put && pair["version"] == 1, "answered as {one}, it is {pair}");
    }
    let path = format!("/v1/history/{}", crate::http::encoded(&key));
    let answer = http.send(Call::new(Method::GET, ports[first], path)).await?;
    let history = answer.json()?;
    let versions = history["versions"].as_array().map(Vec::len);
    ensure!(versions == Some(1), "put once, its history is {}", answer.brief());
    Ok(sent)
}

/// Takes note of an acknowledgement.
fn take(
    (answer, tries): &(crate::http::Answer, usize),
    sent: &mut usize,
    revisions: &mut Vec<u64>,
) -> Check {
    let revision = v1::revision(answer)?;
    ensure!(answer.status == StatusCode::CREATED, "a new key was put with {}", answer.brief());
    let tag = v1::etag(answer)?;
    ensure!(tag == revision, "the ETag says {tag}, the body {revision}");
    *sent += tries;
    revisions.push(revision);
    Ok(())
}
