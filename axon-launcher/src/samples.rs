//! What each node did in the last second, out of its own counters. Pure, but for [`Disks`].
//!
//! Hides the page of metrics and what to do with counters: a rate is the difference of two pages over
//! the time between them. Invariants:
//!
//! * a gap is `None`, never 0: a node's first page, a node that does not answer;
//! * a counter that went backwards began anew with its process: it counts from 0;
//! * a percentile is interpolated within the bucket that it falls into; beyond the last bucket it is
//!   that bucket's bound, for nothing more is known.

use crate::proc;
use crate::roster::Usage;
use crate::wire::Tick;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const REQUESTS: &str = "axon_http_requests_total";
const LATENCIES: &str = "axon_http_request_duration_seconds_bucket";
const LOG_BYTES: &str = "axon_log_disk_bytes";

/// Routes that serve data.
const DATA_ROUTES: [&str; 6] =
    ["/kv/{key}", "/kv", "/v1/kv/{key}", "/v1/kv", "/v1/history/{key}", "/v1/txn"];

/// What a node has counted since its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    reads: u64,
    writes: u64,
    errors: u64,
    read_times: Histogram,
    write_times: Histogram,
    /// Bytes that its log takes on disk.
    pub log_bytes: Option<u64>,
}

/// How many requests took at most how long: by bound in microseconds, each with those below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Histogram(BTreeMap<u64, u64>);

/// The bound of the last bucket.
const ENDLESS: u64 = u64::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Read,
    Write,
    Error,
}

impl Counters {
    /// Reads a page of metrics; lines that are not understood are passed over.
    pub fn parse(page: &str) -> Self {
        let mut counters = Self::default();
        for line in page.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                LOG_BYTES => counters.log_bytes = value.parse().ok(),
                REQUESTS => {
                    let Ok(count) = value.parse::<u64>() else { continue };
                    match class(labels) {
                        Some(Class::Read) => counters.reads += count,
                        Some(Class::Write) => counters.writes += count,
                        Some(Class::Error) => counters.errors += count,
                        None => {}
                    }
                }
                LATENCIES => {
                    let (Ok(count), Some(bound)) = (value.parse::<u64>(), bound(labels)) else {
                        continue;
                    };
                    let times = match class(labels) {
                        Some(Class::Read) => &mut counters.read_times,
                        Some(Class::Write) => &mut counters.write_times,
                        Some(Class::Error) | None => continue,
                    };
                    *times.0.entry(bound).or_default() += count;
                }
                _ => {}
            }
        }
        counters
    }

    fn since(&self, before: &Self) -> Self {
        let later = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        Self {
            reads: later(self.reads, before.reads),
            writes: later(self.writes, before.writes),
            errors: later(self.errors, before.errors),
            read_times: self.read_times.since(&before.read_times),
            write_times: self.write_times.since(&before.write_times),
            log_bytes: self.log_bytes,
        }
    }
}

impl Histogram {
    fn since(&self, before: &Self) -> Self {
        let then = |bound: &u64| before.0.get(bound).copied().unwrap_or_default();
        let restarted = self.0.iter().any(|(bound, count)| *count < then(bound));
        let later = |(bound, count): (&u64, &u64)| {
            (*bound, if restarted { *count } else { count - then(bound) })
        };
        Self(self.0.iter().map(later).collect())
    }

    fn add(&mut self, other: &Self) {
        for (bound, count) in &other.0 {
            *self.0.entry(*bound).or_default() += count;
        }
    }

    /// The time in milliseconds that `share` of the requests did not exceed.
    fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.0.get(&ENDLESS).copied().filter(|total| *total > 0)?;
        let rank = share * total as f64;
        let (mut lower, mut below) = (0, 0);
        for (bound, count) in &self.0 {
            if *count as f64 >= rank {
                if *bound == ENDLESS {
                    break;
                }
                let inside = (rank - below as f64) / (count - below).max(1) as f64;
                return Some((lower as f64 + inside * (bound - lower) as f64) / 1e3);
            }
            (lower, below) = (*bound, *count);
        }
        Some(lower as f64 / 1e3)
    }
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    // Values are routes, methods and numbers: nothing in them is escaped. A route holds braces.
    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn class(labels: &str) -> Option<Class> {
    let route = label(labels, "route").filter(|route| DATA_ROUTES.contains(route))?;
    let status: u16 = label(labels, "status")?.parse().ok()?;
    let reads = matches!(label(labels, "method")?, "GET" | "HEAD");
    match status {
        500.. => Some(Class::Error),
        _ if reads => Some(Class::Read),
        // A write counts once it is acknowledged.
        200..300 if route != "/v1/history/{key}" => Some(Class::Write),
        _ => None,
    }
}

fn bound(labels: &str) -> Option<u64> {
    match label(labels, "le")? {
        "+Inf" => Some(ENDLESS),
        seconds => Some((seconds.parse::<f64>().ok()? * 1e6).round() as u64),
    }
}

