mod calls;

use crate::types::Text;
use crate::{
    CLIENT_LIMITS, CallId, Cause, ClientCommand, ClientEvent, Framing, Packet, Refusal, Resource, Role,
    Violation, Wire,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
};
use calls::Call;
pub use calls::CallState;
use core::time::Duration;
use voxwire_core::{
    Deadlines, EncodeError, Input, Instant, Lane, Limits, Message, Outbox, PeerId, Rate, Session, Via,
    check_name,
};

/// One client: a connection to a server, its contact list, and any number of calls, each a connection of its own straight to
/// the other side.
///
/// ```text
///   Caller                                     Callee
///   Call -> Listening -> Requested             Ringing -> Accept -> Dialling -> Waiting
///                     connection | Established                ConnectionEstablished | Established
/// ```
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    wire: Wire,
    server: Option<PeerId>,
    state: SessionState,
    /// Asked for, and sent once the server has said hello.
    login: Option<Box<str>>,
    /// The name that was asked for last.
    name: Option<Box<str>>,
    contacts: BTreeSet<Box<[u8]>>,
    calls: BTreeMap<CallId, Call>,
    next: u32,
    deadlines: Deadlines<CallId>,
    /// Calls given up whose callee may still connect, until then.
    lingering: Deadlines<CallId>,
    outbox: Outbox,
    /// What the session did of its own accord, to be told with the next time-out.
    later: VecDeque<ClientEvent<'static>>,
    stats: ClientStats,
}

/// Settings of a [`Client`].
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// `max_outbox` bytes of outputs waiting to be drained, the rest on the wire; the contact list has `max_items` names at most. Default:
    /// [`CLIENT_LIMITS`].
    pub limits: Limits,
    /// Refuse calls while a call is up or taken, as the original does. Default: on.
    pub busy: bool,
    /// Listen for whom we call. Otherwise port 0 is announced, which only our servers understand, where they carry calls.
    /// Default: on.
    pub listen: bool,
    /// How long to wait for an answer to a call, and for one's own. Default: 60 s.
    pub answer_timeout: Duration,
    /// How long a direct connection may take, and its first word. Default: 10 s.
    pub connect_timeout: Duration,
    /// How long the port of a call stays open after we have given it up: who accepts too late is connected, and closed. An
    /// original callee ends itself where it cannot connect. No more calls linger than there can be. Default: 10 s.
    pub linger: Duration,
    /// The lowest port that is connected to, even if the server names a lower one. Default: 1024.
    pub lowest_port: u16,
    /// VoiceData packets of one call; beyond it reading pauses, nothing is dropped. Originals begin with a burst. Default: 120 a
    /// second, 500 at once.
    pub voice: Rate,
    /// Most calls at a time, ringing ones included; beyond it calls are refused. Default: 64.
    pub max_calls: usize,
    /// Sound that may be queued for a slow listener, in bytes; one packet always may. Default: 16 KiB.
    pub droppable_budget: usize,
}

impl ClientSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: CLIENT_LIMITS,
        busy: true,
        listen: true,
        answer_timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(10),
        linger: Duration::from_secs(10),
        lowest_port: 1024,
        voice: Rate { per_second: 120, burst: 500 },
        max_calls: 64,
        droppable_budget: 16 * 1024,
    };
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How far a client is with its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionState {
    /// No connection.
    Disconnected,
    /// Connected; the server has not said hello.
    Connecting,
    /// The server has said hello; we have no name.
    Connected,
    /// We have asked for a name.
    LoggingIn,
    /// We have it.
    LoggedIn,
}

impl SessionState {
    /// In words, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "waiting for the server's hello",
            Self::Connected => "not logged in",
            Self::LoggingIn => "logging in",
            Self::LoggedIn => "logged in",
        }
    }
}

/// Counters of a client, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// VoiceData packets sent, each as often as there were listeners.
    pub packets_sent: u64,
    /// VoiceData packets received.
    pub packets_received: u64,
    /// Bytes of sound received.
    pub bytes_received: u64,
}

