//! The peers of a hub's session: how frames reach each, and how each is closed or reset.

mod binding;
mod overload;
mod table;
#[cfg(test)]
mod tests;
mod udp;

use super::common::Common;
use super::conn::{Conn, NotQueued};
use super::quotas::ConnPermit;
use super::udp_binding::UdpBinding;
use crate::stream::framing::StreamFraming;
use crate::tcp_udp::ServerHello;
use crate::udp::Destination;
use core::num::NonZeroU64;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Waker;
use std::sync::Arc;
use table::{Peer, StreamPeer};
pub(super) use table::{Peers, Transport};
use voxwire_core::{FrameId, Framing, Instant, Lane, Output, PeerId};

impl<F: Framing> Peers<F> {
    /// A connection becomes a peer. `None` if the system has no random bytes.
    pub(super) fn open(
        &mut self,
        common: &Common,
        framing: F,
        transport: Transport,
        permit: ConnPermit,
    ) -> Option<(PeerId, Arc<Conn<F>>)> {
        let peer = self.ids.mint()?;
        let (binding, hello) = match &transport {
            Transport::Tcp => (None, None),
            Transport::TcpUdp { udp: Some(socket), direct } => {
                let port = common.sockets.get(*socket).map_or(0, |udp| udp.local_addr().port());
                let Some((binding, hello)) = UdpBinding::new(*socket, port, peer) else {
                    self.ids.retire(peer);
                    return None;
                };
                if *direct {
                    self.rendezvous.join(peer);
                }
                (Some(Box::new(binding)), Some(hello))
            }
            _ => (None, Some(ServerHello::without_udp())),
        };
        let framing = match transport {
            Transport::Tcp => StreamFraming::Session(framing),
            _ => StreamFraming::units(framing),
        };
        #[cfg(feature = "quic")]
        let quic = if let Transport::Quic(datagrams) = transport { Some(datagrams) } else { None };
        let conn = Arc::new(Conn::new(
            framing,
            common.settings.max_queued,
            #[cfg(feature = "quic")]
            quic,
        ));
        hello.inspect(|hello| conn.push_hello(common, &hello.to_bytes()));
        self.table.insert(peer, Peer::Stream(StreamPeer { conn: conn.clone(), binding, permit }));
        Some((peer, conn))
    }

    /// Sends a frame of the session: in a datagram if the frame is droppable and the peer takes datagrams, otherwise on the stream. `now` is
    /// read from the clock at the first frame that needs it.
    pub(super) fn send(
        &mut self,
        common: &Common,
        to: PeerId,
        (lane, id, frame): (Lane, FrameId, &[u8]),
        now: &mut Option<Instant>,
    ) {
        let stream = match self.table.get(to) {
            None => return,
            Some(Peer::Udp(udp_peer)) => return self.batch.push_shared(udp_peer.destination(to), id, frame),
            Some(Peer::Stream(stream)) => stream,
        };
        if lane == Lane::Droppable {
            if let Some(binding) = &stream.binding {
                let now = *now.get_or_insert_with(|| common.clock.now());
                if let Some(destination) = binding.destination(to, now) {
                    return self.batch.push_shared(destination, id, frame);
                }
            }
            #[cfg(feature = "quic")]
            if let Some(dropped) = stream.conn.send_datagram(frame) {
                return common.counters.dropped_frames.add(dropped);
            }
        }
        let queued = self.queue(common, to, |conn, again, frames, wakers| {
            conn.push(common, (lane, id, frame), again, frames, wakers)
        });
        match queued {
            Ok(0) | Err(NotQueued::Overflow | NotQueued::OverTotal) => {}
            Ok(dropped) => common.counters.dropped_frames.add(dropped),
            Err(NotQueued::Unsendable) => {
                common.counters.unsendable_frames.count();
                crate::log::debug!(peer = %to, len = frame.len(), "a reliable frame cannot be sent");
            }
        }
    }

