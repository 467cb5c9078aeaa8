mod calls;
mod chat;
mod groups;
mod moderation;
mod questions;
mod request_queue;
mod settings;
mod users;

pub use settings::{
    CREATION, MAX_MUTED, MAX_QUEUED_BYTES, MAX_RECORDING, MIN_KEPT_COST, RECORDING_CHANNELS, RECORDING_RATES,
    REGISTRATION, RESUMPTION, ServerSettings,
};

use crate::framing::is_log_in;
use crate::message::head;
use crate::objects::kind;
use crate::wire::{MAX_BEFORE_LOGIN, MAX_CALL_FRAME};
use crate::{
    Action, ClientMessage, Code, Framing, Refusal, Resource, ServerCommand, ServerEvent, ServerMessage, Text,
    Ticket, Violation, Wire,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::net::{IpAddr, SocketAddr};
use groups::Groups;
use questions::{Asked, What};
use request_queue::{Ledger, RequestQueue, action_of};
use users::{Delivered, Login, Lost, LostLogins, Users};
use voxwire_core::{
    Bucket, Connections, Deadlines, Deferred, Full, Hearing, Input, Instant, Lane, Message, Moderation as _,
    Mute, Outbox, PeerId, Session, SourceRate, Violations, name_key,
};

/// Makes of a token what is kept of it: a cryptographic hash, so that what is kept opens nothing.
pub type Digest = fn(&[u8]) -> [u8; 32];

/// The server: accounts by name, chat, groups, and calls whose audio is handed on without being encoded again.
///
/// It knows who is logged in, all groups and their members, and who takes part in which call. Accounts, passwords, contact
/// lists, messages for users who are offline, and all else that has to outlive it, are the application's: it is asked by events
/// and answers by commands, and a request is answered only then. One request of a client is in work at a time; those behind it wait
/// for their turn ([`Session::take_deferred`]), and live audio does not.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    wire: Wire,
    digest: Digest,
    /// Those that are not logged in are evictable.
    peers: Connections<Peer>,
    users: Users,
    groups: Groups,
    hearing: Hearing,
    /// What is not handed on of users, by what they are known by.
    muted: BTreeMap<Box<[u8]>, Mute>,
    watched: moderation::Watches,
    /// Connections that take part in a call.
    in_calls: usize,
    /// Log-ins whose connections are lost, for a while.
    lost_logins: LostLogins,
    /// What the application has been asked. Outlives connections: what is stored is true.
    asked: BTreeMap<Ticket, Asked>,
    tickets: u64,
    /// When a client has waited for too long for the application.
    answers: Deadlines<Ticket>,
    /// When a client must have got what was delivered.
    receipts: Deadlines<PeerId>,
    /// When the next request of a connection has its turn.
    turns: Deadlines<PeerId>,
    /// Connections whose turn it is.
    ready: VecDeque<PeerId>,
    /// What requests hold that wait for their turn.
    ledger: Ledger,
    registrations: SourceRate,
    creations: SourceRate,
    outbox: Outbox,
    /// What is to be told with the next time-out.
    later: VecDeque<ServerEvent<'static>>,
    stats: ServerStats,
}

/// Counters of a server, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Log-ins that succeeded.
    pub logins: u64,
    /// Log-ins and registrations that were refused.
    pub refused: u64,
    /// Whispers and group messages handed on or kept.
    pub texts: u64,
    /// Recordings handed on or kept.
    pub recordings: u64,
    /// Times that a user joined a call.
    pub joined: u64,
    /// `call_data` handed on.
    pub packets: u64,
    /// `call_data` dropped: of a user who may not talk there.
    pub stray: u64,
    /// `call_data`, texts and recordings that were not handed on as their sender is muted.
    pub muted: u64,
    /// Malformed messages.
    pub violations: u64,
}

#[derive(Debug)]
struct Peer {
    login: Option<Login>,
    /// The group whose call it takes part in.
    call: Option<Box<[u8]>>,
    /// The request that is in work.
    in_work: Option<Ticket>,
    /// What was delivered, and not shown to have arrived.
    delivered: Delivered,
    /// The request in hand may have been made before what its connection has taken: it waited for its turn, or is no request.
    stale: bool,
    /// Until when no request has its turn because of their rate.
    rests: Instant,
    /// Requests whose turn has not come.
    queued: RequestQueue,
    /// The next request is one whose turn it is.
    turn: bool,
    /// The largest message that the driver has been told of.
    max_frame: usize,
    /// It can be sent nothing but answers: its log-in is for requests alone.
    answers_only: bool,
    /// It has asked to be let in: the driver waits to be told how large messages may be then.
    entering: bool,
    /// Since when the stream is over, of which requests are left.
    gone: Option<Instant>,
    rate_use: RateUse,
    /// When live audio of its was handed on last.
    spoke: Option<Instant>,
}

