mod io;

use crate::stream::Sending;
use crate::timing::{self, Moments, Timer, Timers, Timing};
use crate::wire::{ANSWER_LEN, ANSWER_OUTPUTS};
use crate::{
    Cause, ClientCommand, ClientEvent, ClientMessage, Format, Formats, Framing, IoState, Network, Refusal,
    Resource, ServerMessage, Violation, Wire, network,
};
use alloc::{boxed::Box, collections::VecDeque};
use core::{net::SocketAddr, time::Duration};
use voxwire_core::{Input, Instant, Lane, Limits, Message, Outbox, PeerId, PeerSlab, Session};

/// A client: a driver or an application that discovers servers, and exchanges audio with any number of them at once.
///
/// ```text
///   (unknown) -- Connect --> found -- Accept --> Inactive --> StartPending --> Active
///                              |                     ^                           |
///                        Fail, Refuse                '------- StopPending <------'
/// ```
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    wire: Wire,
    peers: PeerSlab<Peer>,
    timers: Timers,
    /// When to ask next who is there.
    discovery: Option<Instant>,
    /// Where servers are listened to; `None` for everywhere.
    networks: Option<Box<[Network]>>,
    outbox: Outbox,
    /// What the session did of its own accord, to be told with the next time-out.
    later: VecDeque<ClientEvent<'static>>,
    stats: ClientStats,
}

/// Settings of a [`Client`].
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// `max_peers` sources of datagrams, `max_outbox` bytes of outputs waiting, `max_frame` and `max_items` on the wire.
    /// Default: [`LIMITS`](crate::LIMITS).
    pub limits: Limits,
    /// How often each side sends something. Default: [`Timing::DEFAULT`].
    pub timing: Timing,
    /// How often Discovery is sent while looking for servers. Default: 250 ms.
    pub discovery_interval: Duration,
    /// How long a server that was found, and neither accepted nor refused, is remembered after its last Connect. Default: 3 s.
    pub candidate_timeout: Duration,
    /// Servers found and not accepted; with one more, the one heard of least recently is forgotten. Default: 64.
    pub max_candidates: usize,
    /// Servers connected at a time. Default: 64.
    pub max_servers: usize,
}

impl ClientSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: crate::LIMITS,
        timing: Timing::DEFAULT,
        discovery_interval: Duration::from_millis(250),
        candidate_timeout: Duration::from_secs(3),
        max_candidates: 64,
        max_servers: 64,
    };
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Counters of a client, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Audio messages sent.
    pub messages_sent: u64,
    /// Audio messages handed on.
    pub messages_received: u64,
    /// Their payloads' bytes.
    pub bytes_received: u64,
    /// Audio messages that came while IO was not active.
    pub untimely: u64,
    /// Requests to start or stop IO that were sent once more.
    pub repeated: u64,
}

/// A host that has sent a datagram.
#[derive(Debug)]
struct Peer {
    from: Option<SocketAddr>,
    /// `None`: it has not said that it is a server.
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    inputs: Box<[Format]>,
    outputs: Box<[Format]>,
    /// `None`: found, and not accepted.
    io: Option<IoState>,
    /// IO is to be started once it is stopped.
    again: bool,
    /// The application knows that it is, since it was asked for last.
    started: bool,
    /// The server has shown that it knows us.
    confirmed: bool,
    sending: Box<[Sending]>,
    moments: Moments,
}

impl Server {
    fn offers(&self, formats: &Formats<'_>) -> bool {
        formats.inputs.iter().eq(self.inputs.iter().copied())
            && formats.outputs.iter().eq(self.outputs.iter().copied())
    }
}

