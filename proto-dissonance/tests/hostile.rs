//! Attacks, one for each row of the threat model, each while two honest clients talk: it costs the attacker, never them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use crate::harness;
use crate::kit;

use core::time::Duration;
use harness::{Harness, encode, join_client, say, sent_by, state};
use voxwire_core::testing::{Rng, vectors};
use voxwire_core::{Input, Instant, Lane, Limits, NameError, PeerId, Rate, Session};
use voxwire_dissonance::{
    Channel, Client, ClientId, ClientSettings, DeltaClientState, Packet, Recipient, Resource, SERVER_ONLY,
    ServerCommand, ServerRelay, ServerSettings, Text, TextData, Violation, room_id,
};

/// Ann talks to Ben, and Eve does what she can.
struct Hall {
    stage: Harness,
    ann: PeerId,
    ben: PeerId,
    eve: PeerId,
    spoken: u32,
}

const ANN: ClientId = ClientId::new(0);
const BEN: ClientId = ClientId::new(1);
const EVE: ClientId = ClientId::new(2);

impl Hall {
    fn new(settings: ServerSettings) -> Self {
        let mut stage = Harness::new(settings);
        let [ann, ben, eve] = ["ann", "ben", "eve"].map(|name| stage.join(name));
        for peer in [ann, ben, eve] {
            stage.sent(peer);
        }
        let mut hall = Self { stage, ann, ben, eve, spoken: 0 };
        hall.join(ben, BEN, "Lobby").unwrap();
        hall.talk();
        hall.clear();
        hall
    }

    /// Forgets what has been sent.
    fn clear(&mut self) {
        for peer in [self.ann, self.ben, self.eve] {
            self.stage.sent(peer);
        }
    }

    fn session(&self) -> u32 {
        self.stage.session()
    }

    fn join(&mut self, peer: PeerId, client: ClientId, room: &str) -> Result<String, Violation> {
        let delta = DeltaClientState { session: self.session(), joined: true, client, room: room.into() };
        self.stage.send(peer, &Packet::DeltaClientState(delta))
    }

    /// One frame of Ann's; Ben hears it, and nothing else that he had not asked for.
    fn talk(&mut self) {
        self.stage.now = self.stage.now.saturating_add(Duration::from_millis(20));
        self.spoken += 1;
        let payload = say(self.session(), ANN, Recipient::Room(room_id("Lobby")), &self.spoken.to_be_bytes());
        let relay = ServerRelay { session: self.session(), destinations: &[BEN], payload: &payload };
        self.stage.send(self.ann, &Packet::ServerRelayUnreliable(relay)).unwrap();
        let heard = self.stage.sent(self.ben);
        assert!(heard.iter().any(|sent| sent.bytes == payload), "Ben does not hear Ann");
        let voices = heard.iter().filter(|sent| matches!(sent.packet(), Packet::VoiceData(_))).count();
        assert_eq!(voices, 1, "Ben hears something else");
    }

    fn relay(&mut self, to: &[ClientId], payload: &[u8], reliable: bool) -> Result<String, Violation> {
        let relay = ServerRelay { session: self.session(), destinations: to, payload };
        let packet =
            if reliable { Packet::ServerRelayReliable(relay) } else { Packet::ServerRelayUnreliable(relay) };
        self.stage.send(self.eve, &packet)
    }

    fn is_kicked(&self) -> bool {
        self.stage.closed.contains(&self.eve)
    }
}

