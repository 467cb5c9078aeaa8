//! Messages shaped as the reference implementation's public types, for other serde backends: a user can plug in any that
//! encodes them. (On the wire of this protocol they are *not* nested; see [`ClientMessage`] and [`ServerMessage`].)
//!
//! Audio is its header; the payload stands beside it.
//!
//! ```
//! use voxwire_syfala::ServerMessage;
//! use voxwire_syfala::owned::reference::Server;
//!
//! let started = Server::from(&ServerMessage::StartIoSuccess);
//! assert_eq!(postcard::to_allocvec(&started)?, [1, 0, 0, 0, 0]);
//! assert_eq!(serde_json::to_string(&started)?, r#"{"Connected":{"Control":{"Result":{"Start":{"Ok":null}}}}}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::Formats;
use crate::{Audio, ClientMessage, Format, SampleRate, SampleType, ServerMessage};
use core::num::NonZeroU32;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Client {
    /// Who is there?
    Discovery,
    /// The answer to [`Server::Connect`].
    ConnectionResult(Result<(), Error>),
    /// Within a connection.
    Connected(ConnectedClient),
    /// The connection is over.
    Disconnect,
}

/// What a client sends within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectedClient {
    /// Seldom.
    Control(ClientControl),
    /// Often.
    Audio(AudioHeader),
}

/// A client's control messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientControl {
    /// Start or stop audio.
    Request(Request),
    /// Still here.
    Heartbeat,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Start audio.
    Start,
    /// Stop it.
    Stop,
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Server {
    /// Here I am, and these are my streams.
    Connect(Formats),
    /// Within a connection.
    Connected(ConnectedServer),
    /// The connection is over.
    Disconnect,
}

/// What a server sends within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectedServer {
    /// Seldom.
    Control(ServerControl),
    /// Often.
    Audio(AudioHeader),
}

/// A server's control messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerControl {
    /// The answer to a request.
    Result(IoResult),
    /// Still here.
    Heartbeat,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoResult {
    /// To start audio.
    Start(Result<(), Error>),
    /// To stop it.
    Stop(Result<(), Error>),
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Error {
    /// Another attempt may succeed.
    Failure,
    /// Another attempt will not succeed.
    Refusal,
}

/// The head of an Audio message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioHeader {
    /// Which of the server's outputs (from a client) or inputs (from a server).
    pub stream_index: u32,
    /// Where the payload begins in the stream's bytes, since IO was started.
    pub byte_index: u64,
    /// How many bytes of payload there are.
    pub n_bytes: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "Format")]
struct Plain {
    sample_rate: f64,
    channel_count: u32,
    buffer_size: u32,
    sample_type: SampleType,
}

/// As the reference names its fields. What is no format is refused when it is deserialized.
impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plain = Plain::deserialize(deserializer)?;
        Ok(Self {
            sample_rate: SampleRate::new(plain.sample_rate)
                .ok_or_else(|| D::Error::custom("sample rate: a positive, normal number expected"))?,
            channels: NonZeroU32::new(plain.channel_count)
                .ok_or_else(|| D::Error::custom("channel count: at least 1 expected"))?,
            buffer_size: NonZeroU32::new(plain.buffer_size),
            sample_type: plain.sample_type,
        })
    }
}

impl Serialize for Format {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = Plain {
            sample_rate: self.sample_rate.get(),
            channel_count: self.channels.get(),
            buffer_size: self.buffer_size.map_or(0, NonZeroU32::get),
            sample_type: self.sample_type,
        };
        plain.serialize(serializer)
    }
}

impl Serialize for SampleType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Spelled::from(*self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SampleType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spelled::deserialize(deserializer).map(Self::from)
    }
}

/// The names that the reference's types have.
macro_rules! spelled {
    ($($name:ident $sample_type:ident),+) => {
        #[derive(Serialize, Deserialize)]
        enum Spelled { $($name),+ }

        impl From<SampleType> for Spelled {
            fn from(sample_type: SampleType) -> Self {
                match sample_type { $(SampleType::$sample_type => Self::$name),+ }
            }
        }

        impl From<Spelled> for SampleType {
            fn from(spelled: Spelled) -> Self {
                match spelled { $(Spelled::$name => Self::$sample_type),+ }
            }
        }
    };
}

