//! The session, its handler and its peers, behind one lock: one task at a time works on them.

use super::common::Common;
use super::conn::Conn;
use super::counters::Traffic;
use super::peers::{Peers, Transport};
use super::quotas::ConnPermit;
use crate::grace::is_event;
use crate::stream::framing::Kind;
use crate::udp::{Path, Received, Udp};
use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::AbortHandle;
use voxwire_core::{
    Cut, DialId, FrameBuf, FrameError, Framing, Handler, Input, Instant, Lane, ListenId, Output, PeerId,
    Session, Via, dispatch,
};

/// A port or a connection that the session asks for. The timer task carries it out, in order: the session is locked where it asks.
#[derive(Debug)]
pub(super) enum DriverRequest {
    Dial { id: DialId, host: String, port: u16 },
    Listen(ListenId),
    StopListening(ListenId),
}

/// Why no more frames were handed to the session.
pub(super) enum ReadStatus {
    /// No frame is whole. At least so many bytes are missing.
    NeedMore(usize),
    /// The framing waits until the session says how large the next frame may be.
    Waiting,
    /// Reading pauses, or has ended. There may be more frames in the buffer.
    Stopped,
}

/// The new connection for which the session closes other peers, to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newcomer {
    Peer(PeerId),
    /// The session does not know it yet.
    Unknown,
}

pub(super) struct Core<S: Session> {
    pub(super) session: S,
    handler: Box<dyn Handler<S> + Send>,
    pub(super) peers: Peers<S::Framing>,
    /// Set while an input is handled for which the session may close peers to make room. Those peers are reset.
    newcomer: Option<Newcomer>,
    pub(super) traffic: Traffic,
    /// What the timer task waits for.
    pub(super) armed: Option<Instant>,
    pub(super) requests: Vec<DriverRequest>,
    /// The tasks that accept on ports opened for the session.
    pub(super) ports: BTreeMap<ListenId, AbortHandle>,
}

impl<S: Session> Core<S> {
    pub(super) fn new(session: S, handler: Box<dyn Handler<S> + Send>, common: &Common) -> Self {
        Self {
            session,
            handler,
            peers: Peers::new(common),
            newcomer: None,
            traffic: Traffic::default(),
            armed: None,
            requests: Vec::new(),
            ports: BTreeMap::new(),
        }
    }

    /// Hands an input to the session, and carries out its outputs.
    pub(super) fn input(&mut self, common: &Common, now: Instant, input: Input<'_>) {
        let newcomer = match input {
            Input::Opened { peer, via: Via::Accepted, .. } => Some(Newcomer::Peer(peer)),
            _ => None,
        };
        self.input_for(common, now, newcomer, input);
    }

    /// The same, for an input for which the session may close peers to make room for a `newcomer`.
    fn input_for(&mut self, common: &Common, now: Instant, newcomer: Option<Newcomer>, input: Input<'_>) {
        self.newcomer = newcomer;
        self.handle(now, input);
        self.flush(common);
        self.newcomer = None;
        // Timers fire in the timer task, after received data has been read.
        self.deferred(common, now);
    }

    /// Carries out the session's outputs, and hands in the inputs that it has put off and takes now.
    pub(super) fn settle(&mut self, common: &Common, now: Instant) {
        self.flush(common);
        self.deferred(common, now);
    }

    /// Hands an input to the session, and its event to the application.
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        if let Input::Frame { bytes, .. } = input {
            self.traffic.receive(bytes.len());
        }
        dispatch(&mut self.session, &mut *self.handler, now, input);
    }

    /// Fires one timer, or tells one event that waits.
    fn fire(&mut self, now: Instant) {
        if let Some(event) = self.session.handle_timeout(now) {
            self.handler.on_event(&mut self.session, now, event);
        }
    }

    /// Tells the application the events that wait, without firing a timer.
    pub(super) fn tell_events(&mut self, common: &Common, now: Instant) {
        while is_event(self.session.poll_timeout()) {
            self.fire(now);
            self.flush(common);
        }
    }

    /// Fires the timers that are due.
    pub(super) fn expire(&mut self, common: &Common, now: Instant) {
        loop {
            while self.session.poll_timeout().is_some_and(|at| at <= now) {
                self.fire(now);
            }
            self.flush(common);
            if !self.deferred(common, now) {
                return;
            }
        }
    }

    /// Hands in the inputs that the session has put off and takes now. False if there are none.
    fn deferred(&mut self, common: &Common, now: Instant) -> bool {
        let mut some = false;
        while let Some(deferred) = self.session.take_deferred() {
            some = true;
            self.handle(now, Input::from(&deferred));
            self.flush(common);
        }
        some
    }

    /// Carries out the session's outputs. A connection that cannot take its frames is reset. The session hears of that, and may have more
    /// outputs then.
    pub(super) fn flush(&mut self, common: &Common) {
        loop {
            let closed = self.route(common);
            self.close_or_reset(common, closed);
            self.reset_overflowed(common);
            if self.session.outputs().next().is_none() && !self.peers.has_overflowed() {
                return;
            }
        }
    }

    /// Carries out the session's outputs, but for `Output::Close`. Returns the peers to be closed: frames for them are queued first.
    fn route(&mut self, common: &Common) -> Vec<PeerId> {
        let (mut closed, mut done, mut now) = (Vec::new(), 0_usize, None);
        for output in self.session.outputs() {
            done = done.saturating_add(1);
            match output {
                Output::Send { to, lane, id, frame } => {
                    self.traffic.send(frame.len());
                    self.peers.send(common, to, (lane, id, frame), &mut now);
                }
                Output::Close { peer } => closed.push(peer),
                Output::Dial { id, host, port } => {
                    self.requests.push(DriverRequest::Dial { id, host: host.into(), port });
                }
                Output::Listen { id } => self.requests.push(DriverRequest::Listen(id)),
                Output::StopListening { id } => self.requests.push(DriverRequest::StopListening(id)),
                other => self.peers.apply(common, &other),
            }
        }
        self.session.advance(done);
        closed
    }

    fn close_or_reset(&mut self, common: &Common, closed: Vec<PeerId>) {
        for peer in closed {
            if self.newcomer.is_some_and(|newcomer| newcomer != Newcomer::Peer(peer)) {
                self.peers.remove_and_reset(common, peer);
            } else {
                self.peers.close(common, peer);
            }
        }
    }

    fn reset_overflowed(&mut self, common: &Common) {
        for peer in self.peers.take_overflowed() {
            if self.peers.conn(peer).is_some() {
                common.counters.too_slow.count();
                self.peers.remove_and_reset(common, peer);
                self.handle(common.clock.now(), Input::Closed { peer });
            }
        }
    }
}

