mod requests;

use crate::{
    Action, CLIENT_LIMITS, ClientCommand, ClientEvent, ClientMessage, Code, Dialect, Framing, Refusal,
    Resource, Secret, ServerMessage, Text, Violation, Wire,
};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use requests::Requests;
use voxwire_core::{DialId, Input, Instant, Jitter, Lane, Limits, Message, Outbox, PeerId, Session};

/// The slowest that sending is thought to go, in bytes per second.
const SLOWEST: usize = 16 * 1024;

/// One client: a connection to a server, requests that are answered in order, and updates.
///
/// After a lost connection it connects again, logs in, and joins the call it was in, of its own accord.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    wire: Wire,
    server: Option<PeerId>,
    /// Whom to log in as after a lost connection: what last succeeded.
    account: Option<Account>,
    token: Option<Box<[u8]>>,
    /// The group whose call it is in, or wants to be in again.
    call: Option<Box<[u8]>>,
    in_call: bool,
    requests: Requests,
    /// When all that was sent should have arrived, at the slowest.
    sent_by: Instant,
    /// When to connect again.
    retry: Option<Instant>,
    /// When to log in again, on a connection that is there.
    log_in: Option<Instant>,
    /// How long to wait before the next attempt at either, at most.
    wait: Duration,
    jitter: Jitter,
    /// It has been connected before.
    returning: bool,
    /// It has been shut down.
    ended: bool,
    outbox: Outbox,
    later: VecDeque<ClientEvent<'static>>,
    stats: ClientStats,
}

#[derive(Clone)]
struct Account {
    username: Box<[u8]>,
    password: Box<[u8]>,
    requests_only: bool,
}

impl Account {
    /// The log-in. In plain objects nothing can stand behind the last argument.
    fn message(&self, dialect: Dialect) -> ClientMessage<'_> {
        let (username, password) = (Text(&self.username), Secret(&self.password));
        match self.requests_only && dialect == Dialect::Zmtp {
            true => ClientMessage::LoginForRequests { username, password },
            false => ClientMessage::Login { username, password },
        }
    }
}

/// Never shows a password.
impl core::fmt::Debug for Account {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Account").field("username", &Text(&self.username)).finish_non_exhaustive()
    }
}

/// How to connect again after a lost connection, and to log in again where that is refused for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The longest wait before the first attempt. Each is shorter by up to a half, at random: not all clients of a server come back to it
    /// at the same time.
    pub first: Duration,
    /// The wait doubles with each attempt, up to this.
    pub longest: Duration,
}

/// Settings of a [`Client`].
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings {
    /// The limits of [`Wire`], and of the outbox. Default: [`CLIENT_LIMITS`].
    pub limits: Limits,
    /// What to speak. Default: ZMTP.
    pub dialect: Dialect,
    /// How long to wait for an answer, beside what sending takes at 16 KiB a second. Default: 40 s.
    pub answer_timeout: Duration,
    /// Whether, and how, to connect again. Default: after 500 ms at first, and 30 s at most.
    pub reconnect: Option<Reconnect>,
    /// A random number, which together with the user's name spreads the reconnections of many clients. Default: 0.
    pub seed: u64,
    /// Requests in work at a time. Default: 64.
    pub max_requests: usize,
    /// Live audio that may be queued for a slow server, in bytes. Default: 128 KiB.
    pub droppable_budget: usize,
}

