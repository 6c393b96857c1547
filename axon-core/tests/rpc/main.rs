//! Requests and answers over TCP and memory: order, deadlines, breaks, strangers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod greeting;
mod hostile;

use async_trait::async_trait;
use axon_core::error::{RefusalCode, TransportError};
use axon_core::runtime::simulation;
use axon_core::secret::Secret;
use axon_core::transport::memory::{Cut, Faults, MemNetwork};
use axon_core::transport::rpc::{
    self, BODY_BYTES_MAX, Client, ClientOptions, Handler, Hello, PROTOCOL, Refusal,
};
use axon_core::transport::tcp::TcpTransport;
use axon_core::transport::{FRAME_BYTES_MAX, Lane, Transport};
use axon_core::types::{ClusterId, NodeId};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const DEADLINE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);
const CLUSTER: ClusterId = ClusterId(7);

fn secret() -> Secret {
    Secret::new(*b"the secret of cluster 7").unwrap()
}

fn hello(node: u64) -> Hello {
    Hello::new(Some(CLUSTER), Some(NodeId(node)), format!("n{node}"), Lane::Control)
}

/// Understands a body by its first letter: `e`choes the rest, waits for a `g`ate, `n`ever answers, or
/// says who `w`as asking. Remembers in which order it was asked.
#[derive(Default)]
struct Scripted {
    gate: Notify,
    begun: Mutex<Vec<Bytes>>,
    running: AtomicUsize,
    running_max: AtomicUsize,
}

#[async_trait]
impl Handler for Scripted {
    async fn handle(&self, peer: &Hello, body: Bytes) -> Bytes {
        self.begun.lock().unwrap().push(body.clone());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_max.fetch_max(running, Ordering::SeqCst);
        let answer = match body.first() {
            Some(b'g') => {
                self.gate.notified().await;
                body.slice(1..)
            }
            Some(b'n') => std::future::pending().await,
            Some(b'w') => Bytes::from(peer.name.clone()),
            _ => body.slice(1.min(body.len())..),
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        answer
    }
}

/// A replica that answers: welcomes its cluster, serves with `in_flight_max`.
struct Server {
    handler: Arc<Scripted>,
    welcomed: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Server {
    fn start(transport: Arc<dyn Transport>, in_flight_max: usize) -> Self {
        let (handler, welcomed) = (Arc::new(Scripted::default()), Arc::new(AtomicUsize::new(0)));
        let (handler_of_all, count) = (handler.clone(), welcomed.clone());
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok(channel) = transport.accept().await {
                let (handler, count) = (handler_of_all.clone(), count.clone());
                connections.spawn(async move {
                    let Ok((peer, channel)) =
                        rpc::welcome(channel, &secret(), DEADLINE, decide).await
                    else {
                        return;
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = rpc::serve(peer, channel, handler, in_flight_max).await;
                });
            }
        });
        Self { handler, welcomed, accepting }
    }