impl Client {
    /// A client that knows no server, and does not look for any yet.
    pub fn new(mut settings: ClientSettings) -> Self {
        settings.timing = settings.timing.checked();
        settings.discovery_interval = settings.discovery_interval.max(Timing::LEAST);
        Self {
            wire: Wire { limits: settings.limits },
            peers: PeerSlab::new(settings.limits.max_peers),
            timers: Timers::new(),
            discovery: None,
            networks: None,
            outbox: Outbox::new(settings.limits.max_outbox),
            later: VecDeque::new(),
            stats: ClientStats::default(),
            settings,
        }
    }

    /// The servers that are there, and where: those found, and those connected, whose IO has a state.
    pub fn servers(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>, Option<IoState>)> {
        self.peers.iter().filter_map(|(peer, known)| Some((peer, known.from, known.server.as_ref()?.io)))
    }

    /// The formats of a server's streams: of its inputs, which it sends, and of its outputs, which it is sent.
    pub fn formats(&self, server: PeerId) -> Option<(&[Format], &[Format])> {
        self.server(server).map(|server| (&*server.inputs, &*server.outputs))
    }

    /// Whether audio goes to and from a server; `None` if it is not connected.
    pub fn state(&self, server: PeerId) -> Option<IoState> {
        self.server(server)?.io
    }

    /// The counters.
    pub const fn stats(&self) -> ClientStats {
        self.stats
    }

    fn server(&self, peer: PeerId) -> Option<&Server> {
        self.peers.get(peer)?.server.as_ref()
    }

    fn server_mut(&mut self, peer: PeerId) -> Option<&mut Server> {
        self.peers.get_mut(peer)?.server.as_mut()
    }

