//! G-C3: an Audio message's head, beside postcard with the types that the reference has.

use super::{into, over};
use criterion::{Criterion, Throughput};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use voxwire_benches::payloads;
use voxwire_core::Message;
use voxwire_syfala::{AUDIO_HEAD_LEN, Audio, ClientMessage, Wire, voice};

/// A client's messages as the reference hands them to postcard.
#[derive(Serialize, Deserialize)]
enum Flat {
    Discovery,
    ConnectionSuccess,
    ConnectionFailed,
    ConnectionRefused,
    StartIo,
    StopIo,
    Audio(Head),
    Disconnect,
    Heartbeat,
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(with = "postcard::fixint::le")]
    stream: u32,
    #[serde(with = "postcard::fixint::le")]
    byte_index: u64,
    #[serde(with = "postcard::fixint::le")]
    n_bytes: u32,
}

fn message(payload: &[u8]) -> ClientMessage<'_> {
    // Another index for each.
    ClientMessage::Audio(Audio::new(3, u64::from(payload[0]) << 20, payload))
}

fn flat(payload: &[u8]) -> Flat {
    Flat::Audio(Head { stream: 3, byte_index: u64::from(payload[0]) << 20, n_bytes: payload.len() as u32 })
}

pub(crate) fn audio(criterion: &mut Criterion) {
    let wire = Wire::DEFAULT;
    // 32 frames of two channels, and as much as fits.
    for size in [256, 1400] {
        let payloads = payloads(size);
        let frame = |payload: &Vec<u8>| {
            let (mut ours, mut theirs) = (Vec::new(), postcard::to_stdvec(&flat(payload)).unwrap());
            message(payload).encode(&wire, &mut ours).unwrap();
            theirs.extend_from_slice(payload);
            assert_eq!(ours, theirs);
            ours
        };
        let frames: Vec<_> = payloads.iter().map(frame).collect();
        let mut group = criterion.benchmark_group(format!("codec/decode/syfala/audio/{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        over(&mut group, "voxwire", &frames, |frame| {
            let Ok(ClientMessage::Audio(audio)) = ClientMessage::decode(frame, black_box(&wire)) else {
                panic!()
            };
            black_box((audio.stream, audio.byte_index, audio.n_bytes, audio.payload));
        });
        over(&mut group, "postcard", &frames, |frame| {
            let Ok((Flat::Audio(head), payload)) = postcard::take_from_bytes::<Flat>(frame) else { panic!() };
            black_box((head.stream, head.byte_index, head.n_bytes, payload));
        });
        group.finish();
        let mut group = criterion.benchmark_group(format!("codec/encode/syfala/audio/{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        into(&mut group, "voxwire", &payloads, |payload, out| {
            black_box(message(payload).encode(black_box(&wire), out).unwrap());
        });
        into(&mut group, "memcpy", &payloads, |payload, out| out.extend_from_slice(payload));
        into(&mut group, "postcard", &payloads, |payload, out| {
            // Its writer for a reused buffer is a slice.
            out.resize(32, 0);
            let len = postcard::to_slice(&flat(payload), out).unwrap().len();
            out.truncate(len);
            out.extend_from_slice(payload);
        });
        group.finish();
        // The head alone, in place: what G-C3 is about.
        let mut group = criterion.benchmark_group(format!("codec/encode/syfala/head/{size}"));
        let mut place = [0; 32];
        over(&mut group, "voxwire", &payloads, |payload| {
            let at = u64::from(payload[0]) << 20;
            let head = voice::head(voice::Sender::Client, 3, at, payload.len() as u32);
            place[..AUDIO_HEAD_LEN].copy_from_slice(&head);
            black_box(&place);
        });
        over(&mut group, "postcard", &payloads, |payload| {
            black_box(postcard::to_slice(&flat(payload), &mut place).unwrap());
        });
        group.finish();
    }
}
