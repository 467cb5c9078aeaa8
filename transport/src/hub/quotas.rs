//! Permits for connections: one cap for all of them, and one for each source.

use super::counters::Counters;
use super::settings::HubSettings;
use crate::source_counts::SourceCounts;
use core::fmt;
use core::net::IpAddr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use voxwire_core::{Exempt, Instant, source};

/// A connection that was accepted less than this long ago is evicted only if no other can be.
pub(super) const ENTERING: Duration = Duration::from_secs(1);

/// Counts connections.
#[derive(Debug)]
pub(super) struct Quotas {
    /// Addresses that stand for many people ([`HubSettings::exempt`]).
    exempt: Exempt,
    max_per_source: usize,
    max_connections: AtomicUsize,
    /// Connections that have a permit.
    live: AtomicUsize,
    /// Connections that the session has closed, and that still write what is queued.
    closing: AtomicUsize,
    draining: AtomicBool,
    state: Mutex<State>,
    /// Notified whenever a permit is released, and whenever a connection has ended.
    released: Notify,
    /// Notified whenever a connection has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    per_source: SourceCounts,
    /// Connections that have not finished TLS or their hello, the oldest first.
    entering: BTreeMap<u64, Entering>,
    last: u64,
}

#[derive(Debug)]
struct Entering {
    /// On QUIC.
    quic: bool,
    since: Instant,
    evicted: Arc<Notify>,
    permit: ConnPermit,
}

/// A permit for one connection. It is released when this is dropped.
pub(super) struct ConnPermit {
    quotas: Arc<Quotas>,
    source: Option<IpAddr>,
}

/// A connection that is being closed. It counts no longer when this is dropped.
pub(super) struct ClosingPermit(Arc<Quotas>);

/// A connection that has a permit, and has not finished TLS or its hello.
#[derive(Debug)]
pub(super) struct Entrance {
    quotas: Arc<Quotas>,
    number: u64,
    evicted: Arc<Notify>,
}

