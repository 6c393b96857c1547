//! A transport of one's own: Unix domain sockets, each frame behind its length.
//!
//! A transport moves frames from one replica to another and knows nothing of what they say. The
//! suite that Axon's own transports pass says whether it keeps its promises; then three replicas in
//! this process talk over it. Run it with `cargo run --example custom_transport [directory]`.

use async_trait::async_trait;
use axon_core::error::TransportError;
use axon_core::testing::transport_suite::check_transport;
use axon_core::transport::{Channel, FRAME_BYTES_MAX, Lane, Transport};
use axon_core::{Cluster, Error};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::codec::{Decoder, Encoder, FramedRead, FramedWrite};

const DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait when the system cannot accept, as when descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A transport whose addresses are paths of sockets.
struct UnixTransport {
    path: PathBuf,
    listener: UnixListener,
}

impl UnixTransport {
    fn bind(path: PathBuf) -> Result<Self, TransportError> {
        // A socket's file outlives a crash. The lock on the data directory says who lives; here it
        // is enough that each replica has a path of its own.
        let _ = std::fs::remove_file(&path);
        match UnixListener::bind(&path) {
            Ok(listener) => Ok(Self { path, listener }),
            Err(error) => Err(TransportError::CannotListen {
                address: path.display().to_string(),
                message: error.to_string(),
            }),
        }
    }
}

#[async_trait]
impl Transport for UnixTransport {
    async fn connect(&self, address: &str, _: Lane) -> Result<Channel, TransportError> {
        match UnixStream::connect(address).await {
            Ok(socket) => Ok(channel(socket)),
            Err(error) => Err(TransportError::Unreachable {
                address: address.into(),
                message: error.to_string(),
            }),
        }
    }

    async fn accept(&self) -> Result<Channel, TransportError> {
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => return Ok(channel(socket)),
                // An error would say that nobody will ever come again.
                Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
            }
        }
    }

    fn local_address(&self) -> String {
        self.path.display().to_string()
    }
}

fn channel(socket: UnixStream) -> Channel {
    let (read, write) = socket.into_split();
    Channel {
        sink: Box::pin(FramedWrite::new(write, Frames).sink_map_err(|Broken(error)| error)),
        stream: Box::pin(FramedRead::new(read, Frames).map_err(|Broken(error)| error)),
    }
}

/// The framing: four bytes of length, little-endian, then the frame.
struct Frames;

/// Why a channel ended.
struct Broken(TransportError);

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(TransportError::Closed { message: error.to_string() })
    }
}

fn check_length(got: usize) -> Result<(), Broken> {
    let limit = FRAME_BYTES_MAX;
    if got <= limit { Ok(()) } else { Err(Broken(TransportError::FrameTooLarge { limit, got })) }
}

impl Encoder<Bytes> for Frames {
    type Error = Broken;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), Broken> {
        check_length(frame.len())?;
        buffer.reserve(4 + frame.len());
        buffer.put_u32_le(frame.len() as u32);
        buffer.put(frame);
        Ok(())
    }
}

impl Decoder for Frames {
    type Item = Bytes;
    type Error = Broken;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Broken> {
        let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        // Before it takes memory: the number may be anything.
        check_length(length)?;
        if buffer.len() < 4 + length {
            return Ok(None);
        }
        buffer.advance(4);
        Ok(Some(buffer.split_to(length).freeze()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let root = std::env::args().nth(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);

    let made = Cell::new(0);
    check_transport(async || {
        made.set(made.get() + 1);
        let path = scratch.path().join(made.get().to_string());
        Arc::new(UnixTransport::bind(path).expect("the socket is free")) as Arc<dyn Transport>
    })
    .await;
    println!("Unix sockets keep the promises of a transport");

    let door = scratch.path().join("one.socket").display().to_string();
    let one = start(&root, scratch.path(), "one", None).await?;
    let two = start(&root, scratch.path(), "two", Some(&door)).await?;
    let three = start(&root, scratch.path(), "three", Some(&door)).await?;

    one.store().put("greeting", "hello over a socket").await?;
    let found = three.store().get("greeting").await?.ok_or("the value must be there")?;
    println!("put through one, read through three: {:?}", found.value);
    assert_eq!(found.value, "hello over a socket");
    for member in three.members()? {
        println!("{} listens on {}", member.member.name, member.member.peer_address);
    }

    for replica in [one, two, three] {
        replica.shutdown().await?;
    }
    Ok(())
}

/// Starts a replica on a transport of its own: the first one makes the cluster, the others join it.
async fn start(
    root: &Path,
    sockets: &Path,
    name: &str,
    door: Option<&str>,
) -> Result<Cluster, Error> {
    let transport = UnixTransport::bind(sockets.join(format!("{name}.socket")))?;
    let builder =
        Cluster::builder().name(name).data_dir(root.join(name)).transport(Arc::new(transport));
    let builder = match door {
        None => builder.init(),
        Some(door) => builder.join([door]),
    };
    let replica = builder.start().await?;
    replica.wait_ready(DEADLINE).await?;
    Ok(replica)
}
