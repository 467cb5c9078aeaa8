//! C-17: `vectors/messages.json`, for other languages, says what `tests/vectors/messages.txt` says. `VOXWIRE_BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use voxwire_core::Message;
use voxwire_core::testing::{
    Vector, assert_json_file, hex, json_object as object, json_string as string, vectors,
};
use voxwire_syfala::{Audio, ClientMessage, Format, ServerMessage, Wire};

const WIRE: Wire = Wire::DEFAULT;

fn named(name: &str) -> String {
    object(&[("message", string(name))])
}

fn audio(audio: Audio<'_>) -> String {
    object(&[
        ("message", string("Audio")),
        ("stream", audio.stream.to_string()),
        ("byte_index", audio.byte_index.to_string()),
        ("n_bytes", audio.n_bytes.to_string()),
        ("payload", string(&hex(audio.payload))),
    ])
}

fn formats(formats: impl Iterator<Item = Format>) -> String {
    let formats = formats.map(|format| {
        object(&[
            ("sample_rate", format!("{:?}", format.sample_rate.get())),
            ("channels", format.channels.to_string()),
            ("buffer_size", format.buffer_size.map_or(0, |size| size.get()).to_string()),
            ("sample_type", string(&format!("{:?}", format.sample_type).to_uppercase())),
        ])
    });
    format!("[{}]", formats.collect::<Vec<_>>().join(", "))
}

fn client(bytes: &[u8]) -> Result<(String, Vec<u8>), (&'static str, usize)> {
    let message = ClientMessage::decode(bytes, &WIRE).map_err(|error| (error.field, error.offset))?;
    let mut again = Vec::new();
    message.encode(&WIRE, &mut again).unwrap();
    let fields = match message {
        ClientMessage::Audio(head) => audio(head),
        other => named(&format!("{other:?}").replace("Io", "IO")),
    };
    Ok((fields, again))
}

fn server(bytes: &[u8]) -> Result<(String, Vec<u8>), (&'static str, usize)> {
    let message = ServerMessage::decode(bytes, &WIRE).map_err(|error| (error.field, error.offset))?;
    let mut again = Vec::new();
    message.encode(&WIRE, &mut again).unwrap();
    let fields = match message {
        ServerMessage::Audio(head) => audio(head),
        ServerMessage::Connect(offer) => object(&[
            ("message", string("Connect")),
            ("inputs", formats(offer.inputs.iter())),
            ("outputs", formats(offer.outputs.iter())),
        ]),
        other => named(&format!("{other:?}").replace("Io", "IO")),
    };
    Ok((fields, again))
}

/// `None` for what is never on the wire.
fn vector(vector: &Vector<'_>) -> Option<String> {
    let (origin, note) = vector.expect.split_once(": ").unwrap();
    let source = match origin {
        "golden" => "encoded by the reference implementation",
        "golden-decode" => "given to the reference implementation's decoder",
        "golden-live" => "captured from a run of the reference implementation",
        _ => return None,
    };
    let from_client = vector.name.contains("c2s") || vector.name.starts_with("upstream");
    let result = if from_client { client(&vector.bytes) } else { server(&vector.bytes) };
    assert_eq!(result.is_err(), note.starts_with("REJECT"), "{}", vector.name);
    let mut members = vec![
        ("name", string(vector.name)),
        ("source", string(source)),
        ("from", string(if from_client { "client" } else { "server" })),
        ("hex", string(&hex(&vector.bytes))),
    ];
    match result {
        Ok((fields, again)) => {
            members.push(("fields", fields));
            if again != vector.bytes {
                members.push(("canonical", "false".into()));
            }
        }
        Err((field, offset)) => {
            members.push(("error", object(&[("field", string(field)), ("offset", offset.to_string())])));
        }
    }
    Some(object(&members))
}

#[test]
fn c_17_vectors_for_other_languages_are_those_of_the_tests() {
    let objects: Vec<String> =
        vectors(include_str!("vectors/messages.txt")).iter().filter_map(vector).collect();
    assert_json_file(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/messages.json"), &objects);
}
