//! What a sync costs on this disk, now: the floor under every acknowledged write.
//!
//! The way of a log with recycled segments: 4 KiB written into a file that has been written before, then
//! `fdatasync`. Alone, and by three at once, as three nodes on one disk do it.

use crate::Check;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: [u8; 4096] = [b'x'; 4096];
const SYNCS: u64 = 50;

/// How often one alone and three take turns: what else the machine does then strikes both.
const TURNS: usize = 5;

/// However slow the disk is, this does not take much longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Milliseconds of a sync in a directory under `parent`: medians of one alone, and of three at once.
pub fn syncs_ms(parent: &Path) -> Check<(f64, f64)> {
    std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let directory = tempfile::tempdir_in(parent);
    let directory = directory.map_err(|error| format!("{}: {error}", parent.display()))?;
    let (mut alone, mut three) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        alone.extend(at_once(directory.path(), 1)?);
        three.extend(at_once(directory.path(), 3)?);
    }
    Ok((median_ms(alone), median_ms(three)))
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3
}

/// The time of each sync of so many writers, each with a file of its own.
fn at_once(directory: &Path, writers: usize) -> Check<Vec<Duration>> {
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..writers)
            .map(|writer| directory.join(format!("file{writer}")))
            .map(|path| scope.spawn(move || sync_often(&path)))
            .collect();
        for writer in writers {
            let writer = writer.join().map_err(|_| "a writer panicked".to_owned())?;
            times.extend(writer.map_err(|error| format!("a sync: {error}"))?);
        }
        Ok(times)
    })
}

fn sync_often(path: &Path) -> std::io::Result<Vec<Duration>> {
    let file = File::create(path)?;
    for at in 0..SYNCS {
        file.write_all_at(&BLOCK, at * BLOCK.len() as u64)?;
    }
    file.sync_all()?;
    let begun = Instant::now();
    let mut times = Vec::new();
    for sync in 0..SYNCS {
        let asked = Instant::now();
        file.write_all_at(&BLOCK, sync * BLOCK.len() as u64)?;
        file.sync_data()?;
        times.push(asked.elapsed());
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(times)
}
