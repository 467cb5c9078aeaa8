use crate::FrameError;
use bytes::BufMut;
use core::num::NonZeroUsize;
use core::time::Duration;

/// What a [`Framing`] makes of the unread bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Progress {
    /// At least this many more bytes are needed; never asks past the end of the frame, so a driver may read exactly.
    NeedMore(NonZeroUsize),
    /// Drop so many bytes: the framing has understood them itself, or they are part of a frame that is not wanted. A framing that skips more bytes
    /// than have come in skips those, and then needs one byte more. So skipped bytes are never buffered.
    Skip(NonZeroUsize),
    /// The frame is `unread[header .. header + body]`; drop `header + body` bytes afterwards.
    Frame {
        /// Bytes of transport-level header before the frame.
        header: usize,
        /// Bytes of the frame itself.
        body: usize,
    },
}

impl Progress {
    /// `NeedMore(missing)`, or at least one byte.
    pub fn need(missing: usize) -> Self {
        Self::NeedMore(NonZeroUsize::new(missing).unwrap_or(NonZeroUsize::MIN))
    }
}

/// Cuts a byte stream into frames, before anything is decoded.
///
/// One value serves one connection. The length limit is checked on the length *field*, before the frame is buffered.
pub trait Framing {
    /// Looks at all unread bytes, from the same start until `Skip` or `Frame` is returned.
    ///
    /// # Errors
    /// The stream cannot be followed any further; close it.
    fn next_frame(&mut self, unread: &[u8]) -> Result<Progress, FrameError>;

    /// Whether this finds the frames in a byte stream. False for datagrams: on a byte stream a transport has to put each of them into a unit of its
    /// own.
    fn is_stream(&self) -> bool {
        true
    }

    /// Checks the length of a whole frame, in bytes, before the frame has come in: a transport that puts frames into units knows it from the
    /// unit's head. By default no length is refused. A framing with a limit overrides this, and so does one around another framing.
    ///
    /// # Errors
    /// [`next_frame`](Self::next_frame) refuses frames of this length.
    fn check_len(&self, _len: usize) -> Result<(), FrameError> {
        Ok(())
    }

    /// Writes the header before an outgoing frame, if there is one.
    fn put_header(&self, _frame: &[u8], _out: &mut impl BufMut) {}

    /// Whether the peer can take this frame at all; otherwise it is dropped.
    fn takes(&self, _frame: &[u8]) -> bool {
        true
    }

    /// Whether the peer takes nothing but answers: [`takes`](Self::takes) is false for other frames.
    fn answers_only(&self) -> bool {
        false
    }

    /// Sets the session's limit for frames of this peer, in bytes. A framing that sees the kind of a message early may hold some kinds to a smaller
    /// limit.
    fn set_max(&mut self, max: usize);

    /// Whether messages may be sent: false during a handshake of the framing.
    ///
    /// - A driver that connects first sends what is pending. It tells its session of the connection when this becomes true.
    /// - A driver that accepts closes a connection on which this stays false for too long.
    ///
    /// A framing with a handshake needs a byte stream of its own. It cannot be used where a transport puts frames into units.
    fn is_ready(&self) -> bool {
        true
    }

    /// Whether the length of the frame that has begun is known. [`Progress::NeedMore`] then asks for all bytes that are missing, and a driver sets
    /// aside memory for them.
    fn announces(&self) -> bool {
        true
    }

    /// The longest silence that the peer has announced, if it has. A driver closes a connection on which nothing has come in for longer.
    fn silence(&self) -> Option<Duration> {
        None
    }

    /// Asks the peer, by [`take_pending`](Self::take_pending), to answer once it has read everything that was sent so far. False if it cannot be
    /// asked.
    fn probe(&mut self) -> bool {
        false
    }

    /// How many probes have been answered since the last call.
    fn take_answered(&mut self) -> u32 {
        0
    }

    /// Whether the next frame waits for a call of [`set_max`](Self::set_max), with any value. A driver reads nothing until then. True only after
    /// [`Progress::NeedMore`].
    fn is_waiting(&self) -> bool {
        false
    }

    /// Writes the bytes that the framing itself has to send now: a greeting, or an answer to a ping. Returns how many were written.
    fn take_pending(&mut self, _out: &mut impl BufMut) -> usize {
        0
    }
}

/// The framing of datagrams: each one is a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Largest datagram accepted, in bytes.
    pub max: usize,
}

impl Framing for Datagram {
    fn next_frame(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        self.check_len(unread.len())?;
        Ok(Progress::Frame { header: 0, body: unread.len() })
    }