    /// Takes a message, already decoded.
    ///
    /// # Errors
    /// See [`Session`], point 5 of the contract.
    #[inline]
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        message: ServerMessage<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let known = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
        match (&mut known.server, message) {
            (Some(server), ServerMessage::Audio(audio)) if server.io == Some(IoState::Active) => {
                if !usize::try_from(audio.stream).is_ok_and(|stream| stream < server.inputs.len()) {
                    return Err(Violation::UnknownStream(audio.stream));
                }
                (server.moments.heard, server.moments.audio) = (now, now);
                self.stats.messages_received = self.stats.messages_received.saturating_add(1);
                self.stats.bytes_received =
                    self.stats.bytes_received.saturating_add(audio.payload.len() as u64);
                Ok(Some(ClientEvent::Audio { server: peer, audio }))
            }
            (_, ServerMessage::Connect(formats)) => self.offered(now, peer, formats),
            (None, message) => {
                Err(Violation::Unexpected { state: "not known as a server", message: message.name() })
            }
            (Some(_), ServerMessage::Disconnect) => {
                self.forget(peer);
                Ok(Some(ClientEvent::Lost { server: peer, cause: Cause::Disconnected }))
            }
            (Some(Server { io: None, .. }), message) => {
                Err(Violation::Unexpected { state: "not accepted", message: message.name() })
            }
            (Some(Server { io: Some(io), moments, confirmed, .. }), message) => {
                moments.heard = now;
                *confirmed = true;
                let io = *io;
                Ok(self.control(now, peer, io, message))
            }
        }
    }

    /// A server says that it is there.
    fn offered<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        formats: Formats<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        if formats.inputs.is_empty() && formats.outputs.is_empty() {
            return Err(Violation::NoStreams);
        }
        let known = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
        match &mut known.server {
            None => {}
            Some(server) => {
                let same = server.offers(&formats);
                match server.io {
                    None if same => {
                        server.moments.heard = now;
                        return Ok(None);
                    }
                    None => {}
                    // It has not heard that we accepted: this also keeps the connection.
                    Some(IoState::Inactive) if same => {
                        server.moments.heard = now;
                        let _ = self.send(peer, &ClientMessage::ConnectionSuccess);
                        return Ok(None);
                    }
                    Some(IoState::Inactive) => {
                        self.forget(peer);
                        return Ok(Some(ClientEvent::Lost { server: peer, cause: Cause::Changed }));
                    }
                    // Late; or the server has forgotten us, and says nothing else: then the deadline passes.
                    Some(_) => return Ok(None),
                }
            }
        }
        let from = known.from;
        known.server = Some(Server {
            inputs: formats.inputs.iter().collect(),
            outputs: formats.outputs.iter().collect(),
            io: None,
            again: false,
            started: false,
            confirmed: false,
            sending: Box::new([]),
            moments: Moments::new(now),
        });
        self.outbox.validate(peer);
        self.timers.set((peer, Timer::Deadline), now.saturating_add(self.settings.candidate_timeout));
        self.displace(peer);
        Ok(Some(ClientEvent::Found { server: peer, from, formats }))
    }

    /// Forgets the candidate heard of least recently, if there are too many.
    fn displace(&mut self, newest: PeerId) {
        let candidates = self.peers.iter().filter_map(|(peer, known)| match &known.server {
            Some(server) if server.io.is_none() && peer != newest => Some((server.moments.heard, peer)),
            _ => None,
        });
        let (count, oldest) = candidates.fold((1_usize, None), |(count, oldest), candidate| {
            (count.saturating_add(1), Some(oldest.map_or(candidate, |oldest| candidate.min(oldest))))
        });
        if let Some((_, oldest)) = oldest.filter(|_| count > self.settings.max_candidates) {
            self.forget(oldest);
            self.later.push_back(ClientEvent::Lost { server: oldest, cause: Cause::Displaced });
        }
    }

    /// Forgets a peer, and has the driver do so.
    fn forget(&mut self, peer: PeerId) {
        timing::clear(&mut self.timers, peer);
        self.peers.remove(peer);
        self.outbox.close(peer);
    }

    fn send(&mut self, server: PeerId, message: &ClientMessage<'_>) -> Result<(), Refusal> {
        self.outbox.send([server], Lane::Reliable, message, &self.wire)?;
        Ok(())
    }

    fn accept(&mut self, now: Instant, peer: PeerId) -> Result<(), Refusal> {
        let connected = self.servers().filter(|(_, _, io)| io.is_some()).count();
        self.candidate(peer, "accept it")?;
        if connected >= self.settings.max_servers {
            return Err(Refusal::Full { what: Resource::Servers, max: self.settings.max_servers });
        }
        self.send(peer, &ClientMessage::ConnectionSuccess)?;
        let server = self.server_mut(peer).ok_or(Refusal::UnknownPeer)?;
        server.io = Some(IoState::Inactive);
        server.moments = Moments::new(now);
        server.sending = server.outputs.iter().map(Sending::new).collect();
        let Timing { deadline, heartbeat, .. } = self.settings.timing;
        self.timers.set((peer, Timer::Deadline), now.saturating_add(deadline));
        self.timers.set((peer, Timer::Beat), now.saturating_add(heartbeat));
        Ok(())
    }

    fn decline(&mut self, peer: PeerId, message: &ClientMessage<'_>) -> Result<(), Refusal> {
        self.candidate(peer, "decline it")?;
        self.send(peer, message)?;
        self.forget(peer);
        Ok(())
    }

    /// A server that was found and has had no answer.
    fn candidate(&self, peer: PeerId, command: &'static str) -> Result<(), Refusal> {
        match self.server(peer).ok_or(Refusal::UnknownPeer)?.io {
            None => Ok(()),
            Some(io) => Err(Refusal::Unexpected { state: io.name(), command }),
        }
    }

    fn disconnect(&mut self, peer: PeerId) -> Result<(), Refusal> {
        let server = self.server(peer).ok_or(Refusal::UnknownPeer)?;
        if server.io.is_some() {
            self.send(peer, &ClientMessage::Disconnect)?;
        }
        self.forget(peer);
        Ok(())
    }

    fn discover(&mut self, now: Instant) {
        // Where there is no room a host will ask again.
        let _ = self.outbox.broadcast(&[0]);
        self.discovery = Some(now.saturating_add(self.settings.discovery_interval));
    }

    /// Nothing has been heard for as long as may be; or something has, and there is time again.
    fn overdue(&mut self, now: Instant, peer: PeerId) -> Option<ClientEvent<'static>> {
        let (candidate, deadline) = (self.settings.candidate_timeout, self.settings.timing.deadline);
        let server = self.server(peer)?;
        let patience = if server.io.is_some() { deadline } else { candidate };
        let until = server.moments.heard.saturating_add(patience);
        if until > now {
            self.timers.set((peer, Timer::Deadline), until);
            return None;
        }
        self.forget(peer);
        Some(ClientEvent::Lost { server: peer, cause: Cause::TimedOut })
    }
}

