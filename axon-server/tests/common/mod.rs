//! A server on a port of its own, in this process, and a client that speaks HTTP/1.1 by hand, so that
//! it can also speak it wrongly.

#![allow(clippy::unwrap_used, dead_code, reason = "tests; each test file uses its own part")]

pub mod child;

use axon_core::Cluster;
use axon_core::config::{Config, History, Origin};
use axon_server::{Options, serve};
use serde_json::Value;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No single answer takes longer, or the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A single replica behind a server, in a directory that is gone with it.
pub struct Server {
    pub address: SocketAddr,
    pub cluster: Cluster,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        Self::keeping(History::default(), options).await
    }

    pub async fn keeping(history: History, options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(Config {
            data_dir: Some(directory.path().join("data")),
            origin: Origin::Init(None),
            limits: options.limits,
            history,
            api_address: "127.0.0.1:9000".into(),
            ..Config::default()
        })
        .await
        .expect("a single replica starts");
        cluster.wait_ready(PATIENCE).await.expect("a single replica becomes ready");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let task = tokio::spawn(serve(cluster.clone(), listener, options, shutdown));
        Self { address, cluster, stop, task, _directory: directory }
    }

    pub async fn client(&self) -> Client {
        Client::to(self.address).await
    }

    /// One request on a connection of its own.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.client().await.call(method, path, body).await
    }

    /// Tells the server to stop, without waiting.
    pub fn stop(self) -> JoinHandle<usize> {
        let _ = self.stop.send(());
        self.task
    }
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    pending: Vec<u8>,
}

impl Client {
    pub async fn to(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), pending: Vec::new() }
    }

    pub async fn call(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.call_with(method, path, &[("content-type", "application/json")], body.as_bytes()).await
    }

    pub async fn call_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        write!(request, "content-length: {}\r\n\r\n", body.len()).unwrap();
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes).await;
        self.answer(method == "HEAD").await.expect("an answer")
    }

    /// Sends bytes as they are. A server that has heard enough may stop listening: that is no error.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("bytes are taken");
    }

    /// Reads one answer; `None` when the connection is closed instead.
    pub async fn answer(&mut self, to_head: bool) -> Option<Answer> {
        timeout(PATIENCE, self.read_answer(to_head)).await.expect("an answer, or the end, in time")
    }

    /// Waits until the server closes the connection; returns what it still sent.
    pub async fn closed(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.pending);
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("it is closed");
        rest
    }

    /// Asks for a stream: reads the head of its answer, and leaves the body to be read as it comes.
    pub async fn open(mut self, path: &str, headers: &[(&str, &str)]) -> (Answer, Stream) {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        self.send((request + "\r\n").as_bytes()).await;
        let head = timeout(PATIENCE, self.read_head()).await.expect("a head in time").unwrap();
        (head, Stream { client: self, text: String::new() })
    }

    async fn read_answer(&mut self, to_head: bool) -> Option<Answer> {
        let Answer { status, mut headers, .. } = self.read_head().await?;
        let header = |name: &str| headers.iter().find(|(known, _)| known == name);
        let length = header("content-length").map(|(_, value)| value.parse::<usize>().unwrap());
        let body = match length {
            _ if to_head || status == 304 || status == 204 => Vec::new(),
            Some(length) => self.take(length).await?,
            None => {
                let (body, trailers) = self.read_chunks().await?;
                headers.extend(trailers);
                body
            }
        };
        Some(Answer { status, headers, body })
    }

    async fn read_head(&mut self) -> Option<Answer> {
        let head_end = self.find(b"\r\n\r\n").await? + 4;
        let head = String::from_utf8(self.pending.drain(..head_end).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        Some(Answer { status, headers: lines.map(header).collect(), body: Vec::new() })
    }

    async fn read_chunks(&mut self) -> Option<(Vec<u8>, Vec<(String, String)>)> {
        let mut body = Vec::new();
        loop {
            let chunk = self.read_chunk().await?;
            if chunk.is_empty() {
                break;
            }
            body.extend(chunk);
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some((body, trailers));
            }
            trailers.push(header(&line));
        }
    }

    /// Reads a chunk of a body; the last, before the trailers, is empty.
    async fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().await?;
        let length = usize::from_str_radix(&line, 16).unwrap();
        let chunk = self.take(length).await?;
        if length > 0 {
            assert_eq!(self.line().await?, "");
        }
        Some(chunk)
    }

    async fn line(&mut self) -> Option<String> {
        let end = self.find(b"\r\n").await?;
        let line = self.take(end + 2).await?;
        Some(String::from_utf8(line[..end].to_vec()).unwrap())
    }

    async fn find(&mut self, what: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.pending.windows(what.len()).position(|part| part == what) {
                return Some(at);
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.pending.len() < length {
            self.more().await?;
        }
        Some(self.pending.drain(..length).collect())
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.pending).await.ok()?;
        (read > 0).then_some(())
    }
}

/// The body of an answer that has no end of its own.
pub struct Stream {
    client: Client,
    text: String,
}

impl Stream {
    /// Reads on to the next `end`; returns what is before it. `None`: the body has ended.
    pub async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                let mut found = std::mem::replace(&mut self.text, rest);
                found.truncate(at);
                return Some(found);
            }
            let chunk = timeout(PATIENCE, self.client.read_chunk()).await.expect("more in time")?;
            if chunk.is_empty() {
                assert_eq!(self.text, "", "the body ends with a whole event");
                return None;
            }
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads the next event: its name, its id and its data.
    pub async fn event(&mut self) -> Option<(String, Option<u64>, Value)> {
        let text = self.until("\n\n").await?;
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let id = field("id").map(|id| id.parse().unwrap());
        let data = serde_json::from_str(field("data").expect("an event has data")).unwrap();
        Some((field("event").expect("an event has a name").to_owned(), id, data))
    }

    /// Waits until the server cuts the stream off; returns how many bytes still came.
    pub async fn broken_off(&mut self) -> usize {
        self.client.closed().await.len()
    }

    /// Reads the next line, which is a document.
    pub async fn document(&mut self) -> Option<Value> {
        Some(serde_json::from_str(&self.until("\n").await?).unwrap())
    }
}

fn header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap();
    (name.to_lowercase(), value.to_owned())
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that this is a whole problem document with `status` and `code`.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        let document = self.assert_problem();
        assert_eq!((self.status, document["code"].as_str()), (status, Some(code)), "{document}");
    }

    /// Checks that this is an error, and that it is a whole problem document.
    #[track_caller]
    pub fn assert_problem(&self) -> Value {
        assert!(self.status >= 400, "no error: {self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], self.status);
        for text in ["type", "title", "error", "code"] {
            assert!(document[text].as_str().is_some_and(|text| !text.is_empty()), "{document}");
        }
        assert!(document["retryable"].is_boolean(), "{document}");
        assert!(["not_applied", "unknown"].contains(&document["outcome"].as_str().unwrap()));
        assert!(document["details"].is_object(), "{document}");
        document
    }
}
