//! Counts the bytes that TLS has read from a socket and not handed over.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use voxwire_core::Instant;

/// A socket beneath TLS. It counts the bytes that TLS has read and not handed over: TLS hands over whole records only.
#[derive(Debug)]
pub(crate) struct Records {
    socket: TcpStream,
    record: Record,
    /// Bytes that came in since TLS handed something over last.
    undelivered: usize,
    /// Since when there are such bytes, and how many there were at the last look.
    pub(crate) partial_since: Option<(Instant, usize)>,
    /// The socket has taken bytes since the last look.
    written: bool,
}

/// How much of the present record has come in.
#[derive(Debug, Default)]
struct Record {
    /// Its header: a type, a version, and the length of the rest.
    head: [u8; 5],
    /// Bytes of it that have come in, and its whole length, which is right once the header has come in.
    here: usize,
    whole: usize,
}

impl Record {
    fn received(&mut self, mut bytes: &[u8]) {
        loop {
            if self.here < self.head.len() {
                let Some((&byte, rest)) = bytes.split_first() else { return };
                if let Some(place) = self.head.get_mut(self.here) {
                    *place = byte;
                }
                bytes = rest;
                self.here = self.here.saturating_add(1);
                let [.., high, low] = self.head;
                self.whole = self.head.len().saturating_add(u16::from_be_bytes([high, low]).into());
            }
            if self.here >= self.head.len() {
                let n = bytes.len().min(self.whole.saturating_sub(self.here));
                bytes = bytes.get(n..).unwrap_or(&[]);
                self.here = self.here.saturating_add(n);
                if self.here < self.whole {
                    return;
                }
                self.here = 0;
            }
        }
    }
}

impl Records {
    /// Bytes of whole records without data that do not count: new keys, for example.
    const EMPTY: usize = 1024;

    pub(crate) const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Bytes that have come in since something was handed over.
    pub(crate) const fn received(&self) -> usize {
        self.undelivered
    }

    /// Bytes of the partial record.
    pub(crate) const fn partial_len(&self) -> usize {
        self.record.here
    }

    /// TLS has handed something over: only the bytes of the partial record are left.
    pub(crate) const fn delivered(&mut self) {
        self.undelivered = self.record.here;
    }

    /// Whether the socket has taken bytes since the last call.
    pub(crate) const fn take_written(&mut self) -> bool {
        core::mem::replace(&mut self.written, false)
    }

    pub(crate) const fn undelivered(&self) -> usize {
        if self.record.here > 0 || self.undelivered > Self::EMPTY { self.undelivered } else { 0 }
    }
}

impl From<TcpStream> for Records {
    fn from(socket: TcpStream) -> Self {
        Self { socket, record: Record::default(), undelivered: 0, partial_since: None, written: false }
    }
}

impl AsyncRead for Records {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.socket).poll_read(cx, buffer);
        let came = buffer.filled().get(before..).unwrap_or(&[]);
        self.undelivered = self.undelivered.saturating_add(came.len());
        self.record.received(came);
        poll
    }
}

impl AsyncWrite for Records {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.written |= matches!(poll, Poll::Ready(Ok(n)) if n > 0);
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.written |= matches!(poll, Poll::Ready(Ok(n)) if n > 0);
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-46: a record is known to be whole wherever it is cut.
    #[test]
    fn f_46_records_are_followed_however_they_come_in() {
        let records =
            [&[22, 3, 1, 0, 2, 9, 9][..], &[23, 3, 3, 0, 0], &[23, 3, 3, 1, 44], &[7; 300]].concat();
        for step in 1..=records.len() {
            let mut record = Record::default();
            let mut came = 0;
            for piece in records.chunks(step) {
                record.received(piece);
                came += piece.len();
                assert_eq!(record.here == 0, [7, 12, records.len()].contains(&came), "{came} by {step}");
            }
        }
    }
}
