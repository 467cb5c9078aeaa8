//! What several tests need: packets as JSON, and random ones.
#![allow(dead_code, unreachable_pub, missing_docs)]

use serde_json::{Value, json};
use voxwire_core::List;
use voxwire_core::testing::Rng;
use voxwire_dissonance::{
    Channel, ClientId, ClientInfo, ClientState, Codec, CodecSettings, DeltaClientState, HandshakeRequest,
    HandshakeResponse, Options, Packet, Recipient, RoomId, RoomListeners, ServerRelay, Text, TextData,
    VoiceData,
};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(text: Text<'_>) -> Value {
    text.bytes().map_or(Value::Null, |bytes| String::from_utf8_lossy(bytes).into())
}

fn texts<'a>(list: List<'a, Text<'a>>) -> Value {
    list.iter().map(text).collect()
}

fn ids(ids: &[ClientId]) -> Value {
    ids.iter().map(|id| id.get()).collect()
}

fn merge(mut a: Value, b: Value) -> Value {
    if let (Value::Object(a), Value::Object(b)) = (&mut a, b) {
        a.extend(b);
    }
    a
}

fn codec(codec: CodecSettings) -> Value {
    json!({"codec": codec.codec.0, "frame_size": codec.frame_size, "sample_rate": codec.sample_rate})
}

fn info(client: ClientInfo<'_>) -> Value {
    merge(json!({"name": text(client.name), "client": client.id.get()}), codec(client.codec))
}

/// A packet's fields, in the words of the independent codec.
pub fn json(packet: &Packet<'_>) -> Value {
    let fields = match *packet {
        Packet::ClientState(ClientState { client, rooms, .. }) => {
            merge(info(client), json!({"rooms": texts(rooms)}))
        }
        Packet::VoiceData(voice) => {
            let channel = |channel: &Channel| {
                let recipient = match channel.recipient() {
                    Recipient::Room(room) => room.get(),
                    Recipient::Player(client) => client.get(),
                };
                json!({"bitfield": channel.bits(), "recipient": recipient})
            };
            json!({
                "sender": voice.sender.get(),
                "options": voice.options.bits(),
                "sequence": voice.sequence,
                "channels": voice.channels.iter().map(channel).collect::<Value>(),
                "frame": hex(voice.frame),
            })
        }
        Packet::TextData(data) => {
            let (recipient, target) = match data.recipient {
                Recipient::Room(room) => ("room", room.get()),
                Recipient::Player(client) => ("player", client.get()),
            };
            json!({
                "sender": data.sender.get(),
                "recipient": recipient,
                "target": target,
                "text": text(data.text),
            })
        }
        Packet::HandshakeRequest(request) => merge(codec(request.codec), json!({"name": text(request.name)})),
        Packet::HandshakeResponse(response) => {
            let channel = |channel: RoomListeners<'_>| json!({"room": channel.room.get(), "listeners": ids(channel.listeners)});
            json!({
                "client": response.client.get(),
                "clients": response.clients.iter().map(info).collect::<Value>(),
                "rooms": texts(response.rooms),
                "channels": response.channels.iter().map(channel).collect::<Value>(),
            })
        }
        Packet::ErrorWrongSession { .. } => json!({}),
        Packet::ServerRelayReliable(relay) | Packet::ServerRelayUnreliable(relay) => {
            json!({"destinations": ids(relay.destinations), "payload": hex(relay.payload)})
        }
        Packet::DeltaClientState(delta) => {
            json!({"joined": delta.joined, "client": delta.client.get(), "room": text(delta.room)})
        }
        Packet::RemoveClient { client, .. } | Packet::HandshakeP2P { client, .. } => {
            json!({"client": client.get()})
        }
    };
    let head = match packet.session() {
        Some(session) => json!({"message": packet.name(), "session": session}),
        None => json!({"message": packet.name()}),
    };
    merge(head, fields)
}

/// Calls `f` with a random packet of at most 1024 bytes, of any kind.
pub fn with_random<R>(rng: &mut Rng, f: impl FnOnce(&Packet<'_>) -> R) -> R {
    let session = rng.next() as u32;
    let id =
        |rng: &mut Rng| ClientId::new(if rng.chance(0.5) { rng.below(9) as u16 } else { rng.next() as u16 });
    let client = id(rng);
    let codec = CodecSettings {
        codec: Codec(rng.below(3) as u8),
        frame_size: rng.next() as u32,
        sample_rate: if rng.chance(0.8) { 48_000 } else { rng.next() as u32 },
    };
    let names: Vec<String> = (0..rng.below(6)).map(|_| name(rng)).collect();
    let rooms: Vec<Text<'_>> = names.iter().map(|name| Text::new(name)).collect();
    let own = name(rng);
    let own = if rng.chance(0.05) { Text::NULL } else { Text::new(&own) };
    let clients: Vec<ClientId> = (0..rng.below(12)).map(|_| id(rng)).collect();
    let recipient = if rng.chance(0.5) {
        Recipient::Player(client)
    } else {
        Recipient::Room(RoomId::new(rng.next() as u16))
    };
    let mut bytes = vec![0; rng.below(300) as usize];
    rng.fill(&mut bytes);
    let channels: Vec<Channel> =
        (0..rng.below(9)).map(|_| Channel::from_bits(rng.next() as u16, rng.next() as u16)).collect();
    let relay = ServerRelay { session, destinations: &clients, payload: &bytes };
    let info = ClientInfo { name: own, id: client, codec };
    match rng.below(11) {
        0 => f(&Packet::ClientState(ClientState { session, client: info, rooms: List::from(&rooms[..]) })),
        1 => f(&Packet::VoiceData(VoiceData {
            session,
            sender: client,
            options: Options::from_bits(rng.next() as u8),
            sequence: rng.next() as u16,
            channels: &channels,
            frame: &bytes,
        })),
        2 => f(&Packet::TextData(TextData { session, sender: id(rng), recipient, text: own })),
        3 => f(&Packet::HandshakeRequest(HandshakeRequest { codec, name: own })),
        4 => {
            let infos: Vec<ClientInfo<'_>> =
                rooms.iter().map(|name| ClientInfo { name: *name, id: id(rng), codec }).collect();
            let listeners: Vec<RoomListeners<'_>> = (0..rng.below(4))
                .map(|n| RoomListeners {
                    room: RoomId::new(n as u16),
                    listeners: &clients[..clients.len().min(n as usize)],
                })
                .collect();
            f(&Packet::HandshakeResponse(HandshakeResponse {
                session,
                client,
                clients: List::from(&infos[..]),
                rooms: List::from(&rooms[..]),
                channels: List::from(&listeners[..]),
            }))
        }
        5 => f(&Packet::ErrorWrongSession { session }),
        6 => f(&Packet::ServerRelayReliable(relay)),
        7 => f(&Packet::ServerRelayUnreliable(relay)),
        8 => f(&Packet::DeltaClientState(DeltaClientState {
            session,
            joined: rng.chance(0.5),
            client,
            room: own,
        })),
        9 => f(&Packet::RemoveClient { session, client }),
        _ => f(&Packet::HandshakeP2P { session, client }),
    }
}

fn name(rng: &mut Rng) -> String {
    const LETTERS: [char; 10] = ['a', 'Z', '0', ' ', '\n', '"', 'ß', 'é', '語', '😀'];
    (0..rng.below(20)).map(|_| LETTERS[rng.below(10) as usize]).collect()
}
