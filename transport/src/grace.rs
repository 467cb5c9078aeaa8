//! Timers that are due are held back until received data has been read.
//!
//! A process that did not run for some time finds late timers and unread data at once. It must not take its own stall for the silence of its
//! peers.

use crate::Error;
use core::time::Duration;
use std::io;
use voxwire_core::{Clock, Instant};

/// A timer that fires so late shows that this process did not run. Data that came in meanwhile has not been read.
pub(crate) const LATE: Duration = Duration::from_millis(50);
/// How long timers are held back at most, so that data is read first.
pub(crate) const EXCUSE: Duration = Duration::from_millis(100);
/// How many steps in a row may delay a timer that is due, however much is still received.
pub(crate) const MAX_STEPS: u32 = 256;
/// How soon to look again whether there is unread data.
const SOON: Duration = Duration::from_millis(2);

/// Whether a session whose [`poll_timeout`](voxwire_core::Session::poll_timeout) is `at` has an event to tell. An event is no timer: no
/// received data can put it off.
pub(crate) fn is_event(at: Option<Instant>) -> bool {
    at == Some(Instant::ZERO)
}

/// Holds back timers that are due until received data has been read, for [`EXCUSE`] at most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Grace {
    /// Since when timers are held back.
    since: Option<Instant>,
    /// They are held back because this process did not run. That takes all of [`EXCUSE`], even if no unread data is seen.
    paused: bool,
}

impl Grace {
    /// When to look again at timers that have been due since `at`; `None` if they fire now. `unread`: there is data that has not been read.
    pub(crate) fn hold(&mut self, at: Instant, now: Instant, unread: bool) -> Option<Instant> {
        let since = match self.since {
            Some(since) => since,
            None => {
                self.paused = now.saturating_duration_since(at) > LATE;
                *self.since.insert(now)
            }
        };
        let end = since.saturating_add(EXCUSE);
        if now >= end || !(self.paused || unread) {
            self.end();
            return None;
        }
        Some(if self.paused { end } else { now.saturating_add(SOON) })
    }

    /// No timer is due any more. After the next stall, timers are held back anew.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    /// Whether timers that have been due since `at` fire now, however much still comes in: they have waited for as long as they may.
    pub(crate) fn is_over(at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) > LATE.saturating_add(EXCUSE)
    }
}

/// Finds out whether a peer is stuck, by two looks in a row: at one look alone, what it has taken may not have been noted, because this
/// process did not run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StuckLooks {
    /// Since when the peer had taken nothing at the last look, if that was too long ago then.
    suspected: Option<Instant>,
}

impl StuckLooks {
    /// Whether the peer has taken nothing for `limit`, now and at the call before this one. `since`: since when it has taken nothing; `None` if
    /// nothing is queued for it.
    pub(crate) fn confirm(&mut self, since: Option<Instant>, limit: Duration, now: Instant) -> bool {
        let stuck = since.filter(|since| since.saturating_add(limit) <= now);
        let before = core::mem::replace(&mut self.suspected, stuck);
        stuck.is_some() && before == stuck
    }
}

/// Waits for `future` no longer than `limit`; `what` names it in the error.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &'static str,
    future: impl Future<Output = io::Result<T>>,
) -> Result<T, Error> {
    Ok(in_time(limit, future).await.ok_or(Error::TooSlow(what))??)
}

/// Waits for `future` for `limit`. If this process did not run when `limit` was over, waits for [`EXCUSE`] more: the answer may have come in
/// meanwhile, and may not have been read.
pub(crate) async fn in_time<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let clock = Clock::start();
    let mut future = core::pin::pin!(future);
    if let Ok(result) = tokio::time::timeout(limit, future.as_mut()).await {
        return Some(result);
    }
    let stalled = clock.now() > Instant::ZERO.saturating_add(limit).saturating_add(LATE);
    if stalled { tokio::time::timeout(EXCUSE, future).await.ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-44: a peer that takes something between two looks is not stuck at the second.
    #[test]
    fn f_44_a_peer_is_stuck_when_two_looks_in_a_row_say_the_same() {
        let at = |secs| Instant::ZERO.saturating_add(Duration::from_secs(secs));
        let mut looks = StuckLooks::default();
        let mut look =
            |since: Option<u64>, now| looks.confirm(since.map(at), Duration::from_secs(10), at(now));
        assert_eq!([look(Some(0), 9), look(Some(0), 10), look(Some(0), 11)], [false, false, true]);
        assert_eq!([look(Some(1), 12), look(Some(1), 13)], [false, true], "it has taken something since");
        assert_eq!([look(None, 14), look(Some(1), 15), look(Some(1), 16)], [false, false, true]);
    }

    /// F-24: in order: what waits, and then the timers; but not for ever.
    #[test]
    fn f_24_timers_wait_for_what_has_come_in_and_no_longer_than_that() {
        let at = |ms| Instant::ZERO.saturating_add(Duration::from_millis(ms));
        let mut grace = Grace::default();
        // In time, and nothing waits.
        assert_eq!(grace.hold(at(1000), at(1001), false), None);
        // In time, and something waits: until it has been read, or 100 ms are over.
        assert_eq!(grace.hold(at(1000), at(1001), true), Some(at(1003)));
        assert_eq!(grace.hold(at(1000), at(1003), false), None);
        assert_eq!(grace.hold(at(2000), at(2000), true), Some(at(2002)));
        assert_eq!(grace.hold(at(2000), at(2100), true), None);
        // After a stall, whether something is seen to wait or not.
        assert_eq!(grace.hold(at(3000), at(3800), false), Some(at(3900)));
        assert_eq!(grace.hold(at(3500), at(3899), false), Some(at(3900)), "another timer, the same stall");
        assert_eq!(grace.hold(at(3500), at(3900), false), None);
        // What was read has put the timer off, and long after there is another stall.
        assert_eq!(grace.hold(at(4000), at(4100), false), Some(at(4200)));
        grace.end();
        assert_eq!(grace.hold(at(9000), at(9100), false), Some(at(9200)));
        assert!(!Grace::is_over(at(3000), at(3150)) && Grace::is_over(at(3000), at(3151)));
    }
}
