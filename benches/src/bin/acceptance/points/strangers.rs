//! Point 21: pages of other sites, ids that are no names, and connections without the secret change
//! nothing and learn nothing.

use crate::http::Call;
use crate::rig::{ALL, Rig, Surroundings, until};
use crate::{Args, Check, ensure, files};
use hyper::{Method, StatusCode};
use rand::Rng;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long a node may leave a stranger on the line.
const LINE_MAX: Duration = Duration::from_secs(10);

/// How long the launcher may take to write down the ids of its nodes.
const NOTED_MAX: Duration = Duration::from_secs(10);

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    Rig::with(args, seed, Surroundings::default(), async |rig| {
        let port = rig.api_ports().await?[0];
        rig.http.must_put(port, "before", "x").await?;
        rig.ledger.acknowledge("before".into(), "x".into());
        rig.settle().await?;
        ids_written(rig).await?;
        let before = facts(rig).await?;
        let sites = other_sites(rig).await?;
        let names = no_names(rig).await?;
        let (calls, bytes) = intruders(rig).await?;
        let after = facts(rig).await?;
        ensure!(before == after, "what was refused has changed {before:?} to {after:?}");
        let pairs = rig.verify().await?;
        Ok(format!(
            "{sites} requests of other sites refused (403), {names} with ids that are no names \
             (400), {calls} connections without the secret answered with {bytes} bytes, none of \
             them a name, a cluster or a term; pids, terms, members, files as before; {pairs} pairs"
        ))
    })
    .await
}

/// What must not change: processes, terms, members, and the launcher's files.
#[derive(Debug, PartialEq)]
struct Facts {
    nodes: BTreeMap<String, (Option<u32>, bool)>,
    terms: Vec<Option<u64>>,
    members: Vec<serde_json::Value>,
    directories: Vec<PathBuf>,
    manifest: String,
}

/// Waits until the launcher has written down the ids that the nodes got: it does so by itself, soon
/// after the first start.
async fn ids_written(rig: &Rig) -> Check {
    let manifest = files::manifest(&rig.data())?;
    until("the ids of the nodes in the manifest", NOTED_MAX, async || {
        let text = std::fs::read_to_string(&manifest).map_err(|error| error.to_string())?;
        Ok((text.matches("\"node_id\"").count() == ALL.len()).then_some(()))
    })
    .await
}

async fn facts(rig: &mut Rig) -> Check<Facts> {
    let (mut terms, mut members) = (Vec::new(), Vec::new());
    let nodes = rig.nodes().await?;
    for node in &nodes {
        let status = rig.http.get_json(node.port, "/v1/status").await?;
        terms.push(status["term"].as_u64());
        members.push(status["voters"].clone());
    }
    let root = rig.data().join("nodes");
    let listed = std::fs::read_dir(&root).map_err(|error| error.to_string())?;
    let mut directories: Vec<_> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
    directories.sort();
    let manifest = std::fs::read_to_string(files::manifest(&rig.data())?)
        .map_err(|error| error.to_string())?;
    let nodes = nodes.into_iter().map(|node| (node.id, (node.pid, node.online))).collect();
    Ok(Facts { nodes, terms, members, directories, manifest })
}

/// Asks as a page of another site would.
async fn other_sites(rig: &mut Rig) -> Check<usize> {
    let control = rig.control_port();
    let node = rig.node("node1").await?.port;
    let mut calls = Vec::new();
    for path in [
        "/api/control/stop/node1",
        "/api/control/delete/node1",
        "/api/control/add",
        "/api/v1/nodes/node1/actions/stop",
        "/api/v1/nodes/node1/actions/decommission",
        "/api/v1/actions/rolling_restart",
    ] {
        calls.push(Call::new(Method::POST, control, path));
    }
    calls.push(Call::new(Method::PUT, node, "/kv/foreign").body(json!({"value":"x"}).to_string()));
    calls.push(Call::new(Method::DELETE, node, "/v1/kv/before"));
    calls.push(Call::new(Method::PUT, control, "/api/v1/kv/foreign").body("x"));
    let mut refused = 0;
    for call in calls {
        for foreign in [
            call.clone().header("origin", "http://evil.example"),
            call.clone().header("origin", "null"),
            call.clone().header("sec-fetch-site", "cross-site"),
            call.clone().header("host", "evil.example"),
        ] {
            let answer = rig.http.send(foreign).await?;
            let forbidden = answer.status == StatusCode::FORBIDDEN;
            ensure!(forbidden, "{} {}: {}", call.method, call.path, answer.brief());
            refused += 1;
        }
    }
    Ok(refused)
}

