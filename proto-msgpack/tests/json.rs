//! C-17: `vectors/messages.json`, for other languages, says what `tests/vectors/messages.txt` says. `VOXWIRE_BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use rmpv::Value;
use voxwire_core::testing::{
    Vector, assert_json_file, hex, json_object as object, json_string as string, vectors,
};

/// An object of MessagePack as JSON: what is no text is its hex digits in an object.
fn json(value: &Value) -> String {
    match value {
        Value::String(text) => text.as_str().map_or_else(|| bytes(text.as_bytes()), string),
        Value::Binary(binary) => str::from_utf8(binary).map_or_else(|_| bytes(binary), string),
        Value::Integer(number) => number.to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(json).collect::<Vec<_>>().join(", ")),
        other => panic!("no vector has {other:?}"),
    }
}

fn bytes(bytes: &[u8]) -> String {
    object(&[("bytes", string(&hex(bytes)))])
}

/// The objects of a message, as rmpv finds them.
fn objects(mut bytes: &[u8]) -> String {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(json(&rmpv::decode::read_value_with_max_depth(&mut bytes, 16).unwrap()));
    }
    format!("[{}]", found.join(", "))
}

fn vector(vector: &Vector<'_>) -> String {
    let derived = ["req_leave_call_document", "res_user_already_connected"].contains(&vector.name);
    let source = if derived { "derived from the document" } else { "captured from the original programs" };
    let mut members = vec![("name", string(vector.name)), ("source", string(source))];
    let words: Vec<&str> = vector.expect.split(' ').collect();
    let end = ("hex", string(&hex(&vector.bytes)));
    if words[0] == "unit" {
        let unit = vector.name.split('_').nth(1).unwrap();
        members.extend([end, ("fields", object(&[("message", string("ZMTP")), ("unit", string(unit))]))]);
        return object(&members);
    }
    members.extend([("from", string(words[0])), end]);
    match words[1] {
        "lenient" | "error" => {
            let at = [("field", string(words[2])), ("offset", words[3].into())];
            members.push(("error", object(&at)));
            if words[1] == "lenient" {
                members.push(("lenient", "true".into()));
            }
        }
        how => {
            members.push(("fields", object(&[("objects", objects(&vector.bytes))])));
            if how == "other" {
                members.push(("canonical", "false".into()));
            }
        }
    }
    object(&members)
}

#[test]
fn c_17_vectors_for_other_languages_are_those_of_the_tests() {
    let objects: Vec<String> = vectors(include_str!("vectors/messages.txt")).iter().map(vector).collect();
    assert_json_file(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/messages.json"), &objects);
}
