//! Voice and text that clients have the server hand on to others.

use super::clients::{Clients, Reached};
use super::control::REST;
use super::{Flags, Kind, Server};
use crate::rooms::contains;
use crate::{
    ClientId, Packet, Recipient, Resource, RoomId, SERVER_ONLY, ServerEvent, ServerRelay, SessionState,
    Violation, VoiceData,
};
use alloc::boxed::Box;
use core::{num::NonZeroU64, time::Duration};
use voxwire_core::{Full, Instant, Lane, Message, Outbox, PeerId};

/// How long after its first part a further part of a frame or a text may come. One that is sent at once arrives at once.
const TOGETHER: Duration = Duration::from_secs(2);

/// Frames or texts under way. A client with many listeners sends each in several relay packets, and those of two frames
/// may come in interleaved. Takes memory with the first one: most clients only listen.
#[derive(Debug, Default)]
pub(super) struct Parts(Option<Box<Both>>);

#[derive(Debug, Default)]
struct Both {
    newest: Part,
    older: Part,
}

/// A frame or a text, and whom it has reached: a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part {
    what: Option<NonZeroU64>,
    started: Instant,
    reached: Reached,
}

const _: () = assert!(size_of::<Part>() == 64);

impl Parts {
    /// Whom `what` has reached; `None` if it is not under way. What reached no client is not: no event told of its content.
    #[inline]
    fn get(&mut self, now: Instant, what: NonZeroU64) -> Option<&mut Reached> {
        let Both { newest, older } = &mut **self.0.as_mut()?;
        let part = [newest, older].into_iter().find(|part| part.what == Some(what))?;
        (!part.is_over(now) && !part.reached.is_empty()).then_some(&mut part.reached)
    }

    /// Another frame or text: it has reached no client yet. Of the others only the newest is kept.
    #[inline]
    fn start(&mut self, now: Instant, what: NonZeroU64) -> &mut Reached {
        let Both { newest, older } = &mut **self.0.get_or_insert_default();
        if newest.what != Some(what) {
            core::mem::swap(newest, older);
        }
        (newest.what, newest.started) = (Some(what), now);
        newest.reached.clear();
        &mut newest.reached
    }

    /// Gives the memory back if no frame or text has begun for long. False if it is kept.
    pub(super) fn give_back(&mut self, now: Instant) -> bool {
        self.0.take_if(|both| now.saturating_duration_since(both.newest.started) >= REST);
        self.0.is_none()
    }
}

impl Part {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started) > TOGETHER
    }
}

/// Tells frames and texts apart: FNV-1a, by words, in four lanes as a multiplication waits for the one before. Those that are made to look
/// alike count as one, which reaches each client once: no client gains by it.
#[inline]
fn digest(bytes: &[u8]) -> NonZeroU64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    let mut lanes = [BASIS, BASIS ^ 1, BASIS ^ 2, BASIS ^ 3];
    let mut each = |bytes: &[u8]| {
        for (lane, word) in lanes.iter_mut().zip(bytes.chunks_exact(8)) {
            *lane = step(*lane, word.first_chunk().copied().map_or(0, u64::from_le_bytes));
        }
    };
    let blocks = bytes.chunks_exact(32);
    let rest = blocks.remainder();
    blocks.for_each(&mut each);
    each(rest);
    let last = rest.chunks_exact(8).remainder().iter().fold(0, |last, &byte| last << 8 | u64::from(byte));
    let hash = lanes.into_iter().fold(step(bytes.len() as u64, last), step);
    NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
}

