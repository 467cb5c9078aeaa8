use crate::wire::{HEAD_LEN, MAX_CONTROL, MAX_DATA};
use crate::{
    ByteOrder, ClientCommand, ClientEvent, Framing, Handshake, Packet, Parameters, Ranges, Refusal,
    Registration, Request, Resource, Violation, Wire,
};
use alloc::boxed::Box;
use core::time::Duration;
use voxwire_core::{EncodeError, Input, Instant, Lane, Limits, Message, NameError, Outbox, PeerId, Session};

/// One client: a connection to a server, and at most one call, as caller or callee.
///
/// ```text
///          Register            Call                    Incoming
///   Idle ----------> Registering   Idle ------> Calling     Idle ------> Ringing
///                                         Countered | Accepted      Counter | Accept
///                                            Deciding | InCall      Countering | InCall
/// ```
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    wire: Wire,
    server: Option<PeerId>,
    /// The name that we are registered under, and the one that we have asked for.
    name: Option<Box<str>>,
    asked: Option<Box<str>>,
    state: State,
    /// When waiting for an answer ends.
    deadline: Option<Instant>,
    outbox: Outbox,
    stats: ClientStats,
}

/// Settings of a [`Client`].
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// `max_outbox` bytes of outputs waiting to be drained, `max_frame` and `max_text` on the wire. Default:
    /// [`LIMITS`](crate::LIMITS).
    pub limits: Limits,
    /// Byte order of the packets' heads; the server follows it. Default: big-endian.
    pub order: ByteOrder,
    /// What is accepted from the other side of a call. Default: [`Ranges::DEFAULT`].
    pub ranges: Ranges,
    /// How long to wait for an answer to a call, and for one's own. Longer than the server's limit, which normally ends it.
    /// Default: 45 s.
    pub answer_timeout: Duration,
    /// How long to wait for an answer to a registration. Default: 10 s.
    pub registration_timeout: Duration,
}

/// What the other side of a call is told whose parameters no client here could play.
const OUT_OF_RANGE: &[u8] = b"parameters out of range";

impl ClientSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: crate::LIMITS,
        order: ByteOrder::BigEndian,
        ranges: Ranges::DEFAULT,
        answer_timeout: Duration::from_secs(45),
        registration_timeout: Duration::from_secs(10),
    };
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How far a client is, with its registration or its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// Nothing.
    Idle,
    /// Waiting for the server's answer to a registration.
    Registering,
    /// Waiting for the callee's answer.
    Calling(Parameters),
    /// The callee proposed these parameters; the application decides.
    Deciding(Parameters),
    /// A call comes in, with these parameters; the application decides.
    Ringing(Parameters),
    /// We proposed these parameters; waiting for the caller.
    Countering(Parameters),
    /// The call is up.
    InCall(Parameters),
}

/// A state, and what is known of its call beyond that: it ends with the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Registering,
    Calling(Parameters),
    Deciding(Parameters),
    Ringing(Parameters, Crossed),
    Countering(Parameters, Crossed),
    InCall(Parameters, Crossed),
}

/// Whether a request of ours crossed the call, which voids it. If the server saw the end of that call first, it has put ours
/// through; whether it did shows only in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crossed {
    Nothing,
    Request,
}

impl State {
    const fn public(self) -> SessionState {
        match self {
            Self::Idle => SessionState::Idle,
            Self::Registering => SessionState::Registering,
            Self::Calling(parameters) => SessionState::Calling(parameters),
            Self::Deciding(parameters) => SessionState::Deciding(parameters),
            Self::Ringing(parameters, _) => SessionState::Ringing(parameters),
            Self::Countering(parameters, _) => SessionState::Countering(parameters),
            Self::InCall(parameters, _) => SessionState::InCall(parameters),
        }
    }
}

impl SessionState {
    /// In words, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Registering => "registering",
            Self::Calling(_) => "calling",
            Self::Deciding(_) => "deciding on a counter-proposal",
            Self::Ringing(_) => "being called",
            Self::Countering(_) => "waiting for the caller",
            Self::InCall(_) => "in a call",
        }
    }
}

/// Counters of a client, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Data packets sent.
    pub packets_sent: u64,
    /// Bytes of audio sent.
    pub bytes_sent: u64,
    /// Data packets received in a call.
    pub packets_received: u64,
    /// Bytes of audio received in a call.
    pub bytes_received: u64,
    /// Packets that belonged to a call already over, ignored.
    pub late: u64,
}

