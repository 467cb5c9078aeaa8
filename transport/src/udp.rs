//! UDP sockets that receive and send many datagrams with one call, where the system can.

mod batch;
mod datagram;
mod socket;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "udp/linux.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "udp/other.rs"]
mod system;
#[cfg(test)]
mod tests;

pub(crate) use batch::DatagramBatch;
pub(crate) use datagram::{Destination, Path, Received};
pub(crate) use socket::Udp;
#[cfg(any(feature = "quic", all(feature = "realtime", unix)))]
pub(crate) use socket::bind;
#[cfg(all(feature = "realtime", unix))]
pub(crate) use system::{can_segment, cannot_segment, fetch, send_slices, tell_addresses};
