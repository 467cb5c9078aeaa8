//! Timers wait for what has come in: a side that was not running must not take its own stall for the silence of others.

use crate::Error;
use core::time::Duration;
use std::io;
use voxwire_core::{Clock, Instant};

/// A timer so much behind its time shows a stall: what came in meanwhile has not been read.
pub(crate) const LATE: Duration = Duration::from_millis(50);
/// How long reading has then, before timers fire.
pub(crate) const EXCUSE: Duration = Duration::from_millis(100);
/// Steps in a row that may delay what is due, however much is still received.
pub(crate) const MAX_STEPS: u32 = 256;
/// When to look again whether something waits.
const SOON: Duration = Duration::from_millis(2);

/// Whether a session that wants [`poll_timeout`](voxwire_core::Session::poll_timeout) at `at` has an event to tell. That is no timer:
/// nothing that comes in can put it off.
pub(crate) fn is_event(at: Option<Instant>) -> bool {
    at == Some(Instant::ZERO)
}

/// Holds timers that are due back until what waits has been read, for a bounded time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Grace {
    /// Since when timers are held back.
    since: Option<Instant>,
    /// Because of a stall: for all of its time, even if nothing is seen to wait.
    stalled: bool,
}

impl Grace {
    /// For timers due since `at`: when to look again, or `None` if they are to fire now. `unread`: something is known to wait.
    pub(crate) fn hold(&mut self, at: Instant, now: Instant, unread: bool) -> Option<Instant> {
        let since = match self.since {
            Some(since) => since,
            None => {
                self.stalled = now.saturating_duration_since(at) > LATE;
                *self.since.insert(now)
            }
        };
        let end = since.saturating_add(EXCUSE);
        if now >= end || !(self.stalled || unread) {
            self.end();
            return None;
        }
        Some(if self.stalled { end } else { now.saturating_add(SOON) })
    }

    /// No timer is due any more: the next stall has an excuse of its own.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }

    /// Timers due since `at` have waited for as long as they may, however much still comes in.
    pub(crate) fn is_over(at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) > LATE.saturating_add(EXCUSE)
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

/// Waits for `future` no longer than `limit`; but if we have not run when that was over, for as long as it takes to read what has come
/// in meanwhile, and a little for the answer.
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
