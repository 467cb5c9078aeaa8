//! Every socket comes through here, so that a simulated network can take tokio's place.

use crate::Error;
use core::fmt;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
pub(crate) use tokio::net::{TcpListener, TcpStream};

/// A bound TCP socket for a [`Hub`](crate::Hub), plain or with TLS.
pub struct Listener {
    pub(crate) socket: TcpListener,
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
            socket: TcpListener::from_std(socket.into())?,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// The address bound.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
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

/// How dead peers are found out and how much the system buffers for slow ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketOptions {
    pub(crate) keepalive: Option<(Duration, Duration, u32)>,
    pub(crate) unacknowledged: Option<Duration>,
    pub(crate) send_buffer: Option<usize>,
}

pub(crate) fn prepare(stream: &TcpStream, options: SocketOptions) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some((idle, interval, retries)) = options.keepalive {
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
        #[cfg(any(
            target_os = "linux",
            target_os = "android",
            target_vendor = "apple",
            target_os = "freebsd"
        ))]
        let keepalive = keepalive.with_retries(retries);
        let _ = retries;
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(options.unacknowledged)?;
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// One connection's bytes, in the clear or not.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        let poll = match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        };
        poll.map_ok(|()| buffer.filled().len())
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, clippy::needless_pass_by_ref_mut, reason = "nothing is held back")
    )]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // Nothing is held back by a plain socket.
            Self::Plain(_) => Poll::Ready(Ok(())),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Waits for `future` no longer than `limit`; `what` names it in the error.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &'static str,
    future: impl Future<Output = io::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::TooSlow(what)),
    }
}
