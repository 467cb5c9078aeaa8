//! Peers on plain UDP.

use super::table::{Peer, Peers};
use crate::hub::common::Common;
use crate::hub::udp_peers::{UdpPeer, UdpPeers};
use crate::udp::Path;
use voxwire_core::{Framing, Instant, PeerId};

impl<F: Framing> Peers<F> {
    /// The peer that a datagram comes from, if its source is known.
    pub(in crate::hub) fn udp_peer(&self, (socket, path): (usize, Path)) -> Option<PeerId> {
        self.udp_peers.find((socket, path.remote))
    }

    /// A source becomes a peer; the caller tells the session. `None` while the hub drains.
    pub(in crate::hub) fn open_udp_peer(&mut self, from: (usize, Path)) -> Option<PeerId> {
        if self.udp_peers.is_closed() {
            return None;
        }
        let peer = self.ids.mint()?;
        self.table.insert(peer, Peer::Udp(Box::new(UdpPeer::new(from))));
        Some(peer)
    }

    /// Remembers a new source after the session has learned of it, unless the session has closed or validated it at once. Returns the peer that
    /// it displaces; the caller tells the session.
    pub(in crate::hub) fn remember_udp_peer(&mut self, common: &Common, peer: PeerId) -> Option<PeerId> {
        let Some(Peer::Udp(udp_peer)) = self.table.get(peer) else { return None };
        if udp_peer.is_validated() {
            return None;
        }
        let displaced = self.udp_peers.add(udp_peer, peer)?;
        self.remove(common, displaced);
        Some(displaced)
    }

    /// A datagram has come in from this peer. False if it is over the rate, and dropped.
    pub(in crate::hub) fn receive_udp(
        &mut self,
        common: &Common,
        now: Instant,
        peer: PeerId,
        path: Path,
    ) -> bool {
        let Some(Peer::Udp(udp_peer)) = self.table.get_mut(peer) else { return false };
        let received = udp_peer.receive(now, path, common.settings.datagrams);
        if !received {
            common.counters.over_rate_frames.count();
        }
        received
    }

    /// Forgets all peers on plain UDP. No source becomes a peer from now on.
    pub(in crate::hub) fn close_udp(&mut self, common: &Common) {
        let all = self.table.iter().filter(|(_, it)| matches!(it, Peer::Udp(_))).map(|(peer, _)| peer);
        let all: Vec<PeerId> = all.collect();
        all.into_iter().for_each(|peer| drop(self.remove(common, peer)));
        self.udp_peers = UdpPeers::new(0);
    }
}
