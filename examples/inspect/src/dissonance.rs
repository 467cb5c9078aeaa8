//! Dissonance's packets.

use crate::protocol::{Entry, Fields, Protocol, Shown, message_name, show_text};
use serde_json::{Value, json};
use voxwire_core::{List, Message};
use voxwire_dissonance::{
    Channel, ClientId, ClientInfo, ClientState, Codec, CodecSettings, DeltaClientState, HandshakeRequest,
    HandshakeResponse, LIMITS, Options, Packet, Priority, Profile, Recipient, RoomId, RoomListeners,
    ServerRelay, Text, TextData, VoiceData, Wire,
};

pub(crate) const ENTRY: Entry = Entry { name: "dissonance", start: |_| Ok(Box::new(Dissonance::new())) };

#[derive(Debug)]
struct Dissonance {
    wire: Wire,
}

impl Dissonance {
    /// Shows all that the format allows, also what is too large to be sent.
    const fn new() -> Self {
        let limits = voxwire_core::Limits {
            max_frame: 1 << 24,
            max_text: u16::MAX as usize,
            max_items: u16::MAX as usize,
            ..LIMITS
        };
        Self { wire: Wire { profile: Profile::Later, limits } }
    }
}

impl Protocol for Dissonance {
    fn decode(&self, bytes: &[u8]) -> Result<Shown, String> {
        let packet = Packet::decode(bytes, &self.wire).map_err(|error| error.to_string())?;
        let length = packet.encoded_len(&self.wire).map_err(|error| error.to_string())?;
        let mut fields = json!({});
        if let Some(session) = packet.session() {
            fields["session"] = session.into();
        }
        show(&packet, &mut fields);
        Ok(Shown { message: packet.name(), length, fields, trailing: bytes.len().saturating_sub(length) })
    }

    fn encode(&self, object: &Value) -> Result<Vec<u8>, String> {
        let message = message_name(object)?;
        let nothing = json!({});
        let fields = Fields(object.get("fields").unwrap_or(&nothing));
        let mut frame = Vec::new();
        with_packet(message, &fields, |packet| packet.encode(&self.wire, &mut frame))?
            .map_err(|error| error.to_string())?;
        Ok(frame)
    }
}

fn show(packet: &Packet<'_>, fields: &mut Value) {
    match *packet {
        Packet::ClientState(ClientState { client, rooms, .. }) => {
            show_client(client, fields);
            fields["rooms"] = rooms.iter().map(show_string).collect();
        }
        Packet::VoiceData(voice) => {
            fields["sender"] = voice.sender.get().into();
            fields["options"] = voice.options.bits().into();
            fields["channel_session"] = voice.options.session().into();
            fields["sequence"] = voice.sequence.into();
            fields["channels"] = voice.channels.iter().map(show_channel).collect();
            fields["frame"] = hex::encode(voice.frame).into();
        }
        Packet::TextData(data) => {
            fields["sender"] = data.sender.get().into();
            show_recipient(data.recipient, fields);
            fields["text"] = show_string(data.text);
        }
        Packet::HandshakeRequest(request) => {
            show_codec(request.codec, fields);
            fields["name"] = show_string(request.name);
        }
        Packet::HandshakeResponse(response) => {
            fields["client"] = response.client.get().into();
            let client = |client| {
                let mut fields = json!({});
                show_client(client, &mut fields);
                fields
            };
            fields["clients"] = response.clients.iter().map(client).collect();
            fields["rooms"] = response.rooms.iter().map(show_string).collect();
            let room = |room: RoomListeners<'_>| json!({ "room": room.room.get(), "listeners": show_ids(room.listeners) });
            fields["channels"] = response.channels.iter().map(room).collect();
        }
        Packet::ErrorWrongSession { .. } => {}
        Packet::ServerRelayReliable(relay) | Packet::ServerRelayUnreliable(relay) => {
            fields["destinations"] = show_ids(relay.destinations);
            fields["payload"] = hex::encode(relay.payload).into();
        }
        Packet::DeltaClientState(delta) => {
            fields["joined"] = delta.joined.into();
            fields["client"] = delta.client.get().into();
            fields["room"] = show_string(delta.room);
        }
        Packet::RemoveClient { client, .. } | Packet::HandshakeP2P { client, .. } => {
            fields["client"] = client.get().into();
        }
    }
}

fn show_string(text: Text<'_>) -> Value {
    text.bytes().map_or(Value::Null, show_text)
}

