//! The base of a state in redb. The only file that names it.
//!
//! One table a space, in one file, `state.redb`, over a [`Disk`]. What redb does not do is done here:
//!
//! * a commit is durable, and made so that a crash needs no walk through the file (quick repair:
//!   affordable, since commits are rare and large);
//! * a panic of the engine, which damaged pages can cause, becomes [`StorageError::Corrupt`];
//! * a state is born, and replaced, beside the present file (`state.redb.new`), synced, and renamed:
//!   a crash leaves the old one or the new one, and a leftover is removed when it is next opened.
//!
//! redb does not verify its pages when it reads them: what it returns must be checked above, and is.

use super::disk::{self, Disk, DiskFile};
use super::{Replacement, Result, RowChange, Rows, Space, StateStore, StateView, is_inverted};
use crate::error::StorageError;
use crate::runtime;
use bytes::Bytes;
use redb::{
    Database, ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition, WriteTransaction,
};
use std::fmt;
use std::io;
use std::ops::{Bound, Deref};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "state.redb";
pub(super) const NEW_FILE_NAME: &str = "state.redb.new";

/// The layout of the file: its tables. What is in the rows has versions of its own.
const FORMAT: u32 = 1;
const ABOUT: TableDefinition<'static, &str, u32> = TableDefinition::new("axon");
const FORMAT_KEY: &str = "format";

/// How often, and after what pause each, a write is made again that found the disk full. Most never
/// come: a commit that may not fit is not begun. When something else fills the disk in its middle,
/// the reserve is given up meanwhile; readers may have to wait as long.
const FULL_RETRIES: u32 = 30;
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What is written is synced in steps, so that no sync of the log waits behind all pages of a
/// checkpoint: while checkpoints run, p99 of 1,000 puts a second fell from 12.4 to 7.4 ms.
const SYNC_BYTES: u64 = 1 << 20;

/// Rows gathered before a replacement hands them to the engine.
const LOAD_BYTES: usize = 1 << 20;

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const fn table(space: Space) -> Table {
    TableDefinition::new(match space {
        Space::Kv => "kv",
        Space::History => "history",
        Space::Changes => "changes",
        Space::Sessions => "sessions",
        Space::Meta => "meta",
    })
}

const fn place(space: Space) -> usize {
    space as usize - 1
}

/// A value of the engine; a panic while it is dropped goes no further.
struct Guarded<T>(Option<T>);

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is taken only when it is dropped")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
            tracing::error!("the state's engine panicked while it was closed");
        }
    }
}

/// Runs the engine; gives its errors and panics the form of this crate.
fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> std::result::Result<T, redb::Error>,
) -> Result<T> {
    let corrupt = |reason: String| StorageError::Corrupt {
        path: path.display().to_string(),
        offset: 0,
        reason,
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(redb::Error::Io(error))) => match error.kind() {
            // The file ends before what its pages say, or claims to be none of redb's.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Err(corrupt(error.to_string()))
            }
            _ => Err(StorageError::io("cannot use", path, &error)),
        },
        Ok(Err(error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed))) => {
            Err(StorageError::io("cannot use", path, &io::Error::other(error.to_string())))
        }
        Ok(Err(error)) => Err(corrupt(error.to_string())),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            Err(corrupt(format!("the engine panicked: {}", said.unwrap_or_default())))
        }
    }
}

/// redb's seam to the file, over ours.
struct Backend {
    file: Arc<dyn DiskFile>,
    /// Bytes written since the last sync.
    unsynced: AtomicU64,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync()
    }

    /// The engine is of no use any more after an error in a commit. A write that found no room has
    /// lost nothing, unlike a sync that failed, and can be made again.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        runtime::give_way();
        let mut written = self.file.write_at(data, offset);
        for _ in 0..FULL_RETRIES {
            let full = written.as_ref().is_err_and(disk::is_full);
            if !full || !runtime::rest(FULL_PAUSE) {
                break;
            }
            written = self.file.write_at(data, offset);
        }
        written?;
        let bytes = data.len() as u64;
        if self.unsynced.fetch_add(bytes, Ordering::Relaxed) + bytes < SYNC_BYTES {
            return Ok(());
        }
        self.sync_data()
    }
}

