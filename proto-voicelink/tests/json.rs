//! C-17: `vectors/packets.json`, for other languages, says what `tests/vectors/packets.txt` says. `VOXWIRE_BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use voxwire_core::testing::{
    Vector, assert_json_file, hex, json_object as object, json_string as string, vectors,
};

/// The members of a packet that an expectation describes: see `with_expected` in `vectors.rs`.
fn fields(expect: &str) -> String {
    let words: Vec<&str> = expect.split_whitespace().collect();
    let names: &[&str] = match words[0] {
        "Handshake" => &["sample_rate", "channels", "format", "chunk_size", "user_name", "optional"],
        "Parameters" => &["sample_rate", "channels", "format", "chunk_size", "optional"],
        "Close" | "Accept" | "Drop" => &["optional"],
        "Data" => &["samples"],
        _ => &[],
    };
    let mut members = vec![("message", string(words[0]))];
    for (&name, &word) in names.iter().zip(&words[1..]) {
        let word = if word == "-" { "" } else { word };
        let is_number = matches!(name, "sample_rate" | "channels" | "chunk_size");
        members.push((name, if is_number { word.into() } else { string(word) }));
    }
    object(&members)
}

/// `FIELD OFFSET`, as an object.
fn error(words: &str) -> String {
    let (field, offset) = words.rsplit_once(' ').unwrap();
    object(&[("field", string(field)), ("offset", offset.into())])
}

fn vector(vector: &Vector<'_>) -> String {
    let wire = if vector.name.ends_with("_le") { "little-endian" } else { "big-endian" };
    let mut members = vec![
        ("name", string(vector.name)),
        ("source", string("derived from the document")),
        ("wire", string(wire)),
        ("hex", string(&hex(&vector.bytes))),
    ];
    if let Some(words) = vector.expect.strip_prefix("error ") {
        members.push(("error", error(words)));
    } else {
        members.push(("fields", fields(vector.expect)));
        if vector.expect.ends_with("tolerated") {
            members.push(("canonical", "false".into()));
        }
    }
    object(&members)
}

#[test]
fn c_17_vectors_for_other_languages_are_those_of_the_tests() {
    let objects: Vec<String> = vectors(include_str!("vectors/packets.txt")).iter().map(vector).collect();
    assert_json_file(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/packets.json"), &objects);
}
