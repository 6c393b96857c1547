//! The one writer of the log: turns requests into groups, and groups into durable bytes.
//!
//! A synchronous core: whoever calls it (a worker thread, a simulated one, the caller of `close`)
//! holds its lock. Invariants:
//!
//! * at most one group is not durable at any time: each is one write and one sync;
//! * the index learns of a group after its sync;
//! * a segment begins with the purge mark, the vote and what is committed, so that older ones are
//!   not needed for them;
//! * behind the last group of a segment there is always a sector left for a mark;
//! * after a failure nothing is written any more.

use super::index::{Slot, Tail};
use super::record::{self, Group, MARK_BYTES, Record};
use super::segment::{HEAD_BYTES, Segment};
use super::supply::Job;
use super::{Common, Position, whole_sectors, write_lock};
use crate::bug::{self, Bug};
use crate::error::StorageError;
use crate::runtime::{self, WorkerQueue};
use crate::storage::{Completion, LogRecord, PurgeMark, Result};
use crate::types::LogIndex;
use bytes::Bytes;
use std::sync::Arc;

/// A group is written when it has grown to this.
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;
const BLOCK_BYTES: u64 = 4 << 10;

/// One call, as it waits for the writer.
pub(super) struct Request {
    pub change: Change,
    /// `None` where nobody waits.
    pub done: Option<Completion>,
}

/// What a call asks for.
pub(super) enum Change {
    Append(Vec<LogRecord>),
    Vote(Bytes),
    Committed(Bytes),
    Truncate(Option<LogIndex>),
    Purge(PurgeMark),
}

impl Change {
    /// About what it adds to a group.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(records) => {
                let entry = |record: &LogRecord| entry(record).file_bytes();
                records.iter().map(entry).sum()
            }
            Self::Vote(bytes) | Self::Committed(bytes) => bytes.len(),
            Self::Truncate(_) => 8,
            Self::Purge(mark) => mark.mark.len(),
        }
    }
}

fn entry(record: &LogRecord) -> Record<'_> {
    Record::Entry { index: record.index.0, payload: &record.payload }
}

/// What the index learns once the group is durable.
enum Step {
    Entry(u64, Slot),
    Truncate(Option<u64>),
    Purge(u64),
}

/// Where the log stands for the writer.
pub(super) struct Writer {
    common: Arc<Common>,
    jobs: WorkerQueue<Job>,
    segment: Arc<Segment>,
    /// Where the next group goes.
    offset: u64,
    /// Everything below is durable; in a segment just begun, still the end of the one before.
    durable: Position,
    tail: Tail,
    vote: Option<Bytes>,
    purged: Option<PurgeMark>,
    committed: Option<Bytes>,
    /// `committed` waits for a group to ride along with.
    committed_waits: bool,
    /// A mark behind the last group says that it is durable.
    rested: bool,
    group: Group,
    steps: Vec<Step>,
}

/// What a writer starts from.
pub(super) struct Start {
    pub segment: Arc<Segment>,
    pub offset: u64,
    pub tail: Tail,
    pub vote: Option<Bytes>,
    pub purged: Option<PurgeMark>,
    pub committed: Option<Bytes>,
}

impl Writer {
    pub(super) fn new(common: Arc<Common>, jobs: WorkerQueue<Job>, start: Start) -> Self {
        let durable = Position { segment: start.segment.id, offset: start.offset };
        Self {
            common,
            jobs,
            segment: start.segment,
            offset: start.offset,
            durable,
            tail: start.tail,
            vote: start.vote,
            purged: start.purged,
            committed: start.committed,
            committed_waits: false,
            rested: false,
            group: Group::default(),
            steps: Vec::new(),
        }
    }

    /// Makes `requests` durable; returns whom to tell, in order, and what.
    pub(super) fn process(&mut self, requests: Vec<Request>) -> (Vec<Completion>, Result<()>) {
        let mut waiting = Vec::with_capacity(requests.len());
        let mut result = self.common.failure();
        for request in requests {
            if result.is_ok() {
                result = self.stage(request.change);
            }
            waiting.extend(request.done);
        }
        let result = result.and_then(|()| self.flush()).map_err(|error| {
            self.group.clear();
            self.steps.clear();
            self.common.latch(error)
        });
        (waiting, result)
    }

