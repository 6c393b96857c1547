//! Who is attacked: a server, or a launcher with its nodes, and how the same doors are called there.

/// Which program answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Server,
    Launcher,
}

/// A listener, and what the table needs to know of it.
#[derive(Debug, Clone)]
pub struct Site {
    pub kind: Kind,
    pub port: u16,
    /// A cursor of a page of keys that start with `kept/`, which is good for that query.
    pub cursor: String,
}

impl Site {
    pub const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Server => "axon-server",
            Kind::Launcher => "axon-launcher",
        }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A path of the data doors.
    pub fn v1(&self, rest: &str) -> String {
        match self.kind {
            Kind::Server => format!("/v1/{rest}"),
            Kind::Launcher => format!("/api/v1/{rest}"),
        }
    }
}
