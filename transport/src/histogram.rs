//! How long something takes, in buckets: counted without a lock and without an allocation.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::time::Duration;

/// Upper bounds of the buckets, in nanoseconds: 20 µs to 5 s.
const BOUNDS: [u64; 16] = [
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// Counts durations. Each observation is two additions.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last bucket has no bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// What has been counted so far.
    pub fn stats(&self) -> HistogramStats {
        let mut counts = [0; BOUNDS.len() + 1];
        counts.iter_mut().zip(&self.buckets).for_each(|(count, bucket)| *count = bucket.load(Relaxed));
        HistogramStats { counts, nanos: self.nanos.load(Relaxed) }
    }
}

/// What a [`Histogram`] has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistogramStats {
    counts: [u64; BOUNDS.len() + 1],
    nanos: u64,
}

impl HistogramStats {
    /// How many durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// All of them together.
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// The average; `None` where nothing was counted.
    pub fn mean(&self) -> Option<Duration> {
        self.nanos.checked_div(self.count()).map(Duration::from_nanos)
    }

    /// The upper bound of each bucket, and how many durations it counts: those up to its bound and over the bound before it. The last bucket has
    /// no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS.iter().map(|nanos| Some(Duration::from_nanos(*nanos))).chain([None]);
        bounds.zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_first_bucket_with_room_for_it() {
        let histogram = Histogram::default();
        for nanos in [0, 20_000, 20_001, 5_000_000_001] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let stats = histogram.stats();
        let counts: Vec<u64> = stats.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts.len(), counts[0], counts[1], counts[16]), (17, 2, 1, 1));
        assert!(stats.buckets().last().is_some_and(|(bound, _)| bound.is_none()));
        assert_eq!((stats.count(), stats.sum()), (4, Duration::from_nanos(5_000_040_002)));
    }
}
