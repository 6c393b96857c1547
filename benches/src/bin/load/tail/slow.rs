//! A disk whose syncs can be made slow while it is used.
//!
//! The operating system's in all else. Only what a replica waits for before it acknowledges is held up:
//! syncs of files.

use axon_core::storage::disk::{Disk, DiskFile, DiskSpace, RealDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The disk. Its clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct SlowDisk {
    delay_micros: Arc<AtomicU64>,
}

impl SlowDisk {
    /// Lets every sync take so much longer from now on.
    pub fn delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delay_micros.store(micros, Ordering::Relaxed);
    }
}

struct SlowFile {
    file: Arc<dyn DiskFile>,
    disk: SlowDisk,
}

impl Disk for SlowDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = RealDisk.open(path, create)?;
        Ok(Arc::new(SlowFile { file, disk: self.clone() }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(directory)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        RealDisk.create_dir(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        RealDisk.sync_dir(directory)
    }

    fn space(&self, directory: &Path) -> io::Result<DiskSpace> {
        RealDisk.space(directory)
    }
}

impl DiskFile for SlowFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let micros = self.disk.delay_micros.load(Ordering::Relaxed);
        if micros > 0 {
            std::thread::sleep(Duration::from_micros(micros));
        }
        self.file.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::time::Instant;

    #[test]
    fn syncs_take_longer_for_as_long_as_it_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let disk = SlowDisk::default();
        let file = disk.open(&directory.path().join("file"), true).unwrap();
        let delay = Duration::from_millis(200);
        disk.delay(delay);
        let begun = Instant::now();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        assert!(begun.elapsed() >= delay);
        disk.delay(Duration::ZERO);
        assert_eq!(disk.delay_micros.load(Ordering::Relaxed), 0);
        assert_eq!(file.len().unwrap(), 1);
    }
}
