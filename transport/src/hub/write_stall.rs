//! How fast a blocked peer on TCP takes bytes, and when the system resets its connection.

use crate::grace::StuckLooks;
use core::time::Duration;
use voxwire_core::Instant;

/// The state of a peer on TCP that has not taken at once everything that was written to it.
///
/// Linux has a timeout for such a peer (`TCP_USER_TIMEOUT`), which is `HubSettings::unacknowledged`. It starts when the peer's window is too
/// small for the next segment. It does not start anew when the peer takes some bytes. So Linux would reset a slow peer whose window
/// stays small.
///
/// - While bytes are queued, the timeout is extended whenever the peer takes some of them.
/// - Once nothing has been queued for as long as `unacknowledged`, the timeout is restored. A peer that takes 8 kB/s has emptied the system's
///   buffers (some 110 KB) by then.
/// - A peer that vanishes while the timeout is extended is reset at the next retransmission. Retransmissions come at growing intervals: the next one is 28 s
///   away at most.
/// - If the system's buffers fill up first, the peer is stuck `unacknowledged` later, and two sweeps find that: 16 s in all. Whichever comes
///   first, the peer is gone within 30 s.
#[derive(Debug)]
pub(super) struct WriteStall {
    /// Since when bytes are queued.
    since: Instant,
    /// When the peer took some of them last, or when they began to wait; `None` while nothing is queued.
    untaken_since: Option<Instant>,
    looks: StuckLooks,
    /// When the system's timeout was extended last.
    extended_at: Option<Instant>,
    /// When the system's timeout is restored; set while nothing is queued.
    ends: Option<Instant>,
}

impl WriteStall {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, untaken_since: None, looks: StuckLooks::default(), extended_at: None, ends: None }
    }

    /// Bytes are queued, and the peer takes none now. `taken`: it has taken some since the last call. Returns the system's new timeout, if it
    /// changes.
    pub(super) fn on_blocked(&mut self, now: Instant, taken: bool, limit: Duration) -> Option<Duration> {
        if self.ends.take().is_some() {
            self.since = now;
        }
        if !taken {
            self.untaken_since.get_or_insert(now);
            return None;
        }
        self.untaken_since = Some(now);
        let waited = now.saturating_duration_since(self.since);
        let quarter = limit.checked_div(4).unwrap_or(limit);
        let again = self.extended_at.is_none_or(|before| now.saturating_duration_since(before) >= quarter);
        (waited >= quarter && again).then(|| {
            self.extended_at = Some(now);
            waited.saturating_add(limit.saturating_mul(2))
        })
    }

    /// Everything that was queued is in the system's buffers. False if the system's timeout was not extended.
    pub(super) fn on_drained(&mut self, now: Instant, limit: Duration) -> bool {
        self.untaken_since = None;
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

    /// Whether the peer is stalled: bytes wait for it, and it has not taken all of them.
    pub(super) const fn is_stalled(&self) -> bool {
        self.untaken_since.is_some()
    }

    /// Whether the peer is stuck: it has taken nothing for `limit`, now and at the call before this one. `overslept`: the caller did not run
    /// in time. The answer is no then, and the next call counts as the first.
    pub(super) fn confirm_stuck(&mut self, limit: Duration, now: Instant, overslept: bool) -> bool {
        self.looks.confirm(self.untaken_since.filter(|_| !overslept), limit, now)
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
