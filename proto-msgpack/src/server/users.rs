//! Who is who: registering, logging in and out, tokens.

use super::chat::is_kept;
use super::{
    Answer, Asked, Peer, REGISTRATION, RESUMPTION, RateUse, Server, ServerEvent, What, before_login, key,
};
use crate::{Action, Code, Refusal, Resource, Secret, ServerMessage, TOKEN_LEN, Text, Ticket};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use core::{net::IpAddr, time::Duration};
use voxwire_core::{Bucket, Deadlines, Instant, Lane, NameError, PeerId, Rate, check_name};

/// The slowest that a delivery is thought to go, in bytes per second.
const SLOWEST: usize = 16 * 1024;

/// That a connection is logged in.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) username: Box<[u8]>,
    /// Which user, in this period of being logged in; compared faster than names.
    pub(super) user: u64,
    pub(super) token: [u8; 32],
    /// Nothing is delivered to it, and its user is no more there than before.
    pub(super) requests_only: bool,
}

/// Kept messages that were delivered to a connection and are not shown to have arrived, oldest first. Each has one probe.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    messages: VecDeque<Sent>,
    /// How many of them came before the answer to the log-in: the token shows that they have arrived.
    first: usize,
    /// How many of them came before the answer that was given last.
    answered: usize,
    /// How many probes have not been answered: those of the last messages.
    probes: usize,
    /// Bytes of the messages that the peer's transport has not been shown to have read.
    bytes: usize,
    /// The peer's transport cannot be asked what it has read, only whether its connection takes more.
    written_only: bool,
}

#[derive(Debug)]
struct Sent {
    /// Its part of [`Delivered::bytes`].
    bytes: usize,
    /// When it must have arrived.
    until: Instant,
}

impl Delivered {
    fn push(&mut self, now: Instant, bytes: usize, receipt: Duration, first: bool) {
        self.bytes = self.bytes.saturating_add(bytes);
        let until = arrival(now, receipt, self.bytes);
        // Nothing arrives before what was sent before it.
        let until = self.messages.back().map_or(until, |before| until.max(before.until));
        self.messages.push_back(Sent { bytes, until });
        self.probes = self.probes.saturating_add(1);
        if first {
            self.first = self.messages.len();
        }
    }

    /// An answer to a request follows what was delivered so far.
    pub(super) fn answer(&mut self) {
        self.answered = self.messages.len();
    }

    /// The oldest unanswered probe is answered: the transport has `read` what came before it, or else the connection has taken it. True
    /// if it was the last one; `None` if there was none.
    fn probed(&mut self, now: Instant, read: bool, receipt: Duration) -> Option<bool> {
        let taken = self.taken();
        let probed = self.messages.len() >= self.probes;
        self.probes = self.probes.checked_sub(1)?;
        self.written_only = !read;
        if !probed {
            return Some(self.probes == 0);
        }
        // What the connection has taken is on its way from now on, not from when it began to wait for that.
        let ahead = self.messages.iter().take(taken.saturating_add(1));
        let ahead = ahead.fold(0, |sum: usize, sent| sum.saturating_add(sent.bytes));
        if let Some(sent) = self.messages.get_mut(taken) {
            if read {
                self.bytes = self.bytes.saturating_sub(core::mem::take(&mut sent.bytes));
            } else {
                sent.until = sent.until.max(arrival(now, receipt, ahead));
            }
        }
        Some(self.probes == 0)
    }

    /// How many of them have had their probe answered.
    fn taken(&self) -> usize {
        self.messages.len().saturating_sub(self.probes)
    }

    pub(super) const fn before_login(&self) -> usize {
        self.first
    }

    /// How many have arrived, as a request with the token comes in now.
    fn shown(&self, stale: bool) -> usize {
        let taken = if self.written_only { self.taken().min(self.answered) } else { self.taken() };
        if stale { self.first } else { taken.max(self.first) }
    }

    /// How many have arrived, as a log-out comes in now: its answer follows them.
    fn shown_by_log_out(&self, stale: bool) -> usize {
        if stale { self.first } else { self.taken().max(self.first) }
    }

    /// How many must have arrived by now. Time alone shows nothing of what still waits for the connection, or has not been read.
    pub(super) fn due(&self, now: Instant) -> usize {
        self.messages.iter().take(self.taken()).take_while(|sent| sent.until <= now).count()
    }

    /// When the next one must have arrived, once its probe is answered.
    fn next_due(&self) -> Option<Instant> {
        self.messages.front().filter(|_| self.taken() > 0).map(|sent| sent.until)
    }

