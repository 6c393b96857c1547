//! What every transport must do, as a suite that a plug-in's author runs.
//!
//! Relies on nothing but the contract in [`transport`](crate::transport). Each check waits on a
//! condition, under a deadline of [`DEADLINE`], and panics with the sentence that is violated. It runs
//! on any tokio runtime, with or without a paused clock.
//!
//! It does not measure, and it does not check what a transport does under a broken network: that
//! depends on how it can be broken.

use crate::error::TransportError;
use crate::runtime;
use crate::transport::{
    Channel, FRAME_BYTES_MAX, FrameSink, FrameStream, GREETING_BYTES_MAX, GREETING_FRAMES, Lane,
    Transport,
};
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a check may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// A sink that has taken nothing for this long counts as stopped.
const STOPPED: Duration = Duration::from_secs(1);

/// What a transport may buffer for a reader that does not read, the operating system's share included.
const BUFFERED_BYTES_MAX: usize = 64 << 20;

/// Checks a transport against the contract.
///
/// `make` returns a new transport, listening on an address of its own, that can reach those that
/// it returned before.
///
/// # Panics
/// When the contract is violated.
pub async fn check_transport(make: impl AsyncFn() -> Arc<dyn Transport>) {
    within("frames arrive in order and whole, in both directions", async {
        frames_arrive_in_order_and_whole(open(&make).await).await;
    })
    .await;
    within("a frame over the limit is refused by the sink", async {
        a_frame_over_the_limit_is_refused(open(&make).await).await;
    })
    .await;
    within("what was flushed arrives before the end", async {
        what_was_flushed_arrives_before_the_end(open(&make).await).await;
    })
    .await;
    within("dropping either end ends the other", async {
        let pair = open(&make).await;
        dropping_an_end_ends_the_other(pair.dialed, pair.accepted).await;
        let pair = open(&make).await;
        dropping_an_end_ends_the_other(pair.accepted, pair.dialed).await;
    })
    .await;
    within("a reader that does not read stops the writer", async {
        let pair = open(&make).await;
        an_idle_reader_stops_the_writer(pair.dialed, pair.accepted).await;
        let pair = open(&make).await;
        an_idle_reader_stops_the_writer(pair.accepted, pair.dialed).await;
    })
    .await;
    within("channels do not mix", channels_do_not_mix(make().await, make().await)).await;
    within("dialling nobody fails as unreachable", async {
        dialling_nobody_fails(make().await, make().await).await;
    })
    .await;
    within("accept and connect are cancel safe", async {
        cancelled_calls_leave_nothing_behind(make().await, make().await).await;
    })
    .await;
}

