//! A real launcher with real servers in a directory and ports of its own.
#![allow(dead_code, reason = "each test file uses what it needs")]

use axon_launcher::probe::{Answer, NodeClient};
use axon_launcher::process::Process;
use axon_launcher::secret::Token;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for anything that should happen.
const SOON: Duration = Duration::from_secs(30);

/// Longest wait for an answer; longer than the launcher takes to give up.
const ANSWER: Duration = Duration::from_secs(45);

/// Ports for one cluster, below those that the system hands out.
const FIRST_PORT: u16 = 20_000;
const PORTS_EACH: u16 = 100;

/// A place for one cluster; survives its launchers.
pub struct Site {
    pub base_port: u16,
    /// The program that runs a node.
    pub server: PathBuf,
    nodes: u8,
    /// What each launcher of it is given besides.
    pub flags: Vec<String>,
    /// Variables of its environment besides.
    pub environment: Vec<(&'static str, &'static str)>,
    directory: TempDir,
    client: NodeClient,
    // Held so that tests in other processes keep to other ports.
    _ports: File,
}

/// A running launcher.
pub struct Launcher<'a> {
    site: &'a Site,
    child: Child,
    out: PathBuf,
    /// Where the dashboard answers, once it is ready.
    pub port: u16,
}

/// The server that was built beside the launcher, or is named by the environment.
pub fn server() -> PathBuf {
    let launcher = Path::new(env!("CARGO_BIN_EXE_axon-launcher"));
    let server = std::env::var_os("AXON_SERVER_BIN")
        .map_or_else(|| launcher.with_file_name("axon-server"), PathBuf::from);
    assert!(
        server.is_file(),
        "{} is not there: `cargo build -p axon-server` first, or set AXON_SERVER_BIN",
        server.display()
    );
    server
}

impl Site {
    /// For three nodes.
    pub fn new() -> Self {
        Self::of(3)
    }

    /// For so many nodes.
    pub fn of(nodes: u8) -> Self {
        let (ports, base_port) = (0..100)
            .find_map(|slot| {
                let path = std::env::temp_dir().join(format!("axon-test-ports-{slot}"));
                let file = File::create(path).ok()?;
                file.try_lock().ok()?;
                let base = FIRST_PORT + slot * PORTS_EACH;
                let free = (base..base + PORTS_EACH)
                    .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
                free.then_some((file, base))
            })
            .expect("a free range of ports");
        let directory = tempfile::tempdir().unwrap();
        let (flags, environment, client) = (Vec::new(), Vec::new(), NodeClient::new());
        let server = server();
        Self { base_port, server, nodes, flags, environment, directory, client, _ports: ports }
    }

    /// A place whose launchers ask for `token`, which is in a file, at every address of the machine.
    pub fn with_token(token: &str) -> Self {
        let mut site = Self::new();
        let file = site.directory.path().join("token");
        fs::write(&file, token).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let file = file.to_str().unwrap();
        site.flags = ["--listen", "0.0.0.0:0", "--token-file", file].map(str::to_owned).to_vec();
        site.client = NodeClient::new().with_token(Some(&Token::new(token).unwrap()));
        site
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("axon-data")
    }

