//! How values are distributed, in few numbers.
//!
//! A bucket for each power of two: which one a value falls into is one instruction, whatever it
//! measures (microseconds, entries, bytes), and the error of a quantile is at most a factor of two.
//! Plain data: whoever fills it has a lock or is alone.

/// Counts of values by size, with their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; Self::BUCKETS],
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; Self::BUCKETS], sum: 0 }
    }
}

impl Histogram {
    /// How many buckets there are: bucket `i` counts values of at most `1 << i` that are larger than
    /// those of the bucket before, and the last one everything else.
    pub const BUCKETS: usize = 28;

    /// Counts `value`.
    pub fn record(&mut self, value: u64) {
        let bucket = u64::BITS - value.saturating_sub(1).leading_zeros();
        self.counts[(bucket as usize).min(Self::BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// How many values were counted in each bucket.
    #[must_use]
    pub const fn counts(&self) -> &[u64; Self::BUCKETS] {
        &self.counts
    }

    /// The sum of all values.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_under_the_smallest_power_of_two_that_holds_it() {
        let mut histogram = Histogram::default();
        for (value, bucket) in [
            (0, 0),
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (1 << 26, 26),
            (1 << 27, 27),
            (u64::MAX, 27),
        ] {
            let before = histogram.counts()[bucket];
            histogram.record(value);
            assert_eq!(histogram.counts()[bucket], before + 1, "{value}");
        }
        assert_eq!(histogram.count(), 9);
        assert_eq!(histogram.sum(), u64::MAX, "it does not wrap");
    }
}