#[test]
fn d_16_a_forged_sender_is_not_relayed_nor_believed_and_is_kicked_in_the_end() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    let session = hall.session();
    let lobby = Recipient::Room(room_id("Lobby"));
    let voice = say(session, ANN, lobby, b"forged");
    let text = TextData { session, sender: ANN, recipient: lobby, text: "forged".into() };
    let text = encode(&Packet::TextData(text));
    let forged = Err(Violation::Forged { got: ANN, expected: EVE });
    for round in 0..3 {
        assert_eq!(hall.relay(&[BEN], &voice, false), forged);
        assert_eq!(hall.relay(&[BEN], &text, true), forged);
        assert_eq!(hall.join(hall.eve, ANN, "Trap"), forged);
        let state = state(session, "ann", ANN, &[]);
        assert_eq!(hall.stage.send(hall.eve, &state), forged);
        assert!(!hall.is_kicked(), "{round}");
        hall.talk();
    }
    assert_eq!(hall.stage.server.rooms_of(ANN).count(), 0);
    // The sixteenth is one too many.
    for _ in 0..4 {
        let _ = hall.relay(&[BEN], &voice, false);
    }
    assert!(hall.is_kicked());
    assert_eq!(hall.stage.server.stats().forged, 16);
    hall.talk();
}

#[test]
fn d_16_a_state_that_is_not_the_handshakes_is_not_replicated() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    let session = hall.session();
    let renamed = state(session, "ben", EVE, &[]);
    assert_eq!(hall.stage.send(hall.eve, &renamed), Err(Violation::Changed("name")));
    let Packet::ClientState(mut recoded) = state(session, "eve", EVE, &[]) else { panic!() };
    recoded.client.codec.frame_size = 480;
    assert_eq!(hall.stage.send(hall.eve, &Packet::ClientState(recoded)), Err(Violation::Changed("codec")));
    let rooms = [Text::new("fine"), Text::from_bytes(b"\xff")];
    let garbled = state(session, "eve", EVE, &rooms);
    assert_eq!(
        hall.stage.send(hall.eve, &garbled),
        Err(Violation::InvalidName("room name", NameError::NotUtf8 { offset: 0 }))
    );
    assert!(hall.stage.sent(hall.ann).is_empty());
    hall.talk();
}

/// F-05: a room that looks like another one, or has a longer name than we take, is refused like any other: the game has chosen it, and
/// none of its players is kicked for it, however often it is asked for.
#[test]
fn f_05_a_room_whose_name_will_not_do_is_refused_and_kicks_nobody() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    let session = hall.session();
    let (hidden, long) = ("fine\u{200b}", "x".repeat(256));
    for round in 0..20_u64 {
        hall.stage.now = hall.stage.now.saturating_add(Duration::from_secs(1));
        for (name, why) in
            [(hidden, "Name(Invisible('\\u{200b}'))"), (&long, "Name(TooLong { len: 256, max: 255 })")]
        {
            hall.clear();
            let told = hall.join(hall.eve, EVE, name).unwrap();
            assert!(told.starts_with("Rooms") && told.contains(why), "{told}");
            assert_eq!(hall.stage.sent_to(hall.eve), ["DeltaClientState"], "it is told, and nobody else");
            assert_eq!(hall.stage.sent(hall.ann).len(), 0);
            let left = DeltaClientState { session, joined: false, client: EVE, room: name.into() };
            assert!(hall.stage.send(hall.eve, &Packet::DeltaClientState(left)).unwrap().contains(why));
            assert!(hall.stage.sent_to(hall.eve).is_empty());
        }
        // In a state the others are heard of.
        let rooms = [Text::new(hidden), Text::new("fine")];
        let told = hall.stage.send(hall.eve, &state(session, "eve", EVE, &rooms)).unwrap();
        assert!(told.contains("Invisible"), "{told}");
        assert_eq!(hall.stage.server.rooms_of(EVE).collect::<Vec<_>>(), ["fine"]);
        assert_eq!(hall.stage.sent_to(hall.ann), ["ClientState"]);
        assert_eq!(hall.stage.server.stats().rooms_refused, 5 * (round + 1));
    }
    assert!(!hall.is_kicked());
    assert_eq!(hall.stage.server.stats().violations, 0);
    hall.talk();
}

