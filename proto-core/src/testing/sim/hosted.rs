//! A session within the simulator, with what its driver keeps of each peer.

use crate::{
    Cut, DialId, FrameBuf, Framing, Handler, Input, Instant, Lane, ListenId, Output, PeerId, PeerIds,
    PeerSlab, Progress, Session, Via, dispatch,
};
use alloc::{collections::VecDeque, string::String, vec::Vec};
use core::{any::Any, net::SocketAddr};

/// An output, owned, for the network to act upon.
pub(super) enum Sent {
    /// The link, its sender, the lane, the framing's header, the frame.
    Frame(usize, PeerId, Lane, Vec<u8>, Vec<u8>),
    Dial(DialId, String, u16),
    Listen(ListenId),
    StopListening(ListenId),
    /// The link and the peer that closed its end.
    Close(usize, PeerId),
    /// What has come in on the link and waits is to be looked at again.
    Resume(usize, PeerId),
    /// To a node of the local network, or to all of them.
    Datagram(Option<usize>, Vec<u8>),
}

/// Why bytes were not all taken.
pub(super) enum Stop {
    /// Try again then.
    Paused(Instant),
    /// They are not frames.
    Broken,
}

pub(super) trait Node {
    fn input(&mut self, now: Instant, input: Input<'_>, sent: &mut Vec<Sent>);
    fn bytes(&mut self, now: Instant, peer: PeerId, bytes: &[u8], sent: &mut Vec<Sent>) -> Result<(), Stop>;
    /// A stream is up; the session that dialled hears of it when its framing has shaken hands.
    fn open(&mut self, now: Instant, peer: PeerId, via: Via, from: SocketAddr, sent: &mut Vec<Sent>);
    fn timeout(&mut self, now: Instant, sent: &mut Vec<Sent>);
    fn poll_timeout(&self) -> Option<Instant>;
    fn drain(&mut self, sent: &mut Vec<Sent>);
    /// Tells the session that what was sent before probes which no peer answers has been written: a link takes all at once.
    fn written(&mut self, now: Instant, sent: &mut Vec<Sent>);
    fn mint(&mut self) -> PeerId;
    fn link_of(&mut self, peer: PeerId) -> Option<&mut Option<usize>>;
    fn neighbour(&mut self, other: usize) -> PeerId;
    fn knows(&self, peer: PeerId) -> bool;
    fn paused(&self, peer: PeerId) -> Option<Instant>;
    fn port(&mut self) -> u16;
    fn any(&mut self) -> &mut dyn Any;
}

pub(super) struct Hosted<S: Session, H> {
    pub(super) session: S,
    pub(super) handler: H,
    ids: PeerIds,
    peers: PeerSlab<Peer<S::Framing>>,
    ports: VecDeque<u16>,
    /// Whose probes cannot be answered.
    unanswered: VecDeque<PeerId>,
}

struct Peer<F> {
    framing: F,
    buffer: FrameBuf,
    link: Option<usize>,
    /// Which node of the local network it is.
    neighbour: Option<usize>,
    paused: Instant,
    /// The session has been told that the peer takes nothing but answers.
    answers_only: bool,
    /// What the session is told when the handshake is over.
    opening: Option<(Via, SocketAddr)>,
}

impl<F: Framing> Peer<F> {
    /// What the framing wants sent.
    fn pending(&mut self, peer: PeerId, sent: &mut Vec<Sent>) {
        let mut pending = Vec::new();
        if self.framing.take_pending(&mut pending) > 0 {
            sent.extend(self.link.map(|link| Sent::Frame(link, peer, Lane::Reliable, pending, Vec::new())));
        }
    }
}

impl<S: Session, H> Hosted<S, H> {
    pub(super) fn new(session: S, handler: H) -> Self {
        let ports = (40_000..u16::MAX).collect();
        let (ids, peers) = (PeerIds::new(), PeerSlab::new(usize::MAX));
        Self { session, handler, ids, peers, ports, unanswered: VecDeque::new() }
    }

