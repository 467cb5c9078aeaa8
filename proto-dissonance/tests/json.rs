//! C-17: `vectors/packets.json`, for other languages, says what `tests/vectors/packets.txt` says. `VOXWIRE_BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use voxwire_core::testing::{
    Vector, assert_json_file, hex, json_object as object, json_string as string, vectors,
};
use voxwire_dissonance::{Channel, Priority, Recipient};

/// The parts of a channel's bitfield.
fn bitfield(bytes: &[u8]) -> String {
    let channel = Channel::from_bits(u16::from_be_bytes([bytes[0], bytes[1]]), 1);
    let to = if matches!(channel.recipient(), Recipient::Room(_)) { "room" } else { "player" };
    let priority = match channel.priority() {
        Priority::Low => "low",
        Priority::Medium => "medium",
        Priority::High => "high",
        _ => "default",
    };
    object(&[
        ("message", string("channel bitfield")),
        ("to", string(to)),
        ("closing", channel.is_closing().to_string()),
        ("priority", string(priority)),
        ("volume_steps", bytes[0].to_string()),
    ])
}

/// `None` for a vector of a part that the packets contain.
fn vector(vector: &Vector<'_>) -> Option<String> {
    let mut members = vec![
        ("name", string(vector.name)),
        ("source", string("derived from studies of real implementations")),
        ("hex", string(&hex(&vector.bytes))),
    ];
    let (kind, rest) = vector.expect.split_once(' ').unwrap_or((vector.expect, ""));
    members.push(match kind {
        "error" => {
            let (field, offset) = rest.rsplit_once(' ').unwrap();
            ("error", object(&[("field", string(field)), ("offset", offset.into())]))
        }
        "room" => ("fields", object(&[("message", string("room id")), ("name", rest.into())])),
        "bitfield" => ("fields", bitfield(&vector.bytes)),
        _ if vector.expect.starts_with('{') => ("fields", vector.expect.into()),
        _ => return None,
    });
    Some(object(&members))
}

#[test]
fn c_17_vectors_for_other_languages_are_those_of_the_tests() {
    let objects: Vec<String> =
        vectors(include_str!("vectors/packets.txt")).iter().filter_map(vector).collect();
    assert_json_file(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/packets.json"), &objects);
}
