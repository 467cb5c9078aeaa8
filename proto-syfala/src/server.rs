mod crowd;
mod io;
mod moderation;
mod settings;

use crate::stream::Sending;
use crate::timing::{self, Moments, Timer, Timers, Timing};
use crate::wire::{ANSWER_LEN, ANSWER_OUTPUTS};
use crate::{
    Cause, ClientMessage, Format, Formats, Framing, IoState, Network, Refusal, Resource, ServerCommand,
    ServerEvent, ServerMessage, Violation, Wire, network,
};
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::net::SocketAddr;
use crowd::{Admission, Crowd};
pub use settings::ServerSettings;
use voxwire_core::{
    Bucket, Input, Instant, Lane, Message, Outbox, PeerId, PeerSlab, Rate, Session, SourceRate,
};

/// A server: a device, with streams whose formats are fixed, for one client or several.
///
/// Any host on the networks served may ask who is there, and is answered within a budget; only who has accepted the answer is
/// a client. It is known by its address, and no other host's messages count as its own.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    wire: Wire,
    inputs: Box<[Format]>,
    outputs: Box<[Format]>,
    /// Connect, encoded.
    connect: Box<[u8]>,
    networks: Vec<Network>,
    peers: PeerSlab<Peer>,
    clients: usize,
    timers: Timers,
    /// When to tell every host next that we are here.
    announcement: Option<Instant>,
    replies: SourceRate,
    all_replies: Bucket,
    crowd: Crowd,
    outbox: Outbox,
    /// What follows from an input beside its own event, to be told with the next time-out.
    later: VecDeque<ServerEvent<'static>>,
    stats: ServerStats,
}

/// Counters of a server, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connect sent to who asked.
    pub offers: u64,
    /// Questions that were not answered because of the budget.
    pub over_budget: u64,
    /// Sources that are not on the networks served.
    pub off_link: u64,
    /// Clients that have accepted.
    pub connected: u64,
    /// Audio messages sent.
    pub messages_sent: u64,
    /// Audio messages handed on.
    pub messages_received: u64,
    /// Audio messages that were not handed on as their sender is muted.
    pub muted: u64,
    /// Audio messages that came while IO was not active.
    pub untimely: u64,
}

/// A host that has sent a datagram.
#[derive(Debug)]
struct Peer {
    from: Option<SocketAddr>,
    place: Place,
}

/// How far a host is.
#[derive(Debug)]
enum Place {
    /// It has said nothing that counts.
    Unknown,
    /// It has been told our formats.
    Offered(Instant),
    /// It does not want them.
    Refused(Instant),
    /// It is connected.
    Client(Client),
}

#[derive(Debug)]
struct Client {
    io: IoState,
    /// Its audio is not handed on.
    muted: bool,
    sending: Box<[Sending]>,
    moments: Moments,
}

impl Server {
    /// A server with these inputs, which it sends, and outputs, which it is sent, and without clients. It answers no host until
    /// it has been told with [`ServerCommand::Serve`] which networks to serve. `seed` should be random: it keeps outsiders from
    /// choosing whose questions are counted with theirs.
    ///
    /// # Errors
    /// Those of encoding Connect: too many streams.
    pub fn new(
        inputs: &[Format],
        outputs: &[Format],
        mut settings: ServerSettings,
        seed: u64,
    ) -> Result<Self, Refusal> {
        settings.timing = settings.timing.checked();
        settings.announce_interval = settings.announce_interval.map(|period| period.max(Timing::LEAST));
        let wire = Wire { limits: settings.limits };
        let mut connect = Vec::new();
        ServerMessage::Connect(Formats { inputs: inputs.into(), outputs: outputs.into() })
            .encode(&wire, &mut connect)?;
        Ok(Self {
            wire,
            inputs: inputs.into(),
            outputs: outputs.into(),
            connect: connect.into(),
            networks: Vec::new(),
            peers: PeerSlab::new(settings.limits.max_peers),
            clients: 0,
            timers: Timers::new(),
            // At once, and not at the origin of the time line: that would say that an event waits.
            announcement: settings.announce_interval.map(|_| Instant::from_nanos(1)),
            replies: SourceRate::new(settings.replies, places(settings.all_replies), seed).per_host(),
            all_replies: Bucket::default(),
            crowd: Crowd::new(settings.crowd_memory, seed),
            later: VecDeque::new(),
            outbox: Outbox::new(settings.limits.max_outbox),
            stats: ServerStats::default(),
            settings,
        })
    }