    fn check_len(&self, len: usize) -> Result<(), FrameError> {
        if len > self.max { Err(FrameError::TooLarge { len: len as u64, max: self.max }) } else { Ok(()) }
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn set_max(&mut self, max: usize) {
        self.max = max;
    }
}

/// Frames that start with their own length as an unsigned integer of 1 to 8 bytes; the length field is part of the frame.
///
/// ```
/// use voxwire_core::{Framing, LengthPrefix, Progress};
/// // A big-endian u32 that counts the whole packet.
/// let mut framing = LengthPrefix { width: 4, little_endian: false, adjust: 0, min: 6, max: 4096 };
/// assert_eq!(framing.next_frame(&[0, 0, 0, 8, 0, 3, 1]), Ok(Progress::need(1)));
/// assert_eq!(framing.next_frame(&[0, 0, 0, 8, 0, 3, 1, 2, 9]), Ok(Progress::Frame { header: 0, body: 8 }));
/// assert!(framing.next_frame(&[0xff, 0, 0, 0]).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LengthPrefix {
    /// Width of the length field in bytes, 1 to 8.
    pub width: u8,
    /// Byte order of the length field.
    pub little_endian: bool,
    /// Added to the field's value to get the length of the whole frame: 0 where the field counts itself.
    pub adjust: usize,
    /// Smallest whole frame, in bytes. Smaller ones would make a reader loop for ever.
    pub min: usize,
    /// Largest whole frame, in bytes.
    pub max: usize,
}

impl LengthPrefix {
    /// The whole frame's length as announced by the length field, unchecked against the limits; `None` until the field
    /// is complete. Saturates at `u64::MAX`.
    pub fn announced(&self, unread: &[u8]) -> Option<u64> {
        let field = unread.get(..usize::from(self.width))?;
        let fold = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        let value =
            if self.little_endian { field.iter().rev().fold(0, fold) } else { field.iter().fold(0, fold) };
        Some(value.saturating_add(self.adjust as u64))
    }
}

impl Framing for LengthPrefix {
    #[inline]
    fn next_frame(&mut self, unread: &[u8]) -> Result<Progress, FrameError> {
        let Some(len) = self.announced(unread) else {
            return Ok(Progress::need(usize::from(self.width).saturating_sub(unread.len())));
        };
        // A length that does not fit the address space is too large, not wrapped.
        let body = usize::try_from(len).unwrap_or(usize::MAX);
        if body > self.max {
            return Err(FrameError::TooLarge { len, max: self.max });
        }
        if body < self.min.max(usize::from(self.width)) {
            return Err(FrameError::TooShort { len, min: self.min });
        }
        match body.checked_sub(unread.len()) {
            Some(missing) if missing > 0 => Ok(Progress::need(missing)),
            _ => Ok(Progress::Frame { header: 0, body }),
        }
    }

    fn check_len(&self, len: usize) -> Result<(), FrameError> {
        if len > self.max { Err(FrameError::TooLarge { len: len as u64, max: self.max }) } else { Ok(()) }
    }

    fn set_max(&mut self, max: usize) {
        self.max = max;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const U64: LengthPrefix = LengthPrefix { width: 8, little_endian: true, adjust: 8, min: 10, max: 100 };

    #[test]
    fn a_length_beyond_the_address_space_is_too_large_not_wrapped() {
        let mut framing = U64;
        assert_eq!(framing.next_frame(&[0xff; 8]), Err(FrameError::TooLarge { len: u64::MAX, max: 100 }));
    }

    #[test]
    fn need_more_never_asks_past_the_frame() {
        let mut framing = U64;
        let frame = [3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
        for cut in 0..8 {
            assert_eq!(framing.next_frame(frame.get(..cut).unwrap_or(&[])), Ok(Progress::need(8 - cut)));
        }
        assert_eq!(framing.next_frame(frame.get(..8).unwrap_or(&[])), Ok(Progress::need(3)));
        assert_eq!(framing.next_frame(&frame), Ok(Progress::Frame { header: 0, body: 11 }));
    }

    #[test]
    fn too_short_is_an_error_even_with_a_minimum_of_zero() {
        let mut framing = LengthPrefix { width: 4, little_endian: false, adjust: 0, min: 0, max: 100 };
        assert_eq!(framing.next_frame(&[0, 0, 0, 0]), Err(FrameError::TooShort { len: 0, min: 0 }));
    }

    #[test]
    fn a_datagram_over_the_limit_is_an_error() {
        let mut framing = Datagram { max: 3 };
        assert_eq!(framing.next_frame(&[1, 2, 3]), Ok(Progress::Frame { header: 0, body: 3 }));
        assert_eq!(framing.next_frame(&[0; 4]), Err(FrameError::TooLarge { len: 4, max: 3 }));
    }
}
