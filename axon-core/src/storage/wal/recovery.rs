//! Reads a log back: what it holds, where it goes on, and whether it may be trusted.
//!
//! Changes nothing on disk; what is to be changed is returned, to be done once all is decided.
//!
//! **Torn or corrupt?** A power cut may tear the last group, and only that: all before it was
//! synced. So where no valid group follows, the log ends, unless something proves that it once went
//! on. The proof is a mark, anywhere behind that place, that says that more was durable. (A valid
//! record behind an invalid one proves nothing: parts of one unsynced group survive in any order.)
//! What stays undetected is a change in the very last group before a power cut: nothing was written
//! after it that could tell. Invariants:
//!
//! * groups are taken in whole or not at all;
//! * each group says where the one before it ended and which index follows: a segment or a group
//!   that is missing is noticed, and what an earlier torn end left behind is not taken;
//! * entries are there without gaps from the purge mark on, or opening is refused.

use super::Position;
use super::index::{Index, Slot};
use super::record::{self, ALIGN, Damage, FoundGroup, MARK_BYTES, Record};
use super::segment::{HEAD_BYTES, Name, Segment};
use super::supply::{Spare, Stock};
use crate::error::StorageError;
use crate::storage::disk::Disk;
use crate::storage::{LogState, PurgeMark, Result};
use crate::types::LogIndex;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log as it was found.
pub(super) struct Recovered {
    /// What it holds.
    pub state: LogState,
    /// Where its entries lie.
    pub index: Index,
    /// The segment in which it goes on.
    pub segment: Arc<Segment>,
    /// Where in that segment.
    pub offset: u64,
    /// Its last group, if it has one: the only one that may not be durable.
    pub last_group: Vec<u8>,
    /// Files to be used.
    pub stock: Stock,
    /// Files to be removed.
    pub leftovers: Vec<PathBuf>,
    /// Where a group lies that did not reach the disk as a whole.
    pub torn: Option<(PathBuf, u64)>,
}

/// Reads the log in `directory`.
pub(super) fn recover(
    disk: &dyn Disk,
    directory: &Path,
    log_id: u128,
    spares_max: usize,
) -> Result<Recovered> {
    let files = survey(disk, directory)?;
    let mut replay = Replay::default();
    for (at, id) in files.chain.iter().enumerate() {
        let (segment, bytes) = Segment::load(disk, directory, log_id, *id)?;
        replay.segment(segment, &bytes, at == 0)?;
    }
    let end = replay.end.take().ok_or_else(|| absent(directory))?;
    replay.check_run(&end.segment)?;
    let mut leftovers = files.leftovers;
    let mut rest = replay.unused.into_iter();
    let next = rest.next();
    leftovers.extend(rest.map(|segment| segment.path));
    let spares = keep_spares(disk, files.spares, spares_max, &mut leftovers)?;
    let mut state = replay.state;
    state.last = replay.index.last().map(LogIndex);
    Ok(Recovered {
        state,
        index: replay.index,
        segment: end.segment,
        offset: end.offset,
        last_group: replay.last_group,
        stock: Stock { next, spares, taken: 0 },
        leftovers,
        torn: replay.torn,
    })
}

struct Files {
    /// The ids of the segments that make up the log, in order, without gaps.
    chain: Vec<u64>,
    spares: Vec<PathBuf>,
    leftovers: Vec<PathBuf>,
}

fn survey(disk: &dyn Disk, directory: &Path) -> Result<Files> {
    let names = super::names(disk, directory)?;
    let mut files = Files { chain: vec![], spares: vec![], leftovers: vec![] };
    for name in names {
        match name {
            Name::Live(id) => {
                // Segments before a gap were given back, and a crash has kept their names.
                if files.chain.last().is_some_and(|last| last + 1 != id) {
                    let gone = files.chain.drain(..).map(|id| Name::Live(id).path(directory));
                    files.leftovers.extend(gone);
                }
                files.chain.push(id);
            }
            Name::Spare(_) => files.spares.push(name.path(directory)),
            Name::Unfinished(_) => files.leftovers.push(name.path(directory)),
        }
    }
    if files.chain.is_empty() { Err(absent(directory)) } else { Ok(files) }
}

