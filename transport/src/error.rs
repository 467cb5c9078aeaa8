use core::net::SocketAddr;
use std::io;
use thiserror::Error;
use voxwire_core::FrameError;

/// Why a connection ended or was never made, or why a hub was not spawned.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came in is no stream of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The server answered a connection in the clear by TLS.
    #[error("the server speaks TLS, and this connection is in the clear")]
    SpeaksTls,
    /// The server answered with something else than the hello of TCP + UDP.
    #[error("what answers does not speak TCP + UDP as this transport does")]
    NoHello,
    /// The session's frames are datagrams, and a byte stream was to carry them as they are.
    #[error(
        "this session's frames are datagrams, which TCP alone does not keep apart: connect to `Remote::tcp_udp` or `Remote::quic`"
    )]
    NotAStream,
    /// The session's frames need a byte stream of their own, and were to go by TCP + UDP or QUIC.
    #[error(
        "this session's frames begin with a handshake on a byte stream, which TCP + UDP and QUIC do not carry: connect to `Remote::tcp`"
    )]
    NeedsStream,
    /// A listener of a hub cannot carry the frames of its session.
    #[error("the listener at {address} cannot serve this session: {why}")]
    WrongListener {
        /// Where it listens.
        address: SocketAddr,
        /// What it cannot carry, and which listener can.
        why: &'static str,
    },
    /// A token was to be shown over TCP alone.
    #[error(
        "TCP alone has no place for a token: connect to `Remote::tcp_udp` or `Remote::quic`, or leave the token out"
    )]
    TokenOnTcp,
    /// A token is longer than a client can show.
    #[error("a token of {len} bytes cannot be shown to a server: at most {max} bytes can")]
    TokenTooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest that can be shown.
        max: usize,
    },
    /// The hub has as many connections as it may have, and cannot close one for another.
    #[error("the hub is full: it has {max} connections, as many as `HubSettings::max_connections` allows")]
    Full {
        /// [`HubSettings::max_connections`](crate::HubSettings::max_connections).
        max: usize,
    },
    /// The peer, or its session, closed the connection.
    #[error("connection closed")]
    Closed,
    /// The other side does not take what it has to get.
    #[error("the other side takes nothing more: {queued} bytes are queued for it, and at most {max} may be")]
    Untaken {
        /// Bytes queued.
        queued: usize,
        /// How many may be: [`ConnectionSettings::max_queued`](crate::ConnectionSettings::max_queued).
        max: usize,
    },
    /// The other side has taken nothing for too long.
    #[error("the other side has taken nothing for {after:?}, and {queued} bytes are queued for it")]
    Stalled {
        /// Bytes queued, but for those that TLS or QUIC holds.
        queued: usize,
        /// How long it may take nothing: [`ConnectionSettings::write_timeout`](crate::ConnectionSettings::write_timeout).
        after: core::time::Duration,
    },
    /// A packet that must arrive is larger than this transport can carry.
    #[error("a packet of {len} bytes cannot be sent over TCP + UDP or QUIC, which carry at most {max}")]
    Unsendable {
        /// Its length in bytes.
        len: usize,
        /// The largest that can be sent.
        max: usize,
    },
    /// Something took too long; says what.
    #[error("{0} took too long")]
    TooSlow(&'static str),
}

#[cfg(feature = "quic")]
impl Error {
    /// The TLS alert by which a client of QUIC has refused its server, where that is why there is no connection.
    ///
    /// QUIC keeps the alert alone of what TLS says. Over TCP an [`Io`](Self::Io) error holds the `rustls::Error` itself.
    pub fn tls_alert(&self) -> Option<tokio_rustls::rustls::AlertDescription> {
        let Self::Io(error) = self else { return None };
        crate::quic::alert::tls_alert(error)
    }
}
