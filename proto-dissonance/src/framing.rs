use voxwire_core::Datagram;

/// Dissonance has no framing: the host network hands over whole packets. Each is a frame.
pub type Framing = Datagram;
