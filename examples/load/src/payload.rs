//! What a voice frame carries: who said it, when, and enough to see that it came as it was sent.
//!
//! ```text
//! offset  length
//!      0       8  when it was due, in nanoseconds of the monotonic clock
//!      8       8  when it was sent
//!     16       4  who says it
//!     20       4  its number among that user's frames
//!     24          bytes that follow from the 24 before
//! ```

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) due: u64,
    pub(crate) sent: u64,
    pub(crate) speaker: u32,
    pub(crate) sequence: u32,
}

/// Bytes of a head.
const HEAD: usize = 24;
/// The shortest frame: a head, and 8 bytes that show that it came as it was sent.
pub(crate) const MIN_BYTES: usize = HEAD + 8;

impl Stamp {
    /// Fills `frame`, which has at least [`MIN_BYTES`].
    pub(crate) fn write(&self, frame: &mut [u8]) {
        let mut head = [0; HEAD];
        let (due, rest) = head.split_at_mut(8);
        let (sent, rest) = rest.split_at_mut(8);
        let (speaker, sequence) = rest.split_at_mut(4);
        due.copy_from_slice(&self.due.to_le_bytes());
        sent.copy_from_slice(&self.sent.to_le_bytes());
        speaker.copy_from_slice(&self.speaker.to_le_bytes());
        sequence.copy_from_slice(&self.sequence.to_le_bytes());
        let bytes = head.into_iter().chain(self.pattern());
        frame.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    }

    /// The head of a frame that came as it was sent.
    pub(crate) fn read(frame: &[u8]) -> Option<Self> {
        let (due, rest) = frame.split_first_chunk()?;
        let (sent, rest) = rest.split_first_chunk()?;
        let (speaker, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let stamp = Self {
            due: u64::from_le_bytes(*due),
            sent: u64::from_le_bytes(*sent),
            speaker: u32::from_le_bytes(*speaker),
            sequence: u32::from_le_bytes(*sequence),
        };
        (rest.len() >= MIN_BYTES - HEAD && rest.iter().copied().eq(stamp.pattern().take(rest.len())))
            .then_some(stamp)
    }

    /// Bytes that differ from frame to frame: SplitMix64.
    fn pattern(&self) -> impl Iterator<Item = u8> {
        let mut state = self.due ^ self.sent.rotate_left(32);
        state ^=
            (u64::from(self.speaker) << 32 | u64::from(self.sequence)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        core::iter::repeat_with(move || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)).to_le_bytes()
        })
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_with_one_bit_changed_is_not_read() {
        let stamp = Stamp { due: 1, sent: 2, speaker: 3, sequence: 4 };
        for len in [MIN_BYTES, MIN_BYTES + 5, 900] {
            let mut frame = vec![0; len];
            stamp.write(&mut frame);
            assert_eq!(Stamp::read(&frame), Some(stamp));
            for bit in 0..len * 8 {
                frame[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Stamp::read(&frame), None, "bit {bit} of {len} bytes");
                frame[bit / 8] ^= 1 << (bit % 8);
            }
            assert_eq!(Stamp::read(&frame[..MIN_BYTES - 1]), None);
        }
    }
}
