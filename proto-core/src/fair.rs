use crate::{Bucket, Instant, PeerId, Rate, source};
use alloc::vec::Vec;
use core::net::IpAddr;

/// Who pays for what a connection does. It is the source address, so that nobody gets more by more connections, names or reconnects. Where one
/// address stands for many people, as on loopback, or where no address is known, it is the connection itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payer {
    /// An IPv4 address, or the /64 of an IPv6 one.
    Source(IpAddr),
    /// A connection.
    Peer(PeerId),
}

impl Payer {
    /// Who pays for `peer`, which comes from `address`. [`SourceRate::payer`](crate::SourceRate::payer) takes proxies into account as well.
    pub fn of(peer: PeerId, address: Option<IpAddr>) -> Self {
        match address {
            // Before the address becomes a /64: the /64 of ::1 is no loopback address.
            Some(address) if !address.to_canonical().is_loopback() => Self::Source(source(address)),
            _ => Self::Peer(peer),
        }
    }
}

/// One [`Rate`] for each payer, for something that belongs to one peer: how often each payer may call that peer, for instance.
///
/// Remembers at most 64 payers: those whose buckets take longest to be full again. A payer whose bucket is full is forgotten.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    owed: Vec<(Payer, Bucket)>,
}

/// The number of payers that are remembered.
const MAX_PAYERS: usize = 64;

impl Shares {
    /// All buckets are full.
    pub const fn new() -> Self {
        Self { owed: Vec::new() }
    }

    /// Takes `n` tokens of a payer. False if there are fewer; nothing is taken then.
    pub fn take(&mut self, now: Instant, rate: Rate, payer: Payer, n: u32) -> bool {
        let mut bucket = self.bucket(payer);
        let taken = bucket.take(now, rate, n).is_ok();
        if taken {
            self.set(now, payer, bucket);
        }
        taken
    }

    /// Takes `n` tokens of a payer. With fewer the payer goes into debt.
    pub fn charge(&mut self, now: Instant, rate: Rate, payer: Payer, n: u32) {
        let mut bucket = self.bucket(payer);
        bucket.charge(now, rate, n);
        self.set(now, payer, bucket);
    }

    /// Number of payers remembered.
    pub fn len(&self) -> usize {
        self.owed.len()
    }

    /// Whether no peer is remembered.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    fn bucket(&self, payer: Payer) -> Bucket {
        self.owed.iter().find(|(other, _)| *other == payer).map(|(_, bucket)| *bucket).unwrap_or_default()
    }

    fn set(&mut self, now: Instant, payer: Payer, bucket: Bucket) {
        self.owed.retain(|(other, owed)| *other != payer && !owed.is_full(now));
        if self.owed.len() >= MAX_PAYERS {
            let least = self.owed.iter().enumerate().min_by_key(|(_, (_, owed))| owed.full_at());
            if let Some((at, _)) = least {
                self.owed.swap_remove(at);
            }
        }
        self.owed.push((payer, bucket));
    }
}

/// A [`Rate`] that many payers share. Each has a share of its own, so that no payer can use up the whole rate.
///
/// Where one address stands for many people, as on loopback, each connection has a share. All connections from that address together have half of
/// the whole rate.
#[derive(Debug, Clone, Default)]
pub struct FairRate {
    all: Bucket,
    shares: Shares,
}

impl FairRate {
    /// Takes one token of the whole, and one of the share of `payer`, which comes from `address`. False if one of them is missing; nothing is taken
    /// then.
    pub fn take(
        &mut self,
        now: Instant,
        all: Rate,
        share: Rate,
        payer: Payer,
        address: Option<IpAddr>,
    ) -> bool {
        let (mut whole, mut shares) = (self.all, self.shares.clone());
        if whole.take(now, all, 1).is_err() || !shares.take(now, share, payer, 1) {
            return false;
        }
        // The single address: others in its /64 are not behind the proxy.
        let shared =
            address.filter(|_| matches!(payer, Payer::Peer(_))).map(|address| address.to_canonical());
        let half = Rate { per_second: (all.per_second / 2).max(1), burst: (all.burst / 2).max(1) };
        if shared.is_some_and(|address| !shares.take(now, half, Payer::Source(address), 1)) {
            return false;
        }
        (self.all, self.shares) = (whole, shares);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rate = Rate { per_second: 10, burst: 100 };
    const SHARE: Rate = Rate { per_second: 1, burst: 10 };

    fn address(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    const fn peer(slot: u32) -> PeerId {
        PeerId { slot, generation: 0 }
    }

    #[test]
    fn f_09_a_source_that_reconnects_has_its_share_and_others_theirs() {
        let mut rate = FairRate::default();
        let mut take = |slot, from| rate.take(Instant::ZERO, ALL, SHARE, Payer::of(peer(slot), from), from);
        assert_eq!((0..500).filter(|slot| take(*slot, address(1))).count(), 10);
        assert_eq!((0..500).filter(|_| take(1, address(2))).count(), 10);
        // A /64 is one source.
        let v6 = |n: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
        assert_eq!((0..500).filter(|n| take(u32::from(*n), v6(*n))).count(), 10);
    }

    #[test]
    fn f_09_on_loopback_a_connection_has_a_share_and_an_address_half() {
        let mut rate = FairRate::default();
        let mut take = |slot, last| {
            let from = Some(IpAddr::from([127, 0, 0, last]));
            rate.take(Instant::ZERO, ALL, SHARE, Payer::of(peer(slot), from), from)
        };
        assert_eq!((0..500).filter(|_| take(1, 1)).count(), 10);
        assert_eq!((2..500).filter(|slot| take(*slot, 1)).count(), 40);
        assert!(take(600, 2));
    }

    /// F-06: behind a proxy it is as on loopback; IPv6 has both, and they are single addresses there.
    #[test]
    fn f_06_behind_a_proxy_a_connection_has_a_share_and_the_address_half() {
        let proxy = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let mut sources = crate::SourceRate::new(SHARE, 64, 7);
        sources.exempt(&[proxy]);
        for shared in [proxy, core::net::Ipv6Addr::LOCALHOST.into()] {
            let mut rate = FairRate::default();
            let mut take = |slot, from| {
                let payer = sources.payer(peer(slot), Some(from));
                rate.take(Instant::ZERO, ALL, SHARE, payer, Some(from))
            };
            assert_eq!((0..500).filter(|_| take(1, shared)).count(), 10, "{shared}");
            assert_eq!((2..500).filter(|slot| take(*slot, shared)).count(), 40, "{shared}");
            let neighbour = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]);
            assert_eq!((600..700).filter(|slot| take(*slot, neighbour)).count(), 10, "{shared}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let mut shares = Shares::new();
        for n in 0..200 {
            shares.charge(Instant::ZERO, SHARE, Payer::Peer(peer(n)), if n == 0 { 20 } else { 1 });
        }
        assert_eq!(shares.len(), MAX_PAYERS);
        assert!(!shares.take(Instant::ZERO, SHARE, Payer::Peer(peer(0)), 1), "the deepest in debt stays");
        let later = Instant::from_nanos(60_000_000_000);
        assert!(shares.take(later, SHARE, Payer::Peer(peer(0)), 1));
        assert_eq!((shares.len(), shares.is_empty()), (1, false));
    }
}
