//! Requests and answers over any transport: who talks, which answer belongs to which request, until when.
//!
//! Written once, so that a transport only has to move frames:
//!
//! * [`dial`] and [`welcome`] prove the cluster's [`Secret`](crate::secret::Secret) to each other and
//!   exchange a [`Hello`] before anything else. Strangers, members of other clusters, removed replicas
//!   and other protocols go no further, and are told why.
//! * [`Client`] sends requests to one address over one lane: one connection, opened on demand, many
//!   requests in flight. Its errors tell "surely not sent" from "perhaps sent".
//! * [`serve`] answers them: concurrently, in any order, never more at once than it was told.
//!
//! On the wire the first two frames of each direction are the greeting: the protocol's number in 2 bytes,
//! little-endian, which no version will ever move, and what `hello.rs` says. Every later frame is a
//! number in 8 bytes, little-endian, and a body: a request's, and the answer's to the request of that
//! number.
//!
//! It does not retry, know what a body means, encrypt, or tell members apart that share the secret: an
//! id is what a peer says of itself.

mod client;
mod hello;
mod server;

pub use client::{Client, ClientOptions};
pub use hello::{Hello, PROTOCOL, Refusal, dial, welcome};
pub use server::{Handler, serve};

use super::FRAME_BYTES_MAX;
use crate::error::TransportError;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest body of a request or an answer, in bytes.
pub const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - NUMBER_BYTES;

const NUMBER_BYTES: usize = 8;

/// Frames handled between two looks at everything else.
const BATCH: usize = 128;

/// Puts numbers in front of bodies, without an allocation for each.
#[derive(Default)]
struct Framer {
    block: BytesMut,
}

impl Framer {
    const BLOCK_BYTES: usize = 32 << 10;

    fn frame(&mut self, number: u64, body: &[u8]) -> Bytes {
        let needed = NUMBER_BYTES + body.len();
        if needed > Self::BLOCK_BYTES / 4 {
            // Memory of its own, that goes when the frame has gone.
            let mut frame = Vec::with_capacity(needed);
            frame.put_u64_le(number);
            frame.put_slice(body);
            return Bytes::from(frame);
        }
        if self.block.capacity() < needed {
            self.block.reserve(Self::BLOCK_BYTES);
        }
        self.block.put_u64_le(number);
        self.block.put_slice(body);
        self.block.split().freeze()
    }
}

/// Takes a frame apart.
fn unframe(mut frame: Bytes) -> Result<(u64, Bytes), TransportError> {
    if frame.len() < NUMBER_BYTES {
        let reason = format!("a frame of {} bytes has no number", frame.len());
        return Err(TransportError::Malformed { reason });
    }
    Ok((frame.get_u64_le(), frame))
}

fn closed(message: &str) -> TransportError {
    TransportError::Closed { message: message.to_owned() }
}
