//! The session, its handler, its peers, and the rings of sound callbacks, behind one lock: one thread at a time works on them.

use super::counters::Counters;
use super::ring::Ring;
use super::settings::{AudioHandler, Settings};
use super::socket::Socket;
use crate::hub::{UdpPeer, UdpPeers};
use crate::udp::{Path, Received};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::io::IoSlice;
use voxwire_core::{Input, Instant, Lane, Output, PeerId, PeerIds, PeerSlab, Rate, Session, Via, dispatch};

/// Datagrams sent with one call at most.
const RUN: usize = 16;

pub(super) struct Core<S: Session> {
    pub(super) session: S,
    handler: Box<dyn AudioHandler<S> + Send>,
    ids: PeerIds,
    peers: PeerSlab<UdpPeer>,
    sources: UdpPeers,
    rate: Rate,
    pub(super) rings: Vec<Ring>,
    /// The buffer for a block from a ring. It is as long as the longest block.
    pub(super) block: Vec<u8>,
    /// How many blocks had been written when the rings were read last.
    pub(super) seen: u64,
    /// When the thread wakes up of its own accord.
    pub(super) armed: Option<Instant>,
}

impl<S: Session> Core<S> {
    pub(super) fn new(session: S, handler: Box<dyn AudioHandler<S> + Send>, settings: &Settings) -> Self {
        Self {
            session,
            handler,
            ids: PeerIds::new(),
            peers: PeerSlab::new(usize::MAX),
            sources: UdpPeers::new(settings.max_unvalidated),
            rate: settings.datagrams,
            rings: Vec::new(),
            block: Vec::new(),
            seen: 0,
            armed: None,
        }
    }

    /// Hands one datagram to the session.
    pub(super) fn datagram(&mut self, link: Link<'_>, now: Instant, path: Path, bytes: &[u8]) {
        let known = self.sources.find((0, path.remote));
        let Some(peer) = known.or_else(|| self.open(link, now, path)) else { return };
        let Some(udp_peer) = self.peers.get_mut(peer) else { return };
        if udp_peer.receive(now, path, self.rate) {
            self.input(link, now, Input::Frame { peer, lane: Lane::Droppable, bytes });
        } else {
            link.counters.over_rate.fetch_add(1, Relaxed);
        }
    }

    /// A new source becomes a peer. `None` if the session refuses it.
    fn open(&mut self, link: Link<'_>, now: Instant, path: Path) -> Option<PeerId> {
        let peer = self.ids.mint()?;
        self.peers.insert(peer, UdpPeer::new((0, path)));
        self.input(link, now, Input::Opened { peer, via: Via::Accepted, from: Some(path.remote) });
        let udp_peer = self.peers.get(peer)?;
        if !udp_peer.is_validated() {
            if let Some(displaced) = self.sources.add(udp_peer, peer) {
                self.peers.remove(displaced);
                self.ids.retire(displaced);
                self.input(link, now, Input::Closed { peer: displaced });
            }
        }
        self.peers.get(peer).map(|_| peer)
    }

    /// Hands an input to the session, and its event to the application. Then carries out the session's outputs.
    fn input(&mut self, link: Link<'_>, now: Instant, input: Input<'_>) {
        dispatch(&mut self.session, &mut *self.handler, now, input);
        self.settle(link, now);
    }

    /// Fires the timers that are due.
    pub(super) fn expire(&mut self, link: Link<'_>, now: Instant) {
        while self.session.poll_timeout().is_some_and(|at| at <= now) {
            if let Some(event) = self.session.handle_timeout(now) {
                self.handler.on_event(&mut self.session, now, event);
            }
            self.settle(link, now);
        }
    }

    /// Hands the blocks that sound callbacks have written to the application, and sends the session's datagrams.
    pub(super) fn drain_rings(&mut self, link: Link<'_>, now: Instant) {
        self.seen = link.written.load(SeqCst);
        for (sender, ring) in self.rings.iter_mut().enumerate() {
            while let Some(samples) = ring.next(&mut self.block) {
                self.handler.on_audio(&mut self.session, now, sender, samples);
                let parts = (&mut self.session, &mut self.ids, &mut self.peers, &mut self.sources);
                settle(parts, &mut *self.handler, link, now);
            }
        }
    }

    /// Carries out the session's outputs, and hands in the inputs that it has put off and takes now.
    pub(super) fn settle(&mut self, link: Link<'_>, now: Instant) {
        let parts = (&mut self.session, &mut self.ids, &mut self.peers, &mut self.sources);
        settle(parts, &mut *self.handler, link, now);
    }