#[test]
fn d_16_a_relay_reaches_only_whom_the_packet_is_for_and_each_once() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    let session = hall.session();
    // Every client, twice, and the absent: for a room that nobody but Eve listens to.
    hall.join(hall.eve, EVE, "Trap").unwrap();
    hall.clear();
    let all: Vec<ClientId> = (0..255).map(|n| ClientId::new(n % 3)).collect();
    let voice = say(session, EVE, Recipient::Room(room_id("Trap")), b"noise");
    hall.relay(&all, &voice, false).unwrap();
    assert!(hall.stage.sent(hall.ben).is_empty() && hall.stage.sent(hall.ann).is_empty());
    // She hears herself, once, if that is what she wants.
    assert_eq!(hall.stage.sent_to(hall.eve), ["VoiceData"]);
    let text = TextData { session, sender: EVE, recipient: Recipient::Player(BEN), text: "hi".into() };
    hall.relay(&all, &encode(&Packet::TextData(text)), true).unwrap();
    assert_eq!((hall.stage.sent_to(hall.ben).len(), hall.stage.sent(hall.ann).len()), (1, 0));
    hall.relay(&[SERVER_ONLY, ClientId::new(999)], &voice, false).unwrap();
    assert!(hall.stage.sent(hall.eve).is_empty());
    // More channels than any client has would be more work than a packet is worth.
    let channels = vec![Channel::new(Recipient::Player(BEN)); 65];
    let wide = harness::voice(session, EVE, &channels, b"x");
    assert_eq!(hall.relay(&[BEN], &wide, false), Err(Violation::TooMany(Resource::Channels)));
    hall.talk();
}

#[test]
fn d_10_d_16_nothing_but_voice_and_text_is_relayed_and_nothing_twice() {
    let mut hall = Hall::new(ServerSettings { max_violations: 1000, ..ServerSettings::DEFAULT });
    let session = hall.session();
    let voice = say(session, EVE, Recipient::Player(BEN), b"x");
    let nested = encode(&Packet::ServerRelayUnreliable(ServerRelay {
        session,
        destinations: &[BEN],
        payload: &voice,
    }));
    let mut refused: Vec<Vec<u8>> = vec![nested];
    for vector in vectors(include_str!("vectors/packets.txt")) {
        let kind = vector.bytes.get(2);
        if vector.expect.starts_with('{') && !matches!(kind, Some(2 | 3)) {
            refused.push(vector.bytes);
        }
    }
    refused.push(encode(&Packet::HandshakeP2P { session, client: EVE }));
    refused.push(encode(&Packet::ErrorWrongSession { session }));
    refused.push(b"garbage".to_vec());
    refused.push(Vec::new());
    for payload in refused {
        for reliable in [false, true] {
            assert!(hall.relay(&[ANN, BEN], &payload, reliable).is_err(), "{payload:02x?}");
            assert!(hall.stage.sent(hall.ben).is_empty() && hall.stage.sent(hall.ann).is_empty());
        }
    }
    // Text only reliably.
    let text = TextData { session, sender: EVE, recipient: Recipient::Player(BEN), text: "hi".into() };
    assert!(hall.relay(&[BEN], &encode(&Packet::TextData(text)), false).is_err());
    // And nothing of another session.
    let other = say(session + 1, EVE, Recipient::Player(BEN), b"x");
    assert!(matches!(hall.relay(&[BEN], &other, false), Err(Violation::WrongSession { .. })));
    hall.talk();
}

#[test]
fn d_16_a_flood_of_deltas_or_texts_is_slowed_down_and_nothing_is_lost() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    for n in 0..200 {
        hall.join(hall.eve, EVE, if n % 2 == 0 { "A" } else { "B" }).unwrap();
    }
    // 82 changes at once, the handshake and the state included; from then on ten a second.
    let until = hall.stage.paused.iter().map(|(_, until)| *until).max().unwrap();
    assert!(hall.stage.paused.iter().all(|(peer, _)| *peer == hall.eve));
    let wait = until.saturating_duration_since(hall.stage.now);
    assert!((11.0..13.0).contains(&wait.as_secs_f64()), "{wait:?}");
    assert_eq!(hall.stage.sent(hall.ann).len(), 200);
    hall.stage.paused.clear();
    let session = hall.session();
    let text = TextData { session, sender: EVE, recipient: Recipient::Player(BEN), text: "spam".into() };
    for _ in 0..100 {
        hall.relay(&[BEN], &encode(&Packet::TextData(text)), true).unwrap();
    }
    // The same text again and again, to one who has had it: a new one each time.
    assert!(hall.stage.paused.len() >= 20, "{}", hall.stage.paused.len());
    hall.stage.sent(hall.ben);
    hall.talk();
}

