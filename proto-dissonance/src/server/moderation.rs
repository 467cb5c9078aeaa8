//! What an operator sees of clients, and decides about them.

use super::{Flags, Server};
use crate::{
    ClientId, ClientInfo, ClientState, CodecSettings, LeftBecause, Packet, Recipient, Refusal, Resource,
    ServerEvent, Text, TextData, room_id,
};
use alloc::{borrow::Cow, vec::Vec};
use core::net::SocketAddr;
use voxwire_core::{
    Ability, Instant, Lane, List, Member, MemberChange, Message as _, Moderation, Mute, PeerId, Watched,
    canonical_name, check_name,
};

impl Moderation for Server {
    fn lacks(&self, ability: Ability) -> Option<&'static str> {
        match ability {
            Ability::Enter => Some(
                "Dissonance's clients choose the rooms that they listen to themselves: ask the game for it, or say who hears whom",
            ),
            _ => None,
        }
    }

    fn member_change(event: &ServerEvent<'_>) -> Option<MemberChange> {
        match event {
            ServerEvent::Joined { peer, .. } => Some(MemberChange::Changed(*peer)),
            ServerEvent::Left { peer, .. } | ServerEvent::Gone { peer } => Some(MemberChange::Gone(*peer)),
            _ => None,
        }
    }

    /// A client in the session.
    fn member(&self, peer: PeerId) -> Option<Member<'_>> {
        let state = self.peers.get(peer)?;
        let client = self.clients.get(state.client?)?;
        let flags = state.flags;
        Some(Member {
            peer,
            name: Some(client.name().as_bytes()),
            address: self.peers.address(peer),
            muted: Mute { voice: flags.has(Flags::MUTE_VOICE), text: flags.has(Flags::MUTE_TEXT) },
            hearing_set: self.hearing.has_set(peer),
        })
    }

    /// The clients in the session, by their numbers.
    fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.clients.iter().filter_map(|(id, _)| self.member(self.clients.peer(id)?))
    }

    fn connections_from(&self) -> impl Iterator<Item = (PeerId, Option<SocketAddr>)> {
        self.peers.addresses()
    }

    fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        self.peers.address(peer)
    }

    fn last_voice(&self, peer: PeerId) -> Option<Instant> {
        self.peers.get(peer)?.voice_deliveries.newest()
    }

    fn named(&self, name: &str) -> Vec<PeerId> {
        self.find(name).and_then(|client| self.peer(client)).into_iter().collect()
    }

    fn name_key<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.settings.any_name { name.into() } else { canonical_name(name) }
    }

    fn rooms_joined(&self, peer: PeerId) -> impl Iterator<Item = &[u8]> {
        let rooms = self.client_of(peer).map(|client| self.rooms_of(client));
        rooms.into_iter().flatten().map(str::as_bytes)
    }

    /// Closes a connection, whose client leaves the session. The protocol has no word for the reason. If the outbox is full, the other
    /// clients are not told.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn kick(&mut self, now: Instant, peer: PeerId, _reason: &str) -> Result<(), Refusal> {
        self.peers.get(peer).ok_or(Refusal::UnknownPeer)?;
        self.expel(now, peer, LeftBecause::Kicked);
        Ok(())
    }

    /// Decides what of a client is handed on. One whose voice is not is introduced to no client. Holds for the connection, from before its
    /// client joins, and ends with it.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn mute(&mut self, peer: PeerId, mute: Mute) -> Result<(), Refusal> {
        let state = self.peers.get_mut(peer).ok_or(Refusal::UnknownPeer)?;
        state.flags.set(Flags::MUTE_VOICE, mute.voice);
        state.flags.set(Flags::MUTE_TEXT, mute.text);
        self.set_direct(peer);
        Ok(())
    }

    /// Decides whose voice is handed on to a listener; `None` for what [`close_hearing`](Self::close_hearing) says. Such a listener is
    /// introduced to no client. Text is not concerned. Ends with the listener's connection.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]
    fn set_hearing(&mut self, listener: PeerId, speakers: Option<&[PeerId]>) -> Result<(), Refusal> {
        self.peers.get(listener).ok_or(Refusal::UnknownPeer)?;
        let before = self.hearing.is_decided(listener);
        self.hearing.set(listener, speakers);
        if before != self.hearing.is_decided(listener) {
            self.set_direct(listener);
        }
        Ok(())
    }

    fn close_hearing(&mut self, closed: bool) {
        if self.hearing.is_closed() == closed {
            return;
        }
        self.hearing.close(closed);
        self.set_all_direct();
    }

    /// Sends those who listen to a room a text, as one of `sender`, who is a client for as long as that takes: the protocol has no other
    /// senders. All such texts have one client number, which no client gets. Returns to how many clients; 0 if none listens.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`]; [`Refusal::Unexpected`] if a client has that name; [`Refusal::Full`] if no number is free the first time;
    /// [`Refusal::Encode`] for a text that is too long, or if the outbox is full.
    fn say(&mut self, now: Instant, room: &str, sender: &str, text: &str) -> Result<usize, Refusal> {
        let id = room_id(room);
        let listened = self.rooms.get(id).filter(|listened| *listened.name == *room);
        let listeners = listened.map_or(&[][..], |listened| &*listened.listeners);
        let to: Vec<PeerId> = listeners.iter().filter_map(|&listener| self.clients.peer(listener)).collect();
        self.say_to(now, &to, Recipient::Room(id), sender, text)
    }

    /// The same to one client alone, which need not listen to `room`.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`], and those of [`say`](Self::say).
    fn tell(
        &mut self,
        now: Instant,
        peer: PeerId,
        room: Option<&str>,
        sender: &str,
        text: &str,
    ) -> Result<(), Refusal> {
        let client = self.client_of(peer).ok_or(Refusal::UnknownPeer)?;
        let recipient = room.map_or(Recipient::Player(client), |room| Recipient::Room(room_id(room)));
        self.say_to(now, &[peer], recipient, sender, text).map(drop)
    }

    /// Raises [`ServerEvent::Voice`] for what is said to a room, or by a client. Whom that client speaks to, and those who listen to the room,
    /// are reached by the server alone.
    ///
    /// # Errors
    /// [`Refusal::UnknownClient`] if no client has the name; [`Refusal::InvalidName`] for a name that no room can have.
    fn watch(&mut self, watched: Watched<'_>, on: bool) -> Result<(), Refusal> {
        match watched {
            Watched::Name(name) => {
                let peer = self.find(name).and_then(|client| self.peer(client));
                self.watch_client(peer.ok_or(Refusal::UnknownClient)?, on)
            }
            Watched::Room(name) => {
                self.check_room(name).map_err(|error| Refusal::InvalidName("room name", error))?;
                let room = room_id(name);
                self.watched_rooms.retain(|watched| *watched != room);
                if on {
                    self.watched_rooms.push(room);
                }
                for client in self.rooms.listeners(room).to_vec() {
                    self.set_direct_of(client);
                }
                Ok(())
            }
        }
    }

    /// Takes a client out of a room that it listens to. Our own clients follow.
    ///
    /// # Errors
    /// [`Refusal::UnknownPeer`]; [`Refusal::Unsupported`] for another room, which the protocol's clients choose;
    /// [`Refusal::Unexpected`] if the client does not listen to `from`, or if no room is named; [`Refusal::Encode`] if the outbox is full.
    fn move_client(
        &mut self,
        _now: Instant,
        peer: PeerId,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(), Refusal> {
        if to.is_some() {
            self.check_ability(Ability::Enter)?;
        }
        let client = self.client_of(peer).ok_or(Refusal::UnknownPeer)?;
        if !self.rooms_of(client).any(|listened| Some(listened) == from) {
            let state = if from.is_some() { "it does not listen to that room" } else { "no room is named" };
            return Err(Refusal::Unexpected { state, command: "move a client" });
        }
        self.change_rooms(client, from, None)
    }
}

