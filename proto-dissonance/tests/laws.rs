//! The laws of messages, over random packets of every kind.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::arithmetic_side_effects
)]

use crate::kit;

use proptest::prelude::*;
use voxwire_core::testing::{Rng, law_frame, law_message};
use voxwire_core::{EncodeError, List, Message, Owned};
use voxwire_dissonance::{
    Channel, ClientId, ClientInfo, ClientState, Codec, CodecSettings, DeltaClientState, HandshakeRequest,
    HandshakeResponse, Options, Packet, Profile, Recipient, RoomId, RoomListeners, ServerRelay, Text,
    TextData, VoiceData, Wire,
};

const WIRE: Wire = Wire::new(Profile::Later);

/// The parts of which a packet of each kind is made.
#[derive(Debug, Clone)]
struct Parts {
    session: u32,
    client: u16,
    other: u16,
    codec: (u8, u32, u32),
    /// Null in one of eight.
    name: Option<Vec<u8>>,
    rooms: Vec<Vec<u8>>,
    ids: Vec<u16>,
    channels: Vec<(u16, u16)>,
    bits: (u8, u16, bool),
    data: Vec<u8>,
    era: bool,
}

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    let ids = || prop_oneof![0..9_u16, any::<u16>()];
    // Any bytes may be a name; sessions, not packets, want UTF-8.
    let name = prop_oneof![7 => bytes(40).prop_map(Some), 1 => Just(None)];
    let rooms = proptest::collection::vec(bytes(30), 0..8);
    let lists = (
        rooms,
        proptest::collection::vec(ids(), 0..60),
        proptest::collection::vec(any::<(u16, u16)>(), 0..40),
    );
    let numbers = (any::<u32>(), ids(), ids(), any::<(u8, u32, u32)>(), any::<(u8, u16, bool)>());
    (numbers, name, lists, bytes(300), any::<bool>()).prop_map(|(numbers, name, lists, data, era)| {
        let (session, client, other, codec, bits) = numbers;
        let (rooms, ids, channels) = lists;
        Parts { session, client, other, codec, name, rooms, ids, channels, bits, data, era }
    })
}

/// Calls `f` with a packet of every kind.
fn every_packet(parts: &Parts, mut f: impl FnMut(&Packet<'_>)) {
    let Parts { session, bits: (options, sequence, flag), .. } = *parts;
    let [client, other] = [parts.client, parts.other].map(ClientId::new);
    let (codec, frame_size, sample_rate) = parts.codec;
    let codec = CodecSettings { codec: Codec(codec), frame_size, sample_rate };
    let name = parts.name.as_deref().map_or(Text::NULL, Text::from_bytes);
    let rooms: Vec<Text<'_>> = parts.rooms.iter().map(|room| Text::from_bytes(room)).collect();
    let ids: Vec<ClientId> = parts.ids.iter().copied().map(ClientId::new).collect();
    let channels: Vec<Channel> =
        parts.channels.iter().map(|&(bits, to)| Channel::from_bits(bits, to)).collect();
    let recipient = if flag { Recipient::Player(other) } else { Recipient::Room(RoomId::new(parts.other)) };
    let info = ClientInfo { name, id: client, codec };
    let infos = [info, ClientInfo { id: other, ..info }];
    let listeners: Vec<RoomListeners<'_>> = ids
        .chunks(7)
        .zip(0..)
        .map(|(listeners, room)| RoomListeners { room: RoomId::new(room), listeners })
        .collect();
    let voice = VoiceData {
        session,
        sender: client,
        options: Options::from_bits(options),
        sequence,
        channels: &channels,
        frame: &parts.data,
    };
    let relay = ServerRelay { session, destinations: &ids, payload: &parts.data };
    let response = HandshakeResponse {
        session,
        client,
        clients: List::from(&infos[..]),
        rooms: List::from(&rooms[..]),
        channels: List::from(&listeners[..]),
    };
    f(&Packet::ClientState(ClientState { session, client: info, rooms: List::from(&rooms[..]) }));
    f(&Packet::VoiceData(voice));
    f(&Packet::TextData(TextData { session, sender: client, recipient, text: name }));
    f(&Packet::HandshakeRequest(HandshakeRequest { codec, name }));
    f(&Packet::HandshakeResponse(response));
    f(&Packet::ErrorWrongSession { session });
    f(&Packet::ServerRelayReliable(relay));
    f(&Packet::ServerRelayUnreliable(relay));
    f(&Packet::DeltaClientState(DeltaClientState { session, joined: flag, client, room: name }));
    f(&Packet::RemoveClient { session, client });
    f(&Packet::HandshakeP2P { session, client });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// F-71, C-13: the law kit over all eleven kinds, and what one release writes another one reads.
    #[test]
    fn c_13_every_message_obeys_the_laws(parts in parts()) {
        let wire = Wire::new(if parts.era { Profile::Era2018 } else { Profile::Later });
        let mut kinds = 0;
        every_packet(&parts, |packet| {
            kinds += 1;
            let mut scratch = Vec::new();
            let frame = law_message(packet, &wire, &mut scratch).to_vec();
            assert_eq!(law_frame::<Packet<'static>>(&frame, &wire).as_ref(), Some(&frame));
            assert_eq!((frame[2], packet.session()), (kinds, Packet::decode(&frame, &wire).unwrap().session()));
            let said = matches!(packet, Packet::VoiceData(_));
            assert_eq!(VoiceData::read(&frame).map(Packet::VoiceData).as_ref(), said.then_some(packet));
            let relayed = ServerRelay::read(&frame).map(|(relay, reliable)| match reliable {
                true => Packet::ServerRelayReliable(relay),
                false => Packet::ServerRelayUnreliable(relay),
            });
            let relay = matches!(packet, Packet::ServerRelayReliable(_) | Packet::ServerRelayUnreliable(_));
            assert_eq!(relayed.as_ref(), relay.then_some(packet));
        });
        prop_assert_eq!(kinds, 11);
    }

    #[test]
    fn c_13_any_bytes_obey_the_laws(frame in proptest::collection::vec(any::<u8>(), 0..64), kind in 0..13_u8) {
        let mut frame = frame;
        if let Some(head) = frame.get_mut(..3) {
            head.copy_from_slice(&[0x8b, 0xc7, kind]);
        }
        law_frame::<Packet<'static>>(&frame, &WIRE);
    }

    /// Every field of a packet may be cut or changed: what is left decodes to something that obeys the laws, or does not.
    #[test]
    fn c_13_packets_that_are_cut_and_changed_obey_the_laws(parts in parts(), at: u16, byte: u8) {
        every_packet(&parts, |packet| {
            let mut frame = Vec::new();
            packet.encode(&WIRE, &mut frame).unwrap();
            let at = usize::from(at) % frame.len();
            law_frame::<Packet<'static>>(&frame[..at], &WIRE);
            frame[at] = byte;
            law_frame::<Packet<'static>>(&frame, &WIRE);
        });
    }
}

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
