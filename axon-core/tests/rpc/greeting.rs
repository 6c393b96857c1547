//! The proof of the secret: who has it is heard, and nobody else learns or changes anything.

use super::*;
use axon_core::transport::memory::MemTransport;
use axon_core::transport::{Channel, GREETING_BYTES_MAX};

/// What a stranger is told: the number of the protocol.
fn refusal() -> Bytes {
    Bytes::copy_from_slice(&PROTOCOL.to_le_bytes())
}

fn opening(nonce: u8) -> Bytes {
    [&PROTOCOL.to_le_bytes()[..], &[nonce; 32]].concat().into()
}

fn differ<T>(result: &Result<T, TransportError>) -> bool {
    let expected = RefusalCode::SecretsDiffer;
    matches!(result, Err(TransportError::Refused { code, .. }) if *code == expected)
}

fn undecided(_: &Hello) -> Result<Hello, Refusal> {
    panic!("a stranger was heard")
}

async fn next(channel: &mut Channel) -> Bytes {
    channel.stream.next().await.unwrap().unwrap()
}

fn three() -> [MemTransport; 3] {
    let network = MemNetwork::new();
    ["a", "b", "between"].map(|name| network.transport(name))
}

#[tokio::test(start_paused = true)]
async fn the_same_secret_or_none_at_both_ends_is_understood() {
    for secret in [secret(), Secret::none()] {
        let ([a, b, _], introduction) = (three(), hello(1));
        let (dialed, welcomed) = tokio::join!(
            rpc::dial(&a, "b", &introduction, &secret, Some(NodeId(2)), DEADLINE),
            async {
                rpc::welcome(b.accept().await.unwrap(), &secret, DEADLINE, |_| Ok(hello(2))).await
            }
        );
        assert_eq!(dialed.unwrap().0, hello(2));
        assert_eq!(welcomed.unwrap().0, hello(1));
    }
}

#[tokio::test(start_paused = true)]
async fn different_secrets_are_refused_in_words_and_unheard() {
    let other = Secret::new(*b"the secret of cluster 8").unwrap();
    for (ours, theirs) in [
        (secret(), other.clone()),
        (other, secret()),
        (secret(), Secret::none()),
        (Secret::none(), secret()),
    ] {
        let ([a, b, _], introduction) = (three(), hello(1));
        let (dialed, welcomed) =
            tokio::join!(rpc::dial(&a, "b", &introduction, &ours, None, DEADLINE), async {
                rpc::welcome(b.accept().await.unwrap(), &theirs, DEADLINE, undecided).await
            });
        let words = dialed.as_ref().err().unwrap().to_string();
        assert!(words.contains("the secrets differ: give every member the same one"), "{words}");
        assert!(differ(&dialed) && differ(&welcomed));
    }
}

/// Carries the greeting of `a` to `b` and back, and changes byte `at` of frame `frame` (0 to 3) if
/// there is one. Returns what was carried, and whether each of the two believed the other.
async fn between(frame: usize, at: usize) -> (Vec<Bytes>, bool, bool) {
    let ([a, b, m], introduction) = (three(), hello(1));
    let carried = async {
        let mut carried = Vec::new();
        let mut dialer = m.accept().await.unwrap();
        let mut acceptor = m.connect("b", Lane::Control).await.unwrap();
        for number in 0..4 {
            let (from, to) = if number % 2 == 0 {
                (&mut dialer.stream, &mut acceptor.sink)
            } else {
                (&mut acceptor.stream, &mut dialer.sink)
            };
            let Some(Ok(mut bytes)) = from.next().await else { break };
            if number == frame && at < bytes.len() {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1;
                bytes = changed.into();
            }
            let _ = to.send(bytes.clone()).await;
            carried.push(bytes);
        }
        carried
    };
    let ours = secret();
    let (dialed, welcomed, carried) = tokio::join!(
        rpc::dial(&a, "between", &introduction, &ours, None, DEADLINE),
        async {
            let channel = b.accept().await.unwrap();
            rpc::welcome(channel, &ours, DEADLINE, |_| Ok(hello(2))).await
        },
        carried
    );
    (carried, dialed.is_ok(), welcomed.is_ok())
}

