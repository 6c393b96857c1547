//! An `axon-server` of the run's own: one process after the other over one directory, on ports that
//! stay.

use super::Check;
use crate::ensure;
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long a process may take to end that was asked to, or killed.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// A node: what it is started with, and its process while it runs. Dropped, it is killed.
pub struct Server {
    pub name: String,
    pub host: IpAddr,
    /// Of its API; its peers' is the next.
    pub port: u16,
    pub directory: PathBuf,
    /// What its command line comes behind, such as a program that enters a network namespace.
    pub within: Vec<OsString>,
    /// Arguments of every start.
    pub more: Vec<OsString>,
    binary: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// Describes a node of `binary` with its data and its log under `root`; starts nothing.
    pub fn new(binary: &Path, root: &Path, name: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
            directory: root.join(name),
            within: Vec::new(),
            more: Vec::new(),
            binary: binary.to_owned(),
            log: root.join(format!("{name}.log")),
            child: None,
        }
    }

    /// Where its peers reach it.
    pub fn peer_address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port + 1)
    }

    /// Makes a cluster of this node alone.
    pub async fn init(&self) -> Check {
        let made = self.command("init").output().await;
        let made = made.map_err(|error| format!("{}: {error}", self.binary.display()))?;
        let said = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "init of {} failed: {}", self.name, said.trim());
        Ok(())
    }

    /// Starts its process; in an empty directory it joins through `members`.
    pub fn start(&mut self, members: &[SocketAddr]) -> Check {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| format!("{}: {error}", self.log.display()))?;
        let mut command = self.command("run");
        command.args(["--listen", &SocketAddr::new(self.host, self.port).to_string()]);
        command.args(&self.more).stderr(log).kill_on_drop(true);
        let members: Vec<String> = members.iter().map(ToString::to_string).collect();
        if !members.is_empty() {
            command.args(["--join", &members.join(",")]);
        }
        let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", self.name));
        self.child = Some(child?);
        Ok(())
    }

    fn command(&self, order: &str) -> Command {
        let mut words = self.within.clone();
        words.push(self.binary.clone().into_os_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args([order, "--name", &self.name, "--data-dir"]);
        command.arg(&self.directory).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Its process, while it runs.
    pub fn pid(&mut self) -> Option<u32> {
        let child = self.child.as_mut()?;
        matches!(child.try_wait(), Ok(None)).then(|| child.id()).flatten()
    }

    /// Sends a signal to its process.
    pub fn signal(&mut self, signal: Signal) -> Check {
        let pid = self.pid().ok_or_else(|| format!("{} does not run", self.name))?;
        super::signal(pid, signal)
    }

    /// Ends its process by `signal`, and waits until it has ended.
    pub async fn end(&mut self, signal: Signal) -> Check {
        self.signal(signal)?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let ended = tokio::time::timeout(END_PATIENCE, child.wait()).await;
        ensure!(ended.is_ok(), "{} has not ended after {} s", self.name, END_PATIENCE.as_secs());
        Ok(())
    }

    /// What it has logged.
    pub fn logged(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}