fn absent(directory: &Path) -> StorageError {
    let reason = "the log is absent, but this replica has had one: without it, votes and entries \
                  that others rely on are lost; put the log back, or remove this replica from the \
                  cluster, empty its directory and let it join again";
    StorageError::Mismatch { path: directory.display().to_string(), reason: reason.into() }
}

fn keep_spares(
    disk: &dyn Disk,
    found: Vec<PathBuf>,
    spares_max: usize,
    leftovers: &mut Vec<PathBuf>,
) -> Result<Vec<Spare>> {
    let mut spares = Vec::new();
    for path in found {
        if spares.len() >= spares_max {
            leftovers.push(path);
            continue;
        }
        let bytes = disk.open(&path, false).and_then(|file| file.len());
        let bytes = bytes.map_err(|error| StorageError::io("cannot open", &path, &error))?;
        spares.push(Spare { path, bytes });
    }
    Ok(spares)
}

/// Where the log ends, as far as the segments up to now say.
struct End {
    segment: Arc<Segment>,
    /// Where the last group begins.
    last: usize,
    offset: u64,
}

impl End {
    fn position(&self) -> Position {
        Position { segment: self.segment.id, offset: self.offset }
    }

    /// Refuses a log that `bytes`, read from `from` on, prove to have gone on beyond this end.
    fn refute(&self, bytes: &[u8], from: usize, seed: u32) -> Result<()> {
        match farthest_claim(bytes, from, seed) {
            Some(claim) if claim > self.position() => {
                Err(self.segment.corrupt(self.offset, "what was synced here is damaged"))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Default)]
struct Replay {
    index: Index,
    state: LogState,
    end: Option<End>,
    /// The log has ended in an earlier segment.
    ended: bool,
    torn: Option<(PathBuf, u64)>,
    last_group: Vec<u8>,
    /// Segments behind the end, in order.
    unused: Vec<Segment>,
}

impl Replay {
    /// Takes in the next segment.
    fn segment(&mut self, segment: Segment, bytes: &[u8], oldest: bool) -> Result<()> {
        let seed = segment.seed;
        if let Some(end) = &self.end {
            let first = first_group(&segment, bytes)?;
            let follows = first.is_some_and(|first| {
                first.mark.durable == end.position() && !first.records.is_empty()
            });
            if self.ended || !follows {
                if !self.ended && begun(bytes, HEAD_BYTES as usize, seed) == Some(end.position()) {
                    self.torn = Some((segment.path.clone(), HEAD_BYTES));
                }
                self.ended = true;
                end.refute(bytes, HEAD_BYTES as usize, seed)?;
                self.unused.push(segment);
                return Ok(());
            }
        }
        // What was torn in an earlier segment has long been left behind.
        self.torn = None;
        let segment = Arc::new(segment);
        self.index.add_segment(Arc::clone(&segment));
        let end = self.groups(&segment, bytes, oldest)?;
        end.refute(bytes, end.offset as usize, seed)?;
        self.last_group = bytes[end.last..end.offset as usize].to_vec();
        // Only the first segment of a log can be without a group and yet have followers.
        if end.offset == HEAD_BYTES && oldest && segment.id != 1 {
            return Err(segment.corrupt(HEAD_BYTES, "the segment before it is missing"));
        }
        self.end = Some(end);
        Ok(())
    }

    /// Takes in the groups of a segment; returns where they end.
    fn groups(&mut self, segment: &Arc<Segment>, bytes: &[u8], oldest: bool) -> Result<End> {
        let (mut last, mut offset) = (HEAD_BYTES as usize, HEAD_BYTES as usize);
        loop {
            let first = offset == HEAD_BYTES as usize;
            let here = Position { segment: segment.id, offset: offset as u64 };
            let end = || End { segment: Arc::clone(segment), last, offset: offset as u64 };
            let group = match record::decode_group(bytes, offset, segment.seed) {
                Ok(group) => group,
                Err((at, Damage::Newer(found))) => return Err(newer(segment, at, found)),
                Err((_, Damage::Broken(_))) => {
                    let torn = begun(bytes, offset, segment.seed) == Some(here);
                    self.torn = torn.then(|| (segment.path.clone(), offset as u64));
                    return Ok(end());
                }
            };
            // The first group's predecessor lies in another segment, and was compared by then.
            if !first && group.mark.durable != here {
                return Ok(end());
            }
            if first && oldest && segment.id != 1 {
                self.index.begin_at(group.mark.next);
            }
            if group.mark.next != self.index.tail().next {
                let reason = "its entries do not follow those before it";
                return Err(segment.corrupt(offset as u64, reason));
            }
            // A mark alone is no group: what is written next takes its place. (It lies where a sector
            // begins, mostly behind the end, where only the search for proof finds it.)
            if group.records.is_empty() {
                return Ok(end());
            }
            for (at, found) in &group.records {
                self.record(segment, *at, found)?;
            }
            (last, offset) = (offset, group.end);
        }
    }

    fn record(&mut self, segment: &Segment, at: usize, found: &record::Decoded<'_>) -> Result<()> {
        match found.record {
            Record::Entry { index, .. } => {
                let slot = Slot { offset: at as u32, bytes: found.bytes as u32 };
                let appended = self.index.append(index, slot);
                appended.map_err(|reason| segment.corrupt(at as u64, &reason))?;
            }
            Record::Vote(vote) => self.state.vote = Some(Bytes::copy_from_slice(vote)),
            Record::Committed(committed) => {
                self.state.committed = Some(Bytes::copy_from_slice(committed));
            }
            Record::Truncate(last) => self.index.truncate_after(last),
            Record::Purge { upto, mark } => {
                self.index.purge(upto);
                let mark = Bytes::copy_from_slice(mark);
                self.state.purged = Some(PurgeMark { upto: LogIndex(upto), mark });
            }
            Record::Mark(_) => unreachable!("a group holds no marks"),
        }
        Ok(())
    }

    /// Checks that the entries begin after the purge mark, or at the log's beginning.
    fn check_run(&self, newest: &Segment) -> Result<()> {
        let oldest = self.index.oldest().unwrap_or(newest);
        let whole = oldest.id == 1 || self.index.is_whole();
        let missing = || oldest.corrupt(0, "the segment before it is missing");
        if whole { Ok(()) } else { Err(missing()) }
    }
}

/// Decodes the first group of a segment; `None` when there is none.
fn first_group<'a>(segment: &Segment, bytes: &'a [u8]) -> Result<Option<FoundGroup<'a>>> {
    match record::decode_group(bytes, HEAD_BYTES as usize, segment.seed) {
        Ok(group) => Ok(Some(group)),
        Err((at, Damage::Newer(found))) => Err(newer(segment, at, found)),
        Err((_, Damage::Broken(_))) => Ok(None),
    }
}

