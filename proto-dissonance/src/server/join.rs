//! Joining and leaving: the handshake, names, and what a newcomer is told.

use super::{Flags, Kind, Pending, Server};
use crate::state::send_state;
use crate::wire::MAX_PACKET;
use crate::{
    ClientId, ClientInfo, CodecSettings, HandshakeRequest, HandshakeResponse, LeftBecause, Packet, Refusal,
    Resource, RoomListeners, ServerEvent, Text, Violation,
};
use alloc::{borrow::Cow, boxed::Box, vec::Vec};
use voxwire_core::{EncodeError, Instant, Lane, List, PeerId, check_name};

impl Server {
    /// Message type 4.
    pub(super) fn handshake<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        request: HandshakeRequest<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        self.peers.get(peer).ok_or(Violation::UnknownPeer)?;
        self.charge_state(now, peer);
        // The original ignores a request without a name, and so do we: it is asked again.
        let name = request.name.valid().and_then(|name| match self.settings.any_name {
            true => Ok(name),
            false => check_name(name.as_bytes()),
        });
        let name = match name {
            Ok(name) => name,
            // An honest player goes on asking, and is told nothing: the application must learn why.
            Err(error) => return Ok(Some(ServerEvent::InvalidName { peer, error })),
        };
        self.room_for_a_join()?;
        let known = self.client_of(peer).and_then(|id| Some((id, self.clients.get(id)?)));
        let same = known.filter(|(_, client)| *client.name() == *name && client.codec == request.codec);
        if let Some((client, _)) = same.filter(|_| !self.settings.repeat_replaces) {
            self.answer_again(now, peer, client);
            return Ok(None);
        }
        if !self.may_take(now, peer, name) {
            return Ok(Some(ServerEvent::NameRefused { peer, name: Cow::Borrowed(name) }));
        }
        if self.settings.ask {
            let pending = &mut self.controls.get_mut(now, peer).pending;
            if let Some(pending) = pending {
                // The application decides about what it was asked first.
                return match pending {
                    _ if *pending.name != *name => Err(Violation::Changed("name")),
                    _ if pending.codec != request.codec => Err(Violation::Changed("codec")),
                    _ => Ok(None),
                };
            }
            *pending = Some(Pending { name: name.into(), codec: request.codec });
            return Ok(Some(ServerEvent::Joining { peer, name: Cow::Borrowed(name), codec: request.codec }));
        }
        let client = self.admit(now, peer, name.into(), request.codec);
        let client = client.ok_or(Violation::TooMany(Resource::Clients))?;
        let joined = ServerEvent::Joined { peer, client };
        if self.later.is_empty() {
            return Ok(Some(joined));
        }
        // Those that had to go for it are told of first.
        self.later.push_back(ServerEvent::Joined { peer, client });
        Ok(None)
    }

    /// The application's answer to a request.
    pub(super) fn admit_pending(&mut self, now: Instant, peer: PeerId) -> Result<(), Refusal> {
        self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        let not_asking = Refusal::Unexpected { state: "it has not asked", command: "let a peer join" };
        let pending = self.controls.get(peer).and_then(|state| state.pending.as_ref());
        let Pending { name, codec } = pending.ok_or(not_asking)?;
        let (name, codec) = (name.clone(), *codec);
        self.room_for_a_join()?;
        if !self.may_take(now, peer, &name) {
            return Err(Refusal::Unexpected { state: "the name is taken", command: "let a peer join" });
        }
        let full = Refusal::Full { what: Resource::Clients, max: usize::from(u16::MAX) };
        let client = self.admit(now, peer, name, codec).ok_or(full)?;
        self.later.push_back(ServerEvent::Joined { peer, client });
        Ok(())
    }

    /// Checks that everything fits the outbox that one join can cause.
    fn room_for_a_join(&self) -> Result<(), voxwire_core::Full> {
        let clients = self.clients.len().saturating_add(1);
        // Two clients may have to go, and be told to all; then every client is described to one.
        let outputs =
            clients.saturating_mul(3).saturating_add(self.listeners).saturating_add(JOIN_INSTRUCTIONS);
        self.outbox.check_capacity(self.state_bytes.saturating_add(JOIN_BYTES), outputs)
    }

    /// Whether `peer` may have `name`: it is neither held nor kept, or the holder has to give way.
    fn may_take(&mut self, now: Instant, peer: PeerId, name: &str) -> bool {
        let address = self.peers.ip(peer);
        if self.is_echo(name) {
            return false;
        }
        match self.holder(name) {
            None => !self.clients.is_kept(now, name, address),
            Some(holder) if holder == peer => true,
            // What the holder itself sent on a connection before this one, and gave up: it comes too late.
            Some(holder) if self.peers.number(peer) < self.peers.number(holder) => false,
            Some(_) if self.settings.newest_wins => true,
            Some(holder) => self.sources.exempt.is_one_user(address, self.peers.ip(holder)),
        }
    }

    /// The connection of the client that is known by `name`.
    fn holder(&self, name: &str) -> Option<PeerId> {
        self.clients.peer(self.clients.find(name)?)
    }

    /// Makes `peer` a client; the client that it was before, and the holder of its name, leave first.
    fn admit(
        &mut self,
        now: Instant,
        peer: PeerId,
        name: Box<str>,
        codec: CodecSettings,
    ) -> Option<ClientId> {
        if !self.clients.has_room(now) {
            return None;
        }
        let again = self.client_of(peer).is_some();
        self.leave_later(now, peer, LeftBecause::Again);
        if let Some(holder) = self.holder(&name).filter(|&holder| holder != peer) {
            self.leave_later(now, holder, LeftBecause::Displaced);
            self.remove(now, holder);
            self.outbox.close(holder);
        }
        let (name_len, client) = (name.len(), self.clients.insert(now, peer, name, codec)?);
        self.stats.joined = self.stats.joined.saturating_add(1);
        self.peers.keep(peer);
        if let Some(state) = self.peers.get_mut(peer) {
            // What has been decided about the connection stays, before the first join and under another name.
            state.client = Some(client);
            let control = self.controls.get_mut(now, peer);
            (control.pending, control.answered) = (None, Some(now));
        }
        self.state_bytes = self.state_bytes.saturating_add(STATE_BYTES).saturating_add(name_len);
        if again {
            self.charge_answer(now, peer);
        }
        self.answer(peer, client);
        Some(client)
    }

    /// A handshake was asked for once more, before our answer was there: one that comes soon after is not answered.
    fn answer_again(&mut self, now: Instant, peer: PeerId, client: ClientId) {
        let state = self.controls.get_mut(now, peer);
        if !state.was_answered(now, &self.settings) {
            state.answered = Some(now);
            self.charge_answer(now, peer);
            self.answer(peer, client);
        }
    }

    /// To be told every client's state once more costs as many changes of state as it is long: the first time is free.
    fn charge_answer(&mut self, now: Instant, peer: PeerId) {
        let long = u32::try_from(self.state_bytes / ANSWER_BYTES).unwrap_or(u32::MAX);
        self.charge(now, peer, Kind::State, long);
    }

    /// Describes the session to a newcomer: in one packet if it fits, else client by client.
    fn answer(&mut self, peer: PeerId, client: ClientId) {
        if self.filled_response(peer, client).is_err() {
            self.answer_in_parts(peer, client);
        }
        self.tell_echo(peer, client);
    }

    fn answer_in_parts(&mut self, peer: PeerId, client: ClientId) {
        let (clients, rooms, channels) = (List::from(&[][..]), List::from(&[][..]), List::from(&[][..]));
        let response = HandshakeResponse { session: self.session, client, clients, rooms, channels };
        self.send(peer, &Packet::HandshakeResponse(response));
        let all: Vec<ClientId> = self.clients.iter().map(|(id, _)| id).collect();
        all.into_iter().for_each(|client| self.describe(peer, client));
    }

    /// The lists of a filled answer hold the newcomer, too: the original's do.
    fn filled_response(&mut self, peer: PeerId, client: ClientId) -> Result<(), EncodeError> {
        // More clients cannot fit, even with empty names.
        if self.clients.len() > 80 || self.rooms.iter().len() > 200 {
            return Err(EncodeError::NoRoom { needed: usize::MAX, available: self.wire.limits.max_frame });
        }
        let Self { clients, rooms, wire, outbox, session, .. } = self;
        let infos: Vec<ClientInfo<'_>> = clients
            .iter()
            .map(|(id, client)| ClientInfo { name: Text::new(client.name()), id, codec: client.codec })
            .collect();
        let names: Vec<Text<'_>> = rooms.iter().map(|(_, room)| Text::new(&room.name)).collect();
        let listeners: Vec<RoomListeners<'_>> =
            rooms.iter().map(|(id, room)| RoomListeners { room: id, listeners: &room.listeners }).collect();
        let response = HandshakeResponse {
            session: *session,
            client,
            clients: List::from(&infos[..]),
            rooms: List::from(&names[..]),
            channels: List::from(&listeners[..]),
        };
        outbox.send_over_limit(peer, Lane::Reliable, &Packet::HandshakeResponse(response), wire)
    }

    /// Tells `peer` all about one client: its state, continued as deltas where it does not fit one packet.
    fn describe(&mut self, peer: PeerId, id: ClientId) {
        let Self { clients, rooms, wire, outbox, session, .. } = self;
        let Some(client) = clients.get(id) else { return };
        let names: Vec<Text<'_>> = clients
            .rooms(id)
            .iter()
            .filter_map(|&room| rooms.get(room).map(|room| Text::new(&room.name)))
            .collect();
        let info = ClientInfo { name: Text::new(client.name()), id, codec: client.codec };
        let _ = send_state(*session, info, &names, wire, |packet| {
            outbox.send_over_limit(peer, Lane::Reliable, packet, wire)
        });
    }

    /// Removes `peer`'s client from the session, to be told to every client, and with the next time-out to the application.
    pub(super) fn leave_later(&mut self, now: Instant, peer: PeerId, cause: LeftBecause) {
        let left = self.leave(now, peer, cause);
        self.later.extend(left);
    }

    /// Removes `peer`'s client from the session and tells every client that is left; and the client, if it is not to come back.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        peer: PeerId,
        cause: LeftBecause,
    ) -> Option<ServerEvent<'static>> {
        let from = self.peers.ip(peer);
        let state = self.peers.get_mut(peer)?;
        let client = state.client.take()?;
        state.flags.set(Flags::ECHO, false);
        self.controls.get_mut(now, peer).add_former(now, client);
        let packet = Packet::RemoveClient { session: self.session, client };
        if matches!(cause, LeftBecause::Kicked | LeftBecause::Violations | LeftBecause::Displaced) {
            self.send(peer, &packet);
        }
        self.peers.set_evictable(peer, now);
        let (rooms, removed) = self.clients.remove(now, client)?;
        for &room in rooms.as_slice() {
            self.forget_listener(client, room);
        }
        self.state_bytes = self.state_bytes.saturating_sub(STATE_BYTES).saturating_sub(removed.name().len());
        // Kept for its address only if it was lost: a client that left or was sent away has no claim.
        let until = match cause {
            LeftBecause::Connection => {
                self.sources.exempt.name_kept_until(now, from, self.settings.quarantine)
            }
            _ => now,
        };
        self.clients.keep(now, removed.name(), from, until);
        self.tell_all(&packet);
        Some(ServerEvent::Left { peer, client, name: removed.into_name(), cause })
    }
}

/// What a join takes beside the states of the others: a packet with the newcomer, and those by which two clients go.
const JOIN_BYTES: usize = 2 * MAX_PACKET;

/// Instructions to the driver that a join causes at most.
const JOIN_INSTRUCTIONS: usize = 64;

/// Bytes of an answer that cost as much as a change of state does.
const ANSWER_BYTES: usize = 16 * 1024;

/// What describing a client takes beside its names.
const STATE_BYTES: usize = 32;
