use crate::wire::{
    ClientHead, CodecHead, DeltaHead, HEAD_LEN, Head, MAGIC, MAX_DESTINATIONS, RELAY_HEAD_LEN, RelayHead,
    TEXT_HEAD_LEN, TextHead, VOICE_HEAD_LEN, kind,
};
use crate::{Channel, ClientId, CodecSettings, Recipient, RoomId, Text, VoiceData, Wire};
use core::fmt;
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, DecodeErrorKind, Element, EncodeError, List, Message, Reader};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a client sends: the format is the same in both directions.
pub type ClientMessage<'a> = Packet<'a>;
/// What a server sends: the format is the same in both directions.
pub type ServerMessage<'a> = Packet<'a>;

/// One packet, of any of the eleven types. Variable parts borrow from the frame; bytes after the end are ignored, as the
/// original does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Packet<'a> {
    /// Type 1: everything about one client.
    ClientState(ClientState<'a>),
    /// Type 2: one frame of speech.
    VoiceData(VoiceData<'a>),
    /// Type 3: text to a room or a player.
    TextData(TextData<'a>),
    /// Type 4: a client wants to join. The only packet without a session number.
    HandshakeRequest(HandshakeRequest<'a>),
    /// Type 5: the server's answer, with the state of the session or without.
    HandshakeResponse(HandshakeResponse<'a>),
    /// Type 6: a packet carried another session's number; the server's is this.
    ErrorWrongSession {
        /// The server's session number.
        session: u32,
    },
    /// Type 7: a packet for others, to be handed on reliably.
    ServerRelayReliable(ServerRelay<'a>),
    /// Type 8: a packet for others that may be lost.
    ServerRelayUnreliable(ServerRelay<'a>),
    /// Type 9: a client starts or stops listening to a room. (`DeltaChannelState` in the package.)
    DeltaClientState(DeltaClientState<'a>),
    /// Type 10: a client has left.
    RemoveClient {
        /// The session's number.
        session: u32,
        /// Who.
        client: ClientId,
    },
    /// Type 11: straight from one client to another: this is a way to reach me.
    HandshakeP2P {
        /// The session's number.
        session: u32,
        /// The sender.
        client: ClientId,
    },
}

/// Message type 1.
///
/// | offset | length | field |
/// | --- | --- | --- |
/// | 7 | 2 + | name |
/// | then | 2 | client id |
/// | then | 9 | codec settings |
/// | then | 2 | room count |
/// | then | 2 + each | room names |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClientState<'a> {
    /// The session's number.
    pub session: u32,
    /// Who.
    pub client: ClientInfo<'a>,
    /// The names of the rooms it listens to; all of them.
    pub rooms: List<'a, Text<'a>>,
}

/// One client, as lists of clients and ClientState have it: name, id, codec settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ClientInfo<'a> {
    /// Its name: what it is known by.
    pub name: Text<'a>,
    /// Its number.
    pub id: ClientId,
    /// How its voice is encoded.
    pub codec: CodecSettings,
}

/// Message type 3.
///
/// | offset | length | field |
/// | --- | --- | --- |
/// | 7 | 1 | recipient type: 0 room, 1 player (the inverse of a channel's bit) |
/// | 8 | 2 | sender |
/// | 10 | 2 | target: room id or client id |
/// | 12 | 2 + | text |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TextData<'a> {
    /// The session's number.
    pub session: u32,
    /// Who wrote it.
    pub sender: ClientId,
    /// To whom.
    pub recipient: Recipient,
    /// What.
    pub text: Text<'a>,
}

/// Message type 4.
///
/// | offset | length | field |
/// | --- | --- | --- |
/// | 3 | 9 | codec settings |
/// | 12 | 2 + | name |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct HandshakeRequest<'a> {
    /// How the client's voice is encoded.
    pub codec: CodecSettings,
    /// What it wants to be known by.
    pub name: Text<'a>,
}

/// Message type 5.
///
/// | offset | length | field |
/// | --- | --- | --- |
/// | 7 | 2 | the newcomer's client id |
/// | 9 | 2 | client count |
/// | 11 | 13 + each | clients: name, id, codec settings |
/// | then | 2 | room count |
/// | then | 2 + each | room names |
/// | then | 2 | channel count, the same number |
/// | then | 3 + each | room id, listener count u8, client ids |
///
/// All three counts may be 0 although the session has clients: then ClientStates follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct HandshakeResponse<'a> {
    /// The session's number.
    pub session: u32,
    /// The newcomer's number.
    pub client: ClientId,
    /// Who is there, the newcomer included.
    pub clients: List<'a, ClientInfo<'a>>,
    /// The names of the rooms that a client listens to, or did.
    pub rooms: List<'a, Text<'a>>,
    /// Who listens to them.
    pub channels: List<'a, RoomListeners<'a>>,
}

/// Who listens to one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RoomListeners<'a> {
    /// The room.
    pub room: RoomId,
    /// At most 255, in ascending order.
    #[cfg_attr(feature = "arbitrary", arbitrary(with = crate::wire::arbitrary_slice))]
    pub listeners: &'a [ClientId],
}

/// Message types 7 and 8.
///
/// | offset | length | field |
/// | --- | --- | --- |
/// | 7 | 1 | destination count |
/// | 8 | 2 each | destinations: client ids |
/// | then | 2 | payload length |
/// | then | | payload: a whole packet, with its own magic, type and session |
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct ServerRelay<'a> {
    /// The session's number.
    pub session: u32,
    /// For whom: at most 255.
    #[cfg_attr(feature = "arbitrary", arbitrary(with = crate::wire::arbitrary_slice))]
    pub destinations: &'a [ClientId],
    /// The packet to hand on.
    pub payload: &'a [u8],
}