    /// The formats of the streams: of the inputs, which we send, and of the outputs, which we are sent.
    pub const fn formats(&self) -> (&[Format], &[Format]) {
        (&self.inputs, &self.outputs)
    }

    /// The clients: where they are, and whether audio goes to and from them.
    pub fn clients(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>, IoState)> {
        self.peers.iter().filter_map(|(peer, known)| match &known.place {
            Place::Client(client) => Some((peer, known.from, client.io)),
            _ => None,
        })
    }

    /// Whether more ask than may be answered at present.
    pub const fn is_crowded(&self) -> bool {
        self.crowd.is_pressed()
    }

    /// Whether audio goes to and from a client; `None` if it is not connected.
    pub fn state(&self, client: PeerId) -> Option<IoState> {
        match &self.peers.get(client)?.place {
            Place::Client(client) => Some(client.io),
            _ => None,
        }
    }

    /// The counters.
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    fn client_mut(&mut self, peer: PeerId) -> Option<&mut Client> {
        match &mut self.peers.get_mut(peer)?.place {
            Place::Client(client) => Some(client),
            _ => None,
        }
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
        message: ClientMessage<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let known = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
        match (&mut known.place, message) {
            (Place::Client(client), ClientMessage::Audio(audio)) if client.io == IoState::Active => {
                if !usize::try_from(audio.stream).is_ok_and(|stream| stream < self.outputs.len()) {
                    return Err(Violation::UnknownStream(audio.stream));
                }
                (client.moments.heard, client.moments.audio) = (now, now);
                if client.muted {
                    self.stats.muted = self.stats.muted.saturating_add(1);
                    return Ok(None);
                }
                self.stats.messages_received = self.stats.messages_received.saturating_add(1);
                Ok(Some(ServerEvent::Audio { client: peer, audio }))
            }
            // From who looks for others, too; or from who has begun anew, and whose connection of before times out then.
            (Place::Client(_), ClientMessage::Discovery) => Ok(None),
            (Place::Client(client), message) => {
                if let ClientMessage::ConnectionFailed | ClientMessage::ConnectionRefused = message {
                    let state = client.io.name();
                    return Err(Violation::Unexpected { state, message: message.name() });
                }
                client.moments.heard = now;
                let io = client.io;
                Ok(self.control(now, peer, io, message))
            }
            (_, ClientMessage::Discovery) => self.asked(now, peer).map(|()| None),
            (_, message) => self.answered(now, peer, message),
        }
    }