    /// Forgets the oldest `n`; returns how many there were.
    fn forget(&mut self, n: usize) -> usize {
        let n = n.min(self.messages.len());
        for sent in self.messages.drain(..n) {
            self.bytes = self.bytes.saturating_sub(sent.bytes);
        }
        self.first = self.first.saturating_sub(n);
        self.answered = self.answered.saturating_sub(n);
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        n
    }
}

/// When `bytes` must have arrived that are on their way from `now` on.
fn arrival(now: Instant, receipt: Duration, bytes: usize) -> Instant {
    now.saturating_add(receipt).saturating_add(Duration::from_secs((bytes / SLOWEST) as u64))
}

/// Those who are logged in.
#[derive(Debug)]
pub(super) struct Users {
    /// Whether names are compared byte by byte.
    exact: bool,
    by_name: BTreeMap<Box<[u8]>, User>,
    numbered: u64,
    /// Connections that are logged in for requests alone, by user, oldest first.
    for_requests: BTreeMap<Box<[u8]>, Vec<PeerId>>,
    /// What each has sent lately.
    sent: Buckets,
    /// How often each has taken a log-in up lately.
    resumed: Buckets,
}

/// A bucket for each user, also after its connections.
#[derive(Debug)]
struct Buckets {
    by_name: BTreeMap<Box<[u8]>, Bucket>,
    /// How many there may be before those are looked for that say nothing any more.
    tidy_at: usize,
}

impl Buckets {
    const fn new() -> Self {
        Self { by_name: BTreeMap::new(), tidy_at: 0 }
    }

    /// Whether `n` tokens are left.
    fn has(&self, now: Instant, rate: Rate, username: &[u8], n: u32) -> bool {
        self.by_name.get(username).is_none_or(|bucket| bucket.clone().take(now, rate, n).is_ok())
    }

    /// Takes `n` tokens; false, and nothing is taken, if fewer are left.
    fn take(&mut self, now: Instant, rate: Rate, username: &[u8], n: u32) -> bool {
        if self.by_name.len() >= self.tidy_at {
            self.by_name.retain(|_, bucket| !bucket.is_full(now));
            self.tidy_at = self.by_name.len().saturating_mul(2).max(64);
        }
        match self.by_name.get_mut(username) {
            Some(bucket) => bucket.take(now, rate, n).is_ok(),
            None => self.by_name.entry(username.into()).or_default().take(now, rate, n).is_ok(),
        }
    }
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) number: u64,
    pub(super) connections: Vec<PeerId>,
    /// What is kept of each connection's token.
    tokens: Vec<[u8; 32]>,
    /// The token itself, where all its connections share it.
    shared: Option<Box<[u8]>>,
    /// What it has been sent.
    received: Bucket,
    /// What of it by whom, and from where.
    by_name: BTreeMap<Box<[u8]>, Bucket>,
    by_address: BTreeMap<IpAddr, Bucket>,
    /// How many may be in these before those are looked for that say nothing any more.
    tidy_at: usize,
}

impl User {
    /// Takes `len` bytes out of what it may be sent at `rate`, by `sender` and from `address`; false, and nothing is taken, if that is
    /// too much. More than the burst counts as the burst.
    pub(super) fn may_receive(
        &mut self,
        now: Instant,
        rate: Rate,
        sender: &[u8],
        address: Option<IpAddr>,
        len: usize,
    ) -> bool {
        if self.by_name.len().max(self.by_address.len()) >= self.tidy_at {
            self.by_name.retain(|_, bucket| !bucket.is_full(now));
            self.by_address.retain(|_, bucket| !bucket.is_full(now));
            self.tidy_at = self.by_name.len().max(self.by_address.len()).saturating_mul(2).max(16);
        }
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(rate.burst);
        let (of_name, of_address) = (part(rate, 4), part(rate, 2));
        let mut received = self.received;
        let mut by_name = self.by_name.get(sender).copied().unwrap_or_default();
        let mut by_address = address.and_then(|from| self.by_address.get(&from)).copied().unwrap_or_default();
        // What may go beyond a share leaves one to others.
        let rest = if len > of_name.burst / 2 { of_name.burst } else { 0 };
        let fits = received.clone().take(now, rate, len.saturating_add(rest).min(rate.burst)).is_ok()
            && received.take(now, rate, len).is_ok()
            && take_all(&mut by_name, now, of_name, len)
            && (address.is_none() || take_all(&mut by_address, now, of_address, len));
        if fits {
            self.received = received;
            match self.by_name.get_mut(sender) {
                Some(bucket) => *bucket = by_name,
                None => drop(self.by_name.insert(sender.into(), by_name)),
            }
            if let Some(from) = address {
                self.by_address.insert(from, by_address);
            }
        }
        fits
    }
}

