use crate::format::Formats;
use crate::voice::{self, Sender, head};
use crate::wire::{AUDIO_HEAD_LEN, client, server};
use crate::{Wire, varint};
use core::fmt;
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, EncodeError, Message, Reader};

/// What a client sends. Bytes behind the message are ignored, as the reference does; behind Audio they are its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClientMessage<'a> {
    /// 0: who is there?
    Discovery,
    /// 1: the formats will do; the connection is established.
    ConnectionSuccess,
    /// 2: not now; another attempt may succeed.
    ConnectionFailed,
    /// 3: no, and another attempt will not succeed.
    ConnectionRefused,
    /// 4: start audio, in all streams.
    StartIo,
    /// 5: stop it.
    StopIo,
    /// 6: audio for one of the server's outputs.
    Audio(Audio<'a>),
    /// 7: the connection is over.
    Disconnect,
    /// 8: still here.
    Heartbeat,
}

/// What a server sends. Bytes behind the message are ignored, as the reference does; behind Audio they are its payload.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ServerMessage<'a> {
    /// 0: here I am, and these are my streams.
    Connect(Formats<'a>),
    /// 1: audio is not started; another attempt may succeed.
    StartIoFailed,
    /// 2: audio is not started, and another attempt will not succeed.
    StartIoRefused,
    /// 3: audio goes both ways from now on.
    StartIoSuccess,
    /// 4: audio is not stopped; another attempt may succeed.
    StopIoFailed,
    /// 5: audio is not stopped, and another attempt will not succeed.
    StopIoRefused,
    /// 6: audio is stopped.
    StopIoSuccess,
    /// 7: audio of one of the server's inputs.
    Audio(Audio<'a>),
    /// 8: the connection is over.
    Disconnect,
    /// 9: still here.
    Heartbeat,
}

/// Audio, either way.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Audio<'a> {
    /// Which of the server's outputs (from a client) or inputs (from a server).
    pub stream: u32,
    /// Where the payload begins in the stream's bytes, since IO was started.
    pub byte_index: u64,
    /// How many bytes of payload there should be. Decoding does not compare it with what is there: receivers do.
    pub n_bytes: u32,
    /// What is behind the head, to the end of the datagram.
    pub payload: &'a [u8],
}

impl<'a> Audio<'a> {
    /// With as many bytes as it says; beyond 4 GiB less one, as many as can be said.
    pub fn new(stream: u32, byte_index: u64, payload: &'a [u8]) -> Self {
        Self { stream, byte_index, n_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX), payload }
    }

    /// Whether there are as many bytes as it says.
    pub const fn is_whole(&self) -> bool {
        self.payload.len() as u64 == self.n_bytes as u64
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            stream: reader.u32_le("stream index")?,
            byte_index: reader.u64_le("byte index")?,
            n_bytes: reader.u32_le("n_bytes")?,
            payload: reader.rest(),
        })
    }

    fn encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        let max = wire.limits.max_frame.saturating_sub(AUDIO_HEAD_LEN);
        Ok(EncodeError::check_len("audio", self.payload.len(), max)?.saturating_add(AUDIO_HEAD_LEN))
    }

    fn write(&self, from: Sender, out: &mut impl BufMut) {
        out.put_slice(&head(from, self.stream, self.byte_index, self.n_bytes));
        out.put_slice(self.payload);
    }
}

/// Shows the payload by its length alone.
impl fmt::Debug for Audio<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audio")
            .field("stream", &self.stream)
            .field("byte_index", &self.byte_index)
            .field("n_bytes", &self.n_bytes)
            .field("len", &self.payload.len())
            .finish()
    }
}

/// As `Debug`.
#[cfg(feature = "defmt")]
impl defmt::Format for Audio<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let (stream, byte_index, n_bytes, len) =
            (self.stream, self.byte_index, self.n_bytes, self.payload.len());
        defmt::write!(
            f,
            "Audio {{ stream: {}, byte_index: {}, n_bytes: {}, len: {} }}",
            stream,
            byte_index,
            n_bytes,
            len
        );
    }
}

impl ClientMessage<'_> {
    /// The message's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Discovery => "Discovery",
            Self::ConnectionSuccess => "ConnectionSuccess",
            Self::ConnectionFailed => "ConnectionFailed",
            Self::ConnectionRefused => "ConnectionRefused",
            Self::StartIo => "StartIO",
            Self::StopIo => "StopIO",
            Self::Audio(_) => "Audio",
            Self::Disconnect => "Disconnect",
            Self::Heartbeat => "Heartbeat",
        }
    }

    const fn discriminant(&self) -> u32 {
        match self {
            Self::Discovery => client::DISCOVERY,
            Self::ConnectionSuccess => client::CONNECTION_SUCCESS,
            Self::ConnectionFailed => client::CONNECTION_FAILED,
            Self::ConnectionRefused => client::CONNECTION_REFUSED,
            Self::StartIo => client::START_IO,
            Self::StopIo => client::STOP_IO,
            Self::Audio(_) => client::AUDIO,
            Self::Disconnect => client::DISCONNECT,
            Self::Heartbeat => client::HEARTBEAT,
        }
    }
}

