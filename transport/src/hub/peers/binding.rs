//! The UDP sides of connections, and direct paths between clients.

use super::table::{Peer, Peers, StreamPeer};
use crate::hub::common::Common;
use crate::hub::udp_binding::BindAction;
use crate::tcp_udp::{self, Control};
use crate::udp::Path;
use voxwire_core::{Framing, Instant, PeerId};

impl<F: Framing> Peers<F> {
    /// A datagram has come in on the UDP side of connections. Returns its frame and its peer, if it has one.
    pub(in crate::hub) fn on_datagram<'d>(
        &mut self,
        common: &Common,
        now: Instant,
        (socket, from): (usize, Path),
        bytes: &'d [u8],
    ) -> Option<(PeerId, &'d [u8])> {
        let (kind, tag, body) = tcp_udp::read_head(bytes)?;
        let peer = self.table.peer_at(tcp_udp::slot(tag))?;
        let Some(Peer::Stream(StreamPeer { binding: Some(binding), .. })) = self.table.get_mut(peer) else {
            return None;
        };
        let limit = (now, common.settings.frames);
        match binding.on_datagram(limit, peer, (socket, from), (kind, tag, body), random) {
            BindAction::Ignore => {}
            BindAction::Drop => common.counters.over_rate_frames.count(),
            BindAction::Deliver => return Some((peer, body)),
            BindAction::Pong(to) => {
                to.into_iter().for_each(|to| self.batch.push(to, body));
                if self.rendezvous.is_late(peer) {
                    self.introduce(common, now, peer);
                }
            }
            BindAction::Challenge(to, nonce) => {
                self.batch.push(to, &nonce);
            }
        }
        None
    }

    /// A client has sent a control message on the TCP side.
    pub(in crate::hub) fn on_control(&mut self, common: &Common, now: Instant, peer: PeerId, body: &[u8]) {
        let Some(Peer::Stream(StreamPeer { binding: Some(binding), .. })) = self.table.get_mut(peer) else {
            return;
        };
        match Control::read(body) {
            Some(Control::Confirm(nonce)) => {
                let bound = binding.confirm(nonce, now);
                if bound.is_none() {
                    return;
                }
                self.send_control(common, peer, Control::Bound);
                if !self.overflowed.contains(&peer) {
                    self.introduce(common, now, peer);
                }
            }
            Some(Control::Down) => {
                binding.unbind();
                let messages = self.rendezvous.withdraw(peer);
                self.send_controls(common, messages);
            }
            _ => {}
        }
    }

    fn introduce(&mut self, common: &Common, now: Instant, peer: PeerId) {
        let binding = self.stream(peer).and_then(|stream| stream.binding.as_ref());
        let Some(at) = binding.and_then(|binding| binding.bound()) else { return };
        let messages = self.rendezvous.introduce(now, peer, at.remote, random);
        self.send_controls(common, messages);
    }

    /// The session allows or forbids that a client is introduced to others.
    pub(super) fn set_direct(&mut self, common: &Common, peer: PeerId, allowed: bool) {
        if !allowed {
            let messages = self.rendezvous.bar(peer);
            self.send_controls(common, messages);
        } else if self.rendezvous.admit(peer) {
            self.introduce(common, common.clock.now(), peer);
        }
    }
}

/// Random bytes; `None` if the system has none.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