/// Message type 9.
///
/// | offset | length | field |
/// | --- | --- | --- |
/// | 7 | 1 | joined |
/// | 8 | 2 | client id |
/// | 10 | 2 + | room name |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeltaClientState<'a> {
    /// The session's number.
    pub session: u32,
    /// Whether the client starts to listen, or stops. Anything but 0 reads as true.
    pub joined: bool,
    /// Who.
    pub client: ClientId,
    /// To which room.
    pub room: Text<'a>,
}

impl Packet<'_> {
    /// The document's word for the message type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ClientState(_) => "ClientState",
            Self::VoiceData(_) => "VoiceData",
            Self::TextData(_) => "TextData",
            Self::HandshakeRequest(_) => "HandshakeRequest",
            Self::HandshakeResponse(_) => "HandshakeResponse",
            Self::ErrorWrongSession { .. } => "ErrorWrongSession",
            Self::ServerRelayReliable(_) => "ServerRelayReliable",
            Self::ServerRelayUnreliable(_) => "ServerRelayUnreliable",
            Self::DeltaClientState(_) => "DeltaClientState",
            Self::RemoveClient { .. } => "RemoveClient",
            Self::HandshakeP2P { .. } => "HandshakeP2P",
        }
    }

    /// The session number it carries; `None` for a HandshakeRequest.
    pub const fn session(&self) -> Option<u32> {
        match self {
            Self::HandshakeRequest(_) => None,
            Self::ClientState(ClientState { session, .. })
            | Self::VoiceData(VoiceData { session, .. })
            | Self::TextData(TextData { session, .. })
            | Self::HandshakeResponse(HandshakeResponse { session, .. })
            | Self::ErrorWrongSession { session }
            | Self::ServerRelayReliable(ServerRelay { session, .. })
            | Self::ServerRelayUnreliable(ServerRelay { session, .. })
            | Self::DeltaClientState(DeltaClientState { session, .. })
            | Self::RemoveClient { session, .. }
            | Self::HandshakeP2P { session, .. } => Some(*session),
        }
    }

    #[inline(never)]
    fn any_encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        let text = wire.limits.max_text;
        let len = match self {
            Self::VoiceData(voice) => {
                let most = usize::from(u16::MAX);
                voice.len().ok_or(EncodeError::TooLong {
                    field: "frame",
                    len: voice.frame.len(),
                    max: most,
                })?
            }
            Self::ClientState(state) => {
                count("rooms", state.rooms.len())?;
                let rooms = state.rooms.encoded_len(text)?;
                sum([HEAD_LEN, state.client.encoded_len(text)?, 2, rooms])
            }
            Self::TextData(data) => sum([TEXT_HEAD_LEN, data.text.field_len("text", text)?]),
            Self::HandshakeRequest(request) => {
                sum([3, CodecSettings::LEN, request.name.field_len("name", text)?])
            }
            Self::HandshakeResponse(response) => {
                count("clients", response.clients.len())?;
                count("rooms", response.rooms.len())?;
                count("channels", response.channels.len())?;
                let clients = response.clients.encoded_len(text)?;
                let rooms = response.rooms.encoded_len(text)?;
                sum([HEAD_LEN, 2, 2, clients, 2, rooms, 2, response.channels.encoded_len(0)?])
            }
            Self::ErrorWrongSession { .. } => HEAD_LEN,
            Self::ServerRelayReliable(relay) | Self::ServerRelayUnreliable(relay) => relay.checked_len()?,
            Self::DeltaClientState(delta) => {
                sum([size_of::<DeltaHead>(), delta.room.field_len("room name", text)?])
            }
            Self::RemoveClient { .. } | Self::HandshakeP2P { .. } => size_of::<ClientHead>(),
        };
        EncodeError::check_len("packet", len, wire.limits.max_frame)
    }

    #[inline(never)]
    fn write_any(&self, out: &mut impl BufMut) {
        match *self {
            Self::VoiceData(voice) => voice.write(out),
            Self::ClientState(state) => {
                put(out, &Head::new(kind::CLIENT_STATE, state.session));
                state.client.write(out);
                put_count(out, state.rooms.len());
                state.rooms.write(out);
            }
            Self::TextData(data) => {
                let (recipient, target) = match data.recipient {
                    Recipient::Room(room) => (0, room.bytes()),
                    Recipient::Player(client) => (1, client.bytes()),
                };
                let head = Head::new(kind::TEXT_DATA, data.session);
                put(out, &TextHead { head, recipient, sender: data.sender, target });
                data.text.write_field(out);
            }
            Self::HandshakeRequest(request) => {
                out.put_u16(MAGIC);
                out.put_u8(kind::HANDSHAKE_REQUEST);
                put(out, &CodecHead::from(request.codec));
                request.name.write_field(out);
            }
            Self::HandshakeResponse(response) => {
                let head = Head::new(kind::HANDSHAKE_RESPONSE, response.session);
                put(out, &ClientHead { head, client: response.client });
                put_count(out, response.clients.len());
                response.clients.write(out);
                put_count(out, response.rooms.len());
                response.rooms.write(out);
                put_count(out, response.channels.len());
                response.channels.write(out);
            }
            Self::ErrorWrongSession { session } => put(out, &Head::new(kind::ERROR_WRONG_SESSION, session)),
            Self::ServerRelayReliable(relay) => relay.write(kind::SERVER_RELAY_RELIABLE, out),
            Self::ServerRelayUnreliable(relay) => relay.write(kind::SERVER_RELAY_UNRELIABLE, out),
            Self::DeltaClientState(delta) => {
                let head = Head::new(kind::DELTA_CLIENT_STATE, delta.session);
                put(out, &DeltaHead { head, joined: delta.joined.into(), client: delta.client });
                delta.room.write_field(out);
            }
            Self::RemoveClient { session, client } => {
                put(out, &ClientHead { head: Head::new(kind::REMOVE_CLIENT, session), client });
            }
            Self::HandshakeP2P { session, client } => {
                put(out, &ClientHead { head: Head::new(kind::HANDSHAKE_P2P, session), client });
            }
        }
    }
}

