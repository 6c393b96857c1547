//! Hands requests for the cluster on to one of its nodes.
//!
//! Hides which node that is, and what of a request is its business. It keeps nothing, retries nothing
//! and understands no answer.

use crate::manifest::NodeName;
use crate::node::{Node, View};
use crate::probe::NoAnswer;
use crate::supervisor::Supervisor;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

/// What a node needs to know of a request besides its address.
const PASSED_ON: [HeaderName; 10] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    // The node refuses bodies that are not what they seem.
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("x-request-id"),
];

/// What is between two neighbours only, and what a node must not give to a browser of ours.
const KEPT_BACK: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::SET_COOKIE,
    HeaderName::from_static("keep-alive"),
];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The node that was asked for is not there.
    #[error("there is no node {0:?}")]
    UnknownNode(String),
    /// The address makes no sense.
    #[error("{0}")]
    BadTarget(String),
    /// Nobody can be asked.
    #[error("{0}")]
    NotReady(String),
    /// The node could not be reached.
    #[error("{node} cannot be reached ({reason}); the request was not sent")]
    Unreachable {
        /// The node.
        node: String,
        /// Why not.
        reason: String,
    },
    /// The connection broke before there was an answer.
    #[error("the connection to {node} broke before it answered ({reason})")]
    Broken {
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// It did not answer in time.
    #[error("{node} has the request and did not answer in time")]
    Late {
        /// The node.
        node: String,
    },
}

/// Hands `request`, whose path begins with `/api`, on to a node.
///
/// # Errors
/// When there is no answer. An answer that is an error is an answer.
pub async fn pass(supervisor: &Supervisor, request: Request) -> Result<Response, Fault> {
    let (head, body) = request.into_parts();
    let (target, wanted) = target(&head.uri)?;
    let node = choose(supervisor, wanted.as_deref())?;
    let mut passed = Request::new(body);
    *passed.method_mut() = head.method;
    *passed.uri_mut() = target;
    *passed.headers_mut() = only(&head.headers);
    let name = || node.name().to_string();
    let asked = supervisor.0.client.pass(node.place.api_port, passed).await;
    let answer = asked.map_err(|fault| match fault {
        NoAnswer::Unreachable(reason) => Fault::Unreachable { node: name(), reason },
        NoAnswer::Broken(reason) => Fault::Broken { node: name(), reason },
        NoAnswer::Late => Fault::Late { node: name() },
    })?;
    let mut answer = answer.map(Body::new);
    // Names in `Connection` are between neighbours, too.
    let named: Vec<HeaderName> = answer
        .headers()
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|names| names.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in KEPT_BACK.into_iter().chain(named) {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}

/// The node's own address for it, and the node that is named in the query.
fn target(uri: &Uri) -> Result<(Uri, Option<String>), Fault> {
    let path = uri.path().strip_prefix("/api").unwrap_or(uri.path());
    let (mut rest, mut wanted) = (Vec::new(), None);
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            // A name of a node has nothing to decode.
            Some(("node", name)) if !name.is_empty() => wanted = Some(name.to_owned()),
            Some(("node", _)) => {}
            _ => rest.push(pair),
        }
    }
    let question = if rest.is_empty() { "" } else { "?" };
    let target = format!("{path}{question}{}", rest.join("&"));
    let target = target.parse().map_err(|error| Fault::BadTarget(format!("{target}: {error}")))?;
    Ok((target, wanted))
}

fn only(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in PASSED_ON {
        for value in headers.get_all(&name) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

fn choose(supervisor: &Supervisor, wanted: Option<&str>) -> Result<Node, Fault> {
    if let Some(name) = wanted {
        let _: NodeName = name.parse().map_err(Fault::BadTarget)?;
        let node = supervisor.find(name).map_err(|_| Fault::UnknownNode(name.to_owned()))?;
        let answers = node.view().online();
        return answers.then_some(node).ok_or_else(|| {
            Fault::NotReady(format!("{name} does not answer; the request was not sent"))
        });
    }
    let answering = supervisor.nodes().into_iter().map(|node| (node.view(), node));
    let best = answering.filter(|(view, _)| view.online()).max_by_key(|(view, _)| rank(view));
    best.map(|(_, node)| node).ok_or_else(|| {
        Fault::NotReady("no node answers; the request was not sent. Start a node".to_owned())
    })
}

/// How well a node that answers can speak for the cluster.
fn rank(view: &View) -> (Option<u64>, bool, bool) {
    let status = view.status();
    let leads = status.filter(|status| status.raft_state == "leader").map(|status| status.term);
    (leads, view.observed.ready(), status.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::probe::Observation;
    use crate::report::tests::view;

    #[test]
    fn the_address_is_the_nodes_own_without_who_is_asked() {
        for (asked, path, node) in [
            ("/api/v1/kv/a%2Fb%00%ff?node=node2", "/v1/kv/a%2Fb%00%ff", Some("node2")),
            ("/api/v1/kv/x/../y//z", "/v1/kv/x/../y//z", None),
            ("/api/v1/kv?prefix=node=&node=&limit=3", "/v1/kv?prefix=node=&limit=3", None),
            ("/api/v1/kv?a=%26&node=node1&b=+", "/v1/kv?a=%26&b=+", Some("node1")),
            ("/api/v1/watch?initial", "/v1/watch?initial", None),
        ] {
            let (target, wanted) = target(&asked.parse().unwrap()).unwrap();
            assert_eq!((target.to_string().as_str(), wanted.as_deref()), (path, node), "{asked}");
        }
    }

    #[test]
    fn nothing_of_who_asks_is_passed_on() {
        let mut headers = HeaderMap::new();
        for name in ["cookie", "authorization", "origin", "host", "if-match", "x-request-id", "te"]
        {
            headers.insert(HeaderName::from_static(name), "x".parse().unwrap());
        }
        let passed = only(&headers);
        let names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["if-match", "x-request-id"]);
    }

    #[test]
    fn what_makes_a_node_refuse_a_body_is_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        headers.insert(header::CONTENT_RANGE, "bytes 0-0/2".parse().unwrap());
        assert_eq!(only(&headers), headers);
    }

    #[test]
    fn the_leader_is_asked_else_one_that_is_ready_else_any() {
        let leader = view("a", 1, "leader", 4);
        let deposed = view("b", 2, "leader", 3);
        let ready = view("c", 3, "follower", 4);
        let mut blind = view("d", 4, "follower", 4);
        if let Observation::Answers { ready, .. } = &mut blind.observed {
            *ready = false;
        }
        let mut joining = view("e", 5, "follower", 0);
        joining.observed = Observation::Joining;
        let ranks = [joining, blind, ready, deposed, leader].map(|view| rank(&view));
        assert!(ranks.is_sorted_by(|one, other| one < other), "{ranks:?}");
    }
}
