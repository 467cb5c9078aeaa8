//! Plain UDP: who sends a datagram is a peer, known by its address and by nothing else.
//!
//! Addresses can be forged, so strangers share a table of fixed size, each with one place where it may be, and displace each
//! other. Whom the session has validated is kept elsewhere, where no flood of strangers reaches.

use super::datagrams::Route;
use super::shared::{Core, Shared, count};
use crate::udp::{Batch, Destination, Path, Udp};
use core::hash::BuildHasher;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::collections::HashMap;
use std::hash::RandomState;
use voxwire_core::{Bucket, Input, Instant, Lane, PeerId, PeerSlab, Session, Via};

/// A source: the socket it sends to, and where it is.
pub(super) type Address = (usize, SocketAddr);

/// One source, as a route to it.
#[derive(Debug)]
pub(super) struct Source {
    address: Address,
    /// Which of our addresses it has sent to last: it is answered from there.
    local: Option<IpAddr>,
    kept: bool,
    ingress: Bucket,
}

impl Source {
    pub(super) const fn destination(&self, peer: PeerId) -> Destination {
        let (socket, remote) = self.address;
        let to = Path { remote, local: self.local };
        Destination { socket, slot: peer.slot, to, head: None }
    }
}

/// Which peer a source is.
#[derive(Debug)]
pub(super) struct Sources {
    kept: HashMap<Address, PeerId>,
    strangers: Box<[Option<(Address, PeerId)>]>,
    hasher: RandomState,
}

impl Sources {
    pub(super) fn new(strangers: usize) -> Self {
        Self { kept: HashMap::new(), strangers: vec![None; strangers].into(), hasher: RandomState::new() }
    }

    fn find(&self, address: Address) -> Option<PeerId> {
        if let Some(peer) = self.kept.get(&address) {
            return Some(*peer);
        }
        let (there, peer) = self.strangers.get(self.place(address)).copied().flatten()?;
        (there == address).then_some(peer)
    }

    /// Where a stranger may be.
    fn place(&self, address: Address) -> usize {
        let places = self.strangers.len() as u64;
        let place = self.hasher.hash_one(address).checked_rem(places);
        place.and_then(|place| usize::try_from(place).ok()).unwrap_or(usize::MAX)
    }

    /// Remembers a stranger. Returns whom it has displaced.
    fn add(&mut self, address: Address, peer: PeerId) -> Option<PeerId> {
        let place = self.place(address);
        let place = self.strangers.get_mut(place)?;
        place.replace((address, peer)).map(|(_, displaced)| displaced)
    }

    /// The session has validated this source. True if it was a stranger until now.
    pub(super) fn keep(&mut self, routes: &mut PeerSlab<Route>, peer: PeerId) -> bool {
        let Some(Route::Source(source)) = routes.get_mut(peer) else { return false };
        if source.kept {
            return false;
        }
        source.kept = true;
        let place = self.place(source.address);
        self.strangers.get_mut(place).and_then(|place| place.take_if(|(_, there)| *there == peer));
        self.kept.insert(source.address, peer);
        true
    }

    /// Forgets a source; false if the peer is none.
    pub(super) fn forget(&mut self, routes: &mut PeerSlab<Route>, peer: PeerId, kept: &AtomicUsize) -> bool {
        let Some(Route::Source(Source { address, .. })) = routes.get(peer) else { return false };
        let address = *address;
        routes.remove(peer);
        if self.kept.remove(&address).is_some() {
            kept.fetch_sub(1, Relaxed);
        }
        let place = self.place(address);
        self.strangers.get_mut(place).and_then(|place| place.take_if(|(_, there)| *there == peer));
        true
    }
}

/// To all addresses of all sockets that the session's broadcasts go to.
pub(super) fn broadcast(sockets: &[Udp], batch: &mut Batch, frame: &[u8]) {
    for (socket, udp) in sockets.iter().enumerate() {
        for to in &udp.broadcast {
            batch.push(Destination { socket, slot: u32::MAX, to: (*to).into(), head: None }, frame);
        }
    }
}

