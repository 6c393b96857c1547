//! What the server counts, and the page that shows it, in Prometheus' text format.
//!
//! Counting a request is one look into a fixed table and three relaxed additions: no lock, no hash, no
//! text. A series comes into being with its first request, so the page shows only what happened.
//! Times are in seconds and sizes in bytes, as the format's conventions want it.

use crate::app::Shared;
use crate::routes::health;
use crate::wire;
use axon_core::histogram::Histogram;
use axon_core::status::{Integrity, PeerStatus, RaftState, Transfers};
use axum::http::{Method, StatusCode};
use std::fmt::{Display, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The media type of the page.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes, as they are labelled. The last stands for everything else.
const ROUTES: [&str; 20] = [
    "/kv/{key}",
    "/kv",
    "/v1/kv/{key}",
    "/v1/kv",
    "/v1/history/{key}",
    "/v1/txn",
    "/v1/watch",
    "/v1/snapshot",
    "/v1/status",
    "/v1/events",
    "/v1/members",
    "/v1/members/{id}",
    "/v1/members/{id}/promote",
    "/v1/leader/transfer",
    "/livez",
    "/readyz",
    "/metrics",
    "/version",
    "/openapi.json",
    "other",
];
const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "DELETE", "other"];
/// The statuses that the server answers. The last stands for everything else.
const STATUSES: [u16; 24] = [
    200, 201, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 414, 415, 422, 429, 431,
    500, 503, 504, 507, 0,
];
/// Upper bounds of the latency buckets in microseconds.
const BOUNDS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
];

/// A route's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route(usize);

impl Route {
    pub(crate) const PAIR: Self = Self(0);
    pub(crate) const ALL: Self = Self(1);
    pub(crate) const V1_PAIR: Self = Self(2);
    pub(crate) const V1_RANGE: Self = Self(3);
    pub(crate) const V1_HISTORY: Self = Self(4);
    pub(crate) const V1_TXN: Self = Self(5);
    pub(crate) const OTHER: Self = Self(ROUTES.len() - 1);

    /// The route whose pattern is `pattern`.
    pub(crate) fn of(pattern: &str) -> Self {
        ROUTES.iter().position(|route| *route == pattern).map_or(Self::OTHER, Self)
    }
}

/// The patterns of all routes.
#[cfg(test)]
pub(crate) fn routes() -> impl Iterator<Item = &'static str> {
    ROUTES.into_iter().filter(|route| *route != "other")
}

