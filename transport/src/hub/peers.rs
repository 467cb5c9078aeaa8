//! The peers of a hub's session: how frames reach each, and how each is closed or reset.

mod overload;

use super::common::Common;
use super::conn::{Conn, NotQueued};
use super::quotas::{ClosingPermit, ConnPermit};
use super::rendezvous::{Messages, Rendezvous};
use super::udp_binding::{BindAction, UdpBinding};
use super::udp_peers::{UdpPeer, UdpPeers};
#[cfg(feature = "quic")]
use crate::quic::Datagrams;
use crate::stream::framing::StreamFraming;
use crate::stream::held::Frames;
use crate::tcp_udp::{self, Control, ServerHello};
use crate::udp::{DatagramBatch, Destination, Path};
use core::num::NonZeroU64;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Waker;
use std::collections::BTreeMap;
use std::sync::Arc;
use voxwire_core::{FrameId, Framing, Instant, Lane, Output, PeerId, PeerIds, PeerSlab};

/// What carries the frames of a connection.
#[derive(Debug, Clone)]
pub(super) enum Transport {
    /// A byte stream that the session's framing cuts into frames; with or without TLS.
    Tcp,
    /// Units on a byte stream. `udp` is the index of the UDP socket, if the client wants one. `direct`: the client wants direct paths.
    TcpUdp { udp: Option<usize>, direct: bool },
    /// Units on a QUIC stream, and QUIC datagrams.
    #[cfg(feature = "quic")]
    Quic(Datagrams),
}

/// The peers, and the datagrams that are to be sent to them.
pub(super) struct Peers<F> {
    ids: PeerIds,
    table: PeerSlab<Peer<F>>,
    /// Connections that the session has closed, and that still write what is queued, the oldest first.
    closing: BTreeMap<NonZeroU64, (Arc<Conn<F>>, ClosingPermit)>,
    last_closing: u64,
    udp_peers: UdpPeers,
    rendezvous: Rendezvous,
    /// Large frames that are queued for several connections.
    frames: Frames,
    /// Connections for which a frame could not be queued. The core closes them.
    overflowed: Vec<PeerId>,
    /// Until then `close_largest` does not look again: there was nothing more to free.
    look_again: Instant,
    /// Datagrams to send once the lock is released.
    pub(super) batch: DatagramBatch,
    /// Tasks to wake once the lock is released.
    pub(super) wakers: Vec<Waker>,
}

/// One peer.
enum Peer<F> {
    Stream(StreamPeer<F>),
    /// A source of plain UDP. On the heap, because most peers are of the other kind.
    Udp(Box<UdpPeer>),
}

struct StreamPeer<F> {
    conn: Arc<Conn<F>>,
    /// Its UDP side, if it has one.
    binding: Option<Box<UdpBinding>>,
    _permit: ConnPermit,
}

