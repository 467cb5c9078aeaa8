//! The rules for slow consumers: what happens to a frame whose peer is blocked, and to any frame while all queues together hold too much.
//!
//! ARCHITECTURE.md, "When a peer does not keep up", defines *blocked* and *slow*. *Over the total*: all queues together hold more than
//! `HubSettings::max_queued_total`. A connection *pays* if frames for it are dropped then, or make the hub reset connections.

use voxwire_core::Lane;

/// Bytes written at a time. A frame that is larger is written alone, and called a large frame.
pub(super) const WRITE_BATCH: usize = 64 * 1024;
/// While over the total, a connection that is not blocked pays only if more bytes than this are queued for it.
const FREE_BYTES: usize = 64 * 1024;
/// Only connections with more bytes queued than this may be reset to make room while over the total. A blocked one may be reset as well if it
/// holds more memory than `little`: half of `max_queued_total / max_connections`, at most `SPARED_BYTES` ([`Load::may_be_reset`]).
pub(super) const SPARED_BYTES: usize = 4 * 1024;
/// Bytes of droppable frames that may be queued for a peer that is not slow. A larger budget of the session counts instead.
const BURST: usize = 1024 * 1024;
/// A framing answers no question of a peer for which more bytes than this are queued.
const ANSWERED: usize = 64 * 1024;
/// A reliable frame of at least so many bytes is held once for all connections for which it is queued.
const SHARED_FROM: usize = 1024;
/// The same where the peer is blocked.
const SHARED_FROM_IF_BLOCKED: usize = 256;

/// How much is queued for a connection, and for all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// A write for the peer is pending.
    pub(super) blocked: bool,
    /// It has been blocked for longer than `slow_after`.
    pub(super) slow: bool,
    /// Bytes queued and being written.
    pub(super) queued: usize,
    /// Bytes being written.
    pub(super) writing: usize,
    /// All connections together have more than `max_queued_total` queued.
    pub(super) over_total: bool,
}

impl Load {
    /// Bytes of droppable frames that may be queued even if the budget is smaller; none for a slow peer.
    pub(super) const fn burst(&self) -> usize {
        if self.slow { 0 } else { BURST }
    }

    /// Whether a new frame of either lane drops the droppable frames that are queued, which have `droppable` bytes. The new one is queued.
    pub(super) const fn drops_queued(&self, droppable: usize) -> bool {
        self.writes_large() && droppable > WRITE_BATCH
    }

    /// Whether a reliable frame of `len` bytes is queued only after connections have been reset for it.
    pub(super) fn needs_room(&self, lane: Lane, len: usize) -> bool {
        lane == Lane::Reliable && self.pays(len)
    }

    /// Whether a droppable frame of `len` bytes is dropped, and with it all droppable frames that are queued.
    pub(super) fn drops(&self, lane: Lane, len: usize) -> bool {
        lane == Lane::Droppable && (self.pays(len) || self.writes_large() && len > WRITE_BATCH)
    }

    /// Whether a reliable frame of `len` bytes is shared: held once for all connections for which it is queued.
    pub(super) fn is_shared(&self, lane: Lane, len: usize) -> bool {
        lane == Lane::Reliable && len >= if self.blocked { SHARED_FROM_IF_BLOCKED } else { SHARED_FROM }
    }

    /// Whether a control message is queued only after connections have been reset for it.
    pub(super) const fn needs_room_for_control(&self) -> bool {
        self.over_total && (self.queued > FREE_BYTES || self.blocked && self.queued > SPARED_BYTES)
    }

    /// Whether the framing leaves the peer's questions unanswered.
    pub(super) const fn refuses_answers(&self) -> bool {
        self.queued > ANSWERED || self.blocked && self.over_total
    }

    /// Whether the connection may be reset to make room for others. `held` is the memory that it holds: many small frames take far more memory
    /// than they have bytes. For `little` see [`SPARED_BYTES`].
    pub(super) const fn may_be_reset(&self, held: usize, little: usize) -> bool {
        self.queued > SPARED_BYTES || self.blocked && held > little
    }

    /// Whether a large frame is being written to a slow peer. Another one does not wait behind it.
    const fn writes_large(&self) -> bool {
        self.slow && self.writing > WRITE_BATCH
    }

    /// Whether this connection pays for a frame of `len` bytes. It does while over the total, if it is blocked, or if it would have more than
    /// [`FREE_BYTES`] queued with that frame.
    const fn pays(&self, len: usize) -> bool {
        self.over_total && (self.blocked || self.queued.saturating_add(len) > FREE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Load = Load { blocked: false, slow: false, queued: 0, writing: 0, over_total: false };
    const BLOCKED: Load = Load { blocked: true, ..FREE };
    const SLOW: Load = Load { slow: true, ..BLOCKED };
    /// Bytes, just over the limits of the same names.
    const OVER_SPARED: usize = SPARED_BYTES + 1;
    const OVER_FREE: usize = FREE_BYTES + 1;
    const LARGE: usize = WRITE_BATCH + 1;

    const fn over(load: Load) -> Load {
        Load { over_total: true, ..load }
    }

    const fn queued(bytes: usize, load: Load) -> Load {
        Load { queued: bytes, ..load }
    }

    const fn writing(bytes: usize, load: Load) -> Load {
        Load { writing: bytes, queued: bytes, ..load }
    }

    /// What a rule does, and whether it holds.
    type Rule = (&'static str, fn(&Load) -> bool);

    /// C-06, F-43, F-46: what happens to the frames of a peer, and to its connection, in each state.
    #[test]
    fn c_06_each_state_of_a_peer_has_its_rules() {
        const RULES: [Rule; 9] = [
            ("no burst", |load| load.burst() == 0),
            ("drops what is queued", |load| load.drops_queued(LARGE)),
            ("refuses a frame", |load| load.needs_room(Lane::Reliable, 100)),
            ("drops a frame", |load| load.drops(Lane::Droppable, 100)),
            ("drops a large frame", |load| load.drops(Lane::Droppable, LARGE)),
            ("shares 256 bytes", |load| load.is_shared(Lane::Reliable, 256)),
            ("refuses control", Load::needs_room_for_control),
            ("refuses answers", Load::refuses_answers),
            ("may be reset", |load| load.may_be_reset(3000, 2000)),
        ];
        // In the order of the rules.
        let table: [(Load, &str); 14] = [
            (FREE, "- - - - - - - - -"),
            (queued(OVER_SPARED, FREE), "- - - - - - - - x"),
            (queued(OVER_FREE, FREE), "- - - - - - - x x"),
            (writing(LARGE, FREE), "- - - - - - - x x"),
            (BLOCKED, "- - - - - x - - x"),
            (writing(LARGE, BLOCKED), "- - - - - x - x x"),
            (SLOW, "x - - - - x - - x"),
            (writing(LARGE, SLOW), "x x - - x x - x x"),
            (over(FREE), "- - - - x - - - -"),
            (over(queued(OVER_SPARED, FREE)), "- - - - x - - - x"),
            (over(queued(OVER_FREE, FREE)), "- - x x x - x x x"),
            (over(BLOCKED), "- - x x x x - x x"),
            (over(queued(OVER_SPARED, BLOCKED)), "- - x x x x x x x"),
            (over(writing(LARGE, SLOW)), "x x x x x x x x x"),
        ];
        for (load, expected) in table {
            for ((rule, holds), expected) in RULES.iter().zip(expected.split(' ')) {
                assert_eq!(if holds(&load) { "x" } else { "-" }, expected, "{rule}: {load:?}");
            }
        }
    }
}
