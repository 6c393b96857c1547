//! Processes of a cluster on this machine, on free ports, with their data in one directory that goes
//! with them.
//!
//! Whatever ends the run (success, an error, a panic, Ctrl-C) drops [`Nodes`], and that kills every
//! process, waits for it, and removes the directory. Only a `kill -9` of this program leaves them.

use crate::{Check, proc};
use rand::RngExt;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Nodes of a cluster.
pub const NODES: usize = 3;

/// How long killed processes are waited for.
const DEATH_PATIENCE: Duration = Duration::from_secs(10);

/// Lines of a node's output that stand in the message about its end.
const TOLD_LINES: usize = 4;

/// Running processes, and where their data is.
pub struct Nodes {
    children: Vec<(String, Child)>,
    directory: TempDir,
}

impl Nodes {
    /// No process yet, and an empty directory under `parent`, which must lie on a disk.
    pub fn in_directory(parent: &Path) -> Check<Self> {
        let told = |error: std::io::Error| format!("{}: {error}", parent.display());
        std::fs::create_dir_all(parent).map_err(told)?;
        proc::check_disk(parent)?;
        let directory = tempfile::Builder::new().prefix("axon-load-").tempdir_in(parent);
        Ok(Self { children: Vec::new(), directory: directory.map_err(told)? })
    }

    /// Where the node called `name` has its data.
    pub fn data(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the node called `name`; what it says goes to a file.
    pub fn spawn(&mut self, name: &str, command: &mut Command) -> Check {
        let output = || -> std::io::Result<(File, File)> {
            let file = File::create(self.output(name))?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = output().map_err(|error| format!("no output file: {error}"))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).kill_on_drop(true);
        let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    /// Checks that no process has ended by itself.
    pub fn check_alive(&mut self) -> Check {
        let mut ended = None;
        for (name, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                ended = Some((name.clone(), status));
            }
        }
        let Some((name, status)) = ended else { return Ok(()) };
        let output = std::fs::read_to_string(self.output(&name)).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        let last = lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n");
        Err(format!("{name} ended by itself ({status}):\n{last}"))
    }

    /// The process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().filter_map(|(_, child)| child.id()).collect()
    }

    fn output(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // An error says that it has ended already.
            let _ = child.start_kill();
        }
        for (name, child) in &mut self.children {
            await_death(name, child);
        }
    }
}

/// Waits for a process that was killed, by looking, so that nobody writes into its directory while that
/// is removed; killed processes are gone within milliseconds.
pub fn await_death(name: &str, child: &mut Child) {
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > DEATH_PATIENCE {
            eprintln!("{name} was killed and is still there");
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Finds a block of `count` ports nobody listens on. They lie below the range from which the system
/// takes ports for outgoing connections, so that none of the clients' can get in the way later.
pub fn free_ports(count: u16) -> Check<Vec<u16>> {
    for _ in 0..200 {
        let base = rand::rng().random_range(11_000..32_000 - count);
        let block: Vec<u16> = (base..base + count).collect();
        if block.iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return Ok(block);
        }
    }
    Err("no block of free ports was found between 11000 and 32000".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn processes_and_data_are_gone_when_nodes_are_dropped() {
        let parent = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let mut nodes = Nodes::in_directory(&parent).unwrap();
        nodes.spawn("sleeper", Command::new("sleep").arg("60")).unwrap();
        nodes.check_alive().unwrap();
        let (pid, directory) = (nodes.pids()[0], nodes.directory.path().to_owned());
        drop(nodes);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(!directory.exists());
    }

    #[tokio::test]
    async fn a_process_that_ended_by_itself_is_told_with_its_last_words() {
        let parent = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let mut nodes = Nodes::in_directory(&parent).unwrap();
        nodes.spawn("poet", Command::new("sh").args(["-c", "echo farewell; exit 3"])).unwrap();
        nodes.children[0].1.wait().await.unwrap();
        let told = nodes.check_alive().unwrap_err();
        assert!(told.contains("farewell") && told.contains('3'), "{told}");
    }
}
