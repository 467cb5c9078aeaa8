//! ZMTP 3.0 and 3.1 with the NULL mechanism, as much as is needed: greeting, commands, messages; and 2.0 and 1.0, which libzmq spoke
//! before.
//!
//! ```text
//! signature: ff | 8 bytes | 7f
//! 3.x:       signature | version 03 00 or 03 01 | mechanism, 20 bytes | as-server 00 | 31 filler bytes | READY
//! 2.0:       signature | revision 01 | socket type | identity, as a unit
//! 1.0:       identity, as a unit; a peer that knows more sees that byte 0 is not ff, or byte 9 even
//! unit:      flags | length: 1 byte, or 8 big-endian with flag 02 | body        flags: 01 more, 02 long, 04 command (3.x)
//! of 1.0:    length: 1 byte, or ff and 8 big-endian; it counts the flags | flags: 01 more | body
//! command:   name length, 1 byte | name | data
//! READY:     properties, each: name length, 1 byte | name | value length, 4 bytes big-endian | value
//! PING:      time to live, 2 bytes, in tenths of a second | context, up to 16 bytes        PONG: the context
//! ERROR:     reason length, 1 byte | reason
//! ```

use core::fmt;
use voxwire_core::FrameError;
use voxwire_core::bytes::BufMut;

/// Length of a greeting of 3.x.
pub const GREETING_LEN: usize = 64;
/// Length of a signature, which all versions begin with that know of others.
pub const SIGNATURE_LEN: usize = 10;
/// Length of what follows the revision in a greeting of 3.x: minor version, mechanism, as-server, filler.
pub(crate) const SECURITY_LEN: usize = GREETING_LEN - SIGNATURE_LEN - 1;
/// Longest command that is taken, in bytes. (READY of a usual peer has 41.)
pub const MAX_COMMAND: usize = 1024;
/// Longest context of a PING.
pub const MAX_CONTEXT: usize = 16;
/// Longest identity of a peer of 1.0 or 2.0.
pub const MAX_IDENTITY: usize = 255;

/// What a signature starts with.
pub(crate) const SIGNATURE: u8 = 0xff;
/// The last byte of the signature.
const SIGNATURE_END: (usize, u8) = (9, 0x7f);
/// The number of a REQ socket in a greeting of 2.0.
pub(crate) const REQ_NUMBER: u8 = 3;
/// The revision that we announce.
const REVISION: u8 = 3;
const MECHANISM: &[u8; 20] = b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// How units lie on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// ZMTP 1.0: libzmq 2.
    V1,
    /// ZMTP 2.0: libzmq 3.
    V2,
    /// ZMTP 3.0 and later: libzmq 4.
    V3,
}

impl Version {
    /// That of a peer which announces `revision` behind its signature.
    pub const fn of(revision: u8) -> Self {
        match revision {
            0 => Self::V1,
            1 | 2 => Self::V2,
            _ => Self::V3,
        }
    }
}

/// Flags of a unit.
pub(crate) mod flag {
    pub(crate) const MORE: u8 = 1;
    pub(crate) const LONG: u8 = 2;
    pub(crate) const COMMAND: u8 = 4;
}

/// What we call ourselves in READY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketType {
    /// The client's side.
    Dealer,
    /// The server's side.
    Router,
}

impl SocketType {
    /// The name in READY.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dealer => "DEALER",
            Self::Router => "ROUTER",
        }
    }

    /// The number in a greeting of 2.0.
    pub const fn number(self) -> u8 {
        match self {
            Self::Dealer => 5,
            Self::Router => 6,
        }
    }

    /// Checks that a peer of 2.0 of type `number` may talk to us.
    pub(crate) const fn check_number(self, number: u8) -> Result<(), FrameError> {
        match (self, number) {
            (Self::Router, 3 | 5 | 6) | (Self::Dealer, 5 | 6) => Ok(()),
            (Self::Router, _) => Err(FrameError::Handshake("socket type 3 (REQ), 5 (DEALER) or 6 (ROUTER)")),
            (Self::Dealer, _) => Err(FrameError::Handshake("socket type 5 (DEALER) or 6 (ROUTER)")),
        }
    }

    /// Whether a peer of type `name` may talk to us.
    fn takes(self, name: &[u8]) -> bool {
        match self {
            // A REP wants an empty frame before each request, and could send no updates.
            Self::Dealer => matches!(name, b"DEALER" | b"ROUTER"),
            Self::Router => matches!(name, b"DEALER" | b"ROUTER" | b"REQ"),
        }
    }
}

/// Our signature. To a peer of 1.0 it is a whole identity, without bytes.
pub fn put_signature(out: &mut impl BufMut) {
    out.put_u8(SIGNATURE);
    out.put_bytes(0, 7);
    out.put_slice(&[1, SIGNATURE_END.1]);
}

