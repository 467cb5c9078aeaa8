use crate::{DecodeError, DecodeErrorKind, EncodeError, Reader};
use bytes::BufMut;
use core::{fmt, iter::FusedIterator};

/// An element of variable size in a [`List`].
pub trait Element<'a>: Copy {
    /// The smallest encoded size in bytes; at least 1, so that a count can be checked against the bytes that are there.
    const MIN_LEN: usize;

    /// Reads one element, whose texts may have `max_text` bytes.
    ///
    /// # Errors
    /// Names the element's field that is wrong.
    fn read(reader: &mut Reader<'a>, max_text: usize) -> Result<Self, DecodeError>;

    /// The encoded size in bytes.
    ///
    /// # Errors
    /// The element cannot be represented, or breaks a limit.
    fn encoded_len(&self, max_text: usize) -> Result<usize, EncodeError>;

    /// Writes [`encoded_len`](Self::encoded_len) bytes.
    fn write(&self, out: &mut impl BufMut);
}

/// A list whose elements differ in size: walked once when it is decoded, infallible afterwards, never copied.
///
/// A receiver gets a window of the frame, a sender lends its own slice.
pub struct List<'a, T: Element<'a>> {
    source: Source<'a, T>,
    len: usize,
}

enum Source<'a, T: Element<'a>> {
    /// Bytes that were walked successfully in this dialect.
    Wire(&'a [u8], usize),
    Items(&'a [T]),
}

impl<'a, T: Element<'a>> List<'a, T> {
    /// Walks `count` elements and keeps the window they fill.
    ///
    /// # Errors
    /// `Limit` for more than `max` elements, `Truncated` where `count` elements cannot fit into what is left (both
    /// before looping), and the errors of the elements.
    pub fn read(
        reader: &mut Reader<'a>,
        max_text: usize,
        field: &'static str,
        count: u64,
        max: usize,
    ) -> Result<Self, DecodeError> {
        let len = usize::try_from(count).ok().filter(|&count| count <= max);
        let Some(len) = len else {
            return Err(reader.error(field, DecodeErrorKind::Limit { got: count, max }));
        };
        let least = len.saturating_mul(T::MIN_LEN.max(1));
        if least > reader.remaining() {
            let missing = least.saturating_sub(reader.remaining());
            return Err(reader.error(field, DecodeErrorKind::Truncated { missing }));
        }
        let mut ahead = *reader;
        for _ in 0..len {
            T::read(&mut ahead, max_text)?;
        }
        let window = reader.take(field, ahead.offset().saturating_sub(reader.offset()))?;
        Ok(Self { source: Source::Wire(window, max_text), len })
    }

    /// Number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in order; exactly [`len`](Self::len) of them.
    pub fn iter(&self) -> Iter<'a, T> {
        let source = match self.source {
            Source::Wire(bytes, max_text) => Walk::Wire(Reader::new(bytes), max_text),
            Source::Items(items) => Walk::Items(items.iter()),
        };
        Iter { source, left: self.len }
    }

    /// The encoded size of all elements in bytes, without any count.
    ///
    /// # Errors
    /// Those of the first element that cannot be represented.
    pub fn encoded_len(&self, max_text: usize) -> Result<usize, EncodeError> {
        self.iter().try_fold(0, |sum: usize, item| Ok(sum.saturating_add(item.encoded_len(max_text)?)))
    }

    /// Writes all elements, without any count.
    pub fn write(&self, out: &mut impl BufMut) {
        self.iter().for_each(|item| item.write(out));
    }
}

impl<'a, T: Element<'a>> From<&'a [T]> for List<'a, T> {
    fn from(items: &'a [T]) -> Self {
        Self { source: Source::Items(items), len: items.len() }
    }
}

impl<'a, T: Element<'a>> Clone for List<'a, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, T: Element<'a>> Copy for List<'a, T> {}

impl<'a, T: Element<'a>> Clone for Source<'a, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, T: Element<'a>> Copy for Source<'a, T> {}

impl<'a, T: Element<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Element<'a> + Eq> Eq for List<'a, T> {}