impl<'a> Packet<'a> {
    #[inline(never)]
    fn decode_any(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        if frame.len() > wire.limits.max_frame {
            return Err(DecodeError::limit("packet", 0, frame.len() as u64, wire.limits.max_frame));
        }
        let mut reader = Reader::new(frame);
        let magic = reader.u16_be("magic")?;
        if magic != MAGIC {
            let kind = DecodeErrorKind::Value { got: magic.into(), expected: "0x8bc7 (35783)" };
            return Err(DecodeError::new("magic", 0, kind));
        }
        let kind = reader.u8("type")?;
        if kind == kind::HANDSHAKE_REQUEST {
            let (codec, name) =
                (codec(&mut reader)?, Text::read_field(&mut reader, "name", wire.limits.max_text)?);
            return Ok(Self::HandshakeRequest(HandshakeRequest { codec, name }));
        }
        if !(kind::CLIENT_STATE..=kind::HANDSHAKE_P2P).contains(&kind) {
            return Err(DecodeError::tag("type", 2, kind.into(), "a type from 1 to 11"));
        }
        let session = reader.u32_be("session")?;
        Self::read(kind, session, &mut reader, wire)
    }

    /// What follows the head.
    fn read(kind: u8, session: u32, reader: &mut Reader<'a>, wire: &Wire) -> Result<Self, DecodeError> {
        let text = wire.limits.max_text;
        let items = wire.limits.max_items;
        Ok(match kind {
            kind::CLIENT_STATE => {
                let client = ClientInfo::read(reader, text)?;
                let rooms = reader.u16_be("room count")?;
                let rooms = List::read(reader, text, "room count", rooms.into(), items)?;
                Self::ClientState(ClientState { session, client, rooms })
            }
            kind::VOICE_DATA => {
                let sender = client_id(reader, "sender")?;
                let options = crate::Options::from_bits(reader.u8("options")?);
                let sequence = reader.u16_be("sequence")?;
                let channels = elements::<Channel>(reader, "channel count", 2, "channels")?;
                let frame = bytes(reader, "frame length", "frame")?;
                Self::VoiceData(VoiceData { session, sender, options, sequence, channels, frame })
            }
            kind::TEXT_DATA => Self::TextData(TextData::read(session, reader, text)?),
            kind::HANDSHAKE_RESPONSE => {
                Self::HandshakeResponse(HandshakeResponse::read(session, reader, text, items)?)
            }
            kind::ERROR_WRONG_SESSION => Self::ErrorWrongSession { session },
            kind::SERVER_RELAY_RELIABLE | kind::SERVER_RELAY_UNRELIABLE => {
                let destinations = elements(reader, "destination count", 1, "destinations")?;
                let payload = bytes(reader, "payload length", "payload")?;
                let relay = ServerRelay { session, destinations, payload };
                if kind == kind::SERVER_RELAY_RELIABLE {
                    Self::ServerRelayReliable(relay)
                } else {
                    Self::ServerRelayUnreliable(relay)
                }
            }
            kind::DELTA_CLIENT_STATE => {
                let joined = reader.u8("joined")? != 0;
                let client = client_id(reader, "client id")?;
                let room = Text::read_field(reader, "room name", text)?;
                Self::DeltaClientState(DeltaClientState { session, joined, client, room })
            }
            kind::REMOVE_CLIENT => Self::RemoveClient { session, client: client_id(reader, "client id")? },
            _ => Self::HandshakeP2P { session, client: client_id(reader, "client id")? },
        })
    }
}

