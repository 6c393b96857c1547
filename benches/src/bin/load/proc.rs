//! What processes take of the machine, from `/proc`: CPU time and memory. And the machine itself.

use crate::Check;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// `TMPFS_MAGIC` of statfs(2).
const TMPFS: u64 = 0x0102_1994;

/// The CPU time, user and system, that a process has used in all its threads.
pub fn cpu(pid: u32) -> Check<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    cpu_of(&stat, rustix::param::clock_ticks_per_second())
        .ok_or_else(|| format!("{path}: not in the form of proc(5)"))
}

/// Reads `utime` and `stime`, the 14th and 15th field. The second, the program's name in
/// parentheses, may hold anything: fields are counted from its last parenthesis.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let sum = ticks()? + ticks()?;
    Some(Duration::from_secs(sum) / u32::try_from(ticks_per_second).ok()?)
}

/// The resident memory of a process, in bytes.
pub fn memory(pid: u32) -> Check<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    rss_of(&status).ok_or_else(|| format!("{path}: no VmRSS"))
}

fn rss_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Lets this process, and those that it starts, open as many files as they may. Ten thousand connections
/// need as many here, and the limit that a shell sets is often a thousand.
pub fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused, it is as it was: the connections that are too many are counted as errors.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// How many tasks wanted a core over the last minute: whether the machine was this run's alone.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// Refuses a directory in memory: a sync costs nothing there, and no figure would mean anything.
pub fn check_disk(directory: &Path) -> Check {
    let told = |error: rustix::io::Errno| format!("{}: {error}", directory.display());
    // The type's width differs between architectures.
    #[allow(clippy::unnecessary_cast, reason = "u64 on some architectures, not on all")]
    let kind = rustix::fs::statfs(directory).map_err(told)?.f_type as u64;
    if kind == TMPFS {
        return Err(format!(
            "{} lies in memory, where a sync costs nothing: name a directory on a disk by --dir",
            directory.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_the_sum_of_user_and_system_ticks() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 91 0 0 0 250 50 0 0 20 0 1 0 100 2 3";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of("42 (axon) S 1 2 3", 100), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(rss_of("Name:\taxon\nVmRSS:\t    1024 kB\n"), Some(1 << 20));
        assert_eq!(rss_of("Name:\taxon\n"), None);
    }
}
