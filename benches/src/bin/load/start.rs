//! How three processes become a cluster: the command lines of Axon and of etcd, and when each is ready.
//!
//! Both run with the durability that they have by default: a write is acknowledged when a majority has
//! it synced. Settings from this program's environment do not reach them, so that a run means the same
//! on every machine; `--axon-arg` and `--etcd-arg` do.

use crate::nodes::{NODES, Nodes, free_ports};
use crate::system::Rig;
use crate::{Check, http};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// How long a cluster may take to come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often a cluster is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A cluster that is ready, and the addresses of its nodes' API.
pub struct Started {
    pub nodes: Nodes,
    pub endpoints: Vec<String>,
}

/// Starts three `axon-server`: the first makes the cluster, the others join it and vote.
pub async fn axon(rig: &Rig) -> Check<Started> {
    let program = axon_program(rig.axon_server.as_deref())?;
    let mut nodes = Nodes::in_directory(&rig.directory)?;
    let ports = free_ports(2 * NODES as u16)?;
    let endpoints = addresses(&ports);
    let peers: Vec<String> = ports.chunks(2).map(|pair| local(pair[1])).collect();
    for (at, listen) in endpoints.iter().enumerate() {
        let name = format!("node{}", at + 1);
        let data = nodes.data(&name);
        if at == 0 {
            let mut init = command(&program);
            init.arg("init").args(["--name", &name]).arg("--data-dir").arg(&data);
            run_to_end(&mut init).await?;
        }
        let mut run = command(&program);
        run.arg("run").args(["--name", &name]).arg("--data-dir").arg(&data);
        run.args(["--listen", listen, "--peer-listen", &peers[at]]).args(&rig.axon_arg);
        if at > 0 {
            run.args(["--join", &peers[0]]);
        }
        nodes.spawn(&name, &mut run)?;
    }
    until_ready(&mut nodes, async || {
        for endpoint in &endpoints {
            http::page(endpoint, "/readyz", None).await?;
            let status = http::json(endpoint, "/v1/status", None).await?;
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            if voters != NODES {
                return Err(format!("{voters} nodes vote"));
            }
        }
        Ok(())
    })
    .await?;
    Ok(Started { nodes, endpoints })
}

/// Starts three `etcd` that know of each other from the beginning.
pub async fn etcd(rig: &Rig) -> Check<Started> {
    let program = etcd_program(rig.etcd.as_deref())?;
    let mut nodes = Nodes::in_directory(&rig.directory)?;
    let ports = free_ports(2 * NODES as u16)?;
    let endpoints = addresses(&ports);
    let peers: Vec<String> = ports.chunks(2).map(|pair| url(&local(pair[1]))).collect();
    let members: Vec<String> =
        peers.iter().enumerate().map(|(at, peer)| format!("etcd{}={peer}", at + 1)).collect();
    for (at, listen) in endpoints.iter().enumerate() {
        let name = format!("etcd{}", at + 1);
        let client = url(listen);
        let mut run = command(&program);
        run.args(["--name", &name]).arg("--data-dir").arg(nodes.data(&name));
        run.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        run.args(["--listen-peer-urls", &peers[at], "--initial-advertise-peer-urls", &peers[at]]);
        run.args(["--initial-cluster", &members.join(","), "--initial-cluster-state", "new"]);
        run.args(&rig.etcd_arg);
        nodes.spawn(&name, &mut run)?;
    }
    until_ready(&mut nodes, async || {
        for endpoint in &endpoints {
            let health = http::json(endpoint, "/health", None).await?;
            if health["health"] != "true" {
                return Err(format!("health is {health}"));
            }
        }
        Ok(())
    })
    .await?;
    Ok(Started { nodes, endpoints })
}

/// The `axon-server` that was asked for, or the one beside this program.
pub fn axon_program(given: Option<&Path>) -> Check<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => beside_this_program("axon-server")?,
    };
    path.canonicalize().map_err(|error| {
        let build = "cargo build --release -p axon-server";
        format!(
            "{}: {error}; build it first ({build}), or name it by --axon-server",
            path.display()
        )
    })
}

/// The `etcd` that was asked for, or the one on the path.
pub fn etcd_program(given: Option<&Path>) -> Check<PathBuf> {
    let named = given.unwrap_or(Path::new("etcd"));
    let candidates: Vec<PathBuf> = if named.components().count() > 1 {
        vec![named.to_owned()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|directory| directory.join(named)).collect()
    };
    candidates.into_iter().find(|candidate| candidate.is_file()).ok_or_else(|| {
        format!(
            "{} is not installed. On Debian and Ubuntu: apt-get install -y etcd-server \
             (no service is needed, it may be disabled). Or name the program by --etcd, \
             or leave it out: --targets axon",
            named.display()
        )
    })
}

/// Where `name` would be if it was built together with this program.
pub fn beside_this_program(name: &str) -> Check<PathBuf> {
    let own = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    Ok(own.with_file_name(name))
}

/// The first line of what a program says about its version.
pub async fn version(program: &Path) -> Check<String> {
    let output = command(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.await.map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or("no version").trim().to_owned())
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("AXON_") || name.starts_with("ETCD_") {
            command.env_remove(&*name);
        }
    }
    command
}

async fn run_to_end(command: &mut Command) -> Check {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .map_err(|_| format!("axon-server init: no end within {} s", PATIENCE.as_secs()))?
        .map_err(|error| format!("axon-server init: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("axon-server init ended with {}: {said}", output.status));
    }
    Ok(())
}

/// Asks until the answer is that all is well. At the deadline the last complaint is the error.
async fn until_ready(nodes: &mut Nodes, mut ready: impl AsyncFnMut() -> Check) -> Check {
    let begun = Instant::now();
    loop {
        nodes.check_alive()?;
        let Err(complaint) = ready().await else { return Ok(()) };
        if begun.elapsed() > PATIENCE {
            return Err(format!("no cluster within {} s: {complaint}", PATIENCE.as_secs()));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The addresses of the API: every other port, from the first.
fn addresses(ports: &[u16]) -> Vec<String> {
    ports.chunks(2).map(|pair| local(pair[0])).collect()
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn url(address: &str) -> String {
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn who_has_no_etcd_is_told_how_to_get_it() {
        let told = etcd_program(Some(Path::new("etcd-that-nobody-has"))).unwrap_err();
        assert!(told.contains("apt-get install -y etcd-server"), "{told}");
        assert!(etcd_program(Some(Path::new("sh"))).is_ok());
    }
}
