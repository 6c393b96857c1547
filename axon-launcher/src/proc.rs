//! What the operating system says of a running process: its age, its work, its memory.
//!
//! Hides `/proc`, which only Linux has; elsewhere, and for a process that is gone, nothing is known.
//! Invariant: no number is made up. It watches nothing and keeps nothing.

use std::fs;
use std::time::{Duration, SystemTime};

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time that it has used since its start.
    pub cpu: Duration,
    /// Memory that it has in use, in bytes.
    pub rss: u64,
}

/// What the process `pid` uses; `None` when it is gone.
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = Stat::of(pid)?;
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let cpu = ticks(stat.field(14)?.checked_add(stat.field(15)?)?);
    Some(Usage { cpu, rss: pages.checked_mul(rustix::param::page_size() as u64)? })
}

/// When the process `pid` was started, by the wall clock of now; `None` when it is gone.
pub fn started(pid: u32) -> Option<SystemTime> {
    let since_boot = ticks(Stat::of(pid)?.field(22)?);
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let age = Duration::try_from_secs_f64(uptime).ok()?.saturating_sub(since_boot);
    SystemTime::now().checked_sub(age)
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64)
}

struct Stat(String);

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        fs::read_to_string(format!("/proc/{pid}/stat")).ok().map(Self)
    }

    /// A field by its number in the manual, from 3 on.
    fn field(&self, number: usize) -> Option<u64> {
        // The second field is the program's name in parentheses, and may hold anything.
        let (_, rest) = self.0.rsplit_once(") ")?;
        rest.split(' ').nth(number.checked_sub(3)?)?.parse().ok()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_running_process_is_described_and_one_that_is_gone_is_not() {
        let own = usage(std::process::id()).unwrap();
        assert!(own.rss > 100_000, "{own:?}");
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let age = started(child.id()).unwrap().elapsed().unwrap_or_default();
        assert!(age < Duration::from_secs(30), "{age:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((usage(child.id()), started(child.id())), (None, None));
    }
}
