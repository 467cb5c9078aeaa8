use crate::error::RangeError;
use core::fmt;
use voxwire_core::{DecodeError, DecodeErrorKind, Limits};
use zerocopy::byteorder::{ByteOrder as Order, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// TCP port where nothing else is configured.
pub const DEFAULT_PORT: u16 = 4240;

/// Length and Message Type.
pub const HEAD_LEN: usize = 6;
/// A Handshake up to its Username.
pub const HANDSHAKE_HEAD_LEN: usize = 19;
/// A Parameters packet up to its Optional Data.
pub const PARAMETERS_HEAD_LEN: usize = 17;

/// Largest first packet of a connection: below 64 KiB the Length's zero bytes show the byte order.
pub const MAX_FIRST: usize = 65_535;
/// Largest later packet that is not Data.
pub const MAX_CONTROL: usize = 4096;
/// Largest Data packet outside a call, where it is dropped anyway.
pub const MAX_STRAY_DATA: usize = 65_535;
/// Largest Data packet in a call.
pub const MAX_DATA: usize = 1024 * 1024;
/// Longest user name, in bytes.
pub const MAX_NAME: usize = 255;

/// The limits that a server and a client start from.
pub const LIMITS: Limits = Limits { max_frame: MAX_DATA, max_text: MAX_NAME, ..Limits::DEFAULT };

/// Message Type values.
pub(crate) mod kind {
    pub(crate) const HANDSHAKE: u16 = 0;
    pub(crate) const USER_NOT_FOUND: u16 = 1;
    pub(crate) const PARAMETERS: u16 = 2;
    pub(crate) const CLOSE: u16 = 3;
    pub(crate) const ACCEPT: u16 = 4;
    pub(crate) const DROP: u16 = 5;
    pub(crate) const DATA: u16 = 6;
}

// | offset | length | field        |
// |      0 |      4 | Length       |  of the whole packet, itself included
// |      4 |      2 | Message Type |
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Head<O: Order> {
    pub(crate) length: U32<O>,
    pub(crate) kind: U16<O>,
}

// |      6 |      4 | Sample Rate (Hz) |
// |     10 |      2 | Channels Count   |
// |     12 |      1 | Format Type      |
// |     13 |      4 | Chunk Size       |
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Audio<O: Order> {
    pub(crate) sample_rate: U32<O>,
    pub(crate) channels: U16<O>,
    pub(crate) format: u8,
    pub(crate) chunk_size: U32<O>,
}

// |     17 |      2 | Username Length |  Handshake only; the Username follows, then Optional Data to the end
pub(crate) type NameLength<O> = U16<O>;

impl<O: Order> Audio<O> {
    pub(crate) const fn new(parameters: &Parameters) -> Self
    where
        O: Order,
    {
        Self {
            sample_rate: U32::new(parameters.sample_rate),
            channels: U16::new(parameters.channels),
            format: parameters.format as u8,
            chunk_size: U32::new(parameters.chunk_size),
        }
    }

    pub(crate) fn parameters(&self) -> Result<Parameters, DecodeError> {
        let Some(format) = Format::from_wire(self.format) else {
            let kind = DecodeErrorKind::Value { got: self.format.into(), expected: "a format from 0 to 4" };
            return Err(DecodeError::new("Format Type", 12, kind));
        };
        Ok(Parameters {
            sample_rate: self.sample_rate.get(),
            channels: self.channels.get(),
            format,
            chunk_size: self.chunk_size.get(),
        })
    }
}

/// Dialect and limits of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// Byte order of every integer in the packets' heads. The document leaves it open; network order by default.
    pub order: ByteOrder,
    /// Read a 6-byte packet of type 0 as [`UserNotFound`](crate::Packet::UserNotFound): the document's table prints that
    /// value where its heading says 1. A handshake has 19 bytes at least, so the two cannot be confused. For servers
    /// written from the table; on by default. We send 1.
    pub type_0_not_found: bool,
    /// `max_frame` bounds every packet, `max_text` the Username.
    pub limits: Limits,
}

impl Wire {
    /// The default dialect and limits in `order`.
    pub const fn new(order: ByteOrder) -> Self {
        Self { order, type_0_not_found: true, limits: LIMITS }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::new(ByteOrder::BigEndian)
    }
}

/// Byte order of packet heads, or of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ByteOrder {
    /// Network order.
    #[default]
    BigEndian,
    /// The order of most processors and sound cards.
    LittleEndian,
}

impl ByteOrder {
    /// The order of the first packet of a connection, from its Length; needs 4 bytes.
    ///
    /// Two of the four bytes of a Length from 1 to 65 535 are zero, and they are the first two in one order only.
    /// `None` for a Length that is 0, or above 65 535 in both orders.
    pub fn detect(first: &[u8]) -> Option<Self> {
        match first {
            [0, 0, 0, 0, ..] => None,
            [0, 0, _, _, ..] => Some(Self::BigEndian),
            [_, _, 0, 0, ..] => Some(Self::LittleEndian),
            _ => None,
        }
    }

