use crate::{Exempt, Instant, Payer, PeerId};
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
    /// A full one, as the default is.
    pub const FULL: Self = Self { full_at: Instant::ZERO };

    /// Takes `n` tokens.
    ///
    /// # Errors
    /// With fewer than `n` left nothing is taken; the error is when to try again ([`u64::MAX`] nanoseconds: never).
    #[inline]
    pub fn take(&mut self, now: Instant, rate: Rate, n: u32) -> Result<(), Instant> {
        let full_at = self.full_at.max(now).after(cost(rate, n));
        let window = cost(rate, rate.burst);
        let owed = full_at.since(now);
        if owed > window {
            let wait = owed.saturating_sub(window);
            let never = rate.per_second == 0 || n > rate.burst;
            return Err(if never { Instant::from_nanos(u64::MAX) } else { now.after(wait) });
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Whether it is full: it is the same as a new one then.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// When it will be full again.
    pub const fn full_at(&self) -> Instant {
        self.full_at
    }

    /// Takes `n` tokens, even if there are fewer. Returns until when the peer should rest, if it is in debt.
    pub fn charge(&mut self, now: Instant, rate: Rate, n: u32) -> Option<Instant> {
        self.full_at = self.full_at.max(now).after(cost(rate, n));
        let wait = self.full_at.since(now).saturating_sub(cost(rate, rate.burst));
        (wait != 0).then(|| now.after(wait))
    }
}

/// What `n` tokens cost, in nanoseconds to refill.
#[inline]
pub(crate) fn cost(rate: Rate, n: u32) -> u64 {
    // A rate of zero spreads its burst over more than a century: spent once.
    let forever = || (u64::MAX >> 2).checked_div(rate.burst.max(1).into()).unwrap_or(u64::MAX);
    let one = 1_000_000_000_u64.checked_div(rate.per_second.into()).unwrap_or_else(forever);
    one.saturating_mul(n.into())
}

/// One [`Rate`] for each source address, in a table of fixed size.
///
/// - IPv6 addresses of one /64 are one source.
/// - A source has a slot of its own, until it has been quiet for a minute. No other source can push it out.
/// - A source that finds no slot shares a bucket with the other sources of its network (/48 of IPv6, /24 of IPv4) that found none. The sources
///   of one /48 find at most 64 slots. So a peer with many addresses uses up slots and the bucket of its own network alone.
/// - The seed is a secret: outsiders cannot choose with whom they share.
/// - Loopback is exempt, and so are addresses that are known to stand for many people ([`SourceRate::exempt`]).
#[derive(Debug, Clone)]
pub struct SourceRate {
    /// Sets of [`WAYS`] slots.
    slots: Box<[Slot]>,
    /// Buckets of networks, for sources that find no slot.
    shared: Box<[Bucket]>,
    rate: Rate,
    seed: u64,
    per_host: bool,
    exempt: Exempt,
}

/// A source's place in the table.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Identifies the source; 0 if the slot is free.
    tag: u64,
    bucket: Bucket,
}

impl Slot {
    /// Whether the slot is free again.
    fn is_free(&self, now: Instant) -> bool {
        self.tag == 0 || self.bucket.full_at.saturating_add(KEPT) <= now
    }
}

/// Where the bucket of a source is.
enum Place {
    Own(usize),
    /// It has none, and may take this slot.
    Free {
        at: usize,
        tag: u64,
    },
    Shared(usize),
}

/// How long a slot is kept for a source whose bucket is full again.
const KEPT: Duration = Duration::from_secs(60);
/// Slots of a set; a source looks for one in two sets.
const WAYS: usize = 8;
/// Sets of slots in which the sources of one IPv6 network are.
const SETS_OF_ONE: u64 = 8;

impl SourceRate {
    /// A table of about `slots` buckets (at least 8) under `rate`.
    pub fn new(rate: Rate, slots: usize, seed: u64) -> Self {
        let sets = slots.div_ceil(WAYS).max(1);
        Self {
            slots: vec![Slot::default(); sets.saturating_mul(WAYS)].into(),
            shared: vec![Bucket::default(); sets.saturating_mul(2)].into(),
            rate,
            seed,
            per_host: false,
            exempt: Exempt::new(),
        }
    }

    /// The same table, in which each IPv6 address is a source: for one local network, where all addresses share a /64.
    #[must_use]
    pub fn per_host(self) -> Self {
        Self { per_host: true, ..self }
    }

    /// Exempts these addresses, as loopback is exempt: proxies, behind each of which there are many people.
    pub fn exempt(&mut self, addresses: &[IpAddr]) {
        self.exempt.add(addresses);
    }

    /// The addresses that are exempt: loopback, and those of [`SourceRate::exempt`].
    pub const fn exempt_addresses(&self) -> &Exempt {
        &self.exempt
    }

    /// The address, if limits by address hold for it: see [`Exempt::limited`].
    pub fn limited(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        self.exempt.limited(address)
    }

