//! A small file system in memory over a directory: a disk that can be filled to the last byte.
//!
//! Mounting takes the rights of root, or those in a user namespace.

use super::Check;
use crate::ensure;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Puts one over the directory of a stopped node, with what is in it.
    pub fn over(directory: &Path, disk_mib: usize) -> Check<Self> {
        let aside = directory.with_extension("aside");
        let told = |error: std::io::Error| format!("{}: {error}", directory.display());
        fs::rename(directory, &aside).and_then(|()| fs::create_dir(directory)).map_err(told)?;
        let size = format!("size={disk_mib}m,mode=0700");
        command("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &directory.to_string_lossy()])?;
        let mount = Self(directory.to_owned());
        command("cp", &["-a", &format!("{}/.", aside.display()), &directory.to_string_lossy()])?;
        fs::remove_dir_all(aside).map_err(told)?;
        Ok(mount)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> Check {
        let told = |error: std::io::Error| format!("{}: {error}", self.0.display());
        let mut file = File::create(self.filler()).map_err(told)?;
        for block in [1 << 20, 4 << 10, 1] {
            while file.write_all(&vec![7; block]).is_ok() {}
        }
        Ok(())
    }

    /// Takes away what filled it.
    pub fn empty(&self) -> Check {
        fs::remove_file(self.filler()).map_err(|error| format!("{}: {error}", self.0.display()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = command("umount", &["-l", &self.0.to_string_lossy()]);
    }
}

/// Runs a program, which must succeed.
pub fn command(program: &str, args: &[&str]) -> Check {
    let done = Command::new(program).args(args).output();
    let done = done.map_err(|error| format!("cannot run {program}: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program} {args:?}: {}", said.trim());
    Ok(())
}
