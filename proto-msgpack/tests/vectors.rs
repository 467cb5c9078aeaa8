//! Every captured vector decodes to what an independent decoder finds in it, canonical ones encode to the same bytes, malformed
//! ones say where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::kit;

use kit::{client_fields, objects, server_fields};
use voxwire_core::testing::{Vector, vectors};
use voxwire_core::{DecodeErrorKind, Framing as _, Message, Owned, Progress};
use voxwire_msgpack::zmtp::SocketType;
use voxwire_msgpack::{Action, ClientMessage, Code, Framing, ServerMessage, Wire};

const VECTORS: &str = include_str!("vectors/messages.txt");

fn with(expect: &str) -> Vec<Vector<'_>> {
    let vectors = vectors(VECTORS);
    let found: Vec<_> = vectors.into_iter().filter(|vector| vector.expect.starts_with(expect)).collect();
    assert!(!found.is_empty(), "{expect}");
    found
}

#[test]
fn m_01_m_02_m_03_m_04_vectors_decode_to_what_they_hold_and_back() {
    for same in ["same", "other"] {
        for vector in with(&format!("client {same}")) {
            let message = ClientMessage::decode(&vector.bytes, &Wire::SERVER).unwrap();
            let mut held = objects(&vector.bytes);
            // As the document draws it.
            if vector.name == "silent_add_contact_as_documented" {
                held.insert(0, "request".into());
            }
            let fields = client_fields(&message);
            assert_eq!(fields[..], held[..fields.len()], "{}", vector.name);
            assert_eq!(held.len() > fields.len(), vector.name == "ok_trailing_objects");
            let mut again = Vec::new();
            message.encode(&Wire::SERVER, &mut again).unwrap();
            assert_eq!(again == vector.bytes, same == "same", "{}", vector.name);
            assert_eq!(objects(&again), fields, "{}", vector.name);
        }
    }
    for vector in with("server same") {
        let message = ServerMessage::decode(&vector.bytes, &Wire::CLIENT).unwrap();
        assert_eq!(server_fields(&message), objects(&vector.bytes), "{}", vector.name);
        let mut again = Vec::new();
        message.encode(&Wire::CLIENT, &mut again).unwrap();
        assert_eq!(again, vector.bytes, "{}", vector.name);
    }
}

#[test]
fn m_06_missing_arguments_are_an_error_by_default_and_empty_for_the_original() {
    for vector in with("client lenient") {
        let words: Vec<&str> = vector.expect.split(' ').collect();
        let error = ClientMessage::decode(&vector.bytes, &Wire::SERVER).unwrap_err();
        assert_eq!((error.field, error.offset), (words[2], words[3].parse().unwrap()), "{}", vector.name);
        assert!(matches!(error.kind, DecodeErrorKind::Truncated { .. }), "{}", vector.name);
        let message = ClientMessage::decode(&vector.bytes, &Wire::ORIGINAL).unwrap();
        let fields = client_fields(&message);
        assert!(fields.last().unwrap().is_empty(), "{}: {fields:?}", vector.name);
    }
    // Behind what is missing everything is.
    let mut bytes = b"\xa7request\xa9voice_msg".to_vec();
    let message = ClientMessage::decode(&bytes, &Wire::ORIGINAL).unwrap();
    assert_eq!(client_fields(&message), ["request", "voice_msg", "", "", "", "0", "0", "[]"]);
    bytes.extend(b"\xa3abc\xa1");
    let message = ClientMessage::decode(&bytes, &Wire::ORIGINAL).unwrap();
    assert_eq!(client_fields(&message), ["request", "voice_msg", "abc", "", "", "0", "0", "[]"]);
}

#[test]
fn m_06_m_11_c_05_malformed_vectors_name_the_field_and_its_offset() {
    for vector in with("client error") {
        let words: Vec<&str> = vector.expect.split(' ').collect();
        for wire in [Wire::SERVER, Wire::ORIGINAL] {
            let error = ClientMessage::decode(&vector.bytes, &wire).unwrap_err();
            assert_eq!((error.field, error.offset), (words[2], words[3].parse().unwrap()), "{}", vector.name);
        }
    }
    let error = |bytes: &[u8]| ClientMessage::decode(bytes, &Wire::SERVER).unwrap_err().to_string();
    assert_eq!(error(b"\x93\xa7request"), "type at offset 0: unknown tag 147, expected a string");
    assert_eq!(
        error(b"\xa7request\xa4fly!"),
        "action at offset 8: unknown name, expected one of the eleven requests"
    );
    assert_eq!(
        error(b"\xa7request\xa6logout\xda\x01\x00"),
        "username at offset 15: 256 announced, at most 255 allowed"
    );
    assert_eq!(error(b""), "type at offset 0: 1 more bytes expected before the end of the frame");
}

