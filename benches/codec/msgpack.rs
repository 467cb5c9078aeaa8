//! G-C4, G-C5, G-C6, G-C7: whole `call_data` messages, beside those who speak MessagePack.

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use voxwire_benches::room::{AMPLITUDES, blocks, call_data, encoded, user};
use voxwire_benches::rotate;
use voxwire_core::Message;
use voxwire_msgpack::{ClientMessage, SampleKind, Samples, Wire};

/// The same message for serde: six objects, which peers put into one array.
#[derive(Serialize, Deserialize)]
struct Data<'a, T> {
    kind: &'a str,
    action: &'a str,
    username: &'a str,
    token: &'a str,
    group_name: &'a str,
    samples: Vec<T>,
}

#[derive(zerompk::ToMessagePack, zerompk::FromMessagePack)]
#[msgpack(array)]
struct ZeroInts<'a> {
    kind: &'a str,
    action: &'a str,
    username: &'a str,
    token: &'a str,
    group_name: &'a str,
    samples: Vec<i16>,
}

#[derive(zerompk::ToMessagePack, zerompk::FromMessagePack)]
#[msgpack(array)]
struct ZeroFloats<'a> {
    kind: &'a str,
    action: &'a str,
    username: &'a str,
    token: &'a str,
    group_name: &'a str,
    samples: Vec<f32>,
}

const NAMES: [&str; 2] = ["update", "call_data"];

fn data<'a, T: Clone>(token: &'a str, samples: &[T]) -> Data<'a, T> {
    let [kind, action] = NAMES;
    // The clone is the caller's in either case: it stands outside of what is timed.
    Data { kind, action, username: "user0", token, group_name: "room", samples: samples.to_vec() }
}

pub(crate) fn calls(criterion: &mut Criterion) {
    for len in [20, 160, 960, 41_900] {
        for (name, peak, mixed) in AMPLITUDES {
            ints(criterion, len, name, &blocks(len, peak, mixed));
        }
        floats(criterion, len);
    }
}

fn group<'c>(
    criterion: &'c mut Criterion,
    what: &str,
    kind: &str,
    len: usize,
    name: &str,
) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(format!("codec/{what}/msgpack/call_data/{kind}/{len}/{name}"));
    group.throughput(Throughput::Elements(len as u64));
    if len > 10_000 {
        group.sample_size(20);
    }
    group
}

/// One case over rotating items; `out` is cleared before each.
fn case<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    items: &[T],
    mut run: impl FnMut(&T, &mut Vec<u8>),
) {
    let mut next = rotate(items);
    let mut out = Vec::with_capacity(1 << 18);
    let run: &mut dyn FnMut(&T, &mut Vec<u8>) = black_box(&mut run);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            run(black_box(next()), &mut out);
            black_box(out.as_slice());
        });
    });
}

