//! C-11: decoding and encoding beside the peers, in one run: `cargo bench codec`.
#![allow(missing_docs)]

mod echo;
mod msgpack;
mod opcode;
mod syfala;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::Duration;
use voxwire_benches::{encoded, hall, payloads, rotate};
use voxwire_core::Message;
use voxwire_voicelink::{ByteOrder, Handshake, Packet, Parameters, Wire};

/// What voicelink's Data says, for serde.
#[derive(Serialize, Deserialize)]
struct Voice<'a> {
    kind: u16,
    #[serde(borrow, with = "serde_bytes")]
    data: &'a [u8],
}

/// The same for prost, which owns what it decodes.
#[derive(prost::Message)]
struct VoiceProto {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

/// What voicelink's Handshake says.
#[derive(Serialize, Deserialize)]
struct Hello<'a> {
    kind: u16,
    sample_rate: u32,
    channels: u16,
    format: u8,
    chunk_size: u32,
    #[serde(borrow, with = "serde_bytes")]
    user_name: &'a [u8],
    #[serde(borrow, with = "serde_bytes")]
    optional: &'a [u8],
}

#[derive(prost::Message)]
struct HelloProto {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint32, tag = "2")]
    sample_rate: u32,
    #[prost(uint32, tag = "3")]
    channels: u32,
    #[prost(uint32, tag = "4")]
    format: u32,
    #[prost(uint32, tag = "5")]
    chunk_size: u32,
    #[prost(bytes = "vec", tag = "6")]
    user_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    optional: Vec<u8>,
}

fn rtp(payload: &[u8]) -> Vec<u8> {
    let builder = rtp_types::RtpPacketBuilder::new().payload_type(96).sequence_number(7).timestamp(9).ssrc(1);
    builder.payload(payload).write_vec().unwrap()
}

impl Serde for Voice<'_> {
    type Message<'a> = Voice<'a>;

    fn of(data: &[u8]) -> Voice<'_> {
        Voice { kind: 6, data }
    }
}

fn packet(name: &[u8]) -> Packet<'_> {
    Packet::Handshake(Handshake { parameters: Parameters::DEFAULT, user_name: name, optional: b"1234" })
}

impl Serde for Hello<'_> {
    type Message<'a> = Hello<'a>;

    fn of(user_name: &[u8]) -> Hello<'_> {
        Hello {
            kind: 0,
            sample_rate: 48_000,
            channels: 1,
            format: 2,
            chunk_size: 960,
            user_name,
            optional: b"1234",
        }
    }
}

fn proto(name: &[u8]) -> HelloProto {
    HelloProto {
        kind: 0,
        sample_rate: 48_000,
        channels: 1,
        format: 2,
        chunk_size: 960,
        user_name: name.into(),
        optional: b"1234".into(),
    }
}

/// One case: `decode` over rotating frames.
fn over(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    frames: &[Vec<u8>],
    mut decode: impl FnMut(&[u8]),
) {
    let mut next = rotate(frames);
    // A call of its own for every case, so that none melts into the loop around it.
    let decode: &mut dyn FnMut(&[u8]) = black_box(&mut decode);
    group.bench_function(name, |bencher| bencher.iter(|| decode(black_box(next()))));
}

/// One case: `encode` of rotating payloads into a reused buffer.
fn into(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    payloads: &[Vec<u8>],
    mut encode: impl FnMut(&[u8], &mut Vec<u8>),
) {
    let mut next = rotate(payloads);
    let mut out = Vec::with_capacity(8192);
    let encode: &mut dyn FnMut(&[u8], &mut Vec<u8>) = black_box(&mut encode);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(black_box(next()), &mut out);
            black_box(out.as_slice());
        });
    });
}

/// What a message of ours says, for serde.
pub(crate) trait Serde {
    /// Borrows as ours does.
    type Message<'a>: Serialize + Deserialize<'a>;

    /// Made of a payload.
    fn of(payload: &[u8]) -> Self::Message<'_>;
}

