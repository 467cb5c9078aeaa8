//! The operations that voice goes through most: each is what a program does once for a packet.

use crate::{UNLIMITED, encoded, hall, line, payloads, room, rotate, studio, talking};
use core::hint::black_box;
use voxwire_core::{Input, Instant, Lane, Message, PeerId, Session};
use voxwire_voicelink::{ByteOrder, Packet};

/// Packets of one measurement.
pub const PACKETS: u32 = 640;

/// An operation and its name.
pub type Operation = (&'static str, fn() -> Box<dyn FnMut()>);

/// All of them, in the order of the table.
pub const OPERATIONS: [Operation; 15] = [
    ("decode voicelink Data, 60 B", decode_voicelink),
    ("encode voicelink Data, 60 B", encode_voicelink),
    ("decode Dissonance voice, 60 B", decode_dissonance),
    ("encode Dissonance voice, 60 B", encode_dissonance),
    ("decode syfala Audio, 256 B", decode_syfala),
    ("check msgpack call_data, 960 samples", check_msgpack),
    ("decode msgpack call_data, 960 samples", decode_msgpack),
    ("encode msgpack call_data, 960 samples", encode_msgpack),
    ("relay voicelink Data in the session, 320 B", relay_voicelink),
    ("relay Dissonance voice in the session to 1, 80 B", || relay_dissonance(2)),
    ("relay Dissonance voice in the session to 9, 80 B", || relay_dissonance(10)),
    ("relay Dissonance voice in the session to 50, 80 B", || relay_dissonance(51)),
    ("relay opcode VoiceData in the session, 250 B", relay_opcode),
    ("receive syfala audio in the session, 256 B", receive_syfala),
    ("play syfala audio in the session, 256 B", play_syfala),
];

/// Runs an operation for `PACKETS` packets. The gate counts the instructions within this function alone.
#[inline(never)]
pub fn measured(operation: &mut dyn FnMut()) {
    for _ in 0..PACKETS {
        operation();
    }
}

/// Rotating items for an operation that owns them.
fn next<T: 'static>(items: Vec<T>) -> impl FnMut() -> &'static T {
    // As long as the program runs.
    rotate(items.leak())
}

fn decode_voicelink() -> Box<dyn FnMut()> {
    let frame = |payload: &Vec<u8>| encoded(&Packet::Data(payload), ByteOrder::BigEndian);
    let mut next = next(payloads(60).iter().map(frame).collect());
    let wire = voxwire_voicelink::Wire::default();
    Box::new(move || {
        let Ok(Packet::Data(data)) = Packet::decode(black_box(next()), black_box(&wire)) else { panic!() };
        black_box(data);
    })
}

fn encode_voicelink() -> Box<dyn FnMut()> {
    let (mut next, mut out) = (next(payloads(60)), Vec::with_capacity(8192));
    let wire = voxwire_voicelink::Wire::default();
    Box::new(move || {
        out.clear();
        Packet::Data(black_box(next())).encode(black_box(&wire), &mut out).unwrap();
        black_box(out.as_slice());
    })
}

fn voice(frame: &[u8]) -> voxwire_dissonance::Packet<'_> {
    use voxwire_dissonance::{Channel, ClientId, Options, Packet, Profile, VoiceData};
    const CHANNELS: [Channel; 1] = [Channel::from_bits(0x8001, 29_976)];
    let options = Options::new(3, Profile::Later);
    let sender = ClientId::new(7);
    Packet::VoiceData(VoiceData { session: 77, sender, options, sequence: 9, channels: &CHANNELS, frame })
}

fn decode_dissonance() -> Box<dyn FnMut()> {
    use voxwire_dissonance::Packet;
    let mut next = next(payloads(60).iter().map(|payload| hall::encoded(&voice(payload))).collect());
    Box::new(move || {
        let Ok(Packet::VoiceData(voice)) = Packet::decode(black_box(next()), black_box(&hall::WIRE)) else {
            panic!()
        };
        black_box((voice.frame, voice.channels));
    })
}

fn encode_dissonance() -> Box<dyn FnMut()> {
    let (mut next, mut out) = (next(payloads(60)), Vec::with_capacity(8192));
    Box::new(move || {
        out.clear();
        voice(black_box(next())).encode(black_box(&hall::WIRE), &mut out).unwrap();
        black_box(out.as_slice());
    })
}

fn decode_syfala() -> Box<dyn FnMut()> {
    use voxwire_syfala::{Audio, ClientMessage, Wire};
    let frame = |payload: &Vec<u8>| {
        studio::encoded(&ClientMessage::Audio(Audio::new(3, u64::from(payload[0]) << 20, payload)))
    };
    let mut next = next(payloads(256).iter().map(frame).collect());
    Box::new(move || {
        let decoded = ClientMessage::decode(black_box(next()), black_box(&Wire::DEFAULT));
        let Ok(ClientMessage::Audio(audio)) = decoded else { panic!() };
        black_box((audio.stream, audio.byte_index, audio.n_bytes, audio.payload));
    })
}

