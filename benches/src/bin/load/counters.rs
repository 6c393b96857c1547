//! What the servers count themselves: syncs of their logs, entries in them, and who leads.
//!
//! Read from `/metrics` of each node (Prometheus' text format) or, embedded, from the library.
//! A server that does not show a counter has none here: no figure is better than a wrong one.

use std::ops::Sub;

/// Counters of all nodes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Syncs of the logs.
    pub syncs: Option<u64>,
    /// Entries that those made durable.
    pub entries: Option<u64>,
}

impl Counters {
    /// Reads one node's page.
    pub fn of_page(page: &str) -> Self {
        let first = |names: [&str; 2]| names.iter().find_map(|name| sample(page, name));
        Self {
            syncs: first(["axon_log_syncs_total", "etcd_disk_wal_fsync_duration_seconds_count"]),
            // etcd counts no appended entries.
            entries: sample(page, "axon_log_appended_entries_total"),
        }
    }

    /// Sums two nodes' counters; unknown as soon as one of them is.
    pub fn plus(self, other: Self) -> Self {
        let sum = |one: Option<u64>, two: Option<u64>| Some(one? + two?);
        Self { syncs: sum(self.syncs, other.syncs), entries: sum(self.entries, other.entries) }
    }
}

impl Sub for Counters {
    type Output = Self;

    /// What was counted since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        let since = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        Self {
            syncs: since(self.syncs, earlier.syncs),
            entries: since(self.entries, earlier.entries),
        }
    }
}

/// Reports whether etcd's page says that the member leads.
pub fn etcd_leads(page: &str) -> bool {
    sample(page, "etcd_server_is_leader") == Some(1)
}

/// The whole number of a sample without labels.
fn sample(page: &str, name: &str) -> Option<u64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    // Go writes large whole numbers as 1.234567e+06.
    let value: f64 = value.trim().parse().ok()?;
    (value >= 0.0).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_pages_are_understood() {
        let axon = "# HELP axon_log_syncs_total Syncs.\naxon_log_syncs_total 7\n\
                    axon_log_appended_entries_total 70\n";
        assert_eq!(Counters::of_page(axon), Counters { syncs: Some(7), entries: Some(70) });
        let etcd = "etcd_disk_wal_fsync_duration_seconds_count 1.5e+06\netcd_server_is_leader 1\n";
        assert_eq!(Counters::of_page(etcd), Counters { syncs: Some(1_500_000), entries: None });
        assert!(etcd_leads(etcd) && !etcd_leads(axon));
    }

    #[test]
    fn what_one_node_does_not_count_is_unknown_for_all() {
        let known = Counters { syncs: Some(3), entries: Some(9) };
        assert_eq!(known.plus(Counters { syncs: Some(1), entries: None }).entries, None);
        assert_eq!(known - Counters::default(), Counters::default());
        assert_eq!((known - Counters { syncs: Some(1), entries: Some(1) }).syncs, Some(2));
    }
}
