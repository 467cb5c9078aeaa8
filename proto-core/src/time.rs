use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

/// A point on the caller's time line, in nanoseconds from an origin the caller chose.
///
/// Not `std::time::Instant`: that one does not exist without `std`, cannot be built from a number and so cannot be
/// simulated, fuzzed or replayed. All arithmetic saturates; 64 bits of nanoseconds last 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The origin of the time line.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// The point `nanos` nanoseconds after the origin; 2⁶⁴ − 2 at most.
    pub const fn from_nanos(nanos: u64) -> Self {
        // One more than that, so that an `Option` of this takes no more room.
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0.get().saturating_sub(1)
    }

    /// This point, `duration` later; the end of the time line if that lies beyond it.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.after(nanos(duration))
    }

    /// This point, so many nanoseconds later. The hot path counts in these: a `Duration` costs divisions.
    pub(crate) const fn after(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The nanoseconds from `earlier` to this point; 0 if `earlier` is in fact later.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    /// The time from `earlier` to this point; zero if `earlier` is in fact later.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.since(earlier))
    }
}

impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&Duration::from_nanos(self.as_nanos())).finish()
    }
}

/// Nanoseconds since the origin.
#[cfg(feature = "serde")]
impl serde::Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.as_nanos())
    }
}

/// Nanoseconds since the origin.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Instant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::from_nanos)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Instant {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=u64} ns", self.as_nanos());
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The one clock of the family, for drivers: reads the system's monotonic clock as an [`Instant`].
///
/// ```
/// let clock = voxwire_core::Clock::start();
/// assert!(clock.now() <= clock.now());
/// ```
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy)]
pub struct Clock(std::time::Instant);

#[cfg(feature = "std")]
impl Clock {
    /// Starts a time line whose origin is now.
    #[expect(clippy::disallowed_methods, reason = "the only clock read of the family")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The present moment on this time line.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(nanos(self.0.elapsed()))
    }

    /// The same moment on the system's time line, to sleep until.
    pub fn to_std(&self, at: Instant) -> std::time::Instant {
        // A point so late that the system cannot represent it is a year from now: sleepers look again.
        let year = Duration::from_secs(365 * 24 * 3600);
        let in_a_year = || self.0.checked_add(self.0.elapsed().saturating_add(year)).unwrap_or(self.0);
        self.0.checked_add(Duration::from_nanos(at.as_nanos())).unwrap_or_else(in_a_year)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_06_an_optional_instant_takes_no_more_room() {
        assert_eq!(size_of::<Option<Instant>>(), size_of::<u64>());
        assert_eq!(Instant::from_nanos(5).as_nanos(), 5);
        assert_eq!(std::format!("{:?}", Instant::from_nanos(1500)), "Instant(1.5µs)");
        assert_eq!((Instant::default(), Instant::ZERO.as_nanos()), (Instant::ZERO, 0));
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(end.saturating_add(Duration::MAX), end);
        assert_eq!(Instant::ZERO.saturating_duration_since(end), Duration::ZERO);
        assert_eq!(
            Instant::from_nanos(7).saturating_duration_since(Instant::from_nanos(3)),
            Duration::from_nanos(4)
        );
    }
}
