use crate::{Driver, Script};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use voxwire_core::testing::law_frame;
use voxwire_core::{DialId, Input, Lane, List, Message, Output, Session, Via};
use voxwire_dissonance::{
    Channel, Client, ClientCommand, ClientId, ClientInfo, ClientSettings, ClientState, CodecSettings,
    DeltaClientState, HandshakeRequest, HandshakeResponse, Options, Packet, Profile, Recipient,
    RoomListeners, Server, ServerCommand, ServerRelay, ServerSettings, Speech, Target, Text, TextData,
    VoiceData, Wire, room_id,
};

const WIRE: Wire = Wire::new(Profile::Later);
const NAMES: [&str; 4] = ["a", "b", "c", ""];

/// Any bytes: no panic, and what decodes obeys the laws.
pub fn dissonance_message(data: &[u8]) {
    law_frame::<Packet<'static>>(data, &WIRE);
}

/// A script of connections, packets, garbage, commands and time, for a server or for a client.
pub fn dissonance_session(data: &[u8]) {
    let mut script = Script(data);
    if script.byte() % 3 == 0 { client(script) } else { server(script) }
}

/// A packet that may well make sense, encoded.
fn packet(script: &mut Script<'_>, session: u32) -> Vec<u8> {
    let kind = script.byte();
    let session = if kind & 0x80 == 0 { session } else { session ^ 1 };
    let choice = script.byte();
    let id = |n: u8| ClientId::new(u16::from(n % 6));
    let client = id(choice);
    let name = NAMES[usize::from(choice >> 3) % 4];
    let room = NAMES[usize::from(choice >> 5) % 4];
    let recipient =
        if choice & 1 == 0 { Recipient::Room(room_id(room)) } else { Recipient::Player(id(choice >> 4)) };
    let channels: Vec<Channel> = (0..choice % 5)
        .map(|_| {
            let bits = u16::from_be_bytes([0x80, script.byte()]);
            let target =
                if bits & 1 == 1 { room_id(NAMES[usize::from(bits >> 3) % 4]).get() } else { bits % 6 };
            Channel::from_bits(bits, target)
        })
        .collect();
    let destinations: Vec<ClientId> = (0..script.byte() % 8).map(id).collect();
    let rooms = NAMES.map(Text::new);
    let rooms = rooms.get(..usize::from(choice % 5)).unwrap_or(&rooms);
    let info = ClientInfo { name: name.into(), id: client, codec: CodecSettings::DEFAULT };
    let frame = script.bytes(usize::from(choice % 16));
    let voice = Packet::VoiceData(VoiceData {
        session,
        sender: client,
        options: Options::from_bits(script.byte()),
        sequence: u16::from(script.byte()),
        channels: &channels,
        frame,
    });
    let text = Packet::TextData(TextData { session, sender: client, recipient, text: name.into() });
    let mut inner = Vec::new();
    let packet = match kind % 13 {
        0 => Packet::ClientState(ClientState { session, client: info, rooms: List::from(rooms) }),
        1 => voice,
        2 => text,
        3 => Packet::HandshakeRequest(HandshakeRequest { codec: CodecSettings::DEFAULT, name: name.into() }),
        4 => {
            let infos = [info, ClientInfo { name: room.into(), id: id(choice / 2), ..info }];
            let listeners = RoomListeners { room: room_id(room), listeners: &destinations };
            let channels = [listeners];
            let response = HandshakeResponse {
                session,
                client,
                clients: List::from(&infos[..usize::from(choice % 3)]),
                rooms: List::from(rooms),
                channels: List::from(&channels[..]),
            };
            return encode(&Packet::HandshakeResponse(response));
        }
        5 => Packet::ErrorWrongSession { session },
        6..=9 => {
            let what = if kind & 1 == 0 { &voice } else { &text };
            what.encode(&WIRE, &mut inner).expect("a small packet");
            let relay = ServerRelay { session, destinations: &destinations, payload: &inner };
            if kind % 13 < 8 {
                Packet::ServerRelayUnreliable(relay)
            } else {
                Packet::ServerRelayReliable(relay)
            }
        }
        10 => Packet::RemoveClient { session, client },
        11 => Packet::HandshakeP2P { session, client },
        _ => Packet::DeltaClientState(DeltaClientState {
            session,
            joined: choice & 2 == 0,
            client,
            room: room.into(),
        }),
    };
    encode(&packet)
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&WIRE, &mut bytes).expect("a small packet");
    bytes
}

