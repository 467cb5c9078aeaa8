mod packets;
mod paths;
mod roster;
mod speech;
mod voice_out;

use crate::text::check_any;
use crate::{
    ClientCommand, ClientEvent, ClientId, CodecSettings, DeltaClientState, Framing, HandshakeRequest, Lost,
    Packet, Profile, Refusal, Resource, RoomId, SessionState, Speech, Target, Text, Violation, Wire, room_id,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
};
use core::time::Duration;
use paths::Paths;
use roster::Roster;
pub(crate) use speech::FIRST;
pub use speech::SpeakerStats;
use voice_out::VoiceOut;
use voxwire_core::{
    Deadlines, DialId, Input, Instant, Jitter, Lane, Limits, Message, Outbox, PeerId, Session, Via,
    check_name,
};

/// A client: joins a session, replicates who listens to what, speaks and listens.
///
/// It stays a client for as long as it lives: after a lost connection it asks its driver for another one
/// ([`Output::Dial`](voxwire_core::Output::Dial) with [`DialId::FIRST`](voxwire_core::DialId::FIRST)), joins again under its name, and goes on listening and speaking to the same
/// rooms and players.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    wire: Wire,
    name: Box<str>,
    state: SessionState,
    server: Option<PeerId>,
    /// 0 before the first handshake.
    session: u32,
    id: Option<ClientId>,
    roster: Roster,
    /// The rooms that the application listens to.
    local: BTreeMap<RoomId, Local>,
    /// Deltas of ours that have not come back, in order.
    pending: VecDeque<(RoomId, bool)>,
    /// ClientStates about ourselves that are to come: the echo of ours, and before it the server's own where it describes
    /// every client so. What it says of our rooms until then is of before it knew them.
    states_due: u32,
    voice: VoiceOut,
    paths: Paths,
    /// Handshakes asked for on this connection.
    asked: u32,
    /// When to ask for the handshake again, or for a connection.
    retry: Option<Instant>,
    backoff: Backoff,
    /// Given up by the application, or by the server's order.
    over: bool,
    last_dial: DialId,
    /// Speakers, by when their silence is to be looked at.
    silences: Deadlines<ClientId>,
    outbox: Outbox,
    later: VecDeque<ClientEvent<'static>>,
    stats: ClientStats,
}

/// Settings of a [`Client`].
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// `max_outbox` bytes of outputs waiting to be drained, `max_frame` and `max_text` on the wire, `max_peers` clients
    /// in the session. Default: [`LIMITS`](crate::LIMITS).
    pub limits: Limits,
    /// What is sent where releases differ. Default: [`Profile::Later`].
    pub profile: Profile,
    /// How our voice is encoded; it is told to every client, and not looked into. Default:
    /// [`CodecSettings::DEFAULT`].
    pub codec: CodecSettings,
    /// How long a handshake may stay unanswered before it is sent again. Default: 2 s.
    pub handshake_interval: Duration,
    /// The longest silence within a speech. Default: 1500 ms.
    pub speech_timeout: Duration,
    /// The silence after which a speaker's next packet is taken as a first one. Default: 15 s.
    pub inactive_timeout: Duration,
    /// How often HandshakeP2P is sent to a client that does not answer before the intervals become longer; so again whenever
    /// a client comes into the session. Default: 5.
    pub p2p_tries: u32,
    /// The first interval between two HandshakeP2P. Default: 500 ms.
    pub p2p_interval: Duration,
    /// The longest interval. Default: 30 s.
    pub p2p_max_interval: Duration,
    /// Direct paths. A driver may have fewer: over TCP and UDP, `voxwire-transport` has at most 32 at once, and that binds. Default: 256.
    pub max_paths: usize,
    /// Rooms listened to at once, those that the server moves us into included. Default: 256.
    pub max_rooms: usize,
    /// Channels open at once. Default: 32.
    pub max_channels: usize,
    /// Voice that may be queued for a slow server, in bytes. Default: 16 KiB.
    pub droppable_budget: usize,
    /// A random number, which together with the name spreads the reconnections of many clients. Default: 0.
    pub seed: u64,
}

