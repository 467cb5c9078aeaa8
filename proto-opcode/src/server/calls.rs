//! Handing calls and refusals on.

use super::{Client, Server, ServerSettings, reason};
use crate::address::is_unicast;
use crate::types::Text;
use crate::{CallRequest, MAX_CALLED, Packet, Resource, ServerEvent, Unreachable, Violation};
use alloc::boxed::Box;
use alloc::string::ToString;
use core::net::IpAddr;
use voxwire_core::{Instant, PeerId};

impl Server {
    pub(super) fn call<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        request: CallRequest<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let CallRequest { contact, port, .. } = request;
        let Some(caller) = self.client(peer) else { return Err(Violation::UnknownPeer) };
        let source = self.peers.ip(peer);
        if caller.name.is_none() && !self.settings.unnamed_take_part {
            self.send_error(peer, reason::LOG_IN_FIRST);
            return Err(Violation::Unexpected { state: "not logged in", message: "CallRequest" });
        }
        if !self.may_try(now, peer) {
            self.send_error(peer, reason::TOO_MANY_ATTEMPTS);
            return Err(Violation::TooMany(Resource::Attempts));
        }
        let unreachable = |cause| Ok(Some(ServerEvent::Unreachable { caller: peer, contact, cause }));
        if self.is_echo(contact.0) {
            return match self.may_echo(peer, port) {
                Ok(at) => {
                    self.begin_echo(now, peer, at, port);
                    self.stats.calls = self.stats.calls.saturating_add(1);
                    Ok(Some(ServerEvent::Calling { caller: peer, callee: peer }))
                }
                Err((cause, what)) => {
                    self.send_error(peer, what);
                    unreachable(cause)
                }
            };
        }
        let Some(callee) = self.whom(contact.0) else {
            self.send_error(peer, reason::NOT_FOUND);
            return unreachable(Unreachable::NotFound);
        };
        let at = match self.settings.relay {
            Some(_) => self.may_relay(peer, callee, port).map(|()| None),
            None => self.listens_at(&request, source).map(Some),
        };
        let at = match at {
            Ok(at) => at,
            Err((cause, what)) => {
                self.send_error(peer, what);
                return unreachable(cause);
            }
        };
        // Only what could be handed on counts; and what one source does leaves room for others.
        let ServerSettings { rings, source_rings, .. } = self.settings;
        let payer = self.attempts.payer(peer, source);
        let ring = |callee: &mut Client| callee.rings.take(now, rings, source_rings, payer, source);
        if !self.client_mut(callee).is_some_and(ring) {
            self.send_error(peer, reason::BUSY);
            return unreachable(Unreachable::Busy);
        }
        match at {
            Some(ip) => {
                let name = self.name(peer).map(Box::<[u8]>::from).unwrap_or_default();
                self.ring(&name, callee, &ip.to_string(), port);
            }
            None => self.begin_relay(now, peer, callee, port),
        }
        self.note_call(peer, callee);
        self.stats.calls = self.stats.calls.saturating_add(1);
        Ok(Some(ServerEvent::Calling { caller: peer, callee }))
    }

    /// Where a caller at `source` listens, if a callee can connect to that.
    fn listens_at(
        &self,
        request: &CallRequest<'_>,
        source: Option<IpAddr>,
    ) -> Result<IpAddr, (Unreachable, &'static str)> {
        let CallRequest { host, port, .. } = *request;
        let ServerSettings { trust_host, lowest_port, .. } = self.settings;
        if port < lowest_port {
            let what = if port == 0 { reason::NOT_RELAYED } else { reason::PORT };
            return Err((Unreachable::Address, what));
        }
        let named = host.as_str().and_then(|host| host.parse().ok()).filter(|_| trust_host);
        named.or(source).filter(|ip| is_unicast(*ip)).ok_or((Unreachable::Address, reason::PORT))
    }

    /// Tells `callee` where to connect to for a call of `caller`'s.
    pub(super) fn ring(&mut self, caller: &[u8], callee: PeerId, host: &str, port: u16) {
        let request = CallRequest { contact: Text(caller), host: host.into(), port };
        self.send(callee, &Packet::CallRequest(request));
    }

    pub(super) fn refuse<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        contact: Text<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        // A refusal for an unknown caller is dropped, as the original does.
        let Some(caller) = self.whom(contact.0) else { return Ok(None) };
        let any = !self.settings.only_requested_refusals;
        let Some(state) = self.client_mut(caller) else { return Ok(None) };
        let called = state.called.iter().rposition(|callee| *callee == peer);
        if let Some(at) = called {
            state.called.remove(at);
        } else if !any {
            return Err(Violation::Unexpected {
                state: "not called by that contact",
                message: "CallRefused",
            });
        }
        let Some(client) = self.client(peer) else { return Err(Violation::UnknownPeer) };
        let name = Box::<[u8]>::from(client.name());
        self.send(caller, &Packet::CallRefused { contact: Text(&name) });
        self.refuse_relay(now, caller, peer);
        Ok(Some(ServerEvent::Refused { caller, callee: peer }))
    }

    fn note_call(&mut self, caller: PeerId, callee: PeerId) {
        let Some(caller) = self.client_mut(caller) else { return };
        caller.called.retain(|before| *before != callee);
        if caller.called.len() >= MAX_CALLED {
            caller.called.pop_front();
        }
        caller.called.push_back(callee);
    }

    /// Who has a name. In the original the empty one is that of some connection without a name.
    fn whom(&self, name: &[u8]) -> Option<PeerId> {
        if name.is_empty() && self.settings.unnamed_take_part {
            return self.peers.evictable().next();
        }
        self.names.find(name)
    }
}
