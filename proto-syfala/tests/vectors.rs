//! Every vector decodes to what it means, canonical ones encode to the same bytes, malformed ones say where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use voxwire_core::testing::{Vector, law_frame, law_hostile, vectors};
use voxwire_core::{Message, Owned};
use voxwire_syfala::{Audio, ClientMessage, Format, Formats, SampleType, ServerMessage, Wire};

const VECTORS: &str = include_str!("vectors/messages.txt");
const WIRE: Wire = Wire::DEFAULT;

/// The vectors of one origin, and whether a client sends them.
fn of<'a>(origin: &str) -> Vec<(bool, Vector<'a>)> {
    let mut found = vectors(VECTORS);
    found.retain(|vector| vector.expect.split(':').next() == Some(origin));
    assert!(!found.is_empty());
    found.into_iter().map(|vector| (vector.name.contains("c2s"), vector)).collect()
}

/// What a message encodes to, if the bytes decode.
fn canonical(client: bool, bytes: &[u8]) -> Option<Vec<u8>> {
    if client {
        law_frame::<ClientMessage<'static>>(bytes, &WIRE)
    } else {
        law_frame::<ServerMessage<'static>>(bytes, &WIRE)
    }
}

#[test]
fn s_01_what_the_reference_encodes_decodes_and_encodes_to_the_same_bytes() {
    let all: Vec<_> = of("golden").into_iter().chain(of("golden-live")).collect();
    for (client, vector) in all.iter().filter(|(_, vector)| !vector.name.starts_with("upstream_defect")) {
        assert_eq!(canonical(*client, &vector.bytes).as_ref(), Some(&vector.bytes), "{}", vector.name);
    }
    // Every message but two is among them.
    let mut seen = std::collections::BTreeSet::new();
    for (client, vector) in &all {
        seen.insert((*client, vector.bytes[0]));
    }
    for (client, last) in [(true, 8), (false, 9)] {
        let missing: Vec<u8> = (0..=last).filter(|first| !seen.contains(&(client, *first))).collect();
        assert_eq!(missing, [2], "{client}");
    }
    let connect = [0, 0, 1, 0, 0, 0, 0, 0, 0x70, 0xe7, 0x40, 2, 0x20, 0x0a];
    let ServerMessage::Connect(Formats { inputs, outputs }) = ServerMessage::decode(&connect, &WIRE).unwrap()
    else {
        panic!()
    };
    assert_eq!((inputs.len(), outputs.iter().collect::<Vec<_>>()), (0, vec![Format::STANDARD]));
    let audio = [6, 2, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let expected = Audio::new(2, 4096, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(ClientMessage::decode(&audio, &WIRE), Ok(ClientMessage::Audio(expected)));
}

#[test]
fn s_01_s_12_what_the_reference_tolerates_is_taken_and_what_it_rejects_is_not() {
    for (client, vector) in of("golden-decode") {
        let taken = canonical(client, &vector.bytes).is_some();
        assert_eq!(taken, !vector.expect.contains("REJECT"), "{}: {}", vector.name, vector.expect);
    }
    // What reference clients really send: nothing but zeros.
    let zeros =
        vectors(VECTORS).into_iter().find(|vector| vector.name == "upstream_defect_send_msg").unwrap();
    assert_eq!(ClientMessage::decode(&zeros.bytes, &WIRE), Ok(ClientMessage::Discovery));
    let Ok(ServerMessage::Connect(formats)) = ServerMessage::decode(&zeros.bytes, &WIRE) else { panic!() };
    assert!(formats.inputs.is_empty() && formats.outputs.is_empty());
    // A head that promises more than there is.
    let short = [6, 2, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3];
    let Ok(ClientMessage::Audio(audio)) = ClientMessage::decode(&short, &WIRE) else { panic!() };
    assert!(!audio.is_whole() && audio.payload == [1, 2, 3]);
}

#[test]
fn c_05_errors_name_the_field_and_its_offset() {
    for (bytes, field, offset) in [
        (&[][..], "message", 0),
        (&[9], "message", 0),
        (&[0x80, 0x80, 0x80, 0x80, 0x80], "message", 0),
        (&[6, 0, 0, 0], "stream index", 1),
        (&[6, 0, 0, 0, 0, 1], "byte index", 5),
        (&[0x86, 0, 0, 0, 0, 0, 1], "byte index", 6),
    ] {
        let error = ClientMessage::decode(bytes, &WIRE).unwrap_err();
        assert_eq!((error.field, error.offset), (field, offset), "{bytes:02x?}");
    }
    let rate = [0, 0, 0, 0, 0, 0x70, 0xe7, 0x40];
    let format = |rest: &[u8]| [&[0, 1][..], &rate, rest].concat();
    for (bytes, field, offset) in [
        (vec![0], "inputs", 1),
        (vec![0, 0], "outputs", 2),
        (vec![0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], "inputs", 6),
        ([&[0, 1][..], &[0; 11]].concat(), "sample rate", 2),
        (format(&[0, 32, 10]), "channel count", 10),
        (format(&[2, 32, 12]), "sample type", 12),
        (format(&[2, 0xff, 0xff, 0xff, 0xff, 0x1f, 0]), "buffer size", 11),
    ] {
        let error = ServerMessage::decode(&bytes, &WIRE).unwrap_err();
        assert_eq!((error.field, error.offset), (field, offset), "{bytes:02x?}");
    }
    let long = vec![8; 5001];
    assert_eq!(ClientMessage::decode(&long, &WIRE).unwrap_err().field, "datagram");
}

#[test]
fn changed_vectors_never_panic_and_what_they_mean_is_kept() {
    for vector in vectors(VECTORS).into_iter().filter(|vector| vector.bytes.len() < 40) {
        law_hostile::<ClientMessage<'static>>(&vector.bytes, &WIRE);
        law_hostile::<ServerMessage<'static>>(&vector.bytes, &WIRE);
    }
}

#[test]
fn a_message_can_be_kept() {
    let outputs = [Format { sample_type: SampleType::I16, ..Format::STANDARD }];
    let message = ServerMessage::Connect(Formats { inputs: [][..].into(), outputs: outputs[..].into() });
    let kept: Owned<ServerMessage<'static>> = Owned::new(&message, &WIRE).unwrap();
    assert_eq!(kept.get(), message);
}

#[cfg(feature = "serde")]
#[test]
fn s_02_owned_messages_are_what_the_reference_gives_to_postcard() {
    use voxwire_syfala::owned::reference::{Client, Server};
    for (client, vector) in of("golden-nested") {
        let (name, bytes) = (vector.name, &vector.bytes);
        if client {
            let owned: Client = postcard::from_bytes(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(&postcard::to_allocvec(&owned).unwrap(), bytes, "{name}");
            // There and back over the wire's own form.
            assert_eq!(Client::from(&owned.message(&[])), owned, "{name}");
            let json = serde_json::to_string(&owned).unwrap();
            assert_eq!(serde_json::from_str::<Client>(&json).unwrap(), owned, "{json}");
        } else {
            let owned: Server = postcard::from_bytes(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(&postcard::to_allocvec(&owned).unwrap(), bytes, "{name}");
            let json = serde_json::to_string(&owned).unwrap();
            assert_eq!(serde_json::from_str::<Server>(&json).unwrap(), owned, "{json}");
        }
    }
    let standard =
        ServerMessage::decode(&[0, 0, 1, 0, 0, 0, 0, 0, 0x70, 0xe7, 0x40, 2, 0x20, 0x0a], &WIRE).unwrap();
    let json = serde_json::to_string(&Server::from(&standard)).unwrap();
    assert_eq!(
        json,
        r#"{"Connect":{"inputs":[],"outputs":[{"sample_rate":48000.0,"channel_count":2,"buffer_size":32,"sample_type":"IEEF32"}]}}"#
    );
    let silent = json.replace("48000.0", "0.0");
    assert!(serde_json::from_str::<Server>(&silent).unwrap_err().to_string().contains("sample rate"));
}