impl Client {
    /// A client that is not connected yet. Any `Opened` input makes the connection.
    pub const fn new(settings: ClientSettings) -> Self {
        Self {
            settings,
            wire: Wire { limits: settings.limits, ..Wire::new(settings.order) },
            server: None,
            name: None,
            asked: None,
            state: State::Idle,
            deadline: None,
            outbox: Outbox::new(settings.limits.max_outbox),
            stats: ClientStats {
                packets_sent: 0,
                bytes_sent: 0,
                packets_received: 0,
                bytes_received: 0,
                late: 0,
            },
        }
    }

    /// How far we are.
    pub const fn state(&self) -> SessionState {
        self.state.public()
    }

    /// The name that we are registered under; `None` before that.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The audio of the call that is up.
    pub const fn parameters(&self) -> Option<Parameters> {
        match self.state {
            State::InCall(parameters, _) => Some(parameters),
            _ => None,
        }
    }

    /// Whether there is a connection.
    pub const fn is_connected(&self) -> bool {
        self.server.is_some()
    }

    /// The counters.
    pub const fn stats(&self) -> ClientStats {
        self.stats
    }

    /// Takes a message of the server's, already decoded.
    ///
    /// # Errors
    /// See [`Session::handle_input`].
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        packet: Packet<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        // At most one small packet is sent in answer.
        self.outbox.check_capacity(HEAD_LEN, 1)?;
        match (self.state, packet) {
            (State::InCall(parameters, _), Packet::Data(samples)) => {
                // The other side is in this call: so is the server.
                self.state = State::InCall(parameters, Crossed::Nothing);
                self.stats.packets_received = self.stats.packets_received.saturating_add(1);
                self.stats.bytes_received = self.stats.bytes_received.saturating_add(samples.len() as u64);
                Ok(Some(ClientEvent::Data { samples }))
            }
            (State::Registering, Packet::Accept { .. }) => {
                self.enter(State::Idle);
                self.name = self.asked.take();
                Ok(Some(ClientEvent::Registered))
            }
            (State::Registering, Packet::Drop { optional } | Packet::Close { optional }) => {
                self.enter(State::Idle);
                Ok(Some(ClientEvent::RegistrationRefused { reason: optional }))
            }
            (State::Idle | State::Calling(_) | State::Registering, Packet::Handshake(handshake)) => {
                self.ring(now, handshake).map(Some)
            }
            (
                State::Idle,
                Packet::Accept { .. }
                | Packet::Parameters { .. }
                | Packet::Data(_)
                | Packet::Drop { .. }
                | Packet::Close { .. },
            )
            | (
                State::Calling(_) | State::Ringing(..) | State::Countering(..) | State::Registering,
                Packet::Data(_),
            ) => self.late(packet).map(|()| None),
            _ => self.answered(now, packet).map(Some),
        }
    }

    /// An answer to our call, or to our counter-proposal; or the end of any call.
    fn answered<'a>(&mut self, now: Instant, packet: Packet<'a>) -> Result<ClientEvent<'a>, Violation> {
        Ok(match (self.state, packet) {
            (State::Calling(_), Packet::UserNotFound) => {
                self.enter(State::Idle);
                ClientEvent::NotFound
            }
            (State::Calling(_), Packet::Parameters { parameters, .. })
                if parameters.check(&self.settings.ranges).is_err() =>
            {
                self.send(&Packet::Close { optional: OUT_OF_RANGE })?;
                self.enter(State::Idle);
                ClientEvent::Dropped { optional: OUT_OF_RANGE }
            }
            (State::Calling(_), Packet::Parameters { parameters, optional }) => {
                self.enter(State::Deciding(parameters));
                self.deadline = Some(now.saturating_add(self.settings.answer_timeout));
                ClientEvent::Countered { parameters, optional }
            }
            (State::Calling(parameters) | State::Countering(parameters, _), Packet::Accept { optional }) => {
                self.enter(State::InCall(parameters, Crossed::Nothing));
                ClientEvent::Established { parameters, optional }
            }
            (State::Countering(..), Packet::Close { optional }) => {
                self.over()?;
                ClientEvent::Closed { optional }
            }
            (_, Packet::Drop { optional } | Packet::Close { optional }) => {
                self.over()?;
                ClientEvent::Dropped { optional }
            }
            (state, packet) => {
                return Err(Violation::Unexpected { state: state.public().name(), message: packet.name() });
            }
        })
    }

    /// A packet that was on its way when its call ended, or one of a call that is not up.
    fn late(&mut self, packet: Packet<'_>) -> Result<(), Violation> {
        self.stats.late = self.stats.late.saturating_add(1);
        if let Packet::Accept { .. } | Packet::Parameters { .. } = packet {
            // Our cancellation crossed the callee's answer; say it again, in case it was not ours that was answered.
            self.send(&Packet::Drop { optional: &[] })?;
        }
        Ok(())
    }

    /// A call comes in. The server rings only clients that it holds for idle: a request of ours had not reached it yet and is void, as
    /// long as this call stands when it gets there.
    fn ring<'a>(&mut self, now: Instant, handshake: Handshake<'a>) -> Result<ClientEvent<'a>, Violation> {
        let Handshake { parameters, user_name, optional } = handshake;
        let superseded = self.state != State::Idle;
        if let Err(error) = parameters.check(&self.settings.ranges) {
            self.send(&Packet::Drop { optional: OUT_OF_RANGE })?;
            self.enter(State::Idle);
            let dropped = ClientEvent::Dropped { optional: OUT_OF_RANGE };
            return if superseded { Ok(dropped) } else { Err(error.into()) };
        }
        let crossed = if superseded { Crossed::Request } else { Crossed::Nothing };
        self.enter(State::Ringing(parameters, crossed));
        self.deadline = Some(now.saturating_add(self.settings.answer_timeout));
        Ok(ClientEvent::Incoming { caller: user_name, parameters, optional, superseded })
    }

    /// The other side ended the call. If ours had been put through in the meantime, it has no callee any more.
    fn over(&mut self) -> Result<(), EncodeError> {
        if let State::Ringing(_, Crossed::Request)
        | State::Countering(_, Crossed::Request)
        | State::InCall(_, Crossed::Request) = self.state
        {
            self.send(&Packet::Drop { optional: &[] })?;
        }
        self.enter(State::Idle);
        Ok(())
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.deadline = None;
    }

    fn send(&mut self, packet: &Packet<'_>) -> Result<(), EncodeError> {
        let lane = if matches!(packet, Packet::Data(_)) { Lane::Droppable } else { Lane::Reliable };
        let max = if lane == Lane::Droppable { MAX_DATA } else { MAX_CONTROL };
        let len = packet.encoded_len(&self.wire)?;
        if len > max {
            return Err(EncodeError::TooLong { field: packet.name(), len, max });
        }
        self.outbox.send(self.server, lane, packet, &self.wire).map(|_| ())
    }

    /// Sends `packet` and enters `next`, or does neither.
    fn advance_to(&mut self, packet: &Packet<'_>, next: State) -> Result<(), Refusal> {
        self.send(packet)?;
        self.enter(next);
        Ok(())
    }

    fn register(
        &mut self,
        now: Instant,
        registration: Registration<'_>,
        parameters: Parameters,
    ) -> Result<(), Refusal> {
        self.idle()?;
        registration.check()?;
        let optional = registration.to_bytes()?;
        let handshake = Handshake { parameters, user_name: &[], optional: &optional };
        self.advance_to(&Packet::Handshake(handshake), State::Registering)?;
        self.deadline = Some(now.saturating_add(self.settings.registration_timeout));
        Ok(())
    }

    fn call(&mut self, now: Instant, handshake: Handshake<'_>) -> Result<(), Refusal> {
        self.idle()?;
        let Handshake { parameters, user_name, .. } = handshake;
        parameters.check(&self.settings.ranges)?;
        // An empty name would be a registration.
        if user_name.is_empty() {
            return Err(Refusal::InvalidName(NameError::Empty));
        }
        self.advance_to(&Packet::Handshake(handshake), State::Calling(parameters))?;
        self.deadline = Some(now.saturating_add(self.settings.answer_timeout));
        Ok(())
    }

    /// The phase, if it is idle.
    const fn idle(&self) -> Result<(), Refusal> {
        match self.state {
            State::Idle => Ok(()),
            state => Err(Refusal::Busy { state: state.public().name() }),
        }
    }
}

