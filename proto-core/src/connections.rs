use crate::{Instant, Outbox, PeerId, PeerSlab, lengthen};
use alloc::{collections::BTreeSet, vec::Vec};
use core::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use thiserror::Error;

/// A server's connections: the address of each, the session's state for it, and which of them are *evictable*: worth less than a new one.
///
/// ```
/// use voxwire_core::{Connections, Instant, PeerId};
/// let peer = |slot| PeerId { slot, generation: 0 };
/// let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
/// let mut connections = Connections::new(2);
/// assert!(connections.open(at(1), peer(0), None, "alice"));
/// assert!(connections.open(at(2), peer(1), None, "bob"));
/// assert!(!connections.open(at(3), peer(2), None, "carol"));
/// // Alice logs in. The one to close for Carol is Bob, then.
/// connections.keep(peer(0));
/// assert_eq!(connections.to_evict(), Some(peer(1)));
/// connections.remove(peer(1));
/// assert_eq!(connections.to_evict(), None);
/// assert!(connections.open(at(3), peer(2), None, "carol"));
/// ```
#[derive(Debug, Clone)]
pub struct Connections<T> {
    /// The session's state for each connection: the part that each packet touches.
    table: PeerSlab<T>,
    /// The rest, in the same slots.
    links: Vec<Link>,
    max: usize,
    opened: u64,
    /// Evictable connections, by the time since when they are, then by number.
    evictable: BTreeSet<(Instant, u64, PeerId)>,
}

/// There is no place for one more connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("as many connections as there may be")]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoPlace;

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    number: u64,
    /// When it was opened, or became evictable last.
    since: Instant,
    evictable: bool,
    address: Option<IpAddr>,
    port: u16,
}

impl<T> Connections<T> {
    /// No connection, and at most `max`.
    pub const fn new(max: usize) -> Self {
        // Slots may be above `max` for a short time, while a driver closes connections that were given up here.
        let slots = max.saturating_mul(2).saturating_add(1024);
        Self { table: PeerSlab::new(slots), links: Vec::new(), max, opened: 0, evictable: BTreeSet::new() }
    }

    /// The connection to close before one more can be opened: the first evictable one. `None` if there is room, or if none is evictable.
    pub fn to_evict(&self) -> Option<PeerId> {
        self.is_full().then(|| self.evictable().next()).flatten()
    }

    /// Adds a connection, which is evictable from now on. Its address is kept in its canonical form: an IPv4 client of a dual-stack listener
    /// is an IPv4 client. False, and nothing done, if there are as many as may be, or if its slot is too high.
    pub fn open(&mut self, now: Instant, peer: PeerId, from: Option<SocketAddr>, state: T) -> bool {
        let added = !self.is_full() && self.add(now, peer, from, state);
        if added {
            self.set_evictable(peer, now);
        }
        added
    }

    /// Opens a connection as [`open`](Self::open) does. Returns its address. Where it cannot be opened, `outbox` closes it.
    ///
    /// # Errors
    /// [`NoPlace`] if there are as many as may be, or if its slot is too high.
    pub fn open_or_close(
        &mut self,
        now: Instant,
        peer: PeerId,
        from: Option<SocketAddr>,
        state: T,
        outbox: &mut Outbox,
    ) -> Result<Option<SocketAddr>, NoPlace> {
        if self.open(now, peer, from, state) {
            return Ok(self.address(peer));
        }
        outbox.close(peer);
        Err(NoPlace)
    }

    /// Adds a connection that the session has asked for, also beyond the maximum. It is not evictable. False, and nothing done, if its slot is too
    /// high.
    pub fn add(&mut self, now: Instant, peer: PeerId, from: Option<SocketAddr>, state: T) -> bool {
        if let Some(before) = self.table.peer_at(peer.slot) {
            self.keep(before);
        }
        if !self.table.insert(peer, state) {
            return false;
        }
        let slot = usize::try_from(peer.slot).unwrap_or(usize::MAX);
        lengthen(&mut self.links, slot.saturating_add(1), Link::default);
        if let Some(link) = self.links.get_mut(slot) {
            *link = Link {
                number: self.opened,
                since: now,
                evictable: false,
                address: from.map(|from| from.ip().to_canonical()),
                port: from.map_or(0, |from| from.port()),
            };
        }
        self.opened = self.opened.saturating_add(1);
        true
    }

    /// Removes a connection.
    pub fn remove(&mut self, peer: PeerId) -> Option<T> {
        self.keep(peer);
        let state = self.table.remove(peer);
        if self.table.is_empty() {
            self.links = Vec::new();
        }
        state
    }

    /// The session's state for a connection.
    #[inline]
    pub fn get(&self, peer: PeerId) -> Option<&T> {
        self.table.get(peer)
    }

    /// The same, to change.
    #[inline]
    pub fn get_mut(&mut self, peer: PeerId) -> Option<&mut T> {
        self.table.get_mut(peer)
    }

