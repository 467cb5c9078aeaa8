use core::time::Duration;

/// Shortens waits by up to a half, at random by a seed. So clients that have lost a server at the same time do not all come back at the same
/// time.
///
/// ```
/// use core::time::Duration;
/// use voxwire_core::Jitter;
/// let wait = Duration::from_secs(1);
/// let [one, two] = [1, 2].map(|seed| Jitter::new(seed).shorten(wait));
/// assert!(one != two && one <= wait && one >= wait / 2);
/// ```
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// `seed` should be random.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Mixes `name` in. Clients with different names then wait for different times, even with the same seed.
    pub fn mix(&mut self, name: &[u8]) {
        // FNV-1a.
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.0 = name.iter().fold(self.0 ^ 0xcbf2_9ce4_8422_2325, fold);
    }

    /// A random duration below `wait`, uniformly distributed; zero if `wait` is zero.
    pub fn below(&mut self, wait: Duration) -> Duration {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^= n >> 31;
        let nanos = wait.as_nanos().saturating_mul(u128::from(n)) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// `wait`, shortened by up to a half.
    pub fn shorten(&mut self, wait: Duration) -> Duration {
        let half = wait.checked_div(2).unwrap_or_default();
        wait.saturating_sub(self.below(half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-31: many clients that lost a server together come back one by one.
    #[test]
    #[allow(clippy::arithmetic_side_effects)]
    fn waits_are_spread_evenly_over_their_second_half() {
        let wait = Duration::from_secs(8);
        let mut buckets = [0_u32; 8];
        for seed in 0..4000_u32 {
            let mut jitter = Jitter::new(0);
            jitter.mix(&seed.to_be_bytes());
            let waited = jitter.shorten(wait);
            assert!((wait / 2..=wait).contains(&waited));
            let at = usize::try_from((waited - wait / 2).as_millis() / 500).unwrap();
            *buckets.get_mut(at.min(7)).unwrap() += 1;
        }
        assert!(buckets.iter().all(|count| (400..600).contains(count)), "{buckets:?}");
        let mut jitter = Jitter::new(7);
        assert!(jitter.shorten(wait) != jitter.shorten(wait), "and those of one client");
        assert_eq!(jitter.shorten(Duration::ZERO), Duration::ZERO);
        assert!(jitter.shorten(Duration::MAX) >= Duration::MAX / 2);
    }
}
