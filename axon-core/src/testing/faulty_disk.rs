//! A disk in memory that loses, tears and refuses, as real ones do.
//!
//! It keeps what is durable apart from what merely was written:
//!
//! * a write is durable after `sync` of its file, a name after `sync_dir` of its directory;
//! * [`crash`](FaultyDisk::crash) gives the disk that is found afterwards: of the rest, each
//!   sector of 512 bytes holds a seeded choice of one of its states since the last sync, and of the
//!   changes of names any may be missing;
//! * a sync that fails loses what it should have made durable, for good, and a later one does not
//!   bring it back: that is what real kernels do, and why a sync is never retried.
//!
//! It has as much space as is wanted until [`leave_free`](FaultyDisk::leave_free) says otherwise; then
//! a write that goes beyond what a file has taken, or an allocation, may find it full. A hole that a
//! length leaves takes none.
//!
//! A clone is the same disk. Files may stay open across renames and removals.

use super::dice::Dice;
use crate::storage::disk::{Disk, DiskFile, DiskSpace};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;
/// What there is of a disk of which nobody said how large it is.
const BOUNDLESS: u64 = 1 << 50;

/// What a refused call is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The device failed (`EIO`).
    Io,
    /// There is no space left (`ENOSPC`).
    NoSpace,
}

impl Fault {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Io => 5,
            Self::NoSpace => 28,
        })
    }
}

/// A disk in memory. See the module's essay.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Contents>,
    directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since their directories were synced, in order.
    renamings: Vec<Renaming>,
    /// Calls that changed something.
    operations: u64,
    writes: u64,
    syncs: u64,
    /// No call from this one on has an effect.
    power_ends_at: Option<u64>,
    failing_write: Option<(u64, Fault)>,
    failing_sync: Option<(u64, Fault)>,
    /// How large it is, and how much of it belongs to somebody else, once that was said.
    limits: Option<(u64, u64)>,
}

#[derive(Clone)]
enum Renaming {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl Renaming {
    fn path(&self) -> &Path {
        match self {
            Self::Create(path, _) | Self::Rename(_, path, _) | Self::Remove(path) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What was done to `durable` to come to `now`.
    unsynced: Vec<Change>,
    /// Bytes of the disk that it takes: up to the end of what was written or allocated.
    taken: u64,
    /// Bytes that were set aside and never written.
    allocated: u64,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Contents {
    fn apply(&mut self, change: Change) {
        match &change {
            Change::Write(offset, bytes) => {
                let (begin, end) = (*offset as usize, *offset as usize + bytes.len());
                if self.now.len() < end {
                    self.now.resize(end, 0);
                }
                self.now[begin..end].copy_from_slice(bytes);
                self.taken = self.taken.max(end as u64);
            }
            Change::Length(len) => {
                self.now.resize(*len as usize, 0);
                self.taken = self.taken.min(*len);
            }
        }
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write(offset, bytes) => {
                    let (begin, end) = (offset as usize, offset as usize + bytes.len());
                    if self.durable.len() < end {
                        self.durable.resize(end, 0);
                    }
                    self.durable[begin..end].copy_from_slice(&bytes);
                }
                Change::Length(len) => self.durable.resize(len as usize, 0),
            }
        }
    }

    /// What is found after a crash: each sector in one of its states since the last sync.
    fn survivor(&self, fate: Fate, dice: &mut Dice) -> Vec<u8> {
        let mut lens = vec![self.durable.len()];
        for change in &self.unsynced {
            let len = *lens.last().expect("it begins with one");
            lens.push(match change {
                Change::Write(offset, bytes) => len.max(*offset as usize + bytes.len()),
                Change::Length(len) => *len as usize,
            });
        }
        let len = lens[fate.states(lens.len() - 1, dice)];
        let mut found = self.durable.clone();
        found.resize(len, 0);
        for sector in self.unsynced_sectors() {
            let begin = sector * SECTOR;
            let touches = |change: &&Change| match change {
                Change::Write(offset, bytes) => {
                    let (from, to) = (*offset as usize, *offset as usize + bytes.len());
                    from < begin + SECTOR && to > begin
                }
                Change::Length(_) => false,
            };
            let changes: Vec<&Change> = self.unsynced.iter().filter(touches).collect();
            for change in &changes[..fate.states(changes.len(), dice)] {
                let Change::Write(offset, bytes) = change else { continue };
                let offset = *offset as usize;
                let from = begin.max(offset);
                let to = (begin + SECTOR).min(offset + bytes.len()).min(len);
                if from < to {
                    found[from..to].copy_from_slice(&bytes[from - offset..to - offset]);
                }
            }
        }
        found
    }

    fn unsynced_sectors(&self) -> BTreeSet<usize> {
        let sectors = self.unsynced.iter().map(|change| match change {
            Change::Write(offset, bytes) => {
                let (begin, end) = (*offset as usize, *offset as usize + bytes.len());
                begin / SECTOR..end.div_ceil(SECTOR)
            }
            Change::Length(_) => 0..0,
        });
        sectors.flatten().collect()
    }
}

/// What becomes of what is not durable.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    Torn,
}

impl Fate {
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 => Self::Lost,
            1 => Self::Kept,
            _ => Self::Torn,
        }
    }

    /// How many of `changes`, made one after the other, have reached the disk.
    fn states(self, changes: usize, dice: &mut Dice) -> usize {
        match self {
            Self::Lost => 0,
            Self::Kept => changes,
            Self::Torn => dice.below(changes as u64 + 1) as usize,
        }
    }
}