/// What a connection has used up of its rates, and its violations. A log-in that is taken up takes it along.
#[derive(Debug, Clone, Copy)]
struct RateUse {
    violations: Violations,
    requests: Bucket,
    voice: Bucket,
}

type Answer<'a> = Result<Option<ServerEvent<'a>>, Code>;

impl Server {
    /// A server without users and groups. `seed` should be random: it keeps outsiders from choosing whose registrations are
    /// counted with theirs.
    pub fn new(settings: ServerSettings, seed: u64, digest: Digest) -> Self {
        let max = settings.limits.max_peers;
        Self {
            wire: Wire {
                limits: settings.limits,
                missing_is_empty: settings.lenient,
                floats: false,
                any_str: settings.lenient,
            },
            digest,
            peers: Connections::new(max),
            users: Users::new(settings.lenient),
            groups: Groups::new(settings.lenient),
            hearing: Hearing::new(),
            muted: BTreeMap::new(),
            watched: moderation::Watches::default(),
            in_calls: 0,
            lost_logins: LostLogins::new(max),
            asked: BTreeMap::new(),
            tickets: 0,
            answers: Deadlines::new(),
            receipts: Deadlines::new(),
            turns: Deadlines::new(),
            ready: VecDeque::new(),
            ledger: Ledger::default(),
            registrations: SourceRate::new(settings.registrations, 4096, seed),
            creations: SourceRate::new(settings.creations, 4096, seed),
            outbox: Outbox::new(settings.limits.max_outbox),
            later: VecDeque::new(),
            stats: ServerStats::default(),
            settings,
        }
    }

    /// Exempts addresses that stand for many people (TLS terminators, gateways) from limits by address, as loopback is. A hub has limits by
    /// address of its own: give `HubSettings::exempt` the same addresses.
    pub fn exempt(&mut self, addresses: &[IpAddr]) {
        self.registrations.exempt(addresses);
        self.creations.exempt(addresses);
    }

