//! Places for handshakes: how many of QUIC, and how many large ones of TLS, go on at a time.
//!
//! One source has at most an eighth of the places, so it keeps no other source out. Where no place is left, the oldest handshake loses its
//! place to a new one, if it has gone on for longer than [`ENTERING`].

use super::quotas::ENTERING;
use crate::source_counts::SourceCounts;
use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use voxwire_core::Instant;

/// One source may have this part of the places: an eighth.
const ONE_SOURCE: usize = 8;

/// The places, and who has them.
#[derive(Debug)]
pub(super) struct Handshakes {
    places: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    /// The oldest first.
    by_age: BTreeMap<u64, Handshake>,
    by_source: SourceCounts,
}

#[derive(Debug)]
struct Handshake {
    /// Its source; `None` for an exempt address (`HubSettings::payer`).
    payer: Option<IpAddr>,
    since: Instant,
    sent_away: Arc<Notify>,
}

/// A place for a handshake, until this is dropped. Another handshake may take the place before that: see [`lost`](Self::lost).
#[derive(Debug)]
pub(super) struct Place {
    handshakes: Arc<Handshakes>,
    number: u64,
    sent_away: Arc<Notify>,
}

impl Handshakes {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, taken: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a handshake of the source `payer`. Where none is free, takes it from the oldest one that has taken longer than [`ENTERING`].
    /// `None` if there is no such one. Exempt addresses (`payer` is `None`) may have all places.
    pub(super) fn take(self: &Arc<Self>, payer: Option<IpAddr>, now: Instant) -> Option<Place> {
        let mut taken = self.lock();
        let full = taken.by_source.is_full(payer, (self.places / ONE_SOURCE).max(1));
        if full || taken.by_age.len() >= self.places {
            let overdue = |handshake: &Handshake| handshake.since.saturating_add(ENTERING) <= now;
            // A source that has all of its places loses one of its own.
            let mut oldest = taken.by_age.iter().filter(|(_, other)| !full || other.payer == payer);
            let number = *oldest.next().filter(|(_, oldest)| overdue(oldest))?.0;
            taken.remove(number)?.sent_away.notify_one();
        }
        taken.last = taken.last.saturating_add(1);
        let (number, sent_away) = (taken.last, Arc::new(Notify::new()));
        taken.by_age.insert(number, Handshake { payer, since: now, sent_away: sent_away.clone() });
        taken.by_source.add(payer);
        drop(taken);
        Some(Place { handshakes: self.clone(), number, sent_away })
    }
}

impl Taken {
    fn remove(&mut self, number: u64) -> Option<Handshake> {
        let handshake = self.by_age.remove(&number)?;
        self.by_source.remove(handshake.payer);
        Some(handshake)
    }
}

impl Place {
    /// Waits until the place is taken by another handshake.
    pub(super) async fn lost(&self) {
        self.sent_away.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::HubSettings;
    use super::super::quotas::Quotas;
    use super::*;
    use core::net::Ipv6Addr;
    use core::time::Duration;

    /// Who pays where 2001:db8::ffff is a proxy.
    fn payer(address: &str) -> Option<IpAddr> {
        const PROXY: [IpAddr; 1] = [IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | 0xffff))];
        let settings = HubSettings { exempt: &PROXY, ..HubSettings::DEFAULT };
        Quotas::new(&settings).payer(address.parse().unwrap())
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO.saturating_add(Duration::from_millis(millis))
    }

    /// F-47: one source, however many addresses of a /64 it has, takes an eighth of the places, and stalls itself alone.
    #[test]
    fn f_47_one_source_has_an_eighth_of_all_handshakes() {
        let handshakes = Handshakes::new(512);
        let take = |address: &str, now| handshakes.take(payer(address), at(now));
        let flood: Vec<Place> = (0..600).filter_map(|n| take(&format!("2001:db8::{n:x}"), 0)).collect();
        assert_eq!(flood.len(), 64);
        let mapped = ["192.0.2.1", "::ffff:192.0.2.1"];
        let other: Vec<Place> = (0..600).filter_map(|n| take(mapped[n % 2], 0)).collect();
        assert_eq!(other.len(), 64);
        // No other source waits for them.
        let honest = take("198.51.100.7", 0).unwrap();
        // Of its own a source gets more as soon as one of them has stalled, and the oldest of those goes.
        assert!(take("2001:db8::1", 999).is_none());
        let next = take("2001:db8::1", 1000).unwrap();
        let lost = |place: &Place| {
            let lost = core::pin::pin!(place.lost());
            lost.poll(&mut core::task::Context::from_waker(core::task::Waker::noop())).is_ready()
        };
        assert!(lost(&flood[0]) && !lost(&flood[1]) && !lost(&other[0]) && !lost(&honest));
        assert_eq!(handshakes.lock().by_age.len(), 129);
        // What was lost is not given back twice.
        drop(flood);
        assert_eq!(handshakes.lock().by_age.len(), 66);
        drop((next, other, honest));
        let taken = handshakes.lock();
        assert!(taken.by_age.is_empty() && taken.by_source.is_empty());
    }

    /// F-06, F-47: those behind an IPv6 proxy are not its neighbours in the /64, which have their eighth beside them.
    #[test]
    fn f_06_handshakes_behind_an_ipv6_proxy_are_not_its_neighbours() {
        let handshakes = Handshakes::new(512);
        let take = |address| handshakes.take(payer(address), at(0));
        let behind: Vec<Place> = (0..100).filter_map(|_| take("2001:db8::ffff")).collect();
        let near: Vec<Place> = (0..100).filter_map(|_| take("2001:db8::8")).collect();
        assert_eq!((behind.len(), near.len()), (100, 64));
        drop(behind);
        assert!(take("2001:db8::8").is_none(), "what others give back is not theirs");
        drop(near);
        let taken = handshakes.lock();
        assert!(taken.by_age.is_empty() && taken.by_source.is_empty());
    }

    /// F-47: where no place is left, the oldest gives way once it has stalled, behind a proxy as anywhere.
    #[test]
    fn f_47_where_all_places_are_taken_the_oldest_that_has_stalled_gives_way() {
        let handshakes = Handshakes::new(4);
        let take = |address, now| handshakes.take(payer(address), at(now));
        let [proxy, one, two, three] = ["2001:db8::ffff", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
        let places = [take(proxy, 0), take(proxy, 500), take(proxy, 500), take(one, 500)];
        assert!(places.iter().all(Option::is_some));
        assert!(take(two, 900).is_none() && take(one, 1100).is_none(), "it has all of its places");
        let fifth = take(two, 1100);
        assert!(fifth.is_some() && take(three, 1100).is_none());
        assert_eq!(handshakes.lock().by_age.len(), 4);
    }
}