#[test]
fn d_16_a_flood_of_voice_is_cut_to_what_one_can_speak() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    let voice = say(hall.session(), EVE, Recipient::Player(BEN), &[0; 900]);
    let handed_on = (0..10_000).filter(|_| hall.relay(&[BEN], &voice, false).is_ok()).count();
    assert_eq!(handed_on, 120);
    hall.stage.sent(hall.ben);
    hall.stage.now = hall.stage.now.saturating_add(Duration::from_secs(10));
    let later = (0..10_000).filter(|_| hall.relay(&[BEN], &voice, false).is_ok()).count();
    assert_eq!(later, 120);
    assert!(!hall.is_kicked());
    hall.stage.sent(hall.ben);
    hall.talk();
}

#[test]
fn d_16_handshakes_of_one_source_are_limited_and_names_are_not_taken() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    let peer = hall.stage.open_from("203.0.113.9:1");
    let joined = (0..1000).filter(|n| hall.stage.handshake(peer, &format!("name {n}")).is_ok()).count();
    // A quarter is for others that come from there.
    assert_eq!(joined, 225);
    assert!(hall.stage.handshake(hall.eve, "ben").unwrap().starts_with("NameRefused"));
    assert_eq!(hall.stage.server.find("eve"), Some(EVE), "she keeps what she has");
    assert_eq!(hall.stage.server.find("ben"), Some(BEN));
    hall.talk();
}

/// F-01: behind an address that is exempt are many people: none pays for another, and none takes another's name.
#[test]
fn f_01_an_exempt_address_stands_for_many_people() {
    for exempt in [false, true] {
        let attempts = Rate { per_second: 1, burst: 1 };
        let mut stage = Harness::new(ServerSettings { attempts, ..ServerSettings::DEFAULT });
        if exempt {
            stage.server.exempt(&["192.0.2.1".parse().unwrap()]);
        }
        let joined = (0..100).filter(|n| {
            // The listener may be a dual-stack one.
            let peer = stage.open_from("[::ffff:192.0.2.1]:1");
            stage.handshake(peer, &format!("name {n}")).is_ok()
        });
        assert_eq!(joined.count(), if exempt { 100 } else { 1 });
        stage.now = stage.now.saturating_add(Duration::from_secs(200));
        let peer = stage.open_from("192.0.2.1:1");
        let again = stage.handshake(peer, "name 0").unwrap();
        assert_eq!(again.starts_with("NameRefused"), exempt, "{again}");
    }
}

/// F-01: a handshake that is refused costs as much as one that is not, and reading pauses in the end.
#[test]
fn f_01_a_refused_handshake_costs_its_sender() {
    // Handshakes run out first: what pauses reading are those that are refused.
    let attempts = Rate { per_second: 1, burst: 1 };
    let mut hall = Hall::new(ServerSettings { attempts, ..ServerSettings::DEFAULT });
    let peer = hall.stage.open_from("203.0.113.9:1");
    hall.stage.handshake(peer, "name").unwrap();
    for _ in 0..1000 {
        assert_eq!(hall.stage.handshake(peer, "ben"), Err(Violation::TooMany(Resource::Handshakes)));
    }
    let until = hall.stage.paused.iter().filter(|(who, _)| *who == peer).map(|(_, until)| *until).max();
    assert!(until.unwrap().saturating_duration_since(hall.stage.now) >= Duration::from_secs(90));
    hall.talk();
}