impl<'a, T: Element<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// As many elements as the bytes hold that are taken, encoded as on the wire.
#[cfg(feature = "arbitrary")]
impl<'a, T: Element<'a>> arbitrary::Arbitrary<'a> for List<'a, T> {
    fn arbitrary(u: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let bytes = <&'a [u8]>::arbitrary(u)?;
        let mut reader = Reader::new(bytes);
        let mut len = 0_u64;
        while reader.remaining() > 0 && T::read(&mut reader, usize::MAX).is_ok() {
            len = len.saturating_add(1);
        }
        Self::read(&mut Reader::new(bytes), usize::MAX, "list", len, usize::MAX)
            .map_err(|_| arbitrary::Error::IncorrectFormat)
    }
}

#[cfg(feature = "defmt")]
impl<'a, T: Element<'a> + defmt::Format> defmt::Format for List<'a, T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "[");
        for (index, item) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            defmt::write!(f, "{=str}{}", comma, item);
        }
        defmt::write!(f, "]");
    }
}

impl<'a, T: Element<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Element<'a>> IntoIterator for &List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The elements of a [`List`], in order.
pub struct Iter<'a, T: Element<'a>> {
    source: Walk<'a, T>,
    left: usize,
}

enum Walk<'a, T: Element<'a>> {
    Wire(Reader<'a>, usize),
    Items(core::slice::Iter<'a, T>),
}

impl<'a, T: Element<'a>> Iterator for Iter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            Walk::Wire(reader, max_text) => T::read(reader, *max_text).ok(),
            Walk::Items(items) => items.next().copied(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T: Element<'a>> ExactSizeIterator for Iter<'a, T> {}
impl<'a, T: Element<'a>> FusedIterator for Iter<'a, T> {}

impl<'a, T: Element<'a>> fmt::Debug for Iter<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Name<'a>(&'a str);

    impl<'a> Element<'a> for Name<'a> {
        const MIN_LEN: usize = 1;

        fn read(reader: &mut Reader<'a>, _max_text: usize) -> Result<Self, DecodeError> {
            let n = reader.u8("name length")?;
            reader.str("name", n.into()).map(Self)
        }

        fn encoded_len(&self, _max_text: usize) -> Result<usize, EncodeError> {
            match self.0.len() {
                len @ 0..=255 => Ok(1 + len),
                len => Err(EncodeError::TooLong { field: "name", len, max: 255 }),
            }
        }

        fn write(&self, out: &mut impl BufMut) {
            out.put_u8(u8::try_from(self.0.len()).unwrap());
            out.put_slice(self.0.as_bytes());
        }
    }

    #[test]
    fn a_received_list_equals_the_one_sent() {
        let names = [Name("ann"), Name(""), Name("zoë")];
        let sent = List::from(&names[..]);
        let mut bytes = Vec::new();
        sent.write(&mut bytes);
        bytes.push(7);
        assert_eq!(Ok(bytes.len() - 1), sent.encoded_len(255));
        let long = [b'a'; 256];
        let long = [Name(core::str::from_utf8(&long).unwrap())];
        assert!(List::from(&long[..]).encoded_len(255).is_err());
        let mut reader = Reader::new(&bytes);
        let got = List::<Name<'_>>::read(&mut reader, 255, "names", 3, 10).unwrap();
        assert_eq!(got, sent);
        assert_eq!((got.iter().len(), got.iter().count()), (3, 3));
        assert_eq!(reader.u8("after"), Ok(7));
    }

    #[test]
    fn counts_are_refused_before_looping() {
        let read = |count, max| {
            List::<Name<'_>>::read(&mut Reader::new(&[0, 0]), 255, "names", count, max).unwrap_err().kind
        };
        assert_eq!(read(u64::MAX, 10), DecodeErrorKind::Limit { got: u64::MAX, max: 10 });
        assert_eq!(read(1 << 40, usize::MAX), DecodeErrorKind::Truncated { missing: (1 << 40) - 2 });
    }

    #[test]
    fn a_bad_element_leaves_the_reader_where_it_was() {
        let mut reader = Reader::new(&[1, b'a', 1, 0xff]);
        assert!(List::<Name<'_>>::read(&mut reader, 255, "names", 2, 10).is_err());
        assert_eq!(reader.offset(), 0);
    }
}
