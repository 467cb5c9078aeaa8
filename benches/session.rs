//! A full packet through a session: in, and out again to its addressee.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use voxwire_benches::{UNLIMITED, encoded, hall, line, payloads, room, studio, talking};
use voxwire_core::testing::Rng;
use voxwire_core::{Clock, Input, Instant, Lane, PeerId, Session};
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

/// Voice to rooms of one size, whose packets stay in the cache.
fn dissonance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session/dissonance/relay/80");
    for (name, clients) in [("1 listener", 2), ("10 listeners", 11), ("50 listeners", 51)] {
        let payloads = payloads(80);
        let (mut server, peers) = hall::hall(clients, clients);
        let frames: Vec<Vec<u8>> =
            (0..clients).map(|n| hall::voice(server.session(), n, clients, &payloads[n % 64])).collect();
        let mut at = 0_usize;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = at.wrapping_add(7919);
                let speaker = at % peers.len();
                let input =
                    Input::Frame { peer: peers[speaker], lane: Lane::Droppable, bytes: &frames[speaker] };
                black_box(server.handle_input(Instant::ZERO, input).is_ok());
                let done = server.outputs().map(black_box).count();
                server.advance(done);
            });
        });
    }
    group.finish();
}

/// G-S1: 100 000 clients in 100 sessions, each in a room of ten whose members are scattered over the session. Speakers take turns at
/// random. A driver reads datagrams in batches, so the packets are in the cache and the clients are not.
fn dissonance_100k(criterion: &mut Criterion) {
    const SESSIONS: u64 = 100;
    const CLIENTS: usize = 1000;
    const ROOM: usize = 10;
    const BATCH: usize = 64;
    let mut rng = Rng::new(1);
    let mut halls: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let mut members: Vec<usize> = (0..CLIENTS).collect();
            (1..CLIENTS).for_each(|n| members.swap(n, rng.below(n as u64 + 1) as usize));
            let mut rooms = vec![0; CLIENTS];
            members.iter().enumerate().for_each(|(at, &n)| rooms[n] = at / ROOM);
            let (server, peers) = hall::hall_of(&rooms);
            (server, peers, members)
        })
        .collect();
    let payloads = payloads(80);
    let (clock, mut sequence) = (Clock::start(), 0_u16);
    let mut group = criterion.benchmark_group("session/dissonance_100k");
    group.bench_function("9 listeners", |bencher| {
        bencher.iter_custom(|packets| {
            let mut passed = Duration::ZERO;
            for _ in 0..packets.div_ceil(BATCH as u64) {
                let (server, peers, members) = &mut halls[rng.below(SESSIONS) as usize];
                let batch: Vec<(PeerId, Vec<u8>)> = (0..BATCH)
                    .map(|n| {
                        sequence = sequence.wrapping_add(1);
                        let at = rng.below(CLIENTS as u64) as usize;
                        let (first, speaker) = (at / ROOM * ROOM, members[at]);
                        let others: Vec<usize> =
                            members[first..first + ROOM].iter().copied().filter(|&n| n != speaker).collect();
                        let session = server.session();
                        let payload = &payloads[n];
                        let bytes =
                            hall::voice_to(session, speaker, first / ROOM, &others, sequence, payload);
                        (peers[speaker], bytes)
                    })
                    .collect();
                let start = clock.now();
                for (peer, bytes) in &batch {
                    let input = Input::Frame { peer: *peer, lane: Lane::Droppable, bytes };
                    assert!(server.handle_input(Instant::ZERO, input).is_ok());
                    let done = server.outputs().map(black_box).count();
                    assert_eq!(done, ROOM - 1);
                    server.advance(done);
                }
                passed += clock.now().saturating_duration_since(start);
            }
            passed.mul_f64(packets as f64 / packets.next_multiple_of(BATCH as u64) as f64)
        });
    });
    // What the memory alone takes: a walk over a table of 100 000 cache lines.
    let table: Vec<[u64; 8]> = vec![[1; 8]; SESSIONS as usize * CLIENTS];
    group.bench_function("10 cache lines of 100000", |bencher| {
        bencher.iter_custom(|packets| {
            let mut passed = Duration::ZERO;
            for _ in 0..packets.div_ceil(BATCH as u64) {
                let batch: Vec<[usize; ROOM]> = (0..BATCH)
                    .map(|_| std::array::from_fn(|_| rng.below(table.len() as u64) as usize))
                    .collect();
                let start = clock.now();
                for lines in &batch {
                    black_box(lines.iter().map(|&at| table[at][0]).sum::<u64>());
                }
                passed += clock.now().saturating_duration_since(start);
            }
            passed.mul_f64(packets as f64 / packets.next_multiple_of(BATCH as u64) as f64)
        });
    });
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

criterion_group!(session, relay, dissonance, dissonance_100k, opcode, msgpack, syfala);
criterion_main!(session);
