//! What arrives from peers: who may talk, and which part of this replica answers.
//!
//! Hides the welcome. Who does not prove the cluster's secret is not heard, and few such wait at a time;
//! a peer of another cluster is refused in words before any other frame; a newcomer without an
//! identity may only ask to join. Each lane has one way to be served; every channel has a task of its
//! own, and a channel's trouble ends that channel alone.

use super::engine::Engine;
use super::message::{self, Control, Pong, Reply, Request};
use super::room::Passage;
use super::{TypeConfig, snapshot};
use crate::codec;
use crate::error::{RefusalCode, TransportError};
use crate::runtime;
use crate::transport::lobby::Lobby;
use crate::transport::rpc::{self, Handler, Hello, Refusal};
use crate::transport::{Channel, Lane};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use openraft::rt::WatchReceiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long a peer may take to say who it is.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Channels whose dialers have not said who they are. A replica has at most a few dozen peers.
const STRANGERS_MAX: usize = 128;
/// How often it is said that strangers are turned away.
const STRANGERS_SAID_EVERY: Duration = Duration::from_secs(10);
/// Requests of one peer under way at once.
const REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// How long a read index may take on the leader before the peer asks again.
const READ_INDEX_DEADLINE: Duration = Duration::from_secs(2);

/// Accepts channels for ever.
pub(crate) async fn accept(engine: Arc<Engine>) {
    let mut lobby = Lobby::new(STRANGERS_MAX);
    let said = Arc::new(Mutex::new(None));
    while let Ok(channel) = engine.transport.accept().await {
        lobby.admit(introduce(engine.clone(), channel, said.clone()));
    }
}

/// Lets a member or a newcomer in; it then has a task of its own, which ends with the engine: a
/// replica that has stopped answers nobody.
async fn introduce(engine: Arc<Engine>, channel: Channel, said: Arc<Mutex<Option<Instant>>>) {
    match welcome(&engine, channel).await {
        Ok((peer, channel)) => {
            let served = engine.clone();
            engine.keep(async move {
                if let Err(error) = serve(&served, peer, channel).await {
                    tracing::debug!("a channel from a peer ended: {error}");
                }
            });
        }
        Err(TransportError::Refused { code: RefusalCode::SecretsDiffer, .. }) => {
            let mut said = said.lock().expect("nothing panics while it holds this lock");
            if said.is_none_or(|said| said.elapsed() >= STRANGERS_SAID_EVERY) {
                *said = Some(runtime::now());
                tracing::warn!(
                    "someone without this cluster's secret was turned away; if it is a replica of \
                     yours, give it the same --secret-file"
                );
            }
        }
        Err(error) => tracing::debug!("nobody was let in: {error}"),
    }
}

async fn welcome(
    engine: &Arc<Engine>,
    channel: Channel,
) -> Result<(Hello, Channel), TransportError> {
    let myself = engine.peers.myself();
    rpc::welcome(channel, &myself.secret, HELLO_DEADLINE, |hello| match hello.cluster_id {
        Some(id) if id != myself.cluster_id => {
            let reason = format!("it belongs to cluster {id}, this is {}", myself.cluster_id);
            Err(Refusal { code: RefusalCode::WrongCluster, reason })
        }
        None if hello.lane != Lane::Control => {
            let reason = "a newcomer may only ask to join".into();
            Err(Refusal { code: RefusalCode::NotMember, reason })
        }
        _ => Ok(myself.hello(hello.lane)),
    })
    .await
}

async fn serve(engine: &Arc<Engine>, peer: Hello, channel: Channel) -> Result<(), TransportError> {
    match peer.lane {
        Lane::Control => {
            let handler = Arc::new(Doors { engine: engine.clone() });
            rpc::serve(peer, channel, handler, REQUESTS_IN_FLIGHT_MAX).await
        }
        Lane::Replication => follow(engine, channel).await,
        Lane::Snapshot => snapshot::receive(engine, channel).await,
    }
}

/// Feeds a peer's stream of appends to the Raft core, and sends the answers back in order.
async fn follow(engine: &Arc<Engine>, channel: Channel) -> Result<(), TransportError> {
    let Channel { mut sink, stream } = channel;
    let room = engine.route.room.clone();
    let start = (stream, Passage::default());
    let appends = stream::unfold(start, move |(mut stream, mut passage)| {
        let room = room.clone();
        async move {
            let append: AppendEntriesRequest<TypeConfig> = match stream.next().await? {
                Ok(frame) => match message::decode_append(frame) {
                    Ok(append) => append,
                    Err(reason) => {
                        tracing::warn!("a malformed append from a peer: {reason}");
                        return None;
                    }
                },
                Err(_) => return None,
            };
            room.passes(&append, &mut passage).await.then_some((append, (stream, passage)))
        }
    });
    let mut answers = std::pin::pin!(engine.raft.stream_append(appends));
    while let Some(answer) = answers.next().await {
        let Ok(result) = answer else { break };
        let failed = result.is_err();
        sink.send(message::encode_appended(&result)).await?;
        if failed {
            // The leader starts anew, from where the logs agree, on a new channel.
            break;
        }
    }
    Ok(())
}