    /// The address of a connection, if the driver told it.
    pub fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        let link = self.link(peer)?;
        Some(SocketAddr::new(link.address?, link.port))
    }

    /// The IP address of the other side, in its canonical form.
    pub fn ip(&self, peer: PeerId) -> Option<IpAddr> {
        self.link(peer)?.address
    }

    /// The number of a connection. Newer connections have higher numbers.
    pub fn number(&self, peer: PeerId) -> Option<u64> {
        self.link(peer).map(|link| link.number)
    }

    /// Makes a connection evictable, `since` then. Connections that have been evictable for longest are evicted first.
    pub fn set_evictable(&mut self, peer: PeerId, since: Instant) {
        self.keep(peer);
        let Some(link) = self.link_mut(peer) else { return };
        (link.since, link.evictable) = (since, true);
        let number = link.number;
        self.evictable.insert((since, number, peer));
    }

    /// Makes a connection evictable again, with its former time.
    pub fn set_evictable_again(&mut self, peer: PeerId) {
        if let Some(since) = self.link(peer).map(|link| link.since) {
            self.set_evictable(peer, since);
        }
    }

    /// Makes a connection not evictable.
    pub fn keep(&mut self, peer: PeerId) {
        let Some(link) = self.link_mut(peer).filter(|link| link.evictable) else { return };
        link.evictable = false;
        let key = (link.since, link.number, peer);
        self.evictable.remove(&key);
    }

    /// The evictable connections, first those that have been so for longest.
    pub fn evictable(&self) -> impl Iterator<Item = PeerId> {
        self.evictable.iter().map(|&(_, _, peer)| peer)
    }

    /// The first of these, if it has been evictable for `limit`.
    pub fn overdue(&self, now: Instant, limit: Duration) -> Option<PeerId> {
        let &(since, _, peer) = self.evictable.first()?;
        (since.saturating_add(limit) <= now).then_some(peer)
    }

    /// When the first of these will have been evictable for `limit`.
    pub fn next_overdue(&self, limit: Duration) -> Option<Instant> {
        self.evictable.first().map(|(since, ..)| since.saturating_add(limit))
    }

    /// Number of connections.
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// All connections are in slots below this one.
    pub fn slots(&self) -> u32 {
        self.table.slots()
    }

    /// The connection in a slot.
    pub fn peer_at(&self, slot: u32) -> Option<PeerId> {
        self.table.peer_at(slot)
    }

    /// All connections in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &T)> {
        self.table.iter()
    }

    /// All connections in slot order, and their addresses, if the driver told them.
    pub fn addresses(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        self.table.iter().map(|(peer, _)| (peer, self.address(peer)))
    }

    fn link(&self, peer: PeerId) -> Option<&Link> {
        self.table.get(peer)?;
        self.links.get(usize::try_from(peer.slot).ok()?)
    }

    fn link_mut(&mut self, peer: PeerId) -> Option<&mut Link> {
        self.table.get(peer)?;
        self.links.get_mut(usize::try_from(peer.slot).ok()?)
    }

    const fn is_full(&self) -> bool {
        self.table.len() >= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Output;
    use alloc::vec::Vec;

    const fn peer(slot: u32) -> PeerId {
        PeerId { slot, generation: 0 }
    }

    const fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn evictable(connections: &Connections<()>) -> Vec<u32> {
        connections.evictable().map(|peer| peer.slot).collect()
    }

    #[test]
    fn those_that_have_been_evictable_for_longest_come_first_and_at_one_instant_the_older() {
        let mut connections = Connections::new(10);
        for slot in [3, 1, 2] {
            assert!(connections.open(at(5), peer(slot), None, ()));
        }
        assert!(connections.add(at(6), peer(0), None, ()));
        assert_eq!(evictable(&connections), [3, 1, 2]);
        connections.keep(peer(3));
        let limit = Duration::from_nanos(10);
        assert_eq!(connections.next_overdue(limit), Some(at(15)));
        let overdue = [14, 15].map(|now| connections.overdue(at(now), limit));
        assert_eq!(overdue, [None, Some(peer(1))]);
        connections.set_evictable(peer(3), at(9));
        assert_eq!(evictable(&connections), [1, 2, 3]);
        connections.set_evictable(peer(3), at(5));
        assert_eq!(evictable(&connections), [3, 1, 2]);
        connections.keep(peer(3));
        connections.set_evictable_again(peer(3));
        assert_eq!(evictable(&connections), [3, 1, 2]);
        assert_eq!((connections.number(peer(3)), connections.number(peer(0))), (Some(0), Some(3)));
        // Whose slot is taken is gone, with what was noted of it.
        assert!(connections.open(at(10), PeerId { slot: 3, generation: 1 }, None, ()));
        assert_eq!((evictable(&connections), connections.len()), (alloc::vec![1, 2, 3], 4));
        assert_eq!(connections.remove(peer(3)), None);
        connections.set_evictable(peer(3), at(1));
        assert_eq!(evictable(&connections), [1, 2, 3]);
    }

    #[test]
    fn a_connection_without_a_place_is_closed() {
        let (mut connections, mut outbox) = (Connections::new(1), Outbox::new(1000));
        let from = "[::ffff:192.0.2.1]:5000".parse().ok();
        let opened = connections.open_or_close(at(0), peer(0), from, (), &mut outbox);
        assert_eq!((opened, outbox.is_empty()), (Ok("192.0.2.1:5000".parse().ok()), true));
        assert_eq!(connections.open_or_close(at(0), peer(1), from, (), &mut outbox), Err(NoPlace));
        let closed: Vec<_> = outbox.outputs().collect();
        assert_eq!((closed, connections.len()), (alloc::vec![Output::Close { peer: peer(1) }], 1));
    }

    #[test]
    fn an_address_is_canonical_and_slots_are_bounded() {
        let mut connections = Connections::new(1);
        let mapped = "[::ffff:192.0.2.1]:5000".parse().unwrap();
        assert!(connections.open(at(0), peer(0), Some(mapped), ()));
        assert_eq!(connections.address(peer(0)), "192.0.2.1:5000".parse().ok());
        assert!(!connections.open(at(0), peer(1), None, ()));
        assert!(connections.add(at(0), peer(1025), None, ()));
        assert!(!connections.add(at(0), peer(1026), None, ()));
        assert_eq!((connections.len(), connections.to_evict()), (2, Some(peer(0))));
    }
}
