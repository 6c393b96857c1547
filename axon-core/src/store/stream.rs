//! All pairs of a range, one by one, in bounded memory.
//!
//! A chunk is read on a thread that may block while the one before is handed out: two chunks at most
//! are in memory, each of about 1,000 pairs or 1 MiB, however large the range is. Nothing is read
//! ahead of a reader that has stopped reading, except that one chunk.

use super::Snapshot;
use super::scan::{Budget, Pairs, Room, Scan, Step};
use crate::error::Error;
use crate::runtime;
use crate::types::{KeyValue, LogIndex, NodeId, Revision};
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;
use tokio::task::JoinHandle;

/// The pairs of a range, as of one moment. Made by [`Query::stream`](super::Query::stream).
///
/// It holds a view of the store, and with it memory and disk space, until it has ended or is
/// dropped. Poll it inside a tokio runtime.
pub struct PairStream {
    revision: Revision,
    applied_index: LogIndex,
    served_by: NodeId,
    chunk: vec::IntoIter<KeyValue>,
    /// The chunk that comes next; `None`: there is none.
    reading: Option<JoinHandle<Result<Chunk, Error>>>,
    keys_only: bool,
}

/// Pairs, and the scan that goes on behind them.
struct Chunk {
    pairs: Vec<KeyValue>,
    rest: Option<Scan>,
}

impl PairStream {
    pub(super) fn start(scan: Option<Scan>, keys_only: bool, snapshot: &Snapshot) -> Self {
        Self {
            revision: snapshot.revision(),
            applied_index: snapshot.applied_index(),
            served_by: snapshot.served_by(),
            chunk: Vec::new().into_iter(),
            reading: scan.map(|scan| read(scan, keys_only)),
            keys_only,
        }
    }

    /// Returns the revision it shows.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), axon_core::Error> {
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let store = axon_core::Cluster::open(dir.path()).await?.store();
    /// let written = store.put("a", "1").await?;
    /// assert_eq!(store.prefix("").stream().await?.revision(), written.revision);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns the last entry of the log that the replica had applied when the stream began.
    #[must_use]
    pub fn applied_index(&self) -> LogIndex {
        self.applied_index
    }

    /// Returns the replica that serves it.
    #[must_use]
    pub fn served_by(&self) -> NodeId {
        self.served_by
    }
}

/// Begins to read a chunk at once, whether or not anybody waits for it yet.
fn read(mut scan: Scan, keys_only: bool) -> JoinHandle<Result<Chunk, Error>> {
    runtime::spawn(runtime::blocking(move || {
        let room = Room { items: usize::MAX, bytes: usize::MAX };
        let mut gather = Pairs { items: Vec::new(), room, keys_only };
        let step = scan.step(&mut gather, Budget::STEP)?;
        let rest = (step == Step::More).then_some(scan);
        Ok(Chunk { pairs: gather.items, rest })
    }))
}

impl Stream for PairStream {
    type Item = Result<KeyValue, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pair) = self.chunk.next() {
                return Poll::Ready(Some(Ok(pair)));
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
            let read_chunk = ready!(Pin::new(reading).poll(context));
            self.reading = None;
            let chunk = match read_chunk {
                Ok(chunk) => chunk,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime ends, or the node of a simulation.
                Err(_) => Err(Error::ShutDown),
            };
            match chunk {
                Ok(Chunk { pairs, rest }) => {
                    self.chunk = pairs.into_iter();
                    self.reading = rest.map(|rest| read(rest, self.keys_only));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