/// The revision behind it.
pub(crate) fn put_revision(out: &mut impl BufMut) {
    out.put_u8(REVISION);
}

/// The rest of our greeting for a peer of 3.x.
///
/// A server says 3.0: nothing of 3.1 is needed, and what a peer of 3.1 sends is understood. A client says 3.1, so that its server may ask
/// it by PING what it has.
pub(crate) fn put_security(socket: SocketType, out: &mut impl BufMut) {
    out.put_u8(match socket {
        SocketType::Router => 0,
        SocketType::Dealer => 1,
    });
    out.put_slice(MECHANISM);
    out.put_bytes(0, 32);
}

/// Our greeting for a peer of 3.x, as a whole. We say 3.0.
pub fn put_greeting(out: &mut impl BufMut) {
    put_signature(out);
    put_revision(out);
    put_security(SocketType::Router, out);
}

/// The rest of our greeting for a peer of 2.0, whose units are as `version` says.
pub(crate) fn put_old_greeting(socket: SocketType, version: Version, out: &mut impl BufMut) {
    out.put_u8(socket.number());
    put_unit_head(version, false, 0, out);
}

/// Checks as much of a greeting of 3.x as there is.
///
/// # Errors
/// Says what was expected.
pub fn check_greeting(greeting: &[u8]) -> Result<(), FrameError> {
    let byte = |at: usize| greeting.get(at).copied();
    let (end, _) = SIGNATURE_END;
    if byte(0).is_some_and(|byte| byte != SIGNATURE) || byte(end).is_some_and(|byte| byte & 1 == 0) {
        return Err(FrameError::Handshake("the signature of ZMTP"));
    }
    // The major version comes before anything that older versions do not have.
    if byte(SIGNATURE_LEN).is_some_and(|revision| Version::of(revision) < Version::V3) {
        return Err(FrameError::Handshake("ZMTP 3.0 or later"));
    }
    check_security(greeting.get(SIGNATURE_LEN.saturating_add(1)..).unwrap_or(&[]))
}

/// Checks as much as there is of what follows the revision in a greeting of 3.x.
pub(crate) fn check_security(security: &[u8]) -> Result<(), FrameError> {
    let Some(mechanism) = security.get(1..1_usize.saturating_add(MECHANISM.len())) else { return Ok(()) };
    if mechanism == MECHANISM {
        return Ok(());
    }
    let asked =
        |name: &[u8]| mechanism.starts_with(name) && mechanism.get(name.len()).is_none_or(|end| *end == 0);
    Err(FrameError::Handshake(match () {
        () if asked(b"CURVE") => "the mechanism NULL; the peer asked for CURVE",
        () if asked(b"PLAIN") => "the mechanism NULL; the peer asked for PLAIN",
        () if asked(b"GSSAPI") => "the mechanism NULL; the peer asked for GSSAPI",
        () => "the mechanism NULL; the peer asked for one that is not known",
    }))
}

/// Whether a stream that does not start with ff is one of ZMTP 1.0: a length, and flags of zero, which no request in plain objects
/// begins with.
///
/// # Errors
/// The number of bytes that are missing to tell.
pub fn is_version_1(unread: &[u8]) -> Result<bool, usize> {
    let missing = |needed: usize| needed.saturating_sub(unread.len()).max(1);
    match *unread {
        // Lengths count the flags.
        [0, ..] => Ok(false),
        [] | [_] => Err(missing(2)),
        // A text with a long length, which is as short: what no identity is allowed to begin with, or a type.
        [0xdb | 0xc6, 0] | [0xda | 0xc5, 0] => Err(missing(3)),
        [0xdb | 0xc6, 0, third, ..] => Ok(third != 0),
        [0xda | 0xc5, 0, len @ (6 | 7 | 10 | 11), ref text @ ..] => {
            let words: [&[u8]; 4] = [b"update", b"request", b"join_group", b"add_contact"];
            let word = words.into_iter().find(|word| word.len() == usize::from(len)).unwrap_or(b"");
            let known = word.len().min(text.len());
            match (text.get(..known) == word.get(..known), known == word.len()) {
                (false, _) => Ok(true),
                (true, true) => Ok(false),
                (true, false) => Err(missing(word.len().saturating_add(3))),
            }
        }
        [_, flags, ..] => Ok(flags == 0),
    }
}

