//! Axon over HTTP: one connection a client, kept alive, with raw bodies.

use crate::Check;
use crate::door::Failure;
use crate::work::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// For a look at a page that is not measured.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than any page that is looked at.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// A client of one node.
pub struct Http {
    address: String,
    value_bytes: usize,
    /// The whole of the header that shows the token, if there is one.
    authorization: Option<String>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    /// A client of the node at `address` (`host:port`); it connects with its first request.
    pub fn new(address: &str, value_bytes: usize, token: Option<&str>) -> Self {
        let authorization = token.map(|token| format!("Bearer {token}"));
        Self { address: address.to_owned(), value_bytes, authorization, connection: None }
    }

    /// Makes one request.
    pub async fn ask(&mut self, request: Request) -> Result<(), Failure> {
        match request {
            Request::Put(key, value) => {
                let answer = self.exchange(Method::PUT, format!("/v1/kv/{key}"), value).await?;
                match answer.status() {
                    StatusCode::OK | StatusCode::CREATED => Ok(()),
                    _ => Err(refused(&answer)),
                }
            }
            Request::Get { key, local } => {
                let query = if local { "?consistency=local" } else { "" };
                let path = format!("/v1/kv/{key}{query}");
                let answer = self.exchange(Method::GET, path, Bytes::new()).await?;
                match answer.status() {
                    StatusCode::OK if answer.body().len() == self.value_bytes => Ok(()),
                    StatusCode::OK => Err(Failure::OTHER_VALUE),
                    StatusCode::NOT_FOUND => Err(Failure::ABSENT),
                    _ => Err(refused(&answer)),
                }
            }
        }
    }

    /// Closes the connection; the next request makes another.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: String,
        body: Bytes,
    ) -> Result<Response<Bytes>, Failure> {
        // Taken out, and put back only after a whole answer: a request that is given up half-way
        // takes its connection with it.
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_ready() => connection,
            _ => connect(&self.address).await?,
        };
        let mut request =
            hyper::Request::builder().method(method).uri(path).header(HOST, &self.address);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|_| Failure::kind("no request"))?;
        let answer = connection.send_request(request).await.map_err(|_| BROKEN)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| BROKEN)?.to_bytes();
        // The connection's task needs a moment to see that the answer is read to its end.
        if connection.ready().await.is_ok() {
            self.connection = Some(connection);
        }
        Ok(Response::from_parts(head, body))
    }
}

const BROKEN: Failure = Failure::kind("connection broken");

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let unreachable = Failure::kind("no connection");
    let stream = TcpStream::connect(address).await.map_err(|_| unreachable.clone())?;
    stream.set_nodelay(true).map_err(|_| unreachable.clone())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| unreachable)?;
    // Ends with the sender, or with the connection; how, the requests on it are told.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// The kind of a refusal: its status, and its `code` if it has one.
fn refused(answer: &Response<Bytes>) -> Failure {
    let problem = serde_json::from_slice::<serde_json::Value>(answer.body()).unwrap_or_default();
    let code = problem["code"].as_str().unwrap_or("without a code");
    Failure(format!("{} {code}", answer.status().as_u16()).into())
}

/// Reads a page of a node: what is asked outside of what is measured.
pub async fn page(address: &str, path: &str, token: Option<&str>) -> Check<Bytes> {
    let mut client = Http::new(address, 0, token);
    let exchange = client.exchange(Method::GET, path.to_owned(), Bytes::new());
    let what = || format!("GET http://{address}{path}");
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| format!("{}: no answer within {} s", what(), PATIENCE.as_secs()))?
        .map_err(|failure| format!("{}: {}", what(), failure.0))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("{}: {}", what(), refused(&answer).0));
    }
    if answer.body().len() > PAGE_BYTES_MAX {
        return Err(format!("{}: {} bytes", what(), answer.body().len()));
    }
    Ok(answer.into_body())
}

/// Reads a page of JSON.
pub async fn json(address: &str, path: &str, token: Option<&str>) -> Check<serde_json::Value> {
    serde_json::from_slice(&page(address, path, token).await?)
        .map_err(|error| format!("GET http://{address}{path}: no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_counted_by_status_and_code() {
        let answer = |status, body: &'static str| {
            let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
            *answer.status_mut() = status;
            refused(&answer).0.into_owned()
        };
        let body = r#"{"code":"no_quorum"}"#;
        assert_eq!(answer(StatusCode::SERVICE_UNAVAILABLE, body), "503 no_quorum");
        assert_eq!(answer(StatusCode::BAD_GATEWAY, "<html>"), "502 without a code");
    }
}
