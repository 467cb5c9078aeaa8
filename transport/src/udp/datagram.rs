//! Datagrams that are received and sent, several with one call.

use crate::tcp_udp::HEAD;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::AtomicBool;
use tokio::net::UdpSocket;

/// Datagrams of one call.
pub(crate) const BATCH: usize = 64;
/// The largest datagram of TCP + UDP that is received. Longer ones are cut off, and ignored.
pub(super) const SIZE: usize = 2048;
/// The largest datagram of plain UDP that is received: what jumbo frames carry.
pub(super) const PLAIN_SIZE: usize = 9 * 1024;
/// A bound socket, with what the system calls need.
#[derive(Debug)]
pub(crate) struct Port {
    pub(super) socket: UdpSocket,
    pub(super) local: SocketAddr,
    /// Whether it is bound to a wildcard address. On Linux and Android the system then tells the local address of each datagram, and answers leave
    /// from that address. On other systems they leave from an address that the system chooses.
    pub(super) wildcard: bool,
    /// Whether the system cuts one send into datagrams (GSO).
    pub(super) gso: AtomicBool,
}

/// The addresses of both ends of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    /// The local address, where the socket has several and the system tells which.
    pub(crate) local: Option<IpAddr>,
}

impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// Datagrams received by one call.
pub(crate) struct Received {
    /// Buffers for one call, one behind the other.
    pub(super) buffers: Box<[u8]>,
    pub(super) size: usize,
    /// The length of each datagram, and where it came from.
    pub(super) filled: Vec<(usize, Path)>,
}

impl Received {
    /// Buffers for one call, of `size` bytes each.
    pub(super) fn new(size: usize) -> Self {
        Self { buffers: vec![0; size.saturating_mul(BATCH)].into(), size, filled: Vec::with_capacity(BATCH) }
    }

    /// Buffers for datagrams of plain UDP.
    #[cfg(all(feature = "realtime", unix))]
    pub(crate) fn plain() -> Self {
        Self::new(PLAIN_SIZE)
    }

    /// Whether the call has filled all buffers, so that there may be more datagrams.
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

/// The destination of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Index of the socket.
    pub(crate) socket: usize,
    /// The peer's slot: tells destinations apart.
    pub(crate) slot: u32,
    pub(crate) to: Path,
    /// The head before the frame; `None` on plain UDP.
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