impl Session for Client {
    type Framing = Framing;
    type Command<'a> = ClientCommand<'a>;
    type Event<'a> = ClientEvent<'a>;
    type Violation = Violation;
    type Refusal = Refusal;

    fn framing(&self) -> Framing {
        self.wire.framing()
    }

    #[inline]
    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        match input {
            Input::Frame { peer, bytes, .. } => {
                self.outbox.check_capacity(ANSWER_LEN, ANSWER_OUTPUTS)?;
                let message = ServerMessage::decode(bytes, &self.wire)?;
                self.receive(now, peer, message)
            }
            Input::Opened { peer, from, .. } => {
                let there = match (&self.networks, from) {
                    (Some(networks), from) => network::serves(networks, from),
                    (None, from) => from.is_none_or(network::is_one),
                };
                if !there {
                    self.outbox.close(peer);
                    return Err(Violation::OffLink);
                }
                if !self.peers.insert(peer, Peer { from, server: None }) {
                    self.outbox.close(peer);
                    return Err(Violation::TooMany(Resource::Sources));
                }
                Ok(None)
            }
            Input::Closed { peer } => {
                let known = self.peers.remove(peer).ok_or(Violation::UnknownPeer)?;
                timing::clear(&mut self.timers, peer);
                Ok(known.server.map(|_| ClientEvent::Lost { server: peer, cause: Cause::Disconnected }))
            }
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, now: Instant, command: ClientCommand<'_>) -> Result<(), Refusal> {
        match command {
            ClientCommand::Discover => {
                self.discover(now);
                Ok(())
            }
            ClientCommand::StopDiscovery => {
                self.discovery = None;
                Ok(())
            }
            ClientCommand::Seek { networks } => {
                self.networks = Some(networks.into());
                Ok(())
            }
            ClientCommand::Accept { server } => self.accept(now, server),
            ClientCommand::Fail { server } => self.decline(server, &ClientMessage::ConnectionFailed),
            ClientCommand::Refuse { server } => self.decline(server, &ClientMessage::ConnectionRefused),
            ClientCommand::StartIo { server } => self.start_io(now, server),
            ClientCommand::StopIo { server } => self.stop_io(now, server),
            ClientCommand::Play { server, stream, samples } => self.play(server, stream, samples),
            ClientCommand::Disconnect { server } => self.disconnect(server),
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ClientEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if self.discovery.is_some_and(|at| at <= now) {
            self.discover(now);
            return None;
        }
        let (peer, timer) = self.timers.pop(now)?;
        match timer {
            Timer::Deadline => return self.overdue(now, peer),
            Timer::Beat => self.beat(now, peer),
            Timer::Retry => self.retry(now, peer),
        }
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        [self.discovery, self.timers.next()].into_iter().flatten().min()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Says Disconnect to every server that is connected, and looks for no more.
    fn shutdown(&mut self, _now: Instant) {
        self.discovery = None;
        loop {
            let Some(peer) = self.servers().next().map(|(peer, ..)| peer) else { return };
            if self.state(peer).is_some() {
                // At most as many bytes as there are servers.
                let _ =
                    self.outbox.send_over_limit(peer, Lane::Reliable, &ClientMessage::Disconnect, &self.wire);
            }
            self.forget(peer);
        }
    }
}
