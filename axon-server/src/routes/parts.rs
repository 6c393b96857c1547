//! Answers that are made part by part, of a store that may be larger than memory.
//!
//! Invariants:
//!
//! * an answer shows one moment: it holds a snapshot until its last byte is handed over;
//! * it holds one part, and the pairs of one page, in memory; the next part is made when the client has
//!   taken the one before, on a thread that may block;
//! * an error in the middle breaks the chunked body off without its end: the client sees that what it
//!   has is not whole.

use crate::app::Shared;
use crate::problem::Problem;
use axon_core::store::Snapshot;
use axon_core::types::{KeyRange, KeyValue};
use axon_core::{Error, runtime};
use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::ops::Bound;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes gathered before a part is sent: enough to make the hop to a blocking thread cheap, little
/// enough for ten slow readers.
const PART_BYTES: usize = 256 << 10;
/// Pairs asked of the store at once.
const PAGE_ITEMS_MAX: usize = 1000;

/// What the parts are made of.
pub(super) trait Content: Send + 'static {
    /// Appends what stands before all pairs.
    fn begin(&mut self, _part: &mut Vec<u8>) {}

    /// Appends what stands for `pair`.
    fn append(&mut self, pair: &KeyValue, part: &mut Vec<u8>);

    /// Appends what stands after all pairs.
    fn end(&mut self, _part: &mut Vec<u8>) {}

    /// What is said after the body, when it was sent in parts.
    fn trailers(&self) -> Option<HeaderMap> {
        None
    }
}

/// A turn among those who read much of the store at once.
pub(super) fn turn(shared: &Shared) -> Result<OwnedSemaphorePermit, Problem> {
    shared.dumps.clone().try_acquire_owned().map_err(|_| {
        Problem::overloaded("as many readers of the whole store are at work as this node takes on")
    })
}

/// The pairs of a range on their way out. Holds the snapshot, and a turn among the readers.
pub(super) struct Parts<C> {
    snapshot: Snapshot,
    range: KeyRange,
    reverse: bool,
    content: C,
    begun: bool,
    finished: bool,
    _turn: OwnedSemaphorePermit,
}

impl<C: Content> Parts<C> {
    pub(super) fn new(
        snapshot: Snapshot,
        range: KeyRange,
        content: C,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        let (reverse, begun, finished) = (false, false, false);
        Self { snapshot, range, reverse, content, begun, finished, _turn: turn }
    }

    /// Begins with the last pair, if `reverse`.
    pub(super) fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// Reports whether the last part is made.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn content(&self) -> &C {
        &self.content
    }

    /// Makes the next part, on a thread that may block.
    pub(super) async fn next(mut self) -> Result<(Vec<u8>, Self), Error> {
        runtime::blocking(move || {
            let mut part = Vec::with_capacity(PART_BYTES + (PART_BYTES >> 2));
            self.fill(&mut part)?;
            Ok((part, self))
        })
        .await
    }

    fn fill(&mut self, part: &mut Vec<u8>) -> Result<(), Error> {
        if !std::mem::replace(&mut self.begun, true) {
            self.content.begin(part);
        }
        while part.len() < PART_BYTES {
            let pairs = if self.reverse {
                self.snapshot.page_back(&self.range, PAGE_ITEMS_MAX, PART_BYTES)?
            } else {
                self.snapshot.page(&self.range, PAGE_ITEMS_MAX, PART_BYTES)?
            };
            let Some(last) = pairs.last() else {
                self.content.end(part);
                self.finished = true;
                break;
            };
            let behind = Bound::Excluded(last.key.clone());
            *(if self.reverse { &mut self.range.end } else { &mut self.range.start }) = behind;
            for pair in &pairs {
                self.content.append(pair, part);
            }
        }
        Ok(())
    }

    /// The body that begins with the part `first`.
    pub(super) fn into_body(self, first: Vec<u8>) -> Body {
        enum Step<C> {
            Send(Vec<u8>, Box<Parts<C>>),
            Go(Box<Parts<C>>),
            Done,
        }
        let frames = stream::unfold(Step::Send(first, Box::new(self)), async |step| {
            let (part, parts) = match step {
                Step::Done => return None,
                Step::Send(part, parts) => (part, parts),
                Step::Go(parts) if parts.finished => {
                    let trailers = parts.content.trailers()?;
                    return Some((Ok(Frame::trailers(trailers)), Step::Done));
                }
                Step::Go(parts) => match parts.next().await {
                    Ok((part, parts)) => (part, Box::new(parts)),
                    Err(error) => return Some((Err(error), Step::Done)),
                },
            };
            Some((Ok(Frame::data(Bytes::from(part))), Step::Go(parts)))
        });
        Body::new(StreamBody::new(frames))
    }
}
