use crate::Framing;
use core::fmt;
use voxwire_core::Limits;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Port where nothing else is configured. Dissonance itself defines none: its host network does.
pub const DEFAULT_PORT: u16 = 4244;
/// Port of the QUIC transport where nothing else is configured.
pub const DEFAULT_QUIC_PORT: u16 = 4245;

/// The first two bytes of every packet.
pub const MAGIC: u16 = 0x8bc7;
/// Magic, type and session: the head of every packet but HandshakeRequest.
pub const HEAD_LEN: usize = 7;
/// A VoiceData packet up to its channels.
pub const VOICE_HEAD_LEN: usize = 14;
/// A TextData packet up to its text.
pub const TEXT_HEAD_LEN: usize = 12;
/// A relay packet up to its destinations.
pub const RELAY_HEAD_LEN: usize = 8;

/// A DeltaClientState up to its room's name.
pub(crate) const DELTA_HEAD_LEN: usize = size_of::<DeltaHead>() + STRING_HEAD_LEN;
/// The length of a string, before its bytes.
const STRING_HEAD_LEN: usize = 2;

/// Largest packet, in bytes: the size of every buffer of the original, on clients and servers.
pub const MAX_PACKET: usize = 1024;
/// Longest text of TextData, in bytes: a text goes by way of the server, in a relay packet of at most [`MAX_PACKET`] bytes with at least one
/// destination.
pub const MAX_TEXT: usize = MAX_PACKET - (RELAY_HEAD_LEN + 2 + 2) - (TEXT_HEAD_LEN + 2);
/// Most destinations of one relay packet.
pub const MAX_DESTINATIONS: usize = 255;
/// What a relay packet adds to its payload at most: its head, the destinations, and the payload's length.
pub(crate) const MAX_RELAY_HEAD: usize = RELAY_HEAD_LEN + 2 * MAX_DESTINATIONS + 2;
/// Longest name of a client or a room, in bytes.
pub const MAX_NAME: usize = 255;
/// The destination that is no client: later clients send voice there that only the server should see.
pub const SERVER_ONLY: ClientId = ClientId::new(u16::MAX);
/// The room in which a client hears itself, and the player that it hears there: see [`ServerSettings::echo`](crate::ServerSettings::echo).
pub const ECHO: &str = "echo";
/// The room whose voice later clients send to [`SERVER_ONLY`] when no client listens to it.
pub const SERVER_ONLY_ROOM: &str = "FEE5233F-185F-4C73-AC6F-EE325998D526";

/// The limits that a server and a client start from.
pub const LIMITS: Limits = Limits { max_frame: MAX_PACKET, max_text: MAX_PACKET, ..Limits::DEFAULT };

/// Message type values.
pub(crate) mod kind {
    pub(crate) const CLIENT_STATE: u8 = 1;
    pub(crate) const VOICE_DATA: u8 = 2;
    pub(crate) const TEXT_DATA: u8 = 3;
    pub(crate) const HANDSHAKE_REQUEST: u8 = 4;
    pub(crate) const HANDSHAKE_RESPONSE: u8 = 5;
    pub(crate) const ERROR_WRONG_SESSION: u8 = 6;
    pub(crate) const SERVER_RELAY_RELIABLE: u8 = 7;
    pub(crate) const SERVER_RELAY_UNRELIABLE: u8 = 8;
    pub(crate) const DELTA_CLIENT_STATE: u8 = 9;
    pub(crate) const REMOVE_CLIENT: u8 = 10;
    pub(crate) const HANDSHAKE_P2P: u8 = 11;
}

// | offset | length | field   |
// |      0 |      2 | magic   |  8B C7
// |      2 |      1 | type    |
// |      3 |      4 | session |  not in HandshakeRequest
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) magic: U16,
    pub(crate) kind: u8,
    pub(crate) session: U32,
}

impl Head {
    pub(crate) const fn new(kind: u8, session: u32) -> Self {
        Self { magic: U16::new(MAGIC), kind, session: U32::new(session) }
    }
}

// |      7 |      2 | sender        |
// |      9 |      1 | options       |
// |     10 |      2 | sequence      |
// |     12 |      2 | channel count |  then 4 bytes for each channel, then u16 length and frame
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct VoiceHead {
    pub(crate) head: Head,
    pub(crate) sender: ClientId,
    pub(crate) options: u8,
    pub(crate) sequence: U16,
    pub(crate) channels: U16,
}

// |      7 |      1 | recipient type |  0 room, 1 player
// |      8 |      2 | sender         |
// |     10 |      2 | target         |  then the text, a string
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct TextHead {
    pub(crate) head: Head,
    pub(crate) recipient: u8,
    pub(crate) sender: ClientId,
    pub(crate) target: [u8; 2],
}

// |      7 |      1 | destination count |  then 2 bytes for each destination, then u16 length and payload
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RelayHead {
    pub(crate) head: Head,
    pub(crate) destinations: u8,
}

// |      7 |      2 | client |  RemoveClient and HandshakeP2P end here
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct ClientHead {
    pub(crate) head: Head,
    pub(crate) client: ClientId,
}

// |      7 |      1 | joined |
// |      8 |      2 | client |  then the room's name, a string
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct DeltaHead {
    pub(crate) head: Head,
    pub(crate) joined: u8,
    pub(crate) client: ClientId,
}