/// What comes in from connections.
impl<S: Session> Core<S> {
    /// A connection is up, and the session learns of it.
    pub(super) fn open(
        &mut self,
        common: &Common,
        now: Instant,
        (from, via): (SocketAddr, Via),
        transport: Transport,
        permit: ConnPermit,
    ) -> Option<(PeerId, Arc<Conn<S::Framing>>)> {
        let framing = self.session.framing();
        let (peer, conn) = self.peers.open(common, framing, transport, permit)?;
        self.input(common, now, Input::Opened { peer, via, from: Some(from) });
        if !self.peers.contains(peer) {
            common.counters.refused.count();
        }
        Some((peer, conn))
    }

    /// The task of a connection has ended. The session learns of that, unless it closed the connection itself.
    pub(super) fn ended(&mut self, common: &Common, now: Instant, peer: PeerId, conn: &Conn<S::Framing>) {
        if self.peers.ended(common, peer, conn) {
            self.input(common, now, Input::Closed { peer });
        }
    }

    /// A stream cannot be cut into frames any further. The session learns that the peer is gone; the connection ends once everything that is
    /// queued has been written.
    pub(super) fn stream_broken(&mut self, common: &Common, now: Instant, peer: PeerId) {
        if self.peers.conn(peer).is_some() {
            self.peers.close(common, peer);
            self.input(common, now, Input::Closed { peer });
        }
    }

    /// The hub ends. Connections that have not finished a handshake are reset. The session says goodbye, and connections that it leaves open
    /// are closed. Returns how many connections there were, without those that were reset and those that have not logged in.
    pub(super) fn begin_drain(&mut self, common: &Common, now: Instant) -> usize {
        let unready = self.peers.on_streams().filter(|(_, conn)| !conn.lock().framing.is_ready());
        let unready: Vec<PeerId> = unready.map(|(peer, _)| peer).collect();
        unready.into_iter().for_each(|peer| self.evict(common, now, peer));
        let silent = self.session.evictable().filter(|peer| self.peers.conn(*peer).is_some()).count();
        let told = self.peers.count_conns().saturating_sub(silent);
        self.session.shutdown(now);
        self.flush(common);
        self.expire(common, now);
        core::mem::take(&mut self.ports).into_values().for_each(|port| port.abort());
        let rest: Vec<PeerId> = self.peers.on_streams().map(|(peer, _)| peer).collect();
        rest.into_iter().for_each(|peer| self.peers.close(common, peer));
        self.peers.close_udp(common);
        told
    }

    /// Resets a peer on QUIC to make room for a new one: of the first evictable peers ([`Session::evictable`]) one for which QUIC keeps little
    /// memory, otherwise the first. False if there is none.
    #[cfg(feature = "quic")]
    pub(super) fn evict_on_quic(&mut self, common: &Common, now: Instant) -> bool {
        const LOOKED_AT: usize = 16;
        const LITTLE: usize = 64 * 1024;
        let peers = &self.peers;
        let on_quic = |peer: PeerId| Some((peer, peers.conn(peer)?.leaves()?));
        let first = self.session.evictable().filter_map(on_quic).take(LOOKED_AT);
        let Some((peer, _)) = first.min_by_key(|(_, leaves)| *leaves > LITTLE) else { return false };
        self.evict(common, now, peer);
        true
    }

