//! Point 6: a node is added as a learner, catches up and votes; deleted, it is gone from every
//! membership and from the disk.

use crate::rig::{PATIENCE, Rig, until};
use crate::{Check, ensure, files};
use hyper::StatusCode;
use std::time::Instant;

const NEW: &str = "node4";
const OLD: [&str; 3] = ["node1", "node2", "node3"];

pub async fn run(rig: &mut Rig) -> Check<String> {
    refusals(rig).await?;
    let witness = rig.node(OLD[0]).await?.port;
    let begun = Instant::now();
    let added = rig.add(NEW).await?;
    ensure!(added.status == StatusCode::OK, "adding {NEW} was answered {}", added.brief());
    let body = added.json()?;
    let shape = body["id"] == NEW && body["api_port"].is_u64();
    ensure!(shape, "adding {NEW} was answered {body}");
    let again = rig.add(NEW).await?;
    ensure!(again.status == StatusCode::CONFLICT, "added twice: {}", again.brief());

    let mut learned = false;
    until(&format!("{NEW} votes"), PATIENCE, async || {
        let seen = membership(rig, witness, NEW).await?;
        learned |= seen.as_deref() == Some("learner");
        Ok((seen.as_deref() == Some("voter")).then_some(()))
    })
    .await?;
    let voting = begun.elapsed().as_secs_f64();
    rig.wait_ready(&[NEW]).await?;
    let pairs = rig.verify().await?;
    ensure!(rig.nodes().await?.len() == 4, "the launcher does not show four nodes");

    deleted(rig).await?;
    rig.verify().await?;
    let seen = if learned { "seen as a learner, then" } else { "too quick to be seen learning," };
    Ok(format!(
        "{NEW} {seen} voting after {voting:.2} s, {pairs} pairs on each of four nodes; deleted, \
         gone from every membership and from the disk"
    ))
}

/// What the control API must not do.
async fn refusals(rig: &mut Rig) -> Check {
    for id in ["", "Node5", "-a", "../node1", "a/b", &"x".repeat(33)] {
        let answer = rig.add(id).await?;
        let refused = answer.status == StatusCode::BAD_REQUEST;
        ensure!(refused, "adding {id:?} was answered {}", answer.brief());
    }
    for action in ["stop", "start", "delete"] {
        let answer = rig.try_control(action, "node77").await?;
        let refused = answer.status == StatusCode::NOT_FOUND;
        ensure!(refused, "{action} of a node that is not there: {}", answer.brief());
    }
    Ok(())
}

/// What the node at `port` takes the node called `name` for; `None` when for no member.
async fn membership(rig: &Rig, port: u16, name: &str) -> Check<Option<String>> {
    let answer = rig.http.get_json(port, "/v1/members").await?;
    let members = answer["members"].as_array().ok_or("GET /v1/members lists no members")?;
    let member = members.iter().find(|member| member["name"] == name);
    Ok(member.and_then(|member| Some(member["membership"].as_str()?.to_owned())))
}

async fn deleted(rig: &mut Rig) -> Check {
    let directory = files::directory_of(&rig.data(), NEW);
    let directory = directory.ok_or_else(|| format!("the directory of {NEW} is not found"))?;
    rig.control("delete", NEW).await?;
    until(&format!("{NEW} is gone everywhere"), PATIENCE, async || {
        for id in OLD {
            let port = rig.node(id).await?.port;
            let seen = membership(rig, port, NEW).await?;
            ensure!(seen.is_none(), "{id} still takes {NEW} for a {}", seen.unwrap_or_default());
        }
        ensure!(!directory.exists(), "{} is still there", directory.display());
        let known = rig.nodes().await?.iter().any(|node| node.id == NEW);
        ensure!(!known, "the launcher still knows {NEW}");
        Ok(Some(()))
    })
    .await?;
    let answer = rig.try_control("start", NEW).await?;
    ensure!(answer.status == StatusCode::NOT_FOUND, "started after its end: {}", answer.brief());
    rig.wait_ready(&OLD).await
}
