//! What nodes say of themselves, asked over their own HTTP API.
//!
//! Hides *how to speak to a node*. Every request has a deadline and every answer a size limit; a
//! node that does not answer is an observation, not an error.

use crate::manifest::{ClusterId, NodeName};
use crate::secret::Token;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use std::time::Duration;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long a node may take to say how it is.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Speaks to nodes on this machine.
#[derive(Debug, Clone)]
pub struct NodeClient {
    http: Client<HttpConnector, Full<Bytes>>,
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
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// It answers as itself.
    Answers {
        /// What it says.
        status: Box<Status>,
        /// Whether it can serve.
        ready: bool,
    },
    /// It answers, and cannot say who it is yet.
    Joining,
    /// Something else answers there.
    Foreign(String),
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
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{port}{path}"))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(self.bearer.clone().map(|it| (header::AUTHORIZATION, it)));
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|error| {
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

    /// Asks the node at `port` how it is.
    pub async fn observe(&self, port: u16, name: &NodeName, cluster: &ClusterId) -> Observation {
        let get = |path| self.send(Method::GET, port, path, Bytes::new(), PROBE_TIMEOUT);
        let (status, ready) = futures_util::future::join(get("/v1/status"), get("/readyz")).await;
        let Ok(answer) = status else { return Observation::Silent };
        if answer.status == StatusCode::UNAUTHORIZED {
            let what = "a server that wants another token than this launcher has; restart it here";
            return Observation::Foreign(what.to_owned());
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
        Observation::Answers { status: Box::new(status), ready }
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