/// A node at one moment.
#[derive(Debug, Clone)]
pub struct Look {
    /// When.
    pub at: Instant,
    /// Its process.
    pub pid: Option<u32>,
    /// What it has counted, if it answered.
    pub counters: Option<Counters>,
    /// What its process has used, if the system tells.
    pub used: Option<proc::Usage>,
}

/// The last look at each node.
#[derive(Debug, Default)]
pub struct Samples {
    last: BTreeMap<String, Look>,
    /// What each uses, as of the last look.
    pub usage: BTreeMap<String, Usage>,
}

impl Samples {
    /// Takes a look at all nodes and says what they did since the last one, at `t`.
    pub fn take(&mut self, t: u64, looks: BTreeMap<String, Look>) -> Tick {
        let mut tick = Tick {
            t,
            reads: None,
            writes: None,
            errors: None,
            write_p50_ms: None,
            write_p99_ms: None,
            read_p99_ms: None,
            nodes: BTreeMap::new(),
        };
        let (mut read_times, mut write_times) = (Histogram::default(), Histogram::default());
        self.usage.retain(|name, _| looks.contains_key(name));
        for (name, look) in &looks {
            let last = self.last.get(name);
            let usage = self.usage.entry(name.clone()).or_default();
            usage.rss = look.used.map(|used| used.rss);
            usage.cpu = last.and_then(|last| share(last, look));
            let node = tick.nodes.entry(name.clone()).or_default();
            (node.cpu, node.rss) = (usage.cpu, usage.rss);
            let Some(counters) = &look.counters else { continue };
            node.log_bytes = counters.log_bytes;
            let Some(last) = last else { continue };
            let Some(before) = &last.counters else { continue };
            let done = counters.since(before);
            let seconds = (look.at - last.at).as_secs_f64().max(0.001);
            for (sum, count) in [
                (&mut tick.reads, done.reads),
                (&mut tick.writes, done.writes),
                (&mut tick.errors, done.errors),
            ] {
                *sum = Some(sum.unwrap_or_default() + count as f64 / seconds);
            }
            read_times.add(&done.read_times);
            write_times.add(&done.write_times);
        }
        for sum in [&mut tick.reads, &mut tick.writes, &mut tick.errors] {
            *sum = sum.map(to_thousandths);
        }
        tick.write_p50_ms = write_times.quantile(0.5).map(to_thousandths);
        tick.write_p99_ms = write_times.quantile(0.99).map(to_thousandths);
        tick.read_p99_ms = read_times.quantile(0.99).map(to_thousandths);
        self.last = looks;
        tick
    }
}

/// More digits would say nothing, and 15 minutes of ticks would carry them.
fn to_thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// Share of one processor between two looks at the same process.
fn share(last: &Look, now: &Look) -> Option<f64> {
    if last.pid != now.pid {
        return None;
    }
    let used = now.used?.cpu.checked_sub(last.used?.cpu)?;
    let elapsed = now.at.checked_duration_since(last.at).filter(|time| !time.is_zero())?;
    Some(to_thousandths(used.as_secs_f64() / elapsed.as_secs_f64()))
}

/// How often directories are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// What directories take on disk, measured now and then. Reads directories: it may block.
#[derive(Debug, Default)]
pub struct Disks {
    measured: Option<Instant>,
    bytes: BTreeMap<String, Option<u64>>,
}

impl Disks {
    /// What each directory takes, as of the last measurement.
    pub fn bytes(&mut self, directories: &[(String, PathBuf)]) -> &BTreeMap<String, Option<u64>> {
        let known = directories.iter().all(|(name, _)| self.bytes.contains_key(name));
        if !known || self.measured.is_none_or(|measured| measured.elapsed() >= MEASURE_EVERY) {
            let measure = |(name, path): &(String, PathBuf)| (name.clone(), size(path));
            self.bytes = directories.iter().map(measure).collect();
            self.measured = Some(Instant::now());
        }
        &self.bytes
    }
}