impl Quotas {
    pub(super) fn new(settings: &HubSettings) -> Arc<Self> {
        let mut exempt = Exempt::new();
        exempt.add(settings.exempt);
        Arc::new(Self {
            exempt,
            max_per_source: settings.max_per_address,
            max_connections: AtomicUsize::new(settings.max_connections),
            live: AtomicUsize::new(0),
            closing: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            state: Mutex::default(),
            released: Notify::new(),
            ended: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_max_connections(&self, most: usize) {
        self.max_connections.store(most, Relaxed);
    }

    pub(super) fn max_connections(&self) -> usize {
        self.max_connections.load(Relaxed)
    }

    /// Connections that have a permit.
    pub(super) fn live(&self) -> usize {
        self.live.load(Relaxed)
    }

    pub(super) fn closing(&self) -> usize {
        self.closing.load(Relaxed)
    }

    /// Connections that take a place: they have a permit, or are being closed.
    pub(super) fn all(&self) -> usize {
        self.live().saturating_add(self.closing())
    }

    /// Whether one more connection is possible only if another one ends.
    pub(super) fn is_full(&self) -> bool {
        self.all() >= self.max_connections()
    }

    /// Whether `source` has as many connections as one source may have.
    pub(super) fn is_source_full(&self, source: Option<IpAddr>) -> bool {
        self.state().per_source.is_full(source, self.max_per_source)
    }

    /// The source that pays for what is limited by address: an IPv4 address, or the /64 of an IPv6 one. `None` for loopback and for an exempt
    /// address ([`HubSettings::exempt`]). Exempt is a single address: others in its /64 pay.
    pub(super) fn payer(&self, address: IpAddr) -> Option<IpAddr> {
        self.exempt.limited(Some(address)).map(source)
    }

    /// A permit for one more connection from `address`; `None` over a cap, which is counted and logged.
    pub(super) fn admit(self: &Arc<Self>, counters: &Counters, address: IpAddr) -> Option<ConnPermit> {
        let source = self.payer(address);
        let permit = self.permit(source);
        if permit.is_none() {
            counters.refused.count();
            // An event of its own for each rule: logs that are limited by call site do not lose one for the other.
            if self.is_source_full(source) {
                counters.refused_per_address.count();
                let advice =
                    "raise the limit for one address, or exempt this one if it stands for many people";
                crate::log::info!(%address, rule = "per-address", advice, "a connection is refused");
            } else {
                let advice = "raise the limit of connections";
                crate::log::info!(%address, rule = "connections", advice, "a connection is refused");
            }
        }
        permit
    }

    /// A permit for one more connection of `source`; `None` over a cap.
    pub(super) fn permit(self: &Arc<Self>, source: Option<IpAddr>) -> Option<ConnPermit> {
        let mut state = self.state();
        if state.per_source.is_full(source, self.max_per_source) || self.is_full() {
            return None;
        }
        state.per_source.add(source);
        self.live.fetch_add(1, Relaxed);
        Some(ConnPermit { quotas: self.clone(), source })
    }

    /// Counts a connection that is being closed.
    pub(super) fn closing_permit(self: &Arc<Self>) -> ClosingPermit {
        self.closing.fetch_add(1, Relaxed);
        ClosingPermit(self.clone())
    }

    /// A connection has begun to enter. While the hub drains it is evicted at once.
    pub(super) fn enter(self: &Arc<Self>, permit: ConnPermit, quic: bool, now: Instant) -> Entrance {
        let evicted = Arc::new(Notify::new());
        let mut state = self.state();
        state.last = state.last.saturating_add(1);
        let number = state.last;
        let refused = if self.is_draining() {
            evicted.notify_one();
            Some(permit)
        } else {
            state.entering.insert(number, Entering { quic, since: now, evicted: evicted.clone(), permit });
            None
        };
        drop(state);
        drop(refused);
        Entrance { quotas: self.clone(), number, evicted }
    }

    /// Evicts the oldest connection that is entering, with `quic` the oldest on QUIC. False if there is none that has been entering for
    /// `least`.
    pub(super) fn evict_entering(&self, quic: bool, least: Duration, now: Instant) -> bool {
        let mut state = self.state();
        let oldest = state.entering.iter().find(|(_, entering)| entering.quic || !quic);
        let oldest = oldest.filter(|(_, entering)| entering.since.saturating_add(least) <= now);
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        let entering = state.entering.remove(&number);
        drop(state);
        if let Some(Entering { evicted, permit, .. }) = entering {
            drop(permit);
            evicted.notify_one();
        }
        true
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Evicts all connections that are entering, and every one that begins to enter from now on.
    pub(super) fn drain(&self, now: Instant) {
        {
            // Under the lock: an entrance that begins later sees the flag, and one that has begun is evicted below.
            let _state = self.state();
            self.draining.store(true, Relaxed);
        }
        while self.evict_entering(false, Duration::ZERO, now) {}
    }

    /// Completes when the next permit is released, or the next connection ends.
    pub(super) fn released(&self) -> tokio::sync::futures::Notified<'_> {
        self.released.notified()
    }

    /// Completes when the next connection ends: its descriptor is free soon. An evicted connection keeps its descriptor until its task has
    /// run.
    pub(super) fn ended(&self) -> tokio::sync::futures::Notified<'_> {
        self.ended.notified()
    }

    /// A connection has ended.
    pub(super) fn notify_ended(&self) {
        self.ended.notify_waiters();
        self.released.notify_waiters();
    }
}

impl Drop for ConnPermit {
    fn drop(&mut self) {
        let Self { quotas, source } = self;
        quotas.state().per_source.remove(*source);
        quotas.live.fetch_sub(1, Relaxed);
        quotas.released.notify_waiters();
    }
}

impl fmt::Debug for ConnPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnPermit").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Drop for ClosingPermit {
    fn drop(&mut self) {
        self.0.closing.fetch_sub(1, Relaxed);
        self.0.released.notify_waiters();
    }
}

impl Entrance {
    /// Waits until the connection is evicted for another one.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// The connection has finished TLS and its hello, or has failed. `None` if it has been evicted.
    pub(super) fn leave(self) -> Option<ConnPermit> {
        self.take()
    }

