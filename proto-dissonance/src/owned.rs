//! Packets and events that own what they hold: to be kept, sent to another task, or (with the feature `serde`) stored.
//!
//! [`Packet::into_owned`](crate::Packet::into_owned), [`ClientEvent::into_owned`](crate::ClientEvent::into_owned) and
//! [`ServerEvent::into_owned`](crate::ServerEvent::into_owned) make them; [`Packet::with`] lends a packet to be sent again. Where only bytes
//! are kept, [`voxwire_core::Owned`] is smaller.
//!
//! ```
//! use voxwire_core::Message;
//! use voxwire_dissonance::{ClientId, Packet, Wire, owned};
//!
//! let kept: owned::Packet = Packet::RemoveClient { session: 7, client: ClientId::new(1) }.into_owned();
//! let mut frame = Vec::new();
//! kept.with(|packet| packet.encode(&Wire::default(), &mut frame))?;
//! assert_eq!(frame, [0x8b, 0xc7, 10, 0, 0, 0, 7, 0, 1]);
//! # Ok::<(), voxwire_core::EncodeError>(())
//! ```

use crate::{
    Channel, ClientId, CodecSettings, LeftBecause, Lost, Options, Order, Priority, Recipient, RoomId,
    RoomRefused, Text,
};
use alloc::{boxed::Box, string::String, vec::Vec};
use core::net::SocketAddr;
use voxwire_core::{ByteString, Instant, List, NameError, Payload, PeerId, owned};

owned! {
    pub enum Packet {
        ClientState(state: ClientState),
        VoiceData(voice: VoiceData),
        TextData(text: TextData),
        HandshakeRequest(request: HandshakeRequest),
        HandshakeResponse(response: HandshakeResponse),
        ErrorWrongSession { session: u32 },
        ServerRelayReliable(relay: ServerRelay),
        ServerRelayUnreliable(relay: ServerRelay),
        DeltaClientState(delta: DeltaClientState),
        RemoveClient { session: u32, client: ClientId },
        HandshakeP2P { session: u32, client: ClientId },
    }
}

owned! {
    pub struct ClientState {
        session: u32,
        client: ClientInfo,
        rooms: Vec<Option<ByteString>>,
    }
}

owned! {
    pub struct ClientInfo {
        name: Option<ByteString>,
        id: ClientId,
        codec: CodecSettings,
    }
}

owned! {
    pub struct VoiceData {
        session: u32,
        sender: ClientId,
        options: Options,
        sequence: u16,
        channels: Vec<Channel>,
        frame: Payload,
    }
}

owned! {
    pub struct TextData {
        session: u32,
        sender: ClientId,
        recipient: Recipient,
        text: Option<ByteString>,
    }
}

owned! {
    pub struct HandshakeRequest {
        codec: CodecSettings,
        name: Option<ByteString>,
    }
}

owned! {
    pub struct HandshakeResponse {
        session: u32,
        client: ClientId,
        clients: Vec<ClientInfo>,
        rooms: Vec<Option<ByteString>>,
        channels: Vec<RoomListeners>,
    }
}

owned! {
    pub struct RoomListeners {
        room: RoomId,
        listeners: Vec<ClientId>,
    }
}

owned! {
    pub struct ServerRelay {
        session: u32,
        destinations: Vec<ClientId>,
        payload: Payload,
    }
}

owned! {
    pub struct DeltaClientState {
        session: u32,
        joined: bool,
        client: ClientId,
        room: Option<ByteString>,
    }
}

owned! {
    #[non_exhaustive]
    pub enum ClientEvent {
        Connected { id: ClientId, session: u32 },
        NoAnswer { asked: u32 },
        Disconnected { cause: Lost, retry_at: Option<Instant> },
        Entered { client: ClientId, name: String },
        Left { client: ClientId, name: Box<str> },
        Rooms { client: ClientId },
        Listening { client: ClientId, room: String, joined: bool },
        Moved { room: Box<str>, joined: bool },
        Voice(voice: Voice),
        SpeechEnded { client: ClientId },
        Text { from: ClientId, recipient: Recipient, text: Option<ByteString> },
        Direct { client: ClientId, up: bool },
    }
}

owned! {
    pub struct Voice {
        from: ClientId,
        start: bool,
        restart: bool,
        end: bool,
        sequence: u32,
        lost: u32,
        order: Order,
        positional: bool,
        volume: f32,
        priority: Priority,
        channels: Vec<Channel>,
        frame: Payload,
    }
}

owned! {
    #[non_exhaustive]
    pub enum ServerEvent {
        Connected { peer: PeerId, from: Option<SocketAddr> },
        Joining { peer: PeerId, name: String, codec: CodecSettings },
        Joined { peer: PeerId, client: ClientId },
        NameRefused { peer: PeerId, name: String },
        InvalidName { peer: PeerId, error: NameError },
        Rooms {
            client: ClientId,
            refused: Option<(String, RoomRefused)> = |refused: Option<(alloc::borrow::Cow<'_, str>, _)>| {
                refused.map(|(room, why)| (room.into(), why))
            },
        },
        Listening { client: ClientId, room: String, joined: bool },
        Voice { client: ClientId, voice: VoiceData, copies: usize },
        Text { client: ClientId, text: TextData, copies: usize },
        Left { peer: PeerId, client: ClientId, name: Box<str>, cause: LeftBecause },
        Gone { peer: PeerId },
    }
}

