//! The hot message: finding a Data packet's audio without decoding anything else, and editing it in place.

use crate::wire::{HEAD_LEN, kind};
use crate::{ByteOrder, Format};

/// The head of a Data packet with `len` bytes of audio, which are at most 4 GiB less 7.
#[inline]
pub fn head(len: usize, order: ByteOrder) -> [u8; HEAD_LEN] {
    let length = u32::try_from(len.saturating_add(HEAD_LEN)).unwrap_or(u32::MAX);
    let ([a, b, c, d], [e, f]) = match order {
        ByteOrder::BigEndian => (length.to_be_bytes(), kind::DATA.to_be_bytes()),
        ByteOrder::LittleEndian => (length.to_le_bytes(), kind::DATA.to_le_bytes()),
    };
    [a, b, c, d, e, f]
}

/// The audio of a Data packet; `None` for any other packet. `frame` is one whole packet.
#[inline]
pub fn data(frame: &[u8], order: ByteOrder) -> Option<&[u8]> {
    let (head, data) = frame.split_first_chunk::<HEAD_LEN>()?;
    let [a, b, c, d, e, f] = *head;
    let (length, kind) = match order {
        ByteOrder::BigEndian => (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f])),
        ByteOrder::LittleEndian => (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f])),
    };
    (kind == kind::DATA && length as usize == frame.len()).then_some(data)
}

/// The Message Type of a packet, even if the rest is wrong.
pub(crate) fn kind(frame: &[u8], order: ByteOrder) -> Option<u16> {
    let (_, rest) = frame.split_first_chunk::<4>()?;
    let kind = rest.first_chunk::<2>()?;
    Some(match order {
        ByteOrder::BigEndian => u16::from_be_bytes(*kind),
        ByteOrder::LittleEndian => u16::from_le_bytes(*kind),
    })
}

/// The audio of a Data packet, to edit in place; `None` for any other packet.
pub fn data_mut(frame: &mut [u8], order: ByteOrder) -> Option<&mut [u8]> {
    data(frame, order)?;
    frame.get_mut(HEAD_LEN..)
}

/// Reverses the bytes of every sample, in place; what is left at the end of `data` stays. Formats of one byte are left
/// alone.
///
/// ```
/// use voxwire_voicelink::{Format, voice::swap_samples};
/// let mut data = [1, 2, 3, 4, 5];
/// swap_samples(&mut data, Format::I16);
/// assert_eq!(data, [2, 1, 4, 3, 5]);
/// ```
pub fn swap_samples(data: &mut [u8], format: Format) {
    match format.sample_size() {
        2 => data.chunks_exact_mut(2).for_each(|sample| sample.reverse()),
        4 => data.chunks_exact_mut(4).for_each(|sample| sample.reverse()),
        _ => {}
    }
}
