//! A node that no launcher knows of: an `axon-server` of the run's own.

use crate::http::Http;
use crate::rig::{self, Rig};
use crate::{Check, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// A process, killed when it is dropped.
pub struct Guest {
    pub port: u16,
    http: Http,
    log: PathBuf,
    child: Child,
}

impl Guest {
    /// Runs `axon-server run` as `name` on ports of its own, with `more` arguments.
    pub fn start(rig: &Rig, name: &str, number: u16, more: &[OsString]) -> Check<Self> {
        let port = rig.guest_port(number);
        let log = rig.root().join(format!("{name}.log"));
        let data = rig.root().join(name);
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.map_err(|error| format!("{}: {error}", log.display()))?;
        let child = Command::new(rig.server_binary())
            .args(["run", "--name", name, "--listen", &format!("127.0.0.1:{port}")])
            .arg("--data-dir")
            .arg(data)
            .args(secret(rig))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .kill_on_drop(true)
            .spawn();
        let child = child.map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { port, http: rig.http.clone(), log, child })
    }

    /// What it says of itself.
    pub async fn status(&self) -> Check<Value> {
        self.http.get_json(self.port, "/v1/status").await
    }

    /// What it has logged.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) -> Check {
        rig::signal(self.child.id().ok_or("the guest had ended by itself")?, signal)
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self, patience: Duration) -> Check<ExitStatus> {
        let ended = tokio::time::timeout(patience, self.child.wait()).await;
        ensure!(ended.is_ok(), "a guest has not ended after {} s", patience.as_secs());
        ended.ok().and_then(Result::ok).ok_or_else(|| "a guest cannot be waited for".to_owned())
    }
}

/// The arguments that name the launcher's secret.
pub fn secret(rig: &Rig) -> [OsString; 2] {
    ["--secret-file".into(), rig.data().join("cluster.secret").into_os_string()]
}