    /// What a user or a group is known by here, and should be stored under: the name's
    /// [canonical form](voxwire_core::canonical_name), or the name itself where [`ServerSettings::lenient`] compares bytes. Events and
    /// updates have names as they were sent, unless they say otherwise.
    pub fn key<'n>(&self, name: Text<'n>) -> Cow<'n, [u8]> {
        key(name.0, self.settings.lenient)
    }

    /// Who is logged in on a connection: what the user is [known by](Self::key).
    pub fn name(&self, peer: PeerId) -> Option<&[u8]> {
        Some(&*self.peers.get(peer)?.login.as_ref()?.username)
    }

    /// The connections of a user that are up.
    pub fn connections(&self, username: &[u8]) -> &[PeerId] {
        self.users.get(username).map_or(&[], |user| &user.connections)
    }

    /// Whether a user is logged in on a connection that is up.
    pub fn is_online(&self, username: &[u8]) -> bool {
        self.users.get(username).is_some()
    }

    /// Number of connections.
    pub const fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Number of users who are logged in.
    pub fn online(&self) -> usize {
        self.users.len()
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Number of connections that take part in a call.
    pub const fn in_calls(&self) -> usize {
        self.in_calls
    }

    /// The counters.
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    /// Takes a message of `peer`'s, already decoded. Below [`Session::handle_input`], which also answers what cannot be
    /// decoded.
    ///
    /// # Errors
    /// See [`Session`], point 5 of the contract.
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        message: ClientMessage<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let state = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
        if let ClientMessage::CallData { username, token, group_name, samples } = message {
            if let Some(until) = state.rate_use.voice.charge(now, self.settings.voice, 1) {
                self.outbox.pause(peer, until);
            }
            return self.call_data(now, peer, username, token, group_name, samples);
        }
        if state.in_work.is_some() {
            return Err(Violation::InWork);
        }
        if let Some(until) = state.rate_use.requests.charge(now, self.settings.requests, 1) {
            state.rests = until;
        }
        let action = message.action();
        // What concerns the connection alone is void once that is over.
        if state.gone.is_some() && matches!(action, Action::Login | Action::JoinCall | Action::LeaveCall) {
            return Ok(None);
        }
        match self.request(now, peer, message) {
            Ok(event) => Ok(event),
            Err(code) => {
                self.respond(peer, action, code);
                Ok(None)
            }
        }
    }

    fn request<'a>(&mut self, now: Instant, peer: PeerId, message: ClientMessage<'a>) -> Answer<'a> {
        match message {
            ClientMessage::Register { username, password } => self.register(now, peer, username, password),
            ClientMessage::Login { username, password } => self.login(now, peer, username, password, false),
            ClientMessage::LoginForRequests { username, password } => {
                self.login(now, peer, username, password, true)
            }
            ClientMessage::Logout { username } => self.logout(peer, username),
            ClientMessage::AddContact { username, token, contact } => {
                self.add_contact(now, peer, username, token, contact)
            }
            ClientMessage::Whisper { username, token, recipient, content } => {
                let sender = username;
                self.message(
                    now,
                    peer,
                    username,
                    token,
                    recipient,
                    ServerMessage::Whisper { sender, content },
                )
            }
            ClientMessage::VoiceMsg { username, token, recipient, channels, sample_rate, samples } => {
                let sender = username;
                let update = ServerMessage::VoiceMsg { sender, channels, sample_rate, samples };
                self.message(now, peer, username, token, recipient, update)
            }
            ClientMessage::CreateGroup { username, token, group_name } => {
                self.create_group(now, peer, username, token, group_name)
            }
            ClientMessage::JoinGroup { username, token, group_name } => {
                self.join_group(now, peer, username, token, group_name)
            }
            ClientMessage::MsgGroup { username, token, group_name, content } => {
                self.msg_group(now, peer, username, token, group_name, content)
            }
            ClientMessage::JoinCall { username, token, group_name } => {
                self.join_call(now, peer, username, token, group_name)
            }
            ClientMessage::LeaveCall { username, token } => self.leave_call(now, peer, username, token),
            ClientMessage::CallData { .. } => Ok(None),
        }
    }

    /// Tells `peer` how its request went.
    fn respond(&mut self, peer: PeerId, action: Action, code: Code) {
        self.send(peer, &ServerMessage::Response { action: action.name().into(), code });
    }

    /// Sends a small message to `peer` beyond the outbox's limit: one answer per stimulus, so the tables bound it.
    fn send(&mut self, peer: PeerId, message: &ServerMessage<'_>) {
        if self.peers.get(peer).is_some_and(|state| state.gone.is_some()) {
            return;
        }
        if let Some(state) = self.peers.get_mut(peer) {
            state.delivered.answer();
        }
        // Fails only for messages over the limits, and these were made from messages within them.
        let _ = self.outbox.send_over_limit(peer, Lane::Reliable, message, &self.wire);
    }

    /// A connection arrives; where there is no room, the oldest goes that is not logged in.
    fn open(
        &mut self,
        now: Instant,
        peer: PeerId,
        from: Option<SocketAddr>,
    ) -> Result<ServerEvent<'static>, Violation> {
        if let Some(oldest) = self.peers.to_evict() {
            self.expel(now, oldest);
        }
        // A driver that does not ask for what was put off has its place again.
        if let Some(before) = self.peers.peer_at(peer.slot) {
            let event = self.forget(now, before, true);
            self.later.extend(event);
        }
        let state = Peer {
            login: None,
            call: None,
            in_work: None,
            delivered: Delivered::default(),
            stale: false,
            rests: Instant::ZERO,
            queued: RequestQueue::default(),
            turn: false,
            max_frame: before_login(&self.settings),
            answers_only: false,
            entering: false,
            gone: None,
            spoke: None,
            rate_use: RateUse {
                violations: Violations::new(now),
                requests: Bucket::default(),
                voice: Bucket::default(),
            },
        };
        let from = self.peers.open_or_close(now, peer, from, state, &mut self.outbox)?;
        self.outbox.budget(peer, self.settings.droppable_budget);
        // A lost log-in may come back here in the middle of a call.
        if from.is_some_and(|from| self.lost_logins.arrive(peer, from.ip())) {
            self.limit(peer, max_in_a_call(&self.settings));
        }
        Ok(ServerEvent::Connected { peer, from })
    }

    /// Says how large a message of `peer` may be.
    fn limit(&mut self, peer: PeerId, max_frame: usize) {
        if let Some(state) = self.peers.get_mut(peer) {
            (state.max_frame, state.entering) = (max_frame, false);
        }
        self.outbox.limit(peer, max_frame);
    }

    /// Closes `peer`'s connection, to be told with the next time-out.
    fn expel(&mut self, now: Instant, peer: PeerId) {
        let gone = self.peers.get(peer).is_some_and(|state| state.gone.is_some());
        if let Some(event) = self.forget(now, peer, false) {
            self.later.push_back(event);
            if !gone {
                self.outbox.close(peer);
            }
        }
    }

    /// Forgets `peer`; its log-in waits for a while if it was `lost`.
    fn forget(&mut self, now: Instant, peer: PeerId, lost: bool) -> Option<ServerEvent<'static>> {
        let call = self.leave(peer);
        self.drop_waiting(peer);
        let from = self.peers.ip(peer);
        let state = self.peers.remove(peer)?;
        self.receipts.clear(peer);
        self.hearing.remove(peer);
        if let Some(ticket) = state.in_work {
            self.wait_no_longer(ticket);
        }
        if let Some(from) = from {
            self.lost_logins.depart(peer, from);
        }
        let username = state.login.map(|login| {
            self.users.remove(&login.username, peer);
            let username = login.username.clone();
            // A REQ socket reconnects by itself, as other sockets do; another client that is there for requests alone logs in for each.
            let comes_back = !login.requests_only || state.answers_only;
            if lost && comes_back && !self.settings.resume_timeout.is_zero() {
                let lost = Lost {
                    username: login.username,
                    requests_only: login.requests_only,
                    call,
                    from,
                    received: state.delivered.before_login(),
                    rate_use: state.rate_use,
                };
                self.lost_logins.add(
                    peer,
                    login.token,
                    lost,
                    now.saturating_add(self.settings.resume_timeout),
                );
            }
            username
        });
        if self.peers.is_empty() {
            self.outbox.shrink();
        }
        Some(ServerEvent::Gone { peer, username })
    }

    /// Counts a malformed message; the last one allowed closes the connection.
    fn count_violation(&mut self, now: Instant, peer: PeerId) {
        self.stats.violations = self.stats.violations.saturating_add(1);
        let Some(state) = self.peers.get_mut(peer) else { return };
        if state.rate_use.violations.add(now) >= self.settings.max_violations {
            self.expel(now, peer);
        }
    }

    /// Checks that the outbox has room for what a frame of `len` bytes causes. Into an empty one it goes beyond the limit.
    fn check_capacity(&self, len: usize) -> Result<(), Full> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        self.outbox.check_relay(len)
    }

    fn frame<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        bytes: &'a [u8],
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let state = self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?;
        let turn = core::mem::take(&mut state.turn);
        let is_update = bytes.starts_with(b"\xa6update") || head(bytes).0.0 == kind::UPDATE;
        state.entering |= state.login.is_none() && is_log_in(bytes);
        state.stale = turn || is_update;
        // Responses carry no number: a request is answered before the next one is looked at.
        if !is_update && !turn && state.is_busy(now) {
            self.put_off(now, peer, bytes);
            return Ok(None);
        }
        let result = match ClientMessage::decode(bytes, &self.wire) {
            Ok(message) => self.receive(now, peer, message),
            Err(error) => {
                // Every request is answered; updates never are.
                if !is_update {
                    let action = action_of(bytes);
                    self.send(peer, &ServerMessage::Response { action, code: Code::REQUEST_INVALID });
                }
                self.count_violation(now, peer);
                Err(error.into())
            }
        };
        if turn {
            self.turn_over(now, peer);
        } else {
            self.idle(peer);
        }
        result
    }
}

