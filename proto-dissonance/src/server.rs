mod clients;
mod control;
mod echo;
mod join;
mod listening;
mod moderation;
mod quota;
mod reached;
mod relay;
mod settings;

use crate::rooms::Rooms;
use crate::{
    ClientId, Codec, CodecSettings, Framing, LeftBecause, Packet, Refusal, Resource, RoomId, RoomRefused,
    ServerCommand, ServerEvent, ServerRelay, SessionState, Violation, Wire, room_id,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use clients::Clients;
use control::{Controls, Sweep};
use core::{
    fmt,
    net::{IpAddr, SocketAddr},
};
use quota::{ControlQuotas, Kind, Quota, SourceAt, Sources};
pub use settings::ServerSettings;
use voxwire_core::{
    Connections, Hearing, Input, Instant, KeptNames, Lane, Message, Moderation as _, Mute, Outbox, PeerId,
    Session,
};

/// The server of a session: numbers its clients, replicates who listens to what, and relays what does not go directly.
///
/// A host is a server with a client of its own beside it, connected within the process.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    wire: Wire,
    session: u32,
    /// Those that are not in the session are evictable.
    peers: Connections<Peer>,
    controls: Controls,
    sweep: Sweep,
    clients: Clients,
    rooms: Rooms,
    sources: Sources,
    outbox: Outbox,
    /// The addressees of the packet that is being relayed.
    addressees: Vec<PeerId>,
    /// What the session did of its own accord, to be told with the next time-out.
    later: VecDeque<ServerEvent<'static>>,
    policy: Policy,
    /// Rooms whose numbers belong to them, whether any client listens or not.
    reserved: BTreeMap<RoomId, Box<str>>,
    watch_all: bool,
    /// What is said to these is told, whether any client listens or not.
    watched_rooms: Vec<RoomId>,
    hearing: Hearing,
    /// What describing every client to a newcomer takes, roughly: bytes, and the number of memberships.
    state_bytes: usize,
    listeners: usize,
    stats: ServerStats,
}

/// Counters of a server, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Clients that have joined.
    pub joined: u64,
    /// Voice packets relayed.
    pub voice: u64,
    /// Copies of them sent.
    pub voice_copies: u64,
    /// Voice packets dropped because their sender sent too many.
    pub voice_over_budget: u64,
    /// Texts relayed.
    pub texts: u64,
    /// Voice packets and texts that were not relayed as their sender is muted.
    pub muted: u64,
    /// Destinations of relayed packets that were not there, not addressed, named twice, or do not hear the sender.
    pub skipped: u64,
    /// Malformed or misplaced packets.
    pub violations: u64,
    /// Packets that said another client had sent them.
    pub forged: u64,
    /// Rooms that clients were not let into.
    pub rooms_refused: u64,
}

/// What a voice packet touches of its sender's connection; [`Controls`] have the rest.
#[derive(Debug)]
struct Peer {
    client: Option<ClientId>,
    flags: Flags,
    source: SourceAt,
    voice: Quota,
    voice_deliveries: relay::Deliveries,
}

const _: () = assert!(size_of::<Peer>() <= 32);

/// One bit each.
#[derive(Debug, Clone, Copy, Default)]
struct Flags(u8);

impl Flags {
    /// What the application wants done with a client.
    const MUTE_VOICE: u8 = 1;
    const MUTE_TEXT: u8 = 2;
    const WATCHED: u8 = 4;
    /// The connection has tried a handshake.
    const TRIED: u8 = 8;
    /// It listens to the room in which it hears itself.
    const ECHO: u8 = 16;

    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    const fn set(&mut self, flag: u8, on: bool) {
        self.0 = if on { self.0 | flag } else { self.0 & !flag };
    }
}

#[derive(Debug)]
struct Pending {
    name: Box<str>,
    codec: CodecSettings,
}

/// Who may listen to which room: the client's name and the room's.
type MayListen = dyn FnMut(&str, &str) -> bool + Send + Sync;

struct Policy(Option<Box<MayListen>>);

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Policy" } else { "None" })
    }
}