    /// Puts another session in its place, whose driver knows no peer.
    pub(super) fn replace(&mut self, session: S) {
        self.session = session;
        let known: Vec<PeerId> = self.peers.iter().map(|(peer, _)| peer).collect();
        for peer in known {
            self.peers.remove(peer);
            self.ids.retire(peer);
        }
    }

    /// Hands in what the session has put off.
    fn deferred(&mut self, now: Instant, sent: &mut Vec<Sent>)
    where
        S: 'static,
        H: Handler<S> + 'static,
    {
        if let Some(deferred) = self.session.take_deferred() {
            // And so on, until there is none.
            self.input(now, Input::from(&deferred), sent);
        }
    }

    fn add(&mut self, neighbour: Option<usize>) -> PeerId {
        let peer = self.ids.mint().expect("a free slot");
        let framing = self.session.framing();
        let paused = Instant::ZERO;
        let (buffer, link, answers_only, opening) = (FrameBuf::new(), None, false, None);
        let state = Peer { framing, buffer, link, neighbour, paused, answers_only, opening };
        self.peers.insert(peer, state);
        peer
    }
}

impl<S: Session + 'static, H: Handler<S> + 'static> Node for Hosted<S, H> {
    fn input(&mut self, now: Instant, input: Input<'_>, sent: &mut Vec<Sent>) {
        dispatch(&mut self.session, &mut self.handler, now, input);
        if let Input::Closed { peer } = input {
            self.peers.remove(peer);
            self.ids.retire(peer);
        }
        self.drain(sent);
        while self.poll_timeout().is_some_and(|at| at <= now) {
            self.timeout(now, sent);
        }
        self.deferred(now, sent);
        self.written(now, sent);
    }

    fn written(&mut self, now: Instant, sent: &mut Vec<Sent>) {
        if let Some(peer) = self.unanswered.pop_front() {
            // And so on, until there is none.
            self.input(now, Input::Written { peer }, sent);
        }
    }

    fn bytes(&mut self, now: Instant, peer: PeerId, bytes: &[u8], sent: &mut Vec<Sent>) -> Result<(), Stop> {
        let Some(state) = self.peers.get_mut(peer) else { return Ok(()) };
        state.buffer.spare(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        state.buffer.filled(bytes.len());
        // The buffer is taken out so that the frame can be borrowed while the session's outputs reach the framing.
        while let Some(state) = self.peers.get_mut(peer) {
            if state.paused > now {
                return Err(Stop::Paused(state.paused));
            }
            if let Some((via, from)) = state.opening.take_if(|_| state.framing.is_ready()) {
                self.input(now, Input::Opened { peer, via, from: Some(from) }, sent);
                continue;
            }
            let mut buffer = core::mem::take(&mut state.buffer);
            if state.opening.is_some() {
                // Nothing but the handshake, lest a message comes before its end is noticed.
                let progress = state.framing.next_frame(buffer.unread());
                state.pending(peer, sent);
                let more = match progress {
                    Ok(Progress::Skip(n)) => {
                        buffer.consume(n.get());
                        true
                    }
                    Ok(Progress::NeedMore(_)) => false,
                    Ok(Progress::Frame { .. }) | Err(_) => return Err(Stop::Broken),
                };
                state.buffer = buffer;
                if more {
                    continue;
                }
                break;
            }
            let cut = buffer.next_frame(&mut state.framing);
            state.pending(peer, sent);
            let answers_only =
                state.framing.answers_only() && !core::mem::replace(&mut state.answers_only, true);
            for _ in 0..state.framing.take_answered() {
                self.input(now, Input::Answered { peer }, sent);
            }
            if answers_only {
                self.input(now, Input::AnswersOnly { peer }, sent);
            }
            let Some(state) = self.peers.get_mut(peer) else { break };
            match cut {
                Ok(Cut::Frame(range)) => {
                    let input = Input::Frame { peer, lane: Lane::Reliable, bytes: buffer.frame(range) };
                    self.input(now, input, sent);
                    if let Some(state) = self.peers.get_mut(peer) {
                        state.buffer = buffer;
                    }
                }
                Ok(Cut::NeedMore(_)) => {
                    state.buffer = buffer;
                    break;
                }
                Err(_) => return Err(Stop::Broken),
            }
        }
        Ok(())
    }

    fn open(&mut self, now: Instant, peer: PeerId, via: Via, from: SocketAddr, sent: &mut Vec<Sent>) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        state.pending(peer, sent);
        if state.framing.is_ready() {
            self.input(now, Input::Opened { peer, via, from: Some(from) }, sent);
        } else {
            state.opening = Some((via, from));
        }
    }

