//! HTTP/1.1 as bytes on a socket: says anything, and takes answers apart without forgiving anything.

use crate::case::{Case, Part};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take after the last byte was sent, when none is meant to be late.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// An answer, complete; of one that never ends, its head.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What came back.
#[derive(Debug)]
pub enum Heard {
    Answer(Answer),
    /// The server closed the connection, or broke it off.
    Closed,
    /// Nothing in time.
    Silence,
    /// Something that is no HTTP.
    Garbage(String),
}

/// A connection.
pub struct Conversation {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Conversation {
    pub async fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, pending: Vec::new() })
    }

    /// Does what `case` says. A server that has heard enough may stop listening: that is no fault.
    /// Reads while it writes: an answer that comes early must not be lost to a reset.
    pub async fn say(&mut self, case: &Case) {
        let (mut reader, mut writer) = self.stream.split();
        let saying = async {
            for part in &case.parts {
                match part {
                    Part::Bytes(bytes) => {
                        if !matches!(timeout(PATIENCE, writer.write_all(bytes)).await, Ok(Ok(()))) {
                            return;
                        }
                    }
                    Part::Pause(time) => tokio::time::sleep(*time).await,
                    Part::End => {
                        let _ = writer.shutdown().await;
                    }
                }
            }
        };
        tokio::pin!(saying);
        let mut open = true;
        loop {
            tokio::select! {
                () = &mut saying => return,
                read = reader.read_buf(&mut self.pending), if open => open = matches!(read, Ok(1..)),
            }
        }
    }

    /// Hears one answer.
    pub async fn hear(&mut self, to_head: bool) -> Heard {
        timeout(PATIENCE, self.answer(to_head)).await.unwrap_or(Heard::Silence)
    }

    /// Hears what is left until the end; `None` when the server does not close.
    pub async fn rest(&mut self) -> Option<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.pending);
        let ended = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        ended.is_ok().then_some(rest)
    }

    async fn answer(&mut self, to_head: bool) -> Heard {
        loop {
            let Some(end) = self.find(b"\r\n\r\n").await else { return self.ended() };
            let head = self.pending.drain(..end + 4).collect();
            let mut answer = match parse(head) {
                Ok(answer) => answer,
                Err(what) => return Heard::Garbage(what),
            };
            if answer.status == 100 {
                continue;
            }
            let stream = ["text/event-stream", "application/x-ndjson"];
            let endless = answer.header("content-type").is_some_and(|kind| stream.contains(&kind));
            if to_head || endless || matches!(answer.status, 204 | 304) {
                return Heard::Answer(answer);
            }
            return match self.body(&answer).await {
                Ok(Some(body)) => {
                    answer.body = body;
                    Heard::Answer(answer)
                }
                Ok(None) => Heard::Garbage("an answer that ends in the middle".into()),
                Err(what) => Heard::Garbage(what),
            };
        }
    }

    fn ended(&self) -> Heard {
        if self.pending.is_empty() {
            return Heard::Closed;
        }
        Heard::Garbage(crate::case::shown(&self.pending))
    }

    async fn body(&mut self, answer: &Answer) -> Result<Option<Vec<u8>>, String> {
        match (answer.header("content-length"), answer.header("transfer-encoding")) {
            (Some(length), None) => {
                let length = length.parse().map_err(|_| format!("content-length {length:?}"))?;
                Ok(self.take(length).await)
            }
            (None, Some("chunked")) => self.chunks().await,
            (length, encoding) => Err(format!("framed by {length:?} and {encoding:?}")),
        }
    }

    async fn chunks(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut body = Vec::new();
        loop {
            let Some(end) = self.find(b"\r\n").await else { return Ok(None) };
            let line: Vec<u8> = self.pending.drain(..end + 2).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            let length = usize::from_str_radix(&line, 16).map_err(|_| format!("chunk {line:?}"))?;
            if length == 0 {
                // Trailers, to the empty line.
                loop {
                    let Some(end) = self.find(b"\r\n").await else { return Ok(None) };
                    self.pending.drain(..end + 2);
                    if end == 0 {
                        return Ok(Some(body));
                    }
                }
            }
            let Some(chunk) = self.take(length + 2).await else { return Ok(None) };
            body.extend_from_slice(&chunk[..length]);
        }
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

fn parse(head: Vec<u8>) -> Result<Answer, String> {
    let text = String::from_utf8(head).map_err(|_| "a head that is no text")?;
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| format!("a status line {line:?}"))?;
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("a header {line:?}"))?;
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    Ok(Answer { status, headers, body: Vec::new() })
}
