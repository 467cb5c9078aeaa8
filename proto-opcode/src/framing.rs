use crate::wire::HEAD_LEN;

/// Cuts opcode's byte stream into packets: a little-endian u64 that counts what follows it, opcode and body.
///
/// What is too long, or too short to hold an opcode, is refused by its length alone, before anything is buffered.
pub type Framing = voxwire_core::LengthPrefix;

/// The framing of packets of at most `max_frame` bytes, the length included.
pub(crate) const fn framing(max_frame: usize) -> Framing {
    Framing { width: 8, little_endian: true, adjust: 8, min: HEAD_LEN, max: max_frame }
}
