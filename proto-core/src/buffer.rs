use crate::{FrameError, Framing, Progress};
use alloc::vec::Vec;
use core::{num::NonZeroUsize, ops::Range};

/// A contiguous read buffer for one byte stream: bytes come in at [`spare`](Self::spare), frames go out of
/// [`next_frame`](Self::next_frame).
///
/// Grows to the largest frame seen and keeps its capacity; memory is zeroed once, when it is added.
///
/// ```
/// use voxwire_core::{Cut, FrameBuf, LengthPrefix};
/// let mut framing = LengthPrefix { width: 1, little_endian: false, adjust: 1, min: 1, max: 9 };
/// let mut buffer = FrameBuf::new();
/// let bytes = [2, b'h', b'i', 1];
/// buffer.spare(bytes.len())[..4].copy_from_slice(&bytes);
/// buffer.filled(4);
/// let Ok(Cut::Frame(range)) = buffer.next_frame(&mut framing) else { panic!() };
/// assert_eq!(buffer.frame(range), b"\x02hi");
/// assert!(matches!(buffer.next_frame(&mut framing), Ok(Cut::NeedMore(_))));
/// ```
#[derive(Debug, Default)]
pub struct FrameBuf {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    skipped: u32,
}

/// What [`FrameBuf::next_frame`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// A frame; its bytes are [`FrameBuf::frame`] of this range until `spare` is called next.
    Frame(Range<usize>),
    /// No whole frame is left; at least this many more bytes are needed.
    NeedMore(NonZeroUsize),
}

impl FrameBuf {
    /// An empty buffer that owns no memory yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0, skipped: 0 }
    }

    /// The bytes received and not yet consumed.
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// Whether nothing is left unread: the buffer may be lent to another connection.
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room for at least `at_least` more bytes; all that is free is returned. Moves or grows the memory if needed.
    pub fn spare(&mut self, at_least: usize) -> &mut [u8] {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
        if self.bytes.len().saturating_sub(self.end) < at_least {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
            let needed = self.end.saturating_add(at_least);
            if self.bytes.len() < needed {
                // No more than is asked for: the caller bounds that.
                self.bytes.reserve_exact(needed.saturating_sub(self.bytes.len()));
                self.bytes.resize(needed, 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or(&mut [])
    }

    /// Says that `n` bytes of the last [`spare`](Self::spare) now hold input.
    pub fn filled(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.bytes.len());
    }

    /// Drops the first `n` unread bytes.
    pub fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }

    /// Finds the next frame, drops it from the unread bytes and returns where it lies. Empty frames are not returned.
    ///
    /// # Errors
    /// Those of [`Framing::next_frame`].
    pub fn next_frame(&mut self, framing: &mut impl Framing) -> Result<Cut, FrameError> {
        loop {
            match framing.next_frame(self.unread())? {
                Progress::NeedMore(n) => return Ok(Cut::NeedMore(n)),
                Progress::Skip(n) => {
                    self.skipped = self.skipped.saturating_add(1);
                    self.consume(n.get());
                }
                // A framing that takes all unread bytes as one frame would find an empty frame at each call.
                Progress::Frame { header: 0, body: 0 } => return Ok(Cut::NeedMore(NonZeroUsize::MIN)),
                Progress::Frame { header, body } => {
                    let from = self.start.saturating_add(header).min(self.end);
                    let to = from.saturating_add(body).min(self.end);
                    self.start = to;
                    return Ok(Cut::Frame(from..to));
                }
            }
        }
    }

    /// How often [`next_frame`](Self::next_frame) has skipped bytes since the last call. That costs time, as frames do.
    pub const fn take_skipped(&mut self) -> u32 {
        core::mem::replace(&mut self.skipped, 0)
    }

    /// The bytes of a frame found by [`next_frame`](Self::next_frame).
    pub fn frame(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or(&[])
    }

    /// Memory held, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives memory beyond `keep` bytes back, if nothing is unread.
    pub fn shrink_to(&mut self, keep: usize) {
        if self.is_empty() && self.bytes.len() > keep {
            self.start = 0;
            self.end = 0;
            self.bytes.truncate(keep);
            self.bytes.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LengthPrefix;

    #[test]
    fn memory_is_reused_and_grows_only_for_larger_frames() {
        let mut framing = LengthPrefix { width: 2, little_endian: false, adjust: 0, min: 2, max: 4096 };
        let mut buffer = FrameBuf::new();
        for round in 0..1000 {
            let mut frame = [0; 300];
            frame[..2].copy_from_slice(&300u16.to_be_bytes());
            for half in frame.chunks(150) {
                let spare = buffer.spare(150);
                spare[..150].copy_from_slice(half);
                buffer.filled(150);
                match buffer.next_frame(&mut framing) {
                    Ok(Cut::Frame(range)) => assert_eq!(buffer.frame(range), &frame),
                    other => {
                        assert_eq!(other, Ok(Cut::NeedMore(NonZeroUsize::new(150).unwrap())), "round {round}")
                    }
                }
            }
        }
        assert!(buffer.is_empty());
        assert!(buffer.capacity() <= 600, "{}", buffer.capacity());
        buffer.shrink_to(0);
        assert_eq!(buffer.capacity(), 0);
    }

    /// D-07: a framing that takes all there is as one frame finds none where nothing has come in, however often it is asked.
    #[test]
    fn d_07_nothing_is_no_frame() {
        let mut framing = crate::Datagram { max: 8 };
        let mut buffer = FrameBuf::new();
        assert_eq!(buffer.next_frame(&mut framing), Ok(Cut::NeedMore(NonZeroUsize::MIN)));
        buffer.spare(2)[..2].copy_from_slice(b"hi");
        buffer.filled(2);
        assert_eq!(buffer.next_frame(&mut framing), Ok(Cut::Frame(0..2)));
        assert_eq!(buffer.frame(0..2), b"hi");
        assert_eq!(buffer.next_frame(&mut framing), Ok(Cut::NeedMore(NonZeroUsize::MIN)));
    }

    #[test]
    fn filled_and_consume_never_pass_the_memory() {
        let mut buffer = FrameBuf::new();
        buffer.filled(10);
        assert!(buffer.is_empty());
        assert!(buffer.spare(4).len() >= 4);
        buffer.filled(usize::MAX);
        buffer.consume(usize::MAX);
        assert!(buffer.is_empty());
    }
}