/// One `n`th of a rate.
fn part(rate: Rate, n: u32) -> Rate {
    let of = |all: u32| all.checked_div(n).unwrap_or(all).max(1);
    Rate { per_second: of(rate.per_second), burst: of(rate.burst) }
}

/// Takes `len` tokens, going into debt for what is over half of the burst: that half has to be there.
fn take_all(bucket: &mut Bucket, now: Instant, rate: Rate, len: u32) -> bool {
    let first = len.min(rate.burst / 2);
    let fits = bucket.take(now, rate, first).is_ok();
    if fits {
        bucket.charge(now, rate, len.saturating_sub(first));
    }
    fits
}

impl Users {
    pub(super) const fn new(exact: bool) -> Self {
        Self {
            exact,
            by_name: BTreeMap::new(),
            numbered: 0,
            for_requests: BTreeMap::new(),
            sent: Buckets::new(),
            resumed: Buckets::new(),
        }
    }

    /// What a user is known by.
    pub(super) fn key<'a>(&self, username: &'a [u8]) -> Cow<'a, [u8]> {
        key(username, self.exact)
    }

    pub(super) fn get(&self, username: &[u8]) -> Option<&User> {
        self.by_name.get(&*self.key(username))
    }

    /// The connections of a user, those for requests alone included.
    fn of(&self, username: &[u8]) -> impl Iterator<Item = PeerId> + '_ {
        let name = self.key(username);
        let connections = self.by_name.get(&*name).map(|user| &user.connections);
        let for_requests = self.for_requests.get(&*name);
        connections.into_iter().chain(for_requests).flatten().copied()
    }

    pub(super) fn get_mut(&mut self, username: &[u8]) -> Option<&mut User> {
        self.by_name.get_mut(&*key(username, self.exact))
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Adds a connection of a user, and returns the user's number.
    fn add(&mut self, username: &[u8], peer: PeerId, token: [u8; 32], shared: Option<&[u8]>) -> u64 {
        if let Some(user) = self.by_name.get_mut(username) {
            user.connections.push(peer);
            user.tokens.push(token);
            return user.number;
        }
        self.numbered = self.numbered.saturating_add(1);
        let user = User {
            number: self.numbered,
            connections: Vec::from([peer]),
            tokens: Vec::from([token]),
            shared: shared.map(Box::from),
            received: Bucket::default(),
            by_name: BTreeMap::new(),
            by_address: BTreeMap::new(),
            tidy_at: 16,
        };
        self.by_name.insert(username.into(), user);
        self.numbered
    }

    /// Takes `len` bytes out of what `username` may send at `rate`; false if it may not. More than the burst counts as the burst.
    pub(super) fn may_send(&mut self, now: Instant, rate: Rate, username: &[u8], len: usize) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(rate.burst);
        self.sent.take(now, rate, &key(username, self.exact), len)
    }

    /// Whether [`may_send`](Self::may_send) would take as much.
    pub(super) fn could_send(&self, now: Instant, rate: Rate, username: &[u8], len: usize) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(rate.burst);
        self.sent.has(now, rate, &self.key(username), len)
    }

    /// Whether `username` may take one more log-in up at `rate`.
    fn may_resume(&self, now: Instant, rate: Rate, username: &[u8]) -> bool {
        self.resumed.has(now, rate, &self.key(username), RESUMPTION)
    }

    /// Adds a connection of a user that is there for requests alone.
    fn add_for_requests(&mut self, username: &[u8], peer: PeerId) {
        self.for_requests.entry(username.into()).or_default().push(peer);
    }

    /// The oldest of a user's connections for requests alone, if there are `max` of them.
    fn one_too_many(&self, username: &[u8], max: usize) -> Option<PeerId> {
        let peers = self.for_requests.get(&*self.key(username))?;
        peers.first().copied().filter(|_| peers.len() >= max)
    }

    /// Removes a connection; with the last one the user is offline.
    pub(super) fn remove(&mut self, username: &[u8], peer: PeerId) {
        if let Some(peers) = self.for_requests.get_mut(username) {
            peers.retain(|other| *other != peer);
            if peers.is_empty() {
                self.for_requests.remove(username);
            }
        }
        let Some(user) = self.by_name.get_mut(username) else { return };
        if let Some(at) = user.connections.iter().position(|connection| *connection == peer) {
            user.connections.remove(at);
            user.tokens.remove(at);
        }
        if user.connections.is_empty() {
            self.by_name.remove(username);
        }
    }
}

/// Log-ins whose connections are lost, by what is kept of their tokens. (Where tokens are shared, several have the same.)
#[derive(Debug)]
pub(super) struct LostLogins {
    by_token: BTreeMap<([u8; 32], PeerId), Lost>,
    expiry: Deadlines<([u8; 32], PeerId)>,
    addresses: BTreeMap<IpAddr, Address>,
    max: usize,
}

