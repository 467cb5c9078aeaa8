//! Who is who: registering, logging in and out, tokens.

use super::chat::is_kept;
use super::{Answer, Asked, Server, ServerEvent, What, before_login, is_name};
use crate::{Action, Code, Refusal, Secret, ServerMessage, TOKEN_LEN, Text, Ticket};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::{boxed::Box, vec::Vec};
use core::{net::IpAddr, time::Duration};
use voxwire_core::{Bucket, Instant, Lane, PeerId};

/// The slowest that a delivery is thought to go, in bytes per second.
const SLOWEST: usize = 16 * 1024;

/// That a connection is logged in.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) username: Box<[u8]>,
    /// Which user, in this period of being logged in; compared faster than names.
    pub(super) user: u64,
    pub(super) token: [u8; 32],
}

/// Those who are logged in.
#[derive(Debug, Default)]
pub(super) struct Users {
    by_name: BTreeMap<Box<[u8]>, User>,
    numbered: u64,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) number: u64,
    pub(super) connections: Vec<PeerId>,
    /// What is kept of the tokens of its connections, where any connection may show any of them.
    tokens: Vec<[u8; 32]>,
    /// The token itself, where all its connections share it.
    shared: Option<Box<[u8]>>,
    pub(super) recordings: Bucket,
}

impl Users {
    pub(super) fn get(&self, username: &[u8]) -> Option<&User> {
        self.by_name.get(username)
    }

    pub(super) fn get_mut(&mut self, username: &[u8]) -> Option<&mut User> {
        self.by_name.get_mut(username)
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Adds a connection of a user, and returns the user's number.
    fn add(&mut self, username: &[u8], peer: PeerId, token: [u8; 32], shared: Option<&[u8]>) -> u64 {
        if let Some(user) = self.by_name.get_mut(username) {
            user.connections.push(peer);
            if !user.tokens.contains(&token) {
                user.tokens.push(token);
            }
            return user.number;
        }
        self.numbered = self.numbered.saturating_add(1);
        let user = User {
            number: self.numbered,
            connections: Vec::from([peer]),
            tokens: Vec::from([token]),
            shared: shared.map(Box::from),
            recordings: Bucket::default(),
        };
        self.by_name.insert(username.into(), user);
        self.numbered
    }

    /// Removes a connection; with the last one the user is away.
    pub(super) fn remove(&mut self, username: &[u8], peer: PeerId) {
        let Some(user) = self.by_name.get_mut(username) else { return };
        user.connections.retain(|connection| *connection != peer);
        if user.connections.is_empty() {
            self.by_name.remove(username);
        }
    }
}

/// Log-ins whose connections are lost, by what is kept of their tokens.
#[derive(Debug)]
pub(super) struct Away {
    by_token: BTreeMap<[u8; 32], Lost>,
    /// In the order in which they end: all wait equally long.
    expiry: VecDeque<(Instant, [u8; 32])>,
    addresses: BTreeMap<IpAddr, usize>,
    max: usize,
}

#[derive(Debug)]
struct Lost {
    peer: PeerId,
    username: Box<[u8]>,
    call: Option<Box<[u8]>>,
    from: Option<IpAddr>,
    until: Instant,
}

impl Away {
    pub(super) const fn new(max: usize) -> Self {
        Self { by_token: BTreeMap::new(), expiry: VecDeque::new(), addresses: BTreeMap::new(), max }
    }

