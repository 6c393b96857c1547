//! What a log has done since it was opened, and how long its latest syncs took.

use crate::runtime;
use crate::storage::LogMetrics;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// What the log has done since it was opened.
pub(super) struct Counters {
    totals: LogMetrics,
    /// The latest syncs, oldest first: when each ended, and its microseconds.
    latest: VecDeque<(Instant, u32)>,
}

impl Default for Counters {
    fn default() -> Self {
        let latest = VecDeque::with_capacity(Self::LATEST_MAX);
        Self { totals: LogMetrics::default(), latest }
    }
}

impl Counters {
    const LATEST_MAX: usize = 512;
    /// A disk that was slow and is not any more is forgiven after this, however little is written.
    const LATEST_AGE: Duration = Duration::from_secs(5);

    /// Counts a group.
    pub(super) fn count(&mut self, entries: u64, bytes: u64) {
        self.totals.appended_entries += entries;
        self.totals.appended_bytes += bytes;
    }

    /// Counts a sync.
    pub(super) fn count_sync(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.totals.syncs += 1;
        self.totals.sync_micros += u64::from(micros);
        if self.latest.len() == Self::LATEST_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back((runtime::now(), micros));
    }

    /// The counters, but for what the log takes on disk.
    pub(super) fn metrics(&self) -> LogMetrics {
        let recent = self.latest.iter().filter(|(at, _)| at.elapsed() < Self::LATEST_AGE);
        let mut latest: Vec<u32> = recent.map(|(_, micros)| *micros).collect();
        latest.sort_unstable();
        // The smallest value that 99 of 100 syncs do not exceed.
        let rank = (latest.len() * 99).div_ceil(100).saturating_sub(1);
        let p99 = latest.get(rank).copied().unwrap_or(0);
        LogMetrics { sync_p99_micros: u64::from(p99), ..self.totals }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_sync_is_forgotten_with_time_alone() {
        let mut counters = Counters::default();
        counters.count_sync(Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(3)).await;
        counters.count_sync(Duration::from_micros(9));
        assert_eq!(counters.metrics().sync_p99_micros, 2_000_000);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(counters.metrics().sync_p99_micros, 9);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(counters.metrics().sync_p99_micros, 0);
    }

    #[test]
    fn the_99th_percentile_is_of_the_latest_syncs() {
        let mut counters = Counters::default();
        assert_eq!(counters.metrics().sync_p99_micros, 0);
        for micros in 1..=100 {
            counters.count_sync(Duration::from_micros(micros));
        }
        assert_eq!(counters.metrics().sync_p99_micros, 99);
        for _ in 0..512 {
            counters.count_sync(Duration::from_micros(7));
        }
        let metrics = counters.metrics();
        assert_eq!(metrics.sync_p99_micros, 7);
        assert_eq!(metrics.syncs, 612);
        assert_eq!(metrics.sync_micros, 5050 + 512 * 7);
    }
}
