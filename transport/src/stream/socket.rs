//! One byte stream, over any transport.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use socket2::SockRef;
use std::io::{self, IoSlice};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use voxwire_core::Instant;

/// Bytes that TLS may have encrypted and not sent.
#[cfg(feature = "tls")]
pub(crate) const MAX_UNSENT: usize = 16 * 1024;

/// The byte stream of one connection, in the clear or encrypted.
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
                    stream.get_mut().0.delivered();
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

    /// Bytes that TLS has read and cannot hand over: those of a partial record, or of whole records without data, which count from 1 KiB on.
    pub(crate) fn undelivered(&self) -> usize {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.undelivered(),
            _ => 0,
        }
    }

    /// Bytes that TLS has read and not handed over: those of a partial record, and data that was not asked for.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::needless_pass_by_ref_mut, reason = "TLS alone is changed")
    )]
    pub(crate) fn held_by_tls(&mut self) -> usize {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                // No new bytes are given to TLS here: this only tells what it holds.
                let state = match &mut **stream {
                    tokio_rustls::TlsStream::Client(stream) => stream.get_mut().1.process_new_packets(),
                    tokio_rustls::TlsStream::Server(stream) => stream.get_mut().1.process_new_packets(),
                };
                let whole = state.map_or(0, |state| state.plaintext_bytes_to_read());
                whole.saturating_add(stream.get_ref().0.partial_len())
            }
            _ => 0,
        }
    }

    /// What `note_partial` noted last: since when TLS holds bytes that it cannot hand over, and how many.
    pub(crate) fn partial_since(&self) -> Option<(Instant, usize)> {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.partial_since,
            _ => None,
        }
    }

    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, clippy::needless_pass_by_ref_mut, reason = "there is none")
    )]
    pub(crate) fn note_partial(&mut self, partial: Option<(Instant, usize)>) {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_mut().0.partial_since = partial,
            _ => {}
        }
    }

    /// Bytes that TLS may hold that were written and not sent; 0 if it holds none. QUIC counts its own.
    pub(crate) fn unsent(&self) -> usize {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(stream) if stream.get_ref().1.wants_write() => MAX_UNSENT,
            _ => 0,
        }
    }

    /// Ready if there is something to read, or if that cannot be told without reading.
    pub(crate) fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Plain(stream) => stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])).map(drop),
            _ => Poll::Ready(()),
        }
    }

    /// Whether the peer has closed its side, even if there is still something to read. False where that cannot be told.
    pub(crate) fn is_closed_by_peer(&self, cx: &mut Context<'_>) -> bool {
        let Some(stream) = self.tcp() else { return false };
        let ready = core::pin::pin!(stream.ready(tokio::io::Interest::READABLE));
        match ready.poll(cx) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Whether the peer has vanished while the hub does not read: it has reset the connection, or all of this holds.
    ///
    /// - It has closed its side.
    /// - The system holds none of its bytes.
    /// - The hub holds none of its bytes (`taken`).
    ///
    /// Under TLS only a reset shows, because TLS may hold bytes. Within the process nothing shows. For QUIC see `Datagrams::is_closed`.
    pub(crate) fn has_vanished(&self, cx: &mut Context<'_>, taken: bool) -> bool {
        let Some(stream) = self.tcp() else { return false };
        let both = tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE;
        let (reset, closed) = match core::pin::pin!(stream.ready(both)).poll(cx) {
            Poll::Ready(Ok(ready)) => (ready.is_write_closed(), ready.is_read_closed()),
            Poll::Ready(Err(_)) => (true, true),
            Poll::Pending => (false, false),
        };
        let mut drained = || matches!(stream.poll_peek(cx, &mut ReadBuf::new(&mut [0])), Poll::Ready(Ok(0)));
        reset || closed && taken && matches!(self, Self::Plain(_)) && drained()
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

    /// As [`poll_write`](Self::poll_write), for several pieces.
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

    /// Our address on this connection, if it is over TCP.
    pub(crate) fn local_ip(&self) -> Option<core::net::IpAddr> {
        self.tcp()?.local_addr().ok().map(|address| address.ip())
    }

    /// The TCP socket, if the connection is over TCP.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Some(stream.get_ref().0.socket()),
            _ => None,
        }
    }

    /// Whether the system has taken bytes since the last call. That is `written`, except for TLS, which writes to the socket itself. `None` if the
    /// connection is not over TCP.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::needless_pass_by_ref_mut, reason = "TLS alone is changed")
    )]
    pub(crate) fn take_sent(&mut self, written: bool) -> Option<bool> {
        match self {
            Self::Plain(_) => Some(written),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Some(stream.get_mut().0.take_written()),
            _ => None,
        }
    }

    /// Makes dropping reset the connection: the system discards its buffers, and keeps nothing of it.
    pub(crate) fn reset(&self) {
        let _ = self.tcp().map(|stream| SockRef::from(stream).set_linger(Some(Duration::ZERO)));
    }

    /// Sets how long sent bytes may be unacknowledged, or the peer's window too small, before the system resets the connection (Linux). `None` for
    /// the system's own limits.
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