    /// Carries out an output for one connection, or a broadcast.
    pub(super) fn apply(&mut self, common: &Common, output: &Output<'_>) {
        match *output {
            Output::Limit { peer, max_frame } => {
                let waker = self.conn(peer).and_then(|conn| conn.lock().set_max(max_frame));
                self.wakers.extend(waker);
            }
            Output::Budget { peer, bytes } => {
                self.conn(peer)
                    .inspect(|conn| conn.lock().queue.set_budget(bytes, common.settings.max_queued));
            }
            Output::Pause { peer, until } => {
                self.conn(peer).inspect(|conn| conn.lock().pause(until));
            }
            Output::Resume { peer } => {
                let waker = self.conn(peer).and_then(|conn| conn.lock().resume());
                self.wakers.extend(waker);
            }
            Output::Probe { peer } => match self.conn(peer).map(|conn| conn.lock().probe(&common.queued)) {
                Some(Ok(waker)) => self.wakers.extend(waker),
                Some(Err(_)) => self.overflowed.push(peer),
                None => {}
            },
            Output::Broadcast { frame } => {
                for (socket, udp) in common.sockets.iter().enumerate() {
                    for to in &udp.broadcast {
                        let to = (*to).into();
                        self.batch.push(Destination { socket, slot: u32::MAX, to, head: None }, frame);
                    }
                }
            }
            Output::Validate { peer } => {
                if let Some(Peer::Udp(udp_peer)) = self.table.get_mut(peer) {
                    self.udp_peers.validate(udp_peer, peer);
                    common.validated.store(self.udp_peers.validated(), Relaxed);
                }
            }
            Output::Direct { peer, allowed } => self.set_direct(common, peer, allowed),
            _ => {}
        }
    }

    /// Removes a peer. Its connection is closed once what is queued for it is written.
    pub(super) fn close(&mut self, common: &Common, peer: PeerId) {
        // It keeps its permit until it counts as one that is closing.
        let Some(Peer::Stream(StreamPeer { conn, permit: _permit, .. })) = self.remove(common, peer) else {
            return;
        };
        self.last_closing = self.last_closing.saturating_add(1);
        let id = NonZeroU64::MIN.saturating_add(self.last_closing);
        let until = common.clock.now().saturating_add(common.settings.close_timeout);
        self.wakers.extend(conn.begin_close(until, id));
        self.closing.insert(id, (conn, common.quotas.closing_permit()));
    }

    /// Removes a peer, forgets what is queued for it, and resets its connection. The task of the connection tells the session nothing then.
    pub(super) fn remove_and_reset(&mut self, common: &Common, peer: PeerId) {
        if let Some(Peer::Stream(StreamPeer { conn, .. })) = self.remove(common, peer) {
            conn.reset(common, &mut self.wakers);
        }
    }

    /// Resets the connection that has been closing for longest, with `quic` the one on QUIC. False if there is none.
    pub(super) fn reset_oldest_closing(&mut self, common: &Common, quic: bool) -> bool {
        let is_of_kind = |conn: &Conn<F>| !quic || conn.is_on_quic();
        let oldest = self.closing.iter().find(|(_, (conn, _))| is_of_kind(conn)).map(|(id, _)| *id);
        let Some((conn, _)) = oldest.and_then(|id| self.closing.remove(&id)) else { return false };
        conn.reset(common, &mut self.wakers);
        true
    }

    /// The task of a connection has ended. True if the session has to hear of that.
    pub(super) fn ended(&mut self, common: &Common, peer: PeerId, conn: &Conn<F>) -> bool {
        let id = conn.lock().closing.as_ref().map(|closing| closing.id);
        id.and_then(|id| self.closing.remove(&id));
        self.stream(peer).is_some() && self.remove(common, peer).is_some()
    }

    /// Ends all connections at once.
    pub(super) fn end_all(&mut self) {
        let wakers: Vec<Waker> = self.conns().filter_map(|conn| conn.end(false)).collect();
        self.wakers.extend(wakers);
    }

    /// Resets connections whose peer is stuck, and wakes tasks whose deadline has passed. Called once a second.
    pub(super) fn sweep(&mut self, common: &Common, now: Instant, overslept: bool) {
        self.frames.tidy();
        let mut wakers = Vec::new();
        for conn in self.conns() {
            let stuck = conn.confirm_stuck(common.settings.unacknowledged, now, overslept);
            if stuck || conn.is_never_ready() {
                let counters = &common.counters;
                if stuck { &counters.too_slow } else { &counters.broken }.count();
                crate::log::debug!(stuck, "reset: a peer that takes nothing, or whose handshake never ends");
                conn.reset(common, &mut wakers);
            } else {
                wakers.extend(conn.sweep(now));
            }
        }
        self.wakers.extend(wakers);
    }
}
