//! What the service manager is told: systemd, and others that know its protocol.

use core::time::Duration;
use sd_notify::NotifyState;

/// How the server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Ready,
    /// It reads its settings again.
    Reloading,
    /// It ends.
    Stopping,
}

/// Tells the service manager, if there is one.
pub fn notify(state: State) {
    let told = match state {
        State::Ready => sd_notify::notify(&[NotifyState::Ready]),
        // The manager compares the time with that of its own request.
        State::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        State::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    };
    if let Err(error) = told {
        tracing::warn!(%error, "the service manager cannot be told that the server is {state:?}");
    }
}

/// Feeds the watchdog of the service manager twice a period, where the manager has set one. `alive` completes only while the server works.
pub async fn watchdog<F: Future<Output = ()>>(alive: impl Fn() -> F) {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else { return };
    let mut ticks = tokio::time::interval((period / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        alive().await;
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}
