//! Trying again after a connection is lost: ever later, and not in step with the other clients that have lost it.

use crate::error::Error;
use crate::report::Report;
use crate::signals::Signals;
use core::time::Duration;
use serde_json::json;
use tokio::time::sleep;

/// How long to wait before the next attempt: twice as long each time, up to 30 s, less up to a half at random.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(500);
    const MOST: Duration = Duration::from_secs(30);

    pub(crate) const fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(Self::MOST);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// Connects once more, however long that takes. `None` after a signal. Says why it does not succeed, each reason once.
///
/// # Errors
/// What no other attempt could change: a command line that makes no sense.
pub(crate) async fn again<T>(
    report: &Report,
    signals: &mut Signals,
    mut connect: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    report.event("lost", json!({}), "the connection to the server is lost; trying again until it is back");
    let (mut pause, mut said) = (Backoff::new(), String::new());
    loop {
        let attempt = async {
            sleep(pause.next()).await;
            connect().await
        };
        let result = tokio::select! {
            biased;
            () = signals.recv() => return Ok(None),
            result = attempt => result,
        };
        match result {
            Ok(connected) => {
                report.plain("back", "the connection to the server is back");
                return Ok(Some(connected));
            }
            Err(error) if error.is_usage() => return Err(error),
            Err(error) => {
                let reason = error.to_string();
                if reason != said {
                    report.event("retrying", json!({ "reason": reason }), &format!("not yet: {reason}"));
                    said = reason;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F-31: attempts become rarer, and those of many clients do not come together.
    #[test]
    fn f_31_attempts_become_rarer_and_differ() {
        let mut pause = Backoff::new();
        let mut most = Backoff::FIRST;
        for _ in 0..20 {
            let next = pause.next();
            assert!(next >= most / 2 && next <= most, "{next:?} of {most:?}");
            most = (most * 2).min(Backoff::MOST);
        }
        let distinct: std::collections::BTreeSet<Duration> = (0..50).map(|_| pause.next()).collect();
        assert!(distinct.len() > 40);
    }
}