/// An open file of the engine.
struct Engine {
    database: Guarded<Database>,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// Whether the whole file had to be read when it was opened, which quick repair is to prevent.
    repaired: bool,
}

impl Engine {
    /// Opens a file; an empty one becomes an empty database.
    fn open(file: Arc<dyn DiskFile>, path: PathBuf, cache_bytes: usize) -> Result<Self> {
        let backend = Backend { file: file.clone(), unsynced: AtomicU64::new(0) };
        let repaired = Arc::new(AtomicBool::new(false));
        let on_repair = repaired.clone();
        let database = guarded(&path, || {
            Ok(Database::builder()
                .set_cache_size(cache_bytes)
                .set_repair_callback(move |_| on_repair.store(true, Ordering::Relaxed))
                .create_with_backend(backend)?)
        })?;
        let repaired = repaired.load(Ordering::Relaxed);
        Ok(Self { database: Guarded(Some(database)), file, path, repaired })
    }

    fn check_format(&self) -> Result<()> {
        let found = guarded(&self.path, || {
            let about = self.database.begin_read()?.open_table(ABOUT)?;
            Ok(about.get(FORMAT_KEY)?.map(|format| format.value()))
        })?;
        match found {
            Some(FORMAT) => Ok(()),
            Some(found) if found > FORMAT => Err(StorageError::NewerFormat {
                path: self.path.display().to_string(),
                found,
                supported: FORMAT,
            }),
            _ => Err(StorageError::Corrupt {
                path: self.path.display().to_string(),
                offset: 0,
                reason: "it does not name its format".into(),
            }),
        }
    }

    fn commit(&self, changes: &mut dyn Iterator<Item = RowChange>) -> Result<()> {
        guarded(&self.path, || {
            let mut transaction = self.database.begin_write()?;
            transaction.set_quick_repair(true);
            let mut changes = changes.peekable();
            while let Some(space) = changes.peek().map(|change| change.space) {
                let mut table = transaction.open_table(table(space))?;
                while let Some(RowChange { key, value, .. }) =
                    changes.next_if(|change| change.space == space)
                {
                    match value {
                        Some(value) => drop(table.insert(key.as_ref(), value.as_ref())?),
                        None => drop(table.remove(key.as_ref())?),
                    }
                }
            }
            Ok(transaction.commit()?)
        })
    }
}

struct Shared {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    cache_bytes: usize,
    current: Mutex<Arc<Engine>>,
}

/// A [`StateStore`] on redb.
pub struct RedbState(Arc<Shared>);

impl RedbState {
    /// Creates an empty state in `directory`, which must hold none.
    pub fn create(disk: Arc<dyn Disk>, directory: &Path, cache_bytes: usize) -> Result<Self> {
        let path = directory.join(FILE_NAME);
        let exists = disk
            .exists(&path)
            .map_err(|error| StorageError::io("cannot look at", &path, &error))?;
        if exists {
            return Err(StorageError::Mismatch {
                path: path.display().to_string(),
                reason: "a state exists already where a new one was to be made".into(),
            });
        }
        Load::begin(&disk, directory, cache_bytes)?.put_in_place(&disk, directory)?;
        Self::open(disk, directory, cache_bytes)
    }

    /// Opens the state in `directory`; removes what an interrupted replacement left.
    ///
    /// `cache_bytes` of it are kept in memory.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, cache_bytes: usize) -> Result<Self> {
        remove_leftover(&*disk, directory)?;
        let engine = open_engine(&*disk, directory, cache_bytes)?;
        Ok(Self(Arc::new(Shared {
            disk,
            directory: directory.to_owned(),
            cache_bytes,
            current: Mutex::new(Arc::new(engine)),
        })))
    }

    fn engine(&self) -> Arc<Engine> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn remove_leftover(disk: &dyn Disk, directory: &Path) -> Result<()> {
    let path = directory.join(NEW_FILE_NAME);
    match disk.exists(&path).and_then(|exists| if exists { disk.remove(&path) } else { Ok(()) }) {
        Ok(()) => Ok(()),
        Err(error) => Err(StorageError::io("cannot remove", path, &error)),
    }
}

