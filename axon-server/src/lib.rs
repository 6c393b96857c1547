//! One Axon replica behind HTTP: the library that the `axon-server` binary is made of.
//!
//! [`serve`] answers requests on a listener until it is told to stop; a process that has its own
//! [`Cluster`] can serve Axon's HTTP API beside whatever else it does. There is no consensus and no
//! storage here: every door is a call on core. What it promises:
//!
//! * every error, from whichever layer, is `application/problem+json` (`problem`);
//! * everything a client can hold on to is bounded: connections, the time and size of heads and bodies,
//!   idle time, the time that it takes no bytes, pages in flight, readers of the whole store;
//! * pages of other sites are refused, and, where there is a [`Token`], whoever does not show it
//!   (`guard`);
//! * a shutdown finishes what is in flight, for a bounded time.
//!
//! What it does not do: TLS, and telling clients apart. Whoever listens in on the network sees the token.

#![deny(missing_docs)]

mod app;
pub mod args;
mod body;
mod conditions;
mod guard;
pub mod key;
mod metrics;
pub mod offline;
mod openapi;
mod params;
pub mod problem;
mod routes;
pub mod wire;

use app::App;
use axon_core::Cluster;
use axon_core::types::Limits;
use axon_http::{Patience, Refusal};
pub use guard::Token;
use problem::Problem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many connections over the cap are told so at once; more are closed without a word.
const REFUSALS_MAX: usize = 64;
/// How requests are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The replica's name, told in `X-Axon-Served-By`.
    pub name: String,
    /// Sizes of keys and values, as the replica has them: they bound what a body may measure.
    pub limits: Limits,
    /// Connections open at once; one more is answered 503 and closed. Default 10,000.
    pub connections_max: usize,
    /// What every request must show, but for those that ask whether the node lives. Default nothing.
    pub token: Option<Token>,
    /// The host that others are told to reach it by: a name that is its own, besides those of the
    /// machine.
    pub told_host: Option<String>,
    /// How long a request's head may take to arrive. Default 10 s.
    pub head_timeout: Duration,
    /// How long a request's body may take to arrive. Default 30 s.
    pub body_timeout: Duration,
    /// How long a connection may rest between two requests. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of an answer. Default 30 s.
    pub stall_timeout: Duration,
    /// Bytes of request bodies held at once; over that a request is answered 429. Default 64 MiB.
    pub body_bytes_in_flight_max: usize,
    /// How long a shutdown waits for what is in flight. Default 10 s.
    pub shutdown_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "node1".into(),
            limits: Limits::default(),
            connections_max: 10_000,
            token: None,
            told_host: None,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(1),
            stall_timeout: Duration::from_secs(30),
            body_bytes_in_flight_max: 64 << 20,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// Serves `cluster` on `listener` until `shutdown` completes, then finishes what is in flight.
///
/// Returns how many connections were cut off because they were not done within
/// [`Options::shutdown_grace`]. The cluster itself is left running. Dropped, it cuts off all of them.
pub async fn serve(
    cluster: Cluster,
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> usize {
    let local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let app = Arc::new(App::new(cluster, options, local));
    let draining = app.shared.draining.subscribe();
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&app, &listener, &draining, &mut connections) => {}
        () = shutdown => {}
    }
    // From here on the kernel refuses new connections.
    drop(listener);
    app.shared.draining.send_replace(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(app.shared.options.shutdown_grace, finished).await;
    connections.len()
}

/// Accepts connections for ever.
async fn accept(
    app: &Arc<App>,
    listener: &TcpListener,
    draining: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let options = &app.shared.options;
    let counters = &app.shared.requests;
    let patience = Patience {
        head: options.head_timeout,
        idle: options.idle_timeout,
        stall: options.stall_timeout,
    };
    let mut refusals = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Err(error) => axon_http::recover(&error).await,
                Ok((stream, _)) if connections.len() >= options.connections_max => {
                    counters.connections_refused.fetch_add(1, Ordering::Relaxed);
                    if refusals.len() < REFUSALS_MAX {
                        refusals.spawn(axon_http::refuse(stream, words, options.connections_max));
                    }
                }
                Ok((stream, _)) => {
                    let stream = axon_http::ready(stream);
                    let (app, draining) = (app.clone(), draining.clone());
                    connections.spawn(async move {
                        let handle = |request| app.handle(request);
                        axon_http::drive(stream, handle, words, patience, draining).await;
                    });
                }
            },
            Some(_) = connections.join_next() => {}
            Some(_) = refusals.join_next() => {}
        }
        counters.connections.store(connections.len() as u64, Ordering::Relaxed);
    }
}

/// What is refused before there is a request, as every other error is said.
fn words(refusal: Refusal) -> Vec<u8> {
    Problem::from(refusal).last_words()
}