fn show_ids(ids: &[ClientId]) -> Value {
    ids.iter().map(|id| id.get()).collect()
}

fn show_codec(codec: CodecSettings, fields: &mut Value) {
    fields["codec"] = codec.codec.0.into();
    fields["frame_size"] = codec.frame_size.into();
    fields["sample_rate"] = codec.sample_rate.into();
}

fn show_client(client: ClientInfo<'_>, fields: &mut Value) {
    fields["name"] = show_string(client.name);
    fields["client"] = client.id.get().into();
    show_codec(client.codec, fields);
}

fn show_recipient(recipient: Recipient, fields: &mut Value) {
    let (kind, target) = match recipient {
        Recipient::Room(room) => ("room", room.get()),
        Recipient::Player(client) => ("player", client.get()),
    };
    fields["recipient"] = kind.into();
    fields["target"] = target.into();
}

/// The bitfield is what counts; the rest says what it means.
fn show_channel(channel: &Channel) -> Value {
    let mut fields = json!({ "bitfield": channel.bits() });
    show_recipient(channel.recipient(), &mut fields);
    fields["positional"] = channel.is_positional().into();
    fields["closing"] = channel.is_closing().into();
    fields["priority"] = match channel.priority() {
        Priority::Default => "default",
        Priority::Low => "low",
        Priority::Medium => "medium",
        Priority::High => "high",
    }
    .into();
    fields["channel_session"] = channel.session().into();
    fields["volume"] = f64::from(channel.volume()).into();
    fields
}

/// A string that may be null.
type OwnedText = Option<Vec<u8>>;

fn text(bytes: &OwnedText) -> Text<'_> {
    bytes.as_deref().map_or(Text::NULL, Text::from_bytes)
}

fn string(fields: &Fields<'_>, name: &str) -> Result<OwnedText, String> {
    if fields.value(name)?.is_null() { Ok(None) } else { fields.text(name).map(Some) }
}

fn array<'a>(fields: &Fields<'a>, name: &str) -> Result<&'a [Value], String> {
    let value = fields.value(name)?;
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| format!("fields.{name}: {value} found, expected a list"))
}

fn strings(fields: &Fields<'_>, name: &str) -> Result<Vec<OwnedText>, String> {
    let one = |value: &Value| string(&Fields(&json!({ name: value })), name);
    array(fields, name)?.iter().map(one).collect()
}

fn id(fields: &Fields<'_>, name: &str) -> Result<ClientId, String> {
    fields.number(name).map(ClientId::new)
}

fn ids(fields: &Fields<'_>, name: &str) -> Result<Vec<ClientId>, String> {
    let one = |value: &Value| id(&Fields(&json!({ name: value })), name);
    array(fields, name)?.iter().map(one).collect()
}

fn codec(fields: &Fields<'_>) -> Result<CodecSettings, String> {
    Ok(CodecSettings {
        codec: Codec(fields.number("codec")?),
        frame_size: fields.number("frame_size")?,
        sample_rate: fields.number("sample_rate")?,
    })
}

fn recipient(fields: &Fields<'_>) -> Result<Recipient, String> {
    let target = fields.number("target")?;
    match fields.value("recipient")? {
        Value::String(kind) if kind == "room" => Ok(Recipient::Room(RoomId::new(target))),
        Value::String(kind) if kind == "player" => Ok(Recipient::Player(ClientId::new(target))),
        other => Err(format!("fields.recipient: {other} found, expected \"room\" or \"player\"")),
    }
}

/// The bitfield is what counts.
fn channel(value: &Value) -> Result<Channel, String> {
    let fields = Fields(value);
    Ok(Channel::from_bits(fields.number("bitfield")?, fields.number("target")?))
}

