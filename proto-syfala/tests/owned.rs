//! F-70: owned messages and events keep all there is: over serde's formats and back, and to the same bytes. With arbitrary bytes, too.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]

#[path = "../../tests/kit/owned.rs"]
mod kit;

use kit::over_serde;
#[cfg(feature = "arbitrary")]
use kit::unstructured;
use voxwire_core::testing::{law_frame, vectors};
use voxwire_core::{Message, PeerId};
use voxwire_syfala::{
    Audio, Cause, ClientEvent, ClientMessage, Format, Formats, IoState, ServerEvent, ServerMessage, Wire,
};

const WIRE: Wire = Wire::DEFAULT;

const VECTORS: &str = include_str!("vectors/messages.txt");

#[test]
fn every_vector_survives_as_it_is_encoded() {
    for vector in vectors(VECTORS) {
        let (bytes, mut again) = (&vector.bytes, Vec::new());
        if let Some(canonical) = law_frame::<ClientMessage<'static>>(bytes, &WIRE) {
            let owned = ClientMessage::decode(bytes, &WIRE).unwrap().into_owned();
            over_serde(&owned);
            owned.with(|lent| lent.encode(&WIRE, &mut again)).unwrap();
            assert_eq!(again, canonical, "{}", vector.name);
        }
        if let Some(canonical) = law_frame::<ServerMessage<'static>>(bytes, &WIRE) {
            let owned = ServerMessage::decode(bytes, &WIRE).unwrap().into_owned();
            over_serde(&owned);
            again.clear();
            owned.with(|lent| lent.encode(&WIRE, &mut again)).unwrap();
            assert_eq!(again, canonical, "{}", vector.name);
        }
    }
}

#[cfg(feature = "arbitrary")]
#[test]
fn arbitrary_messages_of_clients_that_encode_decode_to_themselves() {
    let (mut kinds, mut scratch) = (std::collections::BTreeSet::new(), Vec::new());
    for seed in 0..2000 {
        let bytes = unstructured(seed);
        let Ok(message) = arbitrary::Unstructured::new(&bytes).arbitrary::<ClientMessage<'_>>() else {
            continue;
        };
        scratch.clear();
        if message.encode(&WIRE, &mut scratch).is_ok() {
            assert_eq!(ClientMessage::decode(&scratch, &WIRE), Ok(message));
            assert_eq!(
                message.into_owned().with(|lent| lent.encode(&WIRE, &mut Vec::new())),
                Ok(scratch.len())
            );
            kinds.insert(message.name());
        }
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

#[cfg(feature = "arbitrary")]
#[test]
fn arbitrary_messages_of_servers_that_encode_decode_to_themselves() {
    let (mut kinds, mut scratch) = (std::collections::BTreeSet::new(), Vec::new());
    for seed in 0..2000 {
        let bytes = unstructured(seed);
        let Ok(message) = arbitrary::Unstructured::new(&bytes).arbitrary::<ServerMessage<'_>>() else {
            continue;
        };
        scratch.clear();
        if message.encode(&WIRE, &mut scratch).is_ok() {
            assert_eq!(ServerMessage::decode(&scratch, &WIRE), Ok(message));
            assert_eq!(
                message.into_owned().with(|lent| lent.encode(&WIRE, &mut Vec::new())),
                Ok(scratch.len())
            );
            kinds.insert(message.name());
        }
    }
    assert_eq!(kinds.len(), 10, "{kinds:?}");
}

#[test]
fn events_survive() {
    let peer = PeerId { slot: 1, generation: 2 };
    let formats = Formats { inputs: [][..].into(), outputs: [Format::STANDARD][..].into() };
    let from = Some("192.0.2.1:7".parse().unwrap());
    let found = ClientEvent::Found { server: peer, from, formats }.into_owned();
    assert_eq!(
        over_serde(&found),
        r#"{"Found":{"server":{"slot":1,"generation":2},"from":"192.0.2.1:7","formats":{"inputs":[],"outputs":[{"sample_rate":48000.0,"channel_count":2,"buffer_size":32,"sample_type":"IEEF32"}]}}}"#
    );
    let audio = ServerEvent::Audio { client: peer, audio: Audio::new(0, 8, &[1, 2]) }.into_owned();
    assert!(over_serde(&audio).ends_with(r#"{"stream":0,"byte_index":8,"n_bytes":2,"payload":[1,2]}}}"#));
    assert!(format!("{audio:?}").ends_with("payload: 2 bytes } }"));
    over_serde(&ClientEvent::Lost { server: peer, cause: Cause::TimedOut }.into_owned());
    over_serde(&ServerEvent::Gone { client: peer, cause: Cause::Changed, io: IoState::Active }.into_owned());
}

#[cfg(feature = "defmt")]
#[test]
fn messages_events_and_errors_can_be_logged_by_defmt() {
    fn is_format<T: defmt::Format>() {}
    is_format::<ClientMessage<'static>>();
    is_format::<ServerMessage<'static>>();
    is_format::<ClientEvent<'static>>();
    is_format::<ServerEvent<'static>>();
    is_format::<voxwire_syfala::Violation>();
    is_format::<voxwire_core::Output<'static>>();
}