#[tokio::test(start_paused = true)]
async fn a_greeting_with_any_byte_changed_is_not_believed() {
    let (carried, dialed, welcomed) = between(usize::MAX, 0).await;
    assert!(dialed && welcomed, "unchanged, it is believed");
    for (frame, bytes) in carried.iter().enumerate() {
        for at in 0..bytes.len() {
            // The acceptor does not read the number twice: it knows it by then.
            let idle = frame >= 2 && at < 2;
            let (_, dialed, welcomed) = between(frame, at).await;
            assert_eq!(dialed, idle, "frame {frame}, byte {at}");
            assert_eq!(welcomed, idle || frame == 3, "frame {frame}, byte {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_was_overheard_cannot_be_used_again() {
    let (carried, ..) = between(usize::MAX, 0).await;
    let ([a, b, _], introduction) = (three(), hello(1));
    let ours = secret();
    let (heard, welcomed) = tokio::join!(
        async {
            let mut channel = a.connect("b", Lane::Control).await.unwrap();
            channel.sink.send(carried[0].clone()).await.unwrap();
            let challenge = next(&mut channel).await;
            assert_ne!(challenge, carried[1]);
            channel.sink.send(carried[2].clone()).await.unwrap();
            next(&mut channel).await
        },
        async { rpc::welcome(b.accept().await.unwrap(), &ours, DEADLINE, undecided).await }
    );
    assert_eq!(heard, refusal());
    assert!(differ(&welcomed));
    // Nor by who answers: the dialer has other random bytes this time.
    let (dialed, ()) =
        tokio::join!(rpc::dial(&a, "b", &introduction, &ours, None, DEADLINE), async {
            let mut channel = b.accept().await.unwrap();
            channel.stream.next().await;
            channel.sink.send(carried[1].clone()).await.unwrap();
            channel.stream.next().await;
            channel.sink.send(carried[3].clone()).await.unwrap();
        });
    assert!(differ(&dialed));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_fooled_by_his_own_words() {
    let ([a, b, _], introduction) = (three(), hello(1));
    let ours = secret();
    let (dialed, ()) =
        tokio::join!(rpc::dial(&a, "b", &introduction, &ours, None, DEADLINE), async {
            let mut mirror = b.accept().await.unwrap();
            for _ in 0..2 {
                let said = next(&mut mirror).await;
                mirror.sink.send(said).await.unwrap();
            }
        });
    assert!(differ(&dialed));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_told_the_protocol_and_nothing_else() {
    let introductions = [
        Bytes::new(),
        refusal(),
        opening(1),
        axon_core::codec::encode(&hello(1)),
        [&PROTOCOL.to_le_bytes()[..], &[0; 32], &axon_core::codec::encode(&hello(1))]
            .concat()
            .into(),
        vec![0xff; GREETING_BYTES_MAX].into(),
    ];
    for introduction in introductions {
        let [a, b, _] = three();
        let ours = secret();
        let (heard, welcomed) = tokio::join!(
            async {
                let mut channel = a.connect("b", Lane::Control).await.unwrap();
                channel.sink.send(opening(7)).await.unwrap();
                let challenge = next(&mut channel).await;
                assert_eq!((challenge.len(), &challenge[..2]), (34, &refusal()[..]));
                channel.sink.send(introduction.clone()).await.unwrap();
                let mut rest = Vec::new();
                while let Some(Ok(frame)) = channel.stream.next().await {
                    rest.push(frame);
                }
                rest
            },
            async { rpc::welcome(b.accept().await.unwrap(), &ours, DEADLINE, undecided).await }
        );
        // What has no number is no greeting, and gets no answer.
        let answered = if introduction.len() < 2 { vec![] } else { vec![refusal()] };
        assert_eq!(heard, answered, "{introduction:?}");
        assert_eq!(differ(&welcomed), !answered.is_empty());
    }
}