impl<'a> TextData<'a> {
    /// What follows the head.
    fn read(session: u32, reader: &mut Reader<'a>, max_text: usize) -> Result<Self, DecodeError> {
        let tag = reader.offset();
        let recipient = reader.u8("recipient type")?;
        let sender = client_id(reader, "sender")?;
        let target = reader.array("target")?;
        let recipient = match recipient {
            0 => Recipient::Room(RoomId::from_bytes(target)),
            1 => Recipient::Player(ClientId::from_bytes(target)),
            got => {
                let expected = "0 (room) or 1 (player)";
                return Err(DecodeError::tag("recipient type", tag, got.into(), expected));
            }
        };
        let text = Text::read_field(reader, "text", max_text)?;
        Ok(Self { session, sender, recipient, text })
    }
}

impl<'a> HandshakeResponse<'a> {
    /// What follows the head.
    fn read(
        session: u32,
        reader: &mut Reader<'a>,
        max_text: usize,
        max_items: usize,
    ) -> Result<Self, DecodeError> {
        let client = client_id(reader, "client id")?;
        let clients = reader.u16_be("client count")?;
        let clients = List::read(reader, max_text, "client count", clients.into(), max_items)?;
        let rooms = reader.u16_be("room count")?;
        let rooms = List::read(reader, max_text, "room count", rooms.into(), max_items)?;
        let channels = reader.u16_be("channel count")?;
        let channels = List::read(reader, 0, "channel count", channels.into(), max_items)?;
        Ok(Self { session, client, clients, rooms, channels })
    }
}

