//! What is counted and measured, and how the processes' figures become one.

use crate::error::Cause;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nanoseconds that a histogram tells apart from longer ones: ten minutes.
const LONGEST: u64 = 600 * crate::plan::SECOND;
/// Different causes that are kept; the others are counted together.
const MOST_CAUSES: usize = 64;
/// What those are called.
const OTHERS: &str = "other causes";

/// Durations in nanoseconds, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        // The bounds are constants within what the library takes.
        Self(Histogram::new_with_bounds(1000, LONGEST, 3).unwrap_or_else(|_| unreachable!("constant bounds")))
    }
}

impl Durations {
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// A percentile, in nanoseconds; 100 is the longest.
    pub(crate) fn percentile(&self, percent: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_percentile(percent) }
    }

    /// Exact: both have the same buckets.
    fn add(&mut self, other: &[(u64, u64)]) {
        for (value, count) in other {
            self.0.saturating_record_n(*value, *count);
        }
    }

    /// Each bucket in use: a value in it, and how many.
    fn buckets(&self) -> Vec<(u64, u64)> {
        self.0.iter_recorded().map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value())).collect()
    }
}

/// The durations that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// From when a frame was due until it was heard.
    Latency,
    /// From when it was sent until it was heard.
    Transit,
    /// From when it was due until it was sent: this program's own.
    Late,
    /// From connecting until a user was let in.
    Join,
    /// From asking for a call or a group until it was up.
    SetUp,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Latency, Self::Transit, Self::Late, Self::Join, Self::SetUp];

    /// The name in JSON, without its unit.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Transit => "transit",
            Self::Late => "late",
            Self::Join => "join",
            Self::SetUp => "set_up",
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Users that were let in, and that were ready to talk or listen.
    pub(crate) joined: u64,
    pub(crate) ready: u64,
    /// Frames that talkers said, and that their sessions refused to take.
    pub(crate) sent: u64,
    pub(crate) refused: u64,
    /// Copies that came as they were sent, each once.
    pub(crate) heard: u64,
    /// Of those, that came after a later one.
    pub(crate) reordered: u64,
    /// Copies that came once more.
    pub(crate) duplicated: u64,
    /// Copies that did not come as they were sent, or to a user that was not to hear them.
    pub(crate) wrong: u64,
}

/// What one user said and heard: the frames of its group that it should have heard follow from what all of them said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserCounts {
    pub(crate) user: u32,
    pub(crate) sent: u64,
    pub(crate) heard: u64,
}

/// All figures of a process, or of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) counts: Counts,
    durations: BTreeMap<Kind, Durations>,
    /// Why users failed, and how many of them.
    errors: BTreeMap<String, u64>,
    /// Those users that were ready.
    pub(crate) users: Vec<UserCounts>,
}

/// The same as it goes from one process to another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    counts: Counts,
    durations: BTreeMap<Kind, Vec<(u64, u64)>>,
    errors: BTreeMap<String, u64>,
    users: Vec<UserCounts>,
}

impl Figures {
    pub(crate) fn record(&mut self, kind: Kind, nanos: u64) {
        self.durations.entry(kind).or_default().record(nanos);
    }

    pub(crate) fn durations(&self, kind: Kind) -> Durations {
        self.durations.get(&kind).cloned().unwrap_or_default()
    }

    pub(crate) fn error(&mut self, Cause(cause): Cause) {
        self.errors(cause, 1);
    }

    fn errors(&mut self, cause: String, count: u64) {
        let known = self.errors.contains_key(&cause) || self.errors.len() < MOST_CAUSES;
        *self.errors.entry(if known { cause } else { OTHERS.into() }).or_default() += count;
    }

    /// Causes and how often, the most frequent first.
    pub(crate) fn causes(&self) -> Vec<(&str, u64)> {
        let mut causes: Vec<_> = self.errors.iter().map(|(cause, count)| (&**cause, *count)).collect();
        causes.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
        causes
    }

    /// To be sent to another process.
    pub(crate) fn into_part(self) -> Part {
        let durations = self.durations.iter().map(|(kind, durations)| (*kind, durations.buckets()));
        Part { durations: durations.collect(), counts: self.counts, errors: self.errors, users: self.users }
    }

    /// Adds what another process has.
    pub(crate) fn merge(&mut self, part: Part) {
        let (all, more) = (&mut self.counts, part.counts);
        for (all, more) in [
            (&mut all.joined, more.joined),
            (&mut all.ready, more.ready),
            (&mut all.sent, more.sent),
            (&mut all.refused, more.refused),
            (&mut all.heard, more.heard),
            (&mut all.reordered, more.reordered),
            (&mut all.duplicated, more.duplicated),
            (&mut all.wrong, more.wrong),
        ] {
            *all += more;
        }
        for (kind, buckets) in &part.durations {
            self.durations.entry(*kind).or_default().add(buckets);
        }
        part.errors.into_iter().for_each(|(cause, count)| self.errors(cause, count));
        self.users.extend(part.users);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes have the percentiles that one process would have had.
    #[test]
    fn parts_merge_exactly() {
        let (mut one, mut all) = (Figures::default(), Figures::default());
        for part in 0..3_u64 {
            let mut figures = Figures::default();
            for n in 0..10_000 {
                let nanos = (n * 7919 + part * 104_729) % 1_000_003 * (1 + n % 97);
                one.record(Kind::Latency, nanos);
                figures.record(Kind::Latency, nanos);
            }
            figures.counts = Counts { joined: 1, wrong: part, ..Counts::default() };
            figures.error(Cause("refused".into()));
            let text = serde_json::to_string(&figures.into_part()).unwrap();
            all.merge(serde_json::from_str(&text).unwrap());
        }
        let (one, merged) = (one.durations(Kind::Latency), all.durations(Kind::Latency));
        assert_eq!((one.count(), merged.count()), (30_000, 30_000));
        for percent in [0.0, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0] {
            assert_eq!(one.percentile(percent), merged.percentile(percent), "{percent}");
        }
        assert_eq!(one.buckets(), merged.buckets());
        assert_eq!((all.counts.joined, all.counts.wrong), (3, 3));
        assert_eq!(all.causes(), [("refused", 3)]);
    }

    #[test]
    fn a_percentile_is_right_to_three_digits() {
        let mut durations = Durations::default();
        (1..=1000).for_each(|n| durations.record(n * 1_000_000));
        for (percent, expected) in [(50.0, 500.0), (90.0, 900.0), (99.9, 999.0), (100.0, 1000.0)] {
            let found = durations.percentile(percent) as f64 / 1e6;
            assert!((found - expected).abs() <= expected / 500.0, "{percent}: {found}");
        }
        assert_eq!(Durations::default().percentile(50.0), 0);
    }

    #[test]
    fn causes_are_bounded_and_the_most_frequent_come_first() {
        let mut figures = Figures::default();
        (0..1000).for_each(|n| figures.error(Cause(format!("cause {n}"))));
        figures.error(Cause("cause 5".into()));
        let causes = figures.causes();
        assert_eq!(causes.len(), MOST_CAUSES + 1);
        assert_eq!(causes[..2], [(OTHERS, 1000 - MOST_CAUSES as u64), ("cause 5", 2)]);
        assert_eq!(causes.iter().map(|(_, count)| count).sum::<u64>(), 1001);
    }
}
