//! One hostile conversation as data: what is sent, and what must come back.

use crate::site::Site;
use std::fmt::Write;
use std::time::Duration;

/// What a client does, in order.
#[derive(Debug, Clone)]
pub enum Part {
    /// Sends bytes as they are.
    Bytes(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// Says that nothing more comes.
    End,
}

/// What must come back to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A success as documented, or a refusal.
    Any,
    /// A refusal.
    Refused,
    /// This status.
    Status(u16),
    /// One of these statuses.
    OneOf(&'static [u16]),
    /// A refusal, or the end of the connection: the request was never whole.
    NotDone,
}

/// A conversation.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is, for people.
    pub name: String,
    pub parts: Vec<Part>,
    /// One for each answer that comes; after the last, nothing may.
    pub wants: Vec<Want>,
    /// The answers have no bodies.
    pub to_head: bool,
    /// After the last answer the connection must be closed by the server.
    pub closes: bool,
}

impl Case {
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>, want: Want) -> Self {
        Self {
            name: name.into(),
            parts: vec![Part::Bytes(bytes.into())],
            wants: vec![want],
            to_head: false,
            closes: false,
        }
    }

    pub fn then(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    pub fn wants(mut self, wants: impl IntoIterator<Item = Want>) -> Self {
        self.wants = wants.into_iter().collect();
        self
    }

    pub fn closes(mut self) -> Self {
        self.closes = true;
        self
    }
}

/// A request that is well-formed HTTP, whatever it asks.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub headers: Vec<(&'a str, &'a [u8])>,
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    pub fn new(method: &'a str, target: &'a str) -> Self {
        Self { method, target, headers: Vec::new(), body: b"" }
    }

    pub fn header(mut self, name: &'a str, value: impl Into<&'a [u8]>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: &'a [u8]) -> Self {
        self.body = body;
        self
    }

    /// Its bytes, for the host of `site` unless it names one.
    pub fn bytes(&self, site: &Site) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let has =
            |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !has("host") {
            bytes.extend(format!("host: {}\r\n", site.host()).bytes());
        }
        for (name, value) in &self.headers {
            bytes.extend(name.bytes().chain(*b": "));
            bytes.extend_from_slice(value);
            bytes.extend(*b"\r\n");
        }
        if !has("content-length") && !has("transfer-encoding") {
            bytes.extend(format!("content-length: {}\r\n", self.body.len()).bytes());
        }
        bytes.extend(*b"\r\n");
        bytes.extend_from_slice(self.body);
        bytes
    }

    /// It as a case.
    pub fn case(&self, site: &Site, want: Want) -> Case {
        let mut name = format!("{} {}", self.method, shown(self.target.as_bytes()));
        for (header, value) in &self.headers {
            let _ = write!(name, " {header}: {}", shown(value));
        }
        if !self.body.is_empty() {
            let _ = write!(name, " {}", shown(self.body));
        }
        let case = Case::new(name, self.bytes(site), want);
        Case { to_head: self.method == "HEAD", ..case }
    }
}

/// The beginning of some bytes, for people.
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
    let more =
        if bytes.len() > 60 { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("{}{more}", text.escape_debug())
}
