//! The log file of a node: appended by the node itself, kept within bounds by the launcher.
//!
//! The node writes straight into its file, not into a pipe that the launcher reads. So a launcher
//! that is killed takes no log line with it, cannot block or break a node whose pipe nobody reads,
//! and finds the whole log again when it adopts the node.
//!
//! The price is rotation by copy: a running process keeps its file open, so a file that has grown
//! too large is copied aside and cut to nothing, and a line written between the two is lost. That
//! happens once in 8 MiB, within milliseconds, and only to log lines.
//!
//! [`line`](mod@line) knows what a line says of itself, [`follow`] reads on over rotations.

pub mod follow;
pub mod line;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A log file that has grown beyond this is rotated.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// Older files that are kept.
pub const OLD_FILES_MAX: u32 = 3;

/// How much of the end of a file [`tail`] looks at.
const TAIL_BYTES_MAX: u64 = 32 << 10;

/// Opens a log for appending, as a process's output.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Puts the log aside if it has grown beyond `bytes_max`; returns whether it has.
fn rotate(path: &Path, bytes_max: u64) -> io::Result<bool> {
    if path.metadata().map_or(0, |found| found.len()) <= bytes_max {
        return Ok(false);
    }
    for number in (1..OLD_FILES_MAX).rev() {
        match fs::rename(old(path, number), old(path, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::copy(path, old(path, 1))?;
    // The writers append, so after this they go on at the new end.
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(true)
}

fn old(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The last `lines` lines of a log, without colour codes; empty when it cannot be read.
pub fn tail(path: &Path, lines: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| plain(line)).collect()
}

/// Removes terminal escape sequences and other control characters.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                rest.by_ref().find(char::is_ascii_alphabetic);
            }
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_is_rotated_under_its_writer_and_three_old_files_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node1.log");
        let mut writer = open(&path).unwrap();
        for round in 0..6 {
            writeln!(writer, "round {round}").unwrap();
            assert!(rotate(&path, 4).unwrap());
        }
        writer.write_all(b"new").unwrap();
        assert!(!rotate(&path, 4).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        for (number, round) in [(1, 5), (2, 4), (3, 3)] {
            assert_eq!(fs::read_to_string(old(&path, number)).unwrap(), format!("round {round}\n"));
        }
        assert!(!old(&path, 4).exists());
    }

    #[test]
    fn the_tail_is_bounded_and_free_of_control_characters() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node1.log");
        assert!(tail(&path, 5).is_empty());
        fs::write(&path, "one\n\u{1b}[31mtwo\u{1b}[0m\u{7}\nthree\n").unwrap();
        assert_eq!(tail(&path, 2), ["two", "three"]);
        fs::write(&path, "x".repeat(1 << 20)).unwrap();
        assert_eq!(tail(&path, 5)[0].len() as u64, TAIL_BYTES_MAX);
    }
}
