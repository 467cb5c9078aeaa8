//! C-11: decoding and encoding an answer beside postcard, in one run: `cargo bench -p voxwire-echo`.
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use voxwire_core::Message;
use voxwire_echo::Packet;

/// What a packet says, for serde.
#[derive(Serialize, Deserialize)]
struct Peer<'a> {
    answer: bool,
    sequence: u32,
    time: u64,
    payload: &'a [u8],
}

fn codec(criterion: &mut Criterion) {
    for size in [32, 1000] {
        let payload = vec![7; size];
        let packet =
            Packet { answer: true, sequence: 70_000, time: 1_700_000_000_000_000_000, payload: &payload };
        let Packet { answer, sequence, time, .. } = packet;
        let peer = Peer { answer, sequence, time, payload: &payload };
        let mut frame = Vec::new();
        packet.encode(&(), &mut frame).unwrap();
        let peers = postcard::to_stdvec(&peer).unwrap();

        let mut group = criterion.benchmark_group("codec/decode/echo");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("voxwire", size), |bencher| {
            bencher.iter(|| black_box(Packet::decode(black_box(&frame), &()).unwrap().payload));
        });
        group.bench_function(BenchmarkId::new("postcard", size), |bencher| {
            bencher.iter(|| black_box(postcard::from_bytes::<Peer<'_>>(black_box(&peers)).unwrap().payload));
        });
        group.finish();

        let (mut out, mut buffer) = (Vec::with_capacity(2048), [0; 2048]);
        let mut group = criterion.benchmark_group("codec/encode/echo");
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("voxwire", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&packet).encode(&(), &mut out).unwrap();
                black_box(&out);
            });
        });
        group.bench_function(BenchmarkId::new("postcard", size), |bencher| {
            bencher.iter(|| {
                black_box(postcard::to_slice(black_box(&peer), &mut buffer).unwrap());
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