    /// A host that is no client answers an offer.
    fn answered<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        message: ClientMessage<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let known = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
        let offered = match known.place {
            Place::Offered(at) => now.saturating_duration_since(at) <= self.settings.offer_timeout,
            _ => false,
        };
        match message {
            ClientMessage::ConnectionSuccess if offered || self.settings.announce_interval.is_some() => {
                self.accepted(now, peer)
            }
            // Who has been forgotten may not know: the reference's client says that it accepts once, and has no heartbeats.
            ClientMessage::StartIo if offered => {
                let event = self.accepted(now, peer)?;
                let start = self.control(now, peer, IoState::Inactive, ClientMessage::StartIo);
                self.later.extend(start);
                Ok(event)
            }
            ClientMessage::ConnectionFailed if offered => {
                known.place = Place::Unknown;
                Ok(Some(ServerEvent::Declined { from: known.from, permanent: false }))
            }
            ClientMessage::ConnectionRefused if offered => {
                known.place = Place::Refused(now);
                Ok(Some(ServerEvent::Declined { from: known.from, permanent: true }))
            }
            message => Err(Violation::Unexpected { state: "not connected", message: message.name() }),
        }
    }

    /// A host asks who is there.
    fn asked(&mut self, now: Instant, peer: PeerId) -> Result<(), Violation> {
        self.still_served(peer)?;
        self.room_for(peer)?;
        let known = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
        if let Place::Refused(at) = known.place {
            if now.saturating_duration_since(at) < self.settings.refusal_pause {
                return Ok(());
            }
        }
        self.outbox.check_capacity(self.connect.len(), 1)?;
        let rate = self.settings.all_replies;
        let Self { crowd, replies, .. } = self;
        let admission = known
            .from
            .map_or(Admission::Turn, |from| crowd.admits(now, rate, from, || replies.has(now, from.ip(), 1)));
        let left = if admission == Admission::Rest { Crowd::kept_for_turns(rate) } else { 0 };
        // A source's own budget is for answers: it does not pay for those that others leave no room for.
        let mut all = self.all_replies;
        let mut allowed =
            admission != Admission::No && all.clone().take(now, rate, left.saturating_add(1)).is_ok();
        if !allowed && admission == Admission::Turn {
            self.crowd.press(now);
        }
        allowed = allowed
            && all.take(now, rate, 1).is_ok()
            && known.from.is_none_or(|from| self.replies.allow(now, from.ip()));
        if allowed {
            self.all_replies = all;
        }
        if !allowed {
            self.stats.over_budget = self.stats.over_budget.saturating_add(1);
            return Err(Violation::OverBudget);
        }
        self.outbox.forward([peer], Lane::Reliable, &self.connect)?;
        known.place = Place::Offered(now);
        if let Some(from) = known.from {
            self.crowd.answered(now, from);
        }
        self.stats.offers = self.stats.offers.saturating_add(1);
        Ok(())
    }

    fn accepted<'a>(&mut self, now: Instant, peer: PeerId) -> Result<Option<ServerEvent<'a>>, Violation> {
        self.still_served(peer)?;
        self.room_for(peer)?;
        let known = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
        known.place = Place::Client(Client {
            io: IoState::Inactive,
            muted: false,
            sending: self.inputs.iter().map(Sending::new).collect(),
            moments: Moments::new(now),
        });
        self.clients = self.clients.saturating_add(1);
        self.stats.connected = self.stats.connected.saturating_add(1);
        let Timing { deadline, heartbeat, .. } = self.settings.timing;
        self.timers.set((peer, Timer::Deadline), now.saturating_add(deadline));
        self.timers.set((peer, Timer::Beat), now.saturating_add(heartbeat));
        self.outbox.validate(peer);
        Ok(Some(ServerEvent::Connected { client: peer, from: known.from }))
    }

    /// Whether one more can be a client.
    fn room_for(&self, peer: PeerId) -> Result<(), Violation> {
        let ip = |from: Option<SocketAddr>| from.map(|from| from.ip().to_canonical());
        let own = ip(self.peers.get(peer).ok_or(Violation::UnknownPeer)?.from);
        let theirs = self.clients().filter(|(_, from, _)| ip(*from) == own).count();
        let exempt = own.is_none_or(|own| own.is_loopback());
        if self.clients >= self.settings.max_clients
            || (!exempt && theirs >= self.settings.max_source_clients)
        {
            return Err(Violation::TooMany(Resource::Clients));
        }
        Ok(())
    }

    /// Networks may have changed since a host was heard of first.
    fn still_served(&mut self, peer: PeerId) -> Result<(), Violation> {
        let known = self.peers.get(peer).ok_or(Violation::UnknownPeer)?;
        if network::serves(&self.networks, known.from) {
            return Ok(());
        }
        self.stats.off_link = self.stats.off_link.saturating_add(1);
        self.forget(peer);
        Err(Violation::OffLink)
    }

    /// Forgets a peer, and has the driver do so.
    fn forget(&mut self, peer: PeerId) -> Option<IoState> {
        self.outbox.close(peer);
        self.remove(peer)
    }

    fn remove(&mut self, peer: PeerId) -> Option<IoState> {
        timing::clear(&mut self.timers, peer);
        // A driver may let another input come before a queued event.
        self.later.retain(|event| !matches!(event, ServerEvent::StartIo { client } if *client == peer));
        match self.peers.remove(peer)?.place {
            Place::Client(client) => {
                self.clients = self.clients.saturating_sub(1);
                Some(client.io)
            }
            _ => None,
        }
    }

    fn send(&mut self, client: PeerId, message: &ServerMessage<'_>) -> Result<(), Refusal> {
        self.outbox.send([client], Lane::Reliable, message, &self.wire)?;
        Ok(())
    }

    fn announce(&mut self, now: Instant) {
        // Where there is no room a host will hear of it another time.
        if self.clients < self.settings.max_clients {
            let _ = self.outbox.broadcast(&self.connect);
        }
        self.announcement = self.settings.announce_interval.map(|period| now.saturating_add(period));
    }

    /// Nothing has been heard for as long as may be; or something has, and there is time again.
    fn overdue(&mut self, now: Instant, peer: PeerId) -> Option<ServerEvent<'static>> {
        let deadline = self.settings.timing.deadline;
        let until = self.client_mut(peer)?.moments.heard.saturating_add(deadline);
        if until > now {
            self.timers.set((peer, Timer::Deadline), until);
            return None;
        }
        let io = self.forget(peer)?;
        Some(ServerEvent::Gone { client: peer, cause: Cause::TimedOut, io })
    }
}

