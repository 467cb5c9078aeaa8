mod calls;
mod moderation;
mod names;
mod settings;

use crate::{
    ByteOrder, Cause, Ended, Framing, Packet, Parameters, Refusal, ServerCommand, ServerEvent, Violation,
    Wire, voice,
};
use alloc::{boxed::Box, collections::VecDeque, string::ToString, vec::Vec};
use calls::Call;
use core::net::{IpAddr, SocketAddr};
use names::Blocks;
pub use settings::ServerSettings;
use voxwire_core::{
    Bucket, Connections, Deadlines, DecodeErrorKind, FairRate, Hearing, Input, Instant, Lane, Message,
    Moderation as _, Names, Outbox, Part, Parts, PeerId, PeerSlab, Session, Shares, SourceRate, Violations,
    truncated,
};

/// What our server says in the Optional Data of a Drop, for people and programs.
pub mod reason {
    /// The callee is in a call, or blocks the caller.
    pub const BUSY: &str = "busy";
    /// Caller and callee are the same.
    pub const ONESELF: &str = "busy: you cannot call yourself";
    /// The callee did not answer in time, or the caller did not answer the counter-proposal.
    pub const NO_ANSWER: &str = "no answer";
    /// The other side's connection is gone.
    pub const LOST: &str = "connection lost";
    /// Neither side has sent anything for too long.
    pub const IDLE: &str = "call idle for too long";
    /// More calls or registrations than are allowed.
    pub const TOO_MANY_ATTEMPTS: &str = "too many attempts, try again later";
    /// A registration under a name that a client has, or had a moment ago.
    pub const NAME_TAKEN: &str = "name taken";
    /// A registration under a name that is not valid: what is wrong with it follows, after a colon.
    pub const NAME_INVALID: &str = "name invalid";
    /// A client that proved the name to be its own took it over.
    pub const DISPLACED: &str = "your name was taken over by a newer connection";
    /// The server ends.
    pub const SHUTDOWN: &str = "server is shutting down";
}

/// The intermediary: knows who is who, puts calls through, and relays audio without copying it more than once.
///
/// Every connection is a peer; a peer has at most one call. A call is known by its caller.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    /// One dialect per byte order: big-endian, little-endian.
    wires: [Wire; 2],
    /// Those without a name to be called by and without a call are evictable.
    peers: Connections<Peer>,
    calls: PeerSlab<Call>,
    names: Names,
    blocks: Blocks,
    hearing: Hearing,
    call_deadlines: Deadlines<PeerId>,
    /// Peers that wait for the holder of their name to go.
    contenders: Deadlines<PeerId>,
    /// What the connections of each source share beside their parts.
    attempts: SourceRate,
    parts: Parts,
    outbox: Outbox,
    /// What the session did of its own accord, to be told with the next time-out.
    later: VecDeque<ServerEvent<'static>>,
    stats: ServerStats,
}

/// Counters of a server, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Calls put through to a callee.
    pub calls: u64,
    /// Calls that came up.
    pub established: u64,
    /// Data packets relayed.
    pub packets: u64,
    /// Bytes of audio relayed.
    pub bytes: u64,
    /// Malformed or misplaced packets.
    pub violations: u64,
    /// Data packets that belonged to no call.
    pub stray: u64,
    /// Data packets that were not relayed as their sender is muted, or as the other side does not hear it.
    pub muted: u64,
}

#[derive(Debug)]
struct Peer {
    /// Of the heads; known after the first packet.
    order: Option<ByteOrder>,
    /// The order in which to address a peer that has not sent anything.
    assumed: Option<ByteOrder>,
    /// Of the samples, where a registration declared it.
    samples: Option<ByteOrder>,
    name: Option<Name>,
    /// A registration that the application is thinking about.
    pending: Option<Pending>,
    line: Line,
    violations: Violations,
    stray: Bucket,
    control: Bucket,
    voice: Bucket,
    /// Its audio is not handed on.
    muted: bool,
    /// Its calls are told.
    watched: bool,
    /// Of its source's attempts.
    part: Part,
    /// Calls put through to it.
    rings: FairRate,
    /// How long it has been ringing, for whom.
    ringing: Shares,
}

/// Whether a peer is in a call. What is known of a call ends with it: the next one finds nothing of it.
#[derive(Debug, Clone, Copy)]
enum Line {
    Free,
    /// In the call of this caller.
    Busy(PeerId),
    /// Its last call is over. Until `until`, what it sends may belong to that call and is no violation; `told` says whether
    /// we have told it of the end, rather than it us.
    Over {
        until: Instant,
        told: bool,
    },
}

#[derive(Debug)]
struct Name {
    text: Box<str>,
    /// Whether it is in the table of names.
    reachable: bool,
}

