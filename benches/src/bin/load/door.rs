//! The one call that every client makes, whatever stands behind it.

use crate::embedded::Embedded;
use crate::etcd::Etcd;
use crate::http::Http;
use crate::work::Request;
use std::borrow::Cow;

/// Why a request was no success: one of a few kinds, to be counted. Never an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub Cow<'static, str>);

impl Failure {
    /// A kind that is known beforehand.
    pub const fn kind(kind: &'static str) -> Self {
        Self(Cow::Borrowed(kind))
    }

    /// The deadline of a request has passed: it may have happened or not.
    pub const DEADLINE: Self = Self::kind("deadline");
    /// A key that had been written was not found.
    pub const ABSENT: Self = Self::kind("absent key");
    /// A value of another length than was written came back.
    pub const OTHER_VALUE: Self = Self::kind("other value");
}

/// A client of one node, with a connection of its own.
pub enum Door {
    Http(Http),
    Etcd(Etcd),
    Embedded(Box<Embedded>),
}

impl Door {
    /// Makes one request and waits for its answer, which is checked: a read must find a value of
    /// the length that was written.
    pub async fn ask(&mut self, request: Request) -> Result<(), Failure> {
        match self {
            Self::Http(client) => client.ask(request).await,
            Self::Etcd(client) => client.ask(request).await,
            Self::Embedded(client) => client.ask(request).await,
        }
    }

    /// Gives the connection up after a request that was not waited for to its end: an answer that
    /// comes late must not be taken for the next one's.
    pub fn reset(&mut self) {
        match self {
            Self::Http(client) => client.disconnect(),
            // Each request has a stream of its own there, which ends when it is dropped.
            Self::Etcd(_) | Self::Embedded(_) => {}
        }
    }
}
