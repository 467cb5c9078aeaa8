//! UDP sockets.

use super::datagram::{PLAIN_SIZE, Port, Received, SIZE};
use super::system;
use crate::gate::Gate;
use core::net::SocketAddr;
use core::sync::atomic::AtomicBool;
use core::task::{Context, Poll, ready};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use tokio::net::UdpSocket;

/// Bytes that are asked of the system for its buffers. It may give less.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Binds `address`, on one interface alone if it is named.
pub(crate) fn bind(address: SocketAddr, device: Option<&str>) -> io::Result<Socket> {
    bind_with(address, |socket| {
        let Some(name) = device else { return Ok(()) };
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return socket.bind_device(Some(name.as_bytes()));
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("cannot bind {socket:?} to {name}")));
    })
}

/// Binds `address` once `prepare` has set what has to be set before.
fn bind_with(address: SocketAddr, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Bursts of many speakers come in faster than they are read. A smaller buffer is no error.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    prepare(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Udp {
    pub(super) port: Port,
    /// Whether the datagrams are the session's own (plain UDP).
    plain: bool,
    /// Where the session's broadcasts are sent to.
    pub(crate) broadcast: Vec<SocketAddr>,
    /// Who may become a peer of plain UDP; `None` for every source.
    pub(crate) gate: Option<Gate>,
    /// The index of the first socket at this address. It stands for all sockets there.
    pub(crate) group: usize,
}

impl Udp {
    /// Binds `address`.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_on(address, None)
    }

    /// Binds `address`, on one interface alone if it is named. Nothing is received on others, not even at first.
    fn bind_on(address: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        Self::of(bind(address, device)?, address)
    }

    fn of(socket: Socket, address: SocketAddr) -> io::Result<Self> {
        let gso = AtomicBool::new(system::can_segment(&socket));
        let wildcard = address.ip().is_unspecified();
        if wildcard {
            system::tell_addresses(&socket, address.is_ipv6())?;
        }
        let socket = UdpSocket::from_std(socket.into())?;
        let local = socket.local_addr()?;
        let port = Port { socket, local, wildcard, gso };
        Ok(Self { port, plain: false, broadcast: Vec::new(), gate: None, group: 0 })
    }

    /// Binds `address` for a session's own datagrams.
    pub(crate) fn bind_plain(address: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        Ok(Self { plain: true, ..Self::bind_on(address, device)? })
    }

    /// Another socket at the same address (SO_REUSEPORT). The system gives all datagrams of one source to one of the sockets. The first socket was
    /// bound without that option, so binding failed if another program had the port.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn twin(&self) -> io::Result<Self> {
        let first = SockRef::from(&self.port.socket);
        first.set_reuse_port(true)?;
        let device = first.device()?;
        let socket = bind_with(self.port.local, |socket| {
            if device.is_some() {
                socket.bind_device(device.as_deref())?;
            }
            if self.port.local.is_ipv6() {
                socket.set_only_v6(first.only_v6()?)?;
            }
            socket.set_broadcast(first.broadcast()?)?;
            socket.set_reuse_port(true)
        })?;
        Ok(Self { plain: self.plain, gate: self.gate.clone(), ..Self::of(socket, self.port.local)? })
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn twin(&self) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sets where the session's broadcasts are sent to.
    pub(crate) fn set_broadcast(&mut self, to: Vec<SocketAddr>) -> io::Result<()> {
        self.port.socket.set_broadcast(true)?;
        self.broadcast = to;
        Ok(())
    }

    pub(crate) const fn is_plain(&self) -> bool {
        self.plain
    }

    /// Buffers for what one call receives on this socket.
    pub(crate) fn buffers(&self) -> Received {
        Received::new(if self.plain { PLAIN_SIZE } else { SIZE })
    }

    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.port.local
    }

    /// Waits until the socket is registered for sending: before that nothing can be sent.
    pub(crate) fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.port.socket.poll_send_ready(cx)
    }

    /// Whether a datagram waits to be received, as the system sees it.
    pub(crate) fn has_waiting(&self) -> bool {
        SockRef::from(&self.port.socket).peek(&mut [core::mem::MaybeUninit::uninit()]).is_ok()
    }

    /// Waits for datagrams; fills `received` with at least one.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>, received: &mut Received) -> Poll<io::Result<()>> {
        loop {
            ready!(self.port.socket.poll_recv_ready(cx))?;
            match system::recv(&self.port, received) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // This concerns a datagram that was sent earlier.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => return Poll::Ready(Ok(())),
            }
        }
    }
}