/// Samples of a normal voice: numbers of one to three bytes, mostly three.
fn normal() -> Vec<Vec<i16>> {
    room::blocks(960, 3000, false)
}

fn call_data() -> impl FnMut() -> &'static Vec<u8> {
    let (_, token) = room::user(0);
    next(normal().iter().map(|block| room::encoded(&room::call_data("user0", &token, block))).collect())
}

fn check_msgpack() -> Box<dyn FnMut()> {
    use voxwire_msgpack::{ClientMessage, Wire};
    let mut next = call_data();
    Box::new(move || {
        let decoded = ClientMessage::decode(black_box(next()), black_box(&Wire::SERVER));
        let Ok(ClientMessage::CallData { samples, .. }) = decoded else { panic!() };
        black_box(samples.len());
    })
}

fn decode_msgpack() -> Box<dyn FnMut()> {
    use voxwire_msgpack::{ClientMessage, Wire};
    let (mut next, mut converted) = (call_data(), vec![0; 960]);
    Box::new(move || {
        let decoded = ClientMessage::decode(black_box(next()), black_box(&Wire::SERVER));
        let Ok(ClientMessage::CallData { samples, .. }) = decoded else { panic!() };
        samples.copy_to_i16(&mut converted);
        black_box(&converted);
    })
}

fn encode_msgpack() -> Box<dyn FnMut()> {
    use voxwire_msgpack::Wire;
    let (mut next, mut out, (_, token)) = (next(normal()), Vec::with_capacity(8192), room::user(0));
    Box::new(move || {
        out.clear();
        room::call_data("user0", &token, black_box(next()))
            .encode(black_box(&Wire::SERVER), &mut out)
            .unwrap();
        black_box(out.as_slice());
    })
}

/// A packet into a session, and what follows out of it.
fn relay<S: Session>(server: &mut S, peer: PeerId, lane: Lane, bytes: &[u8]) {
    let input = Input::Frame { peer, lane, bytes };
    assert!(server.handle_input(Instant::ZERO, black_box(input)).is_ok());
    let done = server.outputs().map(black_box).count();
    server.advance(done);
}

fn relay_voicelink() -> Box<dyn FnMut()> {
    let (mut server, peers) = talking(1, [ByteOrder::BigEndian; 2]);
    let frame = |payload: &Vec<u8>| encoded(&Packet::Data(payload), ByteOrder::BigEndian);
    let mut next = next(payloads(320).iter().map(frame).collect());
    let mut turn = 0;
    Box::new(move || {
        turn ^= 1;
        relay(&mut server, peers[turn], Lane::Reliable, next());
    })
}

/// Each of `clients` in one room speaks in turn, with a payload that is never the one of its last frame.
fn relay_dissonance(clients: usize) -> Box<dyn FnMut()> {
    let (mut server, peers) = hall::hall(clients, clients);
    let payloads = payloads(80);
    let frames: Vec<(PeerId, Vec<u8>)> = (0..64)
        .map(|n| (peers[n % clients], hall::voice(server.session(), n % clients, clients, &payloads[n])))
        .collect();
    let mut next = next(frames);
    Box::new(move || {
        let (peer, frame) = next();
        relay(&mut server, *peer, Lane::Droppable, frame);
    })
}

fn relay_opcode() -> Box<dyn FnMut()> {
    let (mut server, sides) = line::carried(UNLIMITED);
    let frame = |payload: &Vec<u8>| line::encoded(&voxwire_opcode::Packet::VoiceData(payload));
    let mut next = next(payloads(250).iter().map(frame).collect());
    let mut turn = 0;
    Box::new(move || {
        turn ^= 1;
        relay(&mut server, sides[turn], Lane::Reliable, next());
    })
}

fn receive_syfala() -> Box<dyn FnMut()> {
    use voxwire_syfala::{Audio, ClientMessage, Format};
    let mut server = studio::server(&[Format::STANDARD]);
    let audio = |(payload, n): (&Vec<u8>, u64)| {
        studio::encoded(&ClientMessage::Audio(Audio::new(0, n * 256, payload)))
    };
    let mut next = next(payloads(256).iter().zip(0..).map(audio).collect());
    Box::new(move || {
        let input = Input::Frame { peer: studio::PEER, lane: Lane::Droppable, bytes: black_box(next()) };
        assert!(server.handle_input(Instant::ZERO, input).is_ok());
    })
}

fn play_syfala() -> Box<dyn FnMut()> {
    use voxwire_syfala::{Format, ServerCommand};
    let mut server = studio::server(&[Format::STANDARD]);
    let mut next = next(payloads(256));
    Box::new(move || {
        let command = ServerCommand::Play { client: studio::PEER, stream: 0, samples: black_box(next()) };
        assert!(server.handle_command(Instant::ZERO, command).is_ok());
        let done = server.outputs().map(black_box).count();
        server.advance(done);
    })
}