    pub(super) fn add(
        &mut self,
        now: Instant,
        peer: PeerId,
        login: &Login,
        call: Option<Box<[u8]>>,
        from: Option<IpAddr>,
        until: Instant,
    ) {
        self.expire(now);
        if until <= now || self.expiry.len() >= self.max {
            return;
        }
        let lost = Lost { peer, username: login.username.clone(), call, from, until };
        if let Some(before) = self.by_token.insert(login.token, lost) {
            self.leave(before.from);
        }
        self.expiry.push_back((until, login.token));
        if let Some(from) = from {
            let count = self.addresses.entry(from).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Whether somebody was lost at that address.
    pub(super) fn is_from(&mut self, now: Instant, address: IpAddr) -> bool {
        self.expire(now);
        self.addresses.contains_key(&address)
    }

    fn take(
        &mut self,
        now: Instant,
        token: &[u8; 32],
        username: &[u8],
        from: Option<IpAddr>,
    ) -> Option<Lost> {
        self.expire(now);
        let lost = self.by_token.get(token)?;
        if *lost.username != *username || lost.from != from {
            return None;
        }
        let lost = self.by_token.remove(token)?;
        self.leave(lost.from);
        Some(lost)
    }

    fn leave(&mut self, from: Option<IpAddr>) {
        let Some(from) = from else { return };
        if let Some(count) = self.addresses.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.addresses.remove(&from);
            }
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((until, token)) = self.expiry.front().copied().filter(|(until, _)| *until <= now) {
            self.expiry.pop_front();
            // It may have been taken up, and lost once more.
            if self.by_token.get(&token).is_some_and(|lost| lost.until <= until) {
                let from = self.by_token.remove(&token).and_then(|lost| lost.from);
                self.leave(from);
            }
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.expiry.front().map(|(until, _)| *until)
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
        self.attempt(now, peer)?;
        if !is_name(username, &self.settings) || (password.0.is_empty() && !self.settings.lenient) {
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
    ) -> Answer<'a> {
        if self.username(peer).is_some() {
            return Err(Code::IDENTITY_ALREADY_CONNECTED);
        }
        self.attempt(now, peer)?;
        let ticket = self.ask(now, peer, Action::Login, What::Login { username: username.0.into() });
        Ok(Some(ServerEvent::LoggingIn { ticket, peer, username, password }))
    }

    /// One more attempt to get in from `peer`'s address.
    fn attempt(&mut self, now: Instant, peer: PeerId) -> Result<(), Code> {
        let from = self.peers.get(peer).and_then(|state| state.from);
        match from {
            Some(from) if !self.attempts.allow(now, from.ip()) => {
                self.stats.refused = self.stats.refused.saturating_add(1);
                Err(Code::REQUEST_OVER_LIMIT)
            }
            _ => Ok(()),
        }
    }

    /// The application says that name and password are right.
    pub(super) fn admit(&mut self, now: Instant, ticket: Ticket, token: Secret<'_>) -> Result<(), Refusal> {
        let Some(Asked { peer, what: What::Login { username }, late, .. }) = self.asked.get(&ticket) else {
            return Err(Refusal::UnknownTicket);
        };
        if token.0.len() != TOKEN_LEN {
            return Err(Refusal::Token);
        }
        let (peer, username, late) = (*peer, username.clone(), *late);
        if late || self.peers.get(peer).is_none() {
            // It waits no longer.
            self.asked.remove(&ticket);
            return Ok(());
        }
        if self.is_crowded(&username) {
            return self.answered(now, ticket, Err(Code::REQUEST_OVER_LIMIT));
        }
        let user = self.users.get(&username);
        let shared = user.and_then(|user| user.shared.clone()).filter(|_| self.settings.shared_tokens);
        let token = shared.as_deref().unwrap_or(token.0);
        self.asked.remove(&ticket);
        self.say(peer, &ServerMessage::LoggedIn { username: Text(&username), token: Secret(token) });
        let kept = (self.digest)(token);
        self.log_in(peer, username, kept, Some(token).filter(|_| self.settings.shared_tokens));
        self.stats.logins = self.stats.logins.saturating_add(1);
        self.resume(now, peer, ticket);
        Ok(())
    }

    /// Whether a user has as many connections as are allowed.
    fn is_crowded(&self, username: &[u8]) -> bool {
        self.users.get(username).is_some_and(|user| user.connections.len() >= self.settings.max_connections)
    }

    /// `peer` is logged in from now on.
    fn log_in(&mut self, peer: PeerId, username: Box<[u8]>, token: [u8; 32], shared: Option<&[u8]>) {
        let user = self.users.add(&username, peer, token, shared);
        let Some(state) = self.peers.get_mut(peer) else { return };
        self.strangers.remove(&(state.number, peer));
        state.login = Some(Login { username, user, token });
        self.outbox.limit(peer, self.settings.limits.max_frame);
        // A user in a call hears it on this connection, too, where calls are joined by users.
        if !self.settings.participants_only {
            self.share_call(peer);
        }
    }

    pub(super) fn logout<'a>(&mut self, peer: PeerId, username: Text<'a>) -> Answer<'a> {
        // The original's choice of code.
        let login = self.peers.get(peer).and_then(|state| state.login.as_ref());
        let login = login.ok_or(Code::IDENTITY_ALREADY_CONNECTED)?;
        if *login.username != *username.0 {
            return Err(Code::USER_INCORRECT_IDENTITY);
        }
        self.leave(peer);
        let max_frame = before_login(&self.settings);
        let Some(state) = self.peers.get_mut(peer) else { return Ok(None) };
        let number = state.number;
        // Whoever logs out has read the answer to its log-in, and all that came before it.
        if core::mem::take(&mut state.delivered) > 0 {
            self.receipts.clear(peer);
            self.later.push_back(ServerEvent::Received { peer });
        }
        if let Some(login) = state.login.take() {
            self.users.remove(&login.username, peer);
        }
        self.strangers.insert((number, peer));
        self.outbox.limit(peer, max_frame);
        self.respond(peer, Action::Logout, Code::SUCCESS);
        Ok(Some(ServerEvent::LoggedOut { peer, username: username.0.into() }))
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
        let (from, delivered) = (state.from.map(|from| from.ip()), state.delivered_first);
        match &state.login {
            Some(login) if *login.username == *username.0 && is_same(&login.token, &shown) => {
                // The log-in's answer came behind what was delivered: who knows the token has it.
                if delivered {
                    let event = self.received(peer);
                    self.later.extend(event);
                }
                return Ok(());
            }
            Some(_) => {}
            None => {
                let crowded = self.is_crowded(username.0);
                if let Some(lost) = self.away.take(now, &shown, username.0, from).filter(|_| !crowded) {
                    let shared = Some(token.0).filter(|_| self.settings.shared_tokens);
                    self.log_in(peer, username.0.into(), shown, shared);
                    if let Some(call) = lost.call {
                        self.take_part(peer, &call);
                    }
                    self.later.push_back(ServerEvent::Resumed { peer, lost: lost.peer });
                    return Ok(());
                }
            }
        }
        let user = self.users.get(username.0).ok_or(Code::USER_NOT_CONNECTED)?;
        let known = user.tokens.iter().fold(false, |known, token| known | is_same(token, &shown));
        if known && !self.settings.bound_tokens { Ok(()) } else { Err(Code::USER_INCORRECT_TOKEN) }
    }