    /// Who pays for `peer`, which comes from `address`: that address, unless it stands for many people.
    pub fn payer(&self, peer: PeerId, address: Option<IpAddr>) -> Payer {
        Payer::of(peer, self.limited(address))
    }

    /// Takes one token of `source`'s bucket. False if none is left.
    pub fn allow(&mut self, now: Instant, source: IpAddr) -> bool {
        self.allow_n(now, source, 1)
    }

    /// Takes `n` tokens of `source`'s bucket. False if fewer are left; nothing is taken then.
    pub fn allow_n(&mut self, now: Instant, source: IpAddr, n: u32) -> bool {
        let source = source.to_canonical();
        if self.exempt.covers(source) {
            return true;
        }
        let rate = self.rate;
        self.bucket(now, source).is_some_and(|bucket| bucket.take(now, rate, n).is_ok())
    }

    /// Takes `n` tokens of `source`'s bucket if `kept` more are there beside them.
    pub fn allow_above(&mut self, now: Instant, source: IpAddr, n: u32, kept: u32) -> bool {
        let source = source.to_canonical();
        if self.exempt.covers(source) {
            return true;
        }
        let rate = self.rate;
        self.bucket(now, source).is_some_and(|bucket| {
            bucket.clone().take(now, rate, n.saturating_add(kept)).is_ok()
                && bucket.take(now, rate, n).is_ok()
        })
    }

    /// Whether `n` tokens of `source`'s bucket are there.
    pub fn has(&self, now: Instant, source: IpAddr, n: u32) -> bool {
        let source = source.to_canonical();
        if self.exempt.covers(source) {
            return true;
        }
        let bucket = match self.place(now, source) {
            Some(Place::Own(at)) => self.slots.get(at).map(|slot| slot.bucket),
            Some(Place::Free { .. }) => Some(Bucket::default()),
            Some(Place::Shared(at)) => self.shared.get(at).copied(),
            None => None,
        };
        bucket.is_some_and(|mut bucket| bucket.take(now, self.rate, n).is_ok())
    }

    /// The bucket of a source: its own, or that of its network if there is no slot left.
    fn bucket(&mut self, now: Instant, source: IpAddr) -> Option<&mut Bucket> {
        match self.place(now, source)? {
            Place::Own(at) => Some(&mut self.slots.get_mut(at)?.bucket),
            Place::Free { at, tag } => {
                let slot = self.slots.get_mut(at)?;
                *slot = Slot { tag, bucket: Bucket::default() };
                Some(&mut slot.bucket)
            }
            Place::Shared(at) => self.shared.get_mut(at),
        }
    }

    fn place(&self, now: Instant, source: IpAddr) -> Option<Place> {
        let (network, host) = self.keys(source);
        let tag = mix(host ^ self.seed.rotate_left(32)) | 1;
        let mut free = None;
        // One of two sets, so that a table three quarters full still has a slot for every peer.
        for choice in [tag >> 1, tag >> 33] {
            let first = self.set(network, choice, source)?;
            for at in first..first.checked_add(WAYS)? {
                let slot = self.slots.get(at)?;
                if slot.tag == tag {
                    return Some(Place::Own(at));
                }
                if free.is_none() && slot.is_free(now) {
                    free = Some(at);
                }
            }
        }
        if let Some(at) = free {
            return Some(Place::Free { at, tag });
        }
        let at = network.checked_rem(self.shared.len() as u64)?;
        usize::try_from(at).ok().map(Place::Shared)
    }

    /// The first slot of a set.
    fn set(&self, network: u64, choice: u64, source: IpAddr) -> Option<usize> {
        let sets = (self.slots.len() / WAYS) as u64;
        // A source with a whole IPv6 network reaches a few sets only.
        let set = match source {
            IpAddr::V6(_) if !self.per_host && sets > SETS_OF_ONE => {
                network.wrapping_add(choice.checked_rem(SETS_OF_ONE)?)
            }
            _ => choice,
        };
        usize::try_from(set.checked_rem(sets)?).ok()?.checked_mul(WAYS)
    }

