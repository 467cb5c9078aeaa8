//! Every vector decodes to what it means, canonical ones encode to the same bytes, malformed ones say where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use voxwire_core::testing::{law_frame, law_hostile, unhex, vectors};
use voxwire_core::{Message, Owned};
use voxwire_voicelink::{ByteOrder, Format, Handshake, Packet, Parameters, Wire};

const VECTORS: &str = include_str!("vectors/packets.txt");

fn wire(name: &str) -> Wire {
    Wire::new(if name.ends_with("_le") { ByteOrder::LittleEndian } else { ByteOrder::BigEndian })
}

/// The packet that an expectation describes: its name, then its fields in the document's order.
fn with_expected<R>(expect: &str, f: impl FnOnce(Packet<'_>) -> R) -> R {
    let words: Vec<&str> = expect.split_whitespace().collect();
    let parameters = || Parameters {
        sample_rate: words[1].parse().unwrap(),
        channels: words[2].parse().unwrap(),
        format: Format::from_name(words[3]).unwrap(),
        chunk_size: words[4].parse().unwrap(),
    };
    let bytes = words.last().map_or_else(Vec::new, |hex| {
        if words.len() > 1 && words[1] != "tolerated" { unhex(hex) } else { Vec::new() }
    });
    f(match words[0] {
        "Handshake" => Packet::Handshake(Handshake {
            parameters: parameters(),
            user_name: if words[5] == "-" { b"" } else { words[5].as_bytes() },
            optional: &bytes,
        }),
        "UserNotFound" => Packet::UserNotFound,
        "Parameters" => Packet::Parameters { parameters: parameters(), optional: &bytes },
        "Close" => Packet::Close { optional: &bytes },
        "Accept" => Packet::Accept { optional: &bytes },
        "Drop" => Packet::Drop { optional: &bytes },
        "Data" => Packet::Data(&bytes),
        other => panic!("no packet is called {other}"),
    })
}

#[test]
fn v_02_v_03_v_04_v_05_v_06_vectors_decode_to_what_they_mean_and_back() {
    let mut checked = 0;
    for vector in vectors(VECTORS).into_iter().filter(|vector| !vector.expect.starts_with("error")) {
        let wire = wire(vector.name);
        with_expected(vector.expect, |expected| {
            assert_eq!(Packet::decode(&vector.bytes, &wire), Ok(expected), "{}", vector.name);
            let mut again = Vec::new();
            expected.encode(&wire, &mut again).unwrap();
            // The tabulated form of UserNotFound is read, and never sent.
            assert_eq!(again == vector.bytes, !vector.expect.ends_with("tolerated"), "{}", vector.name);
        });
        checked += 1;
    }
    assert_eq!(checked, 32);
}

#[test]
fn v_12_c_05_malformed_vectors_name_the_field_and_its_offset() {
    let mut checked = 0;
    for vector in vectors(VECTORS) {
        let Some(expected) = vector.expect.strip_prefix("error ") else { continue };
        let error = Packet::decode(&vector.bytes, &wire(vector.name)).unwrap_err();
        assert_eq!(format!("{} {}", error.field, error.offset), expected, "{}: {error}", vector.name);
        checked += 1;
    }
    assert_eq!(checked, 12);
}

#[test]
fn v_03_the_tabulated_user_not_found_is_an_error_where_the_tolerance_is_off() {
    let strict = Wire { type_0_not_found: false, ..Wire::default() };
    let error = Packet::decode(&[0, 0, 0, 6, 0, 0], &strict).unwrap_err();
    assert_eq!((error.field, error.offset), ("Sample Rate", 6));
}

#[test]
fn v_02_variable_parts_are_borrowed_from_the_frame() {
    let vectors = vectors(VECTORS);
    let frame = &vectors.iter().find(|vector| vector.name == "handshake_optional_be").unwrap().bytes;
    let Ok(Packet::Handshake(handshake)) = Packet::decode(frame, &Wire::default()) else { panic!() };
    assert!(frame.as_ptr_range().contains(&handshake.user_name.as_ptr()));
    assert_eq!(handshake.optional.as_ptr(), &raw const frame[24]);
}

#[test]
fn v_06_data_is_borrowed_from_the_frame() {
    let frame = [0, 0, 0, 8, 0, 6, 1, 2];
    let Ok(Packet::Data(data)) = Packet::decode(&frame, &Wire::default()) else { panic!() };
    assert_eq!(data.as_ptr(), &raw const frame[6]);
}

#[test]
fn v_12_every_prefix_and_every_changed_byte_of_every_vector_is_harmless() {
    for vector in vectors(VECTORS) {
        for order in [ByteOrder::BigEndian, ByteOrder::LittleEndian] {
            law_hostile::<Packet<'static>>(&vector.bytes, &Wire::new(order));
        }
        if !vector.expect.starts_with("error") && !vector.expect.ends_with("tolerated") {
            let canonical = law_frame::<Packet<'static>>(&vector.bytes, &wire(vector.name));
            assert_eq!(canonical.as_ref(), Some(&vector.bytes), "{}", vector.name);
        }
    }
}

#[test]
fn c_15_any_message_can_be_kept() {
    for vector in vectors(VECTORS).into_iter().filter(|vector| !vector.expect.starts_with("error")) {
        let wire = wire(vector.name);
        let packet = Packet::decode(&vector.bytes, &wire).unwrap();
        let kept: Owned<Packet<'static>> = Owned::new(&packet, &wire).unwrap();
        drop(vector.bytes.clone());
        assert_eq!(kept.get(), packet);
        assert_eq!(format!("{kept:?}"), format!("Owned({packet:?})"));
    }
}
