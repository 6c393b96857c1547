//! A storage engine of one's own: two append-only journals, and everything in memory.
//!
//! An engine keeps two things for a replica: the tail of the log, and an ordered map of bytes. Here
//! each has a journal of what was asked of it, which is read back when it is opened. The suites that
//! Axon's own engines pass say whether it keeps its promises; then a replica lives on it. Run it with
//! `cargo run --example custom_storage [directory]`.
//!
//! What it lacks, to be short: its journals only grow; all rows must fit into memory, and a commit
//! copies them all while a view is open; and damage cannot be told from what a crash tore off, so a
//! bit that turns in the middle of a journal silently ends it there. Axon's own engine has all that.

use axon_core::error::StorageError;
use axon_core::runtime::{self, WorkerQueue};
use axon_core::storage::{
    Completion, LogMetrics, LogRecord, LogState, LogStore, PurgeMark, Replacement, Result,
    RowChange, Rows, Space, StateStore, StateView, Storage, StorageEngine, is_inverted,
};
use axon_core::testing::engine_suite::check_engine;
use axon_core::testing::log_suite::{LogUnderTest, check_log};
use axon_core::testing::state_suite::check_state;
use axon_core::types::LogIndex;
use axon_core::{Cluster, Error};
use bytes::{Buf, Bytes};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// The engine. What it makes in a data directory are two files.
struct JournalEngine;

const LOG: &str = "log.journal";
const STATE: &str = "state.journal";
const NEW_STATE: &str = "state.journal.new";

impl StorageEngine for JournalEngine {
    fn exists(&self, directory: &Path) -> Result<bool> {
        Ok([LOG, STATE, NEW_STATE].iter().any(|name| directory.join(name).exists()))
    }

    fn create(&self, directory: &Path, log_id: u128) -> Result<()> {
        Journal::create(&directory.join(LOG), log_id)?;
        Journal::create(&directory.join(STATE), log_id)?;
        sync_directory(directory)
    }

