//! Who listens to which room: states, deltas, and rooms that a client may not be in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

use crate::harness;

use harness::{Harness, state};
use voxwire_core::{Input, Instant, Lane, List, Output, Session};
use voxwire_dissonance::{
    Client, ClientCommand, ClientId, ClientSettings, DeltaClientState, HandshakeResponse, Packet,
    RoomRefused, ServerSettings, Text, room_id,
};

#[test]
fn d_17_a_client_of_many_rooms_is_described_in_packets_that_fit() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let ann = stage.join("ann");
    let rooms: Vec<String> = (0..60).map(|n| format!("a room with a name of its own, number {n}")).collect();
    for room in &rooms {
        let delta = DeltaClientState {
            session: stage.session(),
            joined: true,
            client: ClientId::new(0),
            room: Text::new(room),
        };
        stage.send(ann, &Packet::DeltaClientState(delta)).unwrap();
    }
    stage.sent(ann);
    let ben = stage.join("ben");
    let sent = stage.sent(ben);
    assert!(sent.iter().all(|sent| sent.bytes.len() <= 1024));
    let mut described: Vec<String> = Vec::new();
    for sent in &sent {
        match sent.packet() {
            Packet::ClientState(state) => {
                described.extend(state.rooms.iter().map(|room| room.as_str().unwrap().into()))
            }
            Packet::DeltaClientState(delta) => described.push(delta.room.as_str().unwrap().into()),
            _ => {}
        }
    }
    described.sort();
    let mut rooms = rooms;
    rooms.sort();
    assert_eq!(described, rooms);
    // And a client with as many says so in packets that fit.
    let mut client = Client::new("cyd", ClientSettings::DEFAULT).unwrap();
    for room in &rooms {
        client.handle_command(Instant::ZERO, ClientCommand::Join { room }).unwrap();
    }
    let (server, via) = (
        voxwire_core::PeerId { slot: 0, generation: 0 },
        voxwire_core::Via::Dialled(voxwire_core::DialId::FIRST),
    );
    client.handle_input(Instant::ZERO, Input::Opened { peer: server, via, from: None }).unwrap();
    let (clients, names, channels) = (List::from(&[][..]), List::from(&[][..]), List::from(&[][..]));
    let response =
        HandshakeResponse { session: 7, client: ClientId::new(3), clients, rooms: names, channels };
    client.receive(Instant::ZERO, server, Packet::HandshakeResponse(response)).unwrap();
    let lens: Vec<usize> = client
        .outputs()
        .filter_map(|output| if let Output::Send { frame, .. } = output { Some(frame.len()) } else { None })
        .collect();
    assert!(lens.len() > 30 && lens.iter().all(|&len| len <= 1024), "{lens:?}");
}

#[test]
fn d_06_states_and_deltas_go_to_all_clients_as_received_their_sender_included() {
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    stage.sent(ann);
    stage.sent(ben);
    let delta = DeltaClientState {
        session: stage.session(),
        joined: true,
        client: ClientId::new(0),
        room: "Lobby".into(),
    };
    let mut bytes = harness::encode(&Packet::DeltaClientState(delta));
    // Bytes after the end, and a flag that is merely not zero, go as they are.
    bytes.extend(*b"tail");
    bytes[7] = 77;
    let event = stage.feed(ann, &bytes).unwrap();
    assert_eq!(event, "Listening { client: 0, room: \"Lobby\", joined: true }");
    for peer in [ann, ben] {
        let sent = stage.sent(peer);
        assert_eq!((sent.len(), &sent[0].bytes, sent[0].lane), (1, &bytes, Lane::Reliable));
    }
    // Once more changes nothing.
    assert_eq!(stage.feed(ann, &bytes).unwrap(), "");
    let rooms = [Text::new("Red"), Text::new("Blue")];
    stage.send(ann, &state(stage.session(), "ann", ClientId::new(0), &rooms)).unwrap();
    let mut listed: Vec<&str> = stage.server.rooms_of(ClientId::new(0)).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["Blue", "Red"]);
    assert_eq!(stage.server.rooms().count(), 2);
}

#[test]
fn d_16_rooms_of_one_number_are_refused_and_the_client_is_told() {
    // Found by trying: two names with one number.
    let mut by_number = std::collections::BTreeMap::new();
    let (one, other) = (0..)
        .map(|n| format!("room {n}"))
        .find_map(|name| by_number.insert(room_id(&name), name.clone()).map(|before| (before, name)))
        .unwrap();
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let (ann, ben) = (stage.join("ann"), stage.join("ben"));
    let session = stage.session();
    let delta = |client, joined, room: &str| {
        harness::encode(&Packet::DeltaClientState(DeltaClientState {
            session,
            joined,
            client: ClientId::new(client),
            room: room.into(),
        }))
    };
    stage.feed(ann, &delta(0, true, &one)).unwrap();
    stage.sent(ann);
    stage.sent(ben);
    let event = stage.feed(ben, &delta(1, true, &other)).unwrap();
    assert!(event.contains("Collision"), "{event}");
    assert_eq!((stage.sent_to(ann), stage.sent_to(ben)), (vec![], vec!["DeltaClientState".to_owned()]));
    // Nor does leaving it leave the other one.
    stage.feed(ann, &delta(0, false, &other)).unwrap();
    assert_eq!(stage.server.rooms_of(ClientId::new(0)).collect::<Vec<_>>(), [&*one]);
    // In a ClientState only that room is left out.
    stage.sent(ann);
    let rooms = [Text::new(&other), Text::new("Lobby")];
    stage.send(ben, &state(session, "ben", ClientId::new(1), &rooms)).unwrap();
    let sent = stage.sent(ann);
    let Packet::ClientState(got) = sent[0].packet() else { panic!() };
    assert_eq!(got.rooms.iter().collect::<Vec<_>>(), [Text::new("Lobby")]);
    // Once the first is empty the number is free.
    stage.feed(ann, &delta(0, false, &one)).unwrap();
    stage.feed(ben, &delta(1, true, &other)).unwrap();
    assert_eq!(stage.server.rooms_of(ClientId::new(1)).count(), 2);
}