impl ServerMessage<'_> {
    /// The message's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "Connect",
            Self::StartIoFailed => "StartIOFailed",
            Self::StartIoRefused => "StartIORefused",
            Self::StartIoSuccess => "StartIOSuccess",
            Self::StopIoFailed => "StopIOFailed",
            Self::StopIoRefused => "StopIORefused",
            Self::StopIoSuccess => "StopIOSuccess",
            Self::Audio(_) => "Audio",
            Self::Disconnect => "Disconnect",
            Self::Heartbeat => "Heartbeat",
        }
    }

    const fn discriminant(&self) -> u32 {
        match self {
            Self::Connect(_) => server::CONNECT,
            Self::StartIoFailed => server::START_IO_FAILED,
            Self::StartIoRefused => server::START_IO_REFUSED,
            Self::StartIoSuccess => server::START_IO_SUCCESS,
            Self::StopIoFailed => server::STOP_IO_FAILED,
            Self::StopIoRefused => server::STOP_IO_REFUSED,
            Self::StopIoSuccess => server::STOP_IO_SUCCESS,
            Self::Audio(_) => server::AUDIO,
            Self::Disconnect => server::DISCONNECT,
            Self::Heartbeat => server::HEARTBEAT,
        }
    }
}

impl<'a> Message<'a> for ClientMessage<'a> {
    type Wire = Wire;
    type At<'b> = ClientMessage<'b>;

    #[inline]
    fn decode(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        // Audio first, and small enough to be inlined: nearly every message is Audio.
        match voice::audio(frame, Sender::Client) {
            Some(audio) if frame.len() <= wire.limits.max_frame => Ok(Self::Audio(audio)),
            _ => decode_client(frame, wire),
        }
    }

    #[inline]
    fn encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        match self {
            Self::Audio(audio) => audio.encoded_len(wire),
            _ => Ok(1),
        }
    }

    #[inline]
    fn write_unchecked(&self, _wire: &Wire, out: &mut impl BufMut) {
        match self {
            Self::Audio(audio) => audio.write(Sender::Client, out),
            _ => varint::put(self.discriminant().into(), out),
        }
    }
}

impl<'a> Message<'a> for ServerMessage<'a> {
    type Wire = Wire;
    type At<'b> = ServerMessage<'b>;

    #[inline]
    fn decode(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        match voice::audio(frame, Sender::Server) {
            Some(audio) if frame.len() <= wire.limits.max_frame => Ok(Self::Audio(audio)),
            _ => decode_server(frame, wire),
        }
    }

    #[inline]
    fn encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        match self {
            Self::Audio(audio) => audio.encoded_len(wire),
            Self::Connect(formats) => {
                let len = formats.encoded_len(wire.limits.max_items)?.saturating_add(1);
                EncodeError::check_len("formats", len, wire.limits.max_frame)
            }
            _ => Ok(1),
        }
    }

    #[inline]
    fn write_unchecked(&self, _wire: &Wire, out: &mut impl BufMut) {
        match self {
            Self::Audio(audio) => audio.write(Sender::Server, out),
            _ => {
                varint::put(self.discriminant().into(), out);
                if let Self::Connect(formats) = self {
                    formats.write(out);
                }
            }
        }
    }
}

#[inline(never)]
fn decode_client<'a>(frame: &'a [u8], wire: &Wire) -> Result<ClientMessage<'a>, DecodeError> {
    let (mut reader, discriminant) = begin(frame, wire)?;
    Ok(match discriminant {
        client::DISCOVERY => ClientMessage::Discovery,
        client::CONNECTION_SUCCESS => ClientMessage::ConnectionSuccess,
        client::CONNECTION_FAILED => ClientMessage::ConnectionFailed,
        client::CONNECTION_REFUSED => ClientMessage::ConnectionRefused,
        client::START_IO => ClientMessage::StartIo,
        client::STOP_IO => ClientMessage::StopIo,
        client::AUDIO => ClientMessage::Audio(Audio::read(&mut reader)?),
        client::DISCONNECT => ClientMessage::Disconnect,
        client::HEARTBEAT => ClientMessage::Heartbeat,
        got => return Err(unknown(got, "a client's message from 0 to 8")),
    })
}

#[inline(never)]
fn decode_server<'a>(frame: &'a [u8], wire: &Wire) -> Result<ServerMessage<'a>, DecodeError> {
    let (mut reader, discriminant) = begin(frame, wire)?;
    Ok(match discriminant {
        server::CONNECT => ServerMessage::Connect(Formats::read(&mut reader, wire.limits.max_items)?),
        server::START_IO_FAILED => ServerMessage::StartIoFailed,
        server::START_IO_REFUSED => ServerMessage::StartIoRefused,
        server::START_IO_SUCCESS => ServerMessage::StartIoSuccess,
        server::STOP_IO_FAILED => ServerMessage::StopIoFailed,
        server::STOP_IO_REFUSED => ServerMessage::StopIoRefused,
        server::STOP_IO_SUCCESS => ServerMessage::StopIoSuccess,
        server::AUDIO => ServerMessage::Audio(Audio::read(&mut reader)?),
        server::DISCONNECT => ServerMessage::Disconnect,
        server::HEARTBEAT => ServerMessage::Heartbeat,
        got => return Err(unknown(got, "a server's message from 0 to 9")),
    })
}

fn begin<'a>(frame: &'a [u8], wire: &Wire) -> Result<(Reader<'a>, u32), DecodeError> {
    if frame.len() > wire.limits.max_frame {
        return Err(DecodeError::limit("datagram", 0, frame.len() as u64, wire.limits.max_frame));
    }
    let mut reader = Reader::new(frame);
    let discriminant = varint::u32(&mut reader, "message")?;
    Ok((reader, discriminant))
}

#[cold]
fn unknown(got: u32, expected: &'static str) -> DecodeError {
    DecodeError::tag("message", 0, got.into(), expected)
}