impl ClientSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: crate::LIMITS,
        profile: Profile::Later,
        codec: CodecSettings::DEFAULT,
        handshake_interval: Duration::from_secs(2),
        speech_timeout: Duration::from_millis(1500),
        inactive_timeout: Duration::from_secs(15),
        p2p_tries: 5,
        p2p_interval: Duration::from_millis(500),
        p2p_max_interval: Duration::from_secs(30),
        max_paths: 256,
        max_rooms: 256,
        max_channels: 32,
        droppable_budget: 16 * 1024,
        seed: 0,
    };

    /// As the releases of 2018.
    pub const ERA_2018: Self =
        Self { profile: Profile::Era2018, speech_timeout: Duration::from_millis(600), ..Self::DEFAULT };
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
    /// Frames sent.
    pub frames: u64,
    /// Frames not sent because no client listened.
    pub unheard: u64,
    /// Voice packets that came in directly.
    pub direct: u64,
    /// Voice packets that came by the server.
    pub relayed: u64,
    /// Sessions joined.
    pub sessions: u64,
}

/// A room that the application listens to.
#[derive(Debug)]
struct Local {
    name: Box<str>,
    /// How often it was joined.
    count: u32,
}

/// When to try again: within half a second, then half a second later with each failure, three seconds at most, less up to a half at
/// random; forgotten at one second per second of success. The original, of which a server has a few, tries at once and in step.
#[derive(Debug)]
struct Backoff {
    interval: Duration,
    jitter: Jitter,
    /// Since when all is well.
    well_since: Option<Instant>,
    started: Instant,
}

impl Backoff {
    const STEP: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(3);

    fn new(seed: u64, name: &str) -> Self {
        let mut jitter = Jitter::new(seed);
        jitter.mix(name.as_bytes());
        Self { interval: Duration::ZERO, jitter, well_since: None, started: Instant::ZERO }
    }

    /// An attempt starts.
    fn start(&mut self, now: Instant) {
        self.started = now;
    }

    fn succeed(&mut self, now: Instant) {
        self.well_since = Some(now);
    }

    /// It has failed: when to start the next one.
    fn fail(&mut self, now: Instant) -> Instant {
        if let Some(since) = self.well_since.take() {
            self.interval = self.interval.saturating_sub(now.saturating_duration_since(since));
        }
        let soonest = now.saturating_add(self.jitter.below(Self::STEP));
        let next = self.started.saturating_add(self.jitter.shorten(self.interval)).max(soonest);
        self.interval = self.interval.saturating_add(Self::STEP).min(Self::MAX);
        next
    }
}

impl Client {
    /// A client that will be known by `name`, which must be unique in the session: while another client has it, the handshake stays
    /// unanswered ([`ClientEvent::NoAnswer`], again and again). The original draws a random GUID where none is given.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`] for one that [`check_name`] does not take.
    pub fn new(name: &str, settings: ClientSettings) -> Result<Self, Refusal> {
        check_name(name.as_bytes()).map_err(|error| Refusal::InvalidName("name", error))?;
        Ok(Self {
            wire: Wire { profile: settings.profile, limits: settings.limits },
            name: name.into(),
            state: SessionState::Disconnected,
            server: None,
            session: 0,
            id: None,
            roster: Roster::new(),
            local: BTreeMap::new(),
            pending: VecDeque::new(),
            states_due: 0,
            voice: VoiceOut::default(),
            paths: Paths::default(),
            asked: 0,
            retry: None,
            backoff: Backoff::new(settings.seed, name),
            over: false,
            last_dial: DialId::FIRST,
            silences: Deadlines::new(),
            outbox: Outbox::new(settings.limits.max_outbox),
            later: VecDeque::new(),
            stats: ClientStats::default(),
            settings,
        })
    }