    pub fn manifest(&self) -> Value {
        let bytes = fs::read(self.data().join("cluster.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn command(&self, extra: &[&str]) -> Command {
        let launcher = Path::new(env!("CARGO_BIN_EXE_axon-launcher"));
        let mut command = Command::new(launcher);
        if !extra.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command
            .arg("--data-dir")
            .arg(self.data())
            .args(["--base-port", &self.base_port.to_string()])
            .args(["--nodes", &self.nodes.to_string()])
            .arg("--server-bin")
            .arg(&self.server)
            .args(extra)
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null());
        command
    }

    /// Starts a launcher and returns at once.
    pub fn begin(&self) -> Launcher<'_> {
        let out = self.directory.path().join("launcher.out");
        let child = self
            .command(&self.flags.iter().map(String::as_str).collect::<Vec<_>>())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(self.directory.path().join("launcher.err")).unwrap())
            .spawn()
            .unwrap();
        Launcher { site: self, child, out, port: 0 }
    }

    /// Starts a launcher and waits until its cluster has a leader.
    pub async fn launch(&self) -> Launcher<'_> {
        let mut launcher = self.begin();
        launcher.until_ready().await;
        launcher
    }

    /// Runs a launcher that must refuse, and returns what it says.
    pub fn refused(&self, extra: &[&str]) -> String {
        let output = self.command(extra).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    /// Runs a launcher that must do something and end, and returns what it says.
    #[allow(dead_code, reason = "not every test file has such a thing to do")]
    pub fn done(&self, extra: &[&str]) -> String {
        let output = self.command(extra).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub async fn send(&self, method: Method, port: u16, path: &str, body: &str) -> Answer {
        self.client.send(method, port, path, body.to_owned(), ANSWER).await.unwrap()
    }

    /// Writes through a node and returns the status.
    pub async fn put(&self, port: u16, key: &str, value: &str) -> u16 {
        let body = serde_json::json!({ "value": value }).to_string();
        self.send(Method::PUT, port, &format!("/kv/{key}"), &body).await.status.as_u16()
    }

    /// Reads through a node.
    pub async fn get(&self, port: u16, key: &str) -> Option<String> {
        let answer = self.send(Method::GET, port, &format!("/kv/{key}"), "").await;
        let found: Value = serde_json::from_slice(&answer.body).ok()?;
        Some(found.get("value")?.as_str()?.to_owned())
    }

    /// What the node at `port` says of itself; `null` when it does not answer.
    pub async fn status(&self, port: u16) -> Value {
        let asked = self.client.send(Method::GET, port, "/v1/status", "", ANSWER).await;
        let answer = asked.map(|answer| answer.body).unwrap_or_default();
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// The names of the members, as the node at `port` knows them.
    pub async fn members(&self, port: u16) -> Vec<String> {
        let members = self.client.members(port).await.unwrap_or_default();
        let mut names: Vec<String> = members.into_iter().map(|member| member.name).collect();
        names.sort();
        names
    }
}

impl Drop for Site {
    /// Leaves no server behind, whatever the test did to its launchers.
    fn drop(&mut self) {
        let nodes = fs::read_dir(self.data().join("nodes")).into_iter().flatten().flatten();
        for node in nodes {
            if let Some(left) = Process::adopt("--data-dir", &node.path().join("data")) {
                left.kill();
            }
        }
    }
}

impl Launcher<'_> {
    /// Where its dashboard is, on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills the launcher, and nothing else.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the launcher and all nodes.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.site.until("the launcher ends", async || self.child.try_wait().unwrap()).await
    }

    pub async fn until_ready(&mut self) {
        let site = self.site;
        let port = site
            .until("the launcher has a leader", async || {
                let out = fs::read_to_string(&self.out).unwrap();
                if let Some(status) = self.child.try_wait().unwrap() {
                    let err = fs::read_to_string(self.out.with_extension("err")).unwrap();
                    panic!("the launcher ended with {status}\n{err}");
                }
                let line = out.lines().find(|line| line.trim().starts_with("dashboard"))?;
                out.contains("ready in").then(|| line.rsplit(':').next().unwrap().parse().unwrap())
            })
            .await;
        self.port = port;
    }

    /// Gives an order and returns the status with the body.
    pub async fn order(&self, path: &str, body: &str) -> (u16, Value) {
        let path = format!("/api/control/{path}");
        let answer = self.site.send(Method::POST, self.port, &path, body).await;
        let body = serde_json::from_slice(&answer.body).expect("every answer is JSON");
        (answer.status.as_u16(), body)
    }

    /// Asks `/api/v1` and returns the status with the body.
    pub async fn api(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let answer = self.site.send(method, self.port, &format!("/api/v1/{path}"), body).await;
        let body = serde_json::from_slice(&answer.body).expect("every answer is JSON");
        (answer.status.as_u16(), body)
    }

    pub async fn nodes(&self) -> Value {
        let answer = self.site.send(Method::GET, self.port, "/api/control/nodes", "").await;
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Waits until a node is as wanted, and returns it.
    pub async fn until_node(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{name} is as wanted");
        self.site
            .until(&what, async || {
                let node = self.nodes().await[name].take();
                wanted(&node).then_some(node)
            })
            .await
    }

    /// Waits until exactly one node leads, and returns its name.
    pub async fn until_leader(&self) -> String {
        self.site
            .until("one node leads", async || {
                let nodes = self.nodes().await;
                let nodes = nodes.as_object().unwrap().values();
                let leaders: Vec<_> = nodes.filter(|node| node["is_leader"] == true).collect();
                (leaders.len() == 1).then(|| leaders[0]["id"].as_str().unwrap().to_owned())
            })
            .await
    }
}

impl Drop for Launcher<'_> {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // The servers go with the site.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

impl Site {
    /// Asks again and again until there is an answer; fails the test if there is none soon.
    pub async fn until<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            if Instant::now() > deadline {
                let err = fs::read_to_string(self.directory.path().join("launcher.err"));
                panic!("not within {SOON:?}: {what}\n{}", err.unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