    /// Resets the first evictable connection ([`Session::evictable`]). False if there is none.
    pub(super) fn evict_first(&mut self, common: &Common, now: Instant) -> bool {
        let peers = &self.peers;
        let Some(first) = self.session.evictable().find(|peer| peers.conn(*peer).is_some()) else {
            return false;
        };
        self.evict(common, now, first);
        true
    }

    /// Resets a peer, and with it the connections that carry its calls. The session hears of that.
    fn evict(&mut self, common: &Common, now: Instant, peer: PeerId) {
        self.peers.remove_and_reset(common, peer);
        self.input_for(common, now, Some(Newcomer::Unknown), Input::Closed { peer });
    }

    /// Hands the whole frames in `buffer` to the session. Returns how many there were, and why it stopped.
    pub(super) fn dispatch_frames(
        &mut self,
        common: &Common,
        now: Instant,
        (peer, conn): (PeerId, &Conn<S::Framing>),
        buffer: &mut FrameBuf,
    ) -> Result<(u32, ReadStatus), FrameError> {
        let mut frames: u32 = 0;
        loop {
            let (cut, kind, waiting, answered, answers_only) = {
                let mut state = conn.lock();
                if state.closing.is_some() || state.rests_until().is_some_and(|until| until > now) {
                    return Ok((frames, ReadStatus::Stopped));
                }
                let cut = buffer.next_frame(&mut state.framing);
                state.push_pending(common)?;
                let (kind, answered) = (state.framing.kind(), state.framing.take_answered());
                (cut?, kind, state.framing.is_waiting(), answered, state.note_answers_only())
            };
            (0..answered).for_each(|_| self.input(common, now, Input::Answered { peer }));
            if answers_only {
                self.input(common, now, Input::AnswersOnly { peer });
            }
            match cut {
                Cut::NeedMore(_) if waiting => return Ok((frames, ReadStatus::Waiting)),
                Cut::NeedMore(needed) => return Ok((frames, ReadStatus::NeedMore(needed.get()))),
                Cut::Frame(range) => {
                    frames = frames.saturating_add(1);
                    let bytes = buffer.frame(range);
                    match kind {
                        Kind::Frame(lane) => self.input(common, now, Input::Frame { peer, lane, bytes }),
                        Kind::Control => {
                            self.peers.on_control(common, now, peer, bytes);
                            if self.peers.has_overflowed() {
                                self.settle(common, now);
                            }
                        }
                    }
                }
            }
        }
    }

    /// A datagram of a peer's own connection.
    #[cfg(feature = "quic")]
    pub(super) fn datagram(&mut self, common: &Common, now: Instant, peer: PeerId, bytes: &[u8]) {
        if self.peers.contains(peer) {
            self.handle(now, Input::Frame { peer, lane: Lane::Droppable, bytes });
            self.settle(common, now);
        }
    }

    /// Hands to the session the datagrams that one system call has received on a UDP socket.
    pub(super) fn datagrams(&mut self, common: &Common, now: Instant, socket: usize, received: &Received) {
        let udp = common.sockets.get(socket);
        let plain = udp.is_some_and(Udp::is_plain);
        // Peers see all sockets at one address as one. What is sent now goes through the socket of this task.
        let group = udp.map_or(socket, |udp| udp.group);
        self.peers.batch.send_through(group, socket);
        for (bytes, from) in received.iter() {
            if plain {
                self.plain_datagram(common, now, (group, from), bytes);
            } else if let Some((peer, frame)) = self.peers.on_datagram(common, now, (group, from), bytes) {
                self.handle(now, Input::Frame { peer, lane: Lane::Droppable, bytes: frame });
            }
        }
        self.settle(common, now);
    }

    /// A datagram of a source of plain UDP. It is a frame.
    fn plain_datagram(&mut self, common: &Common, now: Instant, from: (usize, Path), bytes: &[u8]) {
        let gate = common.sockets.get(from.0).and_then(|udp| udp.gate.as_ref());
        // Of known sources, too: the address may have been banned since.
        if gate.is_some_and(|gate| !gate.lets_in(from.1.remote.ip())) {
            return;
        }
        let known = self.peers.udp_peer(from);
        let Some(peer) = known.or_else(|| self.new_udp_peer(common, now, from)) else { return };
        if self.peers.receive_udp(common, now, peer, from.1) {
            self.handle(now, Input::Frame { peer, lane: Lane::Droppable, bytes });
            // At once, because the session must not hear again of a peer that it closes now.
            self.flush(common);
        }
    }

    /// A new source of plain UDP becomes a peer. `None` if the session refuses it.
    fn new_udp_peer(&mut self, common: &Common, now: Instant, from: (usize, Path)) -> Option<PeerId> {
        let peer = self.peers.open_udp_peer(from)?;
        self.input(common, now, Input::Opened { peer, via: Via::Accepted, from: Some(from.1.remote) });
        if let Some(displaced) = self.peers.remember_udp_peer(common, peer) {
            self.input(common, now, Input::Closed { peer: displaced });
        }
        self.peers.contains(peer).then_some(peer)
    }
}
