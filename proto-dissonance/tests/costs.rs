//! What one source may cost whom: arbitrary sequences of one source's inputs, over one or several connections, against the
//! bounds of the settings. The table in `SECURITY.md` says the same in words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use crate::harness;

use core::time::Duration;
use harness::{Harness, encode, state};
use proptest::prelude::*;
use std::collections::BTreeMap;
use voxwire_core::{Input, Instant, Lane, PeerId, Rate, Session};
use voxwire_dissonance::{
    Channel, ClientId, CodecSettings, DeltaClientState, HandshakeRequest, Options, Packet, Profile,
    Recipient, ServerRelay, ServerSettings, Text, TextData, VoiceData, room_id,
};

/// Connections of the source at a time.
const CONNECTIONS: usize = 5;
const ROOMS: [&str; 2] = ["Hall", "Attic"];
const VICTIMS: u16 = 5;
/// A frame may come in as many parts as it has listeners.
const PARTS: u32 = VICTIMS as u32 + CONNECTIONS as u32;

/// Small rates: a bound that does not hold shows after a few inputs.
const SETTINGS: ServerSettings = ServerSettings {
    voice: Rate { per_second: 20, burst: 12 },
    text: Rate { per_second: 4, burst: 6 },
    state: Rate { per_second: 5, burst: 8 },
    reliable_bytes: Rate { per_second: 400, burst: 900 },
    attempts: Rate { per_second: 2, burst: 12 },
    source_voice: Rate { per_second: 40, burst: 24 },
    source_text: Rate { per_second: 8, burst: 12 },
    source_state: Rate { per_second: 10, burst: 24 },
    source_bytes: Rate { per_second: 800, burst: 2000 },
    max_violations: 1000,
    ..ServerSettings::DEFAULT
};

#[derive(Debug, Clone)]
enum Act {
    Connect,
    Close(usize),
    /// Closes, and comes back under a name.
    Rejoin {
        from: usize,
        name: u8,
    },
    Handshake {
        from: usize,
        name: u8,
        lane: bool,
    },
    State {
        from: usize,
        rooms: u8,
        lane: bool,
    },
    Delta {
        from: usize,
        room: usize,
        joined: bool,
        lane: bool,
    },
    /// Comes back, and says as much as a connection may at once.
    Spree {
        from: usize,
        name: u8,
    },
    /// The same frame each time, or another one.
    Voice {
        from: usize,
        same: bool,
        channels: Vec<u8>,
        to: Vec<u16>,
        reliable: bool,
        lane: bool,
    },
    Text {
        from: usize,
        body: u8,
        recipient: u8,
        to: Vec<u16>,
        len: usize,
        lane: bool,
    },
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let from = || 0..CONNECTIONS;
    let to = || {
        let some = proptest::collection::vec(0..VICTIMS + 4, 0..12);
        prop_oneof![some, Just((0..VICTIMS).collect::<Vec<u16>>())]
    };
    prop_oneof![
        2 => Just(Act::Connect),
        1 => from().prop_map(Act::Close),
        1 => (from(), 0..8_u8).prop_map(|(from, name)| Act::Rejoin { from, name }),
        1 => (from(), 0..8_u8).prop_map(|(from, name)| Act::Spree { from, name }),
        2 => (from(), 0..4_u8, any::<bool>()).prop_map(|(from, name, lane)| Act::Handshake { from, name, lane }),
        2 => (from(), 0..4_u8, any::<bool>()).prop_map(|(from, rooms, lane)| Act::State { from, rooms, lane }),
        2 => (from(), 0..2_usize, any::<bool>(), any::<bool>())
            .prop_map(|(from, room, joined, lane)| Act::Delta { from, room, joined, lane }),
        4 => (from(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..70), to(), any::<bool>(), any::<bool>())
            .prop_map(|(from, same, channels, to, reliable, lane)| {
                Act::Voice { from, same, channels, to, reliable, lane }
            }),
        4 => (from(), 0..3_u8, any::<u8>(), to(), 0..400_usize, any::<bool>())
            .prop_map(|(from, body, recipient, to, len, lane)| Act::Text { from, body, recipient, to, len, lane }),
        2 => (0..400_u64).prop_map(Act::Wait),
    ]
}

/// How often an input comes.
fn times() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1..8_usize, 1 => 1..200_usize]
}

