//! Hostile bytes: the server lives on, and so does everybody else's connection.

use super::*;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server over TCP that outlives whatever is thrown at it.
async fn survives(attack: Vec<u8>) {
    let (a, b) = (tcp().await, tcp().await);
    let address = b.local_address();
    let _server = Server::start(b, 16);
    let mut raw = TcpStream::connect(&address).await.unwrap();
    // It may be cut off in the middle.
    let _ = raw.write_all(&attack).await;
    let _ = raw.shutdown().await;
    let mut heard = Vec::new();
    let _ = timeout(DEADLINE, raw.read_to_end(&mut heard)).await.expect("it is closed");
    let client = client_with(&a, &address, hello(1), ClientOptions::default());
    assert_eq!(client.request(body("ealive"), DEADLINE).await.unwrap(), "alive");
}

fn run(attack: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(survives(attack));
}

fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"AXN\x01".to_vec();
    for frame in frames {
        bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        bytes.extend_from_slice(frame);
    }
    bytes
}

fn greeting() -> Vec<u8> {
    let mut frame = PROTOCOL.to_le_bytes().to_vec();
    frame.extend_from_slice(&axon_core::codec::encode(&hello(1)));
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_harm_nobody(attack in prop::collection::vec(any::<u8>(), 0..2_000)) {
        run(attack);
    }

    #[test]
    fn random_greetings_harm_nobody(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        ours in any::<bool>(),
    ) {
        let mut frames = frames;
        if ours {
            // Past the check of the protocol, into the decoding.
            frames[0].splice(0..0, [1, 0, 1]);
        }
        run(framed(&frames));
    }

    #[test]
    fn random_frames_after_a_greeting_harm_nobody(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
        tail in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut attack = vec![greeting()];
        // Bodies that never answer would only wait for the end of the channel.
        attack.extend(frames);
        let mut attack = framed(&attack);
        attack.extend(tail);
        run(attack);
    }
}

#[test]
fn announced_gigabytes_harm_nobody() {
    for announced in [u32::MAX, FRAME_BYTES_MAX as u32 + 1, FRAME_BYTES_MAX as u32] {
        let mut attack = b"AXN\x01".to_vec();
        attack.extend_from_slice(&announced.to_le_bytes());
        run(attack);
        let mut attack = framed(&[greeting()]);
        attack.extend_from_slice(&announced.to_le_bytes());
        run(attack);
    }
}

#[test]
fn a_greeting_of_megabytes_is_refused() {
    run(framed(&[[&[1, 0, 1][..], &vec![0; 5 << 20]].concat()]));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_nonsense_breaks_only_its_own_connection() {
    let network = MemNetwork::new();
    let a: Arc<dyn Transport> = Arc::new(network.transport("a"));
    let b = network.transport("b");
    let client = client_with(&a, "b", hello(1), ClientOptions::default());
    let nonsense = async {
        let channel = b.accept().await.unwrap();
        let (_, mut channel) = rpc::welcome(channel, DEADLINE, decide).await.unwrap();
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