impl ClientSettings {
    /// The defaults, see the fields' own values.
    pub const DEFAULT: Self = Self {
        limits: CLIENT_LIMITS,
        dialect: Dialect::Zmtp,
        answer_timeout: Duration::from_secs(40),
        reconnect: Some(Reconnect { first: Duration::from_millis(500), longest: Duration::from_secs(30) }),
        seed: 0,
        max_requests: 64,
        droppable_budget: 128 * 1024,
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
    /// Connected; nobody is logged in.
    Connected,
    /// We have asked to be logged in.
    LoggingIn,
    /// We are logged in.
    LoggedIn,
}

impl SessionState {
    /// In words, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
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
    /// Requests sent.
    pub requests: u64,
    /// Texts and recordings received.
    pub messages: u64,
    /// `call_data` sent.
    pub sent: u64,
    /// `call_data` received.
    pub heard: u64,
    /// Connections made after the first one.
    pub reconnects: u64,
    /// Malformed or unexpected messages.
    pub violations: u64,
}

impl Client {
    /// A client without a connection.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            wire: Wire { limits: settings.limits, ..Wire::CLIENT },
            server: None,
            account: None,
            token: None,
            call: None,
            in_call: false,
            requests: Requests::default(),
            sent_by: Instant::ZERO,
            retry: None,
            log_in: None,
            returning: false,
            ended: false,
            wait: settings.reconnect.map_or(Duration::ZERO, |reconnect| reconnect.first),
            jitter: Jitter::new(settings.seed),
            outbox: Outbox::new(settings.limits.max_outbox),
            later: VecDeque::new(),
            stats: ClientStats::default(),
            settings,
        }
    }

    /// Whether there is a connection.
    pub const fn is_connected(&self) -> bool {
        self.server.is_some()
    }

    /// How far we are with our server.
    pub fn state(&self) -> SessionState {
        if self.server.is_none() {
            SessionState::Disconnected
        } else if self.token.is_some() {
            SessionState::LoggedIn
        } else if self.requests.awaits(Action::Login) {
            SessionState::LoggingIn
        } else {
            SessionState::Connected
        }
    }

    /// The name that we are logged in with; `None` before that.
    pub fn name(&self) -> Option<&[u8]> {
        self.token.as_ref()?;
        self.account.as_ref().map(|account| &*account.username)
    }

    /// The group in whose call it is.
    pub fn call(&self) -> Option<&[u8]> {
        self.call.as_deref().filter(|_| self.in_call)
    }

    /// Number of requests that are not answered yet.
    pub fn in_work(&self) -> usize {
        self.requests.len()
    }

    /// The counters.
    pub const fn stats(&self) -> ClientStats {
        self.stats
    }

    /// Takes a message of the server's, already decoded. Below [`Session::handle_input`].
    ///
    /// # Errors
    /// See [`Session`], point 5 of the contract.
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        message: ServerMessage<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        if self.server != Some(peer) {
            return Err(Violation::UnknownPeer);
        }
        if self.account.is_none() {
            self.settled();
        }
        let count = |counter: &mut u64| *counter = counter.saturating_add(1);
        Ok(Some(match message {
            ServerMessage::CallData { sender, samples } => {
                count(&mut self.stats.heard);
                ClientEvent::CallData { sender, samples }
            }
            ServerMessage::Whisper { sender, content } => {
                count(&mut self.stats.messages);
                ClientEvent::Whisper { sender, content }
            }
            ServerMessage::MsgGroup { group_name, sender, content } => {
                count(&mut self.stats.messages);
                ClientEvent::MsgGroup { group_name, sender, content }
            }
            ServerMessage::VoiceMsg { sender, channels, sample_rate, samples } => {
                count(&mut self.stats.messages);
                ClientEvent::VoiceMsg { sender, channels, sample_rate, samples }
            }
            ServerMessage::LoggedIn { username, token } => {
                let again = self.logged_in(now, token)?;
                ClientEvent::LoggedIn { username, again }
            }
            ServerMessage::CallJoined { group_name } => {
                let again = self.call_joined(group_name)?;
                ClientEvent::CallJoined { group_name, again }
            }
            ServerMessage::Response { action, code } => return self.response(now, action, code),
        }))
    }

    /// A log-in has succeeded. Returns whether the session made it of its own accord.
    fn logged_in(&mut self, now: Instant, token: Secret<'_>) -> Result<bool, Violation> {
        let request = self.answer(b"login")?;
        self.settled();
        let [now_in, was_in] =
            [&request.account, &self.account].map(|account| account.as_ref().map(|it| &it.username));
        if now_in != was_in {
            // The call was the other account's.
            self.left();
        }
        self.account = request.account;
        if let Some(account) = &self.account {
            self.jitter.mix(&account.username);
        }
        self.token = Some(token.0.into());
        self.rejoin(now);
        Ok(request.again)
    }

    /// A call is joined. Returns whether the session asked for it of its own accord.
    fn call_joined(&mut self, group_name: Text<'_>) -> Result<bool, Violation> {
        let again = self.answer(b"join_call")?.again;
        // A log-out that was answered meanwhile has ended it again, and so has leaving, answered or not.
        if self.token.is_some() && !self.requests.awaits(Action::LeaveCall) {
            self.call = Some(group_name.0.into());
            self.in_call = true;
        }
        Ok(again)
    }

    /// How any other request went.
    fn response<'a>(
        &mut self,
        now: Instant,
        action: Text<'_>,
        code: Code,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let request = self.answer(action.0)?;
        let (action, again) = (request.action, request.again);
        match action {
            // An answer that came late has logged in after all.
            Action::Login if again && self.token.is_some() => {}
            Action::Login if again && code.is_temporary() => self.log_in_later(now),
            Action::Login if again => self.logged_out(),
            Action::Logout if code.is_success() => self.logged_out(),
            Action::JoinCall if again && !request.late => self.left(),
            _ => {}
        }
        // Of one that came late it has been told that there was no answer.
        Ok((!request.late).then_some(ClientEvent::Response { action, code, again }))
    }

    /// The server is there, and has us: the next attempt, should there be one, is a first one.
    fn settled(&mut self) {
        self.wait = self.settings.reconnect.map_or(Duration::ZERO, |reconnect| reconnect.first);
    }

    /// The request that a response with this action answers.
    fn answer(&mut self, action: &[u8]) -> Result<requests::Request, Violation> {
        let later = &mut self.later;
        let skipped = |action| later.push_back(ClientEvent::NoAnswer { action });
        self.requests.answer(action, skipped).ok_or(Violation::Unasked)
    }

    fn logged_out(&mut self) {
        (self.account, self.token) = (None, None);
        self.left();
    }

    fn left(&mut self) {
        (self.call, self.in_call) = (None, false);
    }

    /// Sends a request of our own accord.
    fn send_again(&mut self, now: Instant, action: Action) {
        let (Some(server), Some(account)) = (self.server, &self.account) else { return };
        let username = Text(&account.username);
        let message = match (action, &self.token, &self.call) {
            (Action::Login, ..) => account.message(self.settings.dialect),
            (_, Some(token), Some(call)) => {
                ClientMessage::JoinCall { username, token: Secret(token), group_name: Text(call) }
            }
            _ => return,
        };
        if self.outbox.send_over_limit(server, Lane::Reliable, &message, &self.wire).is_ok() {
            let account = self.account.clone().filter(|_| action == Action::Login);
            let deadline = self.deadline(now, 0);
            self.requests.add(action, deadline, true, account);
        }
    }

    /// Back in the call that the lost connection was in.
    fn rejoin(&mut self, now: Instant) {
        if self.call.is_some() && !self.in_call {
            // Of several log-ins that are answered at last, the newest has the token that counts.
            self.requests.supersede(Action::JoinCall);
            self.send_again(now, Action::JoinCall);
        }
    }

    fn opened(&mut self, now: Instant, peer: PeerId) -> ClientEvent<'static> {
        self.server = Some(peer);
        self.outbox.budget(peer, self.settings.droppable_budget);
        if core::mem::replace(&mut self.returning, true) {
            self.stats.reconnects = self.stats.reconnects.saturating_add(1);
            self.send_again(now, Action::Login);
        }
        ClientEvent::Connected
    }

    fn lost(&mut self, now: Instant) -> ClientEvent<'static> {
        self.server = None;
        self.token = None;
        self.in_call = false;
        self.log_in = None;
        self.sent_by = now;
        let unanswered: Vec<Action> = self.requests.clear();
        self.retry = self.next_attempt(now);
        ClientEvent::Disconnected { unanswered, retry_at: self.retry }
    }

    /// The log-in of our own accord is refused for now.
    fn log_in_later(&mut self, now: Instant) {
        self.log_in = self.next_attempt(now);
    }

    /// When the next attempt is due, if there is to be one; the one after it comes later.
    fn next_attempt(&mut self, now: Instant) -> Option<Instant> {
        let Reconnect { longest, .. } = self.settings.reconnect.filter(|_| !self.ended)?;
        let at = now.saturating_add(self.jitter.shorten(self.wait));
        self.wait = self.wait.saturating_mul(2).min(longest);
        Some(at)
    }

    fn send(
        &mut self,
        now: Instant,
        action: Action,
        account: Option<Account>,
        message: &ClientMessage<'_>,
    ) -> Result<(), Refusal> {
        let server = self.server.ok_or(Refusal::NotConnected)?;
        let max = self.settings.max_requests;
        if self.requests.len() >= max {
            return Err(Refusal::Full { what: Resource::Requests, max });
        }
        let len = self.outbox.send([server], Lane::Reliable, message, &self.wire)?.len();
        let deadline = self.deadline(now, len);
        self.requests.add(action, deadline, false, account);
        self.stats.requests = self.stats.requests.saturating_add(1);
        Ok(())
    }

    /// Sends a request of the account that is logged in.
    fn request(&mut self, now: Instant, command: ClientCommand<'_>) -> Result<(), Refusal> {
        if self.server.is_none() {
            return Err(Refusal::NotConnected);
        }
        // Cloned, as sending borrows all of the session.
        let login = self.account.as_ref().zip(self.token.as_ref());
        let login = login.map(|(account, token)| (account.username.clone(), token.clone()));
        let (username, token) =
            login.as_ref().map(|(name, token)| (Text(name), Secret(token))).unwrap_or_default();
        let message = message(command, username, token);
        let action = message.action();
        if login.is_none() {
            return Err(Refusal::NotLoggedIn { action });
        }
        self.send(now, action, None, &message)?;
        if action == Action::LeaveCall {
            // Also without an answer: the original gives none, and a client that leaves is not to be heard any more.
            self.left();
        }
        Ok(())
    }

    /// When a request of `len` bytes must have been answered: what is sent before it takes its time, too.
    fn deadline(&mut self, now: Instant, len: usize) -> Instant {
        let transfer = Duration::from_millis((len.saturating_mul(1000) / SLOWEST) as u64);
        self.sent_by = self.sent_by.max(now).saturating_add(transfer);
        self.sent_by.saturating_add(self.settings.answer_timeout)
    }

    fn send_samples(&mut self, samples: crate::Samples<'_>) -> Result<(), Refusal> {
        let server = self.server.ok_or(Refusal::NotConnected)?;
        let (Some(account), Some(token)) = (&self.account, &self.token) else {
            return Err(Refusal::NotLoggedIn { action: Action::CallData });
        };
        let group_name = self.call.as_deref().filter(|_| self.in_call).ok_or(Refusal::NotInCall)?;
        let (username, token, group_name) = (Text(&account.username), Secret(token), Text(group_name));
        let message = ClientMessage::CallData { username, token, group_name, samples };
        self.outbox.send([server], Lane::Droppable, &message, &self.wire)?;
        self.stats.sent = self.stats.sent.saturating_add(1);
        Ok(())
    }
}