#[derive(Debug)]
struct Pending {
    name: Box<str>,
    samples: Option<ByteOrder>,
    /// The application has answered: it waits for the holder to go.
    admitted: bool,
}

impl Peer {
    /// The caller of the call this peer is in.
    fn call(&self) -> Option<PeerId> {
        match self.line {
            Line::Busy(caller) => Some(caller),
            Line::Free | Line::Over { .. } => None,
        }
    }

    /// The order in which to address this peer; `None` for one that has not spoken, and must not be spoken to.
    fn order(&self) -> Option<ByteOrder> {
        self.order.or(self.assumed)
    }
}

impl Server {
    /// A server without peers. `seed` should be random: it keeps outsiders from choosing whose attempts are counted with
    /// theirs.
    pub fn new(settings: ServerSettings, seed: u64) -> Self {
        let wire = |order| Wire { limits: settings.limits, ..Wire::new(order) };
        let max = settings.limits.max_peers;
        Self {
            wires: [wire(ByteOrder::BigEndian), wire(ByteOrder::LittleEndian)],
            peers: Connections::new(max),
            calls: PeerSlab::new(usize::MAX),
            names: Names::new(max),
            blocks: Blocks::new(settings.max_blocked),
            hearing: Hearing::new(),
            call_deadlines: Deadlines::new(),
            contenders: Deadlines::new(),
            attempts: SourceRate::new(settings.attempts, 4096, seed),
            parts: Parts::new(settings.attempts),
            outbox: Outbox::new(settings.limits.max_outbox),
            later: VecDeque::new(),
            stats: ServerStats::default(),
            settings,
        }
    }

    /// Exempts addresses that stand for many people (TLS terminators, gateways) from limits by address, as loopback is. A newer connection
    /// from one displaces no client, and a name that was lost behind one is not kept. A hub has limits by address of its own: give
    /// `HubSettings::exempt` the same addresses.
    pub fn exempt(&mut self, addresses: &[IpAddr]) {
        self.attempts.exempt(addresses);
    }

    /// The name by which others see `peer`, if it has one.
    pub fn name(&self, peer: PeerId) -> Option<&str> {
        self.peers.get(peer)?.name.as_ref().map(|name| &*name.text)
    }

    /// The peer that can be called by `name`.
    pub fn find(&self, name: &str) -> Option<PeerId> {
        self.names.find(name.as_bytes())
    }

    /// Number of connections.
    pub const fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Number of names that can be called.
    pub fn registered(&self) -> usize {
        self.names.len()
    }

    /// Calls under way: caller, callee, and the audio agreed on if the call is up.
    pub fn calls(&self) -> impl Iterator<Item = (PeerId, PeerId, Option<Parameters>)> {
        self.calls.iter().map(|(caller, call)| (caller, call.callee, call.up.map(|_| call.parameters)))
    }

