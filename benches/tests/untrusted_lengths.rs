//! V-06, V-12, O-11: what a length field claims is never allocated, and audio is borrowed where it is read and held once where
//! it is passed on. Measured in allocations and bytes of heap, of voicelink, opcode and syfala.

use voxwire_benches::alloc::{Counting, allocations, live_bytes};
use voxwire_core::{Framing as _, Input, Instant, Lane, Message, Output, PeerId, Session, Via};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The whole process counts, so this is the only test here.
#[test]
fn v_06_v_12_o_11_lengths_allocate_nothing_and_audio_is_held_once() {
    let before = allocations();
    drop(Vec::<u8>::with_capacity(1));
    assert_ne!(allocations(), before, "the counter counts");
    voicelink_lengths();
    opcode_lengths();
    syfala_lengths();
    voicelink_relays();
}

/// Allocations of `run`.
fn count(run: impl FnOnce()) -> u64 {
    let before = allocations();
    run();
    allocations() - before
}

/// Frames of a `len` as it is and as a liar would have it: every field of two, four and eight bytes is set to the most it can say.
fn lies(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut lies = vec![frame.to_vec()];
    for width in [1, 2, 4, 8] {
        for at in 0..frame.len().saturating_sub(width - 1) {
            for value in [0xff, 0x7f] {
                let mut lie = frame.to_vec();
                lie[at..at + width].fill(value);
                lies.push(lie);
            }
        }
    }
    (0..frame.len()).for_each(|cut| lies.push(frame[..cut].to_vec()));
    lies
}

/// What `session` holds more than before, after each of `frames` has come in from a new client.
fn held<S: Session>(session: &mut S, frames: &[Vec<u8>], mut now: Instant, peer: &mut u32) -> u64 {
    let mut round = |session: &mut S| {
        for bytes in frames {
            *peer += 1;
            now = now.saturating_add(std::time::Duration::from_secs(1));
            let peer = PeerId { slot: 5, generation: *peer };
            let from = Some(([10, 0, 0, 5], 5000).into());
            let _ = session.handle_input(now, Input::Opened { peer, via: Via::Accepted, from });
            let _ = session.handle_input(now, Input::Frame { peer, lane: Lane::Reliable, bytes });
            let _ = session.handle_input(now, Input::Closed { peer });
            while session.poll_timeout().is_some_and(|at| at <= now) {
                session.handle_timeout(now);
            }
            session.advance(usize::MAX);
        }
    };
    // Tables and buffers that are kept are made once.
    round(session);
    let before = live_bytes();
    round(session);
    live_bytes().saturating_sub(before)
}

fn voicelink_lengths() {
    use voxwire_voicelink::{ByteOrder, Handshake, Packet, Parameters, Server, ServerSettings, Wire};
    let call =
        Packet::Handshake(Handshake { parameters: Parameters::DEFAULT, user_name: b"bob", optional: b"x" });
    let counter = Packet::Parameters { parameters: Parameters::DEFAULT, optional: b"why" };
    let mut all = Vec::new();
    for order in [ByteOrder::BigEndian, ByteOrder::LittleEndian] {
        let wire = Wire::new(order);
        for packet in [&call, &counter, &Packet::Data(&[7; 40]), &Packet::Drop { optional: b"bye" }] {
            let mut frame = Vec::new();
            packet.encode(&wire, &mut frame).unwrap();
            for lie in lies(&frame) {
                let allocated = count(|| {
                    let _ = voxwire_voicelink::Framing::server(1 << 20).next_frame(&lie);
                    let _ = Packet::decode(&lie, &wire);
                });
                assert_eq!(allocated, 0, "{lie:02x?}");
                all.push(lie);
            }
        }
    }
    let mut server = Server::new(ServerSettings::DEFAULT, 1);
    let held = held(&mut server, &all, Instant::ZERO, &mut 0);
    assert!(held < 4096, "{held} bytes are held after {} lies", all.len());
}

fn opcode_lengths() {
    use voxwire_opcode::{CallRequest, Packet, Server, ServerSettings, Text, Wire};
    let names = [Text(b"ann"), Text(b"bob")];
    let request = CallRequest { contact: Text(b"bob"), host: Text(b"here"), port: 4001 };
    let packets = [
        Packet::Login { name: Text(b"carol") },
        Packet::AddContact { contacts: names[..].into() },
        Packet::CallRequest(request),
        Packet::VoiceData(&[7; 40]),
        Packet::ErrorResponse { what: Text(b"what") },
    ];
    let mut all = Vec::new();
    for packet in packets {
        let mut frame = Vec::new();
        packet.encode(&Wire::CLIENT, &mut frame).unwrap();
        for lie in lies(&frame) {
            let allocated = count(|| {
                let _ = Wire::SERVER.framing().next_frame(&lie);
                let _ = Packet::decode(&lie, &Wire::SERVER);
                let _ = Packet::decode(&lie, &Wire::CLIENT);
            });
            assert_eq!(allocated, 0, "{lie:02x?}");
            all.push(lie);
        }
    }
    let mut server =
        Server::new(ServerSettings { quarantine: std::time::Duration::ZERO, ..ServerSettings::DEFAULT }, 1);
    let held = held(&mut server, &all, Instant::ZERO, &mut 0);
    assert!(held < 4096, "{held} bytes are held after {} lies", all.len());
}

