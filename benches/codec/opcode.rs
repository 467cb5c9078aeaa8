//! G-C8: a contact list of a hundred names, borrowed; and opcode's voice.

use super::{into, over};
use criterion::Criterion;
use prost::Message as _;
use std::hint::black_box;
use voxwire_benches::payloads;
use voxwire_core::Message;
use voxwire_opcode::{Packet, Text, Wire};

/// The list for prost, which owns what it decodes.
#[derive(prost::Message)]
struct ListProto {
    #[prost(uint32, tag = "1")]
    opcode: u32,
    #[prost(string, repeated, tag = "2")]
    contacts: Vec<String>,
}

const CONTACTS: usize = 100;

/// 64 lists of different names, 8 to 15 bytes long.
fn lists() -> Vec<Vec<String>> {
    let name = |list: usize, n: usize| format!("{:0width$}", list * 1000 + n, width = 8 + n % 8);
    (0..64).map(|list| (0..CONTACTS).map(|n| name(list, n)).collect()).collect()
}

/// Decoded, and every name looked at. Peers have strings as `&str`, which checks that they are UTF-8, and as bytes.
pub(crate) fn contacts(criterion: &mut Criterion) {
    let lists = lists();
    let wire = Wire::CLIENT;
    let mut group = criterion.benchmark_group("codec/decode/opcode/contacts/100");
    let ours = |list: &Vec<String>| {
        let names: Vec<Text<'_>> = list.iter().map(|name| Text::from(name.as_str())).collect();
        let mut out = Vec::new();
        Packet::AddContact { contacts: names[..].into() }.encode(&wire, &mut out).unwrap();
        out
    };
    let frames: Vec<_> = lists.iter().map(ours).collect();
    over(&mut group, "voxwire", &frames, |frame| {
        let Ok(Packet::AddContact { contacts }) = Packet::decode(frame, black_box(&wire)) else { panic!() };
        black_box(contacts);
    });
    over(&mut group, "voxwire, and every name", &frames, |frame| {
        let Ok(Packet::AddContact { contacts }) = Packet::decode(frame, black_box(&wire)) else { panic!() };
        for name in contacts.iter() {
            black_box(name.0);
        }
    });
    let frames: Vec<_> = lists.iter().map(|list| wincode::serialize(&(5_u16, list)).unwrap()).collect();
    over(&mut group, "wincode, str", &frames, |frame| {
        black_box(wincode::deserialize::<(u16, Vec<&str>)>(frame).unwrap());
    });
    over(&mut group, "wincode, bytes", &frames, |frame| {
        black_box(wincode::deserialize::<(u16, Vec<&[u8]>)>(frame).unwrap());
    });
    let frames: Vec<_> = lists.iter().map(|list| postcard::to_stdvec(&(5_u16, list)).unwrap()).collect();
    over(&mut group, "postcard, str", &frames, |frame| {
        black_box(postcard::from_bytes::<(u16, Vec<&str>)>(frame).unwrap());
    });
    over(&mut group, "postcard, bytes", &frames, |frame| {
        black_box(postcard::from_bytes::<(u16, Vec<&serde_bytes::Bytes>)>(frame).unwrap());
    });
    let frames: Vec<_> = lists.iter().map(|list| rmp_serde::to_vec(&(5_u16, list)).unwrap()).collect();
    over(&mut group, "rmp-serde, str", &frames, |frame| {
        black_box(rmp_serde::from_slice::<(u16, Vec<&str>)>(frame).unwrap());
    });
    let frames: Vec<_> =
        lists.iter().map(|list| ListProto { opcode: 5, contacts: list.clone() }.encode_to_vec()).collect();
    over(&mut group, "prost", &frames, |frame| {
        black_box(ListProto::decode(frame).unwrap());
    });
    group.finish();
}

pub(crate) fn voice(criterion: &mut Criterion) {
    let wire = Wire::CLIENT;
    for size in [60, 960] {
        let payloads = payloads(size);
        let mut group = criterion.benchmark_group(format!("codec/decode/opcode/voice/{size}"));
        let encoded = |payload: &Vec<u8>| {
            let mut out = Vec::new();
            Packet::VoiceData(payload).encode(&wire, &mut out).unwrap();
            out
        };
        over(&mut group, "voxwire", &payloads.iter().map(encoded).collect::<Vec<_>>(), |frame| {
            let Ok(Packet::VoiceData(data)) = Packet::decode(frame, black_box(&wire)) else { panic!() };
            black_box(data);
        });
        group.finish();
        let mut group = criterion.benchmark_group(format!("codec/encode/opcode/voice/{size}"));
        into(&mut group, "voxwire", &payloads, |payload, out| {
            black_box(Packet::VoiceData(payload).encode(black_box(&wire), out).unwrap());
        });
        into(&mut group, "memcpy", &payloads, |payload, out| out.extend_from_slice(payload));
        group.finish();
    }
}