    /// Says, where nothing follows at the moment, that the last group is durable. Does not sync:
    /// the mark reaches the disk with the next group's sync, or when the system writes it back.
    pub(super) fn rest(&mut self) {
        if self.rested || self.common.failure().is_err() {
            return;
        }
        if let Err(error) = self.write_mark() {
            self.common.latch(error);
        }
    }

    /// Makes the last group that was found durable, and says so, before anything relies on it.
    ///
    /// After a kill it may be known to the system and not to the disk. It is written once more: had
    /// its sync failed, the system would hold it for clean, and another sync would do nothing.
    pub(super) fn settle(&mut self, last_group: &[u8]) -> Result<()> {
        let begin = self.offset - last_group.len() as u64;
        self.write(last_group, begin)?;
        self.finish()
    }

    /// Makes everything durable, with a mark behind it.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.common.failure()?;
        self.stage_committed()?;
        self.flush()?;
        self.write_mark()?;
        // Many disks lose 4 KiB at a time: once more, in the next block.
        self.write_mark_at(self.offset.next_multiple_of(BLOCK_BYTES))?;
        self.sync()
    }

    fn stage(&mut self, change: Change) -> Result<()> {
        if !matches!(change, Change::Committed(_)) {
            self.stage_committed()?;
        }
        match change {
            Change::Append(records) => {
                for record in &records {
                    self.stage_entry(record)?;
                }
            }
            Change::Vote(vote) => {
                self.stage_record(&Record::Vote(&vote))?;
                self.vote = Some(vote);
            }
            Change::Committed(committed) => {
                self.committed = Some(committed);
                self.committed_waits = true;
            }
            Change::Truncate(last) => {
                let last = last.map(|last| last.0);
                self.stage_record(&Record::Truncate(last))?;
                self.tail.truncate_after(last);
                self.steps.push(Step::Truncate(last));
            }
            // A mark below the present one has nothing to say.
            Change::Purge(mark) if self.tail.purged >= Some(mark.upto.0) => {}
            Change::Purge(mark) => {
                self.stage_record(&Record::Purge { upto: mark.upto.0, mark: &mark.mark })?;
                self.tail.purge(mark.upto.0);
                self.steps.push(Step::Purge(mark.upto.0));
                self.purged = Some(mark);
            }
        }
        Ok(())
    }

    fn stage_committed(&mut self) -> Result<()> {
        if let (true, Some(committed)) = (self.committed_waits, self.committed.clone()) {
            self.stage_record(&Record::Committed(&committed))?;
            self.committed_waits = false;
        }
        Ok(())
    }

    fn stage_entry(&mut self, record: &LogRecord) -> Result<()> {
        let (at, bytes) = self.stage_record(&entry(record))?;
        let index = record.index.0;
        self.tail.append(index).map_err(|reason| self.misused(reason))?;
        let offset = u32::try_from(self.offset + at as u64).expect("segments end below 2 GiB");
        self.steps.push(Step::Entry(index, Slot { offset, bytes: bytes as u32 }));
        Ok(())
    }

    /// Adds a record to the group, which first goes out when it is full or its segment is.
    fn stage_record(&mut self, record: &Record<'_>) -> Result<(usize, usize)> {
        let bytes = record.file_bytes();
        if bytes > record::PAYLOAD_BYTES_MAX {
            return Err(self.misused(format!("a record of {bytes} bytes")));
        }
        if self.group.len() + bytes > GROUP_BYTES_MAX {
            self.flush()?;
        }
        if !self.fits(bytes) {
            self.flush()?;
            if !self.fits(bytes) {
                self.roll(bytes)?;
            }
        }
        if self.group.is_empty() {
            self.group.begin(self.segment.seed, self.tail.next);
        }
        Ok(self.group.push(record))
    }

    /// Reports whether the segment has room for `bytes` more, and for a mark behind them.
    fn fits(&self, bytes: usize) -> bool {
        let group = self.group.len().max(MARK_BYTES) + bytes;
        self.segment.fits_mark(whole_sectors(self.offset + group as u64))
    }

    fn misused(&self, reason: String) -> StorageError {
        StorageError::Mismatch { path: self.common.supply.directory.display().to_string(), reason }
    }

    /// Goes on in the next segment, which gets room for `bytes` beside what it begins with.
    fn roll(&mut self, bytes: usize) -> Result<()> {
        let (purged, vote) = (self.purged.clone(), self.vote.clone());
        let committed = self.committed.clone();
        let purged = purged.as_ref();
        let head = [
            purged.map(|mark| Record::Purge { upto: mark.upto.0, mark: &mark.mark }),
            vote.as_deref().map(Record::Vote),
            committed.as_deref().map(Record::Committed),
        ];
        let head = head.iter().flatten();
        let carried: usize = head.clone().map(Record::file_bytes).sum();
        let group = (MARK_BYTES + carried + bytes) as u64;
        let needed = whole_sectors(HEAD_BYTES + group) + MARK_BYTES as u64;

        let next = Arc::new(self.common.supply.take_after(&self.segment, needed)?);
        self.offset = HEAD_BYTES;
        self.segment = Arc::clone(&next);
        self.group.begin(next.seed, self.tail.next);
        for record in head {
            self.group.push(record);
        }
        self.committed_waits = false;
        // A worker that has ended prepares nothing; then the next roll does it.
        let _ = self.jobs.push(Job::PrepareAfter { id: next.id, capacity: next.capacity });
        write_lock(&self.common.index).add_segment(next);
        Ok(())
    }

    /// Writes and syncs the group, if there is one, and tells the index.
    fn flush(&mut self) -> Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        let written = self.group.len() as u64;
        self.group.seal(self.durable);
        self.write(self.group.bytes(), self.offset)?;
        if !(self.steps.is_empty() && bug::on(Bug::SkipVoteSync)) {
            self.sync()?;
        }
        self.offset += written;
        self.durable = Position { segment: self.segment.id, offset: self.offset };
        self.group.clear();
        self.rested = false;
        self.learn(written);
        Ok(())
    }

    fn learn(&mut self, written: u64) {
        let mut entries = 0;
        let mut index = write_lock(&self.common.index);
        for step in self.steps.drain(..) {
            match step {
                Step::Entry(at, slot) => {
                    entries += 1;
                    index.append(at, slot).expect("the writer staged it after the same tail");
                }
                Step::Truncate(last) => index.truncate_after(last),
                Step::Purge(upto) => index.purge(upto),
            }
        }
        let purged = index.drop_purged();
        drop(index);
        if !purged.is_empty() {
            // A worker that has ended leaves the files: the next open goes on from there.
            let _ = self.jobs.push(Job::Retire(purged));
        }
        self.common.counters().count(entries, written);
    }

    /// Writes a mark into the next sector: whatever becomes of the one in which the last group ends,
    /// the mark says that there was more.
    fn write_mark(&mut self) -> Result<()> {
        self.write_mark_at(whole_sectors(self.offset))?;
        self.rested = true;
        Ok(())
    }

    fn write_mark_at(&mut self, offset: u64) -> Result<()> {
        if !self.segment.fits_mark(offset) {
            return Ok(());
        }
        self.group.begin(self.segment.seed, self.tail.next);
        self.group.seal(self.durable);
        let written = self.write(self.group.bytes(), offset);
        self.group.clear();
        written
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = self.segment.file.write_at(bytes, offset);
        written.map_err(|error| StorageError::io("cannot write", &self.segment.path, &error))
    }

    fn sync(&self) -> Result<()> {
        let begun = runtime::now();
        let synced = self.segment.file.sync();
        self.common.counters().count_sync(begun.elapsed());
        synced.map_err(|error| StorageError::io("cannot sync", &self.segment.path, &error))
    }
}