impl Server {
    /// A server without clients. `seed` should be random: the session's number comes from it.
    pub fn new(settings: ServerSettings, seed: u64) -> Self {
        // From 1 to 2^31 - 2, as the original's generator has it.
        let session = u32::try_from(seed % 0x7fff_fffe).unwrap_or(0).saturating_add(1);
        let max = settings.limits.max_peers;
        let kept = if settings.any_name { KeptNames::exact(max) } else { KeptNames::new(max) };
        Self {
            wire: Wire { profile: settings.profile, limits: settings.limits },
            session,
            peers: Connections::new(max),
            controls: Controls::new(),
            sweep: Sweep::new(),
            clients: Clients::new(settings.id_quarantine, kept),
            rooms: Rooms::new(),
            sources: Sources::new(max),
            outbox: Outbox::new(settings.limits.max_outbox),
            addressees: Vec::new(),
            later: VecDeque::new(),
            policy: Policy(None),
            reserved: BTreeMap::new(),
            watch_all: false,
            watched_rooms: Vec::new(),
            hearing: Hearing::new(),
            state_bytes: 0,
            listeners: 0,
            stats: ServerStats::default(),
            settings,
        }
    }

    /// Exempts addresses that stand for many people (TLS terminators, gateways) from limits by address, as loopback is. A
    /// newer connection from one displaces no client, and a name that was lost behind one is not kept. Holds for connections that arrive from now on.
    /// A hub has limits by address of its own: give `HubSettings::exempt` the same addresses.
    pub fn exempt(&mut self, addresses: &[IpAddr]) {
        self.sources.exempt.add(addresses);
    }

    /// Asks `may_listen` about every room that a client wants to listen to: the client's name, then the room's.
    pub fn set_policy(&mut self, may_listen: impl FnMut(&str, &str) -> bool + Send + Sync + 'static) {
        self.policy = Policy(Some(Box::new(may_listen)));
    }

    /// Keeps a room's number for it, even while no client listens: a name of the same number, which is easily found, can
    /// then never keep others out of it.
    ///
    /// # Errors
    /// [`RoomRefused::Collision`] if another room has the number already.
    pub fn reserve_room(&mut self, room: &str) -> Result<(), Refusal> {
        let id = room_id(room);
        self.check_room(room).map_err(|error| Refusal::InvalidName("room name", error))?;
        let taken = self.is_echo_number(id) && !self.is_echo(room);
        if taken
            || self.rooms.collides(room)
            || self.reserved.get(&id).is_some_and(|reserved| **reserved != *room)
        {
            return Err(RoomRefused::Collision.into());
        }
        self.reserved.insert(id, room.into());
        Ok(())
    }

    /// The session's number.
    pub const fn session(&self) -> u32 {
        self.session
    }