/// What everything below `directory` takes on disk; `None` when it is not there.
fn size(directory: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut pending = vec![std::fs::read_dir(directory).ok()?];
    while let Some(entries) = pending.pop() {
        for entry in entries.flatten() {
            // What goes away while it is measured takes nothing. No link is followed.
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                pending.extend(std::fs::read_dir(entry.path()));
            } else {
                bytes += found.blocks() * 512;
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A page as a node writes it, with `puts` answered in 1 to 2.5 ms.
    fn page(gets: u64, puts: u64, faults: u64) -> String {
        let put = r#"route="/v1/kv/{key}",method="PUT",status="201""#;
        let mut page = format!(
            "# HELP axon_http_requests_total Requests answered.\n\
             axon_log_disk_bytes 8388608\n\
             axon_http_requests_total{{route=\"/kv/{{key}}\",method=\"GET\",status=\"404\"}} {gets}\n\
             axon_http_requests_total{{route=\"/kv/{{key}}\",method=\"PUT\",status=\"503\"}} {faults}\n\
             axon_http_requests_total{{route=\"/readyz\",method=\"GET\",status=\"200\"}} 77\n\
             axon_http_requests_total{{route=\"/kv/{{key}}\",method=\"PUT\",status=\"400\"}} 5\n\
             axon_http_requests_total{{{put}}} {puts}\nno number here\n"
        );
        for (bound, count) in [("0.001", 0), ("0.0025", puts), ("5", puts), ("+Inf", puts)] {
            let line = format!("{LATENCIES}{{{put},le=\"{bound}\"}} {count}\n");
            page.push_str(&line);
        }
        page
    }

    fn look(at: Instant, page: Option<&str>) -> Look {
        Look { at, pid: Some(1), counters: page.map(Counters::parse), used: None }
    }

    fn looks(look: Look) -> BTreeMap<String, Look> {
        BTreeMap::from([("node1".to_owned(), look)])
    }

    #[test]
    fn a_page_is_read_by_what_its_requests_were() {
        let counters = Counters::parse(&page(3, 4, 2));
        assert_eq!((counters.reads, counters.writes, counters.errors), (3, 4, 2));
        assert_eq!(counters.log_bytes, Some(8_388_608));
        assert_eq!(counters.write_times.0.len(), 4);
        assert_eq!(Counters::parse("rubbish\n{} 1\naxon_log_disk_bytes NaN"), Counters::default());
    }

    #[test]
    fn rates_are_differences_over_time_and_the_first_look_is_a_gap() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut samples = Samples::default();
        let tick = samples.take(0, looks(look(begun, Some(&page(10, 100, 0)))));
        assert_eq!((tick.reads, tick.writes, tick.write_p50_ms), (None, None, None));
        assert_eq!(tick.nodes["node1"].log_bytes, Some(8_388_608));
        let tick = samples.take(1, looks(look(begun + second * 2, Some(&page(16, 300, 1)))));
        assert_eq!((tick.reads, tick.writes, tick.errors), (Some(3.0), Some(100.0), Some(0.5)));
        assert_eq!((tick.write_p50_ms, tick.read_p99_ms), (Some(1.75), None));
        assert!((tick.write_p99_ms.unwrap() - 2.485).abs() < 1e-9);
        let tick = samples.take(2, looks(look(begun + second * 3, None)));
        assert_eq!((tick.reads, tick.nodes["node1"].log_bytes), (None, None), "it did not answer");
    }

    #[test]
    fn counters_that_went_backwards_count_from_nothing() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut samples = Samples::default();
        samples.take(0, looks(look(begun, Some(&page(500, 500, 500)))));
        let tick = samples.take(1, looks(look(begun + second, Some(&page(7, 3, 0)))));
        assert_eq!((tick.reads, tick.writes, tick.errors), (Some(7.0), Some(3.0), Some(0.0)));
        assert_eq!(tick.write_p50_ms, Some(1.75));
    }

    #[test]
    fn nodes_are_summed_and_one_that_is_gone_is_forgotten() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let both = |at, one: &str, other: &str| {
            let mut looks = looks(look(at, Some(one)));
            looks.insert("node2".to_owned(), look(at, Some(other)));
            looks
        };
        let mut samples = Samples::default();
        samples.take(0, both(begun, &page(0, 0, 0), &page(0, 0, 0)));
        let tick = samples.take(1, both(begun + second, &page(2, 4, 0), &page(3, 4, 1)));
        assert_eq!((tick.reads, tick.writes, tick.errors), (Some(5.0), Some(8.0), Some(1.0)));
        samples.take(2, looks(look(begun + second * 2, None)));
        assert_eq!(samples.usage.len(), 1);
    }

    #[test]
    fn a_percentile_beyond_the_last_bucket_is_its_bound() {
        let times = Histogram(BTreeMap::from([(1_000, 1), (5_000_000, 2), (ENDLESS, 100)]));
        assert_eq!(times.quantile(0.99), Some(5_000.0));
        assert_eq!(times.quantile(0.01), Some(1.0));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn processor_time_is_a_share_of_one_process_only() {
        let begun = Instant::now();
        let at = |millis: u64, pid| Look {
            at: begun + Duration::from_millis(millis),
            pid: Some(pid),
            counters: None,
            used: Some(proc::Usage { cpu: Duration::from_millis(millis / 4), rss: 9 }),
        };
        assert_eq!(share(&at(0, 1), &at(2_000, 1)), Some(0.25));
        assert_eq!(share(&at(0, 1), &at(2_000, 2)), None, "another process");
    }

    #[test]
    fn a_directory_takes_what_its_files_take() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data/log");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("segment"), vec![7; 100_000]).unwrap();
        let mut disks = Disks::default();
        let ask = [
            ("node1".to_owned(), directory.path().join("data")),
            ("gone".to_owned(), directory.path().join("nowhere")),
        ];
        let bytes = disks.bytes(&ask);
        assert!(bytes["node1"].unwrap() >= 100_000);
        assert_eq!(bytes["gone"], None);
    }
}
