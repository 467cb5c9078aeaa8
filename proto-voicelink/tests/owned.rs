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
use voxwire_voicelink::{
    ByteOrder, Cause, ClientEvent, Ended, Handshake, Packet, Parameters, Registration, ServerEvent, Wire,
};

const WIRE: Wire = Wire::new(ByteOrder::BigEndian);

const VECTORS: &str = include_str!("vectors/packets.txt");

#[test]
fn every_vector_survives_to_the_byte() {
    for vector in vectors(VECTORS).into_iter().filter(|vector| !vector.expect.ends_with("tolerated")) {
        for wire in [WIRE, Wire::new(ByteOrder::LittleEndian)] {
            let Ok(packet) = Packet::decode(&vector.bytes, &wire) else { continue };
            let owned = packet.into_owned();
            over_serde(&owned);
            let mut again = Vec::new();
            owned.with(|lent| lent.encode(&wire, &mut again)).unwrap();
            assert_eq!(again, vector.bytes, "{}", vector.name);
        }
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
    assert_eq!(kinds.len(), 7, "{kinds:?}");
}

#[test]
fn events_survive_and_show_no_secret() {
    let peer = PeerId { slot: 1, generation: 2 };
    let parameters = Parameters::DEFAULT;
    let incoming = ClientEvent::Incoming { caller: b"ann", parameters, optional: &[0xff], superseded: false }
        .into_owned();
    let json = over_serde(&incoming);
    assert!(json.starts_with(r#"{"Incoming":{"caller":"ann","parameters":{"sample_rate":48000,"#), "{json}");
    assert!(json.ends_with(r#""optional":[255],"superseded":false}}"#), "{json}");
    let data = ClientEvent::Data { samples: &[1, 2] }.into_owned();
    assert_eq!(over_serde(&data), r#"{"Data":{"samples":[1,2]}}"#);
    assert_eq!(format!("{data:?}"), "Data { samples: 2 bytes }");
    let asks = ServerEvent::Registering {
        peer,
        name: "ann",
        secret: Some(b"hunter2"),
        preferred: Parameters::DEFAULT,
    };
    let asks = asks.into_owned();
    assert!(over_serde(&asks).contains("hunter2") && !format!("{asks:?}").contains("hunter2"));
    let optional = Registration { name: b"ann", secret: Some(b"hunter2"), samples: None }.to_bytes().unwrap();
    let registration = Packet::Handshake(Handshake { parameters, user_name: b"", optional: &optional });
    assert!(!format!("{:?}", registration.into_owned()).contains("hunter2"));
    let ended = Ended { caller: peer, callee: peer, cause: Cause::Idle, lasted: None, packets: 1, bytes: 2 };
    over_serde(&ServerEvent::Gone { peer, name: Some("ann".into()), ended: Some(ended) }.into_owned());
    over_serde(&ServerEvent::Connected { peer, from: Some("192.0.2.1:7".parse().unwrap()) }.into_owned());
}
