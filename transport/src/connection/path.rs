//! What a connection knows of the network.

use core::time::Duration;

/// What is known of the network between a client and its server, since the connection was made: see
/// [`Connection::path`](crate::Connection::path).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathStats {
    /// The last round trip: on UDP from a PING to its PONG, on QUIC the smoothed one (RFC 9002, 5.3). `None` before the first answer.
    pub round_trip: Option<Duration>,
    /// PINGs that were sent; on QUIC packets.
    pub sent: u64,
    /// PONGs that answered one; on QUIC acknowledgements that came in.
    pub answered: u64,
    /// PINGs without an answer, of which a later one has been answered, or that are 4 s old, or that were sent before UDP was given up as
    /// blocked; on QUIC packets that count as lost (RFC 9002, 6.1).
    pub lost: u64,
}
