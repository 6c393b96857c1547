//! Events on disk: lines of JSON in a few files of bounded size, oldest dropped.
//!
//! `events.jsonl` is written, `events.jsonl.1` to `.3` are older. A line that is torn or garbled is
//! passed over and stays where it is; the next line begins on a line of its own.

use super::Record;
use crate::wire::Event;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// A file that has grown beyond this is put aside.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Files that are kept, the one that is written among them.
const FILES_MAX: u32 = 4;

/// Longest line that is read; longer ones are garbled.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// Lines that may wait for the disk.
const WAITING_MAX: usize = 4_096;

/// How long a flush waits for the disk.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// The files.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let shelf = Self { directory: directory.to_path_buf() };
        shelf.end_torn_line()?;
        Ok(shelf)
    }

    fn file(&self, number: u32) -> PathBuf {
        match number {
            0 => self.directory.join("events.jsonl"),
            number => self.directory.join(format!("events.jsonl.{number}")),
        }
    }

    fn append(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(self.file(0))
    }

    /// So that the next line does not become part of it.
    fn end_torn_line(&self) -> io::Result<()> {
        let mut file = match File::open(self.file(0)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() == 0 {
            return Ok(());
        }
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last == *b"\n" {
            return Ok(());
        }
        self.append()?.write_all(b"\n")
    }

    /// Hands out everything that is kept, oldest first.
    pub(super) fn oldest_first(&self, mut each: impl FnMut(Record)) -> io::Result<()> {
        for number in (0..FILES_MAX).rev() {
            self.read(number, &mut each)?;
        }
        Ok(())
    }

    /// Hands out events with numbers below `before`, newest first, until `each` has had enough.
    ///
    /// A file that is put aside meanwhile is met twice, and then known by its numbers.
    pub(super) fn newest_first(
        &self,
        mut before: u64,
        mut each: impl FnMut(Event) -> bool,
    ) -> io::Result<()> {
        for number in 0..FILES_MAX {
            let mut events = Vec::new();
            self.read(number, &mut |record| events.push(record.event))?;
            for event in events.into_iter().rev() {
                if event.id < before {
                    before = event.id;
                    if !each(event) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn read(&self, number: u32, each: &mut impl FnMut(Record)) -> io::Result<()> {
        let file = match File::open(self.file(number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if let Ok(record) = serde_json::from_slice(&line) {
                each(record);
            }
        }
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (0..FILES_MAX - 1).rev() {
            match fs::rename(self.file(number), self.file(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Job {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The one thread that writes. Ends when its handle is dropped and everything is written.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: SyncSender<Job>,
}

impl Writer {
    pub(super) fn start(shelf: Shelf) -> io::Result<Self> {
        let file = shelf.append()?;
        let bytes = file.metadata()?.len();
        let (jobs, inbox) = sync_channel(WAITING_MAX);
        let scribe = Scribe { shelf, file: Some(file), bytes };
        std::thread::Builder::new().name("events".to_owned()).spawn(move || scribe.run(&inbox))?;
        Ok(Self { jobs })
    }

    /// Hands a line over; says so when the disk is too far behind to keep it.
    pub(super) fn write(&self, record: &Record) {
        let mut line = serde_json::to_vec(record).expect("an event has only string keys");
        line.push(b'\n');
        match self.jobs.try_send(Job::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                tracing::warn!(
                    id = record.event.id,
                    "an event is in memory only: the disk is behind"
                );
            }
        }
    }

    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            wait.recv_timeout(FLUSH_WITHIN).ok();
        }
    }
}

struct Scribe {
    shelf: Shelf,
    file: Option<File>,
    bytes: u64,
}

impl Scribe {
    fn run(mut self, inbox: &Receiver<Job>) {
        while let Ok(first) = inbox.recv() {
            let (mut lines, mut waiting) = (Vec::new(), Vec::new());
            // What has piled up goes in one write and one sync.
            for job in std::iter::once(first).chain(inbox.try_iter()) {
                match job {
                    Job::Line(line) => lines.extend(line),
                    Job::Flush(done) => waiting.push(done),
                }
                if lines.len() as u64 > FILE_BYTES_MAX / 4 {
                    break;
                }
            }
            if let Err(error) = self.append(&lines) {
                tracing::warn!(%error, "cannot write events to disk; they are in memory only");
                self.file = None;
            }
            for done in waiting {
                // Whoever asked may have given up.
                done.send(()).ok();
            }
        }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.bytes > FILE_BYTES_MAX {
            self.file = None;
            self.shelf.rotate()?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                // After a failed write there may be half a line.
                self.shelf.end_torn_line()?;
                none.insert(self.shelf.append()?)
            }
        };
        file.write_all(lines)?;
        self.bytes = file.metadata()?.len();
        file.sync_data()
    }
}