fn open_engine(disk: &dyn Disk, directory: &Path, cache_bytes: usize) -> Result<Engine> {
    let path = directory.join(FILE_NAME);
    let file = disk
        .open(&path, false)
        .and_then(|file| file.is_empty().map(|empty| (file, empty)))
        .map_err(|error| StorageError::io("cannot open", &path, &error))?;
    let (file, empty) = file;
    if empty {
        // The engine would make a new state of it, and forget the old one.
        return Err(StorageError::Corrupt {
            path: path.display().to_string(),
            offset: 0,
            reason: "the file is empty".into(),
        });
    }
    let engine = Engine::open(file, path, cache_bytes)?;
    if engine.repaired {
        tracing::warn!(path = %engine.path.display(), "the state's file was not closed, and was repaired");
    }
    engine.check_format()?;
    Ok(engine)
}

impl StateStore for RedbState {
    fn view(&self) -> Result<Arc<dyn StateView>> {
        let engine = self.engine();
        let tables = guarded(&engine.path, || {
            let transaction = engine.database.begin_read()?;
            let mut tables = Vec::with_capacity(Space::ALL.len());
            for space in Space::ALL {
                tables.push(transaction.open_table(table(space))?);
            }
            Ok(tables)
        })?;
        Ok(Arc::new(RedbView { tables: Guarded(Some(tables)), engine }))
    }

    fn commit(&self, changes: &mut dyn Iterator<Item = RowChange>) -> Result<()> {
        self.engine().commit(changes)
    }

    fn replace(&self) -> Result<Box<dyn Replacement>> {
        let Shared { disk, directory, cache_bytes, .. } = &*self.0;
        let load = Load::begin(disk, directory, *cache_bytes)?;
        Ok(Box::new(RedbReplacement { shared: self.0.clone(), load: Some(load) }))
    }

    fn disk_bytes(&self) -> u64 {
        self.engine().file.len().unwrap_or_default()
    }

    fn free_bytes(&self) -> Option<u64> {
        let Shared { disk, directory, .. } = &*self.0;
        disk.space(directory).ok().map(|space| space.free)
    }
}

struct RedbView {
    /// By [`place`]. Dropped before the engine that they read from.
    tables: Guarded<Vec<ReadOnlyTable<&'static [u8], &'static [u8]>>>,
    engine: Arc<Engine>,
}

impl StateView for RedbView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        guarded(&self.engine.path, || {
            let found = self.tables[place(space)].get(key)?;
            Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
        })
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
        let path = &self.engine.path;
        let range = guarded(path, || Ok(self.tables[place(space)].range::<&[u8]>((start, end))?))?;
        let mut range = Some(Guarded(Some(range)));
        Ok(Box::new(std::iter::from_fn(move || {
            let rows = range.as_mut()?.0.as_mut()?;
            let row = guarded(path, || {
                let row = if reverse { rows.next_back() } else { rows.next() };
                let Some(row) = row else { return Ok(None) };
                let (key, value) = row?;
                let copy = Bytes::copy_from_slice;
                Ok(Some((copy(key.value()), copy(value.value()))))
            });
            if !matches!(row, Ok(Some(_))) {
                range = None;
            }
            row.transpose()
        })))
    }
}

