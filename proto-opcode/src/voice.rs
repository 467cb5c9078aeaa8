//! The hot message: finding the data of a VoiceData packet without decoding anything else.

use crate::wire::{Head, VOICE_HEAD_LEN, VoiceHead, opcode};
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::{U16, U64};

/// The head of a VoiceData packet with `len` bytes of data.
#[inline]
pub(crate) fn head(len: usize) -> VoiceHead {
    let length = U64::new((len as u64).saturating_add(10));
    VoiceHead { head: Head { length, opcode: U16::new(opcode::VOICE_DATA) }, count: U64::new(len as u64) }
}

/// The data of a VoiceData packet, as a rule one Opus packet; `None` for any other packet. `frame` is one whole packet.
///
/// ```
/// let packet = [13, 0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0xfc, 0xff, 0xfe];
/// assert_eq!(voxwire_opcode::voice::data(&packet), Some(&[0xfc, 0xff, 0xfe][..]));
/// assert_eq!(voxwire_opcode::voice::data(&packet[..20]), None);
/// ```
#[inline]
pub fn data(frame: &[u8]) -> Option<&[u8]> {
    let (voice, data) = VoiceHead::ref_from_prefix(frame).ok()?;
    let whole = voice.head.length.get().checked_add(8)? == frame.len() as u64;
    let data = data.get(..usize::try_from(voice.count.get()).ok()?)?;
    (whole && voice.head.opcode.get() == opcode::VOICE_DATA).then_some(data)
}

/// The data of a VoiceData packet, to edit in place; `None` for any other packet.
pub fn data_mut(frame: &mut [u8]) -> Option<&mut [u8]> {
    let len = data(frame)?.len();
    frame.get_mut(VOICE_HEAD_LEN..VOICE_HEAD_LEN.saturating_add(len))
}
