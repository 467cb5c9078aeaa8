use voxwire_core::Datagram;

/// syfala has no framing: each datagram is a message.
pub type Framing = Datagram;
