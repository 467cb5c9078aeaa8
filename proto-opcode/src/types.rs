//! The document's serialized types: integers in little-endian order, strings, and lists of either.

use core::fmt;
use voxwire_core::bytes::BufMut;
use voxwire_core::{DecodeError, DecodeErrorKind, Element, EncodeError, List, Reader, Untrusted};

/// Length of a count, which is a u64.
pub const COUNT_LEN: usize = 8;

/// A string: a u64 that counts its bytes, then the bytes. The document names no encoding: UTF-8 for display.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Text<'a>(pub &'a [u8]);

impl<'a> Text<'a> {
    /// The text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        core::str::from_utf8(self.0).ok()
    }

    /// Reads a string of at most `max` bytes.
    ///
    /// # Errors
    /// `Truncated` or `Limit`.
    #[inline]
    pub fn read_field(reader: &mut Reader<'a>, field: &'static str, max: usize) -> Result<Self, DecodeError> {
        let start = *reader;
        let count = reader.u64_le(field)?;
        let have = reader.remaining();
        match usize::try_from(count) {
            Ok(len) if len <= have && len <= max => reader.take(field, len).map(Self),
            Ok(len) if len <= have => Err(start.error(field, DecodeErrorKind::Limit { got: count, max })),
            len => {
                let missing = len.unwrap_or(usize::MAX).saturating_sub(have);
                Err(start.error(field, DecodeErrorKind::Truncated { missing }))
            }
        }
    }

    /// The encoded length.
    ///
    /// # Errors
    /// `TooLong` for more than `max` bytes.
    pub const fn field_len(&self, field: &'static str, max: usize) -> Result<usize, EncodeError> {
        match self.0.len() {
            len if len <= max => Ok(len.saturating_add(COUNT_LEN)),
            len => Err(EncodeError::TooLong { field, len, max }),
        }
    }

    /// Writes it.
    pub fn put(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.0.len() as u64);
        out.put_slice(self.0);
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

/// Escaped, as [`Untrusted`] is.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Untrusted::new(self.0), f)
    }
}

/// Escaped, between quotation marks.
impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Untrusted::new(self.0), f)
    }
}

/// In a list.
impl<'a> Element<'a> for Text<'a> {
    const MIN_LEN: usize = COUNT_LEN;

    #[inline]
    fn read(reader: &mut Reader<'a>, max: usize) -> Result<Self, DecodeError> {
        Self::read_field(reader, "string", max)
    }

    fn encoded_len(&self, max: usize) -> Result<usize, EncodeError> {
        self.field_len("string", max)
    }

    fn write(&self, out: &mut impl BufMut) {
        self.put(out);
    }
}

/// An integer as an element of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Int<T>(pub T);

macro_rules! integers {
    ($($int:ty),+) => {$(
        impl<'a> Element<'a> for Int<$int> {
            const MIN_LEN: usize = size_of::<$int>();

            fn read(reader: &mut Reader<'a>, _max_text: usize) -> Result<Self, DecodeError> {
                reader.array(stringify!($int)).map(|bytes| Self(<$int>::from_le_bytes(bytes)))
            }

            fn encoded_len(&self, _max_text: usize) -> Result<usize, EncodeError> {
                Ok(size_of::<$int>())
            }

            fn write(&self, out: &mut impl BufMut) {
                out.put_slice(&self.0.to_le_bytes());
            }
        }
    )+};
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

/// Reads a list of at most `max` elements, whose strings may have `max_text` bytes: a u64 that counts them, then the elements, strings with counts of their own.
///
/// # Errors
/// `Limit` or `Truncated`, both before looping; and those of the elements.
pub fn read_list<'a, T: Element<'a>>(
    reader: &mut Reader<'a>,
    max_text: usize,
    field: &'static str,
    max: usize,
) -> Result<List<'a, T>, DecodeError> {
    let mut ahead = *reader;
    let count = ahead.u64_le(field)?;
    let list = List::read(&mut ahead, max_text, field, count, max)?;
    *reader = ahead;
    Ok(list)
}

