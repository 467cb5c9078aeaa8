//! Times, and how they are spread.

use core::fmt::Write as _;
use std::collections::VecDeque;

/// Times in seconds, in the order in which they came; the last million of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spread(VecDeque<f64>);

const MOST: usize = 1_000_000;

impl Spread {
    pub(crate) fn add(&mut self, seconds: f64) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(seconds);
    }

    /// The newest, in seconds.
    pub(crate) fn last(&self) -> Option<f64> {
        self.0.back().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same, counted from the smallest; without what two clocks drift apart, which is what the smallest do.
    pub(crate) fn beyond_least(mut self) -> Self {
        let least = |times: &mut dyn Iterator<Item = &f64>| times.copied().fold(f64::INFINITY, f64::min);
        let tenth = self.0.len() / 10;
        if tenth > 0 {
            let (first, last) =
                (least(&mut self.0.iter().take(tenth)), least(&mut self.0.iter().rev().take(tenth)));
            let each = (last - first) / (self.0.len() - tenth) as f64;
            self.0.iter_mut().zip(0_u32..).for_each(|(time, n)| *time -= each * f64::from(n));
        }
        let least = least(&mut self.0.iter());
        self.0.iter_mut().for_each(|time| *time -= least);
        self
    }

    /// In milliseconds: the median, 99 and 99.9 percent, and the largest.
    pub(crate) fn quantiles(&self) -> [f64; 4] {
        let mut sorted = Vec::from(self.0.clone());
        sorted.sort_by(f64::total_cmp);
        [0.5, 0.99, 0.999, 1.0].map(|quantile| {
            let at = (quantile * sorted.len().saturating_sub(1) as f64).round() as usize;
            sorted.get(at).map_or(0.0, |time| time * 1e3)
        })
    }

    /// How many lie between powers of two of microseconds: from, to, in milliseconds, and the number.
    pub(crate) fn buckets(&self) -> Vec<(f64, f64, usize)> {
        let mut counts = [0_usize; 32];
        for time in &self.0 {
            let micros = (time * 1e6).max(1.0);
            counts[(micros.log2() as usize).min(31)] += 1;
        }
        let used = |n: &usize| counts[*n] > 0;
        let (first, last) = ((0..32).find(used).unwrap_or(0), (0..32).rev().find(used).unwrap_or(0));
        let bounds = |n: usize| ((1_u64 << n) as f64 / 1e3, (2_u64 << n) as f64 / 1e3);
        (first..=last).map(|n| (bounds(n).0, bounds(n).1, counts[n])).collect()
    }

    /// The same, drawn: a line for each.
    pub(crate) fn histogram(&self) -> String {
        let buckets = self.buckets();
        let most = buckets.iter().map(|(.., count)| *count).max().unwrap_or(0).max(1);
        let mut text = String::new();
        for (from, to, count) in buckets {
            let bar = "#".repeat((count * 50).div_ceil(most));
            let _ = write!(text, "\n{from:>10.3} to {to:>10.3} ms {count:>8} {bar}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sorted_and_drawn_for_any_clocks() {
        let mut spread = Spread::default();
        for n in 1..=1000_u32 {
            // Up to a millisecond late, and a clock that is ten milliseconds off in the end.
            let late = f64::from(n * 617 % 1000 + 1) * 1e-6;
            spread.add(7.0 + late + f64::from(n) * 1e-5);
        }
        let spread = spread.beyond_least();
        let [median, p99, p999, most] = spread.quantiles();
        assert!((median - 0.5).abs() < 0.05 && (p99 - 0.989).abs() < 0.05, "{median} {p99}");
        assert!((p999 - 0.998).abs() < 0.05 && (most - 0.999).abs() < 0.05, "{p999} {most}");
        let histogram = spread.histogram();
        assert!(histogram.contains(&format!(" {}", "#".repeat(50))), "{histogram}");
        assert!(histogram.lines().count() >= 8, "{histogram}");
    }
}
