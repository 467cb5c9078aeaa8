//! What a hub listens on.

use crate::Error;
use crate::gate::Gate;
use crate::udp::Udp;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use tokio::net::TcpListener;
use voxwire_core::Framing;

/// Whether a client with this token, from this address, may come in.
pub(crate) type Admission = std::sync::Arc<dyn Fn(&[u8], SocketAddr) -> bool + Send + Sync>;

/// The bound socket.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(TcpListener),
    /// Plain UDP: the socket is among the UDP sockets of the listener.
    Udp(SocketAddr),
    #[cfg(feature = "quic")]
    Quic(Box<crate::quic::QuicListener>),
}

/// A bound socket for a [`Hub`](crate::Hub): TCP, plain or with TLS, alone or with a UDP socket beside it; UDP alone; or QUIC.
pub struct Listener {
    pub(crate) socket: Bound,
    /// The UDP sockets, all at one address; none on TCP alone and on QUIC.
    pub(crate) udp: Vec<Udp>,
    /// The byte stream carries hellos and units (`PROTOCOL.md`).
    pub(crate) units: bool,
    pub(crate) admission: Option<Admission>,
    pub(crate) gate: Option<Gate>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tokio_rustls::TlsAcceptor>,
}

impl Listener {
    /// Binds the first of `ports` that is free. Returns the listener and its port.
    pub(crate) fn bind_first(ip: IpAddr, ports: impl Iterator<Item = u16>) -> io::Result<(Self, u16)> {
        let mut last = io::Error::other("no port is allowed");
        for port in ports {
            match Self::bind(SocketAddr::new(ip, port)) {
                Ok(listener) => {
                    let port = listener.local_addr()?.port();
                    return Ok((listener, port));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Binds `address`; port 0 takes any free port. An IPv6 wildcard also serves IPv4 where the system's default says so.
    ///
    /// # Errors
    /// The system's: the port is in use, the address is not ours, permission is lacking.
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without I/O (`Builder::enable_all`). So do all that bind.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Otherwise a restarted server waits a minute for its port. (On Windows the option means something else.)
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(Self {
            socket: Bound::Tcp(TcpListener::from_std(socket.into())?),
            udp: Vec::new(),
            units: false,
            admission: None,
            gate: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Binds `address` for TCP + UDP ([`protocol`](crate::protocol)): reliable frames go by TCP, droppable ones by UDP. Port 0 takes any port
    /// that is free for both.
    ///
    /// On the TCP side each end first sends a *hello*, the client's with its token. Then each frame is a *unit*: a length, a kind, the frame.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_tcp_udp(address: SocketAddr) -> io::Result<Self> {
        let mut last = io::Error::other("no port is free for both");
        for _ in 0..16 {
            let tcp = Self::bind(address)?;
            let udp = SocketAddr::new(address.ip(), tcp.local_addr()?.port());
            match Udp::bind(udp) {
                Ok(udp) => return Ok(Self { udp: vec![udp], units: true, ..tcp }),
                Err(error) if address.port() == 0 => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// As [`bind_tcp_udp`](Self::bind_tcp_udp), without the UDP side: all frames go by TCP, in units. No client learns the address of another one
    /// for a direct path. With [`with_tls`](Self::with_tls) nothing goes in the clear.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_tcp_units(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { units: true, ..Self::bind(address)? })
    }

    /// Binds `address` for plain UDP: datagrams of the session, of 9 KiB at most. Each source is a peer, known by its address. New sources are
    /// remembered in a table of fixed size, in which they displace each other. Sources that the session validates
    /// ([`Output::Validate`](voxwire_core::Output::Validate)) are kept apart. For servers and for clients alike.
    ///
    /// A socket that is to hear broadcasts has to be bound to the wildcard address.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_udp(address: SocketAddr) -> io::Result<Self> {
        Self::bind_plain(address, None)
    }

    /// As [`bind_udp`](Self::bind_udp), on one network interface alone (Linux). So a socket that is bound to the wildcard address is closed to
    /// other networks.
    ///
    /// # Errors
    /// The system's. On other systems than Linux that it is not supported.
    pub fn bind_udp_on(address: SocketAddr, device: &str) -> io::Result<Self> {
        Self::bind_plain(address, Some(device))
    }

    fn bind_plain(address: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        let udp = Udp::bind_plain(address, device)?;
        Ok(Self {
            socket: Bound::Udp(udp.local_addr()),
            udp: vec![udp],
            units: false,
            admission: None,
            gate: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// The same socket, which sends each broadcast of the session ([`Output::Broadcast`](voxwire_core::Output::Broadcast)) to all of these
    /// addresses. They are broadcast addresses of networks, or addresses of hosts.
    ///
    /// # Errors
    /// The system's. [`InvalidInput`](io::ErrorKind::InvalidInput) unless the listener is of [`bind_udp`](Self::bind_udp) or
    /// [`bind_udp_on`](Self::bind_udp_on).
    pub fn with_broadcast(mut self, to: Vec<SocketAddr>) -> io::Result<Self> {
        match self.udp.first_mut() {
            Some(udp) if udp.is_plain() => udp.set_broadcast(to)?,
            _ => return Err(self.unsuitable("sends no broadcasts: bind it with `Listener::bind_udp`")),
        }
        Ok(self)
    }

    /// The same address, with so many UDP sockets in all (Linux). A hub receives on each of them in a task of its own, so that several cores
    /// receive, check and send datagrams. The session still handles one input at a time. On other systems, and without a UDP side, nothing
    /// changes.
    ///
    /// All datagrams of one address and port come in on one socket. So each speaker's datagrams stay in order.
    ///
    /// Not for a listener that is to hear broadcasts: each of the sockets would hear each broadcast.
    ///
    /// # Errors
    /// The system's: it has no descriptors left.
    pub fn with_udp_sockets(mut self, sockets: usize) -> io::Result<Self> {
        if let Some(first) =
            self.udp.first().filter(|_| cfg!(any(target_os = "linux", target_os = "android")))
        {
            let missing = self.udp.len()..sockets;
            let more: io::Result<Vec<Udp>> = missing.map(|_| first.twin()).collect();
            self.udp.extend(more?);
        }
        Ok(self)
    }

    /// Binds `address` for QUIC, with the certificate of `config`. Everything is encrypted. Droppable frames go in QUIC datagrams. Reliable ones
    /// go over a stream, which carries the same bytes as the TCP side of [`bind_tcp_udp`](Self::bind_tcp_udp).
    ///
    /// # Errors
    /// The system's. That of TLS if `config` has not the cipher suite that QUIC begins with (`TLS13_AES_128_GCM_SHA256`).
    #[cfg(feature = "quic")]
    pub fn bind_quic(
        address: SocketAddr,
        config: &std::sync::Arc<tokio_rustls::rustls::ServerConfig>,
    ) -> io::Result<Self> {
        let socket = Bound::Quic(Box::new(crate::quic::QuicListener::bind(address, config)?));
        Ok(Self { socket, udp: Vec::new(), units: false, admission: None, gate: None, tls: None })
    }

    /// The same socket, for clients only whose token `admits` accepts. The token is the part of the client's hello that
    /// [`Remote::token`](crate::Remote::token) sets. `admits` gets the client's address as well. [Who may come in](crate#who-may-come-in)
    /// compares this with other gates.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for plain TCP and for plain UDP, where clients send no hello.
    pub fn with_admission(
        self,
        admits: impl Fn(&[u8], SocketAddr) -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        if !self.has_hello() {
            return Err(self.unsuitable(
                "asks for no token: bind it with `Listener::bind_tcp_udp`, `bind_tcp_units` or `bind_quic`",
            ));
        }
        Ok(Self { admission: Some(std::sync::Arc::new(admits)), ..self })
    }

    /// The same socket, closed to addresses that `lets_in` refuses. Their connections are closed, and their datagrams dropped. `lets_in` is called
    /// for every connection, before anything is done for it and once more after its handshakes, and for every datagram of plain UDP, so it
    /// has to be quick. Ports that the session opens have the gate of the hub's first listener. It gets IPv4 addresses as such, and never
    /// mapped to IPv6. [Who may come in](crate#who-may-come-in) compares this with other gates.
    #[must_use]
    pub fn with_gate(mut self, lets_in: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        let gate = Gate::new(lets_in);
        for udp in &mut self.udp {
            udp.gate = Some(gate.clone());
        }
        Self { gate: Some(gate), ..self }
    }

    /// Whether an address may come in.
    pub(crate) fn lets_in(&self, from: SocketAddr) -> bool {
        self.gate.as_ref().is_none_or(|gate| gate.lets_in(from.ip()))
    }

    /// The address bound.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Bound::Tcp(socket) => socket.local_addr(),
            Bound::Udp(address) => Ok(*address),
            #[cfg(feature = "quic")]
            Bound::Quic(quic) => quic.endpoint.local_addr(),
        }
    }

    /// The same listener, with TLS on its TCP side. **Frames by UDP stay in the clear**: take [`bind_tcp_units`](Self::bind_tcp_units) or QUIC to
    /// encrypt all.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for plain UDP, and for QUIC, which has TLS of its own.
    #[cfg(feature = "tls")]
    pub fn with_tls(self, config: std::sync::Arc<tokio_rustls::rustls::ServerConfig>) -> io::Result<Self> {
        match &self.socket {
            Bound::Tcp(_) => Ok(Self { tls: Some(config.into()), ..self }),
            Bound::Udp(_) => Err(self.unsuitable(
                "cannot speak TLS: bind it with `Listener::bind`, `bind_tcp_udp` or `bind_tcp_units`, or use `bind_quic`",
            )),
            #[cfg(feature = "quic")]
            Bound::Quic(_) => Err(self.unsuitable("has the TLS that it was bound with: leave `with_tls` out")),
        }
    }

    /// Whether clients begin with a hello.
    const fn has_hello(&self) -> bool {
        match &self.socket {
            Bound::Tcp(_) => self.units,
            Bound::Udp(_) => false,
            #[cfg(feature = "quic")]
            Bound::Quic(_) => true,
        }
    }

    fn unsuitable(&self, why: &str) -> io::Error {
        let message = match self.local_addr() {
            Ok(address) => format!("the listener at {address} {why}"),
            Err(_) => format!("this listener {why}"),
        };
        io::Error::new(io::ErrorKind::InvalidInput, message)
    }

    /// Whether the frames of a session can go by this listener.
    pub(crate) fn check(&self, framing: &impl Framing) -> Result<(), Error> {
        let why = match (&self.socket, framing.is_stream()) {
            (Bound::Udp(_), true) => {
                "its frames lie in a byte stream, which datagrams do not keep whole: bind with `Listener::bind`"
            }
            (Bound::Tcp(_), false) if !self.units => {
                "its frames are datagrams, which plain TCP does not keep apart: bind with `Listener::bind_tcp_udp`, `bind_tcp_units`, \
                 `bind_quic` or `bind_udp`"
            }
            _ if self.has_hello() && !framing.is_ready() => {
                "its frames begin with a handshake on a byte stream, which TCP + UDP and QUIC do not carry: bind with `Listener::bind`"
            }
            _ => return Ok(()),
        };
        Err(Error::WrongListener { address: self.local_addr()?, why })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// Whether a connection could not be accepted for want of descriptors or memory.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    // ENOMEM, ENFILE and EMFILE are these on Unix; ENOBUFS has a number of its own on each.
    cfg!(unix) && matches!(error.raw_os_error(), Some(12 | 23 | 24 | 55 | 105))
}

/// Whether the error concerns only the connection that was to be accepted.
pub(crate) fn is_its_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