/// The formats of serde, decoding.
fn decode_serde<S: Serde>(group: &mut BenchmarkGroup<'_, WallTime>, payloads: &[Vec<u8>]) {
    let frames: Vec<_> = payloads.iter().map(|it| postcard::to_stdvec(&S::of(it)).unwrap()).collect();
    over(group, "postcard", &frames, |frame| {
        black_box(postcard::from_bytes::<S::Message<'_>>(frame).unwrap());
    });
    let frames: Vec<_> = payloads.iter().map(|it| rmp_serde::to_vec(&S::of(it)).unwrap()).collect();
    over(group, "rmp-serde", &frames, |frame| {
        black_box(rmp_serde::from_slice::<S::Message<'_>>(frame).unwrap());
    });
}

/// The formats of serde, encoding.
fn encode_serde<S: Serde>(group: &mut BenchmarkGroup<'_, WallTime>, payloads: &[Vec<u8>]) {
    into(group, "postcard", payloads, |payload, out| {
        // Its writer for a reused buffer is a slice.
        out.resize(payload.len() + 64, 0);
        let len = postcard::to_slice(&S::of(payload), out).unwrap().len();
        out.truncate(len);
    });
    into(group, "rmp-serde", payloads, |payload, out| {
        rmp_serde::encode::write(out, &S::of(payload)).unwrap()
    });
}

/// Decoding and encoding a message of ours, which `ours` makes of payloads of `size` bytes, beside the formats of serde.
pub(crate) fn codec<M: Message<'static>, S: Serde>(
    criterion: &mut Criterion,
    name: &str,
    size: usize,
    wire: &M::Wire,
    ours: for<'a> fn(&'a [u8]) -> M::At<'a>,
) {
    let payloads = payloads(size);
    let frame = |payload: &Vec<u8>| {
        let mut frame = Vec::new();
        ours(payload).encode(wire, &mut frame).unwrap();
        frame
    };
    let mut group = criterion.benchmark_group(format!("codec/decode/{name}/{size}"));
    over(&mut group, "voxwire", &payloads.iter().map(frame).collect::<Vec<_>>(), |frame| {
        black_box(M::At::<'_>::decode(frame, black_box(wire)).unwrap());
    });
    decode_serde::<S>(&mut group, &payloads);
    group.finish();
    let mut group = criterion.benchmark_group(format!("codec/encode/{name}/{size}"));
    into(&mut group, "voxwire", &payloads, |payload, out| {
        black_box(ours(payload).encode(black_box(wire), out).unwrap());
    });
    encode_serde::<S>(&mut group, &payloads);
    group.finish();
}

/// What Dissonance's VoiceData says, for serde.
#[derive(Serialize, Deserialize)]
struct Speech<'a> {
    session: u32,
    sender: u16,
    options: u8,
    sequence: u16,
    channels: [(u16, u16); 1],
    #[serde(borrow, with = "serde_bytes")]
    frame: &'a [u8],
}

#[derive(prost::Message)]
struct SpeechProto {
    #[prost(uint32, tag = "1")]
    session: u32,
    #[prost(uint32, tag = "2")]
    sender: u32,
    #[prost(uint32, tag = "3")]
    options: u32,
    #[prost(uint32, tag = "4")]
    sequence: u32,
    #[prost(uint32, repeated, tag = "5")]
    channels: Vec<u32>,
    #[prost(bytes = "vec", tag = "6")]
    frame: Vec<u8>,
}

impl Serde for Speech<'_> {
    type Message<'a> = Speech<'a>;

    fn of(frame: &[u8]) -> Speech<'_> {
        Speech { session: 77, sender: 7, options: 3, sequence: 9, channels: [(0x8001, 29_976)], frame }
    }
}

fn voice_data(frame: &[u8]) -> voxwire_dissonance::Packet<'_> {
    use voxwire_dissonance::{Channel, ClientId, Options, Packet, Profile, VoiceData};
    const CHANNELS: [Channel; 1] = [Channel::from_bits(0x8001, 29_976)];
    let options = Options::new(3, Profile::Later);
    let sender = ClientId::new(7);
    Packet::VoiceData(VoiceData { session: 77, sender, options, sequence: 9, channels: &CHANNELS, frame })
}

fn dissonance(criterion: &mut Criterion, size: usize, payloads: &[Vec<u8>]) {
    use voxwire_dissonance as d;
    let proto = |frame: &[u8]| SpeechProto {
        session: 77,
        sender: 7,
        options: 3,
        sequence: 9,
        channels: vec![0x8001, 29976],
        frame: frame.into(),
    };
    let frames = |make: &dyn Fn(&[u8]) -> Vec<u8>| payloads.iter().map(|p| make(p)).collect::<Vec<_>>();
    let mut group = criterion.benchmark_group(format!("codec/decode/dissonance/voice/{size}"));
    group.throughput(Throughput::Bytes(size as u64));
    over(&mut group, "voxwire", &frames(&|p| hall::encoded(&voice_data(p))), |frame| {
        let Ok(d::Packet::VoiceData(voice)) = d::Packet::decode(frame, black_box(&hall::WIRE)) else {
            panic!()
        };
        black_box((voice.frame, voice.channels));
    });
    decode_serde::<Speech<'_>>(&mut group, payloads);
    over(&mut group, "prost", &frames(&|p| proto(p).encode_to_vec()), |frame| {
        black_box(SpeechProto::decode(frame).unwrap());
    });
    over(&mut group, "rtp-types", &frames(&rtp), |frame| {
        black_box(rtp_types::RtpPacket::parse(frame).unwrap().payload());
    });
    group.finish();
    let mut group = criterion.benchmark_group(format!("codec/encode/dissonance/voice/{size}"));
    group.throughput(Throughput::Bytes(size as u64));
    into(&mut group, "voxwire", payloads, |payload, out| {
        voice_data(payload).encode(black_box(&hall::WIRE), out).unwrap();
    });
    into(&mut group, "memcpy", payloads, |payload, out| out.extend_from_slice(payload));
    encode_serde::<Speech<'_>>(&mut group, payloads);
    into(&mut group, "prost", payloads, |payload, out| proto(payload).encode(out).unwrap());
    into(&mut group, "rtp-types", payloads, |payload, out| {
        let builder =
            rtp_types::RtpPacketBuilder::new().payload_type(96).sequence_number(7).timestamp(9).ssrc(1);
        builder.payload(payload).write_into_vec(out).unwrap();
    });
    group.finish();
}