spelled!(U8 U8, U16 U16, U24 U24, U32 U32, U64 U64, I8 I8, I16 I16, I24 I24, I32 I32, I64 I64, IEEF32 Ieef32, IEEF64 Ieef64);

impl From<&Audio<'_>> for AudioHeader {
    fn from(audio: &Audio<'_>) -> Self {
        Self { stream_index: audio.stream, byte_index: audio.byte_index, n_bytes: audio.n_bytes }
    }
}

impl AudioHeader {
    /// With its payload.
    pub const fn with<'a>(&self, payload: &'a [u8]) -> Audio<'a> {
        Audio { stream: self.stream_index, byte_index: self.byte_index, n_bytes: self.n_bytes, payload }
    }
}

impl From<&ClientMessage<'_>> for Client {
    fn from(message: &ClientMessage<'_>) -> Self {
        let request = |request| Self::Connected(ConnectedClient::Control(ClientControl::Request(request)));
        match message {
            ClientMessage::Discovery => Self::Discovery,
            ClientMessage::ConnectionSuccess => Self::ConnectionResult(Ok(())),
            ClientMessage::ConnectionFailed => Self::ConnectionResult(Err(Error::Failure)),
            ClientMessage::ConnectionRefused => Self::ConnectionResult(Err(Error::Refusal)),
            ClientMessage::StartIo => request(Request::Start),
            ClientMessage::StopIo => request(Request::Stop),
            ClientMessage::Audio(audio) => Self::Connected(ConnectedClient::Audio(audio.into())),
            ClientMessage::Disconnect => Self::Disconnect,
            ClientMessage::Heartbeat => Self::Connected(ConnectedClient::Control(ClientControl::Heartbeat)),
        }
    }
}

impl Client {
    /// The message as it goes over this protocol's wire; `payload` is that of Audio.
    pub const fn message<'a>(&self, payload: &'a [u8]) -> ClientMessage<'a> {
        match self {
            Self::Discovery => ClientMessage::Discovery,
            Self::ConnectionResult(Ok(())) => ClientMessage::ConnectionSuccess,
            Self::ConnectionResult(Err(Error::Failure)) => ClientMessage::ConnectionFailed,
            Self::ConnectionResult(Err(Error::Refusal)) => ClientMessage::ConnectionRefused,
            Self::Connected(ConnectedClient::Control(ClientControl::Request(Request::Start))) => {
                ClientMessage::StartIo
            }
            Self::Connected(ConnectedClient::Control(ClientControl::Request(Request::Stop))) => {
                ClientMessage::StopIo
            }
            Self::Connected(ConnectedClient::Control(ClientControl::Heartbeat)) => ClientMessage::Heartbeat,
            Self::Connected(ConnectedClient::Audio(header)) => ClientMessage::Audio(header.with(payload)),
            Self::Disconnect => ClientMessage::Disconnect,
        }
    }
}

impl From<&ServerMessage<'_>> for Server {
    fn from(message: &ServerMessage<'_>) -> Self {
        let result = |result| Self::Connected(ConnectedServer::Control(ServerControl::Result(result)));
        match message {
            ServerMessage::Connect(formats) => Self::Connect(formats.into_owned()),
            ServerMessage::StartIoFailed => result(IoResult::Start(Err(Error::Failure))),
            ServerMessage::StartIoRefused => result(IoResult::Start(Err(Error::Refusal))),
            ServerMessage::StartIoSuccess => result(IoResult::Start(Ok(()))),
            ServerMessage::StopIoFailed => result(IoResult::Stop(Err(Error::Failure))),
            ServerMessage::StopIoRefused => result(IoResult::Stop(Err(Error::Refusal))),
            ServerMessage::StopIoSuccess => result(IoResult::Stop(Ok(()))),
            ServerMessage::Audio(audio) => Self::Connected(ConnectedServer::Audio(audio.into())),
            ServerMessage::Disconnect => Self::Disconnect,
            ServerMessage::Heartbeat => Self::Connected(ConnectedServer::Control(ServerControl::Heartbeat)),
        }
    }
}
