/// Cuts opcode's byte stream into packets: a little-endian u64 that counts what follows it, opcode and body.
///
/// What is too long, or too short to hold an opcode, is refused by its length alone, before anything is buffered.
pub type Framing = voxwire_core::LengthPrefix;
