mod calls;
mod contacts;
mod login;
mod moderation;
mod relay;
mod settings;

use crate::types::Text;
use crate::{ECHO, Framing, Packet, Refusal, ServerCommand, ServerEvent, Violation, Wire};
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use contacts::Changes;
use core::net::{IpAddr, SocketAddr};
use relay::{Leg, Relays};
pub use settings::{MAX_CALLED, MAX_PENDING_CALLS, RelayAddress, ServerSettings};
use voxwire_core::{
    Bucket, Connections, FairRate, Hearing, Input, Instant, Lane, Message, Moderation as _, Names, Outbox,
    Part, Parts, PeerId, Session, SourceRate, Via, truncated,
};

/// What our server says, for people and programs. The first two are the original's only ones.
pub mod reason {
    /// LoginFailed: a client has that name, or had it a moment ago.
    pub const TAKEN: &str = "username already used";
    /// ErrorResponse: no client has that name.
    pub const NOT_FOUND: &str = "requested username not found";
    /// LoginFailed: a name that is not valid; what is wrong with it follows, after a colon.
    pub const INVALID: &str = "username invalid";
    /// LoginFailed and ErrorResponse: more than is allowed.
    pub const TOO_MANY_ATTEMPTS: &str = "too many attempts, try again later";
    /// ErrorResponse: a call without a name.
    pub const LOG_IN_FIRST: &str = "log in first";
    /// ErrorResponse: the callee is called too often.
    pub const BUSY: &str = "the user is called too often, try again later";
    /// ErrorResponse: no client listens on such a port.
    pub const PORT: &str = "nobody can connect to the port of this call";
    /// ErrorResponse: port 0, and no relay.
    pub const NOT_RELAYED: &str = "this server carries no calls: listen on a port and announce that";
    /// ErrorResponse: no port is left, or as many calls are carried as may be.
    pub const NO_RELAY: &str = "this server cannot carry more calls, try again later";
    /// ErrorResponse: the server, which carries the call, cannot connect to where the caller listens.
    pub const UNREACHABLE: &str = "the server cannot connect to the port of this call";
    /// ErrorResponse: a client that proved the name to be its own took it over.
    pub const DISPLACED: &str = "your name was taken over by a newer connection";
}

/// The server: log-ins, every client's contact list, and calls handed on; and where it is told to, the calls themselves.
///
/// Every connection is a peer: a client's, or in relay mode one side of a call.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    wire: Wire,
    /// Clients without a name are evictable.
    peers: Connections<Peer>,
    names: Names,
    /// Bytes of all names, encoded: the size of a contact list.
    roster: usize,
    changes: Changes,
    relays: Relays,
    hearing: Hearing,
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
    /// Names given.
    pub logins: u64,
    /// Calls handed on to a callee.
    pub calls: u64,
    /// Carried calls that came up.
    pub established: u64,
    /// VoiceData packets carried.
    pub packets: u64,
    /// Bytes of sound carried.
    pub bytes: u64,
    /// VoiceData packets that were not carried as their sender is muted, or as the other side does not hear it.
    pub muted: u64,
    /// Malformed or misplaced packets.
    pub violations: u64,
}

#[derive(Debug)]
enum Peer {
    Client(Client),
    Leg(Leg),
}

#[derive(Debug)]
struct Client {
    name: Option<Box<[u8]>>,
    /// The application is asked whether it may log in.
    pending: bool,
    /// Whom it has called, the latest last: a refusal must answer one of these.
    called: VecDeque<PeerId>,
    control: Bucket,
    /// Its voice is not carried.
    muted: bool,
    /// Its calls are told.
    watched: bool,
    /// Of its source's attempts.
    part: Part,
    rings: FairRate,
}

impl Client {
    fn name(&self) -> &[u8] {
        self.name.as_deref().unwrap_or_default()
    }
}

