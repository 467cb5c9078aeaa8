//! TCP sockets: connecting them, and their options.

use core::net::SocketAddr;
use core::time::Duration;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use tokio::net::{TcpStream, ToSocketAddrs};

/// How a silent connection is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// The silence after which the first probe is sent.
    pub idle: Duration,
    /// The time from one probe to the next.
    pub interval: Duration,
    /// Probes that may stay unanswered. The peer counts as dead one `interval` after the last of them.
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

/// How dead peers are noticed, and how much the system buffers for slow ones.
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

/// The same for a connection that is used even if options cannot be set.
pub(crate) fn prepare_if_possible(stream: &TcpStream, options: SocketOptions, from: SocketAddr) {
    if let Err(error) = prepare(stream, options) {
        crate::log::debug!(%from, %error, "cannot set socket options");
    }
}

/// Connects by TCP. All addresses are tried in turn. Returns the address that answered, too.
pub(crate) async fn connect(to: impl ToSocketAddrs) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(to).await?;
    let to = stream.peer_addr()?;
    Ok((stream, to))
}