/// Reads the mark of a group whose records are damaged: what was durable before it was begun.
fn begun(bytes: &[u8], offset: usize, seed: u32) -> Option<Position> {
    match record::decode(bytes.get(offset..)?, seed) {
        Ok(record::Decoded { record: Record::Mark(mark), .. }) => Some(mark.durable),
        _ => None,
    }
}

fn newer(segment: &Segment, at: usize, found: u8) -> StorageError {
    StorageError::NewerFormat {
        path: format!("{} (record at offset {at})", segment.path.display()),
        found: u32::from(found),
        supported: u32::from(record::VERSION),
    }
}

/// Finds the mark behind `from` that says that the most was durable.
fn farthest_claim(bytes: &[u8], from: usize, seed: u32) -> Option<Position> {
    const PAGE: usize = 4096;
    const ZEROS: [u8; PAGE] = [0; PAGE];
    let mut farthest = None;
    let from = record::padded(from);
    for begin in (from..bytes.len()).step_by(PAGE) {
        let end = bytes.len().min(begin + PAGE);
        // Most of a segment that was never recycled; a mark does not begin with zeros.
        if bytes[begin..end] == ZEROS[..end - begin] {
            continue;
        }
        for at in (begin..end).step_by(ALIGN).filter(|at| record::may_be_mark(bytes, *at)) {
            let found = bytes.get(at..at + MARK_BYTES).map(|mark| record::decode(mark, seed));
            if let Some(Ok(record::Decoded { record: Record::Mark(mark), .. })) = found {
                farthest = farthest.max(Some(mark.durable));
            }
        }
    }
    farthest
}