impl Server {
    /// A server without peers. `seed` should be random: it keeps outsiders from choosing whose attempts are counted with
    /// theirs.
    pub fn new(settings: ServerSettings, seed: u64) -> Self {
        let max = settings.limits.max_peers;
        Self {
            wire: Wire { limits: settings.limits, ..Wire::SERVER },
            peers: Connections::new(max),
            names: if settings.any_name { Names::exact(max) } else { Names::new(max) },
            roster: if settings.echo { contacts::encoded(ECHO.as_bytes()) } else { 0 },
            changes: Changes::default(),
            relays: Relays::default(),
            hearing: Hearing::new(),
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

    /// The name of `peer`, if it is logged in.
    pub fn name(&self, peer: PeerId) -> Option<&[u8]> {
        self.client(peer)?.name.as_deref()
    }

    /// The client of that name.
    pub fn find(&self, name: &[u8]) -> Option<PeerId> {
        self.names.find(name)
    }

    /// Number of connections, carried calls' included.
    pub const fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Number of clients that are logged in.
    pub fn logged_in(&self) -> usize {
        self.names.len()
    }

    /// Number of calls carried, those included that are not up yet.
    pub fn relays(&self) -> usize {
        self.relays.len()
    }

    /// The counters.
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    /// Takes a message of `peer`'s, already decoded, beside its bytes: what is relayed unchanged is `raw`. Below
    /// [`Session::handle_input`], which also checks the outbox's room and closes connections.
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
        let client = match self.peers.get_mut(peer) {
            Some(Peer::Leg(_)) => {
                let is_told = self.carry(now, peer, raw, packet)?;
                return Ok(if is_told { Self::told(peer, packet) } else { None });
            }
            Some(Peer::Client(client)) => client,
            None => return Err(Violation::UnknownPeer),
        };
        if let Some(until) = client.control.charge(now, self.settings.control, 1) {
            self.outbox.pause(peer, until);
        }
        match packet {
            Packet::Login { name } => self.login(now, peer, name),
            Packet::CallRequest(request) => self.call(now, peer, request),
            Packet::CallRefused { contact } => self.refuse(now, peer, contact),
            packet => {
                // The original has no handler for anything else, and closes the connection.
                let message = packet.name();
                self.expel(now, peer, None);
                Err(Violation::Unexpected { state: "talking to the server", message })
            }
        }
    }

    /// Whether a name is that of the contact that sends back what it hears.
    fn is_echo(&self, name: &[u8]) -> bool {
        self.settings.echo && name == ECHO.as_bytes()
    }

    fn client(&self, peer: PeerId) -> Option<&Client> {
        match self.peers.get(peer)? {
            Peer::Client(client) => Some(client),
            Peer::Leg(_) => None,
        }
    }

    fn client_mut(&mut self, peer: PeerId) -> Option<&mut Client> {
        match self.peers.get_mut(peer)? {
            Peer::Client(client) => Some(client),
            Peer::Leg(_) => None,
        }
    }

    /// Whether `peer` may try once more to have a name, or to reach one: names are guessed that way.
    fn may_try(&mut self, now: Instant, peer: PeerId) -> bool {
        let Some(Peer::Client(client)) = self.peers.get_mut(peer) else { return false };
        self.parts.take(now, &mut client.part, &mut self.attempts)
    }

    /// Sends a packet to `peer` beyond the outbox's limit: one answer per stimulus, so the tables bound it.
    fn send(&mut self, peer: PeerId, packet: &Packet<'_>) {
        // Fails only for packets over the limits, and these were made from packets within them.
        let _ = self.outbox.send_over_limit(peer, Lane::Reliable, packet, &self.wire);
    }

    /// Sends ErrorResponse with a text of at most 255 bytes.
    fn send_error(&mut self, peer: PeerId, what: &str) {
        self.send(peer, &Packet::ErrorResponse { what: clipped(what) });
    }

    /// A connection arrives; where there is no room, the one goes that has been without a name for longest.
    fn open(
        &mut self,
        now: Instant,
        peer: PeerId,
        from: Option<SocketAddr>,
    ) -> Result<ServerEvent<'static>, Violation> {
        if let Some(oldest) = self.peers.to_evict() {
            self.expel(now, oldest, None);
        }
        let client = Client {
            name: None,
            pending: false,
            called: VecDeque::new(),
            control: Bucket::default(),
            muted: false,
            watched: false,
            part: Part::default(),
            rings: FairRate::default(),
        };
        let from = self.peers.open_or_close(now, peer, from, Peer::Client(client), &mut self.outbox)?;
        let part = self.parts.open(now, self.attempts.limited(from.map(|from| from.ip())));
        if let Some(client) = self.client_mut(peer) {
            client.part = part;
        }
        self.arrive(now, peer);
        self.send(peer, &Packet::HelloConnect);
        Ok(ServerEvent::Connected { peer, from })
    }

    /// Closes `peer`'s connection, to be told with the next time-out.
    fn expel(&mut self, now: Instant, peer: PeerId, what: Option<&str>) {
        // The driver may not have closed yet whom we have given up.
        if self.peers.get(peer).is_none() {
            return;
        }
        if let Some(what) = what {
            self.send_error(peer, what);
        }
        if let Some(event) = self.forget(now, peer) {
            self.later.push_back(event);
        }
        self.outbox.close(peer);
    }

