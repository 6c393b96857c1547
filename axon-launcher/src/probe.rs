//! What nodes say of themselves, asked over their own HTTP API.
//!
//! Hides *how to speak to a node*. Every request has a deadline and every answer a size limit; a
//! node that does not answer is an observation, not an error.

use crate::manifest::{ClusterId, NodeName};
use crate::secret::Token;
use axon_http::Arriving;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::client::legacy::{Client, ResponseFuture, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long a node may take to say how it is.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a node may take to begin its answer, once it has the whole request.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked again whether a request has arrived that is overdue.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why a node did not answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// It could not be reached: the request was not sent.
    Unreachable(String),
    /// The connection broke: it may have the request.
    Broken(String),
    /// It has the request, and did not answer in time.
    Late,
}

/// Speaks to nodes on this machine.
#[derive(Debug, Clone)]
pub struct NodeClient {
    http: Client<HttpConnector, Body>,
    /// The token, as nodes want it; not shown by `Debug`.
    bearer: Option<HeaderValue>,
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The problem's sentence, or the status when there is none.
    pub fn sentence(&self) -> String {
        #[derive(Deserialize)]
        struct Problem {
            error: String,
        }
        serde_json::from_slice::<Problem>(&self.body)
            .map_or_else(|_| format!("it answered {}", self.status), |problem| problem.error)
    }

    /// Reports whether the problem says for sure that nothing was done.
    pub fn is_not_applied(&self) -> bool {
        #[derive(Deserialize)]
        struct Problem {
            outcome: String,
        }
        serde_json::from_slice::<Problem>(&self.body)
            .is_ok_and(|problem| problem.outcome == "not_applied")
    }
}

/// What `GET /v1/status` says, as far as the launcher needs it.
///
/// What an older node does not say is `None`.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
pub struct Status {
    /// The cluster it belongs to.
    pub cluster_id: String,
    /// Its id.
    pub node_id: u64,
    /// Its name.
    pub name: String,
    /// `leader`, `follower`, `candidate` or `learner`.
    pub raft_state: String,
    /// `voter`, `learner` or `none`.
    pub membership: String,
    /// Its Raft term.
    pub term: u64,
    /// The last entry it has applied.
    pub applied_index: u64,
    /// The ids of those who vote.
    #[serde(default)]
    pub voters: Vec<u64>,
    /// The ids of those who receive the log without a vote.
    #[serde(default)]
    pub learners: Vec<u64>,
    /// The version it runs.
    #[serde(default)]
    pub version: String,
    /// Whom it takes for the leader.
    #[serde(default)]
    pub leader: Option<LeaderSeen>,
    /// Whom it last voted for.
    #[serde(default)]
    pub vote: Option<u64>,
    /// The last entry of its log.
    #[serde(default)]
    pub last_log_index: Option<u64>,
    /// The last entry that it knows to be committed.
    #[serde(default)]
    pub committed_index: Option<u64>,
    /// The last entry in its checkpoint.
    #[serde(default)]
    pub checkpoint_index: Option<u64>,
    /// Entries up to here are gone from its log.
    #[serde(default)]
    pub purged_index: Option<u64>,
    /// How long ago a quorum answered it, if it leads.
    #[serde(default)]
    pub quorum_ack_age_ms: Option<u64>,
    /// The 99th percentile of its log's latest syncs.
    #[serde(default)]
    pub sync_p99_ms: Option<f64>,
    /// Whether a change of membership is half done.
    #[serde(default)]
    pub joint: Option<bool>,
    /// How many voters it hears, and how many a decision needs.
    #[serde(default)]
    pub quorum: Option<Quorum>,
    /// How it sees the other members.
    #[serde(default)]
    pub peers: Option<Vec<Peer>>,
    /// The disk that its directory is on.
    #[serde(default)]
    pub disk: Option<Disk>,
}

impl Status {
    /// What it says of another member.
    pub fn peer(&self, id: u64) -> Option<&Peer> {
        self.peers.iter().flatten().find(|peer| peer.id == id)
    }
}

/// Whom a node takes for the leader.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct LeaderSeen {
    /// Its id.
    pub id: u64,
}

/// A quorum, as a node sees it.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub struct Quorum {
    /// Voters that it hears, itself among them.
    pub alive: usize,
    /// How many a decision needs.
    pub needed: usize,
    /// Whether it can decide nothing.
    pub lost: bool,
}

/// A member, as another one sees it.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: u64,
    /// How far its log agrees with the leader's; only a leader knows.
    #[serde(default)]
    pub matched: Option<u64>,
    /// Entries it is behind; only a leader knows.
    #[serde(default)]
    pub lag: Option<u64>,
    /// Whether it was heard of lately.
    #[serde(default)]
    pub alive: Option<bool>,
}

/// The disk that a node's directory is on.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub struct Disk {
    /// Its free bytes.
    #[serde(default)]
    pub free: Option<u64>,
    /// Whether that is too little for writes.
    #[serde(default)]
    pub low: Option<bool>,
}

/// A member, as `GET /v1/members` says, as far as the launcher needs it.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// How a node looked when it was last asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// It answers as itself.
    Answers {
        /// What it says.
        status: Box<Status>,
        /// Whether it can serve.
        ready: bool,
        /// How long it took to answer.
        rtt: Duration,
    },
    /// It answers, and cannot say who it is yet.
    Joining,
    /// Something else answers there.
    Foreign(String),
    /// A server answers there that wants another token, so it cannot be known who it is.
    Locked,
    /// Nothing answers.
    Silent,
}