    /// What stands for a source's network, and for the source itself.
    fn keys(&self, source: IpAddr) -> (u64, u64) {
        let salted = |network: u64| mix(network ^ self.seed);
        match source {
            IpAddr::V4(v4) => {
                let host = u32::from(v4);
                (salted((host >> 8).into()), host.into())
            }
            IpAddr::V6(v6) => {
                let [high, low] = [u128::from(v6) >> 64, u128::from(v6) & u128::from(u64::MAX)]
                    .map(|half| u64::try_from(half).unwrap_or(u64::MAX));
                if self.per_host { (salted(high), salted(high) ^ low) } else { (salted(high >> 16), high) }
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

/// What one site has at most (RFC 6177): an IPv4 address, or the /48 of an IPv6 one.
pub fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
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
    use alloc::vec::Vec;

    const RATE: Rate = Rate { per_second: 2, burst: 3 };

    fn count(bucket: &mut Bucket, now: Instant) -> u32 {
        (0..10).map(|_| u32::from(bucket.take(now, RATE, 1).is_ok())).sum()
    }

    #[test]
    fn a_site_is_an_ipv4_address_or_a_48() {
        let of = |address: &str| site(address.parse().unwrap());
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:ffff::7"));
        assert!(of("192.0.2.1") != of("192.0.2.2") && of("2001:db8:1::") != of("2001:db8:2::"));
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

    fn v6(network: u64, subnet: u64) -> IpAddr {
        let bits = (u128::from(network) << 80) | (u128::from(subnet) << 64) | 1;
        IpAddr::V6(bits.into())
    }

    /// F-11
    #[test]
    fn a_network_full_of_sources_keeps_nobody_else_from_its_rate() {
        let mut table = SourceRate::new(RATE, 4096, 7);
        let known: Vec<IpAddr> = (0..100_u8).map(|n| [192, 0, n, 1].into()).collect();
        let neighbour = v6(0x2001_0db8_0001, 0xffff);
        for source in known.iter().chain([&neighbour]) {
            assert!(table.allow(Instant::ZERO, *source));
        }
        // All /64 of a /48, again and again; as many get in as find a slot, and the rest are one source.
        let mut got_in = 0;
        for second in 0..120 {
            let now = Instant::from_nanos(second * 1_000_000_000);
            for subnet in 0..0xffff {
                got_in += u64::from(table.allow(now, v6(0x2001_0db8_0001, subnet)));
            }
            // Those who were there before keep what is theirs, its neighbour too.
            for source in known.iter().chain([&neighbour]) {
                assert!(table.allow(now, *source), "{source} at {second} s");
            }
        }
        assert!(got_in <= 65 * (3 + 2 * 120), "{got_in} got in");
        // Newcomers have their own, from all over the world.
        let now = Instant::from_nanos(120 * 1_000_000_000);
        let newcomers = (0..1000_u64).map(|n| v6(0x2a00_0000_0000 + n, 0));
        let refused = newcomers.filter(|source| !table.allow(now, *source)).count();
        assert_eq!(refused, 0);
    }

    /// F-11
    #[test]
    fn who_finds_no_slot_shares_with_its_own_network_only_and_slots_become_free() {
        let mut table = SourceRate::new(RATE, 64, 7);
        for n in 0..=255_u8 {
            for m in 0..4 {
                table.allow(Instant::ZERO, [10, m, 0, n].into());
            }
        }
        // No slot is left, and 192.0.2.0/24 is one source.
        let allowed = (0..100_u8).filter(|n| table.allow(Instant::ZERO, [192, 0, 2, *n].into())).count();
        assert!(allowed <= 3, "{allowed}");
        let others = (0..20_u8).filter(|n| table.allow(Instant::ZERO, [198, 51, *n, 1].into())).count();
        assert!(others >= 10, "{others} of 20 networks");
        // A minute later every peer finds one.
        let now = Instant::from_nanos(70 * 1_000_000_000);
        let allowed = (0..50_u8).filter(|n| table.allow(now, [192, 0, 2, *n].into())).count();
        assert!(allowed >= 30, "{allowed}");
    }

    /// F-47: asking whether tokens are there takes none, and no slot either.
    #[test]
    fn what_is_there_can_be_asked_without_taking_it() {
        let mut table = SourceRate::new(RATE, 64, 7);
        for n in 0..=255_u8 {
            assert!((0..4).all(|m| table.has(Instant::ZERO, [10, m, 0, n].into(), 3)));
        }
        let source = IpAddr::from([192, 0, 2, 1]);
        for left in [3, 2, 1, 0] {
            assert!((0..5).all(|n| table.has(Instant::ZERO, source, n) == (n <= left)), "{left}");
            assert!(!table.allow_above(Instant::ZERO, source, 1, 3), "{left}");
            assert_eq!(table.allow_above(Instant::ZERO, source, 1, 0), left > 0, "{left}");
        }
        assert!(table.has(Instant::ZERO, [127, 0, 0, 1].into(), 100));
    }

    /// F-06
    #[test]
    fn addresses_that_stand_for_many_are_exempt() {
        let mut table = SourceRate::new(RATE, 64, 7);
        table.exempt(&[IpAddr::from([192, 0, 2, 1])]);
        let mut left = |source: &str| {
            let source: IpAddr = source.parse().unwrap();
            (0..10).filter(|_| table.allow(Instant::ZERO, source)).count()
        };
        assert_eq!(["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"].map(&mut left), [10, 10, 3]);
        assert!(table.allow_n(Instant::ZERO, [192, 0, 2, 3].into(), 3));
        assert!(!table.allow_n(Instant::ZERO, [192, 0, 2, 3].into(), 1));
    }
}