#[test]
fn d_16_garbage_of_every_kind_changes_nothing_for_others() {
    let settings = ServerSettings { max_violations: u32::MAX, ..ServerSettings::DEFAULT };
    let mut hall = Hall::new(settings);
    let mut rng = Rng::new(9);
    let mut packets: Vec<Vec<u8>> =
        vectors(include_str!("vectors/packets.txt")).into_iter().map(|vector| vector.bytes).collect();
    let session = hall.session();
    packets.push(encode(&state(session, "eve", EVE, &[Text::new("Trap")])));
    packets.push(say(session, EVE, Recipient::Player(BEN), b"x"));
    for bytes in packets {
        for cut in 0..=bytes.len() {
            let _ = hall.stage.feed(hall.eve, &bytes[..cut]);
        }
        let mut changed = bytes.clone();
        for at in 0..bytes.len() {
            for _ in 0..8 {
                changed[at] = rng.next() as u8;
                let _ = hall.stage.feed(hall.eve, &changed);
            }
            changed[at] = bytes[at];
        }
        let _ = hall.stage.feed(hall.eve, &[&bytes[..], &[0xa5; 2000]].concat());
        hall.stage.now = hall.stage.now.saturating_add(Duration::from_secs(60));
        hall.stage.sent(hall.ben);
        hall.talk();
    }
    let names: Vec<_> = hall.stage.server.clients().map(|(id, name, _)| (id, name.to_owned())).collect();
    assert!(names.contains(&(ANN, "ann".into())) && names.contains(&(BEN, "ben".into())));
    assert_eq!(hall.stage.server.rooms_of(BEN).collect::<Vec<_>>(), ["Lobby"]);
}

#[test]
fn d_16_outputs_are_bounded_and_what_does_not_fit_changes_nothing() {
    let limits = Limits { max_outbox: 20_000, ..ServerSettings::DEFAULT.limits };
    let mut hall = Hall::new(ServerSettings { limits, ..ServerSettings::DEFAULT });
    let (session, eve) = (hall.session(), hall.eve);
    // Nobody drains.
    let mut refused = 0;
    for n in 0..1000 {
        let delta = DeltaClientState { session, joined: n % 2 == 0, client: EVE, room: "Trap".into() };
        let before: Vec<String> = hall.stage.server.rooms_of(EVE).map(Into::into).collect();
        let bytes = encode(&Packet::DeltaClientState(delta));
        let input = Input::Frame { peer: eve, lane: Lane::Reliable, bytes: &bytes };
        if let Err(violation) = hall.stage.server.handle_input(hall.stage.now, input) {
            assert!(matches!(violation, Violation::OutboxFull(_)), "{violation}");
            refused += 1;
            assert_eq!(hall.stage.server.rooms_of(EVE).map(String::from).collect::<Vec<_>>(), before);
        }
    }
    assert!(refused > 500);
    hall.stage.drain();
    hall.stage.sent(hall.ben);
    hall.talk();
}

#[test]
fn d_16_a_hostile_server_or_peer_makes_a_client_neither_panic_nor_talk_without_end() {
    let mut rng = Rng::new(4);
    let mut client = Client::new("ann", ClientSettings::DEFAULT).unwrap();
    let server = join_client(&mut client, 0, 3);
    let direct = PeerId { slot: 9, generation: 0 };
    client
        .handle_input(
            Instant::ZERO,
            Input::Opened { peer: direct, via: voxwire_core::Via::Accepted, from: None },
        )
        .unwrap();
    let mut now = Instant::ZERO;
    let mut sent = 0;
    for _ in 0..20_000 {
        let mut bytes = kit::with_random(&mut rng, encode);
        if rng.chance(0.8) && bytes.len() >= 7 && bytes[2] != 4 {
            // Mostly of the session it is in.
            bytes[3..7].copy_from_slice(&client.session().to_be_bytes());
        }
        if rng.chance(0.2) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next() as u8;
        }
        let peer = if rng.chance(0.8) { server } else { direct };
        let lane = Lane::Reliable;
        let _ = client.handle_input(now, Input::Frame { peer, lane, bytes: &bytes });
        now = now.saturating_add(Duration::from_millis(rng.below(200)));
        for _ in 0..10_000 {
            if client.poll_timeout().is_none_or(|at| at > now) {
                break;
            }
            client.handle_timeout(now);
        }
        assert!(client.poll_timeout().is_none_or(|at| at > now), "timers fire for ever");
        sent += sent_by(&mut client).len();
        if client.state() == voxwire_dissonance::SessionState::Disconnected {
            let mut again = Client::new("ann", ClientSettings::DEFAULT).unwrap();
            join_client(&mut again, 0, 3);
            client = again;
        }
    }
    assert!(sent < 40_000, "{sent}");
}