    fn timeout(&mut self, now: Instant, sent: &mut Vec<Sent>) {
        let says_event = self.session.poll_timeout() == Some(Instant::ZERO) && now > Instant::ZERO;
        let event = self.session.handle_timeout(now);
        assert!(event.is_some() || !says_event, "an event was said to wait, and there is none");
        if let Some(event) = event {
            self.handler.on_event(&mut self.session, now, event);
        }
        self.drain(sent);
        self.deferred(now, sent);
        self.written(now, sent);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    fn drain(&mut self, sent: &mut Vec<Sent>) {
        let mut done = 0;
        for output in self.session.outputs() {
            done += 1;
            match output {
                Output::Send { to, lane, frame, .. } => {
                    let Some(Peer { framing, link, neighbour, .. }) = self.peers.get(to) else { continue };
                    if !framing.takes(frame) {
                        continue;
                    }
                    if let Some(link) = link {
                        let mut header = Vec::new();
                        framing.put_header(frame, &mut header);
                        sent.push(Sent::Frame(*link, to, lane, header, frame.to_vec()));
                    } else if neighbour.is_some() {
                        sent.push(Sent::Datagram(*neighbour, frame.to_vec()));
                    }
                }
                Output::Dial { id, host, port } => sent.push(Sent::Dial(id, host.into(), port)),
                Output::Listen { id } => sent.push(Sent::Listen(id)),
                Output::StopListening { id } => sent.push(Sent::StopListening(id)),
                Output::Close { peer } => {
                    let Some(Peer { link, .. }) = self.peers.remove(peer) else { continue };
                    self.ids.retire(peer);
                    sent.extend(link.map(|link| Sent::Close(link, peer)));
                }
                Output::Limit { peer, max_frame } => {
                    if let Some(state) = self.peers.get_mut(peer) {
                        let waiting = state.framing.is_waiting();
                        state.framing.set_max(max_frame);
                        sent.extend(state.link.filter(|_| waiting).map(|link| Sent::Resume(link, peer)));
                    }
                }
                Output::Probe { peer } => {
                    if let Some(state) = self.peers.get_mut(peer) {
                        if state.framing.probe() {
                            state.pending(peer, sent);
                        } else {
                            self.unanswered.push_back(peer);
                        }
                    }
                }
                Output::Pause { peer, until } => {
                    if let Some(state) = self.peers.get_mut(peer) {
                        state.paused = until;
                    }
                }
                Output::Resume { peer } => {
                    if let Some(state) = self.peers.get_mut(peer) {
                        state.paused = Instant::ZERO;
                        sent.extend(state.link.map(|link| Sent::Resume(link, peer)));
                    }
                }
                Output::Broadcast { frame } => sent.push(Sent::Datagram(None, frame.to_vec())),
                Output::Budget { .. } | Output::Validate { .. } | Output::Direct { .. } => {}
            }
        }
        self.session.advance(done);
    }

    fn mint(&mut self) -> PeerId {
        self.add(None)
    }

    fn neighbour(&mut self, other: usize) -> PeerId {
        self.add(Some(other))
    }

    fn knows(&self, peer: PeerId) -> bool {
        self.peers.get(peer).is_some()
    }

    fn link_of(&mut self, peer: PeerId) -> Option<&mut Option<usize>> {
        self.peers.get_mut(peer).map(|state| &mut state.link)
    }

    fn paused(&self, peer: PeerId) -> Option<Instant> {
        self.peers.get(peer).map(|state| state.paused)
    }

    fn port(&mut self) -> u16 {
        self.ports.pop_front().expect("a free port")
    }

    fn any(&mut self) -> &mut dyn Any {
        self
    }
}
