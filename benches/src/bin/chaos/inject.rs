//! A disk that misbehaves under one process: strace tampers with its syncs, on their way back.

use crate::cluster::Cluster;
use axon_benches::ensure;
use axon_benches::trial::Check;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long strace may take to attach.
const ATTACHED_WITHIN: Duration = Duration::from_millis(500);

/// Does to each sync of a node what `what` says in strace's words (`delay_exit=`, `error=`), until it is
/// dropped; `trace` is where each is told of.
///
/// Where there is no strace, or it may not attach, the trial is not tried, and says so.
pub async fn syncs(cluster: &mut Cluster, node: usize, what: &str, trace: &Path) -> Check<Child> {
    let server = &mut cluster.servers[node];
    let pid = server.pid().ok_or_else(|| format!("{} is gone", server.name))?;
    let mut child = Command::new("strace")
        .args(["-f", "-ttt", "-qq", "-e", "trace=fdatasync,fsync"])
        .args(["-e", &format!("inject=fdatasync,fsync:{what}"), "-p", &pid.to_string(), "-o"])
        .arg(trace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("NOT TRIED: no strace ({error}; make chaos-tools)"))?;
    tokio::time::sleep(ATTACHED_WITHIN).await;
    // It ends with the process that it is attached to, which may be at once.
    let attached = matches!(child.try_wait(), Ok(None)) || cluster.servers[node].pid().is_none();
    ensure!(attached, "NOT TRIED: strace may not attach to a process");
    Ok(child)
}