/// A room or a victim.
fn recipient(n: u8) -> Recipient {
    match n % 8 {
        n @ 0..=1 => Recipient::Room(room_id(ROOMS[usize::from(n)])),
        n => Recipient::Player(ClientId::new(u16::from(n) - 2)),
    }
}

/// Counts what flows at a rate: how much there has been beyond `per_second`, in the stretch of time with the most.
#[derive(Default)]
struct Meter {
    level: f64,
    at: Instant,
    most: f64,
}

impl Meter {
    fn add(&mut self, now: Instant, per_second: u32, n: usize) {
        let drained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(per_second);
        self.level = (self.level - drained).max(0.0) + n as f64;
        (self.at, self.most) = (now, self.most.max(self.level));
    }

    #[track_caller]
    fn check(&self, what: &str, burst: u32) {
        assert!(self.most <= f64::from(burst) + 0.5, "{what}: {} at once, {burst} allowed", self.most);
    }
}

/// What a client was sent because of the source.
#[derive(Default)]
struct Bill {
    voice: Meter,
    texts: Meter,
    states: Meter,
    bytes: Meter,
}

struct World {
    stage: Harness,
    victims: Vec<PeerId>,
    /// The source's connections, and until when the reading of each pauses.
    open: Vec<Option<(PeerId, Instant)>>,
    bills: BTreeMap<PeerId, Bill>,
    /// The same of single connections, by victim.
    each: BTreeMap<(PeerId, PeerId), Bill>,
    answers: Meter,
    /// Relay packets of single connections that were not refused.
    relays: BTreeMap<PeerId, Meter>,
    spoken: u16,
}

impl World {
    fn new() -> Self {
        let mut stage = Harness::new(SETTINGS);
        let mut victims = Vec::new();
        for n in 0..VICTIMS {
            let name = format!("victim {n}");
            let (peer, joined) = stage.join_from(&format!("198.51.100.{n}:1"), &name);
            joined.unwrap();
            let rooms = ROOMS.map(Text::new);
            let rooms = if n % 2 == 0 { &rooms[..] } else { &rooms[..1] };
            stage.send(peer, &state(stage.session(), &name, ClientId::new(n), rooms)).unwrap();
            victims.push(peer);
        }
        stage.clear();
        stage.paused.clear();
        stage.now = stage.now.saturating_add(Duration::from_secs(60));
        let (bills, each, open) = (BTreeMap::new(), BTreeMap::new(), vec![None; CONNECTIONS]);
        let (answers, relays) = (Meter::default(), BTreeMap::new());
        Self { stage, victims, open, bills, each, answers, relays, spoken: 0 }
    }

    fn packet(&mut self, from: usize, lane: bool, packet: &Packet<'_>) {
        let Some((peer, paused)) = self.open[from] else { return };
        // What is reliable is not read while reading pauses; datagrams are.
        let lane = if lane { Lane::Droppable } else { Lane::Reliable };
        if lane == Lane::Reliable && paused > self.stage.now {
            return;
        }
        let bytes = encode(packet);
        let now = self.stage.now;
        let result = self.stage.server.handle_input(now, Input::Frame { peer, lane, bytes: &bytes });
        if let (Ok(_), Packet::ServerRelayUnreliable(_)) = (result, packet) {
            let meter = self.relays.entry(peer).or_default();
            meter.add(now, SETTINGS.voice.per_second * PARTS, 1);
        }
        self.settle(Some(peer));
    }

