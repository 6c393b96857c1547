//! Cluster time: what the replicated state believes the time to be.
//!
//! Leaders stamp entries; the machine takes the highest stamp so far. It never decreases, does not
//! follow jumps of a wall clock, and stands still without a leader. Expiry uses it alone.

use std::time::Duration;

/// A moment of cluster time, in milliseconds since the cluster began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterClock(u64);

impl ClusterClock {
    /// The moment `millis` after the beginning.
    #[must_use]
    pub const fn at(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Moves on to `stamp_millis`, unless it lies in the past.
    pub fn advance(&mut self, stamp_millis: u64) {
        self.0 = self.0.max(stamp_millis);
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_time_never_goes_back() {
        let mut clock = ClusterClock::default();
        for (stamp, expected) in [(5, 5), (3, 5), (0, 5), (9, 9)] {
            clock.advance(stamp);
            assert_eq!(clock.millis(), expected);
        }
        assert_eq!(clock.since(ClusterClock::at(4)), Duration::from_millis(5));
        assert_eq!(clock.since(ClusterClock::at(40)), Duration::ZERO);
    }
}