#[test]
fn m_03_every_code_of_the_original_by_name() {
    let codes = [
        (0, "SUCCESS"),
        (255, "IDENTITY_NOT_CONNECTED"),
        (256, "IDENTITY_ALREADY_CONNECTED"),
        (511, "USER_ALREADY_CONNECTED"),
        (512, "USER_NOT_CONNECTED"),
        (513, "USER_ALREADY_EXIST"),
        (514, "USER_DOES_NOT_EXIST"),
        (515, "USER_WRONG_PASSWORD"),
        (516, "USER_INCORRECT_IDENTITY"),
        (517, "USER_INCORRECT_TOKEN"),
        (767, "GROUP_ALREADY_EXIST"),
        (768, "GROUP_DOES_NOT_EXIST"),
        (769, "GROUP_MEMBER_ALREADY_EXIST"),
        (770, "GROUP_MEMBER_DOES_NOT_EXIST"),
    ];
    for (number, name) in codes {
        assert_eq!(Code(number).name(), Some(name));
        assert_eq!(Code(number).to_string(), format!("{name} ({number})"));
        let message = ServerMessage::Response { action: "logout".into(), code: Code(number) };
        let mut bytes = Vec::new();
        message.encode(&Wire::CLIENT, &mut bytes).unwrap();
        // 0 is `00`, 255 `cc ff`, all others `cd` and two bytes, as the original has them.
        let width = match number {
            0 => 1,
            255 => 2,
            _ => 3,
        };
        assert_eq!(bytes.len(), 9 + 7 + width);
        assert_eq!(ServerMessage::decode(&bytes, &Wire::CLIENT), Ok(message));
    }
    assert_eq!((Code(77).name(), Code(77).to_string()), (None, "code 77".to_string()));
}

#[test]
fn m_09_captured_units_are_those_that_are_written_and_cut() {
    let vectors = with("unit");
    let unit = |name: &str| &vectors.iter().find(|vector| vector.name == name).unwrap().bytes;
    let mut greeting = Vec::new();
    voxwire_msgpack::zmtp::put_greeting(&mut greeting);
    assert_eq!(&greeting, unit("zmtp_greeting_client_3_0"));
    assert_eq!(&greeting, unit("zmtp_greeting_server_3_0"));
    let mut ready = Vec::new();
    voxwire_msgpack::zmtp::put_ready(SocketType::Dealer, &mut ready);
    assert_eq!(&ready, unit("zmtp_ready_dealer"));
    for greeting in ["zmtp_greeting_client_3_0", "zmtp_greeting_server_3_1"] {
        let mut framing = Framing::server(&Wire::SERVER);
        assert!(framing.is_ready(), "nothing has begun");
        assert!(matches!(framing.next_frame(unit(greeting)), Ok(Progress::Skip(n)) if n.get() == 64));
        assert!(!framing.is_ready());
        assert!(
            matches!(framing.next_frame(unit("zmtp_ready_dealer")), Ok(Progress::Skip(n)) if n.get() == 43)
        );
        assert!(framing.is_ready());
        let mut pending = Vec::new();
        framing.take_pending(&mut pending);
        assert_eq!(pending.len(), 64 + 43);
        let frame = unit("zmtp_frame_login");
        assert_eq!(framing.next_frame(frame), Ok(Progress::Frame { header: 2, body: 25 }));
        let login = ClientMessage::decode(&frame[2..], &Wire::SERVER).unwrap();
        assert_eq!(client_fields(&login), ["request", "login", "edoren", "bad"]);
    }
}

#[test]
fn messages_can_be_kept_and_secrets_are_not_shown() {
    let message = ClientMessage::Login { username: "ann".into(), password: "geheim".into() };
    let kept: Owned<ClientMessage<'static>> = Owned::new(&message, &Wire::SERVER).unwrap();
    assert_eq!(kept.get(), message);
    assert_eq!(format!("{kept:?}"), r#"Owned(Login { username: "ann", password: *** })"#);
    assert_eq!(kept.get().action(), Action::Login);
}
