//! The log in memory: what a test, or a replica that may forget, needs of a [`LogStore`].
//!
//! Nothing is durable: a call is done when it has taken effect. Completions are called from a
//! worker, one after the other, so that they keep the order of the calls. Closed, it is empty.

use crate::error::StorageError;
use crate::runtime::{self, WorkerQueue};
use crate::storage::{Completion, LogMetrics, LogRecord, LogState, LogStore, PurgeMark, Result};
use crate::types::LogIndex;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A [`LogStore`] that keeps everything in memory and forgets it when it is closed or dropped.
pub struct MemLog {
    inner: Mutex<Inner>,
}

/// A completion, with what it will be called with.
type Answer = (Completion, Result<()>);

struct Inner {
    /// Consecutive; the first one follows the purge mark, where there is one.
    records: VecDeque<LogRecord>,
    purged: Option<PurgeMark>,
    /// The index that the next record must have; `None` while any will do.
    next: Option<LogIndex>,
    metrics: LogMetrics,
    failure: Option<StorageError>,
    answers: WorkerQueue<Answer>,
}

impl MemLog {
    /// Makes an empty log.
    pub fn new() -> Self {
        let answers = runtime::worker("axon-memory-log", |answers: Vec<Answer>| {
            for (done, result) in answers {
                done(result);
            }
        });
        let inner = Inner {
            records: VecDeque::new(),
            purged: None,
            next: None,
            metrics: LogMetrics::default(),
            failure: None,
            answers,
        };
        Self { inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `change`, unless there was a failure; `done` is called with how it went.
    fn change(&self, change: impl FnOnce(&mut Inner) -> Result<()>, done: Completion) {
        let mut inner = self.inner();
        if inner.failure.is_none() {
            inner.failure = change(&mut inner).err();
        }
        let result = inner.answer();
        // Still under the lock: answers are queued in the order of the calls.
        let rejected = inner.answers.push((done, result)).err();
        drop(inner);
        // A worker whose runtime has ended calls nothing any more.
        if let Some((done, _)) = rejected {
            done(Err(failed("the log's worker has ended")));
        }
    }
}

impl Default for MemLog {
    fn default() -> Self {
        Self::new()
    }
}

fn failed(message: &str) -> StorageError {
    let error = io::Error::new(io::ErrorKind::NotConnected, message);
    StorageError::io("cannot use", "the log in memory", &error)
}

impl Inner {
    fn answer(&self) -> Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn append(&mut self, records: Vec<LogRecord>) -> Result<()> {
        for record in records {
            let index = record.index;
            if let Some(next) = self.next.filter(|next| *next != index) {
                return Err(StorageError::Mismatch {
                    path: "the log in memory".into(),
                    reason: format!("entry {index} where entry {next} must follow"),
                });
            }
            self.next = Some(index.next());
            self.metrics.appended_entries += 1;
            self.metrics.appended_bytes += record.payload.len() as u64;
            self.records.push_back(record);
        }
        Ok(())
    }

    fn truncate_after(&mut self, last: Option<LogIndex>) {
        while self.records.back().is_some_and(|record| last.is_none_or(|last| record.index > last))
        {
            self.records.pop_back();
        }
        let lowest = self.purged.as_ref().map(|mark| mark.upto.next());
        self.next = match (last, self.next) {
            (Some(last), Some(next)) => Some(next.min(last.next())).max(lowest),
            (Some(_), None) => None,
            (None, _) => lowest,
        };
    }

    fn purge(&mut self, mark: PurgeMark) {
        if self.purged.as_ref().is_some_and(|purged| purged.upto >= mark.upto) {
            return;
        }
        while self.records.front().is_some_and(|record| record.index <= mark.upto) {
            self.records.pop_front();
        }
        self.next = self.next.max(Some(mark.upto.next()));
        self.purged = Some(mark);
    }
}

impl LogStore for MemLog {
    /// Nothing, always: a log in memory begins empty.
    fn opened(&self) -> LogState {
        LogState::default()
    }

    fn append(&self, records: Vec<LogRecord>, done: Completion) {
        self.change(|inner| inner.append(records), done);
    }

    /// Keeps nothing: a vote is asked for only when a log is opened, and this one is never again.
    fn save_vote(&self, _vote: Bytes, done: Completion) {
        self.change(|_| Ok(()), done);
    }

    /// Keeps nothing, as with the vote.
    fn save_committed(&self, _committed: Bytes) {}

    fn truncate_after(&self, last: Option<LogIndex>, done: Completion) {
        self.change(
            |inner| {
                inner.truncate_after(last);
                Ok(())
            },
            done,
        );
    }

    fn purge(&self, mark: PurgeMark, done: Completion) {
        self.change(
            |inner| {
                inner.purge(mark);
                Ok(())
            },
            done,
        );
    }

    fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<LogRecord>> {
        let inner = self.inner();
        inner.answer()?;
        let Some(first) = inner.records.front().map(|record| record.index.0) else {
            return Ok(Vec::new());
        };
        let skipped = range.start.0.saturating_sub(first) as usize;
        let wanted = range.end.0.saturating_sub(range.start.0.max(first)) as usize;
        let mut bytes = 0;
        let fits = inner.records.iter().skip(skipped).take(wanted).enumerate().take_while(
            |(at, record)| {
                bytes += record.payload.len();
                *at == 0 || bytes <= bytes_max
            },
        );
        Ok(fits.map(|(_, record)| record.clone()).collect())
    }

    fn metrics(&self) -> LogMetrics {
        self.inner().metrics
    }

    fn close(&self) {
        let mut inner = self.inner();
        inner.records.clear();
        inner.failure.get_or_insert_with(|| failed("the log is closed"));
    }
}
