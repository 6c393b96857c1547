//! The greeting: who is there, and may the two talk.
//!
//! The dialer speaks first, the other side accepts or refuses, each in one frame of at most
//! [`HELLO_BYTES_MAX`] bytes. The protocol's number stands in front of the encoding, so that
//! versions whose greetings differ in everything else still understand that they differ. Two replicas
//! talk only when their protocols are equal: the older one says so and stays out.

use crate::codec;
use crate::error::{RefusalCode, TransportError};
use crate::transport::{Channel, Lane, Transport};
use crate::types::{ClusterId, NodeId};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// The version of everything that replicas say to each other.
pub const PROTOCOL: u16 = 2;

/// The longest greeting. Names and reasons are short; nothing else in it has a length.
const HELLO_BYTES_MAX: usize = 4 << 10;

/// Who speaks, for which cluster, on which lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol it speaks: [`PROTOCOL`].
    pub protocol: u16,
    /// The version of its software, for people.
    pub version: String,
    /// Its cluster; `None` before it has joined one.
    pub cluster_id: Option<ClusterId>,
    /// Its id; `None` before it has joined.
    pub node_id: Option<NodeId>,
    /// Its name.
    pub name: String,
    /// What the channel is for.
    pub lane: Lane,
}

impl Hello {
    /// Makes the greeting of this version's software.
    #[must_use]
    pub fn new(
        cluster_id: Option<ClusterId>,
        node_id: Option<NodeId>,
        name: impl Into<String>,
        lane: Lane,
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { protocol: PROTOCOL, version, cluster_id, node_id, name: name.into(), lane }
    }
}

/// Why a dialer is turned away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For the program.
    pub code: RefusalCode,
    /// For people: what does not fit, and what to do.
    pub reason: String,
}

impl Refusal {
    /// Makes a refusal.
    pub fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl From<Refusal> for TransportError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { code: refusal.code, reason: refusal.reason }
    }
}

/// The answer to a greeting. The numbers go over the wire: append only.
#[derive(Serialize, Deserialize)]
enum Answer {
    Accepted(Hello),
    Refused(Refusal),
}

/// Opens a channel to `address`, introduces itself and returns the peer's answer with the channel.
///
/// `expected` is the replica that must answer there; `None` talks to any. An address alone names nobody:
/// a newcomer may have taken it, and must not get what was meant for the one before.
///
/// Cancel safe: dropped, it leaves nothing behind.
///
/// # Errors
/// [`TransportError::Unreachable`], also when `deadline` passes first or something answers that is no
/// replica; [`TransportError::Refused`]. Either way nothing but the greeting was sent.
pub async fn dial(
    transport: &dyn Transport,
    address: &str,
    hello: &Hello,
    expected: Option<NodeId>,
    deadline: Duration,
) -> Result<(Hello, Channel), TransportError> {
    let unreachable =
        |message: String| TransportError::Unreachable { address: address.to_owned(), message };
    let introduced = async {
        let mut channel = transport.connect(address, hello.lane).await?;
        channel.sink.send(greeting(hello.protocol, hello)).await?;
        let (protocol, answer) = first_frame(&mut channel).await?;
        let peer = judge(hello.protocol, protocol, &answer)?;
        match expected {
            Some(expected) if peer.node_id != Some(expected) => {
                let found =
                    peer.node_id.map_or("a replica without an id".into(), |id| format!("id {id}"));
                Err(unreachable(format!("{found} answers there, not id {expected}")))
            }
            _ => Ok((peer, channel)),
        }
    };
    match tokio::time::timeout(deadline, introduced).await {
        Ok(Err(refused @ TransportError::Refused { .. })) => Err(refused),
        Ok(Err(TransportError::Unreachable { message, .. })) => Err(unreachable(message)),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Ok(Ok(introduced)) => Ok(introduced),
        Err(_) => Err(unreachable(format!("no answer within {} ms", deadline.as_millis()))),
    }
}

fn judge(ours: u16, theirs: u16, answer: &[u8]) -> Result<Hello, TransportError> {
    if theirs > ours {
        let reason =
            format!("the peer speaks protocol {theirs}, this replica {ours}: upgrade this replica");
        return Err(Refusal::new(RefusalCode::OlderProtocol, reason).into());
    }
    match decode(answer)? {
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::Accepted(peer) if theirs == ours => Ok(peer),
        Answer::Accepted(_) => Err(newer(ours, theirs).into()),
    }
}

fn newer(newer: u16, older: u16) -> Refusal {
    let reason = format!(
        "one speaks protocol {newer}, the other {older}: upgrade the one that speaks {older}"
    );
    Refusal::new(RefusalCode::NewerProtocol, reason)
}

/// Hears who has dialled, and lets `decide` accept it, with a greeting of its own, or refuse it.
///
/// # Errors
/// [`TransportError::Refused`] when the dialer was refused, and told so; [`TransportError::Malformed`],
/// [`TransportError::Closed`] or, after `deadline`, [`TransportError::Timeout`] when it never
/// introduced itself.
pub async fn welcome(
    mut channel: Channel,
    deadline: Duration,
    decide: impl FnOnce(&Hello) -> Result<Hello, Refusal>,
) -> Result<(Hello, Channel), TransportError> {
    let welcomed = async {
        let (protocol, body) = first_frame(&mut channel).await?;
        let decided = match protocol {
            PROTOCOL => {
                let peer: Hello = decode(&body)?;
                decide(&peer).map(|ours| (peer, ours))
            }
            _ if protocol > PROTOCOL => Err(newer(protocol, PROTOCOL)),
            _ => Err(Refusal::new(
                RefusalCode::OlderProtocol,
                format!("protocol {protocol} is no longer spoken here: upgrade the dialer"),
            )),
        };
        let (answer, result) = match decided {
            Ok((peer, ours)) => (Answer::Accepted(ours), Ok(peer)),
            Err(refusal) => (Answer::Refused(refusal.clone()), Err(refusal)),
        };
        channel.sink.send(greeting(PROTOCOL, &answer)).await?;
        Ok((result?, channel))
    };
    let late = |_| TransportError::Timeout { waited: deadline };
    tokio::time::timeout(deadline, welcomed).await.map_err(late)?
}

fn greeting<T: Serialize>(protocol: u16, body: &T) -> Bytes {
    let mut frame = protocol.to_le_bytes().to_vec();
    frame.extend_from_slice(&codec::encode(body));
    Bytes::from(frame)
}

async fn first_frame(channel: &mut Channel) -> Result<(u16, Bytes), TransportError> {
    let ended = || super::closed("the peer closed it before it said who it is");
    let mut frame = channel.stream.next().await.ok_or_else(ended)??;
    if frame.len() > HELLO_BYTES_MAX {
        return Err(TransportError::FrameTooLarge { limit: HELLO_BYTES_MAX, got: frame.len() });
    }
    let Some(protocol) = frame.first_chunk::<2>().copied() else {
        return Err(TransportError::Malformed { reason: "a greeting without a protocol".into() });
    };
    Ok((u16::from_le_bytes(protocol), frame.split_off(2)))
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, TransportError> {
    codec::decode(body).map_err(|error| TransportError::Malformed { reason: error.to_string() })
}
