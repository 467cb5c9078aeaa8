use crate::Instant;
use alloc::{boxed::Box, vec};
use core::{net::IpAddr, time::Duration};

/// How often something may happen: a token bucket's size and refill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many per second in the long run; 0 never refills.
    pub per_second: u32,
    /// How many at once.
    pub burst: u32,
}

/// One token bucket. Full at first.
///
/// ```
/// use voxwire_core::{Bucket, Instant, Rate};
/// let rate = Rate { per_second: 10, burst: 2 };
/// let mut bucket = Bucket::default();
/// assert!(bucket.take(Instant::ZERO, rate, 1).is_ok());
/// assert!(bucket.take(Instant::ZERO, rate, 1).is_ok());
/// let wait_until = bucket.take(Instant::ZERO, rate, 1).unwrap_err();
/// assert!(bucket.take(wait_until, rate, 1).is_ok());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When the bucket will be full again (the generic cell rate algorithm's theoretical arrival time).
    full_at: Instant,
}

impl Bucket {
    /// Takes `n` tokens.
    ///
    /// # Errors
    /// With fewer than `n` left nothing is taken; the error is when to try again ([`u64::MAX`] nanoseconds: never).
    pub fn take(&mut self, now: Instant, rate: Rate, n: u32) -> Result<(), Instant> {
        let full_at = self.full_at.max(now).saturating_add(cost(rate, n));
        let window = cost(rate, rate.burst);
        let owed = full_at.saturating_duration_since(now);
        if owed > window {
            let wait = owed.saturating_sub(window);
            let never = rate.per_second == 0 || n > rate.burst;
            return Err(if never { Instant::from_nanos(u64::MAX) } else { now.saturating_add(wait) });
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Whether all its tokens are there: then it says no more than a new one.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes `n` tokens even if they are not there, and says until when the debtor should rest.
    pub fn charge(&mut self, now: Instant, rate: Rate, n: u32) -> Option<Instant> {
        self.full_at = self.full_at.max(now).saturating_add(cost(rate, n));
        let owed = self.full_at.saturating_duration_since(now);
        let wait = owed.saturating_sub(cost(rate, rate.burst));
        (!wait.is_zero()).then(|| now.saturating_add(wait))
    }
}

/// What `n` tokens cost, in time to refill.
fn cost(rate: Rate, n: u32) -> Duration {
    // A rate of zero spreads its burst over more than a century: spent once.
    let forever = || (u64::MAX >> 2).checked_div(rate.burst.max(1).into()).unwrap_or(u64::MAX);
    let one = 1_000_000_000_u64.checked_div(rate.per_second.into()).unwrap_or_else(forever);
    Duration::from_nanos(one.saturating_mul(n.into()))
}

/// One [`Rate`] for each source address, in a table of fixed size: no state is created for anyone and nothing is evicted.
///
/// IPv6 sources share a bucket by their /64. Addresses that fall into one slot share it; the seed keeps outsiders from
/// choosing their company. Loopback is exempt: there one address is many people.
#[derive(Debug, Clone)]
pub struct SourceRate {
    buckets: Box<[Bucket]>,
    rate: Rate,
    seed: u64,
    per_host: bool,
}

impl SourceRate {
    /// A table of `slots` buckets (at least one) under `rate`.
    pub fn new(rate: Rate, slots: usize, seed: u64) -> Self {
        Self { buckets: vec![Bucket::default(); slots.max(1)].into(), rate, seed, per_host: false }
    }

    /// The same table with each IPv6 address by itself: for one network, where all share a /64.
    #[must_use]
    pub fn per_host(self) -> Self {
        Self { per_host: true, ..self }
    }

    /// Takes one token of `source`'s bucket; false if none is left.
    pub fn allow(&mut self, now: Instant, source: IpAddr) -> bool {
        if source.to_canonical().is_loopback() {
            return true;
        }
        let slots = self.buckets.len() as u64;
        let slot =
            mix(self.key(source) ^ self.seed).checked_rem(slots).and_then(|slot| usize::try_from(slot).ok());
        let bucket = slot.and_then(|slot| self.buckets.get_mut(slot));
        bucket.is_some_and(|bucket| bucket.take(now, self.rate, 1).is_ok())
    }

    /// The 64 bits that stand for a source.
    fn key(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(v4) => u32::from(v4).into(),
            IpAddr::V6(v6) => {
                let [high, low] = [u128::from(v6) >> 64, u128::from(v6) & u128::from(u64::MAX)]
                    .map(|half| u64::try_from(half).unwrap_or(u64::MAX));
                if self.per_host { mix(high) ^ low } else { high }
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the /64 of an IPv6 one.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

/// The finaliser of SplitMix64: spreads every input bit over the output.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2, burst: 3 };

    fn count(bucket: &mut Bucket, now: Instant) -> u32 {
        (0..10).map(|_| u32::from(bucket.take(now, RATE, 1).is_ok())).sum()
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::default();
        assert!(bucket.is_full(Instant::ZERO));
        assert_eq!(count(&mut bucket, Instant::ZERO), 3);
        assert!(!bucket.is_full(Instant::ZERO));
        let second = Instant::from_nanos(1_000_000_000);
        assert_eq!(count(&mut bucket, second), 2);
        assert_eq!(count(&mut bucket, second.saturating_add(Duration::from_secs(60))), 3);
    }

    #[test]
    fn a_rate_of_zero_spends_its_burst_once() {
        let rate = Rate { per_second: 0, burst: 2 };
        let mut bucket = Bucket::default();
        let taken = (0..5).filter(|_| bucket.take(Instant::ZERO, rate, 1).is_ok()).count();
        assert_eq!(taken, 2);
        assert_eq!(bucket.take(Instant::from_nanos(1 << 60), rate, 5), Err(Instant::from_nanos(u64::MAX)));
        // More than the bucket holds never comes.
        assert_eq!(Bucket::default().take(Instant::ZERO, RATE, 4), Err(Instant::from_nanos(u64::MAX)));
    }

    #[test]
    fn charging_goes_into_debt_and_says_for_how_long() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.charge(Instant::ZERO, RATE, 3), None);
        assert_eq!(bucket.charge(Instant::ZERO, RATE, 4), Some(Instant::from_nanos(2_000_000_000)));
    }

    #[test]
    fn sources_are_counted_apart_v6_by_its_64_and_loopback_not_at_all() {
        let mut table = SourceRate::new(RATE, 1024, 7);
        let mut left = |source: &str| {
            let source: IpAddr = source.parse().unwrap();
            (0..10).filter(|_| table.allow(Instant::ZERO, source)).count()
        };
        assert_eq!(left("192.0.2.1"), 3);
        assert_eq!(left("192.0.2.1"), 0);
        assert_eq!(left("192.0.2.2"), 3);
        assert_eq!(left("2001:db8::1"), 3);
        assert_eq!(left("2001:db8::2"), 0);
        assert_eq!((left("127.0.0.1"), left("::ffff:127.0.0.1")), (10, 10));
        assert_eq!((left("192.0.2.3"), left("::ffff:192.0.2.3")), (3, 0));
        let mut table = SourceRate::new(RATE, 1024, 7).per_host();
        let mut left = |source: &str| {
            let source: IpAddr = source.parse().unwrap();
            (0..10).filter(|_| table.allow(Instant::ZERO, source)).count()
        };
        assert_eq!(["fe80::1", "fe80::2", "fe80::1", "192.0.2.1"].map(&mut left), [3, 3, 0, 3]);
    }
}
