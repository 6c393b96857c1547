//! Reads a log from its end, and on as it grows, over rotations.
//!
//! Hides that a log is several files whose names move. A [`Position`] names a byte for as long as it
//! is kept: the launcher, which alone rotates, counts the rotations. Invariants:
//!
//! * a follower gets every line once, in order, or is told how many it did not get;
//! * a line is handed out once it is whole; one that never ends is cut;
//! * what is read at once is bounded, and so is how far a follower may fall behind.
//!
//! Everything here reads files: it may block.

use super::line::{Line, Wanted};
use super::{OLD_FILES_MAX, old, plain};
use crate::report::millis;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

/// Longest line that is handed out whole, in bytes.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Bytes that are read at once.
const READ_BYTES: u64 = 256 << 10;

/// How much of the end is looked through for the last lines.
const END_BYTES: u64 = 4 << 20;

/// How far a follower may be behind, and how far it is after it was moved on.
const BEHIND_BYTES_MAX: u64 = 1 << 20;
const CAUGHT_UP_BYTES: u64 = 64 << 10;

/// The log of a node, for the one who rotates it and those who read it.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// Grows with each rotation. Begins with the time, so that no position of an earlier launcher is
    /// mistaken for one of this.
    generation: RwLock<u64>,
}

/// A byte of a log. Written `generation-offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    generation: u64,
    offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.offset)
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(generation, offset)| {
            Some(Self { generation: generation.parse().ok()?, offset: offset.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("{text:?} is no position in a log"))
    }
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Lines that were asked for.
    pub lines: Vec<Line>,
    /// How many lines were dropped before them, of any kind.
    pub dropped: u64,
    /// Whether more were dropped than can be counted.
    pub lost: bool,
}

impl Log {
    /// The log at `path`, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, generation: RwLock::new(millis(SystemTime::now())) }
    }

    /// Puts the log aside if it has grown beyond `bytes_max`.
    pub fn rotate(&self, bytes_max: u64) -> io::Result<()> {
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        if super::rotate(&self.path, bytes_max)? {
            *generation += 1;
        }
        Ok(())
    }

    /// The last `count` lines that are `wanted` among those at the end of the log, and where it goes on.
    pub fn last(&self, count: usize, wanted: &mut Wanted) -> io::Result<(Vec<Line>, Position)> {
        let generation = self.generation.read().unwrap_or_else(PoisonError::into_inner);
        let current = part(&self.path, |length| length.saturating_sub(END_BYTES), END_BYTES)?;
        let (start, bytes) = current.unwrap_or_default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = Position { generation: *generation, offset: start + whole as u64 };

        let room = END_BYTES - bytes.len() as u64;
        let from = |length: u64| length.saturating_sub(room);
        let (older_start, mut all) = match start {
            0 => part(&old(&self.path, 1), from, room)?.unwrap_or_default(),
            start => (start, Vec::new()),
        };
        drop(generation);
        if older_start > 0 && !all.is_empty() {
            all.drain(..first_line(&all));
        }
        let skipped = if start > 0 { first_line(&bytes).min(whole) } else { 0 };
        all.extend(&bytes[skipped..whole]);
        let lines = split(&all).map(read).filter(|line| wanted.takes(line));
        let mut lines: Vec<Line> = lines.collect();
        lines.drain(..lines.len().saturating_sub(count));
        Ok((lines, end))
    }

    /// Reads on from `at`, which is moved: up to `count` lines that are `wanted`.
    pub fn read_on(
        &self,
        at: &mut Position,
        count: usize,
        wanted: &mut Wanted,
    ) -> io::Result<Batch> {
        let generation = self.generation.read().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::default();
        if at.generation > *generation || *generation - at.generation > u64::from(OLD_FILES_MAX) {
            batch.lost = true;
            let offset = self.path.metadata().map_or(0, |found| found.len());
            *at = Position { generation: *generation, offset };
            return Ok(batch);
        }
        batch.dropped = self.move_on(at, *generation)?;
        loop {
            let is_old = at.generation < *generation;
            let path = self.file(at.generation, *generation);
            let length = path.metadata().map_or(0, |found| found.len());
            if at.offset > length && !is_old {
                // Somebody else has cut it.
                at.offset = 0;
            }
            let read_bytes = part(&path, |_| at.offset, READ_BYTES)?;
            let bytes = read_bytes.map_or_else(Vec::new, |(_, bytes)| bytes);
            let ends_here = at.offset + bytes.len() as u64 >= length;
            let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
                // The rest of an old file will not grow any more; a line without end is cut.
                _ if is_old && ends_here => bytes.len(),
                None if bytes.len() as u64 == READ_BYTES => bytes.len(),
                found => found.map_or(0, |at| at + 1),
            };
            for raw in split(&bytes[..whole]) {
                if batch.lines.len() == count {
                    return Ok(batch);
                }
                at.offset += raw.len() as u64;
                batch.lines.extend(Some(read(raw)).filter(|line| wanted.takes(line)));
            }
            if !(is_old && ends_here) {
                return Ok(batch);
            }
            *at = Position { generation: at.generation + 1, offset: 0 };
        }
    }

    fn file(&self, wanted: u64, now: u64) -> PathBuf {
        match now - wanted {
            0 => self.path.clone(),
            back => old(&self.path, back as u32),
        }
    }

    /// Moves a position that is too far behind; returns how many lines that leaves out.
    fn move_on(&self, at: &mut Position, now: u64) -> io::Result<u64> {
        let length =
            |generation| self.file(generation, now).metadata().map_or(0, |found| found.len());
        let end: u64 = (at.generation..=now).map(length).sum();
        if end.saturating_sub(at.offset) <= BEHIND_BYTES_MAX {
            return Ok(0);
        }
        let mut dropped = 0;
        while at.generation < now {
            dropped += self.count_lines(*at, now, length(at.generation))?;
            *at = Position { generation: at.generation + 1, offset: 0 };
        }
        let target = length(now).saturating_sub(CAUGHT_UP_BYTES).max(at.offset);
        dropped += self.count_lines(*at, now, target)?;
        // Up to the end of the line that it now stands in.
        if target > at.offset {
            let rest = part(&self.path, |_| target, READ_BYTES)?.unwrap_or_default().1;
            at.offset = target + first_line(&rest) as u64;
            dropped += 1;
        }
        Ok(dropped)
    }

    fn count_lines(&self, from: Position, now: u64, to: u64) -> io::Result<u64> {
        let path = self.file(from.generation, now);
        let (mut at, mut lines) = (from.offset, 0);
        while at < to {
            let bytes = part(&path, |_| at, READ_BYTES.min(to - at))?.unwrap_or_default().1;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            lines += split(&bytes).filter(|line| line.ends_with(b"\n")).count() as u64;
        }
        Ok(lines)
    }
}