#[test]
fn d_16_rooms_are_limited_and_the_application_has_a_say() {
    let mut stage = Harness::new(ServerSettings { max_rooms: 2, ..ServerSettings::DEFAULT });
    stage.server.set_policy(|name, room| name != "ben" || room != "Red");
    let (_, ben) = (stage.join("ann"), stage.join("ben"));
    let session = stage.session();
    let mut join = |room: &str| {
        let delta = DeltaClientState { session, joined: true, client: ClientId::new(1), room: room.into() };
        stage.send(ben, &Packet::DeltaClientState(delta)).unwrap()
    };
    assert!(join("Red").contains("Policy"));
    assert!(join("Blue").starts_with("Listening"));
    assert!(join("Green").starts_with("Listening"));
    assert!(join("Gold").contains("Quota"));
    assert!(join("Blue").is_empty());
    assert_eq!(format!("{}", RoomRefused::Quota), "too many rooms");
}

#[test]
fn d_16_a_reserved_room_keeps_its_number() {
    let mut by_number = std::collections::BTreeMap::new();
    let (one, other) = (0..)
        .map(|n| format!("room {n}"))
        .find_map(|name| by_number.insert(room_id(&name), name.clone()).map(|before| (before, name)))
        .unwrap();
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    stage.server.reserve_room(&one).unwrap();
    assert!(stage.server.reserve_room(&other).is_err());
    let ann = stage.join("ann");
    let session = stage.session();
    let delta = |room: &str| {
        let client = ClientId::new(0);
        harness::encode(&Packet::DeltaClientState(DeltaClientState {
            session,
            joined: true,
            client,
            room: room.into(),
        }))
    };
    assert!(stage.feed(ann, &delta(&other)).unwrap().contains("Collision"));
    assert!(stage.feed(ann, &delta(&one)).unwrap().starts_with("Listening"));
}

/// What a client knows of who listens where, as an original has it: by the numbers of rooms.
#[derive(Default)]
struct Replica(std::collections::BTreeMap<ClientId, std::collections::BTreeSet<u16>>);

impl Replica {
    fn take(&mut self, packet: &Packet<'_>) {
        let number = |room: Text<'_>| room_id(room.as_str().unwrap()).get();
        match packet {
            Packet::ClientState(state) => {
                self.0.insert(state.client.id, state.rooms.iter().map(number).collect());
            }
            Packet::DeltaClientState(delta) => {
                let rooms = self.0.entry(delta.client).or_default();
                if delta.joined {
                    rooms.insert(number(delta.room))
                } else {
                    rooms.remove(&number(delta.room))
                };
            }
            _ => {}
        }
    }
}

/// F-29, D-06: a refusal says nothing that a replica takes for another room of the same number.
#[test]
fn f_29_d_06_refusing_a_colliding_room_leaves_every_replica_as_it_was() {
    let mut by_number = std::collections::BTreeMap::new();
    let (one, other) = (0..)
        .map(|n| format!("room {n}"))
        .find_map(|name| by_number.insert(room_id(&name), name.clone()).map(|before| (before, name)))
        .unwrap();
    let mut stage = Harness::new(ServerSettings::DEFAULT);
    let peers = ["ann", "ben"].map(|name| stage.join(name));
    let session = stage.session();
    let mut replicas = <[Replica; 2]>::default();
    let asks: [(usize, bool, &[&str]); 7] = [
        (0, true, &[&one]),
        (0, true, &[&other]),
        (0, false, &[&other]),
        (1, true, &[&other]),
        (0, true, &[&one, &other]),
        (0, true, &[&other, &one, "Lobby"]),
        (1, true, &[&one, &other]),
    ];
    for (step, (who, joined, rooms)) in asks.into_iter().enumerate() {
        let client = ClientId::new(who as u16);
        let texts: Vec<Text<'_>> = rooms.iter().map(|room| Text::new(room)).collect();
        match *rooms {
            [room] => {
                let delta = DeltaClientState { session, joined, client, room: room.into() };
                stage.send(peers[who], &Packet::DeltaClientState(delta)).unwrap();
            }
            _ => {
                stage.send(peers[who], &state(session, ["ann", "ben"][who], client, &texts)).unwrap();
            }
        }
        for (replica, &peer) in replicas.iter_mut().zip(&peers) {
            stage.sent(peer).iter().for_each(|sent| replica.take(&sent.packet()));
            for client in [0, 1].map(ClientId::new) {
                let expected: std::collections::BTreeSet<u16> =
                    stage.server.rooms_of(client).map(|room| room_id(room).get()).collect();
                assert_eq!(
                    replica.0.get(&client).cloned().unwrap_or_default(),
                    expected,
                    "step {step}, {client}"
                );
            }
        }
    }
}