// | 0 | 1 | codec       |
// | 1 | 4 | frame size  |  samples per channel
// | 5 | 4 | sample rate |  Hz
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct CodecHead {
    pub(crate) codec: u8,
    pub(crate) frame_size: U32,
    pub(crate) sample_rate: U32,
}

/// A client's number in a session. Kept as on the wire, big-endian; so lists of them are slices of the packet.
///
/// Its zerocopy traits are no part of this crate's promise.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct ClientId([u8; 2]);

/// A room's number: [`room_id`](crate::room_id) of its name. Kept as on the wire, big-endian.
///
/// Its zerocopy traits are no part of this crate's promise.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct RoomId([u8; 2]);

macro_rules! number {
    ($($id:ident)+) => {$(
        impl $id {
            /// The id of a number.
            pub const fn new(number: u16) -> Self {
                Self(number.to_be_bytes())
            }

            /// The number.
            pub const fn get(self) -> u16 {
                u16::from_be_bytes(self.0)
            }

            pub(crate) const fn from_bytes(bytes: [u8; 2]) -> Self {
                Self(bytes)
            }

            pub(crate) const fn bytes(self) -> [u8; 2] {
                self.0
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.get())
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.get())
            }
        }

        #[cfg(feature = "defmt")]
        impl defmt::Format for $id {
            fn format(&self, f: defmt::Formatter<'_>) {
                defmt::write!(f, "{=u16}", self.get());
            }
        }
    )+};
}

number!(ClientId RoomId);

/// A slice of what is kept as on the wire.
#[cfg(feature = "arbitrary")]
pub(crate) fn arbitrary_slice<'a, T: FromBytes + KnownLayout + Immutable + Unaligned>(
    u: &mut arbitrary::Unstructured<'a>,
) -> arbitrary::Result<&'a [T]> {
    let bytes: &'a [u8] = u.arbitrary()?;
    let (slice, _) = <[T]>::ref_from_prefix(bytes).map_err(|_| arbitrary::Error::IncorrectFormat)?;
    Ok(slice)
}

/// Dialect and limits of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// What is sent where releases differ. Both forms are always read.
    pub profile: Profile,
    /// `max_frame` bounds every packet, `max_text` every string.
    pub limits: Limits,
}

impl Wire {
    /// The default limits with `profile`.
    pub const fn new(profile: Profile) -> Self {
        Self { profile, limits: LIMITS }
    }

    /// The framing of a connection with these limits.
    pub const fn framing(&self) -> Framing {
        Framing { max: self.limits.max_frame }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::new(Profile::Later)
    }
}

/// Which releases are imitated where they differ on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// Releases documented in July 2020 and after: the options byte has its top bit set and 7 bits of channel session; a
    /// handshake is answered with full lists where they fit one packet, otherwise with empty lists and ClientStates,
    /// which every release accepts.
    #[default]
    Later,
    /// Releases of 2018: 2 bits of channel session; the lists of a handshake's answer are full whenever they can be.
    Era2018,
}

/// How a client's voice is encoded.
///
/// | offset | length | field |
/// | --- | --- | --- |
/// | 0 | 1 | codec |
/// | 1 | 4 | frame size, in samples |
/// | 5 | 4 | sample rate, in Hz |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CodecSettings {
    /// Which codec.
    pub codec: Codec,
    /// Samples in one frame. Dissonance's sound is mono.
    pub frame_size: u32,
    /// In Hz.
    pub sample_rate: u32,
}

impl CodecSettings {
    /// Opus, mono, 48 kHz, 20 ms: what Dissonance sends out of the box.
    pub const DEFAULT: Self = Self { codec: Codec::OPUS, frame_size: 960, sample_rate: 48_000 };

    pub(crate) const LEN: usize = size_of::<CodecHead>();
}

impl Default for CodecSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl From<CodecSettings> for CodecHead {
    fn from(settings: CodecSettings) -> Self {
        let CodecSettings { codec, frame_size, sample_rate } = settings;
        Self { codec: codec.0, frame_size: U32::new(frame_size), sample_rate: U32::new(sample_rate) }
    }
}

impl From<&CodecHead> for CodecSettings {
    fn from(head: &CodecHead) -> Self {
        Self {
            codec: Codec(head.codec),
            frame_size: head.frame_size.get(),
            sample_rate: head.sample_rate.get(),
        }
    }
}

/// The codec byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Codec(pub u8);

impl Codec {
    /// Raw `float` samples; for tests of the original.
    pub const IDENTITY: Self = Self(0);
    /// Opus: mono, 48 kHz.
    pub const OPUS: Self = Self(1);
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IDENTITY => f.write_str("Identity"),
            Self::OPUS => f.write_str("Opus"),
            Self(other) => write!(f, "codec {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d_02_ids_are_ordered_by_number_and_stored_most_significant_byte_first() {
        assert_eq!(ClientId::new(0x0102).as_bytes(), [1, 2]);
        assert!(ClientId::new(256) > ClientId::new(255));
        assert_eq!(RoomId::ref_from_bytes(&[0x75, 0x18]).unwrap().get(), 29_976);
    }
}
