//! Peers on plain UDP: a source of datagrams is a peer, known by its address alone.
//!
//! Addresses can be forged. So sources that the session has not validated share a table of fixed size. Each source has one place in it, and
//! displaces the source that is there. Validated sources are kept apart: no flood of others displaces them.

use crate::udp::{Destination, Path};
use core::hash::BuildHasher;
use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;
use std::hash::RandomState;
use voxwire_core::{Bucket, Instant, PeerId, Rate};

/// The index of our socket, and where the source is.
pub(crate) type Address = (usize, SocketAddr);

/// One source.
#[derive(Debug)]
pub(crate) struct UdpPeer {
    address: Address,
    /// The local address that its last datagram came to. It is answered from there.
    local: Option<IpAddr>,
    validated: bool,
    ingress: Bucket,
}

impl UdpPeer {
    pub(crate) fn new((socket, path): (usize, Path)) -> Self {
        let Path { remote, local } = path;
        Self { address: (socket, remote), local, validated: false, ingress: Bucket::default() }
    }

    pub(crate) const fn destination(&self, peer: PeerId) -> Destination {
        let (socket, remote) = self.address;
        let to = Path { remote, local: self.local };
        Destination { socket, slot: peer.slot, to, head: None }
    }

    /// Where it is reached.
    #[cfg(all(feature = "realtime", unix))]
    pub(crate) const fn path(&self) -> Path {
        Path { remote: self.address.1, local: self.local }
    }

    pub(crate) const fn is_validated(&self) -> bool {
        self.validated
    }

    /// A datagram has come in by `path`. False if the source sends more than `rate`.
    pub(crate) fn receive(&mut self, now: Instant, path: Path, rate: Rate) -> bool {
        self.local = path.local;
        self.ingress.take(now, rate, 1).is_ok()
    }
}

/// Which peer a source is.
#[derive(Debug)]
pub(crate) struct UdpPeers {
    validated: HashMap<Address, PeerId>,
    unvalidated: Box<[Option<(Address, PeerId)>]>,
    hasher: RandomState,
}

impl UdpPeers {
    /// `unvalidated`: how many sources that are not validated are remembered.
    pub(crate) fn new(unvalidated: usize) -> Self {
        Self {
            validated: HashMap::new(),
            unvalidated: vec![None; unvalidated].into(),
            hasher: RandomState::new(),
        }
    }

    /// Whether no new source becomes a peer.
    pub(crate) const fn is_closed(&self) -> bool {
        self.unvalidated.is_empty()
    }

    /// Validated sources.
    pub(crate) fn validated(&self) -> usize {
        self.validated.len()
    }

    pub(crate) fn find(&self, address: Address) -> Option<PeerId> {
        if let Some(peer) = self.validated.get(&address) {
            return Some(*peer);
        }
        let (there, peer) = self.unvalidated.get(self.place(address)).copied().flatten()?;
        (there == address).then_some(peer)
    }

    /// The place of a source in the table of those that are not validated.
    fn place(&self, address: Address) -> usize {
        let places = self.unvalidated.len() as u64;
        let place = self.hasher.hash_one(address).checked_rem(places);
        place.and_then(|place| usize::try_from(place).ok()).unwrap_or(usize::MAX)
    }

    fn clear_place(&mut self, address: Address, peer: PeerId) {
        let place = self.place(address);
        self.unvalidated.get_mut(place).and_then(|place| place.take_if(|(_, there)| *there == peer));
    }

    /// Remembers a source that is not validated. Returns the peer that it displaces.
    pub(crate) fn add(&mut self, udp_peer: &UdpPeer, peer: PeerId) -> Option<PeerId> {
        let place = self.place(udp_peer.address);
        let place = self.unvalidated.get_mut(place)?;
        place.replace((udp_peer.address, peer)).map(|(_, displaced)| displaced)
    }

    /// The session has validated this source.
    pub(crate) fn validate(&mut self, udp_peer: &mut UdpPeer, peer: PeerId) {
        if !core::mem::replace(&mut udp_peer.validated, true) {
            self.clear_place(udp_peer.address, peer);
            self.validated.insert(udp_peer.address, peer);
        }
    }

    pub(crate) fn forget(&mut self, udp_peer: &UdpPeer, peer: PeerId) {
        self.validated.remove(&udp_peer.address);
        self.clear_place(udp_peer.address, peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp_peer(n: u32) -> UdpPeer {
        UdpPeer::new((0, SocketAddr::from((n.to_be_bytes(), 7)).into()))
    }

    #[test]
    fn c_06_strangers_displace_each_other_and_never_who_is_kept() {
        let mut peers = UdpPeers::new(16);
        let (friend, mut validated) = (PeerId { slot: 0, generation: 0 }, udp_peer(0));
        assert_eq!(peers.add(&validated, friend), None);
        peers.validate(&mut validated, friend);
        peers.validate(&mut validated, friend);
        assert_eq!((peers.validated(), validated.is_validated()), (1, true));
        let mut displaced = 0;
        for slot in 1..10_000 {
            let peer = PeerId { slot, generation: 0 };
            displaced += usize::from(peers.add(&udp_peer(slot), peer).is_some());
        }
        assert_eq!(displaced, 9999 - 16);
        assert_eq!(peers.find(validated.address), Some(friend));
        peers.forget(&validated, friend);
        assert_eq!((peers.find(validated.address), peers.validated()), (None, 0));
        assert!(!peers.is_closed() && UdpPeers::new(0).is_closed());
    }
}
