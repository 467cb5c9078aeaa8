//! The life of a call: asked for, answered, connected, up, over.

use super::Client;
use crate::address::is_unicast;
use crate::types::Text;
use crate::wire::OWN_CALL;
use crate::{CallId, CallRequest, Cause, ClientEvent, Packet, Refusal, Resource, Role, Violation};
use alloc::boxed::Box;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use voxwire_core::{Bucket, DialId, Instant, Lane, ListenId, NameError, PeerId};

#[derive(Debug)]
pub(super) struct Call {
    pub(super) contact: Box<[u8]>,
    pub(super) role: Role,
    pub(super) state: CallState,
    /// Where to connect to, for a callee.
    at: (IpAddr, u16),
    /// We listen for it.
    listening: bool,
    peer: Option<PeerId>,
    voice: Bucket,
}

impl Call {
    /// We have called, and no client has answered.
    fn is_unanswered(&self) -> bool {
        let waits = matches!(self.state, CallState::Requested | CallState::Dialling | CallState::Waiting);
        self.role == Role::Caller && waits
    }
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallState {
    /// Caller: a port to listen on is being opened.
    Listening,
    /// Caller: the callee has been asked.
    Requested,
    /// Callee: the application decides.
    Ringing,
    /// The other side is being connected to.
    Dialling,
    /// Connected; the other side has not said that it is there.
    Waiting,
    /// Sound goes both ways.
    Up,
}

impl CallState {
    /// In words, for messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Listening => "opening a port",
            Self::Requested => "waiting for an answer",
            Self::Ringing => "ringing",
            Self::Dialling => "connecting",
            Self::Waiting => "waiting for the other side",
            Self::Up => "up",
        }
    }
}

