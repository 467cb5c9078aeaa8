//! What a hub counts.

use crate::HistogramStats;

/// Counters of a [`Hub`](crate::Hub), since it was spawned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Connections now, validated sources of plain UDP included.
    pub connections: usize,
    /// Connections that are being closed: what is queued for them is still being written.
    pub closing: usize,
    /// Bytes held now for what is queued, on all connections; on QUIC they count until they have arrived.
    pub queued: usize,
    /// Bytes set aside now for frames that have not come in whole, beyond 2 KiB each.
    pub partial: usize,
    /// Frames that the session was handed: messages on streams, datagrams.
    pub received_frames: u64,
    /// Bytes of them, without what the transport puts around them.
    pub received_bytes: u64,
    /// Frames that the session has sent. A frame counts once for each addressee, also if it was dropped later.
    pub sent_frames: u64,
    /// Bytes of them, without what the transport puts around them.
    pub sent_bytes: u64,
    /// How long an input took: from the moment when something had been read or a timer was due, until all frames that the session sent for
    /// it were handed to the system (datagrams) or to the tasks that write (streams).
    pub handled: HistogramStats,
    /// Connections accepted, TLS handshakes included that failed.
    pub accepted: u64,
    /// Connections closed at once because of a cap.
    pub refused: u64,
    /// Those of them that were refused because of `max_per_address`.
    pub refused_per_address: u64,
    /// Connections closed for a broken stream: bad lengths, frames that took too long, TLS that failed, answers or last frames that were not
    /// taken.
    pub broken: u64,
    /// Connections that were reset: their peer was stuck, more than `max_queued` was queued for it, or room was made below `max_queued_total`.
    /// Neither a slow peer that only loses frames nor a connection that was being closed already is among them.
    pub too_slow: u64,
    /// Droppable frames that were not sent: dropped from the queue of a peer that does not keep up, or not taken by the system.
    pub dropped_frames: u64,
    /// Datagrams that were received and dropped, because their sender was over its rate (`HubSettings::frames`, `HubSettings::datagrams`).
    pub over_rate_frames: u64,
    /// Reliable frames that were not sent, because a stream cannot carry them to their peer: of more than 65 534 bytes on TCP + UDP or QUIC, or
    /// an update for a peer that takes nothing but answers.
    pub unsendable_frames: u64,
}
