//! A full packet through a session: in, and out again to its addressee.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use voxwire_benches::{UNLIMITED, encoded, hall, line, payloads, room, studio, talking};
use voxwire_core::{Input, Instant, Lane, Session};
use voxwire_voicelink::{ByteOrder, Packet};

fn relay(criterion: &mut Criterion) {
    let (be, le) = (ByteOrder::BigEndian, ByteOrder::LittleEndian);
    let mut group = criterion.benchmark_group("session/voicelink/data/320");
    for (name, calls, orders) in
        [("1 call", 1, [be, be]), ("1 call, orders translated", 1, [be, le]), ("5000 calls", 5000, [be, be])]
    {
        let (mut server, peers) = talking(calls, orders);
        let payloads = payloads(320);
        let frames: Vec<_> = orders
            .iter()
            .map(|&order| {
                payloads.iter().map(|payload| encoded(&Packet::Data(payload), order)).collect::<Vec<_>>()
            })
            .collect();
        let mut at = 0_usize;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = at.wrapping_add(7919);
                let peer = peers[at % peers.len()];
                let bytes = &frames[peer.slot as usize % 2][at % 64];
                let input = Input::Frame { peer, lane: Lane::Reliable, bytes };
                black_box(server.handle_input(Instant::ZERO, input).is_ok());
                let done = server.outputs().map(black_box).count();
                server.advance(done);
            });
        });
    }
    group.finish();
}

/// G-S1: voice to a room, over 100 000 sessions in rooms of ten; and to rooms of other sizes.
fn dissonance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session/dissonance/relay/80");
    for (name, halls, clients, per_room) in [
        ("1 listener", 1, 2, 2),
        ("10 listeners", 1, 11, 11),
        ("50 listeners", 1, 51, 51),
        ("9 listeners, 100000 sessions", 100, 1000, 10),
    ] {
        let payloads = payloads(80);
        let mut halls: Vec<_> = (0..halls)
            .map(|_| {
                let (server, peers) = hall::hall(clients, per_room);
                let frames: Vec<Vec<u8>> = (0..clients.min(1000))
                    .map(|n| hall::voice(server.session(), n, per_room, &payloads[n % 64]))
                    .collect();
                (server, peers, frames)
            })
            .collect();
        let (mut at, count) = (0_usize, halls.len());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = at.wrapping_add(7919);
                let (server, peers, frames) = &mut halls[at % count];
                let speaker = (at / count) % peers.len();
                let bytes = &frames[speaker];
                let input = Input::Frame { peer: peers[speaker], lane: Lane::Droppable, bytes };
                black_box(server.handle_input(Instant::ZERO, input).is_ok());
                let done = server.outputs().map(black_box).count();
                server.advance(done);
            });
        });
    }
    group.finish();
}

/// A carried call's packet, from one side to the other.
fn opcode(criterion: &mut Criterion) {
    let (mut server, sides) = line::carried(UNLIMITED);
    let frames: Vec<_> = payloads(250)
        .iter()
        .map(|payload| line::encoded(&voxwire_opcode::Packet::VoiceData(payload)))
        .collect();
    let mut at = 0_usize;
    criterion.bench_function("session/opcode/relay/250", |bencher| {
        bencher.iter(|| {
            at = at.wrapping_add(1);
            let (peer, bytes) = (sides[at % 2], &frames[at % 64]);
            let input = Input::Frame { peer, lane: Lane::Reliable, bytes };
            black_box(server.handle_input(Instant::ZERO, input).is_ok());
            let done = server.outputs().map(black_box).count();
            server.advance(done);
        });
    });
}

/// 32 frames of two channels, to a client and from one.
fn syfala(criterion: &mut Criterion) {
    use voxwire_syfala::{Audio, ClientMessage, Format, ServerCommand};
    let mut server = studio::server(&[Format::STANDARD]);
    let payloads = payloads(256);
    let frames: Vec<_> = payloads
        .iter()
        .zip(0..)
        .map(|(p, n)| studio::encoded(&ClientMessage::Audio(Audio::new(0, n * 256, p))))
        .collect();
    let mut at = 0_usize;
    criterion.bench_function("session/syfala/hear/256", |bencher| {
        bencher.iter(|| {
            at = at.wrapping_add(1);
            let input = Input::Frame { peer: studio::PEER, lane: Lane::Droppable, bytes: &frames[at % 64] };
            black_box(server.handle_input(Instant::ZERO, input).is_ok());
        });
    });
    criterion.bench_function("session/syfala/play/256", |bencher| {
        bencher.iter(|| {
            at = at.wrapping_add(1);
            let samples = &payloads[at % 64];
            let command = ServerCommand::Play { client: studio::PEER, stream: 0, samples };
            black_box(server.handle_command(Instant::ZERO, command).is_ok());
            let done = server.outputs().map(black_box).count();
            server.advance(done);
        });
    });
}

/// A tenth of a second, and as much as the originals send at a time, to the others in a call.
fn msgpack(criterion: &mut Criterion) {
    for samples in [882, 41_900] {
        let mut group = criterion.benchmark_group(format!("session/msgpack/relay/{samples}"));
        for others in [1, 10, 50] {
            let (mut server, peers) = room::room(others + 1);
            let blocks = room::blocks(samples, 3000, false);
            let frames: Vec<Vec<u8>> = blocks
                .iter()
                .enumerate()
                .map(|(n, block)| {
                    let (name, token) = room::user(n as u32 % (others + 1));
                    room::encoded(&room::call_data(&name, &token, block))
                })
                .collect();
            let mut at = 0_usize;
            group.bench_function(format!("{others} listeners"), |bencher| {
                bencher.iter(|| {
                    at = (at + 1) % 64;
                    let peer = peers[at % peers.len()];
                    assert_eq!(room::relay(&mut server, peer, &frames[at]), others as usize);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(session, relay, dissonance, opcode, msgpack, syfala);
criterion_main!(session);
