//! F-70: owned messages and events keep all there is: over serde's formats and back, and to the same bytes. With arbitrary bytes, too.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]

#[path = "../../tests/kit/owned.rs"]
mod kit;

use kit::over_serde;
#[cfg(feature = "arbitrary")]
use kit::unstructured;
use voxwire_core::testing::vectors;
use voxwire_core::{Instant, Message, PeerId};
use voxwire_msgpack::{
    Action, ClientEvent, ClientMessage, Code, Samples, ServerEvent, ServerMessage, Ticket, Wire, owned,
};

const VECTORS: &str = include_str!("vectors/messages.txt");

#[test]
fn every_vector_survives_as_the_shortest_form_has_it() {
    let mut checked = 0;
    for vector in vectors(VECTORS) {
        let mut again = Vec::new();
        if let Ok(message) = ClientMessage::decode(&vector.bytes, &Wire::SERVER) {
            let owned = message.into_owned();
            over_serde(&owned);
            owned.with(|lent| lent.encode(&Wire::SERVER, &mut again)).unwrap();
            assert_eq!(ClientMessage::decode(&again, &Wire::SERVER), Ok(message), "{}", vector.name);
            checked += 1;
        }
        if let Ok(message) = ServerMessage::decode(&vector.bytes, &Wire::CLIENT) {
            let owned = message.into_owned();
            over_serde(&owned);
            again.clear();
            owned.with(|lent| lent.encode(&Wire::CLIENT, &mut again)).unwrap();
            assert_eq!(ServerMessage::decode(&again, &Wire::CLIENT), Ok(message), "{}", vector.name);
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}

#[test]
fn samples_stay_integers_or_floats() {
    let floats = [0.5_f32, -1.0];
    for samples in [Samples::from(&[1_i16, -2][..]), Samples::from(&floats[..]), Samples::default()] {
        let owned = owned::Samples::from(samples);
        over_serde(&owned);
        assert!(owned.lend() == samples && owned.lend().kind() == samples.kind());
        assert_eq!(format!("{owned:?}"), format!("{samples:?}"));
    }
}

#[cfg(feature = "arbitrary")]
#[test]
fn arbitrary_requests_that_encode_decode_to_themselves() {
    let (mut kinds, mut scratch) = (std::collections::BTreeSet::new(), Vec::new());
    for seed in 0..2000 {
        let bytes = unstructured(seed);
        let Ok(message) = arbitrary::Unstructured::new(&bytes).arbitrary::<ClientMessage<'_>>() else {
            continue;
        };
        scratch.clear();
        if message.encode(&Wire::SERVER, &mut scratch).is_ok() {
            assert_eq!(ClientMessage::decode(&scratch, &Wire::SERVER), Ok(message));
            message.into_owned().with(|lent| assert_eq!(lent, message));
            kinds.insert(message.action());
        }
    }
    assert_eq!(kinds.len(), 12, "{kinds:?}");
}

#[cfg(feature = "arbitrary")]
#[test]
fn arbitrary_answers_that_encode_decode_to_themselves() {
    let (mut kinds, mut scratch) = (std::collections::HashSet::new(), Vec::new());
    for seed in 0..2000 {
        let bytes = unstructured(seed);
        let Ok(message) = arbitrary::Unstructured::new(&bytes).arbitrary::<ServerMessage<'_>>() else {
            continue;
        };
        scratch.clear();
        if message.encode(&Wire::CLIENT, &mut scratch).is_ok() {
            assert_eq!(ServerMessage::decode(&scratch, &Wire::CLIENT), Ok(message));
            message.into_owned().with(|lent| assert_eq!(lent, message));
            kinds.insert(std::mem::discriminant(&message.into_owned()));
        }
    }
    assert_eq!(kinds.len(), 7, "{kinds:?}");
}

#[test]
fn events_survive_and_show_no_secret() {
    let (peer, ticket) = (PeerId { slot: 1, generation: 2 }, Ticket(3));
    let response = ClientEvent::Response { action: Action::Whisper, code: Code::SUCCESS, again: false };
    assert_eq!(
        over_serde(&response.into_owned()),
        r#"{"Response":{"action":"Whisper","code":0,"again":false}}"#
    );
    let samples = [1_i16, 2];
    let data = ClientEvent::CallData { sender: "ann".into(), samples: samples[..].into() }.into_owned();
    assert_eq!(over_serde(&data), r#"{"CallData":{"sender":"ann","samples":{"Int":[1,2]}}}"#);
    let (unanswered, retry_at) = (vec![Action::Login], Some(Instant::from_nanos(5)));
    over_serde(&ClientEvent::Disconnected { unanswered, retry_at }.into_owned());
    let asks = ServerEvent::LoggingIn { ticket, peer, username: "ann".into(), password: "hunter2".into() };
    let asks = asks.into_owned();
    assert!(over_serde(&asks).contains("hunter2") && !format!("{asks:?}").contains("hunter2"));
    let update = ServerMessage::Whisper { sender: "ann".into(), content: "hello".into() };
    let keeping = ServerEvent::Keeping { ticket, peer, recipients: vec![b"bob"[..].into()], update };
    let json = over_serde(&keeping.into_owned());
    assert!(json.contains(r#""recipients":["bob"],"update":{"Whisper":{"sender":"ann""#), "{json}");
    over_serde(&ServerEvent::Gone { peer, username: Some(b"bob"[..].into()) }.into_owned());
    over_serde(&ServerEvent::Connected { peer, from: Some("192.0.2.1:7".parse().unwrap()) }.into_owned());
}
