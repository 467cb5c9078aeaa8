//! Speaking: open channels, and whom a frame goes to.

use super::Client;
use crate::text::check_any;
use crate::wire::MAX_RELAY_HEAD;
use crate::{
    Channel, ClientId, MAX_DESTINATIONS, Options, Packet, Recipient, Refusal, Resource, SERVER_ONLY,
    SERVER_ONLY_ROOM, ServerRelay, Speech, Target, VoiceData, room_id,
};
use alloc::{boxed::Box, vec::Vec};
use voxwire_core::{EncodeError, Lane, Message, PeerId};

/// What a client is speaking to.
#[derive(Debug, Default)]
pub(super) struct VoiceOut {
    channels: Vec<Open>,
    /// Of the next packet.
    sequence: u16,
    /// Counts the times that all channels were closed.
    session: u8,
    /// Reused from frame to frame.
    wire: Vec<Channel>,
    relayed: Vec<ClientId>,
    direct: Vec<PeerId>,
    packet: Vec<u8>,
}

/// A channel, from its opening to its closing packet.
#[derive(Debug)]
struct Open {
    room: bool,
    name: Box<str>,
    /// The player's number as of now; a room's never changes.
    recipient: Option<Recipient>,
    speech: Speech,
    /// The next packet is the last one.
    closing: bool,
    /// The channel's own session.
    session: u8,
}

impl Open {
    fn is_to(&self, to: Target<'_>) -> bool {
        match to {
            Target::Room(name) => self.room && *self.name == *name,
            Target::Player(name) => !self.room && *self.name == *name,
        }
    }

    fn channel(&self) -> Option<Channel> {
        let Speech { positional, priority, volume } = self.speech;
        let channel = Channel::new(self.recipient?).with_positional(positional).with_priority(priority);
        Some(channel.with_volume(volume).with_session(self.session).with_closing(self.closing))
    }
}