fn ints(criterion: &mut Criterion, len: usize, name: &str, blocks: &[Vec<i16>]) {
    let (_, token) = user(0);
    let wire = Wire::SERVER;
    let items: Vec<(Vec<i16>, Data<'_, i16>)> =
        blocks.iter().map(|block| (block.clone(), data(&token, block))).collect();

    let mut encode = group(criterion, "encode", "int", len, name);
    case(&mut encode, "voxwire", &items[..], |(block, _), out| {
        call_data("user0", &token, block).encode(black_box(&wire), out).unwrap();
    });
    case(&mut encode, "rmp-serde", &items[..], |(_, data), out| rmp_serde::encode::write(out, data).unwrap());
    case(&mut encode, "rmp", &items[..], |(block, _), out| {
        for text in [NAMES[0], NAMES[1], "user0", &token, "room"] {
            rmp::encode::write_str(out, text).unwrap();
        }
        rmp::encode::write_array_len(out, block.len() as u32).unwrap();
        for sample in block {
            rmp::encode::write_sint(out, (*sample).into()).unwrap();
        }
    });
    if len < 10_000 {
        case(&mut encode, "rmpv", &items[..], |(block, _), out| {
            let texts = [NAMES[0], NAMES[1], "user0", &token, "room"].map(rmpv::Value::from);
            for text in &texts {
                rmpv::encode::write_value(out, text).unwrap();
            }
            let list = rmpv::Value::Array(block.iter().map(|sample| (*sample).into()).collect());
            rmpv::encode::write_value(out, &list).unwrap();
        });
    }
    let zero: Vec<ZeroInts<'_>> = items
        .iter()
        .map(|(block, _)| ZeroInts {
            kind: NAMES[0],
            action: NAMES[1],
            username: "user0",
            token: &token,
            group_name: "room",
            samples: block.clone(),
        })
        .collect();
    case(&mut encode, "zerompk", &zero[..], |data, out| {
        zerompk::write_msgpack(out, data).unwrap();
    });
    encode.finish();

    let mut decode = group(criterion, "decode", "int", len, name);
    let frames: Vec<Vec<u8>> =
        items.iter().map(|(block, _)| encoded(&call_data("user0", &token, block))).collect();
    let mut samples = vec![0; len];
    case(&mut decode, "memcpy", &frames[..], |frame, out| out.extend_from_slice(frame));
    case(&mut decode, "voxwire, checked and borrowed", &frames[..], |frame, _| {
        let Ok(ClientMessage::CallData { samples, .. }) = ClientMessage::decode(frame, black_box(&wire))
        else {
            panic!()
        };
        black_box(samples.len());
    });
    case(&mut decode, "voxwire", &frames[..], |frame, _| {
        let Ok(ClientMessage::CallData { samples: found, .. }) =
            ClientMessage::decode(frame, black_box(&wire))
        else {
            panic!()
        };
        found.copy_to_i16(&mut samples);
        black_box(&samples);
    });
    let theirs: Vec<Vec<u8>> = items.iter().map(|(_, data)| rmp_serde::to_vec(data).unwrap()).collect();
    case(&mut decode, "rmp-serde", &theirs[..], |frame, _| {
        black_box(rmp_serde::from_slice::<Data<'_, i16>>(frame).unwrap().samples);
    });
    case(&mut decode, "rmp", &frames[..], |frame, _| {
        let mut bytes = &frame[..];
        for _ in 0..5 {
            let len = rmp::decode::read_str_len(&mut bytes).unwrap() as usize;
            bytes = &bytes[len..];
        }
        let count = rmp::decode::read_array_len(&mut bytes).unwrap();
        let samples: Vec<i16> = (0..count).map(|_| rmp::decode::read_int(&mut bytes).unwrap()).collect();
        black_box(samples);
    });
    if len < 10_000 {
        case(&mut decode, "rmpv", &frames[..], |frame, _| {
            let mut bytes = &frame[..];
            while !bytes.is_empty() {
                black_box(rmpv::decode::read_value_ref(&mut bytes).unwrap());
            }
        });
    }
    // It reads no other forms than its own, which has no unsigned ones for signed numbers.
    let own: Vec<Vec<u8>> = zero.iter().map(|data| zerompk::to_msgpack_vec(data).unwrap()).collect();
    case(&mut decode, "zerompk", &own[..], |frame, _| {
        black_box(zerompk::from_msgpack::<ZeroInts<'_>>(frame).unwrap().samples);
    });
    decode.finish();
}

fn floats(criterion: &mut Criterion, len: usize) {
    let (_, token) = user(0);
    let wire = Wire::CLIENT;
    let blocks: Vec<Vec<f32>> = blocks(len, 20_000, false)
        .iter()
        .map(|block| block.iter().map(|sample| f32::from(*sample) / 32_768.0).collect())
        .collect();
    let items: Vec<(Vec<f32>, Data<'_, f32>)> =
        blocks.iter().map(|block| (block.clone(), data(&token, block))).collect();
    let message = |samples: &[f32]| -> Vec<u8> {
        encoded(&ClientMessage::CallData {
            username: "user0".into(),
            token: token.as_str().into(),
            group_name: "room".into(),
            samples: Samples::from(samples),
        })
    };
    let mut encode = group(criterion, "encode", "float", len, "normal");
    case(&mut encode, "voxwire", &items[..], |(block, _), out| {
        let samples = Samples::from(&block[..]);
        let (username, token, group_name) = ("user0".into(), token.as_str().into(), "room".into());
        let message = ClientMessage::CallData { username, token, group_name, samples };
        message.encode(black_box(&wire), out).unwrap();
    });
    case(&mut encode, "rmp-serde", &items[..], |(_, data), out| rmp_serde::encode::write(out, data).unwrap());
    let zero: Vec<ZeroFloats<'_>> = items
        .iter()
        .map(|(block, _)| ZeroFloats {
            kind: NAMES[0],
            action: NAMES[1],
            username: "user0",
            token: &token,
            group_name: "room",
            samples: block.clone(),
        })
        .collect();
    case(&mut encode, "zerompk", &zero[..], |data, out| {
        zerompk::write_msgpack(out, data).unwrap();
    });
    encode.finish();

    let mut decode = group(criterion, "decode", "float", len, "normal");
    let frames: Vec<Vec<u8>> = items.iter().map(|(block, _)| message(block)).collect();
    let mut samples = vec![0.0; len];
    case(&mut decode, "memcpy", &frames[..], |frame, out| out.extend_from_slice(frame));
    case(&mut decode, "voxwire, checked and borrowed", &frames[..], |frame, _| {
        let Ok(ClientMessage::CallData { samples, .. }) = ClientMessage::decode(frame, black_box(&wire))
        else {
            panic!()
        };
        black_box(samples.len());
    });
    case(&mut decode, "voxwire", &frames[..], |frame, _| {
        let Ok(ClientMessage::CallData { samples: found, .. }) =
            ClientMessage::decode(frame, black_box(&wire))
        else {
            panic!()
        };
        assert_eq!(found.kind(), SampleKind::Float);
        found.copy_to_f32(&mut samples);
        black_box(&samples);
    });
    let theirs: Vec<Vec<u8>> = items.iter().map(|(_, data)| rmp_serde::to_vec(data).unwrap()).collect();
    case(&mut decode, "rmp-serde", &theirs[..], |frame, _| {
        black_box(rmp_serde::from_slice::<Data<'_, f32>>(frame).unwrap().samples);
    });
    case(&mut decode, "zerompk", &theirs[..], |frame, _| {
        black_box(zerompk::from_msgpack::<ZeroFloats<'_>>(frame).unwrap().samples);
    });
    decode.finish();
}