impl From<EncodeError> for Violation {
    /// An answer of ours that does not fit can only be one that the outbox has no room for.
    fn from(error: EncodeError) -> Self {
        let (needed, available) = match error {
            EncodeError::NoRoom { needed, available } => (needed, available),
            _ => (0, 0),
        };
        Self::OutboxFull(voxwire_core::Full { needed, available })
    }
}

impl Session for Client {
    type Framing = Framing;
    type Command<'a> = ClientCommand<'a>;
    type Event<'a> = ClientEvent<'a>;
    type Violation = Violation;
    type Refusal = Refusal;

    fn framing(&self) -> Framing {
        Framing::client(self.settings.order, self.settings.limits.max_frame)
    }

    #[inline]
    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        match input {
            Input::Opened { peer, .. } => {
                if self.server.is_some() {
                    self.outbox.close(peer);
                    return Err(Violation::TooMany(Resource::Connections));
                }
                self.server = Some(peer);
                Ok(Some(ClientEvent::Connected))
            }
            Input::Closed { peer } if self.server == Some(peer) => {
                let in_call = !matches!(self.state, State::Idle | State::Registering);
                (self.server, self.name) = (None, None);
                self.enter(State::Idle);
                Ok(Some(ClientEvent::Disconnected { in_call }))
            }
            Input::Frame { peer, bytes, .. } if self.server == Some(peer) => {
                let packet = Packet::decode(bytes, &self.wire)?;
                self.receive(now, packet)
            }
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, now: Instant, command: ClientCommand<'_>) -> Result<(), Refusal> {
        if self.server.is_none() {
            return Err(Refusal::NotConnected);
        }
        let unexpected = |command| Refusal::Unexpected { state: self.state.public().name(), command };
        match (command, self.state) {
            (ClientCommand::Say { samples }, State::InCall(..)) => {
                self.send(&Packet::Data(samples))?;
                self.stats.packets_sent = self.stats.packets_sent.saturating_add(1);
                self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(samples.len() as u64);
                Ok(())
            }
            (ClientCommand::Register { name, secret, preferred, samples }, _) => {
                let registration = Registration { name: name.as_bytes(), secret, samples: Some(samples) };
                self.register(now, registration, preferred)?;
                self.asked = Some(name.into());
                Ok(())
            }
            (ClientCommand::Call { user, parameters, optional }, _) => {
                self.call(now, Handshake { parameters, user_name: user, optional })
            }
            (ClientCommand::Accept { optional }, State::Ringing(parameters, crossed)) => {
                self.advance_to(&Packet::Accept { optional }, State::InCall(parameters, crossed))
            }
            (ClientCommand::Accept { optional }, State::Deciding(parameters)) => {
                self.advance_to(&Packet::Accept { optional }, State::InCall(parameters, Crossed::Nothing))
            }
            (ClientCommand::Counter { parameters, optional }, State::Ringing(_, crossed)) => {
                parameters.check(&self.settings.ranges)?;
                let countering = State::Countering(parameters, crossed);
                self.advance_to(&Packet::Parameters { parameters, optional }, countering)?;
                self.deadline = Some(now.saturating_add(self.settings.answer_timeout));
                Ok(())
            }
            (ClientCommand::Close { optional }, State::Deciding(_)) => {
                self.advance_to(&Packet::Close { optional }, State::Idle)
            }
            (ClientCommand::Drop { .. }, State::Idle | State::Registering) => Err(unexpected("drop a call")),
            (ClientCommand::Drop { optional }, _) => self.advance_to(&Packet::Drop { optional }, State::Idle),
            (ClientCommand::Accept { .. }, _) => Err(unexpected("accept")),
            (ClientCommand::Counter { .. }, _) => Err(unexpected("make a counter-proposal")),
            (ClientCommand::Close { .. }, _) => Err(unexpected("refuse a counter-proposal")),
            (ClientCommand::Say { .. }, _) => Err(unexpected("send audio")),
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ClientEvent<'a>> {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return None;
        }
        self.deadline = None;
        if self.state == State::Registering {
            // Still registering: the next answer is the answer to that, however late.
            return Some(ClientEvent::NoAnswer { request: Request::Register });
        }
        if let Some(server) = self.server {
            // A few bytes that always fit their format.
            let _ = self.outbox.send_over_limit(
                server,
                Lane::Reliable,
                &Packet::Drop { optional: b"no answer" },
                &self.wire,
            );
        }
        self.enter(State::Idle);
        Some(ClientEvent::NoAnswer { request: Request::Call })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    fn shutdown(&mut self, _now: Instant) {
        let Some(server) = self.server.take() else { return };
        if !matches!(self.state, State::Idle | State::Registering) {
            let _ = self.outbox.send_over_limit(
                server,
                Lane::Reliable,
                &Packet::Drop { optional: &[] },
                &self.wire,
            );
        }
        self.outbox.close(server);
        self.enter(State::Idle);
    }
}