/// What a name of a user or a group is known by: one form for all that are the same, or where it is `exact` the bytes themselves.
fn key(name: &[u8], exact: bool) -> Cow<'_, [u8]> {
    if exact { Cow::Borrowed(name) } else { name_key(name) }
}

impl Session for Server {
    type Framing = Framing;
    type Command<'a> = ServerCommand<'a>;
    type Event<'a> = ServerEvent<'a>;
    type Violation = Violation;
    type Refusal = Refusal;

    fn framing(&self) -> Framing {
        Framing::server(&self.wire)
    }

    #[inline]
    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        match input {
            Input::Frame { peer, bytes, .. } => {
                self.check_capacity(bytes.len())?;
                self.frame(now, peer, bytes)
            }
            Input::Answered { peer } => Ok(self.has_taken(now, peer, true)),
            Input::Written { peer } => Ok(self.has_taken(now, peer, false)),
            Input::AnswersOnly { peer } => {
                self.peers.get_mut(peer).ok_or(Violation::UnknownPeer)?.answers_only = true;
                self.answer_only(now, peer);
                Ok(None)
            }
            Input::Opened { peer, from, .. } => self.open(now, peer, from).map(Some),
            Input::Closed { peer } if self.do_the_rest(now, peer) => Ok(None),
            Input::Closed { peer } => self.forget(now, peer, true).map(Some).ok_or(Violation::UnknownPeer),
            _ => Err(Violation::UnknownPeer),
        }
    }

    fn handle_command(&mut self, now: Instant, command: ServerCommand<'_>) -> Result<(), Refusal> {
        match command {
            ServerCommand::Allow { ticket } => self.answered(now, ticket, Ok(())),
            ServerCommand::Refuse { ticket, code } => self.answered(now, ticket, Err(code)),
            ServerCommand::Admit { ticket, token } => self.admit(now, ticket, token),
            ServerCommand::Deliver { peer, update } => self.deliver(now, peer, &update),
            ServerCommand::Group { group_name, owner } => {
                let max = self.settings.max_groups;
                if self.groups.len() >= max && self.groups.get(group_name.0).is_none() {
                    return Err(Refusal::Full { what: Resource::Groups, max });
                }
                self.groups.add(now, group_name.0, owner.0, self.settings.lone_group_lifetime);
                Ok(())
            }
            ServerCommand::Unused { group_name, time } => {
                if !self.groups.unused(now, group_name.0, time) {
                    let command = "say how long it was not used";
                    return Err(Refusal::Unexpected { state: "there is no such group", command });
                }
                Ok(())
            }
            ServerCommand::Member { group_name, username } => {
                if !self.groups.add_member(group_name.0, username.0) {
                    return Err(Refusal::Unexpected {
                        state: "there is no such group",
                        command: "add a member",
                    });
                }
                Ok(())
            }
            ServerCommand::Kick { peer } => self.kick(now, peer, ""),
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ServerEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if let Some(ticket) = self.answers.pop(now) {
            self.give_up(now, ticket);
            return None;
        }
        if let Some(peer) = self.turns.pop(now) {
            self.make_ready(peer);
            return None;
        }
        if let Some(peer) = self.receipts.pop(now) {
            let due = self.peers.get(peer).map_or(0, |state| state.delivered.due(now));
            return self.received(peer, due);
        }
        let ServerSettings { lone_group_lifetime: lonely, unused_group_lifetime: unused, .. } = self.settings;
        if let Some(group_name) = self.groups.forget_unused(now, lonely, unused) {
            return Some(ServerEvent::GroupForgotten { group_name });
        }
        let awaited = self.lost_logins.expire(now);
        self.stop_awaiting(awaited);
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        let sessions =
            [self.answers.next(), self.receipts.next(), self.turns.next(), self.lost_logins.next()];
        let timers = sessions.into_iter().chain([self.groups.next_unused()]);
        timers.flatten().min()
    }

    fn take_deferred(&mut self) -> Option<Deferred> {
        self.next_turn()
    }

    fn evictable(&self) -> impl Iterator<Item = PeerId> {
        self.peers.evictable()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Answers what is in work and what waits behind it, and closes every connection.
    fn shutdown(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.peers.iter().map(|(peer, _)| peer).collect();
        for peer in peers {
            if let Some(ticket) = self.peers.get(peer).and_then(|state| state.in_work) {
                self.give_up(now, ticket);
            }
            for action in self.drop_waiting(peer) {
                let action = Text(&action);
                self.send(peer, &ServerMessage::Response { action, code: Code::SERVER_UNAVAILABLE });
            }
            self.expel(now, peer);
        }
    }
}

/// The limit for those who may come back in the middle of a call.
const fn max_in_a_call(settings: &ServerSettings) -> usize {
    let max = settings.limits.max_frame.saturating_sub(1);
    if max < MAX_CALL_FRAME { max } else { MAX_CALL_FRAME }
}

/// The limit before a log-in.
const fn before_login(settings: &ServerSettings) -> usize {
    let max = settings.limits.max_frame;
    if max < MAX_BEFORE_LOGIN { max } else { MAX_BEFORE_LOGIN }
}