fn server(mut script: Script<'_>) {
    let choice = script.byte();
    let mut settings = if choice & 1 == 0 { ServerSettings::DEFAULT } else { ServerSettings::ORIGINAL };
    settings.ask = choice & 2 != 0;
    settings.max_rooms = 2;
    settings.limits.max_peers = 6;
    settings.limits.max_outbox = 20_000;
    let mut server = Server::new(settings, 7);
    let session = server.session();
    let mut driver = Driver::default();
    while !script.is_empty() {
        let operation = script.byte();
        match (operation % 16, driver.peer(operation)) {
            (0..=4, _) => {
                driver.step(&mut server, operation, &mut script, Duration::from_millis(300), Server::len);
            }
            (5, Some(peer)) => {
                let client = ClientId::new(u16::from(operation >> 4));
                let [from, to] = [operation >> 6, script.byte()].map(|n| Some(NAMES[usize::from(n) % 4]));
                let command = match script.byte() % 6 {
                    0 => ServerCommand::Admit { peer },
                    1 => ServerCommand::Reject { peer },
                    2 => ServerCommand::Kick { client },
                    3 => ServerCommand::Mute { client, voice: true, text: true },
                    4 => ServerCommand::Move { client, from, to },
                    _ => ServerCommand::Watch { client: Some(client), on: true },
                };
                let _ = driver.command(&mut server, command);
            }
            (6, _) => driver.drains = !driver.drains,
            (7, _) => server.shutdown(driver.now),
            (_, Some(peer)) => {
                let bytes = packet(&mut script, session);
                let _ = driver.frame(&mut server, peer, Lane::Reliable, &bytes);
            }
            _ => {}
        }
        driver.timers(&mut server, |_, _| {});
        if driver.drains {
            driver.obey(&mut server, sent);
        }
        check(&server);
    }
    driver.obey(&mut server, sent);
    // The server knows the peers that are there, and no others.
    assert_eq!(server.peers(), driver.alive.len());
    driver.pass(Duration::from_secs(400));
    driver.timers(&mut server, |_, _| {});
    driver.obey(&mut server, sent);
    let outside = driver.alive.iter().find(|peer| server.client_of(**peer).is_none());
    assert!(outside.is_none(), "a client outside the session is gone");
}

/// What is sent is a packet, and fits a datagram.
fn sent(output: Output<'_>) {
    if let Output::Send { frame, .. } = output {
        assert!(frame.len() <= 1024, "a packet of {} bytes", frame.len());
        Packet::decode(frame, &WIRE).expect("what is sent is a packet");
    }
}

/// The tables of a server agree with each other.
fn check(server: &Server) {
    let mut names = BTreeSet::new();
    for (id, name, _) in server.clients() {
        assert!(names.insert(name.to_owned()), "two clients of one name");
        assert_eq!(server.find(name), Some(id));
        let peer = server.peer(id).expect("a client has a connection");
        assert_eq!(server.client_of(peer), Some(id));
        assert!(server.rooms_of(id).count() <= 4);
    }
    assert_eq!(names.len(), server.len());
    let mut numbers = BTreeMap::new();
    for (room, listeners) in server.rooms() {
        assert!(numbers.insert(room_id(room), room.to_owned()).is_none());
        assert!(!listeners.is_empty() && listeners.is_sorted());
        for &client in listeners {
            assert!(server.rooms_of(client).any(|listed| listed == room), "{client} is not in {room}");
        }
    }
}

fn client(mut script: Script<'_>) {
    let mut client = Client::new("a", ClientSettings::DEFAULT).expect("a short name");
    let mut driver = Driver::default();
    let mut server = None;
    while !script.is_empty() {
        let operation = script.byte();
        server = server.filter(|peer| driver.alive.contains(peer));
        let mut paths = driver.alive.iter().copied().filter(|&peer| Some(peer) != server);
        let path = paths.nth(usize::from(operation >> 6));
        let name = NAMES[usize::from(operation >> 5) % 4];
        let target = if operation & 16 == 0 { Target::Room(name) } else { Target::Player(name) };
        match operation % 16 {
            0 | 1 if server.is_none() => {
                let _ = driver.open(&mut client, Via::Dialled(DialId::FIRST), None);
                server = driver.alive.last().copied();
            }
            2 => {
                if let Some(peer) = server {
                    let _ = driver.close(&mut client, peer);
                }
            }
            3 => drop(driver.open(&mut client, Via::Accepted, None)),
            4 => driver.pass(Duration::from_millis(u64::from(script.byte()) * 20)),
            5 => {
                let command = match script.byte() % 6 {
                    0 => ClientCommand::Join { room: name },
                    1 => ClientCommand::Leave { room: name },
                    2 => ClientCommand::Open { to: target, as_: Speech::DEFAULT },
                    3 => ClientCommand::Close { to: target },
                    4 => ClientCommand::Text { to: target, text: name },
                    _ => ClientCommand::Reach { host: "example.org", port: 1 },
                };
                let _ = driver.command(&mut client, command);
            }
            6 => {
                let frame = script.bytes(usize::from(operation));
                let _ = driver.command(&mut client, ClientCommand::Say { frame });
            }
            7 => {
                if let Some(peer) = path {
                    let _ = driver.close(&mut client, peer);
                }
            }
            8 => {
                let _ = client.handle_input(driver.now, Input::DialFailed(DialId::FIRST));
            }
            _ => {
                let bytes = packet(&mut script, if client.session() == 0 { 5 } else { client.session() });
                let peer = if operation & 32 == 0 { server } else { path };
                if let Some(peer) = peer {
                    let _ = driver.frame(&mut client, peer, Lane::Reliable, &bytes);
                }
            }
        }
        driver.timers(&mut client, |_, _| {});
        driver.obey(&mut client, sent);
        for (room, listeners) in client.rooms() {
            assert!(!listeners.is_empty() && listeners.is_sorted(), "{room}");
            assert!(listeners.iter().all(|&id| client.name_of(id).is_some()), "{room}");
        }
    }
}
