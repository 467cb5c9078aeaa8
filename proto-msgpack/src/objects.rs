//! MessagePack objects, one at a time and by the type that is expected: no generic value, no recursion.

use crate::voice::{self, Samples};
use crate::{Text, Wire};
use core::fmt;
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, DecodeErrorKind, EncodeError, Reader};

/// What a request, its response, or an update is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Action {
    /// Make an account.
    Register,
    /// Show who one is.
    Login,
    /// Take leave.
    Logout,
    /// Put a user on one's list.
    AddContact,
    /// A text for one user.
    Whisper,
    /// Make a group.
    CreateGroup,
    /// Become a member of one.
    JoinGroup,
    /// A text for all members.
    MsgGroup,
    /// A recording for one user.
    VoiceMsg,
    /// Take part in a group's call.
    JoinCall,
    /// Take part no more.
    LeaveCall,
    /// Live audio of a call; an update, both ways.
    CallData,
}

/// The name on the wire.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Action {
    /// All of them, in the document's order.
    pub const ALL: [Self; 12] = [
        Self::Register,
        Self::Login,
        Self::Logout,
        Self::AddContact,
        Self::Whisper,
        Self::CreateGroup,
        Self::JoinGroup,
        Self::MsgGroup,
        Self::VoiceMsg,
        Self::JoinCall,
        Self::CallData,
        Self::LeaveCall,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::AddContact => "add_contact",
            Self::Whisper => "whisper",
            Self::CreateGroup => "create_group",
            Self::JoinGroup => "join_group",
            Self::MsgGroup => "msg_group",
            Self::VoiceMsg => "voice_msg",
            Self::JoinCall => "join_call",
            Self::LeaveCall => "leave_call",
            Self::CallData => "call_data",
        }
    }

    /// The action of that name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"call_data" => Self::CallData,
            b"register" => Self::Register,
            b"login" => Self::Login,
            b"logout" => Self::Logout,
            b"add_contact" => Self::AddContact,
            b"whisper" => Self::Whisper,
            b"create_group" => Self::CreateGroup,
            b"join_group" => Self::JoinGroup,
            b"msg_group" => Self::MsgGroup,
            b"voice_msg" => Self::VoiceMsg,
            b"join_call" => Self::JoinCall,
            b"leave_call" => Self::LeaveCall,
            _ => return None,
        })
    }
}

/// What a message starts with.
pub(crate) mod kind {
    pub(crate) const REQUEST: &[u8] = b"request";
    pub(crate) const RESPONSE: &[u8] = b"response";
    pub(crate) const UPDATE: &[u8] = b"update";
}

/// MessagePack's markers, where they are not ranges.
pub(crate) mod marker {
    pub(crate) const BIN_8: u8 = 0xc4;
    pub(crate) const BIN_16: u8 = 0xc5;
    pub(crate) const BIN_32: u8 = 0xc6;
    pub(crate) const FLOAT_32: u8 = 0xca;
    pub(crate) const FLOAT_64: u8 = 0xcb;
    pub(crate) const UINT_8: u8 = 0xcc;
    pub(crate) const UINT_16: u8 = 0xcd;
    pub(crate) const UINT_32: u8 = 0xce;
    pub(crate) const UINT_64: u8 = 0xcf;
    pub(crate) const INT_8: u8 = 0xd0;
    pub(crate) const INT_16: u8 = 0xd1;
    pub(crate) const INT_32: u8 = 0xd2;
    pub(crate) const INT_64: u8 = 0xd3;
    pub(crate) const STR_8: u8 = 0xd9;
    pub(crate) const STR_16: u8 = 0xda;
    pub(crate) const STR_32: u8 = 0xdb;
    pub(crate) const ARRAY_16: u8 = 0xdc;
    pub(crate) const ARRAY_32: u8 = 0xdd;
}

/// What an object turns out to be, from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// A string or bytes, of so many bytes, which follow `head` bytes of its own.
    Text { head: usize, len: u64 },
    /// An integer that is not negative, in `head` bytes.
    Uint { head: usize, value: u64 },
    /// A negative integer, in `head` bytes.
    Negative { head: usize },
    /// A list of so many objects, which follow `head` bytes.
    List { head: usize, len: u64 },
    /// Something that no message of this protocol has: a map, a float on its own, nothing, true, an extension.
    Other,
}

