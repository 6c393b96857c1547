//! Channels over TCP.
//!
//! Hides sockets, their options and the framing: a preamble of 4 bytes in each direction (three that
//! say "Axon", one for the version of the framing), then frames, each behind its length in 4 bytes,
//! little-endian. Relies on TCP for order and wholeness. Invariants:
//!
//! * a length is checked against the limit before it takes any memory, that of a greeting until the
//!   greeting is over, and memory grows with the bytes that have arrived, never with the bytes that
//!   were announced: a stranger takes no more than a few KiB;
//! * a stranger (a browser, a port scanner, a silent connection) is dropped after a deadline, in a
//!   task of its own, and never holds up `accept`; when too many have not yet spoken, the one
//!   that has been silent for longest goes;
//! * a payload is copied at most once on its way out, and not at all from [`COPY_BELOW`] bytes on; on its
//!   way in it stays where it was read. So a small frame shares its memory with its
//!   neighbours: whoever keeps one for long copies what it keeps.
//!
//! It does not know who the peer is ([`rpc`](super::rpc) does), reconnect, encrypt, or notice that a
//! peer has fallen silent: deadlines are the business of the layers above.

use super::lobby::Lobby;
use super::{Channel, FRAME_BYTES_MAX, GREETING_BYTES_MAX, GREETING_FRAMES, Lane, Transport};
use crate::error::TransportError;
use crate::runtime;
use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

/// What both ends say first; the last byte is the version of the framing.
const PREAMBLE: [u8; 4] = *b"AXN\x01";

/// How long a newcomer may take to speak, and then to be accepted.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Newcomers that have not spoken yet. A replica has at most a few dozen peers.
const HALF_OPEN_MAX: usize = 128;

/// Channels that wait for `accept`.
const ACCEPTED_MAX: usize = 64;

/// How long to wait when the operating system cannot accept, as when descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Bytes that a sink buffers before `ready` waits. One frame may take it over this.
const SINK_BYTES_MAX: usize = 256 << 10;

/// Payloads below this are gathered in one buffer; larger ones are written from where they are.
const COPY_BELOW: usize = 8 << 10;

/// The size of a read buffer, and of a gathering buffer's blocks.
const BLOCK_BYTES: usize = 64 << 10;

/// Slices given to one system call.
const SLICES_MAX: usize = 32;

const PREFIX_BYTES: usize = 4;

/// A transport over TCP. Dropped, it stops listening; its channels live on.
pub struct TcpTransport {
    local: SocketAddr,
    accepted: Mutex<mpsc::Receiver<Channel>>,
    /// `None` once it is closed.
    listening: Mutex<Option<AbortOnDrop>>,
}

impl TcpTransport {
    /// Listens on `listen` (`host:port`; port 0 lets the system choose).
    ///
    /// # Errors
    /// [`TransportError::CannotListen`], with what to do about it.
    pub async fn bind(listen: &str) -> Result<Self, TransportError> {
        let cannot = |error: io::Error| TransportError::CannotListen {
            address: listen.to_owned(),
            message: advice(&error),
        };
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let local = listener.local_addr().map_err(cannot)?;
        let (sender, accepted) = mpsc::channel(ACCEPTED_MAX);
        let listening = AbortOnDrop(runtime::spawn(accept_all(listener, sender)));
        let (accepted, listening) = (Mutex::new(accepted), Mutex::new(Some(listening)));
        Ok(Self { local, accepted, listening })
    }
}

#[async_trait]
impl Transport for TcpTransport {
    async fn connect(&self, address: &str, _lane: Lane) -> Result<Channel, TransportError> {
        let unreachable =
            |message| TransportError::Unreachable { address: address.into(), message };
        let dialled = async {
            let mut socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            socket.write_all(&PREAMBLE).await?;
            let mut theirs = [0; PREAMBLE.len()];
            socket.read_exact(&mut theirs).await?;
            Ok::<_, io::Error>((socket, theirs))
        };
        let (socket, theirs) = dialled.await.map_err(|error| unreachable(error.to_string()))?;
        check_preamble(theirs).map_err(|stranger| unreachable(format!("it {stranger}")))?;
        Ok(channel(socket))
    }

    async fn accept(&self) -> Result<Channel, TransportError> {
        self.accepted.lock().await.recv().await.ok_or_else(|| closed("no longer listening"))
    }

    fn local_address(&self) -> String {
        self.local.to_string()
    }

