//! One datagram at a time, where the system takes no more with one call.

use super::datagram::{BATCH, Port, Received, SIZE, Send};
use core::net::SocketAddr;
use socket2::Socket;
use std::io;

#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) const fn tell_addresses(_socket: &Socket, _v6: bool) -> io::Result<()> {
    Ok(())
}

pub(crate) const fn can_segment(_socket: &Socket) -> bool {
    false
}

pub(super) fn recv(port: &Port, received: &mut Received) -> io::Result<()> {
    fill(received, |buffer| port.socket.try_recv_from(buffer))
}

/// Fetches what waits on a socket.
#[cfg(feature = "realtime")]
pub(crate) fn fetch(
    socket: &std::net::UdpSocket,
    _kind: (bool, bool),
    received: &mut Received,
) -> io::Result<()> {
    fill(received, |buffer| socket.recv_from(buffer))
}

/// Sends one datagram.
#[cfg(feature = "realtime")]
pub(crate) fn send_slices(
    socket: &std::net::UdpSocket,
    slices: &[std::io::IoSlice<'_>],
    _segment: Option<u16>,
    to: super::Path,
    _v6: bool,
) -> io::Result<()> {
    let remote = socket2::SockAddr::from(to.remote);
    socket2::SockRef::from(socket).send_to_vectored(slices, &remote).map(|_| ())
}

#[cfg(feature = "realtime")]
pub(crate) const fn cannot_segment(_error: &io::Error, _to: super::Path) -> bool {
    true
}

fn fill(
    received: &mut Received,
    mut receive: impl FnMut(&mut [u8]) -> io::Result<(usize, SocketAddr)>,
) -> io::Result<()> {
    received.filled.clear();
    for buffer in received.buffers.chunks_mut(received.size).take(BATCH) {
        match receive(buffer) {
            // One that fills the buffer may have been cut.
            Ok((len, from)) => {
                received.filled.push((if len < buffer.len() { len } else { 0 }, from.into()));
            }
            Err(_) if !received.filled.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) const fn send_run(_socket: &Port, _run: &[usize], _sends: &[Send], _bytes: &[u8]) -> bool {
    false
}

pub(super) fn send_alone(socket: &Port, sends: &[Option<Send>], bytes: &[u8]) -> u64 {
    let mut lost = 0;
    let mut datagram = Vec::with_capacity(SIZE);
    for send in sends.iter().flatten() {
        datagram.clear();
        datagram.extend_from_slice(send.destination.head());
        datagram.extend_from_slice(send.frame(bytes));
        lost += u64::from(socket.socket.try_send_to(&datagram, send.destination.to.remote).is_err());
    }
    lost
}