#[derive(Debug)]
pub(super) struct Lost {
    pub(super) username: Box<[u8]>,
    pub(super) requests_only: bool,
    pub(super) call: Option<Box<[u8]>>,
    pub(super) from: Option<IpAddr>,
    /// How many of the messages that were delivered to it came before its token.
    pub(super) received: usize,
    pub(super) rate_use: RateUse,
}

/// Where somebody was lost.
#[derive(Debug, Default)]
struct Address {
    lost: usize,
    /// Connections from there which may be somebody's who was lost.
    awaited: Vec<PeerId>,
}

impl LostLogins {
    pub(super) const fn new(max: usize) -> Self {
        Self { by_token: BTreeMap::new(), expiry: Deadlines::new(), addresses: BTreeMap::new(), max }
    }

    /// Adds the log-in of `peer`, whose connection is lost.
    pub(super) fn add(&mut self, peer: PeerId, token: [u8; 32], lost: Lost, until: Instant) {
        if self.by_token.len() >= self.max {
            return;
        }
        if let Some(from) = lost.from {
            let address = self.addresses.entry(from).or_default();
            address.lost = address.lost.saturating_add(1);
        }
        self.expiry.set((token, peer), until);
        self.by_token.insert((token, peer), lost);
    }

    /// A connection arrives: whether somebody was lost at its address.
    pub(super) fn arrive(&mut self, peer: PeerId, from: IpAddr) -> bool {
        let address = self.addresses.get_mut(&from);
        address.map(|address| address.awaited.push(peer)).is_some()
    }

    /// A connection that has arrived is gone, or is logged in.
    pub(super) fn depart(&mut self, peer: PeerId, from: IpAddr) {
        if let Some(address) = self.addresses.get_mut(&from) {
            address.awaited.retain(|connection| *connection != peer);
        }
    }

    /// Takes up the log-in with this token; connections from an address where no log-in is awaited any more are
    /// added to `released`.
    fn take(
        &mut self,
        token: &[u8; 32],
        username: &[u8],
        from: Option<IpAddr>,
        released: &mut Vec<PeerId>,
    ) -> Option<(PeerId, Lost)> {
        let (first, last) =
            (PeerId { slot: 0, generation: 0 }, PeerId { slot: u32::MAX, generation: u32::MAX });
        let mut same = self.by_token.range((*token, first)..=(*token, last));
        let (&key, _) = same.find(|(_, lost)| *lost.username == *username && lost.from == from)?;
        let lost = self.remove(key, released)?;
        let (_, peer) = key;
        Some((peer, lost))
    }

    fn remove(&mut self, key: ([u8; 32], PeerId), released: &mut Vec<PeerId>) -> Option<Lost> {
        let lost = self.by_token.remove(&key)?;
        self.expiry.clear(key);
        if let Some(from) = lost.from
            && let Some(address) = self.addresses.get_mut(&from)
        {
            address.lost = address.lost.saturating_sub(1);
            if address.lost == 0 {
                released.append(&mut address.awaited);
                self.addresses.remove(&from);
            }
        }
        Some(lost)
    }

    /// Ends what has waited for long enough. Returns the connections from addresses where no log-in is awaited any more.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        let mut released = Vec::new();
        while let Some(key) = self.expiry.pop(now) {
            self.remove(key, &mut released);
        }
        released
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.expiry.next()
    }
}

