//! A client for nodes and launcher: connections kept alive, a deadline on every call.

use super::Check;
use crate::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Longer than a server lets any call wait, so that it is the server that gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// For calls that move all data, or start and stop processes.
const LONG_PATIENCE: Duration = Duration::from_mins(2);

/// Everything but what RFC 3986 calls unreserved; a slash too.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why there was no answer: no connection, a broken one, or the deadline.
#[derive(Debug)]
pub struct NoAnswer {
    pub why: String,
    /// The request may have arrived.
    pub sent: bool,
}

impl NoAnswer {
    /// What may have been sent.
    fn perhaps_sent(why: String) -> Self {
        Self { why, sent: true }
    }
}

impl From<NoAnswer> for String {
    fn from(error: NoAnswer) -> Self {
        error.why
    }
}

/// An answer, complete.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Check<Value> {
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("status {} with a body that is no JSON: {error}", self.status))
    }

    /// The `code` of an error's body; empty when it has none.
    pub fn code(&self) -> String {
        let body = self.json().unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and body in a few words, for a violation.
    pub fn brief(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        format!("{} {}", self.status.as_u16(), text.chars().take(200).collect::<String>())
    }
}

/// A call that is to be made.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    /// This machine, unless told otherwise.
    pub host: IpAddr,
    pub port: u16,
    /// The path and the query.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    /// How long to wait for the answer.
    pub patience: Duration,
}

