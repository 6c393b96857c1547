//! The greeting: who is there, do they share the cluster's secret, and may the two talk.
//!
//! Two frames in each direction, each of at most [`GREETING_BYTES_MAX`] bytes and begun by the protocol's
//! number, which no version will ever move:
//!
//! 1. the dialer's opening: 32 random bytes;
//! 2. the acceptor's challenge: 32 random bytes of its own;
//! 3. the dialer's [`Hello`], behind a proof of it;
//! 4. the acceptor's answer, behind a proof of it; or no more than the number, to a dialer without the
//!    secret.
//!
//! A proof is a keyed hash over who proves (the roles have labels of their own, so that nobody's proof
//! can be sent back to him), the protocol, the random bytes of both (so that none can be used
//! again) and the words themselves. Invariants:
//!
//! * what is not proven is not decoded, by either side; only that the secrets differ is believed of
//!   anyone, since all that follows is that the two do not talk;
//! * a stranger learns the number of the protocol, and nothing else;
//! * two replicas talk only when their protocols are equal: each sees the other's number first, and the
//!   older one is told to be upgraded.
//!
//! It does not encrypt. The dialer speaks first: whoever sits at a member's address reads the name and the
//! ids in a [`Hello`], and whoever sits on the path reads everything, and can go on in the place of one who
//! has introduced himself: the frames that follow are not proven any more. Keep replicas on a network
//! where nobody sits on the path.

use crate::codec;
use crate::error::{RefusalCode, TransportError};
use crate::runtime;
use crate::secret::{PROOF_BYTES, Secret};
use crate::transport::{Channel, GREETING_BYTES_MAX, Lane, Transport};
use crate::types::{ClusterId, NodeId};
use bytes::{BufMut, Bytes};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// The version of everything that replicas say to each other.
pub const PROTOCOL: u16 = 2;

/// Random bytes from each side.
const NONCE_BYTES: usize = 32;

type Nonce = [u8; NONCE_BYTES];

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

/// What the proofs of one greeting are made over, apart from the words.
struct Proofs<'a> {
    secret: &'a Secret,
    protocol: u16,
    dialer: Nonce,
    acceptor: Nonce,
}

const DIALER: &[u8] = b"axon dialer";
const ACCEPTOR: &[u8] = b"axon acceptor";

impl Proofs<'_> {
    /// The frame of `body`, behind its proof.
    fn frame<T: Serialize>(&self, role: &[u8], body: &T) -> Bytes {
        let body = codec::encode(body);
        let protocol = self.protocol.to_le_bytes();
        let proof = self.secret.prove(role, &[&protocol, &self.dialer, &self.acceptor, &body]);
        greeting(self.protocol, &[&proof, &body])
    }

    /// The proven part of what was received behind the protocol's number; `None` when it is not proven.
    fn proven(&self, role: &[u8], mut received: Bytes) -> Option<Bytes> {
        let protocol = self.protocol.to_le_bytes();
        let proof = (received.len() >= PROOF_BYTES).then(|| received.split_to(PROOF_BYTES))?;
        let parts: [&[u8]; 4] = [&protocol, &self.dialer, &self.acceptor, &received];
        self.secret.proves(&proof, role, &parts).then_some(received)
    }
}

