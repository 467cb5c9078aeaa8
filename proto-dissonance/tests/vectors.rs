//! Every vector decodes to what it means, canonical ones encode to the same bytes, malformed ones say where.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use crate::kit;

use serde_json::Value;
use voxwire_core::testing::{Vector, law_hostile, vectors};
use voxwire_core::{Message, Reader};
use voxwire_dissonance::{Channel, ClientState, Packet, Recipient, Wire, room_id};

const VECTORS: &str = include_str!("vectors/packets.txt");
const WIRE: Wire = Wire::new(voxwire_dissonance::Profile::Later);

fn packets() -> Vec<Vector<'static>> {
    vectors(VECTORS).into_iter().filter(|vector| vector.expect.starts_with('{')).collect()
}

#[test]
fn d_02_packets_decode_to_what_they_mean_and_back() {
    assert_eq!(packets().len(), 17);
    for vector in packets() {
        let packet = Packet::decode(&vector.bytes, &WIRE).unwrap();
        let expected: Value = serde_json::from_str(vector.expect).unwrap();
        assert_eq!(kit::json(&packet), expected, "{}", vector.name);
        let mut again = Vec::new();
        packet.encode(&WIRE, &mut again).unwrap();
        assert_eq!(again, vector.bytes, "{}", vector.name);
        // Bytes after the end are ignored.
        again.extend(*b"trailing");
        assert_eq!(Packet::decode(&again, &WIRE), Ok(packet), "{}", vector.name);
    }
}

#[test]
fn d_02_c_05_malformed_vectors_name_the_field_and_its_offset() {
    let mut checked = 0;
    for vector in vectors(VECTORS) {
        let Some(expected) = vector.expect.strip_prefix("error ") else { continue };
        let error = Packet::decode(&vector.bytes, &WIRE).unwrap_err();
        assert_eq!(format!("{} {}", error.field, error.offset), expected, "{}: {error}", vector.name);
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn d_01_another_magic_is_refused_before_anything_else() {
    for vector in packets() {
        for at in 0..2 {
            let mut bytes = vector.bytes.clone();
            bytes[at] ^= 1;
            let error = Packet::decode(&bytes, &WIRE).unwrap_err();
            assert_eq!((error.field, error.offset), ("magic", 0), "{}", vector.name);
        }
    }
}

#[test]
fn d_03_d_09_values_of_single_fields() {
    let mut checked = 0;
    for Vector { name, bytes, expect } in vectors(VECTORS) {
        match expect.split_once(' ').unwrap_or((expect, "")) {
            ("room", text) => {
                let text: String = serde_json::from_str(text).unwrap();
                assert_eq!(room_id(&text).get().to_be_bytes(), bytes[..], "{name}");
            }
            ("bitfield", _) => {
                let bits = u16::from_be_bytes([bytes[0], bytes[1]]);
                let channel = Channel::from_bits(bits, 1);
                assert_eq!(
                    matches!(channel.recipient(), Recipient::Room(_)),
                    name.starts_with("bitfield_room")
                );
                assert_eq!(channel.is_closing(), name.ends_with("closing"), "{name}");
                if let Some(volume) = name.strip_prefix("bitfield_room_amp") {
                    let volume: f32 = volume.replace('_', ".").parse().unwrap();
                    assert_eq!(Channel::from_bits(0x8001, 1).with_volume(volume).bits(), bits, "{name}");
                }
            }
            ("text", "") => {
                // An empty name and an empty list of rooms around it: the smallest ClientState.
                let frame = [&[0x8b, 0xc7, 1, 0, 0, 0, 1][..], &bytes, &[0; 13]].concat();
                let Packet::ClientState(ClientState { client, .. }) = Packet::decode(&frame, &WIRE).unwrap()
                else {
                    panic!("{name}")
                };
                assert_eq!(client.name.as_str(), Some(""));
            }
            ("bytes", hex) => {
                let mut reader = Reader::new(&bytes);
                let len = reader.u16_be("length").unwrap();
                assert_eq!(kit::hex(reader.take("bytes", len.into()).unwrap()), hex, "{name}");
            }
            ("codec", numbers) => {
                let frame = [&[0x8b, 0xc7, 4][..], &bytes, &[0, 0]].concat();
                let Packet::HandshakeRequest(request) = Packet::decode(&frame, &WIRE).unwrap() else {
                    panic!("{name}")
                };
                let codec = request.codec;
                assert_eq!(format!("{} {} {}", codec.codec.0, codec.frame_size, codec.sample_rate), numbers);
            }
            _ => continue,
        }
        checked += 1;
    }
    assert_eq!(checked, 20);
}

#[test]
fn c_05_every_prefix_and_every_changed_byte_is_an_error_or_another_packet() {
    for vector in packets() {
        for cut in 0..vector.bytes.len() {
            assert!(Packet::decode(&vector.bytes[..cut], &WIRE).is_err(), "{} cut to {cut}", vector.name);
        }
        law_hostile::<Packet<'static>>(&vector.bytes, &WIRE);
    }
}
