//! openraft's network on top of a transport: pipelined appends, votes, snapshots.
//!
//! Replication to a follower has a channel of its own on which appends are sent without waiting
//! for their answers, which come back in order. Heartbeats and votes go over the control lane, so
//! that they never wait behind a batch.

use super::message::{self, Reply, Request};
use super::peers::{Peers, decode_reply};
use super::snapshot::{self, SnapshotCounters};
use super::{TypeConfig, Vote};
use crate::bug::{self, Bug};
use crate::error::TransportError;
use crate::runtime;
use crate::transport::{Channel, Lane};
use crate::types::{Member, NodeId};
use futures_util::{FutureExt, SinkExt, Stream, StreamExt, stream};
use openraft::alias::SnapshotOf;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of appends that may be on their way to one follower.
const PIPELINE_BYTES_MAX: usize = 8 << 20;
/// Appends that may be on their way; the receiver queues as many.
const PIPELINE_APPENDS_MAX: usize = 64;
/// How long the oldest append may go unanswered: a slow disk's sync, not a heartbeat.
const APPEND_DEADLINE: Duration = Duration::from_secs(5);
/// How long a vote may take; an election is over by then.
const VOTE_DEADLINE: Duration = Duration::from_millis(500);

type Result<T> = std::result::Result<T, RPCError<TypeConfig>>;
type Appends<'a> = BoxStream<'a, Result<StreamAppendResult<TypeConfig>>>;

/// Makes the networks of one replica.
pub(crate) struct Networks {
    pub(crate) peers: Arc<Peers>,
    pub(crate) snapshots: Arc<SnapshotCounters>,
}