    /// How a registration spells it: `be` or `le`.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::BigEndian => "be",
            Self::LittleEndian => "le",
        }
    }

    /// The order that a registration's tag names.
    pub fn from_tag(tag: &[u8]) -> Option<Self> {
        match tag {
            b"be" => Some(Self::BigEndian),
            b"le" => Some(Self::LittleEndian),
            _ => None,
        }
    }
}

/// The name that is called to hear oneself: see [`ServerSettings::echo`](crate::ServerSettings::echo).
pub const ECHO: &str = "echo";

/// Format Type: how one sample is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Format {
    /// `uint8`, silence is 128.
    U8 = 0,
    /// `int8`
    I8 = 1,
    /// `int16`
    I16 = 2,
    /// `int32`
    I32 = 3,
    /// `float32`, from -1 to 1.
    F32 = 4,
}

impl Format {
    /// All formats, in the order of their values.
    pub const ALL: [Self; 5] = [Self::U8, Self::I8, Self::I16, Self::I32, Self::F32];

    /// The format of a Format Type value.
    pub fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }

    /// The document's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::F32 => "float32",
        }
    }

    /// The format of a document's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Bytes of one sample.
    pub const fn sample_size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The audio of a call, as one side proposes it and both sides agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Parameters {
    /// Frames per second.
    pub sample_rate: u32,
    /// Samples per frame, interleaved.
    pub channels: u16,
    /// How a sample is stored.
    pub format: Format,
    /// What the sender means to put into one Data packet. The document gives no unit; ours use frames, as sound
    /// libraries do. Never checked against Data.
    pub chunk_size: u32,
}

impl Parameters {
    /// 48 kHz, mono, `int16`, 20 ms.
    pub const DEFAULT: Self = Self { sample_rate: 48_000, channels: 1, format: Format::I16, chunk_size: 960 };

    /// Bytes of one frame: one sample of each channel.
    pub fn frame_size(&self) -> usize {
        usize::from(self.channels).saturating_mul(self.format.sample_size())
    }

    /// Bytes of one second.
    pub fn bytes_per_second(&self) -> u64 {
        u64::from(self.sample_rate).saturating_mul(self.frame_size() as u64)
    }

    /// Checks the values against `ranges`.
    ///
    /// # Errors
    /// Names the first field out of range.
    pub fn check(&self, ranges: &Ranges) -> Result<(), RangeError> {
        let within = |field, got: u32, min, max| match got {
            got if (min..=max).contains(&got) => Ok(()),
            got => Err(RangeError { field, got, min, max }),
        };
        within("Sample Rate", self.sample_rate, 1, ranges.max_sample_rate)?;
        within("Channels Count", self.channels.into(), 1, ranges.max_channels.into())?;
        within("Chunk Size", self.chunk_size, 0, ranges.max_chunk_size)
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sample_rate, channels, format, chunk_size } = self;
        let plural = if *channels == 1 { "" } else { "s" };
        write!(f, "{sample_rate} Hz, {channels} channel{plural}, {format}, chunks of {chunk_size}")
    }
}

/// What is handed on to a callee's audio code. The smallest values are 1 Hz, 1 channel and a chunk of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranges {
    /// In Hz.
    pub max_sample_rate: u32,
    /// Most channels.
    pub max_channels: u16,
    /// Largest Chunk Size.
    pub max_chunk_size: u32,
}

impl Ranges {
    /// 768 kHz, 64 channels, chunks of 2²⁰.
    pub const DEFAULT: Self = Self { max_sample_rate: 768_000, max_channels: 64, max_chunk_size: 1 << 20 };
}

impl Default for Ranges {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v_01_the_first_length_shows_the_byte_order() {
        for length in [6_u32, 22, 255, 256, 65_280, 65_535] {
            assert_eq!(ByteOrder::detect(&length.to_be_bytes()), Some(ByteOrder::BigEndian), "{length}");
            assert_eq!(ByteOrder::detect(&length.to_le_bytes()), Some(ByteOrder::LittleEndian), "{length}");
        }
        for length in [0_u32, 65_537, u32::MAX] {
            assert_eq!(ByteOrder::detect(&length.to_be_bytes()), None, "{length}");
        }
    }

    #[test]
    fn v_07_formats_have_the_documents_values_and_sizes() {
        let table = [("uint8", 1), ("int8", 1), ("int16", 2), ("int32", 4), ("float32", 4)];
        for (value, (name, size)) in (0..).zip(table) {
            let format = Format::from_wire(value).unwrap();
            assert_eq!((format.name(), format.sample_size(), format as u8), (name, size, value));
            assert_eq!(Format::from_name(name), Some(format));
        }
        assert_eq!(Format::from_wire(5), None);
    }

    #[test]
    fn ranges_name_the_field() {
        let check = |parameters: Parameters| parameters.check(&Ranges::DEFAULT).unwrap_err();
        let silent = Parameters { sample_rate: 0, ..Parameters::DEFAULT };
        assert_eq!(check(silent).field, "Sample Rate");
        let wide = Parameters { channels: 65_535, ..Parameters::DEFAULT };
        assert_eq!(alloc::format!("{}", check(wide)), "Channels Count 65535, expected 1 to 64");
        assert!(Parameters { chunk_size: 0, ..Parameters::DEFAULT }.check(&Ranges::DEFAULT).is_ok());
    }
}