/// How long a server may take to say why it does not carry a call any more.
const REASON: Duration = Duration::from_secs(2);
const NOWHERE: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Client {
    /// Starts a call. There is a port for each, so that it shows who answers: no packet says so.
    pub(super) fn call(&mut self, now: Instant, contact: Text<'_>) -> Result<(), Refusal> {
        let unexpected = Refusal::Unexpected { state: self.state.name(), command: "call" };
        self.server.filter(|_| self.state == super::SessionState::LoggedIn).ok_or(match self.server {
            None => Refusal::NotConnected,
            Some(_) => unexpected,
        })?;
        match contact.0.len() {
            0 => return Err(NameError::Empty.into()),
            len if len > crate::MAX_NAME => {
                return Err(NameError::TooLong { len, max: crate::MAX_NAME }.into());
            }
            _ => {}
        }
        if self.calls.len() >= self.settings.max_calls {
            return Err(Refusal::Full { what: Resource::Calls, max: self.settings.max_calls });
        }
        let listen = self.settings.listen;
        let state = if listen { CallState::Listening } else { CallState::Requested };
        if !listen {
            self.request(contact.0, 0)?;
        }
        let id = self.add(contact.0, Role::Caller, state);
        if listen {
            self.outbox.listen(id.to_listen());
            self.calls.entry(id).and_modify(|call| call.listening = true);
        }
        self.deadlines.set(id, now.saturating_add(self.settings.answer_timeout));
        Ok(())
    }

    fn add(&mut self, contact: &[u8], role: Role, state: CallState) -> CallId {
        let id = CallId::new(self.next);
        self.next = self.next.checked_add(1).unwrap_or(1);
        let call = Call {
            contact: contact.into(),
            role,
            state,
            at: NOWHERE,
            listening: false,
            peer: None,
            voice: Bucket::default(),
        };
        self.calls.insert(id, call);
        id
    }

    fn request(&mut self, contact: &[u8], port: u16) -> Result<(), Refusal> {
        // The host does not count: the server sees it. Originals leave it empty.
        let request = CallRequest { contact: Text(contact), host: Text(b""), port };
        Ok(self.send(&Packet::CallRequest(request))?)
    }

    /// There is a port for a call of ours.
    pub(super) fn listening<'a>(
        &mut self,
        now: Instant,
        id: ListenId,
        port: u16,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let id = CallId::from_listen(id);
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.state == CallState::Listening) else {
            self.outbox.stop_listening(id.to_listen());
            return Ok(None);
        };
        call.state = CallState::Requested;
        let contact = call.contact.clone();
        self.deadlines.set(id, now.saturating_add(self.settings.answer_timeout));
        if self.server.is_none() || self.request(&contact, port).is_err() {
            return Ok(self.end(id, Cause::Unreachable));
        }
        Ok(None)
    }

    /// A client connects to the port of a call of ours: its callee.
    pub(super) fn answered<'a>(
        &mut self,
        peer: PeerId,
        id: ListenId,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let id = CallId::from_listen(id);
        if self.lingering.contains(id) {
            // We have given up: the callee has accepted too late.
            self.stop_lingering(id);
            self.outbox.close(peer);
            return Ok(None);
        }
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.state == CallState::Requested) else {
            self.outbox.close(peer);
            return Err(Violation::TooMany(Resource::CallConnections));
        };
        call.state = CallState::Up;
        call.peer = Some(peer);
        if core::mem::take(&mut call.listening) {
            self.outbox.stop_listening(id.to_listen());
        }
        self.deadlines.clear(id);
        self.outbox.budget(peer, self.settings.droppable_budget);
        // It has no fields that could fail.
        let _ = self.outbox.send_over_limit(peer, Lane::Reliable, &Packet::ConnectionEstablished, &self.wire);
        Ok(Some(ClientEvent::Established { call: id }))
    }

    /// The server says that a client calls; or, to a caller that does not listen, where to connect to.
    pub(super) fn called<'a>(
        &mut self,
        now: Instant,
        request: CallRequest<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let CallRequest { contact: caller, host, port } = request;
        let host = host.as_str().unwrap_or_default();
        let own = host.strip_prefix(OWN_CALL);
        let at = own.unwrap_or(host).parse().ok();
        let at = at.filter(|host| is_unicast(*host) && port >= self.settings.lowest_port);
        let ours = |call: &Call| *call.contact == *caller.0;
        let Some(at) = at.map(|host: IpAddr| (host, port)) else {
            if own.is_none() {
                self.refuse_to(caller);
            }
            return Err(Violation::Address("the address that the server names"));
        };
        if own.is_some() {
            let waits = |call: &Call| call.state == CallState::Requested && !call.listening && ours(call);
            let waiting = self.calls.iter_mut().find(|(_, call)| waits(call));
            // Given up in the meantime, most likely.
            let Some((&id, call)) = waiting else { return Ok(None) };
            call.at = at;
            call.state = CallState::Dialling;
            self.dial(now, id);
            return Ok(None);
        }
        let ringing = self.calls.iter_mut().find(|(_, call)| ours(call) && call.state == CallState::Ringing);
        if let Some((&id, call)) = ringing {
            // Called again: the port before is closed.
            call.at = at;
            self.deadlines.set(id, now.saturating_add(self.settings.answer_timeout));
            return Ok(None);
        }
        let taken =
            |call: &Call| matches!(call.state, CallState::Dialling | CallState::Waiting | CallState::Up);
        let busy = self.settings.busy && self.calls.values().any(taken);
        if busy || self.calls.len() >= self.settings.max_calls {
            self.refuse_to(caller);
            return Ok(Some(ClientEvent::Missed { caller }));
        }
        let call = self.add(caller.0, Role::Callee, CallState::Ringing);
        self.calls.entry(call).and_modify(|call| call.at = at);
        self.deadlines.set(call, now.saturating_add(self.settings.answer_timeout));
        Ok(Some(ClientEvent::Incoming { call, caller }))
    }

    fn refuse_to(&mut self, contact: Text<'_>) {
        // A name that has come in can be sent back.
        let _ = self.send(&Packet::CallRefused { contact });
    }

    fn ringing(&mut self, id: CallId, command: &'static str) -> Result<&mut Call, Refusal> {
        let call = self.calls.get_mut(&id).ok_or(Refusal::UnknownCall)?;
        match call.state {
            CallState::Ringing => Ok(call),
            state => Err(Refusal::Unexpected { state: state.name(), command }),
        }
    }

    pub(super) fn accept(&mut self, now: Instant, id: CallId) -> Result<(), Refusal> {
        self.outbox.check_capacity(64, 1)?;
        self.ringing(id, "accept a call")?.state = CallState::Dialling;
        self.dial(now, id);
        Ok(())
    }

    pub(super) fn refuse(&mut self, id: CallId) -> Result<(), Refusal> {
        let contact = self.ringing(id, "refuse a call")?.contact.clone();
        self.refuse_to(Text(&contact));
        self.end(id, Cause::Refused);
        Ok(())
    }

    fn dial(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let (host, port) = call.at;
        let host = alloc::string::ToString::to_string(&host);
        self.deadlines.set(id, now.saturating_add(self.settings.connect_timeout));
        if self.outbox.dial(id.to_dial(), &host, port).is_err() {
            let ended = self.end(id, Cause::Unreachable);
            self.later.extend(ended);
        }
    }

    pub(super) fn dialled<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        id: DialId,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let id = CallId::from_dial(id);
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.state == CallState::Dialling) else {
            // Given up in the meantime.
            self.outbox.close(peer);
            return Ok(None);
        };
        call.state = CallState::Waiting;
        call.peer = Some(peer);
        // The caller waits at the server for the callee.
        let wait = match call.role {
            Role::Caller => self.settings.answer_timeout,
            Role::Callee => self.settings.connect_timeout,
        };
        self.outbox.budget(peer, self.settings.droppable_budget);
        self.deadlines.set(id, now.saturating_add(wait));
        Ok(None)
    }

    pub(super) fn dial_failed<'a>(&mut self, id: DialId) -> Option<ClientEvent<'a>> {
        let id = CallId::from_dial(id);
        let call = self.calls.get(&id).filter(|call| call.state == CallState::Dialling)?;
        let contact = call.contact.clone();
        if call.role == Role::Callee {
            // The caller would wait in vain.
            self.refuse_to(Text(&contact));
        }
        self.end(id, Cause::Unreachable)
    }

    #[inline]
    pub(super) fn call_says<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        packet: Packet<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let Some(id) = self.call_of(peer) else { return Err(Violation::UnknownPeer) };
        let Some(call) = self.calls.get_mut(&id) else { return Err(Violation::UnknownPeer) };
        match (packet, call.state) {
            (Packet::VoiceData(packet), CallState::Up) => {
                if let Some(until) = call.voice.charge(now, self.settings.voice, 1) {
                    self.outbox.pause(peer, until);
                }
                self.stats.packets_received = self.stats.packets_received.saturating_add(1);
                self.stats.bytes_received = self.stats.bytes_received.saturating_add(packet.len() as u64);
                // Originals send it where they have nothing to say, and skip it.
                Ok((!packet.is_empty()).then_some(ClientEvent::Voice { call: id, packet }))
            }
            (Packet::ConnectionEstablished, CallState::Waiting) => {
                call.state = CallState::Up;
                self.deadlines.clear(id);
                Ok(Some(ClientEvent::Established { call: id }))
            }
            (packet @ (Packet::VoiceData(_) | Packet::ConnectionEstablished), state) => {
                Err(Violation::Unexpected { state: state.name(), message: packet.name() })
            }
            (packet, _) => {
                self.break_off(peer);
                Err(Violation::Unexpected { state: "in a call", message: packet.name() })
            }
        }
    }

    /// A peer sends what no client can understand: its connection is closed.
    pub(super) fn break_off(&mut self, peer: PeerId) {
        if self.server == Some(peer) {
            self.outbox.close(peer);
            self.disconnected();
            self.later.push_back(ClientEvent::Disconnected);
        } else if let Some(call) = self.call_of(peer) {
            let ended = self.end(call, Cause::Misbehaved);
            self.later.extend(ended);
        }
    }

    pub(super) fn call_of(&self, peer: PeerId) -> Option<CallId> {
        self.calls.iter().find(|(_, call)| call.peer == Some(peer)).map(|(id, _)| *id)
    }

    /// A callee has refused, as the server says.
    pub(super) fn refused<'a>(&mut self, contact: Text<'_>) -> Option<ClientEvent<'a>> {
        let theirs = |call: &Call| call.is_unanswered() && *call.contact == *contact.0;
        let id = self.calls.iter().find(|(_, call)| theirs(call)).map(|(id, _)| *id)?;
        self.end(id, Cause::Refused)
    }

    /// The server cannot put a call through, and does not say which: most likely the last one to a client that is not in the
    /// contact list, otherwise the last one.
    pub(super) fn rejected<'a>(&mut self, what: Text<'a>) -> ClientEvent<'a> {
        let known = |call: &Call| self.contacts.contains(&call.contact);
        let asked = self.calls.iter().filter(|(_, call)| call.is_unanswered());
        let call = asked.max_by_key(|(id, call)| (!known(call), **id)).map(|(id, _)| *id);
        if let Some(call) = call {
            self.end(call, Cause::Unreachable);
        }
        ClientEvent::Rejected { call, what }
    }

    pub(super) fn overdue<'a>(&mut self, now: Instant, id: CallId) -> Option<ClientEvent<'a>> {
        let call = self.calls.get(&id)?;
        let contact = call.contact.clone();
        match call.state {
            CallState::Ringing => self.refuse_to(Text(&contact)),
            CallState::Dialling | CallState::Waiting if call.role == Role::Callee => {
                self.refuse_to(Text(&contact));
                return self.end(id, Cause::Unreachable);
            }
            CallState::Dialling => return self.end(id, Cause::Unreachable),
            _ => self.linger(now, id),
        }
        self.end(id, Cause::NoAnswer)
    }

    pub(super) fn speak(&mut self, call: Option<CallId>, packet: &[u8]) -> Result<(), Refusal> {
        if let Some(call) = call {
            let state = self.calls.get(&call).ok_or(Refusal::UnknownCall)?.state;
            if state != CallState::Up {
                return Err(Refusal::Unexpected { state: state.name(), command: "speak" });
            }
        }
        let to = self
            .calls
            .iter()
            .filter(|(id, state)| state.state == CallState::Up && call.is_none_or(|call| call == **id));
        let to = to.filter_map(|(_, call)| call.peer);
        let mut sent: u64 = 0;
        let counted = to.inspect(|_| sent = sent.saturating_add(1));
        self.outbox.send(counted, Lane::Droppable, &Packet::VoiceData(packet), &self.wire)?;
        self.stats.packets_sent = self.stats.packets_sent.saturating_add(sent);
        Ok(())
    }

    /// The connection of a call has ended.
    pub(super) fn closed<'a>(&mut self, now: Instant, id: CallId) -> Option<ClientEvent<'a>> {
        let call = self.calls.get_mut(&id)?;
        if !call.is_unanswered() {
            return self.end(id, Cause::HungUp);
        }
        // The server, which would have carried the call, says why on its own connection.
        (call.state, call.peer) = (CallState::Requested, None);
        self.deadlines.set(id, now.saturating_add(REASON));
        None
    }

    /// The application does not want a call any more; a caller that waits for our answer is told so.
    pub(super) fn hang_up(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.role == Role::Callee && call.state != CallState::Up {
            let contact = call.contact.clone();
            self.refuse_to(Text(&contact));
        }
        self.linger(now, id);
        self.end(id, Cause::HungUp);
    }

    /// Leaves the port of a call open that its callee has been told and has not come to: there is no message to take a call
    /// back.
    fn linger(&mut self, now: Instant, id: CallId) {
        let room = self.lingering.len() < self.settings.max_calls && !self.settings.linger.is_zero();
        let Some(call) = self.calls.get_mut(&id).filter(|call| room && call.state == CallState::Requested)
        else {
            return;
        };
        if core::mem::take(&mut call.listening) {
            self.lingering.set(id, now.saturating_add(self.settings.linger));
        }
    }

    pub(super) fn stop_lingering(&mut self, id: CallId) {
        self.lingering.clear(id);
        self.outbox.stop_listening(id.to_listen());
    }

    /// Forgets a call, and closes what is open of it.
    pub(super) fn end<'a>(&mut self, id: CallId, cause: Cause) -> Option<ClientEvent<'a>> {
        let call = self.calls.remove(&id)?;
        self.deadlines.clear(id);
        if call.listening {
            self.outbox.stop_listening(id.to_listen());
        }
        if let Some(peer) = call.peer {
            self.outbox.close(peer);
        }
        Some(ClientEvent::Ended { call: id, contact: call.contact, cause })
    }
}
