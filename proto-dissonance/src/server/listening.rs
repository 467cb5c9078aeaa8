//! Who listens to what: states, deltas, and the rooms that a client may not be in.

use super::{Policy, Server};
use crate::wire::{DELTA_HEAD_LEN, MAX_NAME};
use crate::{
    ClientId, ClientInfo, ClientState, DeltaClientState, Packet, Refusal, RoomId, RoomRefused, ServerEvent,
    Text, Violation, room_id,
};
use alloc::{borrow::Cow, vec::Vec};
use voxwire_core::{Full, Instant, Lane, List, NameError, PeerId, check_label};

impl Server {
    /// Message type 1: a client says everything about itself.
    pub(super) fn client_state<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        client: ClientId,
        raw: &'a [u8],
        state: ClientState<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        self.charge_state(now, peer);
        self.charge_bytes(now, peer, raw.len());
        self.check_sender(now, peer, state.client.id, client)?;
        let mut names = self.check_state(client, &state)?;
        let echo = names.iter().any(|name| self.is_echo(name));
        names.retain(|name| !self.is_echo(name));
        // Besides the state itself each room may be refused, by a packet with its name. A room that is refused is not in the state. And echo
        // may come or go.
        let bytes = names.len().saturating_mul(DELTA_HEAD_LEN).saturating_add(raw.len()).saturating_add(256);
        self.outbox
            .check_capacity(bytes, self.clients.len().saturating_add(names.len()).saturating_add(4))?;
        // Checked as if the client had left all rooms: it is about to.
        let before = self.clients.rooms(client).to_vec();
        let (allowed, refused) = self.sort_rooms(client, names, &before);
        self.forward_state(raw, state.client, &allowed, refused.is_empty() && !echo)?;
        if !refused.is_empty() {
            self.stats.rooms_refused = self.stats.rooms_refused.saturating_add(1);
        }
        for room in before {
            self.forget_listener(client, room);
        }
        self.clients.clear_rooms(client);
        if let Some(state) = self.clients.get_mut(client) {
            state.stated = true;
        }
        for name in allowed {
            self.add_listener(client, name);
        }
        for &(name, _) in &refused {
            self.send_refused(peer, client, name);
        }
        if self.settings.echo {
            self.set_echo(now, peer, client, echo);
        }
        let refused = refused.last().map(|&(name, why)| (Cow::Borrowed(name), why));
        Ok(Some(ServerEvent::Rooms { client, refused }))
    }

    /// The rooms that a state names; all else in it has to be as it was at first.
    fn check_state<'a>(&self, client: ClientId, state: &ClientState<'a>) -> Result<Vec<&'a str>, Violation> {
        let known = self.clients.get(client).ok_or(Violation::UnknownClient(client))?;
        // Other clients keep the first name and codec; newcomers would learn these.
        if state.client.name.as_str() != Some(known.name()) {
            return Err(Violation::Changed("name"));
        }
        if state.client.codec != known.codec {
            return Err(Violation::Changed("codec"));
        }
        let mut names = Vec::new();
        for room in state.rooms {
            names.push(room_text(room)?);
        }
        Ok(names)
    }

    /// Those of `names` that `client`, which leaves the rooms of `before`, may listen to, each once; and those it may not, with the reason.
    fn sort_rooms<'a>(
        &mut self,
        client: ClientId,
        names: Vec<&'a str>,
        before: &[RoomId],
    ) -> (Vec<&'a str>, Vec<(&'a str, RoomRefused)>) {
        let (mut allowed, mut refused) = (Vec::new(), Vec::new());
        for name in names {
            if allowed.contains(&name) {
                continue;
            }
            match self.may_listen(client, name, allowed.len(), before, &allowed) {
                Ok(()) => allowed.push(name),
                Err(why) => refused.push((name, why)),
            }
        }
        (allowed, refused)
    }

    /// Tells every client of a state: as it came, or with the rooms that are allowed.
    fn forward_state(
        &mut self,
        raw: &[u8],
        client: ClientInfo<'_>,
        allowed: &[&str],
        unchanged: bool,
    ) -> Result<(), Full> {
        if unchanged {
            self.outbox.forward(self.clients.peers(), Lane::Reliable, raw)?;
            return Ok(());
        }
        let rooms: Vec<Text<'_>> = allowed.iter().copied().map(Text::new).collect();
        let rooms = List::from(&rooms[..]);
        let packet = Packet::ClientState(ClientState { session: self.session, client, rooms });
        // Shorter than the one received.
        let sent = self.outbox.send(self.clients.peers(), Lane::Reliable, &packet, &self.wire);
        sent.map(|_| ()).map_err(|_| Full { needed: raw.len(), available: 0 })
    }

    /// Message type 9: a client starts or stops listening to a room.
    pub(super) fn delta<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        client: ClientId,
        raw: &'a [u8],
        delta: DeltaClientState<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        self.charge_state(now, peer);
        self.charge_bytes(now, peer, raw.len());
        self.check_sender(now, peer, delta.client, client)?;
        // Those who were here before do not know it yet, and would miss this.
        if !self.clients.get(client).is_some_and(|state| state.stated) {
            let state = crate::SessionState::Negotiating;
            return Err(Violation::Unexpected { state, message: "DeltaClientState" });
        }
        let (name, joined) = (room_text(delta.room)?, delta.joined);
        if self.is_echo(name) {
            self.outbox.check_capacity(256, 4)?;
            let changed = self.set_echo(now, peer, client, joined);
            let room = Cow::Borrowed(name);
            return Ok(changed.then_some(ServerEvent::Listening { client, room, joined }));
        }
        let rooms = self.clients.rooms(client);
        let (count, listens) = (rooms.len(), rooms.contains(&room_id(name)));
        let taken = self.takes_room(name);
        // Leaving a room whose number another one has would leave that one.
        let checked = match joined {
            _ if taken.is_err() => taken,
            true if listens && !self.rooms.collides(name) => Ok(()),
            true => self.may_listen(client, name, count, &[], &[]),
            false if self.rooms.collides(name) => Err(RoomRefused::Collision),
            false => Ok(()),
        };
        if let Err(why) = checked {
            self.stats.rooms_refused = self.stats.rooms_refused.saturating_add(1);
            if joined {
                self.send_refused(peer, client, name);
            }
            return Ok(Some(ServerEvent::Rooms { client, refused: Some((Cow::Borrowed(name), why)) }));
        }
        self.outbox.forward(self.clients.peers(), Lane::Reliable, raw)?;
        let changed = self.set_listening(client, name, joined);
        let room = Cow::Borrowed(name);
        Ok(changed.then_some(ServerEvent::Listening { client, room, joined }))
    }

    /// Tells a client, and no other client, that it does not listen to a room: the protocol has no word for a refusal.
    fn send_refused(&mut self, peer: PeerId, client: ClientId, name: &str) {
        // Replicas know rooms by their numbers: one of this number that it does listen to would go with it.
        if self.clients.rooms(client).contains(&room_id(name)) {
            return;
        }
        let delta = DeltaClientState { session: self.session, joined: false, client, room: Text::new(name) };
        self.send(peer, &Packet::DeltaClientState(delta));
    }

    /// Whether `client` may listen to one more room. The rooms of `leaving` do not count, those of `entering` do.
    fn may_listen(
        &mut self,
        client: ClientId,
        name: &str,
        count: usize,
        leaving: &[RoomId],
        entering: &[&str],
    ) -> Result<(), RoomRefused> {
        self.takes_room(name)?;
        if count >= self.settings.max_rooms {
            return Err(RoomRefused::Quota);
        }
        let id = room_id(name);
        if self.is_echo_number(id) || self.reserved.get(&id).is_some_and(|reserved| **reserved != *name) {
            return Err(RoomRefused::Collision);
        }
        let alone = leaving.contains(&id) && self.rooms.listeners(id) == [client];
        if (self.rooms.collides(name) && !alone) || entering.iter().any(|other| room_id(other) == id) {
            return Err(RoomRefused::Collision);
        }
        let Policy(Some(may_listen)) = &mut self.policy else { return Ok(()) };
        let Some(client) = self.clients.get(client) else { return Ok(()) };
        if may_listen(client.name(), name) { Ok(()) } else { Err(RoomRefused::Policy) }
    }

    /// Applies a delta; false if nothing changed.
    fn set_listening(&mut self, client: ClientId, name: &str, joined: bool) -> bool {
        if joined {
            return self.add_listener(client, name);
        }
        let room = room_id(name);
        self.clients.remove_room(client, room);
        self.forget_listener(client, room)
    }

    fn add_listener(&mut self, client: ClientId, name: &str) -> bool {
        if !self.clients.add_room(client, room_id(name)) {
            return false;
        }
        let added = self.rooms.join(client, name);
        if added {
            self.listeners = self.listeners.saturating_add(1);
            self.state_bytes = self.state_bytes.saturating_add(name.len()).saturating_add(DELTA_HEAD_LEN);
            self.listening_changed(client, room_id(name));
        }
        added
    }

    pub(super) fn forget_listener(&mut self, client: ClientId, room: RoomId) -> bool {
        let len = self.rooms.get(room).map_or(0, |room| room.name.len());
        let removed = self.rooms.leave(client, room);
        if removed {
            self.listeners = self.listeners.saturating_sub(1);
            self.state_bytes = self.state_bytes.saturating_sub(len).saturating_sub(DELTA_HEAD_LEN);
            self.listening_changed(client, room);
        }
        removed
    }

    /// Those who listen to a room that is watched are reached by the server alone.
    fn listening_changed(&mut self, client: ClientId, room: RoomId) {
        if self.watched_rooms.contains(&room) {
            self.set_direct_of(client);
        }
    }

    /// The application moves a client.
    pub(super) fn change_rooms(
        &mut self,
        client: ClientId,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(), Refusal> {
        let state = self.clients.get(client).ok_or(Refusal::UnknownClient)?;
        if !state.stated {
            // What it says would replace what we do now.
            let (state, command) = ("it has not said yet which rooms it listens to", "move a client");
            return Err(Refusal::Unexpected { state, command });
        }
        if let Some(error) = to.and_then(|name| self.check_room(name).err()) {
            return Err(Refusal::InvalidName("room name", error));
        }
        let to = match to {
            None => None,
            Some(name) if self.rooms.collides(name) => return Err(RoomRefused::Collision.into()),
            to => to,
        };
        let from = from.filter(|name| !self.rooms.collides(name));
        let rooms = self.clients.rooms(client);
        let leaves = from.is_some_and(|name| rooms.contains(&room_id(name)));
        let enters = to.is_some_and(|name| from == to || !rooms.contains(&room_id(name)));
        if enters && rooms.len().saturating_sub(usize::from(leaves)) >= self.settings.max_rooms {
            return Err(RoomRefused::Quota.into());
        }
        // Each of two packets goes to every client, and has the driver told whether clients may still reach this one directly.
        let outputs = self.clients.len().saturating_add(1).saturating_mul(2);
        self.outbox.check_capacity(2 * (DELTA_HEAD_LEN + MAX_NAME), outputs)?;
        for (room, joined) in [(from, false), (to, true)] {
            let Some(name) = room else { continue };
            if self.set_listening(client, name, joined) {
                let room = Text::new(name);
                let delta = DeltaClientState { session: self.session, joined, client, room };
                self.tell_all(&Packet::DeltaClientState(delta));
            }
        }
        Ok(())
    }

    /// Whether a room's name will do here.
    pub(super) fn check_room(&self, name: &str) -> Result<(), NameError> {
        match self.settings.any_name {
            true => crate::text::check_any(name.as_bytes()).map(drop),
            false => check_label(name.as_bytes()).map(drop),
        }
    }

    /// The same, of a room that a client names: the game has chosen it, and its players cannot help it. It is no violation.
    fn takes_room(&self, name: &str) -> Result<(), RoomRefused> {
        self.check_room(name).map_err(RoomRefused::Name)
    }
}

/// A room's name, as text. Originals know no other, and end at null.
fn room_text(room: Text<'_>) -> Result<&str, Violation> {
    let wrong = |error| Violation::InvalidName("room name", error);
    room.as_str().ok_or_else(|| wrong(room.valid().err().unwrap_or(NameError::Empty)))
}
