//! Voice and text that clients have the server hand on to others.

use super::clients::{Clients, Listener};
use super::control::REST;
use super::echo::send_back;
use super::reached::Reached;
use super::{Flags, Kind, Server, ServerSettings};
use crate::{
    Channel, ClientId, Packet, Recipient, Resource, RoomId, SERVER_ONLY, ServerEvent, ServerRelay,
    SessionState, TextData, Violation, VoiceData,
};
use alloc::{boxed::Box, vec::Vec};
use core::{num::NonZeroU64, time::Duration};
use voxwire_core::{Full, Hearing, Instant, Lane, Message, Outbox, PeerId};

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
        to: Audience<'_>,
    ) -> bool {
        self.get(now, what).is_some_and(|reached| {
            clients.are_new(destinations, reached, |id, listener| to.includes(id, listener))
        })
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

    /// When the newest frame or text began.
    pub(super) fn newest(&self) -> Option<Instant> {
        self.0.as_ref().filter(|recent| recent.newest.what.is_some()).map(|recent| recent.newest.started)
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
    let mut each = |block: &[u8; 32]| {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = step(*lane, word.first_chunk().copied().map_or(0, u64::from_le_bytes));
        }
    };
    let mut rest = bytes;
    while let Some((block, more)) = rest.split_first_chunk() {
        each(block);
        rest = more;
    }
    // What is left, and as much before it as makes a whole block. The length says where that begins.
    match bytes.last_chunk() {
        Some(block) => each(block),
        None => {
            let mut block = [0; 32];
            block.iter_mut().zip(rest).for_each(|(byte, last)| *byte = *last);
            each(&block);
        }
    }
    let hash = lanes.into_iter().fold(bytes.len() as u64, step);
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
            watched_rooms,
            hearing,
            addressees,
            wire,
            ..
        } = self;
        let Some(state) = peers.get_mut(peer) else { return Err(Violation::UnknownPeer) };
        let muted = state.flags.has(Flags::MUTE_VOICE);
        // Every destination is looked for in every channel.
        let few = voice.channels.len() <= settings.max_channels;
        let to = Audience::of(settings, voice.channels);
        // A packet that continues a delivery is free.
        let (what, deliveries) = (digest(relay.payload), &mut state.voice_deliveries);
        let continued = few && !muted && deliveries.is_continued(now, what, clients, relay.destinations, to);
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
        let mut destinations = relay.destinations;
        if state.flags.has(Flags::ECHO) && !continued {
            let echo = clients.echo_number();
            if let Some(echo) = echo.filter(|echo| send_back(outbox, wire, *echo, (peer, sender), voice)) {
                stats.voice_copies = stats.voice_copies.saturating_add(1);
                if destinations == [echo] {
                    destinations = &[];
                }
            }
        }
        let relay = ServerRelay { destinations, ..relay };
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
        let queues = (outbox, addressees, &mut stats.skipped);
        let copies = deliver((clients, hearing, peer), queues, (relay, lane), to, (reached, continued))?;
        stats.voice = stats.voice.saturating_add(u64::from(!continued));
        stats.voice_copies = stats.voice_copies.saturating_add(copies as u64);
        let watched = !continued
            && (state.flags.has(Flags::WATCHED)
                || *watch_all
                || !watched_rooms.is_empty() && is_said_to(watched_rooms, voice.channels));
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
            return Err(Violation::NotRelayed("TextData on the droppable lane"));
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
        let to = if self.settings.addressed_only { Audience::from(text.recipient) } else { Audience::Any };
        let Some(state) = self.peers.get(peer) else { return Err(Violation::UnknownPeer) };
        let muted = state.flags.has(Flags::MUTE_TEXT);
        // As for voice: who writes the same again, to those who have had it, writes another text.
        let (what, deliveries) =
            (digest(relay.payload), &mut self.controls.get_mut(now, peer).text_deliveries);
        let continued = !muted && deliveries.is_continued(now, what, &self.clients, relay.destinations, to);
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
        let addressed = |id, listener: Listener<'_>| to.includes(id, listener);
        let (frame, skipped) = ((relay, Lane::Reliable), &mut stats.skipped);
        let copies = forward(clients, outbox, skipped, frame, reached, addressed, |_| true)?;
        stats.texts = stats.texts.saturating_add(u64::from(!continued));
        Ok((!continued).then_some(ServerEvent::Text { client: sender, text, copies }))
    }

    #[inline]
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