impl<S: Session> Core<S> {
    /// A datagram, whole and as it is.
    pub(super) fn plain_datagram(
        &mut self,
        shared: &Shared<S>,
        now: Instant,
        (socket, path): (usize, Path),
        bytes: &[u8],
    ) {
        let known = self.sources.find((socket, path.remote));
        let Some(peer) = known.or_else(|| self.stranger(shared, now, (socket, path))) else { return };
        let Some(Route::Source(source)) = self.routes.get_mut(peer) else { return };
        source.local = path.local;
        if source.ingress.take(now, shared.settings.datagrams, 1).is_err() {
            count(&shared.counters.dropped_frames);
            return;
        }
        self.handle(now, Input::Frame { peer, lane: Lane::Droppable, bytes });
        // At once: whom the session forgets must not be heard of again.
        self.flush(shared);
    }

    /// Somebody of whom nothing is known. `None` if the session does not want to know.
    fn stranger(
        &mut self,
        shared: &Shared<S>,
        now: Instant,
        (socket, path): (usize, Path),
    ) -> Option<PeerId> {
        let from = (socket, path.remote);
        if self.sources.strangers.is_empty() {
            return None;
        }
        let peer = self.ids.mint()?;
        let source = Source { address: from, local: path.local, kept: false, ingress: Bucket::default() };
        self.routes.insert(peer, Route::Source(source));
        self.input(shared, now, Input::Opened { peer, via: Via::Accepted, from: Some(from.1) });
        // Only then may it take somebody's place: whom the session refuses at once displaces nobody.
        let Some(Route::Source(source)) = self.routes.get(peer) else { return None };
        if !source.kept {
            if let Some(displaced) = self.sources.add(from, peer) {
                self.routes.remove(displaced);
                self.ids.retire(displaced);
                self.input(shared, now, Input::Closed { peer: displaced });
            }
        }
        self.routes.get(peer).map(|_| peer)
    }

    /// Forgets all sources, and remembers nobody from now on.
    pub(super) fn forget_sources(&mut self, kept: &AtomicUsize) {
        let all: Vec<PeerId> = self
            .routes
            .iter()
            .filter_map(|(peer, route)| matches!(route, Route::Source(_)).then_some(peer))
            .collect();
        for peer in all {
            self.sources.forget(&mut self.routes, peer, kept);
            self.ids.retire(peer);
        }
        self.sources = Sources::new(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Address {
        (0, SocketAddr::from((n.to_be_bytes(), 7)))
    }

    #[test]
    fn c_06_strangers_displace_each_other_and_never_who_is_kept() {
        let (mut sources, mut routes, kept) = (Sources::new(16), PeerSlab::new(100_000), AtomicUsize::new(0));
        let friend = PeerId { slot: 0, generation: 0 };
        let route = |n| {
            Route::Source(Source {
                address: address(n),
                local: None,
                kept: false,
                ingress: Bucket::default(),
            })
        };
        assert_eq!(sources.add(address(0), friend), None);
        routes.insert(friend, route(0));
        assert!(sources.keep(&mut routes, friend) && !sources.keep(&mut routes, friend));
        let mut displaced = 0;
        for slot in 1..10_000 {
            let peer = PeerId { slot, generation: 0 };
            if let Some(other) = sources.add(address(slot), peer) {
                routes.remove(other);
                displaced += 1;
            }
            routes.insert(peer, route(slot));
        }
        assert_eq!((displaced, routes.len()), (9999 - 16, 17));
        assert_eq!(sources.find(address(0)), Some(friend));
        kept.store(1, Relaxed);
        assert!(sources.forget(&mut routes, friend, &kept) && !sources.forget(&mut routes, friend, &kept));
        assert_eq!((sources.find(address(0)), kept.load(Relaxed)), (None, 0));
    }
}