async fn within<F: Future>(what: &str, check: F) -> F::Output {
    timeout(DEADLINE, check).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// Two ends of a channel. The transports live as long as it does.
struct Pair {
    dialed: Channel,
    accepted: Channel,
    _transports: [Arc<dyn Transport>; 2],
}

async fn open(make: &impl AsyncFn() -> Arc<dyn Transport>) -> Pair {
    let transports = [make().await, make().await];
    let [a, b] = &transports;
    let (mut dialed, mut accepted) = join(&**a, &**b).await;
    // Past the frames whose length is bounded by more than the contract of a frame.
    for _ in 0..GREETING_FRAMES {
        exchange(&mut dialed, &mut accepted, GREETING_BYTES_MAX).await;
        exchange(&mut accepted, &mut dialed, GREETING_BYTES_MAX).await;
    }
    Pair { dialed, accepted, _transports: transports }
}

async fn exchange(from: &mut Channel, to: &mut Channel, length: usize) {
    let frame = pattern(length, length);
    from.sink.send(frame.clone()).await.expect("an open channel takes frames");
    assert!(to.stream.next().await == Some(Ok(frame)), "a greeting did not arrive as it was");
}

async fn join(from: &dyn Transport, to: &dyn Transport) -> (Channel, Channel) {
    let address = to.local_address();
    let (dialed, accepted) =
        futures_util::future::join(from.connect(&address, Lane::Control), to.accept()).await;
    (
        dialed.expect("a transport that listens can be dialled"),
        accepted.expect("a dialled transport accepts"),
    )
}

/// A frame whose every byte depends on its number and its place.
fn pattern(number: usize, length: usize) -> Bytes {
    (0..length).map(|place| (number * 131 + place + (place >> 8)) as u8).collect()
}

async fn send_all(mut sink: FrameSink, frames: Vec<Bytes>) -> FrameSink {
    for (number, frame) in frames.into_iter().enumerate() {
        sink.feed(frame).await.expect("an open channel takes frames");
        if number % 3 == 0 {
            sink.flush().await.expect("an open channel flushes");
        }
    }
    sink.flush().await.expect("an open channel flushes");
    sink
}

async fn expect_all(mut stream: FrameStream, frames: &[Bytes]) -> FrameStream {
    for (number, expected) in frames.iter().enumerate() {
        let frame = stream.next().await.expect("the channel is open").expect("it is not broken");
        assert_eq!(frame.len(), expected.len(), "frame {number} has another length");
        assert!(frame == *expected, "frame {number} has other bytes");
    }
    stream
}

async fn frames_arrive_in_order_and_whole(pair: Pair) {
    let sizes = [0, 1, 0, 7, 300, 4095, 8191, 8192, 8193, 65_535, 65_536, 65_537, 1 << 20, 3];
    let mut frames: Vec<_> = sizes.iter().enumerate().map(|(n, size)| pattern(n, *size)).collect();
    frames.push(pattern(99, FRAME_BYTES_MAX));
    frames.extend((0..2_000).map(|number| pattern(number, number % 500)));
    let Pair { dialed, accepted, _transports } = pair;
    let _ends = futures_util::future::join4(
        send_all(dialed.sink, frames.clone()),
        expect_all(accepted.stream, &frames),
        send_all(accepted.sink, frames.clone()),
        expect_all(dialed.stream, &frames),
    )
    .await;
}

async fn a_frame_over_the_limit_is_refused(mut pair: Pair) {
    let got = FRAME_BYTES_MAX + 1;
    let refused = pair.dialed.sink.feed(Bytes::from(vec![0; got])).await;
    assert_eq!(refused, Err(TransportError::FrameTooLarge { limit: FRAME_BYTES_MAX, got }));
}

async fn what_was_flushed_arrives_before_the_end(pair: Pair) {
    let Pair { dialed, accepted, _transports } = pair;
    let frames: Vec<_> = (0..200).map(|number| pattern(number, 100)).collect();
    let sink = send_all(dialed.sink, frames.clone()).await;
    drop((sink, dialed.stream));
    let mut stream = expect_all(accepted.stream, &frames).await;
    assert!(stream.next().await.is_none(), "an orderly end is no error");
}

async fn dropping_an_end_ends_the_other(gone: Channel, mut left: Channel) {
    drop(gone);
    let last = left.stream.next().await;
    assert!(!matches!(last, Some(Ok(_))), "nothing was sent, but a frame came");
    // A socket learns that its peer is gone from the answer to a write.
    while left.sink.send(Bytes::from_static(b"anybody?")).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

async fn an_idle_reader_stops_the_writer(writer: Channel, reader: Channel) {
    let (mut sink, mut stream) = (writer.sink, reader.stream);
    let frame = pattern(1, 64 << 10);
    let mut sent = 0;
    while let Ok(taken) = timeout(STOPPED, sink.feed(frame.clone())).await {
        taken.expect("an open channel takes frames");
        sent += 1;
        let bytes = sent * frame.len();
        assert!(bytes <= BUFFERED_BYTES_MAX, "{bytes} bytes were taken for an idle reader");
    }
    assert!(sent > 0, "an empty channel takes a frame");
    // Once it is read, all that was taken arrives, and the writer goes on.
    let flushing = runtime::spawn(async move {
        sink.flush().await.expect("a channel that is read flushes");
        sink
    });
    for _ in 0..sent {
        let arrived = stream.next().await.expect("the channel is open").expect("not broken");
        assert!(arrived == frame, "a frame was damaged while it waited");
    }
    let mut sink = flushing.await.expect("flushing does not panic");
    sink.send(frame.clone()).await.expect("a channel that is read takes frames");
    assert!(stream.next().await.is_some_and(|arrived| arrived == Ok(frame)));
}

async fn channels_do_not_mix(a: Arc<dyn Transport>, b: Arc<dyn Transport>) {
    const CHANNELS: usize = 40;
    const FRAMES: usize = 50;
    let address = b.local_address();
    let acceptor = runtime::spawn(async move {
        let mut echoes = Vec::new();
        for _ in 0..CHANNELS {
            let mut channel = b.accept().await.expect("a dialled transport accepts");
            echoes.push(runtime::spawn(async move {
                while let Some(Ok(frame)) = channel.stream.next().await {
                    channel.sink.send(frame).await.expect("the dialer still listens");
                }
            }));
        }
        futures_util::future::join_all(echoes).await
    });
    let talk = async |number: usize| {
        let connected = a.connect(&address, Lane::Replication).await;
        let mut channel = connected.expect("a transport that listens can be dialled");
        for frame in 0..FRAMES {
            let frame = pattern(number, 1 + frame * 20);
            channel.sink.send(frame.clone()).await.expect("an open channel takes frames");
            let echoed = channel.stream.next().await;
            assert!(echoed == Some(Ok(frame)), "channel {number} answers with another's frame");
        }
    };
    futures_util::future::join_all((0..CHANNELS).map(talk)).await;
    for echo in acceptor.await.expect("the acceptor does not panic") {
        echo.expect("an echo does not panic");
    }
}

async fn dialling_nobody_fails(a: Arc<dyn Transport>, gone: Arc<dyn Transport>) {
    let address = gone.local_address();
    drop(gone);
    // It may take a moment until the address is free.
    loop {
        match a.connect(&address, Lane::Control).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(TransportError::Unreachable { address: named, .. }) => {
                assert_eq!(named, address, "the error names whom it could not reach");
                return;
            }
            Err(other) => panic!("not `Unreachable` but {other:?}"),
        }
    }
}

async fn cancelled_calls_leave_nothing_behind(a: Arc<dyn Transport>, b: Arc<dyn Transport>) {
    assert!(b.accept().now_or_never().is_none(), "nobody has dialled");
    drop(a.connect(&b.local_address(), Lane::Control).now_or_never());
    // What was cancelled may still come out of `accept`, closed; ours comes, and works.
    let (dialed, accepted) = join_past_the_closed(&*a, &*b).await;
    let frames = [pattern(1, 10)];
    let _sink = send_all(dialed.sink, frames.to_vec()).await;
    let _stream = expect_all(accepted.stream, &frames).await;
    // An accepted channel that is dropped unheard ends the dialer's.
    let (mut dialed, accepted) = join_past_the_closed(&*a, &*b).await;
    drop(accepted);
    assert!(!matches!(dialed.stream.next().await, Some(Ok(_))), "a frame came from nobody");
}

/// Joins two transports, when an earlier dial between them was given up half-way.
async fn join_past_the_closed(from: &dyn Transport, to: &dyn Transport) -> (Channel, Channel) {
    let (mut dialed, mut accepted) = join(from, to).await;
    let mark = Bytes::from_static(b"mark");
    dialed.sink.send(mark.clone()).await.expect("an open channel takes frames");
    while accepted.stream.next().await != Some(Ok(mark.clone())) {
        accepted = to.accept().await.expect("a dialled transport accepts");
    }
    (dialed, accepted)
}
