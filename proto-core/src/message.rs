use crate::{DecodeError, EncodeError};
use alloc::{boxed::Box, vec::Vec};
use bytes::BufMut;
use core::fmt::{self, Debug};

/// One message of a protocol, borrowing its variable parts from the frame it was decoded from.
///
/// A *frame* is the whole message as the protocol's document draws it, length field included, so offsets in errors equal
/// offsets in the document. A frame is found first (see [`Framing`](crate::Framing)), decoded second: "incomplete" is
/// not a decode error.
pub trait Message<'a>: Sized + Debug {
    /// Dialect and limits, fixed for the life of a peer.
    type Wire;

    /// The same message type, borrowing for another lifetime. Always `Self` with `'a` replaced by `'b`; lets generic
    /// code keep, compare and re-decode messages.
    type At<'b>: Message<'b, Wire = Self::Wire>;

    /// Decodes exactly one frame. Never allocates, never panics.
    ///
    /// # Errors
    /// Names the first field that is wrong, its offset in the frame and what was expected.
    fn decode(frame: &'a [u8], wire: &Self::Wire) -> Result<Self, DecodeError>;

    /// The exact encoded length in bytes. Every reason why encoding can fail, except room, is reported here.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] or [`EncodeError::Value`] when a field cannot be represented.
    fn encoded_len(&self, wire: &Self::Wire) -> Result<usize, EncodeError>;

    /// Writes [`encoded_len`](Self::encoded_len) bytes.
    ///
    /// May panic, or write nonsense, if `encoded_len` failed or `out` has less room; [`encode`](Self::encode) checks.
    fn write_unchecked(&self, wire: &Self::Wire, out: &mut impl BufMut);

    /// Checks, then writes; returns the number of bytes written. Leaves `out` untouched on error.
    ///
    /// # Errors
    /// Those of [`encoded_len`](Self::encoded_len), or [`EncodeError::NoRoom`].
    #[inline]
    fn encode(&self, wire: &Self::Wire, out: &mut impl BufMut) -> Result<usize, EncodeError> {
        let needed = self.encoded_len(wire)?;
        let available = out.remaining_mut();
        if needed > available {
            return Err(EncodeError::NoRoom { needed, available });
        }
        self.write_unchecked(wire, out);
        Ok(needed)
    }
}

/// A message kept for longer than its input: the frame's bytes and the `Wire`, decoded again on [`get`](Self::get).
///
/// Decoding costs nanoseconds. Where the fields themselves are to be kept or stored, see the module `owned` of each protocol, and
/// [`owned!`](crate::owned!).
///
/// ```text
/// let kept: Owned<Packet<'static>> = Owned::new(&packet, &wire)?;
/// let again: Packet<'_> = kept.get();
/// ```
pub struct Owned<M: Message<'static>> {
    frame: Box<[u8]>,
    wire: M::Wire,
}

impl<M: Message<'static>> Owned<M>
where
    M::Wire: Clone,
{
    /// Keeps `message` by encoding it.
    ///
    /// # Errors
    /// Those of [`Message::encode`]; also [`EncodeError::Value`] for a message that encodes but breaks a limit of
    /// `wire` and would not decode again.
    pub fn new<'m>(message: &impl Message<'m, Wire = M::Wire>, wire: &M::Wire) -> Result<Self, EncodeError> {
        let mut frame = Vec::with_capacity(message.encoded_len(wire)?);
        message.write_unchecked(wire, &mut frame);
        Self::from_frame(&frame, wire).map_err(|error| EncodeError::Value {
            field: error.field,
            expected: "a message that decodes again",
        })
    }

    /// Keeps a frame as received, after checking that it decodes.
    ///
    /// # Errors
    /// Those of [`Message::decode`].
    pub fn from_frame(frame: &[u8], wire: &M::Wire) -> Result<Self, DecodeError> {
        M::At::decode(frame, wire)?;
        Ok(Self { frame: frame.into(), wire: wire.clone() })
    }
}

impl<M: Message<'static>> Owned<M> {
    /// The message, borrowing from this.
    #[expect(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "decoding is a pure function that succeeded in `from_frame`"
    )]
    pub fn get(&self) -> M::At<'_> {
        M::At::decode(&self.frame, &self.wire).expect("decoded before")
    }

    /// The frame as it would be sent.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }
}

impl<M: Message<'static>> Clone for Owned<M>
where
    M::Wire: Clone,
{
    fn clone(&self) -> Self {
        Self { frame: self.frame.clone(), wire: self.wire.clone() }
    }
}

impl<M: Message<'static>> Debug for Owned<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owned").field(&self.get()).finish()
    }
}