impl From<Text<'_>> for Option<ByteString> {
    fn from(text: Text<'_>) -> Self {
        text.bytes().map(ByteString::from)
    }
}

fn text(bytes: &Option<ByteString>) -> Text<'_> {
    bytes.as_deref().map_or(Text::NULL, Text::from_bytes)
}

fn texts(list: &[Option<ByteString>]) -> Vec<Text<'_>> {
    list.iter().map(text).collect()
}

impl Packet {
    /// Lends the packet to `f`, which may encode it.
    pub fn with<R>(&self, f: impl FnOnce(crate::Packet<'_>) -> R) -> R {
        use crate::Packet as Lent;
        match self {
            Self::ClientState(state) => state.with(|state| f(Lent::ClientState(state))),
            Self::VoiceData(voice) => f(Lent::VoiceData(voice.lend())),
            Self::TextData(text) => f(Lent::TextData(text.lend())),
            Self::HandshakeRequest(HandshakeRequest { codec, name }) => {
                f(Lent::HandshakeRequest(crate::HandshakeRequest { codec: *codec, name: text(name) }))
            }
            Self::HandshakeResponse(response) => response.with(|lent| f(Lent::HandshakeResponse(lent))),
            Self::ErrorWrongSession { session } => f(Lent::ErrorWrongSession { session: *session }),
            Self::ServerRelayReliable(relay) => f(Lent::ServerRelayReliable(relay.lend())),
            Self::ServerRelayUnreliable(relay) => f(Lent::ServerRelayUnreliable(relay.lend())),
            Self::DeltaClientState(DeltaClientState { session, joined, client, room }) => {
                let (session, joined, client, room) = (*session, *joined, *client, text(room));
                f(Lent::DeltaClientState(crate::DeltaClientState { session, joined, client, room }))
            }
            Self::RemoveClient { session, client } => {
                f(Lent::RemoveClient { session: *session, client: *client })
            }
            Self::HandshakeP2P { session, client } => {
                f(Lent::HandshakeP2P { session: *session, client: *client })
            }
        }
    }
}

impl ClientState {
    fn with<R>(&self, f: impl FnOnce(crate::ClientState<'_>) -> R) -> R {
        let rooms = texts(&self.rooms);
        let (session, client) = (self.session, self.client.lend());
        f(crate::ClientState { session, client, rooms: List::from(&rooms[..]) })
    }
}

impl HandshakeResponse {
    fn with<R>(&self, f: impl FnOnce(crate::HandshakeResponse<'_>) -> R) -> R {
        let clients: Vec<_> = self.clients.iter().map(ClientInfo::lend).collect();
        let rooms = texts(&self.rooms);
        let channels: Vec<_> = self.channels.iter().map(RoomListeners::lend).collect();
        f(crate::HandshakeResponse {
            session: self.session,
            client: self.client,
            clients: List::from(&clients[..]),
            rooms: List::from(&rooms[..]),
            channels: List::from(&channels[..]),
        })
    }
}

impl ClientInfo {
    fn lend(&self) -> crate::ClientInfo<'_> {
        crate::ClientInfo { name: text(&self.name), id: self.id, codec: self.codec }
    }
}

impl RoomListeners {
    fn lend(&self) -> crate::RoomListeners<'_> {
        crate::RoomListeners { room: self.room, listeners: &self.listeners }
    }
}

impl ServerRelay {
    fn lend(&self) -> crate::ServerRelay<'_> {
        let Self { session, destinations, payload } = self;
        crate::ServerRelay { session: *session, destinations, payload }
    }
}

impl VoiceData {
    fn lend(&self) -> crate::VoiceData<'_> {
        let Self { session, sender, options, sequence, channels, frame } = self;
        let (session, sender, options, sequence) = (*session, *sender, *options, *sequence);
        crate::VoiceData { session, sender, options, sequence, channels, frame }
    }
}

impl TextData {
    fn lend(&self) -> crate::TextData<'_> {
        let (session, sender, recipient) = (self.session, self.sender, self.recipient);
        crate::TextData { session, sender, recipient, text: text(&self.text) }
    }
}

/// Numbers, as they are on the wire.
#[cfg(feature = "serde")]
mod numbers {
    use crate::{Channel, ClientId, RoomId};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    macro_rules! number {
        ($($id:ident)+) => {$(
            impl Serialize for $id {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    self.get().serialize(serializer)
                }
            }

            impl<'de> Deserialize<'de> for $id {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    u16::deserialize(deserializer).map(Self::new)
                }
            }
        )+};
    }

    number!(ClientId RoomId);

    #[derive(Serialize, Deserialize)]
    #[serde(rename = "Channel")]
    struct Plain {
        bitfield: u16,
        recipient: u16,
    }

    impl Serialize for Channel {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            Plain { bitfield: self.bits(), recipient: self.recipient_bits() }.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Channel {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Plain::deserialize(deserializer).map(|plain| Self::from_bits(plain.bitfield, plain.recipient))
        }
    }
}