    fn open(&self, directory: &Path, log_id: u128) -> Result<Storage> {
        let log = JournalLog::open(&directory.join(LOG), log_id)?;
        let state = JournalState::open(directory, log_id)?;
        Ok(Storage { log: Arc::new(log), state: Arc::new(state) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> StorageError {
    move |error| StorageError::io(what, path, &error)
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("cannot sync", path))
}

// --- The journal: frames in a file.

/// An append-only file of frames, each behind its length and its checksum. The first is the id.
struct Journal {
    file: File,
    path: PathBuf,
}

fn frame(body: &[u8]) -> Vec<u8> {
    let (length, sum) = ((body.len() as u32).to_le_bytes(), crc32c::crc32c(body).to_le_bytes());
    [&length, &sum, body].concat()
}

/// Takes the first frame off `bytes`; `None` at the end, whole or torn.
fn take_frame<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    (crc32c::crc32c(body) == u32::from_le_bytes(*sum)).then_some(body)
}

impl Journal {
    /// Makes an empty journal, in place of what may be there.
    fn create(path: &Path, id: u128) -> Result<Self> {
        let file = File::create(path).map_err(failed("cannot create", path))?;
        let mut journal = Self { file, path: path.to_owned() };
        journal.append(&frame(&id.to_le_bytes()))?;
        Ok(journal)
    }

    /// Reads what the journal with this id holds, and cuts off what a crash has torn.
    fn open(path: &Path, id: u128) -> Result<(Self, Vec<Bytes>)> {
        let all = fs::read(path).map_err(failed("cannot read", path))?;
        let (mut rest, mut frames, mut whole) = (all.as_slice(), Vec::new(), 0);
        if take_frame(&mut rest) != Some(&id.to_le_bytes()) {
            let reason = "it is not the journal that belongs to this replica".into();
            return Err(StorageError::Mismatch { path: path.display().to_string(), reason });
        }
        whole += all.len() - rest.len();
        while let Some(body) = take_frame(&mut rest) {
            frames.push(Bytes::copy_from_slice(body));
            whole = all.len() - rest.len();
        }
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(failed("cannot open", path))?;
        file.set_len(whole as u64).map_err(failed("cannot cut", path))?;
        Ok((Self { file, path: path.to_owned() }, frames))
    }

    /// Makes `frames` durable.
    fn append(&mut self, frames: &[u8]) -> Result<()> {
        let written = self.file.write_all(frames).and_then(|()| self.file.sync_data());
        written.map_err(failed("cannot write", &self.path))
    }
}

// --- The log.

/// One thing that was asked of the log.
enum Call {
    Append(LogRecord),
    Vote(Bytes),
    Committed(Bytes),
    TruncateAfter(Option<LogIndex>),
    Purge(PurgeMark),
    Close,
}

impl Call {
    fn encode(&self) -> Vec<u8> {
        let (tag, number, bytes) = match self {
            Self::Append(record) => (b'a', record.index.0, &record.payload),
            Self::Vote(vote) => (b'v', 0, vote),
            Self::Committed(committed) => (b'c', 0, committed),
            Self::TruncateAfter(Some(last)) => (b't', last.0, &Bytes::new()),
            Self::TruncateAfter(None) => (b'e', 0, &Bytes::new()),
            Self::Purge(mark) => (b'p', mark.upto.0, &mark.mark),
            Self::Close => (b'.', 0, &Bytes::new()),
        };
        [&[tag], number.to_le_bytes().as_slice(), bytes].concat()
    }

    fn decode(mut frame: Bytes) -> Self {
        let (tag, index) = (frame.get_u8(), LogIndex(frame.get_u64_le()));
        match tag {
            b'a' => Self::Append(LogRecord { index, payload: frame }),
            b'v' => Self::Vote(frame),
            b'c' => Self::Committed(frame),
            b't' => Self::TruncateAfter(Some(index)),
            b'e' => Self::TruncateAfter(None),
            b'p' => Self::Purge(PurgeMark { upto: index, mark: frame }),
            _ => Self::Close,
        }
    }
}

/// What the calls so far amount to.
#[derive(Default)]
struct Records {
    payloads: BTreeMap<LogIndex, Bytes>,
    state: LogState,
    metrics: LogMetrics,
    /// The first failure. Nothing succeeds after it.
    failure: Option<StorageError>,
}

impl Records {
    fn next(&self) -> Option<LogIndex> {
        let last = self.payloads.last_key_value().map(|(index, _)| *index);
        last.or(self.state.purged.as_ref().map(|mark| mark.upto)).map(LogIndex::next)
    }

    fn apply(&mut self, call: Call) -> Result<()> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match call {
            Call::Append(LogRecord { index, payload }) => {
                if self.next().is_some_and(|next| next != index) {
                    return Err(self.fail(format!("entry {index} does not follow")));
                }
                self.metrics.appended_entries += 1;
                self.metrics.appended_bytes += payload.len() as u64;
                self.payloads.insert(index, payload);
            }
            Call::Vote(vote) => self.state.vote = Some(vote),
            Call::Committed(committed) => self.state.committed = Some(committed),
            Call::TruncateAfter(last) => {
                self.payloads.retain(|index, _| last.is_some_and(|last| *index <= last));
            }
            Call::Purge(mark) => {
                if self.state.purged.as_ref().is_none_or(|purged| purged.upto < mark.upto) {
                    self.payloads = self.payloads.split_off(&mark.upto.next());
                    self.state.purged = Some(mark);
                }
            }
            Call::Close => drop(self.fail("the log is closed".into())),
        }
        Ok(())
    }

    fn fail(&mut self, reason: String) -> StorageError {
        let failure = StorageError::Mismatch { path: LOG.into(), reason };
        self.failure.get_or_insert(failure).clone()
    }
}

/// Calls that are made and completed together.
type Request = (Vec<Call>, Completion);

/// The log. Calls go through the queue of a worker: nobody waits for the disk, and what piles up
/// while it is busy shares the next sync.
struct JournalLog {
    opened: LogState,
    shared: Arc<Mutex<Records>>,
    queue: WorkerQueue<Request>,
}

impl JournalLog {
    fn open(path: &Path, log_id: u128) -> Result<Self> {
        let (journal, frames) = Journal::open(path, log_id)?;
        let mut records = Records::default();
        for frame in frames {
            records.apply(Call::decode(frame))?;
        }
        records.metrics = LogMetrics::default();
        let last = records.payloads.last_key_value().map(|(index, _)| *index);
        let opened = LogState { last, ..records.state.clone() };
        let shared = Arc::new(Mutex::new(records));
        let (mut journal, worked) = (journal, shared.clone());
        let queue = runtime::worker("journal", move |requests| {
            write_group(&mut journal, &worked, requests);
        });
        Ok(Self { opened, shared, queue })
    }