impl Hall {
    /// Voice that Ben has been sent.
    fn heard_by_ben(&mut self) -> usize {
        self.stage.sent(self.ben).iter().filter(|sent| matches!(sent.packet(), Packet::VoiceData(_))).count()
    }

    /// Voice of Eve's under a sequence number.
    fn voice(&self, channels: &[Channel], sequence: u16) -> Vec<u8> {
        let mut voice = harness::voice(self.session(), EVE, channels, b"x");
        voice[10..12].copy_from_slice(&sequence.to_be_bytes());
        voice
    }
}

/// F-01: one frame over and over, its channel 64 times in it and its destination 64 times beside it.
#[test]
fn f_01_a_frame_reaches_a_listener_once_and_every_further_copy_costs_a_frame() {
    for (settings, reliable) in
        [(ServerSettings::DEFAULT, false), (ServerSettings::DEFAULT, true), (ServerSettings::ORIGINAL, true)]
    {
        let mut hall = Hall::new(settings);
        let wide = hall.voice(&[Channel::new(Recipient::Player(BEN)); 64], 7);
        let passed = (0..5000).filter(|_| hall.relay(&[BEN; 64], &wide, reliable).is_ok()).count();
        assert_eq!((passed, hall.heard_by_ben()), (120, 120));
        hall.talk();
    }
}

/// F-01: the sequence number is the sender's to choose, and so are the channels under it: each other packet is a frame.
#[test]
fn f_01_frames_cost_with_any_sequence_numbers_and_channels() {
    type Frame = fn(&Hall, u16) -> Vec<u8>;
    let sequences: Frame = |hall, n| hall.voice(&[Channel::new(Recipient::Player(BEN))], n);
    let channels: Frame = |hall, n| {
        let channels =
            [Channel::new(Recipient::Player(BEN)), Channel::new(Recipient::Room(room_id(&n.to_string())))];
        hall.voice(&channels, 7)
    };
    let alternating: Frame = |hall, n| hall.voice(&[Channel::new(Recipient::Player(BEN))], n % 3);
    for (frame, heard) in [(sequences, 120), (channels, 120), (alternating, 120)] {
        let mut hall = Hall::new(ServerSettings::DEFAULT);
        for n in 0..5000 {
            let frame = frame(&hall, n);
            let _ = hall.relay(&[BEN], &frame, n % 2 == 0);
        }
        assert_eq!(hall.heard_by_ben(), heard);
        hall.talk();
    }
}

/// F-01: what reaches nobody costs as well: nobody there, nobody addressed, too many channels, every client has had it.
#[test]
fn f_01_relays_that_reach_nobody_cost() {
    let all: Vec<ClientId> = (0..255).map(ClientId::new).collect();
    let absent: Vec<ClientId> = (500..700).map(ClientId::new).collect();
    let room = |name| Channel::new(Recipient::Room(room_id(name)));
    for (channels, to) in [
        (vec![room("Nowhere")], &all),
        (vec![room("Lobby")], &absent),
        (vec![Channel::new(Recipient::Player(BEN)); 65], &all),
    ] {
        let mut hall = Hall::new(ServerSettings::DEFAULT);
        let frame = hall.voice(&channels, 7);
        for _ in 0..1000 {
            let _ = hall.relay(to, &frame, false);
        }
        assert_eq!(hall.stage.server.stats().voice_over_budget, 880);
        assert_eq!(hall.heard_by_ben(), 0);
    }
}

