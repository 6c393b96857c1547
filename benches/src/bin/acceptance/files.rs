//! The files of a run: whose they are, and how one bit of them is turned over.

use crate::Check;
use rand::RngExt;
use rand::rngs::StdRng;
use std::fs;
use std::path::{Path, PathBuf};

/// Files below this hold identities, locks and marks, not a log or a state.
const DATA_FILE_BYTES_MIN: usize = 4096;

/// Lists every file under `directory`, sorted.
pub fn all(directory: &Path) -> Check<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).map_err(|error| told(&next, &error))? {
            let path = entry.map_err(|error| told(&next, &error))?.path();
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// Finds the data directory of `node` under the launcher's data root.
pub fn directory_of(root: &Path, node: &str) -> Option<PathBuf> {
    let mut pending = vec![root.to_owned()];
    while let Some(next) = pending.pop() {
        for path in fs::read_dir(&next).ok()?.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name == node) {
                    return Some(path);
                }
                pending.push(path);
            }
        }
    }
    None
}

/// The launcher's manifest under its data root.
pub fn manifest(root: &Path) -> Check<PathBuf> {
    let path = root.join("cluster.json");
    path.is_file().then_some(()).ok_or_else(|| format!("there is no {}", path.display()))?;
    Ok(path)
}

/// Turns over one bit in a log or state file of the node whose data lies in `directory`: in the
/// `number`th such file (they take turns), at a random byte that is not zero, since most of a
/// fresh log segment is. Says which.
pub fn flip(directory: &Path, number: usize, rng: &mut StdRng) -> Check<String> {
    let mut files = Vec::new();
    for path in all(directory)? {
        let bytes = fs::read(&path).map_err(|error| told(&path, &error))?;
        let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        if bytes.len() >= DATA_FILE_BYTES_MIN && !written.is_empty() {
            files.push((path, bytes, written));
        }
    }
    if files.is_empty() {
        return Err(format!("no log or state file lies in {}", directory.display()));
    }
    let turn = number % files.len();
    let (path, mut bytes, written) = files.swap_remove(turn);
    let at = written[rng.random_range(0..written.len())];
    let bit = rng.random_range(0..8);
    bytes[at] ^= 1 << bit;
    fs::write(&path, bytes).map_err(|error| told(&path, &error))?;
    let name = path.strip_prefix(directory).unwrap_or(&path);
    Ok(format!("{} byte {at} bit {bit}", name.display()))
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_flip_changes_one_bit_of_one_large_file() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("segment");
        fs::write(directory.path().join("identity"), [1; 100]).unwrap();
        fs::write(&large, [7; 8192]).unwrap();
        flip(directory.path(), 5, &mut StdRng::seed_from_u64(1)).unwrap();
        let bits: u32 = fs::read(&large).unwrap().iter().map(|byte| (byte ^ 7).count_ones()).sum();
        assert_eq!(bits, 1);
        assert_eq!(fs::read(directory.path().join("identity")).unwrap(), [1; 100]);
    }

    #[test]
    fn a_nodes_directory_is_found_at_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let wanted = root.path().join("nodes/node2");
        fs::create_dir_all(&wanted).unwrap();
        assert_eq!(directory_of(root.path(), "node2"), Some(wanted));
        assert_eq!(directory_of(root.path(), "node9"), None);
    }
}