    fn call(&self, calls: Vec<Call>, done: Completion) {
        if let Err((_, done)) = self.queue.push((calls, done)) {
            done(Err(lock(&self.shared).fail("its worker has ended".into())));
        }
    }
}

/// One write and one sync for all that waited.
fn write_group(journal: &mut Journal, shared: &Mutex<Records>, requests: Vec<Request>) {
    let (mut frames, mut answers) = (Vec::new(), Vec::new());
    for (calls, done) in requests {
        let mut records = lock(shared);
        let mut result = records.failure.clone().map_or(Ok(()), Err);
        for call in calls {
            let encoded = if matches!(call, Call::Close) { vec![] } else { frame(&call.encode()) };
            result = result.and_then(|()| records.apply(call));
            if result.is_ok() {
                frames.extend(encoded);
            }
        }
        answers.push((done, result));
    }
    let synced = if frames.is_empty() { Ok(()) } else { journal.append(&frames) };
    let mut records = lock(shared);
    records.metrics.syncs += 1;
    records.metrics.disk_bytes = journal.file.metadata().map_or(0, |file| file.len());
    if let Err(error) = &synced {
        records.failure.get_or_insert_with(|| error.clone());
    }
    drop(records);
    for (done, result) in answers {
        done(synced.clone().and(result));
    }
}

impl LogStore for JournalLog {
    fn opened(&self) -> LogState {
        self.opened.clone()
    }

    fn append(&self, records: Vec<LogRecord>, done: Completion) {
        self.call(records.into_iter().map(Call::Append).collect(), done);
    }

    fn save_vote(&self, vote: Bytes, done: Completion) {
        self.call(vec![Call::Vote(vote)], done);
    }

    fn save_committed(&self, committed: Bytes) {
        self.call(vec![Call::Committed(committed)], Box::new(drop));
    }

    fn truncate_after(&self, last: Option<LogIndex>, done: Completion) {
        self.call(vec![Call::TruncateAfter(last)], done);
    }

    fn purge(&self, mark: PurgeMark, done: Completion) {
        self.call(vec![Call::Purge(mark)], done);
    }

    fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<LogRecord>> {
        let records = lock(&self.shared);
        if let Some(failure) = &records.failure {
            return Err(failure.clone());
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (index, payload) in records.payloads.range(range) {
            bytes += payload.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(LogRecord { index: *index, payload: payload.clone() });
        }
        Ok(found)
    }

    fn metrics(&self) -> LogMetrics {
        lock(&self.shared).metrics
    }

    fn close(&self) {
        let (sender, closed) = mpsc::channel::<()>();
        self.call(vec![Call::Close], Box::new(move |_| drop(sender)));
        // Everything that was called before is answered before this ends.
        let _ = closed.recv();
    }
}

impl Drop for JournalLog {
    fn drop(&mut self) {
        self.close();
    }
}

// --- The state.

/// One ordered map for each space.
#[derive(Clone, Default)]
struct Table([BTreeMap<Bytes, Bytes>; Space::ALL.len()]);

impl Table {
    fn space(&self, space: Space) -> &BTreeMap<Bytes, Bytes> {
        &self.0[space as usize - 1]
    }

    fn set(&mut self, space: Space, key: Bytes, value: Option<Bytes>) {
        let map = &mut self.0[space as usize - 1];
        match value {
            Some(value) => drop(map.insert(key, value)),
            None => drop(map.remove(&key)),
        }
    }

    /// Applies a frame: rows of space, whether there is a value, two lengths, and the bytes.
    fn apply(&mut self, mut frame: Bytes) {
        while frame.has_remaining() {
            let (space, present) = (Space::ALL[frame.get_u8() as usize - 1], frame.get_u8() == 1);
            let (key, value) = (frame.get_u32_le() as usize, frame.get_u32_le() as usize);
            let (key, value) = (frame.split_to(key), frame.split_to(value));
            self.set(space, key, present.then_some(value));
        }
    }
}

fn encode_row(body: &mut Vec<u8>, space: Space, key: &[u8], value: Option<&[u8]>) {
    body.extend([space as u8, u8::from(value.is_some())]);
    body.extend((key.len() as u32).to_le_bytes());
    body.extend((value.map_or(0, <[u8]>::len) as u32).to_le_bytes());
    body.extend(key);
    body.extend(value.unwrap_or_default());
}

/// The state: a frame is a commit, whole or not there. A view shares the table of its moment.
#[derive(Clone)]
struct JournalState {
    directory: PathBuf,
    id: u128,
    journal: Arc<Mutex<Journal>>,
    present: Arc<Mutex<Arc<Table>>>,
}

impl JournalState {
    fn open(directory: &Path, id: u128) -> Result<Self> {
        let (journal, frames) = Journal::open(&directory.join(STATE), id)?;
        let mut table = Table::default();
        for frame in frames {
            table.apply(frame);
        }
        Ok(Self {
            directory: directory.to_owned(),
            id,
            journal: Arc::new(Mutex::new(journal)),
            present: Arc::new(Mutex::new(Arc::new(table))),
        })
    }
}

impl StateStore for JournalState {
    fn view(&self) -> Result<Arc<dyn StateView>> {
        Ok(Arc::new(JournalView(lock(&self.present).clone())))
    }

