use crate::Framing;
use voxwire_core::Limits;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// UDP port of servers where nothing else is configured; the document names none.
pub const DEFAULT_PORT: u16 = 6911;

/// UDP port where clients listen for servers that announce themselves.
pub const CLIENT_PORT: u16 = 6910;

/// An Audio message up to its payload.
pub const AUDIO_HEAD_LEN: usize = 17;
/// Largest datagram that the reference implementation takes, in bytes.
pub const MAX_DATAGRAM: usize = 5000;
/// Largest payload that ours put into one Audio message, in bytes: with all heads it fits an Ethernet frame.
pub const MAX_PAYLOAD: usize = 1400;
/// Most streams each way that ours offer or take. A Connect with as many formats of the greatest length fits a datagram.
pub const MAX_STREAMS: usize = 64;

/// What has to fit the outbox before a message is handled: the answer, which is one byte, with room to spare, and its outputs.
pub(crate) const ANSWER_LEN: usize = 64;
/// The answer itself, and up to three instructions to the driver.
pub(crate) const ANSWER_OUTPUTS: usize = 4;

/// What a server and a client start from.
pub const LIMITS: Limits = Limits { max_frame: MAX_DATAGRAM, max_items: MAX_STREAMS, ..Limits::DEFAULT };

/// First bytes of what a client sends.
pub(crate) mod client {
    pub(crate) const DISCOVERY: u32 = 0;
    pub(crate) const CONNECTION_SUCCESS: u32 = 1;
    pub(crate) const CONNECTION_FAILED: u32 = 2;
    pub(crate) const CONNECTION_REFUSED: u32 = 3;
    pub(crate) const START_IO: u32 = 4;
    pub(crate) const STOP_IO: u32 = 5;
    pub(crate) const AUDIO: u32 = 6;
    pub(crate) const DISCONNECT: u32 = 7;
    pub(crate) const HEARTBEAT: u32 = 8;
}

/// First bytes of what a server sends.
pub(crate) mod server {
    pub(crate) const CONNECT: u32 = 0;
    pub(crate) const START_IO_FAILED: u32 = 1;
    pub(crate) const START_IO_REFUSED: u32 = 2;
    pub(crate) const START_IO_SUCCESS: u32 = 3;
    pub(crate) const STOP_IO_FAILED: u32 = 4;
    pub(crate) const STOP_IO_REFUSED: u32 = 5;
    pub(crate) const STOP_IO_SUCCESS: u32 = 6;
    pub(crate) const AUDIO: u32 = 7;
    pub(crate) const DISCONNECT: u32 = 8;
    pub(crate) const HEARTBEAT: u32 = 9;
}

// Audio, either way:
// | offset | length | field        |
// |      0 |      1 | discriminant |  6 from a client, 7 from a server
// |      1 |      4 | stream index |
// |      5 |      8 | byte index   |  of the first byte of the payload, since IO was started
// |     13 |      4 | n_bytes      |  of the payload, which follows
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct AudioHead {
    pub(crate) discriminant: u8,
    pub(crate) stream: U32,
    pub(crate) byte_index: U64,
    pub(crate) n_bytes: U32,
}

const _: () = assert!(size_of::<AudioHead>() == AUDIO_HEAD_LEN);

/// Limits of one peer; the protocol has one dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// `max_frame` bounds every datagram, `max_items` the streams each way.
    pub limits: Limits,
}

impl Wire {
    /// The default limits.
    pub const DEFAULT: Self = Self { limits: LIMITS };

    /// The framing of a socket with these limits.
    pub const fn framing(&self) -> Framing {
        Framing { max: self.limits.max_frame }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self::DEFAULT
    }
}