    async fn close(&self) {
        if let Some(mut listening) = self.listening.lock().await.take() {
            listening.0.abort();
            // Cancelled, and the socket is gone with it.
            let _ = (&mut listening.0).await;
        }
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there: stop it, or choose another port".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: use one of its own, or 0.0.0.0 for all of them"
                .into()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted: choose a port of 1024 or more, or grant the privilege".into()
        }
        io::ErrorKind::InvalidInput => format!("{error}: give it as host:port"),
        _ => error.to_string(),
    }
}

fn closed<M: ToString + ?Sized>(message: &M) -> TransportError {
    TransportError::Closed { message: message.to_string() }
}

fn check_preamble(theirs: [u8; PREAMBLE.len()]) -> Result<(), String> {
    let [.., version] = PREAMBLE;
    match theirs {
        PREAMBLE => Ok(()),
        [b'A', b'X', b'N', found] => Err(format!(
            "frames by version {found} of the peer protocol, this replica by {version}"
        )),
        _ => Err("does not speak the peer protocol".into()),
    }
}

async fn accept_all(listener: TcpListener, accepted: mpsc::Sender<Channel>) {
    let mut half_open = Lobby::new(HALF_OPEN_MAX);
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => half_open.admit(greet(socket, peer, accepted.clone())),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer; trying again");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Exchanges preambles with a newcomer and hands it to `accept`, or drops it.
async fn greet(mut socket: TcpStream, peer: SocketAddr, accepted: mpsc::Sender<Channel>) {
    let greeted = async {
        let mut theirs = [0; PREAMBLE.len()];
        socket.read_exact(&mut theirs).await.map_err(|error| error.to_string())?;
        let known = check_preamble(theirs);
        if theirs.starts_with(b"AXN") {
            // Another version learns ours, and can say so to its people.
            socket.write_all(&PREAMBLE).await.map_err(|error| error.to_string())?;
        }
        known?;
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        // It fails only when the transport is gone, and the socket goes with it.
        accepted.send(channel(socket)).await.map_err(|_| "no longer listening".to_owned())
    };
    let reason = match tokio::time::timeout(PREAMBLE_TIMEOUT, greeted).await {
        Ok(Ok(())) => return,
        Ok(Err(reason)) => reason,
        Err(_) => "was silent for too long".to_owned(),
    };
    tracing::debug!(%peer, reason, "dropped a connection that is no peer's");
}

fn channel(socket: TcpStream) -> Channel {
    let (read, write) = socket.into_split();
    Channel {
        sink: Box::pin(FrameWriter {
            half: write,
            gathering: BytesMut::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
        }),
        stream: Box::pin(FrameReader {
            half: read,
            buffer: BytesMut::with_capacity(GREETING_BYTES_MAX),
            greetings: GREETING_FRAMES,
            ended: false,
        }),
    }
}

/// Takes the first frame, of at most `limit` bytes, off `buffer`; `None` when more has to be read.
fn take_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, TransportError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
        // The rest of a block serves before a new one is taken.
        buffer.reserve(BLOCK_BYTES / 8);
        return Ok(None);
    };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > limit {
        return Err(TransportError::FrameTooLarge { limit, got: length });
    }
    let missing = (PREFIX_BYTES + length).saturating_sub(buffer.len());
    if missing > 0 {
        // At most as much again as has arrived: who announces a lot must also send it.
        buffer.reserve(missing.min(buffer.len().max(BLOCK_BYTES)));
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    let frame = buffer.split_to(length).freeze();
    if length > BLOCK_BYTES {
        // Let go of the large block, or an idle channel would keep it.
        let mut rest = BytesMut::with_capacity(BLOCK_BYTES.max(buffer.len()));
        rest.extend_from_slice(buffer);
        *buffer = rest;
    }
    Ok(Some(frame))
}

struct FrameReader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    /// Frames of the greeting that are still to come.
    greetings: usize,
    ended: bool,
}

impl FrameReader {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, TransportError>> {
        let limit = if self.greetings > 0 { GREETING_BYTES_MAX } else { FRAME_BYTES_MAX };
        loop {
            if let Some(frame) = take_frame(&mut self.buffer, limit)? {
                self.greetings = self.greetings.saturating_sub(1);
                return Poll::Ready(Ok(Some(frame)));
            }
            let read = pin!(self.half.read_buf(&mut self.buffer)).poll(context);
            if ready!(read).map_err(|error| closed(&error))? == 0 {
                let whole = self.buffer.is_empty();
                return Poll::Ready(if whole {
                    Ok(None)
                } else {
                    Err(closed("the peer broke off within a frame"))
                });
            }
        }
    }
}

impl Stream for FrameReader {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = ready!(self.poll_frame(context)).transpose();
        self.ended = !matches!(polled, Some(Ok(_)));
        Poll::Ready(polled)
    }
}

