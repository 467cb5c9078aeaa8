//! Fixtures that the benchmarks and the allocation test share.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "not published")]

pub mod alloc;
pub mod hall;
pub mod hot;
pub mod line;
pub mod room;
pub mod studio;

use voxwire_core::testing::Rng;
use voxwire_core::{Input, Instant, Lane, Message, PeerId, Rate, Session, Via};
use voxwire_voicelink::{ByteOrder, Handshake, Packet, Parameters, Server, ServerSettings, Wire};

/// Different payloads of one size, to rotate through: one repeated frame flatters a branch predictor.
pub fn payloads(size: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::new(size as u64);
    (0..64)
        .map(|_| {
            let mut bytes = vec![0; size];
            rng.fill(&mut bytes);
            bytes
        })
        .collect()
}

/// Endless rotation through the first 64 items of a slice.
pub fn rotate<'a, T>(items: &'a [T]) -> impl FnMut() -> &'a T {
    let items: &[T; 64] = items.first_chunk().unwrap();
    let mut at = 0_usize;
    move || {
        at = at.wrapping_add(1);
        &items[at % 64]
    }
}

pub fn encoded(packet: &Packet<'_>, order: ByteOrder) -> Vec<u8> {
    let mut frame = Vec::new();
    packet.encode(&Wire::new(order), &mut frame).unwrap();
    frame
}

/// Nothing is ever paused.
pub const UNLIMITED: Rate = Rate { per_second: 1_000_000_000, burst: 1_000_000_000 };

pub fn settings() -> ServerSettings {
    ServerSettings {
        voice: UNLIMITED,
        control: UNLIMITED,
        rings: UNLIMITED,
        attempts: UNLIMITED,
        ..ServerSettings::DEFAULT
    }
}

/// A server with `calls` calls that are up: callers are peers 0, 2, 4.., callees 1, 3, 5... `orders` are those of the
/// heads of callers and callees, and of their samples.
pub fn talking(calls: u32, orders: [ByteOrder; 2]) -> (Server, Vec<PeerId>) {
    let mut server = Server::new(settings(), 1);
    let peers: Vec<PeerId> = (0..calls * 2).map(|slot| PeerId { slot, generation: 0 }).collect();
    let parameters = Parameters::DEFAULT;
    for &peer in &peers {
        let opened = Input::Opened { peer, via: Via::Accepted, from: None };
        server.handle_input(Instant::ZERO, opened).unwrap();
    }
    let mut send = |peer: PeerId, packet: &Packet<'_>| {
        let frame = encoded(packet, orders[peer.slot as usize % 2]);
        let input = Input::Frame { peer, lane: Lane::Reliable, bytes: &frame };
        server.handle_input(Instant::ZERO, input).unwrap();
        server.advance(usize::MAX);
    };
    for &peer in &peers {
        let optional = format!("{}\0\0{}", peer.slot, orders[peer.slot as usize % 2].tag());
        send(
            peer,
            &Packet::Handshake(Handshake { parameters, user_name: b"", optional: optional.as_bytes() }),
        );
    }
    for pair in peers.chunks(2) {
        let user = pair[1].slot.to_string();
        send(
            pair[0],
            &Packet::Handshake(Handshake { parameters, user_name: user.as_bytes(), optional: b"" }),
        );
        send(pair[1], &Packet::Accept { optional: b"" });
    }
    (server, peers)
}
