//! Point 4: the launcher stopped and started again is the same cluster, with the same nodes and
//! all data; without its manifest it refuses rather than guess.

use crate::rig::{ALL, Rig};
use crate::{Check, ensure, files};
use std::fs;
use std::time::Duration;

/// A launcher that refuses does so at once; this is for a busy machine.
const REFUSAL_MAX: Duration = Duration::from_secs(20);

pub async fn run(rig: &mut Rig) -> Check<String> {
    let before = identities(rig).await?;
    let ended = rig.stop_launcher().await?;
    ensure!(ended.success(), "the launcher was asked to end and did so with {ended}");
    rig.start_and_wait(&ALL).await?;
    let after = identities(rig).await?;
    ensure!(before == after, "identities were {before:?}, and are {after:?} after a restart");
    let pairs = rig.verify().await?;

    refuses_without_manifest(rig).await?;
    let last = identities(rig).await?;
    ensure!(before == last, "identities were {before:?}, and are {last:?} after a refusal");
    rig.verify().await?;
    Ok(format!(
        "cluster {} and its node ids unchanged, {pairs} pairs on each node; refuses without its \
         manifest",
        before.first().map_or("?", |node| node.cluster.as_str())
    ))
}

/// Who a node says it is.
#[derive(Debug, PartialEq)]
struct Identity {
    name: String,
    id: u64,
    cluster: String,
}

async fn identities(rig: &mut Rig) -> Check<Vec<Identity>> {
    let mut identities = Vec::new();
    for node in rig.nodes().await? {
        let status = rig.http.get_json(node.port, "/v1/status").await?;
        let identity = || {
            Some(Identity {
                name: status["name"].as_str()?.to_owned(),
                id: status["node_id"].as_u64()?,
                cluster: status["cluster_id"].as_str()?.to_owned(),
            })
        };
        let identity = identity().ok_or_else(|| format!("a status without identity: {status}"))?;
        ensure!(identity.name == node.id, "{} calls itself {}", node.id, identity.name);
        identities.push(identity);
    }
    let one = identities.first().map(|node| &node.cluster);
    let same = identities.iter().all(|node| Some(&node.cluster) == one);
    ensure!(same, "the nodes are in different clusters: {identities:?}");
    Ok(identities)
}

async fn refuses_without_manifest(rig: &mut Rig) -> Check {
    rig.stop_launcher().await?;
    let manifest = files::manifest(&rig.data())?;
    let away = rig.root().join("manifest.away");
    fs::rename(&manifest, &away).map_err(|error| format!("cannot take the manifest: {error}"))?;
    let nodes_before = identity_files(rig)?;
    let printed = fs::metadata(rig.output()).map_or(0, |output| output.len());

    rig.start_launcher()?;
    let ended = rig.launcher_ended(REFUSAL_MAX).await.map_err(|_| {
        "the launcher's manifest is gone, its nodes' data are there, and it started all the same"
    })?;
    ensure!(!ended.success(), "without its manifest the launcher ended as if all were well");
    let said = fs::metadata(rig.output()).map_or(0, |output| output.len()) > printed;
    ensure!(said, "without its manifest the launcher refused and did not say why");
    let nodes_after = identity_files(rig)?;
    ensure!(
        nodes_before == nodes_after,
        "a launcher that refused has changed its nodes' identities"
    );

    fs::rename(&away, &manifest).map_err(|error| format!("cannot return the manifest: {error}"))?;
    rig.start_and_wait(&ALL).await
}

/// The contents of all identity files.
fn identity_files(rig: &Rig) -> Check<Vec<Vec<u8>>> {
    let mut contents = Vec::new();
    for path in files::all(&rig.data())? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("identity")) {
            contents.push(fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
    }
    ensure!(!contents.is_empty(), "no identity file lies under {}", rig.data().display());
    Ok(contents)
}