impl FaultyDisk {
    /// Makes an empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: returns the disk that is found when it is back. This one is dead from then
    /// on, as is everything that still writes to it.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut state = self.state();
        state.power_ends_at = Some(0);
        let mut dice = Dice::new(seed);
        let mut names = state.durable_names.clone();
        let fate = Fate::draw(&mut dice);
        for renaming in &state.renamings {
            if fate.states(1, &mut dice) == 1 {
                renaming.apply(&mut names);
            }
        }
        let mut image = State { directories: state.directories.clone(), ..State::default() };
        for (path, file) in names {
            let fate = Fate::draw(&mut dice);
            image.add(path, state.files[file].survivor(fate, &mut dice));
        }
        Self(Arc::new(Mutex::new(image)))
    }

    /// Copies the disk as it is seen now, with everything durable.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.state();
        let mut image = State { directories: state.directories.clone(), ..State::default() };
        for (path, file) in &state.names {
            image.add(path.clone(), state.files[*file].now.clone());
        }
        Self(Arc::new(Mutex::new(image)))
    }

    /// Counts the calls so far that changed something, or were refused doing so.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Counts the syncs of files so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Ends the power after `operations` in all (see [`operations`](Self::operations)): later ones
    /// fail and change nothing. What is left is up to [`crash`](Self::crash).
    pub fn cut_power_after(&self, operations: u64) {
        self.state().power_ends_at = Some(operations);
    }

    /// Refuses the `nth` write from now on, the next one being the first; it writes nothing.
    pub fn fail_write(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        state.failing_write = Some((state.writes + nth, fault));
    }

    /// Refuses the `nth` sync of a file from now on, the next one being the first.
    pub fn fail_sync(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        state.failing_sync = Some((state.syncs + nth, fault));
    }

    /// Makes it a disk of `total` bytes of which others take as much as leaves `free` of them now.
    pub fn leave_free(&self, free: u64, total: u64) {
        let mut state = self.state();
        let others = total.saturating_sub(state.taken() + free);
        state.limits = Some((total, others));
    }

    /// Lists the files, sorted.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// Returns what a file holds; `None` when there is none.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|file| state.files[*file].now.clone())
    }

    /// Flips a bit of a file, durably.
    ///
    /// # Panics
    /// When the file does not have that byte.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) {
        self.damage(path, |bytes| bytes[offset as usize] ^= 1 << bit);
    }

    /// Cuts a file short, durably.
    pub fn truncate(&self, path: &Path, len: u64) {
        self.damage(path, |bytes| bytes.truncate(len as usize));
    }

    /// Overwrites a part of a file with zeros, durably.
    pub fn zero(&self, path: &Path, range: Range<u64>) {
        self.damage(path, |bytes| bytes[range.start as usize..range.end as usize].fill(0));
    }

    fn damage(&self, path: &Path, damage: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = *state.names.get(path).expect("the file to be damaged is there");
        damage(&mut state.files[file].now);
        damage(&mut state.files[file].durable);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, path: PathBuf, bytes: Vec<u8>) {
        let file = self.files.len();
        let taken = bytes.len() as u64;
        self.files.push(Contents {
            now: bytes.clone(),
            durable: bytes,
            taken,
            ..Contents::default()
        });
        self.names.insert(path.clone(), file);
        self.durable_names.insert(path, file);
    }

    /// Counts a call that changes something; refuses it when the power is gone.
    fn operate(&mut self) -> io::Result<()> {
        self.powered()?;
        self.operations += 1;
        Ok(())
    }

    fn powered(&self) -> io::Result<()> {
        match self.power_ends_at {
            Some(end) if self.operations >= end => Err(Fault::Io.error()),
            _ => Ok(()),
        }
    }

    /// What the files take that have a name.
    fn taken(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].taken).sum()
    }

    fn space(&self) -> DiskSpace {
        let (total, others) = self.limits.unwrap_or((BOUNDLESS, 0));
        DiskSpace { free: total.saturating_sub(self.taken() + others), total }
    }

    /// Refuses what would let a file take more than there is, up to `end`.
    fn need_room(&self, file: usize, end: u64) -> io::Result<()> {
        let more = end.saturating_sub(self.files[file].taken);
        let fits = self.limits.is_none() || more <= self.space().free;
        fits.then_some(()).ok_or_else(|| Fault::NoSpace.error())
    }

    fn change_names(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no {}", path.display()));
        self.names.get(path).copied().ok_or_else(missing)
    }

    fn need_directory(&self, directory: &Path) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such directory");
        self.directories.contains(directory).then_some(()).ok_or_else(missing)
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.powered()?;
        let file = match state.file(path) {
            Ok(file) => file,
            Err(error) if !create => return Err(error),
            Err(_) => {
                state.need_directory(parent(path))?;
                state.operate()?;
                state.files.push(Contents::default());
                let file = state.files.len() - 1;
                state.change_names(Renaming::Create(path.to_owned(), file));
                file
            }
        };
        Ok(Arc::new(FaultyFile { disk: self.clone(), file }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.need_directory(directory)?;
        let inside = state.names.keys().filter(|path| parent(path) == directory);
        let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        Ok(inside.filter_map(name).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        Ok(state.names.contains_key(path) || state.directories.contains(path))
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.directories.extend(directory.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.file(from)?;
        state.need_directory(parent(to))?;
        state.operate()?;
        state.change_names(Renaming::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.file(path)?;
        state.operate()?;
        state.change_names(Renaming::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.need_directory(directory)?;
        state.operate()?;
        let inside = |renaming: &mut Renaming| parent(renaming.path()) == directory;
        let synced: Vec<Renaming> = state.renamings.extract_if(.., inside).collect();
        for renaming in synced {
            renaming.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        Ok(self.state().space())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    file: usize,
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.powered()?;
        let file = &state.files[self.file];
        Ok(file.allocated.max(file.now.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        state.files[self.file].apply(Change::Length(len));
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        state.powered()?;
        let begin = offset as usize;
        let bytes = state.files[self.file].now.get(begin..begin + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        state.writes += 1;
        match state.failing_write {
            Some((nth, fault)) if nth == state.writes => Err(fault.error()),
            _ => {
                state.need_room(self.file, offset + bytes.len() as u64)?;
                state.files[self.file].apply(Change::Write(offset, bytes.to_vec()));
                Ok(())
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        state.syncs += 1;
        match state.failing_sync {
            Some((nth, fault)) if nth == state.syncs => {
                state.files[self.file].unsynced.clear();
                Err(fault.error())
            }
            _ => {
                state.files[self.file].sync();
                Ok(())
            }
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.operate()?;
        state.need_room(self.file, len)?;
        // Its length is all that anybody looks at: zeros by the megabyte would only take memory.
        state.files[self.file].taken = len;
        state.files[self.file].allocated = len;
        Ok(())
    }
}
