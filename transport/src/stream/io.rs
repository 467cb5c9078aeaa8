//! Bytes from a stream into a read buffer, and from a batch to a stream.

use super::queue::{SLICES, WriteBatch};
use super::socket::Stream;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};
use voxwire_core::FrameBuf;

/// Bytes of one read, at most.
pub(crate) const READ: usize = 16 * 1024;
/// Reads in a row before other tasks get their turn.
pub(crate) const READS: usize = 8;

/// Reads once into `buffer`, up to `most` bytes; at least `needed` bytes of the next frame are missing. Returns how many bytes came in: 0 at the end
/// of the stream.
pub(crate) fn poll_fill(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buffer: &mut FrameBuf,
    needed: usize,
    most: usize,
) -> Poll<io::Result<usize>> {
    // Memory grows with what has been received, not with a length that was announced.
    let growth = READ.max(buffer.unread().len());
    let spare = buffer.spare(needed.clamp(1, growth).min(most));
    let len = spare.len().min(most);
    let poll = stream.poll_read(cx, spare.get_mut(..len).unwrap_or(&mut []));
    if let Poll::Ready(Ok(n)) = &poll {
        buffer.filled(*n);
    }
    poll
}

/// Writes `batch`, with one call if the system takes all of it. Pending while the peer takes no more. Sets `taken` if the system has taken some of
/// it.
pub(crate) fn poll_write(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    batch: &mut WriteBatch,
    taken: &mut bool,
) -> Poll<io::Result<()>> {
    while !batch.is_empty() {
        let written = if let Some(piece) = batch.one_piece() {
            stream.poll_write(cx, piece)
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            stream.poll_write_vectored(cx, batch.pieces(&mut slices))
        };
        let n = ready!(written)?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        batch.advance(n);
        *taken = true;
    }
    Poll::Ready(Ok(()))
}

/// Reads and discards until the peer has closed its side, or the connection has failed. If unread bytes were left, the system would reset the
/// connection when it is dropped, and our final frames would be lost.
pub(crate) fn poll_discard(stream: &mut Stream, cx: &mut Context<'_>, buffer: &mut FrameBuf) -> Poll<()> {
    for _ in 0..READS {
        buffer.consume(usize::MAX);
        match ready!(stream.poll_read(cx, buffer.spare(READ))) {
            Ok(0) | Err(_) => return Poll::Ready(()),
            Ok(_) => {}
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// F-62: whether a stream begins with a TLS alert. A TLS server answers so to a client that speaks in the clear.
pub(crate) const fn is_tls_alert(begin: &[u8]) -> bool {
    matches!(begin, [21, 3, 0..=4, ..])
}