/// F-01: the same text to one listener of a room of a hundred: each is one, and costs.
#[test]
fn f_01_f_02_the_same_text_again_is_another_one_however_many_listen() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    for n in 0..100 {
        let name = format!("listener {n}");
        let peer = hall.stage.join(&name);
        let client = hall.stage.server.client_of(peer).unwrap();
        hall.join(peer, client, "Lobby").unwrap();
    }
    hall.join(hall.eve, EVE, "Lobby").unwrap();
    let lobby = Recipient::Room(room_id("Lobby"));
    let text = TextData { session: hall.session(), sender: EVE, recipient: lobby, text: "spam".into() };
    let text = encode(&Packet::TextData(text));
    hall.stage.clear();
    let events = (0..1000).filter(|_| hall.relay(&[BEN], &text, true).unwrap().starts_with("Text")).count();
    assert_eq!(
        (events, hall.stage.server.stats().texts, hall.stage.sent(hall.ben).len()),
        (1000, 1000, 1000)
    );
    let pause = hall.stage.paused.iter().map(|(_, until)| *until).max().unwrap();
    assert!(pause.saturating_duration_since(hall.stage.now) >= Duration::from_secs(91), "{pause:?}");
    // One text in parts is one, for those in the room and for the others.
    hall.stage.now = pause;
    let all: Vec<ClientId> = (0..103).map(ClientId::new).collect();
    for destinations in [&all[..50], &all[50..]] {
        hall.relay(destinations, &text, true).unwrap();
    }
    assert_eq!((hall.stage.server.stats().texts, hall.stage.clear()), (1001, 102));
}

/// F-01, F-02: what was sent to nobody first, or long ago, is no part of anything: it costs, counts and is an event.
#[test]
fn f_01_f_02_a_text_that_reached_nobody_or_long_ago_is_another_one() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    let cat = hall.stage.join("cat");
    let client = hall.stage.server.client_of(cat).unwrap();
    hall.join(cat, client, "Lobby").unwrap();
    let lobby = Recipient::Room(room_id("Lobby"));
    let text = TextData { session: hall.session(), sender: EVE, recipient: lobby, text: "spam".into() };
    let (text, frame) = (encode(&Packet::TextData(text)), say(hall.session(), EVE, lobby, b"frame"));
    hall.stage
        .server
        .handle_command(hall.stage.now, ServerCommand::Watch { client: None, on: true })
        .unwrap();
    let before = hall.stage.server.stats();
    for (payload, reliable, name) in [(&text, true, "Text"), (&frame, false, "Voice")] {
        let wait = |hall: &mut Hall, ms| {
            hall.stage.now = hall.stage.now.saturating_add(Duration::from_millis(ms));
        };
        // Eve does not listen herself, and 500 is nobody.
        hall.relay(&[ClientId::new(500)], payload, reliable).unwrap();
        assert!(hall.relay(&[BEN], payload, reliable).unwrap().starts_with(name));
        wait(&mut hall, 2001);
        assert!(hall.relay(&[client], payload, reliable).unwrap().starts_with(name));
        wait(&mut hall, 2000);
        assert_eq!(hall.relay(&[BEN], payload, reliable).unwrap(), "", "a part");
    }
    let after = hall.stage.server.stats();
    assert_eq!((after.texts - before.texts, after.voice - before.voice), (3, 3));
}