impl Server {
    pub(super) fn register<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        password: Secret<'a>,
    ) -> Answer<'a> {
        self.count_registration(now, peer)?;
        if let Some(error) = self.wrong_with(username) {
            self.respond(peer, Action::Register, Code::REQUEST_INVALID);
            return Ok(Some(ServerEvent::InvalidName { peer, error }));
        }
        if password.0.is_empty() && !self.settings.lenient {
            return Err(Code::REQUEST_INVALID);
        }
        let ticket = self.ask(now, peer, Action::Register, What::Register);
        Ok(Some(ServerEvent::Registering { ticket, peer, username, password }))
    }

    pub(super) fn login<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        password: Secret<'a>,
        requests_only: bool,
    ) -> Answer<'a> {
        if self.username(peer).is_some() {
            return Err(Code::IDENTITY_ALREADY_CONNECTED);
        }
        // What is delivered to a peer that takes answers only would be lost.
        let requests_only = requests_only || self.peers.get(peer).is_some_and(|state| state.answers_only);
        let what = What::Login { username: username.0.into(), requests_only };
        let ticket = self.ask(now, peer, Action::Login, what);
        Ok(Some(ServerEvent::LoggingIn { ticket, peer, username, password }))
    }

    /// What is wrong with the name of a new user or group.
    pub(super) fn wrong_with(&self, name: Text<'_>) -> Option<NameError> {
        check_name(name.0).err().filter(|_| !self.settings.lenient)
    }

    /// One more registration from `peer`'s address.
    fn count_registration(&mut self, now: Instant, peer: PeerId) -> Result<(), Code> {
        match self.ip(peer) {
            Some(from) if !self.registrations.allow_n(now, from, REGISTRATION) => {
                self.stats.refused = self.stats.refused.saturating_add(1);
                Err(Code::REQUEST_OVER_LIMIT)
            }
            _ => Ok(()),
        }
    }

    /// The application says that name and password are right.
    pub(super) fn admit(&mut self, now: Instant, ticket: Ticket, token: Secret<'_>) -> Result<(), Refusal> {
        let Some(Asked { peer, what: What::Login { username, requests_only }, .. }) = self.asked.get(&ticket)
        else {
            return Err(Refusal::UnknownTicket);
        };
        if token.0.len() != TOKEN_LEN {
            return Err(Refusal::Token);
        }
        let (peer, username, mut requests_only) = (*peer, username.clone(), *requests_only);
        requests_only |= self.peers.get(peer).is_some_and(|state| state.answers_only);
        if self.is_crowded(&username) {
            return self.answered(now, ticket, Err(Code::REQUEST_OVER_LIMIT));
        }
        let user = self.users.get(&username);
        let shared = user.and_then(|user| user.shared.clone()).filter(|_| self.settings.shared_tokens);
        let token = shared.as_deref().unwrap_or(token.0);
        self.asked.remove(&ticket);
        self.send(peer, &ServerMessage::LoggedIn { username: Text(&username), token: Secret(token) });
        let kept = (self.digest)(token);
        let username: Box<[u8]> = self.users.key(&username).into();
        if requests_only {
            self.log_in_for_requests(now, peer, username, kept);
        } else {
            self.log_in(peer, username, kept, Some(token).filter(|_| self.settings.shared_tokens));
        }
        self.stats.logins = self.stats.logins.saturating_add(1);
        self.resume(now, peer, ticket);
        Ok(())
    }

    /// Whether a user has as many connections as are allowed.
    fn is_crowded(&self, username: &[u8]) -> bool {
        self.users.get(username).is_some_and(|user| user.connections.len() >= self.settings.max_connections)
    }

    /// `peer` is logged in from now on; `username` is what the user is known by.
    fn log_in(&mut self, peer: PeerId, username: Box<[u8]>, token: [u8; 32], shared: Option<&[u8]>) {
        let user = self.users.add(&username, peer, token, shared);
        self.let_in(peer, Login { username, user, token, requests_only: false });
        // A user in a call hears it on this connection, too, where calls are joined by users.
        if !self.settings.participants_only {
            self.share_call(peer);
        }
    }

    /// The same for requests alone.
    fn log_in_for_requests(&mut self, now: Instant, peer: PeerId, username: Box<[u8]>, token: [u8; 32]) {
        self.add_for_requests(now, peer, &username);
        self.let_in(peer, Login { username, user: 0, token, requests_only: true });
    }

    fn add_for_requests(&mut self, now: Instant, peer: PeerId, username: &[u8]) {
        // Nobody waits for updates there: the new one has the oldest one's place.
        if let Some(oldest) = self.users.one_too_many(username, self.settings.max_connections) {
            self.expel(now, oldest);
        }
        self.users.add_for_requests(username, peer);
    }

    /// `peer` turns out to take nothing but answers: what was delivered to it is lost, and it is there for requests alone.
    pub(super) fn answer_only(&mut self, now: Instant, peer: PeerId) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        state.delivered.forget(usize::MAX);
        self.receipts.clear(peer);
        let Some(login) = state.login.as_mut().filter(|login| !login.requests_only) else { return };
        (login.requests_only, login.user) = (true, 0);
        let (username, here) = (login.username.clone(), state.gone.is_none());
        self.leave(peer);
        self.users.remove(&username, peer);
        if here {
            self.add_for_requests(now, peer, &username);
        }
    }

    fn let_in(&mut self, peer: PeerId, login: Login) {
        let Some(state) = self.peers.get_mut(peer) else { return };
        state.login = Some(login);
        self.peers.keep(peer);
        if let Some(from) = self.ip(peer) {
            self.lost_logins.depart(peer, from);
        }
        self.limit(peer, self.settings.limits.max_frame);
    }

    pub(super) fn logout<'a>(&mut self, peer: PeerId, username: Text<'a>) -> Answer<'a> {
        // The original's choice of code.
        let login = self.peers.get(peer).and_then(|state| state.login.as_ref());
        let login = login.ok_or(Code::IDENTITY_ALREADY_CONNECTED)?;
        if *login.username != *self.users.key(username.0) {
            let online = self.users.get(username.0).is_some();
            return Err(if online { Code::USER_INCORRECT_IDENTITY } else { Code::USER_NOT_CONNECTED });
        }
        self.leave(peer);
        let max_frame = before_login(&self.settings);
        let Some(state) = self.peers.get_mut(peer) else { return Ok(None) };
        // The answer follows what its connection has taken, and a client that logs out reads up to it.
        let mut received = state.delivered.shown_by_log_out(state.stale);
        state.delivered.forget(usize::MAX);
        // It may have shown some of that just now, without anybody's having been told.
        self.later.retain(|event| match event {
            ServerEvent::Received { peer: who, messages } if *who == peer => {
                received = received.saturating_add(*messages);
                false
            }
            _ => true,
        });
        self.receipts.clear(peer);
        if let Some(login) = state.login.take() {
            self.users.remove(&login.username, peer);
        }
        let opened = self.peers.opened(peer).unwrap_or_default();
        self.peers.set_evictable(peer, opened);
        self.limit(peer, max_frame);
        self.respond(peer, Action::Logout, Code::SUCCESS);
        let username = self.users.key(username.0).into();
        Ok(Some(ServerEvent::LoggedOut { peer, username, received }))
    }

    pub(super) fn add_contact<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        token: Secret<'a>,
        contact: Text<'a>,
    ) -> Answer<'a> {
        let otherwise = match self.authorize(now, peer, username, token) {
            Ok(()) => Code::SUCCESS,
            Err(code) if self.settings.contacts_first => code,
            Err(code) => return Err(code),
        };
        let ticket = self.ask(now, peer, Action::AddContact, What::AddContact { otherwise });
        let store = otherwise.is_success();
        Ok(Some(ServerEvent::AddingContact { ticket, peer, username, contact, store }))
    }

    /// Checks that `peer` may act for `username`: that the user is logged in, and the token.
    pub(super) fn authorize(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'_>,
        token: Secret<'_>,
    ) -> Result<(), Code> {
        let shown = (self.digest)(token.0);
        let state = self.peers.get(peer).ok_or(Code::USER_NOT_CONNECTED)?;
        let (from, arrived) = (self.ip(peer), state.delivered.shown(state.stale));
        if let Some(login) = &state.login {
            if *login.username == *self.users.key(username.0) && is_same(&login.token, &shown) {
                if arrived > 0 {
                    let event = self.received(peer, arrived);
                    self.later.extend(event);
                }
                return Ok(());
            }
        } else if state.in_work.is_none() && self.take_up(now, peer, username, token, &shown, from) {
            return Ok(());
        }
        let user = self.users.get(username.0).ok_or(Code::USER_NOT_CONNECTED)?;
        let known = user.tokens.iter().fold(false, |known, token| known | is_same(token, &shown));
        if known && !self.settings.bound_tokens { Ok(()) } else { Err(Code::USER_INCORRECT_TOKEN) }
    }

    /// Takes up a log-in whose connection is lost, or breaks just now without our having noticed: the same user, token and address.
    fn take_up(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'_>,
        token: Secret<'_>,
        shown: &[u8; 32],
        from: Option<IpAddr>,
    ) -> bool {
        // Each makes the application look for what is kept.
        let rate = self.settings.resumptions;
        if self.settings.resume_timeout.is_zero() || !self.users.may_resume(now, rate, username.0) {
            return false;
        }
        if self.settings.bound_tokens {
            let has_token =
                |state: &Peer| state.login.as_ref().is_some_and(|login| is_same(&login.token, shown));
            let before = self
                .users
                .of(username.0)
                .find(|before| self.ip(*before) == from && self.peers.get(*before).is_some_and(has_token));
            if let Some(before) = before {
                let event = self.forget(now, before, true);
                self.later.extend(event);
                self.outbox.close(before);
            }
        }
        let answers_only = self.peers.get(peer).is_some_and(|state| state.answers_only);
        if self.is_crowded(username.0) && !answers_only {
            return false;
        }
        let mut released = Vec::new();
        let known_by = self.users.key(username.0);
        let lost = self.lost_logins.take(shown, &known_by, from, &mut released);
        self.stop_awaiting(released);
        let Some((before, lost)) = lost else { return false };
        self.users.resumed.take(now, rate, &known_by, RESUMPTION);
        // What is delivered to a peer that takes answers only would be lost.
        let requests_only = lost.requests_only || answers_only;
        if requests_only {
            self.log_in_for_requests(now, peer, known_by.into(), *shown);
        } else {
            self.log_in(peer, known_by.into(), *shown, Some(token.0).filter(|_| self.settings.shared_tokens));
        }
        if let Some(state) = self.peers.get_mut(peer) {
            state.rate_use = lost.rate_use;
            // The request in hand has been counted as that of a new connection.
            if let Some(until) = state.rate_use.requests.charge(now, self.settings.requests, 1) {
                state.rests = until;
            }
        }
        if let Some(call) = lost.call.filter(|_| !requests_only) {
            self.take_part(peer, &call);
        }
        self.later.push_back(ServerEvent::Resumed { peer, lost: before, received: lost.received });
        true
    }

    /// No lost log-in is awaited any more from the addresses of these connections: they are new like all others.
    pub(super) fn stop_awaiting(&mut self, released: Vec<PeerId>) {
        let max_frame = before_login(&self.settings);
        for connection in released {
            match self.peers.get_mut(connection).filter(|state| state.login.is_none()) {
                // It is told with the answer to its log-in.
                Some(state) if state.entering => state.max_frame = max_frame,
                Some(_) => self.limit(connection, max_frame),
                None => {}
            }
        }
    }

    /// The transport of `peer` has `read` all that was delivered before one of the probes, or its connection has taken it.
    pub(super) fn has_taken(
        &mut self,
        now: Instant,
        peer: PeerId,
        read: bool,
    ) -> Option<ServerEvent<'static>> {
        let all = self.peers.get_mut(peer)?.delivered.probed(now, read, self.settings.receipt_timeout)?;
        self.await_receipt(peer);
        all.then_some(ServerEvent::Taken { peer })
    }

    /// Looks again when the next message that `peer` has taken must have arrived.
    fn await_receipt(&mut self, peer: PeerId) {
        match self.peers.get(peer).and_then(|state| state.delivered.next_due()) {
            Some(until) => self.receipts.set(peer, until),
            None => self.receipts.clear(peer),
        }
    }

    /// `peer` has the oldest `n` messages that were delivered to it.
    pub(super) fn received(&mut self, peer: PeerId, n: usize) -> Option<ServerEvent<'static>> {
        let state = self.peers.get_mut(peer)?;
        let messages = state.delivered.forget(n);
        self.await_receipt(peer);
        (messages > 0).then_some(ServerEvent::Received { peer, messages })
    }

    /// Whether what is kept for a user, by its name as it is [known](Self::key), can be delivered to `peer` now: that user is logged in
    /// there, or logging in, and not for requests alone. To be asked before kept messages are read.
    pub fn may_deliver(&self, peer: PeerId, username: &[u8]) -> bool {
        self.check_delivery(peer, "").is_ok_and(|whose| *self.users.key(whose) == *username)
    }

    /// Checks that `peer` can be sent what is kept; returns for whom.
    fn check_delivery(&self, peer: PeerId, command: &'static str) -> Result<&[u8], Refusal> {
        let state = self.peers.get(peer).filter(|state| state.gone.is_none()).ok_or(Refusal::UnknownPeer)?;
        let logging_in = state.in_work.and_then(|ticket| match &self.asked.get(&ticket)?.what {
            What::Login { username, requests_only } => Some((username, *requests_only)),
            _ => None,
        });
        let (username, requests_only) = match (&state.login, logging_in) {
            (Some(login), _) => (&login.username, login.requests_only),
            (None, Some(logging_in)) => logging_in,
            (None, None) => {
                return Err(Refusal::Unexpected { state: "nobody is logged in, or logging in", command });
            }
        };
        if requests_only || state.answers_only {
            return Err(Refusal::Unexpected { state: "it is there for requests alone", command });
        }
        if state.login.is_none() && self.is_crowded(username) {
            return Err(Refusal::Full {
                what: Resource::UserConnections,
                max: self.settings.max_connections,
            });
        }
        Ok(username)
    }

    pub(super) fn deliver(
        &mut self,
        now: Instant,
        peer: PeerId,
        update: &ServerMessage<'_>,
    ) -> Result<(), Refusal> {
        let command = "deliver what was kept";
        if !is_kept(update) {
            return Err(Refusal::Unexpected { state: "it is no message that is kept", command });
        }
        self.check_delivery(peer, command)?;
        let len = self.outbox.send([peer], Lane::Reliable, update, &self.wire)?.len();
        let Some(state) = self.peers.get_mut(peer) else { return Ok(()) };
        let first = state.login.is_none();
        state.delivered.push(now, len, self.settings.receipt_timeout, first);
        self.outbox.probe(peer);
        Ok(())
    }
}

