//! Hostile bytes: the server lives on, and so does everybody else's connection.

use super::*;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server over TCP that outlives whatever is thrown at it, by a stranger or by one who has introduced
/// himself before.
async fn survives(introduced: bool, attack: Vec<u8>) {
    let (a, b) = (tcp().await, tcp().await);
    let address = b.local_address();
    let server = Server::start(b, 16);
    let mut raw = if introduced { introduce(&*a, &address).await } else { connect(&address).await };
    // It may be cut off in the middle.
    let _ = raw.write_all(&attack).await;
    let _ = raw.shutdown().await;
    let mut heard = Vec::new();
    let _ = timeout(DEADLINE, raw.read_to_end(&mut heard)).await.expect("it is closed");
    assert_eq!(server.welcomed.load(Ordering::SeqCst), usize::from(introduced));
    let client = client_with(&a, &address, hello(1), ClientOptions::default());
    assert_eq!(client.request(body("ealive"), DEADLINE).await.unwrap(), "alive");
}

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// A connection over which a member has introduced itself, and which can say anything now.
async fn introduce(transport: &dyn Transport, address: &str) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = listener.local_addr().unwrap().to_string();
    let mut outer = connect(address).await;
    let (introduction, ours) = (hello(1), secret());
    let carrying = async {
        let (mut inner, _) = listener.accept().await.unwrap();
        tokio::io::copy_bidirectional(&mut inner, &mut outer).await.unwrap();
    };
    tokio::select! {
        dialed = rpc::dial(transport, &between, &introduction, &ours, None, DEADLINE) => {
            dialed.unwrap();
        }
        () = carrying => unreachable!("both ends are open"),
    }
    outer
}

fn run(introduced: bool, attack: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(survives(introduced, attack));
}

fn frames(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        bytes.extend_from_slice(frame);
    }
    bytes
}

fn framed(after: &[Vec<u8>]) -> Vec<u8> {
    [b"AXN\x01".to_vec(), frames(after)].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_harm_nobody(attack in prop::collection::vec(any::<u8>(), 0..2_000)) {
        run(false, attack);
    }

    #[test]
    fn random_greetings_harm_nobody(
        greetings in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        ours in any::<bool>(),
    ) {
        let mut greetings = greetings;
        if ours {
            // Past the check of the protocol, into that of the proof.
            greetings[0].splice(0..0, [2, 0]);
            greetings[0].resize(34, 7);
        }
        run(false, framed(&greetings));
    }

    #[test]
    fn random_frames_after_a_greeting_harm_nobody(
        sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        tail in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        run(true, [frames(&sent), tail].concat());
    }
}

#[test]
fn announced_gigabytes_harm_nobody() {
    for announced in [u32::MAX, FRAME_BYTES_MAX as u32 + 1, FRAME_BYTES_MAX as u32] {
        let announced = announced.to_le_bytes().to_vec();
        run(false, [b"AXN\x01".to_vec(), announced.clone()].concat());
        run(true, announced);
    }
}

#[test]
fn a_greeting_of_megabytes_is_refused() {
    run(false, framed(&[[&[2, 0][..], &vec![0; 5 << 20]].concat()]));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_nonsense_breaks_only_its_own_connection() {
    let network = MemNetwork::new();
    let a: Arc<dyn Transport> = Arc::new(network.transport("a"));
    let b = network.transport("b");
    let client = client_with(&a, "b", hello(1), ClientOptions::default());
    let nonsense = async {
        let channel = b.accept().await.unwrap();
        let (_, mut channel) = rpc::welcome(channel, &secret(), DEADLINE, decide).await.unwrap();
        channel.stream.next().await.unwrap().unwrap();
        // An answer that nobody asked for is ignored; a frame without a number is the end.
        channel.sink.feed(Bytes::from_static(b"12345678nobody")).await.unwrap();
        channel.sink.send(Bytes::from_static(b"short")).await.unwrap();
        channel
    };
    let (answer, _channel) = tokio::join!(client.request(body("e"), DEADLINE), nonsense);
    assert!(matches!(answer, Err(TransportError::Malformed { .. })), "{answer:?}");
    assert!(!client.is_connected());
}
