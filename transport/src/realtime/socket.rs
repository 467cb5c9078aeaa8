//! A UDP socket that belongs to no runtime.

use crate::udp::{self, Path, Received};
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::io::{self, IoSlice};
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};

/// A bound socket for a [`Driver`](super::Driver): the session's own datagrams, of 9 KiB at most. Each source is a peer, known by its
/// address.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    local: SocketAddr,
    wildcard: bool,
    /// Whether the system cuts one send into datagrams (GSO).
    segments: AtomicBool,
    broadcast: Vec<SocketAddr>,
}

impl Socket {
    /// Binds `address`; port 0 takes any free port. A socket that is to hear broadcasts has to be bound to the wildcard address.
    ///
    /// # Errors
    /// The system's: the port is in use, the address is not ours, permission is lacking.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_to(address, None)
    }

    /// As [`bind`](Self::bind), on one network interface alone (Linux).
    ///
    /// # Errors
    /// The system's; elsewhere that it cannot be done.
    pub fn bind_on(address: SocketAddr, device: &str) -> io::Result<Self> {
        Self::bind_to(address, Some(device))
    }

    fn bind_to(address: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        let socket = udp::bind(address, device)?;
        let wildcard = address.ip().is_unspecified();
        if wildcard {
            udp::tell_addresses(&socket, address.is_ipv6())?;
        }
        let segments = AtomicBool::new(udp::can_segment(&socket));
        let socket = UdpSocket::from(socket);
        Ok(Self { local: socket.local_addr()?, socket, wildcard, segments, broadcast: Vec::new() })
    }

    /// The same socket, which sends each broadcast of the session to all of these addresses: broadcast addresses of networks, or addresses of hosts.
    ///
    /// # Errors
    /// The system's.
    pub fn with_broadcast(self, to: Vec<SocketAddr>) -> io::Result<Self> {
        self.socket.set_broadcast(true)?;
        let v6 = self.local.is_ipv6();
        let as_ours = |to: SocketAddr| match to {
            // A socket for both families has mapped addresses for IPv4.
            SocketAddr::V4(v4) if v6 => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
            to => to,
        };
        Ok(Self { broadcast: to.into_iter().map(as_ours).collect(), ..self })
    }

    /// The address bound.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Receives what waits. `WouldBlock` if nothing does.
    pub(super) fn receive(&self, received: &mut Received) -> io::Result<()> {
        udp::fetch(&self.socket, (self.local.is_ipv6(), self.wildcard), received)
    }

    /// Sends datagrams to one destination, all as long as the first but for a last one that may be shorter: with one call where the
    /// system can. Returns how many could not be sent.
    pub(super) fn send(&self, run: &[IoSlice<'_>], to: Path) -> u64 {
        let v6 = self.local.is_ipv6();
        if let ([first, _, ..], true) = (run, self.segments.load(Relaxed)) {
            let size = u16::try_from(first.len()).ok();
            match size.map(|size| udp::send_slices(&self.socket, run, Some(size), to, v6)) {
                Some(Ok(())) => return 0,
                Some(Err(error)) if udp::cannot_segment(&error, to) => self.segments.store(false, Relaxed),
                // The send buffer is full. A sound callback does not try each datagram once more: what is late is worth nothing.
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return run.len() as u64,
                _ => {}
            }
        }
        let alone = |datagram: &IoSlice<'_>| {
            let datagram = core::slice::from_ref(datagram);
            let sent = udp::send_slices(&self.socket, datagram, None, to, v6);
            // The local address may not be ours any more, or may be a broadcast address.
            sent.or_else(|error| match to.local {
                Some(_) => udp::send_slices(&self.socket, datagram, None, to.remote.into(), v6),
                None => Err(error),
            })
        };
        run.iter().map(|datagram| u64::from(alone(datagram).is_err())).fold(0, u64::saturating_add)
    }

    /// Sends a broadcast to all of its addresses. Returns how many times that failed.
    pub(super) fn broadcast(&self, datagram: &[u8]) -> u64 {
        let datagram = [IoSlice::new(datagram)];
        self.broadcast.iter().map(|to| self.send(&datagram, (*to).into())).fold(0, u64::saturating_add)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