/// A new state that is being loaded into a file of its own.
struct Load {
    /// Dropped before the engine.
    transaction: Guarded<WriteTransaction>,
    engine: Engine,
    rows: Vec<(Space, Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Load {
    fn begin(disk: &Arc<dyn Disk>, directory: &Path, cache_bytes: usize) -> Result<Self> {
        remove_leftover(&**disk, directory)?;
        let path = directory.join(NEW_FILE_NAME);
        let file = disk
            .open(&path, true)
            .map_err(|error| StorageError::io("cannot create", &path, &error))?;
        let engine = Engine::open(file, path, cache_bytes)?;
        let transaction = guarded(&engine.path, || {
            let mut transaction = engine.database.begin_write()?;
            transaction.set_quick_repair(true);
            transaction.open_table(ABOUT)?.insert(FORMAT_KEY, FORMAT)?;
            for space in Space::ALL {
                transaction.open_table(table(space))?;
            }
            Ok(transaction)
        })?;
        Ok(Self { transaction: Guarded(Some(transaction)), engine, rows: Vec::new(), bytes: 0 })
    }

    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        self.rows.push((space, key.to_vec(), value.to_vec()));
        self.bytes += key.len() + value.len();
        if self.bytes >= LOAD_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        guarded(&self.engine.path, || {
            for run in self.rows.chunk_by(|one, next| one.0 == next.0) {
                let mut table = self.transaction.open_table(table(run[0].0))?;
                for (_, key, value) in run {
                    table.insert(key.as_slice(), value.as_slice())?;
                }
            }
            Ok(())
        })?;
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Makes it durable under the state's name. The file is closed before, so that whoever opens it
    /// finds what a restart would find.
    fn put_in_place(mut self, disk: &Arc<dyn Disk>, directory: &Path) -> Result<()> {
        self.flush()?;
        let Self { mut transaction, engine, .. } = self;
        if let Some(transaction) = transaction.0.take() {
            guarded(&engine.path, || Ok(transaction.commit()?))?;
        }
        let Engine { database, file, path, .. } = engine;
        drop(database);
        file.sync().map_err(|error| StorageError::io("cannot sync", &path, &error))?;
        disk.rename(&path, &directory.join(FILE_NAME))
            .map_err(|error| StorageError::io("cannot rename", &path, &error))?;
        disk.sync_dir(directory).map_err(|error| StorageError::io("cannot sync", directory, &error))
    }
}

struct RedbReplacement {
    shared: Arc<Shared>,
    /// `None` once it is finished.
    load: Option<Load>,
}

impl Replacement for RedbReplacement {
    fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<()> {
        self.load.as_mut().map_or(Ok(()), |load| load.put(space, key, value))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let Shared { disk, directory, cache_bytes, current } = &*self.shared;
        let Some(load) = self.load.take() else { return Ok(()) };
        load.put_in_place(disk, directory)?;
        // Views of the old state keep its file open, though it has no name any more.
        let engine = Arc::new(open_engine(&**disk, directory, *cache_bytes)?);
        *current.lock().unwrap_or_else(PoisonError::into_inner) = engine;
        Ok(())
    }
}

impl Drop for RedbReplacement {
    fn drop(&mut self) {
        if self.load.take().is_some()
            && let Err(error) = remove_leftover(&*self.shared.disk, &self.shared.directory)
        {
            tracing::warn!(%error, "a snapshot that was given up is left behind until the next start");
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::faulty_disk::FaultyDisk;

    const CACHE_BYTES: usize = 1 << 20;

    fn row(key: &'static str) -> RowChange {
        let (key, value) = (Bytes::from_static(key.as_bytes()), Some(Bytes::from(vec![7; 900])));
        RowChange { space: Space::Kv, key, value }
    }

    #[test]
    fn a_start_after_a_crash_does_not_walk_the_file() {
        let (disk, directory) = (FaultyDisk::new(), Path::new("/data"));
        disk.create_dir(directory).unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let store = RedbState::create(shared, directory, CACHE_BYTES).unwrap();
        store.commit(&mut [row("a"), row("b")].into_iter()).unwrap();
        // The process dies: nothing is closed.
        let found = disk.crash(1);
        let engine = open_engine(&found, directory, CACHE_BYTES).unwrap();
        assert!(!engine.repaired);

        // What it would be without the engine's quick repair: the test can tell.
        let slow = guarded(&engine.path, || {
            let transaction = engine.database.begin_write()?;
            transaction.open_table(table(Space::Kv))?.insert(&b"c"[..], &b"c"[..])?;
            Ok(transaction.commit()?)
        });
        slow.unwrap();
        let found = found.crash(1);
        assert!(open_engine(&found, directory, CACHE_BYTES).unwrap().repaired);
    }

    #[test]
    fn a_newer_file_is_refused_with_clear_words() {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(super::super::disk::RealDisk);
        let store = RedbState::create(disk.clone(), directory.path(), CACHE_BYTES).unwrap();
        let engine = store.engine();
        let newer = guarded(&engine.path, || {
            let transaction = engine.database.begin_write()?;
            transaction.open_table(ABOUT)?.insert(FORMAT_KEY, FORMAT + 1)?;
            Ok(transaction.commit()?)
        });
        newer.unwrap();
        drop((store, engine));
        let error = RedbState::open(disk, directory.path(), CACHE_BYTES).err().unwrap();
        assert!(matches!(error, StorageError::NewerFormat { found: 2, supported: 1, .. }));
    }
}
