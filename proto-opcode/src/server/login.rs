//! Logging in, in the original's order of questions.

use super::{Server, reason};
use crate::types::Text;
use crate::{Packet, Refusal, Resource, ServerEvent, Violation, Wire};
use alloc::{boxed::Box, format};
use voxwire_core::{Instant, Limits, Message, NameError, PeerId, check_name};

impl Server {
    pub(super) fn login<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        name: Text<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let Some(client) = self.client(peer) else { return Err(Violation::UnknownPeer) };
        let (source, named, pending) = (self.peers.ip(peer), client.name.is_some(), client.pending);
        if pending {
            return Err(Violation::Unexpected { state: "logging in", message: "Login" });
        }
        // First whether any client has the name, no client's included: a connection without one has the empty one, and a client with
        // a name has that.
        let taken = match name.0 {
            b"" => self.peers.evictable().next().is_some(),
            // It may hold a secret: the application says which name it is.
            _ if self.settings.ask && !named => false,
            name if self.is_echo(name) => true,
            name => self.names.find(name).is_some() && !self.may_displace(peer, name),
        };
        if taken {
            return Ok(Some(self.login_failed(peer, name, reason::TAKEN)));
        }
        // Then whether the client has one already: no answer then.
        if named {
            return Ok(None);
        }
        // What the original does not ask. Names are how people are found, and guessed.
        if !self.may_try(now, peer) {
            self.login_failed(peer, name, reason::TOO_MANY_ATTEMPTS);
            return Err(Violation::TooMany(Resource::Attempts));
        }
        if self.settings.ask {
            if let Some(client) = self.client_mut(peer) {
                client.pending = true;
            }
            return Ok(Some(ServerEvent::LoggingIn { peer, name }));
        }
        if let Err(error) = self.check_name(name.0) {
            self.login_failed(peer, name, &format!("{}: {error}", reason::INVALID));
            return Err(Violation::InvalidName(error));
        }
        if self.names.is_kept(now, name.0, source) {
            return Ok(Some(self.login_failed(peer, name, reason::TAKEN)));
        }
        self.give(now, peer, name.0.into());
        Ok(Some(ServerEvent::LoggedIn { peer }))
    }

    /// What is wrong with the name of a client's packet, if it is a Login that is whole, and its name longer than any can be.
    pub(super) fn too_long(&self, peer: PeerId, bytes: &[u8]) -> Option<NameError> {
        let max = self.settings.limits.max_text;
        let limits = Limits { max_text: self.settings.limits.max_frame, ..self.settings.limits };
        match Packet::decode(bytes, &Wire { limits, ..self.wire }) {
            Ok(Packet::Login { name }) if self.client(peer).is_some() => {
                Some(NameError::TooLong { len: name.0.len(), max })
            }
            _ => None,
        }
    }

    /// Refused as any name that is not valid; a client that has a name already is not answered.
    pub(super) fn long_login<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        error: NameError,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let control = self.settings.control;
        let Some(client) = self.client_mut(peer) else { return Err(Violation::UnknownPeer) };
        let until = client.control.charge(now, control, 1);
        let named = client.name.is_some() || client.pending;
        if let Some(until) = until {
            self.outbox.pause(peer, until);
        }
        if !named {
            let reason = format!("{}: {error}", reason::INVALID);
            self.send(peer, &Packet::LoginFailed { reason: reason.as_str().into() });
        }
        Err(Violation::InvalidName(error))
    }

    /// The application lets a client in.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        peer: PeerId,
        name: &str,
        proven: bool,
    ) -> Result<(), Refusal> {
        let client = self.client(peer).ok_or(Refusal::UnknownPeer)?;
        if !client.pending {
            return Err(Refusal::Unexpected { state: "not logging in", command: "admit a log-in" });
        }
        let source = self.peers.ip(peer);
        let bytes = name.as_bytes();
        self.check_name(bytes)?;
        let held = self.names.find(bytes).is_some_and(|_| !proven && !self.may_displace(peer, bytes));
        let failed = held || self.is_echo(bytes) || (!proven && self.names.is_kept(now, bytes, source));
        if let Some(client) = self.client_mut(peer) {
            client.pending = false;
        }
        if failed {
            self.send(peer, &Packet::LoginFailed { reason: reason::TAKEN.into() });
            return Ok(());
        }
        self.give(now, peer, bytes.into());
        self.later.push_back(ServerEvent::LoggedIn { peer });
        Ok(())
    }

    /// Whether a name will do here.
    fn check_name(&self, name: &[u8]) -> Result<(), NameError> {
        let (len, max) = (name.len(), self.settings.limits.max_text);
        if len > max {
            return Err(NameError::TooLong { len, max });
        }
        match self.settings.any_name {
            true if name.is_empty() => Err(NameError::Empty),
            true => Ok(()),
            false => check_name(name).map(drop),
        }
    }

    fn login_failed<'a>(&mut self, peer: PeerId, name: Text<'a>, reason: &str) -> ServerEvent<'a> {
        self.send(peer, &Packet::LoginFailed { reason: reason.into() });
        ServerEvent::LoginFailed { peer, name }
    }

    /// Gives a client its name; its holder goes.
    fn give(&mut self, now: Instant, peer: PeerId, name: Box<[u8]>) {
        if let Some(holder) = self.names.find(&name) {
            self.expel(now, holder, Some(reason::DISPLACED));
        }
        let Some(client) = self.client_mut(peer) else { return };
        client.name = Some(name.clone());
        self.peers.keep(peer);
        self.names.take(&name, peer);
        self.roster = self.roster.saturating_add(super::contacts::encoded(&name));
        self.stats.logins = self.stats.logins.saturating_add(1);
        self.send(peer, &Packet::LoginSuccess);
        self.come(now, peer, name);
    }

    /// Whether `peer` may take `name` from its holder.
    fn may_displace(&self, peer: PeerId, name: &[u8]) -> bool {
        let holder = self.names.find(name).filter(|holder| *holder != peer);
        let is_same =
            |holder| self.attempts.exempt_addresses().is_one_user(self.peers.ip(peer), self.peers.ip(holder));
        self.settings.same_address_displaces && holder.is_some_and(is_same)
    }
}