    /// Sees to outputs: what others are sent is counted.
    fn settle(&mut self, from: Option<PeerId>) {
        self.stage.drain();
        for (peer, until) in core::mem::take(&mut self.stage.paused) {
            for open in self.open.iter_mut().flatten().filter(|open| open.0 == peer) {
                open.1 = until;
            }
        }
        for peer in core::mem::take(&mut self.stage.closed) {
            assert!(!self.victims.contains(&peer), "a victim is cut off");
            self.open.iter_mut().for_each(|open| *open = open.filter(|open| open.0 != peer));
        }
        let now = self.stage.now;
        for &victim in &self.victims {
            for sent in self.stage.sent(victim) {
                let bill = self.bills.entry(victim).or_default();
                let each = from.map(|from| self.each.entry((from, victim)).or_default());
                let mut each = each.filter(|_| !matches!(sent.packet(), Packet::RemoveClient { .. }));
                let (s, len) = (&SETTINGS, sent.bytes.len());
                // Beside its two rates a source has a message for each connection.
                let more = 2 * s.attempts.per_second;
                match sent.packet() {
                    Packet::VoiceData(_) => {
                        bill.voice.add(now, 2 * s.source_voice.per_second, 1);
                        each.iter_mut().for_each(|each| each.voice.add(now, s.voice.per_second, 1));
                        assert_eq!(sent.lane, Lane::Droppable);
                    }
                    Packet::TextData(_) => {
                        bill.texts.add(now, 2 * s.source_text.per_second + more, 1);
                        each.iter_mut().for_each(|each| each.texts.add(now, s.text.per_second, 1));
                    }
                    Packet::ClientState(_) | Packet::DeltaClientState(_) | Packet::RemoveClient { .. } => {
                        bill.states.add(now, 2 * (2 * s.source_state.per_second + more), 1);
                        each.iter_mut().for_each(|each| each.states.add(now, s.state.per_second, 1));
                    }
                    other => panic!("a victim is sent {other:?}"),
                }
                if sent.lane == Lane::Reliable && !matches!(sent.packet(), Packet::RemoveClient { .. }) {
                    bill.bytes.add(now, 2 * s.source_bytes.per_second + more * 1024, len);
                    each.iter_mut().for_each(|each| each.bytes.add(now, s.reliable_bytes.per_second, len));
                }
            }
        }
        for (peer, _) in self.open.clone().into_iter().flatten() {
            for sent in self.stage.sent(peer) {
                if matches!(sent.packet(), Packet::HandshakeResponse(_)) {
                    self.answers.add(now, 2 * SETTINGS.attempts.per_second, 1);
                }
            }
        }
        self.stage.clear();
    }

    fn act(&mut self, act: &Act) {
        let session = self.stage.session();
        let client = |world: &Self, from: usize| {
            world.open[from].and_then(|(peer, _)| world.stage.server.client_of(peer))
        };
        match act {
            Act::Connect => {
                if let Some(at) = self.open.iter().position(Option::is_none) {
                    let peer = self.stage.open_from("203.0.113.7:1");
                    self.open[at] = Some((peer, Instant::ZERO));
                    self.settle(None);
                }
            }
            Act::Close(from) => {
                if let Some((peer, _)) = self.open[*from].take() {
                    self.stage.close(peer);
                    self.settle(None);
                }
            }
            Act::Rejoin { from, name } => {
                self.act(&Act::Close(*from));
                let peer = self.stage.open_from("203.0.113.7:1");
                self.open[*from] = Some((peer, Instant::ZERO));
                self.settle(None);
                self.act(&Act::Handshake { from: *from, name: *name, lane: false });
            }
            Act::Spree { from, name } => {
                let (from, to, lane) = (*from, (0..VICTIMS).collect::<Vec<u16>>(), false);
                self.act(&Act::Rejoin { from, name: *name });
                for _ in 0..15 {
                    let (channels, to) = (vec![0], to.clone());
                    self.act(&Act::Voice { from, same: false, channels, to, reliable: false, lane });
                }
                for _ in 0..8 {
                    self.act(&Act::Text { from, body: 1, recipient: 0, to: to.clone(), len: 1, lane });
                }
            }
            Act::Handshake { from, name, lane } => {
                let name = format!("eve {name}");
                let codec = CodecSettings::DEFAULT;
                let request = HandshakeRequest { codec, name: Text::new(&name) };
                self.packet(*from, *lane, &Packet::HandshakeRequest(request));
            }
            Act::State { from, rooms, lane } => {
                let Some(client) = client(self, *from) else { return };
                let name = self.stage.server.name(client).unwrap().to_owned();
                let rooms: Vec<Text<'_>> =
                    (0..2).filter(|n| rooms & (1 << n) != 0).map(|n| Text::new(ROOMS[n])).collect();
                self.packet(*from, *lane, &state(session, &name, client, &rooms));
            }
            Act::Delta { from, room, joined, lane } => {
                let Some(client) = client(self, *from) else { return };
                let room = Text::new(ROOMS[*room]);
                let delta = DeltaClientState { session, joined: *joined, client, room };
                self.packet(*from, *lane, &Packet::DeltaClientState(delta));
            }
            Act::Voice { from, same, channels, to, reliable, lane } => {
                let Some(sender) = client(self, *from) else { return };
                let channels: Vec<Channel> = channels.iter().map(|&n| Channel::new(recipient(n))).collect();
                let destinations: Vec<ClientId> = to.iter().copied().map(ClientId::new).collect();
                let options = Options::new(0, Profile::Later);
                self.spoken = self.spoken.wrapping_add(u16::from(!same));
                let (sequence, channels) = (self.spoken, &channels[..]);
                let voice = VoiceData { session, sender, options, sequence, channels, frame: b"noise" };
                let payload = encode(&Packet::VoiceData(voice));
                let relay = ServerRelay { session, destinations: &destinations, payload: &payload };
                let packet = match reliable {
                    true => Packet::ServerRelayReliable(relay),
                    false => Packet::ServerRelayUnreliable(relay),
                };
                self.packet(*from, *lane, &packet);
            }
            Act::Text { from, body, recipient: to_whom, to, len, lane } => {
                let Some(sender) = client(self, *from) else { return };
                let body = body.to_string().repeat(*len);
                let (recipient, text) = (recipient(*to_whom), Text::new(&body));
                let text = TextData { session, sender, recipient, text };
                let payload = encode(&Packet::TextData(text));
                let destinations: Vec<ClientId> = to.iter().copied().map(ClientId::new).collect();
                let relay = ServerRelay { session, destinations: &destinations, payload: &payload };
                self.packet(*from, *lane, &Packet::ServerRelayReliable(relay));
            }
            Act::Wait(ms) => {
                self.stage.now = self.stage.now.saturating_add(Duration::from_millis(*ms));
                self.settle(None);
                self.talk(*ms);
            }
        }
    }