    /// Forgets `peer`, and tells whom it concerns.
    fn forget(&mut self, now: Instant, peer: PeerId) -> Option<ServerEvent<'static>> {
        let address = self.peers.ip(peer);
        let event = match self.peers.remove(peer)? {
            Peer::Leg(leg) => self.leg_gone(now, leg),
            Peer::Client(client) => {
                self.parts.close(now, client.part);
                self.cancel_relays(now, peer);
                self.hearing.remove(peer);
                match &client.name {
                    Some(name) => {
                        let exempt = self.attempts.exempt_addresses();
                        let until = exempt.name_kept_until(now, address, self.settings.quarantine);
                        self.names.release(now, name, address, until);
                        self.roster = self.roster.saturating_sub(contacts::encoded(name));
                        self.gone(now, name.clone());
                    }
                    None if self.settings.unnamed_take_part => self.gone(now, Box::default()),
                    None => {}
                }
                Some(ServerEvent::Gone { peer, name: client.name })
            }
        };
        if self.peers.is_empty() {
            self.outbox.shrink();
        }
        event
    }

    fn frame<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        bytes: &'a [u8],
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let result = match Packet::decode(bytes, &self.wire) {
            Ok(packet) => self.receive(now, peer, bytes, packet),
            Err(error) => match self.too_long(peer, bytes) {
                Some(error) => self.long_login(now, peer, error),
                None => {
                    // As the original does.
                    self.expel(now, peer, None);
                    Err(error.into())
                }
            },
        };
        if result.is_err() {
            self.stats.violations = self.stats.violations.saturating_add(1);
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
                // A log-in is answered with every client's name; anything else with a few packets. Into an empty outbox that
                // goes beyond the limit.
                if !self.outbox.is_empty() {
                    let answer = match self.client(peer) {
                        Some(Client { name: None, .. }) => self.roster,
                        _ => 0,
                    };
                    self.outbox.check_relay(bytes.len().saturating_add(answer))?;
                }
                self.frame(now, peer, bytes)
            }
            Input::Opened { peer, via: Via::Accepted, from } => self.open(now, peer, from).map(Some),
            Input::Opened { peer, via: Via::AcceptedOn(id), from } => self.leg_accepted(now, peer, id, from),
            Input::Opened { peer, via: Via::Dialled(id), .. } => self.leg_dialled(now, peer, id),
            Input::Closed { peer } => {
                self.peers.get(peer).ok_or(Violation::UnknownPeer)?;
                Ok(self.forget(now, peer))
            }
            Input::DialFailed(id) => Ok(self.dial_failed(now, id)),
            Input::Listening { id, port } => Ok(self.listening(id, port)),
            Input::ListenFailed(id) => Ok(self.listen_failed(now, id)),
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, now: Instant, command: ServerCommand<'_>) -> Result<(), Refusal> {
        match command {
            ServerCommand::Admit { peer, name, proven } => self.admit(now, peer, name, proven),
            ServerCommand::Reject { peer, reason } => {
                let client = self.client_mut(peer).ok_or(Refusal::UnknownPeer)?;
                if !core::mem::take(&mut client.pending) {
                    let command = "reject a log-in";
                    return Err(Refusal::Unexpected { state: "not logging in", command });
                }
                self.send(peer, &Packet::LoginFailed { reason: clipped(reason) });
                Ok(())
            }
            ServerCommand::Kick { peer, reason } => self.kick(now, peer, reason),
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ServerEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if self.changes.due().is_some_and(|due| due <= now) {
            self.tell_changes(now);
            return None;
        }
        self.relay_timeout(now)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        [self.changes.due(), self.relays.due()].into_iter().flatten().min()
    }

    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        self.peers.evictable()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Closes every connection: that is the protocol's way.
    fn shutdown(&mut self, now: Instant) {
        // No client has to be told who goes: every client does.
        self.changes = Changes::silent();
        let peers: Vec<PeerId> = self.peers.iter().map(|(peer, _)| peer).collect();
        for peer in peers {
            if self.peers.get(peer).is_some() {
                self.expel(now, peer, None);
            }
        }
    }
}

/// At most 255 bytes of `text`.
fn clipped(text: &str) -> Text<'_> {
    Text::from(truncated(text, 255))
}
