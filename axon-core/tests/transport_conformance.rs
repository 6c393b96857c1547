//! The transports of this crate against the contract, and what is particular to each.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::error::TransportError;
use axon_core::testing::transport_suite::check_transport;
use axon_core::transport::memory::{Cut, Faults, MemNetwork, MemTransport};
use axon_core::transport::tcp::TcpTransport;
use axon_core::transport::{Channel, FRAME_BYTES_MAX, GREETING_BYTES_MAX, Lane, Transport};
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const DEADLINE: Duration = Duration::from_secs(30);

async fn tcp() -> TcpTransport {
    TcpTransport::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_keeps_the_contract() {
    check_transport(async || Arc::new(tcp().await) as Arc<dyn Transport>).await;
}

#[tokio::test]
async fn tcp_keeps_the_contract_on_one_thread() {
    check_transport(async || Arc::new(tcp().await) as Arc<dyn Transport>).await;
}

fn memory(network: &MemNetwork) -> impl AsyncFn() -> Arc<dyn Transport> {
    let (network, made) = (network.clone(), AtomicUsize::new(0));
    async move || {
        let number = made.fetch_add(1, Ordering::Relaxed);
        Arc::new(network.transport(&format!("n{number}"))) as Arc<dyn Transport>
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract() {
    check_transport(memory(&MemNetwork::new())).await;
}

#[tokio::test(start_paused = true)]
async fn slow_memory_keeps_the_contract_in_paused_time() {
    let network = MemNetwork::new();
    let (delay_min, delay_max) = (Duration::from_micros(100), Duration::from_millis(8));
    network.set_all_faults(Faults { delay_min, delay_max, ..Faults::default() });
    check_transport(memory(&network)).await;
}

// TCP alone.

#[tokio::test]
async fn an_address_in_use_is_refused_with_advice() {
    let first = tcp().await;
    let error = TcpTransport::bind(&first.local_address()).await.err().unwrap();
    assert!(matches!(error, TransportError::CannotListen { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&first.local_address()) && text.contains("choose another port"),
        "{text}"
    );
    let error = TcpTransport::bind("nonsense").await.err().unwrap();
    assert!(error.to_string().contains("host:port"), "{error}");
}

#[tokio::test]
async fn a_browser_is_dropped_and_peers_are_not_held_up() {
    let (a, b) = (tcp().await, tcp().await);
    let mut browser = TcpStream::connect(b.local_address()).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    // An end or a reset; either way soon, and without a byte.
    let _ = timeout(DEADLINE, browser.read_to_end(&mut heard)).await.unwrap();
    assert!(heard.is_empty());
    assert!(b.accept().now_or_never().is_none(), "a browser is no peer");
    connect(&a, &b).await;
}

#[tokio::test]
async fn silent_strangers_neither_hold_up_accept_nor_pile_up() {
    let (a, b) = (tcp().await, tcp().await);
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(TcpStream::connect(b.local_address()).await.unwrap());
    }
    connect(&a, &b).await;
    // The first ones were dropped for the later ones, long before their deadline.
    let mut byte = [0];
    let end = timeout(Duration::from_secs(3), strangers[0].read(&mut byte)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "the oldest silent stranger is dropped: {end:?}");
}

#[tokio::test]
async fn a_silent_stranger_is_dropped_after_a_deadline() {
    let b = tcp().await;
    let mut stranger = TcpStream::connect(b.local_address()).await.unwrap();
    stranger.write_all(b"AX").await.unwrap();
    let mut byte = [0];
    let end = timeout(DEADLINE, stranger.read(&mut byte)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn something_that_is_no_replica_is_unreachable() {
    let a = tcp().await;
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = web.local_addr().unwrap().to_string();
    let server = async {
        let (mut socket, _) = web.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    };
    let (dialed, _socket) = tokio::join!(a.connect(&address, Lane::Control), server);
    let error = dialed.err().unwrap();
    assert!(matches!(&error, TransportError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("does not speak the peer protocol"), "{error}");
}

#[tokio::test]
async fn an_announced_frame_over_the_limit_ends_the_channel() {
    let b = tcp().await;
    let greeting = b"\x05\0\0\0hello";
    for (greetings, limit, announced) in [
        (0, GREETING_BYTES_MAX, u32::MAX),
        (0, GREETING_BYTES_MAX, GREETING_BYTES_MAX as u32 + 1),
        (1, GREETING_BYTES_MAX, GREETING_BYTES_MAX as u32 + 1),
        (2, FRAME_BYTES_MAX, FRAME_BYTES_MAX as u32 + 1),
        (3, FRAME_BYTES_MAX, u32::MAX),
    ] {
        let mut raw = TcpStream::connect(b.local_address()).await.unwrap();
        raw.write_all(b"AXN\x01").await.unwrap();
        raw.write_all(&greeting.repeat(greetings)).await.unwrap();
        raw.write_all(&announced.to_le_bytes()).await.unwrap();
        let mut accepted = timeout(DEADLINE, b.accept()).await.unwrap().unwrap();
        for _ in 0..greetings {
            assert_eq!(accepted.stream.next().await.unwrap().unwrap(), "hello");
        }
        let expected = TransportError::FrameTooLarge { limit, got: announced as usize };
        assert_eq!(accepted.stream.next().await, Some(Err(expected)));
        assert_eq!(accepted.stream.next().await, None);
    }
}

#[tokio::test]
async fn an_end_within_a_frame_is_an_error() {
    let b = tcp().await;
    let mut raw = TcpStream::connect(b.local_address()).await.unwrap();
    raw.write_all(b"AXN\x01\x05\0\0\0abc").await.unwrap();
    let mut accepted = timeout(DEADLINE, b.accept()).await.unwrap().unwrap();
    raw.shutdown().await.unwrap();
    assert!(matches!(accepted.stream.next().await, Some(Err(TransportError::Closed { .. }))));
}

// Memory alone: the faults.

async fn connect(a: &dyn Transport, b: &dyn Transport) -> (Channel, Channel) {
    let address = b.local_address();
    let joined = futures_util::future::join(a.connect(&address, Lane::Control), b.accept());
    let (dialed, accepted) = timeout(DEADLINE, joined).await.unwrap();
    (dialed.unwrap(), accepted.unwrap())
}

struct World {
    network: MemNetwork,
    a: MemTransport,
    b: MemTransport,
    dialed: Channel,
    accepted: Channel,
}

async fn world() -> World {
    let network = MemNetwork::new();
    let (a, b) = (network.transport("a"), network.transport("b"));
    let (dialed, accepted) = connect(&a, &b).await;
    World { network, a, b, dialed, accepted }
}

fn frame(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_break_breaks_both_ends_and_refuses_dials_until_it_heals() {
    for (from, to) in [("a", "b"), ("b", "a")] {
        let World { network, a, b, mut dialed, mut accepted } = world().await;
        network.cut_one_way(from, to, Some(Cut::Break));
        assert!(matches!(dialed.stream.next().await, Some(Err(TransportError::Closed { .. }))));
        assert!(matches!(accepted.stream.next().await, Some(Err(TransportError::Closed { .. }))));
        assert!(dialed.sink.send(frame(1)).await.is_err());
        let refused = a.connect("b", Lane::Control).await.err().unwrap();
        assert!(matches!(refused, TransportError::Unreachable { .. }), "{refused}");
        network.heal();
        assert!(dialed.stream.next().await.is_none(), "a broken channel is never mended");
        connect(&a, &b).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_one_way_stall_is_silence_in_one_direction_and_mends() {
    let World { network, a, b: _b, mut dialed, mut accepted } = world().await;
    network.cut_one_way("a", "b", Some(Cut::Stall));
    dialed.sink.send(frame(1)).await.unwrap();
    accepted.sink.send(frame(2)).await.unwrap();
    assert_eq!(dialed.stream.next().await, Some(Ok(frame(2))));
    let silence = Duration::from_hours(1);
    assert!(timeout(silence, accepted.stream.next()).await.is_err(), "nothing crosses a stall");
    assert!(timeout(silence, a.connect("b", Lane::Control)).await.is_err(), "a dial hears nothing");
    // The closing does not cross it either.
    drop(dialed);
    assert!(timeout(silence, accepted.stream.next()).await.is_err());
    network.cut_one_way("a", "b", None);
    assert_eq!(accepted.stream.next().await, Some(Ok(frame(1))));
    assert_eq!(accepted.stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn across_a_stall_a_writer_does_not_learn_that_its_reader_is_gone() {
    let World { network, a: _a, b: _b, mut dialed, accepted } = world().await;
    network.isolate("b", Some(Cut::Stall));
    drop(accepted);
    dialed.sink.send(frame(1)).await.unwrap();
    // It fills what there is to fill, and waits.
    let big = Bytes::from(vec![0; 100 << 10]);
    let filling = async { while dialed.sink.send(big.clone()).await.is_ok() {} };
    assert!(timeout(Duration::from_mins(1), filling).await.is_err());
    network.isolate("b", None);
    assert!(dialed.sink.send(frame(2)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn held_frames_wait_in_order_and_dials_do_not() {
    let World { network, a, b, mut dialed, mut accepted } = world().await;
    network.set_faults("a", "b", Faults { hold: true, ..Faults::default() });
    for number in 0..10 {
        dialed.sink.send(frame(number)).await.unwrap();
    }
    connect(&a, &b).await;
    assert!(timeout(DEADLINE, accepted.stream.next()).await.is_err());
    network.set_faults("a", "b", Faults::default());
    for number in 0..10 {
        assert_eq!(accepted.stream.next().await, Some(Ok(frame(number))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_waits_out_a_stall() {
    let World { network, a, b, .. } = world().await;
    network.cut("a", "b", Some(Cut::Stall));
    let mut joined = Box::pin(connect(&a, &b));
    assert!(joined.as_mut().now_or_never().is_none());
    network.heal();
    joined.await;
}

#[tokio::test(start_paused = true)]
async fn delays_lie_in_their_range_and_keep_the_order() {
    let World { network, a: _a, b: _b, mut dialed, mut accepted } = world().await;
    let (delay_min, delay_max) = (Duration::from_millis(5), Duration::from_millis(20));
    network.set_faults("a", "b", Faults { delay_min, delay_max, ..Faults::default() });
    let mut distinct = std::collections::BTreeSet::new();
    for number in 0..100 {
        let sent = Instant::now();
        dialed.sink.send(frame(number)).await.unwrap();
        assert_eq!(accepted.stream.next().await, Some(Ok(frame(number))));
        let took = sent.elapsed();
        assert!(took >= delay_min && took <= delay_max + Duration::from_millis(1), "{took:?}");
        distinct.insert(took.as_millis());
    }
    assert!(distinct.len() > 3, "delays vary: {distinct:?}");
    for number in 0..100 {
        dialed.sink.send(frame(number)).await.unwrap();
    }
    for number in 0..100 {
        assert_eq!(accepted.stream.next().await, Some(Ok(frame(number))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_frame_breaks_the_channel_and_leaves_no_gap() {
    let network = MemNetwork::new();
    let (a, b) = (network.transport("a"), network.transport("b"));
    let mut broken = 0;
    for _ in 0..50 {
        network.heal();
        let (mut dialed, mut accepted) = connect(&a, &b).await;
        network.set_all_faults(Faults { break_probability: 0.05, ..Faults::default() });
        let mut expected = 0;
        for number in 0..20 {
            if dialed.sink.send(frame(number)).await.is_err() {
                broken += 1;
                break;
            }
            if number % 3 == 0 {
                while let Some(Some(Ok(arrived))) = accepted.stream.next().now_or_never() {
                    assert_eq!(arrived, frame(expected), "a gap");
                    expected += 1;
                }
            }
        }
    }
    assert!((10..50).contains(&broken), "{broken} of 50 channels broke");
}

#[tokio::test]
async fn what_is_not_flushed_does_not_arrive() {
    let World { mut dialed, mut accepted, network: _network, a: _a, b: _b } = world().await;
    dialed.sink.feed(frame(1)).await.unwrap();
    assert!(accepted.stream.next().now_or_never().is_none());
    drop(dialed);
    assert!(accepted.stream.next().await.is_none());
}

#[tokio::test]
async fn a_replica_that_comes_back_takes_its_address_over() {
    let network = MemNetwork::new();
    let (a, old) = (network.transport("a"), network.transport("b"));
    let new = network.transport("b");
    assert!(matches!(old.accept().await.err().unwrap(), TransportError::Closed { .. }));
    drop(old);
    connect(&a, &new).await;
}

#[test]
fn a_simulation_replays_from_its_seed() {
    use axon_core::runtime::simulation;
    let run = |seed: u64| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            simulation::begin(seed);
            let World { network, a: _a, b: _b, mut dialed, mut accepted } = world().await;
            let delay_max = Duration::from_millis(50);
            let faults = Faults { delay_max, break_probability: 0.02, ..Faults::default() };
            network.set_all_faults(faults);
            let begun = Instant::now();
            let mut trace = Vec::new();
            for number in 0.. {
                if dialed.sink.send(frame(number)).await.is_err() {
                    break;
                }
                if accepted.stream.next().await.is_none_or(|arrived| arrived.is_err()) {
                    break;
                }
                trace.push(begun.elapsed());
            }
            simulation::end();
            trace
        })
    };
    let traces: Vec<_> = (0..20).map(run).collect();
    assert_eq!(traces, (0..20).map(run).collect::<Vec<_>>());
    assert!(traces.windows(2).any(|pair| pair[0] != pair[1]), "the seed decides");
}