    /// The counters.
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    /// Takes a message of `peer`'s, already decoded, beside its bytes: what is relayed unchanged is `raw`. Below
    /// [`Session::handle_input`], which also checks the outbox's room and counts violations.
    ///
    /// # Errors
    /// See [`Session`], point 5 of the contract.
    #[inline]
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        raw: &'a [u8],
        packet: Packet<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        if let Packet::Data(data) = packet {
            let is_told = self.relay(now, peer, raw, data)?;
            return Ok(if is_told { self.told(peer, data) } else { None });
        }
        let Some(state) = self.peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        if let Some(until) = state.control.charge(now, self.settings.control, 1) {
            self.outbox.pause(peer, until);
        }
        match packet {
            Packet::Handshake(handshake) if handshake.user_name.is_empty() => {
                self.register(now, peer, handshake)
            }
            Packet::Handshake(handshake) => self.call(now, peer, handshake),
            Packet::Accept { .. } => self.accept(now, peer, packet),
            Packet::Parameters { parameters, .. } => self.counter(now, peer, parameters, packet),
            Packet::Close { .. } | Packet::Drop { .. } => self.hang_up(now, peer, packet),
            Packet::UserNotFound | Packet::Data(_) => Err(self.unexpected(peer, packet.name())),
        }
    }

    fn wire(&self, order: ByteOrder) -> &Wire {
        let [big, little] = &self.wires;
        if order == ByteOrder::LittleEndian { little } else { big }
    }

    /// Sends a control packet to `peer` beyond the outbox's limit: one answer per stimulus, so the tables bound it. A peer
    /// that never said anything has no byte order yet, and nothing to be told.
    fn send(&mut self, peer: PeerId, packet: &Packet<'_>) {
        if let Some(order) = self.peers.get(peer).and_then(Peer::order) {
            let [big, little] = &self.wires;
            let wire = if order == ByteOrder::LittleEndian { little } else { big };
            // Fails only for packets over the limits, and these were made from packets within them.
            let _ = self.outbox.send_over_limit(peer, Lane::Reliable, packet, wire);
        }
    }

    /// Sends Drop with a reason of at most 255 bytes.
    fn send_drop(&mut self, peer: PeerId, reason: &str) {
        self.send(peer, &Packet::Drop { optional: truncated(reason, 255).as_bytes() });
    }

    /// Counts a violation of `peer`'s; the last one allowed closes the connection.
    fn count_violation(&mut self, now: Instant, peer: PeerId) {
        self.stats.violations = self.stats.violations.saturating_add(1);
        let Some(state) = self.peers.get_mut(peer) else { return };
        if state.violations.add(now) >= self.settings.max_violations {
            self.expel(now, peer, None);
        }
    }

    fn unexpected(&self, peer: PeerId, message: &'static str) -> Violation {
        let state = match self.peers.get(peer) {
            None => return Violation::UnknownPeer,
            Some(Peer { line: Line::Busy(caller), .. }) => {
                self.calls.get(*caller).map_or("in a call", Call::state)
            }
            Some(Peer { pending: Some(_), .. }) => "waiting for a name",
            Some(_) => "in no call",
        };
        Violation::Unexpected { state, message }
    }

    /// Closes `peer`'s connection, to be told with the next time-out.
    fn expel(&mut self, now: Instant, peer: PeerId, reason: Option<&str>) {
        if let Some((name, ended)) = self.close(now, peer, reason) {
            self.later.push_back(ServerEvent::Gone { peer, name, ended });
        }
    }

    /// Forgets `peer`, ends its call, and closes its connection: the driver will say no more of it.
    fn close(
        &mut self,
        now: Instant,
        peer: PeerId,
        reason: Option<&str>,
    ) -> Option<(Option<Box<str>>, Option<Ended>)> {
        if let Some(reason) = reason {
            self.send_drop(peer, reason);
        }
        let gone = self.forget(now, peer)?;
        self.outbox.close(peer);
        Some(gone)
    }

    /// Forgets `peer` and ends its call for the other side.
    fn forget(&mut self, now: Instant, peer: PeerId) -> Option<(Option<Box<str>>, Option<Ended>)> {
        let address = self.peers.ip(peer);
        let state = self.peers.remove(peer)?;
        self.parts.close(now, state.part);
        self.contenders.clear(peer);
        self.hearing.remove(peer);
        let ended = state.call().and_then(|caller| {
            let other = self.calls.get(caller)?.other(peer);
            self.send_drop(other, reason::LOST);
            self.end(now, caller, Cause::Lost { peer }, Some(other))
        });
        if self.peers.is_empty() {
            self.outbox.shrink();
        }
        let name = state.name.map(|name| {
            if name.reachable {
                let exempt = self.attempts.exempt_addresses();
                let until = exempt.name_kept_until(now, address, self.settings.quarantine);
                self.names.release(now, name.text.as_bytes(), address, until);
            }
            name.text
        });
        Some((name, ended))
    }

    /// A connection arrives; where there is no room, the one that has been nameless for longest goes.
    fn open(
        &mut self,
        now: Instant,
        peer: PeerId,
        from: Option<SocketAddr>,
    ) -> Result<ServerEvent<'static>, Violation> {
        if let Some(oldest) = self.peers.to_evict() {
            self.expel(now, oldest, None);
        }
        let state = Peer {
            order: None,
            assumed: None,
            samples: None,
            name: None,
            pending: None,
            line: Line::Free,
            violations: Violations::new(now),
            stray: Bucket::default(),
            control: Bucket::default(),
            voice: Bucket::default(),
            muted: false,
            watched: false,
            part: Part::default(),
            rings: FairRate::default(),
            ringing: Shares::new(),
        };
        let from = self.peers.open_or_close(now, peer, from, state, &mut self.outbox)?;
        let part = self.parts.open(now, self.attempts.limited(from.map(|from| from.ip())));
        if let Some(state) = self.peers.get_mut(peer) {
            state.part = part;
        }
        Ok(ServerEvent::Connected { peer, from })
    }

    /// Whether `peer` may try once more to have a name, or to reach one: names are guessed that way, and secrets with them.
    fn may_try(&mut self, now: Instant, peer: PeerId) -> bool {
        let Some(state) = self.peers.get_mut(peer) else { return false };
        self.parts.take(now, &mut state.part, &mut self.attempts)
    }

    /// Starts, or stops, the idle limit of a peer: it holds for those without a name to be called by and without a call.
    fn watch(&mut self, now: Instant, peer: PeerId) {
        let Some(state) = self.peers.get(peer) else { return };
        let waits = state.name.as_ref().is_some_and(|name| name.reachable);
        if waits || state.call().is_some() {
            self.peers.keep(peer);
        } else {
            self.peers.set_evictable(peer, now);
        }
    }

    fn frame<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        bytes: &'a [u8],
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let Some(state) = self.peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        let order = match state.order {
            Some(order) => order,
            None => {
                let order = ByteOrder::detect(bytes).unwrap_or_default();
                state.order = Some(order);
                order
            }
        };
        let result = match Packet::decode(bytes, self.wire(order)) {
            Ok(packet) => self.receive(now, peer, bytes, packet),
            Err(error) => {
                // A format that does not exist is answered like a parameter out of range; anything else is only counted.
                let format =
                    error.field == "Format Type" && matches!(error.kind, DecodeErrorKind::Value { .. });
                let counter = voice::kind(bytes, order) == Some(crate::wire::kind::PARAMETERS);
                match self.call_awaiting(peer).filter(|&caller| caller != peer) {
                    Some(caller) if format && counter => {
                        let ended = self.refuse_counter(now, caller, peer, &error.to_string());
                        return Ok(ended.map(ServerEvent::Ended));
                    }
                    None if format && self.peers.get(peer).is_some_and(|state| state.call().is_none()) => {
                        self.send_drop(peer, &error.to_string());
                    }
                    _ => {}
                }
                Err(error.into())
            }
        };
        if result.as_ref().is_err_and(Violation::is_counted) {
            self.count_violation(now, peer);
        }
        result
    }
}