    /// How far we are.
    pub const fn state(&self) -> SessionState {
        self.state
    }

    /// Whether there is a connection to the server. We are in its session once [`state`](Self::state) is [`SessionState::Connected`].
    pub const fn is_connected(&self) -> bool {
        self.server.is_some()
    }

    /// Our number, while we are in a session.
    pub const fn id(&self) -> Option<ClientId> {
        self.id
    }

    /// The session's number; 0 before the first one.
    pub const fn session(&self) -> u32 {
        self.session
    }

    /// Our name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every client in the session, as far as we know: number, name, how their voice is encoded. We are among them.
    pub fn clients(&self) -> impl Iterator<Item = (ClientId, &str, CodecSettings)> {
        self.roster.iter().map(|(id, remote)| (id, &*remote.name, remote.codec))
    }

    /// The client that is known by `name`.
    pub fn find(&self, name: &str) -> Option<ClientId> {
        self.roster.find(name)
    }

    /// What a client is known by.
    pub fn name_of(&self, client: ClientId) -> Option<&str> {
        self.roster.get(client).map(|remote| &*remote.name)
    }

    /// How a client's voice is encoded.
    pub fn codec_of(&self, client: ClientId) -> Option<CodecSettings> {
        self.roster.get(client).map(|remote| remote.codec)
    }

    /// All rooms that a client listens to: name, and who, in ascending order.
    pub fn rooms(&self) -> impl Iterator<Item = (&str, &[ClientId])> {
        self.roster.rooms.iter().map(|(_, room)| (&*room.name, &*room.listeners))
    }

    /// The name of a room that a client listens to, as texts and channels have it by number.
    pub fn room_name(&self, room: RoomId) -> Option<&str> {
        let listed = self.roster.rooms.get(room).map(|room| &*room.name);
        listed.or_else(|| self.local.get(&room).map(|room| &*room.name))
    }

    /// The rooms that we listen to.
    pub fn joined(&self) -> impl Iterator<Item = &str> {
        self.local.values().map(|room| &*room.name)
    }

    /// To whom frames go until they are closed; those that are closing get one more.
    pub fn channels(&self) -> impl Iterator<Item = (Target<'_>, Speech)> {
        self.voice.targets()
    }

    /// Whether voice for `client` goes directly.
    pub fn is_direct(&self, client: ClientId) -> bool {
        self.roster.path(client).is_some()
    }

    /// Whether `client` is speaking to us.
    pub fn is_speaking(&self, client: ClientId) -> bool {
        self.roster.get(client).is_some_and(|remote| remote.speaker.is_open())
    }

    /// What has come in of a client's voice.
    pub fn speaker_stats(&self, client: ClientId) -> Option<SpeakerStats> {
        self.roster.get(client).map(|remote| remote.speaker.stats)
    }

    /// The counters.
    pub const fn stats(&self) -> ClientStats {
        self.stats
    }