fn syfala_lengths() {
    use voxwire_syfala::{
        ClientMessage, Format, Formats, Network, Server, ServerCommand, ServerMessage, ServerSettings, Wire,
    };
    let streams = [Format::STANDARD; 2];
    let formats = Formats { inputs: streams[..].into(), outputs: streams[..].into() };
    let mut frame = Vec::new();
    ServerMessage::Connect(formats).encode(&Wire::DEFAULT, &mut frame).unwrap();
    let mut audio = vec![0; 17 + 8];
    (audio[0], audio[13]) = (6, 8);
    let mut all = Vec::new();
    for frame in [frame, audio, vec![0], vec![1], vec![4]] {
        for lie in lies(&frame) {
            let allocated = count(|| {
                let _ = ServerMessage::decode(&lie, &Wire::DEFAULT);
                let _ = ClientMessage::decode(&lie, &Wire::DEFAULT);
            });
            assert_eq!(allocated, 0, "{lie:02x?}");
            all.push(lie);
        }
    }
    let mut server = Server::new(&streams, &streams, ServerSettings::DEFAULT, 1).unwrap();
    let networks = [Network::new([10, 0, 0, 0].into(), 8).unwrap()];
    server.handle_command(Instant::ZERO, ServerCommand::Serve { networks: &networks }).unwrap();
    let held = held(&mut server, &all, Instant::ZERO, &mut 0);
    assert!(held < 4096, "{held} bytes are held after {} lies", all.len());
}

/// A large Data packet: its samples are those of the input, and the server holds one copy, which is the frame as it came.
fn voicelink_relays() {
    use voxwire_voicelink::{ByteOrder, Handshake, Packet, Parameters, Server, ServerSettings, Wire};
    let wire = Wire::new(ByteOrder::BigEndian);
    let encode = |packet: &Packet<'_>| {
        let mut frame = Vec::new();
        packet.encode(&wire, &mut frame).unwrap();
        frame
    };
    let mut server = Server::new(ServerSettings::DEFAULT, 1);
    let peers = [0, 1].map(|slot| PeerId { slot, generation: 0 });
    let say = |server: &mut Server, at: usize, bytes: &[u8]| {
        let input = Input::Frame { peer: peers[at], lane: Lane::Reliable, bytes };
        server.handle_input(Instant::ZERO, input).unwrap();
        server.advance(usize::MAX);
    };
    for (at, name) in [b"ann", b"bob"].into_iter().enumerate() {
        let opened = Input::Opened { peer: peers[at], via: Via::Accepted, from: None };
        server.handle_input(Instant::ZERO, opened).unwrap();
        let parameters = Parameters::DEFAULT;
        let handshake = Handshake { parameters, user_name: b"", optional: name };
        say(&mut server, at, &encode(&Packet::Handshake(handshake)));
    }
    let handshake = Handshake { parameters: Parameters::DEFAULT, user_name: b"bob", optional: b"" };
    say(&mut server, 0, &encode(&Packet::Handshake(handshake)));
    say(&mut server, 1, &encode(&Packet::Accept { optional: b"" }));
    let frame = encode(&Packet::Data(&vec![7; (1 << 20) - 6]));
    let Packet::Data(samples) = Packet::decode(&frame, &wire).unwrap() else { panic!() };
    assert!(frame.as_ptr_range().contains(&samples.as_ptr()), "borrowed");
    say(&mut server, 0, &frame);
    // Warm: the next one takes no memory at all, and is there once, as it came.
    let before = live_bytes();
    let input = Input::Frame { peer: peers[0], lane: Lane::Reliable, bytes: &frame };
    let allocated = count(|| drop(server.handle_input(Instant::ZERO, input)));
    assert_eq!((allocated, live_bytes()), (0, before));
    let sent: Vec<&[u8]> = server
        .outputs()
        .filter_map(|output| match output {
            Output::Send { to, frame, .. } if to == peers[1] => Some(frame),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [&frame[..]]);
}
