//! What the programs share that try real processes: `acceptance`, `chaos` and `hostile`.
//!
//! It knows processes, ports, HTTP and the machine; what is tried, and on which cluster, is the
//! programs' own.

pub mod clocks;
pub mod http;
pub mod ledger;
pub mod load;
pub mod mount;
pub mod ports;
pub mod server;
pub mod stream;
pub mod v1;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The result of a check: what it yields, or the violation in one sentence.
pub type Check<T = ()> = Result<T, String>;

/// How long a cluster may take to come up, to catch up, to converge.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Returns with a violation unless a condition holds.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($sentence:tt)+) => {
        // Through `match`, so that a comparison with no number does not hold either.
        match $holds {
            true => {}
            false => return Err(format!($($sentence)+)),
        }
    };
}

/// Asks `probe` until it answers `Some`, every 20 ms. At the deadline the last reason it gave for
/// not being satisfied is the violation.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Check<Option<T>>,
) -> Check<T> {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reason = String::new();
    while begun.elapsed() < patience {
        ticks.tick().await;
        match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(told) => reason = told,
        }
    }
    Err(format!("not within {} s: {what}; {reason}", patience.as_secs()))
}

/// Asks for the status of every node until all have applied the same entry, and checks that their state
/// hashes were equal wherever two of them were seen at the same entry.
pub async fn settle(
    mut statuses: impl AsyncFnMut() -> Check<Vec<(String, Value)>>,
) -> Check<String> {
    let mut hashes: BTreeMap<u64, (String, String)> = BTreeMap::new();
    until("every node has applied the same entry", PATIENCE, async || {
        let mut last = BTreeSet::new();
        for (id, status) in statuses().await? {
            let hash = &status["state_hash"];
            let seen = hash["applied_index"].as_u64().zip(hash["hash"].as_str());
            let (index, hash) = seen.ok_or("a status without a state hash")?;
            let known = hashes.entry(index).or_insert_with(|| (id.clone(), hash.to_owned()));
            if known.1 != hash {
                let (other, theirs) = known;
                let what = format!("{other} has the state hash {theirs} and {id} has {hash}");
                return Ok(Some(Err(format!("at entry {index} {what}"))));
            }
            last.insert((index, hash.to_owned()));
        }
        let equal = last.len() == 1;
        let told =
            |(index, hash): (u64, String)| format!("equal state hashes {hash:.8} at entry {index}");
        Ok(last.pop_first().filter(|_| equal).map(told).map(Ok))
    })
    .await?
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: Signal) -> Check {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("0 is no process")?;
    kill_process(pid, signal).map_err(|error| format!("cannot signal process {pid:?}: {error}"))
}

/// Memory of a process, in MiB.
pub fn rss_mib(pid: u32) -> Check<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    Ok(kib.ok_or("no VmRSS in /proc")? / 1024.0)
}

/// The binary that was asked for, or the one called `name` beside this program.
pub fn binary(given: Option<&Path>, name: &str) -> Check<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().map_err(|error| error.to_string())?.with_file_name(name),
    };
    path.canonicalize().map_err(|error| {
        format!("{}: {error}; build it first (cargo build --release --workspace)", path.display())
    })
}