impl Observation {
    /// What the node says, if it answers as itself.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Answers { status, .. } => Some(status),
            _ => None,
        }
    }

    /// How long the node took to answer, if it answers as itself.
    pub fn rtt(&self) -> Option<Duration> {
        match self {
            Self::Answers { rtt, .. } => Some(*rtt),
            _ => None,
        }
    }

    /// Reports whether the node can serve.
    pub fn ready(&self) -> bool {
        matches!(self, Self::Answers { ready: true, .. })
    }
}

impl Default for NodeClient {
    fn default() -> Self {
        Self::new()
    }
}

impl NodeClient {
    /// Makes a client; connections are kept and shared by its clones.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PROBE_TIMEOUT));
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(2)
            .build(connector);
        Self { http, bearer: None }
    }

    /// Shows `token`, if there is one, with every request.
    #[must_use]
    pub fn with_token(self, token: Option<&Token>) -> Self {
        Self { bearer: token.map(Token::bearer), ..self }
    }

    /// Every request to a node passes here: what all of them carry is put on here.
    fn begin(&self, mut request: Request<Body>) -> ResponseFuture {
        request.headers_mut().extend(self.bearer.clone().map(|it| (header::AUTHORIZATION, it)));
        self.http.request(request)
    }

    /// Sends one request to a port of this machine and reads the whole answer.
    ///
    /// # Errors
    /// A sentence, when there is no answer, not in time, or too large a one.
    pub async fn send(
        &self,
        method: Method,
        port: u16,
        path: &str,
        body: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{port}{path}"))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.into()))
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = self.begin(request).await.map_err(|error| {
                std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string)
            })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(Answer { status, body: body.map_err(|error| error.to_string())?.to_bytes() })
        };
        tokio::time::timeout(deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {deadline:?}")))
    }

    /// Hands a request on to a port of this machine, its body as it comes, and returns the answer once
    /// its head is there; its body comes as it is read. Dropped, it hangs up.
    ///
    /// # Errors
    /// When there is no answer; the request is never sent a second time.
    pub async fn pass(
        &self,
        port: u16,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("http://127.0.0.1:{port}{path}").parse::<Uri>();
        head.uri = uri.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
        let begun = Instant::now();
        let busy = Arc::new(AtomicU64::new(0));
        let body = body.map_frame({
            let busy = Arc::clone(&busy);
            move |frame| {
                busy.store(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
                frame
            }
        });
        let (body, arrival) = Arriving::new(body);
        // A request is begun again by the client only if none of it was written.
        let mut answer = std::pin::pin!(self.begin(Request::from_parts(head, Body::new(body))));
        loop {
            // The time that the request takes to arrive is its sender's, not the node's.
            let until = Duration::from_millis(busy.load(Ordering::Relaxed)) + HEAD_WITHIN;
            let left = until.saturating_sub(begun.elapsed());
            // Who has not sent all of it is cut off elsewhere: the node is not late.
            if left.is_zero() && arrival.is_over() {
                return Err(NoAnswer::Late);
            }
            let left = left.max(LOOK_EVERY);
            if let Ok(answer) = tokio::time::timeout(left, &mut answer).await {
                return answer.map_err(|error| {
                    let reason = std::error::Error::source(&error)
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    if error.is_connect() {
                        NoAnswer::Unreachable(reason)
                    } else {
                        NoAnswer::Broken(reason)
                    }
                });
            }
        }
    }

    /// Asks the node at `port` how it is.
    pub async fn observe(&self, port: u16, name: &NodeName, cluster: &ClusterId) -> Observation {
        let get = |path| self.send(Method::GET, port, path, Bytes::new(), PROBE_TIMEOUT);
        let asked = Instant::now();
        let status = async { (get("/v1/status").await, asked.elapsed()) };
        let ((status, rtt), ready) = futures_util::future::join(status, get("/readyz")).await;
        let Ok(answer) = status else { return Observation::Silent };
        if answer.status == StatusCode::UNAUTHORIZED {
            return Observation::Locked;
        }
        if answer.status != StatusCode::OK {
            // A server that is not in its cluster yet knows no status; `/livez` tells it from
            // others.
            return match get("/livez").await {
                Ok(live) if live.status.is_success() => Observation::Joining,
                Ok(_) => Observation::Foreign(format!("another server (it {})", answer.sentence())),
                Err(_) => Observation::Silent,
            };
        }
        let Ok(status) = serde_json::from_slice::<Status>(&answer.body) else {
            return Observation::Foreign("something that is no axon-server".to_owned());
        };
        if status.name != name.as_str() {
            return Observation::Foreign(format!("another node, {:?}", status.name));
        }
        if !status.cluster_id.eq_ignore_ascii_case(cluster.as_str()) {
            return Observation::Foreign(format!("a node of cluster {}", status.cluster_id));
        }
        let ready = ready.is_ok_and(|answer| answer.status.is_success());
        Observation::Answers { status: Box::new(status), ready, rtt }
    }

    /// Asks the node at `port` who the members are.
    pub async fn members(&self, port: u16) -> Result<Vec<Member>, String> {
        #[derive(Deserialize)]
        struct Members {
            members: Vec<Member>,
        }
        let path = "/v1/members";
        let answer = self.send(Method::GET, port, path, Bytes::new(), PROBE_TIMEOUT * 2).await?;
        if !answer.status.is_success() {
            return Err(answer.sentence());
        }
        serde_json::from_slice::<Members>(&answer.body)
            .map(|found| found.members)
            .map_err(|error| format!("its list of members is garbled ({error})"))
    }
}

#[cfg(test)]
mod tests;