/// Whether a recorded stream begins in the middle of ZMTP 2.0 or later: with flags that are no length of 1.0.
///
/// # Errors
/// The number of bytes that are missing to tell.
pub fn is_inside(unread: &[u8]) -> Result<bool, usize> {
    match *unread {
        [0, ..] => Ok(true),
        // Flags of 1.0 would come second, and an identity does not begin with 00.
        [1..=7] | [1..=4 | 6, 0] => Err(1),
        [1, 0, third, ..] => Ok(third == 0 || third == 2),
        [2 | 3 | 4 | 6, 0, third, ..] => Ok(third == 0),
        [5 | 7, 0, ..] => Ok(false),
        [1..=7, ..] => Ok(true),
        _ => Ok(false),
    }
}

/// Our READY.
pub fn put_ready(socket: SocketType, out: &mut impl BufMut) {
    let value = socket.name().as_bytes();
    out.put_slice(&[flag::COMMAND, 41]);
    out.put_slice(b"\x05READY\x0bSocket-Type\0\0\0\x06");
    out.put_slice(value);
    out.put_slice(b"\x08Identity\0\0\0\0");
}

/// Asks for a PONG with `context`, of at most 16 bytes. It says nothing of how long we may be silent.
pub(crate) fn put_ping(context: &[u8], out: &mut impl BufMut) {
    let context = context.get(..MAX_CONTEXT.min(context.len())).unwrap_or(&[]);
    out.put_u8(flag::COMMAND);
    out.put_u8(u8::try_from(context.len()).unwrap_or(0).saturating_add(7));
    out.put_slice(b"\x04PING\0\0");
    out.put_slice(context);
}

/// The answer to a PING with `context`.
pub fn put_pong(context: &[u8], out: &mut impl BufMut) {
    let context = context.get(..MAX_CONTEXT.min(context.len())).unwrap_or(&[]);
    out.put_u8(flag::COMMAND);
    out.put_u8(u8::try_from(context.len()).unwrap_or(0).saturating_add(5));
    out.put_slice(b"\x04PONG");
    out.put_slice(context);
}

/// A command that ends a handshake.
pub fn put_error(reason: &str, out: &mut impl BufMut) {
    let reason = reason.as_bytes().get(..reason.len().min(200)).unwrap_or(&[]);
    let len = u8::try_from(reason.len()).unwrap_or(0);
    out.put_slice(&[flag::COMMAND, len.saturating_add(7)]);
    out.put_slice(b"\x05ERROR");
    out.put_u8(len);
    out.put_slice(reason);
}

/// Written before a message of `len` bytes to a peer of 3.x or 2.0.
#[inline]
pub fn put_message_head(len: usize, out: &mut impl BufMut) {
    put_unit_head(Version::V3, false, len, out);
}

/// Written before a frame of `len` bytes.
#[inline]
pub fn put_unit_head(version: Version, more: bool, len: usize, out: &mut impl BufMut) {
    let more = if more { flag::MORE } else { 0 };
    match (version, u8::try_from(len)) {
        (Version::V1, Ok(short @ 0..=253)) => out.put_slice(&[short.saturating_add(1), more]),
        (Version::V1, _) => {
            out.put_u8(SIGNATURE);
            out.put_u64((len as u64).saturating_add(1));
            out.put_u8(more);
        }
        (_, Ok(short)) => out.put_slice(&[more, short]),
        (_, Err(_)) => {
            out.put_u8(flag::LONG | more);
            out.put_u64(len as u64);
        }
    }
}

/// The head of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitHead {
    /// Whether another part of the same message follows.
    pub more: bool,
    /// A command rather than a message.
    pub command: bool,
    /// Its own length.
    pub head: usize,
    /// The length of what follows it.
    pub len: u64,
}

impl UnitHead {
    /// Reads that of a peer of 3.x; `Ok(Err(n))` if `n` bytes are missing.
    ///
    /// # Errors
    /// Flags that do not exist.
    #[inline]
    pub fn read(unread: &[u8]) -> Result<Result<Self, usize>, FrameError> {
        let Some((&flags, rest)) = unread.split_first() else { return Ok(Err(2)) };
        let command = flags & flag::COMMAND != 0;
        let more = flags & flag::MORE != 0;
        if flags > 7 || (command && more) {
            return Err(FrameError::Handshake("flags of ZMTP: 00 to 04, or 06"));
        }
        if flags & flag::LONG == 0 {
            return Ok(match rest.first() {
                Some(&len) => Ok(Self { more, command, head: 2, len: len.into() }),
                None => Err(1),
            });
        }
        Ok(match rest.first_chunk::<8>() {
            Some(len) => Ok(Self { more, command, head: 9, len: u64::from_be_bytes(*len) }),
            None => Err(8_usize.saturating_sub(rest.len())),
        })
    }