/// Opens a channel to `address`, introduces itself and returns the peer's answer with the channel.
///
/// Both prove to each other that they have `secret`. `expected` is the replica that must answer there;
/// `None` talks to any. An address alone names nobody: a newcomer may have taken it, and must not
/// get what was meant for the one before.
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
    secret: &Secret,
    expected: Option<NodeId>,
    deadline: Duration,
) -> Result<(Hello, Channel), TransportError> {
    let unreachable =
        |message: String| TransportError::Unreachable { address: address.to_owned(), message };
    let introduced = async {
        let mut channel = transport.connect(address, hello.lane).await?;
        let peer = introduce(&mut channel, hello, secret).await?;
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

/// The dialer's half of the greeting.
async fn introduce(
    channel: &mut Channel,
    hello: &Hello,
    secret: &Secret,
) -> Result<Hello, TransportError> {
    let (protocol, dialer) = (hello.protocol, runtime::random_bytes());
    channel.sink.send(greeting(protocol, &[&dialer])).await?;
    let (theirs, challenge) = next_frame(channel).await?;
    if theirs > protocol {
        let reason = format!(
            "the peer speaks protocol {theirs}, this replica {protocol}: upgrade this replica"
        );
        return Err(Refusal::new(RefusalCode::OlderProtocol, reason).into());
    }
    if theirs < protocol {
        return Err(newer(protocol, theirs).into());
    }
    let proofs = Proofs { secret, protocol, dialer, acceptor: nonce(&challenge)? };
    channel.sink.send(proofs.frame(DIALER, hello)).await?;
    let (_, answer) = next_frame(channel).await?;
    match decode(&proofs.proven(ACCEPTOR, answer).ok_or_else(secrets_differ)?)? {
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::Accepted(peer) => Ok(peer),
    }
}

fn newer(newer: u16, older: u16) -> Refusal {
    let reason = format!(
        "one speaks protocol {newer}, the other {older}: upgrade the one that speaks {older}"
    );
    Refusal::new(RefusalCode::NewerProtocol, reason)
}

fn secrets_differ() -> TransportError {
    let reason = "the secrets differ: give every member the same one (--secret-file)";
    Refusal::new(RefusalCode::SecretsDiffer, reason).into()
}

/// Hears who has dialled, and lets `decide` accept it, with a greeting of its own, or refuse it.
///
/// Who does not prove to have `secret` is refused without being heard.
///
/// # Errors
/// [`TransportError::Refused`] when the dialer was refused, and told so; [`TransportError::Malformed`],
/// [`TransportError::Closed`] or, after `deadline`, [`TransportError::Timeout`] when it never
/// introduced itself.
pub async fn welcome(
    mut channel: Channel,
    secret: &Secret,
    deadline: Duration,
    decide: impl FnOnce(&Hello) -> Result<Hello, Refusal>,
) -> Result<(Hello, Channel), TransportError> {
    let welcomed = async {
        let peer = hear_out(&mut channel, secret, decide).await?;
        Ok((peer, channel))
    };
    let late = |_| TransportError::Timeout { waited: deadline };
    tokio::time::timeout(deadline, welcomed).await.map_err(late)?
}

/// The acceptor's half of the greeting.
async fn hear_out(
    channel: &mut Channel,
    secret: &Secret,
    decide: impl FnOnce(&Hello) -> Result<Hello, Refusal>,
) -> Result<Hello, TransportError> {
    let (theirs, opening) = next_frame(channel).await?;
    let acceptor = runtime::random_bytes();
    // Whatever it speaks: it sees by the number whether the two understand each other.
    channel.sink.send(greeting(PROTOCOL, &[&acceptor])).await?;
    if theirs > PROTOCOL {
        return Err(newer(theirs, PROTOCOL).into());
    }
    if theirs < PROTOCOL {
        let reason = format!("protocol {theirs} is no longer spoken here: upgrade the dialer");
        return Err(Refusal::new(RefusalCode::OlderProtocol, reason).into());
    }
    let proofs = Proofs { secret, protocol: PROTOCOL, dialer: nonce(&opening)?, acceptor };
    let (_, introduction) = next_frame(channel).await?;
    let Some(hello) = proofs.proven(DIALER, introduction) else {
        channel.sink.send(greeting(PROTOCOL, &[])).await?;
        return Err(secrets_differ());
    };
    let peer: Hello = decode(&hello)?;
    let (answer, result) = match decide(&peer) {
        Ok(ours) => (Answer::Accepted(ours), Ok(peer)),
        Err(refusal) => (Answer::Refused(refusal.clone()), Err(refusal)),
    };
    channel.sink.send(proofs.frame(ACCEPTOR, &answer)).await?;
    Ok(result?)
}

fn greeting(protocol: u16, parts: &[&[u8]]) -> Bytes {
    let mut frame = protocol.to_le_bytes().to_vec();
    for part in parts {
        frame.put_slice(part);
    }
    Bytes::from(frame)
}

/// The next frame of a greeting: the number of the protocol, and what follows it.
async fn next_frame(channel: &mut Channel) -> Result<(u16, Bytes), TransportError> {
    let ended = || super::closed("the peer closed it before it said who it is");
    let mut frame = channel.stream.next().await.ok_or_else(ended)??;
    if frame.len() > GREETING_BYTES_MAX {
        return Err(TransportError::FrameTooLarge { limit: GREETING_BYTES_MAX, got: frame.len() });
    }
    let Some(protocol) = frame.first_chunk::<2>().copied() else {
        return Err(TransportError::Malformed { reason: "a greeting without a protocol".into() });
    };
    Ok((u16::from_le_bytes(protocol), frame.split_off(2)))
}

fn nonce(bytes: &[u8]) -> Result<Nonce, TransportError> {
    bytes.try_into().map_err(|_| TransportError::Malformed {
        reason: format!("{} random bytes in a greeting, not {NONCE_BYTES}", bytes.len()),
    })
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, TransportError> {
    codec::decode(body).map_err(|error| TransportError::Malformed { reason: error.to_string() })
}