/// Frames on their way out: `queue` first, then `gathering`.
struct FrameWriter {
    half: OwnedWriteHalf,
    gathering: BytesMut,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
}

impl FrameWriter {
    fn push(&mut self, frame: Bytes) {
        let copied = if frame.len() < COPY_BELOW { frame.len() } else { 0 };
        let needed = PREFIX_BYTES + copied;
        if self.gathering.capacity() - self.gathering.len() < needed {
            self.gathering.reserve(BLOCK_BYTES);
        }
        self.queued_bytes += PREFIX_BYTES + frame.len();
        self.gathering.put_u32_le(frame.len() as u32);
        if frame.len() < COPY_BELOW {
            self.gathering.put_slice(&frame);
        } else {
            self.seal();
            self.queue.push_back(frame);
        }
    }

    fn seal(&mut self) {
        if !self.gathering.is_empty() {
            self.queue.push_back(self.gathering.split().freeze());
        }
    }

    /// Writes until at most `bytes_max` bytes are left.
    fn poll_write_down(
        &mut self,
        context: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<Result<(), TransportError>> {
        if self.queued_bytes > bytes_max {
            self.seal();
        }
        while self.queued_bytes > bytes_max {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(bytes);
            }
            let count = self.queue.len().min(SLICES_MAX);
            let written = Pin::new(&mut self.half).poll_write_vectored(context, &slices[..count]);
            match ready!(written).map_err(|error| closed(&error))? {
                0 => return Poll::Ready(Err(closed("the socket takes no more bytes"))),
                written => self.forget(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn forget(&mut self, mut written: usize) {
        self.queued_bytes -= written;
        while let Some(front) = self.queue.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.queue.pop_front();
        }
    }
}

impl Sink<Bytes> for FrameWriter {
    type Error = TransportError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        self.poll_write_down(context, SINK_BYTES_MAX)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Bytes) -> Result<(), TransportError> {
        super::check_length(&frame)?;
        self.push(frame);
        Ok(())
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        self.poll_write_down(context, 0)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        ready!(self.poll_write_down(context, 0))?;
        Pin::new(&mut self.half).poll_shutdown(context).map_err(|error| closed(&error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_announced_length_takes_no_memory_until_it_arrives() {
        for length in [u32::MAX, FRAME_BYTES_MAX as u32 + 1, FRAME_BYTES_MAX as u32] {
            let mut buffer = BytesMut::with_capacity(BLOCK_BYTES);
            buffer.put_u32_le(length);
            let taken = take_frame(&mut buffer, FRAME_BYTES_MAX);
            assert_eq!(taken.is_err(), length as usize > FRAME_BYTES_MAX, "{length}: {taken:?}");
            assert!(buffer.capacity() <= 4 * BLOCK_BYTES, "{length}: {}", buffer.capacity());
        }
    }

    #[test]
    fn an_announced_greeting_takes_no_more_than_a_greeting() {
        for length in [GREETING_BYTES_MAX, GREETING_BYTES_MAX + 1, FRAME_BYTES_MAX] {
            let mut buffer = BytesMut::with_capacity(GREETING_BYTES_MAX);
            buffer.put_u32_le(length as u32);
            let taken = take_frame(&mut buffer, GREETING_BYTES_MAX);
            assert_eq!(taken.is_err(), length > GREETING_BYTES_MAX, "{length}: {taken:?}");
            assert!(buffer.capacity() <= 4 * GREETING_BYTES_MAX, "{}", buffer.capacity());
        }
    }

    #[test]
    fn a_large_frame_does_not_leave_its_block_behind() {
        let mut buffer = BytesMut::new();
        buffer.put_u32_le(1 << 20);
        buffer.put_bytes(7, (1 << 20) + 3);
        assert_eq!(take_frame(&mut buffer, FRAME_BYTES_MAX).unwrap().unwrap().len(), 1 << 20);
        assert_eq!(&buffer[..], &[7, 7, 7]);
        assert!(buffer.capacity() <= BLOCK_BYTES);
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting_of_the_bytes(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            cut in 1_usize..50,
        ) {
            let mut wire = Vec::new();
            for frame in &frames {
                wire.put_u32_le(frame.len() as u32);
                wire.put_slice(frame);
            }
            let mut buffer = BytesMut::new();
            let mut taken = Vec::new();
            for piece in wire.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = take_frame(&mut buffer, FRAME_BYTES_MAX).unwrap() {
                    taken.push(frame.to_vec());
                }
            }
            prop_assert_eq!(taken, frames);
        }

        #[test]
        fn any_bytes_give_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = take_frame(&mut buffer, FRAME_BYTES_MAX) {
                prop_assert!(frame.len() < bytes.len());
            }
        }
    }
}