    /// The session says goodbye.
    pub(super) fn shutdown(&mut self, link: Link<'_>, now: Instant) {
        self.drain_rings(link, now);
        self.session.shutdown(now);
        self.settle(link, now);
    }
}

/// What a core needs to send.
#[derive(Clone, Copy)]
pub(super) struct Link<'l> {
    pub(super) socket: &'l Socket,
    pub(super) counters: &'l Counters,
    /// Counts the blocks that sound callbacks have written.
    pub(super) written: &'l AtomicU64,
}

type Parts<'c, S> = (&'c mut S, &'c mut PeerIds, &'c mut PeerSlab<UdpPeer>, &'c mut UdpPeers);

/// [`Core::settle`], where the rest of the core is in use.
fn settle<S: Session>(
    (session, ids, peers, sources): Parts<'_, S>,
    handler: &mut (dyn AudioHandler<S> + Send),
    link: Link<'_>,
    now: Instant,
) {
    loop {
        if let Some(refused) = flush((session, ids, peers, sources), link) {
            dispatch(session, handler, now, refused);
        } else if let Some(deferred) = session.take_deferred() {
            dispatch(session, handler, now, Input::from(&deferred));
        } else {
            return;
        }
    }
}

/// Carries out the session's outputs. Stops at one that asks for a stream, and returns the input that refuses it.
fn flush<S: Session>((session, ids, peers, sources): Parts<'_, S>, link: Link<'_>) -> Option<Input<'static>> {
    let (mut done, mut run, mut refused) = (0_usize, Run::new(link), None);
    for output in session.outputs() {
        done = done.saturating_add(1);
        match output {
            Output::Send { to, frame, .. } => {
                if let Some(peer) = peers.get(to) {
                    run.push((to, peer.path()), frame);
                }
            }
            Output::Broadcast { frame } => {
                run.send();
                let lost = link.socket.broadcast(frame);
                link.counters.unsent.fetch_add(lost, Relaxed);
            }
            Output::Validate { peer } => {
                if let Some(udp_peer) = peers.get_mut(peer) {
                    sources.validate(udp_peer, peer);
                }
            }
            Output::Close { peer } => {
                run.send();
                if let Some(udp_peer) = peers.remove(peer) {
                    sources.forget(&udp_peer, peer);
                    ids.retire(peer);
                }
            }
            Output::Dial { id, .. } => refused = Some(Input::DialFailed(id)),
            Output::Listen { id } => refused = Some(Input::ListenFailed(id)),
            // The rest concerns streams.
            _ => {}
        }
        if refused.is_some() {
            break;
        }
    }
    run.send();
    session.advance(done);
    refused
}

/// Datagrams to one destination that go with one call.
struct Run<'l, 'f> {
    link: Link<'l>,
    to: Option<(PeerId, Path)>,
    datagrams: [IoSlice<'f>; RUN],
    count: usize,
}

impl<'l, 'f> Run<'l, 'f> {
    fn new(link: Link<'l>) -> Self {
        Self { link, to: None, datagrams: [IoSlice::new(&[]); RUN], count: 0 }
    }

    fn push(&mut self, to: (PeerId, Path), frame: &'f [u8]) {
        let first = self.datagrams.first().map_or(0, |first| first.len());
        let last = self.datagrams.get(self.count.wrapping_sub(1)).map_or(first, |last| last.len());
        if self.to != Some(to) || last < first || frame.len() > first || self.count == RUN {
            self.send();
            self.to = Some(to);
        }
        if let Some(place) = self.datagrams.get_mut(self.count) {
            *place = IoSlice::new(frame);
            self.count = self.count.saturating_add(1);
        }
    }

    fn send(&mut self) {
        let count = core::mem::take(&mut self.count);
        let (Some((_, to)), Some(run @ [_, ..])) = (self.to.take(), self.datagrams.get(..count)) else {
            return;
        };
        let unsent = self.link.socket.send(run, to);
        if unsent > 0 {
            self.link.counters.unsent.fetch_add(unsent, Relaxed);
        }
    }
}

/// Hands the datagrams of one call to the session. Between two datagrams, sends what sound callbacks have written.
pub(super) fn deliver<S: Session>(core: &mut Core<S>, link: Link<'_>, now: Instant, received: &Received) {
    for (bytes, path) in received.iter() {
        core.datagram(link, now, path, bytes);
        if link.written.load(Relaxed) != core.seen {
            core.drain_rings(link, now);
        }
    }
}
