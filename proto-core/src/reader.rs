use crate::{DecodeError, DecodeErrorKind};

/// A cursor over one frame. Every method names the field it reads, for the error.
///
/// ```
/// use voxwire_core::Reader;
/// let mut reader = Reader::new(&[0, 2, b'h', b'i']);
/// let n = reader.u16_be("Length")?;
/// assert_eq!(reader.str("Name", n.into())?, "hi");
/// reader.finish("packet")?;
/// assert_eq!(reader.u16_be("Port").unwrap_err().to_string(), "Port at offset 4: 2 more bytes expected before the end of the frame");
/// # Ok::<(), voxwire_core::DecodeError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

macro_rules! integers {
    ($($be:ident $le:ident $int:ty),+) => {$(
        #[doc = concat!("A big-endian `", stringify!($int), "`.")]
        ///
        /// # Errors
        /// `Truncated` if the frame ends inside it.
        #[inline]
        pub fn $be(&mut self, field: &'static str) -> Result<$int, DecodeError> {
            self.array(field).map(<$int>::from_be_bytes)
        }

        #[doc = concat!("A little-endian `", stringify!($int), "`.")]
        ///
        /// # Errors
        /// `Truncated` if the frame ends inside it.
        #[inline]
        pub fn $le(&mut self, field: &'static str) -> Result<$int, DecodeError> {
            self.array(field).map(<$int>::from_le_bytes)
        }
    )+};
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `frame`.
    pub const fn new(frame: &'a [u8]) -> Self {
        Self { frame, at: 0 }
    }

    /// A cursor at `offset` of `frame`, or at its end.
    pub fn at(frame: &'a [u8], offset: usize) -> Self {
        Self { frame, at: offset.min(frame.len()) }
    }

    /// Bytes read so far: the offset of the next field.
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// Bytes left.
    pub const fn remaining(&self) -> usize {
        self.frame.len().saturating_sub(self.at)
    }

    /// An error about a field that starts at the cursor.
    pub const fn error(&self, field: &'static str, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(field, self.at, kind)
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// `Truncated` if fewer are left; the cursor stays.
    #[inline]
    pub fn take(&mut self, field: &'static str, n: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.frame.get(self.at..).unwrap_or(&[]);
        let Some(taken) = left.get(..n) else {
            return Err(
                self.error(field, DecodeErrorKind::Truncated { missing: n.saturating_sub(left.len()) })
            );
        };
        self.at = self.at.saturating_add(n);
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// `Truncated` if fewer are left; the cursor stays.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let left = self.frame.get(self.at..).unwrap_or(&[]);
        let Some(taken) = left.first_chunk::<N>() else {
            return Err(
                self.error(field, DecodeErrorKind::Truncated { missing: N.saturating_sub(left.len()) })
            );
        };
        self.at = self.at.saturating_add(N);
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// `Truncated` at the end of the frame.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(|[byte]: [u8; 1]| byte)
    }

    integers!(u16_be u16_le u16, u32_be u32_le u32, u64_be u64_le u64);

    /// The next `n` bytes as text.
    ///
    /// # Errors
    /// `Truncated` if fewer are left, `Utf8` if they are not UTF-8.
    pub fn str(&mut self, field: &'static str, n: usize) -> Result<&'a str, DecodeError> {
        let start = *self;
        let bytes = self.take(field, n)?;
        core::str::from_utf8(bytes)
            .map_err(|error| start.error(field, DecodeErrorKind::Utf8 { valid_up_to: error.valid_up_to() }))
    }

    /// All that is left.
    #[inline]
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.frame.get(self.at..).unwrap_or(&[]);
        self.at = self.frame.len();
        rest
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `Trailing` if bytes remain.
    pub fn finish(&self, field: &'static str) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            extra => Err(self.error(field, DecodeErrorKind::Trailing { extra })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_in_both_orders() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Reader::new(&bytes).u8("a"), Ok(1));
        assert_eq!(Reader::new(&bytes).u16_be("a"), Ok(0x0102));
        assert_eq!(Reader::new(&bytes).u16_le("a"), Ok(0x0201));
        assert_eq!(Reader::new(&bytes).u32_be("a"), Ok(0x0102_0304));
        assert_eq!(Reader::new(&bytes).u32_le("a"), Ok(0x0403_0201));
        assert_eq!(Reader::new(&bytes).u64_be("a"), Ok(0x0102_0304_0506_0708));
        assert_eq!(Reader::new(&bytes).u64_le("a"), Ok(0x0807_0605_0403_0201));
    }

    #[test]
    fn a_failed_read_leaves_the_cursor_and_says_how_much_is_missing() {
        let mut reader = Reader::at(&[1, 2, 3], 1);
        let error = reader.u32_be("Rate").unwrap_err();
        assert_eq!(
            (error.field, error.offset, error.kind),
            ("Rate", 1, DecodeErrorKind::Truncated { missing: 2 })
        );
        assert_eq!(reader.take("Rest", 3).unwrap_err().kind, DecodeErrorKind::Truncated { missing: 1 });
        assert_eq!(reader.offset(), 1);
        assert_eq!(reader.finish("packet").unwrap_err().kind, DecodeErrorKind::Trailing { extra: 2 });
        assert_eq!(reader.rest(), [2, 3]);
        assert_eq!(reader.finish("packet"), Ok(()));
    }

    #[test]
    fn text_that_is_not_utf8_is_reported_at_its_start() {
        let error = Reader::new(b"ab\xff").str("Name", 3).unwrap_err();
        assert_eq!((error.offset, error.kind), (0, DecodeErrorKind::Utf8 { valid_up_to: 2 }));
    }
}
