//! `axon-launcher recover`: a cluster whose majority is lost for good, made again from what is left.
//!
//! The replica's part is `axon-server recover`; this does what the launcher's own files need besides. In
//! order, each step durable before the next, each of them done again without harm:
//!
//! ```text
//! 1 recovery.json             which cluster is lost, which node survives; from here on a start is refused
//! 2 axon-server recover       makes a new cluster of the survivor, or finishes, or has done so before
//! 3 before-recovery-N/NAME    the directories of the other nodes, moved away as they are
//! 4 the survivor's marker     names the new cluster
//! 5 cluster.json              the new cluster, of the same nodes: those without a directory will join
//! 6 recovery.json is removed
//! ```
//!
//! It holds the launcher's lock throughout, and the server refuses a directory whose node still runs.

use crate::directory::DataDir;
use crate::manifest::{ClusterId, Desired, Manifest, NodeName, replace_file, sync_directory};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What is under way, from the consent until all is done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    lost: ClusterId,
    survivor: NodeName,
    /// Where the other nodes' directories go, below the data root.
    keep: String,
}

/// Refuses a start while a recovery is under way.
pub(crate) fn refuse_unfinished(data: &DataDir) -> Result<(), String> {
    let Some(plan) = read_plan(data)? else { return Ok(()) };
    Err(format!(
        "a recovery was interrupted in {}; finish it with: axon-launcher recover --data-dir {} --yes {}",
        data.root().display(),
        data.root().display(),
        plan.lost
    ))
}

