use crate::MAX_NAME;
use alloc::{borrow::Cow, string::String};
use core::fmt;
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, Element, EncodeError, NameError, Reader, Untrusted};

/// A string as it travels: null, or bytes that are meant to be UTF-8.
///
/// On the wire a u16 `n`: 0 for null, otherwise `n - 1` bytes follow. The original reads bytes that are not UTF-8 with
/// replacement characters; here they stay as they are, and sessions take no names of that kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Text<'a>(Option<&'a [u8]>);

/// The most bytes whose number, plus one, fits the length field.
const MOST: usize = 65_534;

impl<'a> Text<'a> {
    /// No string at all.
    pub const NULL: Self = Self(None);

    /// A string.
    pub const fn new(text: &'a str) -> Self {
        Self(Some(text.as_bytes()))
    }

    /// Bytes that may not be UTF-8, to send as they are.
    pub const fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(Some(bytes))
    }

    /// The bytes; `None` for null.
    pub const fn bytes(self) -> Option<&'a [u8]> {
        self.0
    }

    /// The string; `None` for null, and for bytes that are not UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        core::str::from_utf8(self.0?).ok()
    }

    /// The string as a name of any kind: not null, UTF-8, and not longer than names may be.
    pub(crate) fn valid(self) -> Result<&'a str, NameError> {
        check_any(self.0.ok_or(NameError::Empty)?)
    }

    /// The string as the original reads it, with replacement characters; empty for null.
    pub fn to_string_lossy(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0.unwrap_or(&[]))
    }

    pub(crate) fn read_field(
        reader: &mut Reader<'a>,
        field: &'static str,
        max: usize,
    ) -> Result<Self, DecodeError> {
        let start = reader.offset();
        let Some(len) = reader.u16_be(field)?.checked_sub(1).map(usize::from) else { return Ok(Self::NULL) };
        if len > max {
            return Err(DecodeError::limit(field, start, len as u64, max));
        }
        reader.take(field, len).map(|bytes| Self(Some(bytes)))
    }

    pub(crate) fn field_len(self, field: &'static str, max: usize) -> Result<usize, EncodeError> {
        let len = EncodeError::check_len(field, self.0.map_or(0, <[u8]>::len), max.min(MOST))?;
        Ok(len.saturating_add(2))
    }

    pub(crate) fn write_field(self, out: &mut impl BufMut) {
        match self.0 {
            None => out.put_u16(0),
            Some(bytes) => {
                // `field_len` has checked that it fits.
                out.put_u16(u16::try_from(bytes.len().saturating_add(1)).unwrap_or(u16::MAX));
                out.put_slice(bytes);
            }
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::new(text)
    }
}

/// A name of any kind: UTF-8, and not longer than names may be.
pub(crate) fn check_any(name: &[u8]) -> Result<&str, NameError> {
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong { len: name.len(), max: MAX_NAME });
    }
    core::str::from_utf8(name).map_err(|error| NameError::NotUtf8 { offset: error.valid_up_to() })
}

/// Escaped, as [`Untrusted`] is; nothing for null.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Untrusted::from(self.0.unwrap_or(&[])), f)
    }
}

/// Escaped, between quotation marks; null without.
impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("null"),
            Some(bytes) => fmt::Debug::fmt(&Untrusted::from(bytes), f),
        }
    }
}

/// Printable ASCII as it is, all else escaped; null as such.
#[cfg(feature = "defmt")]
impl defmt::Format for Text<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self.0 {
            None => defmt::write!(f, "null"),
            Some(bytes) => defmt::write!(f, "{=[u8]:a}", bytes),
        }
    }
}

/// A room's name in a list; the limit is its longest length.
impl<'a> Element<'a> for Text<'a> {
    const MIN_LEN: usize = 2;

    fn read(reader: &mut Reader<'a>, max: usize) -> Result<Self, DecodeError> {
        Self::read_field(reader, "room name", max)
    }

    fn encoded_len(&self, max: usize) -> Result<usize, EncodeError> {
        self.field_len("room name", max)
    }

    fn write(&self, out: &mut impl BufMut) {
        self.write_field(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn d_02_null_and_empty_differ_and_the_length_counts_one_more() {
        let bytes = |text: Text<'_>| {
            let mut out = Vec::new();
            text.write_field(&mut out);
            assert_eq!(text.field_len("x", 100), Ok(out.len()));
            let read =
                Text::read_field(&mut Reader::new(&out), "x", 100).map(|text| text.bytes().map(Vec::from));
            assert_eq!(read, Ok(text.bytes().map(Vec::from)));
            out
        };
        assert_eq!(bytes(Text::NULL), [0, 0]);
        assert_eq!(bytes(Text::new("")), [0, 1]);
        assert_eq!(bytes(Text::new("Zo\u{eb}")), [0, 5, b'Z', b'o', 0xc3, 0xab]);
    }

    #[test]
    fn what_is_not_utf8_is_kept_and_shown() {
        let text = Text::from_bytes(b"a\xff");
        assert_eq!((text.as_str(), text.to_string_lossy().into_owned()), (None, "a\u{fffd}".into()));
        assert_eq!(
            std::format!("{text:?} {:?} {:?}", Text::NULL, Text::new("a\nb")),
            r#""a\xff" null "a\nb""#
        );
    }

    #[test]
    fn a_string_of_65535_bytes_would_come_out_as_null() {
        let long = [b'a'; 65_535];
        assert!(Text::from_bytes(&long).field_len("text", usize::MAX).is_err());
        assert_eq!(Text::from_bytes(&long[1..]).field_len("text", usize::MAX), Ok(65_536));
    }
}