impl VoiceOut {
    pub(super) fn open(
        &mut self,
        to: Target<'_>,
        player: Option<ClientId>,
        speech: Speech,
        max: usize,
    ) -> Result<(), Refusal> {
        let (room, name) = match to {
            Target::Room(name) => (true, name),
            Target::Player(name) => (false, name),
        };
        let what = if room { "room name" } else { "name" };
        check_any(name.as_bytes()).map_err(|error| Refusal::InvalidName(what, error))?;
        let recipient =
            if room { Some(Recipient::Room(room_id(name))) } else { player.map(Recipient::Player) };
        let all_closing = !self.channels.is_empty() && self.channels.iter().all(|open| open.closing);
        if let Some(open) = self.channels.iter_mut().find(|open| open.is_to(to)) {
            open.speech = speech;
            if open.closing {
                // Reopened before its last packet was sent.
                open.closing = false;
                open.session = open.session.wrapping_add(1) & 3;
            }
        } else if self.channels.len() >= max {
            return Err(Refusal::Full { what: Resource::Channels, max });
        } else {
            self.channels.push(Open {
                room,
                name: name.into(),
                recipient,
                speech,
                closing: false,
                session: 0,
            });
        }
        if all_closing {
            self.session = self.session.wrapping_add(1);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, to: Target<'_>) -> Result<(), Refusal> {
        let open = self.channels.iter_mut().find(|open| open.is_to(to) && !open.closing);
        let closed = Refusal::Unexpected { state: "it is not open", command: "close a channel" };
        open.ok_or(closed)?.closing = true;
        Ok(())
    }

    /// Players have come or gone: their numbers are looked up again.
    pub(super) fn resolve(&mut self, find: impl Fn(&str) -> Option<ClientId>) {
        for open in self.channels.iter_mut().filter(|open| !open.room) {
            open.recipient = find(&open.name).map(Recipient::Player);
        }
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = (Target<'_>, Speech)> {
        self.channels.iter().filter(|open| !open.closing).map(|open| {
            let name = &*open.name;
            (if open.room { Target::Room(name) } else { Target::Player(name) }, open.speech)
        })
    }

    /// A frame has been dealt with: channels whose last one it was are closed.
    fn sweep(&mut self) {
        if self.channels.iter().any(|open| open.closing) {
            self.channels.retain(|open| !open.closing);
            if self.channels.is_empty() {
                self.session = self.session.wrapping_add(1);
            }
        }
    }
}

impl Client {
    /// Sends one frame to every client that a channel is open to.
    pub(super) fn send(&mut self, frame: &[u8]) -> Result<(), Refusal> {
        let (Some(server), Some(own)) = (self.server, self.id) else { return Err(Refusal::NotConnected) };
        self.find_listeners(own);
        let session = self.session;
        let Self { voice, wire, outbox, stats, .. } = self;
        if voice.relayed.is_empty() && voice.direct.is_empty() {
            // The number is that of packets built.
            voice.sweep();
            stats.unheard = stats.unheard.saturating_add(1);
            return Ok(());
        }
        let packet = VoiceData {
            session,
            sender: own,
            options: Options::new(voice.session, wire.profile),
            sequence: voice.sequence,
            channels: &voice.wire,
            frame,
        };
        let packet = Packet::VoiceData(packet);
        let len = packet.encoded_len(wire)?;
        let at_a_time = at_a_time(wire.limits.max_frame, len)?;
        let relays = voice.relayed.len().div_ceil(at_a_time);
        outbox.check_capacity(
            len.saturating_add(MAX_RELAY_HEAD).saturating_mul(relays.saturating_add(1)),
            voice.direct.len().saturating_add(relays),
        )?;
        voice.packet.clear();
        packet.write_unchecked(wire, &mut voice.packet);
        if !voice.direct.is_empty() {
            outbox.forward(voice.direct.iter().copied(), Lane::Droppable, &voice.packet)?;
        }
        for destinations in voice.relayed.chunks(at_a_time) {
            let relay = ServerRelay { session, destinations, payload: &voice.packet };
            outbox.send([server], Lane::Droppable, &Packet::ServerRelayUnreliable(relay), wire)?;
        }
        voice.sequence = voice.sequence.wrapping_add(1);
        voice.sweep();
        stats.frames = stats.frames.saturating_add(1);
        Ok(())
    }

    /// Finds out to which channels and to whom a frame goes now: each client once, and not to us.
    fn find_listeners(&mut self, own: ClientId) {
        let Self { voice, roster, paths, .. } = self;
        voice.wire.clear();
        voice.relayed.clear();
        voice.direct.clear();
        voice.wire.extend(voice.channels.iter().filter_map(Open::channel));
        for channel in &voice.wire {
            match channel.recipient() {
                Recipient::Room(room) => voice.relayed.extend_from_slice(roster.rooms.listeners(room)),
                Recipient::Player(player) => {
                    voice.relayed.extend(roster.get(player).is_some().then_some(player));
                }
            }
        }
        if voice.wire.len() > 1 {
            voice.relayed.sort_unstable();
            voice.relayed.dedup();
        }
        let direct = &mut voice.direct;
        voice.relayed.retain(|&client| {
            let path = roster.path(client).filter(|_| !paths.is_empty());
            direct.extend(path);
            client != own && path.is_none()
        });
        let server_too = || voice.channels.iter().any(|open| open.room && *open.name == *SERVER_ONLY_ROOM);
        if voice.relayed.is_empty() && server_too() {
            voice.relayed.push(SERVER_ONLY);
        }
    }

    /// Sends text, always by the server.
    pub(super) fn text(&mut self, to: Target<'_>, text: &str) -> Result<(), Refusal> {
        let (Some(server), Some(own)) = (self.server, self.id) else { return Err(Refusal::NotConnected) };
        let Self { session, voice, wire, outbox, roster, .. } = self;
        let session = *session;
        voice.relayed.clear();
        let recipient = match to {
            Target::Room(name) => {
                voice.relayed.extend_from_slice(roster.rooms.listeners(room_id(name)));
                Recipient::Room(room_id(name))
            }
            Target::Player(name) => {
                let client = roster.find(name).ok_or(Refusal::UnknownClient)?;
                voice.relayed.push(client);
                Recipient::Player(client)
            }
        };
        voice.relayed.retain(|&client| client != own);
        let data = crate::TextData { session, sender: own, recipient, text: text.into() };
        let packet = Packet::TextData(data);
        let len = packet.encoded_len(wire)?;
        let at_a_time = at_a_time(wire.limits.max_frame, len)?;
        let relays = voice.relayed.len().div_ceil(at_a_time);
        outbox.check_capacity(len.saturating_add(MAX_RELAY_HEAD).saturating_mul(relays), relays)?;
        voice.packet.clear();
        packet.write_unchecked(wire, &mut voice.packet);
        for destinations in voice.relayed.chunks(at_a_time) {
            let relay = ServerRelay { session, destinations, payload: &voice.packet };
            outbox.send([server], Lane::Reliable, &Packet::ServerRelayReliable(relay), wire)?;
        }
        Ok(())
    }
}

/// How many destinations fit beside a payload of `len` bytes into one relay packet of at most `max`.
fn at_a_time(max: usize, len: usize) -> Result<usize, EncodeError> {
    let most = max.saturating_sub(ServerRelay::len_for(1, 0));
    let room = most.checked_sub(len).ok_or(EncodeError::TooLong { field: "frame", len, max: most })?;
    Ok((room / 2).saturating_add(1).min(MAX_DESTINATIONS))
}
