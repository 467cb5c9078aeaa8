use crate::Wire;
use voxwire_core::Datagram;

/// Dissonance has no framing: the host network hands over whole packets. Each is a frame.
pub type Framing = Datagram;

/// The framing that holds packets to the limit of `wire`.
pub const fn framing(wire: &Wire) -> Framing {
    Datagram { max: wire.limits.max_frame }
}
