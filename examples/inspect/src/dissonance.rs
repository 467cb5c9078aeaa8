//! Dissonance's packets.

mod follow;

use crate::explain::{Explainer, plain};
use crate::protocol::{Entry, Fields, Problem, Protocol, Shown, show_text, unknown};
use serde_json::{Value, json};
use voxwire_core::{List, Message};
use voxwire_dissonance::{
    Channel, ClientId, ClientInfo, ClientState, Codec, CodecSettings, DeltaClientState, HandshakeRequest,
    HandshakeResponse, LIMITS, Options, Packet, Priority, Profile, Recipient, RoomId, RoomListeners,
    ServerRelay, Text, TextData, VoiceData, Wire,
};

pub(crate) const ENTRY: Entry =
    Entry { name: "dissonance", start: |_| Ok(Box::new(Dissonance::new())), follows: Some(&follow::FOLLOWS) };

const ON_THE_WIRE: &str = "On the wire";

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
    fn decode(&self, bytes: &[u8]) -> Result<Shown, Problem> {
        let packet = Packet::decode(bytes, &self.wire)?;
        let length = packet.encoded_len(&self.wire)?;
        let mut fields = json!({});
        if let Some(session) = packet.session() {
            fields["session"] = session.into();
        }
        show(&packet, &mut fields);
        Ok(Shown { message: packet.name(), length, fields, trailing: bytes.len().saturating_sub(length) })
    }

    fn explain<'a>(&self, bytes: &'a [u8], shown: Option<&Shown>) -> Explainer<'a> {
        let mut explainer = Explainer::new(bytes, ON_THE_WIRE);
        let _ = rows_of(&mut explainer, shown.map_or("", |shown| shown.message));
        explainer
    }

    fn encode(&self, message: &str, fields: &Fields<'_>) -> Result<Vec<u8>, String> {
        let mut frame = Vec::new();
        with_packet(message, fields, |packet| packet.encode(&self.wire, &mut frame))?
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
            return Err(unknown(other, names));
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

/// A row for each field.
fn rows_of(rows: &mut Explainer<'_>, message: &str) -> Option<()> {
    rows.number("magic", 2, |_| "8B C7".into())?;
    let kind = rows.number("type", 1, |_| message.into())?;
    if kind == 4 {
        codec_rows(rows)?;
        return string_rows(rows, "name");
    }
    rows.number("session", 4, plain)?;
    match kind {
        1 => {
            client_rows(rows)?;
            room_rows(rows)
        }
        2 => voice_rows(rows),
        3 => {
            rows.number("recipient type", 1, |kind| if kind == 0 { "room" } else { "player" }.into())?;
            rows.number("sender", 2, |_| "client id".into())?;
            rows.number("target", 2, |_| "room id or client id".into())?;
            string_rows(rows, "text")
        }
        5 => {
            rows.number("client id", 2, |_| "of the addressee".into())?;
            let clients = rows.number("client count", 2, |_| "clients follow".into())?;
            (0..clients).try_for_each(|_| client_rows(rows))?;
            room_rows(rows)?;
            let channels = rows.number("channel count", 2, |_| "rooms with listeners follow".into())?;
            (0..channels).try_for_each(|_| {
                rows.number("room id", 2, plain)?;
                ids_rows(rows, "listener count", "listeners")
            })
        }
        7 | 8 => {
            ids_rows(rows, "destination count", "destinations")?;
            let len = rows.number("payload length", 2, |_| "bytes".into())?;
            rows.data("payload", len, "a whole packet").map(drop)
        }
        9 => {
            rows.number("joined", 1, |joined| if joined == 0 { "leaves" } else { "joins" }.into())?;
            rows.number("client id", 2, plain)?;
            string_rows(rows, "room name")
        }
        10 | 11 => rows.number("client id", 2, plain).map(drop),
        _ => Some(()),
    }
}

fn voice_rows(rows: &mut Explainer<'_>) -> Option<()> {
    rows.number("sender", 2, |_| "client id".into())?;
    rows.section("Options");
    let options = |bits: u64| Options::from_bits(u8::try_from(bits).unwrap_or(0));
    rows.number("options", 1, |bits| format!("channel session {}", options(bits).session()))?;
    rows.section(ON_THE_WIRE);
    rows.number("sequence", 2, plain)?;
    let count = rows.number("channel count", 2, |_| "channels follow".into())?;
    for _ in 0..count {
        rows.section("Channel bitfield");
        let bits = rows.number("channel bitfield", 2, |bits| {
            let fields = show_channel(&Channel::from_bits(u16::try_from(bits).unwrap_or(0), 0));
            let flag = |name: &str| if fields[name] == true { format!(", {name}") } else { String::new() };
            let recipient = fields["recipient"].as_str().unwrap_or("");
            let priority = fields["priority"].as_str().unwrap_or("");
            format!(
                "{recipient}{}{}, priority {priority}, session {}, volume {:.2}",
                flag("positional"),
                flag("closing"),
                fields["channel_session"],
                fields["volume"].as_f64().unwrap_or(0.0)
            )
        })?;
        rows.section(ON_THE_WIRE);
        rows.number("recipient", 2, |_| if bits & 1 == 1 { "room id" } else { "client id" }.into())?;
    }
    let len = rows.number("frame length", 2, |_| "bytes".into())?;
    rows.data("frame", len, "encoded audio").map(drop)
}

fn string_rows(rows: &mut Explainer<'_>, field: &'static str) -> Option<()> {
    let meaning = |n| if n == 0 { "null" } else { "bytes and one" }.into();
    match rows.number(format!("length of {field}"), 2, meaning)? {
        0 => Some(()),
        len => rows.text(field, len - 1, "").map(drop),
    }
}

fn codec_rows(rows: &mut Explainer<'_>) -> Option<()> {
    rows.number("codec", 1, |codec| {
        u8::try_from(codec).map_or(String::new(), |codec| Codec(codec).to_string())
    })?;
    rows.number("frame size", 4, |_| "samples".into())?;
    rows.number("sample rate", 4, |_| "Hz".into()).map(drop)
}

fn client_rows(rows: &mut Explainer<'_>) -> Option<()> {
    string_rows(rows, "name")?;
    rows.number("client id", 2, plain)?;
    codec_rows(rows)
}

fn room_rows(rows: &mut Explainer<'_>) -> Option<()> {
    let count = rows.number("room count", 2, |_| "names follow".into())?;
    (0..count).try_for_each(|_| string_rows(rows, "room name"))
}

fn ids_rows(rows: &mut Explainer<'_>, count: &'static str, field: &'static str) -> Option<()> {
    let count = rows.number(count, 1, |_| "client ids follow".into())?;
    (0..count).try_for_each(|_| rows.number(field, 2, |_| "client id".into()).map(drop))
}