impl Session for Server {
    type Framing = Framing;
    type Command<'a> = ServerCommand<'a>;
    type Event<'a> = ServerEvent<'a>;
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
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        match input {
            Input::Frame { peer, bytes, .. } => {
                self.outbox.check_capacity(ANSWER_LEN, ANSWER_OUTPUTS)?;
                let message = ClientMessage::decode(bytes, &self.wire)?;
                if matches!(message, ClientMessage::Discovery) && says_more(bytes) {
                    return Err(Violation::NotAClient);
                }
                self.receive(now, peer, message)
            }
            Input::Opened { peer, from, .. } => {
                if !network::serves(&self.networks, from) {
                    self.stats.off_link = self.stats.off_link.saturating_add(1);
                    self.outbox.close(peer);
                    return Err(Violation::OffLink);
                }
                if !self.peers.insert(peer, Peer { from, place: Place::Unknown }) {
                    self.outbox.close(peer);
                    return Err(Violation::TooMany(Resource::Sources));
                }
                Ok(None)
            }
            Input::Closed { peer } => {
                self.peers.get(peer).ok_or(Violation::UnknownPeer)?;
                let io = self.remove(peer);
                Ok(io.map(|io| ServerEvent::Gone { client: peer, cause: Cause::Disconnected, io }))
            }
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, now: Instant, command: ServerCommand<'_>) -> Result<(), Refusal> {
        match command {
            ServerCommand::StartIoResult { client, result } => self.started(now, client, result),
            ServerCommand::StopIoResult { client, result } => self.stopped(now, client, result),
            ServerCommand::Play { client, stream, samples } => self.play(client, stream, samples),
            ServerCommand::Disconnect { client } => {
                self.state(client).ok_or(Refusal::UnknownPeer)?;
                self.send(client, &ServerMessage::Disconnect)?;
                self.forget(client);
                Ok(())
            }
            ServerCommand::Serve { networks } => {
                self.networks = networks.into();
                Ok(())
            }
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ServerEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if self.announcement.is_some_and(|at| at <= now) {
            self.announce(now);
            return None;
        }
        let (peer, timer) = self.timers.pop(now)?;
        match timer {
            Timer::Deadline => self.overdue(now, peer),
            Timer::Beat => {
                self.beat(now, peer);
                None
            }
            Timer::Retry => None,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        [self.announcement, self.timers.next()].into_iter().flatten().min()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Says Disconnect to every client, and announces nothing more.
    fn shutdown(&mut self, _now: Instant) {
        self.announcement = None;
        loop {
            let Some(client) = self.clients().next().map(|(client, ..)| client) else { return };
            // At most as many bytes as there are clients.
            let _ =
                self.outbox.send_over_limit(client, Lane::Reliable, &ServerMessage::Disconnect, &self.wire);
            self.forget(client);
        }
    }
}

/// Places for the budgets of sources: one for each that can be answered while others keep theirs, so that all have one of their own.
fn places(all: Rate) -> usize {
    // Each is kept for a minute, and two thirds of a table are as good as all of it.
    let answered = u64::from(all.per_second).saturating_mul(64).saturating_add(all.burst.into());
    usize::try_from(answered.saturating_mul(3) / 2).unwrap_or(usize::MAX).clamp(256, 1 << 16)
}

/// A Discovery with more behind it than the zeros that reference clients send by mistake is a Connect: another server announces
/// itself, or answers what it took for a question of ours.
fn says_more(bytes: &[u8]) -> bool {
    bytes.iter().skip_while(|byte| **byte >= 0x80).skip(1).any(|byte| *byte != 0)
}