impl<'a> Message<'a> for Packet<'a> {
    type Wire = Wire;
    type At<'b> = Packet<'b>;

    #[inline]
    fn decode(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        // Voice first, and small enough to be inlined: nearly every packet is voice.
        match VoiceData::read(frame) {
            Some(voice) if frame.len() <= wire.limits.max_frame => Ok(Self::VoiceData(voice)),
            _ => Self::decode_any(frame, wire),
        }
    }

    #[inline]
    fn encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        match self {
            Packet::VoiceData(voice) => match voice.len() {
                Some(len) if len <= wire.limits.max_frame => Ok(len),
                _ => self.any_encoded_len(wire),
            },
            _ => self.any_encoded_len(wire),
        }
    }

    #[inline]
    fn write_unchecked(&self, _wire: &Wire, out: &mut impl BufMut) {
        match self {
            Packet::VoiceData(voice) => voice.write(out),
            _ => self.write_any(out),
        }
    }
}

impl<'a> ServerRelay<'a> {
    /// Reads a relay packet of either kind, and whether it is to be handed on reliably; `None` for any other packet, and
    /// for one that ends too early.
    #[inline]
    pub fn read(frame: &'a [u8]) -> Option<(Self, bool)> {
        let (relay, rest) = RelayHead::ref_from_prefix(frame).ok()?;
        let reliable = match relay.head.kind {
            kind::SERVER_RELAY_RELIABLE => true,
            kind::SERVER_RELAY_UNRELIABLE => false,
            _ => return None,
        };
        if relay.head.magic.get() != MAGIC {
            return None;
        }
        let destinations = usize::from(relay.destinations);
        let (destinations, rest) = <[ClientId]>::ref_from_prefix_with_elems(rest, destinations).ok()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let payload = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        Some((Self { session: relay.head.session.get(), destinations, payload }, reliable))
    }

    /// The encoded length of a relay packet, in bytes.
    pub const fn len_for(destinations: usize, payload: usize) -> usize {
        RELAY_HEAD_LEN
            .saturating_add(destinations.saturating_mul(2))
            .saturating_add(2)
            .saturating_add(payload)
    }

    fn checked_len(&self) -> Result<usize, EncodeError> {
        let (destinations, payload) = (self.destinations.len(), self.payload.len());
        if destinations > MAX_DESTINATIONS {
            return Err(EncodeError::TooLong {
                field: "destinations",
                len: destinations,
                max: MAX_DESTINATIONS,
            });
        }
        count("payload", payload)?;
        Ok(Self::len_for(destinations, payload))
    }

    fn write(&self, kind: u8, out: &mut impl BufMut) {
        // `checked_len` has checked that the counts fit.
        let destinations = u8::try_from(self.destinations.len()).unwrap_or(u8::MAX);
        put(out, &RelayHead { head: Head::new(kind, self.session), destinations });
        out.put_slice(self.destinations.as_bytes());
        put_count(out, self.payload.len());
        out.put_slice(self.payload);
    }
}

impl fmt::Debug for ServerRelay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerRelay")
            .field("session", &self.session)
            .field("destinations", &self.destinations)
            .field("len", &self.payload.len())
            .finish()
    }
}

/// As `Debug`.
#[cfg(feature = "defmt")]
impl defmt::Format for ServerRelay<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let Self { session, destinations, payload } = self;
        let len = payload.len();
        defmt::write!(
            f,
            "ServerRelay {{ session: {}, destinations: {}, len: {} }}",
            session,
            destinations,
            len
        );
    }
}

