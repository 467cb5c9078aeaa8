use crate::types::{Text, list_len, put_list, read_list};
use crate::wire::{HEAD_LEN, Head, VOICE_HEAD_LEN, opcode};
use crate::{Wire, voice};
use core::fmt;
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, DecodeErrorKind, EncodeError, List, Message, Reader};
use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};

/// What a client sends, to a server or to another client: the format is the same in all directions.
pub type ClientMessage<'a> = Packet<'a>;
/// What a server sends: the format is the same in all directions.
pub type ServerMessage<'a> = Packet<'a>;

/// One packet, of any of the document's eleven. Variable parts borrow from the frame. Bytes behind the last field are
/// ignored, as the original does.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Packet<'a> {
    /// 0x01: the server's first word on every connection.
    HelloConnect,
    /// 0x02: a client asks for a name.
    Login {
        /// Which.
        name: Text<'a>,
    },
    /// 0x03: it has it.
    LoginSuccess,
    /// 0x04: it does not have it.
    LoginFailed {
        /// Why, for people.
        reason: Text<'a>,
    },
    /// 0x05: these have come.
    AddContact {
        /// Their names.
        contacts: List<'a, Text<'a>>,
    },
    /// 0x06: a call comes in.
    CallRequest(CallRequest<'a>),
    /// 0x07: one packet of sound, straight between two clients.
    VoiceData(&'a [u8]),
    /// 0x08: a call cannot be put through.
    ErrorResponse {
        /// Why, for people.
        what: Text<'a>,
    },
    /// 0x09: a call is refused.
    CallRefused {
        /// Whose (towards the server), by whom (towards the caller).
        contact: Text<'a>,
    },
    /// 0x0A: these have gone.
    DelContact {
        /// Their names.
        contacts: List<'a, Text<'a>>,
    },
    /// 0x0B: the listening side has accepted a direct connection.
    ConnectionEstablished,
}

/// Packet 0x06.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct CallRequest<'a> {
    /// Who is called (towards the server), who calls (towards the callee).
    pub contact: Text<'a>,
    /// Where the caller listens. Towards the server it does not count: the server puts in the address it sees.
    pub host: Text<'a>,
    /// The TCP port there. Ours only: 0 towards the server asks it to carry the call.
    pub port: u16,
}

impl Packet<'_> {
    /// The document's name, without "Message".
    pub const fn name(&self) -> &'static str {
        match self {
            Self::HelloConnect => "HelloConnect",
            Self::Login { .. } => "Login",
            Self::LoginSuccess => "LoginSuccess",
            Self::LoginFailed { .. } => "LoginFailed",
            Self::AddContact { .. } => "AddContact",
            Self::CallRequest(_) => "CallRequest",
            Self::VoiceData(_) => "VoiceData",
            Self::ErrorResponse { .. } => "ErrorResponse",
            Self::CallRefused { .. } => "CallRefused",
            Self::DelContact { .. } => "DelContact",
            Self::ConnectionEstablished => "ConnectionEstablished",
        }
    }

    /// The opcode.
    pub const fn opcode(&self) -> u16 {
        match self {
            Self::HelloConnect => opcode::HELLO_CONNECT,
            Self::Login { .. } => opcode::LOGIN,
            Self::LoginSuccess => opcode::LOGIN_SUCCESS,
            Self::LoginFailed { .. } => opcode::LOGIN_FAILED,
            Self::AddContact { .. } => opcode::ADD_CONTACT,
            Self::CallRequest(_) => opcode::CALL_REQUEST,
            Self::VoiceData(_) => opcode::VOICE_DATA,
            Self::ErrorResponse { .. } => opcode::ERROR_RESPONSE,
            Self::CallRefused { .. } => opcode::CALL_REFUSED,
            Self::DelContact { .. } => opcode::DEL_CONTACT,
            Self::ConnectionEstablished => opcode::CONNECTION_ESTABLISHED,
        }
    }

    #[inline(never)]
    fn body_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        let max = wire.limits.max_text;
        match self {
            Self::HelloConnect | Self::LoginSuccess | Self::ConnectionEstablished => Ok(0),
            Self::Login { name } => name.field_len("name", max),
            Self::LoginFailed { reason } => reason.field_len("reason", max),
            Self::ErrorResponse { what } => what.field_len("what", max),
            Self::CallRefused { contact } => contact.field_len("contact", max),
            Self::CallRequest(CallRequest { contact, host, .. }) => {
                let texts = contact.field_len("contact", max)?.saturating_add(host.field_len("host", max)?);
                Ok(texts.saturating_add(2))
            }
            Self::AddContact { contacts } | Self::DelContact { contacts } => {
                list_len(contacts, max, "contacts", wire.limits.max_items)
            }
            Self::VoiceData(data) => {
                Ok(EncodeError::check_len("data", data.len(), wire.max_voice)?.saturating_add(8))
            }
        }
    }
}

