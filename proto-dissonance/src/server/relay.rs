//! Voice and text that clients have the server hand on to others.

use super::Server;
use crate::rooms::RoomSet;
use crate::{
    ClientId, Packet, Recipient, SERVER_ONLY, ServerEvent, ServerRelay, SessionState, Violation, VoiceData,
};
use voxwire_core::{Instant, Lane, Message, PeerId};

/// A frame or a text, which a client with many listeners sends in several relay packets.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The frame's sequence number, or the text's hash.
    what: Option<u32>,
    /// How many it has reached.
    copies: usize,
}

/// 32-bit FNV-1a.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl Server {
    /// Hands a packet on, as it is, to those of its destinations that it is addressed to.
    #[inline]
    pub(super) fn relay<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        relay: ServerRelay<'a>,
        reliable: bool,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        if relay.session != self.session {
            return Err(self.wrong_session(now, peer, relay.session));
        }
        let state = SessionState::Negotiating;
        let sender = self.client_of(peer).ok_or(Violation::Unexpected { state, message: "ServerRelay" })?;
        match VoiceData::read(relay.payload) {
            Some(voice) => self.relay_voice(now, peer, sender, relay, voice, reliable),
            None => self.relay_other(now, peer, sender, relay, reliable),
        }
    }

    #[inline]
    fn relay_voice<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        sender: ClientId,
        relay: ServerRelay<'a>,
        voice: VoiceData<'a>,
        reliable: bool,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        if voice.session != self.session {
            return Err(self.wrong_session(now, peer, voice.session));
        }
        self.check_sender(voice.sender, sender)?;
        // Every destination is looked for in every channel.
        if voice.channels.len() > self.settings.max_channels {
            return Err(Violation::TooMany("channels"));
        }
        // Another part of the same frame costs nothing, as long as all parts together reach no more than listen.
        let sequence = Some(u32::from(voice.sequence));
        let Some(state) = self.peers.get(peer) else { return Err(Violation::UnknownPeer) };
        let split = state.voice_parts.what == sequence
            && state.voice_parts.copies < self.listeners_of(voice.channels.iter().map(|c| c.recipient()));
        let Some(state) = self.peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        if !split {
            if state.voice.take(now, self.settings.voice, 1).is_err() {
                self.stats.voice_over_budget = self.stats.voice_over_budget.saturating_add(1);
                return Err(Violation::TooMuchVoice);
            }
            state.voice_parts = Parts { what: sequence, copies: 0 };
        }
        let Some(client) = self.clients.get(sender) else { return Err(Violation::UnknownPeer) };
        let treatment = client.treatment;
        if treatment.mute_voice {
            return Ok(None);
        }
        let addressed = |id: ClientId, rooms: &RoomSet| {
            voice.channels.iter().any(|channel| match channel.recipient() {
                Recipient::Player(player) => player == id,
                Recipient::Room(room) => rooms.contains(room),
            })
        };
        // Old releases relay voice reliably, by mistake: a slow listener would be cut off for it.
        let lane = if reliable && self.settings.reliable_voice { Lane::Reliable } else { Lane::Droppable };
        let copies = self.hand_on(relay, lane, addressed)?;
        if let Some(state) = self.peers.get_mut(peer) {
            state.voice_parts.copies = state.voice_parts.copies.saturating_add(copies);
        }
        self.stats.voice = self.stats.voice.saturating_add(u64::from(!split));
        self.stats.voice_copies = self.stats.voice_copies.saturating_add(copies as u64);
        let watched = (treatment.watched || self.watch_all) && !split;
        Ok(watched.then_some(ServerEvent::Voice { client: sender, voice, copies }))
    }

    #[inline(never)]
    fn relay_other<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        sender: ClientId,
        relay: ServerRelay<'a>,
        reliable: bool,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        let packet = Packet::decode(relay.payload, &self.wire)?;
        let Packet::TextData(text) = packet else { return Err(Violation::NotRelayed(packet.name())) };
        if !reliable {
            return Err(Violation::NotRelayed("TextData, unreliably,"));
        }
        if text.session != self.session {
            return Err(self.wrong_session(now, peer, text.session));
        }
        self.check_sender(text.sender, sender)?;
        let (rate, hash) = (self.settings.text, Some(fnv(relay.payload)));
        let Some(state) = self.peers.get(peer) else { return Err(Violation::UnknownPeer) };
        let split =
            state.text_parts.what == hash && state.text_parts.copies < self.listeners_of([text.recipient]);
        let Some(state) = self.peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        if !split {
            state.text_parts = Parts { what: hash, copies: 0 };
            if let Some(until) = state.text.charge(now, rate, 1) {
                self.outbox.pause(peer, until);
            }
            self.charge_bytes(now, peer, relay.payload.len());
        }
        if self.clients.get(sender).is_some_and(|client| client.treatment.mute_text) {
            return Ok(None);
        }
        let addressed = |id: ClientId, rooms: &RoomSet| match text.recipient {
            Recipient::Player(player) => player == id,
            Recipient::Room(room) => rooms.contains(room),
        };
        let copies = self.hand_on(relay, Lane::Reliable, addressed)?;
        if let Some(state) = self.peers.get_mut(peer) {
            state.text_parts.copies = state.text_parts.copies.saturating_add(copies);
        }
        self.stats.texts = self.stats.texts.saturating_add(u64::from(!split));
        Ok((!split).then_some(ServerEvent::Text { client: sender, text, copies }))
    }

    /// Queues the payload for its destinations, each once. Returns how many there are.
    #[inline]
    fn hand_on(
        &mut self,
        relay: ServerRelay<'_>,
        lane: Lane,
        addressed: impl Fn(ClientId, &RoomSet) -> bool,
    ) -> Result<usize, Violation> {
        let any = !self.settings.addressed_only;
        let mut copies: usize = 0;
        let to = self.clients.once_each(relay.destinations, |id, rooms| any || addressed(id, rooms));
        let counted = to.inspect(|_| copies = copies.saturating_add(1));
        self.outbox.forward(counted, lane, relay.payload)?;
        if copies < relay.destinations.len() {
            let others = relay.destinations.iter().filter(|&&id| id != SERVER_ONLY).count();
            self.stats.skipped = self.stats.skipped.saturating_add(others.saturating_sub(copies) as u64);
        }
        Ok(copies)
    }

    /// How many listen to any of these, those counted twice that listen to two.
    fn listeners_of(&self, recipients: impl IntoIterator<Item = Recipient>) -> usize {
        recipients.into_iter().fold(0, |sum: usize, recipient| {
            sum.saturating_add(match recipient {
                Recipient::Room(room) => self.rooms.listeners(room).len(),
                Recipient::Player(_) => 1,
            })
        })
    }

    pub(super) const fn check_sender(&self, got: ClientId, expected: ClientId) -> Result<(), Violation> {
        // Kept as bytes; comparing them is comparing the numbers.
        if got.get() == expected.get() { Ok(()) } else { Err(Violation::Forged { got, expected }) }
    }
}