/// The requests of one route, method and status.
#[derive(Debug, Default)]
struct Series {
    /// One per bound, and one for what is over all of them.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// What the server counts by itself.
#[derive(Debug)]
pub(crate) struct Requests {
    series: Box<[OnceLock<Box<Series>>]>,
    /// Connections that are open.
    pub(crate) connections: AtomicU64,
    /// Connections refused because too many were open.
    pub(crate) connections_refused: AtomicU64,
    /// Requests that are running.
    pub(crate) running: AtomicU64,
}

impl Default for Requests {
    fn default() -> Self {
        let cells = ROUTES.len() * METHODS.len() * STATUSES.len();
        Self {
            series: (0..cells).map(|_| OnceLock::new()).collect(),
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            running: AtomicU64::new(0),
        }
    }
}

/// A method's place in the table.
pub(crate) fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

impl Requests {
    /// Counts an answer whose head took `elapsed`.
    pub(crate) fn observe(
        &self,
        route: Route,
        method: usize,
        status: StatusCode,
        elapsed: Duration,
    ) {
        let status = STATUSES.iter().position(|known| *known == status.as_u16());
        let status = status.unwrap_or(STATUSES.len() - 1);
        let cell = (route.0 * METHODS.len() + method) * STATUSES.len() + status;
        let series = self.series[cell].get_or_init(Box::default);
        let micros = elapsed.as_micros() as u64;
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        series.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        series.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, page: &mut Page) {
        let used = || {
            self.series.iter().enumerate().filter_map(|(cell, series)| {
                let (status, rest) = (cell % STATUSES.len(), cell / STATUSES.len());
                let (method, route) = (rest % METHODS.len(), rest / METHODS.len());
                let labels = format!(
                    r#"route="{}",method="{}",status="{}""#,
                    ROUTES[route], METHODS[method], STATUSES[status]
                );
                series.get().map(|series| (labels, series))
            })
        };
        page.head("axon_http_requests_total", "counter", "Requests answered.");
        for (labels, series) in used() {
            let count: u64 = series.buckets.iter().map(load).sum();
            page.line("axon_http_requests_total", &labels, count);
        }
        let name = "axon_http_request_duration_seconds";
        page.head(name, "histogram", "Time from a request's head to the head of its answer.");
        for (labels, series) in used() {
            let mut count = 0;
            for (bucket, bound) in series.buckets.iter().zip(BOUNDS) {
                count += load(bucket);
                let labels = format!(r#"{labels},le="{}""#, seconds(bound));
                page.line("axon_http_request_duration_seconds_bucket", &labels, count);
            }
            count += load(&series.buckets[BOUNDS.len()]);
            let endless = format!(r#"{labels},le="+Inf""#);
            page.line("axon_http_request_duration_seconds_bucket", &endless, count);
            let sum = seconds(load(&series.micros));
            page.line("axon_http_request_duration_seconds_sum", &labels, sum);
            page.line("axon_http_request_duration_seconds_count", &labels, count);
        }
        let refused = load(&self.connections_refused);
        page.gauge("axon_http_connections", "Open connections.", load(&self.connections));
        page.counter("axon_http_connections_refused_total", "Connections over the cap.", refused);
        page.gauge("axon_http_requests_running", "Requests in flight.", load(&self.running));
    }
}

/// The whole page.
pub(crate) fn page(shared: &Shared) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    replica(&mut page, shared);
    log_and_state(&mut page, &shared.cluster.metrics());
    shared.requests.write(&mut page);
    process(&mut page);
    page.0
}

fn replica(page: &mut Page, shared: &Shared) {
    let ready = u8::from(health::readiness(shared).is_ok());
    page.gauge("axon_ready", "1 while linearizable reads are served here.", ready);
    // A replica that still knocks at its cluster has no identity yet, and no place in the protocol.
    let Ok(status) = shared.cluster.status() else { return };
    page.head("axon_info", "gauge", "Who this replica is.");
    // Names are of `[a-z0-9-]`: nothing to escape.
    let labels = format!(
        r#"cluster_id="{}",node_id="{}",name="{}",version="{}""#,
        status.cluster_id,
        status.node_id,
        status.name,
        wire::VERSION
    );
    page.line("axon_info", &labels, 1);
    let leads = u8::from(status.raft_state == RaftState::Leader);
    page.gauge("axon_raft_is_leader", "1 while this replica leads.", leads);
    let leader = status.leader.as_ref().map_or(0, |(id, _)| id.0);
    page.gauge("axon_raft_leader_id", "Whom it follows; 0: nobody.", leader);
    page.gauge("axon_raft_term", "Its Raft term.", status.term);
    page.gauge("axon_raft_voters", "Members that vote.", status.voters.len());
    page.gauge("axon_raft_learners", "Members without a vote.", status.learners.len());
    page.gauge("axon_raft_last_log_index", "Last entry in its log.", status.last_log_index);
    page.gauge("axon_raft_committed_index", "Last entry committed.", status.committed_index);
    page.gauge("axon_raft_applied_index", "Last entry applied.", status.applied_index);
    page.gauge("axon_checkpoint_index", "Last entry in its checkpoint.", status.checkpoint_index);
    page.gauge("axon_revision", "The store's revision.", status.revision);
    page.gauge("axon_compacted_revision", "History up to here is gone.", status.compacted_revision);
    integrity(page, &status.integrity);
    if let Some(disk) = &status.disk {
        page.gauge("axon_disk_free_bytes", "Bytes left on its disk.", disk.free);
        let low = u8::from(disk.low);
        page.gauge("axon_disk_low", "1 while they are too few for writes.", low);
    }
    page.gauge("axon_raft_purged_index", "Entries up to here are purged.", status.purged_index);
    page.gauge("axon_quorum_alive", "Voters that answer this replica.", status.quorum.alive);
    page.gauge("axon_quorum_needed", "Voters that a decision needs.", status.quorum.needed);
    let lost = u8::from(status.quorum.lost);
    page.gauge("axon_quorum_lost", "1 while too few voters answer.", lost);
    page.gauge(
        "axon_raft_joint",
        "1 while a change of membership is half done.",
        u8::from(status.joint),
    );
    if let Some(age) = status.quorum_ack_age {
        let name = "axon_raft_quorum_ack_age_seconds";
        page.gauge(name, "Time since a quorum answered this leader.", age.as_secs_f64());
    }
    peers(page, &status.peers);
}

fn integrity(page: &mut Page, known: &Integrity) {
    let name = "axon_state_doubted";
    let doubted = u8::from(known.doubt.is_some());
    page.gauge(name, "1 while its state is known to be wrong: it serves nothing.", doubted);
    if let Some(age) = known.scrubbed_age {
        let name = "axon_scrubbed_age_seconds";
        page.gauge(name, "Time since its state was last scrubbed.", age.as_secs_f64());
    }
}

fn peers(page: &mut Page, peers: &[PeerStatus]) {
    let name = "axon_peer_alive";
    page.head(name, "gauge", "1 while the member answers this replica.");
    for peer in peers {
        page.line(name, &format!(r#"peer="{}""#, peer.id), u8::from(peer.alive));
    }
    let lags = || peers.iter().filter_map(|peer| Some((peer.id, peer.lag?)));
    if lags().next().is_some() {
        let name = "axon_replication_lag_entries";
        page.head(name, "gauge", "Entries of this leader's log that the member has not confirmed.");
        for (id, lag) in lags() {
            page.line(name, &format!(r#"peer="{id}""#), lag);
        }
    }
}

fn log_and_state(page: &mut Page, metrics: &axon_core::status::Metrics) {
    let log = &metrics.log;
    page.counter("axon_log_appended_entries_total", "Entries appended.", log.appended_entries);
    page.counter("axon_log_appended_bytes_total", "Bytes appended.", log.appended_bytes);
    page.counter("axon_log_syncs_total", "Syncs of the log.", log.syncs);
    let name = "axon_log_sync_duration_seconds";
    page.histogram(name, "Time of each sync of the log.", &log.sync_durations, seconds);
    let name = "axon_log_group_entries";
    page.histogram(
        name,
        "Entries in each group that was synced as one.",
        &log.group_entries,
        whole,
    );
    let p99 = seconds(log.sync_p99_micros);
    page.gauge("axon_log_sync_p99_seconds", "99th percentile of the latest syncs.", p99);
    page.gauge("axon_log_disk_bytes", "Bytes of the log on disk.", log.disk_bytes);
    page.counter("axon_applied_entries_total", "Entries applied.", metrics.applied_entries);
    let checkpoints = &metrics.checkpoint_micros;
    page.counter("axon_checkpoints_total", "Checkpoints written.", checkpoints.count());
    let name = "axon_checkpoint_duration_seconds";
    page.histogram(name, "Time to write each checkpoint.", checkpoints, seconds);
    page.gauge("axon_overlay_bytes", "Changes not checkpointed yet.", metrics.overlay_bytes);
    page.gauge("axon_state_disk_bytes", "Bytes of the state on disk.", metrics.state_disk_bytes);
    page.gauge("axon_history_bytes", "Bytes of the past that is kept.", metrics.history_bytes);
    let swept = metrics.swept_revision;
    page.gauge("axon_swept_revision", "What history up to here left is gone too.", swept);
    let compared = metrics.state_comparisons;
    page.counter("axon_state_comparisons_total", "Comparisons of states it made.", compared);
    let differences = metrics.state_differences;
    page.counter("axon_state_differences_total", "Those that found a difference.", differences);
    page.counter("axon_scrubs_total", "Scrubs of its state that ended well.", metrics.scrubs);
    let read = metrics.scrubbed_bytes;
    page.counter("axon_scrubbed_bytes_total", "Bytes of rows that scrubs have read.", read);
    page.counter("axon_raft_elections_total", "Elections started here.", metrics.elections);
    let changes = metrics.leader_changes;
    page.counter("axon_raft_leader_changes_total", "Changes of leader seen.", changes);
    transfers(page, "sent", &metrics.snapshot_sends);
    transfers(page, "installed", &metrics.snapshot_receipts);
    page.counter("axon_proposals_total", "Writes proposed here.", metrics.proposals);
    let forwarded = metrics.forwarded_out;
    page.counter("axon_proposals_forwarded_total", "Writes sent on to the leader.", forwarded);
    let received = metrics.forwarded_in;
    page.counter("axon_proposals_received_total", "Writes that others sent on to here.", received);
    let rounds = metrics.read_index_rounds;
    page.counter("axon_read_index_rounds_total", "ReadIndex rounds asked.", rounds);
    let reads = metrics.linearizable_reads;
    page.counter("axon_linearizable_reads_total", "Reads served by them.", reads);
    page.gauge("axon_watchers", "Watchers.", metrics.watchers);
    page.counter("axon_watch_events_total", "Events told to watchers.", metrics.watch_events);
    let resyncs = metrics.watch_resyncs;
    page.counter("axon_watch_resyncs_total", "Watchers too slow for the history.", resyncs);
}

fn transfers(page: &mut Page, way: &str, transfers: &Transfers) {
    let help = format!("Snapshots {way}.");
    page.counter(&format!("axon_snapshots_{way}_total"), &help, transfers.micros.count());
    let help = format!("Bytes of snapshots {way}.");
    page.counter(&format!("axon_snapshots_{way}_bytes_total"), &help, transfers.bytes);
    let (name, help) =
        (format!("axon_snapshots_{way}_duration_seconds"), format!("Time of each snapshot {way}."));
    page.histogram(&name, &help, &transfers.micros, seconds);
}

/// What Linux tells of this process; where it does not, the lines are missing.
fn process(page: &mut Page) {
    // The unit of the times in /proc, the same on every architecture that Axon runs on.
    const TICKS_PER_SECOND: f64 = 100.0;
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
        // The second field is the program's name in parentheses, and may hold anything.
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map_or_else(Vec::new, |(_, rest)| rest.split(' ').collect());
        let field =
            |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            let cpu = (user + system) / TICKS_PER_SECOND;
            page.counter("process_cpu_seconds_total", "CPU time used.", cpu);
        }
        if let (Some(start), Some(boot)) = (field(22), boot_time()) {
            let start = boot + start / TICKS_PER_SECOND;
            page.gauge("process_start_time_seconds", "Start, in seconds since 1970.", start);
        }
        if let Some(threads) = field(20) {
            page.gauge("process_threads", "Threads.", threads);
        }
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
        };
        if let Some(resident) = bytes("VmRSS:") {
            page.gauge("process_resident_memory_bytes", "Memory in use.", resident);
        }
        if let Some(virtual_bytes) = bytes("VmSize:") {
            page.gauge("process_virtual_memory_bytes", "Address space in use.", virtual_bytes);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        let open = open.count().saturating_sub(1);
        page.gauge("process_open_fds", "Open file descriptors.", open);
    }
}

/// When the machine was started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        self.write(format_args!("{name}{{{labels}}} {value}\n"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.write(format_args!("{name} {value}\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.write(format_args!("{name} {value}\n"));
    }

    /// Shows a histogram whose values `shown` puts into the metric's unit.
    fn histogram(&mut self, name: &str, help: &str, values: &Histogram, shown: fn(u64) -> f64) {
        self.head(name, "histogram", help);
        let mut count = 0;
        for (exponent, bucket) in values.counts().iter().enumerate() {
            count += bucket;
            // The last bucket has no bound.
            let bound = match exponent + 1 {
                Histogram::BUCKETS => "+Inf".to_owned(),
                _ => shown(1 << exponent).to_string(),
            };
            self.write(format_args!("{name}_bucket{{le=\"{bound}\"}} {count}\n"));
        }
        self.write(format_args!("{name}_sum {}\n{name}_count {count}\n", shown(values.sum())));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes every text");
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn whole(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    fn shown(requests: &Requests) -> String {
        let mut page = Page(String::new());
        requests.write(&mut page);
        page.0
    }

    #[test]
    fn a_request_is_counted_under_its_labels_and_in_its_bucket() {
        let requests = Requests::default();
        let put = method_index(&Method::PUT);
        requests.observe(Route::PAIR, put, StatusCode::OK, Duration::from_micros(100));
        requests.observe(Route::PAIR, put, StatusCode::OK, Duration::from_micros(101));
        requests.observe(Route::PAIR, put, StatusCode::OK, Duration::from_secs(9));
        let page = shown(&requests);
        let labels = r#"route="/kv/{key}",method="PUT",status="200""#;
        for line in [
            format!("axon_http_requests_total{{{labels}}} 3\n"),
            format!("axon_http_request_duration_seconds_bucket{{{labels},le=\"0.0001\"}} 1\n"),
            format!("axon_http_request_duration_seconds_bucket{{{labels},le=\"0.00025\"}} 2\n"),
            format!("axon_http_request_duration_seconds_bucket{{{labels},le=\"5\"}} 2\n"),
            format!("axon_http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3\n"),
            format!("axon_http_request_duration_seconds_sum{{{labels}}} 9.000201\n"),
            format!("axon_http_request_duration_seconds_count{{{labels}}} 3\n"),
        ] {
            assert!(page.contains(&line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn only_what_happened_is_shown() {
        assert!(!shown(&Requests::default()).contains("status="));
    }

    #[test]
    fn every_status_of_a_problem_has_a_place() {
        for code in Code::ALL {
            assert!(STATUSES.contains(&code.status().as_u16()), "{code:?}");
        }
    }

    #[test]
    fn unknown_methods_and_routes_share_one_place() {
        assert_eq!(METHODS[method_index(&Method::PATCH)], "other");
        assert_eq!(Route::of("/nowhere"), Route::OTHER);
        for (pattern, route) in [
            ("/kv/{key}", Route::PAIR),
            ("/kv", Route::ALL),
            ("/v1/kv/{key}", Route::V1_PAIR),
            ("/v1/kv", Route::V1_RANGE),
            ("/v1/history/{key}", Route::V1_HISTORY),
            ("/v1/txn", Route::V1_TXN),
        ] {
            assert_eq!(Route::of(pattern), route);
        }
    }
}