impl Client {
    /// A client that is not connected yet. The first `Opened` input that is not of a call's making is the server.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            settings,
            wire: Wire { limits: settings.limits, ..Wire::CLIENT },
            server: None,
            state: SessionState::Disconnected,
            login: None,
            name: None,
            contacts: BTreeSet::new(),
            calls: BTreeMap::new(),
            next: 1,
            deadlines: Deadlines::new(),
            lingering: Deadlines::new(),
            outbox: Outbox::new(settings.limits.max_outbox),
            later: VecDeque::new(),
            stats: ClientStats::default(),
        }
    }

    /// How far we are with our server.
    pub const fn state(&self) -> SessionState {
        self.state
    }

    /// Whether there is a connection to the server.
    pub const fn is_connected(&self) -> bool {
        self.server.is_some()
    }

    /// The name that we are logged in with; `None` before that.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.state == SessionState::LoggedIn)
    }

    /// Who else is there, in the order of their bytes; without the empty name that original servers list.
    pub fn contacts(&self) -> impl Iterator<Item = &[u8]> {
        self.contacts.iter().map(|name| &**name)
    }

    /// The calls: with whom, in which role, and how far.
    pub fn calls(&self) -> impl Iterator<Item = (CallId, &[u8], Role, CallState)> {
        self.calls.iter().map(|(id, call)| (*id, &*call.contact, call.role, call.state))
    }

    /// Until when the port of a call that we have given up is still open.
    pub fn lingers(&self) -> Option<Instant> {
        self.lingering.next()
    }

    /// The counters.
    pub const fn stats(&self) -> ClientStats {
        self.stats
    }

    /// Takes a message, already decoded, of the server's or of the other side of a call.
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
        if self.server == Some(peer) {
            self.server_says(now, packet)
        } else {
            self.call_says(now, peer, packet)
        }
    }

    fn server_says<'a>(
        &mut self,
        now: Instant,
        packet: Packet<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let unexpected = Err(Violation::Unexpected { state: self.state.name(), message: packet.name() });
        Ok(Some(match packet {
            Packet::HelloConnect if self.state == SessionState::Connecting => {
                self.state = SessionState::Connected;
                self.send_login();
                ClientEvent::Connected
            }
            Packet::LoginSuccess if self.state == SessionState::LoggingIn => {
                self.state = SessionState::LoggedIn;
                ClientEvent::LoggedIn
            }
            Packet::LoginFailed { reason } if self.state == SessionState::LoggingIn => {
                self.state = SessionState::Connected;
                ClientEvent::LoginFailed { reason }
            }
            Packet::AddContact { contacts } => {
                for name in contacts {
                    let room = self.contacts.len() < self.wire.limits.max_items;
                    // The empty name is an original server's, for a connection without one: no client to be called.
                    if room && (1..=crate::MAX_NAME).contains(&name.0.len()) {
                        self.contacts.insert(name.0.into());
                    }
                }
                ClientEvent::Added { contacts }
            }
            Packet::DelContact { contacts } => {
                for name in contacts {
                    self.contacts.remove(name.0);
                }
                ClientEvent::Removed { contacts }
            }
            Packet::CallRequest(request) => return self.called(now, request),
            Packet::CallRefused { contact } => return Ok(self.refused(contact)),
            Packet::ErrorResponse { what } => self.rejected(what),
            _ => return unexpected,
        }))
    }

    fn send_login(&mut self) {
        if self.state != SessionState::Connected {
            return;
        }
        let (Some(server), Some(name)) = (self.server, self.login.take()) else { return };
        let name = &**self.name.insert(name);
        // A valid name always fits.
        let _ = self.outbox.send_over_limit(
            server,
            Lane::Reliable,
            &Packet::Login { name: name.into() },
            &self.wire,
        );
        self.state = SessionState::LoggingIn;
    }

    /// Sends a packet to the server, if there is one.
    fn send(&mut self, packet: &Packet<'_>) -> Result<(), EncodeError> {
        match self.server {
            Some(server) => self.outbox.send_over_limit(server, Lane::Reliable, packet, &self.wire),
            None => Ok(()),
        }
    }

    fn disconnected(&mut self) {
        self.server = None;
        self.state = SessionState::Disconnected;
        self.contacts.clear();
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
                // No packet is handed on: there are only answers.
                self.outbox.check_relay(0)?;
                match Packet::decode(bytes, &self.wire) {
                    Ok(packet) => self.receive(now, peer, packet),
                    Err(error) => {
                        // As the original does.
                        self.break_off(peer);
                        Err(error.into())
                    }
                }
            }
            Input::Opened { peer, via: Via::AcceptedOn(id), .. } => self.answered(peer, id),
            Input::Opened { peer, via: Via::Dialled(id), .. } if id != voxwire_core::DialId::FIRST => {
                self.dialled(now, peer, id)
            }
            Input::Opened { peer, .. } => {
                if self.server.is_some() {
                    self.outbox.close(peer);
                    return Err(Violation::TooMany(Resource::Servers));
                }
                self.server = Some(peer);
                self.state = SessionState::Connecting;
                Ok(None)
            }
            Input::Closed { peer } if self.server == Some(peer) => {
                self.disconnected();
                Ok(Some(ClientEvent::Disconnected))
            }
            Input::Closed { peer } => {
                let call = self.call_of(peer).ok_or(Violation::UnknownPeer)?;
                Ok(self.closed(now, call))
            }
            Input::DialFailed(id) => Ok(self.dial_failed(id)),
            Input::Listening { id, port } => self.listening(now, id, port),
            Input::ListenFailed(id) => Ok(self.end(CallId::from_listen(id), Cause::Unreachable)),
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, now: Instant, command: ClientCommand<'_>) -> Result<(), Refusal> {
        match command {
            ClientCommand::Login { name } => {
                check_name(name.as_bytes())?;
                if let SessionState::LoggingIn | SessionState::LoggedIn = self.state {
                    return Err(Refusal::Unexpected { state: self.state.name(), command: "log in" });
                }
                self.login = Some(name.into());
                self.send_login();
                Ok(())
            }
            ClientCommand::Call { contact } => self.call(now, Text(contact)),
            ClientCommand::Accept { call } => self.accept(now, call),
            ClientCommand::Refuse { call } => self.refuse(call),
            ClientCommand::HangUp { call } => {
                self.calls.get(&call).ok_or(Refusal::UnknownCall)?;
                self.hang_up(now, call);
                Ok(())
            }
            ClientCommand::Say { call, packet } => self.speak(call, packet),
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ClientEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if let Some(call) = self.lingering.pop(now) {
            self.outbox.stop_listening(call.to_listen());
            return None;
        }
        let call = self.deadlines.pop(now)?;
        self.overdue(now, call)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        [self.deadlines.next(), self.lingering.next()].into_iter().flatten().min()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Hangs up, and closes the connection to the server: that is the protocol's way.
    fn shutdown(&mut self, now: Instant) {
        while let Some((&call, _)) = self.calls.first_key_value() {
            self.hang_up(now, call);
        }
        while let Some((_, call)) = self.lingering.first() {
            self.stop_lingering(call);
        }
        if let Some(server) = self.server {
            self.outbox.close(server);
            self.disconnected();
        }
    }
}