impl Server {
    /// Sends some clients a text of a sender that is no client.
    fn say_to(
        &mut self,
        now: Instant,
        to: &[PeerId],
        recipient: Recipient,
        sender: &str,
        text: &str,
    ) -> Result<usize, Refusal> {
        check_name(sender.as_bytes()).map_err(|error| Refusal::InvalidName("name", error))?;
        if self.find(sender).is_some() {
            return Err(Refusal::Unexpected {
                state: "a client has the sender's name",
                command: "send a text",
            });
        }
        let session = self.session;
        let packets = |client| {
            let info = ClientInfo { name: Text::new(sender), id: client, codec: CodecSettings::DEFAULT };
            let text = TextData { session, sender: client, recipient, text: text.into() };
            [
                Packet::ClientState(ClientState { session, client: info, rooms: List::from(&[][..]) }),
                Packet::TextData(text),
                Packet::RemoveClient { session, client },
            ]
        };
        // Every number is as long.
        let mut len: usize = 0;
        for packet in packets(ClientId::new(0)) {
            len = len.saturating_add(packet.encoded_len(&self.wire)?);
        }
        if to.is_empty() {
            return Ok(0);
        }
        self.outbox.check_capacity(len, to.len().saturating_mul(3))?;
        let full = Refusal::Full { what: Resource::Clients, max: usize::from(u16::MAX) };
        let client = self.clients.operator(now).ok_or(full)?;
        for packet in packets(client) {
            self.outbox.send(to.iter().copied(), Lane::Reliable, &packet, &self.wire)?;
        }
        self.stats.texts = self.stats.texts.saturating_add(1);
        Ok(to.len())
    }

    /// Whether what a client says is told. It is introduced to no client then.
    pub(super) fn watch_client(&mut self, peer: PeerId, on: bool) -> Result<(), Refusal> {
        self.peers.get_mut(peer).ok_or(Refusal::UnknownPeer)?.flags.set(Flags::WATCHED, on);
        self.set_direct(peer);
        Ok(())
    }

    /// Whether a client may be reached without the server: not where it is muted, where it is decided whom it hears, and where it or a room
    /// that it listens to is watched.
    pub(super) fn set_direct(&mut self, peer: PeerId) {
        let Some(state) = self.peers.get(peer) else { return };
        let kept = state.flags.has(Flags::MUTE_VOICE) || state.flags.has(Flags::WATCHED) || self.watch_all;
        let listens = state.client.is_some_and(|client| self.listens_to_watched(client));
        let allowed = !kept && !listens && !self.hearing.is_decided(peer);
        self.outbox.direct(peer, allowed);
    }

    /// The same, of a client that listens to other rooms than before.
    pub(super) fn set_direct_of(&mut self, client: ClientId) {
        if let Some(peer) = self.clients.peer(client) {
            self.set_direct(peer);
        }
    }

    /// The same, of all.
    pub(super) fn set_all_direct(&mut self) {
        for slot in 0..self.peers.slots() {
            if let Some(peer) = self.peers.peer_at(slot) {
                self.set_direct(peer);
            }
        }
    }

    fn listens_to_watched(&self, client: ClientId) -> bool {
        self.watched_rooms.iter().any(|&room| self.rooms.listeners(room).binary_search(&client).is_ok())
    }
}
