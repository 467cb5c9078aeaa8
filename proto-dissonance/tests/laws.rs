//! The laws of messages, over random packets of every kind.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::arithmetic_side_effects
)]

mod kit;

use voxwire_core::testing::{Rng, law_frame, law_message};
use voxwire_core::{EncodeError, List, Message, Owned};
use voxwire_dissonance::{
    Channel, ClientId, ClientInfo, ClientState, CodecSettings, Options, Packet, Profile, ServerRelay, Text,
    VoiceData, Wire,
};

const WIRE: Wire = Wire::new(Profile::Later);

#[test]
fn c_01_the_laws_hold_for_every_kind_of_packet() {
    let mut rng = Rng::new(7);
    for _ in 0..4000 {
        kit::with_random(&mut rng, |packet| {
            let mut bytes = Vec::new();
            packet.encode(&WIRE, &mut bytes).unwrap();
            let packet = Packet::decode(&bytes, &WIRE).unwrap();
            let mut scratch = Vec::new();
            law_message(&packet, &WIRE, &mut scratch);
            let owned: Owned<Packet<'static>> = Owned::new(&packet, &WIRE).unwrap();
            assert_eq!(owned.get(), packet);
        });
    }
}

#[test]
fn c_01_random_bytes_behind_a_head_decode_or_do_not_and_never_panic() {
    let mut rng = Rng::new(8);
    for _ in 0..200_000 {
        let mut bytes = vec![0; rng.below(80) as usize];
        rng.fill(&mut bytes);
        let head = [0x8b, 0xc7, rng.below(13) as u8];
        let len = bytes.len().min(3);
        bytes[..len].copy_from_slice(&head[..len]);
        // Small counts, so that more of them hold.
        for at in [7, 10, 12] {
            if bytes.len() > at + 1 && rng.chance(0.7) {
                (bytes[at], bytes[at + 1]) = (0, rng.below(4) as u8);
            }
        }
        law_frame::<Packet<'static>>(&bytes, &WIRE);
    }
}

#[test]
fn d_17_no_packet_over_1024_bytes_is_encoded() {
    let (session, client) = (1, ClientId::new(1));
    let voice = |frame| {
        Packet::VoiceData(VoiceData {
            session,
            sender: client,
            options: Options::new(0, Profile::Later),
            sequence: 0,
            channels: &[],
            frame,
        })
    };
    let bytes = [0; 2000];
    assert_eq!(voice(&bytes[..1008]).encoded_len(&WIRE), Ok(1024));
    let too_long = EncodeError::TooLong { field: "packet", len: 1025, max: 1024 };
    assert_eq!(voice(&bytes[..1009]).encoded_len(&WIRE), Err(too_long));
    let info = ClientInfo { name: Text::new("a"), id: client, codec: CodecSettings::DEFAULT };
    let rooms = [Text::new("twenty bytes of name"); 50];
    let state = |rooms| Packet::ClientState(ClientState { session, client: info, rooms: List::from(rooms) });
    assert!(state(&rooms[..45]).encoded_len(&WIRE).is_ok());
    assert!(state(&rooms).encoded_len(&WIRE).is_err());
}

#[test]
fn d_10_a_relay_packet_has_255_destinations_at_most() {
    let destinations: Vec<ClientId> = (0..256).map(ClientId::new).collect();
    let relay = |n: usize| {
        Packet::ServerRelayReliable(ServerRelay {
            session: 1,
            destinations: &destinations[..n],
            payload: b"x",
        })
    };
    assert_eq!(relay(255).encoded_len(&WIRE), Ok(8 + 510 + 2 + 1));
    let error = EncodeError::TooLong { field: "destinations", len: 256, max: 255 };
    assert_eq!(relay(256).encoded_len(&WIRE), Err(error));
}

#[test]
fn d_09_a_whole_packet_of_channels() {
    let channels = vec![Channel::from_bits(0x8001, 7); 252];
    let packet = Packet::VoiceData(VoiceData {
        session: 1,
        sender: ClientId::new(0),
        options: Options::new(0, Profile::Later),
        sequence: 0,
        channels: &channels,
        frame: &[],
    });
    law_message(&packet, &WIRE, &mut Vec::new());
}
