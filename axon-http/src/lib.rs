//! What Axon's HTTP servers, the node's and the launcher's, do with a connection.
//!
//! Hides hyper on a socket. A server gives a function that answers requests and one that says
//! [`Refusal`]s in its own words; everything a client can hold on to by being slow or broken is bounded
//! here, once for both:
//!
//! * a head, a rest, an answer that is not taken: [`Patience`], watched by [`drive`];
//! * a request body: [`Arriving`], for handlers that do not bound it themselves;
//! * a request that is answered before all of it has come: [`RequestBody`], whose rest is read;
//! * what is no HTTP at all gets a whole answer, too, where hyper would send a bare status.
//!
//! It does not count connections, route requests, or speak HTTP/2 and TLS.

#![deny(missing_docs)]

mod body;
mod conn;
mod rest;

pub use body::{Arriving, Late, Tracked};
pub use conn::{Patience, drive, ready, recover, refuse};
pub use rest::RequestBody;

use std::time::Duration;

/// The largest request head: a key of 4 KiB is 12 KiB when every byte is percent-encoded.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// What is refused before there is a request that a handler could refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not well-formed HTTP/1.1.
    Malformed,
    /// It is another protocol.
    NotHttp1,
    /// The request line is too long.
    UriTooLong,
    /// The headers are longer than [`HEAD_BYTES_MAX`], or too many.
    HeadersTooLarge,
    /// The head did not arrive in this time.
    SlowHead(Duration),
    /// So many connections are open, and no more are allowed.
    TooManyConnections(usize),
}

/// Says a refusal: a complete answer, in bytes, that closes the connection.
pub type Words = fn(Refusal) -> Vec<u8>;
