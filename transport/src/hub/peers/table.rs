//! The table of a hub's peers: finding a peer, queueing for it, removing it.

use super::overload::Overload;
use crate::hub::common::Common;
use crate::hub::conn::{Conn, NotQueued};
use crate::hub::quotas::{ClosingPermit, ConnPermit};
use crate::hub::rendezvous::{Messages, Rendezvous};
use crate::hub::udp_binding::UdpBinding;
use crate::hub::udp_peers::{UdpPeer, UdpPeers};
#[cfg(feature = "quic")]
use crate::quic::Datagrams;
use crate::stream::shared_frames::SharedFrames;
use crate::tcp_udp::Control;
use crate::udp::DatagramBatch;
use core::num::NonZeroU64;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Waker;
use std::collections::BTreeMap;
use std::sync::Arc;
use voxwire_core::{Framing, Instant, PeerId, PeerIds, PeerSlab};

/// What carries the frames of a connection.
#[derive(Debug, Clone)]
pub(in crate::hub) enum Transport {
    /// A byte stream that the session's framing cuts into frames; with or without TLS.
    Tcp,
    /// Units on a byte stream. `udp` is the index of the UDP socket, if the client wants one. `direct`: the client wants direct paths.
    TcpUdp { udp: Option<usize>, direct: bool },
    /// Units on a QUIC stream, and QUIC datagrams.
    #[cfg(feature = "quic")]
    Quic(Datagrams),
}

/// The peers, and the datagrams that are to be sent to them.
pub(in crate::hub) struct Peers<F> {
    pub(super) ids: PeerIds,
    pub(super) table: PeerSlab<Peer<F>>,
    /// Connections that the session has closed, and that still write what is queued, the oldest first.
    pub(super) closing: BTreeMap<NonZeroU64, (Arc<Conn<F>>, ClosingPermit)>,
    pub(super) last_closing: u64,
    pub(super) udp_peers: UdpPeers,
    pub(super) rendezvous: Rendezvous,
    /// Frames that are queued for several connections.
    pub(super) frames: SharedFrames,
    /// Connections for which a frame could not be queued, and those that [`Overload`] has reset. The core resets them, and tells the session.
    pub(super) overflowed: Vec<PeerId>,
    pub(super) overload: Overload,
    /// Datagrams to send once the lock is released.
    pub(in crate::hub) batch: DatagramBatch,
    /// Tasks to wake once the lock is released.
    pub(in crate::hub) wakers: Vec<Waker>,
}

/// One peer.
pub(super) enum Peer<F> {
    Stream(StreamPeer<F>),
    /// A source of plain UDP. On the heap, because most peers are of the other kind.
    Udp(Box<UdpPeer>),
}

pub(super) struct StreamPeer<F> {
    pub(super) conn: Arc<Conn<F>>,
    /// Its UDP side, if it has one.
    pub(super) binding: Option<Box<UdpBinding>>,
    pub(super) permit: ConnPermit,
}

impl<F> Peer<F> {
    /// Its connection, if it has one.
    pub(super) const fn conn(&self) -> Option<&Arc<Conn<F>>> {
        match self {
            Self::Stream(stream) => Some(&stream.conn),
            Self::Udp(_) => None,
        }
    }
}

impl<F: Framing> Peers<F> {
    pub(in crate::hub) fn new(common: &Common) -> Self {
        Self {
            ids: PeerIds::new(),
            table: PeerSlab::new(usize::MAX),
            closing: BTreeMap::new(),
            last_closing: 0,
            udp_peers: UdpPeers::new(common.settings.max_unvalidated),
            rendezvous: Rendezvous::new(common.settings.introductions),
            frames: SharedFrames::default(),
            overflowed: Vec::new(),
            overload: Overload::default(),
            batch: DatagramBatch::default(),
            wakers: Vec::new(),
        }
    }

    pub(super) fn stream(&self, peer: PeerId) -> Option<&StreamPeer<F>> {
        match self.table.get(peer)? {
            Peer::Stream(stream) => Some(stream),
            Peer::Udp(_) => None,
        }
    }

    /// The connection of a peer that has one.
    pub(in crate::hub) fn conn(&self, peer: PeerId) -> Option<&Arc<Conn<F>>> {
        self.table.get(peer)?.conn()
    }