    fn take(&self) -> Option<ConnPermit> {
        let entering = self.quotas.state().entering.remove(&self.number);
        entering.map(|entering| entering.permit)
    }
}

impl Drop for Entrance {
    /// The task that let the connection in is gone; it may have panicked.
    fn drop(&mut self) {
        self.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Caps {
        quotas: Arc<Quotas>,
        permits: Vec<(IpAddr, ConnPermit)>,
    }

    impl Caps {
        fn new(settings: &HubSettings) -> Self {
            Self { quotas: Quotas::new(settings), permits: Vec::new() }
        }

        fn admit(&mut self, address: &str) -> bool {
            let address = address.parse().unwrap();
            let permit = self.quotas.admit(&Counters::default(), address);
            let admitted = permit.is_some();
            self.permits.extend(permit.map(|permit| (address, permit)));
            admitted
        }

        fn release(&mut self, address: &str) {
            let address: IpAddr = address.parse().unwrap();
            let at = self.permits.iter().position(|(other, _)| *other == address).unwrap();
            self.permits.remove(at);
        }
    }

    /// The places from which events were logged.
    #[cfg(feature = "tracing")]
    #[derive(Default)]
    struct Callsites(Mutex<Vec<tracing::callsite::Identifier>>);

    #[cfg(feature = "tracing")]
    impl tracing::Subscriber for Callsites {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            self.0.lock().unwrap().push(event.metadata().callsite());
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// A log may be limited by call site: an address at its cap does not keep the line that the hub is full from the log.
    #[cfg(feature = "tracing")]
    #[test]
    fn refusals_by_each_rule_are_logged_from_places_of_their_own() {
        let seen = Arc::new(Callsites::default());
        let mut caps =
            Caps::new(&HubSettings { max_per_address: 1, max_connections: 2, ..HubSettings::DEFAULT });
        tracing::subscriber::with_default(seen.clone(), || {
            let admitted = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|it| caps.admit(it));
            assert_eq!(admitted, [true, false, true, false]);
        });
        let places = seen.0.lock().unwrap();
        assert_eq!(places.len(), 2);
        assert_ne!(places[0], places[1]);
    }

    #[test]
    fn c_06_connections_are_capped_by_address_a_64_is_one_and_loopback_is_exempt() {
        let mut caps =
            Caps::new(&HubSettings { max_per_address: 2, max_connections: 12, ..HubSettings::DEFAULT });
        assert_eq!(["192.0.2.1"; 3].map(|it| caps.admit(it)), [true, true, false]);
        assert_eq!(["::ffff:192.0.2.1", "192.0.2.2"].map(|it| caps.admit(it)), [false, true]);
        assert_eq!(
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"].map(|it| caps.admit(it)),
            [true, true, false, true]
        );
        assert_eq!(
            ["127.0.0.1", "::1", "::ffff:127.0.0.1"].map(|loopback| [loopback; 2].map(|it| caps.admit(it))),
            [[true; 2]; 3]
        );
        // All in all there are twelve places.
        assert_eq!((caps.quotas.live(), caps.admit("127.0.0.1")), (12, false));
        caps.release("192.0.2.1");
        assert!(caps.admit("192.0.2.1"));
        assert_eq!(caps.quotas.live(), 12);
        caps.permits.clear();
        assert!(caps.quotas.all() == 0 && caps.quotas.state().per_source.is_empty());
    }

    /// F-06: a terminator's clients are not one source.
    #[test]
    fn f_06_addresses_that_stand_for_many_are_exempt_from_the_cap_of_one() {
        const EXEMPT: [IpAddr; 1] = [IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 7))];
        let mut caps =
            Caps::new(&HubSettings { max_per_address: 2, exempt: &EXEMPT, ..HubSettings::DEFAULT });
        assert_eq!(["192.0.2.7"; 4].map(|it| caps.admit(it)), [true; 4]);
        assert!(caps.admit("::ffff:192.0.2.7"));
        assert_eq!(["192.0.2.1"; 3].map(|it| caps.admit(it)), [true, true, false]);
    }

    /// F-06, F-19, F-45: those behind an IPv6 proxy, and on `::1`, are not counted for the proxy's network: its neighbours there have
    /// places of their own, when those come as well as when they go.
    #[test]
    fn f_06_connections_behind_an_ipv6_proxy_are_not_its_neighbours() {
        use core::net::Ipv6Addr;
        const EXEMPT: [IpAddr; 1] = [IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7))];
        let mut caps =
            Caps::new(&HubSettings { max_per_address: 2, exempt: &EXEMPT, ..HubSettings::DEFAULT });
        for (many, neighbour) in [("2001:db8::7", "2001:db8::8"), ("::1", "::2")] {
            let before = caps.quotas.live();
            assert_eq!([many; 3].map(|it| caps.admit(it)), [true; 3]);
            assert_eq!([neighbour; 3].map(|it| caps.admit(it)), [true, true, false], "{neighbour}");
            // Their going gives the neighbours nothing that they did not have.
            caps.release(many);
            assert!(!caps.admit(neighbour), "{neighbour}");
            let at = caps.permits.iter().position(|(address, _)| address.to_string() == many).unwrap();
            let (_, permit) = caps.permits.remove(at);
            let _entrance = caps.quotas.enter(permit, false, Instant::ZERO);
            assert!(caps.quotas.evict_entering(false, Duration::ZERO, Instant::ZERO));
            assert!(!caps.admit(neighbour), "{neighbour}");
            caps.release(neighbour);
            assert_eq!([neighbour; 2].map(|it| caps.admit(it)), [true, false], "{neighbour}");
            assert_eq!(caps.quotas.live(), before + 3);
        }
        assert_eq!(caps.quotas.state().per_source.len(), 2);
    }
}