    /// An honest client is heard, for any behaviour of the source.
    fn talk(&mut self, ms: u64) {
        if ms < 100 {
            return;
        }
        self.spoken = self.spoken.wrapping_add(1);
        let (session, sender) = (self.stage.session(), ClientId::new(0));
        let channels = [Channel::new(Recipient::Room(room_id("Hall")))];
        let options = Options::new(0, Profile::Later);
        let (sequence, channels) = (self.spoken, &channels[..]);
        let voice = VoiceData { session, sender, options, sequence, channels, frame: b"honest" };
        let payload = encode(&Packet::VoiceData(voice));
        let all: Vec<ClientId> = (1..VICTIMS).map(ClientId::new).collect();
        let relay = ServerRelay { session, destinations: &all, payload: &payload };
        self.stage.send(self.victims[0], &Packet::ServerRelayUnreliable(relay)).unwrap();
        for &victim in &self.victims[1..] {
            assert_eq!(self.stage.sent(victim).len(), 1, "an honest frame is not heard");
        }
        self.stage.clear();
    }

    fn check(&self) {
        let s = &SETTINGS;
        // A message goes into debt before reading pauses: one for each connection, of which attempts are limited.
        let debts = CONNECTIONS as u32 + 2 * s.attempts.burst;
        for bill in self.bills.values() {
            bill.voice.check("voice", 2 * s.source_voice.burst);
            bill.texts.check("texts", 2 * s.source_text.burst + debts);
            bill.states.check("states", 2 * (2 * s.source_state.burst + debts));
            bill.bytes.check("bytes", 2 * s.source_bytes.burst + 1024 * debts);
        }
        for each in self.each.values() {
            each.voice.check("voice of one connection", s.voice.burst);
            each.texts.check("texts of one connection", s.text.burst + 1);
            each.states.check("states of one connection", s.state.burst + 1);
            each.bytes.check("bytes of one connection", s.reliable_bytes.burst + 1024);
        }
        self.answers.check("answers", 2 * s.attempts.burst);
        for meter in self.relays.values() {
            meter.check("relay packets of one connection", s.voice.burst * PARTS);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// F-01: no sequence of inputs makes one source cost more than its row of the table. Each input may come many times.
    #[test]
    fn f_01_no_sequence_of_inputs_makes_a_source_cost_more_than_its_row(
        acts in proptest::collection::vec((act(), times()), 1..80),
    ) {
        let mut world = World::new();
        for n in 0..2 {
            world.act(&Act::Connect);
            world.act(&Act::Handshake { from: n, name: n as u8, lane: false });
        }
        for (act, times) in &acts {
            for _ in 0..*times {
                world.act(act);
            }
        }
        world.check();
    }
}
