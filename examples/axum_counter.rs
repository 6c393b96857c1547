//! A web service that holds a replica: counters that survive it, and that any replica may count.
//!
//! `POST /counters/{name}` adds one and answers the new count, `GET` reads it. There is no lock and
//! no leader to look for: the handler swaps the number it has read for the next one, and begins again
//! when another was faster. It starts, is called by twenty clients at once, and ends. Run it with
//! `cargo run --example axum_counter [directory]`.

use axon_core::store::{Expect, Swap};
use axon_core::{Cluster, Error, Store};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::future;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;

/// What the store answers in place of a count.
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let later = self.0.is_retryable();
        let status =
            if later { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
        (status, self.0.to_string()).into_response()
    }
}

fn key(name: &str) -> String {
    format!("counters/{name}")
}

/// A count as it is stored: as text, so that people can read it too.
fn count(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn read(State(store): State<Store>, Path(name): Path<String>) -> Result<String, Failure> {
    let found = store.get(key(&name)).await?;
    Ok(found.map_or(0, |pair| count(&pair.value)).to_string())
}

async fn add(State(store): State<Store>, Path(name): Path<String>) -> Result<String, Failure> {
    let mut found = store.get(key(&name)).await?;
    loop {
        let (next, expected) = match &found {
            None => (1, Expect::Absent),
            Some(pair) => (count(&pair.value) + 1, Expect::ModRevision(pair.mod_revision)),
        };
        match store.put_if(key(&name), expected, next.to_string()).await? {
            Swap::Done(_) => return Ok(next.to_string()),
            // Another one was faster: this is what it left.
            Swap::Conflict(now) => found = now,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| scratch.path().join("data"), PathBuf::from);
    let replica = Cluster::open(path).await?;

    let service =
        Router::new().route("/counters/{name}", get(read).post(add)).with_state(replica.store());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());
    println!("serves http://{address}/counters/{{name}}");

    let adding = (0..20).map(|_| call(address, Method::POST, "visits"));
    let mut answers = future::try_join_all(adding).await?;
    answers.sort_unstable();
    println!("20 calls at once were answered {answers:?}");
    assert_eq!(answers, (1..=20).collect::<Vec<_>>(), "every call counted, each once");

    let read = call(address, Method::GET, "visits").await?;
    println!("the counter stands at {read}");
    assert_eq!(read, 20);

    let _ = stop.send(());
    serving.await??;
    Ok(replica.shutdown().await?)
}

/// Calls the service, as any client would.
async fn call(
    address: SocketAddr,
    method: Method,
    name: &str,
) -> Result<u64, Box<dyn std::error::Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{address}/counters/{name}");
    let request = Request::builder().method(method).uri(uri).body(Empty::<Bytes>::new())?;
    let response = client.request(request).await?;
    assert_eq!(response.status(), StatusCode::OK);
    Ok(count(&response.into_body().collect().await?.to_bytes()))
}
