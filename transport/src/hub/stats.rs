//! What a hub counts.

/// Counters of a [`Hub`](crate::Hub), since it was spawned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Connections now, validated sources of plain UDP included.
    pub connections: usize,
    /// Connections that have been closed here, and still take their final frames.
    pub closing: usize,
    /// Bytes held now for what is queued, on all connections; on QUIC until it has arrived.
    pub queued: usize,
    /// Bytes set aside now for frames that have not come in whole, beyond 2 KiB each.
    pub partial: usize,
    /// Connections accepted, TLS handshakes included that failed.
    pub accepted: u64,
    /// Connections closed at once because of a cap.
    pub refused: u64,
    /// Connections closed for a broken stream: bad lengths, frames that took too long, TLS that failed.
    pub broken: u64,
    /// Connections closed because they did not take what they had to.
    pub too_slow: u64,
    /// Droppable frames dropped: from queues of slow connections, datagrams beyond a rate, datagrams that the system did not take.
    pub dropped_frames: u64,
    /// Reliable frames that were not sent, because a stream cannot carry them to their peer: of more than 65 534 bytes on TCP + UDP or QUIC, or
    /// an update for a peer that takes nothing but answers.
    pub unsendable_frames: u64,
}