/// Up to `count` bytes of a file, from where `from` says by its length; `None` when it is not there.
fn part(
    path: &std::path::Path,
    from: impl FnOnce(u64) -> u64,
    count: u64,
) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let start = from(file.metadata()?.len());
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(count).read_to_end(&mut bytes)?;
    Ok(Some((start, bytes)))
}

/// Where the second line begins; the end, if there is none.
fn first_line(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

/// Lines with their ends.
fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n')
}

fn read(raw: &[u8]) -> Line {
    let cut = raw.len() > LINE_BYTES_MAX;
    let text = String::from_utf8_lossy(&raw[..raw.len().min(LINE_BYTES_MAX)]);
    let mut text = plain(text.trim_end_matches('\n'));
    if cut {
        text.push('…');
    }
    Line::parse(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::logs::line::Level;
    use crate::logs::open;
    use std::io::Write;

    struct Site {
        _directory: tempfile::TempDir,
        log: Log,
        writer: File,
    }

    fn site() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node1.log");
        let writer = open(&path).unwrap();
        Site { _directory: directory, log: Log::new(path), writer }
    }

    impl Site {
        fn write(&mut self, text: &str) {
            self.writer.write_all(text.as_bytes()).unwrap();
        }

        fn last(&self, count: usize) -> (Vec<String>, Position) {
            let (lines, at) = self.log.last(count, &mut Wanted::default()).unwrap();
            (lines.into_iter().map(|line| line.text).collect(), at)
        }

        fn on(&self, at: &mut Position) -> Vec<String> {
            let batch = self.log.read_on(at, 200, &mut Wanted::default()).unwrap();
            assert_eq!((batch.dropped, batch.lost), (0, false));
            batch.lines.into_iter().map(|line| line.text).collect()
        }
    }

    #[test]
    fn lines_are_handed_out_once_they_are_whole_over_rotations() {
        let mut site = site();
        site.write("one\ntwo\nthr");
        let (last, mut at) = site.last(2);
        assert_eq!(last, ["one", "two"]);
        assert!(site.on(&mut at).is_empty());
        site.write("ee\nfour\nfi");
        assert_eq!(site.on(&mut at), ["three", "four"]);
        site.write("ve\nsix\n");
        site.log.rotate(1).unwrap();
        site.write("seven\n");
        site.log.rotate(1).unwrap();
        site.write("eight\n");
        assert_eq!(site.on(&mut at), ["five", "six", "seven", "eight"]);
        // Nothing to rotate: nothing changes.
        site.log.rotate(1_000).unwrap();
        site.write("nine\n");
        let again: Position = at.to_string().parse().unwrap();
        assert_eq!(site.on(&mut at), ["nine"]);
        assert_eq!(site.on(&mut { again }), ["nine"], "a position can be kept and come back to");
        assert_eq!(
            site.last(9).0,
            ["seven", "eight", "nine"],
            "of the last file aside and this one"
        );
    }

    #[test]
    fn the_last_lines_go_back_into_the_file_before() {
        let mut site = site();
        site.write("one\ntwo\n");
        site.log.rotate(1).unwrap();
        assert_eq!(site.last(1).0, ["two"]);
        site.write("three\n");
        let (last, mut at) = site.last(2);
        assert_eq!(last, ["two", "three"]);
        assert!(site.on(&mut at).is_empty());
        assert_eq!(site.last(0).0.len(), 0);
    }

    #[test]
    fn a_position_that_is_kept_no_more_is_lost() {
        let mut site = site();
        site.write("zero\n");
        let (_, mut at) = site.last(1);
        for round in 0..=OLD_FILES_MAX {
            site.write(&format!("round {round}\n"));
            site.log.rotate(1).unwrap();
        }
        let batch = site.log.read_on(&mut at, 200, &mut Wanted::default()).unwrap();
        assert!(batch.lost && batch.lines.is_empty());
        site.write("new\n");
        assert_eq!(site.on(&mut at), ["new"]);
        let mut foreign: Position = "17-0".parse().unwrap();
        assert!(site.log.read_on(&mut foreign, 1, &mut Wanted::default()).unwrap().lost);
        assert!("17".parse::<Position>().is_err());
    }

    #[test]
    fn who_is_too_far_behind_is_told_how_many_lines_are_left_out() {
        let mut site = site();
        let (_, mut at) = site.last(0);
        let line = format!("{}\n", "x".repeat(99));
        let count = BEHIND_BYTES_MAX / 100 + 1_000;
        site.write(&line.repeat(count as usize / 2));
        site.log.rotate(1).unwrap();
        site.write(&line.repeat((count - count / 2) as usize));
        let (mut got, mut dropped) = (0, 0);
        loop {
            let batch = site.log.read_on(&mut at, 200, &mut Wanted::default()).unwrap();
            assert!(batch.lines.len() <= 200);
            assert!(batch.lines.iter().all(|line| line.text.len() == 99));
            if batch.lines.is_empty() {
                break;
            }
            got += batch.lines.len() as u64;
            dropped += batch.dropped;
        }
        assert_eq!(got + dropped, count);
        assert!((CAUGHT_UP_BYTES / 100 - 1..1_000).contains(&got), "{got}");
    }

    #[test]
    fn a_line_without_end_is_cut_and_a_file_cut_by_others_is_read_anew() {
        let mut site = site();
        let (_, mut at) = site.last(0);
        site.write(&"y".repeat(READ_BYTES as usize + 10));
        let got = site.on(&mut at);
        assert_eq!((got.len(), got[0].chars().count()), (1, LINE_BYTES_MAX + 1));
        site.writer.set_len(0).unwrap();
        site.write("anew\n");
        assert_eq!(site.on(&mut at), ["anew"]);
    }

    #[test]
    fn only_what_is_wanted_counts() {
        let mut site = site();
        for number in 0..100 {
            let level = if number % 10 == 0 { "WARN" } else { "INFO" };
            site.write(&format!("2026-01-01T00:00:00Z {level} line {number}\n"));
        }
        let wanted = || Wanted::new(Some(Level::Warn), Some("LINE"));
        let (last, _) = site.log.last(2, &mut wanted()).unwrap();
        assert_eq!(last[0].text, "2026-01-01T00:00:00Z WARN line 80");
        let mut at: Position = site.last(0).1;
        at.offset = 0;
        let batch = site.log.read_on(&mut at, 4, &mut wanted()).unwrap();
        assert_eq!(batch.lines.len(), 4);
        let rest = site.log.read_on(&mut at, 200, &mut wanted()).unwrap();
        assert_eq!(rest.lines.len(), 6, "nothing twice, nothing left out");
    }
}
