//! Every socket comes through here, so that a simulated network can take tokio's place.

use crate::Error;
use crate::grace::{EXCUSE, LATE};
use crate::udp::Udp;
use core::fmt;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io::{self, IoSlice};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
pub(crate) use tokio::net::{TcpListener, TcpStream};
use voxwire_core::{Clock, Instant};

/// Says whether a token, and the address that it came from, may come in.
pub(crate) type Admission = std::sync::Arc<dyn Fn(&[u8], SocketAddr) -> bool + Send + Sync>;

/// What listens.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(TcpListener),
    /// Only the UDP socket beside it.
    Udp(SocketAddr),
    #[cfg(feature = "quic")]
    Quic(Box<crate::quic::QuicListener>),
}

/// A bound socket for a [`Hub`](crate::Hub): TCP, plain or with TLS, alone or with a UDP socket beside it; UDP alone; or QUIC.
pub struct Listener {
    pub(crate) socket: Bound,
    /// The UDP side, where there is one.
    pub(crate) udp: Option<Udp>,
    /// Speaks in units, after a hello.
    pub(crate) units: bool,
    pub(crate) admission: Option<Admission>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tokio_rustls::TlsAcceptor>,
}

impl Listener {
    /// Binds `address`; port 0 takes any free port. An IPv6 wildcard also serves IPv4 where the system's default says so.
    ///
    /// # Errors
    /// The system's: the port is in use, the address is not ours, permission is lacking. Also outside a tokio runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Or a restarted server would wait a minute for its port. (On Windows the option means something else.)
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(Self {
            socket: Bound::Tcp(TcpListener::from_std(socket.into())?),
            udp: None,
            units: false,
            admission: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Binds `address` for TCP and UDP: what must arrive goes by TCP, what may be lost by UDP, as `PROTOCOL.md` of this
    /// crate describes. Port 0 takes any port that is free for both.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_tcp_udp(address: SocketAddr) -> io::Result<Self> {
        let mut last = io::Error::other("no port is free for both");
        for _ in 0..16 {
            let tcp = Self::bind(address)?;
            let udp = SocketAddr::new(address.ip(), tcp.local_addr()?.port());
            match Udp::bind(udp) {
                Ok(udp) => return Ok(Self { udp: Some(udp), units: true, ..tcp }),
                Err(error) if address.port() == 0 => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// As [`bind_tcp_udp`](Self::bind_tcp_udp), without the UDP side: no client is offered one, and nobody is introduced to anybody. With
    /// [`with_tls`](Self::with_tls) nothing goes in the clear then.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_tcp_units(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { units: true, ..Self::bind(address)? })
    }

    /// Binds `address` for the session's own datagrams, of 9 KiB at most: each source is a peer, known by its address. New ones
    /// are remembered in a table of fixed size, in which they displace each other; those that the session validates
    /// ([`Output::Validate`](voxwire_core::Output::Validate)) are kept apart from them. For servers and for clients alike.
    ///
    /// A socket that is to hear broadcasts has to be bound to the wildcard address.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_udp(address: SocketAddr) -> io::Result<Self> {
        Self::bind_plain(address, None)
    }

    /// As [`bind_udp`](Self::bind_udp), on one network interface alone (Linux), so that a socket bound to the wildcard address is still
    /// closed to others.
    ///
    /// # Errors
    /// The system's; elsewhere that it cannot be done.
    pub fn bind_udp_on(address: SocketAddr, device: &str) -> io::Result<Self> {
        Self::bind_plain(address, Some(device))
    }

    fn bind_plain(address: SocketAddr, device: Option<&str>) -> io::Result<Self> {
        let udp = Udp::bind_plain(address, device)?;
        Ok(Self {
            socket: Bound::Udp(udp.local_addr()),
            udp: Some(udp),
            units: false,
            admission: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// The same socket, which sends what the session broadcasts to each of these addresses: those of networks, or of single
    /// hosts. Only for [`bind_udp`](Self::bind_udp).
    ///
    /// # Errors
    /// The system's.
    pub fn with_broadcast(mut self, to: Vec<SocketAddr>) -> io::Result<Self> {
        if let Some(udp) = &mut self.udp {
            udp.set_broadcast(to)?;
        }
        Ok(self)
    }

    /// Binds `address` for QUIC, with the certificate of `config`: what must arrive goes over a stream, what may be lost in
    /// datagrams, and all of it is encrypted. The stream carries what the TCP side of [`bind_tcp_udp`](Self::bind_tcp_udp) does.
    ///
    /// # Errors
    /// The system's, or TLS' where it has no settings for QUIC.
    #[cfg(feature = "quic")]
    pub fn bind_quic(
        address: SocketAddr,
        config: &std::sync::Arc<tokio_rustls::rustls::ServerConfig>,
    ) -> io::Result<Self> {
        let socket = Bound::Quic(Box::new(crate::quic::QuicListener::bind(address, config)?));
        Ok(Self { socket, udp: None, units: false, admission: None, tls: None })
    }

    /// The same socket, for those only whose token `admits` accepts: the bytes that a client sends in its hello before anything
    /// else. For TCP + UDP, and for QUIC.
    #[must_use]
    pub fn with_admission(self, admits: impl Fn(&[u8], SocketAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { admission: Some(std::sync::Arc::new(admits)), ..self }
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

    /// The same socket, for TLS only.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(self, config: std::sync::Arc<tokio_rustls::rustls::ServerConfig>) -> Self {
        Self { tls: Some(config.into()), ..self }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// How a connection on which nothing is heard is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// The silence after which the first probe is sent.
    pub idle: Duration,
    /// The time from one probe to the next.
    pub interval: Duration,
    /// Probes that may go unanswered. The peer is dead another `interval` later.
    pub probes: u32,
}

impl Keepalive {
    /// After 8 s of silence two probes, 3 s apart: a dead peer is noticed after 14 s.
    pub const DEFAULT: Self =
        Self { idle: Duration::from_secs(8), interval: Duration::from_secs(3), probes: 2 };

    /// The silence after which a peer is dead.
    #[cfg(feature = "quic")]
    pub(crate) const fn limit(self) -> Duration {
        self.idle.saturating_add(self.interval.saturating_mul(self.probes))
    }
}

/// How dead peers are found out and how much the system buffers for slow ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketOptions {
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) unacknowledged: Option<Duration>,
    pub(crate) send_buffer: Option<usize>,
}

pub(crate) fn prepare(stream: &TcpStream, options: SocketOptions) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some(Keepalive { idle, interval, probes }) = options.keepalive {
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
        #[cfg(any(
            target_os = "linux",
            target_os = "android",
            target_vendor = "apple",
            target_os = "freebsd"
        ))]
        let keepalive = keepalive.with_retries(probes);
        let _ = probes;
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(options.unacknowledged)?;
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// Whether a connection could not be accepted for want of descriptors or memory.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    // ENOMEM, ENFILE and EMFILE are these on Unix; ENOBUFS has a number of its own on each.
    cfg!(unix) && matches!(error.raw_os_error(), Some(12 | 23 | 24 | 55 | 105))
}

/// Whether only the connection that was to be accepted has come to grief.
pub(crate) fn is_its_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What TLS may hold that is encrypted and not sent, in bytes.
#[cfg(feature = "tls")]
pub(crate) const SEALED: usize = 16 * 1024;

/// One connection's bytes, in the clear or not.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Within the process.
    Inside(tokio::io::DuplexStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<crate::records::Records>>),
    #[cfg(feature = "quic")]
    Quic(Box<crate::quic::QuicStream>),
}

impl Stream {
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        let poll = match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Inside(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                let poll = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
                if !buffer.filled().is_empty() {
                    stream.get_mut().0.opened();
                }
                poll
            }
            #[cfg(feature = "quic")]
            Self::Quic(stream) => stream.poll_read(cx, &mut buffer),
        };
        poll.map_ok(|()| buffer.filled().len())
    }

    /// Reads until `into` is full.
    pub(crate) async fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let mut filled: usize = 0;
        core::future::poll_fn(|cx| {
            while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match self.poll_read(cx, rest) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Poll::Ready(Ok(n)) => filled = filled.saturating_add(n),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Bytes that TLS has taken since it handed something over last, and cannot hand over: of a record that has not come in whole, or more
    /// than a few with nothing in them.
    pub(crate) fn sealed(&self) -> usize {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.sealed(),
            _ => 0,
        }
    }

    /// Bytes that TLS has taken and not handed over, be it that it cannot, or that they have not been read.
    pub(crate) fn beneath(&mut self) -> usize {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                // Nothing new has come in: this only tells what there is.
                let state = match &mut **stream {
                    tokio_rustls::TlsStream::Client(stream) => stream.get_mut().1.process_new_packets(),
                    tokio_rustls::TlsStream::Server(stream) => stream.get_mut().1.process_new_packets(),
                };
                let opened = state.map_or(0, |state| state.plaintext_bytes_to_read());
                opened.saturating_add(stream.get_ref().0.begun())
            }
            _ => 0,
        }
    }

    /// What was last seen of that, and since when there is any.
    pub(crate) fn seen(&self) -> Option<(Instant, usize)> {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.seen,
            _ => None,
        }
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, clippy::needless_pass_by_ref_mut, reason = "there is none")
    )]
    pub(crate) fn see(&mut self, sealed: Option<(Instant, usize)>) {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_mut().0.seen = sealed,
            _ => {}
        }
    }

    /// What TLS may hold that it has been given and has not sent, where it holds anything; QUIC counts by itself.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) if stream.get_ref().1.wants_write() => SEALED,
            _ => 0,
        }
    }

    /// Whether there is something to read, as far as that can be told without reading it: ready where it cannot.
    pub(crate) fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(stream) => stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])).map(drop),
            _ => Poll::Ready(()),
        }
    }

    /// Whether the peer has closed its side, even if there is something to read before that. False where that cannot be told.
    pub(crate) fn is_closed_by_peer(&self, cx: &mut Context<'_>) -> bool {
        let stream = match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.socket(),
            _ => return false,
        };
        let ready = core::pin::pin!(stream.ready(tokio::io::Interest::READABLE));
        match ready.poll(cx) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Whether the peer is gone while we do not read: it has reset the connection; or it has closed its side and all that it sent has been
    /// taken, by us as well if that is so (`taken`). What it sent before it closed still counts. Under TLS only a reset shows, as TLS may
    /// hold what it sent; not within the process; QUIC tells in another way.
    pub(crate) fn has_vanished(&self, cx: &mut Context<'_>, taken: bool) -> bool {
        let (stream, is_plain) = match self {
            Self::Plain(stream) => (stream, true),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => (stream.get_ref().0.socket(), false),
            _ => return false,
        };
        let both = tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE;
        let (reset, closed) = match core::pin::pin!(stream.ready(both)).poll(cx) {
            Poll::Ready(Ok(ready)) => (ready.is_write_closed(), ready.is_read_closed()),
            Poll::Ready(Err(_)) => (true, true),
            Poll::Pending => (false, false),
        };
        let mut drained = || matches!(stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])), Poll::Ready(Ok(0)));
        reset || closed && taken && is_plain && drained()
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Inside(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "quic")]
            Self::Quic(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// As [`poll_write`](Self::poll_write), of several pieces. At least some of the first is written, or nothing.
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Inside(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            #[cfg(feature = "quic")]
            Self::Quic(stream) => stream.poll_write_vectored(cx, pieces),
        }
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, clippy::needless_pass_by_ref_mut, reason = "nothing is held back")
    )]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // Nothing is held back by a plain socket.
            Self::Plain(_) | Self::Inside(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "quic")]
            Self::Quic(stream) => stream.poll_flush(cx),
        }
    }

    /// The address that we have on this connection, where it is plain or TLS.
    pub(crate) fn local_ip(&self) -> Option<core::net::IpAddr> {
        self.tcp()?.local_addr().ok().map(|address| address.ip())
    }

    /// The connection of the system's that it is, if it is one over TCP.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Some(stream.get_ref().0.socket()),
            _ => None,
        }
    }

    /// Whether the system has taken something of a connection over TCP since this was asked last: `written`, but for TLS, which writes by
    /// itself. `None` of others.
    pub(crate) fn has_sent(&mut self, written: bool) -> Option<bool> {
        match self {
            Self::Plain(_) => Some(written),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Some(stream.get_mut().0.take_written()),
            _ => None,
        }
    }

    /// Has the connection reset when it is dropped: what waits in the system is thrown away, and nothing lingers.
    pub(crate) fn reset(&self) {
        let _ = self.tcp().map(|stream| SockRef::from(stream).set_linger(Some(Duration::ZERO)));
    }

    /// How long the system lets sent bytes be unacknowledged, and a window be too small, from now on; `None` for its own limits (Linux).
    pub(crate) fn set_unacknowledged(&self, limit: Option<Duration>) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = self.tcp().map(|stream| SockRef::from(stream).set_tcp_user_timeout(limit));
        let _ = limit;
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut written: usize = 0;
        core::future::poll_fn(|cx| {
            while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                match self.poll_write(cx, rest) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => written = written.saturating_add(n),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            self.poll_flush(cx)
        })
        .await
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Inside(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "quic")]
            Self::Quic(stream) => stream.poll_shutdown(cx),
        }
    }
}

/// Waits for `future` no longer than `limit`; `what` names it in the error.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &'static str,
    future: impl Future<Output = io::Result<T>>,
) -> Result<T, Error> {
    Ok(in_time(limit, future).await.ok_or(Error::TooSlow(what))??)
}

/// Waits for `future` no longer than `limit`; but if we have not run when that was over, for as long as it takes to read what has come
/// in meanwhile, and a little for the answer.
pub(crate) async fn in_time<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let clock = Clock::start();
    let mut future = core::pin::pin!(future);
    if let Ok(result) = tokio::time::timeout(limit, future.as_mut()).await {
        return Some(result);
    }
    let stalled = clock.now() > Instant::ZERO.saturating_add(limit).saturating_add(LATE);
    if stalled { tokio::time::timeout(EXCUSE, future).await.ok() } else { None }
}