/// F-01: a driver that does what it is told hands on no more than the rates say, and one attacker's texts stay far below what
/// may wait for a client that reads slowly. Datagrams are not read more slowly: they are refused meanwhile.
#[test]
fn f_01_a_minute_of_texts_is_four_kibibytes_a_second_for_a_victim() {
    for lane in [Lane::Reliable, Lane::Droppable] {
        let mut hall = Hall::new(ServerSettings::DEFAULT);
        let body = "x".repeat(900);
        let mut sent = 0;
        for n in 0..60_000_u32 {
            hall.stage.now = hall.stage.now.saturating_add(Duration::from_millis(1));
            let paused = hall.stage.paused.iter().any(|(_, until)| *until > hall.stage.now);
            if lane == Lane::Reliable && paused {
                continue;
            }
            let body = if n % 2 == 0 { &body[..] } else { "." };
            let recipient = Recipient::Player(BEN);
            let text = TextData { session: hall.session(), sender: EVE, recipient, text: body.into() };
            let payload = encode(&Packet::TextData(text));
            let relay = ServerRelay { session: hall.session(), destinations: &[BEN], payload: &payload };
            let bytes = encode(&Packet::ServerRelayReliable(relay));
            let input = Input::Frame { peer: hall.eve, lane, bytes: &bytes };
            let _ = hall.stage.server.handle_input(hall.stage.now, input);
            hall.stage.drain();
            sent += hall.stage.sent(hall.ben).iter().map(|sent| sent.bytes.len()).sum::<usize>();
        }
        assert!((100_000..16 * 1024 + 60 * 4096 + 1024).contains(&sent), "{lane:?}: {sent}");
        assert!(!hall.is_kicked());
    }
}

/// F-34: what was on its way under the number of before is no forgery.
#[test]
fn f_34_voice_in_flight_under_a_former_number_is_dropped_and_nobody_is_kicked() {
    let mut hall = Hall::new(ServerSettings { repeat_replaces: true, ..ServerSettings::DEFAULT });
    let voice = hall.voice(&[Channel::new(Recipient::Player(BEN))], 7);
    hall.stage.handshake(hall.eve, "eve").unwrap();
    for _ in 0..100 {
        assert_eq!(hall.relay(&[BEN], &voice, false), Err(Violation::FormerNumber(EVE)));
    }
    assert_eq!((hall.is_kicked(), hall.stage.server.stats().forged, hall.heard_by_ben()), (false, 0, 0));
    // Any other client's number is a forgery still.
    let lobby = Recipient::Room(room_id("Lobby"));
    let forged = say(hall.session(), ANN, lobby, b"forged");
    assert!(matches!(hall.relay(&[BEN], &forged, false), Err(Violation::Forged { .. })));
    hall.talk();
    // Nothing is on its way for a minute.
    hall.stage.now = hall.stage.now.saturating_add(Duration::from_secs(60));
    assert!(matches!(hall.relay(&[BEN], &voice, false), Err(Violation::Forged { .. })));
}

/// F-34: a violation every 59 seconds is forgiven like one every 60.
#[test]
fn f_34_one_violation_a_minute_is_forgiven_and_the_rest_of_a_minute_counts() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    for n in 0..200 {
        assert!(hall.stage.feed(hall.eve, b"garbage").is_err());
        assert!(!hall.is_kicked(), "after {n}");
        hall.stage.now = hall.stage.now.saturating_add(Duration::from_secs(59));
    }
    for _ in 0..16 {
        let _ = hall.stage.feed(hall.eve, b"garbage");
    }
    assert!(hall.is_kicked());
}

/// F-01: who has every client's state told again and again pays for its length.
#[test]
fn f_01_another_description_of_all_clients_costs_its_length() {
    let mut hall = Hall::new(ServerSettings::DEFAULT);
    for n in 0..400 {
        hall.stage.join(&format!("{n} {}", "x".repeat(200)));
    }
    hall.stage.clear();
    hall.stage.paused.clear();
    hall.stage.now = hall.stage.now.saturating_add(Duration::from_secs(10));
    // 400 of them take 92 KiB: five more for each handshake than its own.
    let mut told = 0;
    while hall.stage.paused.is_empty() {
        hall.stage.handshake(hall.eve, if told % 2 == 0 { "eva" } else { "eve" }).unwrap();
        told += 1;
    }
    assert_eq!(told, 80 / 6 + 1);
    // A newcomer is told every client for nothing.
    let ben = hall.stage.join("newcomer");
    assert!(hall.stage.paused.iter().all(|(peer, _)| *peer != ben));
}
