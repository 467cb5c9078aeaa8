use crate::Framing;
use voxwire_core::Limits;
use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// TCP port where nothing else is configured.
pub const DEFAULT_PORT: u16 = 4241;

/// Length and opcode.
pub const HEAD_LEN: usize = 10;
/// A VoiceData packet up to its data.
pub const VOICE_HEAD_LEN: usize = 18;

/// Longest name that a server takes, in bytes. (The original's window takes 84.)
pub const MAX_NAME: usize = 255;
/// Longest data of one VoiceData packet, in bytes. (The original's encoder fills at most 2048.)
pub const MAX_VOICE: usize = 8 * 1024;

/// What a server accepts: packets of 64 KiB, texts of 255 bytes, lists of 4096 names.
pub const LIMITS: Limits = Limits { max_frame: 64 * 1024, max_text: MAX_NAME, ..Limits::DEFAULT };

/// What a client accepts: packets of 1 MiB, because original servers send a contact list in one piece, with all names
/// they have been given.
pub const CLIENT_LIMITS: Limits =
    Limits { max_frame: 1024 * 1024, max_text: 64 * 1024, max_items: 128 * 1024, ..LIMITS };

/// The contact that is called to hear oneself: see [`ServerSettings::echo`](crate::ServerSettings::echo).
pub const ECHO: &str = "echo";

/// Ours only: before the host of the CallRequest by which a server that carries calls tells a caller that does not listen where
/// to connect to. Without it that would look like a call of the callee's.
pub(crate) const OWN_CALL: &str = "relay ";

/// Opcodes.
pub(crate) mod opcode {
    pub(crate) const HELLO_CONNECT: u16 = 0x01;
    pub(crate) const LOGIN: u16 = 0x02;
    pub(crate) const LOGIN_SUCCESS: u16 = 0x03;
    pub(crate) const LOGIN_FAILED: u16 = 0x04;
    pub(crate) const ADD_CONTACT: u16 = 0x05;
    pub(crate) const CALL_REQUEST: u16 = 0x06;
    pub(crate) const VOICE_DATA: u16 = 0x07;
    pub(crate) const ERROR_RESPONSE: u16 = 0x08;
    pub(crate) const CALL_REFUSED: u16 = 0x09;
    pub(crate) const DEL_CONTACT: u16 = 0x0A;
    pub(crate) const CONNECTION_ESTABLISHED: u16 = 0x0B;
}

// | offset | length | field  |
// |      0 |      8 | length |  of what follows it
// |      8 |      2 | opcode |
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) length: U64,
    pub(crate) opcode: U16,
}

// VoiceData:
// |     10 |      8 | count  |  of the bytes of data that follow
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct VoiceHead {
    pub(crate) head: Head,
    pub(crate) count: U64,
}

/// Limits of one connection; the protocol has one dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// `max_frame` bounds every packet, `max_text` every string, `max_items` every list of strings.
    pub limits: Limits,
    /// Longest data of one VoiceData packet.
    pub max_voice: usize,
}

impl Wire {
    /// A server's side.
    pub const SERVER: Self = Self { limits: LIMITS, max_voice: MAX_VOICE };
    /// A client's side, and that of a reader of recorded streams.
    pub const CLIENT: Self = Self { limits: CLIENT_LIMITS, max_voice: MAX_VOICE };

    /// The framing of a connection with these limits.
    pub const fn framing(&self) -> Framing {
        Framing { width: 8, little_endian: true, adjust: 8, min: HEAD_LEN, max: self.limits.max_frame }
    }
}
