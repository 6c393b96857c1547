//! The seam to the file system: what the log and the state's file need of a disk, and no more.
//!
//! [`RealDisk`] is the operating system's. The faulty disk of the `testing` feature loses,
//! tears and refuses. Errors stay `io::Error`; whoever calls knows what was tried and why.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file is filled where the operating system cannot set its blocks aside.
const FILL_BYTES: usize = 1 << 20;

/// What there is of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What this process may still take.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// A file system.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file for reading and writing; creates it, empty, when `create` and it is missing.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Lists the names of the files in `directory`, sorted.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Reports whether a file or directory exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Creates a directory with its parents, and makes each durable in its own parent.
    fn create_dir(&self, directory: &Path) -> io::Result<()>;

    /// Renames a file over whatever has the new name. Durable after [`sync_dir`](Self::sync_dir).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`sync_dir`](Self::sync_dir).
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in `directory` durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Says how much room there is where `directory` lies.
    fn space(&self, directory: &Path) -> io::Result<DiskSpace>;
}

/// An open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Returns its length.
    fn len(&self) -> io::Result<u64>;

    /// Reports whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Cuts or extends it (with zeros).
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset`; fails with `UnexpectedEof` when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, extending the file as needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the contents and the length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// Makes it `len` bytes long, and takes the room for them on the disk.
    fn allocate(&self, len: u64) -> io::Result<()>;
}

/// Writes `len` zeros: takes the room for them on any disk. What [`DiskFile::allocate`] does where
/// there is no better way.
pub fn write_zeros(file: &dyn DiskFile, len: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_BYTES];
    let mut at = 0;
    while at < len {
        let bytes = zeros.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
        file.write_at(&zeros[..bytes], at)?;
        at += bytes as u64;
    }
    file.sync()
}

/// Reports whether `error` says that the disk, or this user's share of it, is full.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    is_full_kind(error.kind())
}

/// The same of an error's kind.
pub(crate) fn is_full_kind(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Arc::new(file))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> = directory
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .map(Path::to_path_buf)
            .collect();
        fs::create_dir_all(directory)?;
        for created in missing.iter().rev() {
            let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn space(&self, directory: &Path) -> io::Result<DiskSpace> {
        let found = rustix::fs::statvfs(directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(DiskSpace { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(self, len),
            Err(error) => Err(error.into()),
        }
    }
}