impl Server {
    /// Hands a packet on, as it is, to those of its destinations that it is addressed to.
    #[inline]
    pub(super) fn relay<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        lane: Lane,
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
            None => self.relay_other(now, peer, sender, lane, relay, reliable),
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
        self.check_sender(now, peer, voice.sender, sender)?;
        let Self { peers, controls, sweep, clients, sources, settings, stats, outbox, watch_all, .. } = self;
        let Some(state) = peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        let muted = state.flags.has(Flags::MUTE_VOICE);
        // Every destination is looked for in every channel.
        let few = voice.channels.len() <= settings.max_channels;
        let addressed = |id: ClientId, rooms: &[RoomId]| {
            !settings.addressed_only
                || voice.channels.iter().any(|channel| match channel.recipient() {
                    Recipient::Player(player) => player == id,
                    Recipient::Room(room) => contains(rooms, room),
                })
        };
        // A further part of a frame is free if it reaches a client, and no client whom the frame has reached before. Anything
        // else is another frame, with any content.
        let what = digest(relay.payload);
        let reached = state.voice_parts.get(now, what).filter(|_| few && !muted);
        let part = reached.is_some_and(|reached| clients.are_new(relay.destinations, reached, addressed));
        if !part && !sources.take_voice(now, settings, state.source, &mut state.voice) {
            stats.voice_over_budget = stats.voice_over_budget.saturating_add(1);
            return Err(Violation::TooMuchVoice);
        }
        if !few {
            return Err(Violation::TooMany(Resource::Channels));
        }
        if muted {
            return Ok(None);
        }
        // Only here: what is refused must not cost as much as what is relayed.
        core::hint::black_box(clients.touch(relay.destinations));
        // Old releases relay voice reliably, by mistake: a slow listener would be cut off for it. Where that is wanted, it
        // counts as what others must take.
        let len = u32::try_from(relay.payload.len()).unwrap_or(u32::MAX);
        let reliable = reliable && settings.reliable_voice && {
            let quotas = &mut controls.get_mut(now, peer).quotas;
            sources.take(now, settings, state.source, quotas, Kind::Bytes, len)
        };
        let lane = if reliable { Lane::Reliable } else { Lane::Droppable };
        let reached = match part {
            true => state.voice_parts.get(now, what),
            false => {
                sweep.spoken();
                Some(state.voice_parts.start(now, what))
            }
        };
        let Some(reached) = reached else { return Ok(None) };
        let copies = hand_on(clients, outbox, relay, lane, reached, addressed)?;
        stats.skipped = stats.skipped.saturating_add(skipped(relay, copies));
        stats.voice = stats.voice.saturating_add(u64::from(!part));
        stats.voice_copies = stats.voice_copies.saturating_add(copies as u64);
        let watched = (state.flags.has(Flags::WATCHED) || *watch_all) && !part;
        Ok(watched.then_some(ServerEvent::Voice { client: sender, voice, copies }))
    }

    #[inline(never)]
    fn relay_other<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        sender: ClientId,
        lane: Lane,
        relay: ServerRelay<'a>,
        reliable: bool,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        self.check_pause(now, peer, lane)?;
        let packet = Packet::decode(relay.payload, &self.wire)?;
        let Packet::TextData(text) = packet else { return Err(Violation::NotRelayed(packet.name())) };
        if !reliable {
            return Err(Violation::NotRelayed("TextData, unreliably,"));
        }
        if text.session != self.session {
            return Err(self.wrong_session(now, peer, text.session));
        }
        self.check_sender(now, peer, text.sender, sender)?;
        let any = !self.settings.addressed_only;
        let addressed = |id: ClientId, rooms: &[RoomId]| {
            any || match text.recipient {
                Recipient::Player(player) => player == id,
                Recipient::Room(room) => contains(rooms, room),
            }
        };
        let Some(state) = self.peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        let muted = state.flags.has(Flags::MUTE_TEXT);
        let what = digest(relay.payload);
        // As for voice: who writes the same again, to those who have had it, writes another text.
        let reached = self.controls.get_mut(now, peer).text_parts.get(now, what).filter(|_| !muted);
        let part =
            reached.is_some_and(|reached| self.clients.are_new(relay.destinations, reached, addressed));
        if !part {
            self.charge(now, peer, Kind::Text, 1);
            self.charge_bytes(now, peer, relay.payload.len());
        }
        if muted {
            return Ok(None);
        }
        let Self { controls, clients, stats, outbox, .. } = self;
        let parts = &mut controls.get_mut(now, peer).text_parts;
        let reached = match part {
            true => parts.get(now, what),
            false => Some(parts.start(now, what)),
        };
        let Some(reached) = reached else { return Ok(None) };
        let copies = hand_on(clients, outbox, relay, Lane::Reliable, reached, addressed)?;
        stats.skipped = stats.skipped.saturating_add(skipped(relay, copies));
        stats.texts = stats.texts.saturating_add(u64::from(!part));
        Ok((!part).then_some(ServerEvent::Text { client: sender, text, copies }))
    }

    pub(super) fn check_sender(
        &self,
        now: Instant,
        peer: PeerId,
        got: ClientId,
        expected: ClientId,
    ) -> Result<(), Violation> {
        // Kept as bytes; comparing them is comparing the numbers.
        if got.get() == expected.get() { Ok(()) } else { Err(self.not_the_sender(now, peer, got, expected)) }
    }

    #[cold]
    fn not_the_sender(&self, now: Instant, peer: PeerId, got: ClientId, expected: ClientId) -> Violation {
        let former = self.controls.get(peer).is_some_and(|state| state.had(now, got));
        if former { Violation::FormerNumber(got) } else { Violation::Forged { got, expected } }
    }
}

/// Queues the payload for those of its destinations that are wanted and not `reached` yet. Returns how many there are.
#[inline]
fn hand_on(
    clients: &Clients,
    outbox: &mut Outbox,
    relay: ServerRelay<'_>,
    lane: Lane,
    reached: &mut Reached,
    wanted: impl Fn(ClientId, &[RoomId]) -> bool,
) -> Result<usize, Full> {
    let mut copies: usize = 0;
    let to = clients.once_each(relay.destinations, reached, wanted);
    outbox.forward(to.inspect(|_| copies = copies.saturating_add(1)), lane, relay.payload)?;
    Ok(copies)
}

/// How many destinations were not there, not addressed, or named twice.
fn skipped(relay: ServerRelay<'_>, copies: usize) -> u64 {
    if copies == relay.destinations.len() {
        return 0;
    }
    let others = relay.destinations.iter().filter(|&&id| id != SERVER_ONLY).count();
    others.saturating_sub(copies) as u64
}
