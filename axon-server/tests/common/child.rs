//! The real binary as a child process, and a client for what it serves.

use super::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until `condition` gives a value, and returns it. Fails the test after `limit`.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let found = condition();
        // A condition that came true too late has not come true.
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        if let Some(value) = found {
            return value;
        }
        std::thread::sleep(GLANCE);
    }
}

/// The program with `arguments`, and nothing of this process's environment that it would listen to.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_axon-server"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a process that ended by itself left behind: exit code, standard output, standard error.
pub fn ended(arguments: &[&str]) -> (i32, String, String) {
    let mut child = program(arguments).spawn().unwrap();
    let status = wait(&mut child);
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.unwrap().read_to_string(&mut out).unwrap();
    child.stderr.unwrap().read_to_string(&mut err).unwrap();
    (status.code().expect("not killed"), out, err)
}

/// Waits for a child to end; one that does not fails the test, and is killed first.
#[track_caller]
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the process did not end in time");
        }
        std::thread::sleep(GLANCE);
    }
}

/// A running server; killed when the test is over. A test that fails shows its log.
pub struct Running {
    pub child: Child,
    pub api: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Starts the program with `arguments`, and waits until it says where it serves.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = program(arguments).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (found, api) = mpsc::channel();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        // Reads on to the end, so that the server never waits for its log to be taken.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let word = line.split_whitespace().find_map(|word| word.strip_prefix("api="));
                if let Some(address) = word.and_then(|word| word.parse().ok()) {
                    let _ = found.send(address);
                }
                lines.lock().unwrap().push(line);
            }
        });
        let Ok(api) = api.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!("the server does not say where it serves: {:#?}", log.lock().unwrap());
        };
        Self { child, api, log }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has logged a line with `part` in it; returns all it has logged.
    #[track_caller]
    pub fn logged(&self, part: &str) -> Vec<String> {
        within(PATIENCE, &format!("a line of the log with {part:?}"), || {
            let log = self.log.lock().unwrap();
            log.iter().any(|line| line.contains(part)).then(|| log.clone())
        })
    }

    /// Kills it as a power cut would end it, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself, and returns its exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }

    /// Sends one request and returns its answer: status and body. `None` when there is no whole
    /// answer within `limit`, or nobody listens.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        body: &str,
        limit: Duration,
    ) -> Option<(u16, String)> {
        let deadline = Instant::now() + limit;
        let mut stream = TcpStream::connect_timeout(&self.api, limit).ok()?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            match stream.read(&mut part).ok()? {
                0 => break,
                bytes => answer.extend_from_slice(&part[..bytes]),
            }
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// Sends one request until it is answered 200, as an election may be under way; returns the body.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &str) -> String {
        within(PATIENCE, &format!("{method} {path} answers 200"), || {
            let (status, body) = self.ask(method, path, body, PATIENCE)?;
            (status == 200).then_some(body)
        })
    }

    /// The answer to `GET path` as JSON, when it is 200.
    pub fn look(&self, path: &str) -> Option<Value> {
        let (status, body) = self.ask("GET", path, "", PATIENCE)?;
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of the server at {}:", self.api);
            self.log.lock().unwrap().iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
