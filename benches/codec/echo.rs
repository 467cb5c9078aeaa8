//! echo: an answer, beside postcard.

use super::{into, over};
use criterion::Criterion;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use voxwire_benches::payloads;
use voxwire_core::Message;
use voxwire_echo::Packet;

/// What a packet says, for serde.
#[derive(Serialize, Deserialize)]
struct Echo<'a> {
    answer: bool,
    sequence: u32,
    #[serde(borrow, with = "serde_bytes")]
    payload: &'a [u8],
}

fn answer(payload: &[u8]) -> Packet<'_> {
    Packet { answer: true, sequence: 70_000, payload }
}

fn echo(payload: &[u8]) -> Echo<'_> {
    Echo { answer: true, sequence: 70_000, payload }
}

pub(crate) fn packets(criterion: &mut Criterion) {
    let payloads = payloads(160);
    let frames = |make: &dyn Fn(&[u8]) -> Vec<u8>| payloads.iter().map(|it| make(it)).collect::<Vec<_>>();

    let mut group = criterion.benchmark_group("codec/decode/echo/160");
    let ours = frames(&|payload| {
        let mut frame = Vec::new();
        answer(payload).encode(&(), &mut frame).unwrap();
        frame
    });
    over(&mut group, "voxwire", &ours, |frame| {
        black_box(Packet::decode(frame, &()).unwrap().payload);
    });
    over(&mut group, "postcard", &frames(&|it| postcard::to_stdvec(&echo(it)).unwrap()), |frame| {
        black_box(postcard::from_bytes::<Echo<'_>>(frame).unwrap().payload);
    });
    group.finish();

    let mut group = criterion.benchmark_group("codec/encode/echo/160");
    into(&mut group, "voxwire", &payloads, |payload, out| {
        answer(payload).encode(&(), out).unwrap();
    });
    into(&mut group, "postcard", &payloads, |payload, out| {
        out.resize(256, 0);
        let len = postcard::to_slice(&echo(payload), out).unwrap().len();
        out.truncate(len);
    });
    group.finish();
}