impl Session for Server {
    type Framing = Framing;
    type Command<'a> = ServerCommand<'a>;
    type Event<'a> = ServerEvent<'a>;
    type Violation = Violation;
    type Refusal = Refusal;

    fn framing(&self) -> Framing {
        Framing::server(self.settings.limits.max_frame)
    }

    #[inline]
    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        match input {
            Input::Frame { peer, bytes, .. } => {
                self.outbox.check_relay(bytes.len())?;
                self.frame(now, peer, bytes)
            }
            Input::Opened { peer, from, .. } => self.open(now, peer, from).map(Some),
            Input::Closed { peer } => {
                let (name, ended) = self.forget(now, peer).ok_or(Violation::UnknownPeer)?;
                Ok(Some(ServerEvent::Gone { peer, name, ended }))
            }
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, now: Instant, command: ServerCommand<'_>) -> Result<(), Refusal> {
        match command {
            ServerCommand::Admit { peer, proven } => self.admit(now, peer, proven),
            ServerCommand::Reject { peer, reason } => {
                let state = self.peers.get_mut(peer).ok_or(Refusal::UnknownPeer)?;
                let command = "reject a registration";
                let pending = state.pending.take_if(|pending| !pending.admitted);
                pending.ok_or(Refusal::Unexpected { state: "not registering", command })?;
                self.send_drop(peer, reason);
                self.watch(now, peer);
                Ok(())
            }
            ServerCommand::Introduce { peer, name, reachable, order } => {
                self.introduce(now, peer, name, reachable, order)
            }
            ServerCommand::Block { callee, caller } => self.blocks.block(callee, caller),
            ServerCommand::Unblock { callee, caller } => {
                self.blocks.unblock(callee, caller);
                Ok(())
            }
            ServerCommand::EndCall { peer, reason } => {
                let state = self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
                let caller =
                    state.call().ok_or(Refusal::Unexpected { state: "in no call", command: "end a call" })?;
                let ended = self.end_for_both(now, caller, Cause::Application, reason);
                self.later.extend(ended.map(ServerEvent::Ended));
                Ok(())
            }
            ServerCommand::Kick { peer, reason } => self.kick(now, peer, reason),
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ServerEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if let Some(caller) = self.call_deadlines.pop(now) {
            return self.call_timeout(now, caller).map(ServerEvent::Ended);
        }
        if let Some(peer) = self.contenders.pop(now) {
            return self.contend(now, peer);
        }
        let peer = self.peers.overdue(now, self.settings.idle_timeout)?;
        let (name, ended) = self.close(now, peer, None)?;
        Some(ServerEvent::Gone { peer, name, ended })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        let idle = self.peers.next_overdue(self.settings.idle_timeout);
        [self.call_deadlines.next(), self.contenders.next(), idle].into_iter().flatten().min()
    }

    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        self.peers.evictable()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, now: Instant) {
        let callers: Vec<PeerId> = self.calls.iter().map(|(caller, _)| caller).collect();
        for caller in callers {
            let ended = self.end(now, caller, Cause::Application, None);
            self.later.extend(ended.map(ServerEvent::Ended));
        }
        let peers: Vec<PeerId> = self.peers.iter().map(|(peer, _)| peer).collect();
        for peer in peers {
            self.expel(now, peer, Some(reason::SHUTDOWN));
        }
    }
}