/// The limit is a name's longest length.
impl<'a> Element<'a> for ClientInfo<'a> {
    const MIN_LEN: usize = 13;

    fn read(reader: &mut Reader<'a>, max_text: usize) -> Result<Self, DecodeError> {
        let name = Text::read_field(reader, "name", max_text)?;
        Ok(Self { name, id: client_id(reader, "client id")?, codec: codec(reader)? })
    }

    fn encoded_len(&self, max_text: usize) -> Result<usize, EncodeError> {
        Ok(sum([self.name.field_len("name", max_text)?, 2, CodecSettings::LEN]))
    }

    fn write(&self, out: &mut impl BufMut) {
        self.name.write_field(out);
        out.put_slice(&self.id.bytes());
        put(out, &CodecHead::from(self.codec));
    }
}

impl<'a> Element<'a> for RoomListeners<'a> {
    const MIN_LEN: usize = 3;

    fn read(reader: &mut Reader<'a>, _max_text: usize) -> Result<Self, DecodeError> {
        let room = RoomId::from_bytes(reader.array("room id")?);
        Ok(Self { room, listeners: elements(reader, "listener count", 1, "listeners")? })
    }

    fn encoded_len(&self, _max_text: usize) -> Result<usize, EncodeError> {
        let len = EncodeError::check_len("listeners", self.listeners.len(), 255)?;
        Ok(sum([3, len.saturating_mul(2)]))
    }

    fn write(&self, out: &mut impl BufMut) {
        out.put_slice(&self.room.bytes());
        out.put_u8(u8::try_from(self.listeners.len()).unwrap_or(u8::MAX));
        out.put_slice(self.listeners.as_bytes());
    }
}

fn client_id(reader: &mut Reader<'_>, field: &'static str) -> Result<ClientId, DecodeError> {
    reader.array(field).map(ClientId::from_bytes)
}

fn codec(reader: &mut Reader<'_>) -> Result<CodecSettings, DecodeError> {
    Ok(CodecSettings {
        codec: crate::Codec(reader.u8("codec")?),
        frame_size: reader.u32_be("frame size")?,
        sample_rate: reader.u32_be("sample rate")?,
    })
}

/// A list of fixed-size elements, where it lies: a count of `width` bytes, then the elements.
fn elements<'a, T: FromBytes + KnownLayout + Immutable + Unaligned>(
    reader: &mut Reader<'a>,
    count: &'static str,
    width: usize,
    field: &'static str,
) -> Result<&'a [T], DecodeError> {
    let len = reader.take(count, width)?.iter().fold(0, |len: usize, byte| (len << 8) | usize::from(*byte));
    let start = *reader;
    let bytes = reader.take(field, len.saturating_mul(size_of::<T>()))?;
    // The size is right and there is no alignment.
    <[T]>::ref_from_bytes(bytes).map_err(|_| start.error(field, DecodeErrorKind::Truncated { missing: 1 }))
}

/// A byte array: a u16 length, then the bytes.
fn bytes<'a>(
    reader: &mut Reader<'a>,
    length: &'static str,
    field: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let len = reader.u16_be(length)?;
    reader.take(field, len.into())
}

fn put(out: &mut impl BufMut, head: &(impl IntoBytes + Immutable)) {
    out.put_slice(head.as_bytes());
}

/// A count that `encoded_len` has checked.
fn put_count(out: &mut impl BufMut, count: usize) {
    out.put_slice(U16::new(u16::try_from(count).unwrap_or(u16::MAX)).as_bytes());
}

fn count(field: &'static str, len: usize) -> Result<(), EncodeError> {
    EncodeError::check_len(field, len, usize::from(u16::MAX)).map(drop)
}

fn sum<const N: usize>(parts: [usize; N]) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

// The heads are as long as the tables say.
const _: () = {
    assert!(size_of::<Head>() == HEAD_LEN && size_of::<TextHead>() == TEXT_HEAD_LEN);
    assert!(
        size_of::<RelayHead>() == RELAY_HEAD_LEN && size_of::<crate::wire::VoiceHead>() == VOICE_HEAD_LEN
    );
    assert!(size_of::<ClientHead>() == 9 && size_of::<DeltaHead>() == 10 && CodecSettings::LEN == 9);
    assert!(size_of::<Channel>() == 4);
};
