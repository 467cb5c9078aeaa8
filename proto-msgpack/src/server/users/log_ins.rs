//! Registering, logging in and out, tokens.

use super::Login;
use super::lost::is_same;
use crate::server::{Answer, Asked, Peer, REGISTRATION, RESUMPTION, Server, ServerEvent, What, before_login};
use crate::{Action, Code, Refusal, Secret, ServerMessage, TOKEN_LEN, Text, Ticket};
use alloc::{boxed::Box, vec::Vec};
use core::net::IpAddr;
use voxwire_core::{Instant, NameError, PeerId, check_name};

impl Server {
    pub(in crate::server) fn register<'a>(
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

    pub(in crate::server) fn login<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'a>,
        password: Secret<'a>,
        requests_only: bool,
    ) -> Answer<'a> {
        if self.name(peer).is_some() {
            return Err(Code::IDENTITY_ALREADY_CONNECTED);
        }
        // What is delivered to a peer that takes answers only would be lost.
        let requests_only = requests_only || self.peers.get(peer).is_some_and(|state| state.answers_only);
        let what = What::Login { username: username.0.into(), requests_only };
        let ticket = self.ask(now, peer, Action::Login, what);
        Ok(Some(ServerEvent::LoggingIn { ticket, peer, username, password }))
    }

    /// What is wrong with the name of a new user or group.
    pub(in crate::server) fn wrong_with(&self, name: Text<'_>) -> Option<NameError> {
        check_name(name.0).err().filter(|_| !self.settings.lenient)
    }

    /// One more registration from `peer`'s address.
    fn count_registration(&mut self, now: Instant, peer: PeerId) -> Result<(), Code> {
        match self.peers.ip(peer) {
            Some(from) if !self.registrations.allow_n(now, from, REGISTRATION) => {
                self.stats.refused = self.stats.refused.saturating_add(1);
                Err(Code::REQUEST_OVER_LIMIT)
            }
            _ => Ok(()),
        }
    }

    /// The application says that name and password are right.
    pub(in crate::server) fn admit(
        &mut self,
        now: Instant,
        ticket: Ticket,
        token: Secret<'_>,
    ) -> Result<(), Refusal> {
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
    pub(super) fn is_crowded(&self, username: &[u8]) -> bool {
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
        // No user waits for updates there: the new one has the oldest one's place.
        if let Some(oldest) = self.users.one_too_many(username, self.settings.max_connections) {
            self.expel(now, oldest);
        }
        self.users.add_for_requests(username, peer);
    }

    /// `peer` turns out to take nothing but answers: what was delivered to it is lost, and it is there for requests alone.
    pub(in crate::server) fn answer_only(&mut self, now: Instant, peer: PeerId) {
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
        if let Some(from) = self.peers.ip(peer) {
            self.lost_logins.depart(peer, from);
        }
        self.limit(peer, self.settings.limits.max_frame);
    }

    pub(in crate::server) fn logout<'a>(&mut self, peer: PeerId, username: Text<'a>) -> Answer<'a> {
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
        // It may have shown some of that just now, without an event.
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
        self.peers.set_evictable_again(peer);
        self.limit(peer, max_frame);
        self.respond(peer, Action::Logout, Code::SUCCESS);
        let username = self.users.key(username.0).into();
        Ok(Some(ServerEvent::LoggedOut { peer, username, received }))
    }

    pub(in crate::server) fn add_contact<'a>(
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
    pub(in crate::server) fn authorize(
        &mut self,
        now: Instant,
        peer: PeerId,
        username: Text<'_>,
        token: Secret<'_>,
    ) -> Result<(), Code> {
        let shown = (self.digest)(token.0);
        let state = self.peers.get(peer).ok_or(Code::USER_NOT_CONNECTED)?;
        let (from, arrived) = (self.peers.ip(peer), state.delivered.shown(state.stale));
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
            self.lose_dead_connection(now, username, shown, from);
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
        if self.peers.get(peer).is_some_and(|state| state.gone.is_some()) {
            // A request that came in before its connection went: what others send the user is kept.
            self.users.remove(&self.users.key(username.0), peer);
        }
        self.later.push_back(ServerEvent::Resumed { peer, lost: before, received: lost.received });
        true
    }

    /// A connection of the same user, token and address breaks just now, without our having noticed.
    fn lose_dead_connection(
        &mut self,
        now: Instant,
        username: Text<'_>,
        shown: &[u8; 32],
        from: Option<IpAddr>,
    ) {
        let has_token = |state: &Peer| state.login.as_ref().is_some_and(|login| is_same(&login.token, shown));
        let before = self
            .users
            .of(username.0)
            .find(|before| self.peers.ip(*before) == from && self.peers.get(*before).is_some_and(has_token));
        if let Some(before) = before {
            let event = self.forget(now, before, true);
            self.later.extend(event);
            self.outbox.close(before);
        }
    }

    /// No lost log-in is awaited any more from the addresses of these connections: they are new like all others.
    pub(in crate::server) fn stop_awaiting(&mut self, released: Vec<PeerId>) {
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
}
