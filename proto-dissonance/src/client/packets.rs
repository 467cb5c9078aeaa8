//! What the server, and other clients, send.

use super::{Client, Local, speech};
use crate::state::send_state;
use crate::{
    ClientEvent, ClientId, ClientInfo, ClientState, DeltaClientState, HandshakeResponse, Lost, Packet,
    Recipient, Resource, RoomId, SessionState, Text, TextData, Violation, VoiceData, room_id,
};
use alloc::{borrow::Cow, boxed::Box, collections::BTreeMap, vec::Vec};
use speech::Heard;
use voxwire_core::{Instant, Lane, PeerId};

impl Client {
    /// Message type 5: the session, and our number in it. May come at any time.
    pub(super) fn welcome<'a>(
        &mut self,
        now: Instant,
        response: HandshakeResponse<'a>,
    ) -> Result<ClientEvent<'a>, Violation> {
        if response.clients.len() > self.settings.limits.max_peers {
            return Err(Violation::TooMany(Resource::Clients));
        }
        if self.session != response.session {
            // The clients of the other session are gone, even if others have their numbers now.
            self.forget_all();
        }
        if self.id.replace(response.client) != Some(response.client) {
            // What is said of the number before is void.
            self.states_due = 0;
        }
        self.session = response.session;
        self.take_roster(now, &response);
        self.take_listeners(&response);
        self.resolve();
        let listed = response.clients.iter().any(|client| client.id == response.client);
        self.states_due = self.states_due.saturating_add(if listed { 1 } else { 2 });
        self.introduce(response.client)?;
        if self.state == SessionState::Negotiating {
            self.state = SessionState::Connected;
            self.retry = None;
            self.backoff.succeed(now);
            self.stats.sessions = self.stats.sessions.saturating_add(1);
        }
        self.ask_all(now);
        Ok(ClientEvent::Connected { id: response.client, session: response.session })
    }

    /// The clients that a handshake lists are those in the session.
    fn take_roster(&mut self, now: Instant, response: &HandshakeResponse<'_>) {
        let kept = |id| response.clients.iter().any(|client| client.id == id);
        // Without a list every client is described next, one by one: their ways are theirs still.
        let listed = !response.clients.is_empty();
        for (client, remote) in self.roster.retain(kept) {
            self.silences.clear(client);
            if listed {
                self.forget_path(now, client);
            }
            self.later.push_back(ClientEvent::Left { client, name: remote.name });
        }
        for client in response.clients {
            let Some(name) = client.name.as_str() else { continue };
            if self.roster.insert(client.id, name, client.codec) {
                let entered = ClientEvent::Entered { client: client.id, name: Cow::Owned(name.into()) };
                self.later.push_back(entered);
                self.look_for_path(now, client.id);
            }
        }
    }

    /// Who listens to what, as a handshake lists it.
    fn take_listeners(&mut self, response: &HandshakeResponse<'_>) {
        self.roster.clear_rooms();
        // Rooms are named in one list and numbered in the other; what is in one only is of no use.
        let names: BTreeMap<RoomId, &str> = response
            .rooms
            .iter()
            .filter_map(|name| name.as_str())
            .map(|name| (room_id(name), name))
            .collect();
        for channel in response.channels {
            let Some(name) = names.get(&channel.room) else { continue };
            for &client in channel.listeners {
                self.roster.set_listening(client, name, true);
            }
        }
    }

    /// Says which rooms we listen to.
    fn introduce(&mut self, id: ClientId) -> Result<(), Violation> {
        let Self { server, session, name, settings, local, wire, outbox, pending, .. } = self;
        // The state replaces all that was said before.
        pending.clear();
        let Some(server) = *server else { return Ok(()) };
        let rooms: Vec<Text<'_>> = local.values().map(|room| Text::new(&room.name)).collect();
        let client = ClientInfo { name: Text::new(name), id, codec: settings.codec };
        // Bounded by the rooms that the application has joined.
        let said = send_state(*session, client, &rooms, wire, |packet| {
            if let Packet::DeltaClientState(delta) = packet {
                pending.extend(delta.room.as_str().map(|room| (room_id(room), true)));
            }
            outbox.send_over_limit(server, Lane::Reliable, packet, wire)
        });
        debug_assert!(said.is_ok(), "names were checked");
        Ok(())
    }

    /// Message type 6.
    pub(super) fn wrong_session(&mut self, now: Instant, session: u32) -> Option<ClientEvent<'static>> {
        if session == self.session && self.state == SessionState::Connected {
            return None;
        }
        let server = self.server.take()?;
        self.outbox.close(server);
        Some(self.lose(now, Lost::WrongSession))
    }

    /// Message type 1.
    pub(super) fn client_state<'a>(
        &mut self,
        now: Instant,
        state: ClientState<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let ClientInfo { name, id, codec } = state.client;
        let name = name.valid().map_err(|error| Violation::InvalidName("name", error))?;
        if let Some(error) = state.rooms.iter().find_map(|room| room.valid().err()) {
            return Err(Violation::InvalidName("room name", error));
        }
        if self.roster.len() >= self.settings.limits.max_peers && self.roster.get(id).is_none() {
            return Err(Violation::TooMany(Resource::Clients));
        }
        let new = self.roster.insert(id, name, codec);
        self.roster.leave_rooms(id);
        for room in state.rooms.iter().filter_map(Text::as_str) {
            self.roster.set_listening(id, room, true);
        }
        if Some(id) == self.id {
            self.states_due = self.states_due.saturating_sub(1);
            self.follow_all();
        }
        if !new {
            return Ok(Some(ClientEvent::Rooms { client: id }));
        }
        self.resolve();
        self.look_for_path(now, id);
        Ok(Some(ClientEvent::Entered { client: id, name: Cow::Borrowed(name) }))
    }

    /// Message type 9.
    pub(super) fn delta<'a>(
        &mut self,
        delta: DeltaClientState<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let (client, joined) = (delta.client, delta.joined);
        let name = delta.room.valid().map_err(|error| Violation::InvalidName("room name", error))?;
        if self.roster.get(client).is_none() {
            return Err(Violation::UnknownClient(client));
        }
        let changed = self.roster.set_listening(client, name, joined);
        if Some(client) == self.id {
            self.answered(room_id(name), joined);
            if self.follow(room_id(name), name) {
                return Ok(Some(ClientEvent::Moved { room: name.into(), joined }));
            }
        }
        let room = Cow::Borrowed(name);
        Ok(changed.then_some(ClientEvent::Listening { client, room, joined }))
    }

    /// A delta about ourselves has come: one of ours, or the server's own.
    fn answered(&mut self, room: RoomId, joined: bool) {
        match self.pending.iter().position(|&pending| pending == (room, joined)) {
            // In order: what was sent before and has not come back has been refused.
            Some(at) => {
                let refused: Vec<RoomId> = self.pending.drain(..=at).map(|(room, _)| room).collect();
                for other in refused.into_iter().filter(|&other| other != room) {
                    let name = self.local.get(&other).map(|local| local.name.clone());
                    if let Some(name) = name.filter(|name| self.follow(other, name)) {
                        self.later.push_back(ClientEvent::Moved { room: name, joined: false });
                    }
                }
            }
            // Not what we asked for: a refusal, or the server moves us.
            None => {
                let at = self.pending.iter().position(|(pending, _)| *pending == room);
                at.and_then(|at| self.pending.remove(at));
            }
        }
    }

    /// The server has our state: rooms that are not in it are refused, and rooms that only it has were its own idea.
    fn follow_all(&mut self) {
        let local = self.local.iter().map(|(id, local)| (*id, local.name.clone()));
        let listed = self.roster.rooms.iter().map(|(id, room)| (id, room.name.clone()));
        let rooms: BTreeMap<RoomId, Box<str>> = local.chain(listed).collect();
        for (room, name) in rooms {
            if self.follow(room, &name) {
                let joined = self.local.contains_key(&room);
                self.later.push_back(ClientEvent::Moved { room: name, joined });
            }
        }
    }

    /// Where nothing of ours is on the way any more, we listen to what the server says we do. True if that is a change.
    fn follow(&mut self, room: RoomId, name: &str) -> bool {
        if self.states_due > 0 || self.pending.iter().any(|(pending, _)| *pending == room) {
            return false;
        }
        let listening =
            self.id.is_some_and(|own| self.roster.rooms.listeners(room).binary_search(&own).is_ok());
        if listening == self.local.contains_key(&room) {
            return false;
        }
        if listening && self.local.len() >= self.settings.max_rooms {
            return false;
        }
        if listening {
            self.local.insert(room, Local { name: name.into(), count: 1 });
        } else {
            self.local.remove(&room);
        }
        true
    }

    /// Message type 10.
    pub(super) fn remove(&mut self, now: Instant, client: ClientId) -> Option<ClientEvent<'static>> {
        if Some(client) == self.id {
            // Only a server that wants us gone says so to ourselves.
            self.over = true;
            self.close_paths();
            let server = self.server.take()?;
            self.outbox.close(server);
            return Some(self.lose(now, Lost::Kicked));
        }
        let remote = self.roster.remove(client)?;
        self.silences.clear(client);
        self.forget_path(now, client);
        self.resolve();
        Some(ClientEvent::Left { client, name: remote.name })
    }

    /// Message type 2.
    #[inline]
    pub(super) fn hear<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        voice: VoiceData<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let Some(own) = self.id else {
            return Err(Violation::Unexpected { state: self.state, message: "VoiceData" });
        };
        let sender = voice.sender;
        let direct = self.server != Some(peer);
        if direct && !self.is_from(now, peer, sender) {
            let known = self.roster.get(sender).filter(|_| sender != own);
            known.ok_or(Violation::UnknownClient(sender))?;
            return Err(Violation::NotTheirs(sender));
        }
        let local = &self.local;
        let for_us = |recipient| match recipient {
            Recipient::Player(client) => client == own,
            Recipient::Room(room) => local.contains_key(&room),
        };
        let remote = self.roster.get_mut(sender).filter(|_| sender != own);
        let remote = remote.ok_or(Violation::UnknownClient(sender))?;
        let heard = remote.speaker.hear(now, &voice, for_us);
        // Looked at when it may be too long, and again as often as it is not: no table moves for each packet.
        if !core::mem::replace(&mut remote.speaker.watched, true) {
            self.silences.set(sender, now.saturating_add(self.settings.speech_timeout));
        }
        let counter = if direct { &mut self.stats.direct } else { &mut self.stats.relayed };
        *counter = counter.saturating_add(1);
        match heard {
            Heard::Nothing => Ok(None),
            Heard::Ended => Ok(Some(ClientEvent::SpeechEnded { client: sender })),
            Heard::Frame(frame) => Ok(Some(ClientEvent::Voice(frame.voice(&voice)))),
        }
    }

    /// Message type 3.
    pub(super) fn read<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        text: TextData<'a>,
    ) -> Result<Option<ClientEvent<'a>>, Violation> {
        let TextData { sender, recipient, text, .. } = text;
        if self.server != Some(peer) && !self.is_from(now, peer, sender) {
            return Err(Violation::NotTheirs(sender));
        }
        if self.roster.get(sender).is_none() {
            return Err(Violation::UnknownClient(sender));
        }
        let for_us = match recipient {
            Recipient::Player(client) => Some(client) == self.id,
            Recipient::Room(room) => self.local.contains_key(&room),
        };
        Ok(for_us.then_some(ClientEvent::Text { from: sender, recipient, text }))
    }
}
