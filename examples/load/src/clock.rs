//! The clock that all processes of this machine share.

use core::time::Duration;
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Nanoseconds of the monotonic clock. It has one zero for all processes, so one process can stamp and another one measure.
pub(crate) fn now() -> u64 {
    // There is such a clock on every Unix.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

/// A moment of that clock, for timers.
pub(crate) fn instant(at: u64) -> Instant {
    let (here, now) = (Instant::now(), now());
    match at.checked_sub(now) {
        Some(ahead) => here + Duration::from_nanos(ahead),
        None => here.checked_sub(Duration::from_nanos(now - at)).unwrap_or(here),
    }
}

/// Waits until `at`.
pub(crate) async fn sleep_until(at: u64) {
    tokio::time::sleep_until(instant(at)).await;
}