impl Call {
    pub fn new(method: Method, port: u16, path: impl Into<String>) -> Self {
        let (headers, body, patience) = (Vec::new(), Bytes::new(), PATIENCE);
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { method, host, port, path: path.into(), headers, body, patience }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// A client. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Http(Client<HttpConnector, Full<Bytes>>);

impl Default for Http {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }
}

impl Http {
    /// Makes one call, and returns its answer as soon as it begins.
    pub async fn open(&self, call: Call) -> Result<Response<Incoming>, NoAnswer> {
        let Call { method, host, port, path, headers, body, patience } = call;
        let place = format!("http://{}{path}", SocketAddr::new(host, port));
        let what = format!("{method} {place}");
        let mut request = Request::builder().method(method).uri(place);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| NoAnswer { why: format!("{what}: {error}"), sent: false })?;
        match tokio::time::timeout(patience, self.0.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                Err(NoAnswer { why: format!("{what}: {error}"), sent: !error.is_connect() })
            }
            Err(_) => Err(NoAnswer::perhaps_sent(format!(
                "{what}: no answer within {} s",
                patience.as_secs()
            ))),
        }
    }

    /// Makes one call and reads the whole answer.
    pub async fn send(&self, call: Call) -> Result<Answer, NoAnswer> {
        let what = format!(
            "{} http://{}{}",
            call.method,
            SocketAddr::new(call.host, call.port),
            call.path
        );
        let patience = call.patience;
        let exchange = async {
            let (head, body) = self.open(call).await?.into_parts();
            let body = body
                .collect()
                .await
                .map_err(|error| NoAnswer::perhaps_sent(format!("{what}: {error}")))?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| {
            Err(NoAnswer::perhaps_sent(format!(
                "{what}: no whole answer within {} s",
                patience.as_secs()
            )))
        })
    }

    /// Makes one call with JSON and reads the whole answer.
    pub async fn call(
        &self,
        method: Method,
        port: u16,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Answer, NoAnswer> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let call = Call::new(method, port, path).header("content-type", "application/json");
        self.send(Call { body, patience, ..call }).await
    }

    /// `GET path`, which must be answered 200 with JSON.
    pub async fn get_json(&self, port: u16, path: &str) -> Check<Value> {
        let answer = self.call(Method::GET, port, path, None, PATIENCE).await?;
        ensure!(answer.status == StatusCode::OK, "GET {path} was answered {}", answer.brief());
        answer.json()
    }

    /// `GET path`, which must be answered 200 with text.
    pub async fn get_text(&self, port: u16, path: &str) -> Check<String> {
        let answer = self.call(Method::GET, port, path, None, PATIENCE).await?;
        ensure!(answer.status == StatusCode::OK, "GET {path} was answered {}", answer.brief());
        String::from_utf8(answer.body.to_vec()).map_err(|_| format!("GET {path} is no text"))
    }

    /// `POST path`.
    pub async fn post(
        &self,
        port: u16,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, NoAnswer> {
        self.call(Method::POST, port, path, body, LONG_PATIENCE).await
    }

    /// `PUT /kv/{key}`, whatever the answer.
    pub async fn put(&self, port: u16, key: &str, value: &str) -> Result<Answer, NoAnswer> {
        let body = json!({ "value": value });
        self.call(Method::PUT, port, &kv_path(key), Some(&body), PATIENCE).await
    }

    /// `PUT /kv/{key}`, which must succeed.
    pub async fn must_put(&self, port: u16, key: &str, value: &str) -> Check {
        let answer = self.put(port, key, value).await?;
        acknowledged(&answer)?
            .then_some(())
            .ok_or_else(|| format!("PUT of {key:?} at port {port} was answered {}", answer.brief()))
    }

    /// `GET /kv/{key}`, whatever the answer.
    pub async fn get(&self, port: u16, key: &str) -> Result<Answer, NoAnswer> {
        self.call(Method::GET, port, &kv_path(key), None, PATIENCE).await
    }

    /// `GET /kv/{key}`: the value, or `None` when the key is absent.
    pub async fn must_get(&self, port: u16, key: &str) -> Check<Option<String>> {
        let answer = self.get(port, key).await?;
        if answer.status == StatusCode::NOT_FOUND {
            ensure!(answer.code() == "not_found", "a 404 without its code: {}", answer.brief());
            return Ok(None);
        }
        ensure!(
            answer.status == StatusCode::OK,
            "GET of {key:?} at port {port} was answered {}",
            answer.brief()
        );
        let body = answer.json()?;
        ensure!(body["key"] == key, "GET of {key:?} was answered with the key {}", body["key"]);
        let value = body["value"].as_str();
        value.map(|value| Some(value.to_owned())).ok_or_else(|| format!("no value in {body}"))
    }

    /// `DELETE /kv/{key}`, which must succeed.
    pub async fn must_delete(&self, port: u16, key: &str) -> Check {
        let answer = self.call(Method::DELETE, port, &kv_path(key), None, PATIENCE).await?;
        let success = answer.status == StatusCode::OK && answer.json()?["status"] == "success";
        ensure!(success, "DELETE of {key:?} was answered {}", answer.brief());
        Ok(())
    }

    /// `GET /kv`: every pair as this one node has it.
    pub async fn dump(&self, port: u16) -> Check<BTreeMap<String, String>> {
        let answer = self.call(Method::GET, port, "/kv", None, LONG_PATIENCE).await?;
        ensure!(answer.status == StatusCode::OK, "GET /kv was answered {}", answer.brief());
        serde_json::from_slice(&answer.body)
            .map_err(|error| format!("GET /kv is no flat JSON object of strings: {error}"))
    }
}

/// Reports whether a put was acknowledged; an answer of 200 with another shape is a violation.
pub fn acknowledged(answer: &Answer) -> Check<bool> {
    if answer.status != StatusCode::OK {
        return Ok(false);
    }
    let body = answer.json()?;
    let shape = body["status"] == "success" && body["revision"].as_u64().is_some_and(|at| at > 0);
    ensure!(shape, "a put was acknowledged with another shape: {body}");
    Ok(true)
}

fn kv_path(key: &str) -> String {
    format!("/kv/{}", encoded(key))
}

/// `key` as it stands in a path.
pub fn encoded(key: &str) -> String {
    utf8_percent_encode(key, KEY).to_string()
}