/// Answers control requests.
struct Doors {
    engine: Arc<Engine>,
}

#[async_trait]
impl Handler for Doors {
    async fn handle(&self, peer: &Hello, body: Bytes) -> Bytes {
        match Control::decode(body) {
            Ok(Control::Forward(commands, names)) if peer.node_id.is_some() => {
                self.engine.route.serve_forwarded(commands, &names, &peer.name).await
            }
            Ok(Control::Heartbeat(append)) if peer.node_id.is_some() => {
                codec::encode(&self.heartbeat(append).await)
            }
            Ok(Control::Request(request)) => codec::encode(&self.answer(peer, *request).await),
            Ok(_) => codec::encode(&Reply::Unsupported("a newcomer may only ask to join".into())),
            Err(reason) => codec::encode(&Reply::Unsupported(reason)),
        }
    }
}

impl Doors {
    async fn heartbeat(&self, append: AppendEntriesRequest<TypeConfig>) -> Reply {
        self.engine.route.room.hear(&append);
        let mut answers =
            std::pin::pin!(self.engine.raft.stream_append(stream::once(async { append })));
        match answers.next().await {
            Some(Ok(result)) => Reply::Appended(message::encode_appended(&result)),
            _ => Reply::Unavailable("this replica has halted".into()),
        }
    }

    async fn answer(&self, peer: &Hello, request: Request) -> Reply {
        let engine = &self.engine;
        let halted = |fatal| Reply::Unavailable(format!("this replica has halted: {fatal}"));
        if peer.node_id.is_none() && !matches!(request, Request::Join(_)) {
            return Reply::Unsupported("a newcomer may only ask to join".into());
        }
        match request {
            Request::Vote(vote) => match engine.raft.vote(vote).await {
                Ok(response) => Reply::Vote(response),
                Err(fatal) => halted(fatal.to_string()),
            },
            Request::PreVote(vote) => match engine.raft.pre_vote(vote).await {
                Ok(response) => Reply::Vote(response),
                Err(fatal) => halted(fatal.to_string()),
            },
            Request::TransferLeader(transfer) => {
                match engine.raft.handle_transfer_leader(transfer).await {
                    Ok(response) => Reply::Transferred(response),
                    Err(fatal) => halted(fatal.to_string()),
                }
            }
            Request::ReadIndex => self.read_index().await,
            Request::Ping => Reply::Pong(Pong {
                id: engine.peers.myself().id,
                version: env!("CARGO_PKG_VERSION").into(),
                applied_index: engine.reader.applied().borrow().0,
                promotion: engine.promotion(),
                disk_low: engine.route.room.now().is_low(),
                sync_p99_micros: engine.log_metrics().sync_p99_micros,
            }),
            Request::NotedHash(index) => Reply::Noted(engine.noted_at(index).await),
            Request::Join(join) => engine.answer_knock(join).await,
            Request::Gossip { from, message } => {
                engine.doorstep.pass_on(from, message);
                Reply::Done
            }
            Request::Announce(_)
            | Request::Promote(_)
            | Request::Remove(_)
            | Request::Transfer(_) => engine.change(request).await,
        }
    }

    async fn read_index(&self) -> Reply {
        let engine = &self.engine;
        let leads = engine.raft.metrics().borrow_watched().current_leader
            == Some(engine.peers.myself().id.0);
        if !leads {
            return engine.not_leader();
        }
        match engine.reads.index(READ_INDEX_DEADLINE).await {
            Ok(index) => Reply::ReadIndex(index.0),
            Err(error) => Reply::Unavailable(error.to_string()),
        }
    }
}

impl Engine {
    /// The answer of a replica that does not lead.
    pub(crate) fn not_leader(&self) -> Reply {
        // A leader without an address has no network yet: nobody is sent there.
        let leader = self.leader().filter(|(_, member)| !member.peer_address.is_empty());
        Reply::NotLeader(leader.map(|(id, member)| {
            let address = self.peers.address(id).unwrap_or(member.peer_address);
            (id, address)
        }))
    }
}