impl Head {
    /// The bytes that say what it is.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Text { head, .. }
            | Self::Uint { head, .. }
            | Self::Negative { head }
            | Self::List { head, .. } => head,
            Self::Other => 1,
        }
    }

    /// Reads it; `Err` with the number of bytes that are missing.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, usize> {
        let Some((&first, rest)) = bytes.split_first() else { return Err(1) };
        let number = |width: usize| -> Result<u64, usize> {
            let field = rest.get(..width).ok_or_else(|| width.saturating_sub(rest.len()))?;
            Ok(field.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
        };
        let signed = |width: usize| -> Result<Self, usize> {
            let value = number(width)?;
            let sign =
                1_u64.checked_shl(u32::try_from(width).unwrap_or(8).saturating_mul(8).saturating_sub(1));
            let negative = value & sign.unwrap_or(0) != 0;
            let head = width.saturating_add(1);
            Ok(if negative { Self::Negative { head } } else { Self::Uint { head, value } })
        };
        Ok(match first {
            0x00..=0x7f => Self::Uint { head: 1, value: first.into() },
            0xa0..=0xbf => Self::Text { head: 1, len: (first & 0x1f).into() },
            0x90..=0x9f => Self::List { head: 1, len: (first & 0x0f).into() },
            0xe0..=0xff => Self::Negative { head: 1 },
            marker::STR_8 | marker::BIN_8 => Self::Text { head: 2, len: number(1)? },
            marker::STR_16 | marker::BIN_16 => Self::Text { head: 3, len: number(2)? },
            marker::STR_32 | marker::BIN_32 => Self::Text { head: 5, len: number(4)? },
            marker::UINT_8 => Self::Uint { head: 2, value: number(1)? },
            marker::UINT_16 => Self::Uint { head: 3, value: number(2)? },
            marker::UINT_32 => Self::Uint { head: 5, value: number(4)? },
            marker::UINT_64 => Self::Uint { head: 9, value: number(8)? },
            marker::INT_8 => signed(1)?,
            marker::INT_16 => signed(2)?,
            marker::INT_32 => signed(4)?,
            marker::INT_64 => signed(8)?,
            marker::ARRAY_16 => Self::List { head: 3, len: number(2)? },
            marker::ARRAY_32 => Self::List { head: 5, len: number(4)? },
            _ => Self::Other,
        })
    }
}

/// The objects of one message, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Objects<'a> {
    reader: Reader<'a>,
    /// What is missing reads as empty; so does everything behind the first that is.
    missing_is_empty: bool,
    ended: bool,
}

impl<'a> Objects<'a> {
    pub(crate) const fn new(frame: &'a [u8]) -> Self {
        Self { reader: Reader::new(frame), missing_is_empty: false, ended: false }
    }

    /// From here on, what is missing reads as empty, if `wire` says so.
    pub(crate) const fn arguments(mut self, wire: &Wire) -> Self {
        self.missing_is_empty = wire.missing_is_empty;
        self
    }

    pub(crate) fn offset(&self) -> usize {
        self.reader.offset()
    }

    /// A string of at most `max` bytes.
    #[inline]
    pub(crate) fn text(&mut self, field: &'static str, max: usize) -> Result<Text<'a>, DecodeError> {
        // Nearly all of them are short.
        let ahead = self.ahead();
        if let Some((&first @ 0xa0..=0xbf, rest)) = ahead.split_first() {
            let len = usize::from(first & 0x1f);
            if let Some(text) = rest.get(..len).filter(|_| len <= max && !self.ended) {
                self.skip(len.saturating_add(1));
                return Ok(Text(text));
            }
        }
        self.text_any(field, max)
    }

    #[inline(never)]
    fn text_any(&mut self, field: &'static str, max: usize) -> Result<Text<'a>, DecodeError> {
        match self.head(field)? {
            None => Ok(Text::default()),
            Some(Head::Text { len, .. }) if len > max as u64 => {
                Err(self.error(field, DecodeErrorKind::Limit { got: len, max }))
            }
            Some(Head::Text { head, len }) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                let body = self.ahead().get(head..).unwrap_or(&[]);
                match body.get(..len) {
                    Some(text) => {
                        self.skip(head.saturating_add(len));
                        Ok(Text(text))
                    }
                    None => self.missing(field, len.saturating_sub(body.len())).map(|()| Text::default()),
                }
            }
            Some(_) => Err(self.wrong(field, "a string")),
        }
    }

    /// Whether the next object is `text`.
    pub(crate) fn is_next(&self, text: &[u8]) -> bool {
        let ahead = self.ahead();
        match Head::read(ahead) {
            Ok(Head::Text { head, len }) if !self.ended && len == text.len() as u64 => {
                ahead.get(head..).is_some_and(|rest| rest.starts_with(text))
            }
            _ => false,
        }
    }

    /// An integer that is not negative.
    pub(crate) fn uint(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        match self.head(field)? {
            None => Ok(0),
            Some(Head::Uint { head, value }) => {
                self.skip(head);
                Ok(value)
            }
            Some(_) => Err(self.wrong(field, "an integer that is not negative")),
        }
    }

    /// A list of at most `max` samples.
    #[inline]
    pub(crate) fn samples(
        &mut self,
        field: &'static str,
        max: usize,
        floats: bool,
    ) -> Result<Samples<'a>, DecodeError> {
        match self.head(field)? {
            None => Ok(Samples::default()),
            Some(Head::List { len, .. }) if len > max as u64 => {
                Err(self.error(field, DecodeErrorKind::Limit { got: len, max }))
            }
            Some(Head::List { head, len }) => {
                let count = usize::try_from(len).unwrap_or(usize::MAX);
                let start = self.offset().saturating_add(head);
                let body = self.ahead().get(head..).unwrap_or(&[]);
                match Samples::read(body, count, floats) {
                    Ok((samples, len)) => {
                        self.skip(head.saturating_add(len));
                        Ok(samples)
                    }
                    Err(voice::Fault::Missing(missing)) => {
                        self.missing(field, missing).map(|()| Samples::default())
                    }
                    Err(voice::Fault::Bad { at, kind, .. }) => {
                        Err(DecodeError::new(field, start.saturating_add(at), kind))
                    }
                }
            }
            Some(_) => Err(self.wrong(field, "a list of samples")),
        }
    }