    /// Takes a packet of `peer`'s, already decoded. Below [`Session::handle_input`].
    ///
    /// # Errors
    /// See [`Session`], point 5 of the contract.
    #[inline]
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        packet: Packet<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let direct = self.server != Some(peer);
        if direct && !self.paths.contains(peer) {
            return Err(Violation::UnknownPeer);
        }
        match packet {
            Packet::HandshakeResponse(response) if !direct => self.welcome(now, response).map(Some),
            Packet::ErrorWrongSession { session } if !direct => Ok(self.wrong_session(now, session)),
            _ => {
                if let Some(got) = packet.session().filter(|&got| got != self.session) {
                    return Err(Violation::WrongSession { got, expected: self.session });
                }
                match packet {
                    Packet::VoiceData(voice) => self.hear(now, peer, voice),
                    Packet::TextData(text) => self.read(now, peer, text),
                    Packet::HandshakeP2P { client, .. } if direct => self.handshake_p2p(now, peer, client),
                    Packet::ClientState(state) if !direct => self.client_state(now, state),
                    Packet::DeltaClientState(delta) if !direct => self.delta(delta),
                    Packet::RemoveClient { client, .. } if !direct => Ok(self.remove(now, client)),
                    other => Err(Violation::Unexpected { state: self.state, message: other.name() }),
                }
            }
        }
    }

    fn join(&mut self, room: &str) -> Result<(), Refusal> {
        check_any(room.as_bytes()).map_err(|error| Refusal::InvalidName("room name", error))?;
        let (id, max, rooms) = (room_id(room), self.settings.max_rooms, self.local.len());
        // The original keys its own rooms by number, too: a second name shares the first one's entry.
        if let Some(local) = self.local.get_mut(&id) {
            local.count = local.count.saturating_add(1);
            return Ok(());
        }
        if rooms >= max {
            return Err(Refusal::Full { what: Resource::Rooms, max });
        }
        self.tell_delta(room, true)?;
        self.local.insert(id, Local { name: room.into(), count: 1 });
        Ok(())
    }

    fn leave(&mut self, room: &str) -> Result<(), Refusal> {
        let id = room_id(room);
        let not_in = Refusal::Unexpected { state: "it was not joined", command: "leave a room" };
        let local = self.local.get_mut(&id).ok_or(not_in)?;
        if local.count > 1 {
            local.count = local.count.saturating_sub(1);
            return Ok(());
        }
        let name = local.name.clone();
        self.tell_delta(&name, false)?;
        self.local.remove(&id);
        Ok(())
    }

    /// Tells the server of a change, if we are in a session: otherwise it hears of all rooms at once.
    fn tell_delta(&mut self, room: &str, joined: bool) -> Result<(), Refusal> {
        let (Some(server), Some(client), SessionState::Connected) = (self.server, self.id, self.state) else {
            return Ok(());
        };
        if self.pending.len() >= self.settings.limits.max_items {
            return Err(Refusal::Full { what: Resource::Changes, max: self.settings.limits.max_items });
        }
        let delta = DeltaClientState { session: self.session, joined, client, room: room.into() };
        self.outbox.send([server], Lane::Reliable, &Packet::DeltaClientState(delta), &self.wire)?;
        self.pending.push_back((room_id(room), joined));
        Ok(())
    }

    fn negotiate(&mut self, now: Instant) {
        let Some(server) = self.server else { return };
        let request = HandshakeRequest { codec: self.settings.codec, name: Text::new(&self.name) };
        let _ = self.outbox.send_over_limit(
            server,
            Lane::Reliable,
            &Packet::HandshakeRequest(request),
            &self.wire,
        );
        self.asked = self.asked.saturating_add(1);
        self.retry = Some(now.saturating_add(self.settings.handshake_interval));
    }

    /// The session is lost; another try follows, unless it is over.
    fn lose(&mut self, now: Instant, cause: Lost) -> ClientEvent<'static> {
        self.state = SessionState::Disconnected;
        self.server = None;
        self.id = None;
        self.forget_all();
        let retry_at = (!self.over).then(|| self.backoff.fail(now));
        self.retry = retry_at;
        ClientEvent::Disconnected { cause, retry_at }
    }

    /// Every client is gone, without a word for each: the application hears of the loss, or of the new session, as a whole.
    fn forget_all(&mut self) {
        self.roster = Roster::new();
        self.forget_paths();
        self.silences = Deadlines::new();
        self.later.clear();
        self.resolve();
        self.pending.clear();
        self.states_due = 0;
    }

    /// Numbers have changed hands.
    fn resolve(&mut self) {
        let Self { voice, roster, .. } = self;
        voice.resolve(|name| roster.find(name));
    }

    /// A speaker has been silent for some time: is it too long?
    fn look_at_silence(&mut self, now: Instant, client: ClientId) -> Option<ClientEvent<'static>> {
        let remote = self.roster.get_mut(client)?;
        let speech = remote.speaker.heard.saturating_add(self.settings.speech_timeout);
        let inactive = remote.speaker.heard.saturating_add(self.settings.inactive_timeout);
        if remote.speaker.is_open() {
            if now < speech {
                self.silences.set(client, speech);
                return None;
            }
            remote.speaker.stop();
            self.silences.set(client, inactive.max(now));
            return Some(ClientEvent::SpeechEnded { client });
        }
        if now < inactive {
            self.silences.set(client, inactive);
        } else {
            remote.speaker.forget();
            remote.speaker.watched = false;
        }
        None
    }

    fn opened(
        &mut self,
        now: Instant,
        peer: PeerId,
        via: Via,
    ) -> Result<Option<ClientEvent<'static>>, Violation> {
        if via != Via::Dialled(DialId::FIRST) {
            return self.open_path(now, peer).map(|()| None);
        }
        if self.over || self.server.is_some() {
            self.outbox.close(peer);
            return Err(Violation::TooMany(Resource::Connections));
        }
        self.server = Some(peer);
        self.state = SessionState::Negotiating;
        self.outbox.budget(peer, self.settings.droppable_budget);
        self.asked = 0;
        self.negotiate(now);
        Ok(None)
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
                let packet = Packet::decode(bytes, &self.wire)?;
                self.receive(now, peer, packet)
            }
            Input::Opened { peer, via, .. } => self.opened(now, peer, via),
            Input::Closed { peer } if self.server == Some(peer) => Ok(Some(self.lose(now, Lost::Connection))),
            Input::Closed { peer } => Ok(self.close_path(peer)),
            Input::DialFailed(DialId::FIRST) if self.server.is_none() => {
                Ok(Some(self.lose(now, Lost::Unreachable)))
            }
            Input::DialFailed(_) => Ok(None),
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, _now: Instant, command: ClientCommand<'_>) -> Result<(), Refusal> {
        match command {
            ClientCommand::Join { room } => self.join(room),
            ClientCommand::Leave { room } => self.leave(room),
            ClientCommand::Open { to, as_ } => {
                let player = match to {
                    Target::Player(name) => self.roster.find(name),
                    Target::Room(_) => None,
                };
                self.voice.open(to, player, as_, self.settings.max_channels)
            }
            ClientCommand::Close { to } => self.voice.close(to),
            ClientCommand::Say { frame } => self.send(frame),
            ClientCommand::Text { to, text } => self.text(to, text),
            ClientCommand::Reach { host, port } => {
                let id = self.last_dial.next();
                self.outbox.dial(id, host, port)?;
                self.last_dial = id;
                Ok(())
            }
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ClientEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            match self.state {
                SessionState::Disconnected => {
                    self.backoff.start(now);
                    if self.outbox.dial(DialId::FIRST, "", 0).is_err() {
                        // It is not drained; look again later.
                        self.retry = Some(now.saturating_add(self.settings.handshake_interval));
                    }
                    return None;
                }
                SessionState::Negotiating => {
                    let asked = self.asked;
                    self.negotiate(now);
                    return Some(ClientEvent::NoAnswer { asked });
                }
                SessionState::Connected => return None,
            }
        }
        if let Some(peer) = self.pop_retry(now) {
            self.ask(now, peer);
            return None;
        }
        let client = self.silences.pop(now)?;
        self.look_at_silence(now, client)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        [self.retry, self.paths.next_retry(), self.silences.next()].into_iter().flatten().min()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// There is no goodbye in Dissonance: the connection ends, and the server tells the others.
    fn shutdown(&mut self, _now: Instant) {
        self.over = true;
        self.retry = None;
        (self.state, self.id) = (SessionState::Disconnected, None);
        self.close_paths();
        self.forget_all();
        if let Some(server) = self.server.take() {
            self.outbox.close(server);
        }
    }
}
