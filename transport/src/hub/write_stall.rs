//! How a peer on TCP takes what is sent to it, and when the system may give it up.

use core::time::Duration;
use voxwire_core::Instant;

/// A peer on TCP that does not take at once what is queued for it.
///
/// Linux would reset it `unacknowledged` after the first time that its window was too small for what is to be sent next, however much it has
/// taken since: with a small window that can be for ever so. A peer that goes on to take what waits is given more time. Linux judges as
/// before once nothing has waited for as long as `unacknowledged`: what its buffers hold (some 115 KB) is taken by then at 8 kB/s. A
/// peer that vanishes meanwhile is reset by the next retransmission, the time of which has doubled at most: within 28 s; or, if its
/// buffers fill up before, 16 s after that: within 30 s.
#[derive(Debug)]
pub(super) struct WriteStall {
    /// Since when something is queued.
    since: Instant,
    /// Since when nothing of it has been taken.
    untaken_since: Option<Instant>,
    /// That was too long when it was last looked at.
    was_stuck: bool,
    /// When the system's timeout was extended last.
    extended_at: Option<Instant>,
    /// When the system's timeout is restored: nothing is queued any more.
    ends: Option<Instant>,
}

impl WriteStall {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, untaken_since: None, was_stuck: false, extended_at: None, ends: None }
    }

    /// Something is queued, and the peer takes nothing now; it has `taken` some of it before. Returns the system's timeout from now on, if
    /// that has changed.
    pub(super) fn on_blocked(&mut self, now: Instant, taken: bool, limit: Duration) -> Option<Duration> {
        if self.ends.take().is_some() {
            self.since = now;
        }
        if !taken {
            self.untaken_since.get_or_insert(now);
            return None;
        }
        self.untaken_since = Some(now);
        self.was_stuck = false;
        let waited = now.saturating_duration_since(self.since);
        let quarter = limit.checked_div(4).unwrap_or(limit);
        let again = self.extended_at.is_none_or(|before| now.saturating_duration_since(before) >= quarter);
        (waited >= quarter && again).then(|| {
            self.extended_at = Some(now);
            waited.saturating_add(limit.saturating_mul(2))
        })
    }

    /// Nothing is queued any more, but for what the system holds. False if the system's timeout was not extended.
    pub(super) fn on_drained(&mut self, now: Instant, limit: Duration) -> bool {
        self.untaken_since = None;
        self.was_stuck = false;
        if self.extended_at.is_some() {
            self.ends.get_or_insert_with(|| now.saturating_add(limit));
        }
        self.extended_at.is_some()
    }

    /// When the system's timeout is restored.
    pub(super) const fn ends_at(&self) -> Option<Instant> {
        self.ends
    }

    /// Whether the system's timeout is extended.
    pub(super) const fn has_extended(&self) -> bool {
        self.extended_at.is_some()
    }

    /// Whether the peer takes nothing now.
    pub(super) const fn takes_nothing(&self) -> bool {
        self.untaken_since.is_some()
    }

    /// Whether nothing has been taken for `limit`, and was not when this was asked before either. `late`: the caller did not run in time.
    pub(super) fn confirm_stuck(&mut self, limit: Duration, now: Instant, late: bool) -> bool {
        let stuck = !late && self.untaken_since.is_some_and(|since| since.saturating_add(limit) <= now);
        core::mem::replace(&mut self.was_stuck, stuck) && stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-44: a peer that takes nothing is stuck when two sweeps in time have seen it; one that takes some has more time, as long as something
    /// waits and for a limit behind that.
    #[test]
    fn f_44_a_slow_peer_has_time_and_a_stuck_one_has_none() {
        let at = |ms| Instant::ZERO.saturating_add(Duration::from_millis(ms));
        let limit = Duration::from_secs(14);
        let mut stall = WriteStall::new(at(0));
        assert_eq!(stall.on_blocked(at(0), false, limit), None);
        assert!(
            !stall.confirm_stuck(limit, at(13_999), false) && !stall.confirm_stuck(limit, at(14_500), false)
        );
        assert!(!stall.confirm_stuck(limit, at(30_000), true), "our own stall");
        assert!(
            !stall.confirm_stuck(limit, at(31_000), false) && stall.confirm_stuck(limit, at(32_000), false)
        );
        // It takes some after all.
        assert_eq!(stall.on_blocked(at(32_100), true, limit), Some(Duration::from_millis(32_100 + 28_000)));
        assert_eq!(stall.on_blocked(at(33_100), true, limit), None, "extended a second ago");
        assert_eq!(stall.on_blocked(at(36_000), true, limit), Some(Duration::from_millis(36_000 + 28_000)));
        assert!(!stall.confirm_stuck(limit, at(49_000), false) && stall.ends_at().is_none());
        // Nothing waits any more.
        assert!(stall.on_drained(at(50_000), limit) && stall.on_drained(at(51_000), limit));
        assert_eq!(stall.ends_at(), Some(at(64_000)));
        assert!(!stall.confirm_stuck(limit, at(60_000), false));
        // Something waits again, and a short wait is not told of.
        assert_eq!(stall.on_blocked(at(61_000), true, limit), None);
        assert!(stall.ends_at().is_none());
        assert!(!WriteStall::new(at(0)).on_drained(at(1), limit));
    }
}