    /// Stops at once, and waits until every connection is closed.
    async fn stop(self) {
        self.accepting.abort();
        let _ = self.accepting.await;
    }
}

fn decide(peer: &Hello) -> Result<Hello, Refusal> {
    if peer.cluster_id.is_some_and(|id| id != CLUSTER) {
        return Err(Refusal::new(RefusalCode::WrongCluster, "this is cluster 7"));
    }
    if peer.node_id == Some(NodeId(66)) {
        return Err(Refusal::new(RefusalCode::Removed, "id 66 was removed"));
    }
    Ok(hello(2))
}

fn client_with(
    transport: &Arc<dyn Transport>,
    address: &str,
    hello: Hello,
    options: ClientOptions,
) -> Client {
    Client::new(transport.clone(), address, Arc::new(move || hello.clone()), secret(), options)
}

/// A client and a server of their own.
struct World {
    network: MemNetwork,
    a: Arc<dyn Transport>,
    server: Server,
    client: Client,
}

/// Over memory, as `a` and `b`.
fn memory_world(in_flight_max: usize) -> World {
    let network = MemNetwork::new();
    let a: Arc<dyn Transport> = Arc::new(network.transport("a"));
    let server = Server::start(Arc::new(network.transport("b")), in_flight_max);
    let client = client_with(&a, "b", hello(1), ClientOptions::default());
    World { network, a, server, client }
}

async fn tcp() -> Arc<dyn Transport> {
    Arc::new(TcpTransport::bind("127.0.0.1:0").await.unwrap())
}

fn body(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_share_one_connection_over_tcp() {
    let (a, b) = (tcp().await, tcp().await);
    let address = b.local_address();
    let server = Server::start(b, 64);
    let client = client_with(&a, &address, hello(1), ClientOptions::default());
    let ask = async |number: usize| {
        let text = format!("{number:0>width$}", width = 1 + number * 37 % 20_000);
        let answer = client.request(body(format!("e{text}")), DEADLINE).await.unwrap();
        assert!(answer == text, "request {number} got another's answer");
    };
    join_all((0..500).map(ask)).await;
    assert_eq!(server.welcomed.load(Ordering::SeqCst), 1);
    assert!(client.is_connected() && client.last_heard().is_some());
    assert_eq!(client.peer().unwrap().name, "n2");
    assert_eq!(client.request(body("w"), DEADLINE).await.unwrap(), "n1");
}

#[tokio::test]
async fn bodies_of_every_size_come_back_over_tcp() {
    let (a, b) = (tcp().await, tcp().await);
    let address = b.local_address();
    let _server = Server::start(b, 4);
    let client = client_with(&a, &address, hello(1), ClientOptions::default());
    for size in [0, 1, 8, 9, 4096, 8184, 8192, 40_000, BODY_BYTES_MAX - 1] {
        let sent: Bytes = std::iter::once(b'e').chain((0..size).map(|n| n as u8)).collect();
        let answer = client.request(sent.clone(), DEADLINE).await.unwrap();
        assert!(answer == sent[1..], "{size} bytes");
    }
    assert_eq!(client.request(Bytes::new(), DEADLINE).await.unwrap(), Bytes::new());
    let got = BODY_BYTES_MAX + 1;
    let refused = client.request(Bytes::from(vec![0; got]), DEADLINE).await;
    assert_eq!(refused, Err(TransportError::FrameTooLarge { limit: BODY_BYTES_MAX, got }));
    assert!(client.is_connected());
}

#[tokio::test(start_paused = true)]
async fn requests_begin_in_order_and_are_answered_out_of_order() {
    let World { server, client, .. } = memory_world(64);
    let mut gated = Box::pin(client.request(body("gslow"), DEADLINE));
    assert!(gated.as_mut().now_or_never().is_none());
    let asked: Vec<_> = (0..50).map(|n| client.request(body(format!("e{n}")), DEADLINE)).collect();
    for (number, answer) in join_all(asked).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), number.to_string());
    }
    assert!(gated.as_mut().now_or_never().is_none(), "it still waits");
    server.handler.gate.notify_one();
    assert_eq!(gated.await.unwrap(), "slow");
    let begun = server.handler.begun.lock().unwrap().clone();
    let expected: Vec<_> =
        std::iter::once(body("gslow")).chain((0..50).map(|n| body(format!("e{n}")))).collect();
    assert_eq!(begun, expected);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_run_at_once_than_the_server_allows() {
    let World { server, client, .. } = memory_world(8);
    let asked = join_all((0..100).map(|n| client.request(body(format!("g{n}")), DEADLINE)));
    let handler = &server.handler;
    let opening = async {
        for _ in 0..100 {
            until("a request runs", || handler.running.load(Ordering::SeqCst) > 0).await;
            handler.gate.notify_waiters();
            tokio::task::yield_now().await;
            handler.gate.notify_one();
        }
        std::future::pending::<()>().await;
    };
    let answers = tokio::select! { answers = asked => answers, () = opening => unreachable!() };
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(handler.running_max.load(Ordering::SeqCst), 8);
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_at_its_own_deadline() {
    let World { client, server, .. } = memory_world(64);
    let begun = Instant::now();
    let (long, short) = (Duration::from_millis(900), Duration::from_millis(100));
    let late = async |timeout: Duration| {
        let error = client.request(body("never"), timeout).await.unwrap_err();
        assert_eq!(error, TransportError::Timeout { waited: timeout });
        let took = begun.elapsed();
        assert!(took >= timeout && took <= timeout + Duration::from_millis(2), "{took:?}");
    };
    // The later deadline first: the sweep has to be moved forward.
    tokio::join!(late(long), late(short), async {
        assert_eq!(client.request(body("eok"), DEADLINE).await.unwrap(), "ok");
    });
    assert_eq!(server.welcomed.load(Ordering::SeqCst), 1, "a timeout alone breaks nothing");
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_deadline_is_nobodys() {
    let World { client, server, .. } = memory_world(64);
    let late = client.request(body("glate"), SHORT).await;
    assert!(matches!(late, Err(TransportError::Timeout { .. })));
    server.handler.gate.notify_one();
    assert_eq!(client.request(body("enext"), DEADLINE).await.unwrap(), "next");
}

#[tokio::test(start_paused = true)]
async fn a_break_fails_what_waits_at_once_and_the_next_request_reconnects() {
    let World { network, client, server, .. } = memory_world(64);
    client.request(body("e"), DEADLINE).await.unwrap();
    let mut waiting: Vec<_> =
        (0..10).map(|_| Box::pin(client.request(body("n"), DEADLINE))).collect();
    for request in &mut waiting {
        assert!(request.as_mut().now_or_never().is_none());
    }
    until("all are sent", || server.handler.running.load(Ordering::SeqCst) == 10).await;
    let broken_at = Instant::now();
    network.cut("a", "b", Some(Cut::Break));
    for failed in join_all(waiting).await {
        assert!(matches!(failed, Err(TransportError::Closed { .. })), "perhaps sent: {failed:?}");
    }
    assert_eq!(broken_at.elapsed(), Duration::ZERO);
    assert!(!client.is_connected());
    network.heal();
    assert_eq!(client.request(body("eagain"), DEADLINE).await.unwrap(), "again");
    assert_eq!(server.welcomed.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_dial_requests_fail_at_once_until_the_back_off_is_over() {
    let World { network, client, .. } = memory_world(64);
    network.cut("a", "b", Some(Cut::Break));
    let ask = async || client.request(body("e"), DEADLINE).await.unwrap_err();
    assert!(matches!(ask().await, TransportError::Unreachable { .. }));
    network.heal();
    let begun = Instant::now();
    assert!(matches!(ask().await, TransportError::Unreachable { .. }), "it backs off");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    tokio::time::advance(Duration::from_millis(51)).await;
    client.request(body("e"), DEADLINE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_back_off_grows_to_a_second_and_no_further() {
    let World { network, client, .. } = memory_world(64);
    network.cut("a", "b", Some(Cut::Break));
    for round in 0..20 {
        client.request(body("e"), DEADLINE).await.unwrap_err();
        let least = Duration::from_millis(25 << round.min(5)).min(Duration::from_millis(500));
        tokio::time::advance(least.saturating_sub(Duration::from_millis(1))).await;
        if round == 19 {
            network.heal();
        }
        client.request(body("e"), DEADLINE).await.unwrap_err();
        let rest = Duration::from_millis(1_002).saturating_sub(least);
        tokio::time::advance(rest).await;
    }
    client.request(body("e"), DEADLINE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_told_from_what_perhaps_was() {
    let World { network, client, .. } = memory_world(64);
    network.cut("a", "b", Some(Cut::Stall));
    // The dial hears nothing, and outlives the request.
    let unsent = client.request(body("e"), SHORT).await.unwrap_err();
    assert!(matches!(unsent, TransportError::Unreachable { .. }), "{unsent}");
    network.heal();
    client.request(body("e"), DEADLINE).await.unwrap();
    network.cut("a", "b", Some(Cut::Stall));
    let sent = client.request(body("e"), SHORT).await.unwrap_err();
    assert!(matches!(sent, TransportError::Timeout { .. }), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_fallen_silent_is_given_up_and_found_again() {
    let World { network, client, server, .. } = memory_world(64);
    client.request(body("e"), DEADLINE).await.unwrap();
    network.isolate("b", Some(Cut::Stall));
    let begun = Instant::now();
    while client.is_connected() {
        client.request(body("e"), SHORT).await.unwrap_err();
    }
    assert!(begun.elapsed() <= Duration::from_millis(1300), "{:?}", begun.elapsed());
    tokio::time::advance(Duration::from_mins(1)).await;
    network.isolate("b", None);
    let healed = Instant::now();
    while client.request(body("e"), SHORT).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(healed.elapsed() <= Duration::from_secs(2), "{:?}", healed.elapsed());
    assert_eq!(server.welcomed.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_at_both_ends() {
    let World { client, server, network, a } = memory_world(64);
    client.request(body("e"), DEADLINE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(!client.is_connected());
    client.request(body("e"), DEADLINE).await.unwrap();
    assert_eq!(server.welcomed.load(Ordering::SeqCst), 2);
    // A peer that went without a word does not keep the server's end for ever.
    let (_, mut channel) = rpc::dial(&*a, "b", &hello(1), &secret(), None, DEADLINE).await.unwrap();
    network.isolate("a", Some(Cut::Stall));
    tokio::time::sleep(Duration::from_mins(3)).await;
    network.heal();
    assert!(channel.stream.next().await.is_none(), "the server has closed it");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_client_closes_its_connection_and_a_dropped_handler_goes_with_it() {
    let World { client, server, .. } = memory_world(64);
    let mut waiting = Box::pin(client.request(body("g"), DEADLINE));
    assert!(waiting.as_mut().now_or_never().is_none());
    until("it is asked", || server.handler.running.load(Ordering::SeqCst) == 1).await;
    drop(waiting);
    let handlers = Arc::strong_count(&server.handler);
    drop(client);
    until("the connection is closed", || Arc::strong_count(&server.handler) < handlers).await;
}

#[tokio::test(start_paused = true)]
async fn more_than_the_client_allows_in_flight_waits_and_is_then_surely_unsent() {
    let World { a, server, .. } = memory_world(64);
    let options = ClientOptions { in_flight_max: 4, ..ClientOptions::default() };
    let client = client_with(&a, "b", hello(1), options);
    let mut holding: Vec<_> =
        (0..4).map(|n| Box::pin(client.request(body(format!("g{n}")), DEADLINE))).collect();
    for request in &mut holding {
        assert!(request.as_mut().now_or_never().is_none());
    }
    let refused = client.request(body("e"), SHORT).await.unwrap_err();
    assert!(matches!(refused, TransportError::Unreachable { .. }), "{refused}");
    server.handler.gate.notify_waiters();
    join_all(holding).await.into_iter().for_each(|answer| drop(answer.unwrap()));
    client.request(Bytes::from(vec![b'e'; 1 << 20]), DEADLINE).await.unwrap();
}

#[tokio::test]
async fn wrong_clusters_and_removed_replicas_are_refused_with_a_code() {
    let (a, b) = (tcp().await, tcp().await);
    let address = b.local_address();
    let server = Server::start(b, 64);
    let strangers = [
        (Hello { cluster_id: Some(ClusterId(8)), ..hello(1) }, RefusalCode::WrongCluster),
        (hello(66), RefusalCode::Removed),
    ];
    for (stranger, expected) in strangers {
        let error =
            rpc::dial(&*a, &address, &stranger, &secret(), None, DEADLINE).await.err().unwrap();
        let refused = matches!(&error, TransportError::Refused { code, .. } if *code == expected);
        assert!(refused, "{error:?}");
        let client = client_with(&a, &address, stranger, ClientOptions::default());
        for _ in 0..2 {
            // The second is told the same, although nothing is dialled for it.
            assert_eq!(client.request(body("e"), DEADLINE).await, Err(error.clone()));
        }
    }
    assert_eq!(server.welcomed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_newer_dialer_is_refused_and_told_who_is_to_be_upgraded() {
    let (a, b) = (tcp().await, tcp().await);
    let address = b.local_address();
    let ours = secret();
    let newer = Hello { protocol: PROTOCOL + 1, ..hello(1) };
    let (dialed, welcomed) =
        tokio::join!(rpc::dial(&*a, &address, &newer, &ours, None, DEADLINE), async {
            rpc::welcome(b.accept().await.unwrap(), &ours, DEADLINE, |_| panic!("never asked"))
                .await
        });
    for error in [dialed.err().unwrap(), welcomed.err().unwrap()] {
        let newer = RefusalCode::NewerProtocol;
        assert!(matches!(&error, TransportError::Refused { code, .. } if *code == newer));
        assert!(error.to_string().contains("upgrade the one that speaks 2"), "{error}");
    }
}

#[tokio::test]
async fn a_newer_acceptor_whatever_its_answer_keeps_the_older_dialer_out() {
    let (a, b) = (tcp().await, tcp().await);
    let address = b.local_address();
    let (older, ours) = (hello(1), secret());
    let (dialed, ()) =
        tokio::join!(rpc::dial(&*a, &address, &older, &ours, None, DEADLINE), async {
            let mut channel = b.accept().await.unwrap();
            channel.stream.next().await.unwrap().unwrap();
            let answer = Bytes::from_static(b"\x03\0 whatever protocol 3 says");
            channel.sink.send(answer).await.unwrap();
        });
    let error = dialed.err().unwrap();
    let older = RefusalCode::OlderProtocol;
    assert!(matches!(&error, TransportError::Refused { code, .. } if *code == older), "{error:?}");
    assert!(error.to_string().contains("upgrade this replica"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_replica_at_the_address_is_not_talked_to() {
    let World { a, server, .. } = memory_world(64);
    let options = ClientOptions { expected: Some(NodeId(3)), ..ClientOptions::default() };
    let client = client_with(&a, "b", hello(1), options);
    let error = client.request(body("e"), DEADLINE).await.unwrap_err();
    assert!(matches!(&error, TransportError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("id 2 answers there, not id 3"), "{error}");
    assert!(server.handler.begun.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dialer_that_never_introduces_itself_is_given_up() {
    let network = MemNetwork::new();
    let (a, b) = (network.transport("a"), network.transport("b"));
    let _silent = a.connect("b", Lane::Control).await.unwrap();
    let channel = b.accept().await.unwrap();
    let late = rpc::welcome(channel, &secret(), SHORT, decide).await.err().unwrap();
    assert_eq!(late, TransportError::Timeout { waited: SHORT });
    // And the other way round: nobody answers.
    let late = rpc::dial(&a, "b", &hello(1), &secret(), None, SHORT).await.err().unwrap();
    assert!(matches!(late, TransportError::Unreachable { .. }), "{late}");
}

#[tokio::test]
async fn a_server_that_stops_is_found_again_at_its_address() {
    let (a, b) = (tcp().await, tcp().await);
    let address = b.local_address();
    let server = Server::start(b, 64);
    let client = client_with(&a, &address, hello(1), ClientOptions::default());
    client.request(body("e"), DEADLINE).await.unwrap();
    server.stop().await;
    let failed = client.request(body("e"), DEADLINE).await.unwrap_err();
    let lost = matches!(failed, TransportError::Closed { .. } | TransportError::Unreachable { .. });
    assert!(lost, "{failed}");
    let b: Arc<dyn Transport> = Arc::new(TcpTransport::bind(&address).await.unwrap());
    let _server = Server::start(b, 64);
    let again = async {
        while client.request(body("e"), DEADLINE).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, again).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn under_lossy_links_every_request_ends_and_every_answer_is_its_own() {
    let World { network, client, server, .. } = memory_world(16);
    let delay_max = Duration::from_millis(8);
    network.set_all_faults(Faults { delay_max, break_probability: 0.02, ..Faults::default() });
    let (answered, slots) = (AtomicUsize::new(0), Semaphore::new(20));
    let ask = async |number: usize| {
        let _slot = slots.acquire().await.unwrap();
        tokio::time::sleep(Duration::from_millis(number as u64 % 50)).await;
        let begun = Instant::now();
        let result = client.request(body(format!("e{number}")), SHORT).await;
        assert!(begun.elapsed() <= SHORT + Duration::from_millis(2));
        match result {
            Ok(answer) => {
                assert_eq!(answer, number.to_string());
                answered.fetch_add(1, Ordering::SeqCst);
            }
            // While the client waits before its next dial, requests fail at once: without a pause
            // here, the few seconds of an unlucky back-off would use up most of them.
            Err(TransportError::Unreachable { .. }) => tokio::time::sleep(SHORT).await,
            Err(TransportError::Closed { .. } | TransportError::Timeout { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    };
    join_all((0..3_000).map(ask)).await;
    let (answered, welcomed) = (answered.into_inner(), server.welcomed.load(Ordering::SeqCst));
    assert!(answered > 500, "{answered} answered");
    assert!(welcomed > 10, "{welcomed} connections");
    assert_eq!(server.handler.running.load(Ordering::SeqCst), 0);
}

#[test]
fn a_simulation_of_clients_and_servers_replays_from_its_seed() {
    let run = |seed: u64| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
            simulation::begin(seed);
            let World { network, client, server: _server, .. } = memory_world(16);
            let delay_max = Duration::from_millis(20);
            let faults = Faults { delay_max, break_probability: 0.01, ..Faults::default() };
            network.set_all_faults(faults);
            let (begun, trace) = (Instant::now(), Mutex::new(Vec::new()));
            let ask = async |number: u64| {
                tokio::time::sleep(Duration::from_millis(number * 7 % 300)).await;
                let answer = client.request(body(format!("e{number}")), SHORT).await;
                trace.lock().unwrap().push((begun.elapsed(), number, answer));
            };
            join_all((0..300).map(ask)).await;
            simulation::end();
            trace.into_inner().unwrap()
        })
    };
    let traces: Vec<_> = (0..10).map(run).collect();
    assert!(traces == (0..10).map(run).collect::<Vec<_>>(), "the same seeds, another story");
    assert!(traces.windows(2).all(|pair| pair[0] != pair[1]), "the seed decides");
}
