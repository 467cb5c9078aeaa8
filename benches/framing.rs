//! Cutting a stream into packets, in pieces of several sizes.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use voxwire_benches::{encoded, payloads};
use voxwire_core::{Cut, FrameBuf};
use voxwire_voicelink::{ByteOrder, Framing, Packet};

fn stream(criterion: &mut Criterion) {
    let stream: Vec<u8> = payloads(320)
        .iter()
        .flat_map(|payload| encoded(&Packet::Data(payload), ByteOrder::BigEndian))
        .collect();
    let mut group = criterion.benchmark_group("framing/voicelink/64x320");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    for (name, piece) in [("one piece", stream.len()), ("1400", 1400), ("byte by byte", 1)] {
        let mut buffer = FrameBuf::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (mut framing, mut frames) = (Framing::server(1 << 20), 0);
                for piece in stream.chunks(piece) {
                    buffer.spare(piece.len())[..piece.len()].copy_from_slice(piece);
                    buffer.filled(piece.len());
                    while let Ok(Cut::Frame(range)) = buffer.next_frame(&mut framing) {
                        black_box(buffer.frame(range));
                        frames += 1;
                    }
                }
                assert_eq!(frames, 64);
            });
        });
    }
    group.finish();
}

criterion_group!(framing, stream);
criterion_main!(framing);
