//! F-70: owned messages and events keep all there is: over serde's formats and back, and to the same bytes. With arbitrary bytes, too.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]

#[path = "../../tests/kit/owned.rs"]
mod kit;

use kit::over_serde;
#[cfg(feature = "arbitrary")]
use kit::unstructured;
use voxwire_core::testing::vectors;
use voxwire_core::{Instant, Message, NameError, PeerId};
use voxwire_dissonance::{
    Channel, ClientEvent, ClientId, LeftBecause, Lost, Order, Packet, Priority, Profile, Recipient, RoomId,
    RoomRefused, ServerEvent, Text, Voice, Wire,
};

const WIRE: Wire = Wire::new(Profile::Later);

const VECTORS: &str = include_str!("vectors/packets.txt");

#[test]
fn every_vector_survives_to_the_byte() {
    for vector in vectors(VECTORS) {
        let Ok(packet) = Packet::decode(&vector.bytes, &WIRE) else { continue };
        let owned = packet.into_owned();
        over_serde(&owned);
        let mut again = Vec::new();
        owned.with(|lent| lent.encode(&WIRE, &mut again)).unwrap();
        assert_eq!(again, vector.bytes, "{}", vector.name);
    }
}

#[cfg(feature = "arbitrary")]
#[test]
fn arbitrary_packets_that_encode_decode_to_themselves() {
    let (mut kinds, mut scratch) = (std::collections::BTreeSet::new(), Vec::new());
    for seed in 0..2000 {
        let bytes = unstructured(seed);
        let Ok(packet) = arbitrary::Unstructured::new(&bytes).arbitrary::<Packet<'_>>() else { continue };
        scratch.clear();
        if packet.encode(&WIRE, &mut scratch).is_ok() {
            assert_eq!(Packet::decode(&scratch, &WIRE), Ok(packet));
            assert_eq!(
                packet.into_owned().with(|lent| lent.encode(&WIRE, &mut Vec::new())),
                Ok(scratch.len())
            );
            kinds.insert(packet.name());
        }
    }
    assert_eq!(kinds.len(), 11, "{kinds:?}");
}

#[test]
fn events_survive() {
    let (peer, client) = (PeerId { slot: 1, generation: 2 }, ClientId::new(3));
    let channel = Channel::new(Recipient::Room(RoomId::new(7))).with_closing(true);
    let voice = ClientEvent::Voice(Voice {
        from: client,
        start: true,
        restart: false,
        end: false,
        sequence: Voice::FIRST,
        lost: 0,
        order: Order::Newest,
        positional: false,
        volume: 0.5,
        priority: Priority::High,
        channels: &[channel],
        frame: &[1, 2],
    });
    let voice = voice.into_owned();
    let json = over_serde(&voice);
    assert!(json.starts_with(r#"{"Voice":{"from":3,"start":true"#), "{json}");
    assert!(json.ends_with(r#""channels":[{"bitfield":32773,"recipient":7}],"frame":[1,2]}}"#), "{json}");
    assert!(format!("{voice:?}").ends_with("frame: 2 bytes })"));
    let null = ClientEvent::Text { from: client, recipient: Recipient::Player(client), text: Text::NULL }
        .into_owned();
    assert_eq!(over_serde(&null), r#"{"Text":{"from":3,"recipient":{"Player":3},"text":null}}"#);
    let retry_at = Some(Instant::from_nanos(5));
    let lost = ClientEvent::Disconnected { cause: Lost::Kicked, retry_at }.into_owned();
    assert_eq!(over_serde(&lost), r#"{"Disconnected":{"cause":"Kicked","retry_at":5}}"#);
    over_serde(&ClientEvent::Entered { client, name: "ann".into() }.into_owned());
    let why = RoomRefused::Name(NameError::Control('\u{1b}'));
    over_serde(&ServerEvent::Rooms { client, refused: Some(("lobby".into(), why)) }.into_owned());
    let cause = LeftBecause::Displaced;
    over_serde(&ServerEvent::Left { peer, client, name: "ann".into(), cause }.into_owned());
    over_serde(&ServerEvent::Connected { peer, from: Some("192.0.2.1:7".parse().unwrap()) }.into_owned());
}

#[cfg(feature = "defmt")]
#[test]
fn messages_events_and_errors_can_be_logged_by_defmt() {
    fn is_format<T: defmt::Format>() {}
    is_format::<Packet<'static>>();
    is_format::<ClientEvent<'static>>();
    is_format::<ServerEvent<'static>>();
    is_format::<voxwire_dissonance::Violation>();
    is_format::<voxwire_core::Output<'static>>();
}