/// Whether a packet is addressed to one of some rooms.
#[cold]
fn is_said_to(rooms: &[RoomId], channels: &[Channel]) -> bool {
    let is_among = |channel: &Channel| match channel.recipient() {
        Recipient::Room(room) => rooms.contains(&room),
        Recipient::Player(_) => false,
    };
    channels.iter().any(is_among)
}

/// Those among its destinations that a packet is addressed to.
#[derive(Clone, Copy)]
enum Audience<'a> {
    /// All of them.
    Any,
    Room(RoomId),
    Client(ClientId),
    /// Those of any of these channels.
    Channels(&'a [Channel]),
}

impl From<Recipient> for Audience<'_> {
    #[inline]
    fn from(recipient: Recipient) -> Self {
        match recipient {
            Recipient::Room(room) => Self::Room(room),
            Recipient::Player(client) => Self::Client(client),
        }
    }
}

impl<'a> Audience<'a> {
    #[inline]
    fn of(settings: &ServerSettings, channels: &'a [Channel]) -> Self {
        match channels {
            _ if !settings.addressed_only => Self::Any,
            [channel] => channel.recipient().into(),
            channels => Self::Channels(channels),
        }
    }

    /// Whether it is addressed to a client: to it, or to a room that it listens to.
    fn includes(self, id: ClientId, listener: Listener<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Room(room) => listener.listens_to(room),
            Self::Client(client) => client == id,
            Self::Channels(channels) => channels.iter().any(|channel| match channel.recipient() {
                Recipient::Room(room) => listener.listens_to(room),
                Recipient::Player(client) => client == id,
            }),
        }
    }
}

/// Queues a packet of voice for its destinations, and returns how many have it.
#[inline]
fn deliver(
    (clients, hearing, peer): (&Clients, &Hearing, PeerId),
    (outbox, addressees, skipped): (&mut Outbox, &mut Vec<PeerId>, &mut u64),
    (relay, lane): (ServerRelay<'_>, Lane),
    to: Audience<'_>,
    (reached, continued): (&mut Reached, bool),
) -> Result<usize, Full> {
    // Nearly every packet: a whole frame to one room, in which every client hears every other one.
    let in_room = match to {
        Audience::Room(room) if !continued && hearing.is_open() => {
            clients.in_room(relay.destinations, room, addressees)
        }
        _ => None,
    };
    if let Some(to) = in_room {
        outbox.forward(to.iter().copied(), lane, relay.payload)?;
        reached.fill(relay.destinations);
        return Ok(to.len());
    }
    // Only here: what is refused must not cost as much as what is relayed.
    core::hint::black_box(clients.touch(relay.destinations));
    let addressed = |id, listener: Listener<'_>| to.includes(id, listener);
    let hears = |listener| hearing.hears(listener, peer);
    forward(clients, outbox, skipped, (relay, lane), reached, addressed, hears)
}

/// Queues the payload for those of its destinations that are wanted, not `reached` yet, and whose connection `hears` the sender. Returns how
/// many there are, and counts the others: those that were not there, not addressed, named twice, or do not hear the sender.
///
/// Not inlined: on its own, its loop has a register for each of its variables.
#[inline(never)]
fn forward(
    clients: &Clients,
    outbox: &mut Outbox,
    skipped: &mut u64,
    (relay, lane): (ServerRelay<'_>, Lane),
    reached: &mut Reached,
    wanted: impl Fn(ClientId, Listener<'_>) -> bool,
    hears: impl Fn(PeerId) -> bool,
) -> Result<usize, Full> {
    let before = outbox.len();
    let to = clients.once_each(relay.destinations, reached, wanted).filter(|to| hears(*to));
    outbox.forward(to, lane, relay.payload)?;
    let copies = outbox.len().saturating_sub(before);
    if copies != relay.destinations.len() {
        let others = relay.destinations.iter().filter(|&&id| id != SERVER_ONLY).count();
        *skipped = skipped.saturating_add(others.saturating_sub(copies) as u64);
    }
    Ok(copies)
}