    /// Reads that of a peer of any version, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// Flags, or a length, that do not exist.
    #[inline]
    pub fn read_as(version: Version, unread: &[u8]) -> Result<Result<Self, usize>, FrameError> {
        match version {
            Version::V3 => Self::read(unread),
            Version::V2 => match unread.first() {
                Some(flags) if flags & !(flag::MORE | flag::LONG) != 0 => {
                    Err(FrameError::Handshake("flags of ZMTP 2.0: 00 to 03"))
                }
                _ => Self::read(unread),
            },
            Version::V1 => Self::read_1(unread),
        }
    }

    fn read_1(unread: &[u8]) -> Result<Result<Self, usize>, FrameError> {
        let (len, head) = match unread {
            [SIGNATURE, rest @ ..] => match rest.first_chunk::<8>() {
                Some(len) => (u64::from_be_bytes(*len), 10_usize),
                None => return Ok(Err(9_usize.saturating_sub(rest.len()))),
            },
            [len, ..] => (u64::from(*len), 2),
            [] => return Ok(Err(2)),
        };
        let Some(len) = len.checked_sub(1) else {
            return Err(FrameError::Handshake("a length of ZMTP 1.0, which counts the flags"));
        };
        // The other bits are undefined: old releases send what happens to be there.
        let Some(flags) = unread.get(head.saturating_sub(1)) else { return Ok(Err(1)) };
        Ok(Ok(Self { more: flags & flag::MORE != 0, command: false, head, len }))
    }
}

/// A command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// The end of the handshake.
    Ready(Properties<'a>),
    /// Asks for a PONG.
    Ping {
        /// How long the peer may be silent behind it, in tenths of a second; 0 for as long as it likes.
        ttl: u16,
        /// To be sent back; at most 16 bytes count.
        context: &'a [u8],
    },
    /// Answers a PING.
    Pong {
        /// As it was sent.
        context: &'a [u8],
    },
    /// The peer gives up.
    Error {
        /// Why.
        reason: &'a [u8],
    },
    /// Any other.
    Other {
        /// Its name.
        name: &'a [u8],
    },
}

/// The properties of a READY, unchecked until they are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Command<'a> {
    /// Reads the body of a command.
    ///
    /// # Errors
    /// One without a name.
    pub fn read(body: &'a [u8]) -> Result<Self, FrameError> {
        let bad = || FrameError::Handshake("a command with a name");
        let (&len, rest) = body.split_first().ok_or_else(bad)?;
        let (name, data) = rest.split_at_checked(len.into()).ok_or_else(bad)?;
        Ok(match name {
            b"READY" => Self::Ready(Properties(data)),
            b"PING" => {
                let (ttl, context) = data.split_first_chunk::<2>().unwrap_or((&[0; 2], &[]));
                Self::Ping { ttl: u16::from_be_bytes(*ttl), context }
            }
            b"PONG" => Self::Pong { context: data },
            b"ERROR" => Self::Error { reason: data.get(1..).unwrap_or(&[]) },
            name => Self::Other { name },
        })
    }
}

impl<'a> Properties<'a> {
    /// Name and value of each, as far as they can be read.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (&len, after) = rest.split_first()?;
            let (name, after) = after.split_at_checked(len.into())?;
            let (len, after) = after.split_first_chunk::<4>()?;
            let (value, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
            rest = after;
            Some((name, value))
        })
    }

    fn socket_type(&self) -> Option<&'a [u8]> {
        let socket = self.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"Socket-Type"));
        socket.map(|(_, value)| value)
    }

    /// Whether the peer is a REQ socket.
    pub(crate) fn is_req(&self) -> bool {
        self.socket_type() == Some(b"REQ")
    }

    /// Checks that the peer's socket goes with ours. Its Identity does not matter to us: it would be authority that
    /// any user can claim.
    pub(crate) fn check(&self, ours: SocketType) -> Result<(), FrameError> {
        match self.socket_type() {
            Some(value) if ours.takes(value) => Ok(()),
            _ => Err(FrameError::Handshake(match ours {
                SocketType::Router => "READY with Socket-Type DEALER, REQ or ROUTER",
                SocketType::Dealer => "READY with Socket-Type ROUTER or DEALER",
            })),
        }
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (crate::Text(name), crate::Text(value))))
            .finish()
    }
}

impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(properties) => write!(f, "Ready({properties:?})"),
            Self::Ping { ttl, context } => write!(f, "Ping({ttl}, {:?})", crate::Text(context)),
            Self::Pong { context } => write!(f, "Pong({:?})", crate::Text(context)),
            Self::Error { reason } => write!(f, "Error({:?})", crate::Text(reason)),
            Self::Other { name } => write!(f, "Other({:?})", crate::Text(name)),
        }
    }
}
