//! What becomes of a frame for a peer that does not take what is queued for it, and of any frame where all connections together have too
//! much queued.

use voxwire_core::Lane;

/// Bytes written at a time, or one larger frame, which is a large one.
pub(super) const WRITE_BATCH: usize = 64 * 1024;
/// Over `max_queued_total` a connection whose peer takes what it is sent may have this much queued, in bytes.
const OWN_SHARE: usize = 64 * 1024;
/// Over `max_queued_total` a connection may be closed that has more than this queued, in bytes; or that is blocked and holds more than
/// half an even share.
pub(super) const FAIR_SHARE: usize = 4 * 1024;
/// Bytes of droppable frames that may be queued for a peer that is not slow, where its budget is smaller.
const BURST: usize = 1024 * 1024;
/// A peer for which more than this is queued, in bytes, is not answered by its framing.
const ANSWERED: usize = 64 * 1024;
/// A reliable frame of at least so many bytes is held once for all connections for which the same is queued.
const HELD: usize = 1024;
/// The same for connections whose peer takes nothing now.
const HELD_IF_BLOCKED: usize = 256;

/// How much is queued for a connection, and for all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// The peer has not taken all that it was given.
    pub(super) blocked: bool,
    /// It has not for longer than `slow_after`.
    pub(super) slow: bool,
    /// Bytes queued and being written.
    pub(super) queued: usize,
    /// Bytes being written.
    pub(super) writing: usize,
    /// All connections together have more than `max_queued_total` queued.
    pub(super) over_total: bool,
}

impl Load {
    /// How many bytes of droppable frames may be queued, if the budget is smaller. Older ones are dropped.
    pub(super) const fn burst(&self) -> usize {
        if self.slow { 0 } else { BURST }
    }

    /// Whether the droppable frames that are queued, of `droppable` bytes, are dropped for any new frame.
    pub(super) const fn drops_queued(&self, droppable: usize) -> bool {
        self.writes_large() && droppable > WRITE_BATCH
    }

    /// Whether a frame of `len` bytes is queued only after others have been closed for it.
    pub(super) fn refuses(&self, lane: Lane, len: usize) -> bool {
        lane == Lane::Reliable && self.pays(len)
    }

    /// Whether a frame of `len` bytes is dropped, with all droppable frames that are queued.
    pub(super) fn drops(&self, lane: Lane, len: usize) -> bool {
        lane == Lane::Droppable && (self.pays(len) || self.writes_large() && len > WRITE_BATCH)
    }

    /// Whether a frame of `len` bytes is held once for all connections for which it is queued.
    pub(super) fn shares(&self, lane: Lane, len: usize) -> bool {
        lane == Lane::Reliable && len >= if self.blocked { HELD_IF_BLOCKED } else { HELD }
    }

    /// Whether a message of the transport's own is queued only after others have been closed for it.
    pub(super) const fn refuses_control(&self) -> bool {
        self.over_total && (self.queued > OWN_SHARE || self.blocked && self.queued > FAIR_SHARE)
    }

    /// Whether the framing does not answer the peer.
    pub(super) const fn refuses_answers(&self) -> bool {
        self.queued > ANSWERED || self.blocked && self.over_total
    }

    /// Whether the connection may be closed for what others have queued, where `held` bytes are held for it: many small frames take far more
    /// than their bytes. `little` is half of an even share.
    pub(super) const fn may_be_closed(&self, held: usize, little: usize) -> bool {
        self.queued > FAIR_SHARE || self.blocked && held > little
    }

    /// A large frame is being written to a slow peer: one is enough for it.
    const fn writes_large(&self) -> bool {
        self.slow && self.writing > WRITE_BATCH
    }

    /// Whether a frame of `len` bytes, where all connections together have too much queued, is at the cost of this one: it would have more
    /// than its own share then, or its peer takes nothing.
    const fn pays(&self, len: usize) -> bool {
        self.over_total && (self.blocked || self.queued.saturating_add(len) > OWN_SHARE)
    }
}