    /// `peer` has what was delivered to it.
    pub(super) fn received(&mut self, peer: PeerId) -> Option<ServerEvent<'static>> {
        self.receipts.clear(peer);
        let state = self.peers.get_mut(peer)?;
        state.delivered_first = false;
        (core::mem::take(&mut state.delivered) > 0).then_some(ServerEvent::Received { peer })
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
        let state = self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        let logging_in = state.waiting.and_then(|ticket| match &self.asked.get(&ticket)?.what {
            What::Login { username } => Some(username),
            _ => None,
        });
        if state.login.is_none() {
            let username = logging_in
                .ok_or(Refusal::Unexpected { state: "nobody is logged in, or logging in", command })?;
            if self.is_crowded(username) {
                let max = self.settings.max_connections;
                return Err(Refusal::Full { what: "connections of a user", max });
            }
        }
        let len = self.outbox.send([peer], Lane::Reliable, update, &self.wire)?.len();
        let Some(state) = self.peers.get_mut(peer) else { return Ok(()) };
        // A session of the same connection may have got some before.
        state.delivered_first = state.login.is_none();
        state.delivered = state.delivered.saturating_add(len);
        let transfer = Duration::from_secs((state.delivered / SLOWEST) as u64);
        self.receipts.set(peer, now.saturating_add(self.settings.receipt).saturating_add(transfer));
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

    const PEER: PeerId = PeerId { slot: 0, generation: 0 };

    const fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn login(name: &str, token: u8) -> Login {
        Login { username: name.as_bytes().into(), user: 1, token: [token; 32] }
    }

    #[test]
    fn a_lost_log_in_is_taken_up_once_with_its_token_by_its_name_from_its_address_in_time() {
        let mut away = Away::new(2);
        let home: IpAddr = [10, 0, 0, 1].into();
        away.add(at(0), PEER, &login("ann", 1), None, Some(home), at(60));
        away.add(at(1), PEER, &login("bob", 2), None, Some(home), at(61));
        away.add(at(2), PEER, &login("cat", 3), None, None, at(62));
        assert!(away.take(at(3), &[3; 32], b"cat", None).is_none(), "there is room for two");
        assert!(away.take(at(3), &[1; 32], b"bob", Some(home)).is_none());
        assert!(away.take(at(3), &[1; 32], b"ann", None).is_none());
        assert!(away.is_from(at(3), home));
        assert!(away.take(at(3), &[1; 32], b"ann", Some(home)).is_some());
        assert!(away.take(at(3), &[1; 32], b"ann", Some(home)).is_none());
        assert!(away.is_from(at(3), home));
        assert!(!away.is_from(at(61), home));
        assert!(away.take(at(61), &[2; 32], b"bob", Some(home)).is_none());
        assert_eq!(away.next(), None);
    }

    #[test]
    fn a_log_in_lost_again_waits_for_its_full_time() {
        let mut away = Away::new(10);
        let wait = Duration::from_secs(60);
        for second in [0, 30] {
            away.add(at(second), PEER, &login("ann", 1), None, None, at(second).saturating_add(wait));
            if second == 0 {
                assert!(away.take(at(10), &[1; 32], b"ann", None).is_some());
            }
        }
        away.expire(at(60));
        assert!(away.take(at(80), &[1; 32], b"ann", None).is_some());
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
