use crate::Wire;
use voxwire_core::Datagram;

/// syfala has no framing: each datagram is a message.
pub type Framing = Datagram;

/// The framing that holds datagrams to the limit of `wire`.
pub(crate) const fn framing(wire: &Wire) -> Framing {
    Datagram { max: wire.limits.max_frame }
}
