//! Voice and text that clients have the server hand on to others.

use super::clients::{Clients, Reached};
use super::control::REST;
use super::{Flags, Kind, Server, ServerStats};
use crate::rooms::contains;
use crate::{
    ClientId, Packet, Recipient, Resource, RoomId, SERVER_ONLY, ServerEvent, ServerRelay, SessionState,
    TextData, Violation, VoiceData,
};
use alloc::boxed::Box;
use core::{num::NonZeroU64, time::Duration};
use voxwire_core::{Full, Instant, Lane, Message, Outbox, PeerId};

/// How long after its first packet a delivery may be continued. A frame that is sent at once arrives at once.
const CONTINUE_WITHIN: Duration = Duration::from_secs(2);

/// Deliveries under way. A client with many listeners sends each frame in several relay packets, and those of two frames
/// may come in interleaved. Takes memory with the first one: most clients only listen.
#[derive(Debug, Default)]
pub(super) struct Deliveries(Option<Box<Recent>>);

#[derive(Debug, Default)]
struct Recent {
    newest: Delivery,
    older: Delivery,
}

/// A frame or a text, and whom it has reached: a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Delivery {
    what: Option<NonZeroU64>,
    started: Instant,
    reached: Reached,
}

const _: () = assert!(size_of::<Delivery>() == 64);

impl Deliveries {
    /// Whether a packet continues the delivery of `what`: it reaches a client, and no client whom that has reached before. Anything
    /// else is another frame or text, with any content.
    #[inline]
    fn is_continued(
        &mut self,
        now: Instant,
        what: NonZeroU64,
        clients: &Clients,
        destinations: &[ClientId],
        addressed: impl Fn(ClientId, &[RoomId]) -> bool,
    ) -> bool {
        self.get(now, what).is_some_and(|reached| clients.are_new(destinations, reached, addressed))
    }

    /// Whom the delivery has reached: no client yet, unless it is `continued`.
    #[inline]
    fn reached(&mut self, now: Instant, what: NonZeroU64, continued: bool) -> Option<&mut Reached> {
        if continued { self.get(now, what) } else { Some(self.start(now, what)) }
    }

    /// Whom `what` has reached; `None` if it is not under way. What reached no client is not: no event told of its content.
    #[inline]
    fn get(&mut self, now: Instant, what: NonZeroU64) -> Option<&mut Reached> {
        let Recent { newest, older } = &mut **self.0.as_mut()?;
        let delivery = [newest, older].into_iter().find(|delivery| delivery.what == Some(what))?;
        (!delivery.is_over(now) && !delivery.reached.is_empty()).then_some(&mut delivery.reached)
    }

    /// Another frame or text: it has reached no client yet. Of the others only the newest is kept.
    #[inline]
    fn start(&mut self, now: Instant, what: NonZeroU64) -> &mut Reached {
        let Recent { newest, older } = &mut **self.0.get_or_insert_default();
        if newest.what != Some(what) {
            core::mem::swap(newest, older);
        }
        (newest.what, newest.started) = (Some(what), now);
        newest.reached.clear();
        &mut newest.reached
    }

    /// Gives the memory back if no frame or text has begun for long. False if it is kept.
    pub(super) fn give_back(&mut self, now: Instant) -> bool {
        self.0.take_if(|recent| now.saturating_duration_since(recent.newest.started) >= REST);
        self.0.is_none()
    }
}

