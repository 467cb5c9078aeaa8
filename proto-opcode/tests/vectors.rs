//! Every vector decodes to what it means, canonical ones encode to the same bytes, malformed ones say where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use voxwire_core::testing::{law_frame, law_hostile, unhex, vectors};
use voxwire_core::{Framing as _, Message, Owned};
use voxwire_opcode::{CallRequest, Packet, Text, Wire, voice};

const VECTORS: &str = include_str!("vectors/packets.txt");

/// The packet that an expectation describes: its name, then its fields in the document's order; `_` is a blank.
fn with_expected<R>(expect: &str, f: impl FnOnce(Packet<'_>) -> R) -> R {
    let blanks = expect.replace(' ', "\n").replace('_', " ");
    let words: Vec<&str> = blanks.split('\n').map(|word| if word == "-" { "" } else { word }).collect();
    let texts: Vec<Text<'_>> = words[1..].iter().map(|word| Text::from(*word)).collect();
    let bytes = if words[0] == "VoiceData" { unhex(words[1]) } else { Vec::new() };
    f(match words[0] {
        "HelloConnect" => Packet::HelloConnect,
        "Login" => Packet::Login { name: texts[0] },
        "LoginSuccess" => Packet::LoginSuccess,
        "LoginFailed" => Packet::LoginFailed { reason: texts[0] },
        "AddContact" => Packet::AddContact { contacts: texts[..].into() },
        "CallRequest" => Packet::CallRequest(CallRequest {
            contact: texts[0],
            host: texts[1],
            port: words[3].parse().unwrap(),
        }),
        "VoiceData" => Packet::VoiceData(&bytes),
        "ErrorResponse" => Packet::ErrorResponse { what: texts[0] },
        "CallRefused" => Packet::CallRefused { contact: texts[0] },
        "DelContact" => Packet::DelContact { contacts: texts[..].into() },
        "ConnectionEstablished" => Packet::ConnectionEstablished,
        other => panic!("no packet is called {other}"),
    })
}

#[test]
fn o_02_o_03_vectors_decode_to_what_they_mean_and_back() {
    let mut opcodes = std::collections::BTreeSet::new();
    for vector in vectors(VECTORS).into_iter().filter(|vector| !vector.expect.starts_with("error")) {
        for wire in [Wire::SERVER, Wire::CLIENT] {
            with_expected(vector.expect, |expected| {
                assert_eq!(Packet::decode(&vector.bytes, &wire), Ok(expected), "{}", vector.name);
                let mut again = Vec::new();
                expected.encode(&wire, &mut again).unwrap();
                assert_eq!(again, vector.bytes, "{}", vector.name);
                opcodes.insert(expected.opcode());
            });
        }
    }
    assert_eq!(opcodes.len(), 10, "all eleven but CallRefused, which the dialogue has");
}

#[test]
fn o_11_c_05_malformed_vectors_name_the_field_and_its_offset() {
    for vector in vectors(VECTORS).into_iter().filter(|vector| vector.expect.starts_with("error")) {
        let words: Vec<&str> = vector.expect.split(' ').collect();
        let error = Packet::decode(&vector.bytes, &Wire::SERVER).unwrap_err();
        assert_eq!((error.field, error.offset), (words[1], words[2].parse().unwrap()), "{}", vector.name);
    }
}

#[test]
fn o_11_changed_vectors_never_panic_and_what_they_mean_is_kept() {
    for vector in vectors(VECTORS).into_iter().filter(|vector| vector.bytes.len() < 60) {
        law_hostile::<Packet<'static>>(&vector.bytes, &Wire::CLIENT);
    }
}

#[test]
fn o_02_what_follows_the_last_field_is_ignored() {
    for vector in vectors(VECTORS).into_iter().filter(|vector| !vector.expect.starts_with("error")) {
        let mut longer = vector.bytes.clone();
        longer.extend([1, 2, 3, 4]);
        let length = (longer.len() - 8) as u64;
        longer[..8].copy_from_slice(&length.to_le_bytes());
        let again = law_frame::<Packet<'static>>(&longer, &Wire::CLIENT);
        assert_eq!(again.as_deref(), Some(&vector.bytes[..]), "{}", vector.name);
    }
}

#[test]
fn a_packet_can_be_kept() {
    let contacts = [Text(b"alice"), Text(b"bob")];
    let packet = Packet::AddContact { contacts: contacts[..].into() };
    let kept: Owned<Packet<'static>> = Owned::new(&packet, &Wire::CLIENT).unwrap();
    assert_eq!(kept.get(), packet);
    assert_eq!(format!("{kept:?}"), r#"Owned(AddContact { contacts: ["alice", "bob"] })"#);
}

#[test]
fn voice_can_be_edited_in_place() {
    let mut frame = Vec::new();
    Packet::VoiceData(&[1, 2, 3]).encode(&Wire::CLIENT, &mut frame).unwrap();
    voice::data_mut(&mut frame).unwrap().reverse();
    assert_eq!(voice::data(&frame), Some(&[3, 2, 1][..]));
    frame[8] = 6;
    assert_eq!(voice::data_mut(&mut frame), None);
}

#[test]
fn o_11_lengths_are_refused_before_anything_is_buffered() {
    for (length, max) in [(1_u64 << 40, 65_536), (u64::MAX, 65_536), (65_529, 65_536)] {
        let error = Wire::SERVER.framing().next_frame(&length.to_le_bytes()).unwrap_err();
        assert_eq!(error.to_string(), {
            let len = length.saturating_add(8);
            format!("frame of {len} bytes announced, at most {max} allowed here")
        });
    }
    for length in [0_u64, 1] {
        assert!(Wire::SERVER.framing().next_frame(&length.to_le_bytes()).is_err());
    }
    assert!(Wire::SERVER.framing().next_frame(&65_528_u64.to_le_bytes()).is_ok());
}
