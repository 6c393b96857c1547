//! How a benchmark is run, and what it counts beside the time.
//!
//! Criterion keeps times and throughput. What else decides (syncs, CPU time) is printed, and noted in a
//! file for each benchmark, which `bench_summary` puts beside criterion's figures.

use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where notes are kept, in the build's directory for such files.
pub const NOTES: &str = "bench-notes";

/// Reports whether this is only to find out whether the benchmark runs: each is run once then, and the
/// figures mean nothing. As criterion decides it.
#[must_use]
pub fn is_trial() -> bool {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    given("--test") || !given("--bench")
}

/// The benchmarks: what their ids begin with.
const NAMES: [&str; 11] = [
    "machine",
    "apply",
    "log",
    "recovery",
    "snapshot",
    "put",
    "get",
    "txn",
    "range",
    "watch",
    "compaction",
];

/// Reports whether any of the benchmarks that begin with `name` can be among those that the command line
/// selects: whoever asks for `put/3` should not wait until others have filled their stores.
#[must_use]
pub fn is_chosen(name: &str) -> bool {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    filter.is_none_or(|filter| may_match(&filter, name))
}

/// Only a filter that begins with the name of a benchmark is known not to match others: it goes on like
/// an id, to the middle of a part or to its end.
fn may_match(filter: &str, name: &str) -> bool {
    let mut parts = filter.split('/').peekable();
    if !parts.peek().is_some_and(|begins| NAMES.contains(begins)) {
        return true;
    }
    for part in name.split('/') {
        let Some(wanted) = parts.next() else { return true };
        if parts.peek().is_none() {
            return part.starts_with(wanted);
        }
        if part != wanted {
            return false;
        }
    }
    true
}

/// Returns `full`, or in a trial `small`.
#[must_use]
pub fn size(full: u64, small: u64) -> u64 {
    if is_trial() { small } else { full }
}

/// Returns where data is put: where `AXON_BENCH_DIR` says, or in `own`, the build's directory for such
/// files.
#[must_use]
pub fn directory(own: &str) -> PathBuf {
    std::env::var_os("AXON_BENCH_DIR").map_or_else(|| own.into(), PathBuf::from)
}

/// What a benchmark's runs add up to, warm-up included.
#[derive(Debug, Default)]
pub struct Counted {
    /// Operations.
    pub operations: u64,
    /// How long they took.
    pub elapsed: Duration,
    /// The process's CPU time meanwhile: all replicas, and whoever drives them.
    pub cpu: Duration,
    /// Syncs of all logs, and the entries that they made durable.
    pub syncs: u64,
    /// See `syncs`.
    pub entries: u64,
}

impl Counted {
    /// Does `operations` by `run`, which returns how long they took, and counts what they cost.
    pub fn run(&mut self, operations: u64, run: impl FnOnce() -> Duration) -> Duration {
        let cpu = process_cpu();
        let elapsed = run();
        self.cpu += process_cpu().saturating_sub(cpu);
        self.operations += operations;
        self.elapsed += elapsed;
        elapsed
    }

    /// Prints them under the benchmark's `id`, and notes them in `own`; nothing, if it was left out by a
    /// filter, or in a trial.
    ///
    /// # Panics
    /// When they cannot be noted.
    pub fn note(&self, own: &str, id: &str) {
        if self.operations == 0 || is_trial() {
            return;
        }
        let operations = self.operations as f64;
        let rate = operations / self.elapsed.as_secs_f64();
        let cpu = self.cpu.as_secs_f64() * 1e6 / operations;
        let mut line = format!("{id}: {rate:.0}/s, {cpu:.2} us of CPU each, all of this process");
        let mut noted = json!({ "operations": self.operations, "cpu_us": cpu });
        if self.syncs > 0 {
            let each = self.entries as f64 / self.syncs as f64;
            let _ = write!(line, "; {} syncs, {each:.1} entries a sync", self.syncs);
            noted["syncs"] = json!(self.syncs);
            noted["entries_per_sync"] = json!(each);
        }
        println!("{line}");
        note(own, id, noted);
    }
}

/// Notes `figures` of the benchmark `id` in `own`, for `bench_summary`.
///
/// # Panics
/// When they cannot be noted.
pub fn note(own: &str, id: &str, figures: Value) {
    let directory = Path::new(own).join(NOTES);
    std::fs::create_dir_all(&directory).expect("the build's directory is writable");
    let name: String =
        id.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
    let mut object = Map::from_iter([("id".to_owned(), json!(id))]);
    if let Value::Object(figures) = figures {
        object.extend(figures);
    }
    let text = format!("{:#}\n", Value::Object(object));
    std::fs::write(directory.join(format!("{name}.json")), text)
        .expect("the build's directory is writable");
}

/// Returns the CPU time, user and system, that this process has used: all its threads, all its
/// replicas, and whoever drives them.
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn process_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    cpu_of(&stat, rustix::param::clock_ticks_per_second())
        .expect("the kernel writes /proc/self/stat in its documented form")
}

/// Reads `utime` and `stime`, the 14th and 15th field of proc(5)'s `stat`. The second field, the
/// program's name in parentheses, may hold anything: fields are counted from its last parenthesis.
fn cpu_of(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let sum = ticks()? + ticks()?;
    Some(Duration::from_secs(sum) / u32::try_from(ticks_per_second).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_leaves_out_what_it_names_another_of() {
        assert!(may_match("put/3-replicas", "put") && may_match("put", "put"));
        assert!(!may_match("put/3-replicas", "get") && !may_match("log", "put"));
        assert!(may_match("3-replicas", "get") && may_match("pu", "put"));
        assert!(may_match("put/3", "put/3-replicas") && !may_match("put/3", "put/1-replicas"));
        assert!(may_match("log/open/100", "log/open") && !may_match("log/open/100", "log/append"));
    }

    #[test]
    fn cpu_time_is_the_sum_of_user_and_system_ticks() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 91 0 0 0 250 50 0 0 20 0 1 0 100 2 3";
        assert_eq!(cpu_of(stat, 100), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_cut_stat_line_is_no_figure() {
        assert_eq!(cpu_of("42 (axon) S 1 2 3", 100), None);
    }
}