/// The encoded length of a list of at most `max` elements.
///
/// # Errors
/// `TooLong` for more elements, and those of the elements.
pub fn list_len<'a, T: Element<'a>>(
    list: &List<'a, T>,
    max_text: usize,
    field: &'static str,
    max: usize,
) -> Result<usize, EncodeError> {
    EncodeError::check_len(field, list.len(), max)?;
    Ok(list.encoded_len(max_text)?.saturating_add(COUNT_LEN))
}

/// Writes a list.
pub fn put_list<'a, T: Element<'a>>(list: &List<'a, T>, out: &mut impl BufMut) {
    out.put_u64_le(list.len() as u64);
    list.write(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn there_and_back<'a, T>(items: &'a [T], max_text: usize, bytes: &'a mut Vec<u8>) -> Vec<T>
    where
        T: Element<'a>,
    {
        let list = List::from(items);
        put_list(&list, bytes);
        assert_eq!(list_len(&list, max_text, "list", 10), Ok(bytes.len()));
        bytes.push(99);
        let mut reader = Reader::new(bytes);
        let read = read_list::<T>(&mut reader, max_text, "list", 10).unwrap();
        assert_eq!(reader.remaining(), 1);
        read.iter().collect()
    }

    #[test]
    fn o_01_every_type_of_the_table_and_every_list_of_them() {
        macro_rules! check {
            ($($int:ty),+) => {$(
                let items = [Int(<$int>::MIN), Int(1), Int(<$int>::MAX)];
                let mut bytes = Vec::new();
                assert_eq!(there_and_back(&items, 0, &mut bytes), items);
                assert_eq!(bytes.len(), 8 + 3 * size_of::<$int>() + 1);
                // Little-endian: the count, and the second element.
                assert_eq!(bytes[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
                assert_eq!(bytes[8 + size_of::<$int>()], 1);
            )+};
        }
        check!(u8, u16, u32, u64, i8, i16, i32, i64);
        let items = [Text(b"ann"), Text(b""), Text(b"\xff\0")];
        let mut bytes = Vec::new();
        assert_eq!(there_and_back(&items, 3, &mut bytes), items);
        assert_eq!(bytes[8..19], *b"\x03\0\0\0\0\0\0\0ann");
    }

    #[test]
    fn o_11_counts_are_refused_before_anything_else() {
        let kind = |bytes: &[u8], max| {
            let error = read_list::<Text<'_>>(&mut Reader::new(bytes), 255, "contacts", max).unwrap_err();
            (error.field, error.kind)
        };
        let limit = DecodeErrorKind::Limit { got: u64::MAX, max: 9 };
        assert_eq!(kind(&[0xff; 8], 9), ("contacts", limit));
        let short = DecodeErrorKind::Truncated { missing: 16 };
        assert_eq!(kind(&[2, 0, 0, 0, 0, 0, 0, 0], 9), ("contacts", short));
        // A string's count that would wrap around the address.
        let mut wraps = Vec::from([1, 0, 0, 0, 0, 0, 0, 0]);
        wraps.extend((u64::MAX - 3).to_le_bytes());
        wraps.extend(b"ab");
        let error = read_list::<Text<'_>>(&mut Reader::new(&wraps), 255, "contacts", 9).unwrap_err();
        assert_eq!((error.field, error.offset), ("string", 8));
        assert!(matches!(error.kind, DecodeErrorKind::Truncated { .. }));
        let long = Text(&[b'a'; 300]);
        assert!(long.field_len("name", 255).is_err());
        let mut bytes = Vec::new();
        long.put(&mut bytes);
        let error = Text::read_field(&mut Reader::new(&bytes), "name", 255).unwrap_err();
        assert_eq!((error.offset, error.kind), (0, DecodeErrorKind::Limit { got: 300, max: 255 }));
    }
}
