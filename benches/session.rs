//! A full packet through a session: in, and out again to its addressee.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use voxwire_benches::{encoded, payloads, talking};
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

criterion_group!(session, relay);
criterion_main!(session);