fn data(criterion: &mut Criterion) {
    let wire = Wire::default();
    for size in [10, 60, 160, 960, 4096] {
        let payloads = payloads(size);
        let frames = |make: &dyn Fn(&[u8]) -> Vec<u8>| {
            payloads.iter().map(|payload| make(payload)).collect::<Vec<_>>()
        };

        if size <= 960 {
            dissonance(criterion, size, &payloads);
        }
        let mut group = criterion.benchmark_group(format!("codec/decode/voicelink/data/{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        over(&mut group, "voxwire", &frames(&|p| encoded(&Packet::Data(p), ByteOrder::BigEndian)), |frame| {
            let Ok(Packet::Data(data)) = Packet::decode(frame, black_box(&wire)) else { panic!() };
            black_box(data);
        });
        decode_serde::<Voice<'_>>(&mut group, &payloads);
        over(
            &mut group,
            "prost",
            &frames(&|p| VoiceProto { kind: 6, data: p.into() }.encode_to_vec()),
            |frame| {
                black_box(VoiceProto::decode(frame).unwrap().data);
            },
        );
        over(&mut group, "rtp-types", &frames(&rtp), |frame| {
            black_box(rtp_types::RtpPacket::parse(frame).unwrap().payload());
        });
        group.finish();

        let mut group = criterion.benchmark_group(format!("codec/encode/voicelink/data/{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        into(&mut group, "voxwire", &payloads, |p, out| {
            Packet::Data(p).encode(black_box(&wire), out).unwrap();
        });
        into(&mut group, "memcpy", &payloads, |p, out| out.extend_from_slice(p));
        encode_serde::<Voice<'_>>(&mut group, &payloads);
        into(&mut group, "prost", &payloads, |p, out| {
            VoiceProto { kind: 6, data: p.into() }.encode(out).unwrap();
        });
        into(&mut group, "rtp-types", &payloads, |p, out| {
            let builder =
                rtp_types::RtpPacketBuilder::new().payload_type(96).sequence_number(7).timestamp(9).ssrc(1);
            builder.payload(p).write_into_vec(out).unwrap();
        });
        group.finish();
    }
}

fn handshake(criterion: &mut Criterion) {
    let wire = Wire::default();
    let names = payloads(12);
    let frames = |make: &dyn Fn(&[u8]) -> Vec<u8>| names.iter().map(|name| make(name)).collect::<Vec<_>>();

    let mut group = criterion.benchmark_group("codec/decode/voicelink/handshake/12");
    over(&mut group, "voxwire", &frames(&|name| encoded(&packet(name), ByteOrder::BigEndian)), |frame| {
        let Ok(Packet::Handshake(handshake)) = Packet::decode(frame, black_box(&wire)) else { panic!() };
        black_box(handshake.user_name);
    });
    decode_serde::<Hello<'_>>(&mut group, &names);
    over(&mut group, "prost", &frames(&|name| proto(name).encode_to_vec()), |frame| {
        black_box(HelloProto::decode(frame).unwrap().user_name);
    });
    group.finish();

    let mut group = criterion.benchmark_group("codec/encode/voicelink/handshake/12");
    into(&mut group, "voxwire", &names, |name, out| {
        black_box(packet(name).encode(black_box(&wire), out).unwrap());
    });
    encode_serde::<Hello<'_>>(&mut group, &names);
    into(&mut group, "prost", &names, |name, out| proto(name).encode(out).unwrap());
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = data, handshake, opcode::contacts, opcode::voice, msgpack::calls, syfala::audio, echo::packets
}
criterion_main!(benches);
