//! Storage that holds on to something until nothing can write through it any more.
//!
//! A data directory must stay locked for as long as a log or a state that was opened in it is there:
//! an engine writes when it is dropped, too, and the next one may have opened the same files by then.
//! Whoever has such a store in its hands (a task that is ending, a call under way) has the guard with
//! it; the last to go releases it.

use super::{
    Completion, LogMetrics, LogRecord, LogState, LogStore, PurgeMark, Replacement, Result,
    RowChange, StateStore, StateView, Storage,
};
use crate::types::LogIndex;
use bytes::Bytes;
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

/// What is released when the last holder has gone.
pub(crate) type Guard = Arc<dyn Any + Send + Sync>;

/// Makes both stores of `storage` hold `guard`.
pub(crate) fn hold(storage: Storage, guard: &Guard) -> Storage {
    Storage {
        log: Arc::new(Held { store: storage.log, _guard: guard.clone() }),
        state: Arc::new(Held { store: storage.state, _guard: guard.clone() }),
    }
}

/// A store and its guard, dropped in this order.
struct Held<S: ?Sized> {
    store: Arc<S>,
    _guard: Guard,
}

impl LogStore for Held<dyn LogStore> {
    fn opened(&self) -> LogState {
        self.store.opened()
    }

    fn append(&self, records: Vec<LogRecord>, done: Completion) {
        self.store.append(records, done);
    }

    fn save_vote(&self, vote: Bytes, done: Completion) {
        self.store.save_vote(vote, done);
    }

    fn save_committed(&self, committed: Bytes) {
        self.store.save_committed(committed);
    }

    fn truncate_after(&self, last: Option<LogIndex>, done: Completion) {
        self.store.truncate_after(last, done);
    }

    fn purge(&self, mark: PurgeMark, done: Completion) {
        self.store.purge(mark, done);
    }

    fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<LogRecord>> {
        self.store.read(range, bytes_max)
    }

    fn metrics(&self) -> LogMetrics {
        self.store.metrics()
    }

    fn close(&self) {
        self.store.close();
    }
}

impl StateStore for Held<dyn StateStore> {
    fn view(&self) -> Result<Arc<dyn StateView>> {
        self.store.view()
    }

    fn commit(&self, changes: &[RowChange]) -> Result<()> {
        self.store.commit(changes)
    }

    fn replace(&self) -> Result<Box<dyn Replacement>> {
        self.store.replace()
    }

    fn disk_bytes(&self) -> u64 {
        self.store.disk_bytes()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.store.free_bytes()
    }
}
