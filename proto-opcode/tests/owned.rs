//! F-70: owned messages and events keep all there is: over serde's formats and back, and to the same bytes. With arbitrary bytes, too.
#![cfg(feature = "serde")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::cast_possible_truncation)]

#[path = "../../tests/kit/owned.rs"]
mod kit;

use kit::over_serde;
#[cfg(feature = "arbitrary")]
use kit::unstructured;
use voxwire_core::testing::vectors;
use voxwire_core::{Message, PeerId};
use voxwire_opcode::{CallId, Cause, ClientEvent, Packet, Role, ServerEvent, Text, Wire, owned};

const VECTORS: &str = include_str!("vectors/packets.txt");

#[test]
fn every_vector_survives_to_the_byte() {
    for vector in vectors(VECTORS) {
        let Ok(packet) = Packet::decode(&vector.bytes, &Wire::SERVER) else { continue };
        let owned = packet.into_owned();
        over_serde(&owned);
        let mut again = Vec::new();
        owned.with(|lent| lent.encode(&Wire::SERVER, &mut again)).unwrap();
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
        if packet.encode(&Wire::CLIENT, &mut scratch).is_ok() {
            assert_eq!(Packet::decode(&scratch, &Wire::CLIENT), Ok(packet));
            assert_eq!(
                packet.into_owned().with(|lent| lent.encode(&Wire::CLIENT, &mut Vec::new())),
                Ok(scratch.len())
            );
            kinds.insert(packet.opcode());
        }
    }
    assert_eq!(kinds.len(), 11, "{kinds:?}");
}

#[test]
fn events_survive_and_show_no_secret() {
    let peer = PeerId { slot: 1, generation: 2 };
    let contacts = [Text::from("ann"), Text(b"\xff")];
    let call = CallId::new(7);
    let added = ClientEvent::Added { contacts: contacts[..].into() }.into_owned();
    assert_eq!(over_serde(&added), r#"{"Added":{"contacts":["ann",[255]]}}"#);
    let voice = ClientEvent::Voice { call, packet: &[1, 2] }.into_owned();
    assert_eq!(over_serde(&voice), r#"{"Voice":{"call":7,"packet":[1,2]}}"#);
    assert_eq!(format!("{voice:?}"), "Voice { call: CallId(7), packet: 2 bytes }");
    over_serde(&ClientEvent::Ended { call, contact: b"bob"[..].into(), cause: Cause::HungUp }.into_owned());
    let asks = ServerEvent::LoggingIn { peer, name: "ann hunter2".into() }.into_owned();
    assert!(over_serde(&asks).contains("hunter2") && !format!("{asks:?}").contains("hunter2"));
    let ended = ServerEvent::Ended {
        caller: peer,
        callee: peer,
        caller_name: b"ann"[..].into(),
        callee_name: b"bob"[..].into(),
        missing: Some(Role::Callee),
        lasted: Some(core::time::Duration::from_millis(1500)),
        packets: 75,
    };
    over_serde(&ended.into_owned());
    let from = Some("[2001:db8::1]:7".parse().unwrap());
    let connected = ServerEvent::Connected { peer, from }.into_owned();
    assert_eq!(connected, owned::ServerEvent::Connected { peer, from });
    over_serde(&connected);
    over_serde(&ServerEvent::Gone { peer, name: None }.into_owned());
}