    fn head(&mut self, field: &'static str) -> Result<Option<Head>, DecodeError> {
        if self.ended {
            return Ok(None);
        }
        match Head::read(self.ahead()) {
            Ok(head) => Ok(Some(head)),
            Err(missing) => self.missing(field, missing).map(|()| None),
        }
    }

    fn ahead(&self) -> &'a [u8] {
        let mut reader = self.reader;
        reader.rest()
    }

    fn skip(&mut self, len: usize) {
        // What is skipped has been looked at before.
        let _ = self.reader.take("", len);
    }

    /// The message ends here, `missing` bytes before the end of the object.
    #[cold]
    fn missing(&mut self, field: &'static str, missing: usize) -> Result<(), DecodeError> {
        if self.missing_is_empty {
            self.ended = true;
            return Ok(());
        }
        Err(self.error(field, DecodeErrorKind::Truncated { missing: missing.max(1) }))
    }

    #[cold]
    fn wrong(&self, field: &'static str, expected: &'static str) -> DecodeError {
        let got = self.ahead().first().copied().unwrap_or_default().into();
        self.error(field, DecodeErrorKind::Tag { got, expected })
    }

    pub(crate) fn error(&self, field: &'static str, kind: DecodeErrorKind) -> DecodeError {
        self.reader.error(field, kind)
    }
}

/// The encoded length of a string of `len` bytes.
pub(crate) const fn text_len(len: usize) -> usize {
    let head: usize = match len {
        0..=31 => 1,
        32..=255 => 2,
        256..=0xffff => 3,
        _ => 5,
    };
    head.saturating_add(len)
}

/// Whether a text goes as `bin`: what is not UTF-8 is none to a reader who decodes `str`.
pub(crate) fn is_bin(text: &[u8], any_str: bool) -> bool {
    !any_str && core::str::from_utf8(text).is_err()
}

/// The encoded length of `len` bytes as `bin`.
pub(crate) const fn bin_len(len: usize) -> usize {
    let head: usize = match len {
        0..=255 => 2,
        256..=0xffff => 3,
        _ => 5,
    };
    head.saturating_add(len)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each in the range that its arm says; contents have limits"
)]
pub(crate) fn put_bin(bytes: &[u8], out: &mut impl BufMut) {
    match bytes.len() {
        len @ 0..=255 => out.put_slice(&[marker::BIN_8, len as u8]),
        len @ 256..=0xffff => {
            out.put_u8(marker::BIN_16);
            out.put_u16(len as u16);
        }
        len => {
            out.put_u8(marker::BIN_32);
            out.put_u32(len as u32);
        }
    }
    out.put_slice(bytes);
}

/// The encoded length of a string that may have `max` bytes.
pub(crate) const fn checked_text(field: &'static str, text: &[u8], max: usize) -> Result<usize, EncodeError> {
    match text.len() {
        len if len <= max => Ok(text_len(len)),
        len => Err(EncodeError::TooLong { field, len, max }),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each in the range that its arm says; contents have limits"
)]
#[inline]
pub(crate) fn put_text(text: &[u8], out: &mut impl BufMut) {
    match text.len() {
        len @ 0..=31 => out.put_u8(0xa0 | len as u8),
        len @ 32..=255 => out.put_slice(&[marker::STR_8, len as u8]),
        len @ 256..=0xffff => {
            out.put_u8(marker::STR_16);
            out.put_u16(len as u16);
        }
        len => {
            out.put_u8(marker::STR_32);
            out.put_u32(len as u32);
        }
    }
    out.put_slice(text);
}

pub(crate) const fn uint_len(value: u64) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each in the range that its arm says")]
pub(crate) fn put_uint(value: u64, out: &mut impl BufMut) {
    match value {
        0..=0x7f => out.put_u8(value as u8),
        0x80..=0xff => out.put_slice(&[marker::UINT_8, value as u8]),
        0x100..=0xffff => {
            out.put_u8(marker::UINT_16);
            out.put_u16(value as u16);
        }
        0x1_0000..=0xffff_ffff => {
            out.put_u8(marker::UINT_32);
            out.put_u32(value as u32);
        }
        _ => {
            out.put_u8(marker::UINT_64);
            out.put_u64(value);
        }
    }
}

/// The encoded length of a list's head.
pub(crate) const fn list_head_len(len: usize) -> usize {
    match len {
        0..=15 => 1,
        16..=0xffff => 3,
        _ => 5,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each in the range that its arm says; lists have limits")]
pub(crate) fn put_list_head(len: usize, out: &mut impl BufMut) {
    match len {
        0..=15 => out.put_u8(0x90 | len as u8),
        16..=0xffff => {
            out.put_u8(marker::ARRAY_16);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(marker::ARRAY_32);
            out.put_u32(len as u32);
        }
    }
}