impl<'a> Packet<'a> {
    #[inline(never)]
    fn decode_any(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        let Some(length) = frame.first_chunk::<8>().map(|length| u64::from_le_bytes(*length)) else {
            return Err(truncated("length", 0, 8, frame.len()));
        };
        if length < 2 || length.checked_add(8) != Some(frame.len() as u64) {
            return Err(wrong_length(length, frame.len()));
        }
        let Ok((head, _)) = Head::ref_from_prefix(frame) else {
            return Err(truncated("opcode", 8, HEAD_LEN, frame.len()));
        };
        if frame.len() > wire.limits.max_frame {
            let max = wire.limits.max_frame.saturating_sub(8);
            return Err(DecodeError::limit("length", 0, length, max));
        }
        let mut reader = Reader::at(frame, HEAD_LEN);
        let max = wire.limits.max_text;
        let mut text = |field| Text::read_field(&mut reader, field, max);
        Ok(match head.opcode.get() {
            opcode::HELLO_CONNECT => Self::HelloConnect,
            opcode::LOGIN => Self::Login { name: text("name")? },
            opcode::LOGIN_SUCCESS => Self::LoginSuccess,
            opcode::LOGIN_FAILED => Self::LoginFailed { reason: text("reason")? },
            opcode::ADD_CONTACT => {
                let contacts = read_list(&mut reader, max, "contacts", wire.limits.max_items)?;
                Self::AddContact { contacts }
            }
            opcode::CALL_REQUEST => {
                let (contact, host) = (text("contact")?, text("host")?);
                Self::CallRequest(CallRequest { contact, host, port: reader.u16_le("port")? })
            }
            opcode::VOICE_DATA => {
                let start = reader.offset();
                let data = Text::read_field(&mut reader, "data", usize::MAX)?.0;
                if data.len() > wire.max_voice {
                    return Err(DecodeError::limit("data", start, data.len() as u64, wire.max_voice));
                }
                Self::VoiceData(data)
            }
            opcode::ERROR_RESPONSE => Self::ErrorResponse { what: text("what")? },
            opcode::CALL_REFUSED => Self::CallRefused { contact: text("contact")? },
            opcode::DEL_CONTACT => {
                let contacts = read_list(&mut reader, max, "contacts", wire.limits.max_items)?;
                Self::DelContact { contacts }
            }
            opcode::CONNECTION_ESTABLISHED => Self::ConnectionEstablished,
            got => return Err(DecodeError::tag("opcode", 8, got.into(), "an opcode from 1 to 11")),
        })
    }
}

impl<'a> Message<'a> for Packet<'a> {
    type Wire = Wire;
    type At<'b> = Packet<'b>;

    #[inline]
    fn decode(frame: &'a [u8], wire: &Wire) -> Result<Self, DecodeError> {
        // VoiceData first, and small enough to be inlined: nearly every packet is VoiceData.
        match voice::data(frame) {
            Some(data) if data.len() <= wire.max_voice && frame.len() <= wire.limits.max_frame => {
                Ok(Self::VoiceData(data))
            }
            _ => Self::decode_any(frame, wire),
        }
    }

    #[inline]
    fn encoded_len(&self, wire: &Wire) -> Result<usize, EncodeError> {
        let len = match self {
            Self::VoiceData(data) if data.len() <= wire.max_voice => {
                VOICE_HEAD_LEN.saturating_add(data.len())
            }
            _ => self.body_len(wire)?.saturating_add(HEAD_LEN),
        };
        EncodeError::check_len("length", len, wire.limits.max_frame)
    }

    #[inline]
    fn write_unchecked(&self, wire: &Wire, out: &mut impl BufMut) {
        if let Self::VoiceData(data) = self {
            out.put_slice(voice::head(data.len()).as_bytes());
            out.put_slice(data);
            return;
        }
        // `encoded_len` has checked it.
        let length = self.body_len(wire).unwrap_or(0).saturating_add(2);
        let head = Head { length: U64::new(length as u64), opcode: U16::new(self.opcode()) };
        out.put_slice(head.as_bytes());
        match self {
            Self::HelloConnect | Self::LoginSuccess | Self::ConnectionEstablished | Self::VoiceData(_) => {}
            Self::Login { name: text }
            | Self::LoginFailed { reason: text }
            | Self::ErrorResponse { what: text }
            | Self::CallRefused { contact: text } => text.put(out),
            Self::CallRequest(CallRequest { contact, host, port }) => {
                contact.put(out);
                host.put(out);
                out.put_u16_le(*port);
            }
            Self::AddContact { contacts } | Self::DelContact { contacts } => {
                put_list(contacts, out);
            }
        }
    }
}

/// Shows text escaped, and VoiceData by its length alone.
impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct(self.name());
        match self {
            Self::HelloConnect | Self::LoginSuccess | Self::ConnectionEstablished => {}
            Self::Login { name } => drop(f.field("name", name)),
            Self::LoginFailed { reason } => drop(f.field("reason", reason)),
            Self::ErrorResponse { what } => drop(f.field("what", what)),
            Self::CallRefused { contact } => drop(f.field("contact", contact)),
            Self::CallRequest(CallRequest { contact, host, port }) => {
                f.field("contact", contact).field("host", host).field("port", port);
            }
            Self::AddContact { contacts } | Self::DelContact { contacts } => {
                f.field("contacts", contacts);
            }
            Self::VoiceData(data) => drop(f.field("len", &data.len())),
        }
        f.finish()
    }
}

#[cold]
const fn truncated(field: &'static str, offset: usize, needed: usize, have: usize) -> DecodeError {
    DecodeError::new(field, offset, DecodeErrorKind::Truncated { missing: needed.saturating_sub(have) })
}

#[cold]
const fn wrong_length(length: u64, have: usize) -> DecodeError {
    let whole = length.saturating_add(8);
    let kind = match (have as u64).checked_sub(whole) {
        Some(_) if length < 2 => {
            DecodeErrorKind::Value { got: length, expected: "at least 2, for the opcode" }
        }
        Some(extra) => DecodeErrorKind::Trailing { extra: narrow(extra) },
        None => DecodeErrorKind::Truncated { missing: narrow(whole.saturating_sub(have as u64)) },
    };
    DecodeError::new("length", 0, kind)
}

/// For figures in errors.
#[expect(clippy::cast_possible_truncation, reason = "checked in the line above")]
const fn narrow(n: u64) -> usize {
    if n > usize::MAX as u64 { usize::MAX } else { n as usize }
}