/// Names nodes by what is no name.
async fn no_names(rig: &mut Rig) -> Check<usize> {
    let long = "x".repeat(10 << 10);
    let mut refused = 0;
    for id in ["../x", "..", "%2e%2e", "", &long, "nöde", "节点", "a b", "Node1", "-a", "."] {
        let answer = rig.add(id).await?;
        let bad = matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE);
        ensure!(bad, "adding {id:.40?} was answered {}", answer.brief());
        refused += 1;
        if id.is_empty() {
            continue;
        }
        // A path as it stands on the wire; `%2e%2e` is one that was encoded already.
        let encoded = if id.contains('%') { id.to_owned() } else { crate::http::encoded(id) };
        for path in [
            format!("/api/control/stop/{encoded}"),
            format!("/api/control/delete/{encoded}"),
            format!("/api/v1/nodes/{encoded}/actions/decommission"),
        ] {
            // What is longer than any URL may be is refused before it is looked at.
            let answer = rig.http.post(rig.control_port(), &path, None).await;
            let status = answer.map(|answer| answer.status);
            let bad = matches!(status, Ok(StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG));
            ensure!(bad, "POST {path:.80} was answered {status:?}");
            refused += 1;
        }
    }
    Ok(refused)
}

/// Talks to the peer ports without the secret; returns how often, and how many bytes came back.
async fn intruders(rig: &mut Rig) -> Check<(usize, usize)> {
    let port = rig.node("node1").await?.port;
    let status = rig.http.get_json(port, "/v1/status").await?;
    let cluster = status["cluster_id"].as_str().unwrap_or_default().to_owned();
    let raw: Vec<u8> = (0..cluster.len() / 2)
        .filter_map(|at| u8::from_str_radix(cluster.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    let reversed: Vec<u8> = raw.iter().rev().copied().collect();
    let mut secrets: Vec<Vec<u8>> = ALL.iter().map(|id| id.as_bytes().to_vec()).collect();
    secrets.extend([cluster.into_bytes(), raw, reversed]);
    let mut openings: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        u32::MAX.to_le_bytes().to_vec(),
        frame(&[2, 0]),
        frame(&[[2_u8, 0].as_slice(), &[7; 32]].concat()),
        frame(&[[1_u8, 0].as_slice(), &[1; 64]].concat()),
        [frame(&[[2_u8, 0].as_slice(), &[7; 32]].concat()), frame(&[9; 200])].concat(),
    ];
    for length in [1, 40, 400, 4_000] {
        let mut noise = vec![0; length];
        rig.rng.fill_bytes(&mut noise);
        openings.push(frame(&noise));
    }
    let mut lines = JoinSet::new();
    for node in rig.nodes().await? {
        for opening in openings.clone() {
            lines.spawn(async move { call(node.port + 1, &opening).await });
        }
    }
    let (mut calls, mut bytes) = (0, 0);
    while let Some(told) = lines.join_next().await {
        let told = told.map_err(|error| error.to_string())??;
        for secret in &secrets {
            let leaked = told.windows(secret.len()).any(|window| window == secret.as_slice());
            ensure!(!leaked, "a stranger was told {:?}", String::from_utf8_lossy(secret));
        }
        calls += 1;
        bytes += told.len();
    }
    Ok((calls, bytes))
}

/// A frame as the peer port's transport delimits it.
fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// Says `opening`, and returns all that is answered until the line is cut.
async fn call(port: u16, opening: &[u8]) -> Check<Vec<u8>> {
    let told = |error: std::io::Error| format!("peer port {port}: {error}");
    let mut line = TcpStream::connect(("127.0.0.1", port)).await.map_err(told)?;
    // It may be cut before all is said.
    let _ = line.write_all(opening).await;
    let mut answer = Vec::new();
    let listened = tokio::time::timeout(LINE_MAX, line.read_to_end(&mut answer)).await;
    ensure!(listened.is_ok(), "a stranger was left on the line for {} s", LINE_MAX.as_secs());
    Ok(answer)
}