/// Calls `encode` with the packet that an object describes.
fn with_packet<R>(
    message: &str,
    fields: &Fields<'_>,
    encode: impl FnOnce(&Packet<'_>) -> R,
) -> Result<R, String> {
    let session = || fields.number("session");
    Ok(match message {
        "ClientState" => {
            let (name, rooms) = (string(fields, "name")?, strings(fields, "rooms")?);
            let rooms: Vec<Text<'_>> = rooms.iter().map(text).collect();
            let client = ClientInfo { name: text(&name), id: id(fields, "client")?, codec: codec(fields)? };
            let rooms = List::from(&rooms[..]);
            encode(&Packet::ClientState(ClientState { session: session()?, client, rooms }))
        }
        "VoiceData" => {
            let channels: Vec<Channel> =
                array(fields, "channels")?.iter().map(channel).collect::<Result<_, _>>()?;
            encode(&Packet::VoiceData(VoiceData {
                session: session()?,
                sender: id(fields, "sender")?,
                options: Options::from_bits(fields.number("options")?),
                sequence: fields.number("sequence")?,
                channels: &channels,
                frame: &fields.bytes("frame")?,
            }))
        }
        "TextData" => {
            let (sender, recipient) = (id(fields, "sender")?, recipient(fields)?);
            let owned = string(fields, "text")?;
            encode(&Packet::TextData(TextData { session: session()?, sender, recipient, text: text(&owned) }))
        }
        "HandshakeRequest" => {
            let name = string(fields, "name")?;
            encode(&Packet::HandshakeRequest(HandshakeRequest { codec: codec(fields)?, name: text(&name) }))
        }
        "HandshakeResponse" => response(session()?, fields, encode)?,
        "ErrorWrongSession" => encode(&Packet::ErrorWrongSession { session: session()? }),
        "ServerRelayReliable" | "ServerRelayUnreliable" => {
            let (destinations, payload) = (ids(fields, "destinations")?, fields.bytes("payload")?);
            let relay = ServerRelay { session: session()?, destinations: &destinations, payload: &payload };
            if message == "ServerRelayReliable" {
                encode(&Packet::ServerRelayReliable(relay))
            } else {
                encode(&Packet::ServerRelayUnreliable(relay))
            }
        }
        "DeltaClientState" => {
            let joined = fields.value("joined")?;
            let joined = joined
                .as_bool()
                .ok_or_else(|| format!("fields.joined: {joined} found, expected true or false"))?;
            let (client, room) = (id(fields, "client")?, string(fields, "room")?);
            let room = text(&room);
            encode(&Packet::DeltaClientState(DeltaClientState { session: session()?, joined, client, room }))
        }
        "RemoveClient" => {
            encode(&Packet::RemoveClient { session: session()?, client: id(fields, "client")? })
        }
        "HandshakeP2P" => {
            encode(&Packet::HandshakeP2P { session: session()?, client: id(fields, "client")? })
        }
        other => {
            let names = "ClientState, VoiceData, TextData, HandshakeRequest, HandshakeResponse, ErrorWrongSession, \
                         ServerRelayReliable, ServerRelayUnreliable, DeltaClientState, RemoveClient or HandshakeP2P";
            return Err(format!("message: {other:?} found, expected {names}"));
        }
    })
}

fn response<R>(
    session: u32,
    fields: &Fields<'_>,
    encode: impl FnOnce(&Packet<'_>) -> R,
) -> Result<R, String> {
    let clients = array(fields, "clients")?;
    let names: Vec<OwnedText> =
        clients.iter().map(|client| string(&Fields(client), "name")).collect::<Result<_, _>>()?;
    let info = |(client, name)| {
        let fields = Fields(client);
        Ok(ClientInfo { name: text(name), id: id(&fields, "client")?, codec: codec(&fields)? })
    };
    let clients: Vec<ClientInfo<'_>> = clients.iter().zip(&names).map(info).collect::<Result<_, String>>()?;
    let rooms = strings(fields, "rooms")?;
    let rooms: Vec<Text<'_>> = rooms.iter().map(text).collect();
    let channels = array(fields, "channels")?;
    let listeners: Vec<Vec<ClientId>> =
        channels.iter().map(|channel| ids(&Fields(channel), "listeners")).collect::<Result<_, _>>()?;
    let room = |(channel, listeners): (&Value, &'_ Vec<ClientId>)| {
        Ok((RoomId::new(Fields(channel).number("room")?), listeners.clone()))
    };
    let channels: Vec<(RoomId, Vec<ClientId>)> =
        channels.iter().zip(&listeners).map(room).collect::<Result<_, String>>()?;
    let channels: Vec<RoomListeners<'_>> =
        channels.iter().map(|(room, listeners)| RoomListeners { room: *room, listeners }).collect();
    Ok(encode(&Packet::HandshakeResponse(HandshakeResponse {
        session,
        client: id(fields, "client")?,
        clients: List::from(&clients[..]),
        rooms: List::from(&rooms[..]),
        channels: List::from(&channels[..]),
    })))
}
