//! Datagrams that are received and sent, many with one call.

use crate::tcp_udp::HEAD;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::AtomicBool;
use tokio::net::UdpSocket;

/// Datagrams of one call.
pub(crate) const BATCH: usize = 64;
/// Largest datagram of TCP + UDP received; longer ones are cut, and then no packets.
pub(super) const SIZE: usize = 2048;
/// Largest datagram received where there is nothing but UDP: what jumbo frames carry.
pub(super) const PLAIN_SIZE: usize = 9 * 1024;
/// A bound socket, as the calls of the system need it.
#[derive(Debug)]
pub(crate) struct Port {
    pub(super) socket: UdpSocket,
    pub(super) local: SocketAddr,
    /// Bound to a wildcard: the system tells at which of our addresses a datagram came in, and answers leave from there. Without
    /// that (Linux and Android have it) they leave from the address that the system chooses, which may be another one.
    pub(super) wildcard: bool,
    /// The system cuts one send into datagrams.
    pub(super) gso: AtomicBool,
}

/// Both ends of a datagram's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    /// Our address, where the socket has more than one and the system tells which.
    pub(crate) local: Option<IpAddr>,
}

impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// Datagrams received by one call.
pub(crate) struct Received {
    /// As many as one call fetches, one behind the other.
    pub(super) buffers: Box<[u8]>,
    pub(super) size: usize,
    /// Length of those that hold something, and where they come from.
    pub(super) filled: Vec<(usize, Path)>,
}

impl Received {
    /// Room for as many datagrams as one call fetches, of `size` bytes at most.
    pub(super) fn new(size: usize) -> Self {
        Self { buffers: vec![0; size.saturating_mul(BATCH)].into(), size, filled: Vec::with_capacity(BATCH) }
    }

    /// Room for datagrams of nothing but UDP.
    #[cfg(all(feature = "realtime", unix))]
    pub(crate) fn plain() -> Self {
        Self::new(PLAIN_SIZE)
    }

    /// Whether one call has fetched as many as it can: there may be more.
    #[cfg(all(feature = "realtime", unix))]
    pub(crate) fn is_full(&self) -> bool {
        self.filled.len() >= BATCH
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Path)> {
        self.filled
            .iter()
            .zip(self.buffers.chunks(self.size))
            .map(|((len, from), buffer)| (buffer.get(..*len).unwrap_or(&[]), *from))
    }
}

/// Where datagrams to one connection go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Index of the socket.
    pub(crate) socket: usize,
    /// Tells connections apart.
    pub(crate) slot: u32,
    pub(crate) to: Path,
    /// Before the frame, except where the session's datagrams are sent as they are.
    pub(crate) head: Option<[u8; HEAD]>,
}

impl Destination {
    pub(super) fn head(&self) -> &[u8] {
        self.head.as_ref().map_or(&[], |head| head)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Send {
    pub(super) destination: Destination,
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Send {
    /// Bytes of the datagram.
    pub(super) fn whole(&self) -> usize {
        self.len.saturating_add(self.destination.head().len())
    }

    pub(super) fn frame<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.start..self.start.saturating_add(self.len)).unwrap_or(&[])
    }
}