/// Shows what is left of the cluster in `root` and, with the id of the lost cluster as consent, makes
/// a new one of it. Starts nothing.
///
/// # Errors
/// A sentence for people: why it is refused, or what interrupted it; then it is asked again.
pub fn run(root: &Path, server: &Path, consent: Option<&str>) -> Result<ExitCode, String> {
    if !root.join("cluster.json").is_file() {
        return Err(format!("there is no cluster in {}: name another --data-dir", root.display()));
    }
    let data = DataDir::open(root).map_err(|error| error.to_string())?;
    let manifest = Manifest::load(&data.manifest()).map_err(|error| error.to_string())?;
    let manifest = manifest.ok_or("its cluster.json is gone")?;
    let plan = read_plan(&data)?;
    let Some(consent) = consent else {
        show(&data, server, &left(&data, &manifest, plan.as_ref())?)?;
        return Ok(ExitCode::SUCCESS);
    };
    let consent =
        ClusterId::try_from(consent.to_owned()).map_err(|error| format!("--yes: {error}"))?;
    let plan = match plan {
        Some(plan) => plan,
        None => draw(&data, server, &manifest, &consent)?,
    };
    if plan.lost != consent {
        return Err(format!("the cluster that is lost is {}, not {consent}", plan.lost));
    }
    let (found, id) = make(&data, server, &plan)?;
    carry_out(&data, manifest, &plan, &found, id)?;
    say(&format!(
        "Done: {} holds the new cluster {found}, under the id {id}. What the other nodes had is in {}.\n\
         Start axon-launcher as always: the other nodes join with empty directories.\n",
        plan.survivor,
        data.root().join(&plan.keep).display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The directories of the nodes that are left.
fn left(data: &DataDir, manifest: &Manifest, plan: Option<&Plan>) -> Result<Vec<PathBuf>, String> {
    if let Some(plan) = plan {
        return Ok(vec![data.replica(&plan.survivor)]);
    }
    let nodes = manifest.nodes.iter().filter(|node| data.holds_replica(&node.name));
    let left: Vec<PathBuf> = nodes.map(|node| data.replica(&node.name)).collect();
    if left.is_empty() {
        return Err("the directory of every node is gone: restore a backup".into());
    }
    Ok(left)
}

fn show(data: &DataDir, server: &Path, directories: &[PathBuf]) -> Result<(), String> {
    let text = ask(server, directories, &[])?;
    // The server's own way on is not the way here.
    let (text, _) = text.split_once("\nNothing was changed.").unwrap_or((&text, ""));
    let document = survey(server, directories, &[])?;
    let id = word(&document, "cluster_id")?;
    say(text)?;
    if document["majority"] == true && document["unfinished"] != true {
        return Ok(());
    }
    say(&format!(
        "\nNothing was changed. To make a new cluster of it:\n\n  axon-launcher recover --data-dir {} --yes {id}\n",
        data.root().display()
    ))
}

/// Decides what is to be done, and writes it down.
fn draw(
    data: &DataDir,
    server: &Path,
    manifest: &Manifest,
    consent: &ClusterId,
) -> Result<Plan, String> {
    if *consent != manifest.cluster_id {
        return Err(format!("the cluster here is {}, not {consent}", manifest.cluster_id));
    }
    let document = survey(server, &left(data, manifest, None)?, &[])?;
    if document["majority"] == true {
        return Err(
            "a majority of the cluster is here: start axon-launcher, and nothing is lost".into()
        );
    }
    let best = word(&document, "best").map_err(|_| "no directory can be used: restore a backup")?;
    let mut nodes = manifest.nodes.iter();
    let survivor = nodes.find(|node| data.replica(&node.name) == Path::new(best));
    let survivor = survivor.ok_or_else(|| format!("{best} belongs to no node"))?.name.clone();
    let names = (1_u32..).map(|number| format!("before-recovery-{number}"));
    let mut free = names.filter(|name| !data.root().join(name).exists());
    let keep = free.next().expect("numbers do not end");
    let plan = Plan { lost: consent.clone(), survivor, keep };
    let bytes = serde_json::to_vec_pretty(&plan).expect("a plan has only string keys");
    let path = plan_path(data);
    replace_file(&path, &bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(plan)
}

/// Makes the new cluster, unless it is made; returns its id and the survivor's.
fn make(data: &DataDir, server: &Path, plan: &Plan) -> Result<(ClusterId, u64), String> {
    let directory = [data.replica(&plan.survivor)];
    let mut document = survey(server, &directory, &[])?;
    let made = if word(&document, "cluster_id")? == plan.lost.as_str() {
        // That there is no majority was found out before the plan was written.
        let consent = ["--force", "--yes", plan.lost.as_str()];
        document = survey(server, &directory, &consent)?;
        word(&document["recovered"], "cluster_id")?;
        &document["recovered"]
    } else {
        document["replicas"][0]["cluster_id"] = document["cluster_id"].clone();
        &document["replicas"][0]
    };
    let id = made["id"].as_u64().ok_or("axon-server recover did not say the new id")?;
    Ok((ClusterId::try_from(word(made, "cluster_id")?.to_owned())?, id))
}

/// Brings the launcher's own files to what is there now.
fn carry_out(
    data: &DataDir,
    mut manifest: Manifest,
    plan: &Plan,
    found: &ClusterId,
    id: u64,
) -> Result<(), String> {
    let fault = |error: &dyn std::error::Error| error.to_string();
    for node in manifest.nodes.iter().filter(|node| node.name != plan.survivor) {
        data.set_aside(&node.name, &plan.lost, &plan.keep).map_err(|error| fault(&error))?;
    }
    data.mark_again(&plan.survivor, &plan.lost, found).map_err(|error| fault(&error))?;
    // Who was on the way out is out.
    manifest.nodes.retain(|node| node.name == plan.survivor || node.decommission.is_none());
    for node in &mut manifest.nodes {
        let survives = node.name == plan.survivor;
        node.node_id = survives.then_some(id);
        node.decommission = None;
        if survives {
            node.desired = Desired::Running;
        }
    }
    manifest.cluster_id = found.clone();
    manifest.save(&data.manifest()).map_err(|error| fault(&error))?;
    let ended = fs::remove_file(plan_path(data)).and_then(|()| sync_directory(data.root()));
    ended.map_err(|error| fault(&error))
}

fn plan_path(data: &DataDir) -> PathBuf {
    data.root().join("recovery.json")
}

fn read_plan(data: &DataDir) -> Result<Option<Plan>, String> {
    let path = plan_path(data);
    let garbled = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| garbled(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(garbled(&error)),
    }
}

/// What `axon-server recover` finds, and does when it is given consent.
fn survey(server: &Path, directories: &[PathBuf], consent: &[&str]) -> Result<Value, String> {
    let text = ask(server, directories, &[&["--json"], consent].concat())?;
    serde_json::from_str(&text).map_err(|error| format!("axon-server recover: {error}"))
}

fn ask(server: &Path, directories: &[PathBuf], more: &[&str]) -> Result<String, String> {
    let named = directories.iter().flat_map(|path| [OsString::from("--data-dir"), path.into()]);
    let mut command = Command::new(server);
    let output = command.arg("recover").args(named).args(more).output();
    let output = output.map_err(|error| format!("{}: {error}", server.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = text(&output.stderr);
    Err(said.strip_prefix("axon-server: ").unwrap_or(&said).to_owned())
}

fn word<'a>(document: &'a Value, name: &str) -> Result<&'a str, String> {
    document[name].as_str().ok_or_else(|| format!("axon-server recover did not say its {name}"))
}

fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())
}
