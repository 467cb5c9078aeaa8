use crate::Instant;
use core::time::Duration;

/// Seconds in which one is forgiven.
const MINUTE: u64 = 60;

/// Violations of one connection, less one for each minute that has passed.
///
/// ```
/// use voxwire_core::{Instant, Violations};
/// let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
/// let mut violations = Violations::new(at(0));
/// assert_eq!([at(0), at(1), at(59)].map(|now| violations.add(now)), [1, 2, 3]);
/// // The rest of a minute counts for the next one.
/// assert_eq!([at(61), at(118), at(120)].map(|now| violations.add(now)), [3, 4, 4]);
/// assert_eq!([at(359), at(360)].map(|now| violations.is_clear(now)), [false, true]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Violations {
    count: u32,
    /// Until when they have been forgiven: full minutes only.
    forgiven: Instant,
}

impl Violations {
    /// None yet.
    pub const fn new(now: Instant) -> Self {
        Self { count: 0, forgiven: now }
    }

    /// Whether all have been forgiven: then it says no more than a new one.
    pub const fn is_clear(&self, now: Instant) -> bool {
        self.minutes(now) >= self.count as u64
    }

    const fn minutes(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.forgiven).as_secs() / MINUTE
    }

    /// One more. Returns how many there are.
    pub fn add(&mut self, now: Instant) -> u32 {
        let minutes = self.minutes(now);
        self.count = self.count.saturating_sub(u32::try_from(minutes).unwrap_or(u32::MAX));
        self.forgiven = match self.count {
            0 => now,
            _ => self.forgiven.saturating_add(Duration::from_secs(minutes.saturating_mul(MINUTE))),
        };
        self.count = self.count.saturating_add(1);
        self.count
    }
}
