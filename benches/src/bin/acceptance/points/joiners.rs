//! Point 16: a node that is added while nobody leads goes on knocking, and joins by itself once
//! somebody does; whoever it asks, it finds the leader.

use crate::guest::Guest;
use crate::rig::{ALL, PATIENCE, Rig, Surroundings, until};
use crate::{Args, Check, ensure};
use hyper::StatusCode;
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// How long a knocking node is watched while there is nobody to let it in.
const WATCHED: Duration = Duration::from_secs(4);

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), async |rig| {
        let leaderless = without_leader(rig).await?;
        let majority = without_majority(rig).await?;
        let (by_follower, by_learner) = through_others(rig).await?;
        rig.wait_ready(&["node1", "node2", "node3", "node4", "node5"]).await?;
        let pairs = rig.verify().await?;
        let hashes = rig.settle().await?;
        Ok(format!(
            "added as the leader went down, a voter {leaderless:.2} s after; added without a \
             majority, a voter {majority:.2} s after it was back; asked at a follower, a member \
             after {by_follower:.2} s, at a learner after {by_learner:.2} s; {pairs} pairs on each \
             of five nodes; {hashes}"
        ))
    })
    .await
}

async fn votes(rig: &mut Rig, id: &str) -> Check {
    until(&format!("{id} votes"), PATIENCE, async || {
        let port = rig.node(id).await?.port;
        let status = rig.http.get_json(port, "/v1/status").await?;
        Ok((status["membership"] == "voter").then_some(()))
    })
    .await
}

/// Adds a node while the leader is being stopped.
async fn without_leader(rig: &mut Rig) -> Check<f64> {
    let leader = rig.leader().await?;
    crate::rig::kill(&leader)?;
    let begun = Instant::now();
    let added = rig.add("node4").await?;
    ensure!(added.status == StatusCode::OK, "adding was answered {}", added.brief());
    votes(rig, "node4").await?;
    let seconds = begun.elapsed().as_secs_f64();
    rig.wait_ready(&["node1", "node2", "node3", "node4"]).await?;
    Ok(seconds)
}

/// Adds a node while two of four voters, too few, are there.
async fn without_majority(rig: &mut Rig) -> Check<f64> {
    for id in &ALL[1..] {
        rig.control("stop", id).await?;
    }
    let added = rig.add("node5").await?;
    ensure!(added.status == StatusCode::OK, "adding was answered {}", added.brief());
    let port = rig.node("node1").await?.port;
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        let members = rig.http.get_json(port, "/v1/members").await?;
        let listed = members["members"].as_array().ok_or("no members are listed")?;
        let early = listed.iter().any(|member| member["name"] == "node5");
        ensure!(!early, "without a majority, node5 became a member");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for id in &ALL[1..] {
        rig.control("start", id).await?;
    }
    let back = Instant::now();
    votes(rig, "node5").await?;
    Ok(back.elapsed().as_secs_f64())
}

/// Lets one guest join through a follower only, and one through that learner only.
async fn through_others(rig: &mut Rig) -> Check<(f64, f64)> {
    rig.wait_ready(&ALL).await?;
    let leader = rig.leader().await?.id;
    let others = rig.nodes().await?.into_iter().filter(|node| node.id != leader);
    let door = others.map(|node| node.port + 1).next().ok_or("there is no follower")?;
    let args = |door: u16| -> Vec<OsString> {
        ["--promotion", "manual", "--join", &format!("127.0.0.1:{door}")].map(Into::into).into()
    };
    let first = Guest::start(rig, "guest1", 0, &args(door))?;
    let by_follower = becomes_learner(&first).await?;
    let second = Guest::start(rig, "guest2", 1, &args(first.port + 1))?;
    let by_learner = becomes_learner(&second).await?;
    // Guests leave as members do.
    let port = rig.node(&leader).await?.port;
    for guest in [&first, &second] {
        let id = guest.status().await?["node_id"].clone();
        let path = format!("/v1/members/{id}");
        let call = crate::http::Call::new(hyper::Method::DELETE, port, path);
        let removed = rig.http.send(call).await?;
        ensure!(removed.status == StatusCode::OK, "removing a learner: {}", removed.brief());
    }
    Ok((by_follower, by_learner))
}

async fn becomes_learner(guest: &Guest) -> Check<f64> {
    let begun = Instant::now();
    until("a guest learns", PATIENCE, async || {
        let status = guest.status().await?;
        Ok((status["membership"] == "learner").then_some(()))
    })
    .await?;
    Ok(begun.elapsed().as_secs_f64())
}
