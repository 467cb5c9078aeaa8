//! C-17: `vectors/packets.json`, for other languages, says what `tests/vectors/packets.txt` says. `VOXWIRE_BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use voxwire_core::testing::{
    Vector, assert_json_file, hex, json_object as object, json_string as string, vectors,
};

/// The members of a packet that an expectation describes: see `with_expected` in `vectors.rs`.
fn fields(expect: &str) -> String {
    let words: Vec<String> = expect.split(' ').map(|word| word.replace('_', " ")).collect();
    let texts: Vec<String> =
        words[1..].iter().map(|word| string(if word == "-" { "" } else { word })).collect();
    let mut members = vec![("message", string(&words[0]))];
    match &*words[0] {
        "Login" => members.push(("name", texts[0].clone())),
        "LoginFailed" => members.push(("reason", texts[0].clone())),
        "ErrorResponse" => members.push(("what", texts[0].clone())),
        "CallRefused" => members.push(("contact", texts[0].clone())),
        "AddContact" | "DelContact" => members.push(("contacts", format!("[{}]", texts.join(", ")))),
        "CallRequest" => {
            members.push(("contact", texts[0].clone()));
            members.push(("host", texts[1].clone()));
            members.push(("port", words[3].clone()));
        }
        "VoiceData" => members.push(("data", texts[0].clone())),
        _ => assert!(texts.is_empty(), "{expect}"),
    }
    object(&members)
}

/// `FIELD OFFSET`, as an object.
fn error(words: &str) -> String {
    let (field, offset) = words.rsplit_once(' ').unwrap();
    object(&[("field", string(field)), ("offset", offset.into())])
}

fn vector(vector: &Vector<'_>, source: &str) -> String {
    let mut members =
        vec![("name", string(vector.name)), ("source", string(source)), ("hex", string(&hex(&vector.bytes)))];
    match vector.expect.strip_prefix("error ") {
        Some(words) => members.push(("error", error(words))),
        None => members.push(("fields", fields(vector.expect))),
    }
    object(&members)
}

#[test]
fn c_17_vectors_for_other_languages_are_those_of_the_tests() {
    let (captured, derived) = include_str!("vectors/packets.txt").split_once("# derived\n").unwrap();
    let captured =
        vectors(captured).into_iter().map(|one| vector(&one, "captured from the original programs"));
    let derived = vectors(derived).into_iter().map(|one| vector(&one, "derived from the document"));
    let objects: Vec<String> = captured.chain(derived).collect();
    assert_json_file(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/packets.json"), &objects);
}
