//! A disk that shows another one and keeps for itself what is written: nothing below ever changes.
//!
//! For looking into a data directory. Opening a log cuts off a torn end and prepares the next
//! segment; opening a state may repair its file. Through here they do so in memory, for as long as
//! they are open. Pages that hold only zeros beyond the end of the file below take no memory, which
//! is most of a prepared segment.

use super::disk::{Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: u64 = 4096;

type Page = [u8; PAGE_BYTES as usize];

/// See the module's essay.
pub struct ScratchDisk {
    below: Arc<dyn Disk>,
    /// What names mean here where that is not what they mean below; `None`: gone.
    names: Mutex<BTreeMap<PathBuf, Option<Arc<ScratchFile>>>>,
}

impl ScratchDisk {
    /// Shows `below`.
    #[must_use]
    pub fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, names: Mutex::default() }
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Arc<ScratchFile>>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file called `path`; from here on it is kept here.
    fn file(&self, path: &Path, create: bool) -> io::Result<Arc<ScratchFile>> {
        let mut names = self.names();
        let fresh = || Arc::new(ScratchFile::default());
        let file = match names.get(path) {
            Some(Some(file)) => return Ok(file.clone()),
            Some(None) if create => fresh(),
            Some(None) => return Err(io::ErrorKind::NotFound.into()),
            None => match self.below.open(path, false) {
                Ok(below) => Arc::new(ScratchFile::over(below)?),
                Err(error) if create && error.kind() == io::ErrorKind::NotFound => fresh(),
                Err(error) => return Err(error),
            },
        };
        names.insert(path.to_owned(), Some(file.clone()));
        Ok(file)
    }
}

impl Disk for ScratchDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, create)?)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut listed: BTreeSet<String> = self.below.list(directory)?.into_iter().collect();
        for (path, file) in self.names().iter().filter(|(path, _)| path.parent() == Some(directory))
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if file.is_some() {
                listed.insert(name);
            } else {
                listed.remove(&name);
            }
        }
        Ok(listed.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.names().get(path) {
            Some(file) => Ok(file.is_some()),
            None => self.below.exists(path),
        }
    }

    fn create_dir(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.file(from, false)?;
        let mut names = self.names();
        names.insert(from.to_owned(), None);
        names.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.file(path, false)?;
        self.names().insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// A file of which the changes are kept in memory.
#[derive(Default)]
struct ScratchFile {
    below: Option<Arc<dyn DiskFile>>,
    changed: Mutex<Changed>,
}

#[derive(Default)]
struct Changed {
    len: u64,
    /// What of the file below still counts.
    below_len: u64,
    pages: BTreeMap<u64, Box<Page>>,
}

impl ScratchFile {
    fn over(below: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = below.len()?;
        let changed = Mutex::new(Changed { len, below_len: len, pages: BTreeMap::new() });
        Ok(Self { below: Some(below), changed })
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it stands.
    fn page(&self, changed: &Changed, number: u64) -> io::Result<Page> {
        if let Some(page) = changed.pages.get(&number) {
            return Ok(**page);
        }
        let mut page = [0; PAGE_BYTES as usize];
        let begin = number * PAGE_BYTES;
        let there = changed.below_len.saturating_sub(begin).min(PAGE_BYTES);
        if let Some(below) = self.below.as_ref().filter(|_| there > 0) {
            below.read_at(&mut page[..there as usize], begin)?;
        }
        Ok(page)
    }
}

/// The pages under `len` bytes from `offset` on: page, first and last byte in it.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset + len as u64);
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let page = at / PAGE_BYTES;
        let (first, last) = (at % PAGE_BYTES, (end - page * PAGE_BYTES).min(PAGE_BYTES));
        at = (page + 1) * PAGE_BYTES;
        Some((page, first as usize, last as usize))
    })
}

impl DiskFile for ScratchFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changed = self.changed();
        if len < changed.len && len % PAGE_BYTES != 0 {
            let number = len / PAGE_BYTES;
            let mut page = self.page(&changed, number)?;
            page[(len % PAGE_BYTES) as usize..].fill(0);
            changed.pages.insert(number, Box::new(page));
        }
        changed.pages.split_off(&len.div_ceil(PAGE_BYTES));
        changed.below_len = changed.below_len.min(len);
        changed.len = len;
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let changed = self.changed();
        if offset + buffer.len() as u64 > changed.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buffer;
        for (number, first, last) in pieces(offset, rest.len()) {
            let page = self.page(&changed, number)?;
            let (piece, behind) = rest.split_at_mut(last - first);
            piece.copy_from_slice(&page[first..last]);
            rest = behind;
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut changed = self.changed();
        let mut rest = bytes;
        for (number, first, last) in pieces(offset, bytes.len()) {
            let (piece, behind) = rest.split_at(last - first);
            rest = behind;
            let void = number * PAGE_BYTES >= changed.below_len;
            let known = changed.pages.contains_key(&number);
            if void && !known && piece.iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut page = self.page(&changed, number)?;
            page[first..last].copy_from_slice(piece);
            changed.pages.insert(number, Box::new(page));
        }
        changed.len = changed.len.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::disk::RealDisk;
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..9000),
            (0_usize..9000).prop_map(|len| vec![0; len]),
        ];
        let step = prop_oneof![
            (0_u64..20_000, bytes).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            (0_u64..20_000).prop_map(Step::SetLen),
        ];
        prop::collection::vec(step, 0..12)
    }

    proptest! {
        #[test]
        fn a_file_reads_as_one_that_was_written_to_while_the_one_below_stays(
            before in prop::collection::vec(any::<u8>(), 0..10_000),
            steps in steps(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            std::fs::write(&path, &before).unwrap();
            let disk = ScratchDisk::new(Arc::new(RealDisk));
            let file = disk.open(&path, false).unwrap();
            let mut model = before.clone();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        let end = at as usize + bytes.len();
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&bytes);
                        file.write_at(&bytes, at).unwrap();
                    }
                    Step::SetLen(len) => {
                        model.resize(len as usize, 0);
                        file.set_len(len).unwrap();
                    }
                }
                prop_assert_eq!(file.len().unwrap(), model.len() as u64);
                let mut read = vec![1; model.len()];
                file.read_at(&mut read, 0).unwrap();
                prop_assert!(read == model);
            }
            prop_assert!(file.read_at(&mut [0], model.len() as u64).is_err());
            prop_assert!(std::fs::read(&path).unwrap() == before);
        }
    }

    #[test]
    fn names_change_here_and_not_below() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a"), "a").unwrap();
        std::fs::write(path("b"), "b").unwrap();
        let disk = ScratchDisk::new(Arc::new(RealDisk));
        disk.rename(&path("a"), &path("c")).unwrap();
        disk.remove(&path("b")).unwrap();
        disk.open(&path("d"), true).unwrap();
        assert_eq!(disk.list(dir.path()).unwrap(), ["c", "d"]);
        assert!(!disk.exists(&path("a")).unwrap() && disk.exists(&path("c")).unwrap());
        assert!(disk.open(&path("b"), false).is_err());
        assert!(disk.open(&path("b"), true).unwrap().is_empty().unwrap());
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["a", "b"]);
    }
}