impl Delivery {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started) > CONTINUE_WITHIN
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
        let Self {
            peers,
            controls,
            sweep,
            clients,
            sources,
            settings,
            stats,
            outbox,
            watch_all,
            hearing,
            ..
        } = self;
        let Some(state) = peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        let muted = state.flags.has(Flags::MUTE_VOICE);
        // Every destination is looked for in every channel.
        let few = voice.channels.len() <= settings.max_channels;
        let any = !settings.addressed_only;
        let addressed = |id: ClientId, rooms: &[RoomId]| {
            any || voice.channels.iter().any(|channel| includes(channel.recipient(), id, rooms))
        };
        // A packet that continues a delivery is free.
        let (what, deliveries) = (digest(relay.payload), &mut state.voice_deliveries);
        let continued =
            few && !muted && deliveries.is_continued(now, what, clients, relay.destinations, addressed);
        if !continued && !sources.take_voice(now, settings, state.source, &mut state.voice) {
            stats.voice_over_budget = stats.voice_over_budget.saturating_add(1);
            return Err(Violation::TooMuchVoice);
        }
        if !few {
            return Err(Violation::TooMany(Resource::Channels));
        }
        if muted {
            stats.muted = stats.muted.saturating_add(1);
            return Ok(None);
        }
        // Only here: what is refused must not cost as much as what is relayed.
        core::hint::black_box(clients.touch(relay.destinations));
        // Old releases relay voice reliably, by mistake: a slow listener would be cut off for it. Where that is wanted, it
        // counts as what others must take.
        let reliable = reliable && settings.reliable_voice && {
            let len = u32::try_from(relay.payload.len()).unwrap_or(u32::MAX);
            let quotas = &mut controls.get_mut(now, peer).quotas;
            sources.take(now, settings, state.source, quotas, Kind::Bytes, len)
        };
        let lane = if reliable { Lane::Reliable } else { Lane::Droppable };
        if !continued {
            sweep.spoken();
        }
        let Some(reached) = deliveries.reached(now, what, continued) else { return Ok(None) };
        let open = hearing.is_open();
        let hears = |listener| open || hearing.hears(listener, peer);
        let copies = forward(clients, outbox, stats, (relay, lane), reached, addressed, hears)?;
        stats.voice = stats.voice.saturating_add(u64::from(!continued));
        stats.voice_copies = stats.voice_copies.saturating_add(copies as u64);
        let watched = (state.flags.has(Flags::WATCHED) || *watch_all) && !continued;
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
        self.relay_text(now, peer, sender, relay, text)
    }

    fn relay_text<'a>(
        &mut self,
        now: Instant,
        peer: PeerId,
        sender: ClientId,
        relay: ServerRelay<'a>,
        text: TextData<'a>,
    ) -> Result<Option<ServerEvent<'a>>, Violation> {
        if text.session != self.session {
            return Err(self.wrong_session(now, peer, text.session));
        }
        self.check_sender(now, peer, text.sender, sender)?;
        let any = !self.settings.addressed_only;
        let addressed = |id: ClientId, rooms: &[RoomId]| any || includes(text.recipient, id, rooms);
        let Some(state) = self.peers.get(peer) else { return Err(Violation::UnknownPeer) };
        let muted = state.flags.has(Flags::MUTE_TEXT);
        // As for voice: who writes the same again, to those who have had it, writes another text.
        let (what, deliveries) =
            (digest(relay.payload), &mut self.controls.get_mut(now, peer).text_deliveries);
        let continued =
            !muted && deliveries.is_continued(now, what, &self.clients, relay.destinations, addressed);
        if !continued {
            self.charge(now, peer, Kind::Text, 1);
            self.charge_bytes(now, peer, relay.payload.len());
        }
        if muted {
            self.stats.muted = self.stats.muted.saturating_add(1);
            return Ok(None);
        }
        let Self { controls, clients, stats, outbox, .. } = self;
        let deliveries = &mut controls.get_mut(now, peer).text_deliveries;
        let Some(reached) = deliveries.reached(now, what, continued) else { return Ok(None) };
        let copies = forward(clients, outbox, stats, (relay, Lane::Reliable), reached, addressed, |_| true)?;
        stats.texts = stats.texts.saturating_add(u64::from(!continued));
        Ok((!continued).then_some(ServerEvent::Text { client: sender, text, copies }))
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

/// Whether a recipient is this client, or a room among those that it listens to.
#[inline]
fn includes(recipient: Recipient, id: ClientId, rooms: &[RoomId]) -> bool {
    match recipient {
        Recipient::Player(player) => player == id,
        Recipient::Room(room) => contains(rooms, room),
    }
}

/// Queues the payload for those of its destinations that are wanted, not `reached` yet, and whose connection `hears` the sender. Returns how
/// many there are, and counts the others: those that were not there, not addressed, named twice, or do not hear the sender.
#[inline]
fn forward(
    clients: &Clients,
    outbox: &mut Outbox,
    stats: &mut ServerStats,
    (relay, lane): (ServerRelay<'_>, Lane),
    reached: &mut Reached,
    wanted: impl Fn(ClientId, &[RoomId]) -> bool,
    hears: impl Fn(PeerId) -> bool,
) -> Result<usize, Full> {
    let mut copies: usize = 0;
    let to = clients.once_each(relay.destinations, reached, wanted).filter(|to| hears(*to));
    outbox.forward(to.inspect(|_| copies = copies.saturating_add(1)), lane, relay.payload)?;
    if copies != relay.destinations.len() {
        let others = relay.destinations.iter().filter(|&&id| id != SERVER_ONLY).count();
        stats.skipped = stats.skipped.saturating_add(others.saturating_sub(copies) as u64);
    }
    Ok(copies)
}