    /// Whether the session knows of this peer.
    pub(in crate::hub) fn contains(&self, peer: PeerId) -> bool {
        self.table.get(peer).is_some()
    }

    /// Peers on connections.
    pub(in crate::hub) fn on_streams(&self) -> impl Iterator<Item = (PeerId, &Arc<Conn<F>>)> {
        self.table.iter().filter_map(|(peer, it)| Some((peer, it.conn()?)))
    }

    /// All connections, those that are being closed included.
    pub(super) fn conns(&self) -> impl Iterator<Item = &Arc<Conn<F>>> {
        self.on_streams().map(|(_, conn)| conn).chain(self.closing.values().map(|(conn, _)| conn))
    }

    /// How many connections there are, those that are being closed included.
    pub(in crate::hub) fn count_conns(&self) -> usize {
        self.conns().count()
    }

    /// Queues something for a peer by `push`. Where `push` returns [`NotQueued::OverTotal`], resets connections, and tries once more.
    /// A peer for which nothing could be queued goes to `overflowed`.
    pub(super) fn queue<T: Default + PartialEq>(
        &mut self,
        common: &Common,
        to: PeerId,
        push: impl Fn(&Conn<F>, bool, &mut SharedFrames, &mut Vec<Waker>) -> Result<T, NotQueued>,
    ) -> Result<T, NotQueued> {
        let Some(Peer::Stream(StreamPeer { conn, .. })) = self.table.get(to) else { return Ok(T::default()) };
        let mut queued = push(conn, false, &mut self.frames, &mut self.wakers);
        if queued == Err(NotQueued::OverTotal) {
            let conn = conn.clone();
            self.reset_largest(common, common.clock.now());
            queued = push(&conn, true, &mut self.frames, &mut self.wakers);
        }
        if matches!(queued, Err(NotQueued::Overflow | NotQueued::OverTotal)) {
            self.overflowed.push(to);
        }
        queued
    }

    /// Resets connections until all queues together hold less ([`Overload`]). Their peers go to `overflowed`, so that the core tells the session.
    pub(super) fn reset_largest(&mut self, common: &Common, now: Instant) {
        let Self { table, closing, overflowed, overload, wakers, .. } = self;
        let overflowed_conns = overflowed.iter().filter_map(|peer| table.get(*peer)?.conn());
        let open = table.iter().filter_map(|(peer, it)| Some((Some(peer), it.conn()?)));
        let all = open.chain(closing.values().map(|(conn, _)| (None, conn)));
        let reset = overload.reset_largest(common, now, overflowed_conns, all, wakers);
        overflowed.extend(reset);
    }

    /// Queues a control message for a client.
    pub(super) fn send_control(&mut self, common: &Common, peer: PeerId, control: Control) {
        // A client for which it cannot be queued is reset: it is in `overflowed`.
        let _ = self
            .queue(common, peer, |conn, again, _, wakers| conn.push_control(common, control, again, wakers));
    }

    pub(super) fn send_controls(&mut self, common: &Common, messages: Messages) {
        for (peer, control) in messages {
            self.send_control(common, peer, control);
        }
    }

    /// Whether there are connections for which a frame could not be queued.
    pub(in crate::hub) fn has_overflowed(&self) -> bool {
        !self.overflowed.is_empty()
    }

    /// Takes those connections. The session still knows them.
    pub(in crate::hub) fn take_overflowed(&mut self) -> Vec<PeerId> {
        core::mem::take(&mut self.overflowed)
    }

    /// Takes a peer out of all tables. Clients that were introduced to it are told that it is gone.
    pub(super) fn remove(&mut self, common: &Common, peer: PeerId) -> Option<Peer<F>> {
        let removed = self.table.remove(peer)?;
        match &removed {
            Peer::Stream(_) => self.leave_rendezvous(common, peer),
            Peer::Udp(udp_peer) => {
                self.udp_peers.forget(udp_peer, peer);
                common.validated.store(self.udp_peers.validated(), Relaxed);
            }
        }
        self.ids.retire(peer);
        Some(removed)
    }

    fn leave_rendezvous(&mut self, common: &Common, peer: PeerId) {
        let messages = self.rendezvous.leave(peer);
        self.send_controls(common, messages);
    }
}
