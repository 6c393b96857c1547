//! What a transport must do: dial and accept channels of frames.
//!
//! A transport moves opaque frames; who may talk, what a frame means, which answer belongs to which
//! request is decided in core ([`rpc`]). Contract:
//!
//! * Within a channel, frames arrive in the order sent, each once and whole, or the channel breaks.
//! * A channel may break at any time, at either end alone. It is never mended: a new one is dialled.
//! * A sink exerts back-pressure: it buffers a bounded number of bytes, then `ready` waits.
//! * Dropping a channel closes it; the peer's stream ends, after what was flushed before, unless the
//!   network breaks first. What was fed and not flushed is lost.
//! * A frame over [`FRAME_BYTES_MAX`] is refused by the sink, and by the stream before it takes memory.
//! * The first [`GREETING_FRAMES`] frames of a stream have at most [`GREETING_BYTES_MAX`] bytes, and may
//!   come from a stranger: a transport that strangers can reach refuses longer ones before they take memory.

pub mod lobby;
pub mod memory;
pub mod rpc;
pub mod tcp;

use crate::error::TransportError;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use std::pin::Pin;

/// The longest frame, in bytes: a command at its hard cap, with room for its envelope.
pub const FRAME_BYTES_MAX: usize = crate::types::Limits::COMMAND_BYTES_MAX + (1 << 20);

/// Frames in each direction that are a greeting (see [`rpc`]): who sends them is not known yet.
pub const GREETING_FRAMES: usize = 2;

/// The longest frame of a greeting, in bytes. Names and reasons are short; nothing else in it has a
/// length.
pub const GREETING_BYTES_MAX: usize = 4 << 10;

/// Refuses a frame that is over the limit; for sinks.
fn check_length(frame: &Bytes) -> Result<(), TransportError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(TransportError::FrameTooLarge { limit: FRAME_BYTES_MAX, got: frame.len() });
    }
    Ok(())
}

/// What a channel is used for. Each lane has channels of its own, so that a heartbeat never waits
/// behind a batch. The numbers go over the wire: append only.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Lane {
    /// Votes, heartbeats, read indexes, forwarded commands, joins.
    Control,
    /// Pipelined streams of log entries.
    Replication,
    /// Snapshots.
    Snapshot,
}

/// The sending half of a channel. `feed` queues a frame, `flush` sends what is queued.
pub type FrameSink = Pin<Box<dyn Sink<Bytes, Error = TransportError> + Send>>;

/// The receiving half of a channel; ends when the peer has closed it.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>> + Send>>;

/// An ordered channel of frames to one peer.
pub struct Channel {
    /// Frames to the peer.
    pub sink: FrameSink,
    /// Frames from the peer.
    pub stream: FrameStream,
}

/// Dials peers and accepts their channels.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Opens a channel to the replica that listens on `address`.
    ///
    /// Cancel safe: dropped, it leaves nothing behind. The caller sets the deadline.
    async fn connect(&self, address: &str, lane: Lane) -> Result<Channel, TransportError>;

    /// Waits for the next channel that a peer opens. Called by one task. Cancel safe.
    ///
    /// # Errors
    /// Only when no channel will ever come again.
    async fn accept(&self) -> Result<Channel, TransportError>;

    /// Returns the address that it listens on, ports resolved.
    fn local_address(&self) -> String;

    /// Stops listening, and returns once somebody else may listen on the address. Channels live on.
    ///
    /// To be dropped comes to the same, but who waits for it cannot tell when. A transport whose
    /// address can be listened on again at any time has nothing to do here.
    async fn close(&self) {}
}
