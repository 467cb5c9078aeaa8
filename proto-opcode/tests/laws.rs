//! The law kit over every message, with random contents.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;
use voxwire_core::testing::{chop, law_frame, law_message};
use voxwire_core::{EncodeError, Message};
use voxwire_opcode::{CallRequest, MAX_VOICE, Packet, Text, Wire, voice};

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

/// Every message type, made of the given parts.
fn packets<'a>(names: &'a [Text<'a>], name: &'a [u8], data: &'a [u8], port: u16) -> [Packet<'a>; 11] {
    let (contacts, name, host) = (names.into(), Text(name), names.first().copied().unwrap_or_default());
    [
        Packet::HelloConnect,
        Packet::Login { name },
        Packet::LoginSuccess,
        Packet::LoginFailed { reason: name },
        Packet::AddContact { contacts },
        Packet::CallRequest(CallRequest { contact: name, host, port }),
        Packet::VoiceData(data),
        Packet::ErrorResponse { what: name },
        Packet::CallRefused { contact: name },
        Packet::DelContact { contacts },
        Packet::ConnectionEstablished,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn c_13_every_message_obeys_the_laws(
        names in proptest::collection::vec(bytes(30), 0..10), name in bytes(256), data in bytes(400), port: u16,
    ) {
        let names: Vec<Text<'_>> = names.iter().map(|name| Text(name)).collect();
        let mut scratches: [Vec<u8>; 11] = Default::default();
        for (packet, scratch) in packets(&names, &name, &data, port).into_iter().zip(&mut scratches) {
            let frame = law_message(&packet, &Wire::SERVER, scratch).to_vec();
            let canonical = law_frame::<Packet<'static>>(&frame, &Wire::SERVER);
            prop_assert_eq!(canonical.as_ref(), Some(&frame));
            let said = matches!(packet, Packet::VoiceData(_)).then_some(&data[..]);
            prop_assert_eq!(voice::data(&frame), said);
        }
    }

    #[test]
    fn any_bytes_obey_the_laws(frame in bytes(64), opcode in 0..13_u8) {
        let mut frame = frame;
        let length = frame.len();
        if length >= 10 {
            frame[..10].fill(0);
            frame[0] = u8::try_from(length - 8).unwrap();
            frame[8] = opcode;
        }
        law_frame::<Packet<'static>>(&frame, &Wire::SERVER);
    }

    #[test]
    fn o_02_any_split_of_a_stream_gives_the_same_packets(
        names in proptest::collection::vec(bytes(9), 0..4), name in bytes(20), data in bytes(60), tail in bytes(12), seed: u64,
    ) {
        let names: Vec<Text<'_>> = names.iter().map(|name| Text(name)).collect();
        let mut stream = Vec::new();
        for packet in packets(&names, &name, &data, 1) {
            packet.encode(&Wire::SERVER, &mut stream).unwrap();
        }
        stream.extend(tail);
        chop(|| Wire::SERVER.framing(), &stream, seed);
    }
}

#[test]
fn c_04_what_does_not_fit_is_refused_by_name() {
    let wire = Wire::SERVER;
    let long = [b'a'; 256];
    let too_long = |field, len, max| Err(EncodeError::TooLong { field, len, max });
    assert_eq!(Packet::Login { name: Text(&long) }.encoded_len(&wire), too_long("name", 256, 255));
    let host = CallRequest { contact: Text(b""), host: Text(&long), port: 0 };
    assert_eq!(Packet::CallRequest(host).encoded_len(&wire), too_long("host", 256, 255));
    let many = vec![Text(b""); 4097];
    assert_eq!(
        Packet::AddContact { contacts: many[..].into() }.encoded_len(&wire),
        too_long("contacts", 4097, 4096)
    );
    // Few enough, and together too long.
    let long = vec![Text(&long[..255]); 300];
    assert_eq!(
        Packet::AddContact { contacts: long[..].into() }.encoded_len(&wire),
        too_long("length", 300 * 263 + 18, 65_536)
    );
    let data = vec![0; MAX_VOICE + 1];
    assert!(Packet::VoiceData(&data[1..]).encoded_len(&wire).is_ok());
    assert_eq!(Packet::VoiceData(&data).encoded_len(&wire), too_long("data", 8193, 8192));
}
