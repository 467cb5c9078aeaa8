use thiserror::Error;

/// Why a byte stream cannot be cut into frames any further: the peer's fault, and the position is lost.
///
/// A driver closes the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrameError {
    /// A length field announces more than is allowed now. Found before anything of the frame is buffered.
    #[error("frame of {len} bytes announced, at most {max} allowed here")]
    TooLarge {
        /// The length announced, in bytes.
        len: u64,
        /// The largest length allowed at this moment, in bytes.
        max: usize,
    },
    /// A length field announces less than the smallest frame.
    #[error("frame of {len} bytes announced, the smallest has {min}")]
    TooShort {
        /// The length announced, in bytes.
        len: u64,
        /// The smallest length possible, in bytes.
        min: usize,
    },
    /// The transport-level handshake went wrong; says what was expected.
    #[error("transport handshake: expected {0}")]
    Handshake(&'static str),
}

/// Why one delimited frame is not a message: the peer's fault; a stream stays in step because the frame was delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{field} at offset {offset}: {kind}")]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DecodeError {
    /// The field's name, as the protocol's document writes it.
    pub field: &'static str,
    /// Where the field starts, in bytes from the start of the frame.
    pub offset: usize,
    /// What is wrong with it.
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// An error of `kind` in `field`, which starts at `offset`.
    pub const fn new(field: &'static str, offset: usize, kind: DecodeErrorKind) -> Self {
        Self { field, offset, kind }
    }

    /// A tag that selects nothing: see [`DecodeErrorKind::Tag`].
    pub const fn tag(field: &'static str, offset: usize, got: u64, expected: &'static str) -> Self {
        Self::new(field, offset, DecodeErrorKind::Tag { got, expected })
    }

    /// A count or length over a limit: see [`DecodeErrorKind::Limit`].
    pub const fn limit(field: &'static str, offset: usize, got: u64, max: usize) -> Self {
        Self::new(field, offset, DecodeErrorKind::Limit { got, max })
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DecodeErrorKind {
    /// The frame ends inside the field.
    #[error("{missing} more bytes expected before the end of the frame")]
    Truncated {
        /// How many bytes are missing at least.
        missing: usize,
    },
    /// The message is complete and the frame goes on.
    #[error("{extra} bytes after the end of the message")]
    Trailing {
        /// How many bytes follow.
        extra: usize,
    },
    /// The value is outside the range of the field.
    #[error("{got} found, expected {expected}")]
    Value {
        /// The value found.
        got: u64,
        /// What would have been right.
        expected: &'static str,
    },
    /// The tag selects no known message or variant.
    #[error("unknown tag {got}, expected {expected}")]
    Tag {
        /// The tag found.
        got: u64,
        /// What would have been right.
        expected: &'static str,
    },
    /// A name selects no known message or variant.
    #[error("unknown name, expected {expected}")]
    Name {
        /// What would have been right.
        expected: &'static str,
    },
    /// The text is not UTF-8.
    #[error("not UTF-8 after {valid_up_to} bytes")]
    Utf8 {
        /// How many bytes of the field are valid.
        valid_up_to: usize,
    },
    /// A count or length is over a limit of ours.
    #[error("{got} announced, at most {max} allowed")]
    Limit {
        /// The count or length found.
        got: u64,
        /// The limit, see [`Limits`](crate::Limits).
        max: usize,
    },
}

/// Why a message cannot be encoded: the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EncodeError {
    /// A field holds more than the format, or a limit, allows.
    #[error("{field} has {len} bytes or items, at most {max} fit")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The largest length that fits.
        max: usize,
    },
    /// A field holds a value that the format cannot carry.
    #[error("{field} cannot be encoded, expected {expected}")]
    Value {
        /// The field's name.
        field: &'static str,
        /// What would have been right.
        expected: &'static str,
    },
    /// The output has too little room. Nothing was written.
    #[error("{needed} bytes needed, room for {available}")]
    NoRoom {
        /// The message's encoded length.
        needed: usize,
        /// What the output can still take.
        available: usize,
    },
}

impl EncodeError {
    /// Checks that a field of `len` bytes or items has at most `max`. Returns `len`.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] if it has more.
    #[inline]
    pub const fn check_len(field: &'static str, len: usize, max: usize) -> Result<usize, Self> {
        if len > max { Err(Self::TooLong { field, len, max }) } else { Ok(len) }
    }
}

/// The outbox is at its limit; nothing was queued. Drain it and try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("outbox full: {needed} bytes needed, room for {available}")]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Full {
    /// What the outputs would have taken, in bytes.
    pub needed: usize,
    /// What the outbox can still take, in bytes.
    pub available: usize,
}

impl From<Full> for EncodeError {
    fn from(full: Full) -> Self {
        Self::NoRoom { needed: full.needed, available: full.available }
    }
}