/// Whether two digests are the same, in a time that does not depend on where they differ.
fn is_same(one: &[u8; 32], two: &[u8; 32]) -> bool {
    one.iter().zip(two).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn peer(slot: u32) -> PeerId {
        PeerId { slot, generation: 0 }
    }

    const fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    const HOME: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));

    fn add(lost_logins: &mut LostLogins, n: u32, name: &str, token: u8, from: Option<IpAddr>, until: u64) {
        let (violations, bucket) = (voxwire_core::Violations::new(at(0)), Bucket::default());
        let rate_use = RateUse { violations, requests: bucket, voice: bucket };
        let (username, requests_only, received) = (name.as_bytes().into(), false, 0);
        let lost = Lost { username, requests_only, call: None, from, received, rate_use };
        lost_logins.add(peer(n), [token; 32], lost, at(until));
    }

    #[test]
    fn a_lost_log_in_is_taken_up_once_with_its_token_by_its_name_from_its_address_in_time() {
        let mut lost_logins = LostLogins::new(2);
        let released = &mut Vec::new();
        add(&mut lost_logins, 1, "ann", 1, Some(HOME), 60);
        add(&mut lost_logins, 2, "bob", 2, Some(HOME), 61);
        add(&mut lost_logins, 3, "cat", 3, None, 62);
        assert!(lost_logins.take(&[3; 32], b"cat", None, released).is_none(), "there is room for two");
        assert!(lost_logins.take(&[1; 32], b"bob", Some(HOME), released).is_none());
        assert!(lost_logins.take(&[1; 32], b"ann", None, released).is_none());
        assert!(
            lost_logins.take(&[1; 32], b"ann", Some(HOME), released).is_some_and(|(lost, _)| lost == peer(1))
        );
        assert!(lost_logins.take(&[1; 32], b"ann", Some(HOME), released).is_none());
        // What is taken up leaves room, and no deadline.
        assert_eq!(lost_logins.next(), Some(at(61)));
        add(&mut lost_logins, 3, "cat", 3, None, 62);
        assert!(lost_logins.expire(at(61)).is_empty());
        assert!(lost_logins.take(&[2; 32], b"bob", Some(HOME), released).is_none());
        assert!(lost_logins.take(&[3; 32], b"cat", None, released).is_some());
        assert_eq!(lost_logins.next(), None);
    }

    #[test]
    fn connections_are_known_while_a_log_in_from_their_address_is_awaited() {
        let mut lost_logins = LostLogins::new(10);
        let released = &mut Vec::new();
        assert!(!lost_logins.arrive(peer(7), HOME));
        add(&mut lost_logins, 1, "ann", 1, Some(HOME), 60);
        add(&mut lost_logins, 2, "bob", 2, Some(HOME), 61);
        for n in 7..10 {
            assert!(lost_logins.arrive(peer(n), HOME));
        }
        lost_logins.depart(peer(8), HOME);
        assert!(lost_logins.take(&[2; 32], b"bob", Some(HOME), released).is_some());
        assert!(released.is_empty(), "ann is still awaited");
        assert_eq!(lost_logins.expire(at(60)), [peer(7), peer(9)]);
        assert!(!lost_logins.arrive(peer(7), HOME));
    }

    #[test]
    fn of_several_with_the_same_token_each_is_taken_up() {
        let mut lost_logins = LostLogins::new(10);
        for n in [1, 2] {
            add(&mut lost_logins, n, "ann", 1, Some(HOME), 60);
        }
        let mut lost =
            [1, 2].map(|_| lost_logins.take(&[1; 32], b"ann", Some(HOME), &mut Vec::new()).unwrap().0);
        lost.sort();
        assert_eq!(lost, [peer(1), peer(2)]);
    }

    #[test]
    fn what_has_been_sent_is_remembered_behind_a_log_out() {
        let mut users = Users::new(false);
        let rate = Rate { per_second: 10, burst: 100 };
        assert!(users.may_send(at(0), rate, b"ann", 1000), "all at once, however long");
        assert!(!users.may_send(at(0), rate, b"ann", 1));
        users.add(b"ann", peer(1), [1; 32], None);
        users.remove(b"ann", peer(1));
        assert!(!users.may_send(at(0), rate, b"ann", 1));
        assert!(users.may_send(at(1), rate, b"ann", 10));
        // And no longer than it says anything.
        for n in 0..1000_u32 {
            assert!(users.may_send(at(100), rate, &n.to_be_bytes(), 1));
        }
        assert!(users.may_send(at(101), rate, b"bob", 1));
        for n in 0..200_u32 {
            assert!(users.may_send(at(200), rate, &n.to_be_bytes(), 1));
        }
        assert!(users.sent.by_name.len() < 1100, "{}", users.sent.by_name.len());
    }

    #[test]
    fn digests_are_compared_as_a_whole() {
        let one = [7; 32];
        assert!(is_same(&one, &one));
        for at in 0..32 {
            let mut other = one;
            other[at] ^= 1;
            assert!(!is_same(&one, &other));
        }
    }
}