    fn commit(&self, changes: &mut dyn Iterator<Item = RowChange>) -> Result<()> {
        let mut journal = lock(&self.journal);
        let changes: Vec<_> = changes.collect();
        let mut body = Vec::new();
        for RowChange { space, key, value } in &changes {
            encode_row(&mut body, *space, key, value.as_deref());
        }
        journal.append(&frame(&body))?;
        let mut present = lock(&self.present);
        let table = Arc::make_mut(&mut present);
        for RowChange { space, key, value } in changes {
            table.set(space, key, value);
        }
        Ok(())
    }

    fn replace(&self) -> Result<Box<dyn Replacement>> {
        let journal = Journal::create(&self.directory.join(NEW_STATE), self.id)?;
        let (store, table) = (self.clone(), Table::default());
        Ok(Box::new(JournalReplacement { store, journal, table, body: Vec::new() }))
    }

    fn disk_bytes(&self) -> u64 {
        lock(&self.journal).file.metadata().map_or(0, |file| file.len())
    }
}

struct JournalView(Arc<Table>);

impl StateView for JournalView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.space(space).get(key).cloned())
    }

    fn scan(
        &self,
        space: Space,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        reverse: bool,
    ) -> Result<Rows<'_>> {
        if is_inverted(start, end) {
            return Ok(Box::new(std::iter::empty()));
        }
        let rows = self.0.space(space).range::<[u8], _>((start, end));
        let rows = rows.map(|(key, value)| Ok((key.clone(), value.clone())));
        Ok(if reverse { Box::new(rows.rev()) } else { Box::new(rows) })
    }
}

/// A new state beside the present one, in a file of its own until it is whole.
struct JournalReplacement {
    store: JournalState,
    journal: Journal,
    table: Table,
    body: Vec<u8>,
}

/// Rows gathered before they are written.
const LOAD_BYTES: usize = 1 << 20;

impl JournalReplacement {
    fn flush(&mut self) -> Result<()> {
        let body = mem::take(&mut self.body);
        self.journal.append(&frame(&body))?;
        self.table.apply(body.into());
        Ok(())
    }
}

impl Replacement for JournalReplacement {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        encode_row(&mut self.body, space, key, Some(value));
        if self.body.len() > LOAD_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()?;
        let Self { store, mut journal, table, .. } = *self;
        let mut present = lock(&store.journal);
        let path = store.directory.join(STATE);
        fs::rename(&journal.path, &path).map_err(failed("cannot rename", &path))?;
        sync_directory(&store.directory)?;
        journal.path = path;
        *present = journal;
        *lock(&store.present) = Arc::new(table);
        Ok(())
    }
}

// --- Does it keep its promises?

fn check(scratch: &Path) {
    let made = Mutex::new(0);
    let directory = || {
        let mut made = lock(&made);
        *made += 1;
        let path = scratch.join(made.to_string());
        fs::create_dir(&path).expect("the directory is new");
        JournalEngine.create(&path, 7).expect("the engine makes log and state");
        path
    };
    check_engine(&JournalEngine, true);
    check_log(|| {
        let path = directory().join(LOG);
        let open = move || -> Arc<dyn LogStore> {
            Arc::new(JournalLog::open(&path, 7).expect("the log is there"))
        };
        LogUnderTest { open: Box::new(open), durable: true, fail_next_sync: None }
    });
    let open = |path: &Path| JournalState::open(path, 7).expect("the state is there");
    check_state(|| open(&directory()), |store| open(&store.directory));
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| scratch.path().join("data"), PathBuf::from);
    check(scratch.path());
    println!("two journals keep the promises of a storage engine");

    let replica = start(&path).await?;
    let written = replica.store().put("greeting", "hello from a journal").await?;
    replica.shutdown().await?;
    drop(replica);

    let replica = start(&path).await?;
    let found = replica.store().get("greeting").await?.ok_or("the value must be there")?;
    println!("after a restart: {:?} at revision {}", found.value, found.mod_revision);
    assert_eq!(found.mod_revision, written.revision);
    replica.shutdown().await?;
    drop(replica);

    // Without its engine the directory is not taken for a new one.
    let refused = Cluster::open(&path).await.err().ok_or("it must be refused")?;
    println!("another engine is refused: {refused}");
    Ok(())
}

async fn start(path: &Path) -> std::result::Result<Cluster, Error> {
    let builder = Cluster::builder().data_dir(path).storage(Arc::new(JournalEngine)).init();
    let replica = builder.start().await?;
    replica.wait_ready(Duration::from_secs(30)).await?;
    Ok(replica)
}