impl<F: Framing> Peers<F> {
    pub(super) fn new(common: &Common) -> Self {
        Self {
            ids: PeerIds::new(),
            table: PeerSlab::new(usize::MAX),
            closing: BTreeMap::new(),
            last_closing: 0,
            udp_peers: UdpPeers::new(common.settings.max_unvalidated),
            rendezvous: Rendezvous::new(common.settings.introductions),
            frames: Frames::default(),
            overflowed: Vec::new(),
            look_again: Instant::ZERO,
            batch: DatagramBatch::default(),
            wakers: Vec::new(),
        }
    }

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
        self.table.insert(peer, Peer::Stream(StreamPeer { conn: conn.clone(), binding, _permit: permit }));
        Some((peer, conn))
    }

    fn stream(&self, peer: PeerId) -> Option<&StreamPeer<F>> {
        match self.table.get(peer)? {
            Peer::Stream(stream) => Some(stream),
            Peer::Udp(_) => None,
        }
    }

    /// The connection of a peer that has one.
    pub(super) fn conn(&self, peer: PeerId) -> Option<&Arc<Conn<F>>> {
        Some(&self.stream(peer)?.conn)
    }

    /// Whether the session knows of this peer.
    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.table.get(peer).is_some()
    }

    /// Peers on connections.
    pub(super) fn on_streams(&self) -> impl Iterator<Item = (PeerId, &Arc<Conn<F>>)> {
        self.table.iter().filter_map(|(peer, it)| match it {
            Peer::Stream(stream) => Some((peer, &stream.conn)),
            Peer::Udp(_) => None,
        })
    }

    /// All connections, those that are being closed included.
    fn conns(&self) -> impl Iterator<Item = &Arc<Conn<F>>> {
        self.on_streams().map(|(_, conn)| conn).chain(self.closing.values().map(|(conn, _)| conn))
    }

    /// How many connections there are, those that are being closed included.
    pub(super) fn count_conns(&self) -> usize {
        self.conns().count()
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
            Ok(0) | Err(NotQueued::Overflow | NotQueued::OverGlobalLimit) => {}
            Ok(dropped) => common.counters.dropped_frames.add(dropped),
            Err(NotQueued::Unsendable) => {
                common.counters.unsendable_frames.count();
                tracing::debug!(peer = %to, len = frame.len(), "a reliable frame cannot be sent");
            }
        }
    }

    /// Queues something for a peer by `push`. Where `push` returns [`NotQueued::OverGlobalLimit`], closes other connections, and tries once more.
    /// A peer for which nothing could be queued goes to `overflowed`.
    fn queue<T: Default + PartialEq>(
        &mut self,
        common: &Common,
        to: PeerId,
        push: impl Fn(&Conn<F>, bool, &mut Frames, &mut Vec<Waker>) -> Result<T, NotQueued>,
    ) -> Result<T, NotQueued> {
        let Some(Peer::Stream(StreamPeer { conn, .. })) = self.table.get(to) else { return Ok(T::default()) };
        let mut queued = push(conn, false, &mut self.frames, &mut self.wakers);
        if queued == Err(NotQueued::OverGlobalLimit) {
            let conn = conn.clone();
            self.close_largest(common, common.clock.now());
            queued = push(&conn, true, &mut self.frames, &mut self.wakers);
        }
        if matches!(queued, Err(NotQueued::Overflow | NotQueued::OverGlobalLimit)) {
            self.overflowed.push(to);
        }
        queued
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

    /// Queues a control message for a client.
    fn send_control(&mut self, common: &Common, peer: PeerId, control: Control) {
        // A client for which it cannot be queued is closed: it is in `overflowed`.
        let _ = self
            .queue(common, peer, |conn, again, _, wakers| conn.push_control(common, control, again, wakers));
    }

    fn send_controls(&mut self, common: &Common, messages: Messages) {
        for (peer, control) in messages {
            self.send_control(common, peer, control);
        }
    }

    /// Whether there are connections for which a frame could not be queued.
    pub(super) fn has_overflowed(&self) -> bool {
        !self.overflowed.is_empty()
    }

    /// Takes those connections. The session still knows them.
    pub(super) fn take_overflowed(&mut self) -> Vec<PeerId> {
        core::mem::take(&mut self.overflowed)
    }

    /// Takes a peer out of all tables. Clients that were introduced to it are told that it is gone.
    fn remove(&mut self, common: &Common, peer: PeerId) -> Option<Peer<F>> {
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

    /// Removes a peer. Its connection is closed once what is queued for it is written.
    pub(super) fn close(&mut self, common: &Common, peer: PeerId) {
        // It keeps its permit until it counts as one that is closing.
        let Some(Peer::Stream(StreamPeer { conn, _permit, .. })) = self.remove(common, peer) else { return };
        self.last_closing = self.last_closing.saturating_add(1);
        let id = NonZeroU64::MIN.saturating_add(self.last_closing);
        let until = common.clock.now().saturating_add(common.settings.close_timeout);
        self.wakers.extend(conn.begin_close(until, id));
        self.closing.insert(id, (conn, common.quotas.closing_permit()));
    }

    /// Removes a peer, forgets what is queued for it, and resets its connection.
    pub(super) fn reset(&mut self, common: &Common, peer: PeerId) {
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
    pub(super) fn sweep(&mut self, common: &Common, now: Instant, late: bool) {
        self.frames.tidy();
        let mut wakers = Vec::new();
        for conn in self.conns() {
            let stuck = conn.confirm_stuck(common.settings.unacknowledged, now, late);
            if stuck || conn.is_never_ready() {
                let counters = &common.counters;
                if stuck { &counters.too_slow } else { &counters.broken }.count();
                tracing::debug!(stuck, "closed: a peer that takes nothing, or whose handshake never ends");
                conn.reset(common, &mut wakers);
            } else {
                wakers.extend(conn.sweep(now));
            }
        }
        self.wakers.extend(wakers);
    }
}

/// The UDP sides of connections, and direct paths between clients.
impl<F: Framing> Peers<F> {
    /// A datagram has come in on the UDP side of connections. Returns its frame and its peer, if it has one.
    pub(super) fn on_datagram<'d>(
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
            BindAction::Drop => common.counters.dropped_frames.count(),
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
    pub(super) fn on_control(&mut self, common: &Common, now: Instant, peer: PeerId, body: &[u8]) {
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
    fn set_direct(&mut self, common: &Common, peer: PeerId, allowed: bool) {
        if !allowed {
            let messages = self.rendezvous.bar(peer);
            self.send_controls(common, messages);
        } else if self.rendezvous.admit(peer) {
            self.introduce(common, common.clock.now(), peer);
        }
    }

    fn leave_rendezvous(&mut self, common: &Common, peer: PeerId) {
        let messages = self.rendezvous.leave(peer);
        self.send_controls(common, messages);
    }
}

/// Peers on plain UDP.
impl<F: Framing> Peers<F> {
    /// The peer that a datagram comes from, if its source is known.
    pub(super) fn udp_peer(&self, (socket, path): (usize, Path)) -> Option<PeerId> {
        self.udp_peers.find((socket, path.remote))
    }

    /// A source becomes a peer; the caller tells the session. `None` while the hub drains.
    pub(super) fn open_udp_peer(&mut self, from: (usize, Path)) -> Option<PeerId> {
        if self.udp_peers.is_closed() {
            return None;
        }
        let peer = self.ids.mint()?;
        self.table.insert(peer, Peer::Udp(Box::new(UdpPeer::new(from))));
        Some(peer)
    }

    /// Remembers a new source after the session has learned of it, unless the session has closed or validated it at once. Returns the peer that
    /// it displaces; the caller tells the session.
    pub(super) fn remember_udp_peer(&mut self, common: &Common, peer: PeerId) -> Option<PeerId> {
        let Some(Peer::Udp(udp_peer)) = self.table.get(peer) else { return None };
        if udp_peer.is_validated() {
            return None;
        }
        let displaced = self.udp_peers.add(udp_peer, peer)?;
        self.remove(common, displaced);
        Some(displaced)
    }

    /// A datagram has come in from this peer. False if it is over the rate, and dropped.
    pub(super) fn receive_udp(&mut self, common: &Common, now: Instant, peer: PeerId, path: Path) -> bool {
        let Some(Peer::Udp(udp_peer)) = self.table.get_mut(peer) else { return false };
        let received = udp_peer.receive(now, path, common.settings.datagrams);
        if !received {
            common.counters.dropped_frames.count();
        }
        received
    }

    /// Forgets all peers on plain UDP. No source becomes a peer from now on.
    pub(super) fn close_udp(&mut self, common: &Common) {
        let all = self.table.iter().filter(|(_, it)| matches!(it, Peer::Udp(_))).map(|(peer, _)| peer);
        let all: Vec<PeerId> = all.collect();
        all.into_iter().for_each(|peer| drop(self.remove(common, peer)));
        self.udp_peers = UdpPeers::new(0);
    }
}

/// Random bytes; `None` if the system has none.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
