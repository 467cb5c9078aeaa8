//! ZMTP 3.0 and 3.1 with the NULL mechanism, as much as is needed: greeting, commands, messages.
//!
//! ```text
//! greeting: ff | 8 bytes | 7f | version 03 00 or 03 01 | mechanism, 20 bytes | as-server 00 | 31 filler bytes
//! unit:     flags | length: 1 byte, or 8 big-endian with flag 02 | body        flags: 01 more, 02 long, 04 command
//! command:  name length, 1 byte | name | data
//! READY:    properties, each: name length, 1 byte | name | value length, 4 bytes big-endian | value
//! PING:     time to live, 2 bytes, in tenths of a second | context, up to 16 bytes        PONG: the context
//! ERROR:    reason length, 1 byte | reason
//! ```

use core::fmt;
use voxwire_core::FrameError;
use voxwire_core::bytes::BufMut;

/// Length of a greeting.
pub const GREETING_LEN: usize = 64;
/// Longest command that is taken, in bytes. (READY of a usual peer has 41.)
pub const MAX_COMMAND: usize = 1024;
/// Longest context of a PING.
pub const MAX_CONTEXT: usize = 16;

/// What a greeting starts with.
pub(crate) const SIGNATURE: u8 = 0xff;
/// The last byte of the signature.
const SIGNATURE_END: (usize, u8) = (9, 0x7f);
const MECHANISM: &[u8; 20] = b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

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

    /// Whether a peer of type `name` may talk to us.
    fn takes(self, name: &[u8]) -> bool {
        match self {
            Self::Dealer => matches!(name, b"DEALER" | b"ROUTER" | b"REP"),
            Self::Router => matches!(name, b"DEALER" | b"ROUTER" | b"REQ"),
        }
    }
}

/// Our greeting. We say 3.0: nothing of 3.1 is needed, and what a peer of 3.1 sends is understood.
pub fn put_greeting(out: &mut impl BufMut) {
    out.put_u8(SIGNATURE);
    out.put_bytes(0, 7);
    out.put_slice(&[1, SIGNATURE_END.1, 3, 0]);
    out.put_slice(MECHANISM);
    out.put_bytes(0, 32);
}

/// Checks as much of a greeting as there is.
///
/// # Errors
/// Says what was expected.
pub fn check_greeting(greeting: &[u8]) -> Result<(), FrameError> {
    let byte = |at: usize| greeting.get(at).copied();
    if byte(0).is_some_and(|byte| byte != SIGNATURE)
        || byte(SIGNATURE_END.0).is_some_and(|byte| byte != SIGNATURE_END.1)
    {
        return Err(FrameError::Handshake("the signature of ZMTP"));
    }
    // The major version comes before anything that older versions do not have.
    if byte(10).is_some_and(|major| major < 3) {
        return Err(FrameError::Handshake("ZMTP 3.0 or later"));
    }
    let mechanism = greeting.get(12..32.min(greeting.len())).unwrap_or(&[]);
    if !MECHANISM.starts_with(mechanism) {
        return Err(FrameError::Handshake("the mechanism NULL"));
    }
    Ok(())
}

/// Our READY.
pub fn put_ready(socket: SocketType, out: &mut impl BufMut) {
    let value = socket.name().as_bytes();
    out.put_slice(&[flag::COMMAND, 41]);
    out.put_slice(b"\x05READY\x0bSocket-Type\0\0\0\x06");
    out.put_slice(value);
    out.put_slice(b"\x08Identity\0\0\0\0");
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

/// Written before a message of `len` bytes.
#[inline]
pub fn put_message_head(len: usize, out: &mut impl BufMut) {
    match u8::try_from(len) {
        Ok(len) => out.put_slice(&[0, len]),
        Err(_) => {
            out.put_u8(flag::LONG);
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
    /// Reads it; `Ok(Err(n))` if `n` bytes are missing.
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
}

/// A command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// The end of the handshake.
    Ready(Properties<'a>),
    /// Asks for a PONG.
    Ping {
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
            b"PING" => Self::Ping { context: data.get(2..).unwrap_or(&[]) },
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

    /// Checks that the peer's socket goes with ours. Its Identity does not matter to us: it would be authority that
    /// anybody can claim.
    pub(crate) fn check(&self, ours: SocketType) -> Result<(), FrameError> {
        let socket = self.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"Socket-Type"));
        match socket {
            Some((_, value)) if ours.takes(value) => Ok(()),
            _ => Err(FrameError::Handshake(match ours {
                SocketType::Router => "READY with Socket-Type DEALER, REQ or ROUTER",
                SocketType::Dealer => "READY with Socket-Type ROUTER, REP or DEALER",
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
            Self::Ping { context } => write!(f, "Ping({:?})", crate::Text(context)),
            Self::Pong { context } => write!(f, "Pong({:?})", crate::Text(context)),
            Self::Error { reason } => write!(f, "Error({:?})", crate::Text(reason)),
            Self::Other { name } => write!(f, "Other({:?})", crate::Text(name)),
        }
    }
}
