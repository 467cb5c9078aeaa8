//! Bytes from a stream into a read buffer, and from a batch to a stream.

use super::queue::{SLICES, WriteBatch};
use super::socket::Stream;
use core::task::{Context, Poll, ready};
use std::io::{self, IoSlice};
use voxwire_core::FrameBuf;

/// What a read buffer is asked for at a time, in bytes.
pub(crate) const READ: usize = 16 * 1024;
/// Reads in a row before other tasks get their turn.
pub(crate) const READS: usize = 8;

/// Reads once into `buffer`, where at least `needed` bytes of the next frame are missing, and no more than `most` bytes. Returns how many
/// bytes there were: 0 at the end of the stream.
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

/// Writes `batch`, with one call if the system takes all of it. Pending: the peer takes no more now. `taken` is set where the system has
/// taken something.
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

/// Reads and discards until the peer has closed its side, or the connection has failed. Otherwise the system would reset a connection that
/// is dropped, and with it the final frames.
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

/// F-62: whether a stream begins as that of a TLS server that was spoken to in the clear does: with an alert.
pub(crate) const fn is_tls_alert(begin: &[u8]) -> bool {
    matches!(begin, [21, 3, 0..=4, ..])
}