    /// Number of connections.
    pub const fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Every client in the session: number, name, how their voice is encoded.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, &str, CodecSettings)> {
        self.clients.iter().map(|(id, client)| (id, client.name(), client.codec))
    }

    /// Number of clients in the session.
    pub const fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether no client is in the session.
    pub const fn is_empty(&self) -> bool {
        self.clients.len() == 0
    }

    /// The name of a client.
    pub fn name(&self, client: ClientId) -> Option<&str> {
        self.clients.get(client).map(clients::Client::name)
    }

    /// How a client's voice is encoded.
    pub fn codec(&self, client: ClientId) -> Option<Codec> {
        self.clients.get(client).map(|client| client.codec.codec)
    }

    /// The connection of a client.
    pub fn peer(&self, client: ClientId) -> Option<PeerId> {
        self.clients.peer(client)
    }

    /// The client that is known by `name`.
    pub fn find(&self, name: &str) -> Option<ClientId> {
        self.clients.find(name)
    }

    /// The client behind a connection.
    #[inline]
    pub fn client_of(&self, peer: PeerId) -> Option<ClientId> {
        self.peers.get(peer)?.client
    }

    /// All rooms that a client listens to: name, and who, in ascending order.
    pub fn rooms(&self) -> impl Iterator<Item = (&str, &[ClientId])> {
        self.rooms.iter().map(|(_, room)| (&*room.name, &*room.listeners))
    }

    /// The rooms that a client listens to.
    pub fn rooms_of(&self, client: ClientId) -> impl Iterator<Item = &str> {
        self.clients.rooms(client).iter().filter_map(|&room| self.rooms.get(room).map(|room| &*room.name))
    }

    /// The counters.
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    /// Takes a packet of `peer`'s, already decoded, beside its bytes: what is rebroadcast is `raw`. Below
    /// [`Session::handle_input`], which also counts violations.
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
        match packet {
            Packet::ServerRelayReliable(relay) => self.relay(now, peer, Lane::Reliable, relay, true),
            Packet::ServerRelayUnreliable(relay) => self.relay(now, peer, Lane::Reliable, relay, false),
            _ => self.receive_other(now, peer, raw, packet),
        }
    }

    #[inline(never)]
    fn receive_other<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        raw: &'a [u8],
        packet: Packet<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        if let Packet::HandshakeRequest(request) = packet {
            return self.handshake(now, peer, request);
        }
        // Never answered: two servers would go on for ever.
        let error = matches!(packet, Packet::ErrorWrongSession { .. });
        if let Some(got) = packet.session().filter(|&got| got != self.session && !error) {
            return Err(self.wrong_session(now, peer, got));
        }
        let Some(client) = self.client_of(peer) else {
            self.peers.get(peer).ok_or(Violation::UnknownPeer)?;
            return Err(Violation::Unexpected { state: SessionState::Negotiating, message: packet.name() });
        };
        match packet {
            Packet::ClientState(state) => self.client_state(now, peer, client, raw, state),
            Packet::DeltaClientState(delta) => self.delta(now, peer, client, raw, delta),
            other => Err(Violation::Unexpected { state: SessionState::Connected, message: other.name() }),
        }
    }

    /// A packet of another session: its sender is told ours, now and then.
    #[cold]
    fn wrong_session(&mut self, now: Instant, peer: PeerId, got: u32) -> Violation {
        let expected = self.session;
        let rate = self.settings.wrong_session;
        if self.peers.get(peer).is_none() {
            return Violation::UnknownPeer;
        }
        if self.controls.get_mut(now, peer).wrong_session.take(now, rate, 1).is_ok() {
            let packet = Packet::ErrorWrongSession { session: expected };
            let _ = self.outbox.send_over_limit(peer, Lane::Droppable, &packet, &self.wire);
        }
        Violation::WrongSession { got, expected }
    }

    fn charge_state(&mut self, now: Instant, peer: PeerId) {
        self.charge(now, peer, Kind::State, 1);
    }

    /// What others must take costs its sender: a slow one could be cut off for it.
    fn charge_bytes(&mut self, now: Instant, peer: PeerId, bytes: usize) {
        self.charge(now, peer, Kind::Bytes, u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn charge(&mut self, now: Instant, peer: PeerId, kind: Kind, n: u32) {
        let Self { sources, settings, peers, controls, outbox, .. } = self;
        let Some(source) = peers.get(peer).map(|state| state.source) else { return };
        let state = controls.get_mut(now, peer);
        // A shorter pause would end a longer one.
        if let Some(until) = sources.charge(now, settings, source, &mut state.quotas, kind, n) {
            state.paused_until = state.paused_until.max(until);
            outbox.pause(peer, state.paused_until);
        }
    }

    /// Reading pauses what is reliable; what comes in as datagrams all the same, and could be refused, is.
    fn check_pause(&self, now: Instant, peer: PeerId, lane: Lane) -> Result<(), Violation> {
        let paused = self.controls.get(peer).is_some_and(|state| state.paused_until > now);
        if lane == Lane::Droppable && paused { Err(Violation::TooMany(Resource::Packets)) } else { Ok(()) }
    }

    /// Sends a packet to `peer` beyond the outbox's limit: its room was checked before.
    fn send(&mut self, peer: PeerId, packet: &Packet<'_>) {
        let _ = self.outbox.send_over_limit(peer, Lane::Reliable, packet, &self.wire);
    }

    /// Sends a small packet to every client. The outbox's limit is far beyond what a driver lets wait: only one that never
    /// drains it has packets missing.
    fn tell_all(&mut self, packet: &Packet<'_>) {
        let _ = self.outbox.send(self.clients.peers(), Lane::Reliable, packet, &self.wire);
    }

    /// Counts a violation of `peer`'s; the last one allowed closes the connection.
    #[cold]
    fn count_violation(&mut self, now: Instant, peer: PeerId, violation: &Violation) {
        self.stats.violations = self.stats.violations.saturating_add(1);
        if matches!(violation, Violation::Forged { .. }) {
            self.stats.forged = self.stats.forged.saturating_add(1);
        }
        if self.peers.get(peer).is_none() {
            return;
        }
        if self.controls.get_mut(now, peer).violations.add(now) >= self.settings.max_violations {
            self.expel(now, peer, LeftBecause::Violations);
        }
    }

    /// Forgets what it keeps of connections that have been quiet for long: looks at some of them.
    #[cold]
    fn sweep(&mut self, now: Instant) {
        let Self { controls, settings, sources, peers, sweep, .. } = self;
        for slot in sweep.slots(now, peers.slots()) {
            let Some(peer) = peers.peer_at(slot) else { continue };
            let Some(state) = peers.get_mut(peer) else { continue };
            if !state.voice_deliveries.give_back(now) {
                sweep.spoken();
            }
            controls.forget(now, settings, sources, (peer, state.source));
        }
    }

    /// Closes `peer`'s connection, to be told with the next time-out.
    fn expel(&mut self, now: Instant, peer: PeerId, cause: LeftBecause) {
        match self.leave(now, peer, cause) {
            Some(left) => self.later.push_back(left),
            None => self.later.push_back(ServerEvent::Gone { peer }),
        }
        self.remove(now, peer);
        self.outbox.close(peer);
    }

    /// Forgets a connection.
    fn remove(&mut self, now: Instant, peer: PeerId) -> Option<()> {
        let state = self.peers.remove(peer)?;
        self.controls.remove(peer);
        self.hearing.remove(peer);
        self.sources.close(now, state.source);
        Some(())
    }

    /// A connection arrives; where there is no room, the one that has been outside the session for longest goes.
    fn open(
        &mut self,
        now: Instant,
        peer: PeerId,
        from: Option<SocketAddr>,
    ) -> Result<ServerEvent<'static>, Violation> {
        if let Some(oldest) = self.peers.to_evict() {
            self.expel(now, oldest, LeftBecause::Connection);
        }
        let state = Peer {
            client: None,
            flags: Flags::default(),
            source: SourceAt::default(),
            voice: Quota::default(),
            voice_deliveries: relay::Deliveries::default(),
        };
        let from = self.peers.open_or_close(now, peer, from, state, &mut self.outbox)?;
        let (source, share) = self.sources.open(now, from.map(|from| from.ip()));
        if let Some(state) = self.peers.get_mut(peer) {
            (state.source, state.voice) = (source, Quota::new(share));
        }
        // Of the one that had the slot before.
        self.controls.remove(peer);
        if source != SourceAt::default() {
            self.controls.get_mut(now, peer).quotas = ControlQuotas::new(share);
        }
        self.outbox.budget(peer, self.settings.droppable_budget);
        if self.hearing.is_closed() || self.watch_all {
            self.outbox.direct(peer, false);
        }
        Ok(ServerEvent::Connected { peer, from })
    }

    /// A connection is gone.
    fn closed(&mut self, now: Instant, peer: PeerId) -> Result<ServerEvent<'static>, Violation> {
        self.peers.get(peer).ok_or(Violation::UnknownPeer)?;
        let left = self.leave(now, peer, LeftBecause::Connection);
        self.remove(now, peer);
        if self.peers.is_empty() {
            self.outbox.shrink();
        }
        Ok(left.unwrap_or(ServerEvent::Gone { peer }))
    }

    #[inline]
    fn frame<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        lane: Lane,
        bytes: &'a [u8],
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        // Relayed voice first: nearly every packet is.
        let result = match ServerRelay::read(bytes) {
            Some((relay, reliable)) if bytes.len() <= self.wire.limits.max_frame => {
                self.relay(now, peer, lane, relay, reliable)
            }
            _ => self.decode(now, peer, lane, bytes),
        };
        if let Err(violation) = &result {
            self.note_violation(now, peer, violation);
        }
        result
    }

    #[inline(never)]
    fn decode<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        lane: Lane,
        bytes: &'a [u8],
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        self.check_pause(now, peer, lane)?;
        let packet = Packet::decode(bytes, &self.wire)?;
        if matches!(packet, Packet::HandshakeRequest(_)) {
            // Names are guessed by asking for them.
            let state = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
            let (tried, quotas) =
                (state.flags.has(Flags::TRIED), &mut self.controls.get_mut(now, peer).quotas);
            if !self.sources.attempt(now, self.settings.attempts, state.source, quotas, tried) {
                // Being refused is no way to ask for nothing.
                self.charge_state(now, peer);
                return Err(Violation::TooMany(Resource::Handshakes));
            }
            state.flags.set(Flags::TRIED, true);
        }
        self.receive(now, peer, bytes, packet)
    }

    #[cold]
    fn note_violation(&mut self, now: Instant, peer: PeerId, violation: &Violation) {
        if violation.is_counted() {
            self.count_violation(now, peer, violation);
        }
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
        if self.sweep.is_due(now) {
            self.sweep(now);
        }
        match input {
            Input::Frame { peer, lane, bytes } => self.frame(now, peer, lane, bytes),
            Input::Opened { peer, from, .. } => self.open(now, peer, from).map(Some),
            Input::Closed { peer } => self.closed(now, peer).map(Some),
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, now: Instant, command: ServerCommand<'_>) -> Result<(), Refusal> {
        match command {
            ServerCommand::Admit { peer } => self.admit_pending(now, peer),
            ServerCommand::Reject { peer } => {
                self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
                if self.controls.get(peer).is_none_or(|state| state.pending.is_none()) {
                    let (state, command) = ("it has not asked", "reject a peer");
                    return Err(Refusal::Unexpected { state, command });
                }
                self.expel(now, peer, LeftBecause::Kicked);
                Ok(())
            }
            ServerCommand::Kick { client } => {
                let peer = self.peer(client).ok_or(Refusal::UnknownClient)?;
                self.kick(now, peer, "")
            }
            ServerCommand::Mute { client, voice, text } => {
                let peer = self.peer(client).ok_or(Refusal::UnknownClient)?;
                self.mute(peer, Mute { voice, text })
            }
            ServerCommand::Move { client, from, to } => self.change_rooms(client, from, to),
            ServerCommand::Watch { client: None, on } => {
                if core::mem::replace(&mut self.watch_all, on) != on {
                    self.set_all_direct();
                }
                Ok(())
            }
            ServerCommand::Watch { client: Some(client), on } => {
                let peer = self.peer(client).ok_or(Refusal::UnknownClient)?;
                self.watch_client(peer, on)
            }
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ServerEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if self.sweep.is_due(now) {
            self.sweep(now);
        }
        let peer = self.peers.overdue(now, self.settings.idle_timeout)?;
        self.remove(now, peer)?;
        self.outbox.close(peer);
        Some(ServerEvent::Gone { peer })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        let sweep = self.sweep.wake_at(&self.controls);
        sweep.into_iter().chain(self.peers.next_overdue(self.settings.idle_timeout)).min()
    }

    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        self.peers.evictable()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, now: Instant) {
        // One by one, told to the dwindling rest; as far as the outbox has room.
        let peers: Vec<PeerId> = self.peers.iter().map(|(peer, _)| peer).collect();
        for peer in peers {
            self.expel(now, peer, LeftBecause::Shutdown);
        }
    }
}