impl RaftNetworkFactory<TypeConfig> for Networks {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &Member) -> Network {
        Network::new(self, target, node, Lane::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Network {
        Network::new(self, target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Network {
        Network::new(self, target, node, Lane::Snapshot)
    }
}

/// The way to one peer on one lane.
pub(crate) struct Network {
    peers: Arc<Peers>,
    snapshots: Arc<SnapshotCounters>,
    id: NodeId,
    /// Where the peer was when openraft opened its stream.
    opened_at: String,
    lane: Lane,
    /// Kept between streams of appends; gone after any trouble. Locked only because openraft wants
    /// networks to be shareable.
    channel: Mutex<Option<Channel>>,
}

impl Network {
    fn new(networks: &Networks, target: u64, node: &Member, lane: Lane) -> Self {
        let (id, opened_at) = (NodeId(target), node.peer_address.clone());
        let (peers, snapshots) = (networks.peers.clone(), networks.snapshots.clone());
        Self { peers, snapshots, id, opened_at, lane, channel: Mutex::default() }
    }

    /// Where the peer is now: openraft keeps the stream of a member that moved, and the address it
    /// was opened with.
    fn address(&self) -> String {
        self.peers.address(self.id).unwrap_or_else(|| self.opened_at.clone())
    }

    fn channel(&mut self) -> &mut Option<Channel> {
        self.channel.get_mut().expect("nobody holds the lock")
    }

    async fn ask(&self, request: &Request, deadline: Duration) -> Result<Reply> {
        self.peers.ask(self.id, &self.address(), request, deadline).await.map_err(rpc_error)
    }

    async fn ask_for_vote(
        &self,
        vote: Vote,
        request: &Request,
    ) -> Result<VoteResponse<TypeConfig>> {
        let answer = self.ask(request, VOTE_DEADLINE).await;
        if answer.is_err() && bug::on(Bug::QuorumHalf) {
            return Ok(VoteResponse::new(vote, None, true));
        }
        match answer? {
            Reply::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn heartbeat(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        deadline: Duration,
    ) -> Result<StreamAppendResult<TypeConfig>> {
        let client = self.peers.client(self.id, &self.address());
        let frame = message::encode_heartbeat(&request);
        let reply = client.request(frame, deadline).await.map_err(rpc_error)?;
        match decode_reply(&reply).map_err(rpc_error)? {
            Reply::Appended(bytes) => message::decode_appended(&bytes).map_err(malformed),
            other => Err(unexpected(&other)),
        }
    }
}

fn rpc_error(error: TransportError) -> RPCError<TypeConfig> {
    match error {
        TransportError::Unreachable { .. } | TransportError::Refused { .. } => {
            Unreachable::from_string(error).into()
        }
        other => NetworkError::from_string(other).into(),
    }
}

fn malformed(reason: String) -> RPCError<TypeConfig> {
    rpc_error(TransportError::Malformed { reason })
}

fn unexpected(reply: &Reply) -> RPCError<TypeConfig> {
    NetworkError::from_string(format!("an unexpected reply: {reply:?}")).into()
}

/// A stream of appends under way on one channel.
struct Pipeline<'n, S> {
    network: &'n mut Network,
    channel: Option<Channel>,
    input: S,
    ended: bool,
    /// The sizes of the appends that are not answered yet.
    unanswered: VecDeque<usize>,
    bytes: usize,
}

impl<S> Pipeline<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    /// Sends what there is to send, and returns the next answer; `None` at the end.
    async fn next(&mut self) -> Option<Result<StreamAppendResult<TypeConfig>>> {
        let answer = match self.advance().await {
            Ok(answer) => answer?,
            Err(error) => Err(error),
        };
        if !matches!(answer, Ok(Ok(_))) {
            // The receiver closes after an error too: the next stream dials anew.
            self.channel = None;
            self.ended = true;
            self.unanswered.clear();
        }
        Some(answer)
    }

    async fn advance(&mut self) -> Result<Option<Result<StreamAppendResult<TypeConfig>>>> {
        loop {
            if self.ended && self.unanswered.is_empty() {
                *self.network.channel() = self.channel.take();
                return Ok(None);
            }
            let room = !self.ended
                && self.unanswered.len() < PIPELINE_APPENDS_MAX
                && (self.unanswered.is_empty() || self.bytes < PIPELINE_BYTES_MAX);
            let Self { channel, input, unanswered, bytes, .. } = self;
            let answer = async {
                match channel.as_mut().filter(|_| !unanswered.is_empty()) {
                    Some(channel) => {
                        tokio::time::timeout(APPEND_DEADLINE, channel.stream.next()).await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                frame = answer => {
                    *bytes -= unanswered.pop_front().unwrap_or(0);
                    return Ok(Some(received(frame)));
                }
                request = input.next(), if room => match request {
                    Some(request) => self.send(&request).await?,
                    None => self.ended = true,
                },
            }
        }
    }

    /// Sends one append, on a channel that is dialled only now: openraft waits out its back-off in
    /// the stream of requests, so that whoever dials before it takes one dials without pause.
    async fn send(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> Result<()> {
        let channel = if let Some(channel) = &mut self.channel {
            channel
        } else {
            let address = self.network.address();
            let dialled = self.network.peers.dial(self.network.id, &address, self.network.lane);
            self.channel.insert(dialled.await.map_err(rpc_error)?)
        };
        let frame = message::encode_append(request);
        self.bytes += frame.len();
        self.unanswered.push_back(frame.len());
        channel.sink.send(frame).await.map_err(rpc_error)
    }
}

fn received(
    frame: std::result::Result<
        Option<std::result::Result<bytes::Bytes, TransportError>>,
        tokio::time::error::Elapsed,
    >,
) -> Result<StreamAppendResult<TypeConfig>> {
    let closed = || TransportError::Closed { message: "by the follower".into() };
    let frame = frame
        .map_err(|_| TransportError::Timeout { waited: APPEND_DEADLINE })
        .and_then(|frame| frame.ok_or_else(closed)?)
        .map_err(rpc_error)?;
    message::decode_appended(&frame).map_err(malformed)
}

impl NetStreamAppend<TypeConfig> for Network {
    fn stream_append<S>(
        &mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'_, Result<Appends<'_>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        async move {
            if self.lane == Lane::Control {
                let Some(request) = input.next().await else { return Ok(stream::empty().boxed()) };
                let answer = self.heartbeat(request, option.hard_ttl()).await?;
                return Ok(stream::once(async { Ok(answer) }).boxed());
            }
            let pipeline = Pipeline {
                channel: self.channel().take(),
                network: self,
                input,
                ended: false,
                unanswered: VecDeque::new(),
                bytes: 0,
            };
            let answers = stream::unfold(pipeline, |mut pipeline| async move {
                pipeline.next().await.map(|answer| (answer, pipeline))
            });
            Ok(answers.boxed())
        }
        .boxed()
    }
}

impl NetVote<TypeConfig> for Network {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>> {
        self.ask_for_vote(rpc.vote, &Request::Vote(rpc)).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>> {
        self.ask_for_vote(rpc.vote, &Request::PreVote(rpc)).await
    }
}

impl NetTransferLeader<TypeConfig> for Network {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>> {
        match self.ask(&Request::TransferLeader(request), VOTE_DEADLINE).await? {
            Reply::Transferred(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}

impl NetSnapshot<TypeConfig> for Network {
    type SnapshotData = snapshot::SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, snapshot::SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> std::result::Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let channel = self
            .peers
            .dial(self.id, &self.address(), Lane::Snapshot)
            .await
            .map_err(|error| StreamingError::from(rpc_error(error)))?;
        let begun = runtime::now();
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = snapshot::send(channel, vote, snapshot) => {
                let (sent, bytes) =
                    sent.map_err(|error| StreamingError::from(rpc_error(error)))?;
                self.snapshots.sent(self.id, bytes, begun.elapsed());
                Ok(sent)
            }
        }
    }
}

impl NetBackoff<TypeConfig> for Network {
    fn backoff(&self) -> Option<Backoff> {
        // A peer that restarts is found again quickly; the dial itself is bounded.
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(100))))
    }
}