impl Session for Client {
    type Framing = Framing;
    type Command<'a> = ClientCommand<'a>;
    type Event<'a> = ClientEvent<'a>;
    type Violation = Violation;
    type Refusal = Refusal;

    fn framing(&self) -> Framing {
        Framing::client(&self.wire, self.settings.dialect)
    }

    #[inline]
    fn handle_input<'a>(
        &mut self,
        now: Instant,
        input: Input<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let result = match input {
            // That is what the framing makes of what it has thrown away.
            Input::Frame { peer, bytes: [], .. } if self.server == Some(peer) => {
                Ok(Some(ClientEvent::Skipped))
            }
            Input::Frame { peer, bytes, .. } => match ServerMessage::decode(bytes, &self.wire) {
                Ok(message) => self.receive(now, peer, message),
                Err(error) => Err(error.into()),
            },
            Input::Opened { peer, .. } if self.ended => {
                self.outbox.close(peer);
                Ok(None)
            }
            Input::Opened { peer, .. } => Ok(Some(self.opened(now, peer))),
            Input::Closed { peer } if self.server == Some(peer) => Ok(Some(self.lost(now))),
            Input::DialFailed(DialId::FIRST) => {
                self.retry = self.next_attempt(now);
                Ok(None)
            }
            _ => Err(Violation::UnknownPeer),
        };
        if result.is_err() {
            self.stats.violations = self.stats.violations.saturating_add(1);
        }
        result
    }

    fn handle_command(&mut self, now: Instant, command: ClientCommand<'_>) -> Result<(), Refusal> {
        match command {
            ClientCommand::Say { samples } => self.send_samples(samples),
            ClientCommand::Register { username, password } => {
                self.send(now, Action::Register, None, &ClientMessage::Register { username, password })
            }
            ClientCommand::Login { username, password }
            | ClientCommand::LoginForRequests { username, password } => {
                let requests_only = matches!(command, ClientCommand::LoginForRequests { .. });
                let (username, password) = (username.0.into(), password.0.into());
                let account = Account { username, password, requests_only };
                let kept = account.clone();
                self.send(now, Action::Login, Some(kept), &account.message(self.settings.dialect))
            }
            _ => self.request(now, command),
        }
    }

    fn handle_timeout<'a>(&mut self, now: Instant) -> Option<ClientEvent<'a>> {
        if let Some(event) = self.later.pop_front() {
            return Some(event);
        }
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            // Fails only where the outbox is full, and it waits for a connection.
            let _ = self.outbox.dial(DialId::FIRST, "", 0);
            return None;
        }
        if self.log_in.is_some_and(|at| at <= now) {
            self.log_in = None;
            if self.token.is_none() {
                self.requests.supersede(Action::Login);
                self.send_again(now, Action::Login);
            }
            return None;
        }
        let request = self.requests.give_up(now)?;
        let action = request.action;
        if action == Action::Login && request.again {
            self.log_in_later(now);
        }
        Some(ClientEvent::NoAnswer { action })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.later.is_empty() {
            return Some(Instant::ZERO);
        }
        [self.retry, self.log_in, self.requests.due()].into_iter().flatten().min()
    }

    fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Logs out, and closes the connection once that is sent.
    fn shutdown(&mut self, _now: Instant) {
        self.ended = true;
        (self.retry, self.log_in) = (None, None);
        let Some(server) = self.server.take() else { return };
        if let (Some(account), Some(_)) = (&self.account, &self.token) {
            let message = ClientMessage::Logout { username: Text(&account.username) };
            let _ = self.outbox.send_over_limit(server, Lane::Reliable, &message, &self.wire);
        }
        let unanswered = self.requests.clear();
        self.later.push_back(ClientEvent::Disconnected { unanswered, retry_at: None });
        self.logged_out();
        self.outbox.close(server);
    }
}

/// The message of a command that needs a log-in.
const fn message<'a>(command: ClientCommand<'a>, username: Text<'a>, token: Secret<'a>) -> ClientMessage<'a> {
    match command {
        ClientCommand::AddContact { contact } => ClientMessage::AddContact { username, token, contact },
        ClientCommand::Whisper { recipient, content } => {
            ClientMessage::Whisper { username, token, recipient, content }
        }
        ClientCommand::CreateGroup { group_name } => {
            ClientMessage::CreateGroup { username, token, group_name }
        }
        ClientCommand::JoinGroup { group_name } => ClientMessage::JoinGroup { username, token, group_name },
        ClientCommand::MsgGroup { group_name, content } => {
            ClientMessage::MsgGroup { username, token, group_name, content }
        }
        ClientCommand::VoiceMsg { recipient, channels, sample_rate, samples } => {
            ClientMessage::VoiceMsg { username, token, recipient, channels, sample_rate, samples }
        }
        ClientCommand::JoinCall { group_name } => ClientMessage::JoinCall { username, token, group_name },
        ClientCommand::LeaveCall => ClientMessage::LeaveCall { username, token },
        _ => ClientMessage::Logout { username },
    }
}
